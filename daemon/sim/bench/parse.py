"""An INVITE of 1.2 KB read, beside rsip in the same run: time and pieces of memory, as the example `parse_cost` of the SIP crate counts them."""

import json
import subprocess

from .talk import NICE, SYSTEM_CPU

ROWS = {
    "parse": "read",
    "check": "read and checked",
    "call": "read, checked, and what a call needs of it",
    "rsip_parse": "rsip: read",
    "rsip_call": "rsip: read, and what a call needs of it",
}


def measure(_folder, binaries, _plan, say):
    command = ["taskset", "--cpu-list", str(SYSTEM_CPU), "nice", "-n", str(NICE), binaries / "examples" / "parse_cost", "--json"]
    found = json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)
    say(f"parse: {found['call']['ns']:.0f} ns and {found['call']['allocations']:.1f} pieces of memory, rsip {found['rsip_call']['ns']:.0f} ns and {found['rsip_call']['allocations']:.1f}")
    return found


def tables(found, table):
    rows = [(name, f"{found[key]['ns']:.0f}", f"{found[key]['allocations']:.1f}") for key, name in ROWS.items()]
    return [f"### An INVITE of {found['bytes']} bytes", table(("", "ns", "pieces of memory"), rows)]
