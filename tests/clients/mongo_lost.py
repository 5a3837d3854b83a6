"""Does one of each kind of operation while its server is lost in the middle, and prints, as JSON, what came of it.

usage: mongo_lost.py URI DIRECT_URI DATABASE

URI goes through Weir to a server whose connections are cut when certain words come by; DIRECT_URI does not. For each attempt: the
error's code and labels (0 when there was none), the commands that the driver sent and how each ended, and how often it cleared its pool.
Works with pymongo 4.6 and current.
"""

import json
import sys
import threading

import pymongo
from tries import Watch, outcome


def main():
    uri, direct_uri, name = sys.argv[1:4]
    direct = pymongo.MongoClient(direct_uri)[name]
    for collection in ["warm", "lost_find", "lost_insert", "lost_many", "lost_more", "lost_commit", "lost_txn", "lost_stream"]:
        direct[collection].drop()
        direct[collection].insert_many([{"_id": n} for n in range(10)])
    watch, results = Watch(), {}
    client = pymongo.MongoClient(uri, appname="weir-lost", event_listeners=[watch], serverSelectionTimeoutMS=10000)
    db = client[name]
    client.admin.command("ping")

    def attempt(what, call):
        watch.clear()
        results[what] = {**outcome(call), **watch.seen()}

    attempt("warm", lambda: db.warm.find_one())
    attempt("find", lambda: db.lost_find.find_one())
    attempt("insert", lambda: db.lost_insert.insert_one({"_id": "x"}))
    attempt("many", lambda: db.lost_many.update_many({}, {"$inc": {"n": 1}}))
    # Half read: what goes on with a cursor is not tried anew.
    cursor = db.lost_more.find({}, batch_size=2)
    next(cursor), next(cursor)
    attempt("more", lambda: next(cursor))

    def transaction(collection):
        with client.start_session() as session:
            session.with_transaction(lambda s: collection.insert_one({"_id": "x"}, session=s))

    attempt("commit", lambda: transaction(db.lost_commit))
    attempt("txn", lambda: transaction(db.lost_txn))

    seen = []
    stream = db.lost_stream.watch(max_await_time_ms=500)

    def follow():
        later = threading.Timer(1.0, lambda: direct.lost_stream.insert_one({"_id": "x"}))
        later.start()
        seen.append(next(stream)["documentKey"]["_id"])

    attempt("stream", follow)
    stream.close()
    written = {
        "insert": direct.lost_insert.count_documents({"_id": "x"}), "many": direct.lost_many.count_documents({"n": 1}),
        "txn": direct.lost_txn.count_documents({"_id": "x"}), "commit": direct.lost_commit.count_documents({"_id": "x"}),
    }
    client.close()
    print(json.dumps({"driver": pymongo.version, "results": results, "seen": seen, "written": written}))


main()
