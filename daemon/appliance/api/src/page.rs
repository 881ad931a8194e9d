//! Lists of calls in pages: live and finished legs merged, newest first.
//!
//! A page token names the leg at which the page begins and the direction, so that calls that come and go between two
//! pages neither repeat nor hide a leg.

use postern_facts::CallRecord;
use postern_types::{AccountSid, UnixMicros};
use serde_json::{Value, json};

use crate::{
    Context,
    date::{iso8601, narrow},
    error::Refusal,
    form::Parameters,
    instance::{self, account_path},
    store::{Cursor, Edge, RecordQuery},
};

/// Rows on a page when nothing is said, and at most.
const SIZE_DEFAULT: usize = 50;
const SIZE_MAX: usize = 1000;

/// Filters that are carried from page to page.
const FILTERS: [&str; 10] = [
    "To",
    "From",
    "ParentCallSid",
    "Status",
    "StartTime",
    "StartTime<",
    "StartTime>",
    "EndTime",
    "EndTime<",
    "EndTime>",
];

/// States a call can be in.
const STATES: [&str; 8] = ["queued", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"];

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    query: RecordQuery,
    number: usize,
    size: usize,
    filters: Vec<(&'static str, String)>,
}

/// How many rows a page of any list is to have.
pub(crate) fn size(given: &Parameters) -> Result<usize, Refusal> {
    Ok(given.number("PageSize", 1..=usize::MAX)?.unwrap_or(SIZE_DEFAULT).min(SIZE_MAX))
}

impl Wanted {
    /// From the parameters of a list.
    pub(crate) fn read(account: AccountSid, given: &Parameters) -> Result<Self, Refusal> {
        let mut query = RecordQuery { account: Some(account), ..RecordQuery::default() };
        let mut filters = Vec::new();
        for name in FILTERS {
            let Some(value) = given.one(name) else { continue };
            filters.push((name, value.to_owned()));
            match name {
                "To" => query.to = Some(value.into()),
                "From" => query.from = Some(value.into()),
                "ParentCallSid" => {
                    let sid = value.parse().map_err(|why| Refusal::parameter(20001, name, format!("{why}")))?;
                    query.parent = Some(sid);
                }
                "Status" if STATES.contains(&value) => query.status = Some(value.into()),
                "Status" => return Err(Refusal::parameter(20001, name, format!("want one of {}", STATES.join(", ")))),
                _ => {
                    let why = "want a day as 2010-08-31 or a time as 2010-08-31T20:36:28Z";
                    let time = iso8601(value).ok_or_else(|| Refusal::parameter(20001, name, why))?;
                    let span = if name.starts_with("Start") { &mut query.started } else { &mut query.ended };
                    narrow(span, name.trim_start_matches(char::is_alphabetic), time);
                }
            }
        }
        let size = size(given)?;
        let number = given.number("Page", 0..=u32::MAX as usize)?.unwrap_or(0);
        match given.one("PageToken") {
            Some(token) => {
                query.edge = edge_of(token).ok_or_else(|| {
                    Refusal::parameter(20001, "PageToken", "not one of ours; follow next_page_uri instead of making it")
                })?;
            }
            None if number > 0 => {
                return Err(Refusal::parameter(20001, "Page", "comes with a PageToken; follow next_page_uri"));
            }
            None => {}
        }
        // One more than shown tells whether there is a further page.
        query.limit = size + 1;
        Ok(Self { query, number, size, filters })
    }

    /// Asks the switch and the store, and shapes the page. Live legs are asked for first: one that ends in between is
    /// then found twice rather than not at all, and its finished record counts.
    pub(crate) async fn fetch(&self, account: AccountSid, context: &Context) -> Result<Value, Refusal> {
        let live = context.live_calls(Some(account)).await?;
        let mut all = context.store.list(self.query.clone()).await?;
        let finished: std::collections::HashSet<_> = all.iter().map(|record| record.sid).collect();
        all.extend(live.into_iter().filter(|record| !finished.contains(&record.sid)));
        Ok(self.shape(account, self.query.select(all)))
    }

    fn shape(&self, account: AccountSid, mut found: Vec<CallRecord>) -> Value {
        let further = found.len() > self.size;
        let backwards = matches!(self.query.edge, Edge::NewerThan(_));
        if further && backwards {
            // The surplus leg of a page that was read backwards is its newest.
            found.remove(0);
        }
        found.truncate(self.size);
        let next = found.last().filter(|_| further || backwards).map(|last| Edge::OlderThan(Cursor::of(last)));
        let previous = match self.query.edge {
            Edge::Newest => None,
            Edge::NewerThan(_) if !further => None,
            _ => found.first().map(|first| Edge::NewerThan(Cursor::of(first))),
        };
        let start = self.number * self.size;
        json!({
            "calls": found.iter().map(|record| instance::call(record, account)).collect::<Vec<_>>(),
            "start": start,
            "end": start + found.len().saturating_sub(1),
            "page": self.number,
            "page_size": self.size,
            "first_page_uri": self.uri(account, 0, Edge::Newest),
            "next_page_uri": next.map(|edge| self.uri(account, self.number + 1, edge)),
            "previous_page_uri": previous.map(|edge| self.uri(account, self.number.saturating_sub(1), edge)),
            "uri": self.uri(account, self.number, self.query.edge),
        })
    }

    fn uri(&self, account: AccountSid, number: usize, edge: Edge) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.filters {
            query.append_pair(name, value);
        }
        query.append_pair("PageSize", &self.size.to_string());
        query.append_pair("Page", &number.to_string());
        if let Some(token) = token_of(edge) {
            query.append_pair("PageToken", &token);
        }
        format!("{}/Calls.json?{}", account_path(account), query.finish())
    }
}

fn token_of(edge: Edge) -> Option<String> {
    let (letter, cursor) = match edge {
        Edge::Newest => return None,
        Edge::OlderThan(cursor) => ('A', cursor),
        Edge::NewerThan(cursor) => ('B', cursor),
    };
    Some(format!("P{letter}{}.{:x}", cursor.sid, cursor.created.0))
}

fn edge_of(token: &str) -> Option<Edge> {
    let (sid, created) = token.get(2..)?.split_once('.')?;
    let cursor = Cursor { sid: sid.parse().ok()?, created: UnixMicros(u64::from_str_radix(created, 16).ok()?) };
    match token.get(..2)? {
        "PA" => Some(Edge::OlderThan(cursor)),
        "PB" => Some(Edge::NewerThan(cursor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use postern_types::CallSid;

    use super::*;

    #[test]
    fn tokens_read_back_and_foreign_ones_are_refused() {
        let cursor = Cursor { created: UnixMicros(77), sid: CallSid(5) };
        for edge in [Edge::OlderThan(cursor), Edge::NewerThan(cursor)] {
            assert_eq!(edge_of(&token_of(edge).unwrap()), Some(edge));
        }
        for bad in ["", "P", "PA", "PAxx.1", "PC00", "é", "PACA00000000000000000000000000000005.zz"] {
            assert_eq!(edge_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_list_is_named() {
        for (text, name) in [
            ("Status=over", "Status"),
            ("StartTime%3E=soon", "StartTime>"),
            ("ParentCallSid=CA1", "ParentCallSid"),
            ("PageSize=0", "PageSize"),
            ("Page=2", "Page"),
            ("PageToken=x", "PageToken"),
        ] {
            let refused = Wanted::read(AccountSid(1), &Parameters::parse(text.as_bytes()).unwrap()).unwrap_err();
            assert!(format!("{refused:?}").contains(&format!("'{name}'")), "{text}: {refused:?}");
        }
        let wanted = Wanted::read(AccountSid(1), &Parameters::parse(b"PageSize=5000").unwrap()).unwrap();
        assert_eq!((wanted.size, wanted.query.limit), (1000, 1001));
    }
}
