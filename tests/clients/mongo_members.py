"""Uses a replica set as an application does and prints, as JSON, what the driver counted and where it went.

usage: mongo_members.py URI DATABASE all | files | login | reads | busy SECONDS | busy until | cursors NUMBER

`all`: CRUD, sessions, transactions, change streams, reads from secondaries. `files`: GridFS, 20 MiB up and down. `login`: one ping,
and the error if there was one. `reads`: only what any member answers. `busy`:
writes with retries for so long, or until a line is read, printing a line once it has begun; afterwards every write must be there once. `cursors`: so many
at once, each read in part.
"""

import json
import sys
import threading
import time

import gridfs
import pymongo
from mongo import Counter
from pymongo import ReadPreference, errors, monitoring


class Watching(Counter, monitoring.ConnectionPoolListener):
    """Also notes where commands went, and counts connections that were made."""

    def __init__(self):
        super().__init__()
        self.servers = set()
        self.connections = 0

    def connection_ready(self, event):
        self.connections += 1

    def ignore(self, event):
        pass

    pool_created = pool_ready = pool_cleared = pool_closed = connection_created = connection_closed = ignore
    connection_check_out_started = connection_check_out_failed = connection_checked_out = connection_checked_in = ignore

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


def files(client, db):
    bucket = gridfs.GridFSBucket(db)
    block = bytes(range(256)) * 4096
    with bucket.open_upload_stream("large") as upload:
        for n in range(20):
            upload.write(n.to_bytes(1, "little") + block[1:])
    found = bucket.open_download_stream_by_name("large")
    for n in range(20):
        assert found.read(len(block)) == n.to_bytes(1, "little") + block[1:]
    assert found.read() == b""
    bucket.delete(upload._id)
    client.drop_database(db.name)


def login(client):
    try:
        client.admin.command("ping")
    except errors.OperationFailure as failure:
        return failure.code
    except errors.ConnectionFailure:
        return -1
    return 0


def reads(client, db):
    client.admin.command("ping")
    for _ in range(5):
        list(db.nothing.find({}))


def until_told():
    enough = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), enough.set()), daemon=True).start()
    return lambda: not enough.is_set()


def so_long(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end


def busy(db, goes_on):
    items, done = db.busy, 0
    items.drop()
    print("busy", file=sys.stderr, flush=True)
    while goes_on():
        items.insert_one({"_id": done})
        assert items.find_one({"_id": done})
        done += 1
        time.sleep(0.01)
    assert items.count_documents({}) == done
    items.drop()


def cursors(db, number):
    db.many.drop()
    db.many.insert_many([{"_id": n} for n in range(3)])
    opened = [db.many.find({}, batch_size=2) for _ in range(number)]
    assert [next(cursor)["_id"] for cursor in opened] == [0] * number
    for cursor in opened:
        cursor.close()
    db.many.drop()


def main():
    uri, database, what = sys.argv[1:4]
    counter = Watching()
    client = pymongo.MongoClient(uri, event_listeners=[counter], appname="weir-members")
    db, code = client[database], 0
    if what == "all":
        use(client, db)
    elif what == "files":
        files(client, db)
    elif what == "login":
        code = login(client)
    elif what == "reads":
        reads(client, client.get_database(database, read_preference=ReadPreference.PRIMARY_PREFERRED))
    elif what == "cursors":
        cursors(db, int(sys.argv[4]))
    else:
        busy(db, until_told() if sys.argv[4] == "until" else so_long(float(sys.argv[4])))
    known = sorted(f"{host}:{port}" for host, port in client.nodes)
    client.close()
    counted = [[*key, count] for key, count in sorted(counter.counted.items())]
    json.dump({
        "driver": pymongo.version, "counted": counted, "servers": sorted(counter.servers), "known": known, "code": code,
        "connections": counter.connections,
    }, sys.stdout)


main()
