// Sends a hundred messages over a WebSocket, up to 1 MiB, expects each back, and prints how it went.
//
// usage: node ws_client.js URL [http2]     http2: by an extended CONNECT (RFC 8441)
'use strict';
const http2 = require('node:http2');
const WebSocket = require('ws');
const assert = require('node:assert');

let echoed = 0;
let largest = 0;
let session;
const size = (n) => (n === 99 ? 1 << 20 : n * 100);

function use(socket) {
  socket.on('open', () => {
    for (let n = 0; n < 100; n++) socket.send(Buffer.alloc(size(n), n));
  });
  socket.on('message', (data) => {
    assert.equal(data.length, size(echoed));
    assert(data.every((byte) => byte === echoed));
    largest = Math.max(largest, data.length);
    if (++echoed === 100) socket.close(1000);
  });
  socket.on('close', (code) => {
    assert.equal(code, 1000);
    console.log(JSON.stringify({ echoed, largest }));
    session?.close();
  });
}

const url = new URL(process.argv[2]);
if (process.argv[3] === 'http2') {
  session = http2.connect(`http://${url.host}`);
  session.once('remoteSettings', (settings) => {
    assert(settings.enableConnectProtocol, 'extended CONNECT is not offered');
    const stream = session.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'http',
      ':authority': url.host,
      ':path': url.pathname,
      'sec-websocket-version': '13',
    });
    stream.on('response', (head) => {
      assert.equal(head[':status'], 200);
      const socket = new WebSocket(null, undefined, { closeTimeout: 30e3 });
      socket._isServer = false;
      use(socket);
      socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 24, allowSynchronousEvents: true });
    });
  });
} else {
  use(new WebSocket(url));
}
