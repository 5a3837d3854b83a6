"""Shakes hands for several names, and prints what it was shown for each, and whether it could resume, as JSON.

usage: tls_names.py PORT ROOTS NAME..
"""

import json
import socket
import ssl
import sys

PORT, ROOTS, NAMES = int(sys.argv[1]), sys.argv[2], sys.argv[3:]


def shake(context, name, session=None):
    with socket.create_connection(("127.0.0.1", PORT), timeout=20) as tcp:
        with context.wrap_socket(tcp, server_hostname=name, session=session) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            # With TLS 1.3 the ticket comes after the handshake.
            while tls.recv(65536):
                pass
            names = [value for kind, value in tls.getpeercert().get("subjectAltName", ()) if kind == "DNS"]
            return names, tls.session, tls.session_reused


shown, resumed = {}, {}
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.create_default_context(cafile=ROOTS)
    context.minimum_version = context.maximum_version = version
    for name in NAMES:
        try:
            shown[name], session, first = shake(context, name)
            again = shake(context, name, session)[2]
            resumed.setdefault(name, []).extend([first, again])
        except ssl.SSLCertVerificationError as error:
            shown[name] = error.verify_message
print(json.dumps({"shown": shown, "resumed": resumed}))
