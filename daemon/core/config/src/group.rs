//! Groups: trunks that lead to the same numbers.

use postern_types::TrunkName;
use serde::Serialize;

use crate::reader::{Fields, Reader};

/// Trunks of one group at most: a call may wait for each in turn.
const MEMBERS_MAX: usize = 32;

/// Trunks that lead to the same numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its trunks, each once; never empty.
    pub trunks: Vec<Member>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Which.
    pub trunk: TrunkName,
    /// The lowest is tried first.
    pub priority: u16,
    /// Its share among those of the same priority, as in RFC 2782.
    pub weight: u16,
}

impl Group {
    pub(crate) fn read(r: &mut Reader<'_>, _name: &str, f: &Fields<'_>) -> Option<Self> {
        let items = f.sections(r, "trunks", "groups.*.trunks.*");
        if let Some(item) = items.get(MEMBERS_MAX) {
            r.error(item.span, format!("more than {MEMBERS_MAX} trunks in one group"));
        }
        let mut trunks: Vec<(Member, _)> = Vec::new();
        for item in &items {
            let trunk = item.reference(r, "trunk");
            let (priority, weight) = (item.integer(r, "priority"), item.integer(r, "weight"));
            let (Some(trunk), Some(priority), Some(weight)) = (trunk, priority, weight) else { continue };
            let member = Member { trunk: TrunkName::new(&trunk), priority: priority as u16, weight: weight as u16 };
            let span = item.span_of("trunk");
            if let Some((_, first)) = trunks.iter().find(|(other, _)| other.trunk == member.trunk) {
                r.error(span, format!("`{trunk}` is in this group already")).also(*first, "first");
            }
            trunks.push((member, span));
        }
        if items.is_empty() && f.has("trunks") {
            r.error(f.span_of("trunks"), "a group without trunks").hint("write for example `- {trunk: acme}`");
        }
        let trunks: Vec<Member> = trunks.into_iter().map(|(member, _)| member).collect();
        (!trunks.is_empty()).then_some(Self { trunks })
    }
}
