"""Makes a few calls of one kind through Weir.

usage: mongo_calls.py URI slow

slow: a find that takes a while, and has a condition that holds a secret.
"""

import sys

import pymongo

CLIENT = pymongo.MongoClient(sys.argv[1], appname="weir-e2e-calls")
PEOPLE = CLIENT.calls.people


def slow():
    PEOPLE.insert_one({"name": "secret"})
    assert PEOPLE.find_one({"name": "secret", "$where": "sleep(200) || true"})


{"slow": slow}[sys.argv[2]]()
CLIENT.close()
