//! `tables:` prefix tables, and the CSV files that hold their rows.
//!
//! A file has a line of headings (`prefix`, `trunk` or `group`, `cost`, perhaps `schedule`, in any order), then a row a line. Lines that
//! start with `#*` are comments: a prefix may begin with `#`. All rows are read before any is taken: a table is whole or refused.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use csv::{ByteRecord, ReaderBuilder, Trim};
use postern_types::{GroupName, ScheduleName, TrunkName};
use serde::Serialize;

use crate::{
    Diagnostic, Severity,
    number::Destination,
    prefix_table::{Clash, Cost, Entry, PREFIX_ROWS_MAX, PrefixTable, TABLE_ROWS_MAX},
    reader::{Fields, Reader},
    value::quoted,
};

/// Mistakes of one file that are told at most.
const MISTAKES_MAX: usize = 20;
/// Columns of a file at most: a carrier's own, such as the name of a country, are passed over.
const COLUMNS_MAX: usize = 64;

/// A table of prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Where its rows are.
    pub file: PathBuf,
    /// They. Shared: a configuration is copied, its tables are not.
    #[serde(skip)]
    pub rows: Arc<PrefixTable>,
}

/// The names that rows may use.
pub trait Names {
    /// Whether there is such an entry in `trunks`, `groups` or `schedules`.
    fn has(&self, section: &'static str, name: &str) -> bool;
    /// What was meant instead, in words.
    fn hint(&self, section: &'static str, name: &str) -> String;
}

/// What is wrong with a line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The value that it is about, as it stands in the line; may be empty.
    pub about: String,
}

impl Table {
    pub(crate) fn read(r: &mut Reader<'_>, _name: &str, f: &Fields<'_>) -> Option<Self> {
        let file = f.path(r, "file")?;
        let Some(bytes) = r.table_file(f.span_of("file"), &file)? else {
            // Whoever asks for something else, such as the place of the daemon's socket, does without.
            return Some(Self { file, rows: Arc::default() });
        };
        match rows(&bytes, &*r) {
            Ok(rows) => Some(Self { file, rows: Arc::new(rows) }),
            Err(mistakes) => {
                let shown = file.display().to_string();
                let lines: HashMap<usize, &[u8]> = wanted_lines(&bytes, &mistakes);
                for mistake in mistakes {
                    let line = lines.get(&mistake.line).copied().unwrap_or_default();
                    r.foreign.push(placed(&shown, line, mistake));
                }
                None
            }
        }
    }
}

/// The rows of a file, or all its mistakes (the first twenty).
pub fn rows(bytes: &[u8], names: &dyn Names) -> Result<PrefixTable, Vec<Mistake>> {
    let mut reading = Reading {
        names,
        entries: Vec::new(),
        carriers: Vec::new(),
        schedules: Vec::new(),
        seen: Default::default(),
        mistakes: Vec::new(),
    };
    reading.all(bytes);
    let Reading { entries, carriers, schedules, mut mistakes, .. } = reading;
    if mistakes.is_empty() {
        match PrefixTable::new(entries, carriers, schedules) {
            Ok(table) => return Ok(table),
            Err(clashes) => mistakes.extend(clashes.iter().take(MISTAKES_MAX).map(of_clash)),
        }
    }
    mistakes.sort_by_key(|mistake| mistake.line);
    Err(mistakes)
}

const SECTIONS: [&str; 3] = ["trunks", "groups", "schedules"];
const ONE: [&str; 3] = ["trunk", "group", "schedule"];

struct Reading<'a> {
    names: &'a dyn Names,
    entries: Vec<Entry>,
    carriers: Vec<Destination>,
    schedules: Vec<ScheduleName>,
    /// Names that rows had so far, by section, and their places in the lists.
    seen: [HashMap<Box<[u8]>, u16>; 3],
    mistakes: Vec<Mistake>,
}

#[derive(Default)]
struct Columns {
    prefix: usize,
    cost: usize,
    /// Trunk, group, schedule.
    names: [Option<usize>; 3],
}

impl Reading<'_> {
    fn all(&mut self, bytes: &[u8]) {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(bytes);
        let mut record = ByteRecord::new();
        let mut columns = None;
        // The reader only fails where its source does, and this one is memory.
        while let Ok(true) = reader.read_byte_record(&mut record) {
            let line = record.position().map_or(0, |position| position.line() as usize);
            if record.get(0).is_some_and(|first| first.starts_with(b"#*")) {
                continue;
            }
            let Some(columns) = &columns else {
                columns = self.headings(&record, line);
                if columns.is_none() {
                    return;
                }
                continue;
            };
            if self.entries.len() == TABLE_ROWS_MAX {
                let hint = "part it into two tables, each with a route of its own";
                return self.mistake(line, format!("more than {TABLE_ROWS_MAX} rows"), hint, b"");
            }
            if let Some(row) = self.row(&record, line, columns) {
                self.entries.push(row);
            }
            if self.mistakes.len() >= MISTAKES_MAX {
                let hint = "mend these first";
                return self.mistake(line, "the rest of the file was not looked at".into(), hint, b"");
            }
        }
        if columns.is_none() {
            self.mistake(1, "an empty file".into(), "write a line `prefix,trunk,cost`, and a row a line below it", b"");
        }
    }

    fn headings(&mut self, record: &ByteRecord, line: usize) -> Option<Columns> {
        let place = |name: &str| {
            record.iter().take(COLUMNS_MAX).position(|heading| heading.eq_ignore_ascii_case(name.as_bytes()))
        };
        let names = ONE.map(place);
        let (prefix, cost) = (place("prefix"), place("cost"));
        let missing = match (prefix, cost) {
            (None, _) => "prefix",
            (_, None) => "cost",
            _ if names[0].is_none() && names[1].is_none() => "trunk",
            _ => "",
        };
        if !missing.is_empty() {
            let hint = match record.len() {
                1 => "the first line names the columns, with commas between them: prefix,trunk,cost",
                _ => "the first line names the columns: prefix,trunk,cost",
            };
            self.mistake(line, format!("no column is named `{missing}`"), hint, record.get(0).unwrap_or_default());
            return None;
        }
        Some(Columns { prefix: prefix?, cost: cost?, names })
    }

    fn row(&mut self, record: &ByteRecord, line: usize, columns: &Columns) -> Option<Entry> {
        let field = |at: usize| record.get(at).unwrap_or_default();
        let prefix = field(columns.prefix);
        if !crate::prefix_table::is_prefix(prefix) {
            let hint = match prefix {
                b"" => "for all other numbers write a route of their own, below the one to this table",
                _ => "write 1 to 16 of `+`, digits, `*` and `#`, as the number is looked up: `+4930`",
            };
            self.mistake(line, format!("{} is no prefix", shown(prefix)), hint, prefix);
            return None;
        }
        let text = field(columns.cost);
        let Some(cost) = std::str::from_utf8(text).ok().and_then(Cost::parse) else {
            let hint = "write a number with a point: 0.0125, at most six places, below 4294";
            self.mistake(line, format!("{} is no cost", shown(text)), hint, text);
            return None;
        };
        let [trunk, group, schedule] = columns.names.map(|at| at.map(field).filter(|name| !name.is_empty()));
        let carrier = match (trunk, group) {
            (Some(name), None) => (0, name),
            (None, Some(name)) => (1, name),
            (None, None) => {
                self.mistake(line, "neither trunk nor group".into(), "name who carries it", prefix);
                return None;
            }
            (Some(_), Some(group)) => {
                self.mistake(line, "trunk and group at once".into(), "leave one of both empty", group);
                return None;
            }
        };
        let carrier = self.place_of(line, carrier.0, carrier.1)?;
        let schedule = match schedule {
            Some(name) => Some(self.place_of(line, 2, name)?),
            None => None,
        };
        Entry::new(prefix, cost, carrier, schedule, line as u32)
    }

    /// The place of a name; none: it was told that there is none such.
    fn place_of(&mut self, line: usize, kind: usize, name: &[u8]) -> Option<u16> {
        if let Some(place) = self.seen[kind].get(name) {
            return Some(*place);
        }
        let text = String::from_utf8_lossy(name);
        if !self.names.has(SECTIONS[kind], &text) {
            let hint = self.names.hint(SECTIONS[kind], &text);
            self.mistake(line, format!("there is no {} {}", ONE[kind], quoted(&text)), &hint, name);
            return None;
        }
        let count = if kind == 2 { self.schedules.len() } else { self.carriers.len() };
        let Some(place) = u16::try_from(count).ok().filter(|place| *place < u16::MAX) else {
            self.mistake(line, "more than 65535 names in one table".into(), "part it into two tables", name);
            return None;
        };
        match kind {
            0 => self.carriers.push(Destination::Trunk(TrunkName::new(&text))),
            1 => self.carriers.push(Destination::Group(GroupName::new(&text))),
            _ => self.schedules.push(ScheduleName::new(&text)),
        }
        self.seen[kind].insert(name.into(), place);
        Some(place)
    }

    fn mistake(&mut self, line: usize, message: String, hint: &str, about: &[u8]) {
        let about = String::from_utf8_lossy(about).into_owned();
        self.mistakes.push(Mistake { line, message, hint: hint.to_owned(), about });
    }
}

fn shown(value: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(value))
}

fn of_clash(clash: &Clash) -> Mistake {
    let (line, message, hint) = match *clash {
        Clash::Twice { line, first } => (
            line,
            format!("this prefix already has this carrier and schedule, in line {first}"),
            "keep one of both rows".to_owned(),
        ),
        Clash::TooMany { line } => (
            line,
            format!("more than {PREFIX_ROWS_MAX} rows of one prefix"),
            "a call would never come to the last: leave out the dearest".to_owned(),
        ),
    };
    Mistake { line: line as usize, message, hint, about: String::new() }
}

/// The text of the lines that are told.
fn wanted_lines<'b>(bytes: &'b [u8], mistakes: &[Mistake]) -> HashMap<usize, &'b [u8]> {
    let last = mistakes.iter().map(|mistake| mistake.line).max().unwrap_or(0);
    let lines = bytes.split(|b| *b == b'\n').take(last).enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(line, _)| mistakes.iter().any(|mistake| mistake.line == *line)).collect()
}

fn placed(file: &str, line: &[u8], mistake: Mistake) -> Diagnostic {
    /// Characters of a line that are shown at most.
    const SHOWN_MAX: usize = 160;
    let text = String::from_utf8_lossy(line);
    let snippet: String =
        text.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect::<String>().trim_end().to_owned();
    let at = if mistake.about.is_empty() { None } else { snippet.find(&mistake.about) };
    let column = at.map_or(1, |at| snippet[..at].chars().count() + 1);
    let width = at.map_or(snippet.chars().count(), |_| mistake.about.chars().count()).max(1);
    Diagnostic {
        file: file.to_owned(),
        line: mistake.line,
        column,
        mark: column,
        width,
        severity: Severity::Error,
        message: mistake.message,
        hint: Some(mistake.hint),
        snippet,
        also: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Names for Known {
        fn has(&self, section: &'static str, name: &str) -> bool {
            matches!((section, name), ("trunks", "cheap" | "dear") | ("groups", "all") | ("schedules", "night"))
        }
        fn hint(&self, _: &'static str, _: &str) -> String {
            "did you mean `cheap`?".into()
        }
    }

    #[test]
    fn rows_are_read_whatever_the_order_of_columns_and_lines() {
        let text = "\u{feff}Cost,Country, prefix ,trunk,group,schedule\r\n#* a comment\r\n0.02,Germany,+49,dear,,\r\n\
                    0.01,\"Berlin, all of it\",+4930,cheap,,night\r\n0.5,,+4930,,all,\r\n\r\n2,,#31#,dear,,\r\n";
        let table = rows(text.as_bytes(), &Known).unwrap();
        assert_eq!(table.len(), 4);
        let found = table.longest("+4930123").unwrap();
        let told: Vec<_> = found.rows().map(|row| format!("{:?} {} {:?}", row.to, row.cost, row.schedule)).collect();
        assert_eq!(told, ["Trunk(\"cheap\") 0.01 Some(\"night\")", "Group(\"all\") 0.5 None"]);
        assert_eq!(found.shorter().unwrap().prefix(), "+49");
        assert!(table.longest("#31#9").is_some());
    }

    #[test]
    fn each_bad_row_is_told_by_its_line_with_what_to_do() {
        for (row, line, message, hint) in [
            ("+49x,cheap,,1", 2, "`+49x` is no prefix", "write 1 to 16"),
            (",cheap,,1", 2, "`` is no prefix", "for all other numbers"),
            ("+12345678901234567,cheap,,1", 2, "is no prefix", "1 to 16"),
            ("+49,cheep,,1", 2, "there is no trunk `cheep`", "did you mean `cheap`?"),
            ("+49,,some,1", 2, "there is no group `some`", "did you mean"),
            ("+49,cheap,,1,day", 2, "there is no schedule `day`", "did you mean"),
            ("+49,cheap,all,1", 2, "trunk and group at once", "leave one"),
            ("+49,,,1", 2, "neither trunk nor group", "name who"),
            ("+49,cheap,,1e3", 2, "`1e3` is no cost", "0.0125"),
            ("+49,cheap", 2, "`` is no cost", "0.0125"),
            ("+49,cheap,,1\n+49,dear,,1\n+49,cheap,,2", 4, "already has this carrier", "keep one"),
        ] {
            let text = format!("prefix,trunk,group,cost,schedule\n{row}\n");
            let found = rows(text.as_bytes(), &Known).unwrap_err();
            assert_eq!(found.len(), 1, "{row}: {found:?}");
            assert_eq!(found[0].line, line, "{row}");
            assert!(found[0].message.contains(message), "{row}: {found:?}");
            assert!(found[0].hint.contains(hint), "{row}: {found:?}");
        }
        for (text, message) in [
            ("", "an empty file"),
            ("\n\n", "an empty file"),
            ("+49,cheap,1\n", "no column is named `prefix`"),
            ("prefix;trunk;cost\n+49;cheap;1\n", "no column is named `prefix`"),
            ("prefix,trunk\n", "no column is named `cost`"),
            ("prefix,cost\n", "no column is named `trunk`"),
            ("\u{0}\u{1}", "no column"),
        ] {
            let found = rows(text.as_bytes(), &Known).unwrap_err();
            assert!(found.len() == 1 && found[0].message.contains(message), "{text:?}: {found:?}");
        }
        let many = format!("prefix,trunk,cost\n{}", "x,cheap,1\n".repeat(1000));
        assert_eq!(rows(many.as_bytes(), &Known).unwrap_err().len(), MISTAKES_MAX + 1);
        let empty = rows(b"prefix,trunk,cost\n", &Known).unwrap();
        assert!(empty.is_empty() && empty.longest("+49").is_none());
    }
}
