"""Makes a user by the localhost exception, then logs in rightly and wrongly; prints what it was told.

usage: mongo_auth.py URI
"""

import sys

import pymongo
from pymongo import errors

uri = sys.argv[1]
first = pymongo.MongoClient(uri, directConnection=True)
first.admin.command("createUser", "ada", pwd="secret", roles=["root"])
first.close()
for mechanism in ("SCRAM-SHA-1", "SCRAM-SHA-256"):
    client = pymongo.MongoClient(uri, directConnection=True, username="ada", password="secret", authMechanism=mechanism)
    client.shop.orders.insert_one({"_id": mechanism})
    client.close()
wrong = pymongo.MongoClient(uri, directConnection=True, username="ada", password="guess", authMechanism="SCRAM-SHA-256")
try:
    wrong.shop.orders.find_one()
except errors.OperationFailure as failure:
    print(failure.code)
wrong.close()
