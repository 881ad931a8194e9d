"""`postern support-bundle`, `postern doctor` and the words of `postern explain`: what helps somebody who was not there."""

import json
import os
import tarfile

from kit import box, sip, sipp

OFFER = sipp.sdp()
SECRETS = {
    "alice": box.PASSWORDS["alice"], "bob": box.PASSWORDS["bob"], "account": box.TOKEN, "credentials": "trunk-out-7712", "demands": "trunk-in-8813",
    "url": "key-in-a-url-5567", "user of a url": "word-in-a-url-9921",
}


def with_secrets(config):
    config["trunks"]["acme"]["credentials"] = {"username": "us", "password": SECRETS["credentials"]}
    config["trunks"]["zeta"]["demands"] = {"username": "them", "password": SECRETS["demands"]}
    application = config["applications"]["greeting"]
    application["voice_fallback_url"] = f"http://user:{SECRETS['user of a url']}@127.0.0.1:1/spare?key={SECRETS['url']}"


def called_out(world, daemon):
    """Bob calls with his password, and says it in a header, too: what nobody expects."""
    raw = sip.Raw(world.net.client)
    uri = f"sip:+15550199@{world.net.box_clients}"
    key = "WnD7c1ksDGs+dIefCEo8omPg4uO8DYIinNGL5yxQ"
    offer = "\r\n".join(["v=0", f"o=- 1 1 IN IP4 {world.net.client}", "s=-", f"c=IN IP4 {world.net.client}", "t=0 0", "m=audio 41000 RTP/AVP 0",
                         f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}", ""])
    headers = ("Content-Type: application/sdp", f"Subject: {box.PASSWORDS['bob']}")
    challenged = raw.ask(raw.request("INVITE", uri, headers, offer, user="bob", call_id="bundled"), world.net.box_clients)
    proof = sip.answer(sip.challenge(challenged), "bob", box.PASSWORDS["bob"], "INVITE", uri)
    raw.send(raw.request("INVITE", uri, (*headers, f"Authorization: {proof}"), offer, user="bob", cseq=2, call_id="bundled"), world.net.box_clients)
    daemon.until_event("leg.dialed", 1, trunk="acme")
    raw.close()
    return [key, proof.split('response="')[1].split('"')[0]]


def read(path):
    with tarfile.open(path) as archive:
        assert all(member.isfile() and "/" in member.name and ".." not in member.name for member in archive)
        return {member.name.split("/", 1)[1]: archive.extractfile(member).read().decode() for member in archive}


def bundle(daemon, path):
    return daemon.tool("--config", daemon.file, "support-bundle", path, socket=False)


def test_a_bundle_has_what_helps_and_no_secret(world):
    daemon = world.start(with_secrets)
    world.caller("acme", sipp.Score().invite(OFFER).hear(100).expect(480).ack(failure=True), box.NUMBER).done()
    daemon.until_event("call.ended")
    # Nobody answers this one, and it lives on while the bundle is made.
    more = called_out(world, daemon)
    failed = daemon.events(type="call.ended")[0]["call"]
    path = world.folder / "help.tar.gz"
    said = bundle(daemon, path)[1]
    assert "no secrets" in said and oct(os.stat(path).st_mode & 0o777) == "0o600", said
    texts = read(path)
    for name in ("README.txt", "configuration.yaml", "doctor.txt", "status.json", "calls.json", "events.txt", f"calls/{failed}.txt", f"traces/{failed}.txt", "os-release.txt"):
        assert name in texts, sorted(texts)
    assert "INVITE (SDP)" in texts[f"traces/{failed}.txt"] and "registered" in texts[f"calls/{failed}.txt"]
    assert "password: '***'" in texts["configuration.yaml"], texts["configuration.yaml"]
    for what, secret in [*SECRETS.items(), *enumerate(more)]:
        assert [name for name, text in texts.items() if secret in text] == [], what
    # What was not to be had is named.
    assert all(name in texts["README.txt"] for name in texts if name != "README.txt")
    # This journal is no service's.
    assert "journal.txt: " in texts["README.txt"] or "journal.txt" in texts


def test_a_bundle_without_a_daemon_or_with_a_wrong_configuration_still_helps(world):
    daemon = world.start(with_secrets)
    daemon.stop()
    path = world.folder / "dead.tar.gz"
    bundle(daemon, path)
    texts = read(path)
    assert "doctor.txt" in texts and "configuration.yaml" in texts and "status, calls, events, traces: no daemon" in texts["README.txt"], texts["README.txt"]
    daemon.write(daemon.file.read_text().replace("password: alice", "passwort: alice"))
    bundle(daemon, path)
    texts = read(path)
    assert "configuration-mistakes.txt" in texts and "configuration.yaml" not in texts
    assert all(secret not in text for secret in SECRETS.values() for text in texts.values())
    code, said = daemon.tool("support-bundle", world.folder / "wrong.zip", check=False)
    assert code == 1 and ".tar.gz" in said
    code, said = daemon.tool("support-bundle", "/nonexistent/x.tar.gz", check=False)
    assert code == 1 and "/nonexistent" in said


def test_the_doctor_sees_the_running_daemon_and_a_dead_name(world):
    daemon = world.start(lambda config: config["trunks"]["zeta"].update(address="no-such-host.invalid"))
    code, said = daemon.tool("--json", "--config", daemon.file, "doctor", socket=False, check=False)
    told = json.loads(said)
    findings = {finding["check"]: finding for finding in told["findings"]}
    assert code == 1 and told["verdict"] == "bad"
    assert findings["ports"]["verdict"] == "ok" and findings["DNS no-such-host.invalid"]["verdict"] == "bad"
    assert findings["disk sync"]["verdict"] in ("ok", "warn", "bad") and findings["descriptors"]["found"].startswith("the daemon")


def test_explain_says_in_words_why_calls_failed(world):
    daemon = world.start()
    stories = []
    for number, status, score in ((box.NUMBER, 480, None), ("+1000", 404, None), ("+9915550100", 486, 486), ("+9915550100", 503, 503), ("+9915550100", 603, 603)):
        callee = score and world.callee("zeta", sipp.Score().expect("INVITE").reply(score).expect("ACK"))
        world.caller("acme", sipp.Score().invite(OFFER).hear(100).expect(status).ack(failure=True), number).done()
        if callee:
            callee.done()
        daemon.idle()
        stories.append(daemon.tool("explain", daemon.events(type="call.ended")[-1]["call"])[1])
    for story, words in zip(stories, ("Nobody is registered under that user", "No number and no route matches", "the callee is busy", "overloaded or under maintenance", "the callee declined")):
        assert words in story, story
