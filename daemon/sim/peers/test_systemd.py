"""What the daemon tells systemd: the unit is `Type=notify` with a watchdog, and `systemctl reload` waits for the outcome."""

import os
import signal
import socket
import time

import pytest
from kit import box
from kit.process import Child
from kit.wait import until


class Notified:
    """The socket that systemd would read: every message with its time."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.05)
        self.messages = []

    def read(self):
        try:
            while True:
                text = self.socket.recv(4096).decode()
                self.messages.append((time.monotonic(), dict(line.partition("=")[::2] for line in text.splitlines())))
        except TimeoutError:
            return self.messages

    def times(self, name, value="1"):
        return [at for at, message in self.read() if message.get(name) == value]

    def close(self):
        self.socket.close()


@pytest.fixture
def notified(world):
    notified = Notified(world.folder / "systemd")
    yield notified
    notified.close()


def start(world, notified, **env):
    daemon = world.start(ready=False)
    daemon.child = Child("posternd", [box.binary("posternd"), "--config", daemon.file], world.folder, {"NOTIFY_SOCKET": str(notified.path), **env})
    until("READY=1", lambda: notified.times("READY"), 30)
    return daemon


def test_the_watchdog_is_fed_well_within_its_time(world, notified):
    start(world, notified, WATCHDOG_USEC="3000000")
    fed = until("four feedings", lambda: len(times := notified.times("WATCHDOG")) >= 4 and times, 12)
    assert max(b - a for a, b in zip(fed, fed[1:])) < 3.0


def test_without_a_watchdog_nobody_is_fed(world, notified):
    daemon = start(world, notified)
    os.kill(daemon.child.pid, signal.SIGHUP)
    until("the reload", lambda: notified.times("RELOADING"))
    assert not notified.times("WATCHDOG")


@pytest.mark.parametrize("good", [True, False], ids=["good-file", "bad-file"])
def test_a_reload_is_told_with_its_beginning_and_its_end(world, notified, good):
    daemon = start(world, notified)
    if not good:
        daemon.write("appliance: { nmae: x }\n")
    os.kill(daemon.child.pid, signal.SIGHUP)
    until("the end of the reload", lambda: len(notified.times("READY")) == 2)
    (began,) = [message for _, message in notified.read() if "RELOADING" in message]
    assert began["RELOADING"] == "1"
    daemon.until_event("config.applied" if good else "config.refused")


def test_an_end_is_announced(world, notified):
    daemon = start(world, notified)
    assert daemon.child.stop() == 0
    assert notified.times("STOPPING")
