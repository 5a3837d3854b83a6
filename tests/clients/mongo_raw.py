"""Just enough of MongoDB's wire protocol for clients that need many connections and no driver's pool and monitors."""

import random
import struct

import bson


def hello(application):
    """What a driver says first."""
    return {
        "hello": 1,
        "client": {
            "application": {"name": application},
            "driver": {"name": "raw", "version": "1"},
            "os": {"type": "Linux"},
        },
        "$db": "admin",
    }


def message(document):
    body = b"\0\0\0\0\0" + bson.encode(document)
    return struct.pack("<iiii", 16 + len(body), random.randrange(1 << 30), 0, 2013) + body


async def ask(reader, writer, document):
    writer.write(message(document))
    await writer.drain()
    (length,) = struct.unpack("<i", await reader.readexactly(4))
    reply = await reader.readexactly(length - 4)
    return bson.decode(reply[17:])
