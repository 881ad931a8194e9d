//! Replaces (RFC 3891): a request that names another dialog, whose place is to be taken. By INVITE the new call takes it; by REFER with Replaces in
//! Refer-To (RFC 5589 7) the party on its other end.
//!
//! Who may: the party of the named dialog alone, that is the same user, by whatever device, or the same trunk, and only where `refer` lets it transfer.
//! For all others there is no such dialog (481): whether it exists is nobody else's business.
//!
//! Left out: a dialog in which our answer is still open (a caller that was not answered), as RFC 3891 3 has it; Join (RFC 3911).

use std::borrow::Cow;

use postern_config::Refer;
use postern_sip::{Headers, Name, uri::unescape};
use postern_types::{CallSid, TrunkName, UserName};

use crate::{
    Signaling,
    side::{State, Tag},
};

/// Longest value that is looked at: a Call-ID and two tags of the most verbose need a third of it.
const VALUE_MAX: usize = 1024;

/// What names the dialog, by RFC 3891 6.1, seen from us: `to` is our tag.
#[derive(Debug, PartialEq, Eq)]
struct Replaces<'a> {
    call_id: &'a str,
    to: &'a str,
    from: &'a str,
    early_only: bool,
}

impl<'a> Replaces<'a> {
    /// None for what does not read: a tag that is missing or there twice, no Call-ID.
    fn read(value: &'a str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().filter(|call_id| !call_id.is_empty() && value.len() <= VALUE_MAX)?;
        let (mut to, mut from, mut early_only) = (None, None, false);
        for part in parts {
            let (name, value) = part.split_once('=').map_or((part, ""), |(name, value)| (name.trim(), value.trim()));
            let place = match name {
                name if name.eq_ignore_ascii_case("to-tag") => &mut to,
                name if name.eq_ignore_ascii_case("from-tag") => &mut from,
                name => {
                    early_only |= name.eq_ignore_ascii_case("early-only");
                    continue;
                }
            };
            if value.is_empty() || place.replace(value).is_some() {
                return None;
            }
        }
        Some(Self { call_id, to: to?, from: from?, early_only })
    }
}

/// Who wants a dialog replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimant<'a> {
    Trunk(&'a TrunkName),
    User(&'a UserName),
    /// A called address, which owns no other dialog.
    Nobody,
}

impl Signaling {
    /// Whom a side belongs to.
    pub(crate) fn claimant(&self, tag: Tag) -> Claimant<'_> {
        let Some(side) = self.sides.get(&tag) else { return Claimant::Nobody };
        match (&side.user, side.leg.and_then(|leg| self.legs.trunk_of(leg))) {
            (Some(user), _) => Claimant::User(user),
            (None, Some(trunk)) => Claimant::Trunk(trunk),
            (None, None) => Claimant::Nobody,
        }
    }

    /// The leg that a value names; else the status to refuse with.
    pub(crate) fn replaced(&self, value: &str, claimant: Claimant<'_>) -> Result<CallSid, u16> {
        let named = Replaces::read(value).ok_or(400_u16)?;
        let tag = Tag::read(named.to).ok_or(481_u16)?;
        let side = self.sides.get(&tag).ok_or(481_u16)?;
        // RFC 3891 3: a dialog of RFC 2543 has the tag "0" here.
        let is_it = |dialog: &postern_sip::dialog::Dialog| {
            let id = dialog.id();
            *id.call_id == *named.call_id
                && (*id.remote_tag == *named.from || id.remote_tag.is_empty() && named.from == "0")
        };
        let is_up = match &side.state {
            State::Up(session) if is_it(&session.dialog) => true,
            State::Calling(calling) if calling.earlies.iter().any(|early| is_it(&early.dialog)) => false,
            State::Up(_) | State::Calling(_) | State::Offered(_) => return Err(481),
        };
        let leg = side.leg.ok_or(481_u16)?;
        if claimant == Claimant::Nobody || self.claimant(tag) != claimant {
            return Err(481);
        }
        // RFC 3891 3: it was answered meanwhile.
        if is_up && named.early_only { Err(486) } else { Ok(leg) }
    }

    /// The leg whose place an INVITE wants; none when it wants no other's. From who may not transfer the header is as unknown as its option tag.
    pub(crate) fn replaced_by(
        &self,
        headers: &Headers,
        claimant: Claimant<'_>,
        refer: Refer,
    ) -> Result<Option<CallSid>, u16> {
        if refer == Refer::Refuse {
            return Ok(None);
        }
        match invited(headers)? {
            Some(value) => self.replaced(value, claimant).map(Some),
            None => Ok(None),
        }
    }
}

/// The value of an INVITE's Replaces; 400 for two of them.
fn invited(headers: &Headers) -> Result<Option<&str>, u16> {
    let mut all = headers.all(Name::Replaces);
    match (all.next(), all.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(400),
    }
}

/// The Replaces of a Refer-To, unescaped; an error: there are two.
pub(crate) fn referred<'a>(uri: &'a postern_sip::Uri<'_>) -> Result<Option<Cow<'a, str>>, u16> {
    let mut all = uri.headers().filter(|(name, _)| Name::of(name) == Name::Replaces);
    match (all.next(), all.next()) {
        (found, None) => Ok(found.map(|(_, value)| unescape(value.unwrap_or("")))),
        (_, Some(_)) => Err(400),
    }
}

/// What a peer's INVITE says, for the fuzzer.
pub(crate) fn fuzz(headers: &Headers) {
    if let Some(named) = invited(headers).ok().flatten().and_then(Replaces::read) {
        assert!(!named.to.is_empty() && !named.from.is_empty(), "a dialog without tags");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_value_says() {
        let read = |value| Replaces::read(value).map(|r| (r.call_id, r.to, r.from, r.early_only));
        for (value, want) in [
            ("a@b;to-tag=1;from-tag=2", Some(("a@b", "1", "2", false))),
            (" a@b ; From-Tag = 2 ;x;early-only; TO-TAG=1", Some(("a@b", "1", "2", true))),
            ("a@b;to-tag=1;from-tag=2;early-only=x", Some(("a@b", "1", "2", true))),
            ("", None),
            (";to-tag=1;from-tag=2", None),
            ("a@b;to-tag=1", None),
            ("a@b;to-tag=1;from-tag=", None),
            ("a@b;to-tag=1;to-tag=1;from-tag=2", None),
        ] {
            assert_eq!(read(value), want, "{value}");
        }
        assert_eq!(read(&format!("{};to-tag=1;from-tag=2", "a".repeat(VALUE_MAX))), None);
    }
}
