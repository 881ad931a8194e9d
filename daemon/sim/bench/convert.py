"""Packets that change on their way: SDES to plain, and codecs, in turn with rtpengine under the same load."""

import statistics

from . import relay, rtpengine

SRTP_LEGS = 2000
# Each party sends a packet of speech every 20 ms.
TALK_LEGS = 40
TALK_RATE = 50 * TALK_LEGS
PAIRS = (("pcma", "pcmu"), ("pcma", "g722"), ("pcma", "opus"), ("g722", "opus"))
OUR_KEY = bytes(range(30))
WARM_S = 1.5


class Ours(relay.Postern):
    def __init__(self, folder, binaries, legs, sides=("pcma", "pcma"), key=None):
        self.sides, self.key = sides, key
        self.ports = (*relay.Postern.ports, "--sides", ",".join(sides), *(("--key", key.hex()) if key else ()))
        super().__init__(folder, binaries, legs)

    def open(self, legs, *_):
        keys = [[self.key.hex()] * 2 if leg % 2 == 0 else None for leg in range(legs)] if self.key else None
        return rtpengine.aimed(super().open()["aim"], self.sides, keys)


def measure(folder, binaries, plan, say):
    say(f"SDES to plain, {SRTP_LEGS} legs")
    loads = {"flood": {"run": "flood"}, "rate": {"run": relay.RATE}}
    found = {"srtp": _in_turns(folder, binaries, SRTP_LEGS, {"key": OUR_KEY}, loads, plan, say), "srtp_legs": SRTP_LEGS, "talk_legs": TALK_LEGS}
    found["codecs"] = {}
    for sides in PAIRS:
        name = " to ".join(sides)
        say(f"transcoding {name}, {TALK_LEGS} legs that speak")
        found["codecs"][name] = _in_turns(folder, binaries, TALK_LEGS, {"sides": sides}, {"talk": {"run": TALK_RATE}}, plan, say)
    return found


def _in_turns(folder, binaries, legs, kind, loads, plan, say):
    systems = (Ours(folder, binaries, legs, **kind), rtpengine.Rtpengine(folder, **kind))
    benches = [relay.Bench(system, folder, binaries, legs) for system in systems]
    runs = {bench.system.name: {what: [] for what in loads} for bench in benches}
    try:
        for bench in benches:
            # rtpengine learns its sources for three seconds.
            bench.run({"run": min(relay.WARM_RATE, 50 * legs)}, 0.5, relay.WARM_S)
        for turn in range(plan.turns):
            for what, how in loads.items():
                for bench in benches:
                    result = bench.run(how, plan.seconds, WARM_S)
                    if result["received"] == 0:
                        say(f"  {what:5} {turn + 1}/{plan.turns} {bench.system.name:9} no packet came back: the turn does not count")
                        continue
                    runs[bench.system.name][what].append(result)
                    say(
                        f"  {what:5} {turn + 1}/{plan.turns} {bench.system.name:9} {result['cpu_ns_per_packet']:6.0f} ns a packet, "
                        f"{result['packets_per_second'] / 1000:4.1f} kpps, {result['used']['system_core']:4.0%} of a core, loss {result['loss']:.2%} "
                        f"(load {result['used']['load_core']:.0%})"
                    )
    finally:
        for bench in benches:
            bench.stop()
    return {name: {what: _summary(of) for what, of in all_of.items()} for name, all_of in runs.items()}


def _summary(runs):
    cpu = [run["cpu_ns_per_packet"] for run in runs]
    if not cpu:
        return None
    return {
        "cpu_ns_per_packet": {"median": statistics.median(cpu), "least": min(cpu), "most": max(cpu)},
        "packets_per_second": statistics.median(run["packets_per_second"] for run in runs),
        "system_core": statistics.median(run["used"]["system_core"] for run in runs),
        "loss": statistics.median(run["loss"] for run in runs),
    }
