// A WebSocket server that echoes, by HTTP/1.1 upgrade, or by the extended CONNECT of HTTP/2 (RFC 8441). Prints its port; serves until
// its standard input closes.
//
// usage: node ws_server.js [http2]
'use strict';
const http2 = require('node:http2');
const WebSocket = require('ws');

const echo = (socket) => socket.on('message', (data, binary) => socket.send(data, { binary }));
process.stdin.on('end', () => process.exit(0)).resume();

if (process.argv[2] === 'http2') {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on('stream', (stream, head) => {
    if (head[':method'] !== 'CONNECT' || head[':protocol'] !== 'websocket' || head['sec-websocket-version'] !== '13') {
      stream.respond({ ':status': 400 }, { endStream: true });
      return;
    }
    stream.respond({ ':status': 200 });
    const socket = new WebSocket(null, undefined, { closeTimeout: 30e3 });
    socket.setSocket(stream, Buffer.alloc(0), { maxPayload: 1 << 24, allowSynchronousEvents: true });
    echo(socket);
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
} else {
  const server = new WebSocket.Server({ host: '127.0.0.1', port: 0 });
  server.on('listening', () => console.log(server.address().port));
  server.on('connection', echo);
}
