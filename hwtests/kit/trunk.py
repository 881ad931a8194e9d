"""A trunk under test: what its file says, and calls to it by hand.

It speaks with the client that the daemon's own tests have (daemon/sim/peers/kit): there is one SIP client of ours, not two.
Nothing here answers for the trunk: what it does not do in time is a failure that names what was awaited.
"""

import importlib.util
import re
import socket
import sys
import time
from pathlib import Path

import yaml

from .box import Failed


def _client():
    """The client's package, under a name of its own: ours is called `kit`, too."""
    if "peers_kit" not in sys.modules:
        folder = Path(__file__).resolve().parents[2] / "daemon/sim/peers/kit"
        spec = importlib.util.spec_from_file_location("peers_kit", folder / "__init__.py", submodule_search_locations=[str(folder)])
        module = importlib.util.module_from_spec(spec)
        sys.modules["peers_kit"] = module
        spec.loader.exec_module(module)
    return importlib.import_module("peers_kit.sip"), importlib.import_module("peers_kit.talk")


sip, talk = _client()

# What a trunk's file may say, and what for.
KEYS = {
    "address": "where the trunk takes calls: an address, or address:port",
    "local": "our address, when the trunk knows us by one of several",
    "local_port": "our port, when the trunk knows us by it",
    "domain": "what stands behind the @ of called numbers, when it is not the address",
    "registrar": "where we register: an address, or address:port",
    "user": "our name there",
    "password": "and the password",
    "caller": "the number that we call from, with + and country",
    "answers": "a number that answers, and stays until we hang up",
    "echo": "a number that answers and sends back what it hears",
    "early": "a number that speaks before it answers: an announcement, or ringing that the far network makes",
    "refused": "a number that nobody has",
    "fax": "a number that answers, and is asked for T.38",
    "second": "the trunk's second address, for when the first is gone",
    "emergency_test": "the carrier's number for trying emergency calls: never a real one",
}

# Calls to these reach people who are needed elsewhere (the numbers of ITU-T E.161.1 and of large countries): they are refused here.
REAL_EMERGENCY = {"000", "08", "110", "111", "112", "113", "114", "115", "117", "118", "119", "911", "988", "995", "997", "998", "999"}

# RFC 3261: timer B, after which an INVITE without any answer has failed.
ANSWER_LIMIT_S = 32
# A person hangs up when nothing rings for so long; SIP itself would wait minutes.
RING_LIMIT_S = 20
SPEECH_LIMIT_S = 5

EVENTS = 101
FAX = (
    "m=image {port} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\na=T38FaxRateManagement:transferredTCF\r\n"
    "a=T38FaxMaxDatagram:400\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
)


class Trunk:
    """What the file says."""

    def __init__(self, file):
        said = yaml.safe_load(Path(file).read_text())
        said = said.get("trunk") if isinstance(said, dict) else None
        if not isinstance(said, dict) or not said.get("address"):
            raise ValueError(f"{file}: want `trunk:` with at least an `address`; see hwtests/trunk.yaml")
        unknown = sorted(set(said) - set(KEYS))
        if unknown:
            raise ValueError(f"{file}: unknown: {', '.join(unknown)}; there are {', '.join(KEYS)}")
        self.said = {key: str(value) for key, value in said.items()}
        digits = re.sub(r"[^0-9]", "", self.said.get("emergency_test", ""))
        if digits in REAL_EMERGENCY:
            raise ValueError(f"{file}: {digits} is a real emergency number: ask the carrier for one to try with")
        self.address = place(self.said["address"])
        self.local = self.said.get("local") or _towards(self.address)
        self.port = int(self.said.get("local_port", 0))
        self.domain = self.said.get("domain", self.address[0])
        self.caller = self.said.get("caller", "+15550100")

    def __str__(self):
        return self.said["address"]

    def missing(self, names):
        """Words for the report; None when the file has all of it."""
        lacks = [f"`{name}` ({KEYS[name]})" for name in names if name not in self.said]
        return f"the trunk's file does not name {' and '.join(lacks)}" if lacks else None

    def raw(self):
        return sip.Raw(self.local, self.port)


def place(text):
    """(address, port) of `192.0.2.1`, `192.0.2.1:5062`, `[2001:db8::1]:5062`."""
    host, port = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::(\d+))?", text).groups()
    return host.strip("[]"), int(port or 5060)


def _towards(address):
    """Our address as the kernel would send from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(address)
        return probe.getsockname()[0]


class Voice(talk.Voice):
    """Audio of numbered payloads, and digits as RFC 4733 has them."""

    def __init__(self, address, seed=1):
        super().__init__(address, 0, seed)
        self.port = self.socket.getsockname()[1]
        self.kind, self.events = 0, []

    def packet(self, number, payload):
        whole = super().packet(number, payload)
        return whole[:1] + bytes([self.kind]) + whole[2:]

    def _hear(self):
        while self.hearing.is_set():
            try:
                packet, source = self.socket.recvfrom(65535)
            except (TimeoutError, OSError):
                continue
            if len(packet) < 13 or packet[0] >> 6 != 2 or source[0] != self.target[0]:
                continue
            # The marker bit is no part of the payload type.
            if packet[1] & 0x7F == EVENTS:
                self.events.append(packet[12:16])
            else:
                self.heard.append(packet[12:])

    def press(self, digit):
        """An event of 100 ms: begun, held, and its end three times (RFC 4733 2.5.1.4)."""
        code = "0123456789*#ABCD".index(digit)
        stamp = (len(self.sent) * 160) & 0xFFFFFFFF
        for step in range(1, 8):
            end, length = (0x80 if step > 4 else 0), min(step, 5) * 160
            payload = bytes([code, end | 10]) + length.to_bytes(2, "big")
            whole = super().packet(0, payload)
            self.sent.append(payload)
            number = len(self.sent) & 0xFFFF
            kind = EVENTS | (0x80 if step == 1 else 0)
            self.socket.sendto(whole[:1] + bytes([kind]) + number.to_bytes(2, "big") + stamp.to_bytes(4, "big") + whole[8:], self.target)
            time.sleep(talk.PTIME_S)

    def digits(self):
        """The digits heard: of each event its last packet, told once."""
        found = []
        for event in self.events:
            if event[1] & 0x80 and (not found or found[-1] != event):
                found.append(event)
        return "".join("0123456789*#ABCD"[event[0] & 15] for event in found)

    def hears(self, limit_s=SPEECH_LIMIT_S, packets=10):
        """Whether so many packets come from now on."""
        until, before = time.monotonic() + limit_s, len(self.heard)
        while time.monotonic() < until:
            if len(self.heard) - before >= packets:
                return True
            time.sleep(0.02)
        return False


class Call:
    """One call to a trunk. Ended with `with`, whatever happened."""

    def __init__(self, trunk, number, address=None, headers=()):
        self.trunk, self.to = trunk, address or trunk.address
        self.raw = trunk.raw()
        self.voice = Voice(trunk.local)
        self.ended_by, self.answer, self.cseq, self.began = None, None, 1, time.monotonic()
        self.uri = f"sip:{number}@{trunk.domain}"
        identity = f"P-Asserted-Identity: <sip:{trunk.caller}@{trunk.domain}>"
        self.headers = (identity, *headers)
        self._invite(())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            if self.answer and not self.ended_by:
                self._request("BYE")
            elif not self.answer and not self.ended_by:
                self.cancel()
        except Failed:
            pass  # what failed before is what is told
        self.voice.end()
        self.raw.close()

    def description(self, direction="sendrecv"):
        """What we offer: G.711 both ways, and digits as events."""
        return (f"v=0\r\no=- 7 {self.cseq} IN IP4 {self.trunk.local}\r\ns=-\r\nc=IN IP4 {self.trunk.local}\r\nt=0 0\r\n"
                f"m=audio {self.voice.port} RTP/AVP 0 8 {EVENTS}\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
                f"a=rtpmap:{EVENTS} telephone-event/8000\r\na=fmtp:{EVENTS} 0-15\r\na=ptime:20\r\na={direction}\r\n")

    def _invite(self, more):
        headers = ("Content-Type: application/sdp", "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS", *self.headers, *more)
        call_id = sip.header(self.invite, "Call-ID") if more else None
        self.invite = self.raw.request("INVITE", self.uri, headers, self.description(), user=self.trunk.caller, cseq=self.cseq, call_id=call_id)
        self.raw.send(self.invite, *self.to)

    # ---- until it is answered ----

    def until(self, *statuses, limit_s=RING_LIMIT_S):
        """The first response of these; a final one that is none of them is a failure. Answers a challenge when we have a password."""
        challenged = False
        end = time.monotonic() + limit_s
        while (left := end - time.monotonic()) > 0:
            message = self._next(left)
            if not message or f"{self.cseq} INVITE" != sip.header(message, "CSeq"):
                continue
            status = sip.status(message)
            if status in (401, 407) and not challenged and "password" in self.trunk.said:
                self._acknowledge(message)
                challenged, said = True, self.trunk.said
                line = sip.answer(sip.challenge(message), said["user"], said["password"], "INVITE", self.uri)
                self.cseq += 1
                self._invite((f"{'Proxy-' if status == 407 else ''}Authorization: {line}",))
                continue
            if 200 <= status < 300:
                self.answer = message
                self._send_in_dialog("ACK", self.cseq)
            elif status >= 300:
                self.ended_by = message
                self._acknowledge(message)
            if status in statuses:
                self.took_s = time.monotonic() - self.began
                return message
            if status >= 200:
                raise Failed(f"want {' or '.join(map(str, statuses))} from {self.uri}, got: {_first(message)}")
        raise Failed(f"{self.uri}: no {' or '.join(map(str, statuses))} within {limit_s:g} s")

    def cancel(self):
        """The final responses to CANCEL and to the INVITE."""
        text = self.raw.request("CANCEL", self.uri, user=self.trunk.caller, cseq=self.cseq, call_id=sip.header(self.invite, "Call-ID"))
        self.raw.send(self._as_in(text, self.invite, "Via", "From", "To"), *self.to)
        found = {}
        end = time.monotonic() + SPEECH_LIMIT_S
        while len(found) < 2 and (left := end - time.monotonic()) > 0:
            message = self._next(left)
            if message and (status := sip.status(message)) >= 200:
                method = sip.header(message, "CSeq").split()[1]
                found[method] = status
                if method == "INVITE":
                    self.ended_by = message
                    self._acknowledge(message)
        return found.get("CANCEL"), found.get("INVITE")

    # ---- while it lasts ----

    def speak(self, message=None):
        """Speaks and listens from now on, to where the message says."""
        text = message or self.answer
        port = re.search(r"(?m)^m=audio (\d+) \S+ (\d+)", text)
        where = re.search(r"(?m)^c=IN IP4 (\S+?)\r?$", text)
        if not port or not where or port.group(1) == "0":
            raise Failed(f"no audio is described: {_first(text)}")
        self.voice.kind = int(port.group(2))
        self.voice.begin((where.group(1), int(port.group(1))))
        return self.voice

    def reinvite(self, body):
        """The final response to another offer; what it describes is in it."""
        self.cseq += 1
        return self._request("INVITE", body)

    def hang_up(self):
        message = self._request("BYE")
        self.ended_by = message
        return message

    def _request(self, method, body=""):
        if method != "INVITE":
            self.cseq += 1
        cseq = self.cseq
        self._send_in_dialog(method, cseq, body)
        end = time.monotonic() + RING_LIMIT_S
        while (left := end - time.monotonic()) > 0:
            message = self._next(left)
            if self.ended_by and method != "BYE":
                raise Failed(f"the trunk ended the call instead of answering {method}")
            if message and sip.header(message, "CSeq") == f"{cseq} {method}" and sip.status(message) >= 200:
                if method == "INVITE":
                    # Of a refusal the ACK belongs to the INVITE's own transaction (RFC 3261 17.1.1.3).
                    self._send_in_dialog("ACK", cseq, branch_of=None if sip.status(message) < 300 else self.last)
                return message
        raise Failed(f"no answer to {method} within {RING_LIMIT_S} s")

    def _send_in_dialog(self, method, cseq, body="", branch_of=None):
        contact = re.search(r"<(.*?)>", sip.header(self.answer, "Contact") or "")
        if not contact:
            raise Failed("the answer has no Contact: nobody knows where requests of this call go")
        routes = re.findall(r"(?im)^Record-Route *: *(.*?)\r?$", self.answer)
        routes = [f"Route: {route}" for route in reversed(routes)]
        kind = ("Content-Type: application/sdp",) if body else ()
        text = self.raw.request(method, contact.group(1), (*kind, *routes), body, user=self.trunk.caller, cseq=cseq, call_id=sip.header(self.answer, "Call-ID"))
        text = self._as_in(text, self.answer, "From", "To")
        if branch_of:
            text = self._as_in(text, branch_of, "Via")
        if method == "INVITE":
            self.last = text
        self.raw.send(text, *self.to)

    def _acknowledge(self, message):
        """ACK of a refusal: branch and target of its INVITE."""
        text = self.raw.request("ACK", self.uri, user=self.trunk.caller, cseq=self.cseq, call_id=sip.header(self.invite, "Call-ID"))
        text = self._as_in(text, self.invite, "Via", "From")
        self.raw.send(self._as_in(text, message, "To"), *self.to)

    def _as_in(self, text, other, *names):
        for name in names:
            value = sip.header(other, name)
            text = re.sub(rf"(?m)^{name}: .*?\r$", lambda _, name=name, value=value: f"{name}: {value}\r", text)
        return text

    def _next(self, limit_s):
        """The next response within the limit; requests of the trunk are answered meanwhile."""
        end = time.monotonic() + limit_s
        while (left := end - time.monotonic()) > 0:
            message = self.raw.receive(left)
            if not message:
                return None
            if message.startswith("SIP/2.0"):
                if sip.header(message, "Call-ID") == sip.header(self.invite, "Call-ID"):
                    return message
                continue
            method = message.split(" ", 1)[0]
            if method == "BYE" and sip.header(message, "Call-ID") == sip.header(self.invite, "Call-ID"):
                self.ended_by = message
            body = self.description() if method == "INVITE" else ""
            if method != "ACK":
                contact = f"sip:{self.trunk.caller}@{self.trunk.local}:{self.raw.port}"
                self.raw.send(talk.reply(message, 200, contact=contact, body=body), *self.to)
            if self.ended_by:
                return None
        return None


def _first(message):
    return message.splitlines()[0]


def direction(message):
    """What a description says of its audio; without a word it is both ways (RFC 4566 6)."""
    found = re.search(r"(?m)^a=(sendrecv|sendonly|recvonly|inactive)\r?$", message)
    return found.group(1) if found else "sendrecv"
