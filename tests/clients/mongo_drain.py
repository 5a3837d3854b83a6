"""Has a transaction, a half-read cursor and a change stream open, and goes on with them while its Weir goes away.

usage: mongo_drain.py URI DATABASE

Prints `ready` when all three are open and waits for a line; then goes on with the transaction and the cursor, slowly, says `committed
and read` and waits for another line; then goes on with the change stream, and prints as JSON what it came to.
"""

import collections
import json
import sys
import threading
import time

import pymongo
from mongo import Counter
from pymongo import monitoring


class Watch(Counter):
    """Also notes what failed, as the application would not."""

    def __init__(self):
        super().__init__()
        self.failures = []

    def failed(self, event):
        failure = event.failure
        self.failures.append([event.command_name, failure.get("code", 0), sorted(failure.get("errorLabels", []))])
        super().failed(event)


class Pools(monitoring.ConnectionPoolListener):
    """Counts cleared pools and closed connections by reason."""

    def __init__(self):
        self.cleared = 0
        self.closed = collections.Counter()

    def pool_cleared(self, event):
        self.cleared += 1

    def connection_closed(self, event):
        self.closed[event.reason] += 1

    def ignore(self, event):
        pass

    pool_created = pool_ready = pool_closed = connection_created = connection_ready = ignore
    connection_check_out_started = connection_check_out_failed = connection_checked_out = connection_checked_in = ignore


def follow(stream, seen, wanted, errors):
    try:
        for change in stream:
            seen.append(change["documentKey"]["_id"])
            if len(seen) == wanted:
                return
    except pymongo.errors.PyMongoError as error:
        errors.append(f"the change stream: {error!r}")


def main():
    uri, database = sys.argv[1:3]
    counter, pools = Watch(), Pools()
    client = pymongo.MongoClient(uri, event_listeners=[counter, pools], appname="weir-drain")
    db = client[database]
    db.items.drop()
    db.changes.drop()
    db.items.insert_many([{"_id": n} for n in range(100)])
    db.changes.insert_one({"_id": "first"})
    errors, seen = [], []

    stream = db.changes.watch()
    following = threading.Thread(target=follow, args=(stream, seen, 6, errors), daemon=True)
    following.start()
    db.changes.insert_one({"_id": 0})
    while not seen:
        time.sleep(0.01)
    cursor = db.items.find({}, batch_size=10)
    read = [next(cursor)["_id"] for _ in range(15)]
    session = client.start_session()
    session.start_transaction()
    db.items.insert_one({"_id": "t0"}, session=session)
    counter.failures.clear()
    print("ready", flush=True)
    sys.stdin.readline()

    for n in range(1, 4):
        time.sleep(0.4)
        db.items.insert_one({"_id": f"t{n}"}, session=session)
        read += [next(cursor)["_id"] for _ in range(10)]
    session.commit_transaction()
    session.end_session()
    read += [one["_id"] for one in cursor]
    print("committed and read", flush=True)
    sys.stdin.readline()
    for n in range(1, 6):
        db.changes.insert_one({"_id": n})
        time.sleep(0.1)
    following.join(30)
    assert db.items.count_documents({}) == 104
    client.close()
    json.dump({
        "driver": pymongo.version, "counted": [[*key, count] for key, count in sorted(counter.counted.items())],
        "read": len(read), "distinct": len(set(read)), "seen": seen, "errors": errors,
        "failures": counter.failures, "cleared": pools.cleared, "closed": pools.closed,
    }, sys.stdout)


main()
