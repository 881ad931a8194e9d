"""The unit as it is shipped, run by a booted systemd: every restriction is in force, and calls would work."""

import json
import os

import pytest
from kit.booted import REPOSITORY, Booted, Unavailable
from kit.wait import until

CONFIGURATION = """
appliance: { name: edge-unit }
realms:
  phones: { signaling: [127.0.0.1:5060], media: { ports: 20000-20099 }, registrations: true }
users:
  alice: { password: { credential: alice } }
"""

# What an administrator adds, and a watchdog for which a test can wait.
DROP_IN = """[Service]
LoadCredential=alice:/etc/postern/credentials/alice
WatchdogSec=3
"""

REGISTER = r"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 5070)); s.settimeout(5)
s.sendto(b"REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bKu1\r\nFrom: <sip:alice@127.0.0.1>;tag=a\r\n"
    b"To: <sip:alice@127.0.0.1>\r\nCall-ID: unit\r\nCSeq: 1 REGISTER\r\nContact: <sip:alice@127.0.0.1:5070>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", ("127.0.0.1", 5060))
print(s.recv(4096).decode().splitlines()[0])
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root, for namespaces")
    try:
        machine = Booted(tmp_path_factory.mktemp("booted"))
    except Unavailable as why:
        pytest.skip(str(why))
    files = REPOSITORY / "systemd"
    machine.run(f"systemd-sysusers {files}/sysusers.d/postern.conf && systemd-tmpfiles --create {files}/tmpfiles.d/postern.conf")
    machine.run(f"mkdir -p /etc/systemd/system/posternd.service.d /var/lib/systemd/catalog && cp {files}/postern.catalog /usr/lib/systemd/catalog/ && journalctl --update-catalog")
    machine.run(f"cp {files}/posternd.service /usr/lib/systemd/system/ && cat > /etc/systemd/system/posternd.service.d/test.conf <<'END'\n{DROP_IN}END")
    machine.run(f"echo wonderland > /etc/postern/credentials/alice && cat > /etc/postern/postern.yaml <<'END'\n{CONFIGURATION}END")
    machine.run("systemctl daemon-reload && systemctl start posternd")
    yield machine
    machine.stop()


def shown(machine, *names):
    return dict(line.partition("=")[::2] for line in machine.run(f"systemctl show posternd -p {','.join(names)}")[1].splitlines())


def pid(machine):
    return shown(machine, "MainPID")["MainPID"]


def test_it_serves_with_every_restriction_in_force(machine):
    told = dict(line.split(":", 1) for line in machine.run(f"cat /proc/{pid(machine)}/status")[1].splitlines())
    assert told["NoNewPrivs"].strip() == "1" and told["Seccomp"].strip() == "2"
    assert int(told["CapBnd"], 16) == 1 << 10, "CAP_NET_BIND_SERVICE and no other"
    assert told["Uid"].split()[0] == machine.run("id -u postern")[1].strip()
    assert "io_uring" in machine.run(f"ls -l /proc/{pid(machine)}/fd")[1]
    # By its rings, and with the password of a credential: it could not have started without.
    assert "401" in machine.run(f"python3 -c '{REGISTER}'")[1]
    status = json.loads(machine.run("postern --json status")[1])
    assert status["sip_received"] >= 1 and status["media"]["workers"] == 1
    assert machine.run("stat -c '%U %a' /var/lib/postern/calls.db /run/postern/postern.sock")[1] == "postern 640\npostern 660\n"
    code, out = machine.run("setpriv --reuid=65534 --clear-groups postern status", check=False)
    assert code == 3 and "you may not open" in out


def test_the_journal_has_the_fields_and_the_catalog_speaks(machine):
    entry = json.loads(machine.run("journalctl -o json --no-pager -n 1 EVENT_TYPE=appliance.started")[1])
    assert entry["_SYSTEMD_UNIT"] == "posternd.service" and entry["EVENT_SEQ"] == "1" and entry["MESSAGE"].endswith("is up")
    assert "The daemon is up and serves" in machine.run("journalctl -x --no-pager -o short EVENT_TYPE=appliance.started")[1]


def test_reload_says_whether_the_file_was_taken(machine):
    before = pid(machine)
    machine.run("systemctl reload posternd")
    machine.run("cp /etc/postern/postern.yaml /run/good.yaml && echo 'colour: red' >> /etc/postern/postern.yaml")
    code, _ = machine.run("systemctl reload posternd", check=False)
    assert code != 0
    assert "unknown key `colour`" in machine.run("journalctl -u posternd -o cat --no-pager -n 20")[1]
    machine.run("cp /run/good.yaml /etc/postern/postern.yaml && systemctl reload posternd")
    assert shown(machine, "ActiveState", "MainPID") == {"ActiveState": "active", "MainPID": before}


def test_one_that_hangs_is_started_again_and_one_that_stops_stays_so(machine):
    machine.run(f"kill -STOP {pid(machine)}")
    until("the watchdog", lambda: shown(machine, "NRestarts")["NRestarts"] == "1" and shown(machine, "ActiveState")["ActiveState"] == "active", 20)
    machine.run("systemctl stop posternd")
    assert shown(machine, "ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
