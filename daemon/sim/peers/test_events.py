"""The event stream, the tool, the journal, the metrics: what happened, to whoever asks."""

import json
import re

from kit import box, sipp
from kit.box import Stream
from kit.wait import until
from test_documents import OFFER, document


def some_calls(world, count=3, number=box.NUMBER_APP):
    world.app["/voice"] = document('<Gather timeout="20"/>')
    world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).expect(200).ack().pause(100).bye().expect(200), number, calls=count, rate=20).done()


def test_a_reader_resumes_without_a_hole(world):
    daemon = world.start()
    stream = Stream(daemon)
    some_calls(world)
    daemon.idle()
    until("events", lambda: len([e for e in stream.events if e.get("event") == "call.ended"]) == 3)
    seen = stream.events
    stream.close()
    ids = [int(e["id"]) for e in seen if "id" in e]
    assert ids == sorted(set(ids))
    half = ids[len(ids) // 2]
    again = Stream(daemon, last=half)
    until("the rest", lambda: [int(e["id"]) for e in again.events if "id" in e and int(e["id"]) <= ids[-1]] == [i for i in ids if i > half])
    for event in again.events:
        body = json.loads(event["data"])
        assert body["type"] == event["event"] and body["account"] == box.ACCOUNT
    again.close()


def test_a_tenant_sees_only_its_own(world):
    other = "AC" + "7" * 32
    daemon = world.start(lambda c: c["accounts"].update(second={"sid": other, "token": "second-token"}))
    some_calls(world, 1)
    daemon.idle()
    assert daemon.rest("GET", "/v1/events?last_event_id=0&follow=false", auth=(other, "second-token"))[1].count(b"call.") == 0
    assert daemon.rest("GET", "/v1/events?last_event_id=0&follow=false")[1].count(b"event: call.ended") == 1
    assert daemon.rest("GET", "/v1/events", auth=None)[0] == 401
    assert daemon.rest("GET", f"/2010-04-01/Accounts/{box.ACCOUNT}/Calls.json", auth=(other, "second-token"))[0] in (401, 403, 404)


def test_filters(world):
    daemon = world.start()
    some_calls(world, 2)
    daemon.idle()
    calls = {e["call"] for e in daemon.events(type="call.ended")}
    assert len(calls) == 2
    one = calls.pop()
    assert {e["call"] for e in daemon.events(call=one)} == {one}
    assert {e["type"] for e in daemon.events(type="call.*")} <= {"call.offered", "call.routed", "call.ended", "call.created"}


def test_a_reader_that_does_not_read_delays_nobody(world):
    daemon = world.start()
    import socket

    host, port = daemon.config["api"]["listen"].rsplit(":", 1)
    deaf = []
    for _ in range(3):
        s = socket.create_connection((host, int(port)))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        import base64

        s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Basic " + base64.b64encode(f"{box.ACCOUNT}:{box.TOKEN}".encode()) + b"\r\n\r\n")
        deaf.append(s)
    some_calls(world, 60)
    daemon.idle()
    assert daemon.status()["calls_total"] == 60
    for s in deaf:
        s.close()


def test_numbers_have_no_holes_over_a_restart(world):
    daemon = world.start()
    some_calls(world, 2)
    daemon.idle()
    last = daemon.events()[-1]["seq"]
    assert daemon.stop() == 0
    daemon.start()
    some_calls(world, 1)
    daemon.idle()
    numbers = [e["seq"] for e in daemon.events()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[-1] > last
    assert last + 1 in numbers or numbers[0] > last


def test_row_39_metrics(world):
    daemon = world.start()
    some_calls(world, 2)
    daemon.idle()
    status, body = daemon.rest("GET", "/metrics", auth=None)
    text = body.decode()
    assert status == 200
    for line in text.splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z_:][a-z0-9_:]*(\{[^}]*\})? [-+0-9.eE]+(NaN|Inf)?", line), line
    assert re.search(r"(?m)^postern_calls_total(\{[^}]*\})? 2$", text), text[:2000]


# ---- the tool ----


def test_the_tool_on_a_live_call(world):
    daemon = world.start()
    world.app["/voice"] = document('<Gather timeout="30"/>')
    run = world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).expect(200).ack().expect("BYE", within_ms=20000).reply_in_dialog(200, "OK"), box.NUMBER_APP)
    daemon.until_event("leg.answered")
    assert "edge-test" in daemon.tool("status")[1]
    assert daemon.tool("status", json_out=True)["calls"] == 1
    (call,) = daemon.live()
    assert call["sid"][:8] in daemon.tool("calls")[1]
    listed = daemon.tool("calls", json_out=True)
    assert call["sid"] in json.dumps(listed)
    ladder = daemon.tool("explain", call["sid"])[1]
    for word in ("acme", "greeting", "PCMU"):
        assert word in ladder, ladder
    assert daemon.tool("explain", call["sid"][:10])[1]
    daemon.tool("hangup", call["sid"])
    run.done()
    daemon.idle()
    ended = daemon.until_event("call.ended")
    assert ended[0]["data"]["by"] == "operator"
    # A finished one is explained as well.
    assert "operator" in daemon.tool("explain", call["sid"])[1].lower()
    assert daemon.tool("explain", "CA" + "0" * 32, check=False)[0] != 0
    lines = daemon.tool("--json", "events", "--tail", "1000", check=False)[1].splitlines()
    assert any(json.loads(line)["type"] == "call.ended" for line in lines)


def test_row_41_check_tells_every_mistake_at_once(world, tmp_path):
    from subprocess import run

    config = world.configuration()
    config["trunks"]["acme"]["realm"] = "nowhere"
    config["numbers"]["+1555"] = {"user": "nobody"}
    config["appliance"]["nmae"] = "x"
    import yaml

    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(config, sort_keys=False))
    done = run([str(box.binary("postern")), "check", str(bad)], capture_output=True, text=True)
    out = done.stdout + done.stderr
    assert done.returncode != 0
    places = re.findall(r"bad\.yaml:(\d+):(\d+)", out)
    assert len(places) >= 3, out
    assert "nowhere" in out and "nobody" in out and "did you mean" in out.lower() and "name" in out
    good = tmp_path / "good.yaml"
    good.write_text(yaml.safe_dump(world.configuration(), sort_keys=False))
    assert run([str(box.binary("postern")), "check", str(good)]).returncode == 0
    for secret in box.PASSWORDS.values():
        assert secret not in out


# ---- reload ----


def test_what_waits_for_a_restart_is_named_by_every_reload_until_then(world):
    daemon = world.start()
    daemon.config["media"]["workers"] = [1]
    daemon.write()
    daemon.tool("reload")
    daemon.config["log"]["level"] = "info"  # another change, which is applied at once
    daemon.write()
    for _ in range(2):
        assert "not before a restart: media.workers\n" in daemon.tool("reload")[1]
    daemon.config["media"]["workers"] = [0]
    daemon.write()
    assert "restart" not in daemon.tool("reload")[1], "as it was at the start"


def test_a_reload_under_a_live_call(world):
    daemon = world.start()
    world.app["/voice"] = document('<Gather timeout="30"/>')
    run = world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).expect(200).ack().pause(4000).bye().expect(200), box.NUMBER_APP)
    daemon.until_event("leg.answered")
    good = daemon.file.read_text()
    daemon.write("appliance: { name: 7\n realms: [")
    daemon.reload()
    daemon.until_event("config.refused")
    code, out = daemon.tool("reload", check=False)
    assert code != 0 and "postern.yaml:" in out, out
    daemon.write(good)
    daemon.config["numbers"]["+15551239999"] = {"trunk": "zeta"}
    daemon.write()
    assert daemon.tool("reload")[0] == 0
    assert daemon.until_event("config.applied")[-1]["data"]["by"] == "postern reload"
    assert len(daemon.live()) == 1  # the call goes on
    far = world.callee("zeta", sipp.Score().expect("INVITE").reply(486, "Busy").expect("ACK"), media_port=7000)
    world.caller("new", sipp.Score().invite(OFFER).hear(100, 180).expect(486).ack(failure=True), "+15551239999", port=5070, media_port=6200).done()
    far.done()
    run.done()
    daemon.idle()


def test_sigterm_ends_live_calls_with_a_bye(world):
    daemon = world.start()
    world.app["/voice"] = document('<Gather timeout="30"/>')
    run = world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).expect(200).ack().expect("BYE", within_ms=20000).reply_in_dialog(200, "OK"), box.NUMBER_APP)
    daemon.until_event("leg.answered")
    assert daemon.stop() == 0
    run.done()
