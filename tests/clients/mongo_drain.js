// Has a transaction, a half-read cursor and a change stream open, and goes on with them while its Weir goes away; as
// mongo_drain.py, with the Node.js driver.
//
// usage: node mongo_drain.js URI DATABASE
'use strict';
const { MongoClient } = require('mongodb');
const assert = require('node:assert');
const readline = require('node:readline');
const { counting } = require('./mongo.js');

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function follow(stream, seen, wanted, errors) {
  try {
    for await (const change of stream) {
      seen.push(change.documentKey._id);
      if (seen.length === wanted) break;
    }
  } catch (error) {
    errors.push(`the change stream: ${error}`);
  }
}

async function main() {
  const [uri, database] = process.argv.slice(2);
  const client = new MongoClient(uri, { monitorCommands: true, appName: 'weir-drain-node' });
  const counted = counting(client);
  const failures = [];
  const closed = {};
  let cleared = 0;
  client.on('commandFailed', (event) => {
    const { code = 0, errorLabels = [] } = event.failure;
    failures.push([event.commandName, code, [...errorLabels].sort()]);
  });
  client.on('connectionPoolCleared', () => { cleared += 1; });
  client.on('connectionClosed', (event) => { closed[event.reason] = (closed[event.reason] || 0) + 1; });
  const db = client.db(database);
  const [items, changes] = [db.collection('items'), db.collection('changes')];
  await items.drop().catch(() => {});
  await changes.drop().catch(() => {});
  await items.insertMany(Array.from({ length: 100 }, (_, n) => ({ _id: n })));
  await changes.insertOne({ _id: 'first' });
  const [errors, seen, read] = [[], [], []];

  const stream = changes.watch();
  await stream.tryNext();
  const following = follow(stream, seen, 6, errors);
  await changes.insertOne({ _id: 0 });
  while (!seen.length) await pause(10);
  const cursor = items.find({}, { batchSize: 10 });
  for (let n = 0; n < 15; n++) read.push((await cursor.next())._id);
  const session = client.startSession();
  session.startTransaction();
  await items.insertOne({ _id: 't0' }, { session });
  const lines = readline.createInterface({ input: process.stdin });
  const say = async (line) => {
    const told = new Promise((resolve) => lines.once('line', resolve));
    console.log(line);
    await told;
  };
  failures.length = 0;
  await say('ready');

  for (let n = 1; n < 4; n++) {
    await pause(400);
    await items.insertOne({ _id: `t${n}` }, { session });
    for (let m = 0; m < 10; m++) read.push((await cursor.next())._id);
  }
  await session.commitTransaction();
  await session.endSession();
  for await (const one of cursor) read.push(one._id);
  await say('committed and read');
  lines.close();
  for (let n = 1; n < 6; n++) {
    await changes.insertOne({ _id: n });
    await pause(100);
  }
  await Promise.race([following, new Promise((resolve) => setTimeout(resolve, 30000).unref())]);
  assert.equal(await items.countDocuments({}), 104);
  await client.close();
  console.log(JSON.stringify({
    driver: require('mongodb/package.json').version, counted: counted(), read: read.length,
    distinct: new Set(read).size, seen, errors, failures, cleared, closed,
  }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
