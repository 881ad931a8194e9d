//! Message waiting (RFC 3842): how many voice messages wait for a user. Somebody else has them: a voice mail that says so by the API, or a PBX or carrier by a
//! NOTIFY, where its trunk is configured to be believed. The user's own phones are told, by subscription (`subscriptions`).
//!
//! Left out: what is no voice message, single messages' headers, and asking a trunk by a subscription of ours.

use std::{collections::BTreeMap, time::Instant};

use postern_facts::{MessagesWaiting, Subject};
use postern_sip::{Name, Request, ResponseBuilder, transaction::ServerKey};
use postern_types::{
    Now, TrunkName, UserName,
    mailbox::{Mailbox, Waiting},
};

use crate::{
    Output, Signaling,
    headers::PRODUCT,
    registering,
    side::Tag,
    subscriptions::{self, MESSAGE_SUMMARY, SUMMARY},
};

/// Those of all users for whom something waits: the caller only tells of configured users, so that it is no larger than the configuration.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes {
    of: BTreeMap<UserName, Waiting>,
}

impl Mailboxes {
    pub(crate) fn of(&self, user: &UserName) -> Waiting {
        self.of.get(user).copied().unwrap_or_default()
    }

    /// Whether that is news.
    fn set(&mut self, user: &UserName, waiting: Waiting) -> bool {
        let before = self.of(user);
        if waiting == Waiting::default() {
            self.of.remove(user);
        } else {
            self.of.insert(user.clone(), waiting);
        }
        before != waiting
    }
}

impl Signaling {
    /// How many messages wait for a user.
    pub fn waiting(&self, user: &UserName) -> Waiting {
        self.mailboxes.of(user)
    }

    /// So many wait from now on, as somebody says. False: there is no such user.
    pub fn set_waiting(&mut self, now: Now, user: &UserName, waiting: Waiting, by: &str) -> bool {
        let known = self.places.config.users.contains_key(user);
        if known {
            self.waits(now.instant, user, waiting, Subject::default(), by);
        }
        self.run(now);
        known
    }

    /// Takes what [`Output::Mailbox`] gave before a restart. What is of a user that is gone is forgotten.
    pub fn restore_mailboxes(&mut self, mailboxes: Vec<Mailbox>) {
        for Mailbox { user, waiting } in mailboxes {
            if self.places.config.users.contains_key(&user) {
                self.mailboxes.set(&user, waiting);
            } else {
                self.outputs.push_back(Output::Mailbox(Mailbox { user, waiting: Waiting::default() }));
            }
        }
    }

    /// Another configuration: users that are gone have no mailbox.
    pub(crate) fn look_at_mailboxes(&mut self) {
        let users = &self.places.config.users;
        let gone: Vec<_> = self.mailboxes.of.keys().filter(|user| !users.contains_key(*user)).cloned().collect();
        for user in gone {
            self.mailboxes.of.remove(&user);
            self.outputs.push_back(Output::Mailbox(Mailbox { user, waiting: Waiting::default() }));
        }
    }

    fn waits(&mut self, now: Instant, user: &UserName, waiting: Waiting, subject: Subject, by: &str) {
        if !self.mailboxes.set(user, waiting) {
            return;
        }
        self.outputs.push_back(Output::Mailbox(Mailbox { user: user.clone(), waiting }));
        let (new, old, by) = (waiting.new, waiting.old, by.to_owned());
        self.fact(Subject { user: Some(user.clone()), ..subject }, MessagesWaiting { new, old, by });
        self.mailbox_changed(now, user);
    }

    /// A NOTIFY outside of any dialog, from a trunk: that messages wait for a user of ours, where it is believed.
    pub(crate) fn on_notice(&mut self, now: Instant, key: ServerKey, request: &Request, trunk: &TrunkName, tag: Tag) {
        let config = self.places.config.clone();
        if !config.trunks.get(trunk).is_some_and(|trunk| trunk.message_waiting) {
            // RFC 6665 4.1.3: nobody asked for it.
            return self.reply(now, key, request, 481, tag);
        }
        if request.headers.event().is_none_or(|event| event.package != MESSAGE_SUMMARY) {
            return self.refuse_subscription(now, key, request, (489, MESSAGE_SUMMARY), tag);
        }
        let Some(user) = subscriptions::called(&config, &registering::called(&config, trunk, request)) else {
            return self.reply(now, key, request, 404, tag);
        };
        if !request.body.is_empty() {
            if !request.headers.is_content(SUMMARY) {
                let text = tag.to_string();
                let response = ResponseBuilder::to(request, 415).to_tag(&text).header(Name::Accept, SUMMARY);
                return self.respond(now, key, &response.header(Name::Server, PRODUCT).build());
            }
            let Some(waiting) = read(&request.body) else { return self.reply(now, key, request, 400, tag) };
            let subject = Subject { trunk: Some(trunk.clone()), ..Subject::default() };
            self.waits(now, &user, waiting, subject, &format!("trunk {trunk}"));
        }
        self.reply(now, key, request, 200, tag);
    }
}

/// A summary as it is sent.
pub(crate) fn written(account: &str, waiting: Waiting) -> Vec<u8> {
    let Waiting { new, old, new_urgent, old_urgent } = waiting;
    let any = if new > 0 { "yes" } else { "no" };
    format!(
        "Messages-Waiting: {any}\r\nMessage-Account: {account}\r\nVoice-Message: {new}/{old} ({new_urgent}/{old_urgent})\r\n"
    )
    .into_bytes()
}

/// The voice messages of a summary (RFC 3842 5.2); none for what is no summary. A word that some wait, without how many, is one.
pub(crate) fn read(body: &[u8]) -> Option<Waiting> {
    let mut lines = std::str::from_utf8(body).ok()?.lines().filter_map(|line| line.split_once(':'));
    let (name, any) = lines.next()?;
    let any = match any.trim() {
        _ if !name.trim().eq_ignore_ascii_case("Messages-Waiting") => return None,
        any if any.eq_ignore_ascii_case("yes") => true,
        any if any.eq_ignore_ascii_case("no") => false,
        _ => return None,
    };
    let Some((_, counts)) = lines.find(|(name, _)| name.trim().eq_ignore_ascii_case("Voice-Message")) else {
        return Some(Waiting { new: any.into(), ..Waiting::default() });
    };
    let (all, urgent) = match counts.trim().split_once('(') {
        Some((all, urgent)) => (all, urgent.trim_end().strip_suffix(')')?),
        None => (counts.trim(), "0/0"),
    };
    let pair = |text: &str| {
        let (new, old) = text.split_once('/')?;
        Some((new.trim().parse().ok()?, old.trim().parse().ok()?))
    };
    let ((new, old), (new_urgent, old_urgent)) = (pair(all)?, pair(urgent)?);
    Some(Waiting { new, old, new_urgent, old_urgent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_as_it_is_written_and_nonsense_is_none() {
        let waiting = |new, old, new_urgent, old_urgent| Waiting { new, old, new_urgent, old_urgent };
        for (body, want) in [
            (
                "Messages-Waiting: yes\r\nMessage-Account: sip:a@b\r\nVoice-Message: 2/8 (0/2)\r\n",
                Some(waiting(2, 8, 0, 2)),
            ),
            ("messages-waiting:no\nvoice-message : 0/3", Some(waiting(0, 3, 0, 0))),
            ("Messages-Waiting: yes\r\nFax-Message: 4/8\r\n", Some(waiting(1, 0, 0, 0))),
            ("Messages-Waiting: no\r\n", Some(waiting(0, 0, 0, 0))),
            ("", None),
            ("Messages-Waiting: maybe", None),
            ("Voice-Message: 1/1\r\nMessages-Waiting: yes", None),
            ("Messages-Waiting: yes\r\nVoice-Message: 1", None),
            ("Messages-Waiting: yes\r\nVoice-Message: 1/1 (1/1", None),
            ("Messages-Waiting: yes\r\nVoice-Message: -1/4294967296", None),
        ] {
            assert_eq!(read(body.as_bytes()), want, "{body:?}");
            if let Some(waiting) = want {
                assert_eq!(read(&written("sip:a@b", waiting)), want);
            }
        }
        assert_eq!(read(b"\xff"), None);
    }
}
