"""Does something with a replica set, past Weir, and returns when the set has a primary.

usage: mongo_set.py NAME PORT,PORT,.. initiate | primary | step_down | remove PORT | add PORT

`primary` prints the primary's port. A set that asks for it is told MONGO_SET_USER (`name:password`), who is made with it.
"""

import itertools
import os
import sys
import time

import pymongo
from pymongo import errors

NAME, PORTS = sys.argv[1], [int(port) for port in sys.argv[2].split(",")]


USER = dict(zip(("username", "password"), os.environ.get("MONGO_SET_USER", "").split(":"))) if "MONGO_SET_USER" in os.environ else {}


def direct(port, **options):
    options = options or USER
    return pymongo.MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=2000, **options)


def create_user():
    """By the localhost exception, which ends with it."""
    for port in itertools.cycle(PORTS):
        with direct(port, appname="first") as client:
            if client.admin.command("hello").get("isWritablePrimary"):
                client.admin.command("createUser", USER["username"], pwd=USER["password"], roles=["root"])
                return
        time.sleep(0.05)


def primary():
    """The primary's port, once there is one that all who are up agree upon."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for port in PORTS:
            try:
                with direct(port) as client:
                    hello = client.admin.command("hello")
                    if hello.get("isWritablePrimary") and settled(client):
                        return port
            except errors.PyMongoError:
                pass
        time.sleep(0.1)
    raise AssertionError("no primary within a minute")


def settled(client):
    """Whether every member that is up follows."""
    members = client.admin.command("replSetGetStatus")["members"]
    return all(member["stateStr"] in ("PRIMARY", "SECONDARY") for member in members if member["health"] == 1)


def configuration(change):
    """Changes the configuration on the primary."""
    with direct(primary()) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        change(config)
        config["version"] += 1
        client.admin.command("replSetReconfig", config)


def elect_after(milliseconds):
    """How long a primary may be silent before there is an election."""

    def change(config):
        config["settings"]["electionTimeoutMillis"] = milliseconds

    configuration(change)


def remove(port):
    def change(config):
        config["members"] = [one for one in config["members"] if one["host"] != f"127.0.0.1:{port}"]

    configuration(change)


def add(port):
    def change(config):
        number = max(one["_id"] for one in config["members"]) + 1
        config["members"].append({"_id": number, "host": f"127.0.0.1:{port}"})

    configuration(change)


def main():
    what, rest = sys.argv[3], sys.argv[4:]
    if what == "initiate":
        members = [{"_id": n, "host": f"127.0.0.1:{port}"} for n, port in enumerate(PORTS)]
        settings = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
        with direct(PORTS[0], appname="first") as client:
            client.admin.command("replSetInitiate", {"_id": NAME, "members": members, "settings": settings})
        if USER:
            create_user()
        # The first election comes soon, others only when a primary is really gone, not when the machine is busy for a while.
        elect_after(10000)
    elif what == "step_down":
        before = primary()
        with direct(before) as client:
            client.admin.command("replSetStepDown", 5, secondaryCatchUpPeriodSecs=5)
    elif what == "remove":
        remove(int(rest[0]))
    elif what == "add":
        add(int(rest[0]))
    print(primary())


main()
