//! What the REST API asks of conferences.

use std::path::Path;

use postern_document::{ConferenceEvent, ConferenceNoun, Dial, Noun, PARTICIPANTS_MAX, Program, Verb};
use postern_facts as facts;
use postern_types::{AccountSid, CallSid, ConferenceSid, Now};

use super::{Conference, Participant, Sounds, State, Why, check_room, open, with};
use crate::{
    context::Context,
    originate::bad,
    output::PromptSource,
    rest::{ChangeParticipant, ConferenceRecord, ParticipantRecord, RestError},
};

impl Conference {
    pub(super) fn record(&self) -> ConferenceRecord {
        ConferenceRecord {
            sid: self.sid,
            account: self.account,
            name: self.name.clone(),
            created: self.created.wall,
            updated: self.updated,
            status: match self.state {
                State::Init => "init",
                State::InProgress => "in-progress",
                State::Completed => "completed",
            },
            reason_ended: None,
            ended_by: None,
        }
    }

    fn record_of(&self, of: &Participant, status: &'static str) -> ParticipantRecord {
        ParticipantRecord {
            conference: self.sid,
            call: of.leg,
            label: of.label.clone(),
            muted: of.muted,
            held: of.held,
            coaches: of.coaches,
            start_on_enter: of.start_on_enter,
            end_on_exit: of.end_on_exit,
            created: of.created.wall,
            updated: of.updated,
            status,
        }
    }

    /// The leg of a participant, by its sid or its label.
    fn who(&self, who: &str) -> Option<CallSid> {
        let sid = who.parse::<CallSid>().ok();
        let is_meant = |of: &&Participant| Some(of.leg) == sid || of.label.as_deref() == Some(who);
        self.participants.iter().find(is_meant).map(|of| of.leg)
    }

    fn change(&mut self, cx: &mut Context, now: Now, leg: CallSid, change: ChangeParticipant) {
        let Some(of) = self.participant(leg) else { return };
        of.updated = now.wall;
        let (mut modified, mut retune) = (false, false);
        let mut told: Vec<(&'static str, ConferenceEvent, &'static str)> = Vec::new();
        if let Some(muted) = change.muted.filter(|muted| *muted != of.muted) {
            of.muted = muted;
            let (what, event) = if muted { ("muted", "participant-mute") } else { ("unmuted", "participant-unmute") };
            told.push((what, ConferenceEvent::Mute, event));
        }
        if let Some(held) = change.held {
            // Held once more is held with other music.
            retune = held || of.held;
            of.hold = change.hold.filter(|_| held).or_else(|| of.hold.take().filter(|_| held && of.held));
            if std::mem::replace(&mut of.held, held) != held {
                let (what, event) = if held { ("held", "participant-hold") } else { ("resumed", "participant-unhold") };
                told.push((what, ConferenceEvent::Hold, event));
            }
        }
        if let Some(coaches) = change.coaches.filter(|coaches| *coaches != of.coaches) {
            of.coaches = coaches;
            let what = if coaches.is_some() { "coaches" } else { "coaches_no_more" };
            told.push((what, ConferenceEvent::Modify, "participant-modify"));
        }
        let is_moved = !told.is_empty();
        if let Some(ends) = change.end_on_exit.filter(|ends| *ends != of.end_on_exit) {
            (of.end_on_exit, modified) = (ends, true);
        }
        if let Some(beeps) = change.beep_on_exit.filter(|beeps| *beeps != of.beep_on_exit) {
            (of.beep_on_exit, modified) = (beeps, true);
        }
        if modified {
            told.push(("changed", ConferenceEvent::Modify, "participant-modify"));
        }
        self.updated = now.wall;
        if is_moved {
            self.place(cx, leg);
        }
        if retune {
            self.tune(cx, leg);
        }
        for (what, event, word) in told {
            let conference = self.sid.to_string();
            self.tell(cx, leg, facts::ConferenceChanged { conference, what: what.to_owned() });
            self.notify(cx, now, event, word, Some(leg));
        }
        if let Some(source) = change.announce {
            let key = cx.load_for_another(source);
            cx.conferences.prompts.insert(key, self.sid);
            if let Some(of) = self.participant(leg) {
                of.hush(cx);
                of.sounds = Sounds::Coming(key);
            }
        }
    }
}

/// Those of an account that live, and the latest that ended, the newest first.
pub fn list(cx: &Context, account: AccountSid) -> Vec<ConferenceRecord> {
    let live = cx.conferences.all.values().filter(|conference| conference.state != State::Completed);
    let live = live.map(|conference| conference.record());
    let mut all: Vec<_> =
        live.chain(cx.conferences.past.iter().cloned()).filter(|record| record.account == account).collect();
    all.sort_by_key(|record| std::cmp::Reverse((record.created, record.sid)));
    all
}

/// One of them.
pub fn fetch(cx: &Context, account: AccountSid, sid: ConferenceSid) -> Option<ConferenceRecord> {
    let live = cx.conferences.all.get(&sid).filter(|conference| conference.state != State::Completed);
    let live = live.map(|conference| conference.record());
    live.or_else(|| cx.conferences.past.iter().find(|record| record.sid == sid).cloned())
        .filter(|record| record.account == account)
}

/// Ends one that lives, or has an announcement heard by all.
pub fn update(
    cx: &mut Context,
    now: Now,
    account: AccountSid,
    sid: ConferenceSid,
    end: bool,
    announce: Option<&str>,
) -> Result<Option<ConferenceRecord>, RestError> {
    let Some(record) = fetch(cx, account, sid) else { return Ok(None) };
    let source = announce.map(|url| source(cx, "AnnounceUrl", url)).transpose()?;
    if record.status == "completed" {
        return Err(bad(20001, "the conference is over and cannot be changed"));
    }
    with(cx, now, sid, |conference, cx| {
        if end {
            conference.end(cx, now, "conference-ended-via-api", None);
        } else if let Some(source) = source {
            let key = cx.load_for_another(source);
            cx.conferences.prompts.insert(key, sid);
            if let Some(before) = conference.announcing.replace(key) {
                cx.conferences.prompts.remove(&before);
            }
        }
    });
    Ok(fetch(cx, account, sid))
}

/// Who is in one. None: no such conference, or it is over.
pub fn participants(
    cx: &Context,
    account: AccountSid,
    sid: ConferenceSid,
    status: impl Fn(CallSid) -> &'static str,
) -> Option<Vec<ParticipantRecord>> {
    fetch(cx, account, sid)?;
    let Some(conference) = cx.conferences.all.get(&sid) else { return Some(Vec::new()) };
    let status = |of: &Participant| if of.is_coming { status(of.leg) } else { "connected" };
    Some(conference.participants.iter().map(|of| conference.record_of(of, status(of))).collect())
}

/// Changes how one takes part. None: there is none of this name.
pub fn change(
    cx: &mut Context,
    now: Now,
    account: AccountSid,
    (sid, who): (ConferenceSid, &str),
    change: ChangeParticipant,
) -> Result<Option<CallSid>, RestError> {
    let Some(leg) = find(cx, account, sid, who) else { return Ok(None) };
    if let Some(Some(coached)) = change.coaches
        && (coached == leg || cx.conferences.seats.get(&coached) != Some(&sid))
    {
        return Err(bad(20001, "CallSidToCoach: want the sid of another participant of this conference"));
    }
    with(cx, now, sid, |conference, cx| conference.change(cx, now, leg, change));
    Ok(Some(leg))
}

/// Takes one out; its document goes on. None: there is none of this name.
pub fn remove(cx: &mut Context, now: Now, account: AccountSid, sid: ConferenceSid, who: &str) -> Option<CallSid> {
    let leg = find(cx, account, sid, who)?;
    with(cx, now, sid, |conference, cx| conference.exit(cx, now, leg, Why::Removed))?;
    Some(leg)
}

/// The leg of one, by the sid of its call or its label.
pub fn find(cx: &Context, account: AccountSid, sid: ConferenceSid, who: &str) -> Option<CallSid> {
    cx.conferences.all.get(&sid).filter(|conference| conference.account == account)?.who(who)
}

/// Whether one more may be dialed for a conference.
pub fn check(cx: &Context, account: AccountSid, noun: &ConferenceNoun) -> Result<(), RestError> {
    if let Some(sid) = &noun.coach
        && sid.parse::<CallSid>().is_err()
    {
        return Err(bad(20001, "CallSidToCoach: want the sid of a call"));
    }
    check_room(cx, account, noun).map_err(|why| bad(45004, format!("the conference: {why}")))
}

/// A place for a leg that is dialed; the conference is opened for it when there is none.
pub fn expect(cx: &mut Context, now: Now, subject: &facts::Subject, noun: &ConferenceNoun) -> Option<ConferenceSid> {
    let (account, leg) = subject.account.zip(subject.leg)?;
    open(cx, now, account, noun, leg, subject).ok()
}

/// The name by which a participant is dialed into a conference: a sid names one that lives, all else is a name.
pub fn name_of(cx: &Context, account: AccountSid, given: &str) -> Result<String, RestError> {
    match given.parse::<ConferenceSid>() {
        Ok(sid) => match cx.conferences.all.get(&sid) {
            Some(conference) if conference.account == account && conference.state != State::Completed => {
                Ok(conference.name.clone())
            }
            _ => Err(RestError { status: 404, code: 20404, message: format!("no conference {sid} that lives") }),
        },
        Err(_) => Ok(given.to_owned()),
    }
}

/// The program of a participant that is dialed: the conference, and nothing else.
pub fn program(noun: ConferenceNoun, time_limit: std::time::Duration) -> Program {
    let dial = Dial {
        nouns: vec![Noun::Conference(Box::new(noun))],
        timeout: time_limit,
        time_limit,
        caller_id: None,
        action: None,
        refer: None,
        hangup_on_star: false,
        answer_on_bridge: false,
        sequential: false,
        record: None,
    };
    Program { verbs: vec![Verb::Dial(Box::new(dial))], warnings: Vec::new() }
}

/// Audio that a request names: by URL, or a file below a prompt folder.
pub fn source(cx: &Context, name: &str, url: &str) -> Result<PromptSource, RestError> {
    let refused = |why: String| bad(20001, format!("{name}: {why}"));
    let Some(path) = url.strip_prefix("file:") else {
        return crate::url::resolve(None, url).map(|url| PromptSource::Url(url.into())).map_err(refused);
    };
    let path = Path::new(path.strip_prefix("//").unwrap_or(path));
    crate::session::prompt_file(cx, path).map(PromptSource::File).map_err(|why| refused(why.to_owned()))
}

const _: () = assert!(PARTICIPANTS_MAX >= 200, "issue 3 wants conferences of at least 200");
