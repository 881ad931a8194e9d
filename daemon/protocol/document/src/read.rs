//! The tree to verbs: which elements and attributes there are, and which values they take.

use std::{ops::RangeInclusive, time::Duration};

use postern_config::{CallbackEvent, HttpMethod, RecordingEvent};
use postern_types::Secret;

mod conference;
mod fork;

use crate::{
    DocumentError, NOT_VALID,
    program::*,
    tree::{self, Element},
};

/// Nouns of one `<Dial>` at most.
const NOUNS_MAX: usize = 10;
/// Warnings kept of one document.
const WARNINGS_MAX: usize = 32;
/// Seconds of a `<Pause>` at most: one hour.
const PAUSE_MAX: u32 = 3600;
/// Verbs of the platform that are not built yet: told apart from a typing mistake.
const NOT_BUILT: [&str; 13] = [
    "Say", "Enqueue", "Leave", "Refer", "Connect", "Echo", "Queue", "Sms", "Pay", "Prompt", "Siprec", "Stream",
    "Message",
];
/// The same for what stands in `<Dial>`.
const NOUNS_NOT_BUILT: [&str; 4] = ["Queue", "Application", "Sim", "WhatsApp"];

/// Attributes of everything that records.
const RECORDING_CALLBACK: [&str; 3] =
    ["recordingStatusCallback", "recordingStatusCallbackMethod", "recordingStatusCallbackEvent"];

impl Program {
    /// Reads a document.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let source = tree::text(bytes)?;
        let root = tree::parse(source)?;
        let mut reader = Reader { source, warnings: Vec::new() };
        if root.name != "Response" {
            return Err(reader.error(&root, format!("the root is <{}>, and must be <Response>", root.name)));
        }
        reader.no_text(&root)?;
        reader.known(&root, &[]);
        let verbs = root.children.iter().map(|child| reader.verb(child)).collect::<Result<_, _>>()?;
        Ok(Self { verbs, warnings: reader.warnings })
    }
}

struct Reader<'a> {
    source: &'a str,
    warnings: Vec<String>,
}

type Read<T> = Result<T, DocumentError>;

impl Reader<'_> {
    fn verb(&mut self, element: &Element) -> Read<Verb> {
        match element.name.as_str() {
            "Dial" => self.dial(element).map(|dial| Verb::Dial(Box::new(dial))),
            "Play" => self.play(element).map(Verb::Play),
            "Gather" => self.gather(element).map(|gather| Verb::Gather(Box::new(gather))),
            "Record" => self.record(element).map(|record| Verb::Record(Box::new(record))),
            "Start" => self.start(element).map(|stream| Verb::Start(Box::new(stream))),
            "Stop" => self.stop(element).map(Verb::Stop),
            "Pause" => self.pause(element).map(Verb::Pause),
            "Redirect" => {
                self.known(element, &["method"]);
                self.leaf(element)?;
                let target = Target { url: element.text.trim().to_owned(), method: self.method(element, "method")? };
                Ok(Verb::Redirect(Redirect { target }))
            }
            "Reject" => {
                self.known(element, &["reason"]);
                let reason = match attribute(element, "reason") {
                    None | Some("rejected") => RejectReason::Rejected,
                    Some("busy") => RejectReason::Busy,
                    Some(other) => return Err(self.value(element, "reason", other, "rejected or busy")),
                };
                Ok(Verb::Reject(Reject { reason }))
            }
            "Hangup" => {
                self.known(element, &[]);
                Ok(Verb::Hangup)
            }
            name if NOT_BUILT.contains(&name) => {
                Err(self.error(element, format!("<{name}> is a verb that this version does not have yet")))
            }
            name => Err(self.error(element, format!("<{name}> is not a verb"))),
        }
    }

    fn dial(&mut self, element: &Element) -> Read<Dial> {
        let known =
            ["timeout", "timeLimit", "callerId", "action", "method", "hangupOnStar", "answerOnBridge", "sequential"];
        let referring = ["referUrl", "referMethod"];
        let recording = ["record", "recordingTrack", "trim"];
        self.known(element, &[&known[..], &referring, &recording, &RECORDING_CALLBACK].concat());
        let mut nouns = Vec::new();
        let number = element.text.trim();
        if !number.is_empty() {
            nouns.push(Noun::Number(Number { number: self.number(element, number)?, status_callback: None }));
        }
        for child in &element.children {
            nouns.push(match child.name.as_str() {
                "Number" => Noun::Number(self.number_noun(child)?),
                "Client" => Noun::Client(self.client(child)?),
                "Sip" => Noun::Sip(self.sip(child)?),
                "Conference" => Noun::Conference(Box::new(self.conference(child)?)),
                name if NOUNS_NOT_BUILT.contains(&name) => {
                    return Err(self.error(child, format!("<{name}> in <Dial> is not built in this version yet")));
                }
                name => return Err(self.error(child, format!("<{name}> cannot be dialed"))),
            });
        }
        if nouns.is_empty() {
            return Err(self.error(element, "<Dial> without anybody to dial".into()));
        }
        if nouns.len() > NOUNS_MAX {
            return Err(self.error(element, format!("more than {NOUNS_MAX} parties in one <Dial>")));
        }
        let record = self.dial_record(element)?;
        if nouns.iter().any(|noun| matches!(noun, Noun::Conference(_))) {
            if nouns.len() > 1 {
                return Err(self.error(element, "<Conference> stands alone in its <Dial>".into()));
            }
            if record.is_some() {
                return Err(self.error(element, "record: a conference cannot be recorded in this version yet".into()));
            }
        }
        Ok(Dial {
            nouns,
            timeout: self.seconds(element, "timeout", 1..=600)?.unwrap_or(Duration::from_secs(30)),
            time_limit: self.seconds(element, "timeLimit", 1..=86400)?.unwrap_or(Duration::from_secs(14400)),
            caller_id: attribute(element, "callerId").map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned),
            action: self.action(element)?,
            refer: {
                let method = self.method(element, "referMethod")?;
                let url = attribute(element, "referUrl").map(str::trim).filter(|url| !url.is_empty());
                url.map(|url| Target { url: url.to_owned(), method })
            },
            hangup_on_star: self.flag(element, "hangupOnStar")?,
            answer_on_bridge: self.flag(element, "answerOnBridge")?,
            sequential: self.flag(element, "sequential")?,
            record,
        })
    }

    fn number_noun(&mut self, element: &Element) -> Read<Number> {
        self.known(element, &["statusCallback", "statusCallbackMethod", "statusCallbackEvent"]);
        self.leaf(element)?;
        let number = self.number(element, element.text.trim())?;
        Ok(Number { number, status_callback: self.status_callback(element)? })
    }

    fn client(&mut self, element: &Element) -> Read<ClientNoun> {
        self.known(element, &["statusCallback", "statusCallbackMethod", "statusCallbackEvent"]);
        let mut identity = element.text.trim().to_owned();
        let mut parameters = Vec::new();
        for child in &element.children {
            match child.name.as_str() {
                "Identity" => identity = child.text.trim().to_owned(),
                "Parameter" => {
                    self.known(child, &["name", "value"]);
                    let name = attribute(child, "name").unwrap_or_default();
                    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
                    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) {
                        return Err(self.value(child, "name", name, "1 to 64 letters, digits, - _ ."));
                    }
                    let value = attribute(child, "value").unwrap_or_default();
                    if value.len() > 800 || value.contains(char::is_control) {
                        return Err(
                            self.error(child, "a value of more than 800 bytes, or with control characters".into())
                        );
                    }
                    parameters.push((name.to_owned(), value.to_owned()));
                }
                name => return Err(self.error(child, format!("<{name}> cannot stand in <Client>"))),
            }
        }
        if identity.is_empty() || identity.len() > 121 || identity.contains(char::is_control) {
            return Err(self.error(element, "<Client> wants an identity of 1 to 121 characters".into()));
        }
        Ok(ClientNoun { identity, parameters, status_callback: self.status_callback(element)? })
    }

    fn sip(&mut self, element: &Element) -> Read<SipNoun> {
        let known = ["username", "password", "statusCallback", "statusCallbackMethod", "statusCallbackEvent"];
        self.known(element, &known);
        self.leaf(element)?;
        let text = element.text.trim();
        let (uri, query) = text.split_once('?').unwrap_or((text, ""));
        let rest = uri.get(4..).filter(|_| uri.len() >= 4 && uri[..4].eq_ignore_ascii_case("sip:"));
        let host = rest.map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
        let plausible = host.is_some_and(|host| !host.is_empty())
            && uri.len() <= 512
            && uri.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b));
        if !plausible {
            return Err(self.error(element, "<Sip> wants sip:user@host".into()));
        }
        let mut headers = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decoded(value);
            let is_ours = name.len() > 2
                && name.len() <= 64
                && name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            match value.filter(|value| is_ours && value.len() <= 255 && !value.contains(char::is_control)) {
                Some(value) => headers.push((name.to_owned(), value)),
                None => self.warn(element, "a header that does not start with X-, or has no printable value"),
            }
        }
        let credentials = attribute(element, "username")
            .map(|name| (name.to_owned(), Secret::new(attribute(element, "password").unwrap_or_default().to_owned())));
        Ok(SipNoun { uri: uri.to_owned(), headers, credentials, status_callback: self.status_callback(element)? })
    }

    fn play(&mut self, element: &Element) -> Read<Play> {
        self.known(element, &["loop"]);
        self.leaf(element)?;
        let url = element.text.trim();
        if url.is_empty() {
            return Err(self.error(element, "<Play> without a URL".into()));
        }
        let times = self.integer(element, "loop", 0..=1000)?.unwrap_or(1);
        Ok(Play { url: url.to_owned(), times })
    }

    fn record(&mut self, element: &Element) -> Read<Record> {
        let known = ["maxLength", "timeout", "finishOnKey", "playBeep", "trim", "action", "method", "transcribe"];
        self.known(element, &[&known[..], &RECORDING_CALLBACK].concat());
        self.leaf(element)?;
        if self.flag(element, "transcribe")? {
            return Err(self.error(element, "transcribe: speech is not built in this version yet".into()));
        }
        Ok(Record {
            max_length: self.seconds(element, "maxLength", 1..=14_400)?.unwrap_or(Duration::from_secs(3600)),
            timeout: self.seconds(element, "timeout", 1..=3600)?.unwrap_or(Duration::from_secs(5)),
            finish_on_key: self.keys(element, "1234567890*#")?,
            play_beep: attribute(element, "playBeep").is_none() || self.flag(element, "playBeep")?,
            trim: self.trim(element, true)?,
            action: self.action(element)?,
            callback: self.recording_callback(element)?,
        })
    }

    fn dial_record(&self, element: &Element) -> Read<Option<DialRecord>> {
        let (from_ringing, dual) = match attribute(element, "record") {
            None | Some("do-not-record" | "false" | "False") => return Ok(None),
            Some("record-from-answer" | "true" | "True") => (false, false),
            Some("record-from-answer-dual") => (false, true),
            Some("record-from-ringing") => (true, false),
            Some("record-from-ringing-dual") => (true, true),
            Some(other) => {
                let want = "do-not-record, record-from-answer, record-from-ringing, either perhaps with -dual";
                return Err(self.value(element, "record", other, want));
            }
        };
        let (inbound, outbound) = match attribute(element, "recordingTrack") {
            None | Some("both") => (true, true),
            Some("inbound") => (true, false),
            Some("outbound") => (false, true),
            Some(other) => return Err(self.value(element, "recordingTrack", other, "inbound, outbound or both")),
        };
        let (trim, callback) = (self.trim(element, false)?, self.recording_callback(element)?);
        Ok(Some(DialRecord { from_ringing, dual, inbound, outbound, trim, callback }))
    }

    fn trim(&self, element: &Element, otherwise: bool) -> Read<bool> {
        match attribute(element, "trim") {
            None => Ok(otherwise),
            Some("trim-silence") => Ok(true),
            Some("do-not-trim") => Ok(false),
            Some(other) => Err(self.value(element, "trim", other, "trim-silence or do-not-trim")),
        }
    }

    fn recording_callback(&self, element: &Element) -> Read<Option<RecordingCallback>> {
        let method = self.method(element, "recordingStatusCallbackMethod")?;
        let mut events = Vec::new();
        for word in attribute(element, "recordingStatusCallbackEvent").unwrap_or("completed").split_whitespace() {
            let want = "in-progress, completed, absent";
            let event = RecordingEvent::from_word(word)
                .ok_or_else(|| self.value(element, "recordingStatusCallbackEvent", word, want))?;
            if !events.contains(&event) {
                events.push(event);
            }
        }
        let url = attribute(element, "recordingStatusCallback").map(str::trim).filter(|url| !url.is_empty());
        Ok(url.map(|url| RecordingCallback { url: url.to_owned(), method, events }))
    }

    /// Keys of `finishOnKey`.
    fn keys(&self, element: &Element, otherwise: &str) -> Read<String> {
        let keys = attribute(element, "finishOnKey").unwrap_or(otherwise);
        if keys.len() > 12 || !keys.bytes().all(|b| b"0123456789*#".contains(&b)) {
            return Err(self.value(element, "finishOnKey", keys, "digits, * and #"));
        }
        Ok(keys.to_owned())
    }

    fn pause(&mut self, element: &Element) -> Read<Pause> {
        self.known(element, &["length"]);
        let length = self.seconds(element, "length", 0..=PAUSE_MAX)?.unwrap_or(Duration::from_secs(1));
        Ok(Pause { length })
    }

    fn gather(&mut self, element: &Element) -> Read<Gather> {
        let known = ["numDigits", "timeout", "finishOnKey", "action", "method", "actionOnEmptyResult", "input"];
        self.known(element, &known);
        self.no_text(element)?;
        if let Some(input) = attribute(element, "input")
            && !input.split_whitespace().any(|way| way == "dtmf")
        {
            return Err(self.value(element, "input", input, "dtmf: speech is not built in this version yet"));
        }
        let mut prompts = Vec::new();
        for child in &element.children {
            prompts.push(match child.name.as_str() {
                "Play" => Prompt::Play(self.play(child)?),
                "Pause" => Prompt::Pause(self.pause(child)?),
                "Say" => return Err(self.error(child, "<Say> is a verb that this version does not have yet".into())),
                name => return Err(self.error(child, format!("<{name}> cannot stand in <Gather>"))),
            });
        }
        Ok(Gather {
            prompts,
            num_digits: self.integer(element, "numDigits", 1..=128)?,
            timeout: self.seconds(element, "timeout", 0..=3600)?.unwrap_or(Duration::from_secs(5)),
            finish_on_key: self.keys(element, "#")?,
            action: self.action(element)?,
            action_on_empty_result: self.flag(element, "actionOnEmptyResult")?,
        })
    }

    fn action(&self, element: &Element) -> Read<Option<Target>> {
        let method = self.method(element, "method")?;
        Ok(attribute(element, "action").map(|url| Target { url: url.trim().to_owned(), method }))
    }

    fn status_callback(&self, element: &Element) -> Read<Option<StatusCallback>> {
        let method = self.method(element, "statusCallbackMethod")?;
        let mut events = Vec::new();
        for word in attribute(element, "statusCallbackEvent").unwrap_or("completed").split_whitespace() {
            let event = match word {
                "initiated" => CallbackEvent::Initiated,
                "ringing" => CallbackEvent::Ringing,
                "answered" => CallbackEvent::Answered,
                "completed" => CallbackEvent::Completed,
                other => {
                    let want = "initiated, ringing, answered, completed";
                    return Err(self.value(element, "statusCallbackEvent", other, want));
                }
            };
            if !events.contains(&event) {
                events.push(event);
            }
        }
        let url = attribute(element, "statusCallback").map(str::trim).filter(|url| !url.is_empty());
        Ok(url.map(|url| StatusCallback { url: url.to_owned(), method, events }))
    }

    /// A telephone number: visual separators are taken out.
    fn number(&self, element: &Element, text: &str) -> Read<String> {
        let number: String = text.chars().filter(|c| !" -.()/".contains(*c)).collect();
        let plausible = (1..=32).contains(&number.len())
            && number
                .bytes()
                .enumerate()
                .all(|(at, b)| b.is_ascii_digit() || b == b'*' || b == b'#' || (b == b'+' && at == 0));
        if plausible {
            Ok(number)
        } else {
            Err(self.error(element, format!("{text:?} is not a number that can be dialed")))
        }
    }

    fn method(&self, element: &Element, name: &str) -> Read<HttpMethod> {
        match attribute(element, name) {
            None => Ok(HttpMethod::Post),
            Some(word) if word.eq_ignore_ascii_case("post") => Ok(HttpMethod::Post),
            Some(word) if word.eq_ignore_ascii_case("get") => Ok(HttpMethod::Get),
            Some(other) => Err(self.value(element, name, other, "GET or POST")),
        }
    }

    fn flag(&self, element: &Element, name: &str) -> Read<bool> {
        match attribute(element, name) {
            None | Some("false" | "False" | "0") => Ok(false),
            Some("true" | "True" | "1") => Ok(true),
            Some(other) => Err(self.value(element, name, other, "true or false")),
        }
    }

    fn integer(&self, element: &Element, name: &str, range: RangeInclusive<u32>) -> Read<Option<u32>> {
        let Some(text) = attribute(element, name) else { return Ok(None) };
        let value = text.trim().parse().ok().filter(|value| range.contains(value));
        let want = || format!("a whole number from {} to {}", range.start(), range.end());
        value.map(Some).ok_or_else(|| self.value(element, name, text, &want()))
    }

    fn seconds(&self, element: &Element, name: &str, range: RangeInclusive<u32>) -> Read<Option<Duration>> {
        Ok(self.integer(element, name, range)?.map(|seconds| Duration::from_secs(seconds.into())))
    }

    fn leaf(&self, element: &Element) -> Read<()> {
        match element.children.first() {
            Some(child) => Err(self.error(child, format!("<{}> cannot stand in <{}>", child.name, element.name))),
            None => Ok(()),
        }
    }

    fn no_text(&self, element: &Element) -> Read<()> {
        if element.text.trim().is_empty() {
            return Ok(());
        }
        Err(self.error(element, format!("<{}> cannot hold text", element.name)))
    }

    fn known(&mut self, element: &Element, names: &[&str]) {
        for (name, _) in &element.attributes {
            let is_markup = name.starts_with("xml") || name.contains(':');
            if !is_markup && !names.contains(&name.as_str()) {
                let name: String = name.chars().take(40).collect();
                self.warn(element, &format!("attribute {name} is not known and was ignored"));
            }
        }
    }

    fn warn(&mut self, element: &Element, what: &str) {
        if self.warnings.len() < WARNINGS_MAX {
            let (line, _) = tree::place(self.source, element.at);
            self.warnings.push(format!("line {line}: <{}>: {what}", element.name));
        }
    }

    fn value(&self, element: &Element, name: &str, value: &str, want: &str) -> DocumentError {
        let value: String = value.chars().take(40).collect();
        self.error(element, format!("{name}={value:?} in <{}>: want {want}", element.name))
    }

    fn error(&self, element: &Element, message: String) -> DocumentError {
        tree::error(self.source, element.at, NOT_VALID, message)
    }
}

fn attribute<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    element.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// None: not UTF-8, or a `%` without two hexadecimal digits behind it.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |b: u8| char::from(b).to_digit(16);
        bytes.push((digit(digits[0])? * 16 + digit(digits[1])?) as u8);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}
