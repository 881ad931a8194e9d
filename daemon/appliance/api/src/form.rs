//! Parameters as they come: from a query or a form, names repeated for lists.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, StatusCode, header},
};

use crate::error::Refusal;

/// Bytes of a form at most: a document of 4000 characters, percent-encoded, and all other parameters.
const BODY_MAX: usize = 64 * 1024;

/// How long a client may take to send a form.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Parameters of one request at most.
const PARAMETERS_MAX: usize = 200;

/// Names and values in the order they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// From `a=b&c=d`.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let all: Vec<_> = url::form_urlencoded::parse(text).into_owned().take(PARAMETERS_MAX + 1).collect();
        if all.len() > PARAMETERS_MAX {
            let why = format!("more than {PARAMETERS_MAX} parameters");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, 20001, why));
        }
        Ok(Self(all))
    }

    /// From a request's body.
    pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Refusal> {
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let too_large =
            || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, 20413, format!("the body is larger than {BODY_MAX} bytes"));
        if declared.is_some_and(|length| length > BODY_MAX as u64) {
            return Err(too_large());
        }
        let bytes = match tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(too_large()),
            Err(_) => return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, 20408, "the body did not come in time")),
        };
        let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !bytes.is_empty() && !kind.is_empty() && !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let why = "parameters are sent as application/x-www-form-urlencoded";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, 20415, why));
        }
        Self::parse(&bytes)
    }

    /// The last value of a name, unless it is empty.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// Every value of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A whole number in a range.
    pub(crate) fn number<T>(&self, name: &str, range: std::ops::RangeInclusive<T>) -> Result<Option<T>, Refusal>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.one(name) else { return Ok(None) };
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let why = format!("want a number from {} to {}", range.start(), range.end());
                Err(Refusal::parameter(20001, name, why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_repeat_and_odd_characters_are_part_of_them() {
        let all = Parameters::parse(b"E=a&E=b&StartTime%3E=2020-01-02&X=&n=7").unwrap();
        assert_eq!(all.all("E").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((all.one("E"), all.one("StartTime>"), all.one("X")), (Some("b"), Some("2020-01-02"), None));
        assert_eq!(all.number("n", 1..=9u32), Ok(Some(7)));
        assert!(all.number("n", 8..=9u32).is_err() && all.number("E", 0..=9u32).is_err());
        assert!(Parameters::parse("a=&".repeat(201).as_bytes()).is_err());
    }
}
