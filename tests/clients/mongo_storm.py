"""So many clients at once: each connects, says hello, pings, and goes; whoever is turned away comes again after a while.

usage: mongo_storm.py PORT SERVER_PORT COUNT SECONDS

Prints as JSON how many came through within that time, how often they were turned away and how, and the most connections that the
server itself saw meanwhile (asked past Weir).
"""

import asyncio
import collections
import json
import random
import sys
import time

from mongo_raw import ask, hello

PORT, SERVER, COUNT, SECONDS = (int(word) for word in sys.argv[1:])
turned_away = collections.Counter()
seen = 0


async def once():
    """One try; how it went, if not well."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    except OSError as error:
        return f"connect: {type(error).__name__}"
    try:
        for document in (hello("storm"), {"ping": 1, "$db": "admin"}):
            reply = await ask(reader, writer, document)
            if reply["ok"] != 1:
                return f"code {reply['code']}"
        return None
    except (OSError, EOFError):
        return "closed"
    finally:
        writer.close()


async def client(end):
    wait = 0.1
    while time.monotonic() < end:
        why = await once()
        if why is None:
            return True
        turned_away[why] += 1
        await asyncio.sleep(random.uniform(wait / 2, wait))
        wait = min(2 * wait, 2)
    return False


async def watch():
    global seen
    reader, writer = await asyncio.open_connection("127.0.0.1", SERVER)
    while True:
        status = await ask(reader, writer, {"serverStatus": 1, "$db": "admin"})
        # This one is not Weir's.
        seen = max(seen, status["connections"]["current"] - 1)
        await asyncio.sleep(0.02)


async def main():
    watching = asyncio.create_task(watch())
    begun = time.monotonic()
    through = await asyncio.gather(*(client(begun + SECONDS) for _ in range(COUNT)))
    took = time.monotonic() - begun
    watching.cancel()
    print(json.dumps({"through": sum(through), "turned_away": turned_away, "seen": seen, "took": took}))


asyncio.run(main())
