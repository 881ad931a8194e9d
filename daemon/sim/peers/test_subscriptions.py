"""Subscriptions (RFC 6665): a phone watches another, lamps follow calls and waiting messages; strangers, nonsense and forged NOTIFYs get nothing."""

import re

from kit import box, sip, sipp
from kit.talk import reply
from kit.wait import until

DOCUMENTS = {"dialog": "application/dialog-info+xml", "presence": "application/pidf+xml"}


class Console(sip.Raw):
    """A registered user's console that says what it is told."""

    def __init__(self, world, user="bob"):
        super().__init__(world.net.ip(31))
        self.user, self.registrar = user, world.net.box_clients
        assert sip.status(self.register(self.registrar, user, box.PASSWORDS[user])) == 200

    def subscribe(self, to, event, *headers):
        """The answer to a SUBSCRIBE."""
        self.prove("SUBSCRIBE", f"sip:{to}@{self.registrar}", self.registrar, self.user, box.PASSWORDS[self.user], (f"Event: {event}", *headers))
        return self.final()

    def told(self, limit_s=10):
        """The next NOTIFY, answered."""
        notify = self.receive(limit_s)
        assert notify and notify.startswith(f"NOTIFY sip:{self.user}@"), notify
        self.send(reply(notify, 200), self.registrar)
        return notify


def test_a_phone_watches_another_come_and_go(world):
    daemon = world.start()
    alice = world.phone("alice", contacts=("bob",))
    (began,) = daemon.until_event("subscription.began")
    assert (began["user"], began["data"]["package"], began["data"]["of"]) == ("alice", "presence", "bob")
    def shows(state):
        alice.command("contacts")
        return any(state in event.get("data", "") for event in alice.poll())

    until("bob to be shown as away", lambda: shows("Offline"))
    bob = sip.Raw(world.net.ip(31))
    assert sip.status(bob.register(world.net.box_clients, "bob", box.PASSWORDS["bob"])) == 200
    until("bob to be shown as there", lambda: shows("Online"))
    assert "1 subscriptions" in daemon.tool("status")[1] and "postern_subscriptions 1.0" in daemon.get("/metrics")[1].decode()
    # A phone that leaves takes its subscriptions back.
    alice.stop()
    (ended,) = daemon.until_event("subscription.ended")
    assert ended["data"]["why"] in ("unsubscribed", "the subscriber's registration is gone"), ended
    bob.close()


def test_a_lamp_follows_a_call_and_names_nobody(world):
    daemon = world.start()
    alice, console = world.phone("alice"), Console(world)
    for event in DOCUMENTS:
        answer = console.subscribe("alice", event, "Expires: 600")
        assert sip.status(answer) == 200 and sip.header(answer, "Expires") == "600", answer
        first = console.told()
        assert sip.header(first, "Content-Type") == DOCUMENTS[event] and sip.header(first, "Subscription-State") == "active;expires=600", first
    score = sipp.Score().invite(sipp.sdp()).hear(100, 180, 183).expect(200).ack().pause(7000).bye().expect(200)
    caller = world.caller("carrier", score, box.NUMBER)
    said, wanted = [], ("<state>confirmed</state>", "on-the-phone")
    until("both to tell of the call", lambda: said.append(console.told()) or all(any(word in text for text in said) for word in wanted), 15)
    until("both to tell of its end", lambda: said.append(console.told()) or "<state>terminated</state>" in said[-1] or "<state>terminated</state>" in said[-2], 15)
    caller.done()
    alice.closed()
    for text in said:
        assert world.net.carrier not in text and world.net.client not in text and "sipp" not in text, text
    daemon.stop()
    ends = [text for text in iter(lambda: console.receive(1), None) if "terminated;reason=probation" in text]
    assert len({sip.header(text, "Event") for text in ends}) == 2, ends
    console.close()


def test_a_phone_is_told_that_messages_wait_whoever_says_so_and_after_a_restart(world):
    daemon = world.start(lambda config: config["trunks"]["acme"].update(message_waiting=True))
    code, said = daemon.tool("messages", "alice", "--new", "2", "--old", "5", "--new-urgent", "1")
    assert (code, said) == (0, "alice: 2 new (1 urgent), 5 old\n")
    assert daemon.tool("messages", "nobody", check=False)[0] == 1
    # Not baresip 1.0: when its REGISTER takes a few milliseconds, its mwi.so subscribes 40,000 times a second and waits for no answer.
    alice = Console(world, "alice")
    assert sip.status(alice.subscribe("alice", "message-summary", "Accept: application/simple-message-summary")) == 200
    assert alice.told().endswith(f"\r\n\r\nMessages-Waiting: yes\r\nMessage-Account: sip:alice@{alice.registrar}\r\nVoice-Message: 2/5 (1/0)\r\n")
    # The carrier's voice mail says so, unasked; what is no summary, and whom nobody has.
    acme = sip.Raw(world.net.carrier)
    headers = ("Event: message-summary", "Subscription-State: active", "Content-Type: application/simple-message-summary")
    for to, body, status in ((box.NUMBER, "Messages-Waiting: yes\r\nVoice-Message: 7/0\r\n", 200), (box.NUMBER, "yes, many", 400), ("+1999", "Messages-Waiting: no\r\n", 404)):
        assert sip.status(acme.ask(acme.request("NOTIFY", f"sip:{to}@{world.net.box_carrier}", headers, body), world.net.box_carrier)) == status, body
    assert "Voice-Message: 7/0 (0/0)" in alice.told()
    (told, changed) = daemon.until_event("messages.waiting", count=2)
    assert (told["data"], changed["data"]["by"], changed["user"]) == ({"new": 2, "old": 5, "by": "postern messages"}, "trunk acme", "alice")
    daemon.stop()
    daemon.start()
    assert daemon.tool("messages", "alice")[1] == "alice: 7 new, 0 old\n"
    for raw in (alice, acme):
        raw.close()


def test_what_is_refused_and_what_strangers_get(world):
    daemon = world.start(lambda config: config["users"]["alice"].update(watchable=False))
    console = Console(world)
    for to, event, headers, status in (
        ("bob", "conference", (), 489), ("bob", "dialog;id=\"", (), 489), ("bob", "dialog, presence", (), 489), ("bob", "dialog", ("Expires: 1",), 423),
        ("nobody", "dialog", (), 404), ("alice", "dialog", (), 403), ("bob", "presence", ("Accept: text/plain",), 406),
        ("bob", "presence", ("Expires: 4294967295",), 200), ("bob", "presence", ("Expires: 99999999999999999999",), 200),
    ):
        answer = console.subscribe(to, event, *headers)
        assert sip.status(answer) == status, (to, event, headers, answer)
        if status == 200:
            assert sip.header(answer, "Expires") == "3600" and console.told()
        elif status == 489:
            assert sip.header(answer, "Allow-Events") == "presence, dialog, message-summary", answer
    # NOTIFYs that nobody asked for, by a device that is known, a trunk, and a stranger.
    acme, stranger = sip.Raw(world.net.carrier), sip.Raw(world.net.ip(66))
    forged = ("Event: dialog", "Subscription-State: active", "Content-Type: application/dialog-info+xml")
    for raw, host in ((console, world.net.box_clients), (acme, world.net.box_carrier)):
        for to in (f"sip:alice@{host}", f"<sip:alice@{host}>;tag=0123456789abcdef"):
            text = raw.request("NOTIFY", f"sip:alice@{host}", forged, "<x/>")
            text = re.sub(r"(?m)^To: .*?\r$", f"To: {to}\r", text)
            assert sip.status(raw.ask(text, host)) in (405, 481), to
    # A trunk without leave; strangers get nothing, or what they always get.
    assert sip.status(acme.ask(acme.request("SUBSCRIBE", f"sip:bob@{world.net.box_carrier}", ("Event: presence",)), world.net.box_carrier)) == 403
    for method in ("SUBSCRIBE", "NOTIFY"):
        assert stranger.ask(stranger.request(method, f"sip:bob@{world.net.box_carrier}", ("Event: presence",)), world.net.box_carrier, limit_s=0.5) is None
    assert sip.status(stranger.ask(stranger.request("SUBSCRIBE", f"sip:bob@{world.net.box_clients}", ("Event: presence",)), world.net.box_clients)) == 401
    assert len(daemon.events(type="subscription.began")) == 2
    for raw in (console, acme, stranger):
        raw.close()
