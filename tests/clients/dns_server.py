"""A name server of one zone, for `mongodb+srv://` names.

usage: dns_server.py PORT,PORT,..

Prints the port it listens on, UDP and TCP. `db.shop.example` has an SRV record for each of the given ports, at `a.shop.example`,
`b.shop.example` and so on, and a TXT record. What is asked over UDP for SRV records is answered as cut short, so that it has to be
asked over TCP. `lost.shop.example` leads out of its domain, what else there is nobody knows.
"""

import socket
import struct
import sys
import threading

PORTS = [int(port) for port in sys.argv[1].split(",")]
TXT, SRV = 16, 33


def name(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def server(host, port):
    return struct.pack(">HHH", 0, 0, port) + name(host)


ZONE = {
    (name("_mongodb._tcp.db.shop.example"), SRV): [
        server(f"{chr(97 + nth)}.shop.example", port) for nth, port in enumerate(PORTS)
    ],
    (name("db.shop.example"), TXT): [b"\x10authSource=admin"],
    (name("_mongodb._tcp.lost.shop.example"), SRV): [server("a.elsewhere.example", 27017)],
}


def answer(question, over_udp):
    asked, kind = question[12:-4], struct.unpack(">H", question[-4:-2])[0]
    records = ZONE.get((asked.lower(), kind), [])
    known = any(asked.lower() == zone for zone, _ in ZONE)
    cut = over_udp and kind == SRV and records
    flags = 0x8180 | (0x0200 if cut else 0) | (0 if known else 3)
    records = [] if cut else records
    head = question[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
    body = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(record)) + record for record in records
    )
    return head + question[12:] + body


def over_tcp(listening):
    while True:
        stream, _ = listening.accept()
        with stream:
            (length,) = struct.unpack(">H", stream.recv(2, socket.MSG_WAITALL))
            reply = answer(stream.recv(length, socket.MSG_WAITALL), False)
            stream.sendall(struct.pack(">H", len(reply)) + reply)


tcp = socket.create_server(("127.0.0.1", 0))
port = tcp.getsockname()[1]
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", port))
threading.Thread(target=over_tcp, args=(tcp,), daemon=True).start()
print(port, flush=True)
while True:
    question, client = udp.recvfrom(4096)
    udp.sendto(answer(question, True), client)
