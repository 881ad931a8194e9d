"""What happens to the process and its files: storms of signals, few descriptors, broken state, twins."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading

import pytest
from kit import box, sip, sipp
from kit.process import Child
from kit.talk import Talk, description
from kit.wait import until

SDP = "Content-Type: application/sdp"


def refused(world, change, limit_s=20):
    """A daemon that must not start: what it said."""
    config = world.configuration()
    change(config)
    world.box = box.Box(world.folder, config, ready=False)
    child = Child("refused", [box.binary("posternd"), "--config", world.box.file], world.folder)
    code = child.wait(limit_s)
    text = child.text()
    assert code == 1 and "panicked" not in text and "posternd: " in text, (code, text)
    return text


def test_a_storm_of_reloads_during_a_call(world):
    daemon = world.start()
    talk = Talk(world.net).talk()
    for number in range(100):
        if number % 10 == 5:
            daemon.write("realms: [")
        elif number % 10 == 6:
            daemon.write()
        os.kill(daemon.child.pid, signal.SIGHUP)
        if number % 5 == 0:
            until("the daemon to answer", lambda: daemon.get("/v1/status")[0] == 200)
    daemon.write()
    daemon.tool("reload")
    talk.unharmed(missed_max=5)
    talk.hang_up()
    daemon.idle()
    assert daemon.events(type="config.applied")
    # It still takes calls by its configuration.
    Talk(world.net).hang_up()


def test_told_to_stop_it_ends_its_calls_and_keeps_what_happened(world):
    daemon = world.start()
    talk = Talk(world.net).talk()
    os.kill(daemon.child.pid, signal.SIGTERM)
    for side in (talk.near, talk.far):
        assert (side.receive(5) or "").startswith("BYE"), "no goodbye"
    assert daemon.child.wait(15) == 0
    talk.close()
    assert not daemon.socket.exists()
    text = daemon.child.text()
    for kind in ("appliance.stopping", "leg.ended", "call.ended"):
        assert kind in text, kind
    daemon.start()
    kinds = [e["type"] for e in daemon.events()]
    assert kinds.count("call.ended") == 1 and "appliance.stopping" in kinds
    assert daemon.until_event("appliance.started", 2)[-1]["data"]["calls_lost"] == 0
    (call,) = [c for c in daemon.calls() if not c.get("parent")]
    assert call["sid"]


def test_killed_with_calls_it_tells_the_loss_and_serves_again(world):
    daemon = world.start()
    talk = Talk(world.net).talk()
    daemon.until_event("media.latched", 2)
    daemon.kill()
    talk.close()
    daemon.start()
    assert daemon.until_event("appliance.started", 2)[-1]["data"]["calls_lost"] == 1
    Talk(world.net).hang_up()
    daemon.idle()


def test_who_calls_before_the_box_is_up_is_told_after_its_start(world):
    carrier, over = sip.Raw(world.net.carrier), threading.Event()
    invite = carrier.request("INVITE", f"sip:{box.NUMBER}@{world.net.box_carrier}", (SDP,), description(world.net.carrier, 6000))

    def insist():
        while not over.wait(0.001):
            # Nobody listens yet, and says so.
            with contextlib.suppress(OSError):
                carrier.send(invite, world.net.box_carrier)

    thread = threading.Thread(target=insist, daemon=True)
    thread.start()
    try:
        daemon = world.start()
        daemon.until_event("call.offered")
    finally:
        over.set()
        thread.join()
        carrier.socket.close()
    assert daemon.events()[0]["type"] == "appliance.started", "or the next start could not tell whose call was lost"


def test_few_descriptors_refuse_calls_and_pass(world):
    """64 descriptors: calls beyond them are refused with a fact, the ones that are up go on, and it recovers."""
    daemon = world.start()
    talk = Talk(world.net).talk()
    # The soft limit only: the hard one cannot be raised again.
    soft, hard = limits(daemon)
    subprocess.run(["prlimit", f"--pid={daemon.child.pid}", f"--nofile=64:{hard}"], check=True)
    raw = sip.Raw(world.net.carrier, 5070)
    outcomes = []
    for _ in range(40):
        text = raw.request("INVITE", f"sip:+992@{world.net.box_carrier}", (SDP,), description(raw.local, 6100))
        raw.send(text, world.net.box_carrier)
        message = raw.receive(5)
        seen = []
        while message and message.startswith("SIP/2.0 100"):
            message = raw.receive(0.05)
            seen.append(message)
        outcomes.append(sip.status(message) if message else 100)
    assert any(status >= 500 for status in outcomes), outcomes
    assert daemon.child.running()
    talk.unharmed(missed_max=5)
    subprocess.run(["prlimit", f"--pid={daemon.child.pid}", f"--nofile={soft}:{hard}"], check=True)
    until("the tool to be served", lambda: daemon.get("/v1/status")[0] == 200)
    assert daemon.events(type="media.refused")
    raw.close()
    talk.near.close()
    talk.far.close()


def limits(daemon):
    with open(f"/proc/{daemon.child.pid}/limits") as text:
        row = next(line for line in text if line.startswith("Max open files")).split()
    return row[3], row[4]


def test_without_its_folders(world):
    blocked = world.folder / "file"
    blocked.write_text("")
    text = refused(world, lambda c: c["appliance"].update(state_folder=str(blocked / "state")))
    assert str(blocked) in text
    text = refused(world, lambda c: c["appliance"].update(runtime_folder=str(blocked)))
    assert str(blocked) in text


def test_a_foreign_file_in_place_of_the_socket_is_left_alone(world):
    (world.folder / "run").mkdir()
    (world.folder / "run" / "postern.sock").write_text("precious")
    text = refused(world, lambda c: None)
    assert "postern.sock" in text and "not a socket" in text
    assert (world.folder / "run" / "postern.sock").read_text() == "precious"


def test_a_stale_socket_is_replaced(world):
    (world.folder / "run").mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(world.folder / "run" / "postern.sock"))
    dead.close()
    assert world.start().status()["calls"] == 0


def test_a_twin_is_refused_and_the_first_goes_on(world):
    daemon = world.start()
    talk = Talk(world.net).talk()
    base = world.folder / "twin"
    base.mkdir()

    def twin(name, change):
        config = world.configuration()
        change(config)
        (base / f"{name}.yaml").write_text(box.yaml.safe_dump(config))
        child = Child(name, [box.binary("posternd"), "--config", base / f"{name}.yaml"], world.folder)
        code = child.wait(20)
        assert code == 1 and "panicked" not in child.text(), child.text()
        return child.text()

    # The same addresses.
    assert "realms.carrier.signaling" in twin("twin-ports", lambda c: None)

    # Other addresses and ports, the same folders: it must not touch the first one's spool, store or socket.
    def elsewhere(config):
        for index, realm in enumerate(config["realms"].values()):
            realm["signaling"] = [f"{world.net.ip(200 + index)}:5060"]
            realm["media"]["addresses"] = [world.net.ip(200 + index)]
        config["api"]["listen"] = f"{world.net.servers}:8081"

    text = twin("twin-folders", elsewhere)
    assert "another" in text, text
    before = daemon.status()["events_seq"]
    talk.unharmed(missed_max=5)
    talk.hang_up()
    daemon.idle()
    assert daemon.child.running() and daemon.status()["events_seq"] > before
    daemon.until_event("call.ended")
    # What it kept since then is whole.
    daemon.stop()
    daemon.start()
    seqs = [e["seq"] for e in daemon.events()]
    assert seqs == list(range(1, len(seqs) + 1)), seqs


def spool(daemon):
    return sorted(p for p in (daemon.folder / "state" / "spool").iterdir() if p.name != "cursor" and p.is_file() and p.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


DAMAGES = {
    "flipped": lambda d: flip(spool(d)[-1]),
    "cut": lambda d: spool(d)[-1].write_bytes(spool(d)[-1].read_bytes()[:-7]),
    "garbage": lambda d: spool(d)[-1].write_bytes(os.urandom(5000)),
    "foreign files": lambda d: [(d.folder / "state" / "spool" / name).write_bytes(b"x" * 100) for name in ("README", "00000000000000000000.seg.bak", "zzz")],
    "cursor": lambda d: [p.write_bytes(os.urandom(40)) for p in (d.folder / "state" / "spool").glob("cursor*")],
    "empty": lambda d: spool(d)[-1].write_bytes(b""),
    "length": lambda d: spool(d)[-1].open("ab").write(b"\xff" * 16),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_spool_costs_no_more_than_what_is_damaged(world, damage):
    daemon = world.start()
    Talk(world.net).hang_up()
    daemon.until_event("call.ended")
    last = daemon.status()["events_seq"]
    assert daemon.stop() == 0
    DAMAGES[damage](daemon)
    daemon.start()
    Talk(world.net).hang_up()
    daemon.until_event("call.ended")
    events = daemon.events()
    seqs = [e["seq"] for e in events]
    assert seqs == sorted(set(seqs))
    if damage in ("foreign files", "cursor", "length", "cut"):
        assert max(seqs) > last - 2 and seqs[0] == 1
    assert "panicked" not in daemon.child.text()


def test_a_broken_store_is_said_or_mended(world):
    daemon = world.start()
    Talk(world.net).hang_up()
    daemon.idle()
    assert daemon.stop() == 0
    file = daemon.folder / "state" / "calls.db"
    whole = file.read_bytes()

    def put(content):
        # A log left behind belongs to the file that was there before.
        for extra in file.parent.glob("calls.db-*"):
            extra.unlink()
        file.write_bytes(content)

    for name, content in (("garbage", os.urandom(20000)), ("text", b"no database at all\n" * 100), ("half", whole[: len(whole) // 2])):
        put(content)
        child = Child(f"broken-{name}", [box.binary("posternd"), "--config", daemon.file], world.folder)
        until("it to say so or to serve", lambda child=child: not child.running() or daemon.get("/v1/status")[0] == 200, 20)
        text = child.text()
        assert "panicked" not in text, text
        if child.running():
            assert child.stop() == 0
        else:
            assert "calls.db" in text and child.process.returncode == 1, text
    # Of a later release: refused, and left as it is.
    put(whole)
    with sqlite3.connect(file) as store:
        store.execute("pragma user_version = 99")
    store.close()
    before = file.read_bytes()
    child = Child("newer", [box.binary("posternd"), "--config", daemon.file], world.folder)
    assert child.wait(20) == 1 and "calls.db" in child.text()
    assert file.read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="a small file system needs root")
def test_a_full_disk_stops_no_call_and_is_told(world):
    """The state folder on a file system of 1 MB that somebody else fills: calls go on, the failure is a fact, room heals it."""
    state = world.folder / "state"
    state.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", state], capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        daemon = world.start()
        talk = Talk(world.net).talk()
        filler = state / "filler"
        with filler.open("wb", buffering=0) as out:
            try:
                while out.write(b"\0" * 4096):
                    pass
            except OSError:
                pass
        for number in range(10):
            raw = sip.Raw(world.net.carrier, 5070)
            raw.ask(raw.request("INVITE", f"sip:+3{number}@{world.net.box_carrier}", (SDP,), description(raw.local, 6100)), world.net.box_carrier)
            raw.close()
        until("the failure to be told", lambda: "store.failed" in daemon.child.text() or daemon.events(type="store.failed"))
        talk.unharmed(missed_max=5)
        talk.hang_up()
        filler.unlink()
        daemon.until_event("call.ended", 11, 20)
        assert daemon.stop() == 0
    finally:
        if world.box and world.box.child:
            world.box.child.stop()
        subprocess.run(["umount", "-l", state], capture_output=True)


HUGE = "# " + "x" * (64 << 20)


def test_a_configuration_that_is_none_leaves_the_old_one(world):
    daemon = world.start()
    good = daemon.file.read_text()
    secret = world.folder / "token"

    def gone():
        daemon.file.unlink()

    def folder():
        daemon.file.unlink()
        daemon.file.mkdir()

    def pipe():
        daemon.file.rmdir()
        os.mkfifo(daemon.file)

    def endless():
        daemon.file.unlink()
        daemon.file.symlink_to("/dev/zero")

    def content(data):
        def write():
            if daemon.file.is_symlink():
                daemon.file.unlink()
            daemon.file.write_bytes(data)
        return write

    nested = b"a: " + b"[" * 100_000
    anchors = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9))
    missing = good.replace(f"token: {box.TOKEN}", f"token: {{file: {secret}}}")
    assert missing != good
    trials = [gone, content(b""), content(os.urandom(20000)), content(b"\0" * 5000), content(HUGE.encode()), content(nested), content(anchors), content(missing.encode()), gone, content(b"x"), folder, pipe, endless]
    for number, trial in enumerate(trials, 1):
        trial()
        daemon.reload()
        daemon.until_event("config.refused", number, 20)
        code, text = daemon.tool("status")
        assert code == 0
    daemon.file.unlink()
    daemon.file.write_text(good)
    daemon.tool("reload")
    Talk(world.net).hang_up()
    daemon.idle()
    with open(f"/proc/{daemon.child.pid}/status") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident < 400_000


def test_the_tool_and_what_it_cannot_use(world):
    daemon = world.start()
    assert daemon.tool(check=False)[0] == 2
    for words in (("frobnicate",), ("explain",), ("status", "extra"), ("events", "--tail", "x"), ("--socket",), ("calls", "--finished", "-1")):
        assert daemon.tool(*words, check=False)[0] == 2, words
    for call in ("", "*", "CA", "%00", "../../status", "CA" + "f" * 32, "x" * 5000, "'; drop table calls; --", "\u202e\u0000"[:1], "?finished=1", "-1", " "):
        for word in ("explain", "hangup"):
            code, text = daemon.tool(word, "--", call, check=False)
            assert code in (1, 2) and "panicked" not in text and len(text) < 8000, (word, call, code, text)
    # Not a socket, not ours, nobody there.
    elsewhere = world.folder / "other.sock"
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(elsewhere))
    for path, listening in ((daemon.file, False), (world.folder, False), (world.folder / "none.sock", False), (elsewhere, False)):
        done = subprocess.run([box.binary("postern"), "--socket", path, "status"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 3 and "panicked" not in done.stderr and done.stderr.startswith("postern: "), (path, done)
    other.listen()

    def speak_of_something_else():
        # The tool looks first whether anybody is there.
        for _ in range(2):
            with contextlib.suppress(OSError), other.accept()[0] as line:
                line.sendall(b"SSH-2.0-x\r\n")

    threading.Thread(target=speak_of_something_else, daemon=True).start()
    done = subprocess.run([box.binary("postern"), "--socket", elsewhere, "status"], capture_output=True, text=True, timeout=40)
    assert done.returncode in (1, 3) and "panicked" not in done.stderr, done
    other.close()
    pipe = world.folder / "pipe"
    os.mkfifo(pipe)
    (world.folder / "binary").write_bytes(os.urandom(5000))
    for path in (world.folder, world.folder / "none.yaml", world.folder / "binary", "/dev/null", "/dev/zero", pipe, box.binary("postern")):
        done = subprocess.run([box.binary("postern"), "check", path], capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
        assert done.returncode == 1 and b"panicked" not in done.stderr and done.stdout + done.stderr, (path, done.returncode, done.stderr[:300])
        assert len(done.stdout + done.stderr) < 100_000
