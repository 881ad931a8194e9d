//! Header rules: what is taken out of a trunk's messages, put into them or changed, on the way in and on the way out.
//!
//! Rules see headers as they are on that side, and nothing of the other side of a call. What a dialog, a transaction or a body stands on is not
//! theirs to change: such a rule is refused when the file is read.

use serde::Serialize;

use crate::{
    expression::Expression,
    reader::{Fields, Reader},
};

/// Rules of one set at most: each is tried with each message.
const RULES_MAX: usize = 100;
/// Bytes of a value at most, before and after a rule; a longer one stays as it is.
const HEADER_VALUE_MAX: usize = 1024;
/// Bytes of a header's name at most.
const NAME_MAX: usize = 64;

/// Headers that hold dialogs, transactions, bodies and what was agreed together.
const KEPT: [&str; 29] = [
    "allow-events",
    "call-id",
    "contact",
    "content-disposition",
    "content-encoding",
    "content-length",
    "content-type",
    "cseq",
    "event",
    "expires",
    "from",
    "max-forwards",
    "min-expires",
    "min-se",
    "path",
    "proxy-require",
    "rack",
    "record-route",
    "refer-to",
    "replaces",
    "require",
    "route",
    "rseq",
    "service-route",
    "session-expires",
    "subscription-state",
    "to",
    "unsupported",
    "via",
];
/// Headers that prove who somebody is: neither changed nor copied to where others read them.
const CREDENTIALS: [&str; 6] = [
    "authentication-info",
    "authorization",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "www-authenticate",
];

/// Rules of one trunk, in their order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HeaderRules {
    /// Each sees what the ones before it made.
    pub rules: Vec<HeaderRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeaderRule {
    /// As `postern explain` and `postern route` name it.
    pub name: String,
    /// In which messages.
    #[serde(rename = "for")]
    pub sides: Vec<HeaderSide>,
    /// Of which methods; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<HeaderMethod>,
    /// Which header, by its long name.
    pub header: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub change: HeaderChange,
}

/// Which messages, by their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderSide {
    /// Requests of the trunk.
    ReceivedRequest,
    /// Its responses.
    ReceivedResponse,
    /// Our requests to it.
    SentRequest,
    /// Our responses.
    SentResponse,
}

/// A method whose messages rules may change; of a response, that of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "they are called what they are")]
pub enum HeaderMethod {
    Invite,
    Ack,
    Bye,
    Update,
    Prack,
    Info,
    Message,
    Refer,
    Notify,
    Options,
    Register,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum HeaderChange {
    /// One more with this value.
    Add {
        /// It.
        add: String,
    },
    /// One with this value, in place of those that are there.
    Set {
        /// It.
        set: String,
    },
    /// Those are taken out.
    Remove {
        /// Always true.
        remove: bool,
        /// Only those whose whole value it matches.
        #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
        expression: Option<Expression>,
    },
    /// Its value is that of another header of the same message, in place of those that are there; when that one is not there, or is not
    /// matched, nothing is changed.
    Copy {
        /// Which other.
        copy: String,
        /// What must match, and what is made of it.
        #[serde(flatten)]
        replace: Option<HeaderReplace>,
    },
    /// Each whose whole value is matched becomes what that says.
    Replace(HeaderReplace),
}

/// An expression and what it makes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeaderReplace {
    /// Must match the whole value.
    #[serde(rename = "match")]
    pub expression: Expression,
    /// `$1` is what the first group matched.
    pub replace: String,
}

/// One header of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// Its long name.
    pub name: String,
    /// Its value, on one line.
    pub value: String,
}

impl HeaderRules {
    /// The rules for a message, by its way and method.
    pub fn of<'r>(&'r self, side: HeaderSide, method: &str) -> impl Iterator<Item = &'r HeaderRule> {
        let method = HeaderMethod::ALL.into_iter().find(|known| known.as_str() == method);
        self.rules.iter().filter(move |rule| {
            let by_method = || method.is_some_and(|method| rule.methods.contains(&method));
            rule.sides.contains(&side) && (rule.methods.is_empty() || by_method())
        })
    }

    /// Changes a message's headers, of which there are `fields_max` at most. The names of the rules that changed something.
    pub fn apply(&self, side: HeaderSide, method: &str, fields: &mut Vec<HeaderField>, fields_max: usize) -> Vec<&str> {
        self.of(side, method).filter(|rule| rule.apply(fields, fields_max)).map(|rule| rule.name.as_str()).collect()
    }

    pub(crate) fn read(r: &mut Reader<'_>, _: &str, f: &Fields<'_>) -> Option<Self> {
        let items = f.sections(r, "rules", "headers.*.rules.*");
        if let Some(item) = items.get(RULES_MAX) {
            r.error(item.span, format!("more than {RULES_MAX} rules"))
                .hint("one expression may say what several rules do");
        }
        Some(Self { rules: items.iter().filter_map(|item| HeaderRule::read(r, item)).collect() })
    }
}

impl HeaderRule {
    /// Whether it changed something.
    fn apply(&self, fields: &mut Vec<HeaderField>, fields_max: usize) -> bool {
        let is_it = |field: &HeaderField| field.name.eq_ignore_ascii_case(&self.header);
        match &self.change {
            HeaderChange::Add { add } => self.push(fields, fields_max, add),
            HeaderChange::Set { set } => self.set(fields, fields_max, set),
            HeaderChange::Remove { expression, .. } => {
                let before = fields.len();
                let goes = |field: &HeaderField| expression.as_ref().is_none_or(|known| known.is_match(&field.value));
                fields.retain(|field| !(is_it(field) && goes(field)));
                fields.len() != before
            }
            HeaderChange::Copy { copy, replace } => {
                let from = fields.iter().find(|field| field.name.eq_ignore_ascii_case(copy));
                let Some(from) = from.filter(|from| from.value.len() <= HEADER_VALUE_MAX) else { return false };
                let value = match replace {
                    Some(replace) => replace.of(&from.value),
                    None => Some(from.value.clone()),
                };
                value.is_some_and(|value| self.set(fields, fields_max, &value))
            }
            HeaderChange::Replace(replace) => {
                let mut changed = false;
                for field in fields.iter_mut().filter(|field| is_it(field)) {
                    if let Some(value) = replace.of(&field.value).filter(|value| *value != field.value) {
                        (field.value, changed) = (value, true);
                    }
                }
                changed
            }
        }
    }

    fn push(&self, fields: &mut Vec<HeaderField>, fields_max: usize, value: &str) -> bool {
        let has_room = fields.len() < fields_max;
        if has_room {
            fields.push(HeaderField { name: self.header.clone(), value: value.to_owned() });
        }
        has_room
    }

    fn set(&self, fields: &mut Vec<HeaderField>, fields_max: usize, value: &str) -> bool {
        let is_it = |field: &HeaderField| field.name.eq_ignore_ascii_case(&self.header);
        let Some(at) = fields.iter().position(is_it) else { return self.push(fields, fields_max, value) };
        let before = fields.len();
        let mut index = 0;
        fields.retain(|field| {
            index += 1;
            index - 1 == at || !is_it(field)
        });
        let changed = fields.len() != before || fields[at].value != value;
        value.clone_into(&mut fields[at].value);
        changed
    }

    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (name, sides) = (f.name(r, "name"), f.choices(r, "for", &HeaderSide::ALL));
        let methods = f.choices(r, "methods", &HeaderMethod::ALL);
        let header = header_name(r, f, "header", &KEPT);
        let change = HeaderChange::read(r, f)?;
        Some(Self { name: name?, sides, methods, header: header?, change })
    }
}

impl HeaderChange {
    fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let verbs: Vec<_> = ["add", "set", "remove", "copy"].into_iter().filter(|verb| f.has(verb)).collect();
        if let [first, second, ..] = verbs[..] {
            r.error(f.span_of(second), format!("`{second}` beside `{first}`")).hint("make two rules of it");
            return None;
        }
        let (matches, replaces) = (f.has("match"), f.has("replace"));
        let verb = verbs.first().copied();
        let misplaced = match verb {
            Some("add" | "set") if matches => Some("match"),
            Some("add" | "set" | "remove") if replaces => Some("replace"),
            _ if replaces && !matches => {
                r.error(f.span_of("replace"), "`replace` without `match`")
                    .hint("write what is to be replaced: `match: '.*'`");
                return None;
            }
            _ => None,
        };
        if let (Some(key), Some(verb)) = (misplaced, verb) {
            r.error(f.span_of(key), format!("`{key}` beside `{verb}`"))
                .hint("`match` and `replace` change what is there, or what `copy` takes; `match` alone says what `remove` takes");
            return None;
        }
        let replace = |r: &mut Reader<'_>| {
            let (expression, replace) =
                Expression::read(r, f, "what the value becomes, for example `<sip:$1@carrier.example>`")?;
            Some(HeaderReplace { expression, replace })
        };
        match verb {
            Some("add") => f.text(r, "add").map(|add| Self::Add { add }),
            Some("set") => f.text(r, "set").map(|set| Self::Set { set }),
            Some("remove") => {
                if f.flag(r, "remove")? {
                    let expression = if matches { Some(Expression::read_match(r, f)?) } else { None };
                    return Some(Self::Remove { remove: true, expression });
                }
                r.error(f.span_of("remove"), "a rule that removes nothing")
                    .hint("write `remove: true`, or leave the rule out");
                None
            }
            Some(_) => {
                let copy = header_name(r, f, "copy", &[])?;
                let replace = if matches { Some(replace(r)?) } else { None };
                Some(Self::Copy { copy, replace })
            }
            None if matches => replace(r).map(Self::Replace),
            None => {
                r.error(f.span, "this rule says nothing to do")
                    .hint("write `add`, `set`, `remove: true` or `copy`, or `match` and `replace`");
                None
            }
        }
    }
}

impl HeaderReplace {
    /// What a value becomes. None: it is not matched, or it would be empty or longer than `HEADER_VALUE_MAX`.
    fn of(&self, value: &str) -> Option<String> {
        let value = Some(value).filter(|value| value.len() <= HEADER_VALUE_MAX)?;
        let changed = self.expression.expand(value, &self.replace)?;
        (!changed.trim().is_empty() && changed.len() <= HEADER_VALUE_MAX).then_some(changed)
    }
}

/// A header's name, unless it is one of `kept` or holds credentials.
fn header_name(r: &mut Reader<'_>, f: &Fields<'_>, key: &str, kept: &[&str]) -> Option<String> {
    let name = f.text(r, key)?;
    let span = f.span_of(key);
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    if name.len() > NAME_MAX || !name.chars().all(is_token) {
        r.error(span, "not the name of a header").hint("write it without colon, for example `X-Account`");
        return None;
    }
    // RFC 3261 7.3.3: one letter is the short form of a name.
    if name.len() == 1 {
        r.error(span, "a short form").hint("write the long name: it stands for both");
        return None;
    }
    let lower = name.to_ascii_lowercase();
    if CREDENTIALS.contains(&lower.as_str()) {
        r.error(span, format!("`{name}` proves who somebody is: no rule may touch it"))
            .hint("`credentials` and `demands` of the trunk are for passwords");
        return None;
    }
    if kept.contains(&lower.as_str()) {
        let hint = match lower.as_str() {
            "from" | "to" => "`numbering` changes its number, `trusted` says who is told of the caller",
            "contact" | "via" => "`advertised` of the realm says our address",
            "session-expires" | "min-se" => "`session_timer` of the trunk is for that",
            "require" | "rseq" | "rack" => "`rel100` and `session_timer` of the trunk are for that",
            _ => "rules are for what informs: `User-Agent`, `Reason`, `P-...`, `X-...`",
        };
        r.error(span, format!("`{name}` holds calls together: no rule may change it")).hint(hint);
        return None;
    }
    Some(name)
}

impl HeaderSide {
    const ALL: [Self; 4] = [Self::ReceivedRequest, Self::ReceivedResponse, Self::SentRequest, Self::SentResponse];
}

impl HeaderMethod {
    const ALL: [Self; 11] = [
        Self::Invite,
        Self::Ack,
        Self::Bye,
        Self::Update,
        Self::Prack,
        Self::Info,
        Self::Message,
        Self::Refer,
        Self::Notify,
        Self::Options,
        Self::Register,
    ];

    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        crate::table::HEADER_METHODS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(header: &str, change: HeaderChange) -> HeaderRule {
        HeaderRule {
            name: "r".into(),
            sides: vec![HeaderSide::SentRequest],
            methods: vec![],
            header: header.into(),
            change,
        }
    }

    fn replace(expression: &str, replace: &str) -> HeaderReplace {
        HeaderReplace { expression: Expression::new(expression).unwrap(), replace: replace.into() }
    }

    fn changed(change: HeaderChange, header: &str, fields: &[(&str, &str)]) -> Vec<String> {
        let rules = HeaderRules { rules: vec![rule(header, change)] };
        let mut all: Vec<_> =
            fields.iter().map(|(name, value)| HeaderField { name: (*name).into(), value: (*value).into() }).collect();
        let before = all.clone();
        let told = rules.apply(HeaderSide::SentRequest, "INVITE", &mut all, 4);
        assert_eq!(told.is_empty(), before == all, "it tells whether it changed something");
        all.into_iter().map(|field| format!("{}: {}", field.name, field.value)).collect()
    }

    #[test]
    fn each_verb_changes_what_it_names_and_nothing_else() {
        let there = [("Subject", "a"), ("X-A", "1"), ("x-a", "22"), ("To", "<sip:5@h>")];
        let three = &there[..3];
        let set = |value: &str| HeaderChange::Set { set: value.into() };
        let remove = |expression: Option<&str>| HeaderChange::Remove {
            remove: true,
            expression: expression.map(|text| Expression::new(text).unwrap()),
        };
        let copy = |from: &str, replace| HeaderChange::Copy { copy: from.into(), replace };
        for (change, header, fields, wanted) in [
            (HeaderChange::Add { add: "3".into() }, "X-A", three, &["Subject: a", "X-A: 1", "x-a: 22", "X-A: 3"][..]),
            (set("9"), "x-A", &there[..], &["Subject: a", "X-A: 9", "To: <sip:5@h>"]),
            (set("9"), "X-B", three, &["Subject: a", "X-A: 1", "x-a: 22", "X-B: 9"]),
            (remove(None), "X-A", three, &["Subject: a"]),
            (remove(Some("2+")), "X-A", three, &["Subject: a", "X-A: 1"]),
            (remove(Some("2")), "X-A", three, &["Subject: a", "X-A: 1", "x-a: 22"]),
            (HeaderChange::Replace(replace("(2)2", "<$1>")), "X-A", three, &["Subject: a", "X-A: 1", "x-a: <2>"]),
            (
                copy("to", Some(replace("<sip:(.*)@.*>", "$1"))),
                "Subject",
                &there[3..],
                &["To: <sip:5@h>", "Subject: 5"],
            ),
            (copy("X-A", None), "Subject", three, &["Subject: 1", "X-A: 1", "x-a: 22"]),
            // What is not there, or is not matched, changes nothing.
            (copy("X-B", None), "Subject", three, &["Subject: a", "X-A: 1", "x-a: 22"]),
            (copy("X-A", Some(replace("2", "x"))), "Subject", three, &["Subject: a", "X-A: 1", "x-a: 22"]),
            // No message grows beyond what it may have.
            (
                HeaderChange::Add { add: "3".into() },
                "X-A",
                &there[..],
                &["Subject: a", "X-A: 1", "x-a: 22", "To: <sip:5@h>"],
            ),
        ] {
            assert_eq!(changed(change, header, fields), wanted);
        }
    }

    #[test]
    fn hostile_values_stay_as_they_are() {
        let long = "a".repeat(HEADER_VALUE_MAX + 1);
        for (expression, with, value) in [
            ("(a+)+b?", "x", long.as_str()),
            (".*", "$0$0", &long[..HEADER_VALUE_MAX]),
            ("(.*)x", "$1", "x"),
            (".*", " ", "x"),
        ] {
            let told = changed(HeaderChange::Replace(replace(expression, with)), "X-A", &[("X-A", value)]);
            assert_eq!(told, [format!("X-A: {value}")]);
        }
    }

    #[test]
    fn a_rule_is_for_its_messages_alone() {
        let mut one = rule("X-A", HeaderChange::Add { add: "1".into() });
        one.methods = vec![HeaderMethod::Invite, HeaderMethod::Bye];
        let rules = HeaderRules { rules: vec![one, rule("X-B", HeaderChange::Add { add: "1".into() })] };
        for (side, method, held) in [
            (HeaderSide::SentRequest, "INVITE", 2),
            (HeaderSide::SentRequest, "BYE", 2),
            (HeaderSide::SentRequest, "OPTIONS", 1),
            (HeaderSide::SentRequest, "FOO", 1),
            (HeaderSide::SentResponse, "INVITE", 0),
            (HeaderSide::ReceivedRequest, "INVITE", 0),
        ] {
            assert_eq!(rules.of(side, method).count(), held, "{side:?} {method}");
        }
        assert_eq!(HeaderMethod::ALL.map(HeaderMethod::as_str), crate::table::HEADER_METHODS);
    }
}
