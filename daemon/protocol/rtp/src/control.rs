//! Our side of RTCP on one leg (RFC 3550 6): when a report is due, what stands in it, and what the peer's say.
//!
//! Each leg is an RTP session of two: the peer and us. We report what we send it, under the SSRC of the audio that it gets, and what
//! we received of it; its reports end here. Left out: the rules of larger sessions (members, bandwidth, reconsideration). With two
//! members and compounds of some 150 bytes, 5 % even of G.729's 24 kbit/s would allow one every two seconds each, so the minimum
//! interval of five seconds (6.2) always rules.

use std::time::{Duration, Instant};

use crate::{
    metrics::VoipMetrics,
    reception::Reception,
    rtcp::{self, ReportBlock, SenderReport},
    sent::Sent,
    write::Compound,
};

/// Mean time between reports (RFC 3550 6.2); the first comes after half of it.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// Room that a compound of ours needs at most: sender report with a block 52, CNAME 36, goodbye 8, VoIP metrics 44.
pub const COMPOUND_MAX: usize = 140;
/// Reports of ours that are recalled: an answer to an older one is a minute late at least.
const RECALLED: usize = 12;
/// A longer round trip is a peer's mistake.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(30);
/// Bytes of a CNAME: 96 random bits (RFC 7022 4.2) in hexadecimal digits.
const CNAME_LEN: usize = 24;

/// NTP time (seconds since 1900 and fraction) of a number of microseconds since 1970.
pub fn ntp(unix_micros: u64) -> u64 {
    let seconds = unix_micros / 1_000_000 + 2_208_988_800;
    let fraction = ((unix_micros % 1_000_000) << 32) / 1_000_000;
    seconds << 32 | fraction
}

/// What the peer says of the audio that it gets from us.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FarView {
    /// Packets that it lacks of the source that we send now. Negative when it got some twice.
    pub lost: i32,
    /// Of those sent between its last two reports, per cent.
    pub recent_loss_percent: f32,
    /// Interarrival jitter, milliseconds.
    pub jitter_ms: f32,
}

/// One leg's participant.
#[derive(Debug, Clone)]
pub struct Control {
    /// Under which we report while we send no audio.
    ssrc: u32,
    cname: [u8; CNAME_LEN],
    random: u64,
    next: Option<Instant>,
    written: u64,
    /// Middle of the NTP time of our latest sender reports. 0 is none: so a peer says that it had none (RFC 3550 6.4.1).
    ours: [u32; RECALLED],
    theirs: Option<Theirs>,
    /// Source, packets expected and received of it at the last report.
    reported: (u32, u64, u64),
    /// Packets sent at the last report and the one before: who sent since is a sender (6.4).
    sent: [(Option<u32>, u32); 2],
    far: Option<FarView>,
    round_trip: Option<Duration>,
    metrics: Option<Box<VoipMetrics>>,
}

/// The last sender report of the peer.
#[derive(Debug, Clone, Copy)]
struct Theirs {
    ssrc: u32,
    middle: u32,
    at: Instant,
}

impl Control {
    /// `random` makes SSRC, CNAME and intervals.
    pub fn new(random: u64) -> Self {
        let mut control = Self {
            ssrc: random as u32,
            cname: [0; CNAME_LEN],
            random: random | 1,
            next: None,
            written: 0,
            ours: [0; RECALLED],
            theirs: None,
            reported: (0, 0, 0),
            sent: [(None, 0); 2],
            far: None,
            round_trip: None,
            metrics: None,
        };
        for at in 0..CNAME_LEN {
            control.cname[at] = b"0123456789abcdef"[(control.draw() >> 60) as usize];
        }
        control
    }

    /// There is somebody to report to from now on: the first report comes in half an interval.
    pub fn begin(&mut self, now: Instant) {
        if self.next.is_none() {
            self.plan(now, INTERVAL / 2);
        }
    }

    /// When the next report is due; none before [`Control::begin`].
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// 6.3.1: between half and one and a half intervals, so that ends do not fall into step. The division by e - 3/2 belongs to
    /// reconsideration, which two members do not need.
    fn plan(&mut self, now: Instant, interval: Duration) {
        let share = self.draw() >> 44;
        self.next = Some(now + interval / 2 + interval * share as u32 / (1 << 20));
    }

    /// xorshift64*.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Writes the report that is due, and plans the next. `ntp` is the time of `now`, see [`ntp`]. Nothing is written while there is
    /// nothing to say: nothing sent and nothing received.
    pub fn report(
        &mut self,
        (now, ntp): (Instant, u64),
        sent: &Sent,
        reception: &Reception,
        metrics: Option<VoipMetrics>,
        room: &mut [u8],
    ) -> Option<usize> {
        self.plan(now, INTERVAL);
        self.compound((now, ntp), sent, reception, metrics, false, room)
    }

    /// Writes the last words: a report and a goodbye (6.3.7). None for who never reported, for nobody would miss it.
    pub fn goodbye(
        &mut self,
        (now, ntp): (Instant, u64),
        sent: &Sent,
        reception: &Reception,
        metrics: Option<VoipMetrics>,
        room: &mut [u8],
    ) -> Option<usize> {
        self.next = None;
        if self.written == 0 {
            return None;
        }
        self.compound((now, ntp), sent, reception, metrics, true, room)
    }

    fn compound(
        &mut self,
        (now, ntp): (Instant, u64),
        sent: &Sent,
        reception: &Reception,
        metrics: Option<VoipMetrics>,
        is_last: bool,
        room: &mut [u8],
    ) -> Option<usize> {
        let latest = (sent.ssrc(), sent.packets());
        // A stream that changed its source is the new one's from its first packet on.
        let is_sender = sent.ssrc().is_some() && latest != self.sent[1];
        if !is_sender && reception.ssrc().is_none() {
            return None;
        }
        let ssrc = sent.ssrc().filter(|_| is_sender).unwrap_or(self.ssrc);
        let block = self.block(now, reception);
        let mut compound = Compound::new(room);
        if is_sender {
            let (packets, bytes) = (sent.packets(), sent.bytes());
            let report = SenderReport { ssrc, ntp, timestamp: sent.timestamp_at(now), packets, bytes };
            compound.sender_report(&report, block.as_ref());
        } else {
            compound.receiver_report(ssrc, block.as_ref());
        }
        compound.cname(ssrc, &self.cname);
        metrics.into_iter().for_each(|metrics| compound.voip_metrics(ssrc, &metrics));
        if is_last {
            compound.bye(ssrc);
        }
        let len = compound.finish()?;
        self.sent = [latest, self.sent[0]];
        if is_sender {
            self.ours.rotate_right(1);
            self.ours[0] = middle(ntp);
        }
        self.written += 1;
        Some(len)
    }

    /// What we received of the peer's present source (6.4.1, A.3).
    fn block(&mut self, now: Instant, reception: &Reception) -> Option<ReportBlock> {
        let source = reception.source()?;
        let (ssrc, expected, received) = self.reported;
        let is_known = ssrc == source.ssrc && expected <= source.expected && received <= source.received;
        let (expected, received) = if is_known { (expected, received) } else { (0, 0) };
        self.reported = (source.ssrc, source.expected, source.received);
        let (expected, received) = (source.expected - expected, source.received - received);
        let fraction_lost =
            expected.checked_sub(received).map_or(0, |lost| (lost * 256).checked_div(expected).unwrap_or(0));
        let theirs = self.theirs.filter(|theirs| theirs.ssrc == source.ssrc);
        let delay = theirs.map_or(Duration::ZERO, |theirs| now.saturating_duration_since(theirs.at));
        Some(ReportBlock {
            ssrc: source.ssrc,
            fraction_lost: fraction_lost.min(255) as u8,
            lost: (source.expected as i64 - source.received as i64).clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            highest_sequence: source.highest,
            jitter: source.jitter,
            last_report: theirs.map_or(0, |theirs| theirs.middle),
            delay: (delay.as_micros() as u64 * 65_536 / 1_000_000) as u32,
        })
    }

    /// Takes a compound of the peer's that [`rtcp::check`] found sound. Blocks about others than the source that we send are passed over.
    pub fn handle_input(&mut self, (now, ntp): (Instant, u64), compound: &[u8], sent: &Sent) {
        for packet in rtcp::packets(compound).map_while(Result::ok) {
            if let Some(report) = packet.sender_report() {
                self.theirs = Some(Theirs { ssrc: report.ssrc, middle: middle(report.ntp), at: now });
            }
            for block in packet.blocks() {
                self.take_block(ntp, &block, sent);
            }
            if packet.packet_type == 207 {
                let ours = |metrics: &VoipMetrics| Some(metrics.ssrc) == sent.ssrc();
                if let Some(metrics) = VoipMetrics::in_report(packet.body).find(ours) {
                    **self.metrics.get_or_insert_with(|| Box::new(metrics)) = metrics;
                }
            }
        }
    }

    fn take_block(&mut self, ntp: u64, block: &ReportBlock, sent: &Sent) {
        // What we send none of, or no more, says nothing; but a report of ours without audio is answered under our own source.
        if Some(block.ssrc) != sent.ssrc() {
            return;
        }
        let jitter_ms = f64::from(block.jitter) * 1000.0 / f64::from(sent.clock_hz().max(1));
        self.far = Some(FarView {
            lost: block.lost,
            recent_loss_percent: f32::from(block.fraction_lost) * 100.0 / 256.0,
            jitter_ms: if sent.clock_hz() == 0 { 0.0 } else { jitter_ms as f32 },
        });
        // 6.4.1: now less when we sent it less how long the peer kept it. Only for a report that we did send.
        if block.last_report != 0 && self.ours.contains(&block.last_report) {
            let units = middle(ntp).wrapping_sub(block.last_report).wrapping_sub(block.delay);
            // A little less than none is a matter of clocks that round.
            let units = u64::from((units as i32).max(0).unsigned_abs());
            let round_trip = Duration::from_micros(units * 1_000_000 / 65_536);
            if round_trip <= ROUND_TRIP_MAX {
                self.round_trip = Some(round_trip);
            }
        }
    }

    /// Compounds written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What the peer last said of what it gets.
    pub fn far(&self) -> Option<FarView> {
        self.far
    }

    /// The VoIP metrics that the peer last sent of what it gets.
    pub fn metrics(&self) -> Option<&VoipMetrics> {
        self.metrics.as_deref()
    }

    /// Between us and the peer and back, as last measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }
}

/// The middle 32 bits of an NTP time.
fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

#[cfg(test)]
mod tests;
