"""Makes a replica set of one member and uses it through Weir; prints what the driver was told.

usage: mongo_six.py MEMBER WEIR (addresses)
"""

import json
import sys
import time

import pymongo
from pymongo import errors

member, weir = sys.argv[1:]
direct = pymongo.MongoClient(f"mongodb://{member}/?directConnection=true")
direct.admin.command("replSetInitiate", {"_id": "six", "members": [{"_id": 0, "host": member}]})
end = time.monotonic() + 60
while not direct.admin.command("hello").get("isWritablePrimary"):
    assert time.monotonic() < end, "no primary"
    time.sleep(0.05)
# Weir looks again every half a second until there is a primary.
while direct and time.monotonic() < end:
    with pymongo.MongoClient(f"mongodb://{weir}/?directConnection=true") as first:
        hosts = first.admin.command("hello").get("hosts")
    if hosts and hosts != [member]:
        break
    time.sleep(0.1)
for number, options in enumerate(["", "?replicaSet=six", "?directConnection=true"]):
    with pymongo.MongoClient(f"mongodb://{weir}/{options}", serverSelectionTimeoutMS=20000) as client:
        client.six.people.insert_one({"_id": number})
        hosts = client.admin.command("hello")["hosts"]
        assert options.endswith("true") or {f"[{host}]:{port}" for host, port in client.nodes} == {weir}, client.nodes
        found = client.six.people.count_documents({})
print(json.dumps({"hosts": hosts, "found": found}))
