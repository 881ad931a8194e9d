//! One dialog with one party, from its INVITE to its end.
//!
//! A leg that came in has one side. A dialed leg has one for each device or address that is tried; when one answers it is
//! the leg's, and the others live on without a leg until their INVITE is cancelled and over. A side is found by the
//! tag that we gave it, which is also the secret of its dialog: 64 random bits.

use std::{collections::VecDeque, fmt};

use postern_config::Workarounds;
use postern_sdp::{Described, Origin};
use postern_sip::{
    Request, SentBy,
    dialog::{AnswerKeeper, Dialog},
    transaction::{ClientKey, Flow, ServerKey},
};
use postern_types::{CallSid, Cause, Secret, TrunkName, UserName, stream::AudioStream};

use crate::{
    dialed::Way,
    early::{Early, Provisional},
    editing::Changed,
    passing::Passed,
    places::Endpoint,
    refer::Referral,
    refresh::{Refresh, SessionTimer},
    rules::Rules,
};

/// Our tag of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    /// Reads back what Display wrote, and nothing else.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let ours = text.len() == 16 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        ours.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Side {
    /// The leg it belongs to; none when that is gone or was answered elsewhere.
    pub(crate) leg: Option<CallSid>,
    /// What is between our endpoint and the peer.
    pub(crate) flow: Flow,
    /// Our endpoint as a Via says it.
    pub(crate) advertised: SentBy,
    /// Our endpoint as a Contact says it.
    pub(crate) contact: SentBy,
    /// Whether requests always go back over `flow`: to devices, which are mostly behind NAT.
    pub(crate) keeps_flow: bool,
    /// The trunk that its peer is.
    pub(crate) trunk: Option<TrunkName>,
    /// Whose device it is.
    pub(crate) user: Option<UserName>,
    pub(crate) ours: OurDescription,
    pub(crate) rules: Rules,
    pub(crate) credentials: Option<(Box<str>, Secret<String>)>,
    pub(crate) state: State,
}

impl Side {
    /// Its peer is reached by another connection now.
    pub(crate) fn moves_to(&mut self, flow: Flow) {
        self.flow = flow;
        self.advertised.transport = flow.transport;
    }

    /// Whose offer is open.
    pub(crate) fn offer_answer_mut(&mut self) -> &mut OfferAnswer {
        match &mut self.state {
            State::Offered(offered) => &mut offered.offer_answer,
            State::Calling(calling) => &mut calling.offer_answer,
            State::Up(session) => &mut session.offer_answer,
        }
    }

    /// Where its next request goes.
    pub(crate) fn next_hop(&self) -> Flow {
        match &self.state {
            State::Up(session) => crate::dialed::hop(&session.dialog, self.flow, self.keeps_flow),
            State::Offered(_) | State::Calling(_) => self.flow,
        }
    }
}

/// RFC 3261 13 and 15, both roles.
#[derive(Debug)]
pub(crate) enum State {
    /// An INVITE came; no final answer yet.
    Offered(Box<OfferedSide>),
    /// Our INVITE is out; no final answer yet.
    Calling(Box<Calling>),
    /// Answered.
    Up(Box<Session>),
}

#[derive(Debug)]
pub(crate) struct OfferedSide {
    pub(crate) key: ServerKey,
    pub(crate) invite: Request,
    pub(crate) offer: Option<Described>,
    /// What a copy of the INVITE that came another way would have in common with it (RFC 3261 8.2.2.2).
    pub(crate) merged_id: u64,
    /// What was said before the answer.
    pub(crate) early: Provisional,
    /// An offer that came after ours was acknowledged, and before the answer.
    pub(crate) offer_answer: OfferAnswer,
    /// The header rules that changed the INVITE, until the router was told.
    pub(crate) edited: Changed,
}

#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) key: ClientKey,
    pub(crate) invite: Request,
    /// How often a challenge was answered.
    pub(crate) tries: u8,
    /// How often its session interval was raised.
    pub(crate) raises: u8,
    /// Whether the far end said anything yet, if only 100.
    pub(crate) heard: bool,
    /// Where it goes when the connection that it was moved to for its size cannot be made.
    pub(crate) fallback: Option<(Flow, Endpoint)>,
    /// Further flows to the same device, the best first.
    pub(crate) flows: VecDeque<Way>,
    /// Dialogs that provisional responses made, the latest last.
    pub(crate) earlies: Vec<Early>,
    /// An offer of the callee's before its answer.
    pub(crate) offer_answer: OfferAnswer,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) dialog: Dialog,
    pub(crate) offer_answer: OfferAnswer,
    /// Our 2xx that waits for its ACK.
    pub(crate) unacked: Option<Unacked>,
    /// The INVITE that we sent first, to take down further answers to it from elsewhere.
    pub(crate) invite: Option<(ClientKey, Request)>,
    /// Send a BYE with this cause as soon as the ACK is there (RFC 3261 15).
    pub(crate) hangup: Option<Cause>,
    pub(crate) timer: Option<SessionTimer>,
    /// An UPDATE or OPTIONS of ours that refreshes and is not answered.
    pub(crate) refresh: Option<Refresh>,
    /// An offer of ours that waits for its moment.
    pub(crate) waiting: Option<Box<Waiting>>,
    /// A REFER of the peer's that is under way.
    pub(crate) referral: Option<Referral>,
    /// A REFER of ours that it has.
    pub(crate) passed: Option<Passed>,
    /// There was one of the peer's before.
    pub(crate) has_referred: bool,
    /// Whether the Call-ID is ours.
    pub(crate) is_caller: bool,
    /// Whether the peer says that it takes UPDATE.
    pub(crate) takes_update: bool,
}

impl Session {
    /// One that was just answered, with nothing under way.
    pub(crate) fn new(dialog: Dialog) -> Self {
        Self {
            dialog,
            offer_answer: OfferAnswer::Settled,
            unacked: None,
            invite: None,
            hangup: None,
            timer: None,
            refresh: None,
            waiting: None,
            referral: None,
            passed: None,
            has_referred: false,
            is_caller: false,
            takes_update: false,
        }
    }
}

/// An offer that met one of the peer's, or came while another was under way.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) offer: AudioStream,
    /// How often it was refused with 491.
    pub(crate) glares: u8,
    /// How often its time came, and another offer was open.
    pub(crate) delays: u8,
}

#[derive(Debug)]
pub(crate) struct Unacked {
    pub(crate) key: ServerKey,
    pub(crate) keeper: AnswerKeeper,
    /// The 2xx was our offer; the ACK must carry the answer.
    pub(crate) delayed: bool,
    /// It was the first INVITE, not a later one.
    pub(crate) first: bool,
}

/// Who has an offer open.
#[derive(Debug)]
pub(crate) enum OfferAnswer {
    Settled,
    /// Our re-INVITE is out.
    Ours {
        invite: Request,
        tries: u8,
        /// How often its session interval was raised.
        raises: u8,
        /// How often it met one of the peer's.
        glares: u8,
        /// What was offered, to be offered again.
        stream: Option<Box<AudioStream>>,
        /// It only refreshes: the router does not know of it.
        refresh: bool,
    },
    /// Theirs waits for the router.
    Theirs {
        key: ServerKey,
        request: Request,
        offer: Option<Described>,
    },
}

/// What we describe of ourselves: the numbers of its o= line, and the last text.
#[derive(Debug)]
pub(crate) struct OurDescription {
    origin: Origin,
    last: Vec<u8>,
    /// The offer of theirs that we answered last: a later offer of ours keeps its m-lines.
    layout: Option<Box<Described>>,
    workarounds: Workarounds,
}

impl OurDescription {
    pub(crate) fn new(session: u64, workarounds: Workarounds) -> Self {
        // Below 2^62: some read it into a signed number.
        Self { origin: Origin { session: session >> 2, version: 1 }, last: Vec::new(), layout: None, workarounds }
    }

    /// The text to send. Its version rises when it differs from the last one (RFC 3264 8).
    pub(crate) fn write(&mut self, stream: &AudioStream, against: Option<&Described>) -> &[u8] {
        if let Some(offer) = against {
            // Most have one stream without a name: any offer of ours has the same layout.
            let is_plain = offer.media.len() == 1 && offer.media[0].mid.is_none();
            self.layout = (!is_plain).then(|| Box::new(offer.clone()));
        }
        let same = self.text(stream, against);
        if self.last.is_empty() || self.last == same {
            self.last = same;
        } else {
            self.origin.version += 1;
            self.last = self.text(stream, against);
        }
        &self.last
    }

    /// What we described last, as an offer: who began a DTLS handshake may begin a new one (RFC 8842 5.2).
    pub(crate) fn again(&self) -> Vec<u8> {
        let text = String::from_utf8_lossy(&self.last);
        text.replace("a=setup:active", "a=setup:actpass").replace("a=setup:passive", "a=setup:actpass").into_bytes()
    }

    fn text(&self, stream: &AudioStream, against: Option<&Described>) -> Vec<u8> {
        let text = match &self.layout {
            Some(layout) if against.is_none() => postern_sdp::write_again(stream, self.origin, layout),
            _ => postern_sdp::write(stream, self.origin, against),
        };
        if !self.workarounds.hold_by_zero || stream.direction.receives() || !stream.rtp.is_ipv4() {
            return text;
        }
        // RFC 2543 B.5. The o= line stays (RFC 3264 8).
        let ours = format!("\r\nc=IN IP4 {}\r\n", stream.rtp.ip());
        String::from_utf8_lossy(&text).replace(&ours, "\r\nc=IN IP4 0.0.0.0\r\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_back_and_others_are_not_ours() {
        assert_eq!(Tag::read(&Tag(0xabc).to_string()), Some(Tag(0xabc)));
        for other in ["", "abc", "0000000000000ABC", "+00000000000000a", "00000000000000abc"] {
            assert_eq!(Tag::read(other), None, "{other}");
        }
    }
}
