"""SIP over TCP, TLS and WebSocket: real peers on each, and peers that mean harm."""

import contextlib
import re
import socket
import ssl
import subprocess
import time

import pytest
from conftest import PHONE_SOUND
from kit import audio, box, sip, sipp
from kit.stream import Certificates, Stream, WebSocket
from kit.wait import until

OFFER = sipp.sdp()
TLS_PORT, WS_PORT, WSS_PORT = 5061, 8088, 8443
OTHER_SOUND = audio.melody(33, 8)


@pytest.fixture
def certificates(tmp_path):
    return Certificates(tmp_path)


def streams(world, certificates=None, **server):
    """The usual configuration with every transport on both sides; TLS and WSS when there are certificates."""

    def change(config):
        for realm, address in (("carrier", world.net.box_carrier), ("phones", world.net.box_clients)):
            signaling = {"udp": f"{address}:5060", "tcp": f"{address}:5060", "ws": {"address": f"{address}:{WS_PORT}"}}
            if certificates:
                certificate, key = certificates.make(realm, address)
                tls = {"certificate": str(certificate), "key": str(key)}
                signaling["tls"] = {"address": f"{address}:{TLS_PORT}", **tls, **server}
                signaling["wss"] = {"address": f"{address}:{WSS_PORT}", **tls, "origins": ["https://phone.example"]}
            config["realms"][realm]["signaling"] = signaling

    return change


def both(*changes):
    return lambda config: [change(config) for change in changes]


def resident_kb(daemon):
    with open(f"/proc/{daemon.child.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def settled(daemon):
    until("no call to be left", lambda: daemon.status()["calls"] == 0)


@pytest.mark.parametrize("mode, calls", [("t1", 20), ("tn", 20)], ids=["one connection", "a connection each"])
def test_sipp_calls_over_tcp_and_is_called_over_tcp(world, mode, calls):
    """From one carrier to the other, in and out by TCP."""
    options = ("-t", mode, "-max_socket", 500)
    daemon = world.start(both(streams(world), lambda config: config["trunks"]["zeta"].update(transport="tcp")))
    callee = world.callee("zeta", sipp.Score().expect("INVITE").reply(100, contact=False).reply(180).reply(200, body=OFFER).expect("ACK").expect("BYE").reply_in_dialog(200),
                          calls=calls, extra=options)
    score = sipp.Score().invite(OFFER).hear(100, 180, 183).expect(200).ack().pause(300).bye().expect(200)
    caller = world.caller("acme", score, "+9915550100", calls=calls, rate=10, extra=options)
    caller.done()
    callee.done()
    assert caller.counts() == (calls, 0)
    settled(daemon)
    ended = daemon.until_event("leg.ended", 2 * calls)
    assert all(e["data"]["cause"]["status"] == 200 for e in ended)
    ours = [m for m in callee.received() if m.startswith("INVITE")]
    assert ours and all(sip.header(m, "Via").startswith("SIP/2.0/TCP") for m in ours)
    # By Contact the answer's ACK and BYE came back the same way.
    assert "transport=tcp" in sip.header(ours[0], "Contact")


def test_a_trunk_that_does_not_listen_fails_the_call_at_once(world):
    daemon = world.start(both(streams(world), lambda config: config["trunks"]["zeta"].update(transport="tcp")))
    began = time.monotonic()
    world.caller("acme", sipp.Score().invite(OFFER).hear(100).expect(503).ack(failure=True), "+9915550100").done()
    assert time.monotonic() - began < 5
    failed = daemon.until_event("leg.ended")
    assert "cannot be reached by tcp" in failed[0]["data"]["cause"]["text"], failed
    settled(daemon)


def registered_over(world, daemon, phone):
    reply = phone.register("alice", box.PASSWORDS["alice"])
    assert sip.status(reply) == 200, reply
    daemon.until_event("registration.added", user="alice")


def called(world, daemon, phone):
    """The carrier calls the phone, which answers; the phone hangs up. Returns the INVITE that came."""
    caller = world.caller("acme", sipp.Score().invite(OFFER).hear(100, 180, 183).expect(200).ack().expect("BYE").reply_in_dialog(200), box.NUMBER)
    invite = phone.receive()
    assert invite.startswith("INVITE"), invite
    phone.answer(invite, 180, "Ringing")
    body = "\r\n".join(["v=0", f"o=- 1 1 IN IP4 {phone.local}", "s=-", f"c=IN IP4 {phone.local}", "t=0 0", "m=audio 41000 RTP/AVP 0", "a=rtpmap:0 PCMU/8000", ""])
    phone.answer(invite, 200, "OK", ("Content-Type: application/sdp",), body)
    ack = phone.receive()
    assert ack.startswith("ACK"), ack
    peer = re.search(r"tag=([^;>\s]+)", sip.header(invite, "From")).group(1)
    bye = phone.request("BYE", re.search(r"<(.*)>", sip.header(invite, "Contact")).group(1), user="alice", from_tag="called", to_tag=peer,
                        call_id=sip.header(invite, "Call-ID"), cseq=7)
    assert sip.status(phone.ask(bye)) == 200
    caller.done()
    settled(daemon)
    return invite


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_baresip_registers_calls_and_is_called(world, certificates, transport):
    """Two phones on a stream call each other, and a carrier on UDP calls one of them; audio both ways."""
    daemon = world.start(streams(world, certificates))
    options = {"transport": transport, "ca": certificates.ca if transport == "tls" else None}
    alice = world.phone(**options)
    bob = world.phone("bob", local=world.net.other_client, sound=OTHER_SOUND, **options)
    assert daemon.status()["connections"] >= 2
    port = TLS_PORT if transport == "tls" else 5060
    bob.dial(f"sip:{box.NUMBER}@{world.net.box_clients}:{port};transport={transport}")
    bob.established()
    alice.established()
    daemon.until_event("media.latched", 2)
    until("two seconds of talk", lambda: daemon.live()[0]["created"] / 1e6 + 3.5 < time.time())
    bob.hangup()
    alice.closed()
    daemon.idle()
    for phone, sound in ((alice, OTHER_SOUND), (bob, PHONE_SOUND)):
        match = audio.compare(phone.heard(), sound)
        assert match.share > 0.8 and match.seconds > 1.5, match

    score = sipp.Score().invite(sipp.sdp(port=sipp.PLAYED)).hear(100, 180, 183).expect(200).ack().play(world.folder / "carrier.ul").pause(1000).bye().expect(200)
    world.caller("acme", score, box.NUMBER).done()
    alice.closed(2)
    daemon.idle()


def test_row_11_a_browser_registers_calls_and_is_called_by_websocket(world):
    """RFC 7118, as its example does it: a Via host that is no address, and every request by the one socket."""
    daemon = world.start(streams(world))
    phone = WebSocket(world.net.client, world.net.box_clients, WS_PORT)
    assert phone.socket.subprotocol == "sip"
    registered_over(world, daemon, phone)
    invite = called(world, daemon, phone)
    assert sip.header(invite, "Via").startswith("SIP/2.0/WS ") and "transport=ws" in sip.header(invite, "Contact")

    phone.send("\r\n\r\n")
    assert phone.receive() == "\r\n", "a keep-alive is answered"
    phone.socket.close()
    daemon.until_event("registration.removed", user="alice")
    assert daemon.status()["devices"] == 0


def test_row_11_secure_websocket_takes_the_pages_that_are_listed(world, certificates):
    daemon = world.start(streams(world, certificates))
    client = {"tls": certificates.client(), "name": "phones.example"}
    phone = WebSocket(world.net.client, world.net.box_clients, WSS_PORT, origin="https://phone.example", **client)
    registered_over(world, daemon, phone)
    invite = called(world, daemon, phone)
    assert sip.header(invite, "Via").startswith("SIP/2.0/WSS ")
    for options in ({"origin": "https://evil.example"}, {"subprotocols": ()}, {"subprotocols": ("chat",)}):
        with pytest.raises(Exception, match="40[03]"):
            WebSocket(world.net.client, world.net.box_clients, WSS_PORT, **client, **options)
    phone.socket.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_row_10_a_phone_registers_and_is_called_by_tls(world, certificates, version):
    daemon = world.start(streams(world, certificates))
    phone = Stream(world.net.client, world.net.box_clients, TLS_PORT, certificates.client(version=version), "phones.example")
    registered_over(world, daemon, phone)
    invite = called(world, daemon, phone)
    assert sip.header(invite, "Via").startswith("SIP/2.0/TLS ")
    phone.close()
    daemon.until_event("registration.removed", user="alice")


def test_row_10_openssl_verifies_our_certificate_and_old_versions_are_refused(world, certificates):
    world.start(streams(world, certificates))

    def s_client(*options):
        command = ["openssl", "s_client", "-connect", f"{world.net.box_clients}:{TLS_PORT}", "-servername", "phones.example", "-CAfile", certificates.ca,
                   "-verify_hostname", "phones.example", "-verify_return_error", *options]
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        return done.returncode, done.stdout + done.stderr

    code, text = s_client()
    assert code == 0 and "Verify return code: 0 (ok)" in text and "TLSv1.3" in text, text
    assert s_client("-tls1_2")[0] == 0
    assert s_client("-tls1_1")[0] != 0


def test_row_10_clients_without_a_certificate_are_refused_where_one_is_demanded(world, certificates, tmp_path):
    daemon = world.start(streams(world, certificates, client_ca=str(certificates.ca)))
    phone = Stream(world.net.client, world.net.box_clients, TLS_PORT, certificates.client(certificates.make("alice", world.net.client)), "phones.example")
    registered_over(world, daemon, phone)
    (tmp_path / "other").mkdir()
    others = Certificates(tmp_path / "other")
    for identity in (None, others.make("mallory", world.net.stranger)):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            # With TLS 1.3 the client learns of the refusal with its first read.
            refused = Stream(world.net.client, world.net.box_clients, TLS_PORT, certificates.client(identity), "phones.example")
            refused.register("bob", box.PASSWORDS["bob"])
    assert daemon.status()["devices"] == 1
    assert "TLS" in daemon.until_event("connections.refused")[0]["data"]["why"]
    phone.close()


def test_row_10_a_certificate_is_replaced_while_a_connection_stays(world, certificates):
    daemon = world.start(streams(world, certificates))
    client = certificates.client()
    phone = Stream(world.net.client, world.net.box_clients, TLS_PORT, client, "phones.example")
    registered_over(world, daemon, phone)
    first = phone.socket.getpeercert()["serialNumber"]

    certificates.make("phones", world.net.box_clients, days=10)
    daemon.reload()
    daemon.until_event("config.applied")
    new = Stream(world.net.other_client, world.net.box_clients, TLS_PORT, client, "phones.example")
    assert new.socket.getpeercert()["serialNumber"] != first
    called(world, daemon, phone)  # over the connection of before

    expiring = daemon.until_event("certificate.expiring")[0]
    assert expiring["data"]["of"] == "realm phones" and expiring["data"]["days"] in (9, 10)
    soonest = daemon.status()["certificates"][0]
    assert soonest["of"] == "realm phones" and soonest["days"] in (9, 10)
    assert "phones" in daemon.tool("status")[1]

    # A bad one leaves the good one in force.
    certificate = certificates.folder / "phones.pem"
    certificate.write_text("no certificate")
    daemon.reload()
    daemon.until_event("config.refused")
    Stream(world.net.other_client, world.net.box_clients, TLS_PORT, client, "phones.example").close()
    phone.close()
    new.close()


def test_row_10_a_trunk_by_tls_must_show_the_certificate_that_we_want(world, certificates, tmp_path):
    """The trunk is openssl's library here."""
    certificate, key = certificates.make("zeta", world.net.other_carrier)
    (tmp_path / "other").mkdir()
    wrong = Certificates(tmp_path / "other").make("zeta", world.net.other_carrier)

    def trunk(config):
        config["trunks"]["zeta"].update(transport="tls", address=world.net.other_carrier, tls={"ca": str(certificates.ca), "name": "zeta.example"})

    daemon = world.start(both(streams(world, certificates), trunk))
    for identity, status in ((wrong, 503), ((certificate, key), 486)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*identity)
        names = []
        context.sni_callback = lambda _, name, __: names.append(name)
        with socket.create_server((world.net.other_carrier, TLS_PORT)) as listener:
            listener.settimeout(10)
            caller = world.caller(f"acme-{status}", sipp.Score().invite(OFFER).hear(100).expect(status).ack(failure=True), "+9915550100")
            plain, _ = listener.accept()
            try:
                secure = context.wrap_socket(plain, server_side=True)
                server = Stream.__new__(Stream)
                server.socket, server.buffer, server.transport, server.local, server.port = secure, b"", "TLS", world.net.other_carrier, TLS_PORT
                invite = server.receive()
                assert sip.header(invite, "Via").startswith("SIP/2.0/TLS")
                server.answer(invite, 486, "Busy Here")
                assert server.receive().startswith("ACK")
            except ssl.SSLError as error:
                assert status == 503, error
            caller.done()
            assert names == ["zeta.example"]
    settled(daemon)


# ---- peers that mean harm ----


def test_garbage_closes_its_connection_and_is_counted(world, certificates):
    daemon = world.start(streams(world, certificates))
    bystander = Stream(world.net.client, world.net.box_clients)
    registered_over(world, daemon, bystander)
    for port, garbage in ((5060, b"GET / HTTP/1.1\r\n\r\n"), (5060, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), (5060, b"\0" * 64), (5060, b"x" * 9000),
                          (5060, b"INVITE sip:x SIP/2.0\r\nVia: x\r\n\r\n"), (5060, b"INVITE sip:x SIP/2.0\r\nContent-Length: 99999999\r\n\r\n"),
                          (TLS_PORT, b"INVITE sip:x SIP/2.0\r\n\r\n"), (TLS_PORT, b"\x16\x03\x01\xff\xff" + b"\xff" * 70000),
                          (WS_PORT, b"INVITE sip:x SIP/2.0\r\n\r\n"), (WSS_PORT, b"\x16\x03\x01\x00\x05hello")):
        peer = Stream(world.net.stranger, world.net.box_clients, port)
        with contextlib.suppress(OSError):
            peer.send(garbage)
        assert peer.is_closed(15), garbage[:20]
        peer.close()
    until("all to be counted", lambda: daemon.status()["connections_broken"] == 10)
    daemon.until_event("connections.refused")
    assert sip.status(bystander.register("alice", box.PASSWORDS["alice"])) == 200
    bystander.close()


def test_a_header_of_ten_megabytes_is_cut_off(world):
    daemon = world.start(streams(world))
    before = resident_kb(daemon)
    peer = Stream(world.net.stranger, world.net.box_clients)
    sent = 0
    with contextlib.suppress(OSError):
        peer.send(b"INVITE sip:x@y SIP/2.0\r\n")
        for _ in range(10_000):
            peer.send(b"X-Long: " + b"x" * 1000 + b"\r\n")
            sent += 1010
    assert sent < 10_000_000 and peer.is_closed(), "it was not read to its end"
    assert daemon.status()["connections_broken"] == 1
    assert resident_kb(daemon) < before + 20_000
    peer.close()


def test_strangers_have_few_connections_and_little_time_and_harm_no_call(world):
    """A thousand connections from one source: most are refused, and the slow ones cut off, while calls go on beside them."""
    daemon = world.start(streams(world))
    phone = Stream(world.net.client, world.net.box_clients)
    registered_over(world, daemon, phone)
    lorises = []
    began = time.monotonic()
    for _ in range(1000):
        lorises.append(Stream(world.net.stranger, world.net.box_clients))
    until("most to be refused", lambda: daemon.status()["connections_refused"] >= 1000 - 128)
    assert daemon.status()["connections"] <= 129
    called(world, daemon, phone)
    open_ones = [loris for loris in lorises if not loris.is_closed(0.001)]
    assert len(open_ones) == 128
    # One byte each second looks alive and is not.
    while time.monotonic() - began < 45 and open_ones:
        for loris in open_ones:
            with contextlib.suppress(OSError):
                loris.send(b"R")
        time.sleep(1)
        open_ones = [loris for loris in open_ones if not loris.is_closed(0.001)]
    assert not open_ones, f"{len(open_ones)} still hold on"
    assert daemon.status()["connections_expired"] >= 128
    called(world, daemon, phone)
    for loris in lorises:
        loris.close()
    phone.close()


def test_a_peer_that_takes_nothing_loses_its_connection_only(world):
    """It asks and asks and never reads an answer."""
    daemon = world.start(streams(world))
    phone = Stream(world.net.client, world.net.box_clients)
    registered_over(world, daemon, phone)
    deaf = Stream(world.net.carrier, world.net.box_carrier)
    deaf.socket.settimeout(30)
    began = time.monotonic()
    # Until it is cut off: its window, the kernel's buffers and the box's queue are full by then.
    with contextlib.suppress(OSError):
        while time.monotonic() - began < 60:
            deaf.send(deaf.request("OPTIONS", f"sip:{world.net.box_carrier}"))
    until("it to be cut off", lambda: daemon.status()["connections"] == 1, 40)
    called(world, daemon, phone)
    deaf.close()
    phone.close()
