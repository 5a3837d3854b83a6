"""Works on a replica set of one through Weir and prints, as JSON, what the driver and the server counted meanwhile.

usage: mongo_measure.py URI SERVER DATABASE

SERVER is the URI of the server itself, which becomes a replica set of one. The driver's command monitoring says how many
documents each command brought, got and wrote; the server's opcounters say how many operations there were.
"""

import collections
import json
import sys
import time

import pymongo
from pymongo import errors, monitoring

RETURNED = {"find": "firstBatch", "aggregate": "firstBatch", "listCollections": "firstBatch", "getMore": "nextBatch"}
SENT = {"insert": "documents", "update": "updates", "delete": "deletes"}


class Documents(monitoring.CommandListener):
    """Adds up documents by command, collection and what became of them."""

    def __init__(self):
        self.under_way = {}
        self.counted = collections.Counter()

    def started(self, event):
        name, command = event.command_name, event.command
        collection = command.get("collection" if name == "getMore" else name, "")
        resource = f"{event.database_name}.{collection}" if isinstance(collection, str) else event.database_name
        self.under_way[event.request_id] = (name, resource)
        self.add(event, "sent", len(command.get(SENT.get(name, ""), [])))

    def add(self, event, what, count):
        if count:
            self.counted[(*self.under_way[event.request_id], what)] += count

    def succeeded(self, event):
        name, reply = event.command_name, event.reply
        if name in RETURNED and "cursor" in reply:
            self.add(event, "returned", len(reply["cursor"][RETURNED[name]]))
        self.add(event, "returned", len(reply.get("values", [])) if name == "distinct" else 0)
        if name in SENT:
            self.add(event, "affected", reply.get("n", 0))
        if name == "findAndModify":
            self.add(event, "affected", reply["lastErrorObject"]["n"])
        if name == "update":
            self.add(event, "modified", reply.get("nModified", 0))

    def failed(self, event):
        pass


def ready(server):
    try:
        server.admin.command("replSetInitiate", {"_id": "solo", "members": [{"_id": 0, "host": server_address(server)}]})
    except errors.OperationFailure as failure:
        assert failure.code == 23, failure
    while not server.admin.command("hello").get("isWritablePrimary"):
        time.sleep(0.05)


def server_address(server):
    host, port = server.address
    return f"{host}:{port}"


def opcounters(server):
    counters = server.admin.command("serverStatus")["opcounters"]
    return {name: counters[name] for name in ("insert", "query", "update", "delete", "getmore")}


def settled(server):
    """The counters once a server that has just become one does nothing more on its own account."""
    before = opcounters(server)
    while True:
        time.sleep(0.5)
        after = opcounters(server)
        if after == before:
            return after
        before = after


def crud(db):
    people = db.people
    people.insert_many([{"_id": n, "age": n % 7, "name": f"secret{n}"} for n in range(250)])
    try:
        people.insert_many([{"_id": 1}, {"_id": 1000}, {"_id": 1001}], ordered=False)
    except errors.BulkWriteError:
        pass
    assert len(list(people.find({}, batch_size=100))) == 252
    assert len(list(people.find({"age": {"$in": [1, 2]}}).limit(10).max_time_ms(5000))) == 10
    assert people.update_many({"age": 3}, {"$set": {"age": 3}}).modified_count == 0
    people.update_many({"age": 4}, {"$inc": {"n": 1}})
    people.update_one({"_id": "new"}, {"$set": {"a": 1}}, upsert=True)
    people.delete_one({"_id": 5})
    people.delete_many({"age": 6})
    people.find_one_and_update({"_id": 10}, {"$set": {"x": 1}})
    assert people.distinct("age")
    people.bulk_write([pymongo.InsertOne({"_id": 2000 + n}) for n in range(3)] + [pymongo.DeleteOne({"_id": 2000})])


def more(client, db):
    people = db.people
    people.insert_many([{"_id": n, "name": f"secret{n}"} for n in range(30)])
    list(people.aggregate([{"$match": {"_id": 1}}, {"$out": "copy"}]))
    # Read in part, then closed: the driver kills it.
    cursor = people.find({}, batch_size=10)
    next(cursor)
    cursor.close()
    slow = list(people.find({"name": "secret7", "$where": "sleep(200) || true"}))
    assert len(slow) == 1
    with people.watch():
        pass
    transactions(client, people)


def transactions(client, people):
    with client.start_session() as session:
        with session.start_transaction():
            people.insert_one({"_id": "t1"}, session=session)
            people.insert_one({"_id": "t2"}, session=session)
        session.start_transaction()
        people.insert_one({"_id": "t3"}, session=session)
        session.abort_transaction()


def main():
    uri, direct, database = sys.argv[1:4]
    server = pymongo.MongoClient(direct, directConnection=True)
    server.admin.command("ping")
    ready(server)
    documents = Documents()
    options = {"event_listeners": [documents], "appname": "weir-e2e-measure"}
    # For a retryable write the server asks itself what it knows of the session, and counts that as a query.
    plain = pymongo.MongoClient(uri, retryWrites=False, **options)
    client = pymongo.MongoClient(uri, **options)
    plain.admin.command("ping")
    client.admin.command("ping")
    before = settled(server)
    crud(plain[database])
    after = opcounters(server)
    more(client, client[f"{database}_more"])
    plain.close()
    client.close()
    print(json.dumps({
        "counted": [[*key, count] for key, count in sorted(documents.counted.items())],
        "opcounters": {name: after[name] - before[name] for name in after},
    }))


if __name__ == "__main__":
    main()
