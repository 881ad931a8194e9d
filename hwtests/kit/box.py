"""The box under test: a command goes in, what it said comes out. By ssh through labgrid, or the machine itself."""

import subprocess
import time


class Failed(AssertionError):
    """A command on the box did not succeed."""


class Box:
    """What every way to a box has in common. `_run` takes a shell's line, gives (output, errors, exit code)."""

    #: A switch for its power (labgrid's PowerProtocol), or None.
    power = None

    def run(self, line, check=True):
        """The output of a shell's line, without the last newline."""
        out, err, code = self._run(line)
        if check and code != 0:
            raise Failed(f"`{line}` ended with {code}:\n{out}\n{err}")
        return out.rstrip("\n")

    def succeeds(self, line):
        return self._run(line)[2] == 0

    def has(self, program):
        return self.succeeds(f"command -v {program} >/dev/null")

    def read(self, path):
        return self.run(f"cat {path}")

    def boot(self):
        """Which boot this is; None while nobody answers."""
        try:
            return self.read("/proc/sys/kernel/random/boot_id").strip()
        except Exception:  # each driver has its own errors for a box that is away
            return None

    def until(self, what, probe, limit_s):
        """Waits for `probe` to give something true; it is asked once a second."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = probe()
            if found:
                return found
            time.sleep(1)
        raise Failed(f"not within {limit_s:g} s: {what}")


class Itself(Box):
    """The machine on which the kit runs."""

    def __str__(self):
        return "this machine"

    def _run(self, line):
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=300)
        return done.stdout, done.stderr, done.returncode


class ByLabgrid(Box):
    """A labgrid target with a CommandProtocol (SSHDriver, ShellDriver); with a PowerProtocol its power can be cut."""

    def __init__(self, target):
        self.target = target
        self.command = target.get_driver("CommandProtocol")
        try:
            self.power = target.get_driver("PowerProtocol")
        except Exception:  # labgrid: none, or more than one: then there is no switch to rely on
            self.power = None

    def __str__(self):
        return f"labgrid target {self.target.name}"

    def _run(self, line):
        out, err, code = self.command.run(line, timeout=300)
        return "\n".join(out), "\n".join(err), code
