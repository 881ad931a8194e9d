"""Row 12: signed callers (STIR/SHAKEN), with a signer and verifier that is not ours."""

import re
import time

import pytest
from kit import sip, sipp, stir
from kit.appserver import AppServer, Reply
from kit.box import NUMBER_APP
from kit.stream import Certificates

WHERE = "https://certificates.example/postern.pem"
ORIGID = "123e4567-e89b-12d3-a456-426655440000"


def signing(key, **trunk):
    def change(config):
        config["stir"] = {"sign": {"key": str(key), "certificate": WHERE, "origid": ORIGID}}
        config["trunks"]["zeta"]["stir"] = {"sign": True}
        config["trunks"]["acme"].update(trunk)

    return change


CALLER = "+15550100"


class Checked:
    """A box that checks the signatures of acme's calls, an authority with a signer, and the repository of its certificate."""

    def __init__(self, world, verify, emergency=(), sign=None, **settings):
        self.world = world
        self.authority = Certificates(world.folder, "shaken")
        repositories = Certificates(world.folder, "repositories")
        self.certificate, self.key = self.authority.make("signer", "127.0.0.1")
        _, self.stranger = self.authority.make("stranger", "127.0.0.1")
        self.repository = AppServer(world.net.servers, tls=repositories.make("repository", world.net.servers))
        self.repository["/signer.pem"] = self.certificate.read_text()
        self.repository["/self.pem"] = repositories.ca.read_text()
        self.settings = {"authorities": str(self.authority.ca), "repository_ca": str(repositories.ca), "private_repositories": True, **settings}
        self.raw = sip.Raw(world.net.carrier)

        def change(config):
            config["stir"] = {"verify": self.settings}
            config["realms"]["carrier"]["emergency"] = list(emergency)
            config["trunks"]["acme"].update(stir={"verify": verify}, trusted=True)
            config["trunks"]["zeta"]["trusted"] = True
            if sign:
                config["stir"]["sign"] = {"key": str(sign), "certificate": WHERE, "origid": ORIGID}
                config["trunks"]["zeta"]["stir"] = {"sign": True}
                config["routes"][0]["from"] = "any"

        self.daemon = world.start(change)

    def sign(self, dest, path="/signer.pem", **options):
        return stir.sign(options.pop("key", self.key), self.repository.url + path, options.pop("orig", CALLER[1:]), dest.lstrip("+"), **options)

    def call(self, to, identity=None, headers=()):
        """The final status of a call of acme."""
        target = self.world.net.box_carrier
        signed = (f"Identity: {identity}",) if identity else ()
        body = "\r\n".join(["v=0", f"o=- 1 1 IN IP4 {self.raw.local}", "s=-", f"c=IN IP4 {self.raw.local}", "t=0 0", "m=audio 4000 RTP/AVP 0", ""])
        invite = self.raw.request("INVITE", f"sip:{to}@{target}", (*headers, *signed, "Content-Type: application/sdp"), body, user=CALLER)
        return sip.status(self.raw.ask(invite, target, limit_s=10))

    def end(self):
        self.raw.close()
        self.repository.stop()


@pytest.fixture
def checked(world):
    made = []

    def make(*words, **settings):
        made.append(Checked(world, *words, **settings))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_row_12_a_checked_caller_is_told_to_applications_records_and_trunks(world, checked):
    box = checked("tag")
    world.app["/voice"] = "<Response><Reject reason='busy'/></Response>"
    identity = box.sign(NUMBER_APP, attest="B")
    assert box.call(NUMBER_APP, identity) == 486
    (asked,) = world.app.asked("/voice")
    assert asked.params["StirVerstat"] == "TN-Validation-Passed-B" and asked.params["StirPassportToken"] == identity.split(";")[0]
    assert box.call(NUMBER_APP) == 486
    assert world.app.asked("/voice")[1].params["StirVerstat"] == "No-TN-Validation"
    # Its certificate is known by now: nobody is asked again.
    zeta = world.callee("zeta", sipp.Score().expect("INVITE").reply(486, "Busy").expect("ACK"), calls=2, media_port=7000)
    for orig in (CALLER[1:], "15550199"):
        assert box.call("+99777", box.sign("+99777", orig=orig), headers=(f"P-Asserted-Identity: <sip:{CALLER}@{world.net.carrier}>",)) == 486
    zeta.done()
    told = [sip.header(message, "P-Asserted-Identity").split("@")[0] for message in zeta.received() if message.startswith("INVITE")]
    assert told == [f"<sip:{CALLER};verstat=TN-Validation-Passed", f"<sip:{CALLER};verstat=TN-Validation-Failed"]
    assert len(box.repository.requests) == 1
    daemon = box.daemon
    daemon.idle()
    (_, good), failed = daemon.events(type="identity.verified"), daemon.events(type="identity.failed")
    assert [f["data"]["status"] for f in failed] == [428, 438]
    assert "the caller's signature is good: attestation A" in daemon.tool("explain", good["call"])[1]
    assert "15550199 was signed, and another calls" in " ".join(daemon.tool("explain", failed[1]["call"])[1].split())
    assert next(c for c in daemon.calls() if c["sid"] == good["call"])["verstat"] == "TN-Validation-Passed-A"


def test_row_12_what_fails_is_refused_by_its_status_where_that_is_wanted(checked, world):
    box = checked("refuse", emergency=["112"], unreachable="refuse")
    world.app["/voice"] = "<Response><Reject reason='busy'/></Response>"
    box.repository["/gone.pem"] = Reply("gone", 404)
    box.repository["/large.pem"] = "x" * 100_000
    for identity, status in [
        (box.sign(NUMBER_APP), 486),
        (None, 428),
        (box.sign(NUMBER_APP, age_s=120), 403),
        (box.sign("+15550000"), 438),
        (box.sign(NUMBER_APP, key=box.stranger), 438),
        (box.sign(NUMBER_APP, path="/self.pem"), 437),
        (box.sign(NUMBER_APP, path="/gone.pem"), 436),
        (box.sign(NUMBER_APP, path="/large.pem"), 436),
        ("nonsense", 438),
    ]:
        assert box.call(NUMBER_APP, identity) == status, identity
    # Nobody has this number, which is what an emergency call hears that nobody signed.
    assert box.call("112") == 404
    box.daemon.idle()
    failed = box.daemon.events(type="identity.failed")
    assert [f["data"]["refused"] for f in failed] == [True] * 8 + [False]
    assert "longer than 32768 bytes" in str(failed[6]["data"]) and "answered 404" in str(failed[5]["data"])


def test_row_13_a_call_that_is_sent_on_keeps_its_signature_and_gets_ours(world, checked):
    ours, key = Certificates(world.folder, "ours").make("postern", "127.0.0.1")
    box = checked("tag", sign=key)
    world.app["/voice"] = "<Response><Dial><Number>+99888</Number></Dial></Response>"
    zeta = world.callee("zeta", sipp.Score().expect("INVITE").reply(486, "Busy").expect("ACK"), calls=2, media_port=7000)
    straight, diverted = box.sign("+99777"), box.sign(NUMBER_APP)
    box.call("+99777", straight)
    box.call(NUMBER_APP, diverted)
    zeta.done()
    first, second = (re.findall(r"(?m)^Identity: (.*?)\r?$", message) for message in zeta.received() if message.startswith("INVITE"))
    assert first == [straight] and second[0] == diverted and len(second) == 2
    header, claims, _ = stir.read(second[1], ours)
    assert (header["ppt"], header["x5u"]) == ("div", WHERE)
    assert (claims["orig"], claims["dest"], claims["div"]) == ({"tn": CALLER[1:]}, {"tn": ["99888"]}, {"tn": NUMBER_APP[1:]})
    box.daemon.idle()
    assert [e["data"]["diverted_from"] for e in box.daemon.events(type="identity.passed_on")] == ["", NUMBER_APP[1:]]


def test_row_12_a_repository_that_is_down_or_nobody_s_business_holds_no_call(checked, world):
    box = checked("refuse", patience="300ms", private_repositories=False)
    world.app["/voice"] = "<Response><Reject reason='busy'/></Response>"
    assert box.call(NUMBER_APP, box.sign(NUMBER_APP)) == 486
    box.daemon.idle()
    (failed,) = box.daemon.events(type="identity.failed")
    assert (failed["data"]["status"], failed["data"]["refused"]) == (436, False) and "is not public" in failed["data"]["why"]
    assert box.repository.requests == []


def test_row_12_a_call_is_signed_for_a_trunk_that_wants_it(world):
    certificate, key = Certificates(world.folder).make("postern", "127.0.0.1")
    daemon = world.start(signing(key, stir={"attest": "B"}))
    zeta = world.callee("zeta", sipp.Score().expect("INVITE").reply(486, "Busy").expect("ACK"), calls=2, media_port=7000)
    calling = sipp.Score().invite(sipp.sdp()).hear(100).expect(486).ack(failure=True)
    world.caller("caller", calling, "+991555").done()
    world.caller("nobody", sipp.Score(user="anonymous").invite(sipp.sdp()).hear(100).expect(486).ack(failure=True), "+991555").done()
    zeta.done()
    first, second = (message for message in zeta.received() if message.startswith("INVITE"))
    header, claims, parameters = stir.read(sip.header(first, "Identity"), certificate)
    assert header == {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": WHERE}
    assert abs(claims.pop("iat") - time.time()) < 30
    assert claims == {"attest": "B", "dest": {"tn": ["991555"]}, "orig": {"tn": "15550100"}, "origid": ORIGID}
    assert parameters == {"info": f"<{WHERE}>", "alg": "ES256", "ppt": "shaken"}
    assert sip.header(second, "Identity") is None
    daemon.idle()
    (signed,), (unsigned,) = daemon.events(type="identity.signed"), daemon.events(type="identity.unsigned")
    assert "signed: 15550100 calls 991555, attestation B" in daemon.tool("explain", signed["call"])[1]
    assert "not signed: the caller that the trunk is told is no number" in " ".join(daemon.tool("explain", unsigned["call"])[1].split())
