"""Uses a replica set as an application does and prints, as JSON, what the driver counted and where it went.

usage: mongo_members.py URI DATABASE all | reads | busy SECONDS

`all`: CRUD, sessions, transactions, change streams, reads from secondaries. `reads`: only what any member answers. `busy`:
writes with retries for so long, printing a line once it has begun; afterwards every write must be there once.
"""

import json
import sys
import time

import pymongo
from mongo import Counter
from pymongo import ReadPreference, errors


class Watching(Counter):
    """Also notes where commands went."""

    def __init__(self):
        super().__init__()
        self.servers = set()

    def started(self, event):
        self.servers.add(f"{event.connection_id[0]}:{event.connection_id[1]}")
        super().started(event)


def use(client, db):
    items = db.items
    items.drop()
    items.insert_many([{"_id": n, "n": n} for n in range(50)])
    assert items.update_many({"n": {"$lt": 10}}, {"$inc": {"n": 100}}).modified_count == 10
    assert items.delete_one({"_id": 49}).deleted_count == 1
    assert len(list(items.find({}, batch_size=20))) == 49
    try:
        items.insert_one({"_id": 1})
        raise AssertionError("a duplicate was taken")
    except errors.DuplicateKeyError:
        pass
    with client.start_session(causal_consistency=True) as session:
        items.insert_one({"_id": 1000}, session=session)
        secondary = db.get_collection("items", read_preference=ReadPreference.SECONDARY)
        assert secondary.find_one({"_id": 1000}, session=session)
    transactions(client, items)
    with items.watch(max_await_time_ms=200) as stream:
        for n in range(5):
            items.insert_one({"_id": 2000 + n})
        assert [next(stream)["documentKey"]["_id"] for _ in range(5)] == [2000 + n for n in range(5)]
    client.drop_database(db.name)


def transactions(client, items):
    def work(session):
        items.insert_one({"_id": 1001}, session=session)
        items.update_one({"_id": 1001}, {"$set": {"x": 1}}, session=session)

    with client.start_session() as session:
        session.with_transaction(work)
        session.start_transaction()
        items.delete_many({}, session=session)
        session.abort_transaction()
    assert items.find_one({"_id": 1001})["x"] == 1


def reads(client, db):
    client.admin.command("ping")
    for _ in range(5):
        list(db.nothing.find({}))


def busy(db, seconds):
    items, done = db.busy, 0
    items.drop()
    print("busy", file=sys.stderr, flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        items.insert_one({"_id": done})
        assert items.find_one({"_id": done})
        done += 1
        time.sleep(0.01)
    assert items.count_documents({}) == done
    items.drop()


def main():
    uri, database, what = sys.argv[1:4]
    counter = Watching()
    client = pymongo.MongoClient(uri, event_listeners=[counter], appname="weir-members", serverSelectionTimeoutMS=30000)
    db = client[database]
    if what == "all":
        use(client, db)
    elif what == "reads":
        reads(client, client.get_database(database, read_preference=ReadPreference.PRIMARY_PREFERRED))
    else:
        busy(db, float(sys.argv[4]))
    known = sorted(f"{host}:{port}" for host, port in client.nodes)
    client.close()
    counted = [[*key, count] for key, count in sorted(counter.counted.items())]
    json.dump({"driver": pymongo.version, "counted": counted, "servers": sorted(counter.servers), "known": known}, sys.stdout)


main()
