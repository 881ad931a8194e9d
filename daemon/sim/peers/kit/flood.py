"""A process of its own that throws datagrams: `Flood(...)` starts it, `sent()` waits for its end and tells how many.

On its own, so that the test's threads, which send and hear audio, do not wait for it.
"""

import json
import socket
import sys
import time
from itertools import cycle

from .process import Child


class Flood:
    """Sends `count` datagrams, `rate` a second, in turn from `sources` (address, port), to `targets`, of `payloads` (bytes)."""

    def __init__(self, folder, sources, targets, payloads, count, rate, name="flood"):
        plan = {"sources": sources, "targets": targets, "payloads": [p.hex() for p in payloads], "count": count, "rate": rate}
        path = folder / f"{name}.json"
        path.write_text(json.dumps(plan))
        self.child = Child(name, [sys.executable, "-m", "kit.flood", path], folder, cwd=str(__file__).rsplit("/", 2)[0])

    def sent(self, limit_s=60.0):
        assert self.child.wait(limit_s) == 0, self.child.text()
        answer = json.loads(self.child.text().splitlines()[-1])
        return answer["sent"], answer["received"]


def throw(plan):
    sockets = []
    for address, port in plan["sources"]:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((address, port))
        s.setblocking(False)
        sockets.append(s)
    work = zip(cycle(sockets), cycle(map(tuple, plan["targets"])), cycle([bytes.fromhex(p) for p in plan["payloads"]]))
    begun = time.monotonic()
    sent = 0
    for number, (s, target, payload) in zip(range(plan["count"]), work):
        if number % 20 == 0:
            time.sleep(max(0.0, begun + number / plan["rate"] - time.monotonic()))
        try:
            s.sendto(payload, target)
            sent += 1
        except OSError:  # a refused port answers here: that is what we ask for
            pass
    end = time.monotonic() + 0.3
    received = 0
    while time.monotonic() < end:
        for s in sockets:
            try:
                s.recv(65535)
                received += 1
            except OSError:
                pass
        time.sleep(0.01)
    print(json.dumps({"sent": sent, "received": received}))


if __name__ == "__main__":
    with open(sys.argv[1]) as plan_file:
        throw(json.load(plan_file))
