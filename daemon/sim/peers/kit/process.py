"""Child processes: each with its output in a file, each ended by its own id, none left behind."""

import atexit
import os
import signal
import subprocess
from pathlib import Path

_alive = []


class Child:
    """A process that we started. Ends with us, whatever happens."""

    def __init__(self, name, command, folder, env=None, cwd=None, stdin=subprocess.DEVNULL):
        self.name = name
        self.command = [str(word) for word in command]
        self.output = Path(folder) / f"{name}.out"
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=subprocess.STDOUT, stdin=stdin, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True,
            )
        _alive.append(self)

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def text(self):
        return self.output.read_text(errors="replace")

    def wait(self, limit_s=30.0):
        """Its exit code. Killed when it takes longer."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {limit_s:g} s\n{tail(self.text())}") from None
        self._forget()
        return code

    def stop(self, limit_s=30.0):
        """SIGTERM, then SIGKILL when it does not listen. Returns the exit code."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._forget()
        return self.process.returncode

    def kill(self):
        """SIGKILL, to it and what it started itself."""
        if self.running():
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        self._forget()

    def _forget(self):
        if self in _alive:
            _alive.remove(self)


def tail(text, lines=40):
    return "\n".join(text.splitlines()[-lines:])


@atexit.register
def end_all():
    """Whatever a test forgot."""
    for child in list(_alive):
        child.kill()
