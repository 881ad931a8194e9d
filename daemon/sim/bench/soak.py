"""Calls that come and go for a long time: does anything stay that should go? `make soak`, SOAK_MINUTES=60, SOAK_RATE=200.

A round is half a minute of calls that end at once and some hundred that are held. Between rounds, with no call alive, memory, descriptors,
legs and ports are looked at. Nothing is written but a table and, with --json, the rounds.
"""

import argparse
import http.client
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

from . import signaling
from .talk import resident_kb

ROUND_S = 25.0
HELD = 300
# What is kept for the next calls (sockets, ports, the latest messages) has grown to its size in the first part of a soak.
SETTLED = 1 / 3
# How much more the last third may have than the second: what an allocator moves about.
GROWTH_MAX = 0.05
IDLE_WITHIN_S = 20.0


class Line(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("postern", timeout=10)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def status(system):
    line = Line(system.folder / "run" / "postern.sock")
    try:
        line.request("GET", "/v1/status")
        return json.loads(line.getresponse().read())
    finally:
        line.close()


def idle(system):
    """Waits until nothing of a call is there any more, and looks at what stays."""
    limit = time.monotonic() + IDLE_WITHIN_S
    while True:
        now = status(system)
        left = {"calls": now["calls"], "legs": now["legs"], "streams": now["media"]["streams"]}
        if not any(left.values()) or time.monotonic() > limit:
            pid = system.program.pid
            return left | {
                "resident_kb": resident_kb(pid),
                "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
                "ports_free": now["media"]["ports_free"],
                "failures": now["media"]["workers_failed"] + now["media"]["messages_lost"],
            }
        time.sleep(0.2)


def verdicts(rounds):
    """What must hold, and whether it does."""
    settled = rounds[int(len(rounds) * SETTLED) :]
    half = max(1, len(settled) // 2)
    before, after = settled[:half], settled[-half:]

    def growth(what):
        return max(each[what] for each in after) / max(each[what] for each in before) - 1

    return {
        "no call failed": sum(each["failed"] for each in rounds) == 0,
        "no call, leg or stream stayed": not any(each["calls"] or each["legs"] or each["streams"] for each in rounds),
        f"memory grew by {growth('resident_kb'):.1%}, at most {GROWTH_MAX:.0%}": growth("resident_kb") <= GROWTH_MAX,
        f"descriptors grew by {growth('descriptors'):.1%}, at most {GROWTH_MAX:.0%}": growth("descriptors") <= GROWTH_MAX,
        "every port came back": min(each["ports_free"] for each in after) >= max(each["ports_free"] for each in before),
        "no worker failed, nothing of one was lost": not any(each["failures"] for each in rounds),
    }


def main():
    words = argparse.ArgumentParser(prog="soak")
    words.add_argument("--minutes", type=float, default=float(os.environ.get("SOAK_MINUTES", 60)))
    words.add_argument("--rate", type=int, default=int(os.environ.get("SOAK_RATE", 200)), help="calls a second")
    words.add_argument("--json", action="store_true")
    words = words.parse_args()
    binaries = Path(os.environ.get("POSTERN_BIN", Path.home() / ".cache/postern/target/release"))
    say = (lambda text: print(text, file=sys.stderr, flush=True)) if words.json else (lambda text: print(text, flush=True))
    end, rounds = time.monotonic() + 60 * words.minutes, []
    with tempfile.TemporaryDirectory(prefix="postern-soak-") as folder:
        bench = signaling.Bench(signaling.Posternd(folder, binaries), folder, binaries, lambda _: None)
        try:
            while time.monotonic() < end or len(rounds) < 3:
                calls = bench.run(words.rate, ROUND_S)
                held = bench.hold(HELD)
                rounds.append({"calls_made": calls["calls"] + HELD, "failed": calls["failed"] + held["failed"], **idle(bench.system)})
                last = rounds[-1]
                left = max(0.0, end - time.monotonic()) / 60
                say(
                    f"round {len(rounds)}, {left:.0f} min left: {last['calls_made']} calls, {last['failed']} failed; then {last['resident_kb'] / 1024:.1f} MB, "
                    f"{last['descriptors']} descriptors, {last['legs']} legs, {last['ports_free']} ports free"
                )
        finally:
            bench.stop()
    found = verdicts(rounds)
    if words.json:
        print(json.dumps({"minutes": words.minutes, "rounds": rounds, "verdicts": found}, indent=1))
    for what, holds in found.items():
        say(f"{'ok    ' if holds else 'FAILED'}  {what}")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
