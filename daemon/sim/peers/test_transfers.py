"""Transfers between real peers, and one by hand that asks for them; each test after its row of what a border controller is held to."""

import re
from urllib.parse import quote

from kit import sip, sipp
from kit.talk import description, reply

OFFER = sipp.sdp()


class Party:
    """The carrier zeta by hand: as many dialogs as it wants, each a dict of what its requests repeat."""

    def __init__(self, world):
        self.raw, self.box = sip.Raw(world.net.other_carrier, 5060), world.net.box_carrier
        self.contact = f"sip:far@{self.raw.local}:5060"
        self.media = 7000

    def answers(self, limit_s=10):
        """Takes the call that comes."""
        invite = self.raw.receive(limit_s)
        assert invite and invite.startswith("INVITE "), invite
        self.media += 2
        self.raw.send(reply(invite, 200, contact=self.contact, body=description(self.raw.local, self.media)), self.box)
        assert self.raw.receive(5).startswith("ACK ")
        return {"to": sip.header(invite, "From"), "from": f"{sip.header(invite, 'To')};tag=far", "id": sip.header(invite, "Call-ID"),
                "target": sip.header(invite, "Contact").strip("<>"), "cseq": 1}

    def invites(self, number, headers=()):
        """Calls: the final response, and the dialog when it is answered."""
        self.media += 2
        body = description(self.raw.local, self.media)
        answer = self.raw.ask(self.raw.request("INVITE", f"sip:{number}@{self.box}", (*headers, "Content-Type: application/sdp"), body), self.box, limit_s=10)
        dialog = {"to": sip.header(answer, "To"), "from": sip.header(answer, "From"), "id": sip.header(answer, "Call-ID"),
                  "target": (sip.header(answer, "Contact") or f"<sip:{number}@{self.box}>").strip("<>"), "cseq": 1}
        if sip.status(answer) == 200:
            self.raw.send(self.within(dialog, "ACK"), self.box)
        return answer, dialog

    def within(self, dialog, method, headers=(), body=""):
        if method != "ACK":
            dialog["cseq"] += 1
        text = self.raw.request(method, dialog["target"], headers, body, cseq=dialog["cseq"], call_id=dialog["id"])
        text = re.sub(r"(?m)^To: .*?\r$", lambda _: f"To: {dialog['to']}\r", text)
        return re.sub(r"(?m)^From: .*?\r$", lambda _: f"From: {dialog['from']}\r", text)

    def named(self, dialog):
        """As a Replaces says it."""
        tag = lambda text: text.split(";tag=", 1)[1]
        return f"{dialog['id']};to-tag={tag(dialog['to'])};from-tag={tag(dialog['from'])}"

    def consults(self, dialog, second):
        return self.refers(dialog, f"sip:x@{self.box}?Replaces={quote(self.named(second), safe='')}")

    def refers(self, dialog, to):
        """REFER: the status of its answer."""
        self.raw.send(self.within(dialog, "REFER", (f"Refer-To: <{to}>",)), self.box)
        return sip.status(self.raw.final())

    def told(self, count):
        """The next requests, answered: what each NOTIFY tells, and the method of the others."""
        found = []
        for _ in range(count):
            request = self.raw.receive(5)
            assert request, found
            self.raw.send(reply(request, 200), self.box)
            found.append(request.rstrip().rsplit("\r\n", 1)[1] if request.startswith("NOTIFY ") else request.split(" ", 1)[0])
        return found


def permit(config):
    config["trunks"]["zeta"]["refer"] = "terminate"
    config["routes"].append({"name": "in", "from": {"trunk": "zeta"}, "prefix": "+98", "to": {"user": "alice"}})


def test_row_22_who_talks_with_a_carrier_and_a_phone_joins_the_two(world):
    daemon = world.start(permit)
    phone = world.phone()
    far = Party(world)
    near = sipp.Score().invite(OFFER).hear(100).expect(200).ack().expect("BYE").reply_in_dialog(200, "OK")
    mine = world.caller("acme", near, "+991")
    first = far.answers()
    answer, second = far.invites("+981")
    assert sip.status(answer) == 200
    phone.until_event("CALL_ESTABLISHED")
    # Somebody's, nobody's, and its own.
    assert far.consults(first, {**second, "id": "guessed"}) == 202
    assert far.told(2) == ["SIP/2.0 100 Trying", "SIP/2.0 481 Call/Transaction Does Not Exist"]
    assert far.consults(first, second) == 202
    told = far.told(4)
    assert told[:2] == ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"] and told[2:] == ["BYE", "BYE"]
    moved = daemon.until_event("leg.moved")
    assert moved
    # The phone hangs up, and the carrier's caller is told.
    phone.hangup()
    mine.done()
    daemon.idle()
    assert [event["data"]["cause"]["status"] for event in daemon.events(type="call.transferred")] == [481, 200]
    assert len(daemon.events(type="call.ended")) == 2


def test_row_22_a_party_comes_back_to_its_call_by_another_dialog_and_a_stranger_does_not(world):
    daemon = world.start(permit)
    phone = world.phone()
    far = Party(world)
    _, first = far.invites("+981")
    phone.until_event("CALL_ESTABLISHED")
    # The other carrier names it rightly, and for it there is no such dialog: its trunk may not transfer, so the header is unknown there.
    thief = sip.Raw(world.net.carrier, 5060)
    steal = thief.request("INVITE", f"sip:+447@{far.box}", (f"Replaces: {far.named(first)}", "Require: replaces", "Content-Type: application/sdp"), description(thief.local, 6000))
    assert sip.status(thief.ask(steal, far.box)) == 420
    assert sip.status(far.invites("+981", ("Require: replaces", "Replaces: x;to-tag=1;from-tag=2"))[0]) == 481
    answer, back = far.invites("+981", ("Require: replaces", f"Replaces: {far.named(first)}"))
    assert sip.status(answer) == 200
    assert far.told(1) == ["BYE"]
    assert sip.status(far.raw.ask(far.within(back, "BYE"), far.box)) == 200
    phone.until_event("CALL_CLOSED")
    daemon.idle()
    assert (len(daemon.events(type="leg.replaces")), len(daemon.events(type="call.ended"))) == (1, 1)


def test_row_22_a_phone_is_asked_to_transfer_itself_and_is_shown_nothing_of_who_wants_it(world):
    def relay(config):
        permit(config)
        config["trunks"]["zeta"]["refer"] = "relay"

    daemon = world.start(relay)
    phone = world.phone()
    third = sipp.Score().expect("INVITE").reply(180).reply(200, "OK", OFFER).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")
    theirs = world.callee("acme", third, local=world.net.carrier, media_port=7600)
    far = Party(world)
    _, first = far.invites("+981")
    phone.until_event("CALL_ESTABLISHED")
    assert far.refers(first, "sip:+4420@10.9.9.9;transport=tcp?Subject=inner") == 202
    assert far.told(1) == ["SIP/2.0 100 Trying"]
    news = far.told(1)
    while news[-1].startswith("SIP/2.0 1"):
        news = far.told(1)
    assert news == ["SIP/2.0 200 OK"]
    # Whoever is done first hangs up.
    far.raw.send(far.within(first, "BYE"), far.box)
    theirs_invite = [m for m in theirs.received() if m.startswith("INVITE")]
    assert theirs_invite and theirs_invite[0].startswith("INVITE sip:+4420@")
    assert not any(word in theirs_invite[0] for word in ("10.9.9.9", "inner", far.raw.local))
    phone.hangup()
    theirs.done()
    daemon.idle()
    assert [event["data"]["cause"]["status"] for event in daemon.events(type="call.transferred")] == [200]
