"""Rows 14, 15 and 45: how numbers are written on each side, what a trunk may carry, and the calls that nothing of it holds."""

from kit import sipp


def numbered(world):
    """acme writes German national numbers and may have one call; what is +49 or 112 goes to zeta, which wants no plus."""

    def change(config):
        config["numbering"] = {
            "de": {"country": "49", "received": "e164", "rules": [{"name": "line", "for": "received_called", "match": "9(112|0\\d+)", "replace": "$1"}]},
            "plain": {"sent": "digits"},
        }
        config["realms"]["carrier"]["emergency"] = ["112"]
        config["trunks"]["acme"].update(numbering="de", limits={"calls_in": 1})
        config["trunks"]["zeta"].update(numbering="plain")
        for prefix in ("+49", "112"):
            config["routes"].insert(0, {"name": f"by{prefix.strip('+')}", "from": "any", "prefix": prefix, "to": {"trunk": "zeta"}})

    return change


def answering():
    return sipp.Score().expect("INVITE", note="To").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")


def calling(ms):
    return sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(ms).bye().expect(200)


def test_rows_14_15_45_numbers_limits_and_the_emergency_call_that_no_limit_holds(world):
    daemon = world.start(numbered(world))
    code, told = daemon.tool("route", "9030123456", "--from", "acme", "--caller", "0301")
    assert "9030123456 becomes 030123456: rule line" in told, told
    assert "030123456 becomes +4930123456: 0 is national, 49 in place of it" in told, told
    assert "goes to trunk zeta by route by49" in told and "sends 4930123456 from 49301" in told, told
    assert daemon.tool("route", "9", "--from", "nobody", check=False)[0] == 1

    first = world.callee("first", answering(), media_port=7000)
    held = world.caller("held", calling(6000), "9030123456")
    daemon.until_event("leg.answered")
    world.caller("over", sipp.Score().invite(sipp.sdp()).hear(100).expect(503).ack(failure=True), "030999", port=5071, media_port=6200).done()
    daemon.until_event("trunk.limited", trunk="acme")
    held.done()
    first.done()
    assert "sip:4930123456@" in first.noted("To")[0]

    # The limit is full again, and the emergency call passes.
    second = world.callee("second", answering(), media_port=7200, calls=2)
    held = world.caller("again", calling(5000), "030123456", port=5073, media_port=6400)
    daemon.until_event("leg.dialed", count=2)
    world.caller("emergency", calling(200), "9112", port=5074, media_port=6500).done()
    held.done()
    second.done()
    daemon.idle()
    (emergency,) = daemon.events(type="call.emergency")
    assert emergency["data"]["number"] == "9112"
    code, status = daemon.tool("status")
    assert "over its limits: 1 of its calls and 0 to it were refused" in status, status
    assert 'postern_trunk_refused_total{trunk="acme",direction="in"} 1' in daemon.get("/metrics")[1].decode()
