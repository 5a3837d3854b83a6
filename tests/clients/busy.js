// Keeps eight requests under way over HTTP/2 until its standard input ends, then prints what became of them. A connection that is told
// to go is replaced; what the server says it has not looked at (RFC 9113 section 8.7) is asked again.
//
// usage: node busy.js (http|https) PORT
'use strict';
const http2 = require('node:http2');

const [scheme, port] = process.argv.slice(2);
const count = { done: 0, failed: 0, refused: 0, connections: 0 };
const why = new Set();
let ending = false;
let session;
process.stdin.on('end', () => (ending = true)).resume();

const usable = () => session && !session.closed && !session.destroyed;

function connect() {
  session = http2.connect(`${scheme}://127.0.0.1:${port}`, { rejectUnauthorized: false });
  session.on('connect', () => count.connections++);
  session.on('error', (error) => {
    if (error.code !== 'ECONNREFUSED') why.add(String(error));
  });
}

function ask() {
  return new Promise((resolve) => {
    let stream;
    try {
      stream = session.request({ ':path': '/' });
    } catch {
      return resolve();
    }
    let status;
    let body = '';
    let error;
    stream.on('response', (head) => (status = head[':status']));
    stream.on('data', (data) => (body += data));
    stream.on('error', (what) => (error = what));
    stream.on('close', () => {
      const sent = session.connecting === false;
      if (status === 200 && body === 'ok' && !error) count.done++;
      else if (stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM) count.refused++;
      else if (String(error?.cause ?? error).includes('ECONNREFUSED') || !sent || stream.pending) count.refused++;
      else {
        count.failed++;
        why.add(`${status} ${stream.rstCode} ${error}`);
      }
      resolve();
    });
    stream.end();
  });
}

async function work() {
  while (!ending) {
    if (!usable()) {
      connect();
      await new Promise((resolve) => session.once('connect', resolve).once('close', resolve));
      if (!usable()) await new Promise((resolve) => setTimeout(resolve, 50));
      continue;
    }
    await ask();
  }
}

async function main() {
  // One at first, so that there is one connection and not eight.
  await Promise.all(Array.from({ length: 8 }, async (_, n) => {
    while (n > 0 && !ending && !count.connections) await new Promise((resolve) => setTimeout(resolve, 10));
    await work();
  }));
  session?.close();
  console.log(JSON.stringify({ ...count, why: [...why] }));
}

main();
