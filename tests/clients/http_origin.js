// An HTTP server that does what the path says. Prints its port; serves until its standard input closes.
//
// usage: node http_origin.js (http1|http2) [STATUS]     STATUS: the answer to everything
//
// /hints: a 103, then `hello`        /trailers: `hello` and a trailer        /early: 413 without having read the body
// /length: how long the body was     /silent: nothing, ever                  /stall: half a reply, and nothing more
// /weir.test.Echo/Broken: bytes that are no gRPC messages, with the status OK
// /status/N: the status N            /first/silent, /first/503, /first/500, /first/refuse: so for the first request, then `fine`
'use strict';
const http = require('node:http');
const http2 = require('node:http2');

const seen = new Map();
const first = (path) => {
  seen.set(path, (seen.get(path) || 0) + 1);
  return seen.get(path) === 1;
};

function say(response, status, text) {
  response.writeHead(status, { 'content-length': text.length });
  response.end(text);
}

function answer(request, response) {
  const [, what, which] = request.url.split('?')[0].split('/');
  if (process.argv[3]) return say(response, Number(process.argv[3]), 'as always');
  if (which === 'Broken') {
    response.writeHead(200, { 'content-type': 'application/grpc' });
    response.write('no message');
    response.addTrailers({ 'grpc-status': '0' });
    return response.end();
  }
  if (what === 'hints') {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' });
    return say(response, 200, 'hello');
  }
  if (what === 'trailers') {
    response.writeHead(200, { trailer: 'x-end' });
    response.write('hello');
    response.addTrailers({ 'x-end': 'yes' });
    return response.end();
  }
  if (what === 'early') return say(response, 413, 'big');
  if (what === 'length') {
    let length = 0;
    request.on('data', (data) => (length += data.length));
    return request.on('end', () => say(response, 200, String(length)));
  }
  if (what === 'silent') return;
  if (what === 'stall') {
    response.writeHead(200, { 'content-length': 10 });
    return response.write('half');
  }
  if (what === 'status') return say(response, Number(which), 'as asked');
  if (what === 'first' && first(request.url)) {
    if (which === 'silent') return;
    if (which === 'refuse') return request.stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    return say(response, Number(which), 'not yet');
  }
  say(response, 200, 'fine');
}

const server = process.argv[2] === 'http2' ? http2.createServer(answer) : http.createServer({ keepAliveTimeout: 3600e3 }, answer);
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
