"""Calls run by documents from a real application server: verbs, failures, callbacks."""

import re
import time

import pytest
from conftest import CARRIER_SOUND, PHONE_SOUND
from kit import audio, box, capture, sip, sipp, talk
from kit.appserver import Reply
from kit.wait import until

OFFER = sipp.sdp()


def document(text):
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{text}</Response>'


def caller(ends="peer", talk_ms=300, offer=OFFER):
    """A carrier's call to the application's number: it ends it itself, or waits for our BYE."""
    score = sipp.Score().invite(offer).hear(100, 180, 183).expect(200).ack()
    return score.pause(talk_ms).bye().expect(200) if ends == "peer" else score.expect("BYE", within_ms=20000).reply_in_dialog(200, "OK")


def test_the_request_says_who_calls(world):
    daemon = world.start()
    world.app["/voice"] = document("<Hangup/>")
    run = world.caller("acme", sipp.Score().invite(OFFER, headers=("X-Ticket: 4711",)).hear(100, 180).either(603, 480, 200).hear(), box.NUMBER_APP)
    (asked,) = world.app.until_asked("/voice")
    run.stop()
    p = asked.params
    assert asked.method == "POST"
    assert re.fullmatch(r"CA[0-9a-f]{32}", p["CallSid"]) and p["AccountSid"] == box.ACCOUNT
    assert (p["From"], p["To"], p["Direction"], p["CallStatus"], p["ApiVersion"]) == ("+15550100", box.NUMBER_APP, "inbound", "ringing", "2010-04-01")
    assert p.get("SipHeader_X-Ticket") == "4711"
    from twilio.request_validator import RequestValidator

    assert RequestValidator(box.TOKEN).validate(world.app.url + "/voice", p, asked.headers["X-Twilio-Signature"])
    daemon.idle()


def test_play_is_heard(world):
    daemon = world.start()
    prompt = audio.melody(77, 2)
    audio.write_wav(world.folder / "prompt.wav", prompt)
    world.app["/prompt.wav"] = Reply((world.folder / "prompt.wav").read_bytes(), kind="audio/wav")
    world.app["/voice"] = document("<Play>/prompt.wav</Play><Hangup/>")
    packets = world.capture()
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    daemon.idle()
    match = audio.compare(capture.heard(packets.stop(), world.net.carrier), prompt)
    assert match.share > 0.8 and 1.2 < match.seconds < 2.5, match
    assert daemon.events(type="play.started") and daemon.events(type="play.ended")


def test_digits_are_gathered_and_sent_to_the_action(world):
    daemon = world.start()
    world.app["/voice"] = document('<Gather numDigits="4" action="/digits" timeout="8"><Pause length="1"/></Gather><Hangup/>')
    world.app["/digits"] = document("<Hangup/>")
    score = sipp.Score().invite(sipp.sdp(formats=sipp.WITH_DIGITS)).hear(100, 180).expect(200).ack().pause(400).digits("1739").expect("BYE", within_ms=12000).reply_in_dialog(200, "OK")
    world.caller("acme", score, box.NUMBER_APP).done()
    (asked,) = world.app.asked("/digits")
    assert asked.params["Digits"] == "1739"
    daemon.idle()
    # A digit may be part of a PIN: nothing tells which it was.
    for event in daemon.events():
        if event["type"] == "leg.digit":
            assert set(event["data"]) == {"via", "duration_ms"}
    assert len(daemon.events(type="leg.digit")) == 4


def test_no_digit_falls_through(world):
    daemon = world.start()
    world.app["/voice"] = document('<Gather numDigits="1" action="/digits" timeout="1"/><Redirect>/next</Redirect>')
    world.app["/next"] = document("<Hangup/>")
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    assert world.app.asked("/next") and not world.app.asked("/digits")
    daemon.idle()


def test_dial_client_joins_the_two_and_reports(world):
    daemon = world.start()
    world.app["/voice"] = document('<Dial timeout="10" action="/after"><Client>alice</Client></Dial>')
    world.app["/after"] = document("<Hangup/>")
    phone = world.phone()
    packets = world.capture()
    score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED)).hear(100, 180, 183).expect(200).ack().play(world.folder / "carrier.ul")
    score.expect("BYE", within_ms=20000).reply_in_dialog(200, "OK")
    run = world.caller("acme", score, box.NUMBER_APP)
    phone.established()
    daemon.until_event("media.latched", 2)
    until("two seconds of talk", lambda: min(c["answered"] or 9e18 for c in daemon.live()) / 1e6 + 2.5 < time.time())
    phone.hangup()
    run.done()
    daemon.idle()
    (after,) = world.app.asked("/after")
    assert after.params["DialCallStatus"] == "completed" and re.fullmatch(r"CA[0-9a-f]{32}", after.params["DialCallSid"])
    assert after.params["DialCallSid"] != after.params["CallSid"] and int(after.params["DialCallDuration"]) >= 1
    assert audio.compare(phone.heard(), CARRIER_SOUND).share > 0.8
    assert audio.compare(capture.heard(packets.stop(), world.net.carrier), PHONE_SOUND).share > 0.8


def test_dial_client_with_nobody_there_says_no_answer_at_once(world):
    daemon = world.start()
    world.app["/voice"] = document('<Dial timeout="20" action="/after"><Client>bob</Client></Dial>')
    world.app["/after"] = document("<Hangup/>")
    world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180, 183).either(480, 603, 200).hear(), box.NUMBER_APP)
    (after,) = world.app.until_asked("/after", limit_s=5)
    assert after.params["DialCallStatus"] == "no-answer"
    assert after.at - world.app.asked("/voice")[0].at < 3
    daemon.idle()


def test_dial_number_goes_out_over_a_trunk(world):
    daemon = world.start(lambda c: c["routes"].insert(0, {"name": "docs", "from": "users", "prefix": "+44", "to": {"trunk": "zeta"}}))
    world.app["/voice"] = document('<Dial callerId="+15559998888"><Number>+442071234567</Number></Dial><Hangup/>')
    far = world.callee("zeta", sipp.Score().expect("INVITE", note="From").reply(180).reply(200, "OK", OFFER).expect("ACK").pause(500).bye().expect(200), media_port=7000)
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    far.done()
    assert "+15559998888" in far.noted("From")[0]
    daemon.idle()


def test_dial_sip_goes_to_an_address(world):
    daemon = world.start()
    world.app["/voice"] = document(f"<Dial><Sip>sip:desk@{world.net.ip(21)}:5060</Sip></Dial><Hangup/>")
    far = world.callee("desk", sipp.Score().expect("INVITE").reply(180).reply(200, "OK", OFFER).expect("ACK").pause(300).bye().expect(200), local=world.net.ip(21), media_port=7000)
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    far.done()
    daemon.idle()


@pytest.mark.parametrize("reason, status", [("busy", 486), ("rejected", 603)])
def test_reject(world, reason, status):
    daemon = world.start()
    world.app["/voice"] = document(f'<Reject reason="{reason}"/>')
    world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).expect(status).ack(failure=True), box.NUMBER_APP).done()
    daemon.idle()


FAULTS = {
    "status": (Reply("broken", 500, "text/plain"), 11200),
    "xml": (Reply("<Response><Play>"), 12100),
    "verb": (Reply("<Response><Fly/></Response>"), 12200),
    "cut": (Reply(cut=True), 11205),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_primary_falls_over_to_the_secondary(world, fault):
    reply, code = FAULTS[fault]
    daemon = world.start()
    world.app["/voice"] = reply
    world.app["/fallback"] = document('<Gather timeout="1"/><Hangup/>')
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    (asked,) = world.app.asked("/fallback")
    assert int(asked.params["ErrorCode"]) == code and asked.params["ErrorUrl"] == world.app.url + "/voice"
    daemon.idle()
    assert daemon.events(type="app.failed")[0]["data"]["then"] == "secondary"


def test_a_dead_primary_falls_over_to_the_secondary(world):
    # Nobody listens there.
    daemon = world.start(lambda c: c["applications"]["greeting"].update(voice_url=f"http://{world.net.servers}:9/voice"))
    world.app["/fallback"] = document('<Gather timeout="1"/><Hangup/>')
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    assert int(world.app.asked("/fallback")[0].params["ErrorCode"]) == 11205
    daemon.idle()


def test_a_slow_primary_falls_over_to_the_secondary(world):
    daemon = world.start()
    world.app["/voice"] = Reply(document("<Hangup/>"), slow_s=60)
    world.app["/fallback"] = document("<Hangup/>")
    run = world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).expect(200, within_ms=25000), box.NUMBER_APP)
    (asked,) = world.app.until_asked("/fallback", limit_s=20)
    assert int(asked.params["ErrorCode"]) == 11235
    assert asked.at - world.app.asked("/voice")[0].at < 16.5
    run.stop()
    daemon.idle()


def test_both_failing_end_the_call_audibly_and_cleanly(world):
    daemon = world.start()
    world.app["/voice"] = Reply("no", 500, "text/plain")
    world.app["/fallback"] = Reply("no", 500, "text/plain")
    packets = world.capture()
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    daemon.idle()
    heard = capture.heard(packets.stop(), world.net.carrier)
    assert len(heard) >= 2400 and abs(heard.astype(int)).max() > 1000  # a tone
    assert [e["data"]["then"] for e in daemon.events(type="app.failed")] == ["secondary", "call ends"]


def test_cookies_are_kept_for_the_call(world):
    daemon = world.start()
    world.app["/voice"] = Reply(document("<Redirect>/next</Redirect>"), headers={"Set-Cookie": "seat=7; Path=/"})
    world.app["/next"] = document("<Hangup/>")
    world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).either(603, 480, 200).hear(), box.NUMBER_APP)
    (asked,) = world.app.until_asked("/next")
    assert "seat=7" in asked.headers.get("Cookie", "")
    daemon.idle()


def test_callbacks_come_in_order_with_one_terminal(world):
    daemon = world.start()
    phone = world.phone()
    assert phone
    world.app["/status"] = Reply("", 204, "text/plain")
    world.app["/voice"] = document('<Dial><Client statusCallback="/client" statusCallbackEvent="initiated ringing answered completed">alice</Client></Dial>')
    world.app["/client"] = Reply("", 204, "text/plain")
    world.caller("acme", caller("peer", talk_ms=1200), box.NUMBER_APP).done()
    daemon.idle()
    until("the child's last callback", lambda: any(r.params["CallStatus"] == "completed" for r in world.app.asked("/client")))
    child = [(int(r.params["SequenceNumber"]), r.params["CallStatus"]) for r in world.app.asked("/client")]
    assert child == [(0, "initiated"), (1, "ringing"), (2, "in-progress"), (3, "completed")]
    until("the call's own last callback", lambda: any(r.params["CallStatus"] == "completed" for r in world.app.asked("/status")))
    own = [r.params["CallStatus"] for r in world.app.asked("/status")]
    assert own[-1] == "completed" and own.count("completed") == 1
    numbers = [int(r.params["SequenceNumber"]) for r in world.app.asked("/status")]
    assert numbers == sorted(set(numbers))
    assert all(r.params["CallbackSource"] == "call-progress-events" for r in world.app.asked("/status"))


def test_a_callback_server_that_fails_harms_no_call(world):
    daemon = world.start()
    world.app["/status"] = Reply("no", 500, "text/plain")
    world.app["/voice"] = document('<Gather timeout="1"/><Hangup/>')
    world.caller("acme", caller("postern"), box.NUMBER_APP).done()
    daemon.idle()
    assert daemon.until_event("callback.failed")


def test_the_caller_hangs_up_while_the_document_runs(world):
    daemon = world.start()
    world.app["/voice"] = document('<Gather timeout="30"/><Redirect>/never</Redirect>')
    world.caller("acme", caller("peer"), box.NUMBER_APP).done()
    daemon.idle()
    assert not world.app.asked("/never")
    until("the last callback", lambda: [r for r in world.app.asked("/status") if r.params["CallStatus"] == "completed"])


def test_endless_redirection_ends(world):
    daemon = world.start()
    world.app["/voice"] = document("<Redirect>/voice</Redirect>")
    run = world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).either(480, 500, 503, 200).hear(), box.NUMBER_APP)
    until("redirection to end", lambda: not daemon.live(), 30)
    assert len(world.app.asked("/voice")) < 1000
    run.stop()
    daemon.idle()


def test_info_digits(world):
    """Unused by most, but a phone may send its digits in INFO."""
    daemon = world.start()
    world.app["/voice"] = document('<Gather numDigits="1" action="/digits" timeout="8"/><Hangup/>')
    world.app["/digits"] = document("<Hangup/>")
    score = sipp.Score().invite(OFFER).hear(100, 180).expect(200).ack().pause(300).request("INFO", "Signal=5\nDuration=160").expect(200)
    score.steps[-2] = score.steps[-2].replace("Content-Type: application/sdp", "Content-Type: application/dtmf-relay")
    score.expect("BYE", within_ms=12000).reply_in_dialog(200, "OK")
    world.caller("acme", score, box.NUMBER_APP).done()
    assert world.app.asked("/digits")[0].params["Digits"] == "5"
    daemon.idle()


def test_secrets_stay_out_of_what_is_told(world):
    daemon = world.start()
    world.app["/voice"] = document(f"<Dial><Sip username='desk' password='hush-55'>sip:desk@{world.net.ip(21)}:5060</Sip></Dial>")
    challenge = 'WWW-Authenticate: Digest realm="desk", nonce="n1", algorithm=MD5, qop="auth"'
    desk = sipp.Score().expect("INVITE").reply(401, "Prove", headers=(challenge,)).expect("ACK").expect("INVITE").reply(486, "Busy").expect("ACK")
    far = world.callee("desk", desk, local=world.net.ip(21), media_port=7000)
    run = world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).either(486, 480, 603, 200).hear(), box.NUMBER_APP)
    far.done()
    run.stop()
    daemon.idle()
    for secret in ("hush-55", box.TOKEN, box.PASSWORDS["alice"]):
        assert secret not in daemon.child.text()
        assert secret not in str(daemon.events())
        assert secret not in daemon.tool("status", "--json", check=False)[1]



def test_a_caller_whose_codecs_nobody_knows_is_told_so(world):
    daemon = world.start()
    world.app["/voice"] = document('<Gather timeout="5"/>')
    raw = sip.Raw(world.net.carrier)
    body = talk.description(raw.local, 6000).replace("RTP/AVP 0", "RTP/AVP 77").replace("rtpmap:0 PCMU/8000", "rtpmap:77 nonsense/8000")
    raw.send(raw.request("INVITE", f"sip:{box.NUMBER_APP}@{world.net.box_carrier}", ("Content-Type: application/sdp",), body), world.net.box_carrier)
    final = raw.final()
    assert sip.status(final) == 488, final
    raw.close()
    daemon.idle()
