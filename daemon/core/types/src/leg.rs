//! The language between the signaling plane and the router: SIP legs without SIP.
//!
//! A leg is one dialog with one party; its [`CallSid`] is its name everywhere. Signaling makes the sid of a leg that
//! arrives, the router that of a leg it dials. After [`LegEvent::Ended`] or [`LegEvent::Failed`] a leg is gone; a
//! command for a leg that is gone is ignored.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    cause::{Cause, EndedBy},
    id::{CallSid, RealmName, TrunkName, UserName},
    stream::AudioStream,
    trust::{Trust, Vouched},
};

/// Extra headers on one leg at most, in either direction.
pub const HEADERS_MAX: usize = 32;
/// How many stations of a call that was sent on are remembered: a longer chain is a loop, whose oldest stations tell nothing.
pub const DIVERSIONS_MAX: usize = 8;
/// What a call's Max-Forwards is at its origin (RFC 3261 8.1.1.6), and the most that is believed of a caller's.
pub const FORWARDS_MAX: u8 = 70;

/// Who stands at the far end of a leg.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Party {
    /// Came or goes over a trunk.
    Trunk {
        /// Which.
        trunk: TrunkName,
    },
    /// A registered user.
    User {
        /// Who.
        user: UserName,
    },
    /// A SIP address that is neither.
    Uri {
        /// As dialed, without parameters.
        uri: Box<str>,
    },
}

/// Who calls and how the call came here, beyond what From says. Only what a trusted party says is in it (RFC 3325 3), but for `withheld`, which is
/// everybody's to wish; and only trusted parties are told the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The number or name that somebody vouches for: the caller's network, or we for a user of ours. Empty: nobody does.
    pub asserted: Box<str>,
    /// The caller wants it withheld from the callee (RFC 3323).
    pub withheld: bool,
    /// Who sent the call on, the latest first, at most [`DIVERSIONS_MAX`].
    pub diversions: Vec<Diversion>,
    /// It was told by History-Info (RFC 7044), not by Diversion (RFC 5806), and goes on in the same way.
    pub by_history: bool,
    /// What signatures say of it.
    pub trust: Trust,
}

/// One station of a call that was sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion {
    /// The number or name that was called there.
    pub user: Box<str>,
    /// Why it went on, in the words of RFC 5806 4: `no-answer`, `user-busy`, ...
    pub reason: &'static str,
}

/// A call that a known party asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Offered {
    /// The new leg.
    pub leg: CallSid,
    /// Who asks.
    pub party: Party,
    /// Where it came in.
    pub realm: RealmName,
    /// The caller as it may be shown: user part of P-Asserted-Identity from a trusted trunk, else From; `anonymous` where that is wanted. For a
    /// user, its name.
    pub from: Box<str>,
    /// Display name of the caller, empty when none.
    pub from_name: Box<str>,
    /// User part of the Request-URI: a number or a user's name.
    pub to: Box<str>,
    /// The device of that user which alone is meant, by its `+sip.instance` (RFC 5627).
    pub device: Option<Box<str>>,
    /// What is known of the caller besides.
    pub identity: CallerIdentity,
    /// How many elements it may still pass, 1..=[`FORWARDS_MAX`] (RFC 3261 8.1.1.6). A leg that is dialed for it gets one less, so that
    /// two boxes that route to each other do not do so for ever.
    pub max_forwards: u8,
    /// Its session description; none when the INVITE had no SDP (delayed offer: the answer must then be our offer).
    pub offer: Option<AudioStream>,
    /// It is no call of its own: it takes the place of this leg, which is the same party's (RFC 3891).
    pub replaces: Option<CallSid>,
    /// `X-` headers, name and value, for the application.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The transport address it came from.
    pub source: SocketAddr,
    /// Its SIP Call-ID, so that a person can find it in a capture on that side.
    pub sip_call_id: Box<str>,
}

/// What happened on a leg.
#[derive(Debug, Clone, PartialEq)]
pub enum LegEvent {
    /// An INVITE from a known party; 100 was sent. Answer with Ring, Answer or Hangup.
    Offered(Box<Offered>),
    /// A dialed leg got a provisional answer (180, 183, ...), with early media when it carried a description.
    Progress {
        /// Which.
        leg: CallSid,
        /// 101..=199.
        status: u16,
        /// The description of early media.
        early: Option<Box<AudioStream>>,
    },
    /// A dialed leg's attempt at one address failed, and it goes on to another.
    Moved {
        /// Which.
        leg: CallSid,
        /// The address, or name, that failed.
        from: Box<str>,
        /// What is tried now.
        to: Box<str>,
        /// Why it failed.
        cause: Cause,
    },
    /// An INVITE of a dialed leg left for a trunk that wants its caller signed.
    Vouched {
        /// Which.
        leg: CallSid,
        /// What was signed.
        vouched: Vouched,
    },
    /// Header rules of its trunk changed its first INVITE.
    HeadersChanged {
        /// Which.
        leg: CallSid,
        /// On the way out; else on the way in.
        sent: bool,
        /// The names of the rules, at most as many as there can be.
        rules: Vec<Box<str>>,
    },
    /// A dialed leg was answered; ACK was sent. `answer` is none only when the peer answered without a description.
    Answered {
        /// Which.
        leg: CallSid,
        /// The answer to our offer.
        answer: Option<Box<AudioStream>>,
        /// SIP Call-ID of the winning dialog.
        sip_call_id: Box<str>,
        /// Address of the device or trunk that answered.
        remote: SocketAddr,
    },
    /// An offered leg that we answered was acknowledged. With a delayed offer, carries the peer's answer; comes once more when
    /// the ACK of a later INVITE carries the answer to the offer that it had asked for.
    Confirmed {
        /// Which.
        leg: CallSid,
        /// The answer in the ACK.
        answer: Option<Box<AudioStream>>,
    },
    /// A dialed leg failed before an answer: final status, time-out, unreachable.
    Failed {
        /// Which.
        leg: CallSid,
        /// Who: the peer refused, or we gave up on it.
        by: EndedBy,
        /// Why.
        cause: Cause,
    },
    /// The peer sent a new offer (re-INVITE or UPDATE), or asked for one (`offer` none). Answer with AnswerReoffer or RejectReoffer.
    Reoffered {
        /// Which.
        leg: CallSid,
        /// What it wants now.
        offer: Option<Box<AudioStream>>,
    },
    /// The peer accepted what [`LegCommand::Reoffer`] asked.
    ReofferAnswered {
        /// Which.
        leg: CallSid,
        /// Its answer.
        answer: Box<AudioStream>,
    },
    /// The peer refused it; the session stays as it was (RFC 3261 14.1).
    ReofferFailed {
        /// Which.
        leg: CallSid,
        /// Why: 488, 491, ...
        cause: Cause,
    },
    /// The peer answered a refresh of ours, which offered nothing new (RFC 4028): what it described then, mostly the same as before.
    Refreshed {
        /// Which.
        leg: CallSid,
        /// Its answer.
        theirs: Box<AudioStream>,
    },
    /// A digit came by INFO (application/dtmf-relay or application/dtmf).
    Digit {
        /// Which.
        leg: CallSid,
        /// 0-9 * # A-D.
        digit: char,
        /// How long it was pressed; 0: not said.
        duration_ms: u32,
    },
    /// The peer of an answered leg wants the other party to talk with somebody else (REFER). Answer with [`LegCommand::Referral`] until it is over.
    Referred {
        /// Whose peer.
        leg: CallSid,
        /// Whom: a number or a user's name.
        to: Box<str>,
        /// As of [`Offered`].
        device: Option<Box<str>>,
        /// The other party is to call it by itself ([`LegCommand::Refer`]).
        pass_on: bool,
    },
    /// The same, and that somebody else is whom the peer talks with on a second leg (REFER with Replaces, RFC 5589 7).
    ReferredToSecond {
        /// Whose peer.
        leg: CallSid,
        /// The second leg; none when what was named is no answered leg of the same party.
        second: Option<CallSid>,
        /// Whom, in its words; may be empty.
        to: Box<str>,
    },
    /// How the peer fares with a [`LegCommand::Refer`].
    ReferralTold {
        /// Which.
        leg: CallSid,
        /// 101..=199: it goes on; above, that is its end.
        status: u16,
    },
    /// The leg ended: BYE, CANCEL, or our side gave up. Also follows a [`LegCommand::Hangup`].
    Ended {
        /// Which.
        leg: CallSid,
        /// Who.
        by: EndedBy,
        /// Why.
        cause: Cause,
    },
}

impl LegEvent {
    /// The leg that this is about.
    pub fn leg(&self) -> CallSid {
        match self {
            Self::Offered(offered) => offered.leg,
            Self::Progress { leg, .. }
            | Self::Moved { leg, .. }
            | Self::Vouched { leg, .. }
            | Self::HeadersChanged { leg, .. }
            | Self::Answered { leg, .. }
            | Self::Confirmed { leg, .. }
            | Self::Failed { leg, .. }
            | Self::Reoffered { leg, .. }
            | Self::ReofferAnswered { leg, .. }
            | Self::ReofferFailed { leg, .. }
            | Self::Refreshed { leg, .. }
            | Self::Digit { leg, .. }
            | Self::Referred { leg, .. }
            | Self::ReferredToSecond { leg, .. }
            | Self::ReferralTold { leg, .. }
            | Self::Ended { leg, .. } => *leg,
        }
    }
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A number over a trunk.
    Trunk {
        /// Which.
        trunk: TrunkName,
        /// User part of the Request-URI.
        number: Box<str>,
    },
    /// Every device of a user, in parallel: the first answer wins, the others are cancelled. One leg in all.
    User {
        /// Who.
        user: UserName,
        /// The device that alone is meant, by its `+sip.instance`; none: all.
        device: Option<Box<str>>,
    },
    /// A SIP URI, with credentials if its server asks.
    Uri {
        /// `sip:user@host[:port]`.
        uri: Box<str>,
        /// The realm that it leaves from.
        realm: RealmName,
        /// Username and password for a challenge.
        credentials: Option<(Box<str>, crate::Secret<String>)>,
    },
}

impl Target {
    /// All devices of a user.
    pub fn user(user: UserName) -> Self {
        Self::User { user, device: None }
    }
}

/// A leg to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Dial {
    /// The new leg's name, made by the router.
    pub leg: CallSid,
    /// Whom.
    pub target: Target,
    /// User part of From: a number or name.
    pub from: Box<str>,
    /// Display name of From, empty for none.
    pub from_name: Box<str>,
    /// Our description, to be offered.
    pub offer: AudioStream,
    /// How long it may ring before signaling cancels it and reports `Failed` with [`Cause::NO_ANSWER`].
    pub timeout: Duration,
    /// Further headers (`X-…`, at most [`HEADERS_MAX`]).
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// What a trusted trunk is told of the caller.
    pub identity: CallerIdentity,
    /// Its Max-Forwards: one less than that of the call it is dialed for, else [`FORWARDS_MAX`].
    pub max_forwards: u8,
    /// An emergency call: no table of signaling is too full for it.
    pub emergency: bool,
    /// Whether the router has another way when this one fails: then a far end that says nothing at all is not waited for until the
    /// call's time is over.
    pub spare: bool,
}

/// What the router wants of signaling.
#[derive(Debug, Clone, PartialEq)]
pub enum LegCommand {
    /// Make a leg.
    Dial(Box<Dial>),
    /// Tell the caller that it rings (180), or give it early media (183 with a description).
    Ring {
        /// Which.
        leg: CallSid,
        /// 180 or 183.
        status: u16,
        /// Early media: our description.
        early: Option<Box<AudioStream>>,
    },
    /// Answer an offered leg with 200 and our description.
    Answer {
        /// Which.
        leg: CallSid,
        /// Our answer, or our offer when the INVITE had none.
        answer: Box<AudioStream>,
    },
    /// End a leg in whatever state: final failure before an answer, CANCEL while dialing, BYE after.
    Hangup {
        /// Which.
        leg: CallSid,
        /// Who wants it, so that the leg's Ended says the truth.
        by: EndedBy,
        /// Why; its status is the failure sent to a caller that was not answered.
        cause: Cause,
    },
    /// Tell who referred how that goes (NOTIFY). Ignored when nothing is under way.
    Referral {
        /// Its leg.
        leg: CallSid,
        /// As if the other had been called by itself: 100 to 199, then 200 or a failure, which is the end.
        status: u16,
    },
    /// Ask the peer of an answered leg to call somebody by itself (REFER); told by [`LegEvent::ReferralTold`].
    Refer {
        /// Its leg.
        leg: CallSid,
        /// Whom: a number or a user's name, to be called through us.
        to: Box<str>,
    },
    /// Tell an answered leg a digit by INFO (application/dtmf-relay).
    Digit {
        /// Which.
        leg: CallSid,
        /// 0-9 * # A-D.
        digit: char,
        /// How long it was pressed.
        duration_ms: u32,
    },
    /// Send a re-INVITE with this description (hold, resume, new address).
    Reoffer {
        /// Which.
        leg: CallSid,
        /// Our new offer.
        offer: Box<AudioStream>,
    },
    /// Accept a [`LegEvent::Reoffered`].
    AnswerReoffer {
        /// Which.
        leg: CallSid,
        /// Our answer, or our offer when the peer asked for one.
        answer: Box<AudioStream>,
    },
    /// Refuse it; the session stays as it was.
    RejectReoffer {
        /// Which.
        leg: CallSid,
        /// The status to send: what the other side said, or 488.
        cause: Cause,
    },
}
