//! Random orders of events: whatever happens, every leg gets one record, every call one end, every subscriber one terminal callback,
//! and nothing is left.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use postern_types::{
    CallSid, Cause,
    leg::{LegCommand, LegEvent},
    media::{MediaCommand, MediaEvent},
    stream::Direction,
};
use proptest::prelude::*;

use super::harness::*;
use crate::{Purpose, rest::UpdateCall};

const DOCUMENTS: [&str; 11] = [
    "<Dial action='/a'><Number statusCallback='/child' statusCallbackEvent='initiated ringing answered completed'>+15551</Number><Client statusCallback='/child'>alice</Client></Dial>",
    "<Dial answerOnBridge='true' sequential='true'><Client statusCallback='/child'>bob</Client><Number>+15552</Number></Dial><Redirect>/x</Redirect>",
    "<Gather numDigits='2' timeout='3'><Play>a.wav</Play><Pause/></Gather><Redirect>/y</Redirect>",
    "<Play>a.wav</Play><Pause length='2'/><Redirect>/z</Redirect>",
    "<Reject/>",
    "<Hangup/>",
    "<Jump/>",
    "<Dial timeLimit='5' hangupOnStar='true' action='/a'>+15551</Dial>",
    "<Dial timeLimit='20' hangupOnStar='true' action='/a'><Conference waitUrl='w.wav'>r</Conference></Dial>",
    "<Dial referUrl='/r' action='/a'><Client>alice</Client></Dial><Redirect>/x</Redirect>",
    "<Dial><Conference endConferenceOnExit='true' maxParticipants='3'>r</Conference></Dial><Redirect>/x</Redirect>",
];

fn one(world: &mut World, what: u8, pick: usize, legs: &mut Vec<CallSid>) {
    while let Some(at) = world.commands.iter().position(|c| matches!(c, LegCommand::Dial(_))) {
        if let Some(LegCommand::Dial(dial)) = world.commands.remove(at) {
            legs.push(dial.leg);
        }
    }
    let some = if legs.is_empty() { None } else { Some(legs[pick % legs.len()]) };
    let leg = some.filter(|leg| world.legs.contains(leg));
    match (what % 19, leg) {
        (0, _) => legs.push(world.invite(trunk_party(), "+15552000001", Some(stream(1, &g711())))),
        (1, _) => legs.push(world.invite(user_party("bob"), "0015551", Some(stream(1, &g711())))),
        (2 | 3, _) => {
            if let Some(at) = world.http.iter().position(|r| r.purpose != Purpose::Callback) {
                let request = world.http.remove(at).unwrap();
                match pick % 13 {
                    11 => world.http_fails(&request, 11205),
                    12 => world.respond(&request, 500, "", ""),
                    n => world.respond(&request, 200, "text/xml", &format!("<Response>{}</Response>", DOCUMENTS[n])),
                }
            }
        }
        (4, Some(leg)) => world.ring(leg),
        (5 | 6, Some(leg)) => world.answer(leg, stream(2, &g711())),
        (7, Some(leg)) => world.fail(leg, [486, 480, 404, 503][pick % 4]),
        (8, Some(leg)) => world.bye(leg),
        (9, Some(leg)) => world.cancel(leg),
        (10, Some(leg)) => world.event(MediaEvent::Digit { leg, digit: ['1', '*', '#'][pick % 3], duration_ms: 80 }),
        (11, Some(leg)) => {
            let mut offer = stream(1, &g711());
            offer.direction = [Direction::SendRecv, Direction::SendOnly][pick % 2];
            let offer = Some(Box::new(offer));
            match pick % 3 {
                0 => world.leg(LegEvent::Reoffered { leg, offer }),
                1 => world.leg(LegEvent::ReofferAnswered { leg, answer: Box::new(stream(1, &g711())) }),
                _ => world.leg(LegEvent::ReofferFailed { leg, cause: Cause::new(491, "glare") }),
            }
        }
        (12, _) => {
            let last = world.media.iter().rev().find_map(|c| match c {
                MediaCommand::Play { leg, play, .. } => Some((*leg, *play)),
                _ => None,
            });
            if let Some((leg, play)) = last {
                world.event(MediaEvent::PlayEnded { leg, play });
            }
        }
        (13, _) => world.pass(Duration::from_secs([1, 3, 10, 30][pick % 4])),
        (14, Some(leg)) => {
            let update = [UpdateCall::Cancel, UpdateCall::Complete][pick % 2].clone();
            let _ = world.router.update_call(world.now, ACCOUNT, leg, update);
            world.settle();
        }
        (15, _) => world.devices(["alice", "bob"][pick % 2], (pick % 3) as u32),
        (16, Some(leg)) => match pick % 5 {
            4 => world.leg(LegEvent::ReferralTold { leg, status: [180, 200, 486][pick / 5 % 3] }),
            n => {
                let to = ["bob", "+15551000001", "alice", "bob"][n].into();
                world.leg(LegEvent::Referred { device: None, leg, to, pass_on: n == 3 });
            }
        },
        (17, Some(leg)) => {
            let second = legs.get(pick / 7 % legs.len()).copied();
            world.leg(LegEvent::ReferredToSecond { leg, second, to: "".into() });
        }
        (18, of) => {
            let offer = (pick % 4 != 3).then(|| stream(3, &g711()));
            legs.push(world.invite_for(user_party("bob"), "0015551", offer, of));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_ending_is_told_exactly_once(events in prop::collection::vec((any::<u8>(), any::<u16>()), 1..60)) {
        let mut world = World::new();
        world.devices("alice", 1);
        world.devices("bob", 1);
        let mut legs = Vec::new();
        for (what, pick) in events {
            one(&mut world, what, usize::from(pick), &mut legs);
        }
        world.router.end_all(world.now, Cause::new(503, "shutting down"));
        world.settle();
        let mut callbacks = Vec::new();
        // Long enough for those that wait for another try.
        for _ in 0..60 {
            callbacks.extend(world.callbacks());
            world.pass(Duration::from_secs(1));
        }
        world.assert_empty();

        // One that was not answered in time is sent again under its number: the same callback.
        let mut seen = HashSet::new();
        let mut terminals: HashMap<&str, u32> = HashMap::new();
        let mut next: HashMap<&str, u32> = HashMap::new();
        for request in &callbacks {
            let (sid, status) = (field(request, "CallSid").unwrap(), field(request, "CallStatus").unwrap());
            let sequence: u32 = field(request, "SequenceNumber").unwrap().parse().unwrap();
            if !seen.insert((sid, sequence)) {
                continue;
            }
            let expected = next.entry(sid).or_default();
            prop_assert_eq!(sequence, *expected, "numbered in the order of their sending");
            *expected += 1;
            if ["completed", "busy", "failed", "no-answer", "canceled"].contains(&status) {
                *terminals.entry(sid).or_default() += 1;
            }
        }
        prop_assert!(terminals.values().all(|times| *times == 1), "{:?}", terminals);
        let records: HashMap<_, _> = world.records.iter().map(|r| (r.sid.to_string(), &r.status)).collect();
        prop_assert!(next.keys().all(|sid| terminals.contains_key(sid)), "a leg without its terminal callback");
        for request in &callbacks {
            let (sid, status) = (field(request, "CallSid").unwrap(), field(request, "CallStatus").unwrap());
            if !["initiated", "ringing", "in-progress"].contains(&status) {
                prop_assert_eq!(records[sid], status, "callback and record disagree");
            }
        }
        let offered = world.count("call.offered");
        prop_assert_eq!(world.count("call.ended"), offered);
        prop_assert_eq!(world.count("leg.ended"), world.records.len());
        for record in &world.records {
            prop_assert!(record.ended.is_some() && record.ended_by.is_some());
            let legs = world.records.iter().filter(|other| other.sid == record.sid).count();
            prop_assert_eq!(legs, 1);
        }
    }
}
