"""Strangers at a media port: of a call that is latched, and of one that still waits for its first packet."""

import random

from kit.flood import Flood
from kit.talk import Talk
from kit.wait import until

COUNT, RATE = 25_000, 20_000


def nonsense(talk, seed=3):
    """What somebody may throw who knows the call's numbers, and who does not."""
    rng = random.Random(seed)
    voice = talk.voices[0]
    right = voice.packet(20_000, rng.randbytes(160))
    wrong_ssrc = right[:8] + b"\x01\x02\x03\x04" + right[12:]
    reports = [b"\x80\xc8\x00\x06" + rng.randbytes(24), b"\x81\xc9\x00\x07" + rng.randbytes(28), b"\x80\xcb\x00\x01" + voice.ssrc.to_bytes(4, "big"),
               b"\xbf\xca\xff\xff" + rng.randbytes(400), b"\x80\xc8"]
    short = [b"", b"\x80", right[:11], right[:12]]
    headers = [b"\x8f" + right[1:], b"\x90\x00" + right[2:12] + b"\xbe\xde\xff\xff", b"\xa0" + right[1:-1] + b"\xff", b"\x00" + right[1:], b"\xff" * 172, b"\x80\xe5" + right[2:12] + b"\x05\x80\xff\xff"]
    stun = [b"\x00\x01\x00\x00\x21\x12\xa4\x42" + rng.randbytes(12), b"\x16\xfe\xfd" + rng.randbytes(200)]
    return [right, wrong_ssrc, *reports, *short, *headers, *stun, right + rng.randbytes(1200), rng.randbytes(8000), *(rng.randbytes(rng.randrange(1, 400)) for _ in range(40))]


def flood(world, talk, name="flood"):
    targets = [talk.media(talk.answer), talk.media(talk.far_invite)]
    both = [*targets, *((host, port + 1) for host, port in targets)]  # RTCP, too
    sources = [(world.net.ip(host), 6000) for host in range(60, 67)]
    return Flood(world.folder, sources, both, nonsense(talk), COUNT, RATE, name)


def test_a_latched_call_hears_nobody_else(world):
    daemon = world.start()
    talk = Talk(world.net).talk()
    daemon.until_event("media.latched", 2)
    sent, received = flood(world, talk).sent()
    assert sent > 0.5 * COUNT and received == 0, "something was reflected"
    talk.unharmed(missed_max=1)
    talk.hang_up()
    daemon.idle()
    told = daemon.until_event("media.foreign")
    assert sum(e["data"]["packets"] for e in told) > 0 and len(told) < 20
    # What was measured is the parties' own: nothing lost, nothing added.
    for report in (e["data"]["report"] for e in daemon.until_event("media.quality", 2)):
        assert report["packets_received"] <= max(len(v.sent) for v in talk.voices) and report["packets_lost"] == 0, report
        assert report["dropped_foreign"] > 0, report


def test_who_comes_before_the_first_packet_does_not_keep_the_call(world):
    """Strangers are there first, and a party behind NAT could be one of them; but the described address wins while the window is open."""
    daemon = world.start(lambda c: c["media"].update(latch_window="60s"))
    talk = Talk(world.net)
    sent, reflected = flood(world, talk).sent()
    # Only what reads as RTP of an agreed format can be taken for a party's; it reaches a stranger only if one holds each side.
    assert sent > 0.5 * COUNT and reflected < COUNT / 100
    for voice in talk.voices:
        voice.forget()
    talk.talk()
    wanted = {f"{world.net.carrier}:6000", f"{world.net.other_carrier}:7000"}
    until("the parties to be heard", lambda: wanted <= {e["data"]["source"] for e in daemon.events(type="media.latched")})
    sent, received = flood(world, talk, "again").sent()
    assert received == 0
    latched = daemon.events(type="media.latched")
    assert len(latched) <= 4 and {e["data"]["source"] for e in latched[-2:]} == wanted
    talk.unharmed(missed_max=5)
    talk.hang_up()
    daemon.idle()


def test_garbage_from_the_party_itself_reaches_nobody_as_garbage(world):
    """The latched source sends what is no RTP between its packets: the other side hears the packets, and only RTP."""
    daemon = world.start()
    talk = Talk(world.net).talk()
    daemon.until_event("media.latched", 2)
    near = talk.voices[0]
    bad = [packet for packet in nonsense(talk) if len(packet) < 12 or packet[0] >> 6 != 2]
    for packet in bad * 5:
        near.socket.sendto(packet, near.target)
    for _ in range(20):
        near.socket.sendto(b"", near.target)
    talk.unharmed(missed_max=1)
    talk.hang_up()
    daemon.idle()
    assert daemon.child.running()
