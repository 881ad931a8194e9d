"""The box knows its machine: what a packet costs is measured at the start and told, calls remaining follow from it, and the tool measures again."""

from kit import sipp
from kit.wait import until


def test_the_cost_of_a_packet_is_measured_at_the_start_and_what_remains_is_told(world):
    def change(config):
        config["trunks"]["acme"]["calls_max"] = 2

    daemon = world.start(change)
    [told] = daemon.until_event("media.calibrated")
    found = told["data"]
    assert found["ns_per_packet"] > 100 and found["calls_per_worker"] > 10 and not found["why"], found
    status = daemon.status()
    assert abs(status["media"]["calibrated"]["us_per_packet"] * 1000 - found["ns_per_packet"]) < 1
    first = status["remaining"][0]
    assert first == {"of": "calls_max of trunk acme", "calls": 2}, status["remaining"]
    assert any(room["of"] == "CPU of the media workers" for room in status["remaining"])
    assert any(room["of"].startswith("ports of realm ") for room in status["remaining"])

    far = world.callee("zeta", sipp.Score().expect("INVITE").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply(200))
    score = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(2000).bye().expect(200)
    caller = world.caller("acme", score, "+991")
    until("a live call", lambda: daemon.status()["calls"] == 1)
    shown = daemon.tool("status")[1]
    assert "room       1 more calls; what ends first: calls_max of trunk acme" in shown, shown
    code, why = daemon.tool("bench", check=False)
    assert code == 1 and "live legs" in why, why
    caller.done()
    far.done()
    daemon.idle()

    rows = daemon.tool("bench", "--seconds", "1", json_out=True)["rows"]
    assert len(rows) == 4 and all(row["us_per_packet"] > 0.1 and row["calls_per_worker"] > 10 for row in rows), rows
