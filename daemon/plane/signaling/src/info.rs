//! INFO: digits both ways, and the answer to what is no digit. Nothing else is passed on: an INFO means something between two who agreed on it, and each leg
//! agreed with us alone.

use std::time::Instant;

use postern_sip::{Headers, Method, Name, Request, ResponseBuilder, transaction::ServerKey};
use postern_types::{CallSid, leg::LegEvent};

use crate::{
    Client, Signaling,
    headers::PRODUCT,
    side::{State, Tag},
};

/// The bodies that are understood: one line of text each, no standard's.
const RELAY: &str = "application/dtmf-relay";
const PLAIN: &str = "application/dtmf";
/// A press that lasts longer is a mistake, milliseconds.
const DURATION_MAX: u32 = 10_000;

impl Signaling {
    /// In a dialog, early or not.
    pub(crate) fn on_info(&mut self, now: Instant, key: ServerKey, request: &Request, tag: Tag) {
        let headers = &request.headers;
        let refused = if headers.other("Info-Package").is_some() {
            // RFC 6086 4.2.2: a package that we never said we want to receive.
            Some((469, "Recv-Info", String::new()))
        } else if !request.body.is_empty() && ![RELAY, PLAIN].iter().any(|kind| headers.is_content(kind)) {
            Some((415, Name::Accept.as_str(), format!("{RELAY}, {PLAIN}")))
        } else {
            None
        };
        if let Some((status, name, value)) = refused {
            let text = tag.to_string();
            let response = ResponseBuilder::to(request, status).to_tag(&text).other(name, &value);
            self.respond(now, key, &response.header(Name::Server, PRODUCT).build());
            return;
        }
        // Some probe a session by one without a body; a signal that is no digit (flash) has no meaning here.
        self.reply(now, key, request, 200, tag);
        let leg = self.sides.get(&tag).and_then(|side| side.leg);
        if let (Some(leg), Some((digit, duration_ms))) = (leg, digit_of(headers, &request.body)) {
            self.tell(LegEvent::Digit { leg, digit, duration_ms });
        }
    }

    /// Tells the peer of an answered leg a digit. One that does not understand it says so; there is no other way for it.
    pub(crate) fn say_digit(&mut self, now: Instant, leg: CallSid, digit: char, duration_ms: u32) {
        let branch = self.new_branch();
        let Some(side) = self.only_side(leg).and_then(|tag| self.sides.get_mut(&tag)) else { return };
        let (advertised, to) = (side.advertised, side.next_hop());
        let State::Up(session) = &mut side.state else { return };
        let body = format!("Signal={digit}\r\nDuration={duration_ms}\r\n");
        let info = session.dialog.request(Method::Info, advertised, &branch).header(Name::UserAgent, PRODUCT);
        self.request(now, to, info.body(RELAY, body.as_bytes()).build(), Client::Told);
    }
}

/// A digit in an INFO, and how many milliseconds it was pressed; 0: it does not say.
pub(crate) fn digit_of(headers: &Headers, body: &[u8]) -> Option<(char, u32)> {
    let text = std::str::from_utf8(body).ok()?;
    if headers.is_content(PLAIN) {
        return Some((digit(text.trim())?, 0));
    }
    let value = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let duration_ms = value("duration").and_then(|ms| ms.parse().ok()).unwrap_or(0);
    Some((digit(value("signal")?)?, duration_ms.min(DURATION_MAX)))
}

fn digit(word: &str) -> Option<char> {
    match word {
        // RFC 2833 event numbers for * and # are sent by some.
        "10" => Some('*'),
        "11" => Some('#'),
        _ => {
            let mut chars = word.chars();
            let digit = chars.next()?.to_ascii_uppercase();
            (chars.next().is_none() && matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D')).then_some(digit)
        }
    }
}
