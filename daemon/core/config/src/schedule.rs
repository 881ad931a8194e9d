//! Schedules: hours of the week in a time zone, and holidays. Whether one is open is decided from a moment that is handed in.
//!
//! A moment is turned into the day and the minute of the schedule's own place, which is always possible and has one answer, also in the
//! night of a change of clocks: an hour that comes twice is open twice.

use std::collections::BTreeSet;

use jiff::{
    Timestamp, civil,
    tz::{TimeZone, TimeZoneDatabase},
};
use postern_types::UnixMicros;
use serde::{Serialize, Serializer};

use crate::{
    reader::{Fields, Reader},
    suggest::nearest,
    value::{Bad, Parsed, quoted},
};

/// Spans of one schedule at most: seven days with a lunch break each are fourteen.
const HOURS_MAX: usize = 100;

/// When something holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Schedule {
    /// Where.
    pub time_zone: Zone,
    /// Open in any of these; never empty.
    pub hours: Vec<Hours>,
    /// Days that only spans of `holiday` hold on.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub holidays: BTreeSet<Date>,
}

/// A span of some days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hours {
    /// The days on which it begins.
    pub days: Days,
    /// From this minute.
    pub from: TimeOfDay,
    /// Until before this one; on the next day when it is not later.
    pub to: TimeOfDay,
}

/// Days of the week, from Monday, and holidays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days([bool; 8]);

const DAYS: [&str; 8] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"];
const HOLIDAY: usize = 7;

/// Minutes since midnight, to 24:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

/// A day of a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(civil::Date);

/// A time zone by its name.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

impl Schedule {
    pub(crate) fn read(r: &mut Reader<'_>, _name: &str, f: &Fields<'_>) -> Option<Self> {
        let time_zone = f.time_zone(r, "time_zone");
        let items = f.sections(r, "hours", "schedules.*.hours.*");
        if let Some(item) = items.get(HOURS_MAX) {
            r.error(item.span, format!("more than {HOURS_MAX} spans in one schedule"));
        }
        let mut hours = Vec::new();
        for item in &items {
            let days = item.choices(r, "days", &[0usize, 1, 2, 3, 4, 5, 6, HOLIDAY]);
            let days = if item.has("days") { Days::of(&days) } else { Days::WEEK };
            let (Some(from), Some(to)) = (item.time_of_day(r, "from"), item.time_of_day(r, "to")) else { continue };
            if from == to || from.0 == 24 * 60 {
                r.error(item.span_of("from"), "a span without a minute in it")
                    .hint("for the whole day write `from: \"00:00\"` and `to: \"24:00\"`, or neither");
            }
            hours.push(Hours { days, from, to });
        }
        if hours.is_empty() && !f.has("hours") {
            hours.push(Hours { days: Days::WEEK, from: TimeOfDay(0), to: TimeOfDay(24 * 60) });
        }
        let holidays = f.dates(r, "holidays").into_iter().collect();
        if items.is_empty() && f.has("hours") {
            r.error(f.span_of("hours"), "a schedule that is never open")
                .hint("write for example `- {days: [mon, fri], from: \"08:00\", to: \"18:00\"}`");
            return None;
        }
        Some(Self { time_zone: time_zone?, hours, holidays })
    }

    /// Whether it is open at that moment.
    pub fn is_open(&self, at: UnixMicros) -> bool {
        let there = self.time_zone.there(at);
        let (today, minute) = (there.date(), u16::from(there.hour() as u8) * 60 + u16::from(there.minute() as u8));
        let yesterday = today.yesterday().ok().map(|day| self.day_of(day));
        let today = self.day_of(today);
        self.hours.iter().any(|span| {
            let over_midnight = span.to <= span.from;
            let began_today = span.days.0[today] && minute >= span.from.0 && (over_midnight || minute < span.to.0);
            let began_yesterday =
                over_midnight && minute < span.to.0 && yesterday.is_some_and(|yesterday| span.days.0[yesterday]);
            began_today || began_yesterday
        })
    }

    /// What its clock and calendar say then: `Thu 2026-12-24 20:00 Europe/Berlin`.
    pub fn reading(&self, at: UnixMicros) -> String {
        let there = self.time_zone.there(at);
        format!("{} {}", there.strftime("%a %Y-%m-%d %H:%M"), self.time_zone.name)
    }

    fn day_of(&self, day: civil::Date) -> usize {
        if self.holidays.contains(&Date(day)) {
            return HOLIDAY;
        }
        usize::from(day.weekday().to_monday_zero_offset() as u8)
    }
}

impl Days {
    /// All of the week.
    pub const WEEK: Self = Self([true, true, true, true, true, true, true, false]);

    fn of(days: &[usize]) -> Self {
        let mut all = [false; 8];
        days.iter().for_each(|day| all[*day] = true);
        Self(all)
    }
}

impl TimeOfDay {
    pub(crate) fn parse(text: &str) -> Parsed<Self> {
        let two = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
        let minutes = text.split_once(':').and_then(|(hours, minutes)| Some((two(hours)?, two(minutes)?)));
        match minutes {
            Some((hours, minutes)) if minutes < 60 && hours * 60 + minutes <= 24 * 60 => Ok(Self(hours * 60 + minutes)),
            _ => Err(Bad {
                message: format!("{} is no time of a day", quoted(text)),
                hint: Some("write hours and minutes, two digits each, from \"00:00\" to \"24:00\"".into()),
            }),
        }
    }
}

impl Date {
    pub(crate) fn parse(text: &str) -> Parsed<Self> {
        let date = (text.len() == 10).then(|| text.parse::<civil::Date>().ok()).flatten();
        date.map(Self).ok_or_else(|| Bad {
            message: format!("{} is no day", quoted(text)),
            hint: Some("write year, month and day: 2026-12-24".into()),
        })
    }
}

impl Zone {
    pub(crate) fn parse(text: &str) -> Parsed<Self> {
        // The database that is built in: a configuration means the same on every machine, and reading it reads no further file.
        let all = TimeZoneDatabase::bundled();
        all.get(text).map(|rules| Self { name: text.to_owned(), rules }).map_err(|_| {
            let names: Vec<String> = all.available().map(|name| name.to_string()).collect();
            let hint = match nearest(text, names.iter().map(String::as_str)) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "write continent and city, as `Europe/Berlin`, or `UTC`".into(),
            };
            Bad { message: format!("there is no time zone {}", quoted(text)), hint: Some(hint) }
        })
    }

    fn there(&self, at: UnixMicros) -> civil::DateTime {
        let at = i64::try_from(at.0).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
        self.rules.to_datetime(at.unwrap_or(Timestamp::MAX))
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.name)
    }
}

impl Serialize for Days {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(DAYS.iter().zip(self.0).filter(|(_, holds)| *holds).map(|(name, _)| name))
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(zone: &str, hours: &[(&[usize], &str, &str)], holidays: &[&str]) -> Schedule {
        let time = |text| TimeOfDay::parse(text).unwrap();
        Schedule {
            time_zone: Zone::parse(zone).unwrap(),
            hours: hours
                .iter()
                .map(|(days, from, to)| Hours { days: Days::of(days), from: time(from), to: time(to) })
                .collect(),
            holidays: holidays.iter().map(|day| Date::parse(day).unwrap()).collect(),
        }
    }

    fn at(text: &str) -> UnixMicros {
        UnixMicros(text.parse::<Timestamp>().unwrap().as_microsecond() as u64)
    }

    #[test]
    fn hours_are_those_of_the_place_on_its_days() {
        let office = schedule("Europe/Berlin", &[(&[0, 1, 2, 3, 4], "08:00", "18:00")], &["2026-12-25"]);
        let night = schedule("Europe/Berlin", &[(&[4], "22:00", "06:00"), (&[7], "10:00", "12:00")], &["2026-12-25"]);
        let new_york = schedule("America/New_York", &[(&[0, 1, 2, 3, 4], "08:00", "18:00")], &[]);
        for (moment, is_office, is_night, is_new_york) in [
            // Thursday 20:00, 08:00 and 07:59:59 of Berlin.
            ("2026-12-24T20:00+01:00", false, false, true),
            ("2026-12-24T08:00+01:00", true, false, false),
            ("2026-12-24T07:59:59+01:00", false, false, false),
            ("2026-12-24T18:00+01:00", false, false, true),
            // The holiday, a Friday: neither its office hours nor its night.
            ("2026-12-25T10:30+01:00", false, true, false),
            ("2026-12-25T22:30+01:00", false, false, true),
            ("2026-12-26T05:30+01:00", false, false, false),
            // A Friday before it, and the Saturday behind midnight.
            ("2026-12-18T22:00+01:00", false, true, true),
            ("2026-12-19T05:59+01:00", false, true, false),
            ("2026-12-19T06:00+01:00", false, false, false),
            // Summer time, and the hour that comes twice.
            ("2026-07-06T06:00Z", true, false, false),
            ("2026-10-24T00:30+02:00", false, true, false),
            ("2026-10-26T07:30Z", true, false, false),
        ] {
            let when = at(moment);
            assert_eq!(office.is_open(when), is_office, "office {moment}");
            assert_eq!(night.is_open(when), is_night, "night {moment}");
            assert_eq!(new_york.is_open(when), is_new_york, "new york {moment}");
        }
        let twice = schedule("Europe/Berlin", &[(&[6], "02:00", "03:00")], &[]);
        assert!(twice.is_open(at("2026-10-25T02:30+02:00")) && twice.is_open(at("2026-10-25T02:30+01:00")));
        assert_eq!(office.reading(at("2026-12-24T19:00Z")), "Thu 2026-12-24 20:00 Europe/Berlin");
    }

    #[test]
    fn nonsense_is_told() {
        for bad in ["", "8:00", "08:0", "24:01", "08:60", "0800", "-1:00", "08:00:00", "ab:cd"] {
            assert!(TimeOfDay::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "2026-02-30", "24.12.2026", "2026-12-24T00:00", "12-24"] {
            assert!(Date::parse(bad).is_err(), "{bad}");
        }
        for (bad, hint) in [("Europe/Belin", "did you mean `Europe/Berlin`?"), ("", "write continent")] {
            assert!(Zone::parse(bad).unwrap_err().hint.unwrap().contains(hint), "{bad}");
        }
        assert!(!schedule("UTC", &[(&[0], "00:00", "24:00")], &[]).is_open(UnixMicros(u64::MAX)));
    }
}
