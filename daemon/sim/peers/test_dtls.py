"""Audio encrypted with keys from a DTLS handshake: a phone not written here towards a plain carrier, proven both ways."""

from conftest import CARRIER_SOUND, PHONE_SOUND
from kit import audio, box, capture, sipp
from kit.wait import until

SUITE = "AES_CM_128_HMAC_SHA1_80"


def dtls(*users, mode="dtls"):
    def change(config):
        # A leg moves to the worker of the one that it is joined to, in the middle of its handshake.
        config["media"]["workers"] = [0, 1]
        for user in users:
            config["users"][user].update(srtp=mode)

    return change


def test_row_27_a_plain_carrier_calls_a_phone_that_keys_by_dtls(world):
    daemon = world.start(dtls("alice"))
    phone = world.phone(dtls=True)
    packets = world.capture()
    sound = world.folder / "sound"
    sound.write_bytes(audio.to_ulaw(CARRIER_SOUND))
    score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED, formats=((0, "PCMU/8000"),))).expect(100).hear(180).expect(200).ack()
    score.play(sound, 0).pause(4000).bye().expect(200)
    world.caller("acme", score, box.NUMBER).done()
    phone.closed()
    daemon.idle()
    seen = packets.stop()
    negotiated = {e["data"]["media"]["srtp"] for e in daemon.events(type="leg.negotiated")}
    assert negotiated == {None, "DTLS"}
    [keyed] = daemon.events(type="media.keyed")
    assert keyed["data"]["suite"] == SUITE and keyed["data"]["took_ms"] < 500, keyed
    assert not daemon.events(type="media.unproven")
    heard = capture.heard(seen, world.net.carrier)
    assert audio.compare(heard, PHONE_SOUND).share > 0.8
    match = audio.compare(phone.heard(), CARRIER_SOUND)
    assert match.share > 0.8 and match.seconds > 1.5, match
    assert audio.compare(capture.heard(seen, world.net.client), CARRIER_SOUND).found == 0, "it was to be read between the box and the phone"
    call = daemon.calls()[-1]["sid"]
    story = " ".join(daemon.tool("explain", call)[1].split())
    assert "SRTP DTLS" in story and f"DTLS with {keyed['data']['source']} done" in story, story


def test_a_phone_that_keys_by_dtls_calls_and_holds_and_keeps_its_association(world):
    daemon = world.start(dtls("alice", mode="accept"))
    (world.folder / "carrier.raw").write_bytes(audio.to_ulaw(CARRIER_SOUND))
    again = sipp.sdp(port=sipp.PLAYED)
    score = sipp.Score().expect("INVITE").reply(180).reply(200, "OK", again).expect("ACK").play(world.folder / "carrier.raw")
    score.expect("INVITE").reply_in_dialog(200, "OK", sipp.sdp("recvonly", port=sipp.PLAYED)).expect("ACK")
    score.expect("INVITE").reply_in_dialog(200, "OK", again).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")
    far = world.callee("acme", score, local=world.net.carrier)
    phone = world.phone(dtls=True)
    packets = world.capture()
    phone.dial(f"sip:+15557770000@{world.net.box_clients}")
    phone.established()
    daemon.until_event("media.latched", 2)
    phone.command("hold")
    daemon.until_event("leg.held")
    phone.command("resume")
    daemon.until_event("leg.resumed")
    held = max(report(daemon, "alice"), 1)
    until("audio to pass again", lambda: report(daemon, "alice") > held + 100)
    phone.hangup()
    far.done()
    daemon.idle()
    seen = packets.stop()
    assert len(daemon.events(type="media.keyed")) == 1, "the association is kept through hold and resume"
    assert audio.compare(capture.heard(seen, world.net.carrier), PHONE_SOUND).share > 0.8
    for quality in daemon.events(type="media.quality"):
        assert quality["data"]["report"]["dropped_bad"] == 0, quality


def report(daemon, user):
    """Packets of a user's leg so far."""
    legs = [leg for leg in daemon.live() if leg.get("party", {}).get("user") == user and leg.get("quality")]
    return legs[0]["quality"]["packets_received"] if legs else 0


def test_a_phone_that_does_not_key_by_dtls_is_refused_where_it_must(world):
    daemon = world.start(dtls("alice"))
    phone = world.phone(srtp=True)
    phone.dial(f"sip:+15557770000@{world.net.box_clients}")
    phone.closed()
    daemon.idle()
    assert daemon.events(type="leg.negotiated") == []
    [ended] = daemon.events(type="call.ended")
    assert "DTLS-SRTP required" in ended["data"]["cause"]["text"], ended
