// Stands in for the package that the MongoDB driver asks for, which downloads a binary of its own: the same reference library, as
// WebAssembly.
'use strict';
const zstd = require('@bokuweb/zstd-wasm');

const ready = zstd.init();

exports.compress = async (buffer, level) => {
  await ready;
  return Buffer.from(zstd.compress(buffer, level));
};

exports.decompress = async (buffer) => {
  await ready;
  return Buffer.from(zstd.decompress(buffer));
};
