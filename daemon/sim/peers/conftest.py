"""Fixtures: a world of addresses with a box and the peers around it, all ended with the test. A failure shows what each of them said."""

import pytest

from kit import audio, box, capture, process, sip, sipp
from kit.appserver import AppServer
from kit.baresip import Baresip
from kit.nats import Nats
from kit.net import Net

CARRIER_SOUND = audio.melody(11, 8)
PHONE_SOUND = audio.melody(22, 8)


class World:
    def __init__(self, folder):
        self.folder = folder
        self.net = Net()
        self.app = AppServer(self.net.servers)
        self.children = []
        self.box = None
        (folder / "carrier.ul").write_bytes(audio.to_ulaw(CARRIER_SOUND))
        (folder / "phone.ul").write_bytes(audio.to_ulaw(PHONE_SOUND))

    def configuration(self, nats=None):
        return box.configuration(self.net, self.folder, self.app.url, nats.url if nats else None)

    def start(self, change=None, nats=None, **options):
        """The daemon, with the usual configuration, changed by `change(config)`."""
        config = self.configuration(nats)
        if change:
            change(config)
        self.box = box.Box(self.folder, config, **options)
        return self.box

    def nats(self):
        server = Nats(self.folder, self.net.servers)
        self.children.append(server)
        return server

    def phone(self, user="alice", local=None, **options):
        """baresip, registered. It plays PHONE_SOUND."""
        phone = Baresip(self.folder, user, options.pop("password", box.PASSWORDS[user]), local or self.net.client, options.pop("registrar", self.net.box_clients),
                        options.pop("sound", PHONE_SOUND), **options)
        self.children.append(phone)
        if options.get("register", True):
            phone.registered()
            self.box.until_event("registration.added", user=user)
        return phone

    def caller(self, name, score, service, local=None, remote=None, **options):
        """sipp that calls, by default the carrier acme."""
        run = sipp.Run(self.folder, name, score, local or self.net.carrier, f"{remote or self.net.box_carrier}:5060" if ":" not in (remote or "") else remote, service=service, **options)
        self.children.append(run)
        return run

    def callee(self, name, score, local=None, **options):
        """sipp that is called, by default the carrier zeta."""
        run = sipp.Run(self.folder, name, score, local or self.net.other_carrier, "127.0.0.1:5060", **options)
        self.children.append(run)
        return run

    def register(self, user="alice", local=None, port=5060, **options):
        """A registration for a phone that sipp will play at this address and port."""
        raw = sip.Raw(local or self.net.client, port)
        try:
            reply = raw.register(self.net.box_clients, user, box.PASSWORDS[user], **options)
        finally:
            raw.close()
        assert reply and sip.status(reply) == 200, reply
        return reply

    def capture(self):
        found = capture.Capture(self.folder, self.net.prefix)
        self.children.append(found.child)
        return found

    def end(self):
        for child in reversed(self.children):
            try:
                child.stop()
            except (OSError, ValueError):
                pass
        if self.box and self.box.child:
            self.box.child.stop()
        self.app.stop()
        process.end_all()


@pytest.fixture
def world(tmp_path, request):
    world = World(tmp_path)
    yield world
    failed = getattr(request.node, "failed", False)
    world.end()
    if failed:
        for path in sorted(tmp_path.glob("*.out")):
            print(f"---- {path.name}\n{process.tail(path.read_text(errors='replace'), 60)}")
        for r in world.app.requests[-20:]:
            print(f"app server was asked: {r.method} {r.path} {r.params}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call" and report.failed:
        item.failed = True
    return report
