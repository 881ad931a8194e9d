"""Row 35 and records fit for a dispute: call records as files, in a chain that survives a kill and tells what was done to it."""

from kit import sipp
from kit.wait import until


def recorded(world):
    def change(config):
        config["records"] = {"formats": ["json", "csv"]}
        config["routes"].insert(0, {"name": "abroad", "from": "any", "prefix": "+88", "to": {"trunk": "zeta"}})

    return change


def call(world, name, port):
    answering = sipp.Score().expect("INVITE").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")
    callee = world.callee(f"callee-{name}", answering, media_port=7000 + port)
    calling = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(100).bye().expect(200)
    world.caller(f"caller-{name}", calling, "+881", port=5070 + port, media_port=6200 + port).done()
    callee.done()


def test_row_35_records_are_a_chain_over_a_kill_and_a_changed_one_is_named(world):
    daemon = world.start(recorded(world))
    folder = world.folder / "state" / "records"
    lines = lambda: [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]  # noqa: E731
    call(world, "one", 0)
    until("the record to be written", lambda: len(lines()) == 1)
    daemon.kill()
    daemon.start()
    call(world, "two", 10)
    until("the second record to be written", lambda: len(lines()) == 2)
    told = daemon.tool("records", "verify", folder)[1]
    assert told.count("records 1 to 2 whole") == 2, told
    assert '"entry":"abroad"' in lines()[0] and lines()[0].count('"sid":"CA') == 2, lines()[0]
    (table,) = folder.glob("*-000000000001.csv")
    assert ",route,abroad,trunk acme,trunk zeta,1,peer,200,16," in table.read_text(), table.read_text()

    (first,) = folder.glob("*-000000000001.jsonl")
    first.write_text(first.read_text().replace('"entry":"abroad"', '"entry":"home"', 1))
    code, told = daemon.tool("records", "verify", "--config", daemon.file, check=False, socket=False)
    assert code == 1 and f"{first.name}:1: record 1 was changed" in told, told
    verdict = daemon.tool("records", "verify", table, json_out=True)
    assert verdict["ok"] and verdict["chains"][0]["form"] == "csv", verdict
