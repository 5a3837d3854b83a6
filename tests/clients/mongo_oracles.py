"""Does CRUD on two databases with one client, and prints, as JSON, what three independent oracles counted meanwhile.

usage: mongo_oracles.py URI SERVER DATABASE

URI goes through Weir to the server at SERVER, which becomes a replica set of one. The oracles: the driver's command monitoring, the
server's opcounters, and its profiler.
"""

import collections
import json
import sys
import time

import pymongo
from mongo import Counter, expect
from mongo_measure import opcounters, ready, settled
from pymongo import errors

# What the profiler calls each; all others are `command`.
OPS = {"insert", "query", "update", "remove", "getmore"}


def crud(db):
    people = db.people
    people.insert_many([{"_id": n, "age": n % 7} for n in range(250)])
    people.insert_one({"_id": "one"})
    expect(errors.BulkWriteError, lambda: people.insert_many([{"_id": 1}, {"_id": 1000}], ordered=False))
    assert len(list(people.find({}, batch_size=100))) == 252
    assert len(list(people.find({"age": 1}).limit(3))) == 3
    # One of them is no number. (For JavaScript the server would ask itself for what is stored of that.)
    expect(errors.OperationFailure, lambda: list(people.find({"$expr": {"$toInt": "$_id"}}, batch_size=500)))
    assert people.update_many({"age": 3}, {"$set": {"x": 1}}).modified_count == 36
    people.update_one({"_id": "new"}, {"$set": {"a": 1}}, upsert=True)
    people.bulk_write([
        pymongo.UpdateOne({"_id": 1}, {"$set": {"b": 1}}), pymongo.UpdateOne({"_id": 2}, {"$set": {"b": 1}}),
        pymongo.DeleteOne({"_id": 3}), pymongo.DeleteOne({"_id": 4}), pymongo.InsertOne({"_id": "last"}),
    ])
    people.delete_many({"age": 6})
    people.delete_one({"_id": 5})
    people.find_one_and_update({"_id": 10}, {"$set": {"x": 1}})
    assert people.distinct("age") and people.estimated_document_count()
    assert people.count_documents({"age": 1})
    assert list(people.aggregate([{"$group": {"_id": "$age"}}], batchSize=2))
    cursor = people.find({}, batch_size=10)
    next(cursor)
    cursor.close()


def indexes(people):
    """To build one the server asks itself, and counts that as queries."""
    people.create_index("age")
    assert len(list(people.list_indexes())) == 2
    people.drop_index("age_1")


def profiled(server, name):
    """What the profiler has kept: by operation, namespace, command and how it ended; and documents written and returned."""
    counts, documents = collections.Counter(), collections.Counter()
    for entry in server[name]["system.profile"].find():
        command = {"getmore": "getMore", "update": "update", "remove": "delete"}.get(entry["op"])
        command = command or next(iter(entry["command"]))
        counts[(entry["op"], entry["ns"], command, "error" if "errCode" in entry else "ok")] += 1
        documents[("inserted", entry["ns"])] += entry.get("ninserted", 0)
        documents[("returned", entry["ns"])] += entry.get("nreturned", 0)
    return counts, documents


def main():
    uri, direct, database = sys.argv[1:4]
    server = pymongo.MongoClient(direct, directConnection=True)
    ready(server)
    names = [f"{database}_{n}" for n in range(2)]
    for name in names:
        server[name].create_collection("system.profile", capped=True, size=32 << 20)
        server[name].create_collection("people")
        server[name].command("profile", 2, slowms=0)
    counter = Counter()
    # For a retryable write the server asks itself what it knows of the session, and counts that as a query.
    client = pymongo.MongoClient(uri, retryWrites=False, event_listeners=[counter], appname="weir-oracles")
    client.admin.command("ping")
    before = settled(server)
    for name in names:
        crud(client[name])
    after = opcounters(server)
    for name in names:
        indexes(client[name].people)
    client.close()
    counts, documents = collections.Counter(), collections.Counter()
    for name in names:
        server[name].command("profile", 0)
        for sums, fresh in zip((counts, documents), profiled(server, name)):
            sums.update(fresh)
    print(json.dumps({
        "driver": pymongo.version,
        "counted": [[*key, count] for key, count in sorted(counter.counted.items())],
        "opcounters": {name: after[name] - before[name] for name in after},
        "profiled": [[*key, count] for key, count in sorted(counts.items())],
        "documents": [[*key, count] for key, count in sorted(documents.items()) if count],
    }))


main()
