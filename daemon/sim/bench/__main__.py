"""Runs everything, prints it, writes docs/performance.json and the figures in docs/PERFORMANCE.md.

make bench [ARGS='--quick']   --quick: about a minute, fewer legs and repetitions, nothing is written into docs
                              --only PART: one of relay, convert, conference, keys, churn, parse, alone, signaling, storm; nothing is written into docs
                              --gates: exit 1 when a gate is missed
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from . import alone, churn, conference, convert, keys, machine, parse, relay, report, signaling, storm

FULL = SimpleNamespace(legs=[200, 2000, 4000], turns=3, seconds=2.0, held=2000, search_seconds=2.0, search_steps=5, call_seconds=5.0)
QUICK = SimpleNamespace(legs=[200, 2000], turns=1, seconds=1.5, held=500, search_seconds=1.0, search_steps=2, call_seconds=1.5)
# In the order in which they are measured.
PARTS = {
    "relay": relay,
    "convert": convert,
    "conference": conference,
    "keys": keys,
    "churn": churn,
    "parse": parse,
    "alone": alone,
    "signaling": signaling,
    "storm": storm,
}
DOCS = Path(__file__).resolve().parents[3] / "docs"


def main():
    words = argparse.ArgumentParser(prog="bench", usage=__doc__)
    words.add_argument("--quick", action="store_true")
    words.add_argument("--only", choices=PARTS)
    words.add_argument("--gates", action="store_true")
    words = words.parse_args()
    binaries = Path(os.environ.get("POSTERN_BIN", Path.home() / ".cache/postern/target/release"))
    plan = QUICK if words.quick else FULL
    began = time.monotonic()

    def say(text):
        print(f"[{time.monotonic() - began:4.0f} s] {text}", flush=True)

    results = {"command": "make bench" + (" ARGS=--quick" if words.quick else ""), "machine": machine.describe()}
    failed = []
    with tempfile.TemporaryDirectory(prefix="postern-bench-") as folder:
        for name, part in PARTS.items():
            if words.only not in (None, name):
                continue
            try:
                results[name] = part.measure(folder, binaries, plan, say)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                # What the others measure for minutes is not lost with it.
                failed.append(name)
                say(f"{name} was not measured: {error}")
    results["machine"]["busy_after"] = os.getloadavg()[0]
    results["seconds"] = round(time.monotonic() - began)
    results["gates"] = report.gates(results)
    text = report.markdown(results)
    print("\n" + text)
    if failed:
        say(f"nothing was written: {', '.join(failed)} failed")
    elif words.quick or words.only:
        say("nothing was written: docs have the figures of whole runs")
    else:
        (DOCS / "performance.json").write_text(json.dumps(results, indent=1) + "\n")
        report.put(DOCS / "PERFORMANCE.md", text)
        say("docs/performance.json and docs/PERFORMANCE.md are written")
    missed = [gate for gate in results["gates"] if gate["met"] is False]
    return 1 if failed or (missed and words.gates) else 0


if __name__ == "__main__":
    sys.exit(main())
