"""Runs something that takes a minute, and says `sleeping` when the server is at it; is then killed.

usage: mongo_gone.py URI DIRECT_URI DATABASE
"""

import sys
import threading
import time

import pymongo

uri, direct, name = sys.argv[1:4]
pymongo.MongoClient(direct)[name].sleepy.replace_one({"_id": 1}, {}, upsert=True)
client = pymongo.MongoClient(uri)
threading.Thread(target=lambda: client[name].sleepy.find_one({"$where": "sleep(60000) || true"}), daemon=True).start()
server = pymongo.MongoClient(direct)
while not any(op.get("ns") == f"{name}.sleepy" for op in server.admin.aggregate([{"$currentOp": {}}])):
    time.sleep(0.02)
print("sleeping", flush=True)
time.sleep(60)
