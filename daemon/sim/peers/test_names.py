"""RFC 3263 with a real name server: NAPTR and SRV lead to the carrier, and to the next one."""

from kit import sipp
from kit.dns import Dns
from kit.wait import until


def named(world):
    """zeta is nothing but a name."""

    def change(config):
        config["dns"] = {"servers": [world.net.servers], "port": 5353}
        config["trunks"]["zeta"] = {"realm": "carrier", "address": "carrier.test", "failover": {"after": "1s"}}

    return change


def answering():
    return sipp.Score().expect("INVITE").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")


def calling():
    return sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(200).bye().expect(200)


def test_row_5_naptr_srv_and_the_next_server_when_the_first_is_dead(world):
    dns = Dns(world.folder, world.net.servers)
    world.children.append(dns)
    dns.serve(
        '@ IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.',
        '@ IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.carrier.test.',
        "_sip._udp IN SRV 10 5 5071 dead",
        "_sip._udp IN SRV 20 5 5072 alive",
        f"dead IN A {world.net.other_carrier}",
        f"alive IN A {world.net.other_carrier}",
    )
    daemon = world.start(named(world))
    zeta = world.callee("zeta", answering(), port=5072, media_port=7000)
    world.caller("acme", calling(), "+991").done()
    zeta.done()
    daemon.idle()
    (moved,) = daemon.events(type="leg.failed_over")
    assert moved["data"]["from"] == f"{world.net.other_carrier}:5071" and moved["data"]["to"] == f"{world.net.other_carrier}:5072"

    # Calls from the addresses of its name are the trunk's.
    world.caller("from_zeta", sipp.Score().invite(sipp.sdp()).hear(100).expect(404).ack(failure=True), "+1777", local=world.net.other_carrier, port=5075).done()
    assert daemon.events(type="call.offered")[-1]["data"]["party"] == {"kind": "trunk", "trunk": "zeta"}

    # The carrier moves, and is followed when its records end.
    dns.serve("_sip._udp IN SRV 10 5 5074 moved", f"moved IN A {world.net.other_carrier}")
    zeta = world.callee("moved", answering(), port=5074, media_port=7200)
    until("the new address", lambda: f"{world.net.other_carrier}:5074" in str(daemon.tool("status", json_out=True)))
    world.caller("again", calling(), "+992", port=5070, media_port=6200).done()
    zeta.done()

    # The name server dies: what was known goes on.
    dns.stop()
    zeta = world.callee("last", answering(), port=5074, media_port=7300)
    world.caller("later", calling(), "+993", port=5076, media_port=6300).done()
    zeta.done()
    daemon.idle()
