"""Finds and inserts for so many seconds and prints how many failed.

usage: mongo_busy.py URI SECONDS
"""

import json
import sys
import time

import pymongo

client = pymongo.MongoClient(sys.argv[1], retryReads=False, retryWrites=False)
people = client.busy.people
done, failed, why = 0, 0, ""
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        people.insert_one({"n": done})
        people.find_one({"n": done})
        done += 1
    except pymongo.errors.PyMongoError as error:
        failed, why = failed + 1, repr(error)
    time.sleep(0.002)
print(json.dumps({"done": done, "failed": failed, "why": why}))
