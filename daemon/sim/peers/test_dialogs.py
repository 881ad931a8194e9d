"""Dialogs as carriers and PBXs keep them, each test after its row of what a border controller is held to."""

import re

from kit import sip, sipp
from kit.talk import Voice, description, reply
from kit.wait import until

OFFER = sipp.sdp()
TIMER = "Supported: timer"


def test_row_18_session_intervals_are_settled_with_each_side_by_itself(world):
    daemon = world.start()
    far = sipp.Score().expect("INVITE").reply(422, "Session Interval Too Small", headers=("Min-SE: 3600",)).expect("ACK")
    far.expect("INVITE").reply(180).reply(200, "OK", OFFER, ("Session-Expires: 3600;refresher=uac", "Require: timer")).expect("ACK")
    far.expect("BYE").reply_in_dialog(200, "OK")
    run = world.callee("zeta", far, media_port=7000)
    near = sipp.Score().invite(OFFER, (TIMER, "Session-Expires: 60")).hear(100).expect(422).ack(failure=True)
    near.invite(OFFER, (TIMER, "Session-Expires: 600;refresher=uac")).hear(100, 180).expect(200).ack()
    # It refreshes as it said; too short an interval is refused, and the call goes on.
    near.request("UPDATE", headers=(TIMER, "Session-Expires: 600;refresher=uac")).expect(200)
    near.request("UPDATE", headers=(TIMER, "Session-Expires: 60;refresher=uac")).expect(422).pause(200).bye().expect(200)
    mine = world.caller("acme", near, "+991")
    mine.done()
    run.done()
    daemon.idle()
    refusals = [m for m in mine.received() if m.startswith("SIP/2.0 422")]
    assert [sip.header(m, "Min-SE") for m in refusals] == ["90", "90"]
    answers = [m for m in mine.received() if m.startswith("SIP/2.0 200") and "BYE" not in sip.header(m, "CSeq")]
    assert {sip.header(m, "Session-Expires") for m in answers} == {"600;refresher=uac"}
    asked = [m for m in run.received() if m.startswith("INVITE")]
    assert [sip.header(m, "Session-Expires") for m in asked][:1] + [sip.header(m, "Session-Expires") for m in asked][-1:] == ["1800;refresher=uac", "3600;refresher=uac"]
    assert sip.header(asked[-1], "Min-SE") == "3600"


def test_row_19_a_caller_with_100rel_and_a_callee_without(world):
    daemon = world.start()
    far = sipp.Score().expect("INVITE").reply(183, "Session Progress", OFFER).pause(300).reply(200, "OK", OFFER).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")
    run = world.callee("zeta", far, media_port=7000)
    near = sipp.Score().invite(OFFER, ("Supported: 100rel",)).hear(100).expect(183, note="RSeq").request("PRACK", headers=("RAck: [$n0] 1 INVITE",)).expect(200)
    near.expect(200).ack().pause(100).bye().expect(200)
    mine = world.caller("acme", near, "+991")
    mine.done()
    run.done()
    daemon.idle()
    (early,) = {m for m in mine.received() if m.startswith("SIP/2.0 183")}
    assert sip.header(early, "Require") == "100rel" and "m=audio" in early
    assert not [m for m in run.received() if m.startswith("PRACK")]


def test_row_19_a_callee_that_requires_prack_and_a_caller_without(world):
    daemon = world.start()
    far = sip.Raw(world.net.other_carrier, 5060)
    near = sipp.Score().invite(OFFER).hear(100).expect(183).expect(200).ack().expect("BYE").reply_in_dialog(200, "OK")
    mine = world.caller("acme", near, "+991")
    box, contact = world.net.box_carrier, f"sip:far@{far.local}:5060"
    invite = far.receive()
    assert "100rel" in sip.header(invite, "Supported")
    body = description(far.local, 7000)
    early = reply(invite, 183, "Session Progress", contact=contact, body=body, headers=("Require: 100rel", "RSeq: 41"))
    far.send(early, box)
    prack = far.receive()
    assert prack.startswith("PRACK ") and sip.header(prack, "RAck") == f"41 {sip.header(invite, 'CSeq')}"
    far.send(reply(prack, 200), box)
    far.send(reply(invite, 200, contact=contact, body=body), box)
    assert far.receive().startswith("ACK ")
    bye = far.request("BYE", sip.header(invite, "Contact").strip("<>"), cseq=7, call_id=sip.header(invite, "Call-ID"))
    bye = bye.replace(f"To: <{sip.header(invite, 'Contact').strip('<>')}>", f"To: {sip.header(invite, 'From')}")
    bye = bye.replace(sip.header(bye, "From"), f"{sip.header(invite, 'To')};tag=far")
    assert sip.status(far.ask(bye, box)) == 200
    mine.done()
    daemon.idle()
    (early,) = {m for m in mine.received() if m.startswith("SIP/2.0 183")}
    assert sip.header(early, "Require") is None


def test_row_24_a_callers_offer_comes_late_and_the_callee_is_made_one(world):
    daemon = world.start()
    far = sipp.Score().expect("INVITE").reply(183, "Session Progress", OFFER).pause(200).reply(200, "OK", OFFER).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")
    run = world.callee("zeta", far, media_port=7000)
    near = sipp.Score().invite(None).hear(100, 180, 183).expect(200).ack()
    near.steps[-1] = near.steps[-1].replace("Content-Length: [len]\n\n", f"Content-Type: application/sdp\nContent-Length: [len]\n\n{OFFER}")
    near.pause(100).bye().expect(200)
    mine = world.caller("acme", near, "+991")
    mine.done()
    run.done()
    daemon.idle()
    (offered,) = {m for m in run.received() if m.startswith("INVITE")}
    assert "m=audio" in offered
    assert all("m=audio" in m for m in mine.received() if m.startswith("SIP/2.0 200") and "INVITE" in sip.header(m, "CSeq"))


IDENTITY = ("P-Asserted-Identity: <sip:+15550111@10.9.9.9>", "Privacy: id", "Diversion: <sip:+15550122@10.9.9.9>;reason=no-answer",
            "P-Preferred-Identity: <sip:+15550133@10.9.9.9>", "Remote-Party-ID: <sip:+15550144@10.9.9.9>")


def identified(world, *trusted):
    """What zeta is told of acme's caller, who is withheld."""
    def trust(config):
        for name in trusted:
            config["trunks"][name]["trusted"] = True

    daemon = world.start(trust)
    far = sipp.Score().expect("INVITE").reply(486, "Busy Here", headers=("Reason: Q.850;cause=17",)).expect("ACK")
    run = world.callee("zeta", far)
    near = sipp.Score(user="anonymous", host="anonymous.invalid").invite(OFFER, IDENTITY).hear(100).expect(486).ack(failure=True)
    mine = world.caller("acme", near, "+991")
    mine.done()
    run.done()
    daemon.idle()
    assert [sip.header(m, "Reason") for m in mine.received() if m.startswith("SIP/2.0 486")] == ["Q.850;cause=17"]
    (invite,) = {m for m in run.received() if m.startswith("INVITE")}
    assert not any(word in invite for word in ("10.9.9.9", "+15550133", "+15550144", world.net.carrier))
    assert "<sip:anonymous@anonymous.invalid>" in sip.header(invite, "From")
    return invite, world.net.box_carrier


def test_row_1_a_trusted_trunk_is_told_who_calls_by_another(world):
    invite, box = identified(world, "acme", "zeta")
    assert sip.header(invite, "P-Asserted-Identity") == f"<sip:+15550111@{box}>" and sip.header(invite, "Privacy") == "id"
    assert sip.header(invite, "Diversion") == f"<sip:+15550122@{box}>;reason=no-answer"


def test_row_1_a_trunk_that_is_not_trusted_is_told_nothing(world):
    invite, _ = identified(world, "acme")
    assert "+15550111" not in invite and "+15550122" not in invite
    assert [sip.header(invite, name) for name in ("P-Asserted-Identity", "Privacy", "Diversion")] == [None] * 3


def test_row_1_a_trunk_that_is_not_trusted_is_not_believed(world):
    invite, _ = identified(world, "zeta")
    assert "+15550111" not in invite and "+15550122" not in invite
    assert sip.header(invite, "P-Asserted-Identity") is None and sip.header(invite, "Diversion") is None


def events_in(found):
    """(code, end) of the telephone-event packets among what a socket got, each event's end once."""
    ends = {(packet[4:8], packet[12]) for packet in found if packet[1] & 0x7F == 101 and packet[13] & 0x80}
    return sorted(code for _, code in ends)


def test_row_26_digits_by_info_and_in_the_stream_are_converted_to_each_other(world):
    daemon = world.start(lambda config: config["trunks"]["acme"].update(dtmf="info"))
    far = sip.Raw(world.net.other_carrier, 5060)
    near, box = sip.Raw(world.net.carrier, 5060), world.net.box_carrier
    ear = Voice(far.local, 7000, 1)
    events = "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    invite = near.request("INVITE", f"sip:+991@{box}", ("Content-Type: application/sdp",), description(near.local, 6000))
    near.send(invite, box)
    offered = far.receive(10)
    assert "telephone-event/8000" in offered
    far.send(reply(offered, 200, contact=f"sip:far@{far.local}:5060", body=description(far.local, 7000).replace("AVP 0", "AVP 0 101") + events), box)
    answer = near.final()
    assert sip.status(answer) == 200 and "telephone-event" not in answer
    contact = re.search(r"<(.*?)>", sip.header(answer, "Contact")).group(1)

    def in_dialog(method, cseq, headers=(), body=""):
        text = near.request(method, contact, headers, body, cseq=cseq, call_id=sip.header(answer, "Call-ID"))
        text = re.sub(r"(?m)^From: .*?\r$", lambda _: f"From: {sip.header(answer, 'From')}\r", text)
        return re.sub(r"(?m)^To: .*?\r$", lambda _: f"To: {sip.header(answer, 'To')}\r", text)

    near.send(in_dialog("ACK", 1), box)
    assert far.receive(5).startswith("ACK")
    # By INFO, and heard in the stream.
    for cseq, digit in ((2, "5"), (3, "#")):
        info = in_dialog("INFO", cseq, ("Content-Type: application/dtmf-relay",), f"Signal={digit}\r\nDuration=120\r\n")
        assert sip.status(near.ask(info, box)) == 200
    found = []

    def heard():
        try:
            found.append(ear.socket.recv(2048))
        except TimeoutError:
            pass
        return events_in(found) == [5, 11]

    until("both digits as telephone-event", heard)
    # In the stream, and told by INFO.
    rtp = (re.search(r"(?m)^c=IN IP4 (\S+)\r$", offered).group(1), int(re.search(r"(?m)^m=audio (\d+)", offered).group(1)))
    for sequence, (end, duration) in enumerate(((0, 160), (0, 320), (0x80, 480), (0x80, 480), (0x80, 480))):
        head = b"\x80\x65" + (sequence + 1).to_bytes(2, "big") + (1000).to_bytes(4, "big") + (77).to_bytes(4, "big")
        ear.socket.sendto(head + bytes([9, end | 10]) + duration.to_bytes(2, "big"), rtp)
    info = near.receive(5)
    assert info.startswith("INFO ") and info.endswith("Signal=9\r\nDuration=60\r\n"), info
    near.send(reply(info, 200), box)
    assert sip.status(near.ask(in_dialog("INFO", 4, ("Content-Type: application/dtmf-relay", "Info-Package: nobody"), "Signal=1"), box)) == 469
    near.send(in_dialog("BYE", 5), box)
    bye = far.receive(5)
    assert bye.startswith("BYE")
    far.send(reply(bye, 200), box)
    daemon.idle()
    assert len(daemon.events(type="leg.digit")) == 3
    ear.end()


def test_row_22_a_callee_transfers_its_caller_to_whom_it_may_call_itself(world):
    def permit(config):
        config["trunks"]["zeta"]["refer"] = "terminate"
        config["routes"].append({"name": "back", "from": {"trunk": "zeta"}, "prefix": "+98", "to": {"trunk": "zeta"}})

    daemon = world.start(permit)
    far, box = sip.Raw(world.net.other_carrier, 5060), world.net.box_carrier
    near = sipp.Score().invite(OFFER).hear(100).expect(200).ack().expect("BYE").reply_in_dialog(200, "OK")
    mine = world.caller("acme", near, "+991")
    invite = far.receive(10)
    assert "REFER" in sip.header(invite, "Allow")
    contact = f"sip:far@{far.local}:5060"
    far.send(reply(invite, 200, contact=contact, body=description(far.local, 7000)), box)
    assert far.receive(5).startswith("ACK")
    target = sip.header(invite, "Contact").strip("<>")

    def refer(cseq, to):
        """The referral, and the first NOTIFY about it."""
        text = far.request("REFER", target, (f"Refer-To: <{to}>", f"Referred-By: <{contact}>"), "", cseq=cseq, call_id=sip.header(invite, "Call-ID"))
        text = re.sub(r"(?m)^To: .*?\r$", lambda _: f"To: {sip.header(invite, 'From')}\r", text)
        text = re.sub(r"(?m)^From: .*?\r$", lambda _: f"From: {sip.header(invite, 'To')};tag=far\r", text)
        far.send(text, box)
        assert sip.status(far.receive(5)) == 202
        return told()

    def told():
        notify = far.receive(5)
        assert notify.startswith("NOTIFY ") and sip.header(notify, "Event").startswith("refer"), notify
        far.send(reply(notify, 200), box)
        return notify.rstrip().rsplit("\r\n", 1)[1], sip.header(notify, "Subscription-State").split(";")[0]

    # It could not call this one itself: nobody is dialed, and the talk goes on.
    assert refer(2, f"sip:+442070000000@{box}") == ("SIP/2.0 100 Trying", "active")
    assert told() == ("SIP/2.0 404 Not Found", "terminated")
    assert refer(3, f"sip:+981@{box}") == ("SIP/2.0 100 Trying", "active")
    third = far.receive(10)
    assert third.startswith(f"INVITE sip:+981@{far.local}") and "+15550100" in sip.header(third, "From"), third
    far.send(reply(third, 180, tag="third", contact=contact), box)
    assert told() == ("SIP/2.0 180 Ringing", "active")
    far.send(reply(third, 200, tag="third", contact=contact, body=description(far.local, 7100)), box)
    seen = [far.receive(5) for _ in range(3)]
    words = [m.split(" ", 1)[0] for m in seen]
    assert sorted(words) == ["ACK", "BYE", "NOTIFY"] and words.index("NOTIFY") < words.index("BYE"), words
    for message in seen:
        if not message.startswith("ACK"):
            far.send(reply(message, 200), box)
    assert seen[words.index("NOTIFY")].rstrip().endswith("SIP/2.0 200 OK")
    # The third hangs up, and so ends the caller's call.
    bye = far.request("BYE", sip.header(third, "Contact").strip("<>"), cseq=9, call_id=sip.header(third, "Call-ID"))
    bye = re.sub(r"(?m)^To: .*?\r$", lambda _: f"To: {sip.header(third, 'From')}\r", bye)
    bye = re.sub(r"(?m)^From: .*?\r$", lambda _: f"From: {sip.header(third, 'To')};tag=third\r", bye)
    assert sip.status(far.ask(bye, box)) == 200
    mine.done()
    daemon.idle()
    outcomes = [event["data"]["cause"]["status"] for event in daemon.events(type="call.transferred")]
    assert outcomes == [404, 200]
