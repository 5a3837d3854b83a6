// Uses a replica set as an application does and prints, as JSON, what the driver counted and where it went; as
// mongo_members.py, with the Node.js driver.
//
// usage: node mongo_members.js URI DATABASE all | files | login | reads | busy SECONDS | busy until
'use strict';
const { GridFSBucket, MongoClient, ReadPreference } = require('mongodb');
const assert = require('node:assert');
const { counting } = require('./mongo.js');

async function use(client, db) {
  const items = db.collection('items');
  await items.drop().catch(() => {});
  await items.insertMany(Array.from({ length: 50 }, (_, n) => ({ _id: n, n })));
  assert.equal((await items.updateMany({ n: { $lt: 10 } }, { $inc: { n: 100 } })).modifiedCount, 10);
  assert.equal((await items.find({}, { batchSize: 20 }).toArray()).length, 50);
  await assert.rejects(items.insertOne({ _id: 1 }), { code: 11000 });
  const session = client.startSession({ causalConsistency: true });
  await items.insertOne({ _id: 1000 }, { session });
  assert.ok(await items.findOne({ _id: 1000 }, { session, readPreference: ReadPreference.SECONDARY }));
  await session.withTransaction(async () => {
    await items.insertOne({ _id: 1001 }, { session });
    await items.updateOne({ _id: 1001 }, { $set: { x: 1 } }, { session });
  });
  session.startTransaction();
  await items.deleteMany({}, { session });
  await session.abortTransaction();
  await session.endSession();
  assert.equal((await items.findOne({ _id: 1001 })).x, 1);
  const stream = items.watch([], { maxAwaitTimeMS: 200 });
  await stream.tryNext();
  for (let n = 0; n < 5; n++) await items.insertOne({ _id: 2000 + n });
  for (let n = 0; n < 5; n++) assert.equal((await stream.next()).documentKey._id, 2000 + n);
  await stream.close();
  await db.dropDatabase();
}

async function files(db) {
  const bucket = new GridFSBucket(db);
  const block = Buffer.alloc(1 << 20, 'weir');
  const upload = bucket.openUploadStream('large');
  for (let n = 0; n < 20; n++) {
    const part = Buffer.from(block);
    part[0] = n;
    await new Promise((resolve, reject) => upload.write(part, (error) => (error ? reject(error) : resolve())));
  }
  await new Promise((resolve, reject) => upload.on('error', reject).end(resolve));
  let [length, matches] = [0, 0];
  for await (const chunk of bucket.openDownloadStreamByName('large')) {
    for (let at = (block.length - (length % block.length)) % block.length; at < chunk.length; at += block.length) {
      matches += chunk[at] === (length + at) / block.length ? 1 : 0;
    }
    length += chunk.length;
  }
  assert.deepEqual([length, matches], [20 << 20, 20]);
  await bucket.delete(upload.id);
  await db.dropDatabase();
}

async function login(client) {
  try {
    await client.db('admin').command({ ping: 1 });
  } catch (error) {
    return error.code;
  }
  return 0;
}

async function reads(client, db) {
  await client.db('admin').command({ ping: 1 }, { readPreference: 'primaryPreferred' });
  for (let n = 0; n < 5; n++) await db.collection('nothing').find({}, { readPreference: 'primaryPreferred' }).toArray();
}

async function busy(db, seconds) {
  const items = db.collection('busy');
  await items.drop().catch(() => {});
  console.error('busy');
  let done = 0;
  const end = Date.now() + seconds * 1000;
  let told = false;
  if (seconds === 'until') process.stdin.once('data', () => { told = true; process.stdin.destroy(); });
  while (seconds === 'until' ? !told : Date.now() < end) {
    await items.insertOne({ _id: done });
    assert.ok(await items.findOne({ _id: done }));
    done++;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(await items.countDocuments({}), done);
  await items.drop();
}

async function main() {
  const [uri, database, what, seconds] = process.argv.slice(2);
  const client = new MongoClient(uri, { monitorCommands: true, appName: 'weir-members-node' });
  const servers = new Set();
  let known = [];
  let connections = 0;
  let code = 0;
  client.on('connectionReady', () => { connections += 1; });
  client.on('commandStarted', (event) => servers.add(event.address));
  client.on('topologyDescriptionChanged', (event) => {
    if (event.newDescription.servers.size) known = [...event.newDescription.servers.keys()].sort();
  });
  const counted = counting(client);
  const db = client.db(database);
  if (what === 'all') await use(client, db);
  else if (what === 'files') await files(db);
  else if (what === 'login') code = await login(client);
  else if (what === 'reads') await reads(client, db);
  else await busy(db, seconds);
  const seen = known;
  await client.close();
  console.log(
    JSON.stringify({
      driver: require('mongodb/package.json').version,
      counted: counted(),
      servers: [...servers].sort(),
      known: seen,
      code,
      connections,
    }),
  );
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
