"""The appliance's disk in a virtual machine: booted, provisioned, used for calls, upgraded, rolled back, cut off.

`make test-appliance` runs it (half an hour: there is no hardware virtualisation to count on, QEMU emulates). Needs root.
"""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

IMAGE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(IMAGE.parent / "daemon/sim/peers"))
from kit.wait import until  # noqa: E402

CACHE = Path(os.environ.get("CACHE", Path.home() / ".cache/postern"))
TREE = CACHE / "image/tools"
HERE, FAR, BOX = "10.77.0.1", "10.77.0.3", "10.77.0.10"
BOOT_LIMIT_S = 600
CALLS = 5

NETWORK = f"[Match]\nType=ether\n\n[Network]\nAddress={BOX}/24\nGateway={HERE}\nLinkLocalAddressing=no\n"
YAML = f"""
appliance: {{ name: rack-7 }}
realms:
  carriers: {{ signaling: "{BOX}:5060", media: {{ addresses: [{BOX}], ports: 20000-20099 }} }}
trunks:
  acme: {{ realm: carriers, address: "{HERE}:5060", codecs: [PCMU] }}
  zeta: {{ realm: carriers, address: "{FAR}:5060", codecs: [PCMU] }}
routes:
  - {{ name: across, from: any, prefix: "", to: {{ trunk: zeta }} }}
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="images and virtual networks are made by root alone")


class Lab:
    """A network of its own, with us on one side and the box on the other."""

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], start_new_session=True)
        until("a network", lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"), 5)
        for words in ("link set lo up", "tuntap add tap0 mode tap", f"address add {HERE}/24 dev tap0", f"address add {FAR}/24 dev tap0", "link set tap0 up"):
            subprocess.run(self.enter("ip", *words.split()), check=True)

    def enter(self, *words):
        return ["nsenter", "--target", str(self.holder.pid), "--net", *map(str, words)]

    def stop(self):
        self.holder.kill()
        self.holder.wait()


class Machine:
    """A virtual machine with the appliance's disk."""

    def __init__(self, lab, folder, disk_of, seeds):
        self.lab, self.folder, self.seeds = lab, folder, seeds
        self.place = TREE / "work-vm"
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        # The disk as it would be flashed, on a larger medium; and firmware variables of its own.
        shutil.copy(disk_of, self.place / "disk.raw")
        os.truncate(self.place / "disk.raw", 6 << 30)
        shutil.copy(TREE / "usr/share/OVMF/OVMF_VARS_4M.fd", self.place / "vars.fd")
        self.key = folder / "key"
        self.qemu = None

    def start(self, *more):
        self.log = self.place / "console.log"
        self.log.unlink(missing_ok=True)
        smbios = []
        for name, text in self.seeds.items():
            smbios += ["-smbios", f"type=11,value=io.systemd.credential.binary:{name}={base64.b64encode(text.encode()).decode()}"]
        vm = "/work-vm"
        self.qemu = subprocess.Popen(
            self.lab.enter(
                IMAGE / "tools-tree", "run", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max", "-M", "q35", "-m", "1024", "-display", "none", "-monitor", "none",
                "-serial", f"file:{vm}/console.log",
                "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive", f"if=pflash,format=raw,file={vm}/vars.fd",
                "-drive", f"if=virtio,format=raw,file={vm}/disk.raw,cache=writethrough",
                "-nic", "tap,ifname=tap0,model=virtio,script=no,downscript=no",
                "-smbios", "type=1,uuid=6a1f9e0c-5d4e-4f0e-9d51-3f1c1c0b7a12", *smbios, *more,
            ),
            start_new_session=True, env={**os.environ, "CACHE": str(CACHE)},
        )

    def console(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def alive(self):
        assert self.qemu.poll() is None, "the virtual machine ended\n" + self.console()[-2000:]

    def ssh(self, *words, check=True, limit_s=120):
        done = subprocess.run(
            self.lab.enter("ssh", "-i", self.key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes", f"root@{BOX}", *words),
            capture_output=True, text=True, timeout=limit_s,
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def up(self, booted_before=None):
        """Waits until one can log in, on another boot than the one given. Its boot id."""
        def boot():
            self.alive()
            try:
                return self.ssh("cat", "/proc/sys/kernel/random/boot_id", limit_s=30).stdout.strip()
            except (AssertionError, subprocess.TimeoutExpired):
                return None
        return until("the box to be reachable", lambda: (found := boot()) and found != booted_before and found, BOOT_LIMIT_S)

    def version(self):
        return next(line.split("=")[1].strip('"') for line in self.ssh("cat", "/etc/os-release").stdout.splitlines() if line.startswith("IMAGE_VERSION"))

    def cut_power(self):
        if self.qemu and self.qemu.poll() is None:
            os.killpg(self.qemu.pid, signal.SIGKILL)
            self.qemu.wait()


def build(version, package, over=None, keys=None):
    disk = CACHE / f"image/{version}/postern_{version}.raw"
    env = {**os.environ, "CACHE": str(CACHE), "INCREMENTAL": "yes", **({"UPDATE_KEYS": str(keys)} if keys else {})}
    done = subprocess.run([IMAGE / "disk/build", version, package, *([over] if over else [])], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return disk


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    done = subprocess.run([IMAGE / "deb/build", "1.0"], env={**os.environ, "CACHE": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "deb").glob("postern_1.0_*.deb"))


@pytest.fixture(scope="session")
def signer(tmp_path_factory):
    """A key for updates: what makes signatures, and the keyring for the image."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "updates@postern.test", "ed25519", "sign"], check=True)
    keys = home / "import-pubring.gpg"
    keys.write_bytes(subprocess.run([*gpg, "--export"], check=True, capture_output=True).stdout)

    def sign(folder):
        (folder / "SHA256SUMS.gpg").unlink(missing_ok=True)
        subprocess.run([*gpg, "--detach-sign", "--output", folder / "SHA256SUMS.gpg", folder / "SHA256SUMS"], check=True)

    sign.keys = keys
    return sign


@pytest.fixture(scope="module")
def box(package, signer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("box")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
    seeds = {"postern.yaml": YAML, "postern.authorized_keys": (folder / "key.pub").read_text(), "postern.network": NETWORK}
    disk = build("0.1.0", package, keys=signer.keys)
    lab = Lab()
    machine = Machine(lab, folder, disk, seeds)
    yield machine
    machine.cut_power()
    lab.stop()


# The tests of one box are its life, in this order.


def test_it_boots_provisioned_and_every_unit_is_well(box):
    box.start()
    box.up()
    until("the daemon", lambda: box.ssh("systemctl", "is-active", "posternd", check=False).stdout.strip() == "active", 120)
    failed = box.ssh("systemctl", "--failed", "--plain", "--no-legend").stdout.strip()
    assert failed == "", failed
    assert box.version() == "0.1.0"
    assert json.loads(box.ssh("postern", "--json", "status").stdout)["name"] == "rack-7"
    mounts = box.ssh("findmnt", "--noheadings", "--output", "SOURCE,OPTIONS", "/").stdout
    assert "/dev/mapper/root" in mounts and "ro," in mounts + ",", mounts
    assert box.ssh("touch", "/usr/here", check=False).returncode != 0, "root is read-only"
    size = int(box.ssh("findmnt", "--noheadings", "--bytes", "--output", "SIZE", "/var").stdout)
    assert size > 2 << 30, "/var grew to the disk's end"
    print(box.ssh("systemd-analyze; systemd-analyze critical-chain --no-pager posternd.service; free --mebi; systemctl list-dependencies --plain --no-pager multi-user.target | wc -l").stdout)


def test_nothing_but_ssh_and_the_border_listens(box):
    for line in box.ssh("ss", "--no-header", "--listening", "--udp", "--tcp", "--numeric").stdout.splitlines():
        address = line.split()[4]
        assert address.startswith(("127.", "[::1]")) or address in (f"{BOX}:5060", "*:22") or address.startswith(f"{BOX}:200"), line


def test_a_call_passes(box):
    sipp = ["sipp", "-nostdin", "-p", "5060"]
    far = subprocess.Popen(box.lab.enter(*sipp, "-sn", "uas", "-i", FAR, "-mi", FAR), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        words = ("-sn", "uac", "-i", HERE, "-mi", HERE, "-s", "+15551230000", "-r", "1", "-m", CALLS, "-d", "500", "-timeout", "60", "-timeout_error", f"{BOX}:5060")
        near = subprocess.run(box.lab.enter(*sipp, *words), capture_output=True, text=True, timeout=90)
        assert near.returncode == 0, near.stdout[-3000:] + near.stderr[-3000:]
    finally:
        far.kill()
        far.wait()
    calls = json.loads(box.ssh("postern", "--json", "calls", "--finished", "100").stdout)["calls"]
    assert len(calls) == 2 * CALLS
    assert "call.ended" in box.ssh("journalctl", "--unit=posternd", "--no-pager").stdout


def test_the_acceptance_kit_runs_on_it(box, tmp_path):
    """By labgrid over ssh, with what disturbs: clock jumps, a full disk, a killed daemon. What has no hardware here is skipped."""
    lab = tmp_path / "lab.yaml"
    lab.write_text(yaml.safe_dump({
        "targets": {"main": {
            "resources": [{"NetworkService": {"address": BOX, "username": "root"}}],
            "drivers": [{"SSHDriver": {"keyfile": str(box.key), "extra_options": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"}}],
        }},
    }))
    kit = IMAGE.parent / "hwtests"
    done = subprocess.run(
        box.lab.enter(CACHE / "hwtests-venv/bin/pytest", "-p", "no:cacheprovider", kit, f"--lg-env={lab}", f"--report={CACHE}/log/box.html", "--disturb"),
        capture_output=True, text=True, timeout=1800,
    )
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "no hardware: temperature sensors" in done.stdout, "skipped, not passed"


def put_update(box, version):
    """The update's files where the box looks for them."""
    folder = CACHE / f"image/{version}/update"
    box.ssh("rm", "-rf", "/var/lib/postern-update/*")
    tar = subprocess.Popen(["tar", "-C", folder, "-cf", "-", "."], stdout=subprocess.PIPE)
    taken = subprocess.run(
        box.lab.enter("ssh", "-i", box.key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", f"root@{BOX}", "tar -C /var/lib/postern-update -xf -"),
        stdin=tar.stdout, capture_output=True, timeout=600,
    )
    assert tar.wait() == 0 and taken.returncode == 0, taken.stderr
    return folder


def update(box, check=True):
    """Into the slot that does not run."""
    return box.ssh("/usr/lib/systemd/systemd-sysupdate", "update", check=check, limit_s=900)


def test_an_update_that_is_not_signed_or_spoilt_is_refused(box, package, signer):
    build("0.2.0", package, keys=signer.keys)
    folder = put_update(box, "0.2.0")
    assert "0.2.0" in box.ssh("/usr/lib/systemd/systemd-sysupdate", "list", "--verify=no").stdout
    refused = update(box, check=False)
    assert refused.returncode != 0 and "ignature" in refused.stderr, refused
    # Signed, but one file is not what the list says.
    signer(folder)
    put_update(box, "0.2.0")
    box.ssh("truncate --size=-100 /var/lib/postern-update/*.efi")
    refused = update(box, check=False)
    assert refused.returncode != 0, refused
    assert box.version() == "0.1.0"


def test_power_lost_in_the_middle_of_an_update_leaves_the_version_before(box):
    put_update(box, "0.2.0")
    going = subprocess.Popen(
        box.lab.enter("ssh", "-i", box.key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", f"root@{BOX}", "/usr/lib/systemd/systemd-sysupdate update"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    time.sleep(20)  # somewhere in the writing of a slot, which takes a minute here
    box.cut_power()
    going.wait()
    box.start()
    box.up()
    assert box.version() == "0.1.0"
    until("the daemon", lambda: box.ssh("systemctl", "is-active", "posternd", check=False).stdout.strip() == "active", 120)
    assert len(json.loads(box.ssh("postern", "--json", "calls", "--finished", "100").stdout)["calls"]) == 2 * CALLS


def test_a_good_version_comes_up_and_stays(box):
    put_update(box, "0.2.0")
    update(box)
    before = box.up()
    box.ssh("systemctl", "reboot", check=False)
    box.up(before)
    assert box.version() == "0.2.0"
    until("the boot to count as good", lambda: box.ssh("systemctl", "is-active", "systemd-bless-boot", check=False).stdout.strip() == "active", 120)
    assert json.loads(box.ssh("postern", "--json", "status").stdout)["name"] == "rack-7", "the configuration went along"
    assert len(json.loads(box.ssh("postern", "--json", "calls", "--finished", "100").stdout)["calls"]) == 2 * CALLS, "and the records"


def test_a_version_that_does_not_come_up_healthy_falls_back_by_itself(box, package, signer, tmp_path):
    bad = tmp_path / "usr/lib/systemd/system/posternd.service.d/broken.conf"
    bad.parent.mkdir(parents=True)
    bad.write_text("[Service]\nExecStart=\nExecStart=/bin/false\n")
    build("0.3.0", package, over=tmp_path, keys=signer.keys)
    signer(CACHE / "image/0.3.0/update")
    put_update(box, "0.3.0")
    update(box)
    before = box.up()
    box.ssh("systemctl", "reboot", check=False)
    seen = set()

    def back():
        box.alive()
        try:
            version = box.version()
        except (AssertionError, subprocess.TimeoutExpired, StopIteration):
            return False
        seen.add(version)
        booted = box.ssh("cat", "/proc/sys/kernel/random/boot_id", check=False).stdout.strip()
        return version == "0.2.0" and booted != before
    until("the version before to be back", back, 3 * BOOT_LIMIT_S)
    until("the daemon", lambda: box.ssh("systemctl", "is-active", "posternd", check=False).stdout.strip() == "active", 120)
    assert "+0-3" in box.ssh("ls", "/efi/EFI/Linux", check=False).stdout + box.ssh("ls", "/boot/EFI/Linux", check=False).stdout, "the three attempts were counted"
