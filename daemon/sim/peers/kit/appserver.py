"""A real application server: documents by path, every request kept, and faults on demand."""

import ssl
import threading
import time
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from .wait import until


@dataclass
class Request:
    at: float
    method: str
    path: str
    params: dict
    pairs: list
    headers: Message  # without regard to case
    query: str = ""


@dataclass
class Reply:
    body: str | bytes = "<Response/>"
    status: int = 200
    kind: str = "text/xml"
    headers: dict = field(default_factory=dict)
    slow_s: float = 0.0
    cut: bool = False  # the connection is closed without an answer


class AppServer:
    """`app["/voice"] = "<Response>…"`, a `Reply`, or a function of the request that returns one."""

    def __init__(self, address, tls=None):
        """`tls`: files of a certificate and its key."""
        self.requests = []
        self.routes = {}
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(length).decode()
                pairs = parse_qsl(text if self.command == "POST" else parts.query, keep_blank_values=True)
                request = Request(time.time(), self.command, parts.path, dict(pairs), pairs, self.headers, parts.query)
                server.requests.append(request)
                reply = server.routes.get(parts.path, Reply("no such page", 404, "text/plain"))
                if callable(reply):
                    reply = reply(request)
                if not isinstance(reply, Reply):
                    reply = Reply(reply)
                if reply.slow_s:
                    server._closing.wait(reply.slow_s)
                if reply.cut:
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
                body = reply.body.encode() if isinstance(reply.body, str) else reply.body
                self.send_response(reply.status)
                for name, value in {"Content-Type": reply.kind, "Content-Length": str(len(body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _serve

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request, client_address):
                pass  # the client went away: its business

        self.server = Server((address, 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://{address}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __setitem__(self, path, reply):
        self.routes[path] = reply

    def asked(self, path):
        return [r for r in list(self.requests) if r.path == path]

    def until_asked(self, path, count=1, limit_s=15.0):
        """Waits until `path` was asked `count` times; returns those requests."""
        return until(f"{count} requests of {path}", lambda: len(self.asked(path)) >= count and self.asked(path), limit_s)

    def stop(self):
        self._closing.set()
        self.server.shutdown()
        self.server.server_close()
