//! Event packages that are served here, and their documents: what a subscriber is told of a user.
//!
//! | package | document | says |
//! |---|---|---|
//! | `presence` (RFC 3856) | PIDF (RFC 3863) | open with a device or a call, and that a call is on (RFC 4480) |
//! | `dialog` (RFC 4235) | dialog-info | each call: which way, early, confirmed or terminated |
//! | `message-summary` (RFC 3842) | simple-message-summary | how many voice messages wait, to their user alone |
//!
//! Nothing here has a word for who is at the other end of a call.

use std::{io, time::Duration};

use postern_types::watch::{UserCall, UserState};
use quick_xml::{
    Writer,
    events::{BytesDecl, BytesText, Event},
};

/// What Allow-Events says.
pub(crate) const PACKAGES: &str = "presence, dialog, message-summary";
/// The package of what waits in a mailbox, and its document.
pub(crate) const MESSAGE_SUMMARY: &str = "message-summary";
pub(crate) const SUMMARY: &str = "application/simple-message-summary";

/// A package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Package {
    Presence,
    Dialog,
    Messages,
}

impl Package {
    /// By its name, which is compared as written (RFC 6665 8.2.1).
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Presence, Self::Dialog, Self::Messages].into_iter().find(|package| package.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Dialog => "dialog",
            Self::Messages => MESSAGE_SUMMARY,
        }
    }

    /// The type of its document.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Presence => "application/pidf+xml",
            Self::Dialog => "application/dialog-info+xml",
            Self::Messages => SUMMARY,
        }
    }

    /// How far apart what it tells by itself must be: RFC 3856 6.10, RFC 4235 4.10, RFC 3842 3.9.
    pub(crate) fn pause(self) -> Duration {
        match self {
            Self::Presence => Duration::from_secs(5),
            Self::Dialog | Self::Messages => Duration::from_secs(1),
        }
    }

    /// Whether a change of what is to be seen of a user is one for it.
    pub(crate) fn tells(self, before: &UserState, after: &UserState) -> bool {
        match self {
            Self::Presence => Seen::of(before) != Seen::of(after),
            Self::Dialog => before.calls != after.calls,
            Self::Messages => false,
        }
    }
}

/// What presence says.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    open: bool,
    on_the_phone: bool,
}

impl Seen {
    fn of(state: &UserState) -> Self {
        let on_the_phone = !state.calls.is_empty();
        Self { open: state.devices > 0 || on_the_phone, on_the_phone }
    }
}

/// RFC 3863, with RFC 4480's word for a call.
pub(crate) fn presence(entity: &str, state: &UserState) -> Vec<u8> {
    let Seen { open, on_the_phone } = Seen::of(state);
    let root = [
        ("xmlns", "urn:ietf:params:xml:ns:pidf"),
        ("xmlns:dm", "urn:ietf:params:xml:ns:pidf:data-model"),
        ("xmlns:rpid", "urn:ietf:params:xml:ns:pidf:rpid"),
        ("entity", entity),
    ];
    document(|to| {
        to.create_element("presence").with_attributes(root).write_inner_content(|to| {
            to.create_element("tuple").with_attribute(("id", "devices")).write_inner_content(|to| {
                to.create_element("status").write_inner_content(|to| {
                    let basic = BytesText::new(if open { "open" } else { "closed" });
                    to.create_element("basic").write_text_content(basic).map(drop)
                })?;
                Ok(())
            })?;
            if on_the_phone {
                to.create_element("dm:person").with_attribute(("id", "user")).write_inner_content(|to| {
                    to.create_element("rpid:activities")
                        .write_inner_content(|to| to.create_element("rpid:on-the-phone").write_empty().map(drop))?;
                    Ok(())
                })?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

/// RFC 4235: all calls of a user, and those that were told last and are over.
pub(crate) fn dialogs(entity: &str, version: u32, calls: &[UserCall], over: &[UserCall]) -> Vec<u8> {
    let version = version.to_string();
    let root =
        [("xmlns", "urn:ietf:params:xml:ns:dialog-info"), ("version", &version), ("state", "full"), ("entity", entity)];
    let live = calls.iter().map(|call| (call, if call.answered { "confirmed" } else { "early" }));
    let all = live.chain(over.iter().map(|call| (call, "terminated")));
    document(|to| {
        to.create_element("dialog-info").with_attributes(root).write_inner_content(|to| {
            for (call, state) in all {
                let direction = if call.calls { "initiator" } else { "recipient" };
                let named = [("id", call.leg.to_string()), ("direction", direction.into())];
                let named = named.iter().map(|(name, value)| (*name, value.as_str()));
                to.create_element("dialog").with_attributes(named).write_inner_content(|to| {
                    to.create_element("state").write_text_content(BytesText::new(state)).map(drop)
                })?;
            }
            Ok(())
        })?;
        Ok(())
    })
}

fn document(fill: impl FnOnce(&mut Writer<Vec<u8>>) -> io::Result<()>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let written = writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
    written.and_then(|()| fill(&mut writer)).expect("writing to memory does not fail");
    writer.into_inner()
}

#[cfg(test)]
mod tests {
    use postern_types::{CallSid, UserName};

    use super::*;

    const fn call(leg: u128, calls: bool, answered: bool) -> UserCall {
        UserCall { leg: CallSid(leg), calls, answered }
    }

    fn state(devices: u32, calls: Vec<UserCall>) -> UserState {
        UserState { user: UserName::new("bob"), devices, calls }
    }

    #[test]
    fn presence_is_closed_open_or_on_the_phone() {
        let rings = vec![call(1, false, false)];
        for (state, basic, busy) in [
            (state(0, vec![]), "closed", false),
            (state(2, vec![]), "open", false),
            (state(2, rings.clone()), "open", true),
            (state(0, rings), "open", true),
        ] {
            let text = String::from_utf8(presence("sip:bob@192.0.2.1", &state)).unwrap();
            assert!(text.contains(&format!("<basic>{basic}</basic>")), "{text}");
            assert_eq!(text.contains("<rpid:on-the-phone/>"), busy, "{text}");
        }
    }

    #[test]
    fn dialogs_have_a_way_and_a_state_and_an_entity_is_escaped() {
        let calls = [call(1, true, true), call(2, false, false)];
        let text = dialogs("sip:\"a\"&<b>@host", 7, &calls, &[call(3, false, true)]);
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("version=\"7\" state=\"full\" entity=\"sip:&quot;a&quot;&amp;&lt;b&gt;@host\""),
            "{text}"
        );
        let shown: Vec<_> = text.split("<dialog ").skip(1).collect();
        for (shown, want) in shown.iter().zip(["initiator confirmed", "recipient early", "recipient terminated"]) {
            let (direction, state) = want.split_once(' ').unwrap();
            assert!(shown.contains(&format!("direction=\"{direction}\"><state>{state}</state></dialog>")), "{text}");
        }
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn only_what_a_package_says_is_a_change_for_it() {
        let one = state(1, vec![call(1, true, false)]);
        for (after, presence, dialog) in [
            (one.clone(), false, false),
            (state(2, one.calls.clone()), false, false),
            (state(1, vec![call(1, true, true)]), false, true),
            (state(1, vec![]), true, true),
            (state(0, vec![]), true, true),
        ] {
            let tells = [Package::Presence, Package::Dialog].map(|package| package.tells(&one, &after));
            assert_eq!(tells, [presence, dialog], "{after:?}");
        }
    }
}
