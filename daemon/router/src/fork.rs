//! Forks of a call: its audio sent to a server too, begun by `<Start><Stream>` or by REST.
//!
//! A fork is of one leg: what its party says and what it hears. It ends with its leg at the latest. Whatever the server
//! says or fails to say, the call goes on.

use std::time::{Duration, Instant};

use postern_document::StreamNoun;
use postern_facts as facts;
use postern_types::{
    CallSid, Now, Secret, Sid, StreamSid,
    fork::{ForkCommand, ForkEnd, ForkEvent, ForkSetup},
    media::MediaCommand,
    recording::{Listener, TapId},
};

use crate::{
    call::{Call, is_due},
    callback::{Of, Subscription, rfc2822},
    context::{Asker, Context},
    originate,
    output::Output,
    request::{Fields, add},
    rest::{RestError, StreamRecord},
    sign,
};

/// Forks of one call at once at most, those that are ending counted.
const FORKS_MAX: usize = 4;
/// How long the driver may take to end a fork that it was told to: more than its own patience with the server.
const FINISHING_MAX: Duration = Duration::from_secs(20);

/// One that is connecting, sends, or is about to end.
#[derive(Debug)]
pub struct Fork {
    pub record: StreamRecord,
    tap: TapId,
    inbound: bool,
    outbound: bool,
    /// The server, as it may be shown.
    server: String,
    /// Since the server took the connection.
    started: Option<Now>,
    /// The driver must have said its end by then: it was told to stop.
    until: Option<Instant>,
}

impl Call {
    /// Begins to send a leg's audio to a server. Refused: why, in words.
    pub fn fork(
        &mut self,
        cx: &mut Context,
        now: Now,
        leg: CallSid,
        wanted: StreamNoun,
    ) -> Result<StreamRecord, String> {
        let StreamNoun { url, name, inbound, outbound, parameters, callback } = wanted;
        let account = self.tappable(cx, leg)?.account;
        let url = crate::url::web_socket(&url)?;
        let subscription = callback.map(|to| self.fork_subscription(&to.url, to.method)).transpose()?;
        if self.forks.len() >= FORKS_MAX {
            return Err(format!("a call has at most {FORKS_MAX} streams"));
        }
        if self.forks.iter().any(|fork| name.is_some() && fork.record.name == name && fork.until.is_none()) {
            return Err("a stream of this call has that name already".into());
        }
        let (stream, tap) = (StreamSid::random(&mut cx.rng), cx.tap(Asker::Call(self.sid)));
        let token = account.and_then(|account| cx.accounts.token(account));
        let signature = token.map(|token| sign::signature(token, url.as_str(), &[]));
        let setup = ForkSetup {
            stream,
            account,
            call: leg,
            headers: signature.map(|text| ("X-Twilio-Signature", Secret::new(text.into()))).into_iter().collect(),
            inbound,
            outbound,
            parameters: parameters.into_iter().map(|(name, value)| (name.into(), Secret::new(value.into()))).collect(),
            url: Secret::new(url.as_str().into()),
        };
        cx.out.push_back(Output::Fork(ForkCommand::Start(tap, Box::new(setup))));
        if let Some(subscription) = subscription
            && !self.callbacks.subscribe(Of::Fork(stream), subscription)
        {
            cx.counters.callbacks_lost += 1;
        }
        let record = StreamRecord { sid: stream, call: leg, name, status: "in-progress", updated: now.wall };
        let server = crate::url::shown(url.as_str());
        self.forks.push(Fork { record: record.clone(), tap, inbound, outbound, server, started: None, until: None });
        Ok(record)
    }

    fn fork_subscription(&self, url: &str, method: postern_config::HttpMethod) -> Result<Subscription, String> {
        let base = self.session.as_ref().and_then(|session| session.base());
        let url = crate::url::resolve(base, url).map_err(|why| format!("statusCallback: {why}"))?;
        Ok(Subscription { url, method, events: Vec::new() })
    }

    /// `<Start>`: a fork, or the fact that there is none. The document goes on either way.
    pub fn start_fork(&mut self, cx: &mut Context, now: Now, wanted: StreamNoun) {
        let server = crate::url::shown(&wanted.url);
        if let Err(why) = self.fork(cx, now, self.sid, wanted) {
            self.tell(cx, self.sid, facts::ForkFailed { stream: String::new(), server, why, sent: 0, lost: 0 });
        }
    }

    /// `<Stop>`: ends the fork of that name, if there is one.
    pub fn stop_fork_named(&mut self, cx: &mut Context, now: Now, name: &str) {
        let named = |fork: &&Fork| fork.record.name.as_deref() == Some(name);
        if let Some(sid) = self.forks.iter().find(named).map(|fork| fork.record.sid) {
            self.stop_fork(cx, now, sid);
        }
    }

    fn stop_fork(&mut self, cx: &mut Context, now: Now, sid: StreamSid) {
        let live = |fork: &&mut Fork| fork.record.sid == sid && fork.until.is_none();
        let Some(fork) = self.forks.iter_mut().find(live) else { return };
        fork.until = Some(now.instant + FINISHING_MAX);
        if fork.started.is_some() {
            cx.media(MediaCommand::Untap { leg: fork.record.call, tap: fork.tap });
        }
        cx.out.push_back(Output::Fork(ForkCommand::Stop(fork.tap)));
    }

    /// A leg is over, and with it what is sent of it.
    pub fn stop_forks_of(&mut self, cx: &mut Context, now: Now, leg: CallSid) {
        let of_leg = self.forks.iter().filter(|fork| fork.record.call == leg);
        let sids: Vec<_> = of_leg.map(|fork| fork.record.sid).collect();
        sids.into_iter().for_each(|sid| self.stop_fork(cx, now, sid));
    }

    /// The party pressed a key.
    pub fn fork_digit(&self, cx: &mut Context, leg: CallSid, digit: char) {
        let hearing = |fork: &&Fork| fork.record.call == leg && fork.inbound && fork.started.is_some();
        for fork in self.forks.iter().filter(hearing) {
            cx.out.push_back(Output::Fork(ForkCommand::Digit { tap: fork.tap, digit }));
        }
    }

    /// The driver tells.
    pub fn on_fork(&mut self, cx: &mut Context, now: Now, event: ForkEvent) {
        let Some(at) = self.forks.iter().position(|fork| fork.tap == event.tap()) else { return };
        match event {
            ForkEvent::Started { .. } => self.fork_started(cx, now, at),
            ForkEvent::Ended { why, sent, lost, .. } => self.fork_ended(cx, now, at, why, (sent, lost)),
        }
    }

    fn fork_started(&mut self, cx: &mut Context, now: Now, at: usize) {
        let fork = &mut self.forks[at];
        if fork.until.is_some() {
            return; // It was stopped meanwhile.
        }
        fork.started = Some(now);
        let Fork { tap, inbound, outbound, .. } = *fork;
        let (sid, leg) = (fork.record.sid, fork.record.call);
        let track = match (inbound, outbound) {
            (true, false) => "inbound_track",
            (false, true) => "outbound_track",
            _ => "both_tracks",
        };
        let fact = facts::ForkStarted { stream: sid.to_string(), server: fork.server.clone(), track: track.into() };
        cx.media(MediaCommand::Tap { leg, tap, to: Listener::Fork, inbound, outbound });
        self.tell(cx, leg, fact);
        self.tell_fork(cx, now, at, "stream-started", None);
    }

    fn fork_ended(&mut self, cx: &mut Context, now: Now, at: usize, why: ForkEnd, (sent, lost): (u64, u64)) {
        let fork = &mut self.forks[at];
        cx.taps.remove(&fork.tap);
        fork.record.updated = now.wall;
        fork.record.status = "stopped";
        let (leg, sid, server) = (fork.record.call, fork.record.sid, fork.server.clone());
        if fork.until.is_none() && fork.started.is_some() {
            cx.media(MediaCommand::Untap { leg, tap: fork.tap });
        }
        let duration_ms = fork.started.map_or(0, |at| now.wall.since(at.wall).as_millis() as u64);
        let stream = sid.to_string();
        match why {
            ForkEnd::Failed(why) => {
                self.tell(cx, leg, facts::ForkFailed { stream, server, why: why.clone(), sent, lost });
                self.tell_fork(cx, now, at, "stream-error", Some(why));
            }
            ended => {
                let why = if ended == ForkEnd::Closed { "closed" } else { "stopped" }.to_owned();
                self.tell(cx, leg, facts::ForkEnded { stream, why, duration_ms, sent, lost });
                self.tell_fork(cx, now, at, "stream-stopped", None);
            }
        }
        self.callbacks.close(Of::Fork(sid));
        self.forks.swap_remove(at);
    }

    fn tell_fork(&mut self, cx: &mut Context, now: Now, at: usize, event: &'static str, error: Option<String>) {
        let record = &self.forks[at].record;
        let of = Of::Fork(record.sid);
        let mut fields = Fields::new();
        if let Some(account) = self.leg(record.call).and_then(|leg| leg.account).or(self.account) {
            add(&mut fields, "AccountSid", account);
        }
        add(&mut fields, "CallSid", record.call);
        add(&mut fields, "StreamSid", record.sid);
        if let Some(name) = &record.name {
            add(&mut fields, "StreamName", name);
        }
        add(&mut fields, "StreamEvent", event);
        if let Some(error) = error {
            add(&mut fields, "StreamError", error);
        }
        add(&mut fields, "Timestamp", rfc2822(now.wall));
        self.callbacks.post(cx, of, event, fields);
        self.deliver(cx, now, of);
    }

    /// When the driver is late.
    pub fn fork_deadline(&self) -> Option<Instant> {
        self.forks.iter().filter_map(|fork| fork.until).min()
    }

    /// A driver that never said the end.
    pub fn fork_timeout(&mut self, cx: &mut Context, now: Now) {
        let late = self.forks.iter().filter(|fork| is_due(fork.until, now));
        let late: Vec<_> = late.map(|fork| fork.tap).collect();
        for tap in late {
            let why = ForkEnd::Failed("the driver did not say what became of it".into());
            self.on_fork(cx, now, ForkEvent::Ended { tap, why, sent: 0, lost: 0 });
        }
    }

    /// REST: begins one.
    pub fn create_stream(
        &mut self,
        cx: &mut Context,
        now: Now,
        leg: CallSid,
        wanted: StreamNoun,
    ) -> Result<StreamRecord, RestError> {
        self.fork(cx, now, leg, wanted).map_err(|why| originate::bad(21220, why))
    }

    /// REST: ends one, by its sid or name; none when there is no such one that lives.
    pub fn stop_stream(&mut self, cx: &mut Context, now: Now, leg: CallSid, which: &str) -> Option<StreamRecord> {
        let sid = which.parse::<StreamSid>().ok();
        let wanted = |fork: &&Fork| {
            let is_it = sid == Some(fork.record.sid) || fork.record.name.as_deref() == Some(which);
            fork.record.call == leg && is_it && fork.until.is_none()
        };
        let record = self.forks.iter().find(wanted).map(|fork| fork.record.clone())?;
        self.stop_fork(cx, now, record.sid);
        Some(StreamRecord { status: "stopped", updated: now.wall, ..record })
    }
}
