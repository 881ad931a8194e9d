//! What a room sounds like from each of its seats.

use proptest::prelude::*;

use super::*;

const FRAME: usize = 160;

fn loud(value: i16) -> Vec<i16> {
    vec![value; FRAME]
}

fn heard(mixer: &mut Mixer, seat: SeatId) -> Vec<i16> {
    match mixer.hear(seat) {
        Heard::Nothing => Vec::new(),
        Heard::Shared(frame) | Heard::Own(frame) => frame.to_vec(),
    }
}

fn is_shared(mixer: &mut Mixer, seat: SeatId) -> bool {
    matches!(mixer.hear(seat), Heard::Shared(_))
}

fn room(parties: usize) -> (Mixer, Vec<SeatId>) {
    let mut mixer = Mixer::new(FRAME);
    let seats = (0..parties).map(|_| mixer.join(Part::default())).collect();
    (mixer, seats)
}

#[test]
fn each_hears_the_others_and_not_itself() {
    let (mut mixer, seats) = room(4);
    for (seat, level) in seats.iter().zip([1000, 2000, 3000]) {
        mixer.put(*seat, &loud(level));
    }
    mixer.mix();
    for (seat, want) in seats.iter().zip([5000, 4000, 3000, 6000]) {
        assert_eq!(heard(&mut mixer, *seat), loud(want), "{seat:?}");
    }
    assert!(is_shared(&mut mixer, seats[3]) && !is_shared(&mut mixer, seats[0]));
    assert_eq!(mixer.speakers().collect::<Vec<_>>(), [seats[2], seats[1], seats[0]]);
}

#[test]
fn a_muted_party_is_not_heard_and_a_held_one_hears_nothing() {
    let (mut mixer, seats) = room(3);
    mixer.change(seats[0], Part { muted: true, ..Part::default() });
    mixer.change(seats[1], Part { held: true, ..Part::default() });
    for seat in &seats {
        mixer.put(*seat, &loud(4000));
    }
    mixer.mix();
    assert_eq!(heard(&mut mixer, seats[0]), loud(4000));
    assert_eq!(mixer.hear(seats[1]), Heard::Nothing);
    assert_eq!(heard(&mut mixer, seats[2]), loud(0));
    mixer.change(seats[0], Part::default());
    mixer.put(seats[0], &loud(4000));
    mixer.mix();
    assert_eq!(heard(&mut mixer, seats[2]), loud(4000), "unmuted");
}

#[test]
fn a_coach_is_heard_by_one_and_hears_all() {
    let (mut mixer, seats) = room(3);
    let coach = mixer.join(Part { coaches: Some(seats[0]), ..Part::default() });
    mixer.put(coach, &loud(700));
    mixer.put(seats[1], &loud(2000));
    mixer.mix();
    assert_eq!(heard(&mut mixer, seats[0]), loud(2700));
    assert_eq!(heard(&mut mixer, seats[1]), loud(0));
    assert_eq!(heard(&mut mixer, seats[2]), loud(2000));
    assert_eq!(heard(&mut mixer, coach), loud(2000));
    // Nothing more of it comes: nothing old is heard again.
    mixer.put(seats[1], &loud(2000));
    mixer.mix();
    assert_eq!(heard(&mut mixer, seats[0]), loud(2000));
    mixer.leave(seats[0]);
    let stranger = mixer.join(Part::default());
    mixer.put(coach, &loud(700));
    mixer.mix();
    assert_eq!(stranger, seats[0], "the place is given again");
    for seat in [stranger, seats[1], seats[2]] {
        assert_eq!(heard(&mut mixer, seat), loud(0), "{seat:?}");
    }
}

#[test]
fn noise_is_not_mixed_and_a_speaker_stays_one_through_a_pause() {
    let (mut mixer, seats) = room(2);
    mixer.put(seats[0], &loud(60));
    mixer.mix();
    assert_eq!(heard(&mut mixer, seats[1]), loud(0));
    mixer.put(seats[0], &loud(5000));
    mixer.mix();
    for n in 0..HANGOVER {
        mixer.put(seats[0], &loud(60));
        mixer.mix();
        let want = if n + 1 < HANGOVER { 60 } else { 0 };
        assert_eq!(heard(&mut mixer, seats[1]), loud(want), "{n}");
    }
}

#[test]
fn the_loudest_are_heard_and_equals_do_not_take_turns() {
    let (mut mixer, seats) = room(20);
    for (seat, level) in seats.iter().zip((1..).map(|n| n * 500)) {
        mixer.put(*seat, &loud(level));
    }
    mixer.mix();
    let speakers: Vec<_> = mixer.speakers().collect();
    assert_eq!(speakers.len(), SPEAKERS_MAX);
    assert!(speakers.iter().all(|seat| seat.0 >= 12), "{speakers:?}");
    for (n, seat) in seats.iter().enumerate() {
        mixer.put(*seat, &loud(if n < 12 { 10_000 } else { 9_000 }));
    }
    mixer.mix();
    assert!(mixer.speakers().all(|seat| seat.0 >= 12), "a little louder is not enough");
}

#[test]
fn a_chime_is_heard_by_all_and_ends() {
    let (mut mixer, seats) = room(2);
    mixer.chime(vec![100; FRAME + 10].into());
    mixer.put(seats[0], &loud(1000));
    mixer.mix();
    assert_eq!(heard(&mut mixer, seats[0]), loud(100));
    assert_eq!(heard(&mut mixer, seats[1]), loud(1100));
    mixer.mix();
    let end = heard(&mut mixer, seats[1]);
    assert_eq!((end[9], end[10]), (100, 0));
    mixer.mix();
    assert_eq!(heard(&mut mixer, seats[1]), loud(0));
}

#[test]
fn two_hundred_cost_what_their_speakers_cost() {
    let (mut mixer, seats) = room(200);
    for seat in &seats {
        mixer.put(*seat, &loud(if seat.0 < 3 { 3000 } else { 20 }));
    }
    mixer.mix();
    let own = seats.iter().filter(|seat| !is_shared(&mut mixer, **seat)).count();
    assert_eq!(own, 3, "197 share one frame, and so one encoding");
    assert_eq!(mixer.len(), 200);
}

#[test]
fn odd_frames_and_unknown_seats_do_no_harm() {
    let mut mixer = Mixer::new(0);
    mixer.put(SeatId(7), &loud(1));
    mixer.mix();
    assert_eq!(mixer.hear(SeatId(7)), Heard::Nothing);
    mixer.leave(SeatId(7));
    mixer.change(SeatId(7), Part::default());
    let (mut mixer, seats) = room(2);
    mixer.put(seats[0], &[9000; 10]);
    mixer.put(seats[0], &loud(1)); // A second of the same frame is not taken.
    mixer.mix();
    let out = heard(&mut mixer, seats[1]);
    assert_eq!((out[9], out[10]), (9000, 0));
    assert!(!mixer.is_empty());
}

proptest! {
    #[test]
    fn a_party_hears_the_sum_minus_itself_clipped_and_never_wrapped(
        frames in prop::collection::vec(prop::collection::vec(any::<i16>(), FRAME), 1..SPEAKERS_MAX),
    ) {
        let (mut mixer, seats) = room(frames.len() + 1);
        for (seat, frame) in seats.iter().zip(&frames) {
            mixer.put(*seat, frame);
        }
        mixer.mix();
        let spoke: Vec<_> = mixer.speakers().collect();
        for seat in &seats {
            let got = heard(&mut mixer, *seat);
            for n in 0..FRAME {
                let others = spoke.iter().filter(|other| *other != seat);
                let want: i32 = others.map(|other| i32::from(frames[other.0 as usize][n])).sum();
                prop_assert_eq!(i32::from(got[n]), want.clamp(-32768, 32767));
            }
        }
    }

    #[test]
    fn silence_in_is_silence_out(parties in 1..50_usize, rounds in 1..5) {
        let (mut mixer, seats) = room(parties);
        for _ in 0..rounds {
            seats.iter().for_each(|seat| mixer.put(*seat, &loud(0)));
            mixer.mix();
            for seat in &seats {
                prop_assert_eq!(heard(&mut mixer, *seat), loud(0));
            }
        }
        prop_assert_eq!(mixer.speakers().count(), 0);
    }
}
