"""A call that the kernel forwards by itself: the phone hears the carrier, digits and figures are what they are without it."""

import os

import pytest
from conftest import CARRIER_SOUND
from kit import audio, box, sipp

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="programs are loaded into the kernel by root")


def test_a_call_goes_by_the_kernel_and_is_heard_and_counted(world):
    daemon = world.start(lambda c: c["media"].update(fast_path="required"))
    [told] = daemon.until_event("media.fast_path")
    assert told["data"]["on"]
    phone = world.phone()
    sound = world.folder / "sound"
    sound.write_bytes(audio.to_ulaw(CARRIER_SOUND))
    score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED, formats=((0, "PCMU/8000"),))).expect(100).hear(180).expect(200).ack()
    score.play(sound).pause(4000).bye().expect(200)
    world.caller("acme", score, box.NUMBER).done()
    phone.closed()
    daemon.idle()
    match = audio.compare(phone.heard(), CARRIER_SOUND)
    assert match.share > 0.8 and match.seconds > 1.5, match
    media = daemon.status()["media"]
    assert media["fast_path"] and media["flows"] == 0, "the call is over"
    # Of each direction all but the first second or so.
    assert media["packets_forwarded"] > 100, media
    reports = [e["data"]["report"] for e in daemon.events(type="media.quality")]
    assert len(reports) == 2
    assert sum(report["packets_received"] for report in reports) > media["packets_forwarded"]
    assert all(report["packets_lost"] == 0 and report["mos"] > 4 for report in reports), reports
