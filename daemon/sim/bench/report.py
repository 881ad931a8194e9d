"""Results as tables: on the terminal and between the markers of docs/PERFORMANCE.md."""

from . import keys, parse, storm
from .relay import LONE_RATE

BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"
CALL_US_MAX = 250
# At least five times fewer than the open SBC stack (issue 4).
CALL_RATIO_MAX = 0.2
# Signaling alone (issue 4).
ALONE_US_MAX = 60
COLD_RATE = 12_000
ADDED_MAX_US = {"p50_us": 80, "p99_us": 1000}
# Of what a system can carry, when twice as much is asked of it.
GOODPUT_LOST_MAX = 0.15
# Of rsip's time.
PARSE_RATIO_MAX, PARSE_ALLOCATIONS_MAX = 1 / 3, 3
CALL_RATES = {"saturated": "at the highest rate of each", "half": "at half of it", "low": "at 200 calls a second"}
SRTP_MAX = 0.6
# Issue 3: within which a packet leaves that comes by itself.
LONE_MAX_US = 50
# A thousand calls at 100,000 packets a second: of a core.
THOUSAND_CALLS_MAX = 0.45
SYSTEMS = {"postern": "postern", "kamailio": "Kamailio, rtpengine"}
LOSS_MAX = 0.001
# Who loses more of what comes does less work for it: its cost says nothing, and no ratio is made of it.
LOSS_COMPARED = 0.1
VERDICTS = {True: "met", False: "**missed**", None: "not measured"}
NAMES = {"kernel": "postern by the kernel", "postern": "postern by sockets"}
# Issue 3 asks for more than half where there are many legs.
RELAY_MAX = {2000: 0.45, 4000: 0.40}
MACHINE_LOADS = (("flood", "flood"), ("paced", "100,000 packets a second"))


def gates(results):
    """What issue 2 asks for, and what was seen."""
    found = []

    def gate(what, value, limit, unit=""):
        found.append({"what": what, "value": value, "limit": limit, "unit": unit, "met": None if value is None else value <= limit})

    if "relay" in results:
        for entry in results["relay"]["by_legs"]:
            theirs, direct = entry["systems"]["rtpengine"], entry["direct"]
            limit = RELAY_MAX.get(entry["legs"], 0.5)
            for load, name in MACHINE_LOADS:
                by_kernel = added_ratio(entry, "kernel", load)
                gate(f"CPU a packet, {entry['legs']} legs, {name}, by the kernel, part of rtpengine's (machine)", by_kernel, limit)
            for load, name in (("flood", "flood"), ("rate", "100,000 packets a second")):
                by_sockets = ratio(entry["systems"]["postern"], theirs, load)
                gate(f"CPU a packet, {entry['legs']} legs, {name}, by sockets, part of rtpengine's (process)", by_sockets, limit)
            for system, name in (("kernel", "by the kernel"), ("postern", "by sockets")):
                ours = entry["systems"][system]
                p50 = ours["rate"]["latency_us"]["p50"] - direct["rate"]["latency_us"]["p50"]
                gate(f"p50 latency added, {entry['legs']} legs, 100,000 packets a second, {name}", p50, 1000, "us")
                gate(f"loss, {entry['legs']} legs, {name}", max(ours["flood"]["loss"], ours["rate"]["loss"]), LOSS_MAX)
            if entry["legs"] == 2000:
                of_core = added(entry, "kernel", "paced") * results["relay"]["rate"] / 1e9
                gate("1000 calls at 100,000 packets a second, by the kernel, of a core (machine)", of_core, THOUSAND_CALLS_MAX)
        alone = results["relay"]["by_legs"][0]["lone"]
        for system, name in (("kernel", "by the kernel"), ("postern", "by sockets")):
            p50 = alone[system] and alone[system]["p50"] - alone["direct"]["p50"]
            gate(f"p50 latency added to a lone packet, {name}", p50, LONE_MAX_US, "us")
        for kind, name in (("resident", "resident"), ("whole", "resident and in the kernel")):
            ours, theirs = (per_call(results["relay"], system, kind) for system in ("postern", "rtpengine"))
            if ours is not None:
                gate(f"memory a call, {name}, part of rtpengine's", ours / theirs, 0.25)
    if "convert" in results:
        srtp = results["convert"]["srtp"]
        for load, name in (("flood", "flood"), ("rate", "100,000 packets a second")):
            gate(f"CPU a packet, SDES to plain, {results['convert']['srtp_legs']} legs, {name}, part of rtpengine's (process)", convert_ratio(srtp, load), SRTP_MAX)
    if "parse" in results:
        for ours, theirs, name in (("parse", "rsip_parse", "read"), ("call", "rsip_call", "read, checked, and what a call needs of it")):
            gate(f"an INVITE of 1.2 KB {name}, part of rsip's time", results["parse"][ours]["ns"] / results["parse"][theirs]["ns"], PARSE_RATIO_MAX)
        gate("an INVITE of 1.2 KB read, pieces of memory", results["parse"]["call"]["allocations"], PARSE_ALLOCATIONS_MAX)
    if "alone" in results:
        at_most = results["alone"]["postern"].get("saturated")
        gate("CPU a call, signaling alone, at the highest rate", at_most and at_most["cpu_us_per_call"], ALONE_US_MAX, "us")
        cold = results["alone"]["postern"]["cold_rate"]
        gate(f"between two calls from a cold start, signaling alone ({COLD_RATE} a second)", cold and 1e6 / cold, 1e6 / COLD_RATE, "us")
        for part, limit in ADDED_MAX_US.items():
            gate(f"INVITE to 180 over the direct way, signaling alone, at half the highest rate, {part[:3]}", added_us(results["alone"], part), limit, "us")
    if "signaling" in results:
        twice = results["signaling"]["postern"].get("twice")
        gate("goodput lost at twice the highest rate, part of it", twice and 1 - twice["part"], GOODPUT_LOST_MAX)
        for part, limit in ADDED_MAX_US.items():
            gate(f"INVITE to 180 over the direct way, with media, at half the highest rate, {part[:3]}", added_us(results["signaling"], part), limit, "us")
        at_most = results["signaling"]["postern"].get("saturated")
        gate("CPU a call with media, at the highest rate", at_most and at_most["cpu_us_per_call"], CALL_US_MAX, "us")
        for key, name in CALL_RATES.items():
            gate(f"CPU a call with media, {name}, part of Kamailio's with rtpengine", call_ratio(results["signaling"], key), CALL_RATIO_MAX)
    if "storm" in results:
        gate("calls that failed while 10,000 INVITEs a second came from strangers", results["storm"]["calls"]["busy"]["failed"], 0)
        packets = results["storm"]["packets"]
        kpps = packets["sent"] / packets["seconds"] / 1000
        gate(f"loss in calls at whose ports {kpps:.0f} thousand packets a second came from strangers", packets["busy"]["loss"], LOSS_MAX)
    return found


def added(entry, system, load):
    """What the machine works for a packet with this system in the way, beyond what it works when the load talks to itself."""
    whole, own = (of[load]["machine_ns_per_packet"]["median"] for of in (entry["systems"][system], entry["direct"]))
    return max(whole - own, 1)


def added_ratio(entry, system, load):
    """Of what rtpengine adds; none when one of them lost too much to be compared."""
    comparable = is_compared(entry["systems"][system][load]) and is_compared(entry["systems"]["rtpengine"][load])
    return added(entry, system, load) / added(entry, "rtpengine", load) if comparable else None


def ratio(ours, theirs, load):
    """Of what theirs takes; none when one of them lost too much to be compared."""
    comparable = is_compared(ours[load]) and is_compared(theirs[load])
    return ours[load]["cpu_ns_per_packet"]["median"] / theirs[load]["cpu_ns_per_packet"]["median"] if comparable else None


def is_compared(run):
    return run["loss"] <= LOSS_COMPARED


def written(ratio):
    return "–" if ratio is None else f"{ratio:.2f}"


def per_call(relay, system, kind):
    """Kilobytes of one more call, from the fewest legs to the most: what is there once for all is no call's."""
    first, last = relay["by_legs"][0], relay["by_legs"][-1]
    calls = (last["legs"] - first["legs"]) / 2
    few, many = (entry["systems"][system]["memory"] for entry in (first, last))
    resident = (many["resident_kb_used"] - few["resident_kb_used"]) / calls
    if kind == "resident":
        return resident
    if many["kernel_kb"] is None:
        return None
    kernel = (many["kernel_kb"] - few["kernel_kb"]) / calls
    return kernel if kind == "kernel" else resident + kernel


def markdown(results):
    machine = results["machine"]
    parts = [
        f"`{results['command']}`, {machine['at']}, {results['seconds']} s: {machine['cores']} cores ({machine['cpu']}"
        f"{', a virtual machine' if machine['virtual'] else ''}), Linux {machine['kernel']}, {machine['system']}, "
        f"{machine['rustc']}, postern {machine['postern']}, rtpengine {machine['rtpengine']}, {machine['kamailio']}. "
        f"Load average before and after {machine['busy_before']:.1f} and {machine['busy_after']:.1f}, niceness of what was measured {machine['nice']}."
    ]
    if "relay" in results:
        parts += relay_tables(results["relay"])
    if "convert" in results:
        parts += convert_tables(results["convert"])
    if "conference" in results:
        parts += conference_tables(results["conference"])
    if "keys" in results:
        parts += keys.tables(results["keys"], table)
    if "churn" in results:
        parts += churn_tables(results["churn"])
    if "parse" in results:
        parts += parse.tables(results["parse"], table)
    if "alone" in results:
        parts += alone_tables(results["alone"])
    if "signaling" in results:
        parts += signaling_tables(results["signaling"])
    if "storm" in results:
        parts += storm.tables(results["storm"], table)
    rows = [
        (gate["what"], "–" if gate["value"] is None else f"{gate['value']:.3g} {gate['unit']}".strip(), f"{gate['limit']:g} {gate['unit']}".strip(), VERDICTS[gate["met"]])
        for gate in results["gates"]
    ]
    parts += ["### Gates", table(("what", "seen", "at most", ""), rows)]
    return "\n\n".join(parts)


def relay_tables(relay):
    rows = []
    for entry in relay["by_legs"]:
        for load, name in (("flood", "flood"), ("paced", f"{relay['rate'] // 1000} kpps")):
            columns = [f"{entry['direct'][load]['machine_ns_per_packet']['median']:.0f}", f"{added(entry, 'rtpengine', load):.0f}"]
            for system in ("kernel", "postern", "bare ring"):
                ours = added(entry, system, load)
                columns += [f"{ours:.0f}", f"**{written(added_ratio(entry, system, load))}**"]
            columns.append(f"{entry['systems']['kernel'][load]['packets_per_second'] / 1000:.0f}")
            rows.append((entry["legs"], name, *columns))
    machine = table(
        ("legs", "load", "direct: ns", "rtpengine: ns more", "postern by the kernel", "ratio", "postern by sockets", "ratio", "bare ring", "ratio", "by the kernel: kpps"),
        rows,
    )
    rows = []
    for entry in relay["by_legs"]:
        ours, theirs, bare = (entry["systems"][name] for name in ("postern", "rtpengine", "bare ring"))
        for load, name in (("flood", "flood"), ("rate", f"{relay['rate'] // 1000} kpps")):
            least = f"{bare[load]['cpu_ns_per_packet']['median']:.0f}", written(ratio(bare, theirs, load))
            rows.append((entry["legs"], name, *cpu(ours[load]), *cpu(theirs[load]), f"**{written(ratio(ours, theirs, load))}**", *least))
    packets = table(
        ("legs", "load", "postern: ns a packet", "kpps", "of a core", "rtpengine: ns a packet", "kpps", "of a core", "ratio", "bare ring: ns", "ratio"),
        rows,
    )
    rows = []
    for entry in relay["by_legs"]:
        direct = entry["direct"]["rate"]["latency_us"]
        rows.append((entry["legs"], "direct: the whole way", *(f"{direct[part]:.0f}" for part in ("p50", "p99", "p999")), "", ""))
        for name, system in entry["systems"].items():
            rate = system["rate"]
            more = [f"{rate['latency_us'][part] - direct[part]:.0f}" for part in ("p50", "p99", "p999")]
            rows.append((entry["legs"], NAMES.get(name, name), *more, f"{rate['loss']:.2%}", f"{system['flood']['loss']:.2%}"))
    latency = table(("legs", "system", "p50 us", "p99 us", "p99.9 us", "loss at the rate", "loss in the flood"), rows)
    rows = []
    for kind, name in (("resident", "resident"), ("kernel", "sockets in the kernel"), ("whole", "together")):
        ours, theirs = (per_call(relay, system, kind) for system in ("postern", "rtpengine"))
        if ours is not None:
            rows.append((name, f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}"))
    few = relay["by_legs"][0]["systems"]
    alone = relay["by_legs"][0]["lone"]
    rows_alone = [
        (NAMES.get(name, name), *(f"{of[part] - (alone['direct'][part] if name != 'direct' else 0):.0f}" for part in ("p50", "p99")))
        for name, of in alone.items()
        if of
    ]
    lone = table(("system", "p50 us", "p99 us"), rows_alone)
    rows.append(("resident without a call", *(f"{few[name]['memory']['resident_kb_empty']:.0f}" for name in ("postern", "rtpengine")), ""))
    memory = table(("KB a call", "postern", "rtpengine", "ratio"), rows)
    return [
        "### The relay: CPU of one packet, of the whole machine",
        machine,
        "### The relay: CPU of one packet, of the process",
        packets,
        f"### The relay: latency added at {relay['rate'] // 1000} kpps",
        "The figures are what comes on top of the direct way.",
        latency,
        "### The relay: latency added to a lone packet",
        f"{LONE_RATE} packets a second, each of which finds the system asleep; `direct` is the whole way without one.",
        lone,
        "### The relay: memory",
        memory,
    ]


def cpu(run):
    ns = run["cpu_ns_per_packet"]
    return f"{ns['median']:.0f} ({ns['least']:.0f}-{ns['most']:.0f})", f"{run['packets_per_second'] / 1000:.0f}", f"{run['system_core']:.0%}"


def convert_ratio(of, load):
    """Of what rtpengine takes for a packet."""
    ours, theirs = of["postern"][load], of["rtpengine"][load]
    return ratio({load: ours}, {load: theirs}, load) if ours and theirs else None


def convert_tables(convert):
    rows = []
    for load, name in (("flood", "flood"), ("rate", "100 kpps")):
        ours, theirs = (convert["srtp"][system][load] for system in ("postern", "rtpengine"))
        columns = [part for run in (ours, theirs) for part in (cpu(run) if run else ("–", "–", "–"))]
        rows.append((name, *columns, f"**{written(convert_ratio(convert['srtp'], load))}**"))
    srtp = table(("load", "postern: ns a packet", "kpps", "of a core", "rtpengine: ns a packet", "kpps", "of a core", "ratio"), rows)
    rows = []
    for name, of in convert["codecs"].items():
        ours, theirs = of["postern"]["talk"], of["rtpengine"]["talk"]
        calls = [f"{streams(run):.0f}" if run else "–" for run in (ours, theirs)]
        us = [f"{run['cpu_ns_per_packet']['median'] / 1000:.1f}" if run else "–" for run in (ours, theirs)]
        loss = [f"{run['loss']:.2%}" if run else "–" for run in (ours, theirs)]
        rows.append((name, calls[0], us[0], loss[0], calls[1], us[1], loss[1], f"**{written(convert_ratio(of, 'talk'))}**"))
    codecs = table(("codecs", "postern: streams a core", "us a packet", "lost", "rtpengine: streams a core", "us a packet", "lost", "ratio of us"), rows)
    return [
        f"### SDES to plain, {convert['srtp_legs']} legs: CPU of one packet, of the process",
        srtp,
        f"### Transcoding, {convert['talk_legs']} legs that speak all the time",
        "A stream is one way of a call: a packet of 20 ms in, one out.",
        codecs,
    ]


def streams(run):
    """Ways of calls that one core converts, by what a packet takes of it."""
    return 1e9 / (50 * run["cpu_ns_per_packet"]["median"])


def conference_tables(rooms):
    rows = [
        (room["codec"], room["speakers"], f"{room['of_core']:.0%} ({room['least']:.0%}-{room['most']:.0%})", f"{room['heard']:.1%}")
        for room in rooms
    ]
    return [
        f"### A conference of {rooms[0]['parties']}",
        "Each party sends a packet every 20 ms and hears all but itself.",
        table(("codec", "speak", "of a core", "packets heard for those said"), rows),
    ]


def churn_tables(churn):
    rows = []
    for name, of in churn.items():
        rows.append((name, f"{of['cpu_us_per_call']:.0f} ({of['least']:.0f}-{of['most']:.0f})", f"{of['per_second']:.0f}"))
    ratio = churn["postern"]["cpu_us_per_call"] / churn["rtpengine"]["cpu_us_per_call"]
    return [
        "### Media of calls that come and go",
        "Two legs opened, described, joined and closed. rtpengine is asked one thing at a time, so its rate is that of who asks. "
        f"A call takes **{ratio:.2f}** of rtpengine's CPU.",
        table(("", "CPU us a call", "calls a second"), rows),
    ]


def call_ratio(signaling, key):
    """Of what the open SBC takes for a call."""
    ours, theirs = (signaling[system].get(key) for system in ("postern", "kamailio"))
    return ours["cpu_us_per_call"] / theirs["cpu_us_per_call"] if ours and theirs else None


def spread_us(run):
    return f"{run['cpu_us_per_call']:.0f} ({run['cpu_us_least']:.0f}-{run['cpu_us_most']:.0f})"


def added_us(of, part):
    """What a system in between adds to the time from INVITE to 180, at half of its highest rate; none where nothing was measured."""
    ours, direct = of["postern"].get("half"), of["direct"]["half"]
    return ours["invite_to_180"][part] - direct["invite_to_180"][part] if ours and direct else None


def alone_tables(alone):
    rows = []
    for key in ("saturated", "half"):
        for system, name in (("postern", "postern"), ("kamailio", "Kamailio, a plain proxy")):
            run = alone[system].get(key)
            if run:
                us = spread_us(run)
                times = [f"{run['invite_to_180'][part] or 0:.0f}" for part in ("p50_us", "p99_us")]
                rows.append((CALL_RATES[key], name, f"{run['asked_rate']:.0f}", us, f"{run['used']['system_core']:.0%}", *times, f"{run['turns_failed']} of {run['turns']}"))
    direct = alone["direct"]["half"]
    rows.append(("at half of postern's", "the direct way", f"{direct['asked_rate']:.0f}", "", "", *(f"{direct['invite_to_180'][part]:.0f}" for part in ("p50_us", "p99_us")), ""))
    rates = ", ".join(
        f"**{alone[system]['highest_rate']}** warm and **{alone[system]['cold_rate'] or 'less than was tried'}** from a cold start ({name})"
        for system, name in (("postern", "postern"), ("kamailio", "Kamailio"))
    )
    return [
        "### Signaling alone",
        f"Highest rate without a failed call, calls a second on one core: {rates}.",
        table(("", "", "calls a second", "CPU us a call", "of a core", "INVITE to 180 p50 us", "p99 us", "turns with failed calls"), rows),
    ]


def signaling_tables(signaling):
    rows = []
    for key, name in CALL_RATES.items():
        for system, system_name in SYSTEMS.items():
            run = signaling[system].get(key)
            if run:
                times = [f"{run[which][part] or 0:.0f}" for which in ("invite_to_180", "invite_to_200") for part in ("p50_us", "p99_us")]
                us = spread_us(run)
                ratio = f"**{written(call_ratio(signaling, key))}**" if system == "postern" else ""
                rows.append((name, system_name, f"{run['asked_rate']:.0f}", us, ratio, f"{run['used']['system_core']:.0%}", *times, f"{run['turns_failed']} of {run['turns']}"))
    calls = table(("", "", "calls a second", "CPU us a call", "ratio", "of a core", "INVITE to 180 p50 us", "p99 us", "to 200 p50 us", "p99 us", "turns with failed calls"), rows)
    ours = signaling["postern"]
    split = next((ours[key] for key in ("saturated", "low") if ours.get(key)), None)
    completed = split["completed_per_second"] * split["used"]["seconds"]
    threads = sorted(split["used"]["system_ns_by_thread"].items(), key=lambda item: -item[1])
    rows = [(f"`{name}`", f"{ns / 1000 / completed:.0f}") for name, ns in threads if ns / 1000 / completed >= 1]
    held = []
    for system, name in SYSTEMS.items():
        of = signaling[system]["held"]
        kernel = "" if of["kernel_kb_per_call"] is None else f" and {of['kernel_kb_per_call']:.1f} KB in the kernel"
        held.append(f"{of['resident_kb_per_call']:.1f} KB{kernel} ({name})")
    rates = ", ".join(f"**{signaling[system]['highest_rate']}** ({name})" for system, name in SYSTEMS.items())
    twice = []
    for system, name in SYSTEMS.items():
        of = signaling[system].get("twice")
        if of:
            twice.append(f"{of['completed_per_second']:.0f} calls a second, {of['part']:.0%} of its highest ({name})")
    direct = signaling["direct"]["half"]
    return [
        "### Calls",
        f"Highest rate without a failed call, calls a second on one core: {rates}. A held call takes {', '.join(held)}; {ours['held']['calls']} were held.",
        calls,
        f"The load calls itself in p50 {direct['invite_to_180']['p50_us']:.0f} and p99 {direct['invite_to_180']['p99_us']:.0f} us to 180, at {direct['asked_rate']:.0f} calls a second. "
        f"Of twice as many calls as it can carry each carries {', '.join(twice)}.",
        f"Where it goes in postern, at {split['asked_rate']:.0f} calls a second:",
        table(("thread", "CPU us a call"), rows),
    ]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in lines)


def put(file, text):
    """Between the markers; what people wrote around them stays."""
    before, rest = file.read_text().split(BEGIN)
    after = rest.split(END)[1]
    file.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
