"""A client that closes its side after its question, and a server that answers only when it has seen that.

usage: mongo_half.py

Prints the server's port, reads Weir's, and prints what came of it.
"""

import json
import socket
import struct
import sys
import threading

import bson


def exactly(stream, size):
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def message(document, number, to=0):
    body = b"\0\0\0\0\0" + bson.encode(document)
    return struct.pack("<iiii", 16 + len(body), number, to, 2013) + body


def receive(stream):
    length, number, _, _ = struct.unpack("<iiii", exactly(stream, 16))
    return number, bson.decode(exactly(stream, length - 16)[5:])


def accept():
    while True:
        stream, _ = SERVER.accept()
        threading.Thread(target=serve, args=(stream,), daemon=True).start()


def serve(stream):
    number, first = receive(stream)
    if "hello" in first:
        stream.sendall(message({"ok": 1.0, "maxWireVersion": 21}, 1, number))
        number, first = receive(stream)
    # The end of what the client sends, and not of the connection.
    SEEN.append(stream.recv(1) == b"")
    if first.get("leave"):
        stream.close()
        return
    stream.sendall(message({"ok": 1.0, "found": first["find"]}, 2, number))
    stream.close()


SEEN = []
SERVER = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, daemon=True).start()
print(SERVER.getsockname()[1], flush=True)
PORT = int(sys.stdin.readline())

found = {}
for how, more in {"answered": {}, "left": {"leave": True}}.items():
    with socket.create_connection(("127.0.0.1", PORT), 30) as client:
        client.sendall(message({"hello": 1, "$db": "admin"}, 7))
        receive(client)
        client.sendall(message({"find": "b", "$db": "a", **more}, 8))
        client.shutdown(socket.SHUT_WR)
        try:
            answer = receive(client)[1].get("found", "an error")
            found[how] = answer if client.recv(1) == b"" else "more"
        except ConnectionError:
            found[how] = "nothing"
print(json.dumps({**found, "seen": SEEN}), flush=True)
sys.stdin.readline()
