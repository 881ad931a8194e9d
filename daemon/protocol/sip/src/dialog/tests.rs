use super::*;
use crate::{ResponseBuilder, message::Message};

const US: &str = "192.0.2.1:5060";

fn invite(record_route: &str) -> Request {
    let uri = Uri::parse("sip:bob@192.0.2.1").unwrap();
    let mut builder = RequestBuilder::new(Method::Invite, &uri)
        .via("192.0.2.9:5070".parse::<std::net::SocketAddr>().unwrap(), "z9hG4bKone")
        .header(Name::From, "\"Alice\" <sip:alice@example.com>;tag=a")
        .header(Name::To, "<sip:bob@example.com>")
        .header(Name::CallId, "call-1")
        .cseq(7)
        .header(Name::Contact, "<sip:alice@192.0.2.9:5070>");
    if !record_route.is_empty() {
        builder = builder.header(Name::RecordRoute, record_route);
    }
    builder.build()
}

fn answer(request: &Request, status: u16, contact: &str) -> Response {
    ResponseBuilder::to(request, status).to_tag("b").header(Name::Contact, contact).record_route().build()
}

fn routes(request: &Request) -> Vec<&str> {
    request.headers.list(Name::Route).collect()
}

#[test]
fn both_sides_agree_on_the_dialog_and_its_route() {
    let request = invite("<sip:p2;lr>, <sip:p1;lr>");
    let mut callee = Dialog::uas(&request, "b", "<sip:bob@192.0.2.1:5060>").unwrap();
    let response = answer(&request, 200, "<sip:bob@192.0.2.1:5060>");
    let mut caller = Dialog::uac(&request, &response).unwrap();
    assert_eq!((caller.state(), callee.state()), (State::Confirmed, State::Early));

    let ack = caller.ack(7, "192.0.2.9:5070".parse::<std::net::SocketAddr>().unwrap(), "z9hG4bKack", None);
    assert_eq!((ack.uri_str(), routes(&ack)), ("sip:bob@192.0.2.1:5060", vec!["<sip:p1;lr>", "<sip:p2;lr>"]));
    assert_eq!(ack.headers.cseq().map(|c| (c.number, c.method)), Ok((7, "ACK")));
    assert!(callee.is_of(&ack) && callee.receive(&ack).is_ok());
    assert_eq!(caller.ack_again(&response).map(Request::wire), Some(ack.wire()));
    let other = ResponseBuilder::to(&request, 200).to_tag("fork").build();
    assert!(caller.ack_again(&other).is_none(), "another fork needs a dialog and an ACK of its own");

    let bye = callee.request(Method::Bye, US.parse::<std::net::SocketAddr>().unwrap(), "z9hG4bKbye").build();
    assert_eq!((bye.uri_str(), routes(&bye)), ("sip:alice@192.0.2.9:5070", vec!["<sip:p2;lr>", "<sip:p1;lr>"]));
    assert!(caller.is_of(&bye) && caller.receive(&bye).is_ok());
    assert_eq!(bye.headers.to().unwrap().tag(), Some("a"));
    bye.check().unwrap();
    rsip::Request::try_from(&bye.wire()[..]).unwrap();
    assert_eq!(caller.next_hop().as_str(), "sip:p1;lr");
}

#[test]
fn a_strict_router_is_addressed_itself() {
    let request = invite("<sip:strict.example.com>");
    let mut callee = Dialog::uas(&request, "b", "<sip:bob@192.0.2.1>").unwrap();
    let bye = callee.request(Method::Bye, US.parse::<std::net::SocketAddr>().unwrap(), "z9hG4bKbye").build();
    assert_eq!((bye.uri_str(), routes(&bye)), ("sip:strict.example.com", vec!["<sip:alice@192.0.2.9:5070>"]));
}

#[test]
fn requests_out_of_order_are_refused_and_targets_move() {
    let request = invite("");
    let mut callee = Dialog::uas(&request, "b", "<sip:bob@192.0.2.1>").unwrap();
    let response = answer(&request, 200, "<sip:bob@192.0.2.1>");
    let mut caller = Dialog::uac(&request, &response).unwrap();
    let contact = "<sip:alice@192.0.2.9:6000>";
    let reinvite = caller.request(Method::Invite, US.parse::<std::net::SocketAddr>().unwrap(), "z9hG4bKre").build();
    let moved = RequestBuilder::copy(&reinvite, &[Name::Contact]).header(Name::Contact, contact).build();
    assert_eq!(callee.receive(&moved), Ok(()));
    assert_eq!(callee.remote_target().as_str(), "sip:alice@192.0.2.9:6000");
    let status = callee.receive(&moved).map_err(|rejection| rejection.status);
    assert_eq!(status, Err(500));
}

#[test]
fn an_early_dialog_is_settled_by_its_200() {
    let request = invite("");
    let mut caller = Dialog::uac(&request, &answer(&request, 183, "<sip:early@192.0.2.1>")).unwrap();
    assert_eq!(caller.state(), State::Early);
    caller.refresh(&answer(&request, 200, "<sip:late@192.0.2.1>"));
    assert_eq!((caller.state(), caller.remote_target().as_str()), (State::Confirmed, "sip:late@192.0.2.1"));
}

#[test]
fn what_makes_no_dialog() {
    let request = invite("");
    assert_eq!(Dialog::uac(&request, &answer(&request, 486, "<sip:b@h>")).err(), Some(DialogError::NoDialog));
    assert_eq!(Dialog::uac(&request, &ResponseBuilder::to(&request, 180).build()).err(), Some(DialogError::NoDialog));
    let bare = RequestBuilder::copy(&request, &[Name::Contact]).build();
    assert_eq!(Dialog::uas(&bare, "b", "<sip:b@h>").err(), Some(DialogError::Contact));
    let long = invite(&vec!["<sip:p;lr>"; ROUTE_SET_MAX + 1].join(","));
    assert_eq!(Dialog::uas(&long, "b", "<sip:b@h>").err(), Some(DialogError::RouteSet));
    // RFC 3261 12.2.2: no tag in To, no dialog.
    assert!(!Dialog::uas(&request, "b", "<sip:b@h>").unwrap().is_of(&request));
    assert!(Message::parse(&long.wire()).is_ok());
}
