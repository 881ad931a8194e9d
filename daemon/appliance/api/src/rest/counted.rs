//! Pages that are counted: of lists that are short beside those of calls, and in which rows come and go rarely. Calls have [`crate::page`].

use serde_json::{Value, json};

use crate::{error::Refusal, form::Parameters, page};

/// What says which page is meant, and is no filter.
const PLACE: [&str; 3] = ["Page", "PageSize", "PageToken"];
/// Further on nobody reads.
const NUMBER_MAX: usize = 10_000;

/// The page that was asked for.
pub(super) struct Page<'a> {
    given: &'a Parameters,
    number: usize,
    /// Rows on it at most.
    pub(super) size: usize,
}

impl<'a> Page<'a> {
    /// From the parameters of a list.
    pub(super) fn read(given: &'a Parameters) -> Result<Self, Refusal> {
        let number = given.number("Page", 0..=NUMBER_MAX)?.unwrap_or(0);
        Ok(Self { given, number, size: page::size(given)? })
    }

    /// Rows before it.
    pub(super) fn start(&self) -> usize {
        self.number * self.size
    }

    /// The answer: `rows`, under `name`, are those that begin at [`Page::start`], and one more when there is a further page. Links to other pages
    /// carry the filters of this one.
    pub(super) fn shape(&self, name: &str, uri: &str, mut rows: Vec<Value>) -> Value {
        let further = rows.len() > self.size;
        rows.truncate(self.size);
        let at = |number: usize| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(self.given.iter().filter(|(name, _)| !PLACE.contains(name)));
            query.append_pair("PageSize", &self.size.to_string()).append_pair("Page", &number.to_string());
            format!("{uri}?{}", query.finish())
        };
        json!({
            "start": self.start(),
            "end": self.start() + rows.len().saturating_sub(1),
            "page": self.number,
            "page_size": self.size,
            "first_page_uri": at(0),
            "next_page_uri": further.then(|| at(self.number + 1)),
            "previous_page_uri": self.number.checked_sub(1).map(at),
            "uri": at(self.number),
            name: rows,
        })
    }

    /// The same of a list that is all in memory.
    pub(super) fn of<T>(&self, name: &str, uri: &str, all: &[T], shape: impl Fn(&T) -> Value) -> Value {
        self.shape(name, uri, all.iter().skip(self.start()).take(self.size + 1).map(shape).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_carry_their_filters() {
        let rows: Vec<_> = (0..5).collect();
        let page = |text: &str| {
            let given = Parameters::parse(text.as_bytes()).unwrap();
            Page::read(&given).map(|page| page.of("rows", "/x", &rows, |n| json!(n)))
        };
        let first = page("Status=init&PageSize=2").unwrap();
        assert_eq!((&first["rows"], &first["end"]), (&json!([0, 1]), &json!(1)));
        assert_eq!(first["next_page_uri"], "/x?Status=init&PageSize=2&Page=1");
        let last = page("Page=2&PageSize=2").unwrap();
        assert_eq!((&last["rows"], &last["next_page_uri"]), (&json!([4]), &Value::Null));
        assert_eq!(last["previous_page_uri"], "/x?PageSize=2&Page=1");
        assert!(page("PageSize=0").is_err());
    }
}
