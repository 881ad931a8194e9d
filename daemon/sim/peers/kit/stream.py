"""SIP over TCP, TLS and WebSocket by hand, and the certificates for it."""

import itertools
import re
import socket
import ssl
import subprocess

from websockets.sync.client import connect
from websockets.typing import Subprotocol

from . import sip

_count = itertools.count(1)


class Stream:
    """A TCP or TLS connection that says exactly what it is told, and reads messages by Content-Length."""

    transport = "TCP"

    def __init__(self, local, target, port=5060, tls=None, name=None, limit_s=10.0):
        self.local, self.target = local, target
        self.socket = socket.create_connection((target, port), limit_s, (local, 0))
        if tls:
            self.transport = "TLS"
            self.socket = tls.wrap_socket(self.socket, server_hostname=name)
        self.port = self.socket.getsockname()[1]
        self.buffer = b""

    @property
    def via_host(self):
        return f"{self.local}:{self.port}"

    def request(self, method, uri, headers=(), body="", to=None, user="raw", cseq=1, call_id=None, from_tag=None, to_tag=None):
        number = next(_count)
        contact = f"<sip:{user}@{self.via_host};transport={'ws' if self.transport.startswith('WS') else self.transport.lower()}>"
        rows = [
            f"{method} {uri} SIP/2.0", f"Via: SIP/2.0/{self.transport} {self.via_host};branch=z9hG4bKstream{number};rport",
            f"From: <sip:{user}@{self.target}>;tag={from_tag or f'stream{number}'}", f"To: <{to or uri}>" + (f";tag={to_tag}" if to_tag else ""),
            f"Call-ID: {call_id or f'stream-{number}@{self.local}'}", f"CSeq: {cseq} {method}", "Max-Forwards: 70", f"Contact: {contact}",
            *headers, f"Content-Length: {len(body)}",
        ]
        return "\r\n".join(rows) + "\r\n\r\n" + body

    def send(self, message):
        self.socket.sendall(message if isinstance(message, bytes) else message.encode())

    def receive(self, limit_s=5.0):
        """The next message; none within the limit; raises EOFError when the connection is closed."""
        self.socket.settimeout(limit_s)
        while True:
            head, found, rest = self.buffer.lstrip(b"\r\n").partition(b"\r\n\r\n")
            if found:
                length = int(re.search(rb"(?im)^(?:content-length|l) *: *(\d+)", head).group(1))
                if len(rest) >= length:
                    self.buffer = rest[length:]
                    return (head + found + rest[:length]).decode(errors="replace")
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return None
            if not data:
                raise EOFError
            self.buffer += data

    def final(self, limit_s=5.0):
        while (message := self.receive(limit_s)) and message.startswith("SIP/2.0 1"):
            pass
        return message

    def ask(self, message, limit_s=5.0):
        self.send(message)
        return self.final(limit_s)

    def register(self, user, password, expires=60, uri=None):
        """Registers with digest; returns the last response."""
        call_id = f"reg-{next(_count)}@{self.local}"
        uri = uri or f"sip:{self.target}"
        headers = (f"Expires: {expires}",)
        to = f"sip:{user}@{self.target}"
        first = self.ask(self.request("REGISTER", uri, headers, to=to, user=user, call_id=call_id))
        if not first or sip.status(first) != 401:
            return first
        line = sip.answer(sip.challenge(first), user, password, "REGISTER", uri)
        return self.ask(self.request("REGISTER", uri, (*headers, f"Authorization: {line}"), to=to, user=user, cseq=2, call_id=call_id))

    def answer(self, request, status, reason="OK", headers=(), body="", tag="called"):
        """The response to a request that came."""
        head = [line for line in request.split("\r\n\r\n", 1)[0].split("\r\n")[1:] if re.match(r"(?i)(via|from|call-id|cseq) *:", line)]
        to = sip.header(request, "To")
        to = to if ";tag=" in to else f"{to};tag={tag}"
        contact = f"Contact: <sip:called@{self.via_host};transport={'ws' if self.transport.startswith('WS') else self.transport.lower()}>"
        self.send("\r\n".join([f"SIP/2.0 {status} {reason}", *head, f"To: {to}", contact, *headers, f"Content-Length: {len(body)}"]) + "\r\n\r\n" + body)

    def is_closed(self, limit_s=5.0):
        """Whether the other side closes it within the limit; what comes before is dropped."""
        self.socket.settimeout(limit_s)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self):
        self.socket.close()


class WebSocket(Stream):
    """A WebSocket as a browser's SIP library opens it."""

    def __init__(self, local, target, port, tls=None, name=None, origin=None, subprotocols=("sip",)):
        self.local, self.target = local, target
        self.transport = "WSS" if tls else "WS"
        scheme = "wss" if tls else "ws"
        options = {"ssl": tls, "server_hostname": name} if tls else {}
        self.socket = connect(f"{scheme}://{target}:{port}/", subprotocols=[Subprotocol(p) for p in subprotocols] or None, origin=origin,
                              source_address=(local, 0), proxy=None, **options)

    @property
    def via_host(self):
        return "df7jal23ls0d.invalid"

    def send(self, message):
        self.socket.send(message if isinstance(message, str) else message.decode())

    def receive(self, limit_s=5.0):
        try:
            message = self.socket.recv(limit_s)
        except TimeoutError:
            return None
        return message if isinstance(message, str) else message.decode(errors="replace")


class Certificates:
    """An authority, and certificates of it, made by openssl in a folder."""

    def __init__(self, folder, name="authority"):
        self.folder = folder
        self.ca, self.ca_key = folder / f"{name}.pem", folder / f"{name}.key"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.ca_key, "-out", self.ca,
                      "-days", "3650", "-subj", f"/CN={name}")

    def make(self, name, host, days=365):
        """(certificate, key) files for a host name and address."""
        certificate, key, request, extensions = (self.folder / f"{name}.{kind}" for kind in ("pem", "key", "csr", "ext"))
        extensions.write_text(f"subjectAltName=DNS:{name}.example,IP:{host}\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}.example")
        self._openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial", "-out", certificate, "-days", days, "-extfile", extensions)
        return certificate, key

    def client(self, identity=None, version=None):
        """Settings of a client that believes this authority."""
        context = ssl.create_default_context(cafile=self.ca)
        if identity:
            context.load_cert_chain(*identity)
        if version:
            context.minimum_version = context.maximum_version = version
        return context

    @staticmethod
    def _openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=30)
