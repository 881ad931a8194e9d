//! A table of number prefixes in flat arrays: up to a million rows, the longest prefix of a number by one binary search.
//!
//! A prefix is packed into 64 bits, four a character, the first one highest. The order of these numbers is then that of the texts, and
//! what begins with a prefix stands right behind it. So the entry before a number is its longest prefix, or begins with that: each
//! entry knows the next shorter one, and a few steps up find it. The first four characters say between which two places the search is.
//! A million prefixes with a row each are 24 MB, 24 bytes a row: 8 the key, 4 the shorter one, 4 the place of its rows, 8 a row.

use std::fmt;

use postern_types::ScheduleName;
use serde::{Serialize, Serializer};

use crate::number::Destination;

/// Rows of one table at most: all prefixes of the world by a dozen carriers.
pub const TABLE_ROWS_MAX: usize = 1_000_000;
/// Rows of one prefix at most: a call may wait for each in turn.
pub const PREFIX_ROWS_MAX: usize = 32;
/// Characters of a prefix at most, which fill the key: `+` and the 15 digits of E.164.
pub const PREFIX_CHARS_MAX: usize = 16;

/// What may stand in a prefix; its place here, from 1, is its code.
const CHARACTERS: &[u8; 13] = b"#*+0123456789";
/// Different fronts of four characters.
const INDEXED: usize = 1 << 16;
/// No schedule: always.
const ALWAYS: u16 = u16::MAX;

/// What a call costs over a carrier: anything that can be compared, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Cost(pub u32);

impl Cost {
    /// `0.0125`: at most six places.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 4 || part.len() > 6 || !digits(whole) || !digits(part) {
            return None;
        }
        let part = format!("{part:0<6}").parse::<u64>().ok()?;
        u32::try_from(whole.parse::<u64>().ok()? * 1_000_000 + part).ok().map(Self)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// The table. Made once by [`PrefixTable::new`], never changed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct PrefixTable {
    /// Packed, in order.
    keys: Vec<u64>,
    /// By the first four characters: how many keys stand before all that begin with them. Empty for an empty table.
    index: Vec<u32>,
    /// The longest other prefix that a prefix begins with; its own place: none.
    shorter: Vec<u32>,
    /// Where the rows of each begin, and behind the last where they end.
    first: Vec<u32>,
    rows: Vec<Packed>,
    carriers: Vec<Destination>,
    schedules: Vec<ScheduleName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Packed {
    cost: u32,
    carrier: u16,
    schedule: u16,
}

/// A row before it is in the table. Carrier and schedule are places in the lists that go with it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    key: u64,
    row: Packed,
    line: u32,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRow<'t> {
    /// The trunk or group that carries it.
    pub to: &'t Destination,
    /// At what cost.
    pub cost: Cost,
    /// When; none: always.
    pub schedule: Option<&'t ScheduleName>,
}

/// A prefix of a number that the table has.
#[derive(Debug, Clone, Copy)]
pub struct Found<'t> {
    table: &'t PrefixTable,
    at: usize,
}

/// Two rows that cannot stand together, by their lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// The same carrier and schedule for the same prefix.
    Twice {
        /// The later line.
        line: u32,
        /// The earlier one.
        first: u32,
    },
    /// A prefix has more rows than a call would try.
    TooMany {
        /// One of them.
        line: u32,
    },
}

impl Entry {
    /// None: it is no prefix ([`is_prefix`]).
    pub fn new(prefix: &[u8], cost: Cost, carrier: u16, schedule: Option<u16>, line: u32) -> Option<Self> {
        is_prefix(prefix).then(|| Self {
            key: packed(prefix),
            row: Packed { cost: cost.0, carrier, schedule: schedule.unwrap_or(ALWAYS) },
            line,
        })
    }
}

/// Whether it can be a prefix: 1 to 16 of `+`, digits, `*` and `#`.
pub fn is_prefix(text: &[u8]) -> bool {
    !text.is_empty() && text.len() <= PREFIX_CHARS_MAX && text.iter().all(|b| CHARACTERS.contains(b))
}

impl PrefixTable {
    /// From rows in any order; their carriers and schedules are places in these lists.
    pub fn new(
        mut entries: Vec<Entry>,
        carriers: Vec<Destination>,
        schedules: Vec<ScheduleName>,
    ) -> Result<Self, Vec<Clash>> {
        entries.sort_unstable_by_key(|entry| (entry.key, entry.row, entry.line));
        let clashes = clashes(&entries);
        if !clashes.is_empty() {
            return Err(clashes);
        }
        let prefixes = entries.chunk_by(|one, other| one.key == other.key).count();
        let mut table = Self {
            keys: Vec::with_capacity(prefixes),
            index: Vec::new(),
            shorter: Vec::with_capacity(prefixes),
            first: Vec::with_capacity(prefixes + 1),
            rows: Vec::with_capacity(entries.len()),
            carriers,
            schedules,
        };
        // The prefixes that the last one begins with, the longest last.
        let mut open: Vec<u32> = Vec::with_capacity(PREFIX_CHARS_MAX);
        for same in entries.chunk_by(|one, other| one.key == other.key) {
            let (key, at) = (same[0].key, table.keys.len() as u32);
            while open.pop_if(|shorter| !begins(key, table.keys[*shorter as usize])).is_some() {}
            table.shorter.push(open.last().copied().unwrap_or(at));
            open.push(at);
            table.keys.push(key);
            table.first.push(table.rows.len() as u32);
            table.rows.extend(same.iter().map(|entry| entry.row));
        }
        table.first.push(table.rows.len() as u32);
        if !table.keys.is_empty() {
            table.index.reserve_exact(INDEXED + 1);
            for front in 0..=INDEXED as u32 {
                let from = table.index.last().map_or(0, |before| *before as usize);
                let fewer = table.keys[from..].iter().take_while(|key| front_of(**key) < front as usize).count();
                table.index.push((from + fewer) as u32);
            }
        }
        Ok(table)
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        8 * self.keys.len()
            + 4 * self.index.len()
            + 4 * self.shorter.len()
            + 4 * self.first.len()
            + size_of::<Packed>() * self.rows.len()
    }

    /// The longest prefix of a number.
    pub fn longest(&self, number: &str) -> Option<Found<'_>> {
        let number = packed(number.as_bytes());
        let front = front_of(number);
        let (from, to) = (*self.index.get(front)? as usize, self.index[front + 1] as usize);
        let mut at = (from + self.keys[from..to].partition_point(|key| *key <= number)).checked_sub(1)?;
        while !begins(number, self.keys[at]) {
            at = self.above(at)?;
        }
        Some(Found { table: self, at })
    }

    fn above(&self, at: usize) -> Option<usize> {
        let shorter = self.shorter[at] as usize;
        (shorter != at).then_some(shorter)
    }
}

impl<'t> Found<'t> {
    /// Its text.
    pub fn prefix(self) -> String {
        let mut key = self.table.keys[self.at];
        let mut text = String::with_capacity(PREFIX_CHARS_MAX);
        while key != 0 {
            text.push(char::from(CHARACTERS[(key >> 60) as usize - 1]));
            key <<= 4;
        }
        text
    }

    /// Its rows, the least cost first. Never empty.
    pub fn rows(self) -> impl ExactSizeIterator<Item = TableRow<'t>> {
        let Self { table, at } = self;
        let rows = &table.rows[table.first[at] as usize..table.first[at + 1] as usize];
        rows.iter().map(|row| TableRow {
            to: &table.carriers[usize::from(row.carrier)],
            cost: Cost(row.cost),
            schedule: (row.schedule != ALWAYS).then(|| &table.schedules[usize::from(row.schedule)]),
        })
    }

    /// The next shorter prefix of the same number.
    pub fn shorter(self) -> Option<Self> {
        self.table.above(self.at).map(|at| Self { at, ..self })
    }
}

/// By rows of one prefix, which stand together.
fn clashes(entries: &[Entry]) -> Vec<Clash> {
    let mut found = Vec::new();
    for same in entries.chunk_by(|one, other| one.key == other.key) {
        if let Some(more) = same.get(PREFIX_ROWS_MAX) {
            found.push(Clash::TooMany { line: more.line });
            continue;
        }
        for (index, entry) in same.iter().enumerate() {
            let like =
                |other: &&Entry| (other.row.carrier, other.row.schedule) == (entry.row.carrier, entry.row.schedule);
            if let Some(other) = same[..index].iter().find(like) {
                let (line, first) = (entry.line.max(other.line), entry.line.min(other.line));
                found.push(Clash::Twice { line, first });
            }
        }
    }
    found
}

/// The front of a text, as far as it may stand in a prefix.
fn packed(text: &[u8]) -> u64 {
    let mut key = 0;
    for (index, byte) in text.iter().take(PREFIX_CHARS_MAX).enumerate() {
        let Some(place) = CHARACTERS.iter().position(|known| known == byte) else { break };
        key |= (place as u64 + 1) << (60 - 4 * index);
    }
    key
}

/// The first four characters of a packed text.
fn front_of(key: u64) -> usize {
    (key >> 48) as usize
}

/// Whether a packed text begins with a packed prefix, which is not empty.
fn begins(text: u64, prefix: u64) -> bool {
    // The whole characters that the prefix leaves free.
    let free = prefix.trailing_zeros() / 4 * 4;
    (text ^ prefix) >> free == 0
}

impl fmt::Debug for PrefixTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrefixTable({} rows)", self.rows.len())
    }
}

/// How many rows: nobody reads a million.
impl Serialize for PrefixTable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.rows.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postern_types::TrunkName;

    use super::*;

    fn carriers(count: usize) -> Vec<Destination> {
        (0..count).map(|n| Destination::Trunk(TrunkName::new(&format!("t{n}")))).collect()
    }

    fn table(rows: &[(&str, &str, u16)]) -> PrefixTable {
        let entry = |(line, (prefix, cost, carrier)): (usize, &(&str, &str, u16))| {
            Entry::new(prefix.as_bytes(), Cost::parse(cost).unwrap(), *carrier, None, line as u32 + 2).unwrap()
        };
        PrefixTable::new(rows.iter().enumerate().map(entry).collect(), carriers(4), Vec::new()).unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_and_its_rows_come_by_cost() {
        let table = table(&[
            ("+49", "0.02", 0),
            ("+4930", "0.015", 1),
            ("+4930", "0.01", 2),
            ("+4930", "0.0101", 0),
            ("+493", "1", 3),
            ("+44", "0.5", 1),
            ("0", "9", 1),
            ("#31#", "2", 1),
        ]);
        for (number, want) in [
            ("+4930123456", Some("+4930")),
            ("+4930", Some("+4930")),
            ("+493", Some("+493")),
            ("+4940", Some("+49")),
            ("+49", Some("+49")),
            ("+4", None),
            ("+45", None),
            ("", None),
            ("+99", None),
            ("alice", None),
            ("030", Some("0")),
            ("#31#0301", Some("#31#")),
            ("+493012345678901234567890", Some("+4930")),
            ("+49x30", Some("+49")),
        ] {
            assert_eq!(table.longest(number).map(Found::prefix).as_deref(), want, "{number}");
        }
        let found = table.longest("+49301").unwrap();
        let rows: Vec<_> = found.rows().map(|row| (row.cost.to_string(), row.to.clone())).collect();
        let trunks = carriers(3);
        let want = [("0.01", 2), ("0.0101", 0), ("0.015", 1)].map(|(cost, n)| (cost.to_owned(), trunks[n].clone()));
        assert_eq!(rows, want);
        let up: Vec<_> = std::iter::successors(Some(found), |found| found.shorter()).map(Found::prefix).collect();
        assert_eq!(up, ["+4930", "+493", "+49"]);
    }

    #[test]
    fn whatever_the_table_it_finds_what_trying_every_length_finds() {
        let mut random = 88_172_645_463_325_252u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for _ in 0..50 {
            let mut want: BTreeMap<String, u16> = BTreeMap::new();
            for _ in 0..next(300) {
                let prefix: String = (0..=next(5)).map(|_| char::from(b"+#123"[next(5) as usize])).collect();
                want.insert(prefix, next(4) as u16);
            }
            let rows: Vec<_> = want.iter().map(|(prefix, carrier)| (prefix.as_str(), "1", *carrier)).collect();
            let table = table(&rows);
            for _ in 0..500 {
                let number: String = (0..next(9)).map(|_| char::from(b"+#1234"[next(6) as usize])).collect();
                let longest = (1..=number.len()).rev().find_map(|len| want.get_key_value(&number[..len]));
                assert_eq!(table.longest(&number).map(Found::prefix), longest.map(|(p, _)| p.clone()), "{number}");
            }
        }
    }

    #[test]
    fn a_cost_is_what_was_written_and_nonsense_is_none() {
        for text in ["0", "0.01", "1.5", "4294.967295", "0.000001"] {
            assert_eq!(Cost::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Cost::parse("007.10").unwrap().to_string(), "7.1");
        for bad in ["", ".5", "-1", "1,5", "0.0000001", "4294.967296", "99999", "1e3", "NaN", " 1"] {
            assert_eq!(Cost::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn rows_that_say_one_thing_twice_are_told_with_both_lines() {
        let entry = |cost: &str, carrier, line| Entry::new(b"+49", Cost::parse(cost).unwrap(), carrier, None, line);
        let twice = vec![entry("2", 1, 9).unwrap(), entry("1", 2, 3).unwrap(), entry("1", 1, 4).unwrap()];
        let told = PrefixTable::new(twice, carriers(4), Vec::new()).unwrap_err();
        assert_eq!(told, [Clash::Twice { line: 9, first: 4 }]);
        let many = (0..33).map(|n| entry("1", n, u32::from(n)).unwrap()).collect();
        let told = PrefixTable::new(many, carriers(40), Vec::new()).unwrap_err();
        assert_eq!(told, [Clash::TooMany { line: 32 }]);
        for bad in ["", "+12345678901234567", "49-30", "+49 30", "abc"] {
            assert!(Entry::new(bad.as_bytes(), Cost(1), 0, None, 1).is_none(), "{bad}");
        }
    }
}
