"""Application servers that are dead, slow, huge, lost or malicious, and media that is none. The call ends or goes on as documented; nobody else notices."""

import os
import socket
import ssl
import subprocess
import threading
import time

from kit import audio, box, sip, sipp
from kit.appserver import Reply
from kit.talk import description
from kit.wait import until
from test_documents import document

OFFER = sipp.sdp()
FALLBACK = document("<Hangup/>")


class Odd:
    """A TCP server that does with each connection what it is told, with TLS or not."""

    def __init__(self, address, act, tls=None):
        self.server = socket.create_server((address, 0), backlog=64)
        self.port = self.server.getsockname()[1]
        self.act, self.tls, self.ended = act, tls, threading.Event()
        self.url = f"{'https' if tls else 'http'}://{address}:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            connection.settimeout(30)
            connection.recv(65536)
            self.act(connection, self.ended)
        except OSError:
            pass
        finally:
            connection.close()

    def stop(self):
        self.ended.set()
        self.server.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"


def drip(connection, ended):
    connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n<Response>")
    while not ended.wait(0.3):
        connection.sendall(b" ")


def endless(connection, ended):
    connection.sendall(HEAD + b"\r\n<Response>")
    while not ended.is_set():
        connection.sendall(b" " * 65536)


def endless_head(connection, ended):
    connection.sendall(HEAD)
    while not ended.is_set():
        connection.sendall(b"X-More: " + b"y" * 8000 + b"\r\n")


def silent(connection, ended):
    ended.wait(30)


def garbage(connection, ended):
    connection.sendall(b"\x00\xff" * 4000)


def lies(connection, ended):
    connection.sendall(HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")


def self_signed(folder, address):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def dialed(world, number, name="acme"):
    """One call to a number; its end is ours, however it goes."""
    score = sipp.Score().invite(OFFER).hear(100, 180, 183, 480, 500, 503, 603, 486, 404).expect(200).ack().expect("BYE", within_ms=20000).reply_in_dialog(200, "OK")
    return world.caller(name, score, number)


def failures(world, urls, change=None):
    """A number for each URL, all called at once; what app.failed said of each."""
    def several(config):
        for index, (name, url) in enumerate(urls.items()):
            config["applications"][f"a{index}"] = {"account": "main", "voice_url": url, "voice_fallback_url": f"{world.app.url}/fallback"}
            config["numbers"][f"+1666000{index:04}"] = {"application": f"a{index}"}
        if change:
            change(config)

    world.app["/fallback"] = FALLBACK
    daemon = world.start(several)
    raw = sip.Raw(world.net.carrier)
    calls = {}
    for index, name in enumerate(urls):
        text = raw.request("INVITE", f"sip:+1666000{index:04}@{world.net.box_carrier}", ("Content-Type: application/sdp",), description(raw.local, 6000))
        calls[sip.header(text, "Call-ID")] = name
        raw.send(text, world.net.box_carrier)
    until("every call to end", lambda: len(daemon.events(type="call.ended")) >= len(urls), 45)
    raw.close()
    names = {e["call"]: calls[e["data"]["sip_call_id"]] for e in daemon.events(type="call.offered")}
    told = {}
    for event in daemon.events(type="app.failed"):
        told.setdefault(names[event["call"]], event["data"])
    return daemon, told


def test_servers_that_break_http_give_way_to_the_fallback(world):
    odd = {name: Odd(world.net.servers, act) for name, act in {"drip": drip, "endless": endless, "endless head": endless_head, "silent": silent, "garbage": garbage, "lies": lies}.items()}
    tls = Odd(world.net.servers, silent, self_signed(world.folder, world.net.servers))
    dead = socket.create_server((world.net.servers, 0))
    gone = dead.getsockname()[1]
    dead.close()
    app = world.app
    app["/loop"] = lambda request: Reply("", 302, headers={"Location": "/loop"})
    app["/file"] = Reply("", 302, headers={"Location": "file:///etc/passwd"})
    app["/nowhere"] = Reply("", 302, headers={"Location": "http://"})
    urls = {name: server.url + "/" for name, server in odd.items()}
    urls |= {"self-signed": tls.url + "/", "dead": f"http://{world.net.servers}:{gone}/", "loop": app.url + "/loop", "file": app.url + "/file", "nowhere": app.url + "/nowhere",
             "no host": "http://no-such-host.invalid/", "underscore": "http://no_such_host.invalid/"}
    begun = time.monotonic()
    daemon, told = failures(world, urls)
    codes = {name: data["code"] for name, data in told.items()}
    assert set(codes) == set(urls)
    assert codes["self-signed"] == 11220 and codes["dead"] == 11205, codes
    assert codes["silent"] == codes["drip"] == 11235, codes
    assert all(codes[name] == 11210 for name in ("no host", "underscore")), (codes, told["underscore"])
    assert all(code in range(11200, 11300) for code in codes.values()), codes
    assert all(data["then"] == "secondary" for data in told.values()) and time.monotonic() - begun < 40
    assert len(app.asked("/fallback")) == len(urls)
    errors = {r.params.get("ErrorCode") for r in app.asked("/fallback")}
    assert errors == {str(code) for code in codes.values()}
    for server in (*odd.values(), tls):
        server.stop()
    daemon.idle(40)


def laughs():
    entities = "".join(f'<!ENTITY l{n} "{"&l%d;" % (n - 1) * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY l0 "lol">{entities}]><Response><Say>&l9;</Say></Response>'


DOCUMENTS = {
    "2 MB": "<Response>" + "<Pause/>" * 250_000 + "</Response>", "deep": "<Response>" + "<Dial>" * 50_000 + "</Dial>" * 50_000 + "</Response>", "deep attributes": "<Response><Pause " + " ".join(f'a{n}="1"' for n in range(20_000)) + "/></Response>",
    "laughs": laughs(), "external": '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><Response><Redirect>&x;</Redirect></Response>',
    "utf-8": b"<Response><Redirect>\xff\xfe\xc0\x80</Redirect></Response>", "utf-16": "<Response/>".encode("utf-16"), "nul": b"<Response>\0</Response>", "empty": b"", "html": "<html><body>500</body></html>",
    "unclosed": "<Response><Dial>", "comment": "<!--" + "-" * 100_000, "processing": "<?" * 20_000, "cdata": "<Response><![CDATA[" + "]" * 100_000, "text": "hello", "verbs": "<Response>" + "<Redirect>x</Redirect>" * 5000 + "</Response>",
}


def test_documents_made_to_hurt(world):
    for name, body in DOCUMENTS.items():
        world.app[f"/d/{name.replace(' ', '-')}"] = Reply(body)
    world.app["/x"] = "<Response/>"
    world.app["/kind"] = Reply("MZ\x90", kind="application/octet-stream")
    daemon, told = failures(world, {**{name: f"{world.app.url}/d/{name.replace(' ', '-')}" for name in DOCUMENTS}, "kind": world.app.url + "/kind"})
    fine = {"verbs"}
    assert set(told) | fine >= {*DOCUMENTS, "kind"}, set(DOCUMENTS) - set(told)
    text = daemon.child.text()
    assert "root:x:" not in text and "panicked" not in text and "lollol" not in text
    for request in world.app.requests:
        assert "root:" not in str(request.params) and "root:" not in request.path
    daemon.idle(30)



def test_cookies_are_bounded(world):
    """A server that sets ever more cookies does not make its own requests grow for ever."""
    sizes = []

    def answer(request):
        sizes.append(len(request.headers.get("Cookie") or ""))
        if len(sizes) >= 12:
            return document("<Hangup/>")
        return Reply(document("<Redirect>/voice</Redirect>"), headers={"Set-Cookie": f"c{len(sizes)}={'v' * 3500}; Path=/"})

    world.app["/voice"] = answer
    daemon = world.start()
    run = dialed(world, box.NUMBER_APP)
    daemon.until_event("call.ended")
    run.stop()
    assert len(sizes) >= 2 and max(sizes) <= 64 * 1024, sizes
    daemon.idle()


def test_media_that_is_none_is_skipped(world):
    """Each Play fails with a reason; the document goes on to its end."""
    inside, outside = world.folder / "prompts", world.folder / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    audio.write_wav(outside / "secret.wav", audio.melody(5, 1))
    os.symlink(outside / "secret.wav", inside / "link.wav")
    os.symlink(outside, inside / "folder")
    os.mkfifo(inside / "pipe.wav")
    (inside / "empty.wav").write_bytes(b"")
    (inside / "lies.wav").write_bytes(b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\xff\xff\xff\xff")
    stream = Odd(world.net.servers, endless)
    world.app["/text.wav"] = Reply("no audio", kind="audio/wav")
    plays = [f"file://{outside}/secret.wav", f"file://{inside}/link.wav", f"file://{inside}/folder/secret.wav", f"file://{inside}/../elsewhere/secret.wav", f"file://{inside}/%2e%2e/elsewhere/secret.wav",
             "file:///etc/passwd", "file:///dev/zero", f"file://{inside}/pipe.wav", f"file://{inside}", f"file://{inside}/empty.wav", f"file://{inside}/lies.wav", stream.url + "/", "/missing.wav", "/text.wav"]
    world.app["/voice"] = document("".join(f"<Play>{url}</Play>" for url in plays) + "<Redirect>/end</Redirect>")
    world.app["/end"] = document("<Hangup/>")
    daemon = world.start(lambda c: c["media"].update(prompt_folders=[str(inside)]))
    run = dialed(world, box.NUMBER_APP)
    until("the call to come to its end", lambda: world.app.asked("/end"), 40)
    run.done()
    assert [e["data"]["url"].rsplit("/", 1)[-1] for e in daemon.events(type="play.failed")] == [url.rsplit("/", 1)[-1] for url in plays]
    assert not daemon.events(type="play.started")
    assert "root:x:" not in daemon.child.text()
    stream.stop()
    daemon.idle()
