"""The checklist for a trunk: a good one passes whole, and each thing that a bad one does is found by the check that is for it."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kit import trunk as kit_trunk

net = importlib.import_module("peers_kit.net")
far = importlib.import_module("peers_kit.far")

KIT = Path(__file__).resolve().parents[1]
NUMBERS = {"+991": "echo", "+992": "early", "933": "echo"}


class Carrier:
    """A small carrier of ours with two addresses, and the file that describes it."""

    def __init__(self, folder, **far_options):
        self.net, self.folder = net.Net(), folder
        options = {"numbers": NUMBERS, "user": ("edge", "s3cret"), **far_options}
        self.ends = [far.FarEnd(self.net.carrier, **options), far.FarEnd(self.net.other_carrier, **options)]
        self.file = {
            "address": f"{self.net.carrier}:5060", "local": self.net.client, "second": self.net.other_carrier, "registrar": self.net.carrier, "user": "edge",
            "password": "s3cret", "caller": "+15550100", "answers": "+991", "echo": "+991", "early": "+992", "fax": "+991", "refused": "+999", "emergency_test": "933",
        }

    def tried(self, *words, **changes):
        """Purpose to (outcome, why) of each check that ran, and the command's words."""
        file, page = self.folder / "trunk.yaml", self.folder / "trunk.html"
        file.write_text(yaml.safe_dump({"trunk": {k: v for k, v in {**self.file, **changes}.items() if v is not None}}))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", KIT / "test_trunk.py", f"--trunk={file}", f"--report={page}", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=KIT, timeout=120)
        if not page.exists():
            return None, done.stdout + done.stderr
        told = json.loads(re.search(r"<script type=application/json id=data>(.*?)</script>", page.read_text(), re.DOTALL).group(1))
        return {r["purpose"].split(":")[0]: (r["outcome"], r["why"]) for r in reversed(told["results"])}, done.stdout

    def stop(self):
        for end in self.ends:
            end.stop()


@pytest.fixture
def carrier(tmp_path):
    made = []

    def make(**options):
        made.append(Carrier(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def test_a_good_trunk_passes_whole(carrier):
    outcomes, said = carrier().tried()
    assert {o for o, _ in outcomes.values()} == {"passed"}, said
    assert "12 passed" in said, said


@pytest.mark.parametrize(
    ("fault", "check", "chosen", "words"),
    [
        ("takes anybody", "Registration", "registration or password", ""),
        ("no options", "OPTIONS", "options", "no answer to OPTIONS"),
        ("mute early", "Early media", "speaks", "nothing is heard"),
        ("no 487", "Early media", "speaks", "(200, None)"),
        ("deaf to hold", "Hold", "held", "answers sendrecv"),
        ("no events", "DTMF", "agreed", "no telephone-event"),
        ("falls over fax", "Fax", "t38", "500 Oops"),
        ("hears no more after fax", "Fax", "t38", "took the call's audio"),
    ],
)
def test_what_a_bad_trunk_does_is_found(carrier, fault, check, chosen, words):
    outcomes, said = carrier(faults=(fault,)).tried("-k", chosen)
    assert outcomes[check][0] == "failed" and words in outcomes[check][1], said


def test_what_the_file_does_not_name_is_skipped_and_never_passed(carrier):
    outcomes, said = carrier().tried(**{key: None for key in kit_trunk.KEYS if key != "address"})
    assert outcomes.pop("OPTIONS")[0] == "passed", said
    assert {o for o, _ in outcomes.values()} == {"skipped"} and all("does not name `" in why for _, why in outcomes.values()), said


def test_a_file_with_mistakes_is_refused_before_anything_is_called(carrier):
    one = carrier()
    for changes, words in [({"emergency_test": "112"}, "real emergency number"), ({"emergency_test": "+9-1-1"}, "real emergency number"),
                           ({"addres": "x"}, "unknown: addres"), ({"address": None}, "at least an `address`")]:
        outcomes, said = one.tried(**changes)
        assert outcomes is None and words in said, said
    assert one.ends[0].seen == []
