"""Calls for so many seconds, with one stream open all the while, and prints how many failed.

usage: grpc_busy.py HOST:PORT SECONDS
"""

import json
import queue
import sys
import time

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_retries", 0)])
who = channel.unary_unary("/weir.test.Echo/Who")
messages = queue.Queue()
stream = channel.stream_stream("/weir.test.Echo/Bidi")(iter(messages.get, None))
done, failed, why = 0, 0, ""
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        who(b"", timeout=5)
        messages.put(b"ping")
        next(stream)
        done += 1
    except grpc.RpcError as error:
        failed, why = failed + 1, str(error)
        break
    time.sleep(0.002)
messages.put(None)
print(json.dumps({"done": done, "failed": failed, "why": why}))
