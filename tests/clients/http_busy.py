"""Keeps connections busy until the server is gone, and prints how many requests failed half-way.

usage: http_busy.py PORT THREADS

A request fails when it was sent on a connection that had not been announced as closing and no whole answer came. A connection that is
closed between requests before a byte of the next one was sent, or refused, is how a server goes away, and no failure.
"""

import json
import select
import socket
import sys
import threading
import time

PORT, THREADS = int(sys.argv[1]), int(sys.argv[2])
done, failed, why = 0, 0, set()
lock = threading.Lock()


def closed(connection):
    """Whether the server has closed it, as far as can be seen before sending."""
    ready, _, _ = select.select([connection], [], [], 0)
    return bool(ready)


def answer(connection):
    """Reads one answer; whether the server announced that it closes."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("no answer" if not data else "half an answer")
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("half a body")
        body += more
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head.split(b"\r\n")[0].decode())
    return b"connection: close" in head.lower()


def work():
    global done, failed
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", PORT), timeout=10)
        except OSError:
            return
        closing = False
        while not closing and not closed(connection):
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                closing = answer(connection)
                with lock:
                    done += 1
            except OSError as error:
                with lock:
                    failed += 1
                    why.add(str(error))
                break
        connection.close()


threads = [threading.Thread(target=work) for _ in range(THREADS)]
for thread in threads:
    thread.start()
print("busy", flush=True)
for thread in threads:
    thread.join()
print(json.dumps({"done": done, "failed": failed, "why": sorted(why)}))
