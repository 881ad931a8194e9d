"""The kit itself: what it does without hardware, and what its report says. On this machine, whatever that is."""

import json
import re
import subprocess
import sys
from pathlib import Path

KIT = Path(__file__).resolve().parents[1]


def run(folder, text, *words):
    """The kit with one test file of ours. (exit code, output, the report's data, the report)."""
    for name in ("conftest.py", "pytest.ini", "kit"):
        (folder / name).symlink_to(KIT / name)
    (folder / "test_ours.py").write_text(text)
    report = folder / "box.html"
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", folder, f"--report={report}", *words], capture_output=True, text=True, cwd=folder)
    page = report.read_text() if report.exists() else ""
    data = re.search(r"<script type=application/json id=data>(.*?)</script>", page, re.DOTALL)
    return done.returncode, done.stdout, json.loads(data.group(1)) if data else None, page


HARDWARE = '''
import pytest
from kit import hardware

@hardware.probe
def unobtainium(box):
    return "a <b>block</b> of it"

@pytest.mark.needs("unobtainium")
def test_needs_it(box):
    """What cannot be had"""
    assert False, "ran without its hardware"

@pytest.mark.disturbs
def test_disturbs(box, tmp_path_factory):
    """What disturbs"""

def test_measures(box, measured):
    """What is measured"""
    measured("heat", 41.5, "°C", 90)
    measured("in turn", [1, 2, 3], "ms", 2.5)

def test_fails(box):
    """What fails </script>"""
    box.run("echo it said this; exit 3")
'''


def test_outcomes_are_told_as_they_are(tmp_path):
    code, said, data, page = run(tmp_path, HARDWARE)
    assert code == 1, said
    outcomes = {r["purpose"]: (r["outcome"], r["why"]) for r in data["results"]}
    assert outcomes["What cannot be had"] == ("skipped", "no hardware: a <b>block</b> of it")
    assert outcomes["What disturbs"][0] == "skipped" and "--disturb" in outcomes["What disturbs"][1]
    assert outcomes["What is measured"][0] == "passed"
    assert outcomes["What fails </script>"][0] == "failed" and "ended with 3" in outcomes["What fails </script>"][1]
    assert "a <b>block" not in page.split("<script")[0], "text of a box is text, not markup"
    assert page.count("<svg") == 2 and "41.5" in page and "1 to 3" in page


def test_what_disturbs_runs_when_asked_for(tmp_path):
    _, _, data, _ = run(tmp_path, HARDWARE, "--disturb")
    assert {r["purpose"]: r["outcome"] for r in data["results"]}["What disturbs"] == "passed"


def test_this_machine_can_be_looked_at(tmp_path):
    code, said, data, _ = run(tmp_path, (KIT / "test_machine.py").read_text(), "-k", "random")
    assert code == 0, said
    assert data["facts"]["processor"] != "unknown"
    assert next(r for r in data["results"] if r["outcome"] == "passed")["measured"][0]["bound"] == 360


def test_an_unknown_need_is_a_mistake_in_the_kit(tmp_path):
    code, said, _, _ = run(tmp_path, "import pytest\n@pytest.mark.needs('misspelt')\ndef test_a(box):\n    pass\n")
    assert code == 1 and "misspelt" in said
