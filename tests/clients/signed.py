"""Signed requests of AWS (version 4): a server that recomputes each signature from what it received, and a client that signs thirty sets of
fields with botocore, in the header and in the query, and sends them with curl over HTTP/1 and HTTP/2.

usage: signed.py serve                      prints its port
       signed.py ask DIRECT PORT[=PATH]..   prints, as JSON, what was not valid there, of what is valid at the port DIRECT
"""

import concurrent.futures
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import urllib.parse

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET, REGION, SERVICE, HOST = "AKIAEXAMPLE", "wJalrXUtnFEMI", "eu-west-1", "dynamodb", "tables.example"
TARGET = {"X-Amz-Target": "DynamoDB_20120810.GetItem", "Content-Type": "application/x-amz-json-1.0"}
SETS = [
    {},
    TARGET,
    {"X-Forwarded-For": "192.0.2.7"},
    {"X-Forwarded-For": "192.0.2.7, 10.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"},
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Host": "shop.example"},
    {"X-Forwarded-Port": "8443"},
    {"X-Forwarded-Prefix": "/shop"},
    {"Forwarded": "for=192.0.2.7;proto=https"},
    {"X-Real-IP": "192.0.2.7"},
    {"True-Client-IP": "192.0.2.7", "CF-Connecting-IP": "192.0.2.7"},
    {"X-Original-URL": "/a", "X-Rewrite-URL": "/b"},
    {"Via": "1.1 before"},
    {"X-Request-Id": "mine"},
    {"Via": "1.0 a", "X-Request-Id": "mine", **TARGET},
    {"X-Amz-Security-Token": "abc/def+ghi=="},
    {"X-Amz-Content-Sha256": hashlib.sha256(b"{}").hexdigest()},
    {"X-Amz-Meta-One": "1", "X-Amz-Meta-Two": "two words", "x-amz-meta-three": "3"},
    {"Accept": "*/*", "Accept-Encoding": "identity"},
    {"Cache-Control": "no-cache", "Pragma": "no-cache"},
    {"Cookie": "a=1; b=2"},
    {"Range": "bytes=0-9", "If-Match": '"x"'},
    {"If-Modified-Since": "Mon, 30 Nov 2026 00:00:00 GMT", "Expires": "0"},
    {"Amz-Sdk-Request": "attempt=1; max=3", "Amz-Sdk-Invocation-Id": "1b2c"},
    {"X-Amz-User-Agent": "aws-sdk-js/3"},
    {"X-Spaces": "a   b    c"},
    {"x-ODD-case": "Value"},
    {"session_id": "7", "x_custom": "8"},
    {"Content-Length": "2"},
    {"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Content-MD5": "mZFLkyvTelC5g8XnyQrpOw=="},
]


def canonical(method, target, fields, names, payload):
    """The canonical request, of what was received alone."""
    path, _, query = target.partition("?")
    parts = [p.partition("=")[::2] for p in query.split("&") if p and not p.startswith("X-Amz-Signature=")]
    lines = []
    for name in names:
        values = [" ".join(v.split()) for n, v in fields if n.lower() == name]
        if not values:
            return None
        lines.append(f"{name}:{','.join(values)}")
    quoted = urllib.parse.quote(path, safe="/~")
    return "\n".join([method, quoted, "&".join(f"{n}={v}" for n, v in sorted(parts)), *lines, "", ";".join(names), payload])


def judge(method, target, fields, body):
    given = dict(urllib.parse.parse_qsl(target.partition("?")[2]))
    header = next((v for n, v in fields if n.lower() == "authorization"), "")
    payload = hashlib.sha256(body).hexdigest()
    if header:
        given = dict(part.strip().partition("=")[::2] for part in header.partition(" ")[2].split(","))
        given = {f"X-Amz-{name}": value for name, value in given.items()}
        date = next((v for n, v in fields if n.lower() == "x-amz-date"), "")
    else:
        date = given.get("X-Amz-Date", "")
    claimed = next((v for n, v in fields if n.lower() == "x-amz-content-sha256"), payload)
    text = canonical(method, target, fields, given.get("X-Amz-SignedHeaders", "").split(";"), claimed)
    if text is None:
        return "invalid: a field that the signature covers is gone"
    scope = given["X-Amz-Credential"].split("/")[1:]
    key = f"AWS4{SECRET}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    signed = "\n".join(["AWS4-HMAC-SHA256", date, "/".join(scope), hashlib.sha256(text.encode()).hexdigest()])
    right = hmac.digest(key, signed.encode(), "sha256").hex() == given["X-Amz-Signature"]
    return "valid" if right else f"invalid: {text!r}"


def serve():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listener.getsockname()[1], flush=True)

    def answer(conn):
        rest = b""
        with conn:
            while True:
                while b"\r\n\r\n" not in rest:
                    piece = conn.recv(65536)
                    if not piece:
                        return
                    rest += piece
                head, _, rest = rest.partition(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                fields = [(n, v.strip()) for n, _, v in (line.partition(":") for line in lines)]
                length = int(next((v for n, v in fields if n.lower() == "content-length"), 0))
                while len(rest) < length:
                    rest += conn.recv(65536)
                body, rest = rest[:length], rest[length:]
                said = judge(*first.split(" ")[:2], fields, body).encode()
                conn.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(said), said))

    def accept():
        while True:
            threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def signed(fields, in_query, path):
    """The target and the fields of a request with these fields, all of them signed."""
    request = AWSRequest(method="POST", url=f"http://{HOST}{path}", data=b"{}", headers={"Host": HOST, **fields})
    credentials = Credentials(KEY, SECRET)
    auth = SigV4QueryAuth(credentials, SERVICE, REGION) if in_query else SigV4Auth(credentials, SERVICE, REGION)
    if in_query:
        # The payload of a query's signature is that of the body too.
        auth.payload = lambda request: request.headers.get("X-Amz-Content-Sha256") or hashlib.sha256(b"{}").hexdigest()
    auth.add_auth(request)
    url = urllib.parse.urlsplit(request.url)
    return url.path + ("?" + url.query if url.query else ""), list(request.headers.items())


def ask(port, version, target, fields):
    command = ["curl", "-sS", "-g", "--path-as-is", "--max-time", "30", version, "-X", "POST", "--data-binary", "{}"]
    # What curl adds by itself and nobody signed is left out.
    own = ["User-Agent", "Accept", "Content-Type"]
    names = {name.lower() for name, _ in fields}
    for name in own:
        if name.lower() not in names:
            command += ["-H", f"{name}:"]
    for name, value in fields:
        command += ["-H", f"{name}: {value}"]
    run = subprocess.run([*command, f"http://127.0.0.1:{port}{target}"], capture_output=True, text=True)
    return run.stdout or run.stderr


def main():
    if sys.argv[1] == "serve":
        return serve()
    direct, *behind = sys.argv[2:]
    wrong, valid = [], 0

    def one(n, in_query):
        found, count = [], 0
        for of in behind:
            port, _, path = of.partition("=")
            target, fields = signed(SETS[n], in_query, path or "/")
            said = ask(direct, "--http1.1", target, fields)
            if said != "valid":
                found.append([n, in_query, "directly", said])
                continue
            for version in ("--http1.1", "--http2-prior-knowledge"):
                count += 1
                said = ask(port, version, target, fields)
                if said != "valid":
                    found.append([n, in_query, of, version, said])
        return found, count

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(one, n, in_query) for n in range(len(SETS)) for in_query in (False, True)]:
            found, count = future.result()
            wrong += found
            valid += count
    print(json.dumps({"sets": len(SETS), "asked": valid, "wrong": wrong}))


main()
