// What Node.js makes of a stream of HTTP/1 requests (its server) or responses (its client's parser). One job per line of
// standard input: {"side": "request"|"response", "method": .., "bytes": hex}; one verdict per line of standard output:
// {"messages": [{"start", "target", "body": hex, "whole"}], "stop": why nothing more was read, or null}.
"use strict";
const http = require("node:http");
const { Duplex } = require("node:stream");
const readline = require("node:readline");

class Wire extends Duplex {
  written = "";
  _read() {}
  _write(chunk, _encoding, done) {
    this.written += chunk.toString("latin1");
    done();
  }
}

const turns = async (n) => {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
};

const watch = (stream, message) => {
  stream.on("data", (data) => message.body.push(data));
  stream.on("end", () => (message.whole = true));
  stream.on("error", () => {});
};

const done = (messages, stop) =>
  JSON.stringify({
    messages: messages.map((m) => ({ ...m, body: Buffer.concat(m.body).toString("hex") })),
    stop,
  });

async function requests(bytes) {
  const messages = [];
  let stop = null;
  const note = (req) => {
    const message = { start: req.method, target: req.url, body: [], whole: false };
    messages.push(message);
    return message;
  };
  const serve = (req, res) => {
    watch(req, note(req));
    res.on("error", () => {});
    req.on("end", () => {
      if (!res.shouldKeepAlive) stop ??= "closed";
      // Its parser stops behind a request that offers an upgrade, and drops what follows unless the offer is taken.
      if (/upgrade/i.test(req.headers.connection) && req.headers.upgrade !== undefined) stop ??= "closed";
      res.end();
    });
  };
  const server = http.createServer({ maxHeaderSize: 1 << 17, keepAliveTimeout: 0 }, serve);
  server.maxHeadersCount = 0;
  server.on("checkContinue", serve);
  server.on("checkExpectation", (_req, res) => {
    stop ??= "refused: expectation";
    res.writeHead(417, { connection: "close" });
    res.end();
  });
  server.on("connect", (req) => {
    note(req).whole = true;
    stop ??= "tunnel";
  });
  server.on("clientError", (error) => (stop ??= `refused: ${error.code}`));
  const wire = new Wire();
  wire.on("error", () => {});
  server.emit("connection", wire);
  wire.push(bytes);
  await turns(12);
  const refused = /HTTP\/1\.1 (4\d\d|5\d\d)/.exec(wire.written);
  if (refused) stop ??= `refused: ${refused[1]}`;
  wire.destroy();
  return done(messages, stop);
}

// One exchange: the response to a request that is written first.
async function responses(bytes, method) {
  const messages = [];
  let stop = null;
  const wire = new Wire();
  const note = (res) => {
    const message = { start: String(res.statusCode), target: res.statusMessage, body: [], whole: false };
    messages.push(message);
    return message;
  };
  const headers = { host: "a" };
  if (method === "UPGRADE") Object.assign(headers, { connection: "upgrade", upgrade: "websocket" });
  const req = http.request({
    method: method === "UPGRADE" ? "GET" : method,
    path: method === "CONNECT" ? "a:80" : "/",
    headers,
    maxHeaderSize: 1 << 17,
    createConnection: () => wire,
  });
  req.maxHeadersCount = 0;
  req.on("error", (error) => (stop ??= `refused: ${error.code}`));
  req.on("information", (info) => (note(info).whole = true));
  const tunnel = (res) => {
    // Node.js takes any answer to CONNECT for the beginning of a tunnel and leaves its body to the caller, so it has
    // no opinion on a refusal.
    if (method !== "CONNECT" || (res.statusCode >= 200 && res.statusCode < 300)) note(res).whole = true;
    stop ??= "tunnel";
  };
  req.on("upgrade", tunnel);
  req.on("connect", tunnel);
  req.on("response", (res) => {
    const message = note(res);
    watch(res, message);
    res.on("error", (error) => (stop ??= error.code === "ECONNRESET" ? null : `refused: ${error.code}`));
  });
  req.end();
  await turns(3);
  wire.push(bytes);
  await turns(6);
  // The end of the connection ends a body without a length.
  wire.push(null);
  await turns(6);
  wire.destroy();
  req.destroy();
  return done(messages, stop);
}

process.on("uncaughtException", (error) => process.stderr.write(`${error.stack}\n`));
(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const job = JSON.parse(line);
    const bytes = Buffer.from(job.bytes, "hex");
    const verdict = job.side === "request" ? await requests(bytes) : await responses(bytes, job.method);
    process.stdout.write(`${verdict}\n`);
  }
})();
