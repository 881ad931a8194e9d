//! Trunks that depart from the standards, as they were met in the field: how their calls fail, and that they do not with the workaround.

use postern_config::Workarounds;

use super::*;

const LEG: CallSid = CallSid(0xf7);

/// A world without and one with a workaround.
fn both(set: fn(&mut Workarounds)) -> [World; 2] {
    [false, true].map(|wanted| {
        let mut config = config();
        if wanted {
            set(&mut config.trunks.get_mut("carrier").unwrap().workarounds);
        }
        World::with(config)
    })
}

/// A call to the carrier, whose answer has these headers.
fn answered(world: &mut World, headers: &str) {
    world.command(to_carrier(LEG));
    let invite = world.one();
    world.recv(CARRIER, &response(&invite, "200 OK", "t7", &format!("{headers}{}", with_sdp(SDP))));
    assert!(world.events.iter().any(|event| matches!(event, LegEvent::Answered { .. })), "{:?}", world.events);
    (world.sent, world.events) = Default::default();
}

const CONTACT: &str = "Contact: <sip:gw@198.51.100.10:5060>\n";

/// It ends the calls to and from what is not said to be a number.
#[test]
fn user_phone_1_a_carrier_that_wants_numbers_marked() {
    let [without, with] = both(|workarounds| workarounds.user_phone = true).map(|mut world| {
        world.command(to_carrier(LEG));
        let invite = world.one();
        let target = invite.lines().next().unwrap().trim_end_matches(" SIP/2.0");
        let is_marked = |value: &str| value.split('>').next().unwrap().ends_with(";user=phone");
        let all = [target, header(&invite, "To"), header(&invite, "From")].iter().all(|value| is_marked(value));
        let status = if all { "180 Ringing" } else { "487 Request Terminated" };
        world.recv(CARRIER, &response(&invite, status, "t7", CONTACT));
        world.events.iter().any(|event| matches!(event, LegEvent::Progress { .. }))
    });
    assert_eq!((without, with), (false, true));
    let mut world = both(|workarounds| workarounds.user_phone = true).into_iter().nth(1).unwrap();
    let LegCommand::Dial(mut dial) = to_carrier(LEG) else { panic!() };
    dial.from = "anonymous".into();
    world.command(LegCommand::Dial(dial));
    let invite = world.one();
    assert!(header(&invite, "From").starts_with("\"Ann\" <sip:anonymous@anonymous.invalid>"), "no number: {invite}");
}

/// It lists UPDATE, and whatever is behind it never answers one.
#[test]
fn no_update_1_a_trunk_that_does_not_answer_what_it_allows() {
    let [without, with] = both(|workarounds| workarounds.no_update = true).map(|mut world| {
        let timer =
            "Allow: INVITE, ACK, BYE, UPDATE\nSupported: timer\nRequire: timer\nSession-Expires: 90;refresher=uac\n";
        answered(&mut world, &format!("{CONTACT}{timer}"));
        for _ in 0..10 {
            world.pass(Duration::from_secs(9));
            for (_, request) in std::mem::take(&mut world.sent) {
                if request.starts_with("INVITE ") {
                    world.recv(
                        CARRIER,
                        &response(&request, "200 OK", "", &format!("{CONTACT}{timer}{}", with_sdp(SDP))),
                    );
                }
            }
        }
        !world.events.iter().any(|event| matches!(event, LegEvent::Ended { .. }))
    });
    assert_eq!((without, with), (false, true), "whether the call lives after its first refresh");
}

/// It goes on sending, and plays no music, until there is nowhere to send to.
#[test]
fn hold_by_zero_1_a_trunk_that_knows_no_other_hold() {
    let [without, with] = both(|workarounds| workarounds.hold_by_zero = true).map(|mut world| {
        answered(&mut world, CONTACT);
        let offer =
            |direction| LegCommand::Reoffer { leg: LEG, offer: Box::new(AudioStream { direction, ..ours(30002) }) };
        world.command(offer(Direction::Inactive));
        let held = world.one();
        let understood = held.contains("c=IN IP4 0.0.0.0\r\n");
        let told = held.lines().filter(|line| line.contains("203.0.113.2")).map(|line| &line[..2]).collect::<Vec<_>>();
        assert_eq!(told, if understood { vec!["o="] } else { vec!["o=", "c="] }, "{held}");
        let sdp = SDP.replace("a=ptime", "a=inactive\na=ptime");
        let answer = if understood { &sdp } else { SDP };
        world.recv(CARRIER, &response(&held, "200 OK", "", &format!("{CONTACT}{}", with_sdp(answer))));
        world.sent.clear();
        world.command(offer(Direction::SendRecv));
        let resumed = world.one();
        assert!(resumed.contains("c=IN IP4 203.0.113.2\r\n"), "{resumed}");
        understood
    });
    assert_eq!((without, with), (false, true));
}

/// Its Contact names a host behind it that nobody can reach from here.
#[test]
fn ignore_contact_1_a_trunk_that_names_an_address_which_is_not_its_own() {
    let [without, with] = both(|workarounds| workarounds.ignore_contact = true).map(|mut world| {
        answered(&mut world, "Contact: <sip:gw@198.51.100.99:5060>\n");
        world.command(hangup(LEG));
        let (to, bye) = world.sent.pop().unwrap();
        assert!(bye.starts_with("BYE sip:gw@198.51.100.99:5060 "), "the target stays what it said: {bye}");
        to == address(CARRIER)
    });
    assert_eq!((without, with), (false, true), "whether the BYE arrives");
    // The same for a call of its own.
    let [without, with] = both(|workarounds| workarounds.ignore_contact = true).map(|mut world| {
        let offered =
            world.offered(&invite("c1", 1).replace("<sip:gw@198.51.100.10:5060>", "<sip:gw@198.51.100.99:5060>"));
        world.command(LegCommand::Answer { leg: offered.leg, answer: Box::new(ours(30000)) });
        world.sent.clear();
        world.command(hangup(offered.leg));
        world.pass(Duration::from_secs(40));
        world.sent.iter().any(|(to, text)| text.starts_with("BYE ") && *to == address(CARRIER))
    });
    assert_eq!((without, with), (false, true));
}
