"""Row 3: codecs are allowed, ordered and stripped with each peer, both ways; 488 when none is left."""

import re

from kit import sipp

ALL = ((18, "G729/8000"), (9, "G722/8000"), (8, "PCMA/8000"), (0, "PCMU/8000"), (101, "telephone-event/8000"))


def types(message):
    """The payload types of a description, in their order."""
    return [int(number) for number in re.search(r"(?m)^m=audio \d+ \S+ ([\d ]+)", message).group(1).split()]


def policed(config):
    """acme may not use G.729; zeta is offered A-law first and µ-law, nothing else. What leaves the realm is never G.722."""
    config["realms"]["carrier"]["codecs_stripped"] = ["G722"]
    config["trunks"]["acme"]["codecs_stripped"] = ["G729"]
    config["trunks"]["zeta"]["codecs"] = ["PCMA", "PCMU"]


def test_row_3_codecs_are_allowed_ordered_and_stripped_and_none_left_is_488(world):
    daemon = world.start(policed)
    callee = world.callee("callee", sipp.Score().expect("INVITE").reply(200, "OK", sipp.sdp(formats=ALL[2:])).expect("ACK").expect("BYE").reply_in_dialog(200, "OK"))
    caller = world.caller("caller", sipp.Score().invite(sipp.sdp(formats=ALL)).hear(100, 180).expect(200).ack().pause(100).bye().expect(200), "+99123").done()
    callee.done()
    assert types(callee.received()[0]) == [8, 0, 101], callee.received()[0]
    (answer,) = [message for message in caller.received() if message.startswith("SIP/2.0 200") and "m=audio" in message]
    assert 18 not in types(answer) and 9 not in types(answer), answer

    # Nothing left of the offer.
    world.caller("none", sipp.Score().invite(sipp.sdp(formats=ALL[:2])).hear(100).expect(488).ack(failure=True), "+99124", port=5071).done()
    daemon.idle()
    refused = daemon.events(type="call.ended")[-1]
    assert refused["data"]["cause"]["text"] == "G729, G722 offered, and stripped here", refused
    # Nor of the answer: who called hears 488, who answered is hung up on.
    wrong = world.callee("wrong", sipp.Score().expect("INVITE").reply(200, "OK", sipp.sdp(formats=ALL[:1])).expect("ACK").expect("BYE").reply_in_dialog(200, "OK"), media_port=7200)
    world.caller("unanswered", sipp.Score().invite(sipp.sdp(formats=ALL)).hear(100, 180).expect(488).ack(failure=True), "+99125", port=5072).done()
    wrong.done()
    daemon.idle()


def test_row_3_a_codec_that_is_allowed_and_stripped_is_a_mistake_of_the_file(world):
    daemon = world.start()
    text = daemon.file.read_text().replace("trunks:\n  acme:\n", "trunks:\n  acme:\n    codecs: [PCMA, G729]\n    codecs_stripped: [G729]\n")
    (world.folder / "bad.yaml").write_text(text)
    code, told = daemon.tool("check", world.folder / "bad.yaml", check=False, socket=False)
    assert code != 0 and "error: `G729` stands in `codecs`, too" in told, told
