//! T.38: the two parties agree on fax, one refuses, and audio comes back.

use postern_config::SrtpMode;
use postern_types::{
    CallSid, Cause,
    leg::{LegCommand, LegEvent},
    media::MediaCommand,
    stream::{AudioStream, Fax},
};

use super::harness::*;

const NUMBER: &str = "+15551000001";

fn fax(host: u8, rate: &str) -> AudioStream {
    let attributes = vec![("T38MaxBitRate", rate.into())];
    let audio = stream(host, &[]);
    AudioStream { rtcp: audio.rtp, telephone_event: None, fax: Some(Box::new(Fax { attributes })), ..audio }
}

fn talk(world: &mut World) -> (CallSid, CallSid) {
    let caller = world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &g711()));
    world.said();
    (caller, dial.leg)
}

fn offers(world: &mut World, leg: CallSid, offer: AudioStream) {
    world.leg(LegEvent::Reoffered { leg, offer: Some(Box::new(offer)) });
}

fn answers(world: &mut World, leg: CallSid, answer: AudioStream) {
    world.leg(LegEvent::ReofferAnswered { leg, answer: Box::new(answer) });
}

/// Whether the media plane has fax on a leg.
fn is_fax(world: &World, leg: CallSid) -> bool {
    let latest = world.media.iter().rev().find_map(|c| match c {
        MediaCommand::Configure { leg: of, setup } if *of == leg => Some(setup.udptl),
        _ => None,
    });
    latest.expect("it was configured")
}

#[test]
fn both_change_to_fax_and_back_and_see_only_us() {
    let mut world = World::new();
    let (caller, callee) = talk(&mut world);
    offers(&mut world, callee, fax(2, "14400"));
    let Some(LegCommand::Reoffer { leg, offer }) = world.commands.pop_front() else { panic!("not passed on") };
    assert_eq!((leg, offer.formats.len()), (caller, 0));
    assert_eq!(offer.fax, fax(2, "14400").fax);
    assert_ne!(offer.rtp.ip(), fax(2, "").rtp.ip(), "our address, not the callee's");
    assert!(!is_fax(&world, caller), "not before it is agreed");
    answers(&mut world, caller, fax(1, "9600"));
    let Some(LegCommand::AnswerReoffer { leg, answer }) = world.commands.pop_front() else { panic!("not answered") };
    assert_eq!((leg, &answer.fax), (callee, &fax(1, "9600").fax));
    assert!(is_fax(&world, caller) && is_fax(&world, callee));
    let codec = world.router.record(caller).unwrap().media.unwrap().codec;
    assert_eq!(codec, "T38");
    // It keeps its session alive, and it asks for an offer: what is agreed stands.
    offers(&mut world, callee, fax(2, "14400"));
    let Some(LegCommand::AnswerReoffer { answer: again, .. }) = world.commands.pop_front() else { panic!() };
    assert_eq!(again, answer);
    world.leg(LegEvent::Reoffered { leg: callee, offer: None });
    let Some(LegCommand::AnswerReoffer { answer: again, .. }) = world.commands.pop_front() else { panic!() };
    assert_eq!(again, answer);
    // The page is through.
    offers(&mut world, caller, stream(1, &g711()));
    answers(&mut world, callee, stream(2, &g711()));
    let Some(LegCommand::Reoffer { offer, .. }) = world.commands.pop_front() else { panic!("not passed on") };
    assert!(offer.fax.is_none() && offer.formats == g711());
    let Some(LegCommand::AnswerReoffer { answer, .. }) = world.commands.pop_front() else { panic!("not answered") };
    assert_eq!((answer.fax, answer.telephone_event), (None, Some(101)));
    assert!(!is_fax(&world, caller) && !is_fax(&world, callee));
    world.bye(caller);
    world.assert_empty();
}

#[test]
fn who_refuses_stays_with_audio() {
    let mut world = World::new();
    let (caller, callee) = talk(&mut world);
    let configured = world.media.len();
    offers(&mut world, callee, fax(2, "14400"));
    world.leg(LegEvent::ReofferFailed { leg: caller, cause: Cause::new(488, "no fax here") });
    assert_eq!(world.said(), ["reoffer", "reject reoffer 488"]);
    // Nor does an answer of audio make a fax, and what was asked in vain is forgotten.
    offers(&mut world, callee, fax(2, "14400"));
    answers(&mut world, caller, stream(1, &g711()));
    assert_eq!(world.said(), ["reoffer", "reject reoffer 488"]);
    assert_eq!((world.media.len(), world.count("leg.reoffer_refused")), (configured, 2));
    offers(&mut world, callee, stream(3, &g711()));
    answers(&mut world, caller, stream(1, &g711()));
    assert_eq!(world.said(), ["reoffer", "answer reoffer"]);
    assert!(!is_fax(&world, caller));
    // A fax in place of a changed direction or codec is no answer either.
    offers(&mut world, callee, stream(2, &g711()));
    answers(&mut world, caller, fax(1, "9600"));
    assert_eq!(world.said(), ["reoffer", "reject reoffer 488"]);
}

#[test]
fn fax_is_refused_where_it_cannot_be() {
    // A call cannot begin with it.
    let mut world = World::new();
    world.invite(trunk_party(), NUMBER, Some(fax(1, "9600")));
    assert_eq!(world.said(), ["hangup 488"]);
    // Nobody faxes with a document.
    let mut world = World::new();
    let leg = world.invite(trunk_party(), "+15552000001", Some(stream(1, &g711())));
    world.document("<Play loop='0'>music.wav</Play>");
    world.said();
    offers(&mut world, leg, fax(1, "9600"));
    assert_eq!(world.said(), ["reject reoffer 488"]);
    // What was encrypted is not to go on in the clear.
    let mut secure = config();
    secure.users.get_mut("alice").unwrap().srtp = SrtpMode::Required;
    let mut world = World::with(secure);
    let caller = world.invite(trunk_party(), NUMBER, Some(stream(1, &g711())));
    let dial = world.dialed();
    world.answer(dial.leg, AudioStream { crypto: dial.offer.crypto.clone(), ..stream(2, &g711()) });
    world.said();
    offers(&mut world, caller, fax(1, "9600"));
    offers(&mut world, dial.leg, fax(2, "9600"));
    assert_eq!(world.said(), ["reject reoffer 488", "reject reoffer 488"]);
}
