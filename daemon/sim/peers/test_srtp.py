"""Encrypted audio with keys from the session description, towards phones that take nothing else, with audio proven both ways."""

import time

import pytest
from conftest import CARRIER_SOUND, PHONE_SOUND
from kit import audio, box, capture, sipp
from kit.wait import until

SUITE = "AES_CM_128_HMAC_SHA1_80"
OTHER_SOUND = audio.melody(33, 8)


def secure(*users):
    return lambda config: [config["users"][user].update(srtp="required") for user in users]


def suites(daemon):
    return {e["data"]["media"]["srtp"] for e in daemon.events(type="leg.negotiated")}


@pytest.mark.parametrize("codec", ["PCMA", "PCMU"])
def test_row_27_a_plain_carrier_calls_a_phone_that_encrypts(world, codec):
    daemon = world.start(secure("alice"))
    phone = world.phone(srtp=True, codecs=codec)
    packets = world.capture()
    number, law = (8, "PCMA/8000") if codec == "PCMA" else (0, "PCMU/8000")
    sound = world.folder / "sound"
    sound.write_bytes(audio.to_alaw(CARRIER_SOUND) if number == 8 else audio.to_ulaw(CARRIER_SOUND))
    score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED, formats=((number, law),))).expect(100).hear(180).expect(200).ack()
    score.play(sound, number).pause(3000).bye().expect(200)
    world.caller("acme", score, box.NUMBER).done()
    phone.closed()
    daemon.idle()
    seen = packets.stop()
    assert suites(daemon) == {None, SUITE}
    heard = capture.heard(seen, world.net.carrier)
    assert audio.compare(heard, PHONE_SOUND).share > 0.8
    match = audio.compare(phone.heard(), CARRIER_SOUND)
    assert match.share > 0.8 and match.seconds > 1.5, match
    # Between the box and the phone nothing can be recognised.
    assert audio.compare(capture.heard(seen, world.net.client), CARRIER_SOUND).found == 0
    for leg in daemon.events(type="media.quality"):
        assert leg["data"]["report"]["dropped_bad"] == 0, leg


def test_row_27_two_phones_that_encrypt_hear_each_other(world):
    daemon = world.start(secure("alice", "bob"))
    alice = world.phone(srtp=True)
    bob = world.phone("bob", local=world.net.other_client, sound=OTHER_SOUND, srtp=True)
    packets = world.capture()
    bob.dial(f"sip:{box.NUMBER}@{world.net.box_clients}")
    bob.established()
    daemon.until_event("media.latched", 2)
    until("two seconds of talk", lambda: daemon.live()[0]["created"] / 1e6 + 3.5 < time.time())
    bob.hangup()
    alice.closed()
    bob.closed()
    daemon.idle()
    assert suites(daemon) == {SUITE}
    assert audio.compare(alice.heard(), OTHER_SOUND).share > 0.8
    assert audio.compare(bob.heard(), PHONE_SOUND).share > 0.8
    seen = packets.stop()
    for local, sound in ((world.net.client, OTHER_SOUND), (world.net.other_client, PHONE_SOUND)):
        assert audio.compare(capture.heard(seen, local), sound).found == 0


def test_a_phone_that_does_not_encrypt_is_refused_where_it_must(world):
    daemon = world.start(secure("bob"))
    bob = world.phone("bob", local=world.net.other_client)
    bob.dial(f"sip:{box.NUMBER}@{world.net.box_clients}")
    bob.closed()
    daemon.idle()
    assert daemon.events(type="leg.negotiated") == []
