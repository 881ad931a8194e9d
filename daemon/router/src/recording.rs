//! Recordings of a call: begun by a document, by `<Dial record>` or by REST, made by the recorder, told when they are over.
//!
//! A recording is of one leg: what its party says and what it hears. It ends with its leg at the latest. Whatever the
//! recorder says or fails to say, the call goes on.

use std::time::{Duration, Instant};

use postern_config::RecordingEvent;
use postern_facts::{self as facts, RecordingRecord};
use postern_types::{
    CallSid, Now, RecordingSid, Sid,
    media::MediaCommand,
    recording::{Listener, RecorderCommand, RecorderEvent, RecordingEnd, RecordingSetup, TapId},
};

use crate::{
    call::{Call, is_due},
    callback::{Of, Subscription, rfc2822},
    context::Context,
    leg::{Leg, Stream},
    negotiate, originate,
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
    events: Vec<RecordingEvent>,
    /// The recorder must have said its end by then.
    until: Option<Instant>,
}

impl Recording {
    /// Whether it was told to end.
    pub fn is_stopped(&self) -> bool {
        self.until.is_some()
    }
}

impl Call {
    /// Begins to record a leg. Refused: why, in words.
    pub fn record(
        &mut self,
        cx: &mut Context,
        now: Now,
        leg: CallSid,
        wanted: Wanted,
    ) -> Result<RecordingSid, &'static str> {
        let of = self.tappable(leg)?;
        if self.recordings.len() >= RECORDINGS_MAX {
            return Err("too many recordings of this call");
        }
        let sid = RecordingSid::random(&mut cx.rng);
        let tap = cx.tap(self.sid);
        let track = match (wanted.inbound, wanted.outbound) {
            (true, false) => "inbound",
            (false, true) => "outbound",
            _ => "both",
        };
        let record = RecordingRecord {
            sid,
            account: of.account,
            call: leg,
            conference: None,
            created: now.wall,
            updated: now.wall,
            status: "in-progress".into(),
            channels: if wanted.stereo { 2 } else { 1 },
            source: wanted.source.into(),
            track: track.into(),
            duration_ms: 0,
            bytes: 0,
            error: None,
        };
        let Wanted { inbound, outbound, stereo, trim, seconds_max, silence, .. } = wanted;
        let setup = RecordingSetup { recording: sid, inbound, outbound, stereo, trim, seconds_max, silence };
        // The recorder first: a copy must find its tape.
        cx.out.push_back(Output::Recorder(RecorderCommand::Start(tap, setup)));
        cx.media(MediaCommand::Tap { leg, tap, to: Listener::Recorder, inbound, outbound });
        cx.out.push_back(Output::Recording(Box::new(record.clone())));
        let (recording, source) = (sid.to_string(), wanted.source.to_owned());
        let channels = record.channels;
        self.tell(cx, leg, facts::RecordingStarted { recording, source, channels, track: track.into() });
        let mut events = Vec::new();
        if let Some((subscription, wanted)) = wanted.subscription {
            events = wanted;
            if !self.callbacks.subscribe(Of::Recording(sid), subscription) {
                cx.counters.callbacks_lost += 1;
            }
        }
        self.recordings.push(Recording { record, tap, events, until: None });
        self.tell_subscriber(cx, now, sid, RecordingEvent::InProgress);
        Ok(sid)
    }

    /// A leg whose audio can be copied. Refused: why, in words.
    pub fn tappable(&self, leg: CallSid) -> Result<&Leg, &'static str> {
        let open = |leg: &&Leg| leg.is_live() && leg.answered.is_some() && matches!(leg.stream, Stream::Open { .. });
        let of = self.leg(leg).filter(open).ok_or("the call is not in progress")?;
        match of.agreed.first() {
            Some(format) if negotiate::is_tappable(format) => Ok(of),
            _ => Err("the call's codec cannot be copied: G.711 can"),
        }
    }

    /// Ends one; its file is whole when the recorder says so.
    pub fn stop_recording(&mut self, cx: &mut Context, now: Now, sid: RecordingSid) {
        let live = |recording: &&mut Recording| recording.record.sid == sid && !recording.is_stopped();
        let Some(recording) = self.recordings.iter_mut().find(live) else { return };
        recording.until = Some(now.instant + FINISHING_MAX);
        cx.out.push_back(Output::Recorder(RecorderCommand::Stop(recording.tap)));
        cx.media(MediaCommand::Untap { leg: recording.record.call, tap: recording.tap });
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
        let RecorderEvent::Ended { tap, why, length, bytes, lost } = event;
        cx.taps.remove(&tap);
        let Some(at) = self.recordings.iter().position(|recording| recording.tap == tap) else { return };
        let mut recording = self.recordings.swap_remove(at);
        if !recording.is_stopped() {
            cx.media(MediaCommand::Untap { leg: recording.record.call, tap });
        }
        let record = &mut recording.record;
        let (sid, leg) = (record.sid, record.call);
        let duration_ms = length.as_millis() as u64;
        record.status = if bytes > 0 { "completed" } else { "absent" }.into();
        record.updated = now.wall;
        (record.duration_ms, record.bytes) = (duration_ms, bytes);
        let name = sid.to_string();
        match why {
            RecordingEnd::Failed(why) => {
                record.error = Some(why.clone());
                self.tell(cx, leg, facts::RecordingFailed { recording: name, why, duration_ms });
            }
            ended => {
                let why = match ended {
                    RecordingEnd::Full => "full",
                    RecordingEnd::Silence => "silence",
                    _ => "stopped",
                };
                let why = why.to_owned();
                self.tell(cx, leg, facts::RecordingEnded { recording: name, why, duration_ms, bytes, lost });
            }
        }
        cx.out.push_back(Output::Recording(Box::new(recording.record.clone())));
        let record = recording.record.clone();
        self.recordings.push(recording);
        let told = if bytes > 0 { RecordingEvent::Completed } else { RecordingEvent::Absent };
        self.tell_subscriber(cx, now, sid, told);
        self.recordings.pop();
        self.callbacks.close(Of::Recording(sid));
        self.session_recorded(cx, now, &record);
    }

    fn tell_subscriber(&mut self, cx: &mut Context, now: Now, sid: RecordingSid, event: RecordingEvent) {
        let Some(recording) = self.recordings.iter().find(|recording| recording.record.sid == sid) else { return };
        if !recording.events.contains(&event) {
            return;
        }
        let record = &recording.record;
        let mut fields = Fields::new();
        if let Some(account) = record.account {
            add(&mut fields, "AccountSid", account);
        }
        add(&mut fields, "CallSid", record.call);
        add(&mut fields, "RecordingSid", sid);
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
        self.callbacks.post(cx, Of::Recording(sid), word, fields);
        self.deliver(cx, now, Of::Recording(sid));
    }

    /// When the recorder is late.
    pub fn recording_deadline(&self) -> Option<Instant> {
        self.recordings.iter().filter_map(|recording| recording.until).min()
    }

    /// A recorder that never said the end: the file is what it is.
    pub fn recording_timeout(&mut self, cx: &mut Context, now: Now) {
        let late = self.recordings.iter().filter(|recording| is_due(recording.until, now));
        let late: Vec<_> = late.map(|recording| recording.tap).collect();
        for tap in late {
            let why = RecordingEnd::Failed("the recorder did not say what became of it".into());
            let event = RecorderEvent::Ended { tap, why, length: Duration::ZERO, bytes: 0, lost: 0 };
            self.on_recorder(cx, now, event);
        }
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
