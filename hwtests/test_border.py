"""The border on that machine: the daemon is well, its image is what was built, and it stays up when the machine has a bad day."""

import json
import time

import pytest

MEMORY_LIMIT_MB = 400


def status(box):
    return json.loads(box.run("postern --json status"))


def pid(box):
    return box.run("systemctl show --property=MainPID --value posternd")


@pytest.mark.needs("postern")
def test_the_daemon_is_well(box, measured):
    """Daemon: up, answering, nothing lost on the way to journal and store"""
    said = status(box)
    assert said["delivery"]["journal_dropped"] == 0
    assert box.run("systemctl --failed --plain --no-legend --no-pager") == ""
    used = int(box.run("awk '/MemTotal/ {t=$2} /MemAvailable/ {a=$2} END {print int((t-a)/1024)}' /proc/meminfo"))
    measured("memory used by the whole box", used, "MB", MEMORY_LIMIT_MB)
    assert used < MEMORY_LIMIT_MB


@pytest.mark.needs("appliance")
def test_root_is_verified_and_read_only(box):
    """Image: root cannot be written, and the kernel checks each block of it"""
    assert box.run("findmnt --noheadings --output SOURCE /") == "/dev/mapper/root"
    assert "ro" in box.run("findmnt --noheadings --output OPTIONS /").split(",")
    assert not box.succeeds("touch /usr/.acceptance 2>/dev/null")


@pytest.mark.needs("appliance", "root")
def test_how_long_it_takes_to_start(box, measured):
    """Start: from power to the daemon, as systemd counted it"""
    kernel, user = (int(box.run(f"systemctl show --property={p} --value")) / 1e6 for p in ("UserspaceTimestampMonotonic", "FinishTimestampMonotonic"))
    daemon = int(box.run("systemctl show --property=ActiveEnterTimestampMonotonic --value posternd")) / 1e6
    measured("to the first process", kernel, "s")
    measured("to the daemon", daemon, "s")
    measured("to all of it", user, "s")
    assert daemon > 0


@pytest.mark.disturbs
@pytest.mark.needs("postern", "root")
def test_a_jump_of_the_clock_does_no_harm(box):
    """Clock: the time of day jumps an hour and back; the daemon goes on and answers"""
    before = pid(box)
    synced = box.run("systemctl is-active systemd-timesyncd chronyd 2>/dev/null", check=False)
    box.run("systemctl stop systemd-timesyncd 2>/dev/null; true")
    try:
        for jump in ("+1 hour", "-2 hours", "+1 hour"):
            box.run(f"date --set='{jump}' >/dev/null")
            time.sleep(3)
            assert status(box)["name"]
            assert pid(box) == before, f"restarted when the clock jumped {jump}"
    finally:
        if "active" in synced.split():
            box.run("systemctl start systemd-timesyncd 2>/dev/null; true")


@pytest.mark.disturbs
@pytest.mark.needs("postern", "root")
def test_a_full_disk_is_survived(box):
    """Disk: /var fills up; the daemon goes on and answers, and works as before when there is room again"""
    before = pid(box)
    folder = "/var/lib/postern"
    fill = "/var/.acceptance-fill"
    box.run(f"fallocate -l $(($(df --output=avail -B1 {folder} | tail -1) - 65536)) {fill} || dd if=/dev/zero of={fill} bs=1M 2>/dev/null; dd if=/dev/zero of={fill}.rest bs=4096 2>/dev/null; true")
    try:
        assert int(box.run(f"df --output=avail -B1 {folder} | tail -1")) < 1 << 20
        box.run("systemctl reload posternd", check=False)  # something to tell
        time.sleep(5)
        assert status(box)["name"] and pid(box) == before
    finally:
        box.run(f"rm -f {fill} {fill}.rest")
    box.run("systemctl reload posternd")
    assert status(box)["name"] and pid(box) == before


@pytest.mark.disturbs
@pytest.mark.needs("postern", "root")
def test_a_daemon_that_dies_comes_back(box, measured):
    """Daemon: killed, it is back by itself"""
    before = pid(box)
    began = time.monotonic()
    box.run(f"kill -KILL {before}")
    box.until("the daemon to be back", lambda: pid(box) not in (before, "0") and box.succeeds("postern status >/dev/null 2>&1"), 60)
    measured("away", time.monotonic() - began, "s", 30)
    assert time.monotonic() - began < 30
