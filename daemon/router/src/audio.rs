//! How a leg gets its audio: opening, describing, answering, joining two legs.

use std::net::SocketAddr;

use postern_facts as facts;
use postern_types::{
    CallSid, Cause, EndedBy, Now,
    leg::{LegCommand, Party},
    media::MediaCommand,
    stream::{AudioStream, Direction, Fingerprint, Format},
};

use crate::{
    bandwidth,
    call::{Call, OPENING_MAX},
    context::Context,
    leg::{Leg, Stream},
    negotiate,
    reoffer::{Asker, Reoffer},
};

impl Call {
    /// Asks for a stream, once.
    pub fn open(&mut self, cx: &mut Context, now: Now, sid: CallSid) {
        let emergency = self.emergency;
        if let Some(leg) = self.leg_mut(sid)
            && leg.stream == Stream::None
            && leg.is_live()
        {
            leg.stream = Stream::Opening(now.instant + OPENING_MAX);
            let urgent = emergency || leg.dial.as_ref().is_some_and(|dial| dial.emergency);
            cx.media(MediaCommand::Open { leg: sid, realm: leg.realm.clone(), ipv6: leg.ipv6, urgent });
        }
    }

    /// The stream is there: whatever waited for it goes on.
    pub fn on_opened(
        &mut self,
        cx: &mut Context,
        now: Now,
        sid: CallSid,
        (rtp, rtcp): (SocketAddr, SocketAddr),
        fingerprint: Option<Fingerprint>,
    ) {
        let Some(leg) = self.leg_mut(sid).filter(|leg| leg.is_opening()) else { return };
        leg.keys.fingerprint = fingerprint;
        leg.stream = Stream::Open { rtp, rtcp };
        leg.opened = now.wall;
        if let Some(mut dial) = leg.dial.take() {
            // The offer was made before ports and certificate were known.
            dial.offer.rtp = rtp;
            dial.offer.rtcp = if dial.offer.rtcp_mux { rtp } else { rtcp };
            leg.keys.describe(&mut dial.offer);
            leg.ours = Some(dial.offer.clone());
            cx.leg(LegCommand::Dial(dial));
            self.callback_initiated(cx, now, sid);
        } else if !self.takes_over(cx, now, sid) && sid == self.anchor {
            self.first_opened(cx, now);
        }
    }

    /// There is none.
    pub fn on_open_failed(&mut self, cx: &mut Context, now: Now, sid: CallSid, why: String) {
        let Some(leg) = self.leg_mut(sid).filter(|leg| leg.is_opening()) else { return };
        leg.stream = Stream::Closed;
        self.tell(cx, sid, facts::MediaRefused { why });
        let cause = Cause::new(503, "no room for media");
        if sid == self.anchor {
            self.end(cx, now, EndedBy::Postern, cause);
        } else {
            self.hang_up(cx, now, sid, EndedBy::Postern, cause);
        }
    }

    /// Our description for a leg, in formats of the peer's payload types (an answer) or ours (an offer).
    pub fn describe(leg: &Leg, formats: Vec<Format>, telephone_event: Option<u8>, direction: Direction) -> AudioStream {
        let (rtp, rtcp) = match leg.stream {
            Stream::Open { rtp, rtcp } => (rtp, rtcp),
            _ => (unspecified(leg.ipv6), unspecified(leg.ipv6)),
        };
        let theirs = leg.theirs.as_ref();
        let rtcp_mux = theirs.map_or(leg.keys.wants_mux(), |theirs| theirs.rtcp_mux);
        let mut ours = AudioStream {
            rtp,
            rtcp: if rtcp_mux { rtp } else { rtcp },
            rtcp_mux,
            // Who asks for metrics gets them, and is asked for its own; nobody else is, for few know the attribute.
            rtcp_xr: theirs.is_some_and(|theirs| theirs.rtcp_xr),
            formats,
            telephone_event,
            ptime_ms: theirs.map_or(20, |theirs| theirs.ptime_ms),
            direction,
            crypto: Vec::new(),
            dtls: None,
            ice: None,
            fax: None,
        };
        leg.keys.describe(&mut ours);
        ours
    }

    /// Tells the media plane what a leg settled on, and the fact when it is news.
    pub fn configure(&mut self, cx: &mut Context, sid: CallSid) {
        let Some(leg) = self.leg_mut(sid) else { return };
        let Some(setup) = leg.setup() else { return };
        if !matches!(leg.stream, Stream::Open { .. }) {
            return;
        }
        cx.media(MediaCommand::Configure { leg: sid, setup: Box::new(setup) });
        if let (Party::Trunk { trunk }, Some(kbps)) = (&leg.party, bandwidth::of_leg(leg)) {
            cx.limits.weigh(trunk, std::mem::replace(&mut leg.kbps, kbps), kbps);
        }
        let summary = leg.summary();
        if summary != leg.negotiated
            && let Some(media) = summary
        {
            leg.negotiated = Some(media.clone());
            self.tell(cx, sid, facts::LegNegotiated { media });
        }
    }

    /// Refuses a description that leads back into our own relay.
    pub fn check_address(&self, cx: &mut Context, sid: CallSid, theirs: &AudioStream) -> Result<(), Cause> {
        let Some(address) = negotiate::own_port(&cx.config, theirs) else { return Ok(()) };
        self.tell(cx, sid, facts::OwnAddressDescribed { address });
        Err(Cause::new(488, "a media port of this appliance was described"))
    }

    /// The peer's answer to our first offer on a leg.
    pub fn take_answer(&mut self, cx: &mut Context, sid: CallSid, answer: &AudioStream) -> Result<(), Cause> {
        self.check_address(cx, sid, answer)?;
        let leg = self.leg_mut(sid).ok_or(Cause::NORMAL)?;
        let offers_fax = leg.ours.as_ref().is_some_and(|ours| ours.fax.is_some());
        match (offers_fax, answer.fax.is_some()) {
            (true, true) => {
                leg.theirs = Some(answer.clone());
                return Ok(());
            }
            (true, false) => return Err(Cause::new(488, "T.38 was offered and not answered")),
            // Without formats it goes on to be refused.
            (false, _) => {}
        }
        let offered = leg.ours.as_ref().map(|ours| ours.formats.clone()).unwrap_or_default();
        // In the order of the answer: its first is what the peer wants to be sent (RFC 3264 6.1).
        let agreed: Vec<_> = leg.policy.allow(&answer.formats);
        let agreed: Vec<_> =
            agreed.into_iter().filter(|f| !negotiate::common(&offered, std::slice::from_ref(f)).is_empty()).collect();
        if agreed.is_empty() {
            return Err(Cause::new(488, "answered without a format that was offered"));
        }
        leg.keys.take_answer(answer)?;
        leg.agreed = agreed;
        leg.theirs = Some(answer.clone());
        Ok(())
    }

    /// Joins the first leg with a dialed one whose description is known: settles formats, tells the media plane, relays.
    /// `status` says how the first leg is told: 200, or 183 for early media; one that was answered before is not told.
    pub fn join(&mut self, cx: &mut Context, now: Now, child: CallSid, status: u16) -> Result<(), Cause> {
        let Some(other) = self.leg(child) else { return Err(Cause::NORMAL) };
        let wanted = other.agreed.clone();
        // To one that is told otherwise digits of the stream go on, converted.
        let events = !other.policy.dtmf.is_by_events()
            || other.theirs.as_ref().is_some_and(|theirs| theirs.telephone_event.is_some());
        let first = self.anchor;
        let Some(leg) = self.leg_mut(first) else { return Err(Cause::NORMAL) };
        let told = leg.answered.is_some();
        let mut agreed = negotiate::common(&leg.candidates(), &wanted);
        if agreed.is_empty() && told && status == 200 && self.change_codec(cx, child, &wanted).is_ok() {
            return Ok(());
        }
        let Some(leg) = self.leg_mut(first) else { return Err(Cause::NORMAL) };
        if agreed.is_empty() {
            // The media plane converts.
            agreed.extend(negotiate::convertible(&leg.candidates(), &wanted, cx.libraries));
        }
        if agreed.is_empty() {
            return Err(Cause::new(488, "the two parties have no codec in common"));
        }
        if !told {
            if let Some(offer) = leg.theirs.clone() {
                leg.keys.take_offer(&leg.policy, &mut cx.rng, &offer)?;
            } else {
                leg.keys.make_offer(&leg.policy, &mut cx.rng);
            }
            let direction = leg.theirs.as_ref().map_or(Direction::SendRecv, |theirs| theirs.direction.reversed());
            let telephone_event = leg.telephone_event().filter(|_| events);
            leg.agreed = agreed.clone();
            let ours = Self::describe(leg, agreed.clone(), telephone_event, direction);
            leg.ours = Some(ours);
        } else {
            // What was answered stays valid; only the order changes: we play and measure by the common one.
            leg.agreed = agreed.clone();
        }
        // The other leg sends and hears by the same codec if there is one; if it sends another of its answer all the same, that is converted.
        if let Some(other) = self.leg_mut(child) {
            other.agreed = negotiate::with_convertible(&other.agreed, &agreed, cx.libraries);
        }
        self.configure(cx, child);
        self.configure(cx, first);
        cx.media(MediaCommand::Bridge { a: first, b: child });
        self.note_conversion(cx, child);
        if !told {
            self.tell_first(cx, now, status);
        }
        Ok(())
    }

    /// The first leg was answered in a codec that the other does not have: it is offered one that both have. Until it answers they are
    /// converted.
    fn change_codec(&mut self, cx: &mut Context, child: CallSid, wanted: &[Format]) -> Result<(), Cause> {
        let first = self.anchor;
        let none = || Cause::new(488, "the two parties have no codec in common");
        let leg = self.leg(first).filter(|_| self.reoffer.is_none()).ok_or_else(none)?;
        let formats = negotiate::common(&leg.capabilities(), wanted);
        if formats.is_empty() {
            return Err(none());
        }
        let telephone_event = leg.ours.as_ref().and_then(|ours| ours.telephone_event);
        let direction = leg.theirs.as_ref().map_or(Direction::SendRecv, |theirs| theirs.direction.reversed());
        let ours = Self::describe(leg, formats.clone(), telephone_event, direction);
        let before = self.leg_mut(first).and_then(|leg| leg.ours.replace(ours.clone()));
        self.reoffer = Some(Reoffer { asker: Asker::Codec, to: first, before });
        cx.leg(LegCommand::Reoffer { leg: first, offer: Box::new(ours) });
        if let Some(other) = self.leg_mut(child) {
            other.agreed = negotiate::with_convertible(&other.agreed, &formats, cx.libraries);
        }
        self.configure(cx, child);
        cx.media(MediaCommand::Bridge { a: first, b: child });
        Ok(())
    }

    /// Tells when the two that talk do so in different codecs, and which; once for each pair of codecs.
    pub fn note_conversion(&mut self, cx: &mut Context, child: CallSid) {
        let Some((leg, other)) = self.leg(self.anchor).zip(self.leg(child)) else { return };
        let Some((ours, theirs)) = leg.agreed.first().zip(other.agreed.first()) else { return };
        let is_common = ours.codec == theirs.codec && ours.clock_hz == theirs.clock_hz;
        let pair = (!is_common).then(|| [ours, theirs].map(|f| format!("{}/{}", f.codec, f.clock_hz)));
        if pair != self.converted {
            self.converted.clone_from(&pair);
            if let Some([codec, other_codec]) = pair {
                self.tell(cx, self.anchor, facts::AudioTranscoded { codec, other_codec });
            }
        }
    }

    /// The same for who is connected.
    pub fn note_conversion_now(&mut self, cx: &mut Context) {
        if let Some(child) = self.bridged_with(self.anchor) {
            self.note_conversion(cx, child);
        }
    }

    /// Sends the first leg what we described, as an answer or as early media.
    fn tell_first(&mut self, cx: &mut Context, now: Now, status: u16) {
        let sid = self.anchor;
        let Some(ours) = self.leg(sid).and_then(|leg| leg.ours.clone()) else { return };
        let ours = Box::new(ours);
        if status == 183 {
            cx.leg(LegCommand::Ring { leg: sid, status, early: Some(ours) });
        } else {
            cx.leg(LegCommand::Answer { leg: sid, answer: ours });
            self.mark_answered(cx, now, sid, None);
        }
    }

    /// A leg is answered: by its far end, or by us.
    pub fn mark_answered(&mut self, cx: &mut Context, now: Now, sid: CallSid, sip_call_id: Option<&str>) {
        let Some(leg) = self.leg_mut(sid) else { return };
        leg.answered = Some(now);
        leg.updated = now.wall;
        leg.sip_status = Some(200);
        let after_ms = now.wall.since(leg.created.wall).as_millis() as u64;
        cx.counters.answered_total += 1;
        cx.leg_answered(sid, &leg.party);
        if let Some(id) = sip_call_id {
            leg.sip_call_id = id.to_owned();
        }
        let sip_call_id = leg.sip_call_id.clone();
        self.tell(cx, sid, facts::LegAnswered { after_ms, sip_call_id });
        self.callback_answered(cx, now, sid);
    }

    /// Answers the first leg by ourselves, so that it can hear a prompt.
    pub fn answer_alone(&mut self, cx: &mut Context, now: Now) -> Result<(), Cause> {
        let first = self.anchor;
        let Some(leg) = self.leg_mut(first) else { return Err(Cause::NORMAL) };
        let offered = leg.theirs.clone();
        let playable = negotiate::playable(leg.candidates(), cx.libraries);
        // One format: the peer then sends what we expect, and a later relay need not convert.
        let agreed: Vec<_> = if offered.is_some() { playable.into_iter().take(1).collect() } else { playable };
        if agreed.is_empty() {
            return Err(Cause::new(488, "no codec in which a prompt can be played"));
        }
        match &offered {
            Some(offer) => leg.keys.take_offer(&leg.policy, &mut cx.rng, offer)?,
            None => leg.keys.make_offer(&leg.policy, &mut cx.rng),
        }
        let direction = offered.as_ref().map_or(Direction::SendRecv, |offer| offer.direction.reversed());
        leg.agreed = agreed.clone();
        leg.ours = Some(Self::describe(leg, agreed, leg.telephone_event(), direction));
        self.configure(cx, first);
        self.tell_first(cx, now, 200);
        Ok(())
    }

    /// The ACK for our answer: with a delayed offer it carries the peer's answer, and only now is the audio settled.
    pub fn on_confirmed(&mut self, cx: &mut Context, now: Now, sid: CallSid, answer: Option<Box<AudioStream>>) {
        let Some(answer) = answer else { return };
        let Some(leg) = self.leg(sid).filter(|leg| leg.is_live()) else { return };
        let first_time = leg.theirs.is_none();
        if let Err(cause) = self.take_answer(cx, sid, &answer) {
            return self.end(cx, now, EndedBy::Postern, cause);
        }
        if first_time && let Some(child) = self.bridged_with(sid) {
            // The peer chose among what the other leg answered.
            let Some(chosen) = self.leg(sid).map(|leg| leg.agreed.clone()) else { return };
            if let Some(other) = self.leg_mut(child) {
                other.agreed = negotiate::with_convertible(&other.agreed, &chosen, cx.libraries);
            }
            self.configure(cx, child);
            self.note_conversion(cx, child);
        }
        self.configure(cx, sid);
        if !first_time {
            self.told_in_ack(cx, sid, &answer);
        } else if sid == self.anchor {
            self.run_session(cx, now);
        }
    }

    /// The leg that this one talks with.
    pub fn bridged_with(&self, sid: CallSid) -> Option<CallSid> {
        let child = self.dialing.as_ref().and_then(|dialing| dialing.connected)?;
        match sid {
            _ if sid == self.anchor => Some(child),
            _ if sid == child => Some(self.anchor),
            _ => None,
        }
    }
}

fn unspecified(ipv6: bool) -> SocketAddr {
    if ipv6 { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() } else { (std::net::Ipv4Addr::UNSPECIFIED, 0).into() }
}
