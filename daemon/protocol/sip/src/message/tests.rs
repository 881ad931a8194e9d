use super::*;
use crate::limits::{HEADERS_MAX, LINE_MAX, MESSAGE_MAX};

fn options(more: &str) -> String {
    format!(
        "OPTIONS sip:b@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\n\
         Call-ID: c\r\nCSeq: 1 OPTIONS\r\n{more}\r\n"
    )
}

fn defect(bytes: &[u8]) -> Option<Defect> {
    Message::parse(bytes).err().map(|error| error.defect)
}

#[test]
fn frames_are_read_or_refused() {
    let long_line = format!("X: {}\r\n", "x".repeat(LINE_MAX));
    let whole = options("");
    let many = "X: y\r\n".repeat(HEADERS_MAX);
    let table: &[(&str, Option<Defect>)] = &[
        ("\r\n\r\n", Some(Defect::KeepAlive)),
        ("", Some(Defect::KeepAlive)),
        ("\0", Some(Defect::StartLine)),
        ("GET / HTTP/1.1\r\n\r\n", Some(Defect::StartLine)),
        (&format!("\r\n\r\n{}", options("")), None),
        (&options("").replace("\r\n", "\n"), None),
        (&options("Content-Length: 3\r\n"), Some(Defect::BodyTooShort)),
        (&(options("Content-Length: 3\r\n") + "abcdef"), None),
        (&options("Content-Length: x\r\n"), Some(Defect::ContentLength)),
        (&options("Content-Length: 0\r\nl: 0\r\n"), None),
        (&options("no colon\r\n"), Some(Defect::HeaderLine)),
        (&options("bad name: x\r\n"), Some(Defect::HeaderLine)),
        (&options(": x\r\n"), Some(Defect::HeaderLine)),
        (&options(&long_line), Some(Defect::LineTooLong)),
        (&options(&many), Some(Defect::TooManyHeaders)),
        (whole.trim_end(), Some(Defect::NoEnd)),
        ("SIP/2.0 99 x\r\n\r\n", Some(Defect::StartLine)),
        ("SIP/2.0 2000 x\r\n\r\n", Some(Defect::StartLine)),
        ("SIP/2.0 200\r\n\r\n", None),
        ("SIP/3.0 200 OK\r\n\r\n", Some(Defect::StartLine)),
    ];
    for (text, want) in table {
        assert_eq!(defect(text.as_bytes()), *want, "{text:?}");
    }
    assert_eq!(defect(&vec![b'x'; MESSAGE_MAX + 1]), Some(Defect::TooLong));
}

#[test]
fn the_body_ends_where_content_length_says() {
    let message = Message::parse((options("Content-Length: 3\r\n") + "abcdef").as_bytes()).unwrap();
    assert_eq!(message.body(), b"abc");
    let message = Message::parse((options("") + "abcdef").as_bytes()).unwrap();
    assert_eq!(message.body(), b"abcdef");
}

#[test]
fn latin_1_is_read_rather_than_refused() {
    let mut bytes = options("").into_bytes();
    let at = bytes.windows(5).position(|w| w == b"<sip:").unwrap();
    bytes.splice(at..at, b"\"M\xfcller\" ".iter().copied());
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.headers().from().unwrap().display_name(), "Müller");
}

#[test]
fn an_error_is_answered_only_when_a_request_was_meant() {
    let answer = |text: &str| Message::parse(text.as_bytes()).unwrap_err().answer().map(|r| r.status);
    assert_eq!(answer(&options("no colon\r\n")), Some(400));
    assert_eq!(answer(&options("no colon\r\n").replace("OPTIONS", "ACK")), None);
    assert_eq!(answer("SIP/2.0 200 OK\r\nno colon\r\n\r\n"), None);
    assert_eq!(answer("noise"), None);
}

#[test]
fn addresses_come_apart() {
    let table = [
        ("<sip:a@h>;tag=1", Some(("", "sip:a@h", Some("1")))),
        ("sip:a@h;tag=1", Some(("", "sip:a@h", Some("1")))),
        ("\"A <b>, \\\"c\\\"\" <sip:a@h;x=1>;tag=2;y", Some(("A <b>, \"c\"", "sip:a@h;x=1", Some("2")))),
        ("Bob Smith<tel:+1>", Some(("Bob Smith", "tel:+1", None))),
        ("<sip:a@[::1]:5060;lr>;tag=\"x\"", Some(("", "sip:a@[::1]:5060;lr", Some("\"x\"")))),
        ("\"open <sip:a@h>", None),
        ("<sip:a@h", None),
        ("<sip:a@h>x", None),
        ("<sip:a@h>;tag=a b", None),
        ("x \"q\" <sip:a@h>", None),
        ("a b c", None),
        ("", None),
    ];
    for (text, want) in table {
        let read = NameAddr::parse(Name::From, text).ok();
        let read = read.map(|a| (a.display_name().into_owned(), a.uri_str(), a.tag()));
        assert_eq!(read, want.map(|(display, uri, tag)| (display.to_owned(), uri, tag)), "{text}");
    }
}

#[test]
fn vias_come_apart() {
    let via = Via::parse("SIP/2.0/UDP [2001:db8::9]:5070;rport;branch=z9hG4bKa;received=2001:db8::7").unwrap();
    assert_eq!((via.host, via.port, via.rport()), ("[2001:db8::9]", Some(5070), Some(None)));
    assert_eq!(via.received(), Some("2001:db8::7".parse().unwrap()));
    for bad in [
        "SIP/2.0/UDP",
        "SIP/2.0/UDP h:x",
        "SIP/1.0/UDP h",
        "SIP/2.0/UDP [::1;a",
        "SIP/2.0/U P h",
        "SIP/2.0/UDP h;a=\"b",
        "",
    ] {
        assert!(Via::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn lists_and_tokens_are_found_over_lines() {
    let text = options(
        "Supported: timer\r\nk: 100rel , path\r\nContact: *\r\nReason: Q.850 ;cause=16;text=\"a, b\", SIP;cause=200\r\n",
    );
    let message = Message::parse(text.as_bytes()).unwrap();
    let headers = message.headers();
    assert!(headers.has_token(Name::Supported, "100REL") && !headers.has_token(Name::Supported, "rel"));
    assert!(matches!(headers.contacts().next(), Some(Ok(Contact::Star))));
    let reasons: Vec<_> = headers.reasons().map(|r| (r.protocol.to_owned(), r.cause)).collect();
    assert_eq!(reasons, [("Q.850".to_owned(), Some(16)), ("SIP".to_owned(), Some(200))]);
}

#[test]
fn an_event_is_a_package_and_an_id() {
    let read = |value| EventValue::parse(value).map(|event| (event.package, event.id));
    for (value, want) in [
        ("dialog", Some(("dialog", None))),
        (" message-summary ; x=1 ; id = 7a ", Some(("message-summary", Some("7a")))),
        ("presence.winfo;ID=1", Some(("presence.winfo", Some("1")))),
        ("", None),
        (";id=1", None),
        ("a b", None),
        ("dialog;id=\"quoted\"", None),
        ("dialog;id", None),
        ("dialog;id=", None),
        ("dialog, presence", None),
    ] {
        assert_eq!(read(value), want, "{value}");
    }
}
