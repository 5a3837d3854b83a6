// Talks to a MongoDB server through TLS and prints, as JSON, as whom: or why it cannot.
//
// usage: node mongo_tls.js URI
//
// Names that end in .test are this host.
'use strict';
const dns = require('node:dns');
const lookup = dns.lookup;
dns.lookup = (host, ...more) => lookup(host.endsWith('.test') ? '127.0.0.1' : host, ...more);
const { MongoClient } = require('mongodb');

async function main() {
  const client = new MongoClient(process.argv[2], { serverSelectionTimeoutMS: 4000 });
  try {
    await client.db('tls').collection('things').insertOne({ a: 1 });
    const status = await client.db('admin').command({ connectionStatus: 1 });
    console.log(JSON.stringify({ users: status.authInfo.authenticatedUsers.map((user) => user.user) }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.name, says: error.message }));
  }
  await client.close();
}

main();
