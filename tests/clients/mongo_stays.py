"""Logs in through TLS with compression and stays: does five operations, says so, and then whatever it is told, line by line.

usage: mongo_stays.py URI SERVER

SERVER is the server itself, past Weir, where nobody has a login yet. `slow`: an operation that takes a while. `end`: it ends.
"""

import sys

import pymongo

uri, server = sys.argv[1:3]
with pymongo.MongoClient(server, directConnection=True) as first:
    first.admin.command("createUser", "ada", pwd="secret", roles=["root"])
login = {"username": "ada", "password": "secret", "authMechanism": "SCRAM-SHA-256"}
secure = {"tls": True, "tlsInsecure": True, "compressors": "zstd"}
client = pymongo.MongoClient(uri, directConnection=True, appname="weir-e2e-stays", maxPoolSize=1, **login, **secure)
for n in range(5):
    client.stays.things.insert_one({"n": n})
print("stays", flush=True)
for line in sys.stdin:
    if line.strip() == "end":
        break
    client.stays.things.find_one({"$where": "sleep(3000) || true"})
client.close()
