"""The far end of calls, by hand: what it does with a call is told by the number that was called. Also a whole small carrier, when a caller
comes to it directly: it answers OPTIONS and takes registrations.

    FarEnd(address, {"+991": "echo", "+992": "early", "+999": "refused"}, user=("edge", "secret"), faults=("drops at fax",))

Faults are what a bad carrier does; who tests a test names one.
"""

import re
import socket
import threading
import time

from . import sip, talk

EVENTS = 101
# A call that nobody ends is forgotten then.
CALL_LIMIT_S = 60


class FarEnd:
    def __init__(self, address, numbers, port=5060, user=None, faults=()):
        self.raw = sip.Raw(address, port)
        self.raw.socket.settimeout(0.1)
        self.numbers, self.user, self.faults = numbers, user, set(faults)
        self.calls, self.seen, self.contacts = {}, [], {}
        self.running = True
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def stop(self):
        self.running = False
        self.thread.join(3)
        for media in self.calls.values():
            media.stop()
        self.raw.close()

    def _serve(self):
        while self.running:
            try:
                message, source = self.raw.socket.recvfrom(65535)
            except (TimeoutError, OSError):
                continue
            text = message.decode(errors="replace")
            if not text.startswith("SIP/2.0") and text.strip():
                method = text.split(" ", 1)[0]
                self.seen.append(text)
                handler = getattr(self, f"_{method.lower()}", None)
                if handler:
                    handler(text, source)

    def _say(self, request, source, status, reason="OK", body="", headers=()):
        contact = f"sip:far@{self.raw.local}:{self.raw.port}"
        self.raw.send(talk.reply(request, status, reason, contact=contact, body=body, headers=headers), *source)

    def _options(self, text, source):
        if "no options" not in self.faults:
            self._say(text, source, 200, headers=("Allow: INVITE, ACK, BYE, CANCEL, OPTIONS",))

    def _register(self, text, source):
        if not self.user:
            return self._say(text, source, 405, "Method Not Allowed")
        name, password = self.user
        asked = {"realm": "far", "nonce": "n0", "algorithm": "MD5", "qop": "auth"}
        given = re.search(r'(?im)^Authorization: Digest .*?uri="([^"]*)".*?response="(\w+)"', text)
        proof = given and re.search(r'response="(\w+)"', sip.answer(asked, name, password, "REGISTER", given.group(1))).group(1)
        if "takes anybody" not in self.faults and (not given or given.group(2) != proof):
            ask = 'WWW-Authenticate: Digest realm="far", nonce="n0", algorithm=MD5, qop="auth"'
            return self._say(text, source, 401, "Unauthorized", headers=(ask,))
        expires = sip.header(text, "Expires")
        listed = (f"Contact: {sip.header(text, 'Contact')};expires={expires}",) if expires != "0" else ()
        self.raw.send(talk.reply(text, 200, headers=listed), *source)

    def _invite(self, text, source):
        call_id = sip.header(text, "Call-ID")
        if call_id in self.calls:
            return self._reinvite(text, source, self.calls[call_id])
        does = self.numbers.get(re.search(r"^INVITE sips?:([^@;> ]*)", text).group(1), "refused")
        if does == "silent":
            return
        self._say(text, source, 100, "Trying")
        if does == "refused":
            return self._say(text, source, 404, "Not Found")
        media = self.calls[call_id] = Media(self.raw.local, text, does == "early", self.faults)
        self.invite, self.invite_source = text, source
        if does == "early":
            return self._say(text, source, 183, "Session Progress", media.description())
        self._say(text, source, 180, "Ringing")
        self._say(text, source, 200, body=media.description())

    def _reinvite(self, text, source, media):
        if re.search(r"(?m)^m=image", text):
            if "hears no more after fax" in self.faults:
                media.stop()
            self._say(text, source, *((500, "Oops") if "falls over fax" in self.faults else (488, "Not Acceptable Here")))
            return
        way = re.search(r"(?m)^a=(sendrecv|sendonly|recvonly|inactive)", text)
        answer = {"sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive"}.get(way and way.group(1), "sendrecv")
        self._say(text, source, 200, body=media.description("sendrecv" if "deaf to hold" in self.faults else answer))

    def _cancel(self, text, source):
        self._say(text, source, 200)
        if "no 487" not in self.faults:
            self._say(self.invite, self.invite_source, 487, "Request Terminated")
        if media := self.calls.pop(sip.header(text, "Call-ID"), None):
            media.stop()

    def _bye(self, text, source):
        if media := self.calls.pop(sip.header(text, "Call-ID"), None):
            media.stop()
        self._say(text, source, 200)


class Media:
    """What it hears goes back to where it came from; before an answer it speaks by itself."""

    def __init__(self, address, offer, speaks, faults):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.settimeout(0.02)
        self.address, self.speaks, self.faults = address, speaks, faults
        self.target = re.search(r"(?m)^c=IN IP4 (\S+?)\r?$", offer).group(1), int(re.search(r"(?m)^m=audio (\d+)", offer).group(1))
        self.events = "telephone-event" in offer and "no events" not in faults
        self.running, self.version = True, 0
        threading.Thread(target=self._work, daemon=True).start()

    def description(self, direction="sendrecv"):
        self.version += 1
        kinds, events = ("0 101", f"a=rtpmap:{EVENTS} telephone-event/8000\r\na=fmtp:{EVENTS} 0-15\r\n") if self.events else ("0", "")
        return (f"v=0\r\no=- 9 {self.version} IN IP4 {self.address}\r\ns=-\r\nc=IN IP4 {self.address}\r\nt=0 0\r\n"
                f"m=audio {self.socket.getsockname()[1]} RTP/AVP {kinds}\r\na=rtpmap:0 PCMU/8000\r\n{events}a=ptime:20\r\na={direction}\r\n")

    def _work(self):
        number, end = 0, time.monotonic() + CALL_LIMIT_S
        while self.running and time.monotonic() < end:
            try:
                packet, source = self.socket.recvfrom(65535)
                # Early sound is not mixed with an echo.
                if not self.speaks:
                    self.socket.sendto(packet, source)
            except TimeoutError:
                pass
            except OSError:
                return
            if self.speaks and "mute early" not in self.faults:
                number += 1
                head = b"\x80\x00" + (number & 0xFFFF).to_bytes(2, "big") + (number * 160).to_bytes(4, "big") + b"FAR!"
                self.socket.sendto(head + bytes([number & 0xFF]) * 160, self.target)

    def stop(self):
        self.running = False
        self.socket.close()
