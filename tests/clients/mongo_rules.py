"""Does what rules forbid, limit and disturb, and prints, as JSON, what came of it.

usage: mongo_rules.py URI DIRECT_URI DATABASE [compressor]    URI goes through Weir, DIRECT_URI does not
       mongo_rules.py --late URI DIRECT_URI    writes that take too long
       mongo_rules.py --ask URI    for each line of the input: one find in `ask.plain`, and what came of it

For each attempt: the error's code and labels (0 when there was none), how often the driver tried, and how often it cleared
its pool. Works with pymongo 4.6 and current.
"""

import json
import os
import sys
import threading
import time

import pymongo
from pymongo import errors
from pymongo.write_concern import WriteConcern
from tries import Watch, outcome


WATCH = Watch()
RESULTS = {}


def attempt(name, call):
    """Calls and notes what came of it."""
    WATCH.clear()
    came = outcome(call)
    RESULTS[name] = {**came, "tries": len(WATCH.tries), "cleared": WATCH.cleared}


def ask(uri):
    client = pymongo.MongoClient(uri, maxPoolSize=1, appname="weir-rules-ask")
    for _ in sys.stdin:
        connection = client.admin.command("hello")["connectionId"]
        try:
            client.ask.plain.find_one()
            print(connection, 0, flush=True)
        except errors.OperationFailure as error:
            print(connection, error.code, flush=True)


def main():
    uri, direct_uri, name = sys.argv[1:4]
    options = {"compressors": sys.argv[4]} if len(sys.argv) > 4 else {}
    direct = pymongo.MongoClient(direct_uri)
    for collection in ["plain", "secrets", "slow", "single", "chaos", "lag", "limited"]:
        direct[name][collection].replace_one({"_id": 1}, {"_id": 1}, upsert=True)
    direct[f"{name}_frozen"].stock.replace_one({"_id": 1}, {"_id": 1}, upsert=True)
    client = pymongo.MongoClient(uri, appname="weir-rules", event_listeners=[WATCH], **options)
    db, frozen = client[name], client[f"{name}_frozen"]
    attempt("warm", lambda: db.plain.find_one())

    attempt("drop", lambda: client.drop_database(name))
    attempt("secret_find", lambda: db.secrets.find_one())
    attempt("secret_lookup", lambda: list(db.plain.aggregate([
        {"$lookup": {"from": "secrets", "localField": "_id", "foreignField": "_id", "as": "them"}}])))
    attempt("secret_union", lambda: list(db.plain.aggregate([{"$unionWith": "secrets"}])))
    attempt("secret_rename", lambda: db.secrets.rename("plain2"))
    attempt("secret_view", lambda: db.command("create", "peek", viewOn="secrets", pipeline=[]))
    attempt("plain_aggregate", lambda: list(db.plain.aggregate([{"$match": {}}])))

    attempt("frozen_find", lambda: frozen.stock.find_one())
    attempt("frozen_insert", lambda: frozen.stock.insert_one({}))
    attempt("frozen_many", lambda: frozen.stock.insert_many([{"pad": "x" * 9000} for _ in range(100)]))
    attempt("frozen_update", lambda: frozen.stock.update_one({}, {"$set": {"a": 1}}))
    attempt("frozen_modify", lambda: frozen.stock.find_one_and_delete({}))
    attempt("frozen_out", lambda: list(frozen.stock.aggregate([{"$out": "copy"}])))
    attempt("frozen_merge_from_elsewhere", lambda: list(db.plain.aggregate([{"$merge": {"into": {"db": f"{name}_frozen", "coll": "copy"}}}])))
    attempt("frozen_explain_write", lambda: frozen.command("explain", {"update": "stock", "updates": [{"q": {}, "u": {"a": 1}}]}))
    attempt("frozen_unknown", lambda: frozen.command("noSuchCommand"))
    attempt("frozen_silent", lambda: frozen.get_collection("stock", write_concern=WriteConcern(w=0)).insert_one({}))
    attempt("after_silent", lambda: db.plain.find_one())
    attempt("not_frozen_insert", lambda: db.plain.insert_one({}))

    for n in range(3):
        attempt(f"limited_{n}", lambda: db.limited.find_one())

    # All of these say their database last, behind what is large.
    many, pad = list(range(60_000)), "x" * 400_000
    attempt("large_find", lambda: list(db.plain.find({"a": {"$in": many}})))
    attempt("large_aggregate", lambda: list(db.plain.aggregate([{"$match": {"a": {"$in": many}}}])))
    attempt("large_modify", lambda: db.plain.find_one_and_update({"a": 1}, {"$set": {"pad": pad}}))
    attempt("large_update", lambda: db.plain.update_one({"a": 1}, {"$set": {"pad": pad}}))
    attempt("large_insert", lambda: db.command("insert", "plain", documents=[{"pad": "x" * 15_000_000}]))
    attempt("large_secret", lambda: list(db.secrets.find({"a": {"$in": many}})))

    holding = threading.Thread(target=lambda: hold(uri, name, options))
    holding.start()
    while not any(op.get("ns") == f"{name}.single" for op in direct.admin.aggregate([{"$currentOp": {}}])):
        time.sleep(0.01)
    attempt("single", lambda: db.single.find_one())
    holding.join()
    attempt("single_again", lambda: db.single.find_one())

    began = time.monotonic()
    attempt("slow", lambda: db.slow.find_one({"$where": "sleep(60000) || true"}))
    RESULTS["slow"]["seconds"] = time.monotonic() - began
    gone_by = time.monotonic() + 20
    while any(op.get("ns") == f"{name}.slow" for op in direct.admin.aggregate([{"$currentOp": {}}])):
        assert time.monotonic() < gone_by, "the server still works on what nobody waits for"
        time.sleep(0.05)
    attempt("after_slow", lambda: db.plain.find_one())

    attempt("chaos_read", lambda: db.chaos.find_one())
    attempt("chaos_write", lambda: db.chaos.insert_one({}))
    began = time.monotonic()
    attempt("lag", lambda: db.lag.find_one())
    RESULTS["lag"]["seconds"] = time.monotonic() - began
    stock = direct[f"{name}_frozen"].stock.count_documents({})
    print(json.dumps({"driver": pymongo.version, "results": RESULTS, "stock": stock}))


def hold(uri, name, options):
    """Keeps one operation on `single` under way for a while."""
    client = pymongo.MongoClient(uri, **options)
    client[name].single.find_one({"$where": "sleep(1500) || true"})


def late(uri, server):
    """Writes that take too long: what the application is told, and what became of them."""
    direct = pymongo.MongoClient(server, directConnection=True)
    told = {}
    for compressors in ("", "zlib"):
        client = pymongo.MongoClient(uri, directConnection=True, **({"compressors": compressors} if compressors else {}))
        for name, write in {
            "update": lambda c: c.update_many({"$where": "sleep(100) || true"}, {"$inc": {"n": 1}}),
            "delete": lambda c: c.delete_many({"$where": "sleep(100) || true"}),
            "modify": lambda c: c.find_one_and_update({"$where": "sleep(2000) || true"}, {"$inc": {"n": 1}}),
        }.items():
            collection = f"late_{os.getpid()}_{name}"
            kept = direct.late[collection]
            kept.drop()
            kept.insert_many([{"n": 0} for _ in range(40)])
            try:
                write(client.late[collection])
                code = 0
            except errors.PyMongoError as failure:
                code = getattr(failure, "code", None)
            while any(op.get("ns") == f"late.{collection}" for op in direct.admin.aggregate([{"$currentOp": {}}])):
                time.sleep(0.05)
            told[f"{name} {compressors}"] = [code, kept.count_documents({"n": 0})]
            kept.drop()
    print(json.dumps(told))


if sys.argv[1] == "--late":
    late(*sys.argv[2:])
elif sys.argv[1] == "--ask":
    ask(sys.argv[2])
else:
    main()
