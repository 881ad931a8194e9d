"""Messages (RFC 3428): between users, from and to trunks, in a call; strangers write to nobody, and nobody reads along."""

import json

from kit import box, sip, sipp

SECRET = "meet me at noon"
PLAIN = "Content-Type: text/plain"


class Phone(sip.Raw):
    """A registered user's phone that writes and reads."""

    def __init__(self, world, user, local, port=5060):
        super().__init__(local, port)
        self.user, self.registrar = user, world.net.box_clients
        assert sip.status(self.register(self.registrar, user, box.PASSWORDS[user])) == 200

    def write(self, to, text=SECRET, headers=(PLAIN,)):
        """Sends a message, the challenge met."""
        self.prove("MESSAGE", f"sip:{to}@{self.registrar}", self.registrar, self.user, box.PASSWORDS[self.user], headers, text)
        return self


def answered(message, status):
    """A response to a request that came."""
    lines = message.split("\r\n")
    kept = [line for name in ("Via", "From", "To", "Call-ID", "CSeq") for line in lines if line.lower().startswith(f"{name.lower()}:")]
    kept = [line + ";tag=here" if line.startswith("To:") and "tag=" not in line else line for line in kept]
    return "\r\n".join([f"SIP/2.0 {status} So", *kept, "Content-Length: 0", "", ""])


def test_a_message_reaches_a_user_a_trunk_and_back_and_nobody_reads_along(world):
    daemon = world.start()
    alice, bob = Phone(world, "alice", world.net.client), Phone(world, "bob", world.net.ip(31))
    alice.write("bob")
    came = bob.receive()
    assert came.startswith("MESSAGE sip:bob@") and came.endswith(f"\r\n\r\n{SECRET}"), came
    assert world.net.client not in came and sip.header(came, "Contact") is None and sip.header(came, "User-Agent") == "Postern", came
    bob.send(answered(came, 200), world.net.box_clients)
    assert sip.status(alice.final()) == 200
    (told,) = daemon.until_event("message.delivered")
    assert (told["data"]["from"], told["data"]["to"], told["data"]["over"], told["data"]["bytes"]) == ("alice", "bob", "user bob", len(SECRET))

    # Out over a trunk, which takes it to deliver it later; and what the trunk refuses is refused.
    acme = sip.Raw(world.net.carrier)
    for status in (202, 404):
        alice.write("+4930123", f"{SECRET} {status}")
        came = acme.receive()
        assert came.startswith(f"MESSAGE sip:+4930123@{world.net.carrier}") and world.net.client not in came, came
        acme.send(answered(came, status), world.net.box_carrier)
        assert sip.status(alice.final()) == status
    # A trunk writes to a number of ours; to one that nobody has; more than a message may have; what is no text.
    number = f"sip:{box.NUMBER}@{world.net.box_carrier}"
    acme.send(acme.request("MESSAGE", number, (PLAIN,), SECRET), world.net.box_carrier)
    came = alice.receive()
    assert came.startswith("MESSAGE sip:alice@") and "sip:raw@" in sip.header(came, "From") and world.net.carrier not in came, came
    alice.send(answered(came, 200), world.net.box_clients)
    assert sip.status(acme.final()) == 200
    for uri, headers, text, status in (
        (f"sip:+1999@{world.net.box_carrier}", (PLAIN,), SECRET, 404), (number, (PLAIN,), "a" * 1301, 413), (number, ("Content-Type: image/png",), "x", 415),
    ):
        assert sip.status(acme.ask(acme.request("MESSAGE", uri, headers, text), world.net.box_carrier)) == status
    # A user without a device.
    assert sip.status(bob.register(world.net.box_clients, "bob", box.PASSWORDS["bob"], expires=0)) == 200
    assert sip.status(alice.write("bob", "gone?").final()) == 480
    daemon.until_event("message.refused", count=3)
    assert [e["data"]["cause"]["status"] for e in daemon.events(type="message.refused")] == [404, 404, 480]
    # A stranger gets nothing, and a guess at a password nothing but another question.
    stranger = sip.Raw(world.net.ip(66))
    stranger.send(stranger.request("MESSAGE", number, (PLAIN,), SECRET), world.net.box_carrier)
    assert stranger.receive(0.5) is None
    said = json.dumps(daemon.events()) + daemon.child.text()
    assert SECRET not in said
    for raw in (alice, bob, acme, stranger):
        raw.close()


def test_a_message_in_a_call_goes_to_the_other_party(world):
    daemon = world.start()
    callee = sipp.Score().expect("INVITE").reply(200, "OK", sipp.sdp()).expect("ACK").expect("MESSAGE").reply_in_dialog(200, "OK")
    callee = world.callee("callee", callee.expect("BYE").reply_in_dialog(200, "OK"))
    score = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(200).request("MESSAGE", SECRET, kind="text/plain").expect(200)
    world.caller("caller", score.bye().expect(200), "+99123").done()
    callee.done()
    (came,) = [message for message in callee.received() if message.startswith("MESSAGE ")]
    assert SECRET in came and world.net.carrier not in came, came
    daemon.idle()
    (told,) = daemon.events(type="message.delivered")
    call = told["call"]
    assert "message of" in daemon.tool("explain", call)[1]
    trace = daemon.tool("trace", call, "--full")[1]
    assert "MESSAGE sip:" in trace and SECRET not in trace, trace
