// Does one of each kind of operation while its server is lost in the middle, with the Node.js driver; as mongo_lost.py.
//
// usage: node mongo_lost.js URI DIRECT_URI DATABASE
'use strict';
const { MongoClient } = require('mongodb');
const { outcome } = require('./tries.js');

async function main() {
  const [uri, directUri, name] = process.argv.slice(2);
  const directly = new MongoClient(directUri);
  const direct = directly.db(name);
  for (const each of ['warm', 'find', 'insert', 'many', 'more', 'commit', 'txn', 'stream']) {
    const collection = each === 'warm' ? each : `lost_${each}`;
    await direct.collection(collection).drop().catch(() => {});
    await direct.collection(collection).insertMany(Array.from({ length: 10 }, (_, n) => ({ _id: n })));
  }
  const client = new MongoClient(uri, { monitorCommands: true, appName: 'weir-lost-node', serverSelectionTimeoutMS: 10000 });
  let tries = [];
  let cleared = 0;
  client.on('commandSucceeded', (event) => tries.push([event.commandName, 0, []]));
  client.on('commandFailed', (event) => {
    const { code = -1, errorLabels = [] } = event.failure;
    tries.push([event.commandName, code, [...errorLabels].sort()]);
  });
  client.on('connectionPoolCleared', () => { cleared += 1; });
  const db = client.db(name);
  await client.db('admin').command({ ping: 1 });
  const results = {};
  const attempt = async (what, call) => {
    tries = [];
    cleared = 0;
    const came = await outcome(call);
    results[what] = { ...came, tries: [...tries], cleared };
  };
  await attempt('warm', () => db.collection('warm').findOne());
  await attempt('find', () => db.collection('lost_find').findOne());
  await attempt('insert', () => db.collection('lost_insert').insertOne({ _id: 'x' }));
  await attempt('many', () => db.collection('lost_many').updateMany({}, { $inc: { n: 1 } }));
  const cursor = db.collection('lost_more').find({}, { batchSize: 2 });
  await cursor.next();
  await cursor.next();
  await attempt('more', () => cursor.next());
  const transaction = (collection) =>
    client.withSession((session) =>
      session.withTransaction(() => db.collection(collection).insertOne({ _id: 'x' }, { session })));
  await attempt('commit', () => transaction('lost_commit'));
  await attempt('txn', () => transaction('lost_txn'));
  const seen = [];
  const stream = db.collection('lost_stream').watch([], { maxAwaitTimeMS: 500 });
  await attempt('stream', async () => {
    setTimeout(() => direct.collection('lost_stream').insertOne({ _id: 'x' }), 1000);
    seen.push((await stream.next()).documentKey._id);
  });
  await stream.close();
  const count = (collection, filter) => direct.collection(collection).countDocuments(filter);
  const written = {
    insert: await count('lost_insert', { _id: 'x' }),
    many: await count('lost_many', { n: 1 }),
    txn: await count('lost_txn', { _id: 'x' }),
    commit: await count('lost_commit', { _id: 'x' }),
  };
  await client.close();
  await directly.close();
  console.log(JSON.stringify({ driver: require('mongodb/package.json').version, results, seen, written }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
