use super::*;

/// NTP time of so many milliseconds after some beginning.
fn at(start: Instant, ms: u64) -> (Instant, u64) {
    (start + Duration::from_millis(ms), ntp(1_700_000_000_000_000 + ms * 1000))
}

/// Both ends of a leg, each with what it sends and receives.
struct End {
    control: Control,
    sent: Sent,
    reception: Reception,
}

impl End {
    fn new(random: u64) -> Self {
        Self { control: Control::new(random), sent: Sent::default(), reception: Reception::default() }
    }

    fn send(&mut self, now: Instant, ssrc: u32, sequence: u16) {
        self.sent.update(now, ssrc, 160, Some((u32::from(sequence) * 160, 8000)));
    }

    fn hear(&mut self, now: Instant, ssrc: u32, sequence: u16) {
        self.reception.update(ssrc, sequence, Some((u32::from(sequence) * 160, 8000)), now);
    }

    fn report(&mut self, time: (Instant, u64)) -> Vec<u8> {
        let mut room = [0; COMPOUND_MAX];
        let len = self.control.report(time, &self.sent, &self.reception, None, &mut room);
        room[..len.unwrap_or(0)].to_vec()
    }
}

#[test]
fn the_seconds_since_1900() {
    // RFC 3550 6.4.1 and 4: NTP's era begins 70 years, 17 of them leap years, before 1970.
    assert_eq!(ntp(0) >> 32, (70 * 365 + 17) * 86_400);
    assert_eq!(ntp(1_500_000), (2_208_988_801 << 32) | 1 << 31);
}

#[test]
fn the_round_trip_is_measured_through_both_reports() {
    let start = crate::fuzz::any_instant();
    let (mut one, mut other) = (End::new(1), End::new(2));
    one.send(start, 7, 1);
    let report = one.report(at(start, 0));
    // 30 ms there, 400 ms at the other end, 50 ms back.
    other.hear(start, 7, 1);
    other.control.handle_input(at(start, 30), &report, &Sent::default());
    let answer = other.report(at(start, 430));
    one.control.handle_input(at(start, 480), &answer, &one.sent);
    let round_trip = one.control.round_trip().unwrap().as_micros();
    assert!((79_900..80_100).contains(&round_trip), "{round_trip}");
    // The same answer much later, for its report is long forgotten.
    for n in 0..RECALLED as u64 {
        one.send(start, 7, n as u16 + 2);
        one.report(at(start, 1000 + n));
    }
    one.control.handle_input(at(start, 60_000), &answer, &one.sent);
    assert_eq!(one.control.round_trip().unwrap().as_micros(), round_trip);
}

#[test]
fn what_was_lost_since_the_last_report_and_in_all() {
    let start = crate::fuzz::any_instant();
    let mut end = End::new(1);
    let block = |end: &mut End, ms| {
        let bytes = end.report(at(start, ms));
        let packet = rtcp::packets(&bytes).next().unwrap().unwrap();
        assert_eq!(packet.packet_type, 201, "nothing was sent");
        packet.blocks().next()
    };
    assert!(end.report(at(start, 0)).is_empty(), "nothing to say");
    [65_530, 65_531, 65_534, 65_535, 1].into_iter().for_each(|sequence| end.hear(start, 7, sequence));
    let first = block(&mut end, 0).unwrap();
    // Eight were expected, three of them lost; the number went round once.
    assert_eq!((first.ssrc, first.lost, first.fraction_lost), (7, 3, 96));
    assert_eq!((first.highest_sequence, first.last_report, first.delay), (0x1_0001, 0, 0));
    (2..10).for_each(|sequence| end.hear(start, 7, sequence));
    let second = block(&mut end, 5000).unwrap();
    assert_eq!((second.lost, second.fraction_lost), (3, 0));
    // Duplicates are more than was expected (A.3): no loss of the interval.
    (2..10).for_each(|sequence| end.hear(start, 7, sequence));
    let third = block(&mut end, 10_000).unwrap();
    assert_eq!((third.lost, third.fraction_lost), (-5, 0));
    // Another source: its own count.
    end.hear(start, 8, 100);
    end.hear(start, 8, 103);
    let other = block(&mut end, 15_000).unwrap();
    assert_eq!((other.ssrc, other.lost, other.fraction_lost), (8, 2, 128));
}

#[test]
fn who_sends_reports_as_sender_and_who_stopped_as_receiver() {
    let start = crate::fuzz::any_instant();
    let mut end = End::new(1);
    let kind = |bytes: &[u8]| rtcp::packets(bytes).next().unwrap().map(|p| (p.packet_type, p.ssrc())).unwrap();
    end.hear(start, 9, 1);
    end.send(start, 7, 1);
    let first = end.report(at(start, 1000));
    assert_eq!(kind(&first), (200, Some(7)));
    let report = rtcp::packets(&first).next().unwrap().unwrap().sender_report().unwrap();
    assert_eq!((report.packets, report.bytes, report.timestamp), (1, 160, 160 + 8000));
    assert_eq!(kind(&end.report(at(start, 6000))).0, 200, "it sent since the report before the last");
    assert_eq!(kind(&end.report(at(start, 11_000))), (201, Some(1)), "under our own source");
    end.send(start, 8, 1);
    assert_eq!(kind(&end.report(at(start, 16_000))), (200, Some(8)), "another source");
}

#[test]
fn reports_come_at_random_times_around_the_interval_and_the_first_sooner() {
    let start = crate::fuzz::any_instant();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for random in 1..500u64 {
        let mut end = End::new(random.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        assert_eq!(end.control.next_deadline(), None);
        end.control.begin(start);
        let due = end.control.next_deadline().unwrap();
        first.push((due - start).as_secs_f64());
        end.control.begin(due);
        assert_eq!(end.control.next_deadline(), Some(due), "it has begun");
        end.report((due, 0));
        later.push((end.control.next_deadline().unwrap() - due).as_secs_f64());
    }
    for (times, mean) in [(first, 2.5), (later, 5.0)] {
        assert!(times.iter().all(|time| (mean * 0.5..=mean * 1.5).contains(time)));
        let average = times.iter().sum::<f64>() / times.len() as f64;
        assert!((average - mean).abs() < mean / 20.0, "{average}");
    }
}

#[test]
fn the_peers_view_of_us_is_read_and_that_of_others_is_not() {
    let start = crate::fuzz::any_instant();
    let mut end = End::new(1);
    end.send(start, 7, 1);
    let block = |ssrc| ReportBlock {
        ssrc,
        fraction_lost: 64,
        lost: 5,
        highest_sequence: 1,
        jitter: 160,
        last_report: 0x1234,
        delay: 0,
    };
    let told = |block: &ReportBlock| {
        let mut room = [0; 64];
        let mut compound = Compound::new(&mut room);
        compound.receiver_report(99, Some(block));
        let len = compound.finish().unwrap();
        room[..len].to_vec()
    };
    end.control.handle_input(at(start, 0), &told(&block(8)), &end.sent);
    assert_eq!(end.control.far(), None);
    end.control.handle_input(at(start, 0), &told(&block(7)), &end.sent);
    let view = FarView { lost: 5, recent_loss_percent: 25.0, jitter_ms: 20.0 };
    assert_eq!((end.control.far(), end.control.round_trip()), (Some(view), None), "and no report of ours was answered");
}

#[test]
fn goodbye_is_said_by_who_has_spoken() {
    let start = crate::fuzz::any_instant();
    let mut end = End::new(1);
    let mut room = [0; COMPOUND_MAX];
    end.send(start, 7, 1);
    end.hear(start, 9, 1);
    assert_eq!(end.control.goodbye(at(start, 0), &end.sent, &end.reception, None, &mut room), None);
    end.report(at(start, 0));
    let len = end.control.goodbye(at(start, 1), &end.sent, &end.reception, None, &mut room).unwrap();
    let kinds: Vec<_> = rtcp::packets(&room[..len]).map(|p| p.unwrap().packet_type).collect();
    assert_eq!((kinds, end.control.next_deadline()), (vec![200, 202, 203], None));
}
