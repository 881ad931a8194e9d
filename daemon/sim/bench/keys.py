"""Encryption: a DTLS handshake and a packet of SRTP, of one core. Nobody to compare with: rtpengine does neither without sockets."""

import statistics

from .talk import SYSTEM_CPU, Program

HANDSHAKES, PACKETS = 200, 20_000


def measure(folder, binaries, plan, say):
    runs = []
    for _ in range(plan.turns):
        program = Program("keys", [binaries / "bench_keys", "--cpu", SYSTEM_CPU, "--handshakes", HANDSHAKES, "--packets", PACKETS], folder)
        try:
            runs.append(program.read())
        finally:
            program.stop()
    found = {side: spread([run[side] for run in runs]) for side in ("server_us", "client_us")}
    found["srtp"] = {
        suite: {way: spread([run["srtp"][suite][way] for run in runs]) for way in ("protect_ns", "open_ns")} for suite in runs[0]["srtp"]
    }
    say(f"keys: {1e6 / found['server_us']['median']:.0f} DTLS handshakes a second of a core where the peer begins, {1e6 / found['client_us']['median']:.0f} where we do")
    return found


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def tables(found, table):
    def shown(of):
        return f"{of['median']:.0f} ({of['least']:.0f}-{of['most']:.0f})"

    handshakes = [
        (name, shown(found[side]), f"{1e6 / found[side]['median']:.0f}") for name, side in (("the peer begins", "server_us"), ("we begin", "client_us"))
    ]
    packets = [(suite, shown(of["protect_ns"]), shown(of["open_ns"])) for suite, of in found["srtp"].items()]
    return [
        "### Keys: DTLS handshakes",
        table(("", "us of a core", "a second of a core"), handshakes),
        "### Keys: a packet of SRTP, 20 ms of G.711",
        table(("suite", "protected, ns", "opened, ns"), packets),
    ]
