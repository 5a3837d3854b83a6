"""Calls the Echo service of grpc_server.py with grpcio and prints, as JSON, every call by method and status.

usage: grpc_client.py HOST:PORT
"""

import collections
import json
import sys
import threading

import grpc

COUNTED = collections.Counter()
SERVICE = "/weir.test.Echo/"


def ended(method, code):
    COUNTED[(method, code.name)] += 1


def main():
    channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_retries", 0)])
    unary = {m: channel.unary_unary(SERVICE + m) for m in ("Unary", "Sleep", "Fail", "Who", "Late", "Nothing")}

    for size in (0, 1, 100, 5000, 70_000, 2_000_000):
        reply, call = unary["Unary"].with_call(b"x" * size)
        assert len(reply) == size
        trailers = dict(call.trailing_metadata())
        assert trailers["seen-bin"] == b"\x00\xff", trailers
        ended("Unary", call.code())

    for status in range(1, 17):
        try:
            unary["Fail"](b"%d" % status)
            raise AssertionError("did not fail")
        except grpc.RpcError as error:
            assert error.code().value[0] == status
            assert error.details() == "asked for: 100% \u20ac", error.details()
            ended("Fail", error.code())

    try:
        unary["Nothing"](b"")
        raise AssertionError("an unknown method answered")
    except grpc.RpcError as error:
        ended("Nothing", error.code())

    for _ in range(3):
        try:
            unary["Sleep"](b"5", timeout=0.15)
            raise AssertionError("no deadline")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            ended("Sleep", error.code())
    assert unary["Sleep"](b"0.01", timeout=5) == b"slept"
    ended("Sleep", grpc.StatusCode.OK)

    for _ in range(3):
        call = unary["Sleep"].future(b"5")
        threading.Event().wait(0.1)
        call.cancel()
        assert call.code() == grpc.StatusCode.CANCELLED
        ended("Sleep", call.code())

    stream = channel.unary_stream(SERVICE + "ServerStream")(b"1000")
    assert len(list(stream)) == 1000
    ended("ServerStream", stream.code())

    cancelled = channel.unary_stream(SERVICE + "ServerStream")(b"100000000")
    next(cancelled)
    cancelled.cancel()
    ended("ServerStream", cancelled.code())

    reply, call = channel.stream_unary(SERVICE + "ClientStream").with_call(iter([b"x" * 1000] * 300))
    assert reply == b"300000"
    ended("ClientStream", call.code())

    sent = [b"%d" % n for n in range(200)]
    bidi = channel.stream_stream(SERVICE + "Bidi")(iter(sent))
    assert list(bidi) == sent
    ended("Bidi", bidi.code())

    assert unary["Late"](b"")
    ended("Late", grpc.StatusCode.OK)

    calls = [unary["Who"].future(b"") for _ in range(200)]
    for call in calls:
        call.result()
        ended("Who", call.code())
    channel.close()
    json.dump({"counted": [[*key, count] for key, count in sorted(COUNTED.items())]}, sys.stdout)


main()
