"""A call made by hand from carrier to carrier, with numbered audio both ways: whatever else happens, it can be shown that
every packet that arrived is one that was sent, unchanged and in order."""

import random
import re
import socket
import threading
import time

from . import sip

PTIME_S = 0.02


def description(address, port):
    return (f"v=0\r\no=- 7 7 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
            "a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n")


def reply(request, code, reason="OK", tag="far", contact=None, body="", headers=()):
    """A response to a request's text."""
    rows = [f"SIP/2.0 {code} {reason}", *re.findall(r"(?im)^Via:.*?(?=\r$)", request)]
    to = sip.header(request, "To")
    to = to if ";tag=" in to or code == 100 else f"{to};tag={tag}"
    rows += [f"From: {sip.header(request, 'From')}", f"To: {to}", f"Call-ID: {sip.header(request, 'Call-ID')}", f"CSeq: {sip.header(request, 'CSeq')}"]
    if contact:
        rows.append(f"Contact: <{contact}>")
    if body:
        rows.append("Content-Type: application/sdp")
    return "\r\n".join([*rows, *headers, f"Content-Length: {len(body)}", "", body])


class Voice:
    """One party's RTP: sends packets of its own numbered payloads, keeps what it hears, and apart from that what is no such packet."""

    def __init__(self, address, port, seed):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((address, port))
        self.socket.settimeout(0.1)
        self.address, self.port = address, port
        self.random = random.Random(seed)
        self.ssrc = self.random.getrandbits(32)
        self.sent, self.heard, self.others, self.from_others = [], [], [], 0
        self.target = None
        self.talking, self.hearing = threading.Event(), threading.Event()
        self.threads = []

    def packet(self, number, payload):
        return b"\x80\x00" + (number & 0xFFFF).to_bytes(2, "big") + (number * 160).to_bytes(4, "big") + self.ssrc.to_bytes(4, "big") + payload

    def forget(self):
        """Throws away what came before anybody spoke."""
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.recv(65535)
        except BlockingIOError:
            self.socket.settimeout(0.1)

    def begin(self, target):
        self.target = target
        self.talking.set()
        self.hearing.set()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._talk, self._hear)]
        for thread in self.threads:
            thread.start()

    def _talk(self):
        due = time.monotonic()
        while self.talking.is_set():
            payload = self.random.randbytes(160)
            self.sent.append(payload)
            self.socket.sendto(self.packet(len(self.sent), payload), self.target)
            due += PTIME_S
            time.sleep(max(0.0, due - time.monotonic()))

    def _hear(self):
        while self.hearing.is_set():
            try:
                packet, source = self.socket.recvfrom(65535)
            except (TimeoutError, OSError):
                continue
            if source != self.target:
                self.from_others += 1
            elif len(packet) == 172:
                self.heard.append(packet[12:])
            else:
                self.others.append(packet)

    def end(self):
        self.talking.clear()
        self.hearing.clear()
        for thread in self.threads:
            thread.join(2)
        self.socket.close()


class Talk:
    """acme calls zeta; both speak from `talk()` to `end()`."""

    def __init__(self, net, number="+991", local=None, far_local=None, port=5060, media_port=6000, headers=()):
        self.net = net
        self.near = sip.Raw(local or net.carrier, port)
        self.far = sip.Raw(far_local or net.other_carrier, port)
        self.voices = (Voice(self.near.local, media_port, 1), Voice(self.far.local, media_port + 1000, 2))
        box = net.box_carrier
        self.invite = self.near.request("INVITE", f"sip:{number}@{box}", ("Content-Type: application/sdp", *headers), description(self.near.local, media_port))
        self.near.send(self.invite, box)
        self.far_invite = self.far.receive(10)
        assert self.far_invite and self.far_invite.startswith("INVITE"), self.far_invite
        self.far.send(reply(self.far_invite, 200, contact=f"sip:far@{self.far.local}:{port}", body=description(self.far.local, media_port + 1000)), box)
        self.answer = self.near.final()
        assert self.answer and sip.status(self.answer) == 200, self.answer
        self.call_id = sip.header(self.answer, "Call-ID")
        self.contact = re.search(r"<(.*?)>", sip.header(self.answer, "Contact")).group(1)
        self.near.send(self.in_dialog("ACK", 1), box)
        ack = self.far.receive(5)
        assert ack and ack.startswith("ACK"), ack

    def in_dialog(self, method, cseq, to=None, from_=None, call_id=None, headers=(), body=""):
        """A request of the near party, with any part of its dialog exchanged."""
        text = self.near.request(method, self.contact, headers, body, cseq=cseq, call_id=call_id or self.call_id)
        text = re.sub(r"(?m)^From: .*?\r$", lambda _: f"From: {from_ or sip.header(self.answer, 'From')}\r", text)
        return re.sub(r"(?m)^To: .*?\r$", lambda _: f"To: {to or sip.header(self.answer, 'To')}\r", text)

    def media(self, text):
        """The address of the audio that a message describes."""
        return re.search(r"(?m)^c=IN IP4 (\S+)\r$", text).group(1), int(re.search(r"(?m)^m=audio (\d+)", text).group(1))

    def talk(self):
        for voice, text in zip(self.voices, (self.answer, self.far_invite), strict=True):
            voice.begin(self.media(text))
        return self

    def heard(self):
        return [len(voice.heard) for voice in self.voices]

    def silence(self):
        """Stops the sound, and hands over what each side missed: checked that nothing was altered, added or reordered."""
        for voice in self.voices:
            voice.talking.clear()
        # What is under way arrives within one wait of the reader.
        end = time.monotonic() + 1
        while time.monotonic() < end and any(len(b.heard) < len(a.sent) for a, b in zip(self.voices, self.voices[::-1], strict=True)):
            time.sleep(0.01)
        for voice in self.voices:
            voice.end()
        missed = []
        for speaker, listener in zip(self.voices, self.voices[::-1], strict=True):
            rest = iter(speaker.sent)
            assert all(any(payload == sent for sent in rest) for payload in listener.heard), "audio that was not said, or out of order"
            assert listener.from_others == 0, "audio from elsewhere"
            missed.append(len(speaker.sent) - len(listener.heard))
        return missed

    def unharmed(self, missed_max=0):
        """Ends the sound: everything said was heard, but for so many packets each way."""
        missed = self.silence()
        assert all(count <= missed_max for count in missed), f"missed {missed} of {[len(v.sent) for v in self.voices]}"

    def hang_up(self, cseq=50):
        """BYE from the near side, answered on both."""
        self.near.send(self.in_dialog("BYE", cseq), self.net.box_carrier)
        bye = self.far.receive(5)
        while bye and not bye.startswith("BYE"):
            bye = self.far.receive(5)
        assert bye, "no BYE at the far side"
        self.far.send(reply(bye, 200), self.net.box_carrier)
        done = self.near.final()
        while done and sip.header(done, "CSeq") != f"{cseq} BYE":
            done = self.near.final()
        assert done and sip.status(done) == 200, done
        self.close()

    def close(self):
        for voice in self.voices:
            voice.end()
        self.near.close()
        self.far.close()
