"""A real posternd: its configuration, its process, its faces."""

import base64
import copy
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlencode

import yaml

from .process import Child, tail
from .wait import until

ACCOUNT = "AC" + "5" * 31 + "a"
TOKEN = "app-token-3f1b77"
NUMBER = "+15551230001"
NUMBER_APP = "+15551230002"
PASSWORDS = {"alice": "alice-secret-91", "bob": "bob-secret-52"}


def binary(name):
    """From POSTERN_BIN (a folder), else the debug build of CARGO_TARGET_DIR."""
    folder = os.environ.get("POSTERN_BIN") or Path(os.environ.get("CARGO_TARGET_DIR", Path.home() / ".cache/postern/target")) / "debug"
    path = Path(folder) / name
    if not path.exists() and not shutil.which(str(path)):
        raise FileNotFoundError(f"{path} is not built: make peers builds it")
    return path


def configuration(net, folder, app_url=None, nats_url=None):
    """One carrier, another, two users, two numbers: what most tests start from."""
    config = {
        "appliance": {"name": "edge-test", "state_folder": str(folder / "state"), "runtime_folder": str(folder / "run")},
        "realms": {
            "carrier": {"signaling": [f"{net.box_carrier}:5060"], "media": {"addresses": [net.box_carrier], "ports": "20000-21999"}, "uri_calls": True},
            "phones": {"signaling": [f"{net.box_clients}:5060"], "media": {"addresses": [net.box_clients], "ports": "22000-23999"}, "registrations": True},
        },
        "trunks": {
            "acme": {"realm": "carrier", "address": f"{net.carrier}:5060"},
            "zeta": {"realm": "carrier", "address": f"{net.other_carrier}:5060"},
        },
        "users": {name: {"password": password} for name, password in PASSWORDS.items()},
        "numbers": {NUMBER: {"user": "alice"}},
        "routes": [
            {"name": "transit", "from": {"trunk": "acme"}, "prefix": "+99", "to": {"trunk": "zeta"}},
            {"name": "out", "from": "users", "prefix": "+", "to": {"trunk": "acme"}},
        ],
        "accounts": {"main": {"sid": ACCOUNT, "token": TOKEN}},
        # Two cores for everything here: no core to itself for media. Short times, so that a test of them is short.
        # A capture on loopback shows a packet as it came, not as the kernel sends it on: the fast path has a test of its own.
        "media": {"workers": [0], "quarantine": "500ms", "timeout": "20s", "fast_path": "off"},
        "api": {"listen": f"{net.servers}:8080"},
        "log": {"level": "debug", "to": "stderr"},
    }
    if app_url:
        config["applications"] = {
            "greeting": {
                "account": "main", "voice_url": f"{app_url}/voice", "voice_fallback_url": f"{app_url}/fallback",
                "status_callback": f"{app_url}/status", "status_callback_events": ["initiated", "ringing", "answered", "completed"],
            }
        }
        config["numbers"][NUMBER_APP] = {"application": "greeting"}
    if nats_url:
        config["control_plane"] = {"url": nats_url}
    return config


class Box:
    def __init__(self, folder, config, env=None, ready=True, prefix=()):
        self.folder = Path(folder)
        self.config = copy.deepcopy(config)
        self.file = self.folder / "postern.yaml"
        self.socket = self.folder / "run" / "postern.sock"
        self.env = env or {}
        self.prefix = list(prefix)
        for key in ("state", "run"):
            (self.folder / key).mkdir(exist_ok=True)
        self.child = None
        self.write()
        if ready:
            self.start()

    # ---- the process ----

    def write(self, text=None):
        self.file.write_text(text if text is not None else yaml.safe_dump(self.config, sort_keys=False))

    def start(self):
        """Returns when it serves: systemd's READY=1 was said and the tool's socket answers."""
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self.folder / "notify"
        path.unlink(missing_ok=True)
        notify.bind(str(path))
        notify.settimeout(0.05)
        self.notified = []

        def ready():
            if not self.child.running():
                raise AssertionError(f"posternd ended with {self.child.process.returncode}\n{tail(self.child.text())}")
            try:
                self.notified += notify.recv(4096).decode().split("\n")
            except TimeoutError:
                pass
            return any(line == "READY=1" for line in self.notified)

        command = [*self.prefix, binary("posternd"), "--config", self.file]
        self.child = Child("posternd", command, self.folder, {"NOTIFY_SOCKET": str(path), **self.env})
        try:
            until("posternd to be ready", ready, 30)
            until("the tool's socket to answer", lambda: self.get("/healthz")[0] == 200)
        finally:
            notify.close()
        return self

    def stop(self):
        code = self.child.stop()
        return code

    def kill(self):
        """As a crash: no goodbye."""
        self.child.kill()

    def reload(self):
        """By signal. The outcome is an event."""
        os.kill(self.child.pid, signal.SIGHUP)

    # ---- the tool ----

    def tool(self, *words, check=True, json_out=False, socket=True):
        """`postern …`: (exit code, output). With `json_out` the output is parsed; without `socket` the tool must find it."""
        command = [str(binary("postern")), *(["--socket", str(self.socket)] if socket else []), *(["--json"] if json_out else []), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise AssertionError(f"postern {' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        if json_out:
            return json.loads(done.stdout)
        return done.returncode, done.stdout + done.stderr

    # ---- HTTP over the socket ----

    def get(self, path, method="GET"):
        """(status, body) over the tool's socket."""
        connection = _UnixHTTP(self.socket)
        try:
            connection.request(method, path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def status(self):
        return json.loads(self.get("/v1/status")[1])

    def calls(self, finished=100):
        return json.loads(self.get(f"/v1/calls?finished={finished}")[1])["calls"]

    def live(self):
        return self.calls(0)

    def events(self, **filters):
        """What happened so far, from the oldest kept: a list of events."""
        status, body = self.get("/v1/events?" + urlencode({"last_event_id": 0, "follow": "false", **filters}))
        assert status == 200, body
        return [json.loads(event["data"]) for event in parse_events(body.decode()) if event.get("event") != "gap" and "data" in event]

    def until_event(self, kind, count=1, limit_s=15.0, **filters):
        return until(f"{count} x {kind}", lambda: (found := self.events(type=kind, **filters)) and len(found) >= count and found, limit_s)

    def idle(self, limit_s=15.0):
        """No call lives, no media port is held, and what happened until then is on the event stream (where it comes
        when it is kept on disk, a moment later)."""
        def nothing():
            status = self.status()
            rests = status["calls"] == 0 and status["legs"] == 0 and status["media"]["streams"] == 0
            return rests and status["events_seq"]

        last = until("all calls and streams to end", nothing, limit_s)
        until("the last event to be shown", lambda: (e := self.events()) and e[-1]["seq"] >= last, limit_s)

    # ---- REST over TCP ----

    def rest(self, method, path, form=None, auth=(ACCOUNT, TOKEN), headers=None):
        connection = http.client.HTTPConnection(*self.config["api"]["listen"].rsplit(":", 1), timeout=20)
        given = dict(headers or {})
        if auth:
            given["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
        body = None
        if form is not None:
            body = urlencode(form, doseq=True)
            given["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            connection.request(method, path, body, given)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


class Stream:
    """An open event stream over TCP: `events` grows until `close()`."""

    def __init__(self, box, query="", last=None):
        host, port = box.config["api"]["listen"].rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=30)
        headers = {"Authorization": "Basic " + base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()}
        if last is not None:
            headers["Last-Event-ID"] = str(last)
        self.connection.request("GET", "/v1/events" + (f"?{query}" if query else ""), headers=headers)
        self.reply = self.connection.getresponse()
        self.status = self.reply.status
        self.text = ""
        if self.status == 200:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while data := self.reply.read1(65536):
                self.text += data.decode()
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass

    @property
    def events(self):
        whole = self.text[: self.text.rfind("\n\n") + 2]
        return [e for e in parse_events(whole) if "data" in e]

    def close(self):
        sock = self.connection.sock or getattr(getattr(self.reply.fp, "raw", None), "_sock", None)
        if sock:
            sock.shutdown(socket.SHUT_RDWR)
        self.connection.close()


def parse_events(text):
    """Server-sent events: a dict of fields each."""
    found = []
    for block in text.split("\n\n"):
        event = {}
        for line in block.split("\n"):
            if line and not line.startswith(":"):
                name, _, value = line.partition(":")
                event[name] = value.removeprefix(" ")
        if event:
            found.append(event)
    return found


class _UnixHTTP(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
