//! Dates as the 2010 API writes them (RFC 2822, in UTC) and reads them (ISO 8601 days and times).

use postern_types::UnixMicros;
use time::{Date, OffsetDateTime, format_description::well_known::Rfc2822, format_description::well_known::Rfc3339};

use crate::store::Span;

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// `Tue, 31 Aug 2010 20:36:28 +0000`.
pub(crate) fn rfc2822(time: UnixMicros) -> Option<String> {
    let seconds = i64::try_from(time.seconds()).ok()?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc2822).ok()
}

/// `2010-08-31` or `2010-08-31T20:36:28Z`.
pub(crate) fn iso8601(text: &str) -> Option<UnixMicros> {
    let time = match text.len() {
        10 => {
            let [year, month, day] = text.split('-').collect::<Vec<_>>().try_into().ok()?;
            let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
            Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?.midnight().assume_utc()
        }
        _ => OffsetDateTime::parse(text, &Rfc3339).ok()?,
    };
    u64::try_from(time.unix_timestamp()).ok()?.checked_mul(SECOND).map(UnixMicros)
}

/// What `StartTime`, `StartTime>` or `StartTime<` asks for: a day when the value is one (or its midnight, which is how
/// SDKs write a day), else that second; `>` and `<` include the second named.
pub(crate) fn narrow(span: &mut Span, comparison: &str, value: UnixMicros) {
    match comparison {
        ">" => span.from = Some(value),
        "<" => span.until = Some(UnixMicros(value.0.saturating_add(SECOND))),
        _ => {
            let length = if value.0.is_multiple_of(DAY) { DAY } else { SECOND };
            *span = Span { from: Some(value), until: Some(UnixMicros(value.0.saturating_add(length))) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_and_write() {
        let moment = UnixMicros(1_283_286_988_999_999);
        assert_eq!(rfc2822(moment).unwrap(), "Tue, 31 Aug 2010 20:36:28 +0000");
        assert_eq!(rfc2822(UnixMicros(0)).unwrap(), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(rfc2822(UnixMicros(u64::MAX)), None);
        for (text, want) in [
            ("2010-08-31T20:36:28Z", Some(1_283_286_988)),
            ("2010-08-31", Some(1_283_212_800)),
            ("2010-13-31", None),
            ("1960-01-01", None),
            ("yesterday!", None),
            ("", None),
        ] {
            assert_eq!(iso8601(text), want.map(|s: u64| UnixMicros(s * SECOND)), "{text}");
        }
    }

    #[test]
    fn a_day_is_a_day_and_a_second_a_second() {
        let day = iso8601("2010-08-31").unwrap();
        let mut span = Span::default();
        narrow(&mut span, "", day);
        assert!(span.contains(Some(UnixMicros(day.0 + DAY - 1))) && !span.contains(Some(UnixMicros(day.0 + DAY))));
        narrow(&mut span, "", UnixMicros(day.0 + SECOND));
        assert!(!span.contains(Some(day)) && span.contains(Some(UnixMicros(day.0 + SECOND + 5))));
        let mut span = Span::default();
        narrow(&mut span, ">", day);
        narrow(&mut span, "<", UnixMicros(day.0 + DAY));
        assert!(span.contains(Some(day)) && span.contains(Some(UnixMicros(day.0 + DAY + 1))));
        assert!(!span.contains(None) && Span::default().contains(None));
    }
}
