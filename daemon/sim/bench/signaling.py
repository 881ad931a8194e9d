"""Calls: posternd whole, as it is installed, between two carriers that are one program on the other core."""

import socket
import tempfile
import time
from pathlib import Path

from .kamailio import OpenSbc
from .talk import LOAD_CPU, SYSTEM_CPU, Memory, Program

CALLER, CALLEE = "127.0.0.8:5060", "127.0.0.9:5060"
NEAR, FAR = "127.0.0.7", "127.0.0.10"
LOW_RATE = 200
HOLD_RATE = 500
RETRANSMISSION_US = 500_000
# Ports rest for a second instead of five, so that the port range is no limit of calls a second.
CONFIGURATION = """\
appliance: {{name: bench, state_folder: {folder}/state, runtime_folder: {folder}/run}}
realms:
  near: {{signaling: "{near}:5060", media: {{ports: 10000-59999}}}}
  far: {{signaling: "{far}:5060", media: {{ports: 10000-59999}}}}
trunks:
  left: {{realm: near, address: "{caller}"}}
  right: {{realm: far, address: "{callee}"}}
routes:
  - {{name: transit, from: {{trunk: left}}, to: {{trunk: right}}}}
media: {{workers: [{cpu}], quarantine: 1s, timeout: 1h}}
log: {{to: stderr, level: error}}
"""


class Posternd:
    name = "postern"
    caller, callee, near = CALLER, CALLEE, NEAR

    def __init__(self, folder, binaries):
        # Its own: several parts start one in the folder of a run.
        self.folder = Path(tempfile.mkdtemp(prefix="posternd-", dir=folder))
        file = self.folder / "postern.yaml"
        file.write_text(CONFIGURATION.format(folder=self.folder, near=NEAR, far=FAR, caller=CALLER, callee=CALLEE, cpu=SYSTEM_CPU))
        self.program = Program("posternd", [binaries / "posternd", "--config", file], folder, SYSTEM_CPU)
        self.pids = [self.program.pid]
        limit = time.monotonic() + 20
        while not self._answers():
            if time.monotonic() > limit or self.program.process.poll() is not None:
                raise RuntimeError(f"posternd does not start\n{self.program.tail()}")
            time.sleep(0.05)

    def _answers(self):
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(1)
            try:
                line.connect(str(self.folder / "run" / "postern.sock"))
                line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return b" 200 " in line.recv(200)
            except OSError:
                return False

    def tail(self):
        return self.program.tail()

    def stop(self):
        self.program.stop()


class Direct:
    """No system at all: the load calls itself. What a way through a system takes is told beside this."""

    name = "direct"
    caller, callee, near = "127.0.0.23:5060", "127.0.0.24:5060", "127.0.0.24"
    pids = ()

    def tail(self):
        return ""

    def stop(self):
        pass


class Bench:
    """A system and the load that calls through it."""

    def __init__(self, system, folder, binaries, say):
        self.system, self.say, self.tried, self.highest = system, say, [], 0
        command = [binaries / "bench_calls", "--from", system.caller, "--at", system.callee, "--through", f"{system.near}:5060", "--cpu", LOAD_CPU]
        self.load = Program(f"load-calls-{system.name}", command, folder)
        self.load.read()

    def run(self, rate, seconds, lead_in=0.5):
        asked = {"rate": rate, "lead_in": lead_in, "seconds": seconds, "pid": list(self.system.pids)}
        result = self.load.ask(asked, seconds + lead_in + 30)
        self.say(
            f"  {self.system.name:8} {rate:5.0f} calls a second: {result['cpu_us_per_call']:4.0f} us a call, {result['used']['system_core']:4.0%} of a core, "
            f"180 after p50 {result['invite_to_180']['p50_us'] or 0:.0f} us p99 {result['invite_to_180']['p99_us'] or 0:.0f} us, "
            f"{result['failed']} failed{' ' + str(result['refused']) if result['refused'] else ''} (load {result['used']['load_core']:.0%})"
        )
        return result

    def hold(self, calls):
        # A first round, ended again, so that what is set up once is not taken for a call's.
        self.load.ask({"hold": 100, "rate": HOLD_RATE})
        self.load.ask({"release": HOLD_RATE})
        time.sleep(0.5)
        before = [Memory(pid) for pid in self.system.pids]
        answer = self.load.ask({"hold": calls, "rate": HOLD_RATE}, 60)
        if answer["held"] != calls:
            raise RuntimeError(f"only {answer['held']} of {calls} calls were set up: {answer['refused']}\n{self.system.tail()}")
        time.sleep(0.5)
        after = [Memory(pid) for pid in self.system.pids]
        released = self.load.ask({"release": HOLD_RATE * 2}, 60)
        resident_before, resident_after = (sum(memory.shared_kb for memory in of) for of in (before, after))
        kernel = None if before[0].kernel_kb is None else (after[0].kernel_kb - before[0].kernel_kb) / calls
        held = {
            "calls": calls,
            "resident_kb_before": resident_before,
            "resident_kb_after": resident_after,
            "resident_kb_per_call": (resident_after - resident_before) / calls,
            "kernel_kb_per_call": kernel,
            "failed": released["failed"],
        }
        self.say(f"  {self.system.name:8} {held['resident_kb_per_call']:.1f} KB a held call, and {held['kernel_kb_per_call'] or 0:.1f} KB in the kernel")
        return held

    def search(self, plan):
        """The highest rate at which no call fails."""
        low, high, rate = 0, None, 500
        while high is None and rate <= 32_000:
            if self._goes(rate, plan.search_seconds):
                low = rate
                # Straight to where it should end, by what a call has cost so far.
                rate = max(int(rate * 1.25), min(rate * 2, int(0.9 * 1e6 / self.tried[-1]["cpu_us_per_call"])))
            else:
                high = rate
        for _ in range(plan.search_steps):
            if high is None or high - low < max(100, 0.04 * low):
                break
            rate = (low + high) // 2
            low, high = (rate, high) if self._goes(rate, plan.search_seconds) else (low, rate)
        self.highest = low

    def _goes(self, rate, seconds):
        # Twice, because once may be what else this machine does.
        for _ in range(2):
            self.tried.append(self.run(rate, seconds))
            if is_good(self.tried[-1]):
                return True
        return False

    def saturated(self, seconds):
        """At the highest rate, or a little below it where that does not hold for so long: a rate that some calls fail at is none."""
        while True:
            result = self.run(self.highest, seconds)
            if result["failed"] == 0 or self.highest < 200:
                return result
            self.highest = int(self.highest * 0.94)

    def stop(self):
        self.load.stop()
        self.system.stop()


def measure(folder, binaries, plan, say):
    """Results by system, and those of the direct way."""
    benches, direct = [], None
    try:
        direct = Bench(Direct(), folder, binaries, say)
        benches += [Bench(make(folder, binaries), folder, binaries, say) for make in (Posternd, OpenSbc)]
        results = {bench.system.name: {} for bench in benches}
        say(f"signaling: holding {plan.held} calls")
        for bench in benches:
            results[bench.system.name]["held"] = bench.hold(plan.held)
        say("signaling: the highest rate without a failed call")
        for bench in benches:
            bench.search(plan)
        say("signaling: in turns at the highest rate, half of it, and 200 calls a second")
        runs = [(bench, "saturated", bench.saturated(plan.call_seconds)) for bench in benches if bench.highest]
        for _ in range(plan.turns):
            for key, part in (("saturated", 1.0), ("half", 0.5), ("low", None)):
                for bench in benches:
                    rate = LOW_RATE if part is None else part * bench.highest
                    if rate:
                        runs.append((bench, key, bench.run(rate, plan.call_seconds)))
            runs.append((direct, "half", direct.run(0.5 * benches[0].highest or LOW_RATE, plan.call_seconds)))
            for bench in benches:
                if bench.highest:
                    runs.append((bench, "twice", bench.run(2 * bench.highest, plan.call_seconds)))
        for bench in benches:
            of = results[bench.system.name]
            of |= {"tried": [_short(result) for result in bench.tried], "highest_rate": bench.highest}
            of["twice"] = goodput([result for b, k, result in runs if b is bench and k == "twice"], bench.highest)
            for key in ("saturated", "half", "low"):
                of[key] = summary([result for b, k, result in runs if b is bench and k == key])
        results["direct"] = {"half": summary([result for b, _, result in runs if b is direct])}
        return results
    finally:
        for bench in [*benches, direct]:
            if bench:
                bench.stop()


def goodput(runs, highest):
    """Of twice as many calls as a system can carry: how many it carries, as a part of what it can. The run in the middle."""
    ranked = sorted(runs, key=lambda run: run["completed_per_second"])
    if not ranked:
        return None
    run = ranked[len(ranked) // 2]
    return {"asked_rate": run["asked_rate"], "completed_per_second": run["completed_per_second"], "part": run["completed_per_second"] / highest, "refused": run["refused"]}


def summary(runs):
    """The run in the middle, by CPU, and how far the others were from it. A run with failed calls counts only where all have some."""
    good = [run for run in runs if run["failed"] == 0] or runs
    ranked = sorted(good, key=lambda run: run["cpu_us_per_call"])
    if not ranked:
        return None
    least, most = ranked[0]["cpu_us_per_call"], ranked[-1]["cpu_us_per_call"]
    return ranked[(len(ranked) - 1) // 2] | {"cpu_us_least": least, "cpu_us_most": most, "turns": len(runs), "turns_failed": sum(run["failed"] > 0 for run in runs)}


def is_good(result):
    """Every call went through, both sides agree, and calls end as fast as they begin: no queue is growing."""
    whole = result["answered_here"] == result["acked_here"] == result["ended_here"] == result["calls"]
    kept = min(result["begun_per_second"], result["completed_per_second"]) > 0.97 * result["asked_rate"]
    # Half a second without an answer, and a real caller would send its INVITE again (RFC 3261 17.1.1.2).
    in_time = (result["invite_to_180"]["max_us"] or RETRANSMISSION_US) < RETRANSMISSION_US
    return result["failed"] == 0 and whole and kept and in_time


def _short(result):
    keys = ("asked_rate", "failed", "refused", "cpu_us_per_call")
    return {key: result[key] for key in keys} | {"system_core": result["used"]["system_core"]}
