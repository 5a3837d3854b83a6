"""Waits until a server works on nothing in a namespace any more.

usage: mongo_ops.py DIRECT_URI NAMESPACE
"""

import sys
import time

import pymongo

client = pymongo.MongoClient(sys.argv[1], directConnection=True)
gone_by = time.monotonic() + 20
while any(op.get("ns") == sys.argv[2] for op in client.admin.aggregate([{"$currentOp": {}}])):
    assert time.monotonic() < gone_by, "the server still works on what nobody waits for"
    time.sleep(0.02)
