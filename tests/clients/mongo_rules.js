// Does what rules forbid, limit and disturb with the Node.js driver, and prints, as JSON, what came of it.
//
// usage: node mongo_rules.js URI DIRECT_URI DATABASE [compressor]
//
// URI goes through Weir, DIRECT_URI does not. What is printed is as in mongo_rules.py.
'use strict';
const { MongoClient } = require('mongodb');
const { outcome } = require('./tries.js');

async function main() {
  const [uri, directUri, name, compressor] = process.argv.slice(2);
  const client = new MongoClient(uri, {
    monitorCommands: true,
    appName: 'weir-rules-node',
    ...(compressor ? { compressors: [compressor] } : {}),
  });
  const direct = new MongoClient(directUri);
  for (const collection of ['plain', 'secrets', 'slow', 'chaos', 'limited']) {
    await direct.db(name).collection(collection).replaceOne({ _id: 1 }, {}, { upsert: true });
  }
  await direct.close();
  let tries = 0;
  let cleared = 0;
  client.on('commandStarted', () => { tries += 1; });
  client.on('connectionPoolCleared', () => { cleared += 1; });
  const results = {};
  const attempt = async (name, call) => {
    tries = 0;
    cleared = 0;
    const came = await outcome(call);
    results[name] = { ...came, tries, cleared };
  };
  const db = client.db(name);
  const frozen = client.db(`${name}_frozen`);
  await attempt('warm', () => db.collection('plain').findOne());
  await attempt('drop', () => db.dropDatabase());
  await attempt('secret_find', () => db.collection('secrets').findOne());
  await attempt('secret_union', () => db.collection('plain').aggregate([{ $unionWith: 'secrets' }]).toArray());
  await attempt('frozen_find', () => frozen.collection('stock').findOne());
  await attempt('frozen_insert', () => frozen.collection('stock').insertOne({}));
  const many = Array.from({ length: 100 }, () => ({ pad: 'x'.repeat(9000) }));
  await attempt('frozen_many', () => frozen.collection('stock').insertMany(many));
  await attempt('not_frozen_many', () => db.collection('bulk').insertMany(many.map((one) => ({ ...one }))));
  await attempt('frozen_silent', () => frozen.collection('stock').insertOne({}, { writeConcern: { w: 0 } }));
  await attempt('after_silent', () => db.collection('plain').findOne());
  for (let n = 0; n < 3; n += 1) await attempt(`limited_${n}`, () => db.collection('limited').findOne());
  // All of these say their database last, behind what is large.
  const values = Array.from({ length: 60000 }, (_, n) => n);
  const pad = 'x'.repeat(400000);
  const plain = db.collection('plain');
  await attempt('large_find', () => plain.find({ a: { $in: values } }).toArray());
  await attempt('large_update', () => plain.updateOne({ a: 1 }, { $set: { pad } }));
  await attempt('large_modify', () => plain.findOneAndUpdate({ a: 1 }, { $set: { pad } }));
  await attempt('large_insert', () => plain.insertOne({ pad: 'x'.repeat(15000000) }));
  await attempt('large_secret', () => db.collection('secrets').find({ a: { $in: values } }).toArray());
  await attempt('slow', () => db.collection('slow').findOne({ $where: 'sleep(60000) || true' }));
  await attempt('after_slow', () => db.collection('plain').findOne());
  await attempt('chaos_read', () => db.collection('chaos').findOne());
  await attempt('chaos_write', () => db.collection('chaos').insertOne({}));
  console.log(JSON.stringify({ driver: require('mongodb/package.json').version, results }));
  await client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
