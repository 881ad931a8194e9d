"""The kit itself, without Postern: the peers work, and a wrong sound is told from a right one."""

import pytest

from kit import audio, capture, sipp
from kit.baresip import Baresip
from kit.nats import Nats
from kit.net import Net


def test_a_melody_is_recognised_through_g711_and_another_is_not():
    a, b = audio.melody(1, 8), audio.melody(2, 8)
    for there, back in ((audio.to_ulaw, audio.from_ulaw), (audio.to_alaw, audio.from_alaw)):
        heard = back(there(a))[1234:40000]
        assert audio.compare(heard, a).share == 1.0
        assert audio.compare(heard, b).found == 0
    assert audio.compare(audio.np.zeros(8000, audio.np.int16), a).windows == 0


def test_sipp_and_baresip_hear_each_other(tmp_path):
    net = Net()
    ours, theirs = audio.melody(3, 6), audio.melody(4, 6)
    (tmp_path / "ours.ul").write_bytes(audio.to_ulaw(ours))
    phone = Baresip(tmp_path, "alice", "x", net.client, net.ip(1), theirs, register=False)
    packets = capture.Capture(tmp_path, net.prefix)
    score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED)).hear(100, 180).expect(200).ack().play(tmp_path / "ours.ul").pause(2500).bye().expect(200)
    sipp.Run(tmp_path, "carrier", score, net.carrier, f"{net.client}:5060", service="alice").done()
    phone.closed()
    heard_by_carrier = capture.heard(packets.stop(), net.carrier)
    phone.stop()
    assert audio.compare(phone.heard(), ours).share > 0.8
    assert audio.compare(heard_by_carrier, theirs).share > 0.8
    assert audio.compare(heard_by_carrier, ours).found == 0


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_either_sipp_may_end_the_call(tmp_path, who):
    net = Net()
    caller = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack()
    callee = sipp.Score().expect("INVITE", note="Call-ID").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK")
    first, second = (caller, callee) if who == "caller" else (callee, caller)
    first.pause(200).bye().expect(200)
    second.expect("BYE").reply_in_dialog(200, "OK")
    far = sipp.Run(tmp_path, "callee", callee, net.other_carrier, f"{net.carrier}:5060", media_port=7000)
    near = sipp.Run(tmp_path, "caller", caller, net.carrier, f"{net.other_carrier}:5060", service="x")
    near.done(20)
    far.done()
    assert len(far.noted("Call-ID")) == 1
    assert any(m.startswith("INVITE") for m in far.received())


def test_nats_keeps_its_stream_over_a_restart(tmp_path):
    net = Net()
    server = Nats(tmp_path, net.servers)

    async def publish(_, jetstream):
        await jetstream.add_stream(name="T", subjects=["t.>"])
        for n in (1, 2, 2):
            await jetstream.publish("t.x", b'{"n": %d}' % n, headers={"Nats-Msg-Id": str(n)})

    server.ask(publish)
    server.kill()
    server.start()
    assert [body["n"] for _, _, body in server.messages("T")] == [1, 2]
    server.stop()
