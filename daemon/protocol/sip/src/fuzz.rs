//! One entry a parser: whatever the bytes are, nothing panics, and what was read and written again reads the same.

use crate::{
    build::ResponseBuilder,
    digest::AuthHeader,
    framing::{Broken, Frame, Framer},
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
        let told = crate::relief::Relief::told(&via);
        assert!(told.is_none_or(|told| told.loss <= 100));
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
    let _ = (headers.cseq(), headers.call_id(), headers.content_type(), headers.reasons().count(), headers.event());
    let _ = (headers.number(Name::Expires), headers.number(Name::MaxForwards), headers.start_line());
    let _ = crate::digest::challenges(headers).count();
    let _ = headers.first(Name::Authorization).map(AuthHeader::parse);
}

/// A stream, in one piece and in pieces: the same frames come out however it was split, and each message is one for the parser.
pub fn stream(data: &[u8]) {
    let mut whole = Framer::default();
    whole.push(data);
    let expected = frames(&mut whole);
    for piece in [1, 7] {
        let mut pieces = Framer::default();
        let mut found = Vec::new();
        for piece in data.chunks(piece) {
            pieces.push(piece);
            found.extend(frames(&mut pieces));
            if found.last().is_some_and(Result::is_err) {
                break;
            }
        }
        assert_eq!(found, expected, "in pieces of {piece}");
    }
}

/// What is there, with each message's bytes; an error is the last.
fn frames(framer: &mut Framer) -> Vec<Result<Option<Vec<u8>>, Broken>> {
    let mut found = Vec::new();
    while let Some(frame) = framer.next() {
        match frame {
            Ok(Frame::Message(bytes)) => {
                // The framer and the parser must agree on where it ends, or one hides a message in the other's body.
                // A head that is no UTF-8 is read as Latin-1 and grows by that.
                if let (Ok(message), Ok(_)) = (Message::parse(bytes), std::str::from_utf8(bytes)) {
                    assert_eq!(message.wire().len(), bytes.len(), "nothing is left over of a frame");
                }
                found.push(Ok(Some(bytes.to_vec())));
            }
            Ok(Frame::Ping) => found.push(Ok(None)),
            Err(broken) => {
                found.push(Err(broken));
                break;
            }
        }
    }
    found
}

/// A message as a trace keeps it: nothing is longer or shorter masked, and masking twice changes nothing more.
pub fn raw(data: &[u8]) {
    let mut masked = data.to_vec();
    crate::raw::mask(&mut masked);
    assert_eq!(crate::raw::call_id(&masked).is_some(), crate::raw::call_id(data).is_some());
    let mut again = masked.clone();
    crate::raw::mask(&mut again);
    assert_eq!(again, masked);
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
