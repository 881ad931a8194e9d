//! Row 5 of what an SBC is held to, in dialog: what an answered call has to say to a trunk goes to its next address when the first died.

use super::{failover::world, *};

const SECOND: &str = "198.51.100.11:5060";
const THIRD: &str = "198.51.100.12:5060";

/// A call of the carrier's that is answered, whose Contact is this.
fn answered(world: &mut World, contact: &str) -> (CallSid, String) {
    let own = "sip:gw@198.51.100.10:5060";
    let leg = world.offered(&invite("c1", 1).replace(own, contact)).leg;
    world.command(LegCommand::Answer { leg, answer: Box::new(ours(30000)) });
    let tag = tag_of(&world.one(), "To");
    world.recv(CARRIER, &in_dialog("ACK", "c1", 1, &tag, "").replace(own, contact));
    world.events.clear();
    (leg, tag)
}

/// Where requests of this method went since the last look, each once.
fn tried(world: &mut World, method: &str) -> Vec<String> {
    let mut to: Vec<String> = Vec::new();
    for (address, text) in world.sent.drain(..) {
        if text.starts_with(method) && to.last() != Some(&address.to_string()) {
            to.push(address.to_string());
        }
    }
    to
}

#[test]
fn row_5_a_bye_goes_to_the_next_address_of_the_trunk() {
    let mut world = world();
    let (leg, _) = answered(&mut world, "sip:gw@198.51.100.10:5060");
    world.command(hangup(leg));
    let bye = world.one();
    world.recv(CARRIER, &response(&bye, "503 Service Unavailable", "", ""));
    let (to, again) = world.sent.remove(0);
    assert_eq!(to, address(SECOND));
    for name in ["Call-ID", "CSeq", "From", "To"] {
        assert_eq!(header(&again, name), header(&bye, name));
    }
    assert_ne!(header(&again, "Via"), header(&bye, "Via"));
    world.recv(SECOND, &response(&again, "200 OK", "", ""));
    world.pass(Duration::from_secs(60));
    assert_eq!((tried(&mut world, "BYE "), world.signaling.remembered()), (vec![], 0));
}

#[test]
fn silence_tries_every_address_once_and_then_gives_up() {
    let mut world = world();
    let (leg, _) = answered(&mut world, "sip:gw@198.51.100.10:5060");
    world.command(hangup(leg));
    world.pass(Duration::from_secs(200));
    let addresses = tried(&mut world, "BYE ");
    assert_eq!(addresses, [CARRIER, SECOND, THIRD]);
    assert_eq!(world.signaling.remembered(), 0);
}

#[test]
fn a_new_offer_goes_on_elsewhere_and_the_call_with_it() {
    for contact in ["sip:gw@198.51.100.10:5060", "sip:gw@carrier.example"] {
        let mut world = world();
        let (leg, _) = answered(&mut world, contact);
        world.command(LegCommand::Reoffer { leg, offer: Box::new(ours(30000)) });
        let offer = world.one();
        world.recv(CARRIER, &response(&offer, "503 Service Unavailable", "", ""));
        let at = world.sent.iter().position(|(_, text)| text.starts_with("INVITE ")).expect("it goes on");
        let (to, again) = world.sent.remove(at);
        assert_eq!(to, address(SECOND));
        assert!(matches!(&world.events[..], [LegEvent::Moved { to, .. }] if **to == *SECOND), "{:?}", world.events);
        (world.sent, world.events) = Default::default();
        let told = format!("Contact: <{}>\n{}", contact.replace("100.10", "100.11"), with_sdp(SDP));
        world.recv(SECOND, &response(&again, "200 OK", "", &told));
        assert_eq!(tried(&mut world, "ACK "), [SECOND], "{contact}");
        assert!(matches!(world.event(), LegEvent::ReofferAnswered { .. }));
        world.command(hangup(leg));
        assert_eq!(tried(&mut world, "BYE "), [SECOND], "{contact}: what follows goes there as well");
    }
}

#[test]
fn nobody_else_speaks_for_a_foreign_address_and_a_lone_address_has_no_other() {
    // The Contact is a party of its own, wherever it is.
    let mut foreign = world();
    let (leg, _) = answered(&mut foreign, "sip:gw@198.51.100.99:5060");
    foreign.command(hangup(leg));
    let bye = foreign.one();
    foreign.recv("198.51.100.99:5060", &response(&bye, "503 Service Unavailable", "", ""));
    assert!(foreign.sent.is_empty());
    // One address.
    let mut lone = World::new();
    let (leg, _) = lone.established();
    lone.command(hangup(leg));
    let bye = lone.one();
    lone.recv(CARRIER, &response(&bye, "503 Service Unavailable", "", ""));
    assert!(lone.sent.is_empty());
    // And what the peer means is no fault of its address.
    for status in ["481 Call/Transaction Does Not Exist", "500 Server Internal Error", "403 Forbidden"] {
        let mut meant = world();
        let (leg, _) = answered(&mut meant, "sip:gw@198.51.100.10:5060");
        meant.command(hangup(leg));
        let bye = meant.one();
        meant.recv(CARRIER, &response(&bye, status, "", ""));
        assert!(meant.sent.is_empty(), "{status}");
        meant.pass(Duration::from_secs(60));
        assert_eq!(meant.signaling.remembered(), 0);
    }
}
