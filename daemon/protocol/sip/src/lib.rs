//! SIP: message, transaction, dialog, digest. Bytes and now in, outputs and deadlines out.
//!
//! No socket, no clock, no randomness of its own: `now` and random bytes are arguments. Nothing a peer sends can panic.
//!
//! | module | verbs |
//! |---|---|
//! | [`message`] | `Message::parse(datagram)`; `Request { method, headers, body, .. }`, `Response { status, headers, body, .. }`; `request.uri()`, `request.check()`, `request.wire()`; `headers.first(Name)`, `.all(Name)`, `.other("X-Foo")`, `.iter()`, `.via()`, `.from()`, `.to()`, `.contacts()`, `.routes()`, `.record_routes()`, `.cseq()`, `.call_id()`, `.tokens(Name)`, ... |
//! | [`uri`] | `Uri::parse(text)`: `scheme()`, `user()`, `host()`, `port()`, `param("transport")`, `into_owned()`, `equivalent(&other)` |
//! | [`build`] | `RequestBuilder::new(method, uri).via(..).header(Name, value).body(type, bytes).build()`; `ResponseBuilder::to(&request, status).to_tag(tag).header(..).build()` |
//! | [`transaction`] | `Transactions::receive(now, flow, message)`, `receive_broken(flow, &error)`, `send_request(now, flow, request)`, `cancel(now, key, reason)`, `send(flow, &ack)`, `respond(now, key, &response)`, `discard(key)`, `handle_timeout(now)`, `poll_output()`, `next_deadline()` |
//! | [`dialog`] | `Dialog::uac(&request, &response)`, `Dialog::uas(&request, local_tag, contact)`, `.request(method, sent_by, branch)`, `.ack(..)`, `.ack_again(&response)`, `.receive(&request)`, `.refresh(&response)`; `AnswerKeeper` repeats a 2xx until its ACK |
//! | [`framing`] | `Framer::push(bytes)`, `.next()`: messages and keep-alives out of a stream |
//! | [`digest`] | `Challenger::challenge(..)`, `.check(..)` for a server; `answer(&response, ..)` for a client, then `RequestBuilder::retry` |
//! | [`raw`] | `call_id(bytes)`, `mask(bytes)`: of a message that is kept as it was on the wire |
//! | [`fuzz`] | one entry a parser |
//!
//! Who does what with a 2xx to INVITE (RFC 3261 13.3.1.4, 17.1.1.2; RFC 6026): the transaction layer passes every 2xx
//! up and lets the Accepted state absorb repeated INVITEs; the UAS core repeats its 2xx with [`dialog::AnswerKeeper`]
//! until the ACK comes; the UAC core sends the ACK that [`dialog::Dialog::ack`] built, again for each repeated 2xx.

#![forbid(unsafe_code)]

pub mod build;
pub mod dialog;
pub mod digest;
pub mod framing;
pub mod fuzz;
pub mod limits;
pub mod message;
pub mod raw;
pub mod relief;
pub mod status;
pub mod transaction;
pub mod uri;

mod scan;
mod write;

pub use build::{RequestBuilder, ResponseBuilder, SentBy};
pub use message::{Headers, Message, Method, Name, ParseError, Request, Response};
pub use uri::Uri;
