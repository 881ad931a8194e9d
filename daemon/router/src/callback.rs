//! Status callbacks: telling a URL how a leg goes on. One after the other, in order, exactly one terminal; a server that does not
//! answer is tried again a few times and then given up. Nothing here ever touches the call.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use postern_config::{CallbackEvent, HttpMethod};
use postern_facts as facts;
use postern_types::{AccountSid, CallSid, ConferenceSid, Now, RecordingSid, RequestId, StreamSid, UnixMicros};
use url::Url;

use crate::{
    call::{Call, is_due},
    context::{Asker, Context},
    cookies::Jar,
    output::{HttpFailure, HttpResponse, Purpose},
    request::{self, Draft, Fields, LOST_AFTER},
};

/// How often one callback is tried.
pub const TRIES_MAX: u32 = 3;
/// Callbacks of one leg that wait at most; there are only four events, so it does not fill.
const QUEUE_MAX: usize = 8;
/// Those of one conference: all participants come, change and leave once while its server is asked in vain.
const CONFERENCE_QUEUE_MAX: usize = 1024;
/// Legs of one call whose callbacks are under way at most; further ones are not told, and counted.
const FEEDS_MAX: usize = 32;
/// Before the second try; four times as long before the next.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who wants to be told of what.
#[derive(Debug, Clone)]
pub struct Subscription {
    pub url: Url,
    pub method: HttpMethod,
    pub events: Vec<CallbackEvent>,
}

/// What a feed tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Leg(CallSid),
    Recording(RecordingSid),
    Fork(StreamSid),
    Conference(ConferenceSid),
}

/// On whose behalf requests are made: who is asked back, whose token signs, whom facts are about.
#[derive(Debug)]
pub struct Owner<'a> {
    pub asker: Asker,
    pub account: Option<AccountSid>,
    pub jar: &'a mut Jar,
}

/// The callbacks of a call: those of all its legs, recordings and forks.
#[derive(Debug, Default)]
pub struct Callbacks {
    feeds: Vec<Feed>,
}

/// Those of one of them.
#[derive(Debug)]
struct Feed {
    of: Of,
    subscription: Subscription,
    sequence: u32,
    queue: VecDeque<Note>,
    in_flight: Option<(RequestId, Instant)>,
    retry_at: Option<Instant>,
    tries: u32,
    /// It is over: nothing more will come.
    closed: bool,
}

#[derive(Debug)]
struct Note {
    event: &'static str,
    sequence: u32,
    fields: Fields,
}

impl Callbacks {
    /// A subscriber. False: too many, it will not be told.
    pub fn subscribe(&mut self, of: Of, subscription: Subscription) -> bool {
        if self.feeds.len() >= FEEDS_MAX {
            return false;
        }
        self.feeds.push(Feed {
            of,
            subscription,
            sequence: 0,
            queue: VecDeque::new(),
            in_flight: None,
            retry_at: None,
            tries: 0,
            closed: false,
        });
        true
    }

    /// The subscription of one that is not closed.
    fn open(&mut self, of: Of) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.of == of && !feed.closed)
    }

    /// One more thing to tell, with its SequenceNumber among the fields. A queue that is full drops and counts it.
    pub fn post(&mut self, cx: &mut Context, of: Of, event: &'static str, mut fields: Fields) {
        let Some(feed) = self.open(of) else { return };
        let most = if matches!(of, Of::Conference(_)) { CONFERENCE_QUEUE_MAX } else { QUEUE_MAX };
        if feed.queue.len() >= most {
            cx.counters.callbacks_lost += 1;
            return;
        }
        request::add(&mut fields, "SequenceNumber", feed.sequence);
        feed.queue.push_back(Note { event, sequence: feed.sequence, fields });
        feed.sequence += 1;
    }

    /// What was posted was the last.
    pub fn close(&mut self, of: Of) {
        if let Some(feed) = self.open(of) {
            feed.closed = true;
        }
        self.feeds.retain(|feed| !feed.closed || !feed.queue.is_empty());
    }

    /// Nothing waits to be told.
    pub fn is_idle(&self) -> bool {
        self.feeds.iter().all(|feed| feed.queue.is_empty())
    }

    /// Gives up on all that wait.
    pub fn abandon(&mut self, cx: &mut Context) {
        for feed in self.feeds.drain(..) {
            cx.counters.callbacks_lost += feed.queue.len() as u64;
            if let Some((id, _)) = feed.in_flight {
                cx.requests.remove(&id);
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.feeds.iter().flat_map(|feed| [feed.retry_at, feed.in_flight.map(|(_, until)| until)]).flatten().min()
    }

    /// Whether a request is one of these.
    pub fn has(&self, id: RequestId) -> bool {
        self.feeds.iter().any(|feed| feed.in_flight.is_some_and(|(at, _)| at == id))
    }

    /// Sends a feed's oldest callback, unless one is under way.
    pub fn deliver(&mut self, cx: &mut Context, now: Now, of: Of, owner: &Owner<'_>) {
        let Some(feed) = self.feeds.iter_mut().find(|feed| feed.of == of && !feed.queue.is_empty()) else { return };
        if feed.in_flight.is_some() || feed.retry_at.is_some() {
            return;
        }
        let Some(note) = feed.queue.front() else { return };
        let Subscription { url, method, .. } = &feed.subscription;
        let draft = Draft { url, method: *method, fields: note.fields.clone(), purpose: Purpose::Callback };
        let id = cx.request_id(owner.asker);
        let made = request::finish(cx, owner.jar, owner.account, now, id, draft);
        cx.http(made);
        feed.tries += 1;
        feed.in_flight = Some((id, now.instant + LOST_AFTER));
    }

    /// The answer to a callback.
    pub fn answered(
        &mut self,
        cx: &mut Context,
        now: Now,
        id: RequestId,
        answer: Result<HttpResponse, HttpFailure>,
        owner: &mut Owner<'_>,
    ) {
        let feeds = &mut self.feeds;
        let Some(feed) = feeds.iter_mut().find(|feed| feed.in_flight.is_some_and(|(at, _)| at == id)) else { return };
        feed.in_flight = None;
        let of = feed.of;
        let Some(note) = feed.queue.front() else { return };
        let url = crate::url::shown(feed.subscription.url.as_str());
        let (event, sequence, tries) = (note.event.to_owned(), note.sequence, feed.tries);
        let leg = match of {
            Of::Leg(leg) => Some(leg),
            Of::Recording(_) | Of::Fork(_) | Of::Conference(_) => None,
        };
        let call = match owner.asker {
            Asker::Call(call) => Some(call),
            Asker::Conference(_) => None,
        };
        let subject = facts::Subject { account: owner.account, call, leg, ..Default::default() };
        let (failure, retry) = match answer {
            Ok(response) => {
                request::keep_cookies(owner.jar, &response, now);
                let status = response.status;
                let why = || Some(format!("HTTP status {status}"));
                match status {
                    200..=299 => {
                        let (url, event) = (url.clone(), event.clone());
                        cx.fact(subject.clone(), facts::CallbackDelivered { url, event, sequence, status });
                        (None, false)
                    }
                    // What the server refuses once it will refuse again.
                    400..=499 => (why(), false),
                    _ => (why(), true),
                }
            }
            Err(failure) => (Some(format!("{} {}", failure.code, failure.why)), true),
        };
        let feeds = &mut self.feeds;
        let Some(at) = feeds.iter().position(|feed| feed.of == of && !feed.queue.is_empty()) else { return };
        let feed = &mut feeds[at];
        if let Some(why) = failure {
            if retry && feed.tries < TRIES_MAX {
                feed.retry_at = Some(now.instant + RETRY_AFTER * 4_u32.pow(feed.tries - 1));
                return;
            }
            cx.counters.callbacks_lost += 1;
            cx.fact(subject, facts::CallbackFailed { url, event, sequence, why, tries });
        }
        feed.queue.pop_front();
        feed.tries = 0;
        if feed.closed && feed.queue.is_empty() {
            feeds.remove(at);
        } else {
            self.deliver(cx, now, of, owner);
        }
    }

    /// Tries again, and gives up on answers that never came.
    pub fn timeout(&mut self, cx: &mut Context, now: Now, owner: &mut Owner<'_>) {
        let mut lost = Vec::new();
        let mut again = Vec::new();
        for feed in &mut self.feeds {
            if let Some((id, until)) = feed.in_flight
                && until <= now.instant
            {
                lost.push(id);
            }
            if is_due(feed.retry_at, now) {
                feed.retry_at = None;
                again.push(feed.of);
            }
        }
        for of in again {
            self.deliver(cx, now, of, owner);
        }
        for id in lost {
            cx.requests.remove(&id);
            let failure = HttpFailure { code: 11235, why: "no answer".into() };
            self.answered(cx, now, id, Err(failure), owner);
        }
    }
}

impl Call {
    pub fn callback_initiated(&mut self, cx: &mut Context, now: Now, leg: CallSid) {
        self.notify(cx, now, leg, CallbackEvent::Initiated);
    }

    pub fn callback_ringing(&mut self, cx: &mut Context, now: Now, leg: CallSid) {
        self.notify(cx, now, leg, CallbackEvent::Ringing);
    }

    pub fn callback_answered(&mut self, cx: &mut Context, now: Now, leg: CallSid) {
        self.notify(cx, now, leg, CallbackEvent::Answered);
    }

    /// The terminal one: after it the leg's subscriber hears no more.
    pub fn callback_ended(&mut self, cx: &mut Context, now: Now, leg: CallSid) {
        self.notify(cx, now, leg, CallbackEvent::Completed);
        self.callbacks.close(Of::Leg(leg));
    }

    fn notify(&mut self, cx: &mut Context, now: Now, sid: CallSid, event: CallbackEvent) {
        let Some(leg) = self.legs.iter().find(|leg| leg.sid == sid) else { return };
        let Some(feed) = self.callbacks.open(Of::Leg(sid)) else { return };
        if !feed.subscription.events.contains(&event) {
            return;
        }
        let status = match event {
            CallbackEvent::Initiated => "initiated",
            CallbackEvent::Ringing => "ringing",
            CallbackEvent::Answered => "in-progress",
            CallbackEvent::Completed => leg.status(),
        };
        let (headers, forwarded_from): (&[_], &str) =
            if sid == self.sid { (&self.headers, self.forwarded_from()) } else { (&[], "") };
        let mut fields = request::standard(leg, status, headers, forwarded_from);
        request::add(&mut fields, "CallbackSource", "call-progress-events");
        request::add(&mut fields, "Timestamp", rfc2822(now.wall));
        if let Some(status) = leg.sip_status {
            request::add(&mut fields, "SipResponseCode", status);
        }
        if event == CallbackEvent::Completed {
            let talked = leg.answered.map_or(Duration::ZERO, |at| now.wall.since(at.wall));
            request::add(&mut fields, "CallDuration", talked.as_millis().div_ceil(1000));
        }
        self.callbacks.post(cx, Of::Leg(sid), word(event), fields);
        self.deliver(cx, now, Of::Leg(sid));
    }

    /// Sends what was posted.
    pub fn deliver(&mut self, cx: &mut Context, now: Now, of: Of) {
        let owner = Owner { asker: Asker::Call(self.sid), account: self.account, jar: &mut self.jar };
        self.callbacks.deliver(cx, now, of, &owner);
    }

    /// The answer to a callback.
    pub fn on_callback(
        &mut self,
        cx: &mut Context,
        now: Now,
        id: RequestId,
        answer: Result<HttpResponse, HttpFailure>,
    ) {
        let mut owner = Owner { asker: Asker::Call(self.sid), account: self.account, jar: &mut self.jar };
        self.callbacks.answered(cx, now, id, answer, &mut owner);
    }

    /// Whatever of the callbacks is due.
    pub fn callback_timeout(&mut self, cx: &mut Context, now: Now) {
        let mut owner = Owner { asker: Asker::Call(self.sid), account: self.account, jar: &mut self.jar };
        self.callbacks.timeout(cx, now, &mut owner);
    }
}

fn word(event: CallbackEvent) -> &'static str {
    match event {
        CallbackEvent::Initiated => "initiated",
        CallbackEvent::Ringing => "ringing",
        CallbackEvent::Answered => "answered",
        CallbackEvent::Completed => "completed",
    }
}

/// `Tue, 31 Aug 2010 20:36:28 +0000`.
pub fn rfc2822(time: UnixMicros) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (time.seconds() / 86400, time.seconds() % 86400);
    // Days since 0000-03-01 in eras of 400 years, so that the leap day is a year's last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} +0000",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_mail_writes_them() {
        for (seconds, want) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (1_283_286_988, "Tue, 31 Aug 2010 20:36:28 +0000"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 +0000"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
        ] {
            assert_eq!(rfc2822(UnixMicros(seconds * 1_000_000)), want);
        }
    }
}
