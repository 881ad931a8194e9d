"""What a hostile network may send to a SIP port, while a call with audio is up: the call must not notice."""

import random
import re

import pytest
from kit import box, sip
from kit.flood import Flood
from kit.talk import Talk, description, reply
from kit.wait import until

SDP = "Content-Type: application/sdp"


def memory(daemon):
    """Resident memory in MiB."""
    with open(f"/proc/{daemon.child.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024


def caught_up(daemon):
    """Whether it has read what was sent before: it answers what comes after."""
    return daemon.get("/v1/status")[0] == 200


def templates(net):
    """Requests and responses that a scanner would send, well made and not."""
    target = net.box_carrier
    raw = sip.Raw(net.ip(99), 5099)
    good = [raw.request(method, f"sip:{box.NUMBER}@{target}", (SDP,), description(net.ip(99), 6000)) for method in ("INVITE", "REGISTER", "OPTIONS", "SUBSCRIBE", "BYE", "CANCEL", "ACK", "MESSAGE")]
    good.append("SIP/2.0 200 OK\r\n" + good[0].split("\r\n", 1)[1])
    raw.close()
    return [text.encode() for text in good]


def mutated(seeds, count, seed=5):
    """Bytes flipped, cut, doubled, spliced and blown up."""
    rng = random.Random(seed)
    found = [b"", b"\r\n", b"\r\n\r\n" * 1000, b"\x00" * 60000, rng.randbytes(65000), b"INVITE " + b"a" * 64000, b"INVITE sip:a SIP/2.0\r\n" + b"A: b\r\n" * 10000]
    while len(found) < count:
        text = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(text)) if text else 0
            match rng.randrange(6):
                case 0 if text:
                    text[at] = rng.randrange(256)
                case 1:
                    del text[at:]
                case 2:
                    text[at:at] = text[at : at + rng.randrange(200)]
                case 3:
                    text[at:at] = rng.choice([b"\r\n", b"\0", b"\xff\xfe", b";tag=", b"<", b'"', b"%00", b"%s%n", b"\r\n ", b"99999999999999999999"])
                case 4:
                    text[at:at] = rng.choice([b"(", b",", b";", b"<sip:"]) * rng.randrange(3000)
                case _:
                    other = rng.choice(seeds)
                    text[at:] = other[rng.randrange(len(other)) :]
        found.append(bytes(text[:65000]))
    return found


def test_a_flood_from_strangers_harms_no_call_and_is_not_answered(world):
    daemon = world.start()
    talk = Talk(world.net).talk()
    daemon.until_event("media.latched", 2)
    before = memory(daemon)
    sources = [(world.net.ip(host), 5060) for host in range(100, 180)]
    payloads = [*templates(world.net), *mutated(templates(world.net), 400)]
    flood = Flood(world.folder, sources, [(world.net.box_carrier, 5060)], [p for p in payloads if len(p) < 9000], 50_000, 10_000)
    sent, received = flood.sent()
    assert sent > 45_000 and received == 0
    until("every source to be banned", lambda: daemon.status()["bans"] == len(sources))
    status = daemon.status()
    # Each was looked at a dozen times before; what a busy machine did not read was lost before it.
    assert status["strangers"] > 5 * len(sources) and status["banned"] > 0.5 * sent
    assert daemon.events(type="signaling.strangers") and len(daemon.events(type="signaling.strangers")) <= 2
    assert len(daemon.events(type="signaling.malformed")) <= 2
    assert memory(daemon) - before < 40
    talk.unharmed(missed_max=5)
    talk.hang_up()
    daemon.idle()


def test_a_trunk_that_sends_garbage_harms_only_itself(world):
    """Known by its address, so its messages reach deeper."""
    daemon = world.start()
    talk = Talk(world.net).talk()
    before = memory(daemon)
    raw = sip.Raw(world.net.carrier, 5070)
    nonsense = mutated([*templates(world.net), talk.invite.encode(), talk.answer.encode(), talk.in_dialog("BYE", 2, to="<sip:x>;tag=1").encode()], 3000)
    for number, text in enumerate(nonsense):
        raw.send(text, world.net.box_carrier)
        if number % 50 == 0:
            # Paced by the daemon itself: it has read what came before.
            until("the daemon to answer", lambda: caught_up(daemon))
    raw.close()
    assert memory(daemon) - before < 60
    talk.unharmed(missed_max=5)
    assert daemon.child.running()
    talk.hang_up()


def forged(talk, net):
    """Requests and responses into the call, each with something wrong."""
    right_to, right_from = sip.header(talk.answer, "To"), sip.header(talk.answer, "From")
    wrong_to = re.sub(r";tag=.*", ";tag=forged", right_to)
    wrong_from = re.sub(r";tag=.*", ";tag=forged", right_from)
    for method in ("BYE", "INVITE", "UPDATE", "INFO"):
        body = (SDP,), description(net.stranger, 9999)
        for change in ({"to": wrong_to}, {"from_": wrong_from}, {"call_id": "forged@x"}, {"to": wrong_to, "from_": wrong_from}):
            yield talk.in_dialog(method, 20, headers=body[0], body=body[1], **change)
    # CANCEL of an answered INVITE, by its branch and by another.
    yield talk.invite.split("\r\nContent-Type")[0].replace("INVITE", "CANCEL") + "\r\nContent-Length: 0\r\n\r\n"
    yield talk.near.request("CANCEL", f"sip:+991@{net.box_carrier}", call_id=talk.call_id)
    # Answers to the daemon's own INVITE, from the wrong place or to a branch that never was.
    for code in (180, 200, 302, 401, 486, 500, 603):
        text = reply(talk.far_invite, code, tag="forged", contact=f"sip:x@{net.stranger}", body=description(net.stranger, 9999))
        yield text.replace("branch=z9hG4bK", "branch=z9hG4bKx")
        yield text


@pytest.mark.parametrize("whom", ["stranger", "other trunk", "own trunk"])
def test_forged_messages_do_not_touch_a_call(world, whom):
    daemon = world.start()
    talk = Talk(world.net).talk()
    daemon.until_event("media.latched", 2)
    address = {"stranger": world.net.stranger, "other trunk": world.net.other_carrier, "own trunk": world.net.carrier}[whom]
    forger = sip.Raw(address, 5077)
    for text in forged(talk, world.net):
        forger.send(text, world.net.box_carrier)
    # What we ask comes after what was forged: it was all read by then.
    until("the daemon to have read it", lambda: caught_up(daemon) and (whom != "stranger" or daemon.status()["strangers"] >= 8))
    if whom == "stranger":
        # Only who knows our tag, 64 random bits, gets a word: that there is no such call.
        while message := forger.receive(0.3):
            assert message.startswith("SIP/2.0 481 "), message
    forger.close()
    heard = talk.heard()
    until("audio to go on", lambda: all(now > then + 20 for now, then in zip(talk.heard(), heard, strict=True)))
    assert daemon.status()["calls"] == 1 and daemon.status()["legs"] == 2
    talk.unharmed(missed_max=2)
    talk.hang_up()
    daemon.idle()
    (ended,) = daemon.until_event("call.ended")
    assert ended["data"]["by"] == "peer", ended


NAMES = ('"a\\\r\n b"', '"a%0d%0aP-Smuggled: 3"', '"' + "long" * 2000 + '"', '"\x00\x01\xff"', '"unclosed', "a\rP-Smuggled: 4\r", "a\nP-Smuggled: 5\n", "a\r\n P-Smuggled: 6")
HEADERS = ("X-Evil: a\r\n folded", "X-Note: %0d%0aP-Smuggled: 1", 'P-Asserted-Identity: "x\\\r\n" <sip:evil@x>', "X-Postern: \x01\x02\x7f", "User-to-User: a\nP-Smuggled: 2",
           'Remote-Party-ID: "\n\n" <sip:a@b>', "Subject: \r\n\t\r\n P-Smuggled: 7", "Content-Type: a/b\r\n c", "Diversion: <sip:a@b>\r\n\x0bP-Smuggled: 8")


def test_what_a_header_smuggles_stays_behind(world):
    """Line ends, in any disguise, from a display name or an extension header into what the other side is sent."""
    daemon = world.start()
    raw, far = sip.Raw(world.net.carrier), sip.Raw(world.net.other_carrier)
    passed = 0
    for name, header in [*((name, None) for name in NAMES), *(("x", header) for header in HEADERS)]:
        text = raw.request("INVITE", f"sip:+991@{world.net.box_carrier}", (SDP, *([header] if header else [])), description(raw.local, 6000)).replace("From: <", f"From: {name} <")
        raw.send(text.encode("latin-1"), world.net.box_carrier)
        outcome = raw.receive(2)
        if outcome and sip.status(outcome) == 100:
            seen = until("the far INVITE", lambda: far.receive(1), 5)
            passed += 1
            assert seen.startswith("INVITE") and len(seen) < 4000
            lines = seen.split("\r\n")
            assert not [line for line in lines if line.startswith(("P-Smuggled", " ", "\t")) or set(line) & set("\r\n\0\x01\x0b")], seen
            far.send(reply(seen, 486, "Busy"), world.net.box_carrier)
            final = raw.final()
            assert sip.status(final) == 486, final
            raw.send(acknowledge(text, final).encode("latin-1"), world.net.box_carrier)
            assert far.receive(2).startswith("ACK")
        else:
            assert outcome is None or sip.status(outcome) >= 400, outcome
    assert passed >= 5
    raw.close()
    far.close()
    daemon.idle()


def acknowledge(invite, final):
    """The ACK of a failure: what a caller owes, or it is told again and again."""
    head = invite.split("\r\n\r\n")[0].replace("INVITE", "ACK")
    rows = [row for row in head.split("\r\n") if not row.startswith(("Content", "To:"))]
    return "\r\n".join([*rows, f"To: {sip.header(final, 'To')}", "Content-Length: 0", "", ""])


BOMBS = {
    "many streams": "".join(f"m=audio {6000 + n} RTP/AVP 0\r\n" for n in range(1500)),
    "many formats": "m=audio 6000 RTP/AVP " + " ".join(str(n % 128) for n in range(9000)) + "\r\n",
    "many attributes": "m=audio 6000 RTP/AVP 0\r\n" + "a=x:y\r\n" * 6000,
    "port 0": "m=audio 0 RTP/AVP 0\r\n",
    "port 65536": "m=audio 65536 RTP/AVP 0\r\n",
    "no codec": "m=audio 6000 RTP/AVP 77\r\na=rtpmap:77 nonsense/1\r\n",
    "ptime": "m=audio 6000 RTP/AVP 0\r\na=ptime:99999999999999999999\r\na=rtpmap:0 PCMU/0\r\n",
    "our own port": "m=audio 20000 RTP/AVP 0\r\n",
    "video only": "m=video 6000 RTP/AVP 31\r\n",
    "bytes": "m=audio 6000 RTP/AVP 0\r\na=\xff\xfe\x00\r\n",
}


def test_descriptions_made_to_hurt(world):
    daemon = world.start()
    raw, far = sip.Raw(world.net.carrier), sip.Raw(world.net.other_carrier)
    for name, lines in BOMBS.items():
        body = f"v=0\r\no=- 1 1 IN IP4 {raw.local}\r\ns=-\r\nc=IN IP4 {raw.local}\r\nt=0 0\r\n{lines}"
        text = raw.request("INVITE", f"sip:+991@{world.net.box_carrier}", (SDP,), body)
        raw.send(text.encode("latin-1"), world.net.box_carrier)
        outcome = until(f"an answer to {name}", lambda: raw.receive(1), 5)
        if sip.status(outcome) == 100:
            seen = far.receive(0.5)
            if seen and seen.startswith("INVITE"):
                assert len(seen) < 3000, name
                far.send(reply(seen, 486, "Busy"), world.net.box_carrier)
            final = raw.final()
            assert final and 400 <= sip.status(final) < 700, f"{name}: {final}"
            outcome = final
        if sip.status(outcome) >= 300:
            raw.send(acknowledge(text, outcome).encode("latin-1"), world.net.box_carrier)
        for socket_ in (far, raw):
            while socket_.receive(0.05):
                pass
    raw.close()
    far.close()
    daemon.idle(40)


def test_huge_heads_are_answered_or_dropped(world):
    daemon = world.start()
    raw = sip.Raw(world.net.carrier)
    for headers in (("X-A: b",) * 5000, ("Via: SIP/2.0/UDP a;branch=z9hG4bKa",) * 1000, ("Route: <sip:a;lr>",) * 1500, ("X-Long: " + "x" * 60000,),
                    ("Record-Route: <sip:a;lr>, " * 700 + "<sip:b;lr>",), ("Contact: <sip:a>",) * 500, ("Require: " + ",".join(f"o{n}" for n in range(5000)),)):
        raw.send(raw.request("INVITE", f"sip:+991@{world.net.box_carrier}", (SDP, *headers), description(raw.local, 6000)), world.net.box_carrier)
    assert sip.status(until("OPTIONS to be answered", lambda: answered_options(raw, world.net.box_carrier))) == 200
    assert daemon.child.running()
    raw.close()


def answered_options(raw, target):
    text = raw.request("OPTIONS", f"sip:{target}")
    raw.send(text, target)
    while message := raw.receive(1):
        if message.startswith("SIP/2.0") and "OPTIONS" in (sip.header(message, "CSeq") or ""):
            return message
    return None


def test_a_flood_of_invites_from_a_trunk_is_bounded(world):
    """More calls than the trunk may have: refused, remembered nowhere; other trunks go on."""
    daemon = world.start(lambda c: c["trunks"]["acme"].update(calls_max=10))
    talk = Talk(world.net, local=world.net.carrier).talk()
    before = memory(daemon)
    raw = sip.Raw(world.net.carrier, 5071)
    refused = 0
    for number in range(3000):
        raw.send(raw.request("INVITE", f"sip:+992@{world.net.box_carrier}", (SDP,), description(raw.local, 6000)), world.net.box_carrier)
        if number % 25 == 0:
            raw.socket.setblocking(False)
            try:
                while message := raw.socket.recv(65535).decode():
                    refused += message.startswith(("SIP/2.0 4", "SIP/2.0 5"))
            except BlockingIOError:
                pass
            until("the daemon to answer", lambda: caught_up(daemon))
    assert refused > 100
    status = daemon.status()
    assert status["calls"] <= 10 and memory(daemon) - before < 80, (status["calls"], memory(daemon) - before)
    talk.unharmed(missed_max=10)
    raw.close()
    talk.close()


def test_guessing_passwords_is_told_and_bounded(world):
    daemon = world.start()
    before = memory(daemon)
    raw = sip.Raw(world.net.stranger, 5060)
    uri = f"sip:{world.net.box_clients}"
    first = raw.ask(raw.request("REGISTER", uri, to=f"sip:alice@{world.net.box_clients}"), world.net.box_clients)
    challenge = sip.challenge(first, "MD5")
    for number in range(3000):
        line = sip.answer(challenge, "alice", f"guess-{number}", "REGISTER", uri, nc=f"{number + 1:08x}")
        raw.send(raw.request("REGISTER", uri, (f"Authorization: {line}",), to=f"sip:alice@{world.net.box_clients}", user="alice", cseq=number + 2), world.net.box_clients)
        if number % 50 == 0:
            until("the daemon to answer", lambda: caught_up(daemon))
    raw.close()
    assert daemon.status()["devices"] == 0
    told = daemon.until_event("auth.failed")
    assert len(told) < 300 and told[0]["data"]["claimed"] == "alice"
    assert memory(daemon) - before < 40
    text = daemon.child.text()
    assert "guess-" not in text and challenge["nonce"] not in text and "Digest" not in text
    # The owner still gets in, from another address.
    raw = sip.Raw(world.net.client)
    reply_ = until("the owner to be heard", lambda: raw.register(world.net.box_clients, "alice", box.PASSWORDS["alice"]))
    assert sip.status(reply_) == 200, reply_
    raw.close()
