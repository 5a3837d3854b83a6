// Calls the Echo service of grpc_server.py with grpc-js and prints, as JSON, every call by method and status.
//
// usage: node grpc_client.js HOST:PORT
'use strict';
const grpc = require('@grpc/grpc-js');
const assert = require('node:assert');

const counted = new Map();
const names = Object.fromEntries(Object.entries(grpc.status).filter(([, v]) => typeof v === 'number').map(([k, v]) => [v, k]));
const ended = (method, code) => counted.set(`${method} ${names[code]}`, (counted.get(`${method} ${names[code]}`) || 0) + 1);
const raw = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/weir.test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
});
const Client = grpc.makeGenericClientConstructor({
  unary: method('Unary', false, false),
  fail: method('Fail', false, false),
  sleep: method('Sleep', false, false),
  who: method('Who', false, false),
  serverStream: method('ServerStream', false, true),
  drip: method('Drip', false, true),
  clientStream: method('ClientStream', true, false),
  bidi: method('Bidi', true, true),
});
const client = new Client(process.argv[2], grpc.credentials.createInsecure(), { 'grpc.enable_retries': 0 });

const call = (name, label, body, options = {}, cancelAfter) =>
  new Promise((resolve) => {
    const under = client[name](Buffer.from(body), options, (error, reply) => {
      ended(label, error ? error.code : 0);
      resolve({ error, reply });
    });
    if (cancelAfter) setTimeout(() => under.cancel(), cancelAfter);
  });

async function main() {
  for (const size of [0, 10, 100000]) assert.equal((await call('unary', 'Unary', 'x'.repeat(size))).reply.length, size);
  for (let status = 1; status <= 16; status++) assert.equal((await call('fail', 'Fail', String(status))).error.code, status);
  const late = await call('sleep', 'Sleep', '5', { deadline: Date.now() + 150 });
  assert.equal(late.error.code, grpc.status.DEADLINE_EXCEEDED);
  assert.equal((await call('sleep', 'Sleep', '5', {}, 100)).error.code, grpc.status.CANCELLED);
  await Promise.all(Array.from({ length: 100 }, () => call('who', 'Who', '')));
  await new Promise((resolve, reject) => {
    const stream = client.serverStream(Buffer.from('500'));
    let n = 0;
    stream.on('data', () => n++);
    stream.on('error', reject);
    stream.on('status', (status) => {
      ended('ServerStream', status.code);
      assert.equal(n, 500);
      resolve();
    });
  });
  await new Promise((resolve, reject) => {
    const stream = client.bidi();
    let n = 0;
    stream.on('data', () => n++);
    stream.on('error', reject);
    stream.on('status', (status) => {
      ended('Bidi', status.code);
      assert.equal(n, 100);
      resolve();
    });
    for (let i = 0; i < 100; i++) stream.write(Buffer.from(String(i)));
    stream.end();
  });
  await new Promise((resolve) => {
    const stream = client.clientStream((error, reply) => {
      ended('ClientStream', error ? error.code : 0);
      assert.equal(String(reply), '300000');
      resolve();
    });
    for (let i = 0; i < 300; i++) stream.write(Buffer.alloc(1000));
    stream.end();
  });
  // Streams that are cancelled in the middle, by whom they belong to and by their deadline.
  const until = (label, stream, first) =>
    new Promise((resolve) => {
      stream.once('data', () => first(stream));
      stream.on('data', () => {});
      stream.on('error', () => {});
      stream.on('status', (status) => {
        ended(label, status.code);
        resolve(status.code);
      });
    });
  const { CANCELLED, DEADLINE_EXCEEDED } = grpc.status;
  const endless = () => client.serverStream(Buffer.from('100000000'));
  assert.equal(await until('ServerStream', endless(), (stream) => stream.cancel()), CANCELLED);
  // (Long enough that the moments which Weir's clock begins later are little of it.)
  const drip = client.drip(Buffer.from(''), { deadline: Date.now() + 1500 });
  assert.equal(await until('Drip', drip, () => {}), DEADLINE_EXCEEDED);
  client.close();
  console.log(JSON.stringify({ counted: [...counted].map(([key, n]) => [...key.split(' '), n]).sort() }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
