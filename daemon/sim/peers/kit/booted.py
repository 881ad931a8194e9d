"""A booted systemd in namespaces of its own, for what can only be shown by one: the unit with all its restrictions."""

import shutil
import subprocess
from pathlib import Path

from . import box
from .process import Child
from .wait import until

REPOSITORY = Path(__file__).parents[4]
NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")


class Unavailable(Exception):
    """This machine cannot do it."""


class Booted:
    def __init__(self, folder):
        programs = Path(folder) / "programs"
        programs.mkdir()
        for name in ("posternd", "postern"):
            shutil.copy(box.binary(name), programs)
        script = Path(__file__).with_name("boot.sh")
        self.child = Child("systemd", ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "bash", script, programs], folder)
        try:
            until("systemd to be up", self._is_up, 20)
        except AssertionError as error:
            self.stop()
            raise Unavailable(f"systemd does not boot in namespaces here: {error}; {self.child.text()[-300:]}") from None

    def _is_up(self):
        if not self.child.running():
            raise AssertionError("it ended")
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()
        self.pid = children[0] if children else None
        return self.pid and self.run("systemctl is-active small.target", check=False)[1].strip() == "active"

    def run(self, script, check=True):
        """A shell's (exit code, output) inside."""
        done = subprocess.run(["nsenter", "-t", self.pid, *NAMESPACES, "bash", "-c", script], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            journal = self.run("journalctl --no-pager -o cat -n 30", check=False)[1]
            raise AssertionError(f"{script!r} ended with {done.returncode}\n{done.stdout}{done.stderr}\n{journal}")
        return done.returncode, done.stdout + done.stderr

    def stop(self):
        # Its systemd dies with it (--kill-child), and all else with the process namespace.
        self.child.kill()
