"""Media of calls that come and go: two legs opened, described, joined and closed; what one such call takes, and of rtpengine."""

import statistics
import time
from pathlib import Path

from . import relay, rtpengine
from .talk import SYSTEM_CPU, Program


def measure(folder, binaries, plan, say):
    say("media of calls that come and go")
    runs = {"postern": [], "rtpengine": []}
    for turn in range(plan.turns):
        for name, run in (("postern", _ours), ("rtpengine", _theirs)):
            runs[name].append(run(folder, binaries, plan.seconds))
            say(f"  {turn + 1}/{plan.turns} {name:9} {runs[name][-1]['cpu_us_per_call']:5.0f} us a call, {runs[name][-1]['per_second']:6.0f} a second")
    return {
        name: {
            "cpu_us_per_call": statistics.median(run["cpu_us_per_call"] for run in of),
            "least": min(run["cpu_us_per_call"] for run in of),
            "most": max(run["cpu_us_per_call"] for run in of),
            "per_second": statistics.median(run["per_second"] for run in of),
        }
        for name, of in runs.items()
    }


def _ours(folder, binaries, seconds):
    """One core has both: the switch's side that opens, and the worker."""
    command = [binaries / "bench_relay_host", "--legs", 0, "--peer", f"{relay.PEERS['postern']}:{relay.FIRST}", "--address", relay.Postern.address]
    program = Program("churn", [*command, *relay.Postern.ports, "--cpu", SYSTEM_CPU, "--churn", seconds], folder)
    try:
        program.read()
        program.ask("open")
        result = program.read(seconds + 30)
    finally:
        program.stop()
    return {"cpu_us_per_call": result["cpu_us_per_call"], "per_second": result["calls"] / result["seconds"]}


def _theirs(folder, _binaries, seconds):
    """One request after the other: how many a second is as much this program's doing."""
    system, calls = rtpengine.Rtpengine(folder), 0
    try:
        begin, before = time.monotonic(), 0
        while time.monotonic() < begin + 1 + seconds:
            if not before and time.monotonic() > begin + 1:
                before, calls, since = _cpu_ns(system.pid), 0, time.monotonic()
            said = {"call-id": f"call-{time.monotonic_ns()}", "from-tag": "a", "ICE": "remove"}
            system.command({"command": "offer", "sdp": rtpengine.sdp("127.0.0.5", 10_000), **said})
            system.command({"command": "answer", "to-tag": "b", "sdp": rtpengine.sdp("127.0.0.5", 10_002), **said})
            system.command({"command": "delete", "delete-delay": 0, **said})
            calls += 1
        return {"cpu_us_per_call": (_cpu_ns(system.pid) - before) / 1000 / calls, "per_second": calls / (time.monotonic() - since)}
    finally:
        system.stop()


def _cpu_ns(pid):
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))
