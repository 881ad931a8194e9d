"""A conference: what it takes to let two hundred parties hear each other. Nobody to compare with: rtpengine mixes no such rooms."""

import statistics

from . import relay

PARTIES = 200
# Everybody sends a packet each 20 ms, whether there is something to say or not.
RATE = 50 * PARTIES
# Codec, and how many speak.
ROOMS = (("pcma", 1), ("pcma", 4), ("pcma", PARTIES), ("opus", 4))
WARM_S = 1.5


class Room(relay.Postern):
    def __init__(self, folder, binaries, codec, speakers):
        self.told = {"sides": codec, "speakers": speakers}
        self.ports = (*relay.Postern.ports, "--room", "true", "--sides", codec)
        super().__init__(folder, binaries, PARTIES)

    def open(self, *_):
        return {**super().open(), **self.told}


def measure(folder, binaries, plan, say):
    found = []
    for codec, speakers in ROOMS:
        bench = relay.Bench(Room(folder, binaries, codec, speakers), folder, binaries, PARTIES)
        try:
            runs = [bench.run({"run": RATE}, plan.seconds, WARM_S) for _ in range(plan.turns)]
        finally:
            bench.stop()
        cores = [run["used"]["system_core"] for run in runs]
        found.append({
            "codec": codec, "speakers": speakers, "parties": PARTIES, "of_core": statistics.median(cores), "least": min(cores), "most": max(cores),
            "heard": statistics.median(run["received"] / run["sent"] for run in runs),
        })  # fmt: skip
        say(f"conference of {PARTIES}, {codec}, {speakers} speak: {found[-1]['of_core']:.0%} of a core, {found[-1]['heard']:.1%} of a packet heard for each said")
    return found
