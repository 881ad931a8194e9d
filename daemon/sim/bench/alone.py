"""Signaling alone: our switch without media, records and spool, beside Kamailio as a plain stateful proxy; cold starts, and the time that it adds."""

from pathlib import Path

from . import signaling
from .kamailio import Proxy
from .talk import SYSTEM_CPU, Program

# What a start is tried at, from the rate of a warm system downwards.
COLD_STEP, COLD_TRIES = 0.85, 8
COLD_SECONDS = 2.0
# A fresh load's own sockets and pages are not what is asked for.
DIRECT_RATE = 1000


class Host:
    """The switch of the daemon on its ring (`bench_signaling_host`)."""

    name = "postern"
    caller, callee, near, far = "127.0.0.17:5060", "127.0.0.18:5060", "127.0.0.15", "127.0.0.16"

    def __init__(self, folder, binaries):
        folder = Path(folder) / "alone"
        folder.mkdir(exist_ok=True)
        file = folder / "postern.yaml"
        file.write_text(signaling.CONFIGURATION.format(folder=folder, near=self.near, far=self.far, caller=self.caller, callee=self.callee, cpu=SYSTEM_CPU))
        self.program = Program("signaling-host", [binaries / "bench_signaling_host", "--config", file, "--cpu", SYSTEM_CPU], folder)
        self.pids = [self.program.pid]
        self.program.read()

    def tail(self):
        return self.program.tail()

    def stop(self):
        self.program.stop()


def measure(folder, binaries, plan, say):
    """Results by system, and those of the direct way."""
    benches, results = [], {}
    direct = None
    try:
        for make in (Host, Proxy):
            benches.append(signaling.Bench(make(folder, binaries), folder, binaries, say))
        direct = signaling.Bench(signaling.Direct(), folder, binaries, say)
        say("signaling alone: the highest rate without a failed call")
        for bench in benches:
            bench.search(plan)
        say("signaling alone: in turns at the highest rate and half of it")
        runs = [(bench, "saturated", bench.saturated(plan.call_seconds)) for bench in benches if bench.highest]
        for _ in range(plan.turns):
            for key, part in (("saturated", 1.0), ("half", 0.5)):
                runs += [(bench, key, bench.run(part * bench.highest, plan.call_seconds)) for bench in benches if bench.highest]
            runs.append((direct, "half", direct.run(0.5 * benches[0].highest or DIRECT_RATE, plan.call_seconds)))
        for bench in benches:
            of = {key: signaling.summary([result for b, k, result in runs if b is bench and k == key]) for key in ("saturated", "half")}
            results[bench.system.name] = of | {"highest_rate": bench.highest}
        results["direct"] = {"half": signaling.summary([result for b, _, result in runs if b is direct])}
    finally:
        for bench in [*benches, direct]:
            if bench:
                bench.stop()
    say("signaling alone: the highest rate from a cold start")
    for make in (Host, Proxy):
        results[make.name]["cold_rate"] = _cold(make, results[make.name]["highest_rate"], folder, binaries, say)
    return results


def _cold(make, rate, folder, binaries, say):
    """The highest rate at which a system that has served nobody loses no call of its first seconds. None: lower than was tried."""
    for _ in range(COLD_TRIES):
        bench = signaling.Bench(make(folder, binaries), folder, binaries, say)
        try:
            if signaling.is_good(bench.run(rate, COLD_SECONDS, lead_in=0.0)):
                return round(rate)
        finally:
            bench.stop()
        rate *= COLD_STEP
    return None
