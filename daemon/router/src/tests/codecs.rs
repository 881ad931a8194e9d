//! Row 3: codecs allowed, ordered and stripped, and what numbers they have on each side.

use postern_config::Config;
use postern_facts::Fact;
use postern_types::{
    RealmName,
    leg::{LegCommand, LegEvent},
    media::MediaCommand,
    stream::{Codec, Direction, Format},
};

use super::harness::*;

fn names(formats: &[Format]) -> String {
    formats.iter().map(|format| format.codec.to_string()).collect::<Vec<_>>().join(" ")
}

fn g722() -> Format {
    Format { payload_type: 9, codec: Codec::G722, ..Format::pcmu() }
}

/// What alice is offered for a call of the trunk; else what the caller hears.
fn offered(config: Config, formats: &[Format]) -> String {
    let mut world = World::with(config);
    world.invite(trunk_party(), "+15551000001", Some(stream(1, formats)));
    let ended = world.fact(|f| if let Fact::CallEnded(f) = f { Some(f.cause.to_string()) } else { None });
    ended.unwrap_or_else(|| names(&world.dialed().offer.formats))
}

#[test]
fn row_3_what_is_stripped_passes_neither_way_and_what_is_left_keeps_its_order() {
    let all = [opus(96), g722(), Format::pcma(), Format::pcmu()];
    type Row = (&'static str, fn(&mut Config), &'static str);
    let rows: [Row; 8] = [
        ("nothing is said", |_| (), "opus G722 PCMA PCMU"),
        ("the caller's side strips", |c| trunk(c).codecs_stripped = vec![Codec::G722, Codec::Opus], "PCMA PCMU"),
        // Nor is it offered to be converted.
        ("the callee's side strips", |c| alice(c).codecs_stripped = vec![Codec::Pcmu, Codec::Opus], "G722 PCMA"),
        ("the order is the callee's", |c| alice(c).codecs = vec![Codec::Pcmu, Codec::G722], "PCMU G722"),
        ("a realm's", |c| realm(c, "inside").codecs = vec![Codec::Pcma, Codec::Pcmu], "PCMA PCMU"),
        (
            "its own before the realm's",
            |c| {
                realm(c, "inside").codecs = vec![Codec::Pcma];
                alice(c).codecs = vec![Codec::G722];
            },
            "G722",
        ),
        (
            "stripped by the realm all the same",
            |c| {
                realm(c, "inside").codecs_stripped = vec![Codec::Opus];
                alice(c).codecs_stripped = vec![Codec::G722];
            },
            "PCMA PCMU",
        ),
        ("the caller's realm", |c| realm(c, "outside").codecs_stripped = vec![Codec::G722], "opus PCMA PCMU"),
    ];
    for (what, change, want) in rows {
        let mut config = config();
        change(&mut config);
        assert_eq!(offered(config, &all), want, "{what}");
    }
}

#[test]
fn row_3_488_tells_what_was_offered_and_what_is_allowed() {
    let g729 = Format { payload_type: 18, codec: Codec::G729, ..Format::pcmu() };
    for (strips, allows, want) in [
        (vec![Codec::G729], vec![], "488 G729 offered, and stripped here"),
        (vec![], vec![Codec::Pcma, Codec::Pcmu], "488 G729 offered, and PCMA, PCMU allowed here"),
    ] {
        let mut config = config();
        (trunk(&mut config).codecs_stripped, trunk(&mut config).codecs) = (strips, allows);
        assert_eq!(offered(config, std::slice::from_ref(&g729)), want);
    }
}

#[test]
fn row_3_an_answer_with_what_is_stripped_alone_is_no_answer() {
    let mut config = config();
    alice(&mut config).codecs_stripped = vec![Codec::Opus];
    let mut world = World::with(config);
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &[opus(96), Format::pcmu()])));
    let dial = world.dialed();
    assert_eq!(names(&dial.offer.formats), "PCMU PCMA");
    world.answer(dial.leg, stream(2, &[opus(96)]));
    assert_eq!(bridged(&world), 0);
    assert!(world.said().contains(&"hangup 488".to_owned()));
}

fn trunk(config: &mut Config) -> &mut postern_config::Trunk {
    config.trunks.get_mut("carrier").unwrap()
}

fn alice(config: &mut Config) -> &mut postern_config::User {
    config.users.get_mut("alice").unwrap()
}

fn realm<'c>(config: &'c mut Config, name: &str) -> &'c mut postern_config::Realm {
    config.realms.get_mut(&RealmName::new(name)).unwrap()
}

#[test]
fn row_3_codecs_are_filtered_by_both_parties_converted_if_need_be_and_none_is_488() {
    let mut limited = config();
    limited.users.get_mut("alice").unwrap().codecs = vec![Codec::Pcmu];
    let mut world = World::with(limited.clone());
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &g711())));
    assert_eq!(world.dialed().offer.formats, [Format::pcmu()]);
    let mut world = World::with(limited.clone());
    let other = Format { codec: Codec::Other("AMR".into()), ..opus(96) };
    world.invite(trunk_party(), "+15551000001", Some(stream(1, &[other])));
    assert_eq!(world.said(), ["hangup 488"]);
    world.assert_empty();

    let mut world = World::with(limited);
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &[opus(96)])));
    let dial = world.dialed();
    assert_eq!(dial.offer.formats, [Format::pcmu()]);
    world.answer(dial.leg, stream(2, &[Format::pcmu()]));
    let Some(LegCommand::Answer { answer, .. }) = world.commands.pop_front() else { panic!("not answered") };
    assert_eq!((&*answer.formats, bridged(&world)), (&[opus(96)][..], 1));
    let told = world
        .fact(|f| if let Fact::AudioTranscoded(t) = f { Some((t.codec.clone(), t.other_codec.clone())) } else { None });
    assert_eq!(told, Some(("opus/48000".to_owned(), "PCMU/8000".to_owned())));
    // A hold goes through, and each keeps its codec.
    let mut hold = stream(1, &[opus(96)]);
    hold.direction = Direction::SendOnly;
    world.leg(LegEvent::Reoffered { leg: caller, offer: Some(Box::new(hold)) });
    let Some(LegCommand::Reoffer { leg, offer }) = world.commands.pop_front() else { panic!("not passed on") };
    assert_eq!((leg, &*offer.formats, offer.direction), (dial.leg, &[Format::pcmu()][..], Direction::SendOnly));
    let mut held = stream(2, &[Format::pcmu()]);
    held.direction = Direction::RecvOnly;
    world.leg(LegEvent::ReofferAnswered { leg, answer: Box::new(held) });
    let Some(LegCommand::AnswerReoffer { answer, .. }) = world.commands.pop_front() else { panic!("not answered") };
    assert_eq!((&*answer.formats, world.count("audio.transcoded")), (&[opus(96)][..], 1));
}

#[test]
fn payload_types_are_those_of_each_partys_own_description() {
    let mut world = World::new();
    let caller = world.invite(trunk_party(), "+15551000001", Some(stream(1, &[opus(96)])));
    let dial = world.dialed();
    world.answer(dial.leg, stream(2, &[opus(111)]));
    let formats = |world: &World, of| {
        world.media.iter().rev().find_map(|c| match c {
            MediaCommand::Configure { leg, setup } if *leg == of => Some(setup.formats.clone()),
            _ => None,
        })
    };
    assert_eq!(formats(&world, caller), Some(vec![opus(96)]));
    assert_eq!(formats(&world, dial.leg), Some(vec![opus(111)]));
}
