"""The checklist for a trunk (hwtests/test_trunk.py), run by its own command: Postern is the trunk, and behind it a far end by hand."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import yaml
from kit.far import FarEnd

KIT = Path(__file__).resolve().parents[3] / "hwtests"


def checklist(folder, trunk, *words):
    """What came of each check, by its name; the report's page."""
    file, page, junit = folder / "trunk.yaml", folder / "trunk.html", folder / "trunk.xml"
    file.write_text(yaml.safe_dump({"trunk": trunk}))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", KIT / "test_trunk.py", f"--trunk={file}", f"--report={page}", f"--junit-xml={junit}", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=KIT, timeout=120)
    assert junit.exists(), done.stdout + done.stderr
    told = json.loads(re.search(r"<script type=application/json id=data>(.*?)</script>", page.read_text(), re.DOTALL).group(1))
    outcomes = {r["name"].split("::")[1]: (r["outcome"], r["why"]) for r in told["results"]}
    suite = xml.parse(junit).getroot().find("testsuite")
    assert int(suite.get("tests")) == len(outcomes) and int(suite.get("skipped")) == sum(o == "skipped" for o, _ in outcomes.values())
    return outcomes, told, done.stdout


def test_a_trunk_of_ours_passes_the_checklist(world):
    """Each check with Postern as the trunk; what it cannot be asked for is skipped and says why."""
    def change(config):
        config["realms"]["carrier"]["emergency"] = ["933"]
        config["routes"].append({"name": "sos", "from": "any", "prefix": "933", "to": {"trunk": "zeta"}})

    world.start(change)
    net = world.net
    far = FarEnd(net.other_carrier, {"+991": "echo", "+992": "early", "933": "echo"})
    world.children.append(far)
    outcomes, told, said = checklist(world.folder, {
        "address": f"{net.box_carrier}:5060", "local": net.carrier, "local_port": 5060, "caller": "+15550100", "answers": "+991", "echo": "+991",
        "early": "+992", "fax": "+991", "refused": "+999", "emergency_test": "933",
    })
    assert {o for o, _ in outcomes.values()} <= {"passed", "skipped"}, said
    skipped = {name: why for name, (outcome, why) in outcomes.items() if outcome == "skipped"}
    assert set(skipped) == {"test_it_takes_our_registration_and_ends_it", "test_it_refuses_a_wrong_password", "test_the_second_address_takes_over"}, skipped
    assert all("does not name" in why for why in skipped.values())
    assert told["facts"]["trunk"] == f"{net.box_carrier}:5060"
    world.box.idle()
