"""What h11 makes of a stream of HTTP/1 requests or responses; the same jobs and verdicts as oracle.cjs."""

import json
import sys

import h11

CAP = 1 << 17


def requests(data):
    conn = h11.Connection(h11.SERVER, max_incomplete_event_size=CAP)
    messages, stop = [], None
    # To h11 no bytes are the end of the connection.
    if data:
        conn.receive_data(data)
    try:
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA:
                break
            if event is h11.PAUSED:
                if conn.their_state is h11.MIGHT_SWITCH_PROTOCOL:
                    messages[-1]["whole"] = True
                    stop = "tunnel"
                    break
                if conn.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY):
                    answer(conn)
                if conn.our_state is not h11.DONE:
                    stop = "closed"
                    break
                conn.start_next_cycle()
            elif isinstance(event, h11.Request):
                messages.append(
                    {"start": event.method.decode("latin1"), "target": event.target.decode("latin1"), "body": b"", "whole": False}
                )
            elif isinstance(event, h11.Data):
                messages[-1]["body"] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                if conn.their_state is h11.MIGHT_SWITCH_PROTOCOL and messages[-1]["start"] == "CONNECT":
                    messages[-1]["whole"] = True
                    stop = "tunnel"
                    break
                messages[-1]["whole"] = True
                answer(conn)
                if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
                    stop = "closed"
                    break
                conn.start_next_cycle()
    except h11.RemoteProtocolError as error:
        stop = f"refused: {error}"
    return messages, stop


def answer(conn):
    conn.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
    conn.send(h11.EndOfMessage())


def responses(data, method):
    conn = h11.Connection(h11.CLIENT, max_incomplete_event_size=CAP)
    headers = [("host", "a:80")]
    if method == "UPGRADE":
        headers += [("connection", "upgrade"), ("upgrade", "websocket")]
    conn.send(
        h11.Request(
            method="GET" if method == "UPGRADE" else method, target="a:80" if method == "CONNECT" else "/", headers=headers
        )
    )
    conn.send(h11.EndOfMessage())
    messages, stop = [], None
    if data:
        conn.receive_data(data)
    ended = False
    try:
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA:
                if ended:
                    break
                ended = True
                conn.receive_data(b"")
            elif event is h11.PAUSED:
                stop = "tunnel" if conn.their_state is h11.SWITCHED_PROTOCOL else "closed"
                break
            elif isinstance(event, (h11.InformationalResponse, h11.Response)):
                interim = isinstance(event, h11.InformationalResponse)
                messages.append(
                    {"start": str(event.status_code), "target": event.reason.decode("latin1"), "body": b"", "whole": interim}
                )
                if conn.their_state is h11.SWITCHED_PROTOCOL:
                    messages[-1]["whole"] = True
                    stop = "tunnel"
                    break
            elif isinstance(event, h11.Data):
                messages[-1]["body"] += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                messages[-1]["whole"] = True
                break
            elif isinstance(event, h11.ConnectionClosed):
                break
    except h11.RemoteProtocolError as error:
        if "peer closed connection" not in str(error):
            stop = f"refused: {error}"
    return messages, stop


for line in sys.stdin:
    job = json.loads(line)
    data = bytes.fromhex(job["bytes"])
    messages, stop = requests(data) if job["side"] == "request" else responses(data, job["method"])
    for message in messages:
        message["body"] = message["body"].hex()
    print(json.dumps({"messages": messages, "stop": stop}))
