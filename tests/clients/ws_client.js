// Sends a hundred messages over a WebSocket, up to 1 MiB, expects each back, and prints how it went.
//
// usage: node ws_client.js URL
'use strict';
const WebSocket = require('ws');
const assert = require('node:assert');

const socket = new WebSocket(process.argv[2]);
let echoed = 0;
let largest = 0;
const size = (n) => (n === 99 ? 1 << 20 : n * 100);
socket.on('open', () => {
  for (let n = 0; n < 100; n++) socket.send(Buffer.alloc(size(n), n));
});
socket.on('message', (data) => {
  assert.equal(data.length, size(echoed));
  largest = Math.max(largest, data.length);
  if (++echoed === 100) socket.close(1000);
});
socket.on('close', (code) => {
  assert.equal(code, 1000);
  console.log(JSON.stringify({ echoed, largest }));
});
