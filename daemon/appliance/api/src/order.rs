//! Orders read from forms: make a call, change a call. What cannot be done is refused by name, never ignored, when a
//! call would otherwise behave differently from what was asked.

use axum::http::StatusCode;
use postern_config::{CallbackEvent, HttpMethod};
use postern_router::rest::{CreateCall, Instructions, StatusCallback, UpdateCall};

use crate::{error::Refusal, form::Parameters};

/// Seconds a call rings when nothing is said, and at most.
const TIMEOUT_DEFAULT: u32 = 60;
const TIMEOUT_MAX: u32 = 600;

/// Characters of a document in a request at most.
const DOCUMENT_MAX: usize = 4000;

/// Characters of a URL, number or name at most.
const TEXT_MAX: usize = 2048;

/// Parameters that change a call in a way that the appliance cannot yet, with the values that ask for nothing.
const UNSUPPORTED: [(&str, &[&str]); 9] = [
    ("SendDigits", &[]),
    ("Record", &["false", "False"]),
    ("MachineDetection", &[]),
    ("AsyncAmd", &["false", "False"]),
    ("TimeLimit", &[]),
    ("CallerId", &[]),
    ("SipAuthUsername", &[]),
    ("SipAuthPassword", &[]),
    ("Byoc", &[]),
];

/// `POST Calls.json`.
pub(crate) fn create(form: &Parameters) -> Result<CreateCall, Refusal> {
    supported(form)?;
    let to = text(form, "To")?.ok_or_else(|| Refusal::parameter(21201, "To", "who is to be called is missing"))?;
    let from =
        text(form, "From")?.ok_or_else(|| Refusal::parameter(21213, "From", "the caller to be shown is missing"))?;
    let instructions = instructions(form)?.ok_or_else(|| {
        let why = "the call's instructions are missing: send Url, Twiml or ApplicationSid";
        Refusal::parameter(21205, "Url", why)
    })?;
    let timeout_s = timeout(form)?;
    // A configured application has callbacks of its own; those of the request are then not looked at.
    let status_callback = match instructions {
        Instructions::Application(_) => None,
        _ => status_callback(form)?,
    };
    Ok(CreateCall { to: to.into(), from: from.into(), instructions, timeout_s, status_callback })
}

/// `POST Calls/{sid}.json`.
pub(crate) fn update(form: &Parameters) -> Result<UpdateCall, Refusal> {
    supported(form)?;
    if form.one("StatusCallback").is_some() {
        let why = "cannot be changed while the call lives";
        return Err(Refusal::parameter(20001, "StatusCallback", why));
    }
    match form.one("Status") {
        Some("canceled") => return Ok(UpdateCall::Cancel),
        Some("completed") => return Ok(UpdateCall::Complete),
        Some(_) => return Err(Refusal::parameter(20001, "Status", "want `canceled` or `completed`")),
        None => {}
    }
    match instructions(form)? {
        Some(instructions) => Ok(UpdateCall::Redirect(instructions)),
        None => Err(Refusal::new(StatusCode::BAD_REQUEST, 20001, "nothing to change: send Url, Twiml or Status")),
    }
}

/// Seconds it may ring.
pub(crate) fn timeout(form: &Parameters) -> Result<u32, Refusal> {
    Ok(form.number("Timeout", 1..=TIMEOUT_MAX)?.unwrap_or(TIMEOUT_DEFAULT))
}

fn supported(form: &Parameters) -> Result<(), Refusal> {
    for (name, harmless) in UNSUPPORTED {
        if form.one(name).is_some_and(|value| !harmless.contains(&value)) {
            return Err(Refusal::parameter(20001, name, "not supported by this appliance"));
        }
    }
    Ok(())
}

fn instructions(form: &Parameters) -> Result<Option<Instructions>, Refusal> {
    if let Some(name) = text(form, "ApplicationSid")? {
        return Ok(Some(Instructions::Application(name.into())));
    }
    if let Some(url) = web(form, "Url")? {
        let method = method(form, "Method")?;
        let fallback = match web(form, "FallbackUrl")? {
            Some(url) => Some((url.into(), self::method(form, "FallbackMethod")?)),
            None => None,
        };
        return Ok(Some(Instructions::Url { url: url.into(), method, fallback }));
    }
    match form.one("Twiml") {
        Some(document) if document.chars().count() > DOCUMENT_MAX => {
            Err(Refusal::parameter(20001, "Twiml", format!("longer than {DOCUMENT_MAX} characters; serve it at a Url")))
        }
        Some(document) => Ok(Some(Instructions::Document(document.into()))),
        None => Ok(None),
    }
}

pub(crate) fn status_callback(form: &Parameters) -> Result<Option<StatusCallback>, Refusal> {
    let Some(url) = web(form, "StatusCallback")? else { return Ok(None) };
    let mut events = Vec::new();
    for name in form.all("StatusCallbackEvent").flat_map(str::split_ascii_whitespace) {
        let event = match name {
            "initiated" => CallbackEvent::Initiated,
            "ringing" => CallbackEvent::Ringing,
            "answered" => CallbackEvent::Answered,
            "completed" => CallbackEvent::Completed,
            _ => {
                let why = "want `initiated`, `ringing`, `answered` or `completed`";
                return Err(Refusal::parameter(20001, "StatusCallbackEvent", why));
            }
        };
        if !events.contains(&event) {
            events.push(event);
        }
    }
    if events.is_empty() {
        events.push(CallbackEvent::Completed);
    }
    Ok(Some(StatusCallback { url: url.into(), method: method(form, "StatusCallbackMethod")?, events }))
}

pub(crate) fn method(form: &Parameters, name: &str) -> Result<HttpMethod, Refusal> {
    match form.one(name) {
        None => Ok(HttpMethod::Post),
        Some(text) if text.eq_ignore_ascii_case("POST") => Ok(HttpMethod::Post),
        Some(text) if text.eq_ignore_ascii_case("GET") => Ok(HttpMethod::Get),
        Some(_) => Err(Refusal::parameter(21209, name, "want GET or POST")),
    }
}

pub(crate) fn web<'a>(form: &'a Parameters, name: &str) -> Result<Option<&'a str>, Refusal> {
    let Some(text) = text(form, name)? else { return Ok(None) };
    let known = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !known {
        return Err(Refusal::parameter(21205, name, "want an absolute http or https URL"));
    }
    Ok(Some(text))
}

pub(crate) fn text<'a>(form: &'a Parameters, name: &str) -> Result<Option<&'a str>, Refusal> {
    match form.one(name) {
        Some(text) if text.len() > TEXT_MAX => Err(Refusal::parameter(20001, name, "too long")),
        Some(text) if text.contains(|c: char| c.is_control()) => {
            Err(Refusal::parameter(20001, name, "holds control characters"))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Parameters {
        Parameters::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_call_is_read_from_its_form() {
        let call = create(&form(
            "To=%2B15550001&From=%2B15550002&Url=http://a/v%3Fx=1&Method=GET&FallbackUrl=http://b/&Timeout=20\
             &StatusCallback=https://c/s&StatusCallbackEvent=initiated&StatusCallbackEvent=answered&Record=false",
        ))
        .unwrap();
        let instructions = Instructions::Url {
            url: "http://a/v?x=1".into(),
            method: HttpMethod::Get,
            fallback: Some(("http://b/".into(), HttpMethod::Post)),
        };
        let status_callback = Some(StatusCallback {
            url: "https://c/s".into(),
            method: HttpMethod::Post,
            events: vec![CallbackEvent::Initiated, CallbackEvent::Answered],
        });
        let (to, from) = ("+15550001".into(), "+15550002".into());
        assert_eq!(call, CreateCall { to, from, instructions, timeout_s: 20, status_callback });
    }

    #[test]
    fn an_application_wins_over_a_url_and_a_url_over_a_document() {
        let both = "To=a&From=b&Twiml=%3CResponse/%3E";
        assert_eq!(create(&form(both)).unwrap().instructions, Instructions::Document("<Response/>".into()));
        let call = create(&form(&format!("{both}&Url=http://a/"))).unwrap();
        assert!(matches!(call.instructions, Instructions::Url { .. }) && call.timeout_s == 60);
        let call = create(&form(&format!("{both}&Url=http://a/&ApplicationSid=ivr&StatusCallback=http://c/"))).unwrap();
        assert_eq!((call.instructions, call.status_callback), (Instructions::Application("ivr".into()), None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!("To=a&From=b&Twiml={}", "x".repeat(4001));
        for (text, name, code) in [
            ("From=b&Url=http://a/", "To", 21201),
            ("To=&From=b&Url=http://a/", "To", 21201),
            ("To=a&Url=http://a/", "From", 21213),
            ("To=a%0D%0AVia:x&From=b&Url=http://a/", "To", 20001),
            ("To=a&From=b", "Url", 21205),
            ("To=a&From=b&Url=ftp://a/", "Url", 21205),
            ("To=a&From=b&Url=/relative", "Url", 21205),
            ("To=a&From=b&Url=http://a/&Method=PUT", "Method", 21209),
            ("To=a&From=b&Url=http://a/&Timeout=601", "Timeout", 20001),
            ("To=a&From=b&Url=http://a/&Timeout=0", "Timeout", 20001),
            (
                "To=a&From=b&Url=http://a/&StatusCallback=http://c/&StatusCallbackEvent=ended",
                "StatusCallbackEvent",
                20001,
            ),
            ("To=a&From=b&Url=http://a/&SendDigits=1", "SendDigits", 20001),
            ("To=a&From=b&Url=http://a/&Record=true", "Record", 20001),
            (&long, "Twiml", 20001),
        ] {
            let refused = format!("{:?}", create(&form(text)).unwrap_err());
            assert!(refused.contains(&format!("'{name}'")) && refused.contains(&code.to_string()), "{text}: {refused}");
        }
    }

    #[test]
    fn a_change_is_read_from_its_form() {
        assert_eq!(update(&form("Status=completed")), Ok(UpdateCall::Complete));
        assert_eq!(update(&form("Status=canceled")), Ok(UpdateCall::Cancel));
        assert!(matches!(update(&form("Url=http://a/&Method=GET")), Ok(UpdateCall::Redirect(_))));
        for bad in
            ["", "Status=busy", "Url=x", "StatusCallback=http://a/&Status=completed", "TimeLimit=5&Url=http://a/"]
        {
            assert!(update(&form(bad)).is_err(), "{bad}");
        }
    }
}
