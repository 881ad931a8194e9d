//! One leg: who stands there, what was negotiated, what became of it.

use std::{net::SocketAddr, time::Instant};

use postern_config::Dtmf;
use postern_facts::{CallRecord, Subject};
use postern_types::{
    AccountSid, CallSid, Cause, EndedBy, Now, RealmName, UnixMicros,
    leg::{Dial, Offered, Party},
    media::{DigitsBy, StreamReport, StreamSetup, Unheard},
    stream::{AudioStream, Format, Negotiated},
    trust::Verdict,
};

use crate::{
    context::Context,
    keys::Keys,
    limits::Bound,
    negotiate::{self, Policy},
};

/// How a leg came to be, in the words of the call resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It called us.
    Inbound,
    /// Dialed on behalf of the REST API.
    Api,
    /// Dialed by a route or a document.
    Dial,
}

impl Origin {
    /// Which way it goes, for the limits of its trunk.
    pub fn bound(self) -> Bound {
        match self {
            Self::Inbound => Bound::In,
            Self::Api | Self::Dial => Bound::Out,
        }
    }

    /// The word in records and requests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Api => "outbound-api",
            Self::Dial => "outbound-dial",
        }
    }
}

/// The leg's stream in the media plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Not asked for.
    None,
    /// Asked for; an answer is awaited until then.
    Opening(Instant),
    /// Ours to describe.
    Open {
        /// RTP.
        rtp: SocketAddr,
        /// RTCP.
        rtcp: SocketAddr,
    },
    /// Its final figures are awaited until then.
    Closing(Instant),
    /// Gone, or never to be had.
    Closed,
}

/// How a leg ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    pub by: EndedBy,
    pub cause: Cause,
    pub at: UnixMicros,
    pub status: &'static str,
}

/// One leg, from its first INVITE until its record is written.
#[derive(Debug)]
pub struct Leg {
    pub sid: CallSid,
    pub parent: Option<CallSid>,
    pub account: Option<AccountSid>,
    pub origin: Origin,
    pub party: Party,
    pub realm: RealmName,
    pub ipv6: bool,
    pub policy: Policy,
    /// As the API shows them: numbers, `client:NAME`, `sip:…`.
    pub from: String,
    pub from_name: String,
    pub to: String,
    pub created: Now,
    pub updated: UnixMicros,
    /// A dialed leg that rings; a leg that called in does from the start.
    pub ringing: bool,
    pub answered: Option<Now>,
    /// The SIP Call-ID on its side, once known.
    pub sip_call_id: String,
    /// When its stream was opened.
    pub opened: UnixMicros,
    /// The status of the answer or failure, for callbacks.
    pub sip_status: Option<u16>,
    /// We said Hangup; by then signaling must have told its end.
    pub hung_up: Option<Instant>,
    pub end: Option<End>,
    pub stream: Stream,
    /// What is dialed as soon as the stream is open.
    pub dial: Option<Box<Dial>>,
    /// What the peer described last.
    pub theirs: Option<AudioStream>,
    /// What we described last.
    pub ours: Option<AudioStream>,
    /// The formats that both sides of this leg know, with the peer's payload types, the one in use first.
    pub agreed: Vec<Format>,
    /// What it is encrypted with.
    pub keys: Keys,
    /// The peer holds the other.
    pub held: bool,
    pub negotiated: Option<Negotiated>,
    /// What it is counted with of its trunk's line.
    pub kbps: u32,
    pub quality: Option<StreamReport>,
    /// Why it is not heard, as last told.
    pub unheard: Option<Unheard>,
    /// What came of the check of the caller's signature.
    pub verdict: Option<Box<Verdict>>,
}

impl Leg {
    /// One of which nothing is known yet but whose it is and where.
    pub fn new(sid: CallSid, party: Party, policy: Policy, realm: RealmName, ipv6: bool, now: Now) -> Self {
        Self {
            sid,
            parent: None,
            account: None,
            origin: Origin::Api,
            party,
            realm,
            ipv6,
            policy,
            from: String::new(),
            from_name: String::new(),
            to: String::new(),
            created: now,
            updated: now.wall,
            ringing: false,
            answered: None,
            sip_call_id: String::new(),
            opened: now.wall,
            sip_status: None,
            hung_up: None,
            end: None,
            stream: Stream::None,
            dial: None,
            theirs: None,
            ours: None,
            agreed: Vec::new(),
            keys: Keys::default(),
            held: false,
            negotiated: None,
            kbps: 0,
            quality: None,
            unheard: None,
            verdict: None,
        }
    }

    /// One that came in, before anything was decided about it.
    pub fn offered(cx: &Context, now: Now, offered: &Offered) -> Self {
        let from = match &offered.party {
            Party::User { user } => format!("client:{user}"),
            _ => offered.from.to_string(),
        };
        let ipv6 = offered.offer.as_ref().map_or(offered.source.is_ipv6(), |offer| offer.rtp.is_ipv6());
        let policy = Policy::of(&cx.config, &offered.party, &offered.realm);
        Self {
            origin: Origin::Inbound,
            from,
            from_name: offered.from_name.to_string(),
            to: offered.to.to_string(),
            ringing: true,
            sip_call_id: offered.sip_call_id.to_string(),
            theirs: offered.offer.clone(),
            verdict: offered.identity.trust.verdict.clone(),
            ..Self::new(offered.leg, offered.party.clone(), policy, offered.realm.clone(), ipv6, now)
        }
    }

    /// The word of the call resource.
    pub fn status(&self) -> &'static str {
        match (&self.end, self.answered, self.ringing) {
            (Some(end), ..) => end.status,
            (None, Some(_), _) => "in-progress",
            (None, None, true) => "ringing",
            (None, None, false) => "queued",
        }
    }

    /// Whether it neither ended nor is about to.
    pub fn is_live(&self) -> bool {
        self.end.is_none() && self.hung_up.is_none()
    }

    /// Whether its stream was asked for and the answer is not there.
    pub fn is_opening(&self) -> bool {
        matches!(self.stream, Stream::Opening(_))
    }

    /// The status it ends with.
    pub fn final_status(&self, cause: &Cause) -> &'static str {
        match cause.status {
            _ if self.answered.is_some() => "completed",
            486 | 600 => "busy",
            487 => "canceled",
            408 | 480 => "no-answer",
            _ => "failed",
        }
    }

    /// Whole record as of now.
    pub fn record(&self) -> CallRecord {
        CallRecord {
            sid: self.sid,
            parent: self.parent,
            account: self.account,
            direction: self.origin.name().to_owned(),
            status: self.status().to_owned(),
            from: self.from.clone(),
            from_name: self.from_name.clone(),
            to: self.to.clone(),
            party: self.party.clone(),
            created: self.created.wall,
            updated: self.updated,
            answered: self.answered.map(|now| now.wall),
            ended: self.end.as_ref().map(|end| end.at),
            ended_by: self.end.as_ref().map(|end| end.by),
            cause: self.end.as_ref().map(|end| end.cause.clone()),
            media: self.negotiated.clone(),
            quality: self.quality.clone(),
            verstat: self.verdict.as_ref().map(|verdict| verdict.verstat_attested()),
        }
    }

    /// Whom a fact about this leg is about.
    pub fn subject(&self, call: CallSid) -> Subject {
        let (trunk, user) = match &self.party {
            Party::Trunk { trunk } => (Some(trunk.clone()), None),
            Party::User { user } => (None, Some(user.clone())),
            Party::Uri { .. } => (None, None),
        };
        Subject { account: self.account, call: Some(call), leg: Some(self.sid), trunk, user }
    }

    /// The formats that may be offered on its behalf: what was agreed, else what it offered, else the static ones.
    pub fn candidates(&self) -> Vec<Format> {
        if self.answered.is_some() && !self.agreed.is_empty() {
            return self.agreed.clone();
        }
        match &self.theirs {
            Some(theirs) => self.policy.allow(&theirs.formats),
            None => self.policy.allow(&negotiate::static_formats()),
        }
    }

    /// All that it offered or answered and may use: what a change of codec can choose from.
    pub fn capabilities(&self) -> Vec<Format> {
        self.theirs.as_ref().map(|theirs| self.policy.allow(&theirs.formats)).unwrap_or_default()
    }

    /// Its telephone-event payload type; ours when it described nothing yet. None for one that is told otherwise.
    pub fn telephone_event(&self) -> Option<u8> {
        match &self.theirs {
            _ if !self.policy.dtmf.is_by_events() => None,
            Some(theirs) => theirs.telephone_event,
            None => Some(negotiate::TELEPHONE_EVENT),
        }
    }

    /// What the media plane must know, once the peer described itself.
    pub fn setup(&self) -> Option<StreamSetup> {
        let theirs = self.theirs.as_ref()?;
        let format = self.agreed.first()?.clone();
        // Nothing may be sent to an unspecified address, whatever the direction says.
        let direction = match (theirs.direction.sends(), negotiate::receives(theirs)) {
            (true, true) => postern_types::stream::Direction::SendRecv,
            (true, false) => postern_types::stream::Direction::SendOnly,
            (false, true) => postern_types::stream::Direction::RecvOnly,
            (false, false) => postern_types::stream::Direction::Inactive,
        };
        let both = self.ours.as_ref().is_none_or(|ours| ours.telephone_event.is_some());
        Some(StreamSetup {
            remote_rtp: theirs.rtp,
            remote_rtcp: theirs.rtcp,
            latching: self.policy.latching,
            format,
            formats: self.agreed.clone(),
            telephone_event: theirs.telephone_event.filter(|_| both),
            digits: match self.policy.dtmf {
                Dtmf::Rfc4733 => DigitsBy::Stream,
                Dtmf::Info => DigitsBy::Signaling,
                Dtmf::Inband => DigitsBy::Tones,
            },
            ptime_ms: theirs.ptime_ms,
            direction,
            srtp_in: self.keys.key_in.clone().map(Box::new),
            srtp_out: self.keys.key_out.clone().map(Box::new),
            dtls: self.keys.dtls.clone(),
            rtcp_xr: theirs.rtcp_xr,
            udptl: self.is_faxing(),
            ice: self.keys.ice.clone(),
        })
    }

    /// Whether it has fax in place of audio.
    pub fn is_faxing(&self) -> bool {
        let is_fax = |described: &Option<AudioStream>| described.as_ref().is_some_and(|stream| stream.fax.is_some());
        is_fax(&self.theirs) && is_fax(&self.ours)
    }

    /// The same for people.
    pub fn summary(&self) -> Option<Negotiated> {
        let Stream::Open { rtp, .. } = self.stream else { return None };
        let setup = self.setup()?;
        Some(Negotiated {
            codec: match setup.udptl {
                true => "T38".to_owned(),
                false => format!("{}/{}", setup.format.codec, setup.format.clock_hz),
            },
            payload_type: setup.format.payload_type,
            ptime_ms: setup.ptime_ms,
            telephone_event: setup.telephone_event,
            srtp: match setup.dtls {
                Some(_) => Some("DTLS".to_owned()),
                None => setup.srtp_in.map(|key| key.suite.name().to_owned()),
            },
            ice: setup.ice.is_some(),
            local: rtp,
            remote: setup.remote_rtp,
            direction: setup.direction,
        })
    }
}
