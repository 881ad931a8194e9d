"""Row 46: least cost by a table of prefixes, next by cost on failure, and the time of day."""

from kit import sipp

ROWS = "prefix,trunk,cost,schedule\n+88,acme,0.01,\n+88,zeta,0.02,\n+8899,zeta,0.5,never\n"


def tabled(world, rows=ROWS):
    """acme, which takes calls at port 5066, is the cheaper of two."""

    def change(config):
        (world.folder / "carriers.csv").write_text(rows)
        config["trunks"]["acme"].update(address=f"{world.net.carrier}:5066")
        config["schedules"] = {
            "never": {"time_zone": "Europe/Berlin", "hours": [{"days": ["holiday"]}]},
            "eve": {"time_zone": "Europe/Berlin", "hours": [{"days": ["holiday"], "from": "18:00"}], "holidays": ["2026-12-24"]},
        }
        config["tables"] = {"carriers": {"file": "carriers.csv"}}
        config["routes"].insert(0, {"name": "lcr", "from": "any", "prefix": "+88", "to": {"table": "carriers"}})
        config["routes"].insert(0, {"name": "late", "from": "any", "prefix": "+881", "schedule": "eve", "to": {"trunk": "zeta"}})

    return change


def test_row_46_the_cheapest_carrier_first_the_next_on_failure_and_routes_by_the_clock(world):
    daemon = world.start(tabled(world))
    score = sipp.Score().expect("INVITE").reply(503, "No").expect("ACK")
    cheap = world.callee("cheap", score, local=world.net.carrier, port=5066, media_port=7100)
    answering = sipp.Score().expect("INVITE").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply_in_dialog(200, "OK")
    dear = world.callee("dear", answering, media_port=7000)
    world.caller("caller", sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(200).bye().expect(200), "+889900").done()
    cheap.done()
    dear.done()
    daemon.idle()
    (routed,) = daemon.events(type="call.routed")
    assert routed["data"]["to"] == "table carriers"
    assert routed["data"]["why"].endswith("carriers has +88: trunk acme 0.01, trunk zeta 0.02"), routed
    (moved,) = daemon.events(type="leg.failed_over")
    assert (moved["data"]["from"], moved["data"]["to"]) == ("trunk acme", "trunk zeta")

    told = daemon.tool("route", "+8811", "--from", "acme", "--at", "2026-12-24T20:00+01:00")[1]
    assert "schedule eve is open: Thu 2026-12-24 20:00 Europe/Berlin" in told and "goes to trunk zeta by route late" in told, told
    told = daemon.tool("route", "+8811", "--from", "acme", "--at", "2026-12-24T17:59+01:00")[1]
    assert "goes to table carriers by route lcr" in told and "cost 0.02" in told, told
    assert daemon.tool("route", "+8811", "--at", "soon", check=False)[0] == 2


def test_a_bad_row_refuses_the_reload_and_hundreds_of_thousands_of_rows_come_with_one(world):
    daemon = world.start(tabled(world))
    (world.folder / "carriers.csv").write_text(ROWS + "+88x,acme,1,\n")
    code, told = daemon.tool("reload", check=False)
    assert code == 1 and "carriers.csv:5" in told and "`+88x` is no prefix" in told, told
    assert "trunk acme" in daemon.tool("route", "+8811", "--from", "acme", "--at", "2026-12-23T12:00Z")[1]
    with open(world.folder / "carriers.csv", "w") as file:
        file.write("prefix,trunk,cost\n")
        file.writelines(f"+88{n},zeta,0.{n % 100:02}\n" for n in range(100_000, 400_000))
    daemon.tool("reload")
    told = daemon.tool("route", "+88123456789", "--from", "acme")[1]
    assert "carriers has +88123456: trunk zeta 0.56" in told, told


def test_row_41_the_latest_calls_are_replayed_through_another_configuration(world):
    daemon = world.start(tabled(world))
    for number, status in (("+881", 404), ("+8899", 404)):
        score = sipp.Score().expect("INVITE").reply(status, "No").expect("ACK")
        callee = world.callee(f"callee{number}", score, local=world.net.carrier, port=5066, media_port=7100)
        world.caller(f"caller{number}", sipp.Score().invite(sipp.sdp()).hear(100).expect(status).ack(failure=True), number, media_port=6400).done()
        callee.done()
    daemon.idle()
    other = world.folder / "other.yaml"
    text = daemon.file.read_text()
    assert daemon.tool("diff", daemon.file, "--config", daemon.file, socket=False)[1] == "nothing changes\n"
    (world.folder / "others.csv").write_text(ROWS.replace("+88,acme", "+889,acme"))
    other.write_text(text.replace("carriers.csv", "others.csv").replace("prefix: '+88'\n", "prefix: '+88'\n  timeout: 9s\n"))
    told = daemon.tool("diff", other, "--replay", "--config", daemon.file, socket=False)[1]
    assert "routes.lcr.timeout: 30s becomes 9s" in told and "tables.carriers.file: " in told, told
    assert "of the latest 2 calls 2 would go otherwise:" in told, told
    assert "dialed +881\n  now  table carriers by route lcr: acme +881, zeta +881\n  then table carriers by route lcr: zeta +881\n" in told, told
