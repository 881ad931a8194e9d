"""The Debian package in real Debian systems: booted in containers, installed, used, upgraded, removed, purged.

What runs here is the unit itself with all its restrictions, under the systemd of that release. Needs root, systemd-nspawn and
mmdebstrap; without root it is skipped.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

IMAGE = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("CACHE", Path.home() / ".cache/postern"))
# What a server has, and what the package depends on: the containers have no network.
PACKAGES = ["systemd", "systemd-sysv", "dbus", "init-system-helpers", "libgcc-s1", "iproute2", "procps"]
SUITES = {"bookworm": ["libssl3"], "trixie": ["libssl3t64"]}

CARRIERS = """
trunks:
  acme: { realm: inside, address: 127.0.0.2:5060, codecs: [PCMU] }
  zeta: { realm: inside, address: 127.0.0.3:5060, codecs: [PCMU] }
routes:
  - { name: across, from: any, prefix: "", to: { trunk: zeta } }
"""
CALLS = 20

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers are started by root alone")


def until(what, probe, limit_s=30.0):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {limit_s:g} s: {what}")


class Machine:
    """A booted Debian system of its own: files, processes, network."""

    def __init__(self, suite, folder):
        tar = CACHE / f"debian/{suite}.tar"
        subprocess.run([IMAGE / "root-tar", suite, tar, *PACKAGES, *SUITES[suite]], check=True)
        self.root = folder / suite
        self.root.mkdir()
        subprocess.run(["tar", "-C", self.root, "-xf", tar, "--exclude=./dev/*"], check=True)
        # An empty mark says that this is the first boot; a machine in use has been through it.
        (self.root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        self.log = folder / f"{suite}.log"
        with open(self.log, "wb") as log:
            self.nspawn = subprocess.Popen(
                ["systemd-nspawn", "--register=no", "--keep-unit", "--private-network", "--console=pipe", "--boot", f"--directory={self.root}"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                # Newer releases of systemd boot on the unified hierarchy alone.
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        try:
            self.init = until("a first process", self._child)
            until("a booted system", lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"), 60)
        except BaseException:
            self.stop()
            raise

    def _child(self):
        assert self.nspawn.poll() is None, self.log.read_text(errors="replace")
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        return next((pid for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() in ("systemd", "init")), None)

    def enter(self, *words, spaces=("-a",)):
        return ["nsenter", "--target", str(self.init), *spaces, *map(str, words)]

    def run(self, *words, check=True, limit_s=120):
        done = subprocess.run(self.enter(*words), capture_output=True, text=True, timeout=limit_s)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def give(self, path, to):
        subprocess.run(["cp", path, f"{self.root}{to}"], check=True)

    def write(self, path, text, mode=0o644):
        place = Path(f"{self.root}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def read(self, path):
        return Path(f"{self.root}{path}").read_text()

    def install(self, package, *words):
        self.give(package, "/root/postern.deb")
        return self.run("dpkg", "--install", *words, "/root/postern.deb")

    def show(self, name):
        return self.run("systemctl", "show", "--value", f"--property={name}", "posternd").stdout.strip()

    def finished(self):
        """Legs in the records: two a call."""
        return len(json.loads(self.run("postern", "--json", "calls", "--finished", "1000").stdout)["calls"])

    def stop(self):
        if self.nspawn.poll() is None:
            if getattr(self, "init", None):
                self.run("systemctl", "poweroff", check=False)
            try:
                self.nspawn.wait(30)
            except subprocess.TimeoutExpired:
                os.kill(self.nspawn.pid, signal.SIGKILL)
                self.nspawn.wait()


def build(folder, version):
    done = subprocess.run([IMAGE / "deb/build", version], env={**os.environ, "CACHE": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "deb").glob(f"postern_{version}_*.deb"))


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    return [build(folder, version) for version in ("1.0", "1.1")]


@pytest.fixture(scope="module", params=list(SUITES))
def machine(request, tmp_path_factory):
    machine = Machine(request.param, tmp_path_factory.mktemp("machines"))
    yield machine
    machine.stop()


def test_the_same_commit_gives_the_same_bytes(packages, tmp_path):
    assert build(tmp_path, "1.0").read_bytes() == packages[0].read_bytes()


# The tests of one machine are its life, in this order.


def test_it_installs_and_serves_nobody_but_the_machine_itself(machine, packages):
    machine.install(packages[0])
    assert machine.run("systemctl", "is-active", "posternd").stdout.strip() == "active"
    assert machine.run("systemctl", "is-enabled", "posternd").stdout.strip() == "enabled"
    status = json.loads(machine.run("postern", "--json", "status").stdout)
    assert status["name"] == "postern" and status["delivery"]["journal_dropped"] == 0
    for line in machine.run("ss", "--no-header", "--listening", "--udp", "--tcp", "--numeric").stdout.splitlines():
        assert line.split()[4].startswith("127."), line
    assert "appliance.started" in machine.run("journalctl", "--unit=posternd", "--catalog", "--no-pager").stdout
    owner = machine.run("stat", "--format=%U:%G %a", "/etc/postern", "/etc/postern/credentials", "/var/lib/postern").stdout.split("\n")
    assert owner[:3] == ["root:postern 750", "root:root 700", "postern:postern 750"]
    user = machine.run("ps", "-o", "user=", "-p", machine.show("MainPID")).stdout.strip()
    assert user == "postern"


def test_an_edited_configuration_is_applied_and_calls_pass(machine):
    before = machine.show("MainPID")
    machine.write("/etc/postern/postern.yaml", machine.read("/etc/postern/postern.yaml") + CARRIERS)
    machine.run("systemctl", "reload", "posternd")
    assert machine.show("MainPID") == before, "reloaded, not restarted"
    # The load comes from this machine's sipp, in the other's network.
    sipp = ("sipp", "-nostdin", "-p", "5060")
    far = subprocess.Popen(machine.enter(*sipp, "-sn", "uas", "-i", "127.0.0.3", "-mi", "127.0.0.3", spaces=("--net",)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        words = ("-sn", "uac", "-i", "127.0.0.2", "-mi", "127.0.0.2", "-s", "+15551230000", "-r", "10", "-m", CALLS, "-d", "300", "-timeout", "30", "-timeout_error")
        near = subprocess.run(machine.enter(*sipp, *words, "127.0.0.1:5060", spaces=("--net",)), capture_output=True, text=True, timeout=60)
        assert near.returncode == 0, near.stdout[-3000:]
    finally:
        far.kill()
        far.wait()
    assert machine.finished() == 2 * CALLS


def test_an_upgrade_keeps_what_the_admin_wrote_and_what_was_stored(machine, packages):
    before = machine.show("MainPID")
    machine.install(packages[1])
    assert "1.1" in machine.run("dpkg-query", "--show", "postern").stdout
    until("the new one serves", lambda: machine.show("ActiveState") == "active" and machine.show("MainPID") != before)
    assert "acme" in machine.read("/etc/postern/postern.yaml")
    assert machine.finished() == 2 * CALLS, "call records outlive an upgrade"


def test_removal_keeps_the_configuration_and_purging_leaves_nothing(machine, packages):
    machine.run("dpkg", "--remove", "postern")
    assert machine.run("systemctl", "is-active", "posternd", check=False).stdout.strip() == "inactive"
    assert "acme" in machine.read("/etc/postern/postern.yaml")
    machine.run("dpkg", "--purge", "postern")
    assert machine.run("find", "/etc", "/var", "/usr", "/run", "-xdev", "-name", "*postern*").stdout == ""
    assert machine.run("systemctl", "is-system-running", check=False).stdout.strip() == "running"
    # And once more from the beginning.
    machine.install(packages[0])
    assert machine.run("systemctl", "is-active", "posternd").stdout.strip() == "active"
