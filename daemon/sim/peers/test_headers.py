"""Row 2: header manipulation per trunk, both ways."""

from kit import sip, sipp


def ruled(config):
    """acme's calls bring a line identity in a header of its own; zeta is told the account and the number that was dialed, and not what we are."""
    config["headers"] = {
        "acme": {"rules": [
            {"name": "line", "for": "received_request", "methods": ["INVITE"], "header": "X-Line", "match": "line-(.*)", "replace": "$1"},
            {"name": "dialed", "for": "received_request", "methods": ["INVITE"], "header": "X-Dialed", "copy": "To", "match": "<sip:(.*?)@.*>", "replace": "$1"},
            {"name": "edge", "for": "sent_response", "methods": ["INVITE"], "header": "X-Edge", "add": "one"},
        ]},
        "zeta": {"rules": [
            {"name": "account", "for": "sent_request", "header": "X-Account", "set": "4711"},
            {"name": "nameless", "for": ["sent_request", "sent_response"], "header": "User-Agent", "remove": True},
            {"name": "reason", "for": "received_response", "header": "Reason", "match": "Q.850;cause=41(.*)", "replace": "Q.850;cause=17$1"},
        ]},
    }
    for trunk in ("acme", "zeta"):
        config["trunks"][trunk]["headers"] = trunk


def test_row_2_headers_are_changed_both_ways_by_the_rules_of_each_trunk(world):
    daemon = world.start(ruled)
    told = daemon.tool("route", "+99123", "--from", "acme")[1]
    assert "header rule dialed: X-Dialed" in told and "header rule account: X-Account" in told, told

    callee = world.callee("callee", sipp.Score().expect("INVITE", note="X-Account").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK", note="X-Account").expect("BYE").reply_in_dialog(200, "OK"))
    score = sipp.Score().invite(sipp.sdp(), headers=("X-Line: line-7",)).hear(100, 180).expect(200, note="X-Edge").ack().pause(200).bye().expect(200)
    caller = world.caller("caller", score, "+99123").done()
    callee.done()
    assert callee.noted("X-Account") == [" 4711", " 4711"] and caller.noted("X-Edge") == [" one"]
    invite, _, bye = callee.received()
    assert (sip.header(invite, "X-Line"), sip.header(invite, "X-Dialed")) == ("7", "+99123"), invite
    assert sip.header(invite, "User-Agent") is None and sip.header(bye, "X-Account") == "4711", invite + bye
    daemon.idle()
    changed = [(e["data"]["way"], e["data"]["rules"]) for e in daemon.events(type="leg.headers")]
    assert changed == [("received", "line, dialed"), ("sent", "account, nameless")]
    (offered,) = daemon.events(type="call.offered")
    call = offered["call"]
    assert "headers of the INVITE received changed by line, dialed" in daemon.tool("explain", call)[1]
    trace = daemon.tool("trace", call, "--full")[1]
    assert "X-Line: line-7" in trace and "X-Line: 7" in trace and "X-Account: 4711" in trace, trace

    # What the callee's network says of a failure is read as the rules want it.
    world.callee("refusing", sipp.Score().expect("INVITE").reply(480, "Gone", headers=("Reason: Q.850;cause=41",)).expect("ACK"))
    world.caller("refused", sipp.Score().invite(sipp.sdp()).hear(100).expect(480, note="Reason").ack(failure=True), "+99124", port=5071).done()
    daemon.idle()
    assert [e["data"]["cause"]["q850"] for e in daemon.events(type="leg.ended")][-2:] == [17, 17]


def test_row_2_a_rule_for_what_holds_a_call_together_is_refused_with_its_place(world):
    daemon = world.start()
    (world.folder / "bad.yaml").write_text(daemon.file.read_text() + "headers:\n  h:\n    rules:\n      - {name: r, for: sent_request, header: Contact, remove: true}\n")
    code, told = daemon.tool("check", world.folder / "bad.yaml", check=False, socket=False)
    assert code != 0 and "error: `Contact` holds calls together: no rule may change it" in told and "hint" in told, told
