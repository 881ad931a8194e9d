//! A finished call as a row of CSV (RFC 4180): what billing reads. All that is known stands in the JSON lines.

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
    let mut row = Row(Vec::new());
    row.put(Some(detail.call));
    row.put(detail.began.map(|at| at.0));
    row.put(answered.map(|at| at.0));
    row.put(detail.ended.map(|at| at.0));
    row.put(talked);
    row.put(first.map(|leg| &leg.direction));
    row.put(first.map(|leg| &leg.status));
    row.put(first.map(|leg| &leg.from));
    row.put(first.map(|leg| &leg.to));
    row.put(detail.route.as_ref().map(|route| &route.table));
    row.put(detail.route.as_ref().map(|route| &route.entry));
    row.put(first.map(|leg| party(&leg.party)));
    row.put(other.map(|leg| party(&leg.party)));
    row.put(Some(others.count()));
    row.put(detail.by.and_then(|by| serde_json::to_value(by).ok()).as_ref().and_then(|by| by.as_str()));
    row.put(detail.cause.as_ref().map(|cause| cause.status));
    row.put(detail.cause.as_ref().and_then(|cause| cause.q850));
    row.put(detail.cause.as_ref().map(|cause| &cause.text));
    let codec = |leg: &CallRecord| leg.media.as_ref().map(|media| media.codec.clone());
    row.put(first.and_then(codec));
    row.put(other.and_then(codec));
    for leg in [first, other] {
        let quality = leg.and_then(|leg| leg.quality.as_ref());
        row.put(quality.map(|quality| quality.packets_lost));
        row.put(quality.map(|quality| format!("{:.1}", quality.jitter_ms)));
        row.put(quality.and_then(|quality| quality.mos).map(|mos| format!("{mos:.2}")));
        row.put(quality.and_then(|quality| quality.round_trip_ms).map(|ms| format!("{ms:.1}")));
    }
    row.written()
}

struct Row(Vec<String>);

impl Row {
    fn put(&mut self, value: Option<impl std::fmt::Display>) {
        // A record is a line: a line end in a name would make two.
        self.0.push(value.map(|value| value.to_string().replace(['\n', '\r'], " ")).unwrap_or_default());
    }

    fn written(self) -> String {
        let mut writer =
            csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::with_capacity(512));
        writer.write_record(&self.0).expect("memory takes all that is written");
        let bytes = writer.into_inner().expect("memory takes all that is written");
        let mut text = String::from_utf8(bytes).expect("it was put together of strings");
        text.truncate(text.trim_end_matches('\n').len());
        text
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
