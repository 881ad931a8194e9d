"""The relay: our media plane by sockets and by the kernel, rtpengine, and the least that sockets cost, in turn under the same load."""

import statistics

from .rtpengine import Rtpengine
from .talk import LOAD_CPU, SYSTEM_CPU, Memory, Program

RATE = 100_000
# Legs learn their sources and bind to them within seconds (rtpengine after 3 s) before anything is measured.
WARM_S = 4.5
WARM_RATE = 20_000
# After a pause a leg binds its source anew within two turns of a second.
LEAD_IN_S = 2.2
PEERS = {"postern": "127.0.0.2", "rtpengine": "127.0.0.5", "bare ring": "127.0.0.7", "direct": "127.0.0.6", "kernel": "127.0.0.9"}
# What the machine works for a packet is told by the flood and by a rate whose load sleeps between its sends: one that looks at the clock
# all the time keeps a core busy by itself. That one keeps time, and is what latency is taken from.
LOADS = {"flood": {"run": "flood"}, "rate": {"run": RATE}, "paced": {"run": RATE, "sleeps": True}}
FIRST = 10_000
# So few packets a second that each finds the system asleep.
LONE_RATE = 200


class Ours:
    """One of our programs that opens its legs when told to."""

    can_stop = True

    def __init__(self, folder, binaries, legs):
        command = [binaries / self.binary, "--legs", legs, "--peer", f"{PEERS[self.name]}:{FIRST}", "--address", self.address]
        self.program = Program(self.name.replace(" ", "-"), [*command, *self.ports, "--cpu", SYSTEM_CPU], folder)
        self.pid = self.program.pid
        self.program.read()

    def open(self, *_):
        return {"aim": [f"{self.address}:{port}" for port in self.program.ask("open")["ports"]]}

    def stop(self):
        self.program.stop()


class Postern(Ours):
    name = "postern"
    binary = "bench_relay_host"
    address = "127.0.0.3"
    ports = ("--ports", "20000-39999")


class Kernel(Postern):
    """The same with the kernel's fast path: plain packets never come to the process."""

    name = "kernel"
    address = "127.0.0.10"
    ports = ("--ports", "20000-39999", "--fast-path", "required")


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
        self.aim = system.open(legs, self.peer, FIRST)
        self.load.ask(self.aim)
        self.opened = Memory(system.pid)

    def begin(self, how, seconds, lead_in=LEAD_IN_S):
        self.system.program.wake()
        self.load.write({**how, "pid": self.system.pid, "lead_in": lead_in, "seconds": seconds})

    def end(self):
        result = self.load.read()
        if self.system.can_stop:
            self.system.program.sleep()
        return result

    def run(self, how, seconds, lead_in=LEAD_IN_S):
        self.begin(how, seconds, lead_in)
        return self.end()

    def stop(self):
        self.load.stop()
        self.system.stop()


class Direct:
    """The load aimed at itself: what of everything is its own."""

    name = "direct"

    def __init__(self, folder, binaries, legs):
        command = [binaries / "bench_rtp", "--legs", legs, "--address", PEERS[self.name], "--port", FIRST, "--cpu", LOAD_CPU]
        self.load = Program("load-direct", command, folder)
        self.load.read()
        self.load.ask({"aim": "direct"})

    def run(self, how, seconds):
        return self.load.ask({**how, "pid": 0, "lead_in": 0.5, "seconds": seconds})

    def stop(self):
        self.load.stop()


def measure(folder, binaries, plan, say):
    """Results by number of legs and system."""
    results = []
    for legs in plan.legs:
        say(f"relay, {legs} legs: opening them in both")
        benches = [
            Bench(Kernel(folder, binaries, legs), folder, binaries, legs),
            Bench(Postern(folder, binaries, legs), folder, binaries, legs),
            Bench(Rtpengine(folder), folder, binaries, legs),
            Bench(BareRing(folder, binaries, legs), folder, binaries, legs),
        ]
        direct = Direct(folder, binaries, legs)
        try:
            results.append(_measure_one(direct, benches, legs, plan, say))
            if legs == plan.legs[0]:
                results[-1]["lone"] = _measure_lone(direct, benches, plan, say)
        finally:
            for bench in (direct, *benches):
                bench.stop()
    return {"rate": RATE, "by_legs": results}


def _measure_one(direct, benches, legs, plan, say):
    all_of = {"direct": direct, **{bench.system.name: bench for bench in benches}}
    runs = {name: {what: [] for what in LOADS} for name in all_of}
    for bench in benches:
        bench.begin({"run": WARM_RATE}, 0.5, WARM_S)
    for bench in benches:
        bench.end()
    for turn in range(plan.turns):
        for what, how in LOADS.items():
            for name, bench in all_of.items():
                result = bench.run(how, plan.seconds)
                if result["received"] == 0:
                    # Told, and not taken for a figure: seen of rtpengine after long pauses.
                    say(f"  {legs} legs, {what:5} {turn + 1}/{plan.turns} {name:9} no packet came back: the turn does not count")
                    continue
                runs[name][what].append(result)
                say(
                    f"  {legs} legs, {what:5} {turn + 1}/{plan.turns} {name:9} {result['cpu_ns_per_packet']:6.0f} ns a packet, "
                    f"the machine {result['machine_ns_per_packet']:6.0f}, "
                    f"{result['packets_per_second'] / 1000:4.0f} kpps, {result['used']['system_core']:4.0%} of a core, "
                    f"p50 {result['latency']['p50_us']:.0f} us, loss {result['loss']:.2%} (load {result['used']['load_core']:.0%})"
                )
    entry = {"legs": legs, "direct": {what: summary(results) for what, results in runs["direct"].items()}, "systems": {}}
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


def _measure_lone(direct, benches, plan, say):
    """What is added to the way of a packet that comes by itself, microseconds by system; none where nothing came back."""
    found = {}
    for bench in (direct, *benches):
        name = "direct" if bench is direct else bench.system.name
        result = bench.run({"run": LONE_RATE}, plan.seconds)
        found[name] = {part: result["latency"][f"{part}_us"] for part in ("p50", "p99")} if result["received"] else None
        say(f"  lone packets, {name:9} {found[name] or 'none came back'}")
    return found


def summary(runs):
    def middle(pick):
        return statistics.median(map(pick, runs))

    cpu = [run["cpu_ns_per_packet"] for run in runs]
    machine = [run["machine_ns_per_packet"] for run in runs]
    return {
        "machine_ns_per_packet": {"median": statistics.median(machine), "least": min(machine), "most": max(machine)},
        "cpu_ns_per_packet": {"median": statistics.median(cpu), "least": min(cpu), "most": max(cpu)},
        "packets_per_second": middle(lambda run: run["packets_per_second"]),
        "system_core": middle(lambda run: run["used"]["system_core"]),
        "load_core": middle(lambda run: run["used"]["load_core"]),
        "loss": middle(lambda run: run["loss"]),
        "loss_most": max(run["loss"] for run in runs),
        "latency_us": {part: middle(lambda run, part=part: run["latency"][f"{part}_us"]) for part in ("p50", "p99", "p999")},
        "runs": runs,
    }
