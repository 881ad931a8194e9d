"""The HTTP faces, TCP and Unix: clients that are slow, rude, many, or somebody else."""

import base64
import json
import socket
import time

import pytest
from kit import box, sip, sipp
from kit.flood import Flood
from kit.talk import Talk, description
from kit.wait import until

OTHER = ("AC" + "6" * 31 + "b", "other-token-88ff01")
BASIC = "Authorization: Basic " + base64.b64encode(f"{box.ACCOUNT}:{box.TOKEN}".encode()).decode()


def connect(daemon, unix=False):
    if unix:
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        s.connect(str(daemon.socket))
        return s
    host, port = daemon.config["api"]["listen"].rsplit(":", 1)
    return socket.create_connection((host, int(port)), 20)


def exchange(daemon, data, unix=False):
    """What comes back until the daemon closes; nothing when it closes without a word."""
    s = connect(daemon, unix)
    got = b""
    try:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        while part := s.recv(65536):
            got += part
            if len(got) > 1 << 20:
                break
    except OSError:  # closed while we still spoke
        pass
    finally:
        s.close()
    return got


def serves(daemon):
    return daemon.rest("GET", f"/2010-04-01/Accounts/{box.ACCOUNT}/Calls.json")[0] == 200 and daemon.get("/v1/status")[0] == 200


CALLS = f"/2010-04-01/Accounts/{box.ACCOUNT}/Calls"
NONSENSE = {
    "empty": b"", "line": b"\r\n" * 5000, "http09": b"GET /\r\n\r\n", "zeros": b"\0" * 50000, "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500,
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", "sip": b"OPTIONS sip:x SIP/2.0\r\n\r\n",
    "long head": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 300_000 + b"\r\n\r\n", "long path": b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n", "bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: \xff\r\n\r\n",
    "chunks": f"POST {CALLS}.json HTTP/1.1\r\nHost: x\r\n{BASIC}\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nxx".encode(),
    "bad chunk": f"POST {CALLS}.json HTTP/1.1\r\nHost: x\r\n{BASIC}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n".encode(),
    "both lengths": f"POST {CALLS}.json HTTP/1.1\r\nHost: x\r\n{BASIC}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n".encode(),
    "negative": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "short body": f"POST {CALLS}.json HTTP/1.1\r\nHost: x\r\n{BASIC}\r\nContent-Length: 5000\r\n\r\nTo=1".encode(),
}


def test_what_is_no_request_is_refused(world):
    daemon = world.start()
    for name, data in NONSENSE.items():
        for unix in (False, True):
            answer = exchange(daemon, data, unix)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4") or answer.startswith(b"HTTP/1.0 4"), (name, answer[:200])
            assert b"panic" not in answer and len(answer) < 4000, name
    assert serves(daemon)


def test_paths_methods_and_forms_that_do_not_exist(world):
    daemon = world.start()
    paths = ["/", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/calls/../../etc/passwd", "/v1/calls/%00", f"{CALLS}/CA1.json", f"{CALLS}/{'CA' + 'f' * 32}.json", "/v1/events/../status",
             "//v1/status", "/v1/status/", f"{CALLS}.xml", "/2010-04-01/Accounts/AC1/Calls.json", f"/2010-04-01/Accounts/{box.ACCOUNT}/%2e%2e/Calls.json", "/v1/events?type=%ff&call=';--", "/v1/events?last_event_id=-1",
             "/v1/events?last_event_id=99999999999999999999999", "/v1/calls?finished=99999999999", "/v1/events?" + "type=call.*&" * 500]
    for path in paths:
        for method in ("GET", "PUT", "DELETE", "PATCH", "TRACE", "FROB"):
            status, body = daemon.rest(method, path)
            assert 400 <= status < 500 and b"root:" not in body and len(body) < 4000, (method, path, status, body[:200])
    forms = [{}, {"To": "x" * 5000}, {"To": "+1", "From": "+1", "Url": "file:///etc/passwd"}, {"To": "+1", "From": "+1", "Url": "gopher://x"}, {"To": "+1\r\nX: y", "From": "+1", "Twiml": "<Response/>"},
             {"To": "+1", "From": "+1"}, {"To": "+1", "From": "+1", "Twiml": "<" * 4001}, {"To": "+1", "From": "+1", "Timeout": "-1", "Twiml": "<Response/>"}, {"To": ["+1"] * 500},
             {"To": "sip:a@b\r\nRoute: c", "From": "+1", "Twiml": "<Response/>"}, {f"K{n}": "v" for n in range(5000)}]
    for form in forms:
        status, body = daemon.rest("POST", f"{CALLS}.json", form)
        assert 400 <= status < 500 and json.loads(body)["code"], (str(form)[:80], status, body[:300])
    # Refused while it still comes: the answer may be lost with the connection.
    huge = exchange(daemon, f"POST {CALLS}.json HTTP/1.1\r\nHost: x\r\n{BASIC}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3000000\r\n\r\nTo=".encode() + b"x" * 2_999_997)
    assert huge == b"" or huge.split(b" ")[1] in (b"400", b"413"), huge[:200]
    assert serves(daemon) and daemon.events(type="call.created") == []


def test_guessing_tokens_gets_nothing_and_costs_little(world):
    daemon = world.start()
    wrong = [None, ("", ""), (box.ACCOUNT, ""), (box.ACCOUNT, box.TOKEN + "x"), (box.ACCOUNT, box.TOKEN[:-1]), ("AC" + "0" * 32, box.TOKEN), (box.ACCOUNT.lower(), box.TOKEN.upper()), ("x" * 5000, "y" * 5000)]
    for number in range(400):
        status, body = daemon.rest("GET", f"{CALLS}.json", auth=wrong[number % len(wrong)])
        assert status == 401 and box.TOKEN.encode() not in body
    for header in ("Bearer x", "Basic", "Basic !!!", "Basic " + "A" * 10000, "Digest username=x"):
        assert daemon.rest("GET", "/v1/events", auth=None, headers={"Authorization": header})[0] == 401
    # The tool's own resources are not served over TCP, not even with a token.
    for path in ("/v1/status", "/v1/calls", "/v1/reload"):
        for method in ("GET", "POST"):
            assert daemon.rest(method, path)[0] in (404, 405), path
    assert serves(daemon)


def test_slow_clients_keep_nobody_waiting(world):
    """Heads that drip, and bodies that never come: the others are served meanwhile."""
    daemon = world.start()
    slow = []
    for number in range(200):
        s = connect(daemon, unix=number % 2 == 0)
        s.sendall(b"GET /healthz HT" if number % 4 < 2 else f"POST {CALLS}.json HTTP/1.1\r\nHost: x\r\n{BASIC}\r\nContent-Length: 90\r\n\r\nTo=".encode())
        slow.append(s)
    begun = time.monotonic()
    for _ in range(20):
        assert serves(daemon)
    assert time.monotonic() - begun < 10
    for s in slow:
        s.close()


def test_many_readers_and_slow_ones_delay_no_call(world):
    daemon = world.start()
    stream = f"GET /v1/events HTTP/1.1\r\nHost: x\r\n{BASIC}\r\n\r\n".encode()
    readers = []
    for number in range(300):
        s = connect(daemon)
        if number >= 150:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(stream)
        if number % 3 == 0:
            s.shutdown(socket.SHUT_WR)
        readers.append(s)
    for number, s in enumerate(readers):
        # Who says that it is done may be let go without a word.
        assert s.recv(12)[9:12] in ((b"200", b"503") if number % 3 else (b"200", b"503", b"")), number
    begun = time.monotonic()
    talk = Talk(world.net).talk()
    assert time.monotonic() - begun < 3, "the call was delayed"
    # None of the readers reads; events flow all the same.
    for number in range(100):
        daemon.tool("hangup", "CA" + f"{number:032x}", check=False) if number < 3 else daemon.get("/v1/status")
    talk.unharmed(missed_max=3)
    talk.hang_up()
    daemon.idle()
    for s in readers:
        s.close()
    until("the readers to be gone", lambda: daemon.status()["streams"]["readers"] == 0)


def test_a_slow_reader_is_told_of_the_gap(world):
    """More happens than memory holds while it does not read: the marker says which numbers are missing."""
    daemon = world.start(lambda c: c["log"].update(level="warning"))
    slow = connect(daemon)
    slow.sendall(f"GET /v1/events?last_event_id=0 HTTP/1.1\r\nHost: x\r\n{BASIC}\r\n\r\n".encode())
    local = connect(daemon, unix=True)
    local.sendall(b"GET /v1/events?last_event_id=0 HTTP/1.1\r\nHost: x\r\n\r\n")
    raw = sip.Raw(world.net.carrier, 5070)
    body = description(raw.local, 6000)
    invites = [raw.request("INVITE", f"sip:+3{n}@{world.net.box_carrier}", ("Content-Type: application/sdp",), body).encode() for n in range(6000)]
    raw.close()
    Flood(world.folder, [(world.net.carrier, 5070)], [(world.net.box_carrier, 5060)], invites, 6000, 1500).sent(60)
    until("more events than memory holds", lambda: daemon.status()["events_seq"] > 17_500, 30)
    seen = b""
    local.settimeout(5)
    while b"event: gap" not in seen and b"heartbeat" not in seen:
        part = local.recv(65536)
        assert part, "ended without a gap"
        seen = seen[-200:] + part
    local.close()
    slow.close()
    assert serves(daemon)


@pytest.fixture
def tenants(world):
    daemon = world.start(lambda c: c["accounts"].update(other={"sid": OTHER[0], "token": OTHER[1]}))
    world.app["/voice"] = '<Response><Gather timeout="30"/></Response>'
    return daemon


def test_an_account_sees_and_touches_only_its_own(world, tenants):
    daemon = tenants
    run = world.caller("acme", sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().expect("BYE", within_ms=20000).reply_in_dialog(200, "OK"), box.NUMBER_APP)
    daemon.until_event("leg.answered")
    (call,) = daemon.live()
    mine, theirs = f"{CALLS}/{call['sid']}.json", f"/2010-04-01/Accounts/{OTHER[0]}/Calls/{call['sid']}.json"
    assert daemon.rest("GET", mine)[0] == 200
    for path, auth in ((theirs, OTHER), (mine, OTHER), (theirs, (box.ACCOUNT, box.TOKEN)), (mine, (box.ACCOUNT, OTHER[1])), (mine, (OTHER[0], box.TOKEN))):
        for method, form in (("GET", None), ("POST", {"Status": "completed"}), ("POST", {"Twiml": "<Response><Hangup/></Response>"}), ("POST", {"Url": world.app.url + "/stolen"}), ("DELETE", None)):
            status, body = daemon.rest(method, path, form, auth)
            assert status in (401, 403, 404, 405), (method, path, status, body)
    listed = daemon.rest("GET", f"/2010-04-01/Accounts/{OTHER[0]}/Calls.json", auth=OTHER)
    assert listed[0] == 200 and call["sid"].encode() not in listed[1]
    for query in ("", f"&call={call['sid']}", "&account=" + box.ACCOUNT, "&type=*"):
        status, body = daemon.rest("GET", "/v1/events?last_event_id=0&follow=false" + query, auth=OTHER)
        assert (status == 400 or status == 200) and call["sid"].encode() not in body, (query, body)
    assert len(daemon.live()) == 1 and world.app.asked("/stolen") == []
    assert daemon.rest("POST", mine, {"Status": "completed"})[0] == 200
    run.done()
    daemon.idle()
