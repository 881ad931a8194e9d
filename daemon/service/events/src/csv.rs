//! A finished call as a row of CSV (RFC 4180): what billing reads. All that is known stands in the JSON lines.

use std::fmt::Write;

use postern_facts::CallRecord;
use postern_types::leg::Party;

use crate::detail::CallDetail;

/// The names of the columns; `n` in front, `previous` and `hash` at the end are the chain's.
pub const HEADINGS: &str = "n,call,began_us,answered_us,ended_us,talked_ms,direction,status,from,to,table,entry,\
    in_party,out_party,attempts,ended_by,sip_status,q850,reason,in_codec,out_codec,\
    in_lost,in_jitter_ms,in_mos,in_round_trip_ms,out_lost,out_jitter_ms,out_mos,out_round_trip_ms,previous,hash";

/// The fields of a call, without those of the chain. The first leg is `in`; `out` is the answered one of the others, else the last.
pub fn row(detail: &CallDetail) -> String {
    let first = detail.legs.iter().find(|leg| leg.sid == detail.call).or(detail.legs.first());
    let others = detail.legs.iter().filter(|leg| first.is_none_or(|first| first.sid != leg.sid));
    let other = others.clone().find(|leg| leg.answered.is_some()).or_else(|| others.clone().next_back());
    let answered = first.and_then(|leg| leg.answered);
    let talked = answered.zip(detail.ended).map(|(from, to)| to.since(from).as_millis());
    let mut row = Row(String::with_capacity(512));
    row.put(detail.call);
    row.maybe(detail.began.map(|at| at.0));
    row.maybe(answered.map(|at| at.0));
    row.maybe(detail.ended.map(|at| at.0));
    row.maybe(talked);
    row.maybe(first.map(|leg| &leg.direction));
    row.maybe(first.map(|leg| &leg.status));
    row.maybe(first.map(|leg| &leg.from));
    row.maybe(first.map(|leg| &leg.to));
    row.maybe(detail.route.as_ref().map(|route| &route.table));
    row.maybe(detail.route.as_ref().map(|route| &route.entry));
    row.maybe(first.map(|leg| party(&leg.party)));
    row.maybe(other.map(|leg| party(&leg.party)));
    row.put(others.count());
    row.maybe(detail.by.and_then(|by| serde_json::to_value(by).ok()).as_ref().and_then(|by| by.as_str()));
    row.maybe(detail.cause.as_ref().map(|cause| cause.status));
    row.maybe(detail.cause.as_ref().and_then(|cause| cause.q850));
    row.maybe(detail.cause.as_ref().map(|cause| &cause.text));
    let codec = |leg: &CallRecord| leg.media.as_ref().map(|media| media.codec.clone());
    row.maybe(first.and_then(codec));
    row.maybe(other.and_then(codec));
    for leg in [first, other] {
        let quality = leg.and_then(|leg| leg.quality.as_ref());
        row.maybe(quality.map(|quality| quality.packets_lost));
        row.maybe(quality.map(|quality| format!("{:.1}", quality.jitter_ms)));
        row.maybe(quality.and_then(|quality| quality.mos).map(|mos| format!("{mos:.2}")));
        row.maybe(quality.and_then(|quality| quality.round_trip_ms).map(|ms| format!("{ms:.1}")));
    }
    row.0
}

struct Row(String);

impl Row {
    fn put(&mut self, value: impl std::fmt::Display) {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let text = value.to_string();
        if !text.contains([',', '"', '\n', '\r']) {
            self.0 += &text;
            return;
        }
        // A record is a line: a line end in a name would make two.
        let text = text.replace(['\n', '\r'], " ").replace('"', "\"\"");
        // Writing into a String cannot fail.
        let _ = write!(self.0, "\"{text}\"");
    }

    fn maybe(&mut self, value: Option<impl std::fmt::Display>) {
        match value {
            Some(value) => self.put(value),
            None => self.0.push(','),
        }
    }
}

/// `trunk acme`.
fn party(party: &Party) -> String {
    match party {
        Party::Trunk { trunk } => format!("trunk {trunk}"),
        Party::User { user } => format!("user {user}"),
        Party::Uri { uri } => uri.to_string(),
    }
}
