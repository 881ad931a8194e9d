//! Regular expressions of the configuration: what they may cost, and what they make of a text.

use std::{borrow::Cow, fmt};

use regex::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};

use crate::reader::{Fields, Reader};

/// Bytes of an expression at most, and of what it compiles to: thousands of times what a number or a header needs.
const EXPRESSION_BYTES_MAX: usize = 512;
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A regular expression that takes linear time whatever it is asked, and matches whole texts only.
#[derive(Clone)]
pub struct Expression {
    text: String,
    compiled: Regex,
}

impl Expression {
    pub(crate) fn new(text: &str) -> Result<Self, Cow<'static, str>> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("longer than {EXPRESSION_BYTES_MAX} bytes").into());
        }
        // Alone first, so that a bracket too many is told as such and cannot close ours.
        let alone = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
        let whole =
            alone.and_then(|_| RegexBuilder::new(&format!("^(?:{text})$")).size_limit(COMPILED_BYTES_MAX).build());
        let compiled = whole.map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => Cow::Borrowed("it is too large"),
            // Its last line says what; the ones before draw the place.
            error => error
                .to_string()
                .lines()
                .last()
                .unwrap_or("it does not read")
                .trim_start_matches("error: ")
                .to_owned()
                .into(),
        })?;
        Ok(Self { text: text.to_owned(), compiled })
    }

    /// `match` of a section, which is there.
    pub(crate) fn read_match(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let text = f.text(r, "match")?;
        Self::new(&text)
            .map_err(|why| {
                r.error(f.span_of("match"), format!("not an expression: {why}"))
                    .hint("write for example `0(\\\\d+)`; it must match the whole, not a part");
            })
            .ok()
    }

    /// `match` of a section, which is there, and `replace`; `wanted` says in a hint what that is to be.
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>, wanted: &str) -> Option<(Self, String)> {
        let (expression, replace) = (Self::read_match(r, f), f.text(r, "replace"));
        let Some(replace) = replace else {
            r.error(f.span, "`match` without `replace`").hint(format!("write {wanted}"));
            return None;
        };
        let expression = expression?;
        if let Some(unknown) = expression.unknown_group(&replace) {
            r.error(f.span_of("replace"), format!("`match` has no group `{unknown}`"))
                .hint("`$1` is what the first pair of brackets matched; write `${1}0` when a digit follows");
            return None;
        }
        Some((expression, replace))
    }

    /// Whether it matches the whole of a text.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// What a text becomes that it matches: `$1` in `replace` is what its first group matched.
    pub fn expand(&self, text: &str, replace: &str) -> Option<String> {
        let found = self.compiled.captures(text)?;
        let mut changed = String::new();
        found.expand(replace, &mut changed);
        Some(changed)
    }

    /// A group that a replacement names and that is not there.
    fn unknown_group(&self, replace: &str) -> Option<String> {
        let mut rest = replace;
        while let Some(at) = rest.find('$') {
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                rest = after;
                continue;
            }
            let name: String = match rest.strip_prefix('{') {
                Some(braced) => braced.split('}').next().unwrap_or_default().to_owned(),
                None => rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect(),
            };
            let known = match name.parse::<usize>() {
                Ok(number) => number < self.compiled.captures_len(),
                Err(_) => self.compiled.capture_names().flatten().any(|known| known == name),
            };
            if !known {
                return Some(format!("${name}"));
            }
        }
        None
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

/// Two are one when they are written alike.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_would_cost_much_are_refused() {
        for bad in
            ["(", "a)(b", "(?=1)", "\\1", "[", "x{99999}{99999}", &"a".repeat(600), "(((((a{90}){90}){90}){90}))"]
        {
            assert!(Expression::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_found() {
        let groups = Expression::new("(?P<area>1)(2)").unwrap();
        assert_eq!(groups.unknown_group("$area${2}$$x"), None);
        assert_eq!(groups.unknown_group("$3"), Some("$3".into()));
        assert_eq!(groups.unknown_group("$1x"), Some("$1x".into()), "`$1x` names a group 1x");
    }
}
