"""`postern apply`: another configuration in the file's place, for good or for a time only."""

import copy
import os
import pty
import subprocess

import pytest
import yaml
from kit import box
from kit.wait import until

NEW_NUMBER = "+15551239999"


@pytest.fixture
def daemon(world):
    return world.start()


def other(daemon, **changes):
    """A file with one number more, elsewhere."""
    config = copy.deepcopy(daemon.config)
    config["numbers"][NEW_NUMBER] = {"trunk": "zeta"}
    config.update(changes)
    file = daemon.folder / "elsewhere" / "new.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(config))
    return file


def knows(daemon):
    """Whether the configuration in force has the number."""
    return "trunk zeta" in daemon.tool("route", NEW_NUMBER, "--from", "acme")[1]


def beside(daemon, ending):
    return daemon.file.with_name(f"{daemon.file.name}.{ending}")


def tool(daemon, *words, **how):
    return daemon.tool("--config", daemon.file, *words, **how)


def test_another_file_takes_the_place_and_the_one_of_before_stays(daemon):
    before, new = daemon.file.read_text(), other(daemon)
    daemon.file.chmod(0o640)
    told = tool(daemon, "apply", new)[1]
    assert "the configuration is applied" in told and str(beside(daemon, "before")) in told, told
    assert knows(daemon) and daemon.file.read_text() == new.read_text() and beside(daemon, "before").read_text() == before
    assert daemon.file.stat().st_mode & 0o777 == 0o640 and not beside(daemon, "trial").exists()
    assert daemon.status()["trial_left_s"] is None


@pytest.mark.parametrize("how", [(), ("--confirm", "60s")], ids=["for good", "on trial"])
def test_what_cannot_be_used_changes_nothing(daemon, how):
    before, new = daemon.file.read_text(), other(daemon)
    new.write_text(new.read_text().replace("numbers:", "numbres:"))
    code, told = tool(daemon, "apply", new, *how, check=False)
    assert code == 1 and "did you mean `numbers`" in told and "nothing was changed" in told, told
    code, told = tool(daemon, "apply", new.with_name("none.yaml"), *how, check=False)
    assert code == 1 and "none.yaml cannot be read" in told, told
    assert daemon.file.read_text() == before and not beside(daemon, "trial").exists() and not beside(daemon, "before").exists()
    assert not knows(daemon)


def test_row_41_a_trial_that_nobody_confirms_goes_back_by_itself(daemon):
    before = daemon.file.read_text()
    told = tool(daemon, "apply", other(daemon), "--confirm", "2s")[1]
    assert "on trial for 2 s" in told and knows(daemon), told
    assert daemon.file.read_text() == before
    assert "postern confirm" in daemon.tool("status")[1] and daemon.status()["trial_left_s"] <= 2
    (gone,) = daemon.until_event("config.reverted")
    assert gone["data"]["after_s"] == 2 and not knows(daemon)
    assert [event["data"]["by"] for event in daemon.events(type="config.applied")][-2:] == ["postern apply, on trial for 2 s", "the end of a trial"]
    code, told = tool(daemon, "confirm", check=False)
    assert code == 1 and "no configuration is on trial" in told, told
    assert daemon.file.read_text() == before


def test_a_trial_that_is_confirmed_stays(daemon):
    new = other(daemon)
    tool(daemon, "apply", new, "--confirm", "1m")
    assert knows(daemon)
    told = tool(daemon, "confirm", json_out=True)
    assert told == {"file": str(daemon.file), "before": str(beside(daemon, "before"))}
    assert knows(daemon) and daemon.file.read_text() == new.read_text() and daemon.status()["trial_left_s"] is None
    daemon.tool("reload")
    assert knows(daemon) and not daemon.events(type="config.reverted")


def test_a_reload_goes_back_at_once_and_a_second_trial_does_not_forget_what_was_before(daemon):
    before = daemon.file.read_text()
    tool(daemon, "apply", other(daemon), "--confirm", "1m")
    tool(daemon, "apply", other(daemon, log={"level": "info", "to": "stderr"}), "--confirm", "1s")
    daemon.until_event("config.reverted")
    assert not knows(daemon)
    tool(daemon, "apply", other(daemon), "--confirm", "1m")
    assert knows(daemon)
    daemon.tool("reload")
    assert not knows(daemon) and daemon.status()["trial_left_s"] is None and daemon.file.read_text() == before


def test_a_daemon_that_dies_on_trial_comes_back_with_the_file(daemon):
    tool(daemon, "apply", other(daemon), "--confirm", "1m")
    assert knows(daemon)
    daemon.kill()
    daemon.start()
    assert not knows(daemon) and daemon.status()["trial_left_s"] is None


def test_what_was_changed_since_is_not_confirmed_and_other_files_are_not_tried(daemon):
    tool(daemon, "apply", other(daemon), "--confirm", "1m")
    beside(daemon, "trial").write_text("appliance: {name: x}")
    code, told = tool(daemon, "confirm", check=False)
    assert code == 1 and "not what is on trial any more" in told, told
    wrong = daemon.folder / "elsewhere" / "wrong.yaml"
    wrong.write_text(daemon.file.read_text())
    for how in (("--confirm", "1m"), ()):
        code, told = daemon.tool("--config", wrong, "apply", other(daemon), *how, check=False)
        assert code == 1 and f"the daemon runs with {daemon.file}" in told, told
    assert wrong.read_text() == daemon.file.read_text()
    for query in ("", "?place=x", "?place=x&seconds=0", "?place=x&seconds=3601", "?place=x&seconds=soon"):
        assert daemon.get(f"/v1/trial{query}", "POST")[0] == 400, query
    for time in ("0s", "2h", "soon"):
        assert tool(daemon, "apply", wrong, "--confirm", time, check=False)[0] == 2, time


@pytest.mark.parametrize("answers", [True, False], ids=["enter", "nothing"])
def test_a_person_is_asked(daemon, answers):
    new = other(daemon)
    main, side = pty.openpty()
    command = [box.binary("postern"), "--socket", daemon.socket, "--config", daemon.file, "apply", new, "--confirm", "1m" if answers else "1s"]
    child = subprocess.Popen(list(map(str, command)), stdin=side, stdout=side, stderr=side, close_fds=True)
    os.close(side)
    said = b""
    try:
        while b"Enter keeps it " not in said or b"goes back in" not in said:
            said += os.read(main, 4096)
        if answers:
            os.write(main, b"\n")
        assert until("the tool to end", lambda: child.poll() is not None, 20) and child.returncode == (0 if answers else 1), said
    finally:
        child.kill()
        child.wait()
        os.close(main)
    assert knows(daemon) == answers == (daemon.file.read_text() == new.read_text())
    assert answers != bool(daemon.events(type="config.reverted"))
