//! What is kept of a call when it is over.

use postern_types::{
    AccountSid, CallSid, RecordingSid, UnixMicros,
    cause::{Cause, EndedBy},
    leg::Party,
    media::StreamReport,
    stream::Negotiated,
};
use serde::{Deserialize, Serialize};

/// One leg, finished or live: the call resource of the REST API and the row of the call records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// The leg.
    pub sid: CallSid,
    /// The leg that caused this one, for a dialed leg.
    pub parent: Option<CallSid>,
    /// The tenant, when the call belongs to one.
    pub account: Option<AccountSid>,
    /// `inbound`, `outbound-api` or `outbound-dial`.
    pub direction: String,
    /// `queued`, `ringing`, `in-progress`, `completed`, `busy`, `failed`, `no-answer`, `canceled`.
    pub status: String,
    /// The caller.
    pub from: String,
    /// Display name of the caller.
    pub from_name: String,
    /// Who was called.
    pub to: String,
    /// Who stands at the far end.
    pub party: Party,
    /// First INVITE, or creation by REST.
    pub created: UnixMicros,
    /// Last change.
    pub updated: UnixMicros,
    /// Answer.
    pub answered: Option<UnixMicros>,
    /// End.
    pub ended: Option<UnixMicros>,
    /// Who released it.
    pub ended_by: Option<EndedBy>,
    /// Why.
    pub cause: Option<Cause>,
    /// What came of the check of the caller's signature, with how far the signer vouches (`TN-Validation-Passed-A`); none: it was not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verstat: Option<String>,
    /// The audio that was settled on, last.
    pub media: Option<Negotiated>,
    /// The audio's figures, last.
    pub quality: Option<StreamReport>,
}

/// One recording, live or finished: the recording resource of the REST API. Its file is `<sid>.wav` in the recordings' folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingRecord {
    /// Its name.
    pub sid: RecordingSid,
    /// The tenant.
    pub account: Option<AccountSid>,
    /// The leg that was recorded.
    pub call: CallSid,
    /// The conference, for a recording of one.
    #[serde(default)]
    pub conference: Option<String>,
    /// Begin.
    pub created: UnixMicros,
    /// Last change.
    pub updated: UnixMicros,
    /// `in-progress`, `paused`, `completed` or `absent` (there is no file).
    pub status: String,
    /// Channels of the file.
    pub channels: u8,
    /// Who asked: `RecordVerb`, `DialVerb`, `StartCallRecordingAPI`, …
    pub source: String,
    /// `inbound`, `outbound` or `both`.
    pub track: String,
    /// How long it sounds, milliseconds; 0 while it is made.
    pub duration_ms: u64,
    /// Bytes of its file; 0 while it is made.
    pub bytes: u64,
    /// What went wrong.
    pub error: Option<String>,
}
