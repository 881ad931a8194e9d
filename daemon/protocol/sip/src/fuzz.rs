//! One entry a parser: whatever the bytes are, nothing panics, and what was read and written again reads the same.

use crate::{
    build::ResponseBuilder,
    digest::AuthHeader,
    message::{Contact, Headers, Message, Name},
    uri::Uri,
};

/// A datagram, with every typed view, and a response to it.
pub fn message(data: &[u8]) {
    let request = match Message::parse(data) {
        Ok(Message::Request(request)) => {
            views(&request.headers);
            let _ = request.check();
            request
        }
        Ok(Message::Response(response)) => {
            views(&response.headers);
            let _ = (response.check(), response.reason());
            return;
        }
        Err(error) => match error.request {
            Some(request) => *request,
            None => return,
        },
    };
    let _ = request.uri().equivalent(&request.uri());
    let response = ResponseBuilder::to(&request, 486).to_tag("fuzz").build();
    if request.check().is_ok() {
        let again = Message::parse(&response.wire()).expect("what we build reads");
        assert_eq!(again.headers().len(), response.headers.len(), "no value becomes a header of its own");
    }
}

fn views(headers: &Headers) {
    for header in headers.iter() {
        let _ = (header.unfolded(), headers.other(header.name));
    }
    for via in headers.vias().flatten() {
        let _ = (via.branch(), via.unique_branch(), via.received(), via.rport(), via.params.iter().count());
    }
    for address in [headers.from(), headers.to(), headers.contact()].into_iter().flatten() {
        let _ = (address.display_name(), address.tag(), address.uri());
    }
    for contact in headers.contacts().flatten() {
        if let Contact::Address(address) = contact {
            let _ = (address.param("expires"), address.params.text("+sip.instance"));
        }
    }
    let _ = (headers.routes().count(), headers.record_routes().count(), headers.asserted_identities().count());
    let _ = (headers.cseq(), headers.call_id(), headers.content_type(), headers.reasons().count());
    let _ = (headers.number(Name::Expires), headers.number(Name::MaxForwards), headers.start_line());
    let _ = crate::digest::challenges(headers).count();
    let _ = headers.first(Name::Authorization).map(AuthHeader::parse);
}

/// A URI.
pub fn uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = Uri::parse(text) else { return };
    let _ =
        (uri.user_decoded(), uri.password(), uri.host_ip(), uri.port(), uri.params().count(), uri.headers().count());
    let bare = uri.without_params();
    let bare_again = Uri::parse(bare.as_str()).expect("a URI without its parameters is one");
    assert_eq!(bare_again.host(), uri.host(), "parameters do not move the host");
    let more = uri.with_param("x", Some("y"));
    assert_eq!(Uri::parse(more.as_str()).expect("one more parameter keeps it a URI").host(), uri.host());
}

/// A challenge or authorization.
pub fn digest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for header in AuthHeader::parse_all(text).unwrap_or_default() {
        let _ = (header.is_digest(), header.param("realm"), header.param("nonce"), format!("{header:?}"));
    }
}
