"""The relay: our media plane, rtpengine, and the least that sockets cost, in turn under the same load."""

import statistics

from .rtpengine import Rtpengine
from .talk import LOAD_CPU, SYSTEM_CPU, Memory, Program

RATE = 100_000
# Legs learn their sources and bind to them within seconds (rtpengine after 3 s) before anything is measured.
WARM_S = 4.5
WARM_RATE = 20_000
# After a pause a leg binds its source anew within two turns of a second.
LEAD_IN_S = 2.2
PEERS = {"postern": "127.0.0.2", "rtpengine": "127.0.0.5", "bare ring": "127.0.0.7"}
FIRST = 10_000


class Ours:
    """One of our programs that opens its legs when told to."""

    def __init__(self, folder, binaries, legs):
        command = [binaries / self.binary, "--legs", legs, "--peer", f"{PEERS[self.name]}:{FIRST}", "--address", self.address]
        self.program = Program(self.name.replace(" ", "-"), [*command, *self.ports, "--cpu", SYSTEM_CPU], folder)
        self.pid = self.program.pid
        self.program.read()

    def open(self, *_):
        return [f"{self.address}:{port}" for port in self.program.ask("open")["ports"]]

    def stop(self):
        self.program.stop()


class Postern(Ours):
    name = "postern"
    binary = "bench_relay_host"
    address = "127.0.0.3"
    ports = ("--ports", "20000-39999")


class BareRing(Ours):
    """Receives and sends and does nothing else: what a relay by sockets takes in the kernel on this machine."""

    name = "bare ring"
    binary = "bench_bare_relay"
    address = "127.0.0.8"
    ports = ("--port", "20000")


class Bench:
    """One system with its own load, for one number of legs."""

    def __init__(self, system, folder, binaries, legs):
        self.system = system
        self.peer = PEERS[system.name]
        self.load = Program(
            f"load-{system.program.name}",
            [binaries / "bench_rtp", "--legs", legs, "--address", self.peer, "--port", FIRST, "--cpu", LOAD_CPU],
            folder,
        )
        self.load.read()
        self.empty = Memory(system.pid)
        self.load.ask({"aim": system.open(legs, self.peer, FIRST)})
        self.opened = Memory(system.pid)

    def begin(self, what, seconds, lead_in=LEAD_IN_S):
        self.system.program.wake()
        self.load.write({"run": what, "pid": self.system.pid, "lead_in": lead_in, "seconds": seconds})

    def end(self):
        result = self.load.read()
        self.system.program.sleep()
        return result

    def run(self, what, seconds):
        self.begin(what, seconds)
        return self.end()

    def stop(self):
        self.load.stop()
        self.system.stop()


def measure(folder, binaries, plan, say):
    """Results by number of legs and system."""
    direct = _direct(folder, binaries, plan, say)
    results = []
    for legs in plan.legs:
        say(f"relay, {legs} legs: opening them in both")
        benches = [
            Bench(Postern(folder, binaries, legs), folder, binaries, legs),
            Bench(Rtpengine(folder), folder, binaries, legs),
            Bench(BareRing(folder, binaries, legs), folder, binaries, legs),
        ]
        try:
            results.append(_measure_one(benches, legs, plan, say))
        finally:
            for bench in benches:
                bench.stop()
    return {"rate": RATE, "direct": direct, "by_legs": results}


def _measure_one(benches, legs, plan, say):
    runs = {bench.system.name: {"flood": [], "rate": []} for bench in benches}
    for bench in benches:
        bench.begin(WARM_RATE, 0.5, WARM_S)
    for bench in benches:
        bench.end()
    for turn in range(plan.turns):
        for what in ("flood", "rate"):
            for bench in benches:
                name = bench.system.name
                result = bench.run(RATE if what == "rate" else "flood", plan.seconds)
                runs[name][what].append(result)
                say(
                    f"  {legs} legs, {what:5} {turn + 1}/{plan.turns} {name:9} {result['cpu_ns_per_packet']:6.0f} ns a packet, "
                    f"{result['packets_per_second'] / 1000:4.0f} kpps, {result['used']['system_core']:4.0%} of a core, "
                    f"p50 {result['latency']['p50_us']:.0f} us, loss {result['loss']:.2%} (load {result['used']['load_core']:.0%})"
                )
    entry = {"legs": legs, "systems": {}}
    for bench in benches:
        used = Memory(bench.system.pid)
        entry["systems"][bench.system.name] = {
            "memory": {
                "resident_kb_empty": bench.empty.resident_kb,
                "resident_kb_opened": bench.opened.resident_kb,
                "resident_kb_used": used.resident_kb,
                "kernel_kb": None if bench.empty.kernel_kb is None else bench.opened.kernel_kb - bench.empty.kernel_kb,
            },
            **{what: summary(results) for what, results in runs[bench.system.name].items()},
        }
    return entry


def summary(runs):
    def middle(pick):
        return statistics.median(map(pick, runs))

    cpu = [run["cpu_ns_per_packet"] for run in runs]
    return {
        "cpu_ns_per_packet": {"median": statistics.median(cpu), "least": min(cpu), "most": max(cpu)},
        "packets_per_second": middle(lambda run: run["packets_per_second"]),
        "system_core": middle(lambda run: run["used"]["system_core"]),
        "load_core": middle(lambda run: run["used"]["load_core"]),
        "loss": middle(lambda run: run["loss"]),
        "loss_most": max(run["loss"] for run in runs),
        "latency_us": {part: middle(lambda run, part=part: run["latency"][f"{part}_us"]) for part in ("p50", "p99", "p999")},
        "runs": runs,
    }


def _direct(folder, binaries, plan, say):
    """The way without a relay: what of the latency is the load's own."""
    legs = plan.legs[0]
    load = Program("load-direct", [binaries / "bench_rtp", "--legs", legs, "--address", "127.0.0.6", "--port", FIRST, "--cpu", LOAD_CPU], folder)
    try:
        load.read()
        load.ask({"aim": "direct"})
        result = load.ask({"run": RATE, "pid": 0, "lead_in": 0.5, "seconds": plan.seconds})
        say(f"  without a relay: p50 {result['latency']['p50_us']:.0f} us, p99 {result['latency']['p99_us']:.0f} us")
        return result
    finally:
        load.stop()
