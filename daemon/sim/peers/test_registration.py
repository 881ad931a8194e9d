"""Row 7: registering with a carrier, whose registrar is Kamailio."""

from kit import sipp
from kit.kamailio import PASSWORD, USER, Kamailio
from kit.wait import until

DIALED = "+15551230009"


def registered(world):
    """zeta is a registrar; what it calls goes to acme at another port."""

    def change(config):
        config["trunks"]["zeta"].update(
            credentials={"username": USER, "password": PASSWORD},
            register={"user": USER, "domain": "carrier.test", "contact": "edge", "expires": "10m"},
        )
        config["trunks"]["acme"]["address"] = f"{world.net.carrier}:5066"
        config["numbers"][DIALED] = {"trunk": "acme"}

    return change


def test_row_7_registers_is_called_at_its_contact_and_takes_it_back(world):
    daemon = world.start(registered(world))
    # Nobody is there yet: the kernel says nothing, and it is tried again until somebody is.
    (failed,) = daemon.until_event("trunk.registration_failed", trunk="zeta", limit_s=20)
    assert failed["data"]["cause"]["status"] == 408
    kamailio = Kamailio(world.folder, world.net.other_carrier)
    world.children.append(kamailio)
    (told,) = daemon.until_event("trunk.registered", trunk="zeta", limit_s=30)
    assert told["data"] == {"registrar": f"{world.net.other_carrier}:5060", "expires_s": 90}
    assert f"sip:edge@{world.net.box_carrier}:5060" in kamailio.locations(), kamailio.locations()
    code, status = daemon.tool("status")
    assert f"registered with {world.net.other_carrier}:5060 for " in status, status
    assert 'postern_trunk_registered{trunk="zeta"} 1' in daemon.get("/metrics")[1].decode()

    # The Request-URI is our contact, To what was dialed; the source and the contact say whose call it is.
    callee = world.callee("acme", sipp.Score().expect("INVITE").reply(180).reply(200, "OK", sipp.sdp()).expect("ACK").expect("BYE").reply_in_dialog(200, "OK"),
                          local=world.net.carrier, port=5066, media_port=7100)
    score = sipp.Score().invite(sipp.sdp()).hear(100, 180).expect(200).ack().pause(200).bye().expect(200)
    world.caller("far", score, DIALED, local=world.net.stranger, remote=world.net.other_carrier).done()
    callee.done()
    daemon.idle()
    (offered,) = daemon.events(type="call.offered")
    assert (offered["data"]["to"], offered["data"]["party"]) == (DIALED, {"kind": "trunk", "trunk": "zeta"})

    daemon.stop()
    until("the registration to be taken back", lambda: "sip:edge@" not in kamailio.locations())


def test_a_wrong_password_is_told_in_words(world):
    world.children.append(Kamailio(world.folder, world.net.other_carrier))

    def change(config):
        registered(world)(config)
        config["trunks"]["zeta"]["credentials"]["password"] = "another"

    daemon = world.start(change)
    (failed,) = daemon.until_event("trunk.registration_failed", trunk="zeta")
    assert failed["data"]["cause"]["text"].endswith("our username and password were refused")
    code, status = daemon.tool("status")
    assert "not registered: 401" in status, status
