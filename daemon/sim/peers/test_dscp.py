"""The marks that routers go by, in what leaves the box: by realm, for audio, its reports and SIP; also when the kernel forwards by itself."""

import os

import numpy as np
import pytest
from kit import capture, sip, speech

AF41, CS5, EF, AF31 = 34, 40, 46, 26


def marked(config):
    config["realms"]["carrier"]["media"]["dscp"] = "AF41"
    config["realms"]["carrier"]["signaling_dscp"] = "CS5"


def call(world):
    near, far = sip.Raw(world.net.carrier), sip.Raw(world.net.other_carrier)
    return speech.Call(world.net, near, far, speech.description(near.local, 6000), speech.description(far.local, 7000))


def test_row_31_what_leaves_a_realm_has_its_marks(world):
    daemon = world.start(marked)
    seen = world.capture()
    talk = call(world)
    talk.near_line.say(talk.to_near, speech.frames(np.zeros(48000, np.int16)), (talk.far_line,))
    talk.end()
    # The other realm has the usual ones.
    phone = sip.Raw(world.net.client)
    phone.ask(phone.request("OPTIONS", f"sip:{world.net.box_clients}"), world.net.box_clients)
    daemon.idle()
    sent = [packet for packet in seen.stop() if packet.source[0] == world.net.box_carrier]
    audio = {packet.dscp for packet in sent if capture.is_rtp(packet) and not capture.is_sip(packet)}
    reports = {packet.dscp for packet in sent if packet.payload[:1] == b"\x80" and packet.payload[1] in (200, 201)}
    signaling = {packet.dscp for packet in sent if capture.is_sip(packet)}
    assert (audio, signaling) == ({AF41}, {CS5}), (audio, signaling)
    assert reports <= {AF41}, reports
    assert all(mark == AF41 for mark in talk.far_line.marks)


@pytest.mark.skipif(os.geteuid() != 0, reason="programs are loaded into the kernel by root")
def test_row_31_the_kernel_marks_as_the_socket_does(world):
    daemon = world.start(lambda config: (marked(config), config["media"].update(fast_path="required")))
    talk = call(world)
    silence = speech.frames(np.zeros(160, np.int16))
    works = [lambda a=a, to=to: a.say(to, silence * 200) for a, to in ((talk.near_line, talk.to_near), (talk.far_line, talk.to_far))]
    speech.all_at_once(*works)
    assert daemon.status()["media"]["packets_forwarded"] > 100
    for line in (talk.near_line, talk.far_line):
        line.listen()
        assert len(line.marks) > 150 and set(line.marks) == {AF41}, set(line.marks)
    talk.end()
    daemon.idle()
