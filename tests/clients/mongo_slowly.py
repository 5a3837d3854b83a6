"""Runs so many finds that take some milliseconds each.

usage: mongo_slowly.py URI COUNT
"""

import sys

import pymongo

client = pymongo.MongoClient(sys.argv[1])
client.slowly.t.update_one({"_id": 1}, {"$set": {"a": 1}}, upsert=True)
for _ in range(int(sys.argv[2])):
    client.slowly.t.find_one({"$where": "sleep(5) || true"})
client.close()
