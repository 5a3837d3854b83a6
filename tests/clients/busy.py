"""Keeps one protocol busy through Weir until its standard input ends, then prints what became of it.

usage: busy.py (http|tcp|tcp_long|dynamodb|grpc|grpc_unary|mongo|mongo_reads) PORT

A failure is whatever an application would have seen: an error, half an answer, a wrong one. Not that a connection is refused: then
nothing was sent, and it is tried again. `grpc` and `tcp_long` keep a stream open all the while, `mongo_reads` and `grpc_unary` do
only what drivers repeat by themselves.
"""

import json
import queue
import secrets
import select
import socket
import sys
import threading
import time

KIND, PORT = sys.argv[1], int(sys.argv[2])
ADDRESS = f"127.0.0.1:{PORT}"
ENDING, LOCK = threading.Event(), threading.Lock()
done, failed, why = 0, 0, set()


def connect():
    """A connection, or none while nobody listens."""
    while not ENDING.is_set():
        try:
            return socket.create_connection(("127.0.0.1", PORT), timeout=20)
        except ConnectionRefusedError:
            time.sleep(0.05)
    return None


def http():
    """One keep-alive connection after the other. One that is closed before a byte of a request was sent is no failure."""
    while connection := connect():
        closing = False
        while not closing and not ENDING.is_set() and not select.select([connection], [], [], 0)[0]:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            data = b""
            while b"\r\n\r\nok" not in data:
                more = connection.recv(65536)
                assert more, f"no answer after {data!r}"
                data += more
            assert data.startswith(b"HTTP/1.1 200"), data
            closing = b"connection: close" in data.lower()
            yield
        connection.close()


def tcp():
    """Sends, ends its direction, and wants all of it back."""
    while connection := connect():
        sent, got = secrets.token_bytes(100_000), b""
        thread = threading.Thread(target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR)))
        thread.start()
        while more := connection.recv(65536):
            got += more
        thread.join()
        assert got == sent, f"{len(got)} bytes came back"
        connection.close()
        yield


def tcp_long():
    connection = connect()
    while True:
        connection.sendall(b"ping")
        assert connection.recv(4, socket.MSG_WAITALL) == b"ping"
        yield
        time.sleep(0.002)


def dynamodb():
    import boto3
    from botocore.config import Config
    from botocore.exceptions import EndpointConnectionError

    client = boto3.client(
        "dynamodb",
        endpoint_url=f"http://{ADDRESS}",
        region_name="eu-west-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    table = f"busy-{secrets.token_hex(4)}"
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    number = 0
    while True:
        number += 1
        calls = [
            lambda: client.put_item(TableName=table, Item={"id": {"S": str(number)}}),
            lambda: client.get_item(TableName=table, Key={"id": {"S": str(number)}})["Item"],
        ]
        for call in calls:
            while not ENDING.is_set():
                try:
                    call()
                    break
                except EndpointConnectionError:
                    time.sleep(0.05)
        yield


def grpc_unary():
    import grpc

    channel = grpc.insecure_channel(ADDRESS, options=[("grpc.enable_retries", 0), ("grpc.max_reconnect_backoff_ms", 200)])
    who = channel.unary_unary("/weir.test.Echo/Who")
    while True:
        who(b"", timeout=30, wait_for_ready=True)
        yield
        time.sleep(0.002)


def grpc():
    import grpc

    channel = grpc.insecure_channel(ADDRESS, options=[("grpc.enable_retries", 0)])
    who = channel.unary_unary("/weir.test.Echo/Who")
    messages = queue.Queue()
    stream = channel.stream_stream("/weir.test.Echo/Bidi")(iter(messages.get, None))
    try:
        while True:
            who(b"", timeout=20)
            messages.put(b"ping")
            assert next(stream) == b"ping"
            yield
            time.sleep(0.002)
    finally:
        messages.put(None)


def mongo(writes=True):
    import pymongo

    options = {} if not writes else {"retryReads": False, "retryWrites": False}
    people = pymongo.MongoClient(f"mongodb://{ADDRESS}/?directConnection=true", **options).busy.people
    number = 0
    while True:
        number += 1
        if writes:
            people.insert_one({"n": number})
        people.find_one({"n": number})
        yield
        time.sleep(0.002)


def mongo_reads():
    return mongo(writes=False)


def work(kind):
    global done, failed
    while not ENDING.is_set():
        steps = kind()
        try:
            for _ in steps:
                with LOCK:
                    done += 1
                if ENDING.is_set():
                    break
        except Exception as error:  # whatever it is, an application would have seen it
            with LOCK:
                failed += 1
                why.add(repr(error)[:500])
            time.sleep(0.05)
        finally:
            steps.close()


threads = [threading.Thread(target=work, args=(globals()[KIND],)) for _ in range(4 if KIND in ("http", "tcp") else 1)]
for thread in threads:
    thread.start()
sys.stdin.read()
ENDING.set()
for thread in threads:
    thread.join()
print(json.dumps({"done": done, "failed": failed, "why": sorted(why)}))
