"""Drives a MongoDB server with pymongo and prints, as JSON, what the driver itself counted.

usage: mongo.py URI DATABASE [compressor]

The driver's command monitoring is the oracle: every command that it published, by database, collection, command, result
and code name, with the same words that Weir uses. Works with pymongo 4.6 and current.
"""

import collections
import json
import sys

import pymongo
from pymongo import errors, monitoring
from pymongo.cursor import CursorType

BY_OTHER_KEY = {"getMore": "collection"}
NO_COLLECTION = {
    "ping", "endSessions", "commitTransaction", "abortTransaction", "listDatabases", "listCollections",
    "dropDatabase", "dbStats", "serverStatus", "buildInfo", "connectionStatus",
}


# What is wrong with one write of many has a number only.
NAMES = {9: "FailedToParse", 11000: "DuplicateKey"}


class Counter(monitoring.CommandListener):
    """Counts what the driver says it did; with `codes` by code name too."""

    def __init__(self, codes=False):
        self.codes = codes
        self.under_way = {}
        self.counted = collections.Counter()

    def started(self, event):
        command = event.command
        name = event.command_name
        if name in NO_COLLECTION:
            collection = ""
        else:
            collection = command.get(BY_OTHER_KEY.get(name, name), "")
            collection = collection if isinstance(collection, str) else ""
        resource = f"{event.database_name}.{collection}" if collection else event.database_name
        self.under_way[event.request_id] = (name, resource)

    def succeeded(self, event):
        reply = event.reply
        result, at_fault = "ok", {}
        if not reply.get("ok"):
            # pymongo forgives some errors (dropping what is not there) and publishes them as successes.
            result, at_fault = "error", reply
        elif reply.get("writeErrors"):
            result, at_fault = "write_error", reply["writeErrors"][0]
        elif reply.get("writeConcernError"):
            result, at_fault = "write_concern_error", reply["writeConcernError"]
        self.count(event, result, at_fault)

    def failed(self, event):
        self.count(event, "error", event.failure)

    def count(self, event, result, at_fault):
        name, resource = self.under_way.pop(event.request_id)
        code = at_fault.get("codeName") or NAMES.get(at_fault.get("code"), "")
        self.counted[(name, resource, result, code) if self.codes else (name, resource, result)] += 1


def expect(error, call):
    """The call must fail so."""
    try:
        call()
    except error:
        return
    raise AssertionError(f"expected {error.__name__}")


def crud(db):
    people = db.people
    people.drop()
    people.insert_one({"_id": 1, "name": "Ada"})
    expect(errors.DuplicateKeyError, lambda: people.insert_one({"_id": 1}))
    people.insert_many([{"_id": n, "name": f"n{n}", "pad": "x" * 100} for n in range(2, 500)])
    assert people.find_one({"_id": 3})["name"] == "n3"
    assert len(list(people.find({}, batch_size=100))) == 499
    assert people.count_documents({"_id": {"$gt": 10}}) == 489
    assert people.update_one({"_id": 2}, {"$set": {"name": "Bo"}}).modified_count == 1
    assert people.update_many({"_id": {"$lt": 10}}, {"$set": {"x": 1}}).matched_count == 9
    assert people.delete_one({"_id": 4}).deleted_count == 1
    assert people.find_one_and_update({"_id": 5}, {"$inc": {"x": 1}})["x"] == 1
    assert people.distinct("x")
    grouped = list(people.aggregate([{"$group": {"_id": "$x", "n": {"$sum": 1}}}]))
    assert len(grouped) >= 2
    people.create_index("name")
    assert len(list(people.list_indexes())) == 2
    assert "people" in db.list_collection_names()


def bulk(db):
    things = db.things
    things.drop()
    things.insert_one({"_id": 1})
    ops = [pymongo.InsertOne({"_id": n}) for n in (1, 2, 3, 1, 4)]
    ops += [pymongo.UpdateOne({"_id": 2}, {"$set": {"a": 1}}), pymongo.DeleteOne({"_id": 3})]
    try:
        things.bulk_write(ops, ordered=False)
        raise AssertionError("a bulk write with duplicates succeeded")
    except errors.BulkWriteError as failed:
        assert failed.details["nInserted"] == 3, failed.details
        assert len(failed.details["writeErrors"]) == 2


def failures(db):
    expect(errors.OperationFailure, lambda: db.command("noSuchCommand"))
    expect(errors.OperationFailure, lambda: db.people.update_one({}, {"$badOperator": {"a": 1}}))
    expect(errors.OperationFailure, lambda: list(db.people.find({"$where": "throw 'no'"})))
    # An error where there is no replica set, and inside an ok:1 where there is one of three members.
    concern = pymongo.WriteConcern(w=4, wtimeout=50)
    expect(errors.PyMongoError, lambda: db.get_collection("concern", write_concern=concern).insert_one({"a": 1}))


def unacknowledged(db):
    quiet = db.get_collection("quiet", write_concern=pymongo.WriteConcern(w=0))
    quiet.insert_one({"_id": 1})
    quiet.insert_many([{"_id": n} for n in range(2, 20)])
    quiet.update_one({"_id": 1}, {"$set": {"a": 1}})
    # The same connection answers this only after it has done those.
    for _ in range(200):
        if db.quiet.find_one({"a": 1}) and db.quiet.count_documents({}) == 19:
            return
    raise AssertionError("unacknowledged writes did not arrive")


def exhaust(db):
    cursor = db.people.find({}, cursor_type=CursorType.EXHAUST, batch_size=50)
    assert len(list(cursor)) == 498


def tailing(db):
    """An awaitData cursor: its getMore is a long poll."""
    db.drop_collection("tail")
    db.create_collection("tail", capped=True, size=1 << 20)
    db.tail.insert_one({"_id": 1})
    cursor = db.tail.find({}, cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(150)
    assert next(cursor)["_id"] == 1
    expect(StopIteration, lambda: cursor.next())
    cursor.close()


def large(db):
    big = db.big
    big.drop()
    block = "x" * (15 << 20)
    big.insert_many([{"_id": n, "block": block} for n in range(4)])
    assert sum(len(d["block"]) for d in big.find({})) == 4 * len(block)
    big.drop()


def main():
    uri, database = sys.argv[1:3]
    counter = Counter(codes=True)
    options = {"event_listeners": [counter], "appname": "weir-e2e", "retryWrites": False}
    if len(sys.argv) > 3:
        options["compressors"] = sys.argv[3]
    client = pymongo.MongoClient(uri, **options)
    db = client[database]
    client.admin.command("ping")
    crud(db)
    bulk(db)
    failures(db)
    unacknowledged(db)
    exhaust(db)
    tailing(db)
    if len(sys.argv) <= 3:
        large(db)
    client.drop_database(database)
    client.close()
    json.dump(
        {
            "driver": pymongo.version,
            "counted": [[*key, count] for key, count in sorted(counter.counted.items())],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
