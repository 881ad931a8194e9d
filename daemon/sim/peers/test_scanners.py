"""Who tries a border that is on the Internet: SIPVicious, as it comes."""

import sys
from pathlib import Path

import pytest
from kit import box
from kit.process import Child

# SIPVicious stops by itself when so long nothing came back.
PATIENCE_S = 3


def vicious(world, tool, *words):
    """One of its tools; what it said. Its packets come from 127.0.0.1, whatever it is told."""
    program = Path(sys.executable).parent / f"sipvicious_{tool}"
    child = Child(tool, [program, "-P", 15999, "-t", "0.005", *words], world.folder, env={"HOME": str(world.folder)})
    world.children.append(child)
    child.wait(60)
    return child.text()


@pytest.mark.parametrize("tool", ["svmap", "svwar", "svcrack"])
def test_row_16_sipvicious_finds_no_server_no_user_and_no_password(world, tool):
    daemon = world.start()
    world.register()
    names, passwords = world.folder / "names.txt", world.folder / "passwords.txt"
    names.write_text("\n".join([*(f"nobody{n}" for n in range(100)), "alice", "bob"]))
    passwords.write_text("\n".join([*(f"guess-{n}" for n in range(300)), box.PASSWORDS["alice"]]))
    words = {"svmap": [world.net.box_carrier], "svwar": ["-d", names], "svcrack": ["-u", "alice", "-d", passwords]}[tool]
    patience = [] if tool == "svmap" else ["--maximumtime", PATIENCE_S]
    found = vicious(world, tool, *words, *patience, world.net.box_clients)
    assert "found nothing" in found, found
    assert not any(secret in found for secret in ("Postern", "bob", box.PASSWORDS["alice"])), found
    assert [event["data"]["source"] for event in daemon.events(type="source.banned")] == ["127.0.0.1"]
    # Whose name was tried is not locked out.
    world.register(port=5061)
