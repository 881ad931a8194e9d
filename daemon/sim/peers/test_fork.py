"""A call's audio sent to a WebSocket server: heard there as it was said, over TLS, and whatever the server does the call goes on."""

import json
import socket
import ssl
import threading

import pytest
from conftest import CARRIER_SOUND, PHONE_SOUND
from kit import audio, box, stream
from kit.listener import Listener
from kit.wait import until
from test_documents import document
from test_recording import talks


@pytest.fixture
def listen(world):
    made = []

    def listen(**options):
        made.append(Listener(world.net.servers, **options))
        return made[-1]

    yield listen
    for listener in made:
        listener.stop()


def is_in(heard, sound, seconds):
    match = audio.compare(heard, sound)
    assert match.seconds >= seconds, match


@pytest.mark.parametrize("srtp", ["off", "required"])
def test_both_parties_are_heard_by_the_server(world, listen, srtp):
    daemon = world.start(lambda config: config["users"]["alice"].update(srtp=srtp))
    server = listen()
    stream_noun = f'<Stream url="{server.url}/ear?key=k1" name="copy" track="both_tracks" statusCallback="/told"><Parameter name="lang" value="de"/></Stream>'
    world.app["/voice"] = document(f"<Start>{stream_noun}</Start><Dial><Client>alice</Client></Dial>")
    phone = world.phone(srtp=srtp == "required")
    world.caller("acme", talks(world, 3500), box.NUMBER_APP).done()
    phone.closed()
    (heard,) = server.until_closed()
    first, second, last = heard.messages[0], heard.messages[1], heard.messages[-1]
    assert (first["event"], second["event"], last["event"]) == ("connected", "start", "stop")
    start = second["start"]
    assert start["tracks"] == ["inbound", "outbound"] and start["customParameters"] == {"lang": "de"}
    assert start["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    assert start["accountSid"] == box.ACCOUNT and start["callSid"] == last["stop"]["callSid"]
    assert [int(m["sequenceNumber"]) for m in heard.messages[1:]] == list(range(1, len(heard.messages)))
    is_in(heard.track("inbound"), CARRIER_SOUND, 2)
    is_in(heard.track("outbound"), PHONE_SOUND, 1.5)
    # The call itself was relayed as ever.
    is_in(phone.heard(), CARRIER_SOUND, 2)
    told = until("both callbacks", lambda: (all := world.app.until_asked("/told")) and len(all) == 2 and all)
    assert [t.params["StreamEvent"] for t in told] == ["stream-started", "stream-stopped"]
    assert {t.params["StreamSid"] for t in told} == {start["streamSid"]} and told[0].params["StreamName"] == "copy"
    daemon.idle()
    (ended,) = daemon.until_event("fork.ended")
    assert ended["data"]["sent"] == len(heard.events("media")) and ended["data"]["lost"] == 0
    assert "k1" not in json.dumps(daemon.events()), "a URL's query is nobody's business"
    assert heard.path == "/ear?key=k1" and "x-twilio-signature" in {name.lower() for name in heard.headers}


def test_tls_is_verified(world, listen):
    certificates = stream.Certificates(world.folder)
    tls = {}
    for name, host in (("right", world.net.servers), ("wrong", world.net.stranger)):
        tls[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls[name].load_cert_chain(*certificates.make(name, host))
    right, wrong = listen(tls=tls["right"]), listen(tls=tls["wrong"])
    daemon = world.start(env={"SSL_CERT_FILE": str(certificates.ca)})
    streams = "".join(f'<Start><Stream url="{server.url}/"/></Start>' for server in (right, wrong))
    world.app["/voice"] = document(f"{streams}<Pause length='20'/>")
    world.caller("acme", talks(world, 1500), box.NUMBER_APP).done()
    (heard,) = right.until_closed()
    is_in(heard.track("inbound"), CARRIER_SOUND, 0.5)
    daemon.idle()
    (failed,) = daemon.until_event("fork.failed")
    assert failed["data"]["server"].startswith(wrong.url) and "TLS" in failed["data"]["why"] and not wrong.heard


def test_the_package_starts_and_stops_a_stream(world, listen):
    twilio = pytest.importorskip("twilio.rest")
    daemon = world.start()
    client = twilio.Client(box.ACCOUNT, box.TOKEN)
    client.api.base_url = "http://" + daemon.config["api"]["listen"]
    server = listen()
    world.app["/voice"] = document("<Pause length='1'/><Gather timeout='20'/>")
    run = world.caller("acme", talks(world, 2500), box.NUMBER_APP)
    (asked,) = world.app.until_asked("/voice")
    call = asked.params["CallSid"]
    until("the call to be answered", lambda: client.calls(call).fetch().status == "in-progress")
    until("its first verb to be over", lambda: [e for e in daemon.events(type="document.verb") if e["data"]["verb"] == "Gather"])
    made = client.calls(call).streams.create(url=server.url, name="copy", track="inbound_track", parameter1_name="a", parameter1_value="b")
    assert made.status == "in-progress" and made.sid.startswith("MZ") and made.name == "copy"
    until("a second and a half of it", lambda: server.heard and len(server.heard[0].events("media")) > 75)
    assert client.calls(call).streams(made.sid).update(status="stopped").status == "stopped"
    (heard,) = server.until_closed()
    assert heard.messages[1]["start"]["customParameters"] == {"a": "b"}
    is_in(heard.track("inbound"), CARRIER_SOUND, 0.9)
    run.done()
    daemon.idle()


def garbage(connection, heard):
    connection.send("no JSON")
    connection.send(b"\xff" * 1000)
    connection.send(json.dumps({"event": "media", "media": {"payload": "!"}}))
    Listener.read(connection, heard)


def huge(connection, heard):
    connection.send(b"\0" * (4 << 20))
    Listener.read(connection, heard)


def closes(connection, heard):
    for _ in range(10):
        heard.messages.append(json.loads(connection.recv(5)))


def vanishes(connection, heard):
    closes(connection, heard)
    connection.socket.shutdown(2)


@pytest.mark.parametrize("behave, ended", [(garbage, "stopped"), (huge, "failed"), (closes, "closed"), (vanishes, "failed")])
def test_whatever_the_server_does_the_call_goes_on(world, listen, behave, ended):
    daemon = world.start()
    server = listen(behave=behave)
    world.app["/voice"] = document(f'<Start><Stream url="{server.url}/"/></Start><Dial><Client>alice</Client></Dial>')
    phone = world.phone()
    world.caller("acme", talks(world, 2500), box.NUMBER_APP).done()
    phone.closed()
    is_in(phone.heard(), CARRIER_SOUND, 1.5)
    (over,) = until("the stream to end", lambda: [e for e in daemon.events() if e["type"] in ("fork.ended", "fork.failed")])
    assert over["data"]["why"] == ended if over["type"] == "fork.ended" else ended == "failed", over


def test_a_server_that_never_answers_costs_nothing_but_its_stream(world):
    daemon = world.start()
    with socket.create_server((world.net.servers, 0)) as silent:
        url = f"ws://{world.net.servers}:{silent.getsockname()[1]}/"
        world.app["/voice"] = document(f'<Start><Stream url="{url}" statusCallback="/told"/></Start><Dial><Client>alice</Client></Dial>')
        phone = world.phone()
        world.caller("acme", talks(world, 2500), box.NUMBER_APP).done()
        phone.closed()
        is_in(phone.heard(), CARRIER_SOUND, 1.5)
        (told,) = world.app.until_asked("/told")
        assert told.params["StreamEvent"] == "stream-error" and told.params["StreamError"]
    daemon.idle()


def test_what_a_server_does_not_read_is_lost_and_counted(world, listen):
    daemon = world.start()
    over = threading.Event()
    server = listen(behave=lambda connection, heard: over.wait(20), receive_buffer=4096)
    world.app["/voice"] = document(f'<Start><Stream url="{server.url}/" track="both_tracks"/></Start><Dial><Client>alice</Client></Dial>')
    phone = world.phone()
    world.caller("acme", talks(world, 4000), box.NUMBER_APP).done()
    phone.closed()
    is_in(phone.heard(), CARRIER_SOUND, 1.5)
    over.set()
    (ended,) = until("the stream to end", lambda: [e for e in daemon.events() if e["type"] in ("fork.ended", "fork.failed")])
    assert ended["data"]["lost"] > 50 and ended["data"]["sent"] < 300, ended
    daemon.idle()
