"""What a field engineer finds in the journal, with a real journald."""

import os

import pytest
from kit import box, sipp
from kit.journald import CATALOG, Journald
from kit.wait import until
from test_documents import OFFER, document

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a journald of our own needs root")

OFFERED = "881987f55e73c26059573a0dc13c6d62"


def test_a_call_is_found_by_its_fields(world):
    journald = Journald(world.folder)
    world.children.append(journald)
    daemon = world.start(lambda c: c["log"].update(to="journal"), prefix=journald.inside)
    world.app["/voice"] = document('<Gather timeout="20"/>')
    world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).expect(200).ack().pause(100).bye().expect(200), box.NUMBER_APP).done()
    daemon.idle()
    call = daemon.events(type="call.ended")[0]["call"]
    until("the journal to have it", lambda: journald.entries("EVENT_TYPE=call.ended"))
    entries = journald.entries(f"CALL_ID={call}")
    types = {e["EVENT_TYPE"] for e in entries}
    assert {"call.offered", "call.routed", "leg.answered", "leg.ended", "call.ended"} <= types
    (offered,) = journald.entries(f"MESSAGE_ID={OFFERED}")
    assert (offered["CALL_ID"], offered["TRUNK"], offered["EVENT_TYPE"]) == (call, "acme", "call.offered")
    assert offered["MESSAGE"] and offered["PRIORITY"] == "6" and int(offered["EVENT_SEQ"]) > 0
    # Journal and event stream tell the same.
    numbers = sorted(int(e["EVENT_SEQ"]) for e in entries)
    assert numbers == [e["seq"] for e in daemon.events(call=call)]
    everything = str(journald.entries())
    for secret in (box.TOKEN, *box.PASSWORDS.values()):
        assert secret not in everything


def test_every_message_has_a_catalog_entry():
    text = CATALOG.read_text()
    assert f"-- {OFFERED}" in text
    assert text.count("Subject:") == text.count("\n-- ") + text.startswith("-- ")
