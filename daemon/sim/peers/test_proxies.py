"""Proxies between us and the parties on both sides: Kamailio, which asks to stay in the way (Record-Route)."""

from kit import capture, sipp
from kit.kamailio import proxy

NEAR_PORT, FAR_PORT = 5070, 5080


def test_what_follows_in_a_call_passes_the_proxies_that_the_call_came_by(world):
    net = world.net
    near_host, far_host = net.ip(21), net.ip(23)
    daemon = world.start()
    world.children.append(proxy(world.folder, {net.carrier: (net.box_carrier, 5060), net.other_carrier: (far_host, FAR_PORT)}))
    far = sipp.Score().expect("INVITE", note="Record-Route").reply(180).reply(200, "OK", sipp.sdp(), headers=("[last_Record-Route:]",)).expect("ACK")
    far = far.expect("INVITE").reply_in_dialog(200, "OK", sipp.sdp("recvonly", version=2)).expect("ACK").pause(200).bye().expect(200)
    callee = world.callee("far", far, local=far_host, port=FAR_PORT, media_port=7000)
    packets = world.capture()
    near = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(200).invite(sipp.sdp("sendonly", version=2), again=True)
    near = near.hear(100).expect(200).ack().expect("BYE").reply_in_dialog(200, "OK")
    world.caller("near", near, "+991", local=near_host, port=NEAR_PORT, remote=net.carrier).done()
    callee.done()
    assert callee.noted("Record-Route") and net.other_carrier in callee.noted("Record-Route")[0]
    daemon.idle()
    seen = [packet for packet in packets.stop() if capture.is_sip(packet)]
    ours = {packet.target[0] for packet in seen if packet.source[0] == net.box_carrier}
    assert ours == {net.carrier, net.other_carrier}, "never by a way of our own"
    methods = [packet.payload.split(b" ", 1)[0] for packet in seen if packet.source[0] == net.box_carrier]
    assert {b"INVITE", b"ACK", b"BYE"} <= set(methods)
