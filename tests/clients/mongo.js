// Drives a MongoDB server with the Node.js driver and prints, as JSON, what the driver itself counted.
//
// usage: node mongo.js URI DATABASE [compressor]
//
// Run with NODE_PATH naming the node_modules of the test parts. The driver's command monitoring is the oracle, as in mongo.py.
'use strict';
const { MongoClient } = require('mongodb');
const assert = require('node:assert');

const NO_COLLECTION = new Set(['ping', 'endSessions', 'listDatabases', 'listCollections', 'dropDatabase', 'dbStats']);

// What is wrong with one write of many has a number only.
const NAMES = { 9: 'FailedToParse', 11000: 'DuplicateKey' };

// With `codes` by code name too.
function counting(client, codes = false) {
  const underWay = new Map();
  const counted = new Map();
  const count = (event, result, atFault = {}) => {
    const [name, resource] = underWay.get(event.requestId);
    underWay.delete(event.requestId);
    const code = atFault.codeName || NAMES[atFault.code] || '';
    const key = JSON.stringify(codes ? [name, resource, result, code] : [name, resource, result]);
    counted.set(key, (counted.get(key) || 0) + 1);
  };
  client.on('commandStarted', (event) => {
    const name = event.commandName;
    let collection = NO_COLLECTION.has(name) ? '' : event.command[name === 'getMore' ? 'collection' : name];
    if (typeof collection !== 'string') collection = '';
    underWay.set(event.requestId, [name, collection ? `${event.databaseName}.${collection}` : event.databaseName]);
  });
  client.on('commandSucceeded', (event) => {
    const reply = event.reply || {};
    if (reply.writeErrors && reply.writeErrors.length) count(event, 'write_error', reply.writeErrors[0]);
    else if (reply.writeConcernError) count(event, 'write_concern_error', reply.writeConcernError);
    else count(event, 'ok');
  });
  client.on('commandFailed', (event) => count(event, 'error', event.failure));
  return () => [...counted].map(([key, n]) => [...JSON.parse(key), n]).sort();
}

async function main() {
  const [uri, database, compressor] = process.argv.slice(2);
  const client = new MongoClient(uri, {
    monitorCommands: true,
    appName: 'weir-e2e-node',
    retryWrites: false,
    ...(compressor ? { compressors: [compressor] } : {}),
  });
  const result = counting(client, true);
  const db = client.db(database);
  await client.db('admin').command({ ping: 1 });
  const people = db.collection('people');
  await people.drop().catch(() => {});
  await people.insertOne({ _id: 1, name: 'Ada' });
  await assert.rejects(people.insertOne({ _id: 1 }), { code: 11000 });
  await people.insertMany(Array.from({ length: 498 }, (_, n) => ({ _id: n + 2, pad: 'x'.repeat(100) })));
  assert.equal((await people.find({}, { batchSize: 100 }).toArray()).length, 499);
  assert.equal((await people.updateMany({ _id: { $lt: 10 } }, { $set: { x: 1 } })).matchedCount, 9);
  assert.equal((await people.deleteOne({ _id: 4 })).deletedCount, 1);
  assert.equal((await people.findOneAndUpdate({ _id: 5 }, { $inc: { x: 1 } })).x, 1);
  assert.equal((await people.aggregate([{ $group: { _id: '$x', n: { $sum: 1 } } }]).toArray()).length, 3);
  await assert.rejects(
    db.collection('things').bulkWrite(
      [1, 2, 1, 3].map((n) => ({ insertOne: { document: { _id: n } } })),
      { ordered: false },
    ),
  );
  await assert.rejects(db.command({ noSuchCommand: 1 }));
  // An error where there is no replica set, and inside an ok:1 where there is one of three members.
  await assert.rejects(db.collection('concern', { writeConcern: { w: 4, wtimeoutMS: 50 } }).insertOne({ a: 1 }));
  const quiet = db.collection('quiet', { writeConcern: { w: 0 } });
  await quiet.insertOne({ _id: 1 });
  for (let n = 0; n < 200 && !(await db.collection('quiet').findOne({ _id: 1 })); n++);
  await client.db(database).dropDatabase();
  const counted = result;
  await client.close();
  console.log(JSON.stringify({ driver: require('mongodb/package.json').version, counted: counted() }));
}

module.exports = { counting };

if (require.main === module) {
  main().catch((error) => {
    console.error(error);
    process.exit(1);
  });
}
