"""T.38: two machines agree through the box, their UDPTL passes unchanged, strangers' does not, and audio comes back."""

import re
import socket

from kit import sip
from kit.talk import Talk, description, reply
from kit.wait import until

# A signal, a page with a secondary packet, one with error correction, and one as long as T.38 has them.
DATAGRAMS = [b"\x00\x00\x01\x06\x00\x00", b"\x00\x01\x02\xc0\x01\x00\x01\x01\x06", b"\x00\x02\x01\x07\x80\x01\x01\x01\x55",
             b"\x00\x03\x81\x2c" + bytes(300) + b"\x00\x00", b"\x80\x08\x01\x06\x00\x00"]
ATTRIBUTES = ("T38FaxVersion:0", "T38MaxBitRate:14400", "T38FaxRateManagement:transferredTCF", "T38FaxMaxDatagram:400", "T38FaxUdpEC:t38UDPRedundancy")


def fax(address, port):
    attributes = "".join(f"a={attribute}\r\n" for attribute in (*ATTRIBUTES, f"T38VendorInfo:{address}"))
    return f"v=0\r\no=fax{address} 7 8 IN IP4 {address}\r\ns=fax at {address}\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=image {port} udptl t38\r\n{attributes}"


def machine(voice):
    """Where a party of a talk faxes: elsewhere than it talks, as gateways do."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((voice.address, voice.port + 100))
    made.settimeout(5)
    return made


class Change:
    """The near party offers something else; the far party says what to that."""

    def __init__(self, talk, cseq, offer, code, body=""):
        box = talk.net.box_carrier
        talk.near.send(talk.in_dialog("INVITE", cseq, headers=("Content-Type: application/sdp",), body=offer), box)
        self.offered = talk.far.receive(5)
        while self.offered and not self.offered.startswith("INVITE"):
            self.offered = talk.far.receive(5)
        assert self.offered, "not passed on"
        talk.far.send(reply(self.offered, code, contact=f"sip:far@{talk.far.local}:5060", body=body), box)
        self.answer = talk.near.final()
        while self.answer and sip.header(self.answer, "CSeq") != f"{cseq} INVITE":
            self.answer = talk.near.final()
        assert self.answer and sip.status(self.answer) == code, self.answer
        if code == 200:
            talk.near.send(talk.in_dialog("ACK", cseq), box)

    def seen(self):
        """The descriptions that each side saw."""
        return [message.split("\r\n\r\n", 1)[1] for message in (self.offered, self.answer)]


def ports(text):
    return re.search(r"(?m)^c=IN IP4 (\S+)\r$", text).group(1), int(re.search(r"(?m)^m=image (\d+) udptl t38\r$", text).group(1))


def test_row_25_two_machines_fax_and_talk_again(world):
    daemon = world.start()
    talk = Talk(world.net).talk()
    near, far = (machine(voice) for voice in talk.voices)
    until("both to be heard", lambda: min(talk.heard()) > 10)
    change = Change(talk, 2, fax(*near.getsockname()), 200, fax(*far.getsockname()))
    to_box = []
    for text in change.seen():
        to_box.append(ports(text))
        assert all(f"a={attribute}\r\n" in text for attribute in ATTRIBUTES)
        assert world.net.carrier not in text and world.net.other_carrier not in text and "Vendor" not in text, text
    far_port, near_port = to_box
    for datagram in DATAGRAMS:
        near.sendto(datagram, near_port)
        assert far.recv(2000) == datagram
        far.sendto(datagram, far_port)
        assert near.recv(2000) == datagram
    # The voices, which did not stop, are heard no more; and a stranger with a fax of its own is heard by nobody.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((world.net.stranger, 0))
        for _ in range(20):
            stranger.sendto(DATAGRAMS[0], near_port)
    near.sendto(DATAGRAMS[2], near_port)
    assert far.recv(2000) == DATAGRAMS[2], "something came before it"
    assert daemon.until_event("media.foreign")
    before = talk.heard()
    until("their packets to be refused", lambda: daemon.status()["media"]["packets_dropped"] > 40)
    assert talk.heard() == before and not any(voice.others for voice in talk.voices)
    # Audio again.
    voices = [description(voice.address, voice.port) for voice in talk.voices]
    back = Change(talk, 3, voices[0], 200, voices[1])
    assert all("m=audio" in text and "image" not in text for text in back.seen())
    until("both to be heard again", lambda: all(now > then + 10 for now, then in zip(talk.heard(), before, strict=True)))
    near.sendto(DATAGRAMS[0], near_port)
    codecs = [e["data"]["media"]["codec"] for e in daemon.events(type="leg.negotiated")]
    assert codecs == ["PCMU/8000"] * 2 + ["T38"] * 2 + ["PCMU/8000"] * 2, codecs
    for voice in talk.voices:
        voice.end()
    talk.hang_up()
    near.close()
    far.close()
    daemon.idle()


def test_row_25_who_refuses_fax_goes_on_talking(world):
    daemon = world.start()
    talk = Talk(world.net).talk()
    until("both to be heard", lambda: min(talk.heard()) > 10)
    Change(talk, 2, fax(talk.voices[0].address, 7100), 488)
    before = talk.heard()
    until("both to be heard on", lambda: all(now > then + 10 for now, then in zip(talk.heard(), before, strict=True)))
    talk.unharmed()
    talk.hang_up()
    assert daemon.events(type="leg.reoffer_refused")
    daemon.idle()
