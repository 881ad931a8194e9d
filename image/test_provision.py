"""How the appliance takes its configuration: the script itself, with folders of the test in place of the box's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SCRIPT = HERE / "appliance/usr/lib/postern/provision"
TOOL = Path(os.environ["POSTERN_BIN"]) / "postern"
GOOD = """
appliance: { name: rack-7 }
realms:
  inside: { signaling: "127.0.0.1:5060", media: { ports: 20000-20099 } }
"""


class Box:
    def __init__(self, folder):
        self.folder = folder
        for name in ("kept", "run", "labels", "credentials", "networkd"):
            (folder / name).mkdir()
        (folder / "kept/postern").mkdir()
        (folder / "kept/postern/postern.yaml").write_text("before")

    def credential(self, name, text):
        (self.folder / "credentials" / name).write_text(text)

    def provision(self):
        env = {
            **os.environ, "POSTERN_KEPT": self.folder / "kept", "POSTERN_RUN": self.folder / "run", "POSTERN_LABELS": self.folder / "labels",
            "POSTERN_NETWORKD": self.folder / "networkd", "CREDENTIALS_DIRECTORY": self.folder / "credentials", "POSTERN_TOOL": TOOL,
        }
        return subprocess.run(["sh", SCRIPT], env={k: str(v) for k, v in env.items()}, capture_output=True, text=True)

    def kept(self, name):
        place = self.folder / "kept" / name
        return place.read_text() if place.exists() else None

    def notes(self):
        return (self.folder / "run/notes").read_text()


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def test_without_anything_nothing_changes_and_the_screen_says_where_to_go(box):
    done = box.provision()
    assert done.returncode == 0 and box.kept("postern/postern.yaml") == "before"
    assert "USB stick labelled POSTERN" in box.notes()


def test_credentials_give_configuration_secrets_network_and_key(box):
    box.credential("postern.yaml", GOOD)
    box.credential("postern.authorized_keys", "ssh-ed25519 AAAA me")
    box.credential("postern.network", "[Match]\nType=ether\n")
    box.credential("postern.credential.acme", "s3cret")
    done = box.provision()
    assert done.returncode == 0, done.stdout
    assert box.kept("postern/postern.yaml") == GOOD
    assert box.kept("ssh/authorized_keys") == "ssh-ed25519 AAAA me"
    assert box.kept("postern/credentials/acme") == "s3cret"
    assert (box.folder / "networkd/50-provisioned.network").read_text().startswith("[Match]")
    assert "s3cret" not in done.stdout + done.stderr
    for secret in ("postern/credentials/acme", "ssh/authorized_keys"):
        assert (box.folder / "kept" / secret).stat().st_mode & 0o777 == 0o600


def test_the_same_seed_does_not_undo_a_later_edit_and_another_one_does(box):
    box.credential("postern.yaml", GOOD)
    assert box.provision().returncode == 0
    (box.folder / "kept/postern/postern.yaml").write_text("edited since")
    assert box.provision().returncode == 0
    assert box.kept("postern/postern.yaml") == "edited since"
    box.credential("postern.yaml", GOOD.replace("rack-7", "rack-8"))
    assert box.provision().returncode == 0
    assert "rack-8" in box.kept("postern/postern.yaml")


def test_the_network_is_handed_over_at_every_start(box):
    box.credential("postern.network", "[Match]\nType=ether\n")
    box.provision()
    shutil.rmtree(box.folder / "networkd")
    assert box.provision().returncode == 0
    assert (box.folder / "networkd/50-provisioned.network").exists()


@pytest.mark.parametrize("bad", ["realms: {", "appliance: { nmae: x }\n", "\x00\x01\x02", "newer: { version: 99 }\n"])
def test_a_bad_configuration_is_refused_with_its_mistakes_and_the_way_in_stays_open(box, bad):
    box.credential("postern.yaml", bad)
    box.credential("postern.authorized_keys", "ssh-ed25519 AAAA me")
    done = box.provision()
    assert done.returncode == 1
    assert box.kept("postern/postern.yaml") == "before"
    assert box.kept("ssh/authorized_keys") == "ssh-ed25519 AAAA me", "one can log in and mend it"
    assert "refused" in box.notes() and "error" in box.notes()
    # Mended, it is taken at the next start.
    box.credential("postern.yaml", GOOD)
    assert box.provision().returncode == 0
    assert box.kept("postern/postern.yaml") == GOOD


def test_what_is_too_large_or_unknown_is_left_alone(box):
    box.credential("postern.yaml", "#" * (5 << 20))
    box.credential("postern.nonsense", "x")
    done = box.provision()
    assert done.returncode == 0 and box.kept("postern/postern.yaml") == "before"
    assert "larger than 4 MiB" in box.notes() and "postern.nonsense means nothing" in box.notes()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mkfs.ext4"), reason="mounts a volume: root, and mkfs.ext4")
def test_a_stick_does_what_credentials_do_and_one_that_cannot_be_read_is_said(box):
    tree = box.folder / "tree"
    (tree / "network").mkdir(parents=True)
    (tree / "credentials").mkdir()
    (tree / "postern.yaml").write_text(GOOD)
    (tree / "network/10-lan.network").write_text("[Match]\nName=lan\n")
    (tree / "credentials/acme").write_text("s3cret")
    stick = box.folder / "labels/POSTERN"
    with open(stick, "wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-d", tree, stick], check=True)
    (box.folder / "labels/cidata").write_bytes(b"no file system" * 1000)
    done = box.provision()
    if "POSTERN cannot be mounted" in done.stdout:
        pytest.skip("this machine has no loop devices")
    assert done.returncode == 0, done.stdout + done.stderr
    assert box.kept("postern/postern.yaml") == GOOD and box.kept("postern/credentials/acme") == "s3cret"
    assert (box.folder / "networkd/10-lan.network").exists()
    assert "cidata cannot be mounted" in box.notes()
    assert not os.path.ismount(box.folder / "run/volume")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "usage: build"),
        (["not a version", "x.deb"], "is no version"),
        (["1.0", "nowhere.deb"], "no package at nowhere.deb"),
        (["1.0", str(SCRIPT), "nowhere"], "no folder nowhere"),
    ],
)
def test_the_build_says_what_is_wrong_with_its_arguments(words, said):
    done = subprocess.run([HERE / "disk/build", *words], capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr, done.stderr


HEALTHY = HERE / "appliance/usr/lib/postern/healthy"


@pytest.mark.parametrize("answers, trial, code, restarts", [(True, True, 0, False), (False, True, 1, True), (False, False, 1, False)])
def test_only_a_version_on_trial_that_does_not_come_up_is_left(tmp_path, answers, trial, code, restarts):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("systemctl", f'echo "$*" >>{tmp_path}/asked; case $1 in show) echo 7;; esac'), ("sleep", ""), ("tool", f"exit {0 if answers else 3}")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    counted = tmp_path / "counted"
    if trial:
        counted.write_text("")
    env = {
        "PATH": f"{programs}:/usr/bin:/bin", "POSTERN_TOOL": str(programs / "tool"), "POSTERN_TRIAL": str(counted),
        "POSTERN_HEALTHY_WITHIN_S": "20", "POSTERN_HEALTHY_STAYS_S": "5",
    }
    done = subprocess.run(["sh", HEALTHY], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("reboot" in (tmp_path / "asked").read_text().split("\n")) == restarts


def test_the_version_before_says_which_one_was_given_up(tmp_path):
    programs, kernels = tmp_path / "bin", tmp_path / "kernels"
    programs.mkdir()
    kernels.mkdir()
    for name, text in (("systemctl", "case $1 in show) echo 7;; esac"), ("sleep", ""), ("tool", "echo trunk zeta: down")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "POSTERN_TOOL": str(programs / "tool"), "POSTERN_HEALTHY_STAYS_S": "2", "POSTERN_KERNELS": str(kernels)}

    def said():
        done = subprocess.run(["sh", HEALTHY], env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        return done.stdout

    for name in ("postern_0.2.0.efi", "postern_0.4.0+3-0.efi", "debian+0-3.efi"):
        (kernels / name).write_text("")
    assert "given up" not in said() and "trunk zeta: down" in said(), "trunks are told"
    (kernels / "postern_0.3.0+0-3.efi").write_text("")
    assert "Version 0.3.0 was given up" in said() and "postern rollback 0.3.0" in said()


def test_a_daemon_that_comes_and_goes_is_not_healthy(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    # Another process each time that it is asked.
    for name, text in (("systemctl", f"case $1 in show) echo x >>{tmp_path}/n; wc -l <{tmp_path}/n;; esac"), ("sleep", ""), ("tool", "")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "POSTERN_TOOL": str(programs / "tool"), "POSTERN_TRIAL": "/nonexistent", "POSTERN_HEALTHY_WITHIN_S": "20"}
    assert subprocess.run(["sh", HEALTHY], env=env, capture_output=True, timeout=60).returncode == 1
