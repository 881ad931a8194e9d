use super::*;

fn start() -> Instant {
    crate::fuzz::any_instant()
}

/// A seeded source of chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn arrival(n: u16) -> Arrival {
    Arrival {
        ssrc: 1,
        sequence: n.wrapping_add(65000),
        timestamp: (u32::from(n) * 160).wrapping_add(0xffff_0000),
        payload_type: 8,
    }
}

/// What a run heard.
#[derive(Debug, Default)]
struct Run {
    played: Vec<u16>,
    lost: u32,
    starved: u32,
    /// How long each played packet waited, milliseconds.
    waits: Vec<u64>,
    counts: JitterCounts,
    target_ms: u64,
}

/// Sends 20 ms packets, each as late as `late_ms` says (none: lost), and reads every 20 ms, for as long as packets come.
fn run(packets: u16, mut late_ms: impl FnMut(u16) -> Option<u64>) -> Run {
    let begin = start();
    let mut buffer = JitterBuffer::new(begin, 8000);
    let mut arrivals: Vec<(u64, u16)> =
        (0..packets).filter_map(|n| Some((u64::from(n) * 20 + late_ms(n)?, n))).collect();
    arrivals.sort();
    let mut run = Run::default();
    let mut next = arrivals.iter().peekable();
    for tick in 0..u64::from(packets) {
        let at = tick * 20 + 7;
        while let Some((ms, n)) = next.next_if(|(ms, _)| *ms <= at) {
            buffer.put(begin + Duration::from_millis(*ms), arrival(*n), &n.to_be_bytes());
        }
        let now = begin + Duration::from_millis(at);
        // A tick is filled with 20 ms, of whatever kind.
        loop {
            match buffer.pull(now, Duration::ZERO) {
                Pull::Packet { payload, .. } => {
                    let n = u16::from_be_bytes([payload[0], payload[1]]);
                    run.played.push(n);
                    run.waits.push(at - u64::from(n) * 20);
                    buffer.played(160);
                }
                Pull::Lost { units: 0, .. } => continue,
                Pull::Lost { units, .. } => {
                    assert_eq!(units, 160);
                    run.lost += 1;
                }
                Pull::Starved => run.starved += 1,
                Pull::Pause { .. } | Pull::Idle => {}
            }
            break;
        }
    }
    run.counts = buffer.counts();
    run.target_ms = buffer.target().as_millis() as u64;
    run
}

#[test]
fn an_even_stream_is_played_whole_in_order_and_soon() {
    let run = run(500, |_| Some(5));
    assert!(run.played.windows(2).all(|w| w[1] == w[0] + 1), "{:?}", run.played);
    assert!(run.played.len() >= 495 && run.lost + run.starved == 0, "{run:?}");
    assert!(run.waits.iter().all(|ms| *ms <= 65), "{:?}", run.waits.iter().max());
    assert_eq!(run.target_ms, 10, "nothing varies, so nothing need wait");
}

#[test]
fn the_depth_follows_the_jitter_both_ways() {
    for seed in 1..=10 {
        let mut chance = Chance(seed * 7919);
        let calm = run(600, |_| Some(chance.below(8)));
        let mut chance = Chance(seed * 7919);
        let rough = run(600, |_| Some(chance.below(90)));
        assert!(calm.target_ms <= 20, "seed {seed}: {}", calm.target_ms);
        assert!((75..=110).contains(&rough.target_ms), "seed {seed}: {}", rough.target_ms);
        // In order, each once, and few missed: those while it learned, and one in a hundred.
        assert!(rough.played.windows(2).all(|w| w[1] > w[0]), "seed {seed}");
        assert!(rough.played.len() > 550 && rough.counts.late < 40, "seed {seed}: {:?}", rough.counts);
        let mut chance = Chance(seed * 7919);
        let calmed = run(3000, |n| Some(chance.below(if n < 600 { 90 } else { 8 })));
        assert!(calmed.target_ms <= 40, "seed {seed}: {} ms after 48 calm seconds", calmed.target_ms);
    }
}

#[test]
fn loss_is_told_packet_by_packet_with_what_comes_after() {
    for seed in 1..=10 {
        let mut chance = Chance(seed * 104_729);
        let run = run(1000, |_| (chance.below(100) >= 5).then(|| chance.below(4)));
        let missing = 1000 - run.played.len() as u32;
        assert!((25..=80).contains(&missing), "seed {seed}: {missing}");
        assert!(run.lost + run.starved >= missing - 5 && run.counts.late == 0, "seed {seed}: {run:?}");
        // What was made up for a lost packet is not made up again: the delay does not grow with each.
        assert!(run.waits.iter().rev().take(50).all(|ms| *ms <= 90), "seed {seed}: {:?}", run.waits.last());
    }
    let now = start();
    let mut buffer = JitterBuffer::new(now, 8000);
    for n in [0, 1, 3, 4] {
        buffer.put(now, arrival(n), &[n as u8]);
    }
    let now = now + Duration::from_millis(100);
    for n in [0, 1] {
        assert_eq!(buffer.pull(now, Duration::ZERO), Pull::Packet { payload_type: 8, payload: &[n] });
        buffer.played(160);
    }
    assert_eq!(buffer.pull(now, Duration::ZERO), Pull::Lost { units: 160, next: Some((8, &[3])) });
    assert_eq!(buffer.pull(now, Duration::ZERO), Pull::Packet { payload_type: 8, payload: &[3] });
    buffer.played(160);
    assert_eq!(buffer.put(now, arrival(2), &[2]), Put::Late);
    assert_eq!(buffer.put(now, arrival(3), &[3]), Put::Late);
    assert_eq!(buffer.put(now, arrival(4), &[4]), Put::Duplicate);
}

#[test]
fn reordered_and_doubled_packets_are_played_once_in_order() {
    let mut chance = Chance(42);
    let begin = start();
    let mut buffer = JitterBuffer::new(begin, 8000);
    let (mut played, mut put) = (Vec::new(), 0u16);
    for tick in 0..400u64 {
        let now = begin + Duration::from_millis(tick * 20);
        if tick % 2 == 0 {
            // Two at once, the later first, one of them twice.
            for n in [put + 1, put, put + chance.below(2) as u16] {
                buffer.put(now, arrival(n), &n.to_be_bytes());
            }
            put += 2;
        }
        if let Pull::Packet { payload, .. } = buffer.pull(now, Duration::ZERO) {
            played.push(u16::from_be_bytes([payload[0], payload[1]]));
            buffer.played(160);
        }
    }
    assert!(played.len() > 380, "{}", played.len());
    assert!(played.windows(2).all(|w| w[1] == w[0] + 1), "{played:?}");
    assert_eq!((buffer.counts().late, buffer.counts().lost), (0, 0));
    assert_eq!(buffer.counts().duplicate, 200);
}

#[test]
fn a_pause_of_the_sender_is_no_loss_and_keeps_its_length() {
    let begin = start();
    let mut buffer = JitterBuffer::new(begin, 8000);
    // Ten packets, 300 ms of nothing, ten packets: sequence numbers go on, timestamps jump.
    let mut kinds = String::new();
    for tick in 0..45u64 {
        let now = begin + Duration::from_millis(tick * 20);
        if tick < 10 || (25..35).contains(&tick) {
            let sequence = if tick < 10 { tick } else { tick - 15 } as u16;
            let packet = Arrival { ssrc: 1, sequence, timestamp: tick as u32 * 160, payload_type: 8 };
            buffer.put(now, packet, &[tick as u8]);
        }
        kinds.push(match buffer.pull(now, Duration::ZERO) {
            Pull::Packet { .. } => 'p',
            Pull::Lost { .. } => 'l',
            Pull::Pause { .. } => '-',
            Pull::Starved => 's',
            Pull::Idle => '.',
        });
        if kinds.ends_with('p') {
            buffer.played(160);
        }
    }
    assert_eq!(kinds, "..ppppppppppssssss.........ppppppppppssssss..");
}

#[test]
fn another_stream_begins_anew_and_what_is_behind_gives_way() {
    let now = start();
    let mut buffer = JitterBuffer::new(now, 8000);
    buffer.put(now, arrival(0), &[0]);
    let other = Arrival { ssrc: 2, sequence: 9, timestamp: 5, payload_type: 0 };
    assert_eq!(buffer.put(now, other, &[9]), Put::Kept);
    let later = now + DELAY_MAX;
    assert_eq!(buffer.pull(later, Duration::ZERO), Pull::Packet { payload_type: 0, payload: &[9] });
    // Nobody reads: only the latest are kept.
    for n in 0..200u16 {
        let packet = Arrival { sequence: 10 + n, timestamp: 165 + u32::from(n) * 160, ..other };
        assert_eq!(buffer.put(later, packet, &[n as u8]), Put::Kept);
    }
    assert_eq!(buffer.counts().overflow, 200 - SLOTS as u64);
    assert_eq!(buffer.pull(later + DELAY_MAX, Duration::ZERO), Pull::Packet { payload_type: 0, payload: &[152] });
    assert_eq!(buffer.put(later, other, &[0; PAYLOAD_MAX + 1]), Put::Long);
    // A sender that starts over with lower numbers is heard after a while.
    let kept = (0..60u16)
        .filter(|n| {
            let packet = Arrival { sequence: 65000 + n, timestamp: u32::from(*n) * 160, ..other };
            buffer.put(later, packet, &[1]) == Put::Kept
        })
        .count();
    assert!(kept >= 30, "{kept}");
    buffer.set_clock(48000);
    assert_eq!(buffer.pull(later, Duration::ZERO), Pull::Idle);
}

#[test]
fn a_drifting_clock_neither_starves_nor_fills_it() {
    // 200 ppm: a second in 83 minutes, so 20 ms in 100 seconds; the reader is told.
    for drift in [1.0002, 0.9998] {
        let begin = start();
        let mut buffer = JitterBuffer::new(begin, 8000);
        let mut sent = 0u16;
        let mut surplus = 0;
        for tick in 0..10_000u64 {
            let now = begin + Duration::from_millis(tick * 20);
            while f64::from(sent) * 20.0 * drift <= (tick * 20) as f64 {
                buffer.put(now, arrival(sent), &[0]);
                sent += 1;
            }
            if let Pull::Packet { .. } = buffer.pull(now, Duration::ZERO) {
                surplus = buffer.surplus(now, Duration::ZERO);
                buffer.played(160);
            }
        }
        assert!(buffer.counts().overflow == 0, "{drift}: {:?}", buffer.counts());
        let limit = 100_000;
        assert!((-limit..limit).contains(&surplus), "{drift}: {surplus}");
    }
}
