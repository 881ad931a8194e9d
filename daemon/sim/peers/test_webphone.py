"""A phone in a browser as a web developer makes it: SIP.js over secure WebSocket, WebRTC for audio, joined to a plain carrier."""

import pytest
from conftest import CARRIER_SOUND, PHONE_SOUND
from kit import audio, box, capture, sipp
from kit.browser import ORIGIN, Webphone
from kit.stream import Certificates

CARRIER = "+15557770000"
PORT = 8443


@pytest.fixture
def phone(world, tmp_path):
    """The box with a secure WebSocket for pages of ORIGIN, and such a page."""
    certificate, key = Certificates(tmp_path).make("phones", world.net.box_clients)

    def webrtc(config):
        listener = {"address": f"{world.net.box_clients}:{PORT}", "certificate": str(certificate), "key": str(key), "origins": [ORIGIN]}
        config["realms"]["phones"]["signaling"] = {"udp": f"{world.net.box_clients}:5060", "wss": listener}
        config["users"]["alice"].update(srtp="webrtc", codecs=["PCMU"])

    world.start(webrtc)
    phone = Webphone(world.folder, PHONE_SOUND)
    world.children.append(phone)
    return phone


def register(world, phone, password=box.PASSWORDS["alice"]):
    phone.start(f"wss://{world.net.box_clients}:{PORT}", "alice", world.net.box_clients, password)


def both_heard(phone, packets, carrier):
    match = audio.compare(capture.heard(packets.stop(), carrier), PHONE_SOUND)
    assert match.share > 0.8 and match.seconds > 1.5, match
    # Its jitter buffer stretches time here and there on a busy machine: what was stretched is not recognised.
    match = audio.compare(phone.heard(), CARRIER_SOUND)
    assert match.share >= 0.4 and match.seconds > 1.0, match


def test_it_is_called_by_a_carrier(world, phone):
    register(world, phone)
    phone.saw("registered")
    packets = world.capture()
    score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED, formats=((0, "PCMU/8000"),))).expect(100).hear(180).expect(200).ack()
    run = world.caller("acme", score.play(world.folder / "carrier.ul", 0).pause(8000).bye().expect(200), box.NUMBER)
    phone.saw("answered")
    phone.until("audio both ways", lambda s: s.get("received", 0) > 120 and s.get("sent", 0) > 120 and s["dtls"] == "connected")
    phone.saw("ended")
    run.done()
    world.box.idle()
    both_heard(phone, packets, world.net.carrier)


def test_it_calls_a_carrier_and_hangs_up(world, phone):
    register(world, phone)
    phone.saw("registered")
    score = sipp.Score().expect("INVITE").reply(180).reply(200, "OK", sipp.sdp(port=sipp.PLAYED)).expect("ACK").play(world.folder / "carrier.ul")
    run = world.callee("acme", score.expect("BYE").reply_in_dialog(200, "OK"), local=world.net.carrier)
    packets = world.capture()
    phone.call(f"sip:{CARRIER}@{world.net.box_clients}")
    phone.saw("answered")
    phone.until("audio both ways", lambda s: s.get("received", 0) > 120 and s.get("sent", 0) > 120)
    phone.hang_up()
    run.done()
    phone.saw("ended")
    world.box.idle()
    both_heard(phone, packets, world.net.carrier)


def test_a_wrong_password_registers_nobody(world, phone):
    register(world, phone, "wrong")
    world.box.until_event("auth.failed")
    assert phone.page.evaluate("seen") == [] and world.box.status()["devices"] == 0
