"""Talks to a MongoDB server through TLS and prints, as JSON, as whom: or why it cannot.

usage: mongo_tls.py URI [SUBJECT]

Names that end in .test are this host. With a subject (of a certificate) first makes that the name of a user who may do anything.
"""

import json
import socket
import sys

import pymongo
from pymongo import errors

resolve = socket.getaddrinfo


def getaddrinfo(host, *more, **named):
    return resolve("127.0.0.1" if host.endswith(".test") else host, *more, **named)


socket.getaddrinfo = getaddrinfo


def main():
    client = pymongo.MongoClient(sys.argv[1], serverSelectionTimeoutMS=4000)
    try:
        for subject in sys.argv[2:]:
            client["$external"].command("createUser", subject, roles=[{"role": "root", "db": "admin"}])
        client.tls.things.insert_one({"a": 1})
        status = client.admin.command("connectionStatus")
        users = [user["user"] for user in status["authInfo"]["authenticatedUsers"]]
        nodes = sorted(f"{host}:{port}" for host, port in client.nodes)
        print(json.dumps({"users": users, "nodes": nodes}))
    except errors.PyMongoError as error:
        print(json.dumps({"error": type(error).__name__, "says": str(error)}))
    client.close()


main()
