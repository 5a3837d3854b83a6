"""Makes a replica set of servers that speak TLS, and tells them under which names they are known outside.

usage: mongo_horizons.py ROOTS IDENTITY PORT=NAME:PORT..
"""

import sys
import time

import pymongo
from pymongo import errors

ROOTS, IDENTITY, MEMBERS = sys.argv[1], sys.argv[2], [member.split("=") for member in sys.argv[3:]]
SOON = {"electionTimeoutMillis": 2000, "heartbeatIntervalMillis": 500}
client = pymongo.MongoClient(
    f"mongodb://127.0.0.1:{MEMBERS[0][0]}/?directConnection=true",
    tls=True,
    tlsCAFile=ROOTS,
    tlsCertificateKeyFile=IDENTITY,
)
members = [
    {"_id": n, "host": f"127.0.0.1:{port}", "horizons": {"weir": name}} for n, (port, name) in enumerate(MEMBERS)
]
client.admin.command("replSetInitiate", {"_id": "horizons", "members": members, "settings": SOON})
for _ in range(600):
    try:
        states = [member["stateStr"] for member in client.admin.command("replSetGetStatus")["members"]]
        if sorted(states) == ["PRIMARY"] + ["SECONDARY"] * (len(MEMBERS) - 1):
            break
    except errors.PyMongoError:
        pass
    time.sleep(0.1)
else:
    raise AssertionError("the set does not come to rest")
print("ready")
