//! Who may speak to us at all, how fast, and what becomes of whoever misbehaves.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use serde::Serialize;

use crate::{
    reader::{Fields, Reader},
    trunk::Prefix,
    value, write,
};

/// `protection:` what holds for every source that is no trunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Protection {
    /// SIP messages a second that one source may send for long.
    pub rate: u32,
    /// How many it may send at once after a rest.
    pub burst: u32,
    /// Whether sources are banned at all.
    pub bans: bool,
    /// How long a first ban lasts; each further one twice as long.
    #[serde(serialize_with = "write::duration")]
    pub ban: Duration,
    /// How long a ban lasts at most; whoever behaved for as long has a first one again.
    #[serde(serialize_with = "write::duration")]
    pub ban_max: Duration,
    /// Sources that are neither held up nor banned.
    pub trusted: Vec<Prefix>,
}

/// `allow` and `deny` of a realm: the longest prefix that a source lies in decides, `deny` among equals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Who may come in. None at all: everybody who is not denied.
    pub allow: Vec<Prefix>,
    /// Who may not.
    pub deny: Vec<Prefix>,
}

/// An [`Access`] to be asked for each message: a look-up for each length of prefix that occurs, however many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessTable {
    allowed: HashMap<Prefix, bool>,
    /// Lengths that occur, the longest first; of IPv4 and IPv6.
    lengths: [Vec<u8>; 2],
    /// What holds for a source in no prefix.
    otherwise: bool,
}

impl Protection {
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Option<Self> {
        let (rate, burst, bans) = (f.integer(r, "rate"), f.integer(r, "burst"), f.flag(r, "bans"));
        let (ban, ban_max) = (f.duration(r, "ban"), f.duration(r, "ban_max"));
        let trusted = f.prefixes(r, "trusted").into_iter().map(|(prefix, _)| prefix).collect();
        let (ban, ban_max) = (ban?, ban_max?);
        if ban > ban_max {
            let (first, most) = (value::duration_text(ban), value::duration_text(ban_max));
            r.error(f.span_of("ban"), format!("`ban` is {first}, more than `ban_max`, which is {most}"))
                .hint("make `ban_max` longer, or `ban` shorter");
            return None;
        }
        Some(Self { rate: rate? as u32, burst: burst? as u32, bans: bans?, ban, ban_max, trusted })
    }
}

impl Access {
    /// `allow` and `deny` of the realm `f`.
    pub(crate) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Self {
        let (allow, deny) = (f.prefixes(r, "allow"), f.prefixes(r, "deny"));
        for (prefix, span) in &deny {
            if let Some((_, first)) = allow.iter().find(|(other, _)| other == prefix) {
                r.error(*span, format!("{prefix} is both allowed and denied"))
                    .hint("keep one of the two: the longest prefix decides")
                    .also(*first, "allowed");
            }
        }
        let only = |list: Vec<(Prefix, _)>| list.into_iter().map(|(prefix, _)| prefix).collect();
        Self { allow: only(allow), deny: only(deny) }
    }

    /// For look-ups.
    pub fn table(&self) -> AccessTable {
        let mut allowed: HashMap<Prefix, bool> = self.allow.iter().map(|prefix| (*prefix, true)).collect();
        allowed.extend(self.deny.iter().map(|prefix| (*prefix, false)));
        let lengths = [false, true].map(|ipv6| {
            let of = allowed.keys().filter(|prefix| prefix.address.is_ipv6() == ipv6).map(|prefix| prefix.length);
            of.collect::<BTreeSet<_>>().into_iter().rev().collect()
        });
        AccessTable { allowed, lengths, otherwise: self.allow.is_empty() }
    }
}

impl AccessTable {
    /// Whether a source may come in.
    pub fn admits(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        let lengths = self.lengths[usize::from(source.is_ipv6())].iter();
        let decided = lengths.filter_map(|&length| self.allowed.get(&Prefix::around(source, length)));
        decided.copied().next().unwrap_or(self.otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides_and_a_list_of_who_may_shuts_out_the_rest() {
        let prefixes = |texts: &[&str]| texts.iter().map(|text| value::prefix(text).ok().unwrap()).collect();
        let table = |allow: &[&str], deny: &[&str]| Access { allow: prefixes(allow), deny: prefixes(deny) }.table();
        let open = table(&[], &[]);
        let shut = table(&[], &["203.0.113.0/24", "2001:db8::/32"]);
        let office = table(&["10.0.0.0/8", "203.0.113.7", "::/0"], &["10.9.0.0/16", "2001:db8::/32"]);
        for (table, source, admitted) in [
            (&open, "203.0.113.9", true),
            (&open, "2001:db8::1", true),
            (&shut, "203.0.113.9", false),
            (&shut, "::ffff:203.0.113.9", false),
            (&shut, "203.0.112.9", true),
            (&shut, "2001:db8::1", false),
            (&shut, "2001:db9::1", true),
            (&office, "10.1.2.3", true),
            (&office, "10.9.2.3", false),
            (&office, "203.0.113.7", true),
            (&office, "203.0.113.8", false),
            (&office, "2001:db8::1", false),
            (&office, "2001:db9::1", true),
        ] {
            assert_eq!(table.admits(source.parse().unwrap()), admitted, "{source}");
        }
    }
}
