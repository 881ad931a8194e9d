"""The network: ports, their errors, and what happens when one goes."""

import re
import time

import pytest
from kit.hardware import ports

GAP_LIMIT_MS = 500


@pytest.mark.needs("link")
def test_ports_have_links_of_full_duplex(box, measured):
    """Ports: every one with a link runs at full duplex"""
    for port in ports(box):
        duplex = box.run(f"cat /sys/class/net/{port}/duplex 2>/dev/null", check=False)
        speed = box.run(f"cat /sys/class/net/{port}/speed 2>/dev/null", check=False)
        if speed.lstrip("-").isdigit() and int(speed) > 0:
            measured(f"speed of {port}", int(speed), "Mbit/s")
        assert duplex in ("full", "unknown", ""), f"{port}: {duplex} duplex: fix the switch's port, or its cable"


@pytest.mark.needs("link")
def test_ports_lose_nothing(box, measured):
    """Ports: no errors, and nothing dropped for want of buffers, in ten seconds"""
    def counted():
        return {(p, n): int(box.read(f"/sys/class/net/{p}/statistics/{n}")) for p in ports(box) for n in ("rx_errors", "tx_errors", "rx_missed_errors", "rx_crc_errors", "rx_fifo_errors")}
    before = counted()
    time.sleep(10)
    for (port, name), value in counted().items():
        grown = value - before.get((port, name), value)
        assert grown == 0, f"{port}: {name} grew by {grown}: cable, transceiver, or too small a ring (ethtool -G {port} rx 4096)"


@pytest.mark.disturbs
@pytest.mark.needs("bond", "root")
def test_a_bond_goes_on_when_a_port_goes(box, measured):
    """Bond: its active port is taken away; how long nothing passes"""
    bond = box.run("ls -d /sys/class/net/*/bonding | head -1").split("/")[4]
    ours = f"/sys/class/net/{bond}"
    active = box.read(f"{ours}/bonding/active_slave").strip()
    assert active, f"{bond} has no active port"
    gateway = re.search(r"default via (\S+)", box.run(f"ip route show dev {bond}", check=False))
    assert gateway, f"{bond} has no gateway to ask"
    try:
        said = box.run(f"(sleep 2; ip link set {active} down) & ping -n -i 0.01 -W 1 -c 800 {gateway.group(1)} | tail -2")
        lost = int(re.search(r"(\d+) packets transmitted, (\d+) received", said).group(1)) - int(re.search(r"(\d+) received", said).group(1))
        measured("gap", lost * 10, "ms", GAP_LIMIT_MS)
        assert lost * 10 < GAP_LIMIT_MS
        assert box.read(f"{ours}/bonding/active_slave").strip() != active
    finally:
        box.run(f"ip link set {active} up")


@pytest.mark.needs("root")
def test_a_vlan_can_be_made(box):
    """VLAN: the kernel makes one on a port, and takes it away"""
    port = (ports(box) or ["lo"])[0]
    if port == "lo":
        pytest.skip("no hardware: a wired port with a link")
    box.run(f"ip link add link {port} name acc.77 type vlan id 77")
    try:
        assert "802.1Q id 77" in box.run("ip -details link show acc.77")
    finally:
        box.run("ip link delete acc.77")
