"""What strangers do to others: INVITEs by the ten thousand a second while calls come and go, packets by the hundred thousand at the ports of calls."""

import json
import os
import subprocess
import sys
from pathlib import Path

from . import relay
from .signaling import FAR, NEAR, Bench, Posternd
from .soak import status
from .talk import LOAD_CPU, Memory, Program

CALLS_PER_SECOND = 200
STRANGERS_PER_SECOND = 10_000
SECONDS = 5.0
SOURCES = [(f"127.66.{n // 100}.{n % 100 + 1}", 5060) for n in range(200)]
# A hundred calls with a packet each 20 ms, and what is thrown at their ports: RTP as it should be but for where it comes from.
LEGS, CALLS_RATE, PACKETS_RATE = 200, {"run": 10_000, "sleeps": True}, {"run": 200_000, "sleeps": True}
STRANGER = "127.0.0.66"
# What the kernel drops before the daemon reads it was no trial.
SEEN_MIN = 0.95
NAMES = (("alone", "quiet"), ("in the storm", "busy"))
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
    return {"calls": _calls(folder, binaries, say), "packets": _packets(folder, binaries, plan, say)}


def _packets(folder, binaries, plan, say):
    bench = relay.Bench(relay.Postern(folder, binaries, LEGS), folder, binaries, LEGS)
    strangers = Program("load-strangers", [binaries / "bench_rtp", "--legs", LEGS, "--address", STRANGER, "--port", relay.FIRST, "--cpu", LOAD_CPU], folder)
    try:
        say("storm: the audio of a hundred calls alone, then with strangers at their ports")
        strangers.read()
        strangers.ask(bench.aim)
        bench.run(CALLS_RATE, 0.5, relay.WARM_S)
        quiet = bench.run(CALLS_RATE, plan.seconds)
        before = Memory(bench.system.pid).resident_kb
        strangers.write({**PACKETS_RATE, "pid": 0, "lead_in": 0.5, "seconds": plan.seconds + relay.LEAD_IN_S})
        busy = bench.run(CALLS_RATE, plan.seconds)
        told = strangers.read()
        grown = Memory(bench.system.pid).resident_kb - before
        found = {"sent": told["sent"], "seconds": told["used"]["seconds"], "came_back": told["received"], "grown_kb": grown, "quiet": quiet, "busy": busy}
        say(f"  {told['sent']} packets of strangers, {told['received']} came back; of the calls' {busy['loss']:.2%} were lost (alone {quiet['loss']:.2%}), {grown} KB more memory")
        return found
    finally:
        strangers.stop()
        bench.stop()


def _calls(folder, binaries, say):
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
    packets, found = found["packets"], found["calls"]
    audio = []
    for name, key in NAMES:
        run = packets[key]
        audio.append((name, run["sent"], f"{run['loss']:.3%}", f"{run['latency']['p50_us']:.0f}", f"{run['latency']['p99_us']:.0f}", f"{run['used']['system_core']:.0%}"))
    rows = []
    for name, key in NAMES:
        run = found[key]
        times = [f"{run['invite_to_180'][part] or 0:.0f}" for part in ("p50_us", "p99_us", "max_us")]
        rows.append((name, f"{run['asked_rate']:.0f}", run["failed"], *times, f"{run['used']['system_core']:.0%}"))
    return [
        "### Calls in a storm of strangers",
        f"{found['sent']} INVITEs, {found['strangers_per_second']} a second, from {len(SOURCES)} addresses that are no trunk's: {found['seen']} were read, {found['answered']} answered; each took {found['us_per_stranger']:.1f} us more than the calls alone.",
        table(("", "calls a second", "failed", "INVITE to 180 p50 us", "p99 us", "most us", "of a core"), rows),
        "### Audio in a storm of strangers",
        f"{packets['sent']} packets, {packets['sent'] / packets['seconds']:.0f} a second, at the ports of {LEGS // 2} calls, by sockets: {packets['came_back']} came back, the process grew by {packets['grown_kb']} KB.",
        table(("", "packets of the calls", "lost", "p50 us", "p99 us", "of a core"), audio),
    ]
