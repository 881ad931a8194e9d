use proptest::prelude::*;
use rsip::prelude::{HeadersExt, ToTypedHeader};

use super::*;
use crate::message::Message;

fn invite() -> Request {
    let uri = Uri::parse("sip:bob@192.0.2.1:5060").unwrap();
    RequestBuilder::new(Method::Invite, &uri)
        .via("192.0.2.9:5070".parse::<std::net::SocketAddr>().unwrap(), "z9hG4bKone")
        .max_forwards(70)
        .header(Name::From, "\"Alice\" <sip:alice@192.0.2.9>;tag=a")
        .header(Name::To, "<sip:bob@192.0.2.1>")
        .header(Name::CallId, "call-1")
        .cseq(1)
        .header(Name::Contact, "<sip:alice@192.0.2.9:5070>")
        .other("X-Trace", "42")
        .body("application/sdp", b"v=0\r\n")
        .build()
}

fn parsed(wire: &[u8]) -> Message {
    Message::parse(wire).expect("what we build reads")
}

#[test]
fn an_independent_reader_agrees_with_what_we_build() {
    let request = invite();
    let theirs = rsip::Request::try_from(&request.wire()[..]).unwrap();
    assert_eq!(theirs.method, rsip::Method::Invite);
    assert_eq!(theirs.uri.to_string(), request.uri_str());
    assert_eq!(theirs.cseq_header().unwrap().typed().unwrap().seq, 1);
    assert_eq!(theirs.from_header().unwrap().typed().unwrap().tag().unwrap().to_string(), "a");
    assert_eq!(theirs.via_header().unwrap().typed().unwrap().branch().unwrap().to_string(), "z9hG4bKone");
    assert_eq!(theirs.body, b"v=0\r\n");
    let response = ResponseBuilder::to(&request, 486).to_tag("b").header(Name::Contact, "<sip:b@h>").build();
    let theirs = rsip::Response::try_from(&response.wire()[..]).unwrap();
    assert_eq!(theirs.status_code, rsip::StatusCode::BusyHere);
    assert_eq!(theirs.to_header().unwrap().typed().unwrap().tag().unwrap().to_string(), "b");
    for message in [cancel(&request, Some("SIP;cause=200")), ack_of_failure(&request, &response)] {
        rsip::Request::try_from(&message.wire()[..]).unwrap();
    }
}

#[test]
fn what_is_built_has_the_marks_that_parsing_finds() {
    let built = invite();
    let Message::Request(read) = parsed(&built.wire()) else { panic!() };
    assert!(built.headers.iter().eq(read.headers.iter()));
    assert_eq!((built.uri(), &built.body), (read.uri(), &read.body));
    let retried =
        RequestBuilder::retry(&built, "192.0.2.9:5070".parse::<SocketAddr>().unwrap().into(), "z9hG4bKtwo", 2, &[])
            .build();
    let Message::Request(read) = parsed(&retried.wire()) else { panic!() };
    assert!(retried.headers.iter().eq(read.headers.iter()));
    assert_eq!(read.headers.via().unwrap().branch(), Some("z9hG4bKtwo"));
    assert_eq!(read.headers.cseq().unwrap().number, 2);
    assert_eq!(
        (read.headers.other("x-trace"), read.headers.all(Name::Via).count(), read.body.len()),
        (Some("42"), 1, 5)
    );
}

#[test]
fn another_try_asks_the_next_hop_for_the_same() {
    let us: SocketAddr = "192.0.2.9:5070".parse().unwrap();
    for asked in ["", crate::relief::WANTED] {
        let uri = Uri::sip(Some("b"), "h", None).unwrap();
        let first = RequestBuilder::new(Method::Invite, &uri).via_with(us, "z9hG4bKone", asked).cseq(1).build();
        let again = RequestBuilder::retry(&first, us.into(), "z9hG4bKtwo", 2, &[]).build();
        let want = format!("SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKtwo;rport{asked}");
        assert_eq!(again.headers.first(Name::Via), Some(&*want));
    }
}

#[test]
fn a_response_copies_every_via_and_fills_the_top_one() {
    let text = String::from_utf8(invite().wire().to_vec()).unwrap();
    let text = text.replace("\r\nMax", ", SIP/2.0/TCP p2;branch=z9hG4bKp\r\nv: SIP/2.0/UDP p3\r\nMax");
    let Message::Request(mut request) = parsed(text.as_bytes()) else { panic!() };
    request.source = Some("[2001:db8::5]:9999".parse().unwrap());
    let response = ResponseBuilder::to(&request, 180).to_tag("b").build();
    let vias: Vec<_> = response.headers.all(Name::Via).collect();
    let want = [
        "SIP/2.0/UDP 192.0.2.9:5070;branch=z9hG4bKone;received=2001:db8::5;rport=9999",
        "SIP/2.0/TCP p2;branch=z9hG4bKp",
        "SIP/2.0/UDP p3",
    ];
    assert_eq!(vias, want);
    assert_eq!(response_address(&request), request.source);
}

#[test]
fn a_tag_that_is_there_stays() {
    let text = String::from_utf8(invite().wire().to_vec())
        .unwrap()
        .replace("<sip:bob@192.0.2.1>", "<sip:bob@192.0.2.1>;tag=old");
    let Message::Request(request) = parsed(text.as_bytes()) else { panic!() };
    let response = ResponseBuilder::to(&request, 200).to_tag("new").build();
    assert_eq!(response.headers.to().unwrap().tag(), Some("old"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Header injection: whatever a value is, it stays one value.
    #[test]
    fn no_value_makes_a_header_or_a_body(value in "(?s).{0,40}", name in "(?s).{0,10}", display in "(?s).{0,20}", reason in "(?s).{0,20}") {
        let value = format!("{value}\r\nEvil: 1\r\n\r\nbody");
        let uri = Uri::parse("sip:b@h").unwrap();
        let plain = invite();
        let request = RequestBuilder::copy(&plain, &[])
            .header(Name::Subject, &value)
            .header(Name::PAssertedIdentity, &name_addr(&display, &uri))
            .other(&name, &value)
            .body(&value, b"x")
            .build();
        let Message::Request(read) = parsed(&request.wire()) else { panic!() };
        prop_assert_eq!(read.headers.other("Evil"), None);
        prop_assert_eq!(read.headers.len(), request.headers.len());
        prop_assert_eq!(&*read.body, b"x");
        let back = read.headers.asserted_identities().next().unwrap().unwrap();
        let clean: String = display.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        prop_assert_eq!(back.display_name(), clean);
        let response = ResponseBuilder::to(&request, 500).reason(&reason).to_tag("t").other("X-A", &value).build();
        prop_assert_eq!(parsed(&response.wire()).headers().len(), response.headers.len());
    }

    #[test]
    fn a_user_part_reads_back(user in "(?s).{1,30}") {
        let uri = Uri::sip(Some(&user), "example.com", None).unwrap();
        prop_assert_eq!(uri.user_decoded().unwrap(), user);
        prop_assert_eq!(uri.host(), "example.com");
    }

    #[test]
    fn noise_does_not_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        crate::fuzz::message(&data);
        crate::fuzz::uri(&data);
        crate::fuzz::digest(&data);
    }

    #[test]
    fn near_sip_does_not_panic(text in "(INVITE|ACK|SIP/2.0|[a-z:@;,<>\"\\\\= \r\n%?\\[\\]]|Via: SIP/2.0/UDP |From: |Digest |sip:){0,60}") {
        crate::fuzz::message(text.as_bytes());
        crate::fuzz::uri(text.as_bytes());
        crate::fuzz::digest(text.as_bytes());
    }
}
