"""Devices that are known by their instance: baresip with outbound (RFC 5626), and an address of each alone (RFC 5627)."""

import re
import sqlite3

from kit import sip
from kit.box import PASSWORDS
from kit.wait import until

INSTANCE = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"


def leased(config):
    config["realms"]["phones"]["registrations"] = {"expires": "30m", "behind_nat": "90s"}


def remembered(world):
    """The keys of the devices on the disk."""
    file = sqlite3.connect(f"file:{world.folder / 'state' / 'devices.db'}?mode=ro", uri=True)
    try:
        return sorted(key for (key,) in file.execute("SELECT key FROM devices"))
    finally:
        file.close()


def test_a_gruu_reaches_the_device_that_it_names_and_no_other(world):
    daemon = world.start(leased)
    first = world.phone("alice", outbound=True, name="first")
    second = world.phone("alice", local=world.net.other_client, outbound=True, name="second")
    caller = world.phone("bob", local=world.net.stranger)
    known = sorted(f"<{phone.instance()}>;reg-id=1" for phone in (first, second))
    until("both flows to be written down", lambda: set(known) <= set(remembered(world)))
    caller.dial(f"sip:alice@{world.net.box_clients};gr={second.instance()}")
    second.established()
    caller.established()
    caller.hangup()
    second.closed()
    daemon.idle()
    # Of a device that is not there the others are not called in its place.
    caller.dial(f"sip:alice@{world.net.box_clients};gr={INSTANCE}")
    caller.closed(2)
    answered = [phone.child.text().count("call: answering call") for phone in (first, second)]
    assert answered == [0, 1], "the first one heard of neither call"
    ended = daemon.until_event("call.ended", 2)[-1]
    assert ended["data"]["cause"]["status"] == 480, ended
    assert "this device of the user is not registered" in daemon.tool("explain", ended["call"])[1]


def test_a_device_is_told_its_addresses_and_by_stun_that_its_flow_stands(world):
    world.start(leased)
    raw = sip.Raw(world.net.client, 5062)
    target, uri = world.net.box_clients, f"sip:{world.net.box_clients}"

    def ask(cseq, rest, *headers):
        text = raw.request("REGISTER", uri, ("Supported: outbound, gruu", *headers), to=f"sip:alice@{target}", user="alice", cseq=cseq, call_id="outbound")
        return raw.ask(re.sub(r"(?m)^(Contact: <[^>]*>)", rf'\1;+sip.instance="<{INSTANCE}>"{rest}', text), target)

    def register(cseq, rest):
        line = sip.answer(sip.challenge(ask(cseq, rest)), "alice", PASSWORDS["alice"], "REGISTER", uri)
        return ask(cseq + 1, rest, f"Authorization: {line}")

    granted = register(1, ";reg-id=1")
    assert sip.status(granted) == 200 and sip.header(granted, "Require") == "outbound", granted
    assert sip.header(granted, "Flow-Timer") == "30"
    assert f'pub-gruu="sip:alice@{target}:5060;gr={INSTANCE}"' in granted, granted
    (temporary,) = re.findall(r'temp-gruu="sip:(\w+)@', granted)
    assert world.net.client not in temporary and "alice" not in temporary
    # What it says of itself is where it is heard from: there is no NAT.
    assert ";expires=1800" in granted, granted
    assert sip.status(register(3, ";reg-id=99999999999")) == 400
    raw.send(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"abcdefghijkl", target)
    raw.socket.settimeout(5)
    answer = raw.socket.recv(2048)
    assert answer[:2] == b"\x01\x01" and answer[8:20] == b"abcdefghijkl", answer
    raw.close()
