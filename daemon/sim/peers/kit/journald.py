"""A real systemd-journald, without a booted systemd: in a mount namespace of its own, with its own /run. Needs root."""

import json
import subprocess
from pathlib import Path

from .process import Child
from .wait import until

SCRIPT = """
mount -t tmpfs tmpfs /run
[ ! -d /var/log/journal ] || mount -t tmpfs tmpfs /var/log/journal
mkdir -p /run/systemd/journal /run/log/journal
if [ -e "$1" ]; then
    mount -t tmpfs tmpfs /var/lib/systemd
    mkdir -p /var/lib/systemd/catalog
    mkdir -p /run/catalog
    cp "$1" /run/catalog/
    journalctl --update-catalog >/dev/null 2>&1 || true
fi
exec "$2"
"""

CATALOG = Path(__file__).resolve().parents[4] / "systemd" / "postern.catalog"


class Journald:
    def __init__(self, folder):
        program = next(p for p in ("/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald") if Path(p).exists())
        self.child = Child("journald", ["unshare", "-m", "bash", "-c", SCRIPT, "journald", CATALOG, program], folder)
        self.inside = ["nsenter", "-m", "-t", str(self.child.pid)]
        until("journald to listen", lambda: self.run("test", "-S", "/run/systemd/journal/socket").returncode == 0)

    def run(self, *command):
        return subprocess.run([*self.inside, *command], capture_output=True, text=True, timeout=20)

    def entries(self, *matches):
        done = self.run("journalctl", "--no-pager", "-o", "json", *matches)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def stop(self):
        self.child.stop()
