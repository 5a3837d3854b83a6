"""Streams of replies and waiting cursors under rules, through Weir.

usage: mongo_batches.py URI DATABASE WHAT

exhaust: reads 6 batches of a stream; prints how many documents came, and how long it took.
slow: reads a stream of which each batch takes 300 ms, 5 of them.
tail: waits at the end of a capped collection, 2 s at a time, twice.
joins: prints the code of each command that names several collections, 0 where it went well.
"""

import json
import sys
import time

import pymongo
from pymongo import errors

CLIENT = pymongo.MongoClient(sys.argv[1], directConnection=True, appname="weir-e2e-batches", retryReads=False)
DATABASE = CLIENT[sys.argv[2]]


def exhaust():
    DATABASE.many.drop()
    DATABASE.many.insert_many([{"_id": n} for n in range(12)])
    began = time.monotonic()
    got = list(DATABASE.many.find({}, batch_size=2, cursor_type=pymongo.CursorType.EXHAUST))
    return {"got": len(got), "seconds": time.monotonic() - began}


def slow():
    DATABASE.slow.drop()
    DATABASE.slow.insert_many([{"_id": n} for n in range(5)])
    where = {"$where": "sleep(300) || true"}
    got = list(DATABASE.slow.find(where, batch_size=1, cursor_type=pymongo.CursorType.EXHAUST))
    return {"got": len(got)}


def tail():
    DATABASE.drop_collection("capped")
    DATABASE.create_collection("capped", capped=True, size=4096)
    DATABASE.capped.insert_one({"_id": 1})
    waits = pymongo.CursorType.TAILABLE_AWAIT
    cursor = DATABASE.capped.find({}, cursor_type=waits).max_await_time_ms(2000)
    got = [next(cursor)]
    began = time.monotonic()
    for _ in range(2):
        assert next(cursor, None) is None and cursor.alive
    return {"got": len(got), "seconds": time.monotonic() - began}


def joins():
    DATABASE.a.insert_one({"c": 1})
    DATABASE.b.insert_one({})
    lookup = {"$lookup": {"from": "b", "pipeline": [], "as": "x"}}
    hidden = {"$lookup": {"from": "secret", "pipeline": [], "as": "x"}}

    def aggregate(*stages):
        return {"aggregate": "a", "pipeline": list(stages), "cursor": {}}

    commands = {
        "join": aggregate(lookup),
        "union": aggregate({"$unionWith": {"coll": "b", "pipeline": [lookup]}}),
        "facet": aggregate({"$facet": {"x": [{"$count": "n"}], "y": [{"$sortByCount": "$c"}]}}),
        "out": aggregate({"$out": "report"}),
        "merge": aggregate({"$merge": {"into": "report"}}),
        "create": {"create": "made"},
        "view": {"create": "seen", "viewOn": "b", "pipeline": [lookup]},
        "of_view": {"aggregate": "seen", "pipeline": [lookup], "cursor": {}},
        "hidden_join": aggregate(hidden),
        "hidden_deep": aggregate({"$facet": {"x": [{"$unionWith": {"coll": "b", "pipeline": [hidden]}}]}}),
        "hidden_view": {"create": "seen2", "viewOn": "b", "pipeline": [hidden]},
        "hidden_out": aggregate({"$out": "secret"}),
        "hidden_explain": {"explain": aggregate(hidden)},
    }
    done = {}
    for name, command in commands.items():
        try:
            DATABASE.command(command)
            done[name] = 0
        except errors.OperationFailure as error:
            done[name] = error.code
    admin = {"rename": ("made", "named"), "hidden_rename": ("named", "secret")}
    for name, (old, new) in admin.items():
        try:
            CLIENT.admin.command("renameCollection", f"{sys.argv[2]}.{old}", to=f"{sys.argv[2]}.{new}")
            done[name] = 0
        except errors.OperationFailure as error:
            done[name] = error.code
    return done


print(json.dumps({"exhaust": exhaust, "slow": slow, "tail": tail, "joins": joins}[sys.argv[3]]()))
