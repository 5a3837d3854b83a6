"""Makes one verified TLS connection after the other, a request on each, until its standard input ends, and prints how that went.

usage: tls_busy.py PORT ROOTS NAME THREADS
"""

import json
import socket
import ssl
import sys
import threading

PORT, ROOTS, NAME, THREADS = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
done, failed, why, serials = 0, 0, set(), set()
lock, ending = threading.Lock(), threading.Event()


def work():
    global done, failed
    context = ssl.create_default_context(cafile=ROOTS)
    while not ending.is_set():
        try:
            with socket.create_connection(("127.0.0.1", PORT), timeout=20) as tcp:
                with context.wrap_socket(tcp, server_hostname=NAME) as tls:
                    serial = tls.getpeercert()["serialNumber"]
                    tls.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                    answer = b""
                    while more := tls.recv(65536):
                        answer += more
            if not answer.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(answer[:40].decode())
            with lock:
                done += 1
                serials.add(serial)
        except OSError as error:
            with lock:
                failed += 1
                why.add(str(error))


threads = [threading.Thread(target=work) for _ in range(THREADS)]
for thread in threads:
    thread.start()
print("busy", flush=True)
sys.stdin.read()
ending.set()
for thread in threads:
    thread.join()
print(json.dumps({"done": done, "failed": failed, "why": sorted(why), "certificates": len(serials)}))
