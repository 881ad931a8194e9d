//! RFC 4475: every message of section 3, and what becomes of it here.
//!
//! `torture/messages.txt` has them in the RFC's manner: one line a line, `<hex ..>` for bytes that cannot be shown and
//! `<repeat n text>` for long runs.

use postern_sip::{Message, Method, Name, Request, build::ResponseBuilder, fuzz, message::Contact, uri::Scheme};

const FILE: &str = include_str!("torture/messages.txt");

fn message(name: &str) -> Vec<u8> {
    let text = FILE.split("== ").find_map(|part| part.strip_prefix(name)?.strip_prefix('\n')).expect(name);
    // A message without a body ends with its empty line, which the file's last line end would be part of.
    let text = if text.contains("\n\n") { text.to_owned() } else { format!("{text}\n") };
    let mut out = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['<', '\n']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(mark) = rest.strip_prefix("<hex ") {
            let (digits, after) = mark.split_once('>').expect("closed");
            out.extend(
                (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex")),
            );
            rest = after;
        } else if let Some(mark) = rest.strip_prefix("<repeat ") {
            let (run, after) = mark.split_once('>').expect("closed");
            let (count, what) = run.split_once(' ').expect("count and text");
            out.extend(what.repeat(count.parse().expect("count")).bytes());
            rest = after;
        } else if let Some(after) = rest.strip_prefix('\n') {
            out.extend_from_slice(b"\r\n");
            rest = after;
        } else {
            out.push(b'<');
            rest = &rest[1..];
        }
    }
    out
}

/// `ok`, `dropped`, or the status and reason that a UAS answers.
fn outcome(bytes: &[u8]) -> String {
    match Message::parse(bytes) {
        Ok(Message::Request(request)) => match request.check() {
            Ok(()) => "ok".into(),
            Err(rejection) => format!("{} {}", rejection.status, rejection.reason),
        },
        Ok(Message::Response(response)) => if response.check().is_ok() { "ok" } else { "dropped" }.into(),
        Err(error) => match error.answer() {
            Some(rejection) => format!("{} {}", rejection.status, rejection.reason),
            None => "dropped".into(),
        },
    }
}

fn request(name: &str) -> Request {
    match Message::parse(&message(name)) {
        Ok(Message::Request(request)) => request,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn every_message_of_the_rfc_has_its_outcome() {
    let table = [
        // 3.1.1: valid.
        ("wsinv", "ok"),
        ("intmeth", "ok"),
        ("esc01", "ok"),
        ("escnull", "ok"),
        ("esc02", "ok"),
        ("lwsdisp", "ok"),
        ("longreq", "ok"),
        ("dblreq", "ok"),
        ("semiuri", "ok"),
        ("transports", "ok"),
        ("mpart01", "ok"),
        ("unreason", "ok"),
        ("noreason", "ok"),
        // 3.1.2: invalid.
        ("badinv01", "400 Malformed Via"),
        ("clerr", "400 Body Shorter Than Content-Length"),
        ("ncl", "400 Bad Content-Length"),
        ("scalar02", "400 Malformed CSeq"),
        ("scalarlg", "dropped"),
        ("quotbal", "400 Malformed To"),
        ("ltgtruri", "400 Request-URI In Angle Brackets"),
        ("lwsruri", "400 White Space In Request Line"),
        ("lwsstart", "400 White Space In Request Line"),
        ("trws", "400 White Space After SIP Version"),
        ("escruri", "400 Headers In Request-URI"),
        // Nobody here reads Date; the RFC leaves refusing it open.
        ("baddate", "ok"),
        ("regbadct", "400 Malformed Contact"),
        // Cannot be misread, so they are read: the RFC allows it.
        ("badaspec", "ok"),
        ("baddn", "ok"),
        ("badvers", "505 SIP Version Not Supported"),
        ("mismatch01", "400 CSeq Method Does Not Match"),
        ("mismatch02", "400 CSeq Method Does Not Match"),
        ("bigcode", "dropped"),
        // 3.2: transaction layer. Matched as of RFC 2543.
        ("badbranch", "ok"),
        // 3.3: application layer. What reads well is the core's to refuse: 416, 420, 415, 483.
        ("insuf", "400 Missing From"),
        ("unkscm", "ok"),
        ("novelsc", "ok"),
        ("unksm2", "ok"),
        ("bext01", "ok"),
        ("invut", "ok"),
        ("regaut01", "ok"),
        ("multi01", "400 Two From"),
        ("mcl01", "400 Bad Content-Length"),
        ("bcast", "ok"),
        ("zeromf", "ok"),
        ("cparam01", "ok"),
        ("cparam02", "ok"),
        ("regescrt", "ok"),
        ("sdp01", "ok"),
        // 3.4: RFC 2543.
        ("inv2543", "ok"),
    ];
    let wrong: Vec<_> = table
        .iter()
        .map(|(name, want)| (name, want, outcome(&message(name))))
        .filter(|(_, w, got)| *w != got)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(table.len(), FILE.matches("== ").count(), "every message of the file is in the table");
}

#[test]
fn nothing_is_lost_of_a_valid_message() {
    for name in ["wsinv", "intmeth", "esc02", "longreq", "transports", "mpart01", "unreason", "noreason"] {
        let bytes = message(name);
        assert_eq!(Message::parse(&bytes).expect(name).wire()[..], bytes[..], "{name}");
    }
}

#[test]
fn a_short_tortuous_invite_is_read_through_its_folds() {
    let request = request("wsinv");
    let headers = &request.headers;
    assert_eq!((request.uri().user(), request.uri().param("unknownparam")), (Some("vivekg"), Some("")));
    assert_eq!(headers.to().expect("To").tag(), Some("1918181833n"));
    let from = headers.from().expect("From");
    assert_eq!((from.tag(), &*from.display_name()), (Some("98asjd8"), "J Rosenberg \\\""));
    assert_eq!(headers.number(Name::MaxForwards), Some(Ok(68)));
    assert_eq!(headers.cseq().map(|cseq| (cseq.number, cseq.method)), Ok((9, "INVITE")));
    let vias: Vec<_> =
        headers.vias().map(|via| via.expect("Via")).map(|via| (via.transport, via.host, via.branch())).collect();
    let want = [
        ("UDP", "192.0.2.2", Some("390skdjuw")),
        ("TCP", "spindle.example.com", Some("z9hG4bK9ikj8")),
        ("UDP", "192.168.255.111", Some("z9hG4bK30239")),
    ];
    assert_eq!(vias, want);
    assert_eq!(headers.first(Name::Subject), Some(""));
    let fangled = headers.iter().find(|header| header.name == "NewFangledHeader").expect("kept");
    assert_eq!(fangled.unfolded(), "newfangled value continued newfangled value");
    assert_eq!(headers.other("unknownheaderwithunusualvalue"), Some(";;,,;;,;"));
    let Some(Ok(Contact::Address(contact))) = headers.contacts().next() else { panic!("Contact") };
    assert_eq!(
        (&*contact.display_name(), contact.param("newparam"), contact.param("q")),
        ("Quoted string \"\"", Some("newvalue"), Some("0.33"))
    );
    assert_eq!(request.body.len(), 150);
}

#[test]
fn special_characters_stay_what_they_are() {
    let request = request("intmeth");
    assert_eq!(request.method, Method::Other("!interesting-Method0123456789_*+`.%indeed'~".into()));
    assert_eq!(request.uri().host(), "example.com");
    assert_eq!(request.uri().password(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(request.headers.to().expect("To").display_name(), "BEL:\u{7} NUL:\0 DEL:\u{7f}");
    let from = request.headers.from().expect("From");
    assert_eq!(from.params.text("fromParam''~+*_!.-%").as_deref(), Some("работающий"));
    // Escapes are resolved where they are asked for, and never in a name.
    let escaped = self::request("esc01");
    assert_eq!(escaped.uri().user_decoded().as_deref(), Some("sips:user@example.com"));
    assert_eq!(escaped.headers.contact().expect("Contact").uri().expect("URI").param("lr"), None);
    assert_eq!(self::request("esc02").headers.contacts().count(), 2);
    let contacts = self::request("escnull");
    let mut users = Vec::new();
    for contact in contacts.headers.contacts() {
        let Ok(Contact::Address(address)) = contact else { panic!("{contact:?}") };
        users.push(address.uri().expect("URI").user_decoded().expect("user").into_owned());
    }
    assert_eq!(users, ["\0", "\0\0"]);
}

#[test]
fn the_host_is_not_confused() {
    let request = request("semiuri");
    assert_eq!((request.uri().user(), request.uri().host()), (Some("user;par=u%40example.net"), "example.com"));
    assert_eq!(request.headers.list(Name::Accept).count(), 6);
    assert_eq!(self::request("unkscm").uri().scheme(), Scheme::Other);
    assert_eq!(self::request("regescrt").headers.contact().expect("Contact").uri().expect("URI").headers().count(), 1);
    let [one, two] = ["cparam01", "cparam02"].map(self::request);
    assert_eq!(one.headers.contact().expect("Contact").param("unknownparam"), Some(""));
    assert_eq!(two.headers.contact().expect("Contact").uri().expect("URI").param("unknownparam"), Some(""));
}

#[test]
fn one_datagram_is_one_message() {
    let request = request("dblreq");
    assert_eq!((request.method.as_str(), request.body.len()), ("REGISTER", 0));
    assert_eq!(self::request("mpart01").body.len(), 553);
    assert_eq!(self::request("longreq").headers.vias().count(), 34);
}

/// The refused ones can be answered, and no torture breaks a view.
#[test]
fn every_message_can_be_answered_and_survives_the_fuzz_entry() {
    for name in FILE.split("== ").filter_map(|part| part.split_once('\n')).map(|(name, _)| name) {
        let bytes = message(name);
        fuzz::message(&bytes);
        // Cut and changed all over; not at every byte, to stay quick.
        for at in (0..bytes.len()).step_by(7) {
            fuzz::message(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] = b"\"<>;,\r\n@%\0"[at % 10];
            fuzz::message(&changed);
        }
        if let Err(error) = Message::parse(&bytes)
            && let (Some(rejection), Some(request)) = (error.answer(), error.request)
        {
            let response = ResponseBuilder::to(&request, rejection.status).reason(rejection.reason).to_tag("t").build();
            Message::parse(&response.wire()).expect(name);
        }
    }
}
