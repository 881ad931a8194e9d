//! Messages as arrows between lifelines: who said what to whom, in order.

use std::fmt::Write;

use postern_facts::text::plain;
use serde_json::Value;

use super::{Message, Way};
use crate::say::date;

/// Columns before the first lifeline.
const MARGIN: usize = 12;
/// Columns behind the last lifeline: for its name, which begins there, and for remarks.
const BEHIND: usize = 22;
/// Columns between lifelines: a label and its arrow, no narrower than a method's name.
const LANE: std::ops::RangeInclusive<usize> = 16..=30;
/// Lifelines beside ours at most; a call with more parties is told by lines.
const PARTIES_MAX: usize = 6;

/// The ladder, in lines no longer than `width` where one is given and it is wide enough.
pub(super) fn render(told: &Value, messages: &[Message], width: Option<usize>) -> String {
    let mut out = String::new();
    let Some(start) = messages.first().map(|message| message.at) else { return out };
    // Writing into a String cannot fail.
    _ = writeln!(
        out,
        "call {}, {} UTC, {} messages",
        told["call"].as_str().unwrap_or_default(),
        date(start),
        messages.len()
    );
    if let Some(dropped) = told["dropped"].as_u64().filter(|dropped| *dropped > 0) {
        _ = writeln!(out, "{dropped} messages were given up from its middle: it had too many");
    }
    let parties = Parties::of(messages);
    if parties.names.len() > PARTIES_MAX {
        out.push('\n');
        messages.iter().for_each(|message| out.push_str(&super::line(message)));
        return out;
    }
    let lanes = parties.names.len().max(1);
    let lane = width
        .map_or(*LANE.end(), |width| (width.saturating_sub(MARGIN + BEHIND) / lanes).clamp(*LANE.start(), *LANE.end()));
    _ = write!(out, "\n{}", parties.heading(lane));
    let mut said: Vec<(&Message, u64)> = Vec::new();
    for message in messages {
        let again = said.iter().any(|(before, _)| {
            before.way == message.way && before.remote == message.remote && before.text == message.text
        });
        said.push((message, message.seq));
        let mut label = plain(&message.label());
        if again {
            label.push_str(" again");
        }
        let ms = message.at.since(start).as_millis();
        let row = parties.row(lane, message, &label);
        let remark = plain(&message.remark());
        let mut text = format!("{ms:>8}    {row}");
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(text.chars().count() + 2));
        if !remark.is_empty() && !again && room >= 12 {
            _ = write!(text, "  {}", cut(&remark, room));
        }
        _ = writeln!(out, "{}", text.trim_end());
    }
    out
}

/// Who stands where: the party that spoke first left of us, the others right.
struct Parties {
    names: Vec<String>,
}

impl Parties {
    fn of(messages: &[Message]) -> Self {
        let mut names: Vec<String> = Vec::new();
        for message in messages {
            let name = name(message);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self { names }
    }

    /// The column of a lifeline. Ours is the second.
    fn column(&self, lane: usize, party: Option<usize>) -> usize {
        lane * match party {
            None => 1,
            Some(0) => 0,
            Some(other) => other + 1,
        }
    }

    fn heading(&self, lane: usize) -> String {
        let mut columns = vec![(self.column(lane, None), "postern".to_owned(), "")];
        for (at, name) in self.names.iter().enumerate() {
            let (address, transport) = name.rsplit_once(' ').unwrap_or((name, ""));
            columns.push((self.column(lane, Some(at)), cut(address, lane - 2), transport));
        }
        columns.sort();
        let (mut names, mut transports) = (String::new(), String::new());
        for (column, name, transport) in &columns {
            _ = write!(names, "{:1$}{name}", "", column.saturating_sub(names.len()));
            _ = write!(transports, "{:1$}{transport}", "", column.saturating_sub(transports.len()));
        }
        format!("      ms    {}\n{:MARGIN$}{}\n", names.trim_end(), "", transports.trim_end())
    }

    fn row(&self, lane: usize, message: &Message, label: &str) -> String {
        let party = self.names.iter().position(|known| *known == name(message));
        let (ours, theirs) = (self.column(lane, None), self.column(lane, party));
        let lifelines: Vec<usize> =
            std::iter::once(ours).chain((0..self.names.len()).map(|at| self.column(lane, Some(at)))).collect();
        let end = lifelines.iter().copied().max().unwrap_or(ours);
        let mut row: Vec<char> = vec![' '; end + 1];
        lifelines.iter().for_each(|column| row[*column] = '|');
        let (from, to) = (ours.min(theirs), ours.max(theirs));
        for (column, place) in row.iter_mut().enumerate().take(to).skip(from + 1) {
            *place = if lifelines.contains(&column) { '+' } else { '-' };
        }
        let points_right = (message.way == Way::Out) == (theirs > ours);
        row[if points_right { to - 1 } else { from + 1 }] = if points_right { '>' } else { '<' };
        // The label is beside our lifeline, whoever speaks.
        let lane_begins = if theirs < ours { from } else { ours };
        let label = cut(label, lane.saturating_sub(7));
        let at = lane_begins + (lane - label.chars().count() - 2) / 2;
        for (offset, c) in std::iter::once(' ').chain(label.chars()).chain([' ']).enumerate() {
            row[at + offset] = c;
        }
        row.into_iter().collect()
    }
}

fn name(message: &Message) -> String {
    format!("{} {}", message.remote, message.transport)
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(2)).chain("..".chars()).collect()
}
