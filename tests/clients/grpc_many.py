"""Makes many unary calls, one after the other and side by side, and prints how they went.

usage: grpc_many.py HOST:PORT METHOD COUNT [gzip]
"""

import json
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_retries", 0)])
method = channel.unary_unary("/weir.test.Echo/" + sys.argv[2])
count = int(sys.argv[3])
compression = grpc.Compression.Gzip if "gzip" in sys.argv[4:] else None
calls = []
for n in range(count):
    call = method.future(b"x" * 100, timeout=30, compression=compression)
    calls.append(call)
    if n < count // 2:
        call.exception()
codes = [call.code().name for call in calls]
print(json.dumps({
    "answered": codes.count("OK"),
    "failed": sum(code != "OK" for code in codes),
    "codes": sorted(set(codes) - {"OK"}),
    "details": sorted({call.details() or "" for call in calls if call.code() != grpc.StatusCode.OK})[:3],
}))
