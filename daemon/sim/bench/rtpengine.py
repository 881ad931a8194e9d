"""rtpengine as the system under test: user space, one thread, driven by its ng protocol."""

import base64
import socket
import subprocess
import time

from .talk import SYSTEM_CPU, Program

ADDRESS = "127.0.0.4"
CONTROL = (ADDRESS, 2223)


def version():
    said = subprocess.run(["rtpengine", "--version"], capture_output=True, text=True)
    return (said.stdout + said.stderr).strip().removeprefix("Version: ")


class Rtpengine:
    name = "rtpengine"
    # Stopped for as long as the others take, it forwards little or nothing when it goes on. Idle it takes next to no time.
    can_stop = False

    def __init__(self, folder, sides=("pcma", "pcma"), key=None):
        self.sides, self.key = sides, key
        # --table=-1: no kernel module, packets are forwarded in user space. Its other threads only keep time.
        self.program = Program(
            self.name,
            [
                "rtpengine", "--config-file=none", "--foreground", "--log-stderr", "--log-level=3", "--table=-1",
                f"--interface={ADDRESS}", f"--listen-ng={ADDRESS}:{CONTROL[1]}", "--port-min=20000", "--port-max=39999",
                "--num-threads=1", "--media-num-threads=1", "--timeout=36000", "--silent-timeout=36000", "--tos=184",
            ],
            folder,
            SYSTEM_CPU,
        )
        self.pid = self.program.pid
        self.control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.control.settimeout(0.2)
        self.cookie = 0
        limit = time.monotonic() + 20
        while True:
            try:
                if self.command({"command": "ping"})["result"] == "pong":
                    break
            except (TimeoutError, ConnectionError):
                if time.monotonic() > limit or self.program.process.poll() is not None:
                    raise RuntimeError(f"rtpengine does not answer\n{self.program.tail()}") from None
                time.sleep(0.1)
        self.control.settimeout(5)

    def command(self, said):
        self.cookie += 1
        self.control.sendto(f"{self.cookie} ".encode() + encode(said), CONTROL)
        while True:
            cookie, answer = self.control.recvfrom(65536)[0].split(b" ", 1)
            if cookie == str(self.cookie).encode():
                return decode(answer)

    def open(self, legs, peer, first):
        """Calls between pairs of legs, the peer of leg n at port first + 2n; the first of a pair has the key, if there is one.
        What the load is to be told: where each leg sends, with what key and codec."""
        aims, keys, how = [], [], {}
        if self.key:
            how["transport-protocol"] = "RTP/AVP"
        if self.sides[0] != self.sides[1]:
            how["codec"] = {"mask": [CODECS[self.sides[0]].split("/")[0]], "transcode": [CODECS[self.sides[1]]]}
        for call in range(legs // 2):
            common = {"call-id": f"call-{call}", "from-tag": "a", "ICE": "remove"}
            offer = sdp(peer, first + 4 * call, self.sides[0], self.key and base64.b64encode(self.key).decode())
            offered = self._ask({"command": "offer", "sdp": offer, **common, **how})
            expect_number(offered, self.sides[1])
            answer = sdp(peer, first + 4 * call + 2, self.sides[1])
            answered = self._ask({"command": "answer", "to-tag": "b", "sdp": answer, **common})
            # The answer's description goes to the first: it is where that one sends; that of the offer is where the other does.
            aims += [f"{ADDRESS}:{port_of(answered)}", f"{ADDRESS}:{port_of(offered)}"]
            keys += [[self.key.hex(), key_of(answered).hex()] if self.key else None, None]
        return aimed(aims, self.sides, keys if self.key else None)

    def _ask(self, said):
        """A request that is answered by a description."""
        answer = self.command(said)
        if answer.get("result") != "ok":
            raise RuntimeError(f"rtpengine refused {said['call-id']}: {answer}")
        return answer["sdp"]

    def stop(self):
        self.control.close()
        self.program.stop()


# As an rtpmap has them; numbers of those that have one of their own.
CODECS = {"pcma": "PCMA/8000", "pcmu": "PCMU/8000", "g722": "G722/8000", "opus": "opus/48000/2"}
NUMBERS = {"pcma": 8, "pcmu": 0, "g722": 9, "opus": 96}


def aimed(aims, sides, keys):
    """What the load is told. Parties of two codecs speak; others send packets of nothing."""
    return {"aim": aims, **({"keys": keys} if keys else {}), **({"sides": ",".join(sides)} if sides[0] != sides[1] else {})}


def sdp(address, port, codec="pcma", key=None):
    """A description with one codec; a key in base64 makes it SRTP."""
    number = NUMBERS[codec]
    crypto = f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n" if key else ""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/{'SAVP' if key else 'AVP'} {number} 101\r\na=rtpmap:{number} {CODECS[codec]}\r\na=rtpmap:101 telephone-event/8000\r\n"
        f"{crypto}a=sendrecv\r\n"
    )


def expect_number(text, codec):
    """The load has one payload type for each codec, whoever offers it."""
    numbers = text.split("m=audio ", 1)[1].splitlines()[0].split(" ")[2:]
    if str(NUMBERS[codec]) not in numbers:
        raise RuntimeError(f"{codec} has another number than the load's\n{text}")


def key_of(text):
    """The SDES key of a description."""
    for line in text.splitlines():
        if line.startswith("a=crypto:") and "AES_CM_128_HMAC_SHA1_80" in line:
            return base64.b64decode(line.split("inline:", 1)[1].split("|")[0].split(" ")[0])
    raise RuntimeError(f"no key of the suite that was offered in\n{text}")


def port_of(text):
    return int(text.split("m=audio ", 1)[1].split(" ", 1)[0])


def encode(value):
    """bencode, as the ng protocol carries it."""
    if isinstance(value, dict):
        return b"d" + b"".join(encode(key) + encode(value[key]) for key in sorted(value)) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, int):
        return b"i%de" % value
    data = value.encode()
    return b"%d:%s" % (len(data), data)


def decode(data):
    value, rest = _decode(data)
    if rest:
        raise ValueError(f"{len(rest)} bytes too many")
    return value


def _decode(data):
    kind = data[:1]
    if kind == b"i":
        number, rest = data[1:].split(b"e", 1)
        return int(number), rest
    if kind in (b"l", b"d"):
        rest, values = data[1:], []
        while rest[:1] != b"e":
            value, rest = _decode(rest)
            values.append(value)
        return (values if kind == b"l" else dict(zip(values[::2], values[1::2], strict=True))), rest[1:]
    length, rest = data.split(b":", 1)
    return rest[: int(length)].decode(errors="replace"), rest[int(length) :]
