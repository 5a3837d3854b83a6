"""Sends large messages slowly, on many connections at once, to a server that only reads.

usage: mongo_large.py CONNECTIONS

Prints the port of that server. For each line `PORT ENCODING` of the input it has so many connections announce a message of 47 MB to PORT
(an insert, `plain` or compressed with `snappy`, `zlib` or `zstd`, or `late`: a find whose filter comes before `$db`), sends the beginning of each in small parts, and prints how many
connections stand, and how many bytes the server has got; the next line ends them.
"""

import asyncio
import os
import resource
import struct
import sys
import zlib

import snappy
import zstandard

ANNOUNCED = 47_000_000
# Of each message: what is sent, in parts of this size.
SENT, PART = 768 << 10, 16 << 10
COMPRESSORS = {
    "snappy": (1, snappy.compress),
    "zlib": (2, lambda data: zlib.compress(data, 1)),
    # With the window that a good level takes, as a client may.
    "zstd": (3, lambda data: zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(
        compression_level=1, window_log=23)).compress(data)),
}


def document(*fields):
    body = b"".join(fields) + b"\0"
    return struct.pack("<i", len(body) + 4) + body


def text(name, value):
    return b"\x02" + name + b"\0" + struct.pack("<i", len(value) + 1) + value + b"\0"


def insert():
    """The payload of an OP_MSG: `insert` first, then a section of documents that do not compress."""
    body = b"\0" + document(text(b"insert", b"large"), text(b"$db", b"memory"))
    size = 1 << 20
    one = document(b"\x05x\0" + struct.pack("<i", size) + b"\0" + bytes(size))
    random = (document(b"\x05x\0" + struct.pack("<i", size) + b"\0" + os.urandom(size)) for _ in range(ANNOUNCED // len(one)))
    section = b"documents\0" + b"".join(random)
    return struct.pack("<i", 0) + body + b"\x01" + struct.pack("<i", len(section) + 4) + section


def find():
    """The payload of an OP_MSG: a `find` that says its database last."""
    value = b"\x05x\0" + struct.pack("<i", ANNOUNCED) + b"\0" + bytes(ANNOUNCED)
    return struct.pack("<i", 0) + b"\0" + document(text(b"find", b"large"), b"\x03filter\0" + document(value), text(b"$db", b"memory"))


def message(encoding):
    payload = find() if encoding == "late" else insert()
    if encoding == "late":
        encoding = "plain"
    if encoding == "plain":
        return struct.pack("<iiii", 16 + len(payload), 7, 0, 2013) + payload
    number, compress = COMPRESSORS[encoding]
    compressed = struct.pack("<iiB", 2013, len(payload), number) + compress(payload)
    return struct.pack("<iiii", 16 + len(compressed), 7, 0, 2012) + compressed


class Server:
    """Reads, and counts what it has read."""

    def __init__(self):
        self.bytes = 0

    async def serve(self, reader, writer):
        try:
            while data := await reader.read(1 << 16):
                self.bytes += len(data)
        except ConnectionError:
            pass
        writer.close()


async def send(port, whole, stands):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for at in range(0, SENT, PART):
            writer.write(whole[at:at + PART])
            await writer.drain()
            await asyncio.sleep(0.02)
    except ConnectionError:
        return None
    stands.append((reader, writer))
    return writer


async def main():
    connections = int(sys.argv[1])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=1024)
    print(listening.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        port, encoding = int(line[0]), line[1]
        whole, stands, before = message(encoding), [], server.bytes
        await asyncio.gather(*(send(port, whole, stands) for _ in range(connections)))
        ended = sum(reader.at_eof() for reader, _ in stands)
        print(len(stands) - ended, server.bytes - before, flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        for _, writer in stands:
            writer.transport.abort()
        print("ended", flush=True)


asyncio.run(main())
