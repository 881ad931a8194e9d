"""The control plane link against a real nats-server: nothing lost or doubled, whatever dies."""

import sqlite3
import time

from kit import box, sipp
from kit.wait import until
from test_documents import OFFER, document

STREAM = "POSTERN_EVENTS"


def load(world, name, calls, rate, **options):
    score = sipp.Score().invite(OFFER).hear(100, 180).expect(200).ack().pause(150).bye().expect(200)
    world.app["/voice"] = document('<Gather timeout="20"/>')
    return world.caller(name, score, box.NUMBER_APP, calls=calls, rate=rate, limit=200, **options)


def delivered(world, nats):
    """Waits until the spool is empty, then compares the stream with what happened: every number once."""
    daemon = world.box
    until("everything to be acknowledged", lambda: (s := daemon.status())["delivery"]["link"] == "up" and s["delivery"]["spool_waiting"] == 0, 60)
    stream = nats.messages(STREAM)
    ids = [headers.get("Nats-Msg-Id") for _, headers, _ in stream]
    assert None not in ids and len(set(ids)) == len(ids)
    return stream


def sequence(stream):
    return [int(body["sequence"]) for _, _, body in stream]


def test_events_presence_and_commands(world):
    nats = world.nats()
    daemon = world.start(nats=nats)
    daemon.until_event("link.up")
    world.register()
    load(world, "acme", 3, 10).done()
    daemon.idle()
    stream = delivered(world, nats)
    for subject, headers, body in stream:
        assert body["specversion"] == "1.0" and body["id"] == headers["Nats-Msg-Id"] and body["source"] and body["type"]
        assert subject == "postern.edge-test.events." + body["type"].removeprefix("org.postern.")
    kinds = [body["type"] for _, _, body in stream]
    assert sum(kind.endswith("call.ended") for kind in kinds) == 3
    bucket = until("presence in the bucket", lambda: nats.bucket("postern_presence"))
    assert any("alice" in key and "available" in value for key, value in bucket.items()), bucket


def test_nats_is_dead_for_a_minute_under_load_and_nothing_is_lost_or_doubled(world):
    calls, rate, away_s = 1400, 18, 60
    nats = world.nats()
    daemon = world.start(nats=nats)
    daemon.until_event("link.up")
    run = load(world, "acme", calls, rate, timeout_s=150)
    until("load to flow", lambda: daemon.status()["calls_total"] > 40)
    nats.kill()
    died, before = time.monotonic(), daemon.status()["calls_total"]
    # Calls go on all the while: every five seconds there are more of them, and the spool grows with them.
    while (away := time.monotonic() - died) < away_s:
        seen = daemon.status()
        until("load to go on", lambda seen=seen: daemon.status()["calls_total"] >= seen["calls_total"] + 5 * rate // 2, 10)
        waits = daemon.status()["delivery"]
        assert waits["link"] == "down" or away < 5, waits
        assert waits["spool_waiting"] > seen["delivery"]["spool_waiting"]
    assert run.child.running(), "the load ended before the minute"
    assert daemon.status()["calls_total"] - before > away_s * rate * 0.8
    nats.start()
    until("load to go on", lambda begun=daemon.status()["calls_total"]: daemon.status()["calls_total"] > begun + 20, 30)
    nats.stop()  # and once more, orderly, while it is catching up or has just caught up
    nats.start()
    run.done()
    assert run.counts() == (calls, 0)
    daemon.idle()
    stream = delivered(world, nats)
    numbers = sequence(stream)
    assert numbers == list(range(1, max(numbers) + 1)), "each once, in order"
    ended = [body for _, _, body in stream if body["type"].endswith("call.ended")]
    assert len(ended) == calls


def test_row_50_without_nats_at_the_start_calls_go_on_and_all_arrives_later(world):
    nats = world.nats()
    nats.stop()
    daemon = world.start(nats=nats)
    load(world, "acme", 5, 10).done()
    daemon.idle()
    assert daemon.status()["delivery"]["link"] == "down" and daemon.status()["delivery"]["spool_waiting"] > 10
    nats.start()
    numbers = sequence(delivered(world, nats))
    assert numbers == list(range(1, len(numbers) + 1))


def test_killed_in_the_middle_of_load_spool_and_store_are_whole(world):
    nats = world.nats()
    daemon = world.start(nats=nats)
    daemon.until_event("link.up")
    for round_ in range(3):
        run = load(world, f"acme{round_}", 400, 40)
        begun = daemon.status()["calls_total"]
        until("load to flow", lambda begun=begun: daemon.status()["calls_total"] > begun + 30)
        if round_ == 1:
            nats.kill()  # this time with events waiting in the spool
            until("events to wait", lambda: daemon.status()["delivery"]["spool_waiting"] > 50, 20)
        daemon.kill()
        run.stop()
        if round_ == 1:
            nats.start()
        daemon.start()
    load(world, "last", 5, 10).done()
    daemon.idle()
    stream = delivered(world, nats)
    numbers = sequence(stream)
    # Every number that was given out before a crash is there once; a number that died with the process was never told to anybody.
    assert numbers == sorted(set(numbers))
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    kinds = [body["type"] for _, _, body in stream]
    assert sum(k.endswith("appliance.started") for k in kinds) == 4
    # The store opens, is consistent, and holds the calls that the stream says ended.
    files = [p for p in (daemon.folder / "state").rglob("*") if p.suffix in (".db", ".sqlite", ".sqlite3")]
    assert files, list((daemon.folder / "state").rglob("*"))
    assert daemon.stop() == 0
    for file in files:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as store:
            assert store.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_call_is_ended_by_a_command(world):
    nats = world.nats()
    daemon = world.start(nats=nats)
    daemon.until_event("link.up")
    world.app["/voice"] = document('<Gather timeout="30"/>')
    run = world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180).expect(200).ack().expect("BYE", within_ms=20000).reply_in_dialog(200, "OK"), box.NUMBER_APP)
    daemon.until_event("leg.answered")
    (call,) = daemon.live()
    status = nats.request("postern.edge-test.command.status", {})
    assert status["ok"] and status["result"]["calls"] == 1
    assert nats.request("postern.edge-test.command.hangup", {"call": call["sid"]})["ok"]
    run.done()
    daemon.idle()
    assert not nats.request("postern.edge-test.command.hangup", {"call": call["sid"]})["ok"]
    daemon.until_event("link.command", 3)

