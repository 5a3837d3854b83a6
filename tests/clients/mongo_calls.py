"""Makes a few calls of one kind through Weir.

usage: mongo_calls.py URI WHAT [SERVER]

slow: a find that takes a while, and has a condition that holds a secret.
sites: operations whose comments say where they come from.
hellos: what the server is, asked more than once on a connection.
many: 80 operations from 40 places.
lying: cursors and a transaction that nobody goes on with; SERVER is the server's own URI.
retried: a write that the driver sends again, if its connection is lost.
tenants: operations on collections that are many and mean one.
standing: an operation on the same connection for each line of the input.
"""

import json
import os
import sys
import time

import pymongo
from pymongo import errors

CLIENT = pymongo.MongoClient(sys.argv[1], appname="weir-e2e-calls")
# Other tests call the same server at the same time.
DATABASE = CLIENT[f"calls_{os.getpid()}"]
PEOPLE = DATABASE.people


def slow():
    PEOPLE.insert_one({"name": "secret"})
    assert PEOPLE.find_one({"name": "secret", "$where": "sleep(200) || true"})


def sites():
    PEOPLE.drop()
    where = {"callingFunction": "orders.load:17", "user": "secret"}
    for n in range(3):
        PEOPLE.insert_one({"n": n}, comment=where)
    assert list(PEOPLE.find({}, comment=json.dumps(where), batch_size=2))
    try:
        PEOPLE.find_one({"$nonsense": 1}, comment={"callingFunction": "orders.break:5"})
    except errors.OperationFailure:
        pass
    # Longer than any buffer; one as drivers send it, one whose database is named at its end.
    large = [{"text": "x" * 100_000} for _ in range(10)]
    PEOPLE.insert_many(large, comment={"callingFunction": "orders.fill:9"})
    for one in large:
        del one["_id"]
    DATABASE.command({"insert": "people", "comment": {"callingFunction": "orders.raw:1"}, "documents": large})
    assert PEOPLE.find_one({"n": 1, "$comment": "at orders.old for secret"})
    PEOPLE.count_documents({}, comment="secret")
    PEOPLE.count_documents({}, comment={"callingFunction": "invented"})
    PEOPLE.count_documents({})


def hellos():
    for _ in range(3):
        CLIENT.admin.command("hello")


def many():
    for n in range(80):
        PEOPLE.find_one(comment=f"site {n % 40}")


def tenants():
    """Goes on for a while after a line on its standard input."""
    orders = [CLIENT.calls[f"tenant_{n}_orders"] for n in range(3)]
    denied, cursors = 0, []
    for collection in orders:
        try:
            collection.drop()
        except errors.OperationFailure as failure:
            assert failure.code == 13, failure
            denied += 1
        collection.insert_many([{"n": n} for n in range(5)])
        assert list(collection.find({"$where": "sleep(20) || true"}))
        cursors.append(collection.find({}, batch_size=2))
        next(cursors[-1])
    for n in range(3):
        CLIENT[f"customer_{n}"].carts.find_one()
    CLIENT.calls.people.find_one()
    print("denied", denied, flush=True)
    if sys.stdin.readline():
        end = time.monotonic() + 30
        while time.monotonic() < end:
            orders[1].find_one()


def lying():
    """Leaves cursors and a transaction lying, and one cursor that the server has forgotten."""
    server = pymongo.MongoClient(sys.argv[3], directConnection=True)
    PEOPLE.drop()
    PEOPLE.insert_many([{"n": n} for n in range(10)])
    cursors = [PEOPLE.find({}, batch_size=2) for _ in range(4)]
    for cursor in cursors:
        next(cursor)
    cursors[0].close()
    server[DATABASE.name].command("killCursors", "people", cursors=[cursors[1].cursor_id])
    try:
        list(cursors[1])
    except errors.CursorNotFound:
        pass
    session = CLIENT.start_session()
    session.start_transaction()
    PEOPLE.insert_one({"n": 11}, session=session)
    print("left", flush=True)
    sys.stdin.readline()
    session.abort_transaction()


def retried():
    """One write of a driver that never heard whether the first had been done, and says so."""
    PEOPLE.drop()
    PEOPLE.insert_one({"_id": "once"})
    assert PEOPLE.count_documents({"_id": "once"}) == 1


def standing():
    """An operation that takes a while, on the one connection, for each line of the input."""
    PEOPLE.insert_one({"n": 1})
    while sys.stdin.readline():
        PEOPLE.find_one({"$where": "sleep(50) || true"}, comment={"callingFunction": "orders.load:17"})
        print("done", flush=True)


CALLS = [slow, sites, hellos, many, tenants, lying, retried, standing]
{call.__name__: call for call in CALLS}[sys.argv[2]]()
CLIENT.close()
