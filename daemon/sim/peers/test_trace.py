"""`postern trace`: the messages of a call as they were on the wire, to a person, to tshark, and without what is secret."""

import json
import os
import re
import subprocess
import time

import pytest
from kit import box, sipp
from kit.stream import Certificates
from kit.wait import until
from test_transports import both, streams

OFFER = sipp.sdp()
TALK = sipp.Score().invite(OFFER).hear(100, 180, 183).expect(200).ack().pause(200).bye().expect(200)
ANSWER = sipp.Score().expect("INVITE").reply(180).reply(200, body=OFFER).expect("ACK").expect("BYE").reply_in_dialog(200)


def across(world, daemon, **options):
    """One call from a carrier to the other; its sid."""
    callee = world.callee("zeta", ANSWER, **options)
    world.caller("acme", TALK, "+9915550100", **options).done()
    callee.done()
    daemon.idle()
    return daemon.events(type="call.ended")[-1]["call"]


def packets(path, *fields):
    shown = [word for field in fields for word in ("-e", field)]
    done = subprocess.run(["tshark", "-r", str(path), "-T", "fields", *shown], capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_row_38_a_call_between_carriers_is_a_ladder_a_pcap_and_json(world):
    daemon = world.start()
    call = across(world, daemon)
    drawn = daemon.tool("trace", call)[1]
    labels = re.findall(r"[-<>|]+ ([A-Z0-9][^-|<>]*?) [-<>|]+", drawn)
    assert labels[0] == "INVITE (SDP)" and labels.count("INVITE (SDP)") == 2 and labels[-1].startswith("200 "), drawn
    for wanted in ("100 Trying", "180 Ringing", "200 OK (SDP)", "ACK", "BYE"):
        assert wanted in labels, drawn
    assert f"{world.net.carrier}:5060" in drawn and f"{world.net.other_carrier}:5060" in drawn and "PCMU" in drawn
    # By the beginning of the sid and by a leg of it, too.
    assert daemon.tool("trace", call[:12])[1] == drawn
    leg = next(e["leg"] for e in daemon.events(type="leg.dialed"))
    assert daemon.tool("trace", leg)[1] == drawn

    told = daemon.tool("trace", call, json_out=True)
    assert [m["way"] for m in told["messages"][:2]] == ["in", "out"] and told["dropped"] == 0
    file = world.folder / "call.pcap"
    daemon.tool("trace", call, "--pcap", file)
    assert oct(os.stat(file).st_mode & 0o777) == "0o600"
    rows = packets(file, "ip.src", "ip.dst", "udp.srcport", "sip.Method", "sip.Status-Code", "sip.Call-ID", "sdp.media", "udp.checksum.status", "_ws.malformed")
    assert len(rows) == len(told["messages"])
    assert rows[0][:4] == [world.net.carrier, world.net.box_carrier, "5060", "INVITE"] and rows[0][6].startswith("audio")
    assert len({row[5] for row in rows}) == 2 and not any(row[8] for row in rows), rows
    # What tshark reads is what the daemon says it saw.
    assert [row[3] or row[4] for row in rows] == [re.match(r"(?:SIP/2.0 )?(\S+)", m["text"]).group(1) for m in told["messages"]]


def test_row_38_messages_of_tcp_and_tls_are_in_it_decrypted(world):
    certificates = Certificates(world.folder)

    def encrypted(config):
        config["trunks"]["zeta"].update(transport="tcp")
        config["trunks"]["acme"].update(transport="tcp")

    daemon = world.start(both(streams(world, certificates), encrypted))
    call = across(world, daemon, extra=("-t", "t1", "-max_socket", 100))
    told = daemon.tool("trace", call, json_out=True)
    assert {m["transport"] for m in told["messages"]} == {"tcp"}
    assert [m["text"].split()[0] for m in told["messages"] if m["way"] == "out" and m["text"].startswith("INVITE")] == ["INVITE"]
    file = world.folder / "call.pcap"
    daemon.tool("trace", call, "--pcap", file)
    rows = packets(file, "sip.Method", "sip.Status-Code")
    assert len(rows) == len(told["messages"]) and all(any(row) for row in rows), rows


def test_secrets_are_masked_unless_root_asks(world):
    """A user calls out with a password; SDES keys are in the offer."""
    from kit import sip

    daemon = world.start(lambda config: config["users"]["bob"].update(srtp="accept"))
    key = "WnD7c1ksDGs+dIefCEo8omPg4uO8DYIinNGL5yxQ"
    offer = "\r\n".join(["v=0", f"o=- 1 1 IN IP4 {world.net.client}", "s=-", f"c=IN IP4 {world.net.client}", "t=0 0", "m=audio 41000 RTP/SAVP 0",
                         f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}", ""])
    raw = sip.Raw(world.net.client)
    uri = f"sip:+15550199@{world.net.box_clients}"
    kind = ("Content-Type: application/sdp",)
    first = raw.request("INVITE", uri, kind, offer, user="bob", call_id="secretive")
    challenged = raw.ask(first, world.net.box_clients)
    assert sip.status(challenged) == 401, challenged
    proof = sip.answer(sip.challenge(challenged), "bob", box.PASSWORDS["bob"], "INVITE", uri)
    digest = re.search(r'response="([0-9a-f]+)"', proof).group(1)
    raw.send(raw.request("INVITE", uri, (*kind, f"Authorization: {proof}"), offer, user="bob", cseq=2, call_id="secretive"), world.net.box_clients)
    call = daemon.until_event("call.offered")[0]["call"]
    daemon.tool("hangup", call)
    daemon.idle()
    told = json.dumps(daemon.tool("trace", call, json_out=True))
    assert told.count("secretive") >= 4 and "401 " in told, told
    whole = daemon.tool("trace", call, "--full")[1]
    assert "401 Unauthorized" in whole and "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:***" in whole, whole
    for secret in (key, digest):
        assert secret not in told and secret not in whole
    code, said = daemon.tool("--json", "trace", call, "--secrets", check=False)
    if os.geteuid() == 0:
        assert code == 0 and key in said and digest in said
    else:
        assert code == 1 and "root" in said
    raw.close()


def test_a_flood_of_strangers_pushes_out_no_call_and_limits_hold(world):
    from kit import sip

    # Neither rate nor ban stands before the trace, which has to hold by itself.
    unheld = {"rate": 100_000, "burst": 100_000, "bans": False}
    daemon = world.start(lambda config: config.update(trace={"calls": 3, "mb": 1}, protection=unheld))
    calls = [across(world, daemon) for _ in range(2)]
    raw = sip.Raw(world.net.stranger)
    for number in range(3000):
        raw.send(raw.request("INVITE", f"sip:{number}@{world.net.box_carrier}", body="x" * 600, call_id=f"s{number}"), world.net.box_carrier)
    until("the flood to be seen", lambda: daemon.status()["strangers"] >= 1000)
    assert all("BYE" in daemon.tool("trace", call)[1] for call in calls)
    kept = daemon.tool("trace", calls[0], json_out=True)["kept"]
    assert kept["calls"] == 2 and kept["bytes"] < 1 << 20
    calls += [across(world, daemon) for _ in range(2)]
    code, said = daemon.tool("trace", calls[0], check=False)
    assert code == 1 and "trace.calls" in said, said
    assert daemon.tool("trace", calls[-1])[0] == 0
    raw.close()


def test_it_can_be_turned_off(world):
    daemon = world.start(lambda config: config.update(trace={"calls": 0}))
    call = across(world, daemon)
    code, said = daemon.tool("trace", call, check=False)
    assert code == 1 and "`trace.calls` is 0" in said, said


def test_following_shows_messages_as_they_pass(world):
    daemon = world.start()
    follower = subprocess.Popen([str(box.binary("postern")), "--socket", str(daemon.socket), "trace", "--follow", world.net.other_carrier],
                                stdout=subprocess.PIPE, text=True, bufsize=1)
    try:
        # It begins with what passes after its first look.
        end = time.monotonic() + 20
        seen = ""
        while "BYE" not in seen and time.monotonic() < end:
            across(world, daemon)
            os.set_blocking(follower.stdout.fileno(), False)
            until("lines", lambda: True)
            seen += follower.stdout.read() or ""
        assert "INVITE (SDP)" in seen and f"-> udp {world.net.other_carrier}:5060" in seen, seen
        assert f"udp {world.net.carrier}:5060" not in seen
    finally:
        follower.kill()
        follower.wait()


def test_row_37_a_collector_that_is_read_by_the_specification(world):
    """A reader of HEP3 chunks, written from its description."""
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind((world.net.servers, 9060))
        collector.settimeout(5)
        daemon = world.start(lambda config: config.update(hep={"address": f"{world.net.servers}:9060", "id": 2001}))
        call = across(world, daemon)
        for message in daemon.tool("trace", call, json_out=True)["messages"]:
            datagram = collector.recv(65535)
            assert datagram[:4] == b"HEP3" and struct.unpack("!H", datagram[4:6])[0] == len(datagram)
            chunks, at = {}, 6
            while at < len(datagram):
                vendor, kind, length = struct.unpack_from("!HHH", datagram, at)
                chunks[kind] = datagram[at + 6 : at + length]
                assert vendor == 0 and length >= 6
                at += length
            source, target = (message["remote"], message["local"]) if message["way"] == "in" else (message["local"], message["remote"])
            ends = [f"{socket.inet_ntoa(chunks[ip])}:{struct.unpack('!H', chunks[port])[0]}" for ip, port in ((3, 7), (4, 8))]
            assert ends == [source, target]
            assert (chunks[1], chunks[2], chunks[11], chunks[12]) == (b"\x02", b"\x11", b"\x01", struct.pack("!I", 2001))
            seconds, micros = struct.unpack("!I", chunks[9])[0], struct.unpack("!I", chunks[10])[0]
            assert seconds * 1_000_000 + micros == message["at"]
            assert chunks[15].decode() == message["text"] and chunks[17].decode() in message["text"]
