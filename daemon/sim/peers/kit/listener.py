"""A WebSocket server that hears forks: keeps what each sent, and puts the audio back together."""

import base64
import json
import socket
import threading
from dataclasses import dataclass, field

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from . import audio
from .wait import until


@dataclass
class Heard:
    path: str
    headers: dict
    messages: list = field(default_factory=list)
    closed: bool = False

    def events(self, name):
        return [message for message in list(self.messages) if message["event"] == name]

    def track(self, name):
        """The samples of a track, each packet at its time."""
        media = [m["media"] for m in self.events("media") if m["media"]["track"] == name]
        if not media:
            return np.zeros(0, np.int16)
        first = min(int(m["timestamp"]) for m in media)
        sound = np.zeros((max(int(m["timestamp"]) for m in media) - first + 100) * 8, np.int16)
        for m in media:
            samples = audio.from_ulaw(base64.b64decode(m["payload"], validate=True))
            at = (int(m["timestamp"]) - first) * 8
            sound[at : at + len(samples)] = samples
        return sound


class Listener:
    """`behave(connection, heard)` replaces reading to the end."""

    def __init__(self, address, tls=None, behave=None, receive_buffer=None):
        self.heard = []
        self.behave = behave or self.read
        listening = socket.create_server((address, 0))
        if receive_buffer:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.server = serve(self._serve, sock=listening, ssl=tls, max_size=None, close_timeout=1)
        self.port = self.server.socket.getsockname()[1]
        self.url = f"{'wss' if tls else 'ws'}://{address}:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def _serve(self, connection):
        heard = Heard(connection.request.path, dict(connection.request.headers))
        self.heard.append(heard)
        try:
            self.behave(connection, heard)
        except ConnectionClosed:
            pass
        heard.closed = True

    @staticmethod
    def read(connection, heard):
        for message in connection:
            heard.messages.append(json.loads(message))

    def until_closed(self, count=1):
        return until("the forks to be over", lambda: [h for h in self.heard if h.closed] if sum(h.closed for h in self.heard) >= count else None)

    def stop(self):
        self.server.shutdown()
        self.thread.join(5)
