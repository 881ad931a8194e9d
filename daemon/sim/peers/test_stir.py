"""Row 12: signed callers (STIR/SHAKEN), with a signer and verifier that is not ours."""

import time

from kit import sip, sipp, stir
from kit.stream import Certificates

WHERE = "https://certificates.example/postern.pem"
ORIGID = "123e4567-e89b-12d3-a456-426655440000"


def signing(key, **trunk):
    def change(config):
        config["stir"] = {"sign": {"key": str(key), "certificate": WHERE, "origid": ORIGID}}
        config["trunks"]["zeta"]["stir"] = {"sign": True}
        config["trunks"]["acme"].update(trunk)

    return change


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
