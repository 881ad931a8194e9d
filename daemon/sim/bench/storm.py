"""INVITEs of strangers by the ten thousand a second while others call: does a call fail, and what does a stranger's message cost?"""

import json
import os
import subprocess
import sys
from pathlib import Path

from .signaling import FAR, NEAR, Bench, Posternd
from .soak import status
from .talk import LOAD_CPU

CALLS_PER_SECOND = 200
STRANGERS_PER_SECOND = 10_000
SECONDS = 5.0
SOURCES = [(f"127.66.{n // 100}.{n % 100 + 1}", 5060) for n in range(200)]
# What the kernel drops before the daemon reads it was no trial.
SEEN_MIN = 0.95
PEERS = Path(__file__).resolve().parents[1] / "peers"
INVITE = """INVITE sip:+99{n}@{box} SIP/2.0
Via: SIP/2.0/UDP 127.66.0.1:5060;branch=z9hG4bK-storm-{n};rport
Max-Forwards: 70
From: <sip:{n}@127.66.0.1>;tag=s{n}
To: <sip:+99{n}@{box}>
Call-ID: storm-{n}
CSeq: 1 INVITE
Contact: <sip:{n}@127.66.0.1>
User-Agent: a stranger
Content-Length: 0

"""


def measure(folder, binaries, plan, say):
    bench = Bench(Posternd(folder, binaries), folder, binaries, say)
    try:
        say("storm: calls alone, then with strangers beside them")
        quiet = bench.run(CALLS_PER_SECOND, SECONDS)
        invites = [INVITE.format(n=n, box=NEAR).replace("\n", "\r\n").encode().hex() for n in range(500)]
        count = int(STRANGERS_PER_SECOND * SECONDS)
        thrown = {"sources": SOURCES, "targets": [(NEAR, 5060), (FAR, 5060)], "payloads": invites, "count": count, "rate": STRANGERS_PER_SECOND}
        file = Path(folder) / "storm.json"
        file.write_text(json.dumps(thrown))
        with subprocess.Popen([sys.executable, "-m", "kit.flood", file], cwd=PEERS, stdout=subprocess.PIPE, text=True) as strangers:
            os.sched_setaffinity(strangers.pid, {LOAD_CPU})
            try:
                busy = bench.run(CALLS_PER_SECOND, SECONDS)
                told = json.loads(strangers.communicate(timeout=SECONDS + 30)[0].splitlines()[-1])
            finally:
                strangers.kill()
        counts = status(bench.system)
        seen = counts["strangers"] + counts["banned"]
        if seen < SEEN_MIN * told["sent"]:
            raise RuntimeError(f"of {told['sent']} messages of strangers it saw {seen}: the storm was none")
        extra = busy["cpu_us_per_call"] * busy["calls"] - quiet["cpu_us_per_call"] * quiet["calls"]
        found = {"strangers_per_second": STRANGERS_PER_SECOND, "sent": told["sent"], "seen": seen, "answered": told["received"], "us_per_stranger": extra / told["sent"], "quiet": quiet, "busy": busy}
        say(f"  {told['sent']} INVITEs of strangers, {seen} seen, {told['received']} answered, {found['us_per_stranger']:.1f} us each")
        return found
    finally:
        bench.stop()


def tables(found, table):
    rows = []
    for name, key in (("alone", "quiet"), ("in the storm", "busy")):
        run = found[key]
        times = [f"{run['invite_to_180'][part] or 0:.0f}" for part in ("p50_us", "p99_us", "max_us")]
        rows.append((name, f"{run['asked_rate']:.0f}", run["failed"], *times, f"{run['used']['system_core']:.0%}"))
    return [
        "### Calls in a storm of strangers",
        f"{found['sent']} INVITEs, {found['strangers_per_second']} a second, from {len(SOURCES)} addresses that are no trunk's: {found['seen']} were read, {found['answered']} answered; each took {found['us_per_stranger']:.1f} us more than the calls alone.",
        table(("", "calls a second", "failed", "INVITE to 180 p50 us", "p99 us", "most us", "of a core"), rows),
    ]
