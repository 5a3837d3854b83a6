"""A replica set that only says it is one: what a set may do to Weir, and what no real one does when it is asked to.

usage: mongo_fake_set.py WHAT

Prints the ports of its three servers; reads a line with Weir's ports for members, `FIRST`, then does WHAT and prints what came of it.

mapped: its members have names that do not resolve. Drivers find them through Weir, by the set and alone.
held: it gets one more member. The next hello names that too; what cannot be waited for is not.
silent: its primary says nothing more, and another is elected. What was under way at the old one ends.
many: it names 500 members, and some that are no names.
foul: its name and its members' names are for a terminal.
"""

import json
import socket
import struct
import sys
import threading
import time

import bson
import pymongo
from bson import ObjectId

WHAT = sys.argv[1]
STATE = {"set": "rs", "version": 1, "hosts": [], "primary": 0, "election": 1, "silent": set()}
CONNECTIONS = [0]
PORTS = []


def exactly(stream, size):
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def hello(nth):
    hosts = STATE["hosts"]
    primary = STATE["primary"] == nth
    said = {
        "ismaster": primary, "isWritablePrimary": primary, "secondary": not primary, "helloOk": True, "setName": STATE["set"],
        "setVersion": STATE["version"], "hosts": hosts, "me": hosts[nth], "maxBsonObjectSize": 16777216,
        "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 100000, "minWireVersion": 0, "maxWireVersion": 21,
        "logicalSessionTimeoutMinutes": 30, "ok": 1.0,
    }
    if STATE["primary"] is not None:
        said["primary"] = hosts[STATE["primary"]]
    if primary:
        said["electionId"] = ObjectId(f"7fffffff{STATE['election']:016x}")
    return said


def serve(nth, stream):
    CONNECTIONS[0] += 1
    try:
        while True:
            length, number, _, op_code = struct.unpack("<iiii", exactly(stream, 16))
            body = exactly(stream, length - 16)
            while nth in STATE["silent"]:
                time.sleep(0.05)
            name = next(iter(bson.decode(body[5:]))) if op_code == 2013 else "isMaster"
            if name.lower() in ("hello", "ismaster"):
                document = hello(nth)
            elif name == "find":
                document = {"cursor": {"id": bson.Int64(0), "ns": "a.b", "firstBatch": [{"server": nth}]}, "ok": 1.0}
            else:
                document = {"ok": 1.0}
            document = bson.encode(document)
            if op_code == 2013:
                document = b"\0\0\0\0\0" + document
            else:
                document = struct.pack("<iqii", 8, 0, 0, 1) + document
            stream.sendall(struct.pack("<iiii", 16 + len(document), 1, number, 2013 if op_code == 2013 else 1) + document)
    except OSError:
        pass


def accept(nth, server):
    while True:
        threading.Thread(target=serve, args=(nth, server.accept()[0]), daemon=True).start()


for nth in range(3):
    server = socket.create_server(("127.0.0.1", 0))
    PORTS.append(server.getsockname()[1])
    threading.Thread(target=accept, args=(nth, server), daemon=True).start()

LOCAL = [f"127.0.0.1:{port}" for port in PORTS]
NAMED = [f"mongo-{nth}.mongo.invalid:27017" for nth in range(3)]


class Raw:
    """A connection to one of Weir's ports."""

    def __init__(self, port):
        self.stream = socket.create_connection(("127.0.0.1", port), 10)
        self.stream.settimeout(30)

    def send(self, document):
        body = b"\0\0\0\0\0" + bson.encode(document)
        self.stream.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)

    def reply(self):
        length = struct.unpack("<iiii", exactly(self.stream, 16))[0]
        return bson.decode(exactly(self.stream, length - 16)[5:])

    def ask(self, document):
        self.send(document)
        return self.reply()

    def hello(self):
        return self.ask({"hello": 1, "$db": "admin"})


def when(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "not within a minute"
        time.sleep(0.05)


def knows(first, members):
    """Whether Weir names so many members."""
    try:
        named = len(Raw(first).hello()["hosts"])
        return named in members if isinstance(members, range) else named == members
    except OSError:
        return False


def mapped(first):
    when(lambda: knows(first, 3))
    found = {}
    for how, uri in {
        "set": f"mongodb://127.0.0.1:{first}/?replicaSet=rs",
        "one": f"mongodb://127.0.0.1:{first + 1}/?directConnection=true",
        "third": f"mongodb://127.0.0.1:{first + 2}/?directConnection=true",
    }.items():
        with pymongo.MongoClient(uri, serverSelectionTimeoutMS=20000) as client:
            found[how] = client.a.b.find_one()["server"]
    found["hosts"] = sorted(Raw(first).hello()["hosts"]) == [f"127.0.0.1:{first + nth}" for nth in range(3)]
    return found


def held(first):
    when(lambda: knows(first, 2))
    client = Raw(first)
    before = client.hello()
    STATE["hosts"], STATE["version"] = LOCAL, 2
    after = client.hello()
    # One that nobody will ever have an address for, since the primary does not know of it.
    STATE["hosts"] = LOCAL + ["gone.invalid:1"]
    STATE["version"], STATE["primary"] = 1, None
    told = [len(client.hello()["hosts"]) for _ in range(3)]
    return {"before": len(before["hosts"]), "after": len(after["hosts"]), "told": told}


def silent(first):
    when(lambda: knows(first, 3))
    # Ports are in the order of names, which are not in that of the servers.
    doors = {}
    for port in range(first, first + 3):
        doors[Raw(port).ask({"find": "b", "$db": "a"})["cursor"]["firstBatch"][0]["server"]] = port
    old, new = Raw(doors[0]), Raw(doors[1])
    assert old.hello()["primary"] == f"127.0.0.1:{doors[0]}" and new.hello()["secondary"]
    STATE["silent"].add(0)
    old.send({"find": "b", "$db": "a"})
    idle = Raw(doors[2])
    idle.hello()
    STATE["election"], STATE["primary"] = 2, 1
    try:
        old.reply()
        ended = "answered"
    except ConnectionError:
        ended = "ended"
    except socket.timeout:
        ended = "waits"
    # Nothing happens to the others.
    return {"old": ended, "new": new.ask({"find": "b", "$db": "a"})["ok"], "idle": idle.hello()["ok"]}


def many(first):
    # As many as there are ports to be had.
    when(lambda: knows(first, range(4, 9)))
    time.sleep(3)
    return {"connections": CONNECTIONS[0]}


def foul(_):
    # Until Weir has asked a few times.
    when(lambda: CONNECTIONS[0] > 0)
    time.sleep(1)
    return {}


if WHAT == "mapped":
    STATE["hosts"] = NAMED
elif WHAT == "held":
    STATE["hosts"] = LOCAL[:2]
elif WHAT == "silent":
    STATE["hosts"] = LOCAL
elif WHAT == "many":
    STATE["hosts"] = LOCAL + [f"127.0.{n // 200}.{n % 200 + 2}:{PORTS[1]}" for n in range(500)] + ["no name", "\x1b[2J:1"]
elif WHAT == "foul":
    STATE["set"] = "rs\x1b[2J&tls=false"
    STATE["hosts"] = LOCAL[:1] + ["\x1b]0;owned\x07:1", "a,b:1", "x&tls=false:1"] if "members" in sys.argv else LOCAL

print(",".join(map(str, PORTS)), flush=True)
print(json.dumps({"mapped": mapped, "held": held, "silent": silent, "many": many, "foul": foul}[WHAT](int(sys.stdin.readline()))), flush=True)
sys.stdin.readline()
