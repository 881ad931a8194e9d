//! Digits of a call's legs: each told once, by whatever way it came, and passed on to the other party.
//!
//! What comes in the stream (RFC 4733) the media plane relays to who takes it so, and tones to who takes tones. Else signaling tells it by INFO to a party
//! with `dtmf: info`, or the media plane is asked to say it, as packets or as tones. A party may tell the same press by INFO and in what passes by
//! itself: there an INFO waits for the other for a while.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use postern_config::Dtmf;
use postern_facts as facts;
use postern_types::{
    CallSid, Now,
    leg::LegCommand,
    media::{DigitsBy, MediaCommand},
};

use crate::{call::Call, context::Context, leg::Leg};

/// A digit that comes by RFC 4733 and by INFO within this time was pressed once.
const SAME_DIGIT: Duration = Duration::from_millis(500);
/// How long one by INFO waits whether the stream has it, too: longer than audio and signaling are apart.
const STREAM_AFTER: Duration = Duration::from_millis(300);
/// Digits that wait at most; a further one is not passed on.
const WAITING_MAX: usize = 32;
/// How long one is said that does not say how long it was pressed.
const PRESS_MS: u32 = 160;

/// How a digit travelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// In the stream.
    Rtp,
    /// In signaling.
    Info,
    /// As tones in the audio.
    Tones,
}

impl Via {
    /// The word for machines.
    fn name(self) -> &'static str {
        match self {
            Self::Rtp => "rfc4733",
            Self::Info => "info",
            Self::Tones => "inband",
        }
    }
}

/// What is remembered of digits.
#[derive(Debug, Default)]
pub struct Digits {
    last: Option<Press>,
    /// Those that wait for the stream, the oldest first.
    waiting: VecDeque<Press>,
}

#[derive(Debug, Clone, Copy)]
struct Press {
    leg: CallSid,
    digit: char,
    duration_ms: u32,
    via: Via,
    at: Instant,
}

impl Digits {
    /// When the next has waited long enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|press| press.at + STREAM_AFTER)
    }
}

impl Call {
    /// A leg's party pressed a key.
    pub fn on_digit(&mut self, cx: &mut Context, now: Now, sid: CallSid, digit: char, via: Via, duration_ms: u32) {
        if !self.leg(sid).is_some_and(Leg::is_live) {
            return;
        }
        if via != Via::Info {
            // It passed in the stream, or is passed on now.
            self.digits.waiting.retain(|press| press.leg != sid || press.digit != digit);
        }
        let doubled = self.digits.last.is_some_and(|last| {
            let young = now.instant.saturating_duration_since(last.at) < SAME_DIGIT;
            last.leg == sid && last.digit == digit && last.via != via && young
        });
        if doubled {
            // Told once more by the other way; a third one would be a new press.
            self.digits.last = None;
            return;
        }
        let press = Press { leg: sid, digit, duration_ms, via, at: now.instant };
        self.digits.last = Some(press);
        self.tell(cx, sid, facts::DigitReceived { via: via.name().into(), duration_ms });
        self.fork_digit(cx, sid, digit);
        let told_by = self.bridged_with(sid).and_then(|other| self.leg(other)).map(|other| other.policy.dtmf);
        let setup = self.leg(sid).and_then(Leg::setup);
        // Whether what this party's audio has of digits passes to the other by itself.
        let may_pass = match told_by {
            None | Some(Dtmf::Info) => false,
            Some(Dtmf::Rfc4733) => setup.is_some_and(|setup| setup.telephone_event.is_some()),
            Some(Dtmf::Inband) => setup.is_some_and(|setup| setup.digits == DigitsBy::Tones),
        };
        match (told_by, via) {
            (None, _) => {}
            (Some(_), _) if !may_pass => self.press(cx, press),
            (Some(_), Via::Info) if self.digits.waiting.len() < WAITING_MAX => self.digits.waiting.push_back(press),
            (Some(_), _) => {}
        }
        if sid == self.anchor {
            self.dial_digit(cx, now, digit);
            self.session_digit(cx, now, digit);
        }
    }

    /// Has the other party told.
    fn press(&self, cx: &mut Context, press: Press) {
        let Some(other) = self.bridged_with(press.leg).and_then(|other| self.leg(other)) else { return };
        let (leg, digit) = (other.sid, press.digit);
        let duration_ms = if press.duration_ms == 0 { PRESS_MS } else { press.duration_ms };
        match other.policy.dtmf {
            Dtmf::Info => cx.leg(LegCommand::Digit { leg, digit, duration_ms }),
            Dtmf::Rfc4733 | Dtmf::Inband => cx.media(MediaCommand::Press { leg, digit, duration_ms }),
        }
    }

    /// Passes on what waited for the stream in vain.
    pub fn digit_timeout(&mut self, cx: &mut Context, now: Now) {
        while self.digits.next_deadline().is_some_and(|at| at <= now.instant) {
            let Some(press) = self.digits.waiting.pop_front() else { return };
            self.press(cx, press);
        }
    }
}
