"""A gRPC server on grpcio, without generated code: messages are raw bytes.

usage: grpc_server.py NAME [fail]     prints its port, serves until its standard input closes

Service weir.test.Echo: Unary, ServerStream, Drip (a message now and then, for ever), ClientStream, Bidi, Sleep (seconds as text), Fail
(status number as text), Who (answers NAME), Late (an initial head, then the status), Flaky (UNAVAILABLE when started with `fail`).
"""

import sys
import threading
import time
from concurrent import futures

import grpc

NAME = sys.argv[1]
FAIL = "fail" in sys.argv[2:]
CODES = {code.value[0]: code for code in grpc.StatusCode}


def unary(request, context):
    context.set_trailing_metadata((("seen-bin", b"\x00\xff"), ("who", NAME)))
    return request


def server_stream(request, context):
    for n in range(int(request)):
        yield b"%d" % n


def drip(request, context):
    while context.is_active():
        yield b"drop"
        time.sleep(0.05)


def client_stream(requests, context):
    return b"%d" % sum(len(r) for r in requests)


def bidi(requests, context):
    yield from requests


def sleep(request, context):
    end = time.monotonic() + float(request)
    while time.monotonic() < end and context.is_active():
        time.sleep(0.01)
    return b"slept"


def fail(request, context):
    context.abort(CODES[int(request)], "asked for: 100% \u20ac")


def late(request, context):
    context.send_initial_metadata((("early", "yes"),))
    if FAIL:
        context.abort(grpc.StatusCode.UNAVAILABLE, "late")
    return NAME.encode()


def flaky(request, context):
    if FAIL:
        context.abort(grpc.StatusCode.UNAVAILABLE, "flaky")
    return NAME.encode()


def main():
    server = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Drip": grpc.unary_stream_rpc_method_handler(drip),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Late": grpc.unary_unary_rpc_method_handler(late),
        "Flaky": grpc.unary_unary_rpc_method_handler(flaky),
        "Who": grpc.unary_unary_rpc_method_handler(lambda request, context: NAME.encode()),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("weir.test.Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


main()
