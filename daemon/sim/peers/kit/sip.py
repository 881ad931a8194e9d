"""SIP by hand: single messages for what no well-behaved peer would send."""

import hashlib
import itertools
import re
import socket

_count = itertools.count(1)


class Raw:
    """A UDP socket that says exactly what it is told."""

    def __init__(self, local, port=5060):
        self.socket = socket.socket(socket.AF_INET6 if ":" in local else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((local, port))
        self.local, self.port = local, self.socket.getsockname()[1]

    def request(self, method, uri, headers=(), body="", to=None, user="raw", cseq=1, call_id=None):
        number = next(_count)
        host = f"[{self.local}]" if ":" in self.local else self.local
        rows = [
            f"{method} {uri} SIP/2.0", f"Via: SIP/2.0/UDP {host}:{self.port};rport;branch=z9hG4bKraw{number}",
            f"From: <sip:{user}@{host}>;tag=raw{number}", f"To: <{to or uri}>", f"Call-ID: {call_id or f'raw-{number}@{self.local}'}",
            f"CSeq: {cseq} {method}", "Max-Forwards: 70", f"Contact: <sip:{user}@{host}:{self.port}>", *headers, f"Content-Length: {len(body)}",
        ]
        return "\r\n".join(rows) + "\r\n\r\n" + body

    def send(self, message, target, port=5060):
        self.socket.sendto(message if isinstance(message, bytes) else message.encode(), (target, port))

    def receive(self, limit_s=5.0):
        """The next message, or none within the limit."""
        self.socket.settimeout(limit_s)
        try:
            return self.socket.recv(65535).decode(errors="replace")
        except TimeoutError:
            return None

    def final(self, limit_s=5.0):
        """The next response that is not provisional."""
        while (message := self.receive(limit_s)) and message.startswith("SIP/2.0 1"):
            pass
        return message

    def ask(self, message, target, port=5060, limit_s=5.0):
        self.send(message, target, port)
        return self.final(limit_s)

    def register(self, target, user, password, expires=60, algorithm=None, uri=None, contact=None):
        """Registers with digest; returns the last response. `algorithm` picks one challenge of several."""
        call_id = f"reg-{next(_count)}@{self.local}"
        uri = uri or f"sip:{target}"
        headers = (f"Expires: {expires}",)
        to = f"sip:{user}@{target}"
        first = self.ask(self.request("REGISTER", uri, headers, to=to, user=user, call_id=call_id), target)
        if not first or status(first) != 401:
            return first
        line = answer(challenge(first, algorithm), user, password, "REGISTER", uri)
        return self.ask(self.request("REGISTER", uri, (*headers, f"Authorization: {line}"), to=to, user=user, cseq=2, call_id=call_id), target)

    def prove(self, method, uri, target, user, password, headers=(), body="", call_id=None):
        """Sends a request whose challenge is met; its answer is still to be read."""
        call_id = call_id or f"proven-{next(_count)}@{self.local}"
        challenged = self.ask(self.request(method, uri, headers, body, user=user, call_id=call_id), target)
        assert challenged and status(challenged) == 401, challenged
        proof = answer(challenge(challenged), user, password, method, uri)
        self.send(self.request(method, uri, (*headers, f"Authorization: {proof}"), body, user=user, cseq=2, call_id=call_id), target)

    def close(self):
        self.socket.close()


def challenge(message, algorithm=None):
    """The parameters of a challenge: the first, or the one of this algorithm."""
    challenges = [dict(re.findall(r'(\w+)="?([^",\r]+)"?', line)) for line in re.findall(r"(?im)^(?:WWW|Proxy)-Authenticate: *Digest (.*)$", message)]
    return next(c for c in challenges if not algorithm or c.get("algorithm", "MD5").upper() == algorithm)


def answer(challenge, user, password, method, uri, nc="00000001", cnonce="c0ffee"):
    """The value of an Authorization header (RFC 7616)."""
    kind = challenge.get("algorithm", "MD5")
    h = (lambda text: hashlib.sha256(text.encode()).hexdigest()) if kind.upper() == "SHA-256" else (lambda text: hashlib.md5(text.encode()).hexdigest())
    ha1, ha2 = h(f"{user}:{challenge['realm']}:{password}"), h(f"{method}:{uri}")
    rows = [f'username="{user}"', f'realm="{challenge["realm"]}"', f'nonce="{challenge["nonce"]}"', f'uri="{uri}"', f"algorithm={kind}"]
    if "qop" in challenge:
        rows += ["qop=auth", f"nc={nc}", f'cnonce="{cnonce}"', f'response="{h(":".join((ha1, challenge["nonce"], nc, cnonce, "auth", ha2)))}"']
    else:
        rows.append(f'response="{h(":".join((ha1, challenge["nonce"], ha2)))}"')
    if "opaque" in challenge:
        rows.append(f'opaque="{challenge["opaque"]}"')
    return "Digest " + ", ".join(rows)


def status(message):
    return int(message.split(" ", 2)[1])


def header(message, name):
    found = re.search(rf"(?im)^{name} *: *(.*?)\r?$", message)
    return found.group(1) if found else None
