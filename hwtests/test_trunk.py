"""A trunk, by the list of what SIPconnect 2.0 asks of one: the kit calls it as a PBX would. `--trunk=FILE` names it (trunk.yaml says how).

Each test says what it needs of that file; without it the test is skipped, never passed.
"""

import re
import time

import pytest
from kit.trunk import ANSWER_LIMIT_S, FAX, Call, direction, place, sip

OPTIONS_LIMIT_MS = 500
RINGS_LIMIT_S = 10
HEARD_LIMIT_S = 2


def registered(trunk, expires, password=None):
    """The final response to a REGISTER that answers its challenge."""
    host, port = place(trunk.said["registrar"])
    raw = trunk.raw()
    try:
        uri, user = f"sip:{trunk.said.get('domain', host)}", trunk.said["user"]
        to, headers = f"sip:{user}@{trunk.said.get('domain', host)}", (f"Expires: {expires}",)
        call_id = f"kit-{time.monotonic_ns()}"
        first = raw.ask(raw.request("REGISTER", uri, headers, to=to, user=user, call_id=call_id), host, port)
        assert first, f"no answer from the registrar {host}:{port}"
        assert sip.status(first) in (401, 407), f"it takes a REGISTER without asking who we are: {first.splitlines()[0]}"
        name = "Proxy-Authorization" if sip.status(first) == 407 else "Authorization"
        line = sip.answer(sip.challenge(first), user, password or trunk.said["password"], "REGISTER", uri)
        return raw.ask(raw.request("REGISTER", uri, (*headers, f"{name}: {line}"), to=to, user=user, cseq=2, call_id=call_id), host, port), raw.port
    finally:
        raw.close()


@pytest.mark.trunk("registrar", "user", "password")
def test_it_takes_our_registration_and_ends_it(trunk, measured):
    """Registration: asked for a proof, taken with it, ended when we say so"""
    done, port = registered(trunk, 300)
    assert done and sip.status(done) == 200, done
    contacts = ", ".join(re.findall(r"(?im)^(?:Contact|m) *: *(.*?)\r?$", done))
    assert f"{trunk.local}:{port}" in contacts, f"the answer does not list our contact: {contacts}"
    granted = re.search(r"expires=(\d+)", contacts) or re.search(r"(?im)^Expires *: *(\d+)", done)
    assert granted and int(granted.group(1)) > 0, "the answer does not say for how long"
    measured("granted", int(granted.group(1)), "s")
    done, _ = registered(trunk, 0)
    assert done and sip.status(done) == 200, done


@pytest.mark.trunk("registrar", "user", "password")
def test_it_refuses_a_wrong_password(trunk):
    """Registration: a wrong password is refused"""
    done, _ = registered(trunk, 300, password="not-" + trunk.said["password"])
    assert done and sip.status(done) in (401, 403, 407), done


@pytest.mark.trunk("address")
def test_it_answers_options(trunk, measured):
    """OPTIONS: answered soon, and says what it takes"""
    raw = trunk.raw()
    try:
        began = time.monotonic()
        done = raw.ask(raw.request("OPTIONS", f"sip:{trunk.domain}", ("Accept: application/sdp",), user=trunk.caller), *trunk.address)
        took = (time.monotonic() - began) * 1000
    finally:
        raw.close()
    assert done, "no answer to OPTIONS: it cannot be told whether this trunk lives but by calls that fail"
    assert sip.status(done) == 200, done.splitlines()[0]
    measured("answer to OPTIONS", took, "ms", OPTIONS_LIMIT_MS)
    allowed = {word.strip() for word in (sip.header(done, "Allow") or "").split(",")} - {""}
    assert not allowed or {"INVITE", "ACK", "BYE", "CANCEL"} <= allowed, f"Allow: {sorted(allowed)}"
    assert took < OPTIONS_LIMIT_MS


@pytest.mark.trunk("echo")
def test_a_call_is_answered_and_heard_both_ways(trunk, measured):
    """Call: a number with + and country is answered; what we say comes back; BYE ends it"""
    with Call(trunk, trunk.said["echo"]) as call:
        call.until(200)
        measured("answer after", call.took_s, "s", RINGS_LIMIT_S)
        voice = call.speak()
        assert voice.hears(), "nothing is heard after the answer"
        sent = set(voice.sent)
        assert any(payload in sent for payload in voice.heard), "what comes back is not what we said"
        assert sip.status(call.hang_up()) == 200


@pytest.mark.trunk("early")
def test_it_speaks_before_the_answer_and_can_be_cancelled(trunk, measured):
    """Early media: heard before the answer; CANCEL ends the call with 487"""
    with Call(trunk, trunk.said["early"]) as call:
        progress = call.until(180, 183)
        while "m=audio" not in progress:
            progress = call.until(180, 183)
        measured("description after", call.took_s, "s", RINGS_LIMIT_S)
        assert call.speak(progress).hears(), "early media is described, and nothing is heard"
        assert call.answer is None
        assert call.cancel() == (200, 487)


@pytest.mark.trunk("echo")
def test_a_call_is_held_and_taken_back(trunk):
    """Hold: our sendonly is answered recvonly or inactive; taken back, both are heard again"""
    with Call(trunk, trunk.said["echo"]) as call:
        call.until(200)
        assert call.speak().hears()
        held = call.reinvite(call.description("sendonly"))
        assert sip.status(held) == 200, f"hold is refused: {held.splitlines()[0]}"
        assert direction(held) in ("recvonly", "inactive"), f"RFC 3264 6.1: to sendonly it answers {direction(held)}"
        back = call.reinvite(call.description("sendrecv"))
        assert sip.status(back) == 200 and direction(back) == "sendrecv", back
        assert call.voice.hears(), "nothing is heard after the call was taken back"
        assert sip.status(call.hang_up()) == 200


@pytest.mark.trunk("answers")
def test_digits_are_agreed_as_events(trunk):
    """DTMF: the answer takes telephone-event (RFC 4733)"""
    with Call(trunk, trunk.said["answers"]) as call:
        answer = call.until(200)
        assert re.search(r"(?im)^a=rtpmap:\d+ telephone-event/8000\r?$", answer), "no telephone-event in the answer: digits go as sound, or not at all"


@pytest.mark.trunk("echo")
def test_digits_arrive(trunk):
    """DTMF: digits pressed come back from the echo, each once"""
    with Call(trunk, trunk.said["echo"]) as call:
        call.until(200)
        voice = call.speak()
        assert voice.hears()
        voice.talking.clear()
        for digit in "159#":
            voice.press(digit)
            time.sleep(0.1)
        end = time.monotonic() + HEARD_LIMIT_S
        while time.monotonic() < end and len(voice.digits()) < 4:
            time.sleep(0.05)
        assert voice.digits() == "159#", f"came back: {voice.digits()!r}"


@pytest.mark.trunk("fax")
def test_t38_is_taken_or_refused_cleanly(trunk, measured):
    """Fax: an offer of T.38 is taken, or refused with 488 or the like while the call goes on as it was"""
    with Call(trunk, trunk.said["fax"]) as call:
        call.until(200)
        voice = call.speak()
        offer = call.description().split("m=audio")[0] + FAX.format(port=voice.port)
        done = call.reinvite(offer)
        status = sip.status(done)
        measured("answer to T.38", status, "")
        if status == 200:
            image = re.search(r"(?m)^m=image (\d+) udptl t38", done)
            assert image, f"200, but no T.38 in it:\n{done}"
            # Refused by port 0 (RFC 3264 6), which leaves a call without anything: then it must be ended, or described anew.
            if image.group(1) == "0":
                back = call.reinvite(call.description())
                assert sip.status(back) == 200, back.splitlines()[0]
        else:
            assert status in (415, 488, 606), f"want 200, 488, 606 or 415: {done.splitlines()[0]}"
            assert call.voice.hears() or "echo" not in trunk.said or trunk.said["fax"] != trunk.said["echo"], "the refusal took the call's audio with it"
        assert sip.status(call.hang_up()) == 200


@pytest.mark.trunk("refused")
def test_a_number_that_nobody_has_is_refused(trunk, measured):
    """Refusal: a number that nobody has ends with a final response, not with silence"""
    with Call(trunk, trunk.said["refused"]) as call:
        done = call.until(*range(400, 700), limit_s=ANSWER_LIMIT_S)
        measured("refused after", call.took_s, "s", RINGS_LIMIT_S)
        assert sip.status(done) not in (408, 500, 503), f"{done.splitlines()[0]}: that sends the call to another trunk, which refuses it, too"


@pytest.mark.trunk("second", "answers")
def test_the_second_address_takes_over(trunk, measured):
    """Failover: the second address answers OPTIONS and takes a call"""
    second = place(trunk.said["second"])
    raw = trunk.raw()
    try:
        done = raw.ask(raw.request("OPTIONS", f"sip:{trunk.domain}", user=trunk.caller), *second)
    finally:
        raw.close()
    assert done and sip.status(done) == 200, f"{trunk.said['second']} does not answer OPTIONS: {done}"
    with Call(trunk, trunk.said["answers"], address=second) as call:
        call.until(200)
        measured("answer after", call.took_s, "s", RINGS_LIMIT_S)
        assert sip.status(call.hang_up()) == 200


@pytest.mark.trunk("emergency_test", "caller")
def test_an_emergency_call_goes_as_it_is_dialed(trunk, measured):
    """Emergency: the carrier's test number is taken as dialed, without + or area, from our number with + and country"""
    assert re.fullmatch(r"\+[1-9]\d{6,14}", trunk.caller), f"`caller` {trunk.caller} is no number with + and country: nobody could be called back"
    number = trunk.said["emergency_test"]
    assert number.isdigit(), f"`emergency_test` {number}: emergency numbers are dialed as they are, digits alone"
    with Call(trunk, number, headers=("Priority: emergency",)) as call:
        call.until(200)
        measured("answer after", call.took_s, "s", RINGS_LIMIT_S)
        assert call.speak().hears(), "answered, and nothing is heard"
        assert sip.status(call.hang_up()) == 200
