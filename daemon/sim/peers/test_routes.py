"""Static routes between trunks and clients, with audio proven both ways."""

import time

import pytest
from conftest import CARRIER_SOUND, PHONE_SOUND
from kit import audio, box, capture, sipp
from kit.wait import until

TALK_MS = 3000


def test_a_carrier_calls_a_phone_and_both_hear_the_other(world):
    daemon = world.start()
    phone = world.phone()
    packets = world.capture()
    score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED)).expect(100).hear(180).expect(200).ack()
    score.play(world.folder / "carrier.ul").pause(TALK_MS).bye().expect(200)
    world.caller("acme", score, box.NUMBER).done()
    phone.closed()
    daemon.idle()
    heard = capture.heard(packets.stop(), world.net.carrier)
    for received, sent, other in ((phone.heard(), CARRIER_SOUND, PHONE_SOUND), (heard, PHONE_SOUND, CARRIER_SOUND)):
        match = audio.compare(received, sent)
        assert match.share > 0.8 and match.seconds > 1.5, match
        assert audio.compare(received, other).found == 0

    (routed,) = daemon.events(type="call.routed")
    assert (routed["data"]["table"], routed["data"]["to"]) == ("number", "user alice")
    (ended,) = daemon.events(type="call.ended")
    assert (ended["data"]["by"], ended["data"]["legs"]) == ("peer", 2)
    quality = daemon.events(type="media.quality")
    assert len(quality) == 2
    for leg in quality:
        report = leg["data"]["report"]
        assert report["packets_received"] > 100 and report["packets_sent"] > 100
        assert report["packets_lost"] <= 2 and report["mos"] > 4.0
    # baresip sends from another address than it describes: latched all the same, and said so.
    latched = daemon.events(type="media.latched")
    assert sorted(e["data"]["as_described"] for e in latched) == [False, True]


def test_a_phone_calls_a_carrier(world):
    daemon = world.start(lambda c: c["users"]["alice"].update(caller_id="+15557770000"))
    carrier = sipp.Score().expect("INVITE", note="From").reply(180).reply(200, "OK", sipp.sdp(port=sipp.PLAYED)).expect("ACK")
    carrier.play(world.folder / "carrier.ul").expect("BYE").reply_in_dialog(200, "OK")
    run = world.callee("acme", carrier, local=world.net.carrier)
    phone = world.phone()
    packets = world.capture()
    phone.dial("sip:+442079460000@" + world.net.box_clients)
    phone.established()
    daemon.until_event("media.latched", 2)
    # Two seconds of talk, by the packets that the carrier was sent.
    until("two seconds of talk", lambda: daemon.live()[0]["created"] / 1e6 + 3.5 < time.time())
    phone.hangup()
    run.done()
    phone.closed()
    daemon.idle()
    heard = capture.heard(packets.stop(), world.net.carrier)
    assert audio.compare(heard, PHONE_SOUND).share > 0.8
    assert audio.compare(phone.heard(), CARRIER_SOUND).share > 0.8
    assert "+15557770000" in run.noted("From")[0]
    assert daemon.events(type="call.routed")[0]["data"]["entry"] == "out"


def test_one_carrier_calls_another(world):
    daemon = world.start()
    zeta = sipp.Score().expect("INVITE").reply(180).reply(200, "OK", sipp.sdp(port=sipp.PLAYED)).expect("ACK")
    zeta.play(world.folder / "phone.ul").expect("BYE").reply_in_dialog(200, "OK")
    far = world.callee("zeta", zeta, media_port=7000)
    packets = world.capture()
    acme = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED)).hear(100, 180).expect(200).ack()
    acme.play(world.folder / "carrier.ul").pause(TALK_MS).bye().expect(200)
    world.caller("acme", acme, "+99123").done()
    far.done()
    daemon.idle()
    seen = packets.stop()
    assert audio.compare(capture.heard(seen, world.net.other_carrier), CARRIER_SOUND).share > 0.8
    assert audio.compare(capture.heard(seen, world.net.carrier), PHONE_SOUND).share > 0.8


def test_every_device_of_a_user_rings_and_the_losers_are_cancelled(world):
    daemon = world.start()
    world.register(local=world.net.client)
    world.register(local=world.net.other_client)
    loser = world.callee("loser", cancelled_callee(), local=world.net.client)
    winner = world.callee("winner", sipp.Score().expect("INVITE").reply(180).pause(300).reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply_in_dialog(200, "OK"),
                          local=world.net.other_client, media_port=7000)
    world.caller("acme", sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(200).bye().expect(200), box.NUMBER).done()
    winner.done()
    loser.done()
    daemon.idle()
    assert len(daemon.events(type="leg.dialed")) == 1  # the devices are forked inside one leg


def cancelled_callee():
    """Rings, is cancelled, says so for the INVITE as well."""
    score = sipp.Score().expect("INVITE", note="CSeq").reply(180)
    # The 487 belongs to the INVITE: the number of its CSeq was noted.
    score.expect("CANCEL").reply_in_dialog(200, "OK")
    rows = score.steps[-1].replace("SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated").replace("[last_CSeq:]", "CSeq: [$n0]")
    score.steps.append(rows)
    return score.expect("ACK")


def test_nobody_registered_fails_at_once(world):
    daemon = world.start()
    run = world.caller("acme", sipp.Score().invite(sipp.sdp()).expect(100).expect(480, within_ms=3000).ack(failure=True), box.NUMBER)
    run.done()
    daemon.idle()


def test_a_number_that_leads_nowhere_is_told_so(world):
    daemon = world.start()
    world.caller("acme", sipp.Score().invite(sipp.sdp()).expect(100).expect(404).ack(failure=True), "+1999").done()
    daemon.idle()
    assert daemon.events(type="call.routed")[0]["data"]["to"] == "refused"


@pytest.mark.parametrize("limit", [1])
def test_a_trunk_takes_no_more_calls_than_its_limit(world, limit):
    daemon = world.start(lambda c: c["trunks"]["zeta"].update(calls_max=limit))
    far = world.callee("zeta", sipp.Score().expect("INVITE").reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply_in_dialog(200, "OK"), media_port=7000)
    first = world.caller("first", sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(1500).bye().expect(200), "+991")
    daemon.until_event("leg.answered", 2)
    second = sipp.Score().invite(sipp.sdp()).hear(100).expect(503).ack(failure=True)
    world.caller("second", second, "+992", port=5070, media_port=6100).done()
    first.done()
    far.done()
    daemon.idle()
