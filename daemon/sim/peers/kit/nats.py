"""A real NATS server with JetStream, and a reader of its streams."""

import asyncio
import json
import socket
import sys
from pathlib import Path

from .process import Child
from .wait import until


class Nats:
    """Keeps its store over `stop()` and `start()`."""

    def __init__(self, folder, address, port=4222):
        self.folder = Path(folder)
        self.address, self.port = address, port
        self.url = f"nats://{address}:{port}"
        self.child = None
        self.start()

    def start(self):
        binary = Path(sys.executable).parent / "nats-server"
        self.child = Child("nats-server", [binary, "-a", self.address, "-p", self.port, "-js", "-sd", self.folder / "jetstream"], self.folder)
        until("nats-server to listen", self._listens)
        return self

    def _listens(self):
        if not self.child.running():
            raise AssertionError(f"nats-server ended: {self.child.text()}")
        try:
            socket.create_connection((self.address, self.port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.child.stop()

    def kill(self):
        self.child.kill()

    def ask(self, work):
        """Runs `async work(connection, jetstream)` and returns its answer."""
        import nats

        async def run():
            connection = await nats.connect(self.url, connect_timeout=5)
            try:
                return await work(connection, connection.jetstream())
            finally:
                await connection.close()

        return asyncio.run(run())

    def count(self, stream):
        from nats.js.errors import NotFoundError

        async def work(_, jetstream):
            try:
                return (await jetstream.stream_info(stream)).state.messages
            except NotFoundError:
                return 0

        return self.ask(work)

    def messages(self, stream):
        """Everything in the stream, in order: (subject, headers, body as JSON)."""
        from nats.js.api import ConsumerConfig, DeliverPolicy

        async def work(_, jetstream):
            total = (await jetstream.stream_info(stream)).state.messages
            found = []
            reader = await jetstream.pull_subscribe("", stream=stream, config=ConsumerConfig(deliver_policy=DeliverPolicy.ALL))
            while len(found) < total:
                for message in await reader.fetch(min(500, total - len(found)), timeout=5):
                    found.append((message.subject, dict(message.headers or {}), json.loads(message.data)))
                    await message.ack()
            return found

        return self.ask(work)

    def bucket(self, name):
        """Key and value of everything in a key-value bucket."""

        async def work(_, jetstream):
            bucket = await jetstream.key_value(name)
            return {key: (await bucket.get(key)).value.decode() for key in await bucket.keys()}

        return self.ask(work)

    def request(self, subject, body, limit_s=5.0):
        async def work(connection, _):
            reply = await connection.request(subject, json.dumps(body).encode(), timeout=limit_s)
            return json.loads(reply.data)

        return self.ask(work)
