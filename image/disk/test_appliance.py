"""The appliance's disk in a virtual machine: booted, provisioned, used for calls, upgraded, rolled back, cut off.

`make test-appliance` runs it (an hour and more: there is no hardware virtualisation to count on, QEMU emulates), and `make test` does not. Needs root.
"""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

IMAGE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(IMAGE.parent / "daemon/sim/peers"))
from kit.wait import until  # noqa: E402

CACHE = Path(os.environ.get("CACHE", Path.home() / ".cache/postern"))
TREE = CACHE / "image/tools"
HERE, FAR, BOX = "10.77.0.1", "10.77.0.3", "10.77.0.10"
BOOT_LIMIT_S = 900
UPGRADE_LIMIT_S = 1800
CALLS = 5
ATTEMPTS = 3

NETWORK = f"[Match]\nType=ether\n\n[Network]\nAddress={BOX}/24\nGateway={HERE}\nLinkLocalAddressing=no\n"
YAML = f"""
appliance: {{ name: rack-7 }}
realms:
  carriers: {{ signaling: "{BOX}:5060", media: {{ addresses: [{BOX}], ports: 20000-20099 }} }}
trunks:
  acme: {{ realm: carriers, address: "{HERE}:5060", codecs: [PCMA, PCMU] }}
  zeta: {{ realm: carriers, address: "{FAR}:5060", codecs: [PCMA, PCMU] }}
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
        subprocess.run(["cp", "--sparse=always", disk_of, self.place / "disk.raw"], check=True)
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
                "nice", "-n", "10", IMAGE / "tools-tree", "run", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max", "-M", "q35", "-m", "1024", "-display", "none", "-monitor", "none",
                "-serial", f"file:{vm}/console.log",
                "-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive", f"if=pflash,format=raw,file={vm}/vars.fd",
                # What the guest wrote is in our own kernel's memory, where QEMU's end does not touch it: nothing need be waited for.
                "-drive", f"if=virtio,format=raw,file={vm}/disk.raw,cache=unsafe",
                "-nic", "tap,ifname=tap0,model=virtio,script=no,downscript=no",
                # An emulated machine on a busy one may take minutes to find its disk: that is no fault of the slot.
                "-smbios", "type=11,value=io.systemd.stub.kernel-cmdline-extra=systemd.default_device_timeout_sec=900",
                "-smbios", "type=1,uuid=6a1f9e0c-5d4e-4f0e-9d51-3f1c1c0b7a12", *smbios, *more,
            ),
            start_new_session=True, env={**os.environ, "CACHE": str(CACHE)},
        )

    def console(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def alive(self):
        assert self.qemu.poll() is None, "the virtual machine ended\n" + self.console()[-2000:]

    def ssh_words(self, *words):
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=60", "BatchMode=yes", "LogLevel=ERROR", "ServerAliveInterval=15")
        return self.lab.enter("ssh", "-i", self.key, *(word for option in options for word in ("-o", option)), f"root@{BOX}", *words)

    def ssh(self, *words, check=True, limit_s=300):
        done = subprocess.run(self.ssh_words(*words), capture_output=True, text=True, timeout=limit_s)
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def up(self, booted_before=None):
        """Waits until one can log in, on another boot than the one given. Its boot id."""
        def boot():
            self.alive()
            try:
                return self.ssh("cat", "/proc/sys/kernel/random/boot_id", limit_s=90).stdout.strip()
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


def call(box, folder, count=CALLS, talk_ms=500, scenario="uac", check=True):
    """Calls by sipp from one trunk to the other, which echoes what it hears."""
    sipp = ["sipp", "-nostdin", "-p", "5060"]
    (folder / "pcap").exists() or (folder / "pcap").symlink_to("/usr/share/sip-tester")
    # What sipp plays is PCMA; its callee speaks PCMU of its own accord, which would be converted and not forwarded.
    said = subprocess.run(["sipp", "-sd", "uas"], capture_output=True, text=True).stdout
    (folder / "uas.xml").write_text(said.replace("AVP 0", "AVP 8").replace("rtpmap:0 PCMU", "rtpmap:8 PCMA") if scenario == "uac_pcap" else said)
    far = subprocess.Popen(box.lab.enter(*sipp, "-sf", folder / "uas.xml", "-i", FAR, "-mi", FAR, "-rtp_echo"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until("the far side", lambda: f"{FAR}:5060" in subprocess.run(box.lab.enter("ss", "-lunH"), capture_output=True, text=True).stdout, 10)
        words = ("-sn", scenario, "-i", HERE, "-mi", HERE, "-s", "+15551230000", "-r", "1", "-m", count, "-d", talk_ms, "-timeout", "90", "-timeout_error", f"{BOX}:5060")
        for _ in range(ATTEMPTS):
            near = subprocess.run(box.lab.enter(*sipp, *words), capture_output=True, text=True, timeout=120, cwd=folder)
            # An emulated machine that its host leaves waiting is overloaded by its own clock, and sheds calls as it should.
            if near.returncode == 0 or not check or "503 Service" not in near.stdout + near.stderr:
                break
        assert not check or near.returncode == 0, near.stdout[-3000:] + near.stderr[-3000:]
        return near
    finally:
        far.kill()
        far.wait()


def records(box):
    return len(json.loads(box.ssh("postern", "--json", "calls", "--finished", "100").stdout)["calls"])


def active(box, unit="posternd"):
    return box.ssh("systemctl", "is-active", unit, check=False).stdout.strip() == "active"


def test_a_call_passes(box, tmp_path):
    call(box, tmp_path)
    assert records(box) >= 2 * CALLS
    assert "call ended by" in box.ssh("journalctl", "--namespace=postern", "--unit=posternd", "--no-pager").stdout


def test_the_kernel_forwards_what_is_said(box, tmp_path):
    """The unit's capabilities and restrictions are those that the fast path needs."""
    assert "the kernel forwards plain calls" in box.ssh("journalctl", "--namespace=postern", "--unit=posternd", "--no-pager").stdout
    call(box, tmp_path, count=1, scenario="uac_pcap")
    media = json.loads(box.ssh("postern", "--json", "status").stdout)["media"]
    assert media["fast_path"] and media["packets_forwarded"] > 0, media


def test_a_daemon_that_hangs_is_started_again(box):
    def shown(name):
        return box.ssh("systemctl", "show", "--property", name, "--value", "posternd").stdout.strip()
    before, restarts = shown("MainPID"), int(shown("NRestarts"))
    box.ssh("kill", "-STOP", before)
    until("the watchdog", lambda: shown("MainPID") not in (before, "0") and active(box), 180)
    assert int(shown("NRestarts")) == restarts + 1
    assert "watchdog" in box.ssh("journalctl", "--unit=posternd", "--no-pager", "--lines=30").stdout.lower()


def test_a_flood_pushes_nothing_out_of_the_journal(box):
    """Others write into their own journal, and whoever writes into the daemon's is held to a rate, with the rest counted."""
    evidence = box.ssh("journalctl", "--namespace=postern", "--unit=posternd", "--no-pager", "--output=cat").stdout
    lines = "seq -f 'a line of a flood, number %.0f' 60000"
    box.ssh(f"{lines} | systemd-cat --identifier=flood", limit_s=300)
    # The next line after the half minute brings the count of what was left out.
    box.ssh(f'systemd-run --quiet --wait --property=LogNamespace=postern --unit=flood sh -c "{lines}; sleep 31; echo over"', limit_s=300)
    kept = box.ssh("journalctl", "--namespace=postern", "--no-pager", "--output=cat").stdout
    assert all(line in kept for line in evidence.splitlines())
    flooded = kept.count("a line of a flood")
    assert 0 < flooded < 6000, "a burst of each half minute, and no more"
    assert "Suppressed" in kept, "what is left out is counted"


def test_a_drain_refuses_new_calls_until_it_is_taken_back(box, tmp_path):
    box.ssh("postern", "drain", "--limit", "0s")
    refused = call(box, tmp_path, count=1, check=False)
    assert refused.returncode != 0 and "503" in refused.stdout + refused.stderr, refused.stdout[-2000:] + refused.stderr[-2000:]
    box.ssh("postern", "drain", "--off")
    call(box, tmp_path, count=1)


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
    taken = subprocess.run(box.ssh_words("tar -C /var/lib/postern-update -xf -"), stdin=tar.stdout, capture_output=True, timeout=600)
    assert tar.wait() == 0 and taken.returncode == 0, taken.stderr
    return folder


def upgrade(box, check=True):
    """Into the slot that does not run, without the restart."""
    return box.ssh("postern", "upgrade", "--no-restart", check=check, limit_s=UPGRADE_LIMIT_S)


def kernels(box):
    return box.ssh("ls $(bootctl --print-esp-path)/EFI/Linux").stdout.split()


def restarted(box, before):
    """After a restart: the version that came up."""
    box.up(before)
    until("the daemon", lambda: active(box), 240)
    return box.version()


def test_an_update_that_is_not_signed_or_spoilt_is_refused(box, package, signer):
    assert "there is no update in" in upgrade(box, check=False).stderr
    build("0.2.0", package, keys=signer.keys)
    folder = put_update(box, "0.2.0")
    refused = upgrade(box, check=False)
    assert refused.returncode == 1 and "by a key that this image was built with" in refused.stderr, refused
    # Signed, but one file is not what the list says.
    signer(folder)
    put_update(box, "0.2.0")
    box.ssh("truncate --size=-100 /var/lib/postern-update/*.efi")
    refused = upgrade(box, check=False)
    assert refused.returncode == 1 and "what runs goes on" in refused.stderr, refused
    assert box.version() == "0.1.0" and not [name for name in kernels(box) if "0.2.0" in name], kernels(box)


def test_power_lost_in_the_middle_of_an_update_leaves_the_version_before(box):
    found = records(box)
    put_update(box, "0.2.0")
    going = subprocess.Popen(box.ssh_words("postern upgrade --no-restart"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in going.stderr:
        if "writing 0.2.0" in line and " 0 %" not in line:
            break
    else:
        raise AssertionError("the update was over, or failed, before the power could go")
    assert going.poll() is None
    box.cut_power()
    going.wait()
    box.start()
    assert restarted(box, None) == "0.1.0"
    assert records(box) == found
    assert kernels(box) == ["postern_0.1.0.efi"]


def test_a_good_version_comes_up_and_stays(box):
    found = records(box)
    put_update(box, "0.2.0")
    before = box.up()
    print(box.ssh("postern", "upgrade", "--drain", "30s", limit_s=UPGRADE_LIMIT_S, check=False))
    assert restarted(box, before) == "0.2.0"
    until("the boot to count as good", lambda: active(box, "systemd-bless-boot"), 360)
    assert sorted(kernels(box)) == ["postern_0.1.0.efi", "postern_0.2.0.efi"]
    assert json.loads(box.ssh("postern", "--json", "status").stdout)["name"] == "rack-7", "the configuration went along"
    assert records(box) == found, "and the records"


def test_one_goes_back_and_forth(box):
    before = box.up()
    box.ssh("postern", "rollback", "--drain", "0s", check=False)
    assert restarted(box, before) == "0.1.0"
    assert sorted(kernels(box)) == ["postern_0.1.0.efi", "postern_0.2.0+0-1.efi"]
    before = box.up()
    box.ssh("postern", "rollback", "0.2.0", "--drain", "0s", check=False)
    assert restarted(box, before) == "0.2.0"
    until("the boot to count as good", lambda: active(box, "systemd-bless-boot"), 360)


def test_a_version_that_does_not_come_up_healthy_falls_back_by_itself(box, package, signer, tmp_path):
    bad = tmp_path / "usr/lib/systemd/system/posternd.service.d/broken.conf"
    bad.parent.mkdir(parents=True)
    bad.write_text("[Service]\nExecStart=\nExecStart=/bin/false\n")
    # Here it is enough to wait a little for it.
    (bad.parents[1] / "postern-healthy.service.d").mkdir()
    (bad.parents[1] / "postern-healthy.service.d/short.conf").write_text("[Service]\nEnvironment=POSTERN_HEALTHY_WITHIN_S=30\n")
    build("0.3.0", package, over=tmp_path, keys=signer.keys)
    signer(CACHE / "image/0.3.0/update")
    put_update(box, "0.3.0")
    before = box.up()
    box.ssh("postern", "upgrade", "--drain", "0s", check=False, limit_s=UPGRADE_LIMIT_S)
    seen = []

    def back():
        box.alive()
        try:
            boot = box.ssh("cat", "/proc/sys/kernel/random/boot_id").stdout.strip()
            version = box.version()
        except (AssertionError, subprocess.TimeoutExpired, StopIteration):
            return False
        if boot != before and (boot, version) not in seen:
            seen.append((boot, version))
        return boot != before and version != "0.3.0"
    until("the version before to be back", back, 4 * BOOT_LIMIT_S)
    print(seen)
    assert box.version() == "0.2.0"
    until("the daemon", lambda: active(box), 240)
    assert "postern_0.3.0+0-3.efi" in kernels(box), "the three attempts were counted"
