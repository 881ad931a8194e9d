"""Programs that answer lines of JSON with lines of JSON, and what the kernel says of their memory."""

import atexit
import json
import os
import select
import signal
import subprocess
from pathlib import Path

SYSTEM_CPU = 0
LOAD_CPU = 1
# What is measured goes before whatever else this machine does, if we may say so. The kernel weighs sessions against each
# other by a niceness of their own (autogroups), so both are set.
NICE = -15 if os.geteuid() == 0 else 0
_alive = []


class Program:
    """A child with a line each way. Ends with us, whatever happens."""

    def __init__(self, name, command, folder, cpu=None):
        self.name = name
        self.log = Path(folder) / f"{name}.log"
        command = ["nice", "-n", str(NICE), *map(str, command)]
        if cpu is not None:
            command = ["taskset", "--cpu-list", str(cpu), *command]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self.pid = self.process.pid
        session = Path(f"/proc/{self.pid}/autogroup")
        if NICE and session.exists():
            session.write_text(str(NICE))
        self._rest = b""
        _alive.append(self)

    def read(self, limit_s=60.0):
        while b"\n" not in self._rest:
            if not select.select([self.process.stdout], [], [], limit_s)[0]:
                raise TimeoutError(f"{self.name} said nothing for {limit_s:g} s\n{self.tail()}")
            more = os.read(self.process.stdout.fileno(), 1 << 20)
            if not more:
                raise RuntimeError(f"{self.name} ended\n{self.tail()}")
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def write(self, said):
        self.process.stdin.write(json.dumps(said).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, said, limit_s=60.0):
        self.write(said)
        return self.read(limit_s)

    def sleep(self):
        """Stopped while another has its turn."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self):
        os.kill(self.pid, signal.SIGCONT)

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def stop(self, limit_s=20.0):
        if self.process.poll() is None:
            self.wake()
            self.process.stdin.close()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self in _alive:
            _alive.remove(self)


@atexit.register
def end_all():
    for program in list(_alive):
        program.process.kill()
        program.process.wait()


def resident_kb(pid, which="Rss:"):
    """Resident set of a process; by `Pss:` its part of it, where processes share memory."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1])
    raise RuntimeError(f"no {which} of {pid}")


# What a UDP socket costs in the kernel: itself, its inode, its file, its entry in a poll set, an armed receive of io_uring.
SOCKET_CACHES = {"UDP", "UDPv6", "sock_inode_cache", "filp", "eventpoll_epi", "io_kiocb"}


def kernel_kb():
    """Memory of sockets in the kernel's caches, of the whole machine; None when we may not see it."""
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()
    except PermissionError:
        return None
    words = (line.split() for line in lines)
    return sum(int(row[1]) * int(row[3]) for row in words if row[0] in SOCKET_CACHES) / 1024


class Memory:
    """Readings of a process and the kernel, to be compared."""

    def __init__(self, pid):
        self.resident_kb = resident_kb(pid)
        self.shared_kb = resident_kb(pid, "Pss:")
        self.kernel_kb = kernel_kb()
