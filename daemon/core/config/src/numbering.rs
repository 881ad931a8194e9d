//! Numbering: how one peer writes numbers, and the rules by which they are changed on the way in and out.
//!
//! What comes is changed by the first rule that matches and then, if wanted, brought into international form; what leaves is first
//! written as the peer wants it and then changed by the first rule that matches. So rules see numbers as the peer writes them.

use postern_types::E164;
use serde::Serialize;

use crate::{
    expression::Expression,
    reader::{Fields, Reader},
};

/// Characters of a number at most, before and after a rule; a longer one is nobody's.
pub const NUMBER_CHARS_MAX: usize = 128;
/// Rules of one numbering at most: they are tried one after the other.
const RULES_MAX: usize = 200;

/// How a peer writes numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Numbering {
    /// Country code, digits only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// What stands before a number of the same country; may be empty.
    pub national: String,
    /// What stands before a country code.
    pub international: String,
    /// What becomes of numbers that come.
    pub received: Received,
    /// How numbers that leave are written.
    pub sent: Sent,
    /// The first that matches changes a number.
    pub rules: Vec<NumberRule>,
}

/// What becomes of numbers that come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Received {
    /// Nothing.
    #[default]
    AsIs,
    /// `+` and digits, where it can be told.
    E164,
}

/// How numbers that leave are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// As they are.
    #[default]
    AsIs,
    /// The digits of the international form without `+`.
    Digits,
    /// With the prefix of national or international calls.
    National,
}

/// Which number, and on which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The dialed number of a call that comes.
    ReceivedCalled,
    /// The caller's of a call that comes.
    ReceivedCaller,
    /// The dialed number of a call that leaves.
    SentCalled,
    /// The caller's of a call that leaves.
    SentCaller,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberRule {
    /// As `postern route` names it.
    pub name: String,
    /// Which numbers.
    #[serde(rename = "for")]
    pub sides: Vec<Side>,
    /// What it takes and what it does.
    #[serde(flatten)]
    pub change: NumberChange,
}

/// What a rule takes and does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum NumberChange {
    /// A number with this front.
    Prefix {
        /// Which.
        prefix: String,
        /// Characters taken off.
        strip: usize,
        /// Put in front afterwards.
        prepend: String,
    },
    /// A number that is matched as a whole.
    Expression {
        /// By this.
        #[serde(rename = "match")]
        expression: Expression,
        /// What it becomes: `$1` is what the first group matched.
        replace: String,
    },
}

/// A number after its rules, and what was done to it, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// It.
    pub number: String,
    /// Each step; none: nothing was changed.
    pub steps: Vec<String>,
}

impl Numbering {
    /// A number on one of its ways. What a rule would make empty or longer than [`NUMBER_CHARS_MAX`] stays as it was.
    pub fn apply(&self, side: Side, number: &str) -> Changed {
        let mut changed = Changed { number: number.to_owned(), steps: Vec::new() };
        if side.is_received() {
            self.by_rules(side, &mut changed);
            if self.received == Received::E164
                && let Some((number, why)) = self.international_form(&changed.number)
            {
                changed.set(number, why);
            }
        } else {
            if let Some((number, why)) = self.written(&changed.number) {
                changed.set(number, why);
            }
            self.by_rules(side, &mut changed);
        }
        changed
    }

    fn by_rules(&self, side: Side, changed: &mut Changed) {
        let found = self.rules.iter().filter(|rule| rule.sides.contains(&side)).find_map(|rule| {
            let number = rule.change.apply(&changed.number)?;
            Some((rule, number))
        });
        if let Some((rule, number)) = found {
            changed.set(number, format!("rule {}", rule.name));
        }
    }

    fn international_form(&self, number: &str) -> Option<(String, String)> {
        // RFC 3966 3: what stands between digits for the eye.
        let plain: String = number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
        let (digits, why) = match (plain.strip_prefix('+'), plain.strip_prefix(&self.international), &self.country) {
            (Some(digits), ..) => (digits.to_owned(), "without marks for the eye".to_owned()),
            (None, Some(digits), _) if !self.international.is_empty() => {
                (digits.to_owned(), format!("{} is international", self.international))
            }
            (None, _, Some(country)) => {
                let rest = plain.strip_prefix(&self.national)?;
                let why = match self.national.as_str() {
                    "" => format!("national, {country} in front"),
                    national => format!("{national} is national, {country} in place of it"),
                };
                (format!("{country}{rest}"), why)
            }
            (None, _, None) => return None,
        };
        let number: E164 = format!("+{digits}").parse().ok()?;
        Some((number.to_string(), why))
    }

    fn written(&self, number: &str) -> Option<(String, String)> {
        let number: E164 = number.parse().ok()?;
        let text = number.to_string();
        let digits = text.trim_start_matches('+');
        match self.sent {
            Sent::AsIs => None,
            Sent::Digits => Some((digits.to_owned(), "without +".into())),
            Sent::National => match self.country.as_deref().and_then(|country| digits.strip_prefix(country)) {
                Some(rest) if !rest.is_empty() => {
                    Some((format!("{}{rest}", self.national), "written as national".into()))
                }
                _ => Some((format!("{}{digits}", self.international), "written as international".into())),
            },
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>, _: &str, f: &Fields<'_>) -> Option<Self> {
        let country = f.text(r, "country");
        if let Some(country) = &country
            && !((1..=3).contains(&country.len()) && country.bytes().all(|b| b.is_ascii_digit()))
        {
            r.error(f.span_of("country"), "not a country code")
                .hint("write 1 to 3 digits, without `+` or zeros before it");
        }
        let (national, international) = (f.dialed(r, "national"), f.dialed(r, "international"));
        let received = f.choice(r, "received", &[Received::AsIs, Received::E164]);
        let sent = f.choice(r, "sent", &[Sent::AsIs, Sent::Digits, Sent::National]);
        if sent == Some(Sent::National) && country.is_none() {
            r.error(f.span_of("sent"), "without `country` nobody knows what is national").hint("write `country`");
        }
        let items = f.sections(r, "rules", "numbering.*.rules.*");
        if let Some(item) = items.get(RULES_MAX) {
            r.error(item.span, format!("more than {RULES_MAX} rules"))
                .hint("one expression may say what several rules do");
        }
        let rules = items.iter().filter_map(|item| NumberRule::read(r, item)).collect();
        Some(Self {
            country,
            national: national?,
            international: international?,
            received: received?,
            sent: sent?,
            rules,
        })
    }
}

impl Changed {
    fn set(&mut self, number: String, why: String) {
        if number != self.number {
            self.steps.push(format!("{} becomes {number}: {why}", self.number));
            self.number = number;
        }
    }
}

impl NumberRule {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let name = f.name(r, "name");
        let sides = f.choices(r, "for", &Side::ALL);
        if f.has("match") {
            for key in ["prefix", "strip", "prepend"] {
                if f.has(key) {
                    r.error(f.span_of(key), format!("`{key}` beside `match`"))
                        .hint("put it into the expression, or make two rules");
                }
            }
            let (expression, replace) = Expression::read(r, f, "what the number becomes, for example `+49$1`")?;
            return Some(Self { name: name?, sides, change: NumberChange::Expression { expression, replace } });
        }
        if f.has("replace") {
            r.error(f.span_of("replace"), "`replace` without `match`")
                .hint("write `match`, or `prefix`, `strip` and `prepend`");
            return None;
        }
        let (prefix, prepend, strip) = (f.dialed(r, "prefix")?, f.dialed(r, "prepend")?, f.integer(r, "strip")?);
        if strip == 0 && prepend.is_empty() {
            r.warning(f.span, "this rule changes nothing")
                .hint("it keeps later rules from what it matches, if that is wanted");
        }
        Some(Self { name: name?, sides, change: NumberChange::Prefix { prefix, strip: strip as usize, prepend } })
    }
}

impl NumberChange {
    /// What becomes of a number that it takes.
    fn apply(&self, number: &str) -> Option<String> {
        let changed = match self {
            Self::Prefix { prefix, strip, prepend } => {
                let taken = number.starts_with(prefix.as_str()).then(|| number.chars().skip(*strip))?;
                prepend.chars().chain(taken).collect()
            }
            Self::Expression { expression, replace } => {
                if number.len() > NUMBER_CHARS_MAX {
                    return None;
                }
                expression.expand(number, replace)?
            }
        };
        let sound = !changed.is_empty() && changed.len() <= NUMBER_CHARS_MAX;
        Some(if sound { changed } else { number.to_owned() })
    }
}

impl Side {
    const ALL: [Self; 4] = [Self::ReceivedCalled, Self::ReceivedCaller, Self::SentCalled, Self::SentCaller];

    fn is_received(self) -> bool {
        matches!(self, Self::ReceivedCalled | Self::ReceivedCaller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(side: Side, expression: &str, replace: &str) -> NumberRule {
        let change =
            NumberChange::Expression { expression: Expression::new(expression).unwrap(), replace: replace.into() };
        NumberRule { name: "r".into(), sides: vec![side], change }
    }

    fn german() -> Numbering {
        Numbering {
            country: Some("49".into()),
            national: "0".into(),
            international: "00".into(),
            received: Received::E164,
            sent: Sent::National,
            rules: vec![],
        }
    }

    #[test]
    fn what_comes_is_brought_into_international_form() {
        for (written, meant) in [
            ("+4930123456", "+4930123456"),
            ("+49 (30) 123-456", "+4930123456"),
            ("004930123456", "+4930123456"),
            ("030123456", "+4930123456"),
            // Neither national nor international: an extension, a short code, a name.
            ("112", "112"),
            ("alice", "alice"),
            ("", ""),
            // No number has 20 digits.
            ("0012345678901234567890", "0012345678901234567890"),
        ] {
            assert_eq!(german().apply(Side::ReceivedCalled, written).number, meant, "{written}");
        }
        let bare = Numbering { national: "".into(), ..german() };
        assert_eq!(bare.apply(Side::ReceivedCaller, "30123456").number, "+4930123456");
        assert_eq!(bare.apply(Side::ReceivedCaller, "004430123456").number, "+4430123456");
        let nowhere = Numbering { country: None, ..german() };
        assert_eq!(nowhere.apply(Side::ReceivedCalled, "030123456").number, "030123456");
    }

    #[test]
    fn what_leaves_is_written_as_the_peer_wants_it() {
        let digits = Numbering { sent: Sent::Digits, ..german() };
        for (number, national, plain) in [
            ("+4930123456", "030123456", "4930123456"),
            ("+15551234567", "0015551234567", "15551234567"),
            ("112", "112", "112"),
            ("anonymous", "anonymous", "anonymous"),
        ] {
            assert_eq!(german().apply(Side::SentCalled, number).number, national);
            assert_eq!(digits.apply(Side::SentCalled, number).number, plain);
        }
    }

    #[test]
    fn rules_see_numbers_as_the_peer_writes_them_and_the_first_that_matches_is_it() {
        let mut numbering = german();
        numbering.rules = vec![
            rule(Side::ReceivedCalled, r"9(0\d+)", "$1"),
            rule(Side::ReceivedCalled, r".*", "never$0"),
            rule(Side::SentCalled, r"0(\d{5,})", "77${1}"),
        ];
        assert_eq!(numbering.apply(Side::ReceivedCalled, "9030123456").number, "+4930123456");
        assert_eq!(numbering.apply(Side::SentCalled, "+4930123456").number, "7730123456");
        let told = numbering.apply(Side::SentCalled, "+4930123456").steps;
        assert_eq!(
            told,
            ["+4930123456 becomes 030123456: written as national", "030123456 becomes 7730123456: rule r"]
        );
        // An expression matches whole numbers.
        assert_eq!(numbering.apply(Side::SentCalled, "112").number, "112");
    }

    #[test]
    fn hostile_numbers_cost_little_and_change_nothing_unsound() {
        let mut numbering = german();
        numbering.received = Received::AsIs;
        numbering.rules =
            vec![rule(Side::ReceivedCalled, "(a+)+b?", "$1$1$1$1$1$1$1$1$1$1"), rule(Side::ReceivedCaller, ".*", "")];
        let long = "a".repeat(NUMBER_CHARS_MAX);
        for number in [long.as_str(), &long.repeat(1000), "é\u{0}\u{200f}", ""] {
            assert_eq!(numbering.apply(Side::ReceivedCalled, number).number, number);
            assert_eq!(numbering.apply(Side::ReceivedCaller, number).number, number);
        }
        assert_eq!(rule(Side::SentCalled, "(?P<a>1)", "").change.apply("1"), Some("1".into()));
    }
}
