"""A real authoritative name server: nsd, with one zone that a test may change."""

import os
import shutil
import signal
import socket
from pathlib import Path

from .process import Child
from .wait import until


class Dns:
    """The zone carrier.test. `serve` takes its lines but the SOA."""

    def __init__(self, folder, address, port=5353):
        self.folder = Path(folder) / "nsd"
        self.folder.mkdir()
        self.address, self.port = address, port
        self.serial = 0
        self.child = None
        self.zone = self.folder / "carrier.test.zone"
        rows = [
            "server:", f"  ip-address: {address}@{port}", "  do-ip6: no", '  username: ""', '  chroot: ""', '  database: ""', f'  zonesdir: "{self.folder}"',
            f'  pidfile: "{self.folder}/pid"', f'  xfrdfile: "{self.folder}/xfrd"', f'  zonelistfile: "{self.folder}/zones"', f'  xfrdir: "{self.folder}"', "  server-count: 1", "  rrl-ratelimit: 0",
            "remote-control:", "  control-enable: no",
            "zone:", '  name: "carrier.test"', f'  zonefile: "{self.zone}"',
        ]
        (self.folder / "nsd.conf").write_text("\n".join(rows) + "\n")

    def serve(self, *lines, ttl=2):
        self.serial += 1
        soa = f"@ IN SOA ns.carrier.test. admin.carrier.test. {self.serial} 3600 600 86400 {ttl}"
        self.zone.write_text("\n".join(["$ORIGIN carrier.test.", f"$TTL {ttl}", soa, "@ IN NS ns", f"ns IN A {self.address}", *lines]) + "\n")
        if self.child:
            os.kill(self.child.pid, signal.SIGHUP)
        else:
            binary = shutil.which("nsd") or "/usr/sbin/nsd"
            self.child = Child("nsd", [binary, "-d", "-c", self.folder / "nsd.conf"], self.folder)
        until("nsd to serve the zone", self._serves)
        return self

    def _serves(self):
        """Asked for the SOA, it answers with the serial of now."""
        if not self.child.running():
            raise AssertionError(f"nsd ended: {self.child.text()}")
        question = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07carrier\x04test\x00\x00\x06\x00\x01"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(0.3)
            try:
                asker.sendto(question, (self.address, self.port))
                answer = asker.recv(4096)
            except OSError:
                return False
        return len(answer) > 60 and self.serial.to_bytes(4, "big") in answer

    def stop(self):
        self.child.stop()
