"""What parties do to a call: cancel, refuse, hold, resume, hang up."""


import pytest
from kit import box, sipp
from kit.wait import until
from test_routes import cancelled_callee

OFFER = sipp.sdp()


def caller():
    return sipp.Score().invite(OFFER).hear(100, 180, 183)


def callee():
    return sipp.Score().expect("INVITE")


def test_the_caller_cancels(world):
    daemon = world.start()
    far = world.callee("zeta", cancelled_callee())
    score = sipp.Score().invite(OFFER).expect(100).expect(180).cancel().expect(200).expect(487).ack(failure=True)
    world.caller("acme", score, "+991").done()
    far.done()
    daemon.idle()
    (ended,) = daemon.events(type="call.ended")
    assert ended["data"]["cause"]["status"] == 487
    assert {e["data"]["status"] for e in daemon.events(type="leg.ended")} == {"canceled"}


@pytest.mark.parametrize("status, passed_on, word", [(486, 486, "busy"), (603, 603, "busy"), (404, 404, "failed"), (500, 500, "failed"), (480, 480, "no-answer")])
def test_a_refusal_is_passed_on(world, status, passed_on, word):
    daemon = world.start()
    far = world.callee("zeta", callee().reply(status, "No").expect("ACK"))
    world.caller("acme", caller().expect(passed_on).ack(failure=True), "+991").done()
    far.done()
    daemon.idle()
    statuses = [e["data"]["status"] for e in daemon.events(type="leg.ended")]
    assert statuses and set(statuses) <= ({word} if status != 603 else {"busy", "failed"})


def test_nobody_answers_in_time(world):
    daemon = world.start(lambda c: c["routes"][0].update(timeout="1s"))
    far = world.callee("zeta", cancelled_callee())
    world.caller("acme", caller().expect(480, within_ms=6000).ack(failure=True), "+991").done()
    far.done()
    daemon.idle()


def test_a_dead_trunk_fails_the_call_and_leaves_nothing(world):
    daemon = world.start(lambda c: c["routes"][0].update(timeout="2s"))
    run = sipp.Score().invite(OFFER).expect(100).expect(480, within_ms=8000).ack(failure=True)
    world.caller("acme", run, "+991").done()
    daemon.idle()


def test_the_far_side_hangs_up(world):
    daemon = world.start()
    far = world.callee("zeta", callee().reply(180).reply(200, "OK", OFFER).expect("ACK").pause(300).bye().expect(200), media_port=7000)
    world.caller("acme", caller().expect(200).ack().expect("BYE").reply_in_dialog(200, "OK"), "+991").done()
    far.done()
    daemon.idle()
    by = {e["leg"]: e["data"]["by"] for e in daemon.events(type="leg.ended")}
    assert sorted(by.values()) == ["other_party", "peer"]


def test_row_21_hold_and_resume_reach_the_other_side(world):
    daemon = world.start()
    hold, resume = sipp.sdp("sendonly", version=2), sipp.sdp("sendrecv", version=3)
    far = callee().reply(180).reply(200, "OK", OFFER).expect("ACK")
    far.expect("INVITE").reply_in_dialog(200, "OK", sipp.sdp("recvonly", version=2)).expect("ACK")
    far.expect("INVITE").reply_in_dialog(200, "OK", sipp.sdp("sendrecv", version=3)).expect("ACK")
    far.expect("BYE").reply_in_dialog(200, "OK")
    run = world.callee("zeta", far, media_port=7000)
    near = caller().expect(200).ack().pause(100).invite(hold, again=True).hear(100).expect(200).ack()
    near.pause(100).invite(resume, again=True).hear(100).expect(200).ack().pause(100).bye().expect(200)
    mine = world.caller("acme", near, "+991")
    mine.done()
    run.done()
    daemon.idle()
    offers = [m for m in run.received() if m.startswith("INVITE")]
    assert [("a=sendonly" in m, "a=sendrecv" in m or "a=sendonly" not in m) for m in offers] == [(False, True), (True, False), (False, True)]
    answers = [m for m in mine.received() if m.startswith("SIP/2.0 200") and "INVITE" in m and "v=0" in m]
    assert ["a=recvonly" in m for m in answers] == [False, True, False]
    assert len(daemon.events(type="leg.held")) == 1 and len(daemon.events(type="leg.resumed")) == 1


def test_a_refused_reinvite_is_passed_back_and_the_call_goes_on(world):
    daemon = world.start()
    far = callee().reply(180).reply(200, "OK", OFFER).expect("ACK").expect("INVITE").reply_in_dialog(488, "Not Acceptable Here").expect("ACK")
    far.expect("BYE").reply_in_dialog(200, "OK")
    run = world.callee("zeta", far, media_port=7000)
    near = caller().expect(200).ack().pause(100).invite(sipp.sdp("sendonly", version=2), again=True).hear(100).expect(488).ack(failure=True)
    # The session is as it was: a BYE still ends it in order.
    near.pause(200).bye().expect(200)
    world.caller("acme", near, "+991").done()
    run.done()
    daemon.idle()
    (refused,) = daemon.events(type="leg.reoffer_refused")
    assert refused["data"]["cause"]["status"] == 488


def test_a_callee_may_hold_too(world):
    daemon = world.start()
    far = callee().reply(200, "OK", OFFER).expect("ACK").pause(200).request("INVITE", sipp.sdp("sendonly", version=2)).hear(100).expect(200)
    far.ack().pause(100).bye().expect(200)
    run = world.callee("zeta", far, media_port=7000)
    near = caller().expect(200).ack().expect("INVITE").reply_in_dialog(200, "OK", sipp.sdp("recvonly", version=2)).expect("ACK")
    near.expect("BYE").reply_in_dialog(200, "OK")
    world.caller("acme", near, "+991").done()
    run.done()
    daemon.idle()


def test_row_24_an_offer_may_come_late(world):
    """INVITE without a description: the 200 carries our offer, the ACK the answer."""
    daemon = world.start()
    far = world.callee("zeta", callee().reply(200, "OK", OFFER).expect("ACK").expect("BYE").reply_in_dialog(200, "OK"), media_port=7000)
    near = sipp.Score().invite(None).hear(100, 180).expect(200)
    near.ack()
    near.steps[-1] = near.steps[-1].replace("Content-Length: [len]\n\n", f"Content-Type: application/sdp\nContent-Length: [len]\n\n{sipp.sdp()}")
    near.pause(200).bye().expect(200)
    run = world.caller("acme", near, "+991")
    run.done()
    far.done()
    daemon.idle()
    assert any("m=audio" in m for m in run.received() if m.startswith("SIP/2.0 200"))


def test_row_30_silence_ends_the_call_with_a_reason(world):
    daemon = world.start(lambda c: c["media"].update(timeout="1s"))
    far = world.callee("zeta", callee().reply(200, "OK", OFFER).expect("ACK").expect("BYE").reply_in_dialog(200, "OK"), media_port=7000)
    world.caller("acme", caller().expect(200).ack().expect("BYE").reply_in_dialog(200, "OK"), "+991").done()
    far.done()
    daemon.idle()
    assert daemon.events(type="media.timed_out")
    assert daemon.events(type="call.ended")[0]["data"]["cause"]["status"] == 408


def test_a_hundred_calls_leave_nothing_behind(world):
    daemon = world.start()
    free = daemon.status()["media"]["ports_free"]
    far = world.callee("zeta", callee().reply(180).reply(200, "OK", OFFER).expect("ACK").expect("BYE").reply_in_dialog(200, "OK"), calls=100, media_port=7000)
    near = world.caller("acme", caller().expect(200).ack().pause(100).bye().expect(200), "+991", calls=100, rate=40)
    near.done()
    far.done()
    daemon.idle()
    status = daemon.status()
    assert status["calls_total"] == 100
    busy = world.callee("busy", callee().reply(486, "Busy").expect("ACK"), media_port=7000)
    world.caller("one-more", caller().expect(486).ack(failure=True), "+992").done()
    busy.done()
    # Half a second of rest, counted by a clock that is true to a second.
    until("the ports to be free again", lambda: daemon.status()["media"]["ports_free"] == free, 10)
    ends = daemon.events(type="call.ended")[:100]
    assert len(ends) == 100 and daemon.status()["calls_total"] == 101 and len({e["call"] for e in ends}) == 100
