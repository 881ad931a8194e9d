//! Recordings of a call: begun by a document, by `<Dial record>` or by REST, made by the recorder, told when they are over.
//!
//! A recording is of one leg: what its party says and what it hears. It ends with its leg at the latest. Whatever the
//! recorder says or fails to say, the call goes on.

use std::time::{Duration, Instant};

use postern_config::RecordingEvent;
use postern_facts::{self as facts, RecordingRecord, Subject};
use postern_types::{
    CallSid, ConferenceSid, Now, RecordingSid, Sid,
    media::MediaCommand,
    recording::{Listener, RecorderCommand, RecorderEvent, RecordingEnd, RecordingSetup, TapId},
};

use crate::{
    call::{Call, is_due},
    callback::{self, Callbacks, Subscription, rfc2822},
    context::{Asker, Context},
    leg::{Leg, Stream},
    originate,
    output::Output,
    request::{Fields, add},
    rest::{CreateRecording, RestError, UpdateRecording},
};

/// Recordings of one call at once at most.
const RECORDINGS_MAX: usize = 4;
/// How long the recorder may take to finish a file that it was told to.
const FINISHING_MAX: Duration = Duration::from_secs(20);

/// What is wanted of a recording.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// In the words of the recording resource: `RecordVerb`, `DialVerb`, …
    pub source: &'static str,
    pub inbound: bool,
    pub outbound: bool,
    pub stereo: bool,
    pub trim: bool,
    pub seconds_max: u32,
    pub silence: Option<Duration>,
    /// Who is told, and of what.
    pub subscription: Option<(Subscription, Vec<RecordingEvent>)>,
}

/// One that is made, or about to be finished.
#[derive(Debug)]
pub struct Recording {
    pub record: RecordingRecord,
    tap: TapId,
    room: Option<ConferenceSid>,
    subject: Subject,
    events: Vec<RecordingEvent>,
    /// The recorder must have said its end by then.
    until: Option<Instant>,
}

/// Whose audio is recorded.
pub struct Of {
    /// Who is told what becomes of it.
    pub asker: Asker,
    /// The leg, or the one that had the conference recorded.
    pub leg: CallSid,
    /// The room, for a conference's.
    pub room: Option<ConferenceSid>,
    /// Whom facts are about.
    pub subject: Subject,
}

impl Recording {
    /// Has the recorder and the media plane begin.
    pub fn begin(cx: &mut Context, now: Now, of: Of, wanted: &Wanted) -> Self {
        let Of { asker, leg, room, subject } = of;
        let (sid, tap) = (RecordingSid::random(&mut cx.rng), cx.tap(asker));
        let Wanted { inbound, outbound, stereo, trim, seconds_max, silence, source, .. } = *wanted;
        let track = match (inbound, outbound) {
            _ if room.is_some() => "both",
            (true, false) => "inbound",
            (false, true) => "outbound",
            _ => "both",
        };
        let record = RecordingRecord {
            sid,
            account: subject.account,
            call: leg,
            conference: room.map(|room| room.to_string()),
            created: now.wall,
            updated: now.wall,
            status: "in-progress".into(),
            channels: if stereo { 2 } else { 1 },
            source: source.into(),
            track: track.into(),
            duration_ms: 0,
            bytes: 0,
            error: None,
        };
        let setup = RecordingSetup { recording: sid, inbound, outbound, stereo, trim, seconds_max, silence };
        // The recorder first: a copy must find its tape.
        cx.out.push_back(Output::Recorder(RecorderCommand::Start(tap, setup)));
        cx.media(match room {
            Some(room) => MediaCommand::TapRoom { room, tap },
            None => MediaCommand::Tap { leg, tap, to: Listener::Recorder, inbound, outbound },
        });
        cx.out.push_back(Output::Recording(Box::new(record.clone())));
        let (recording, source, channels) = (sid.to_string(), source.to_owned(), record.channels);
        cx.fact(subject.clone(), facts::RecordingStarted { recording, source, channels, track: track.into() });
        let events = wanted.subscription.as_ref().map(|(_, events)| events.clone()).unwrap_or_default();
        Self { record, tap, room, subject, events, until: None }
    }

    /// Whether it was told to end.
    pub fn is_stopped(&self) -> bool {
        self.until.is_some()
    }

    /// The recorder must have said its end by then.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Has both end it, once; its file is whole when the recorder says so.
    pub fn stop(&mut self, cx: &mut Context, now: Now) {
        if !self.is_stopped() {
            self.until = Some(now.instant + FINISHING_MAX);
            cx.out.push_back(Output::Recorder(RecorderCommand::Stop(self.tap)));
            self.untap(cx);
        }
    }

    fn untap(&self, cx: &mut Context) {
        let tap = self.tap;
        cx.media(match self.room {
            Some(room) => MediaCommand::UntapRoom { room, tap },
            None => MediaCommand::Untap { leg: self.record.call, tap },
        });
    }

    /// The recorder ended it. What its subscriber is told of.
    pub fn ended(&mut self, cx: &mut Context, now: Now, event: RecorderEvent) -> RecordingEvent {
        let RecorderEvent::Ended { tap, why, length, bytes, lost } = event;
        cx.taps.remove(&tap);
        if !self.is_stopped() {
            self.untap(cx);
        }
        let record = &mut self.record;
        let duration_ms = length.as_millis() as u64;
        record.status = if bytes > 0 { "completed" } else { "absent" }.into();
        record.updated = now.wall;
        (record.duration_ms, record.bytes) = (duration_ms, bytes);
        let (subject, recording) = (self.subject.clone(), record.sid.to_string());
        match why {
            RecordingEnd::Failed(why) => {
                record.error = Some(why.clone());
                cx.fact(subject, facts::RecordingFailed { recording, why, duration_ms });
            }
            ended => {
                let why = match ended {
                    RecordingEnd::Full => "full",
                    RecordingEnd::Silence => "silence",
                    _ => "stopped",
                };
                let why = why.to_owned();
                cx.fact(subject, facts::RecordingEnded { recording, why, duration_ms, bytes, lost });
            }
        }
        cx.out.push_back(Output::Recording(Box::new(record.clone())));
        if bytes > 0 { RecordingEvent::Completed } else { RecordingEvent::Absent }
    }

    /// What is made of a recorder that never said the end: the file is what it is.
    pub fn overdue(&self) -> RecorderEvent {
        let why = RecordingEnd::Failed("the recorder did not say what became of it".into());
        RecorderEvent::Ended { tap: self.tap, why, length: Duration::ZERO, bytes: 0, lost: 0 }
    }

    /// Posts a callback, if its subscriber wants this one.
    pub fn tell(&self, cx: &mut Context, callbacks: &mut Callbacks, event: RecordingEvent) {
        if !self.events.contains(&event) {
            return;
        }
        let record = &self.record;
        let mut fields = Fields::new();
        if let Some(account) = record.account {
            add(&mut fields, "AccountSid", account);
        }
        add(&mut fields, "CallSid", record.call);
        if let Some(conference) = &record.conference {
            add(&mut fields, "ConferenceSid", conference);
        }
        add(&mut fields, "RecordingSid", record.sid);
        add(&mut fields, "RecordingUrl", url(cx, record));
        add(&mut fields, "RecordingStatus", &record.status);
        if event != RecordingEvent::InProgress {
            add(&mut fields, "RecordingDuration", seconds(record));
        }
        add(&mut fields, "RecordingChannels", record.channels);
        add(&mut fields, "RecordingStartTime", rfc2822(record.created));
        add(&mut fields, "RecordingSource", &record.source);
        add(&mut fields, "RecordingTrack", &record.track);
        if record.error.is_some() {
            add(&mut fields, "ErrorCode", FAILED_CODE);
        }
        let word = match event {
            RecordingEvent::InProgress => "recording in-progress",
            RecordingEvent::Completed => "recording completed",
            RecordingEvent::Absent => "recording absent",
        };
        callbacks.post(cx, callback::Of::Recording(record.sid), word, fields);
    }
}

impl Call {
    /// Begins to record a leg. Refused: why, in words.
    pub fn record(
        &mut self,
        cx: &mut Context,
        now: Now,
        leg: CallSid,
        mut wanted: Wanted,
    ) -> Result<RecordingSid, &'static str> {
        let subject = self.tappable(cx, leg)?.subject(self.sid);
        if self.recordings.len() >= RECORDINGS_MAX {
            return Err("too many recordings of this call");
        }
        let of = Of { asker: Asker::Call(self.sid), leg, room: None, subject };
        let recording = Recording::begin(cx, now, of, &wanted);
        let sid = recording.record.sid;
        if let Some((subscription, _)) = wanted.subscription.take()
            && !self.callbacks.subscribe(callback::Of::Recording(sid), subscription)
        {
            cx.counters.callbacks_lost += 1;
        }
        recording.tell(cx, &mut self.callbacks, RecordingEvent::InProgress);
        self.recordings.push(recording);
        self.deliver(cx, now, callback::Of::Recording(sid));
        Ok(sid)
    }

    /// A leg whose audio can be copied. Refused: why, in words.
    pub fn tappable(&self, cx: &Context, leg: CallSid) -> Result<&Leg, &'static str> {
        let open = |leg: &&Leg| leg.is_live() && leg.answered.is_some() && matches!(leg.stream, Stream::Open { .. });
        let of = self.leg(leg).filter(open).ok_or("the call is not in progress")?;
        match of.agreed.first() {
            Some(format) if format.is_codable(cx.libraries) => Ok(of),
            _ => Err("the call's codec cannot be read here"),
        }
    }

    /// Ends one; its file is whole when the recorder says so.
    pub fn stop_recording(&mut self, cx: &mut Context, now: Now, sid: RecordingSid) {
        let named = |recording: &&mut Recording| recording.record.sid == sid;
        self.recordings.iter_mut().find(named).into_iter().for_each(|recording| recording.stop(cx, now));
    }

    /// A leg is over, and with it what is recorded of it.
    pub fn stop_recordings_of(&mut self, cx: &mut Context, now: Now, leg: CallSid) {
        let of_leg = self.recordings.iter().filter(|recording| recording.record.call == leg);
        let sids: Vec<_> = of_leg.map(|recording| recording.record.sid).collect();
        for sid in sids {
            self.stop_recording(cx, now, sid);
        }
    }

    /// The recorder tells.
    pub fn on_recorder(&mut self, cx: &mut Context, now: Now, event: RecorderEvent) {
        let Some(at) = self.recordings.iter().position(|recording| recording.tap == event.tap()) else { return };
        let mut recording = self.recordings.swap_remove(at);
        let of = callback::Of::Recording(recording.record.sid);
        let told = recording.ended(cx, now, event);
        recording.tell(cx, &mut self.callbacks, told);
        self.deliver(cx, now, of);
        self.callbacks.close(of);
        self.session_recorded(cx, now, &recording.record);
    }

    /// When the recorder is late.
    pub fn recording_deadline(&self) -> Option<Instant> {
        self.recordings.iter().filter_map(|recording| recording.until).min()
    }

    /// A recorder that never said the end: the file is what it is.
    pub fn recording_timeout(&mut self, cx: &mut Context, now: Now) {
        let late = self.recordings.iter().filter(|recording| is_due(recording.until, now));
        let late: Vec<_> = late.map(Recording::overdue).collect();
        late.into_iter().for_each(|event| self.on_recorder(cx, now, event));
    }

    /// REST: begins one.
    pub fn create_recording(
        &mut self,
        cx: &mut Context,
        now: Now,
        leg: CallSid,
        wanted: CreateRecording,
    ) -> Result<RecordingRecord, RestError> {
        let CreateRecording { dual, inbound, outbound, trim, callback } = wanted;
        let subscription = match callback {
            None => None,
            Some((url, method, events)) => {
                let url = crate::url::resolve(None, &url)
                    .map_err(|why| originate::bad(21609, format!("RecordingStatusCallback: {why}")))?;
                Some((Subscription { url, method, events: Vec::new() }, events))
            }
        };
        let source = "StartCallRecordingAPI";
        let (seconds_max, silence) = (0, None);
        let wanted = Wanted { source, inbound, outbound, stereo: dual, trim, seconds_max, silence, subscription };
        let sid = self.record(cx, now, leg, wanted).map_err(|why| originate::bad(21220, why))?;
        let made = self.recordings.iter().find(|recording| recording.record.sid == sid);
        made.map(|made| made.record.clone()).ok_or_else(|| originate::no_room("the recording is over"))
    }

    /// REST: pauses, resumes or stops one of a leg's recordings; the newest when none is named.
    pub fn update_recording(
        &mut self,
        cx: &mut Context,
        now: Now,
        leg: CallSid,
        sid: Option<RecordingSid>,
        update: UpdateRecording,
    ) -> Result<Option<RecordingRecord>, RestError> {
        let wanted =
            |r: &&Recording| r.record.call == leg && sid.is_none_or(|sid| r.record.sid == sid) && !r.is_stopped();
        let Some(sid) = self.recordings.iter().rev().find(wanted).map(|r| r.record.sid) else { return Ok(None) };
        let Some(recording) = self.recordings.iter_mut().find(|r| r.record.sid == sid) else { return Ok(None) };
        let (tap, name) = (recording.tap, sid.to_string());
        let mut fact: Option<facts::Fact> = None;
        match (update, recording.record.status.as_str()) {
            (UpdateRecording::Pause { silence }, "in-progress") => {
                recording.record.status = "paused".into();
                cx.out.push_back(Output::Recorder(RecorderCommand::Pause { tap, silence }));
                let behavior = if silence { "silence" } else { "skip" }.to_owned();
                fact = Some(facts::RecordingPaused { recording: name, behavior }.into());
            }
            (UpdateRecording::Resume, "paused") => {
                recording.record.status = "in-progress".into();
                cx.out.push_back(Output::Recorder(RecorderCommand::Resume(tap)));
                fact = Some(facts::RecordingResumed { recording: name }.into());
            }
            (UpdateRecording::Stop, _) => {}
            (_, status) => return Err(originate::bad(21220, format!("the recording is {status}"))),
        }
        recording.record.updated = now.wall;
        let mut record = recording.record.clone();
        match fact {
            Some(fact) => {
                self.tell(cx, leg, fact);
                cx.out.push_back(Output::Recording(Box::new(record.clone())));
            }
            None => {
                self.stop_recording(cx, now, sid);
                record.status = "stopped".into();
            }
        }
        Ok(Some(record))
    }
}

/// Told when a recording is not what it should be; the facts say more.
const FAILED_CODE: u32 = 13223;

/// Whole seconds of a recording, a part of one counted as one.
pub fn seconds(record: &RecordingRecord) -> u64 {
    record.duration_ms.div_ceil(1000)
}

/// Where the REST API has it.
pub fn url(cx: &Context, record: &RecordingRecord) -> String {
    let server = cx.config.api.as_ref().map(|api| format!("http://{}", api.listen)).unwrap_or_default();
    let account = record.account.map(|account| account.to_string()).unwrap_or_default();
    format!("{server}/2010-04-01/Accounts/{account}/Recordings/{}", record.sid)
}
