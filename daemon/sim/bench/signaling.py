"""Calls: posternd whole, as it is installed, between two carriers that are one program on the other core."""

import socket
import time
from pathlib import Path

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
    def __init__(self, folder, binaries):
        self.folder = Path(folder) / "posternd"
        self.folder.mkdir()
        file = self.folder / "postern.yaml"
        file.write_text(CONFIGURATION.format(folder=self.folder, near=NEAR, far=FAR, caller=CALLER, callee=CALLEE, cpu=SYSTEM_CPU))
        self.program = Program("posternd", [binaries / "posternd", "--config", file], folder, SYSTEM_CPU)
        self.pid = self.program.pid
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

    def stop(self):
        self.program.stop()


def measure(folder, binaries, plan, say):
    posternd = Posternd(folder, binaries)
    load = Program(
        "load-calls",
        [binaries / "bench_calls", "--from", CALLER, "--at", CALLEE, "--through", f"{NEAR}:5060", "--cpu", LOAD_CPU],
        folder,
    )
    try:
        load.read()

        def run(rate, seconds, lead_in=0.5):
            result = load.ask(
                {"rate": rate, "lead_in": lead_in, "seconds": seconds, "pid": posternd.pid}, seconds + lead_in + 30
            )
            say(
                f"  {rate:5.0f} calls a second: {result['cpu_us_per_call']:4.0f} us a call, {result['used']['system_core']:4.0%} of a core, "
                f"180 after p50 {result['invite_to_180']['p50_us'] or 0:.0f} us p99 {result['invite_to_180']['p99_us'] or 0:.0f} us, "
                f"{result['failed']} failed{' ' + str(result['refused']) if result['refused'] else ''} (load {result['used']['load_core']:.0%})"
            )
            return result

        say(f"signaling: holding {plan.held} calls")
        held = _hold(posternd, load, plan.held)
        say(f"  {held['resident_kb_per_call']:.1f} KB a held call, and {held['kernel_kb_per_call'] or 0:.1f} KB in the kernel")
        say("signaling: the highest rate without a failed call")
        tried = []
        best = _search(run, plan, tried)
        say("signaling: at the highest rate, half of it, and 200 calls a second")
        results = {"held": held, "tried": [_short(result) for result in tried], "highest_rate": best}
        if best:
            results["saturated"] = run(best, plan.call_seconds)
            results["half"] = run(best / 2, plan.call_seconds)
        results["low"] = run(LOW_RATE, plan.call_seconds)
        return results
    finally:
        load.stop()
        posternd.stop()


def is_good(result):
    """Every call went through, both sides agree, and calls end as fast as they begin: no queue is growing."""
    whole = result["answered_here"] == result["acked_here"] == result["ended_here"] == result["calls"]
    kept = min(result["begun_per_second"], result["completed_per_second"]) > 0.97 * result["asked_rate"]
    # Half a second without an answer, and a real caller would send its INVITE again (RFC 3261 17.1.1.2).
    in_time = (result["invite_to_180"]["max_us"] or RETRANSMISSION_US) < RETRANSMISSION_US
    return result["failed"] == 0 and whole and kept and in_time


def _search(run, plan, tried):
    low, high, rate = 0, None, 500

    def goes(rate):
        # Twice, because once may be what else this machine does.
        for _ in range(2):
            tried.append(run(rate, plan.search_seconds))
            if is_good(tried[-1]):
                return True
        return False

    while high is None and rate <= 32_000:
        if goes(rate):
            result = tried[-1]
            low = rate
            # Straight to where it should end, by what a call has cost so far.
            rate = max(int(rate * 1.25), min(rate * 2, int(0.9 * 1e6 / result["cpu_us_per_call"])))
        else:
            high = rate
    for _ in range(plan.search_steps):
        if high is None or high - low < max(100, 0.04 * low):
            break
        rate = (low + high) // 2
        low, high = (rate, high) if goes(rate) else (low, rate)
    return low


def _short(result):
    keys = ("asked_rate", "failed", "refused", "cpu_us_per_call")
    return {key: result[key] for key in keys} | {"system_core": result["used"]["system_core"]}


def _hold(posternd, load, calls):
    # A first round, ended again, so that what is set up once is not taken for a call's.
    load.ask({"hold": 100, "rate": HOLD_RATE})
    load.ask({"release": HOLD_RATE})
    time.sleep(0.5)
    before = Memory(posternd.pid)
    answer = load.ask({"hold": calls, "rate": HOLD_RATE}, 60)
    if answer["held"] != calls:
        raise RuntimeError(f"only {answer['held']} of {calls} calls were set up: {answer['refused']}\n{posternd.program.tail()}")
    time.sleep(0.5)
    after = Memory(posternd.pid)
    released = load.ask({"release": HOLD_RATE * 2}, 60)
    kernel = None if before.kernel_kb is None else (after.kernel_kb - before.kernel_kb) / calls
    return {
        "calls": calls,
        "resident_kb_before": before.resident_kb,
        "resident_kb_after": after.resident_kb,
        "resident_kb_per_call": (after.resident_kb - before.resident_kb) / calls,
        "kernel_kb_per_call": kernel,
        "failed": released["failed"],
    }
