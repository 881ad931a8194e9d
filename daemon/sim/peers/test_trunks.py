"""Trunks: several addresses, groups, what an operator sees of them."""

import pytest
from kit import box, sip, sipp


def grouped(world):
    """acme, which also calls, takes calls at port 5066; zeta is the group's second."""

    def change(config):
        config["trunks"]["acme"].update(address=f"{world.net.carrier}:5066", failover={"after": "1s"})
        config["groups"] = {"carriers": {"trunks": [{"trunk": "acme"}, {"trunk": "zeta", "priority": 1}]}}
        config["routes"].insert(0, {"name": "abroad", "from": "any", "prefix": "+88", "to": {"group": "carriers"}})

    return change


def answering():
    return sipp.Score().expect("INVITE").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")


def calling():
    return sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(200).bye().expect(200)


@pytest.mark.parametrize("first", ["silent", "503", "486"])
def test_row_4_and_6_a_group_fails_over_on_silence_and_503_but_not_on_486(world, first):
    daemon = world.start(grouped(world))
    if first != "silent":
        status = int(first)
        score = sipp.Score().expect("INVITE").reply(status, "No", headers=("Retry-After: 60",) if status == 503 else ()).expect("ACK")
        world.callee("acme", score, local=world.net.carrier, port=5066, media_port=7100)
    if first == "486":
        world.caller("caller", sipp.Score().invite(sipp.sdp()).hear(100).expect(486).ack(failure=True), "+881").done()
        daemon.idle()
        assert len(daemon.events(type="leg.dialed")) == 1
        return
    zeta = world.callee("zeta", answering(), media_port=7000)
    world.caller("caller", calling(), "+881").done()
    zeta.done()
    daemon.idle()
    (moved,) = daemon.events(type="leg.failed_over")
    assert (moved["data"]["from"], moved["data"]["to"]) == ("trunk acme", "trunk zeta")
    (down,) = daemon.events(type="trunk.down")
    assert down["trunk"] == "acme"
    code, told = daemon.tool("explain", moved["call"])
    assert "trunk acme failed (" in told and "on to trunk zeta" in told, told
    code, status = daemon.tool("status")
    assert "acme: 0 live, down" in status and f"{world.net.carrier}:5066 rests: " in status, status


def test_row_4_options_find_a_dead_trunk_before_a_call_does_and_find_it_again(world):
    def change(config):
        grouped(world)(config)
        probe = {"every": "1s", "again": "500ms", "patience": "400ms", "fails": 2, "successes": 2}
        config["trunks"]["acme"]["probe"] = probe

    daemon = world.start(change)
    down = daemon.until_event("trunk.down", trunk="acme")[0]
    assert daemon.events(type="trunk.target_down")[0]["data"]["fails"] == 2
    assert "408" in str(down["data"]["cause"])
    code, status = daemon.tool("status")
    assert f"{world.net.carrier}:5066 down: 408 no answer to OPTIONS" in status, status
    # The box is well all the same: it answers itself, though neither trunk admits its own address.
    code, health = daemon.tool("health")
    assert code == 0 and ": answers after " in health and "acme: down; " in health, health
    # A call goes to the other at once: nothing is tried, nothing fails over.
    zeta = world.callee("zeta", answering(), media_port=7000)
    world.caller("caller", calling(), "+881").done()
    zeta.done()
    assert daemon.events(type="leg.failed_over") == []
    score = sipp.Score().expect("OPTIONS").reply(200, "OK")
    world.callee("alive", score, local=world.net.carrier, port=5066, media_port=7100, calls=6)
    daemon.until_event("trunk.up", trunk="acme")
    daemon.idle()


def test_row_15_a_line_that_is_full_takes_no_further_call_and_is_empty_afterwards(world):
    def change(config):
        grouped(world)(config)
        config["trunks"]["zeta"]["limits"] = {"bandwidth_max": 100}
        config["routes"].insert(0, {"name": "zeta", "from": "any", "prefix": "+87", "to": {"trunk": "zeta"}})

    daemon = world.start(change)
    zeta = world.callee("zeta", answering(), media_port=7000)
    first = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(2000).bye().expect(200)
    first = world.caller("first", first, "+871")
    daemon.until_event("leg.answered", 2)
    (line,) = [trunk for trunk in daemon.status()["trunks"] if trunk["name"] == "zeta"]
    assert (line["kbps"], line["kbps_max"]) == (80, 100), line
    assert "80 of 100 kbit/s" in daemon.tool("status")[1]
    full = sipp.Score().invite(sipp.sdp()).hear(100).expect(503).ack(failure=True)
    world.caller("second", full, "+872", port=5070, media_port=6200).done()
    (limited,) = daemon.until_event("trunk.limited")
    assert (limited["trunk"], limited["data"]["limit"], limited["data"]["max"]) == ("zeta", "bandwidth_max", 100), limited
    first.done()
    zeta.done()
    daemon.idle()
    assert [trunk["kbps"] for trunk in daemon.status()["trunks"]] == [0, 0]


def test_row_17_overload_control_is_spoken_both_ways(world):
    """RFC 7339: we say how it stands to a trunk that asks, and a trunk that wants fewer calls gets fewer; emergency calls are not among them."""

    def change(config):
        grouped(world)(config)
        config["trunks"]["acme"]["overload_control"] = True
        config["realms"]["carrier"]["emergency"] = ["+88112"]

    daemon = world.start(change)
    asks = ';oc;oc-algo="loss"'
    caller, acme, zeta = sip.Raw(world.net.other_carrier, 5061), sip.Raw(world.net.carrier, 5066), sip.Raw(world.net.other_carrier)
    body = "\r\n".join(["v=0", f"o=- 1 1 IN IP4 {caller.local}", "s=-", f"c=IN IP4 {caller.local}", "t=0 0", "m=audio 4000 RTP/AVP 0", ""])

    def call(to, takes, said=None):
        """Who takes it is busy, and says `said` of its load."""
        invite = caller.request("INVITE", f"sip:{to}@{world.net.box_carrier}", ("Content-Type: application/sdp",), body).replace(";rport", f"{asks};rport", 1)
        caller.send(invite, world.net.box_carrier)
        while not (got := takes.receive()).startswith("INVITE"):
            pass
        assert (asks in sip.header(got, "Via")) == (takes is acme)
        rows = [f"{name}: {sip.header(got, name)}" + (";tag=busy" if name == "To" else "") for name in ("Via", "From", "To", "Call-ID", "CSeq")]
        answer = "\r\n".join(["SIP/2.0 486 Busy Here", *rows, "Content-Length: 0", "", ""])
        takes.send(answer.replace(asks, said, 1) if said else answer, world.net.box_carrier)
        final = caller.final()
        assert sip.status(final) == 486
        return sip.header(final, "Via")

    via = call("+881", acme, ';oc=100;oc-algo="loss";oc-validity=60000;oc-seq=1.5')
    assert ';oc=0;oc-algo="loss";oc-validity=0;oc-seq=' in via and asks not in via, via
    call("+882", zeta)
    call("+88112", acme, ';oc=0;oc-algo="loss";oc-validity=0;oc-seq=2.5')
    call("+883", acme)
    (spared,) = daemon.until_event("trunk.overloaded", trunk="acme")
    assert (spared["data"]["percent"], spared["data"]["calls"]) == (100, 1)
    for raw in (caller, acme, zeta):
        raw.close()
    daemon.idle()


def test_row_5_a_bye_goes_to_the_next_address_when_the_first_is_out_of_service(world):
    def change(config):
        config["trunks"]["acme"]["address"] = [f"{world.net.carrier}:5060", f"{world.net.carrier}:5066"]

    world.start(change)
    phone = world.phone("alice")
    other = sip.Raw(world.net.carrier, 5066)
    score = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().expect("BYE").reply_in_dialog(503, "Out")
    caller = world.caller("acme", score, box.NUMBER)
    phone.established()
    phone.hangup()
    bye = other.receive()
    assert bye and bye.startswith("BYE "), bye
    kept = [f"{name}: {sip.header(bye, name)}" for name in ("Via", "From", "To", "Call-ID", "CSeq")]
    other.send("\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0", "", ""]), world.net.box_carrier)
    assert other.receive(1.0) is None, "it was answered, and not sent again"
    other.close()
    caller.done()
    world.box.idle()
