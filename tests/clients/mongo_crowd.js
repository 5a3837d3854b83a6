// One application that wants more connections than it may have: so many pings at a time for so long. Then one more, alone.
//
// usage: mongo_crowd.js URI AT_A_TIME SECONDS
const { MongoClient } = require("mongodb");

async function main([uri, atATime, seconds]) {
  const options = { appName: "crowd", maxPoolSize: Number(atATime), serverSelectionTimeoutMS: 5000 };
  const client = new MongoClient(uri, options);
  const ping = () => client.db("admin").command({ ping: 1 });
  await ping();
  let done = 0;
  const failed = {};
  const end = Date.now() + 1000 * seconds;
  const run = async () => {
    while (Date.now() < end) {
      try {
        await ping();
        done += 1;
      } catch (error) {
        failed[error.name] = (failed[error.name] ?? 0) + 1;
        await new Promise((again) => setImmediate(again));
      }
    }
  };
  await Promise.all(Array.from({ length: Number(atATime) }, run));
  await ping();
  console.log(JSON.stringify({ done, failed }));
  await client.close();
}

main(process.argv.slice(2));
