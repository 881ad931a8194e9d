//! What becomes of a packet: the sans-IO heart of a worker.
//!
//! Bytes, source and time in; a verdict out: drop, or send these bytes from that leg's port to that address. Packets are
//! changed where they lie. Sketch per packet at 100 kpps on one core (10 us each): kernel receive and send 3-4 us, all
//! of this below 200 ns without SRTP.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_rtp::{Header, Pressed, is_rtcp, packet::set_type};
use postern_srtp::dtls::Identity;
use postern_types::{
    CallSid,
    media::{MediaEvent, StreamSetup},
    recording::{Tapped, Track},
};
use postern_uring::prefetch;

use crate::{
    conference::Rooms,
    fast::Kernel,
    latch::Judgement,
    leg::{HOT_LINES, Leg},
    proof::Budget,
    transcode::Transcoding,
    typed::{Kind, Typed, UNMAPPED},
};

mod control;
mod fax;
mod own;

/// Events that wait to be fetched; beyond it reports are left out, and beyond twice that all but `Closed`.
pub const EVENTS_MAX: usize = 16384;

/// Turns that a second is cut into: a full house is not looked at in one go while packets wait.
pub const PARTS: u32 = 20;

/// Clock of telephone-event: the one that descriptions give it with every codec that we name (RFC 4733 2.4.1).
const EVENT_CLOCK_HZ: u32 = 8000;

/// The two ports of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Even; carries RTCP too when multiplexed.
    Rtp,
    /// The next one.
    Rtcp,
}

/// What is to be done with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing; they were counted.
    Drop,
    /// Send the first `len` of the room.
    Send {
        /// Out of whose port.
        slot: u32,
        /// Which.
        port: Port,
        /// Where to.
        to: SocketAddr,
        /// How many bytes.
        len: usize,
    },
}

/// Times that all legs share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long after a description a new source may be latched.
    pub latch_window: Duration,
    /// How long a sending party may be silent.
    pub timeout: Duration,
}

/// Packets since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came in.
    pub packets_in: u64,
    /// Packets that went out: relayed and played.
    pub packets_out: u64,
    /// Packets that came in and were not used: foreign, bad, unmapped, early, unwanted. A packet without a bridge is no drop.
    pub dropped: u64,
    /// Of those that came in and went out: by the kernel itself, never seen here.
    pub forwarded: u64,
    /// Of the dropped, because the other leg has no such format.
    pub unmapped: u64,
    /// Events that nobody fetched in time.
    pub events_lost: u64,
}

/// The legs of one worker.
pub struct Relay {
    pub(crate) legs: Vec<Option<Box<Leg>>>,
    pub(crate) live: Vec<u32>,
    limits: Limits,
    pub(crate) events: VecDeque<MediaEvent>,
    pub(crate) counts: Counts,
    pub(crate) transcoding: Transcoding,
    pub(crate) rooms: Rooms,
    /// When which leg's player has a packet due. An entry whose time is not its player's is stale.
    plays: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Legs with a digit whose end was not seen.
    pressed: Vec<u32>,
    /// What we prove ourselves with in handshakes.
    identity: Option<Arc<Identity>>,
    /// When which leg's handshake has something to repeat; stale as `plays` are.
    pub(crate) handshakes: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Legs whose handshake has something to send.
    flights: VecDeque<u32>,
    budget: Budget,
    /// When which leg's RTCP report is due; stale as `plays` are.
    reports: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Legs whose report is to be written now.
    reporting: VecDeque<u32>,
    /// An instant and its NTP time.
    clock: Option<(Instant, u64)>,
    /// Sockets to connect, or to disconnect (none).
    bindings: VecDeque<(u32, Option<SocketAddr>)>,
    /// What the kernel forwards by itself; none: it has no part in it.
    pub(crate) kernel: Option<Kernel>,
    random: u64,
    /// Copies that wait to be fetched.
    pub(crate) tapped: VecDeque<(u32, Tapped)>,
    /// Legs with fax: nearly always none, so that no packet of audio looks for it in its leg.
    faxes: u32,
}

impl Relay {
    /// For legs in slots below `slots`. `seed` makes SSRCs unpredictable.
    pub fn new(slots: usize, limits: Limits, seed: u64) -> Self {
        Self {
            legs: std::iter::repeat_with(|| None).take(slots).collect(),
            live: Vec::with_capacity(slots),
            limits,
            events: VecDeque::with_capacity(2 * EVENTS_MAX),
            counts: Counts::default(),
            transcoding: Transcoding::new(slots),
            rooms: Rooms::new(slots),
            plays: BinaryHeap::with_capacity(slots),
            pressed: Vec::with_capacity(slots),
            identity: None,
            handshakes: BinaryHeap::new(),
            flights: VecDeque::new(),
            budget: Budget::default(),
            reports: BinaryHeap::with_capacity(slots),
            reporting: VecDeque::new(),
            clock: None,
            bindings: VecDeque::with_capacity(slots),
            kernel: None,
            random: seed | 1,
            tapped: VecDeque::new(),
            faxes: 0,
        }
    }

    /// Gives it the certificate for DTLS; without one, legs that need it stay silent.
    pub fn set_identity(&mut self, identity: Arc<Identity>) {
        self.identity = Some(identity);
    }

    /// New times for all legs.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Packets since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Legs at present.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// A leg begins in a free slot.
    pub fn open(&mut self, now: Instant, slot: u32, id: CallSid) {
        // xorshift: spreads the seed over the legs.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let leg = Leg::new(now, id, self.random);
        self.put(slot, Box::new(leg));
    }

    /// Takes a leg over, from another worker.
    pub(crate) fn put(&mut self, slot: u32, mut leg: Box<Leg>) {
        if let Some(place) = self.legs.get_mut(slot as usize) {
            if let Some(player) = &leg.player {
                self.plays.push(Reverse((player.next_at, slot)));
            }
            if let Some(pressing) = &leg.pressing {
                self.plays.push(Reverse((pressing.next_at, slot)));
            }
            if leg.digits.next_deadline().is_some() {
                self.pressed.push(slot);
            }
            if let Some(keying) = leg.proof.as_mut().and_then(|proof| proof.keying.as_mut()) {
                keying.forget_plans();
            }
            self.faxes += u32::from(leg.is_fax);
            *place = Some(leg);
            self.live.push(slot);
            self.plan_handshake(slot);
            self.plan_report(slot);
        }
    }

    /// Gives a leg away.
    pub(crate) fn take(&mut self, slot: u32) -> Option<Box<Leg>> {
        self.unbridge(slot);
        self.leave(slot);
        let mut leg = self.legs.get_mut(slot as usize)?.take()?;
        self.faxes -= u32::from(leg.is_fax);
        leg.is_connected = false;
        leg.forget_inband_plan();
        self.live.retain(|&live| live != slot);
        self.pressed.retain(|&pressed| pressed != slot);
        Some(leg)
    }

    /// What was negotiated.
    pub fn configure(&mut self, now: Instant, slot: u32, setup: Box<StreamSetup>) {
        self.lift(slot);
        let window = self.limits.latch_window;
        let Some(leg) = leg(&mut self.legs, slot) else { return };
        let before = leg.latch.source();
        self.faxes -= u32::from(leg.is_fax);
        leg.configure(now, setup, window, self.identity.as_ref());
        self.faxes += u32::from(leg.is_fax);
        let told = leg.take_up(now, &mut self.budget);
        told.into_iter().flatten().for_each(|event| tell(&mut self.events, &mut self.counts, event));
        if leg.is_connected && leg.latch.source() != before {
            leg.is_connected = false;
            self.bindings.push_back((slot, None));
        }
        leg.control.begin(now);
        if let Some(partner) = leg.partner {
            self.remap(slot, partner);
        }
        self.reseat(slot);
        self.plan_handshake(slot);
        self.plan_report(slot);
    }

    /// Notes what a leg's handshake has to send, now and later.
    fn plan_handshake(&mut self, slot: u32) {
        let proof = leg(&mut self.legs, slot).and_then(|leg| leg.proof.as_mut());
        let Some(keying) = proof.and_then(|proof| proof.keying.as_mut()) else { return };
        let (flight, deadline) = keying.plan();
        if flight {
            self.flights.push_back(slot);
        }
        self.handshakes.extend(deadline.map(|at| Reverse((at, slot))));
    }

    /// Two legs hear each other; what they heard before ends.
    pub fn bridge(&mut self, a: u32, b: u32) {
        if a == b || leg(&mut self.legs, a).is_none() || leg(&mut self.legs, b).is_none() {
            return;
        }
        for slot in [a, b] {
            self.unbridge(slot);
            self.leave(slot);
        }
        for (one, other) in [(a, b), (b, a)] {
            if let Some(leg) = leg(&mut self.legs, one) {
                leg.partner = Some(other);
                leg.mark_next = true;
            }
        }
        self.remap(a, b);
    }

    /// A leg and its partner hear nobody.
    pub fn unbridge(&mut self, slot: u32) {
        self.lift(slot);
        let partner = leg(&mut self.legs, slot).and_then(|leg| {
            leg.leave_ways();
            leg.partner.take()
        });
        if let Some(other) = partner.and_then(|partner| leg(&mut self.legs, partner)) {
            other.leave_ways();
            other.partner = None;
        }
    }

    fn remap(&mut self, a: u32, b: u32) {
        for (one, other) in [(a, b), (b, a)] {
            let Ok([Some(from), Some(to)]) = self.legs.get_disjoint_mut([one as usize, other as usize]) else { return };
            from.map_to(to);
        }
        self.settle_ways(a, b);
    }

    /// Ends a leg. The event is for the caller to tell, when the sockets are closed too.
    pub fn close(&mut self, slot: u32) -> Option<MediaEvent> {
        let leg = self.take(slot)?;
        Some(MediaEvent::Closed { leg: leg.id, report: Box::new(leg.report()) })
    }

    /// A packet of this leg comes soon: asks for the memory that [`Relay::handle_input`] will want.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        if let Some(Some(leg)) = self.legs.get(slot as usize) {
            prefetch(&**leg, 0..HOT_LINES);
        }
    }

    /// The same for the leg that hears this one. Later than that, for its name is in that memory.
    #[inline]
    pub fn prefetch_partner(&self, slot: u32) {
        if let Some(Some(leg)) = self.legs.get(slot as usize)
            && let Some(Some(partner)) = leg.partner.and_then(|partner| self.legs.get(partner as usize))
        {
            prefetch(&**partner, 0..2);
            prefetch(&**partner, HOT_LINES - 1..HOT_LINES);
        }
    }

    /// Decides about a packet that came to a leg's port. `room` holds `len` bytes of it, and space behind for an SRTP
    /// trailer; what is to be sent lies in its place.
    pub fn handle_input(
        &mut self,
        now: Instant,
        slot: u32,
        port: Port,
        source: SocketAddr,
        room: &mut [u8],
        len: usize,
    ) -> Verdict {
        self.counts.packets_in += 1;
        if self.faxes > 0 && leg(&mut self.legs, slot).is_some_and(|leg| leg.is_fax) {
            return self.fax(now, slot, port, source, room.get(..len).unwrap_or_default());
        }
        // RFC 7983 7: RTP and RTCP begin with 128 to 191.
        if room.first().is_some_and(|first| *first < 128)
            && let Some(verdict) = self.prove(now, (slot, port), source, (room, len))
        {
            return verdict;
        }
        if port == Port::Rtcp || is_rtcp(room.get(..len).unwrap_or_default()) {
            self.rtcp(now, slot, port, source, room, len);
            return Verdict::Drop;
        }
        let verdict = self.rtp(now, slot, source, room, len);
        match verdict {
            Some(send) => {
                self.counts.packets_out += 1;
                send
            }
            None => Verdict::Drop,
        }
    }

    /// A packet that is not RTP, if its leg has a use for others.
    #[cold]
    fn prove(
        &mut self,
        now: Instant,
        at: (u32, Port),
        source: SocketAddr,
        packet: (&mut [u8], usize),
    ) -> Option<Verdict> {
        let leg = leg(&mut self.legs, at.0)?;
        if leg.setup.is_none() && at.1 == Port::Rtp {
            leg.keep_early(source, packet.0.get(..packet.1).unwrap_or_default());
        }
        leg.proof.as_ref()?;
        let proved = leg.prove(now, at, source, packet, (&mut self.budget, &mut self.counts));
        proved.events.into_iter().flatten().for_each(|event| tell(&mut self.events, &mut self.counts, event));
        self.plan_handshake(at.0);
        self.counts.packets_out += u64::from(proved.verdict.is_some());
        Some(proved.verdict.unwrap_or(Verdict::Drop))
    }

    fn rtp(&mut self, now: Instant, slot: u32, source: SocketAddr, room: &mut [u8], len: usize) -> Option<Verdict> {
        if self.flows() > 0 {
            self.before_packet(now, slot, source, room.get(..len)?);
        }
        let Some(leg) = leg(&mut self.legs, slot).filter(|leg| leg.is_described()) else {
            self.counts.dropped += 1;
            return None;
        };
        let judgement = leg.latch.judge(now, source);
        if judgement == Judgement::Stranger && !leg.is_proven(now, source) {
            self.counts.dropped += 1;
            let event = leg.stranger(now, source);
            event.into_iter().for_each(|event| tell(&mut self.events, &mut self.counts, event));
            return None;
        }
        // A stranger may not latch with a key that it does not have, so SRTP is opened before anything is believed.
        let read = Header::parse(room.get(..len)?).ok().and_then(|header| {
            let typed = leg.types.of(header.payload_type);
            if judgement == Judgement::Candidate && typed.kind == Kind::Unknown {
                return None;
            }
            let len = leg.crypto.open(room, len, false).ok()?;
            header.payload(room.get(..len)?).ok()?;
            Some((header, typed, len))
        });
        let Some((header, Typed { kind, mapped }, len)) = read else {
            self.counts.dropped += 1;
            leg.unreadable();
            return None;
        };
        if judgement == Judgement::Candidate {
            let as_described = leg.latch.bind(source);
            let latched = MediaEvent::Latched { leg: leg.id, source, as_described };
            tell(&mut self.events, &mut self.counts, latched);
        }
        if leg.received.packets == 0 {
            leg.figures.first_packet_ms = Some(now.saturating_duration_since(leg.opened).as_millis() as u32);
        }
        leg.received.add(1, len as u64);
        leg.heard = now;
        let timing = match kind {
            Kind::Audio(clock) => clock.hz().map(|hz| (header.timestamp, hz)),
            Kind::Event | Kind::Unknown => None,
        };
        leg.reception.update(header.ssrc, header.sequence, timing, now);
        let payload = room.get(header.payload_start..len).unwrap_or_default();
        if leg.attention.hear(&header, payload) {
            leg.listen(now, header.payload_type, payload);
        }
        if kind == Kind::Event {
            let was_pending = leg.digits.next_deadline().is_some();
            let payload = header.payload(&room[..len]).unwrap_or_default();
            let told = leg.digits.handle_input(now, header.ssrc, header.timestamp, payload);
            let id = leg.id;
            if leg.digits.next_deadline().is_some() && !was_pending && !self.pressed.contains(&slot) {
                self.pressed.push(slot);
            }
            told.into_iter().flatten().for_each(|p| tell(&mut self.events, &mut self.counts, digit(id, p)));
        }
        if !leg.sends {
            self.counts.dropped += 1;
            return None;
        }
        if let Some(taps) = &mut leg.taps {
            taps.copy(now, (slot, Track::Inbound), leg.setup.as_deref(), &room[..len], &mut self.tapped);
        }
        let Some(to_slot) = leg.partner else {
            // A digit was told above, and is for nobody's ears.
            if kind != Kind::Event {
                if leg.inband.is_some() {
                    self.rtp_alone(now, slot, &header, room.get(..len)?);
                }
                self.rtp_by_room(now, slot, &header, room.get(..len)?);
            }
            return None;
        };
        let is_audio = matches!(kind, Kind::Audio(_));
        if leg.ways.is_some() || mapped == UNMAPPED && is_audio && self.follow_stray(slot, to_slot, header.payload_type)
        {
            return self.rtp_by_ways(now, (slot, to_slot), header, kind == Kind::Event, (room, len));
        }
        if mapped == UNMAPPED {
            self.counts.dropped += 1;
            self.counts.unmapped += 1;
            return None;
        }
        self.rtp_out(now, to_slot, (header, timing), mapped, room, len)
    }

    /// The second half of a relay: towards the other leg.
    fn rtp_out(
        &mut self,
        now: Instant,
        slot: u32,
        (header, timing): (Header, Option<(u32, u32)>),
        mapped: u8,
        room: &mut [u8],
        len: usize,
    ) -> Option<Verdict> {
        let leg = leg(&mut self.legs, slot)?;
        let to = leg.rtp_destination().filter(|_| !leg.hears_us());
        let sent = to.and_then(|to| {
            set_type(room, mapped, header.marker || leg.mark_next);
            if let Some(taps) = &mut leg.taps {
                taps.copy(now, (slot, Track::Outbound), leg.setup.as_deref(), room.get(..len)?, &mut self.tapped);
            }
            leg.crypto.protect(room, len, false).ok().map(|protected| (to, protected))
        });
        let Some((to, protected)) = sent else {
            self.counts.dropped += 1;
            return None;
        };
        leg.mark_next = false;
        leg.sent.update(now, header.ssrc, len - header.payload_start, timing);
        leg.sent_tally.add(1, len as u64);
        Some(Verdict::Send { slot, port: Port::Rtp, to, len: protected })
    }

    /// When [`Relay::poll_play`] or [`Relay::handle_timeout`] has something to do; the turn of each second comes besides.
    pub fn next_deadline(&self) -> Option<Instant> {
        let play = self.plays.peek().map(|Reverse((at, _))| *at);
        let digit =
            self.pressed.iter().filter_map(|&slot| self.legs[slot as usize].as_ref()?.digits.next_deadline()).min();
        let handshake = self.handshakes.peek().map(|Reverse((at, _))| *at);
        let samples = self.transcoding.next_deadline().into_iter().chain(self.rooms.next_deadline());
        play.into_iter().chain(digit).chain(handshake).chain(samples).min()
    }

    /// Digits whose end was lost, and handshakes whose flights were.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&Reverse((at, slot))) = self.handshakes.peek().filter(|Reverse((at, _))| *at <= now) {
            self.handshakes.pop();
            let Some(leg) = leg(&mut self.legs, slot) else { continue };
            let Some(keying) = leg.proof.as_mut().and_then(|proof| proof.keying.as_mut()) else { continue };
            if keying.next_deadline() != Some(at) {
                continue;
            }
            let outcome = keying.handle_timeout(now);
            let told = leg.follow(now, outcome);
            told.into_iter().flatten().for_each(|event| tell(&mut self.events, &mut self.counts, event));
            self.plan_handshake(slot);
        }
        let Self { legs, pressed, events, counts, .. } = self;
        pressed.retain(|&slot| {
            let Some(leg) = leg(legs, slot) else { return false };
            if let Some(lost) = leg.digits.handle_timeout(now) {
                tell(events, counts, digit(leg.id, lost));
            }
            leg.digits.next_deadline().is_some()
        });
    }

    /// The turn of each second, all of it: see [`Relay::handle_part`].
    pub fn handle_second(&mut self, now: Instant) {
        (0..PARTS).for_each(|part| self.handle_part(now, part));
    }

    /// The turn of each second for every [`PARTS`]th leg: figures, silence, strangers, and whose socket is worth connecting.
    pub fn handle_part(&mut self, now: Instant, part: u32) {
        self.read_flows(now, part);
        self.reports_due(now);
        let Self { legs, live, limits, events, counts, bindings, .. } = self;
        // Twice a second, so that nobody is unheard for two without a word of it.
        for &slot in live.iter().filter(|&slot| slot % (PARTS / 2) == part % (PARTS / 2)) {
            let told = leg(legs, slot).and_then(|leg| leg.look(now));
            told.into_iter().for_each(|event| tell(events, counts, event));
        }
        for &slot in live.iter().filter(|&slot| slot % PARTS == part) {
            let Some(leg) = leg(legs, slot) else { continue };
            leg.tell_foreign(now).into_iter().for_each(|event| tell(events, counts, event));
            leg.tell_refused(now).into_iter().for_each(|event| tell(events, counts, event));
            let ice = leg.proof.as_mut().and_then(|proof| proof.ice.as_mut());
            let is_ice = ice.is_some();
            if let Some(silent) = ice.and_then(|ice| ice.consent_lost(now)) {
                tell(events, counts, MediaEvent::ConsentLost { leg: leg.id, silent });
            }
            let silent = now.saturating_duration_since(leg.heard);
            let told = leg.silence_told.map_or(silent, |at| now.saturating_duration_since(at));
            if leg.must_send() && silent >= limits.timeout && told >= limits.timeout {
                leg.silence_told = Some(now);
                tell(events, counts, MediaEvent::TimedOut { leg: leg.id, silent });
            }
            let (received, sent) = (leg.received.packets, leg.sent_tally.packets);
            // A leg that falls silent is unbound, so that whoever sends instead is seen and told of. With ICE the peer may move at
            // any time, and says so from its new address.
            let peer = leg.latch.settled().filter(|_| received != leg.received_before && !is_ice);
            if peer.is_some() != leg.is_connected {
                leg.is_connected = peer.is_some();
                bindings.push_back((slot, peer));
            }
            if (received, sent) != (leg.received_before, leg.sent_before) {
                leg.note_second(received);
                tell(events, counts, MediaEvent::Report { leg: leg.id, report: Box::new(leg.report()) });
            }
            (leg.received_before, leg.sent_before) = (received, sent);
        }
        self.wish_for_flows(part);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            // Back to its beginning: walked through, a queue of this room would take all of its pages.
            self.events.clear();
        }
        event
    }

    /// The next socket to be connected to a peer, or disconnected.
    pub fn poll_binding(&mut self) -> Option<(u32, Option<SocketAddr>)> {
        self.bindings.pop_front()
    }
}

pub(crate) fn leg(legs: &mut [Option<Box<Leg>>], slot: u32) -> Option<&mut Leg> {
    legs.get_mut(slot as usize)?.as_deref_mut()
}

fn digit(leg: CallSid, pressed: Pressed) -> MediaEvent {
    MediaEvent::Digit { leg, digit: pressed.digit, duration_ms: pressed.duration_ms(EVENT_CLOCK_HZ) }
}

/// Queues an event within bounds: a report gives way first, for the next one says more.
pub(crate) fn tell(events: &mut VecDeque<MediaEvent>, counts: &mut Counts, event: MediaEvent) {
    let max = if matches!(event, MediaEvent::Report { .. }) { EVENTS_MAX } else { 2 * EVENTS_MAX };
    if events.len() < max {
        events.push_back(event);
    } else {
        counts.events_lost += 1;
    }
}

#[cfg(test)]
mod tests;
