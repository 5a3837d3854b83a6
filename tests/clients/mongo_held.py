"""Holds so many connections, on each of which it has said hello and read a collection of 100 documents ten times.

usage: mongo_held.py PORT CONNECTIONS

All of them read at the same time. Prints how many documents they have got; the connections stay until the input ends.
"""

import asyncio
import sys

from mongo_raw import ask, hello

DOCUMENTS, BATCH, TIMES = 100, 50, 10


async def fill(port):
    connection = await asyncio.open_connection("127.0.0.1", port)
    documents = [{"_id": n, "text": "x" * 200} for n in range(DOCUMENTS)]
    for command in ({"delete": "held", "deletes": [{"q": {}, "limit": 0}]}, {"insert": "held", "documents": documents}):
        reply = await ask(*connection, {**command, "$db": "held"})
        assert reply["ok"] == 1 and "writeErrors" not in reply, reply
    connection[1].close()


async def read(connection):
    """Reads the collection in as many batches as it takes; how many documents there were."""
    reply = await ask(*connection, {"find": "held", "batchSize": BATCH, "$db": "held"})
    got = len(reply["cursor"]["firstBatch"])
    while more := reply["cursor"]["id"]:
        reply = await ask(*connection, {"getMore": more, "collection": "held", "batchSize": BATCH, "$db": "held"})
        got += len(reply["cursor"]["nextBatch"])
    return got


async def connect(port):
    connection = await asyncio.open_connection("127.0.0.1", port)
    assert (await ask(*connection, hello("held")))["ok"] == 1
    return connection


async def use(connection):
    return sum([await read(connection) for _ in range(TIMES)])


async def main():
    port, connections = int(sys.argv[1]), int(sys.argv[2])
    await fill(port)
    held = await asyncio.gather(*(connect(port) for _ in range(connections)))
    print(sum(await asyncio.gather(*(use(connection) for connection in held))), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
