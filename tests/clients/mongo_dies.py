"""Runs one slow find, says `sleeping` once it is under way, then what the driver made of its end.

usage: mongo_dies.py URI
"""

import sys

import pymongo
from pymongo import errors, monitoring


class Announce(monitoring.CommandListener):
    def started(self, event):
        if event.command_name == "find":
            print("sleeping", flush=True)

    def succeeded(self, event):
        pass

    def failed(self, event):
        if event.command_name == "find":
            failure = event.failure
            print(failure.get("code"), failure.get("codeName"), flush=True)


client = pymongo.MongoClient(sys.argv[1], retryReads=False, event_listeners=[Announce()])
client.t.t.insert_one({"_id": 1})
try:
    list(client.t.t.find({"$where": "sleep(20000) || true"}))
except errors.OperationFailure:
    pass
