"""The acceptance kit: which box, what it must have, and the report."""

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from kit import hardware, report  # noqa: E402
from kit.box import ByLabgrid, Itself  # noqa: E402
from kit.trunk import Trunk  # noqa: E402

_results = []
_trunk = pytest.StashKey()


def pytest_addoption(parser):
    group = parser.getgroup("postern")
    group.addoption("--report", metavar="FILE.html", help="writes the report that a person signs")
    group.addoption("--trunk", metavar="FILE.yaml", help="the trunk that test_trunk.py tries; trunk.yaml says how it is written")
    group.addoption("--disturb", action="store_true", help="runs the tests, too, that change the box for a while: clock, full disk, restarts, power")


@pytest.fixture(scope="session")
def box(request):
    """With labgrid's --lg-env the target `main` of that environment, else the machine itself."""
    remote = request.config.getoption("lg_env", None)
    found = ByLabgrid(request.getfixturevalue("target")) if remote else Itself()
    if request.config.getoption("report"):
        # Asked now: when the session ends the way to the box is closed.
        request.config.stash[_facts] = {**report.facts(found), **({"trunk": str(trunk)} if (trunk := request.getfixturevalue("trunk")) else {})}
    return found


def pytest_configure(config):
    if file := config.getoption("trunk"):
        try:
            config.stash[_trunk] = Trunk(file)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise pytest.UsageError(f"--trunk: {error}") from None


@pytest.fixture(scope="session")
def trunk(request):
    """What the file of --trunk says; a test that has it carries the mark `trunk`."""
    return request.config.stash.get(_trunk, None)


@pytest.fixture(autouse=True)
def _what_it_needs(request, box):
    for marker in request.node.iter_markers("trunk"):
        trunk = request.getfixturevalue("trunk")
        if not trunk:
            pytest.skip("no trunk: name one with --trunk")
        if missing := trunk.missing(marker.args):
            pytest.skip(missing)
    if request.node.get_closest_marker("disturbs") and not request.config.getoption("disturb"):
        pytest.skip("disturbs the box: ask for it with --disturb")
    for marker in request.node.iter_markers("needs"):
        for name in marker.args:
            missing = hardware.PROBES[name](box)
            if missing:
                pytest.skip(f"no hardware: {missing}")


@pytest.fixture
def measured(request):
    """Notes what was measured, for the report: measured(name, value or list, unit, at most)."""
    request.node.measured = []

    def note(name, value, unit, bound=None):
        kind = {"values": [float(v) for v in value]} if isinstance(value, (list, tuple)) else {"value": float(value)}
        request.node.measured.append({"name": name, "unit": unit, "bound": bound, **kind})
        request.node.user_properties.append((name, f"{value} {unit}"))
    return note


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    done = outcome.get_result()
    if done.when == "call" or (done.when == "setup" and done.outcome != "passed"):
        why = ""
        if done.skipped:
            why = done.longrepr[2].removeprefix("Skipped: ") if isinstance(done.longrepr, tuple) else str(done.longrepr)
        elif done.failed:
            why = getattr(getattr(done.longrepr, "reprcrash", None), "message", str(done.longrepr))
        purpose = (item.function.__doc__ or item.name).strip().splitlines()[0]
        _results.append({"name": item.nodeid, "purpose": purpose, "outcome": done.outcome, "why": why, "measured": getattr(item, "measured", [])})


_facts = pytest.StashKey()


def pytest_sessionfinish(session):
    place = session.config.getoption("report")
    facts = session.config.stash.get(_facts, None)
    if place and facts:
        Path(place).write_text(report.page(facts, _results))
        session.config.get_terminal_writer().line(f"\nreport: {place}")
