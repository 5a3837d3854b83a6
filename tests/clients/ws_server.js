// A WebSocket server that echoes. Prints its port; serves until its standard input closes.
'use strict';
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
server.on('listening', () => console.log(server.address().port));
server.on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })));
process.stdin.on('end', () => process.exit(0)).resume();
