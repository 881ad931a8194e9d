//! The four machines in virtual time: each timer, each race. A score: who says what when, and what must come out.

use super::*;
use crate::{
    Name, RequestBuilder, Uri,
    dialog::{AnswerKeeper, Keep},
};

const START_BRANCH: &str = "z9hG4bKone";

/// One endpoint and its clock.
struct Desk {
    now: Instant,
    start: Instant,
    table: Transactions,
    flow: Flow,
}

impl Desk {
    fn new() -> Self {
        #[allow(clippy::disallowed_methods, reason = "any instant will do as the start of virtual time")]
        let start = Instant::now();
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.9:5070".parse().unwrap());
        Self { now: start, start, table: Transactions::new(7, 100), flow }
    }

    /// One whose peer is reached over a connection.
    fn over_tcp() -> Self {
        let mut desk = Self::new();
        desk.flow.transport = Transport::Tcp;
        desk.flow.connection = Some(ConnectionId::accepted(1));
        desk
    }

    fn request(&self, method: Method, branch: &str) -> Request {
        let uri = Uri::parse("sip:bob@192.0.2.1").unwrap();
        RequestBuilder::new(method, &uri)
            .via("192.0.2.9:5070".parse::<std::net::SocketAddr>().unwrap(), branch)
            .header(Name::From, "<sip:alice@192.0.2.9>;tag=a")
            .header(Name::To, "<sip:bob@192.0.2.1>")
            .header(Name::CallId, "call-1")
            .cseq(1)
            .header(Name::Contact, "<sip:alice@192.0.2.9:5070>")
            .build()
    }

    fn send(&mut self, method: Method) -> ClientKey {
        let request = self.request(method, START_BRANCH);
        self.table.send_request(self.now, self.flow, request).unwrap()
    }

    fn receive(&mut self, message: Message) {
        self.table.receive(self.now, self.flow, message);
    }

    fn receive_request(&mut self, method: Method, branch: &str) {
        let request = self.request(method, branch);
        self.receive(Message::Request(request));
    }

    /// The peer answers the request that we sent with `method`.
    fn answered(&mut self, method: Method, status: u16) {
        let response = ResponseBuilder::to(&self.request(method, START_BRANCH), status).to_tag("b").build();
        self.receive(Message::Response(response));
    }

    fn respond(&mut self, key: ServerKey, status: u16) -> bool {
        let response = self.response(status);
        self.table.respond(self.now, key, &response)
    }

    fn response(&self, status: u16) -> Response {
        ResponseBuilder::to(&self.request(Method::Invite, START_BRANCH), status).to_tag("b").build()
    }

    /// What came out, in words.
    fn out(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.table.poll_output())
            .map(|output| match output {
                Output::Send { bytes, .. } => match Message::parse(&bytes).unwrap() {
                    Message::Request(request) => format!("> {}", request.method),
                    Message::Response(response) => {
                        format!("> {} {}", response.status, response.headers.cseq().unwrap().method)
                    }
                },
                Output::Request { request, .. } => format!("request {}", request.method),
                Output::Cancelled { .. } => "cancelled".into(),
                Output::Ack { .. } => "ack".into(),
                Output::Response { response, .. } => format!("response {}", response.status),
                Output::Stray { response, .. } => format!("stray {}", response.status),
                Output::TimedOut { .. } => "timed out".into(),
                Output::Undelivered { .. } => "undelivered".into(),
                Output::NoAck { .. } => "no ack".into(),
            })
            .collect()
    }

    fn key(&mut self) -> ServerKey {
        loop {
            match self.table.poll_output().expect("a request came up") {
                Output::Request { key, .. } => return key,
                _ => continue,
            }
        }
    }

    /// Lets time pass by deadlines; says at which millisecond what came out.
    fn run(&mut self, until_ms: u64) -> Vec<(u64, String)> {
        let mut out = Vec::new();
        let until = self.start + Duration::from_millis(until_ms);
        while let Some(next) = self.table.next_deadline().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.table.handle_timeout(self.now);
            let at = (self.now - self.start).as_millis() as u64;
            out.extend(self.out().into_iter().map(|what| (at, what)));
        }
        self.now = until;
        out
    }
}

fn times(out: &[(u64, String)], what: &str) -> Vec<u64> {
    out.iter().filter(|(_, w)| w == what).map(|(at, _)| *at).collect()
}

#[test]
fn timers_a_and_b_repeat_an_invite_and_give_up() {
    let mut desk = Desk::new();
    desk.send(Method::Invite);
    assert_eq!(desk.out(), ["> INVITE"]);
    let out = desk.run(60_000);
    assert_eq!(times(&out, "> INVITE"), [500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!(times(&out, "timed out"), [32000]);
    assert!(desk.table.is_empty());
}

#[test]
fn timers_e_and_f_repeat_another_request_at_most_every_four_seconds() {
    let mut desk = Desk::new();
    desk.send(Method::Bye);
    assert_eq!(desk.out(), ["> BYE"]);
    let out = desk.run(60_000);
    assert_eq!(times(&out, "> BYE"), [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!(times(&out, "timed out"), [32000]);
}

#[test]
fn a_provisional_answer_slows_timer_e_and_ends_timers_a_and_b() {
    let mut desk = Desk::new();
    desk.send(Method::Options);
    desk.answered(Method::Options, 100);
    assert_eq!(desk.out(), ["> OPTIONS", "response 100"]);
    assert_eq!(times(&desk.run(9_000), "> OPTIONS"), [500, 4500, 8500]);

    let mut desk = Desk::new();
    desk.send(Method::Invite);
    desk.answered(Method::Invite, 180);
    desk.out();
    assert_eq!(desk.run(600_000), [], "an INVITE rings for as long as the core lets it");
}

#[test]
fn a_failure_is_acknowledged_once_upward_and_each_time_on_the_wire_until_timer_d() {
    let mut desk = Desk::new();
    desk.send(Method::Invite);
    desk.out();
    desk.answered(Method::Invite, 486);
    assert_eq!(desk.out(), ["> ACK", "response 486"]);
    desk.run(31_000);
    desk.answered(Method::Invite, 486);
    assert_eq!(desk.out(), ["> ACK"]);
    assert_eq!(desk.table.len(), (1, 0));
    desk.run(32_001);
    assert!(desk.table.is_empty());
    desk.answered(Method::Invite, 486);
    assert_eq!(desk.out(), ["stray 486"]);
}

#[test]
fn the_ack_of_a_failure_has_the_invites_branch_and_route_and_the_responses_tag() {
    let mut desk = Desk::new();
    desk.send(Method::Invite);
    desk.answered(Method::Invite, 486);
    let ack = std::iter::from_fn(|| desk.table.poll_output()).find_map(|output| match output {
        Output::Send { bytes, .. } if bytes.starts_with(b"ACK ") => Message::parse(&bytes).ok(),
        _ => None,
    });
    let ack = ack.unwrap();
    let headers = ack.headers();
    assert_eq!(headers.via().unwrap().branch(), Some(START_BRANCH));
    assert_eq!(headers.to().unwrap().tag(), Some("b"));
    assert_eq!(headers.cseq().map(|c| (c.number, c.method)), Ok((1, "ACK")));
}

#[test]
fn every_2xx_comes_up_until_timer_m() {
    let mut desk = Desk::new();
    desk.send(Method::Invite);
    desk.out();
    // Back to back, then the 200 again, and one of another fork.
    for status in [180, 200, 200] {
        desk.answered(Method::Invite, status);
    }
    let fork = ResponseBuilder::to(&desk.request(Method::Invite, START_BRANCH), 200).to_tag("fork").build();
    desk.receive(Message::Response(fork));
    assert_eq!(desk.out(), ["response 180", "response 200", "response 200", "response 200"]);
    desk.answered(Method::Invite, 486);
    desk.answered(Method::Invite, 180);
    assert_eq!(desk.out(), [""; 0], "nothing but 2xx is looked at then");
    desk.run(32_001);
    desk.answered(Method::Invite, 200);
    assert_eq!(desk.out(), ["stray 200"]);
}

#[test]
fn timer_k_absorbs_repeated_answers_for_five_seconds() {
    let mut desk = Desk::new();
    desk.send(Method::Bye);
    desk.answered(Method::Bye, 200);
    desk.answered(Method::Bye, 200);
    assert_eq!(desk.out(), ["> BYE", "response 200"]);
    desk.run(4_999);
    assert_eq!(desk.table.len(), (1, 0));
    desk.run(5_001);
    assert!(desk.table.is_empty());
}

#[test]
fn an_invite_that_the_core_is_slow_with_gets_100_after_200_ms() {
    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, START_BRANCH);
    assert_eq!(desk.out(), ["request INVITE"]);
    desk.receive_request(Method::Invite, START_BRANCH);
    assert_eq!(desk.out(), [""; 0], "nothing to repeat yet");
    assert_eq!(desk.run(1_000), [(200, "> 100 INVITE".into())]);
    desk.receive_request(Method::Invite, START_BRANCH);
    assert_eq!(desk.out(), ["> 100 INVITE"]);

    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    assert!(desk.respond(key, 180));
    desk.receive_request(Method::Invite, START_BRANCH);
    assert_eq!(desk.out(), ["> 180 INVITE", "> 180 INVITE"]);
    assert_eq!(desk.run(1_000), []);
}

#[test]
fn timers_g_and_h_repeat_a_failure_until_somebody_acknowledges() {
    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    assert!(desk.respond(key, 486));
    assert!(!desk.respond(key, 200), "final is final");
    desk.out();
    let out = desk.run(60_000);
    assert_eq!(times(&out, "> 486 INVITE"), [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!(times(&out, "no ack"), [32000]);

    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    desk.respond(key, 486);
    desk.run(600);
    desk.receive_request(Method::Ack, START_BRANCH);
    desk.receive_request(Method::Ack, START_BRANCH);
    assert_eq!(desk.out(), [""; 0], "the ACK of a failure is absorbed");
    desk.receive_request(Method::Invite, START_BRANCH);
    assert_eq!(desk.run(5_599), [], "Confirmed is silent");
    assert_eq!(desk.table.len(), (0, 1));
    desk.run(5_601);
    assert!(desk.table.is_empty(), "timer I");
}

#[test]
fn timer_j_answers_repetitions_for_32_seconds() {
    let mut desk = Desk::new();
    desk.receive_request(Method::Bye, START_BRANCH);
    let key = desk.key();
    desk.receive_request(Method::Bye, START_BRANCH);
    assert_eq!(desk.out(), [""; 0]);
    let response = ResponseBuilder::to(&desk.request(Method::Bye, START_BRANCH), 200).build();
    assert!(desk.table.respond(desk.now, key, &response));
    desk.receive_request(Method::Bye, START_BRANCH);
    assert_eq!(desk.out(), ["> 200 BYE", "> 200 BYE"]);
    desk.run(32_001);
    assert!(desk.table.is_empty());
    desk.receive_request(Method::Bye, START_BRANCH);
    assert_eq!(desk.out(), ["request BYE"]);
}

/// RFC 6026: what siphon-sip and its like lose.
#[test]
fn ack_and_bye_in_the_same_instant_as_the_200_find_everything_in_place() {
    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    assert!(desk.respond(key, 180) && desk.respond(key, 200));
    desk.receive_request(Method::Ack, "z9hG4bKack");
    desk.receive_request(Method::Bye, "z9hG4bKbye");
    assert_eq!(desk.out(), ["> 180 INVITE", "> 200 INVITE", "ack", "request BYE"]);
    // The INVITE once more, overtaken by all of it: absorbed, not a new call.
    desk.receive_request(Method::Invite, START_BRANCH);
    assert_eq!(desk.out(), [""; 0]);
    assert_eq!(desk.table.counters().repeated_in, 1);
    // An ACK that keeps the INVITE's branch comes up as well.
    desk.receive_request(Method::Ack, START_BRANCH);
    assert_eq!(desk.out(), ["ack"]);
    desk.run(32_001);
    assert!(desk.table.is_empty(), "timers L and J");
}

#[test]
fn a_2xx_without_its_ack_is_repeated_by_the_core_until_it_gives_up() {
    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    desk.respond(key, 200);
    desk.out();
    let mut keeper = AnswerKeeper::new(desk.now, desk.response(200));
    let mut at = Vec::new();
    loop {
        desk.now = keeper.next_deadline();
        match keeper.handle_timeout(desk.now) {
            Keep::Wait => unreachable!("the deadline has come"),
            Keep::GiveUp => break,
            Keep::Repeat(response) => {
                assert!(desk.table.respond(desk.now, key, &response.clone()));
                at.push((desk.now - desk.start).as_millis());
            }
        }
    }
    assert_eq!(at, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    assert_eq!((desk.now - desk.start).as_secs(), 32);
    assert!(keeper.is_acknowledged_by(&desk.request(Method::Ack, "z9hG4bKlate")));
}

#[test]
fn cancel_is_answered_and_told_while_the_invite_is_open() {
    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    desk.respond(key, 180);
    desk.receive_request(Method::Cancel, START_BRANCH);
    desk.receive_request(Method::Cancel, START_BRANCH);
    assert_eq!(desk.out(), ["> 180 INVITE", "> 200 CANCEL", "cancelled", "> 200 CANCEL"]);
    assert!(desk.respond(key, 487));
    // Crossing a 200: answered, without effect.
    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    desk.respond(key, 200);
    desk.receive_request(Method::Cancel, START_BRANCH);
    assert_eq!(desk.out(), ["> 200 INVITE", "> 200 CANCEL"]);
    // Of nothing.
    let mut desk = Desk::new();
    desk.receive_request(Method::Cancel, START_BRANCH);
    assert_eq!(desk.out(), ["> 481 CANCEL"]);
}

#[test]
fn our_cancel_waits_for_a_provisional_answer() {
    let mut desk = Desk::new();
    let key = desk.send(Method::Invite);
    assert!(desk.table.cancel(desk.now, key, Some("SIP;cause=200")));
    assert_eq!(desk.out(), ["> INVITE"]);
    desk.answered(Method::Invite, 180);
    assert_eq!(desk.out(), ["> CANCEL", "response 180"]);
    assert!(desk.table.cancel(desk.now, key, None), "once is enough");
    desk.answered(Method::Cancel, 200);
    assert_eq!(desk.out(), [""; 0], "nobody waits for it");
    desk.answered(Method::Invite, 487);
    assert_eq!(desk.out(), ["> ACK", "response 487"]);
    assert!(!desk.table.cancel(desk.now, key, None));
}

#[test]
fn a_200_that_crosses_our_cancel_comes_up_and_silence_after_it_ends() {
    let mut desk = Desk::new();
    let key = desk.send(Method::Invite);
    desk.answered(Method::Invite, 180);
    assert!(desk.table.cancel(desk.now, key, None));
    desk.answered(Method::Invite, 200);
    assert_eq!(desk.out(), ["> INVITE", "response 180", "> CANCEL", "response 200"]);

    let mut desk = Desk::new();
    let key = desk.send(Method::Invite);
    desk.answered(Method::Invite, 180);
    desk.table.cancel(desk.now, key, None);
    desk.out();
    let out = desk.run(60_000);
    assert_eq!(times(&out, "timed out"), [32000], "of the INVITE; the CANCEL's own is not told");
    assert!(desk.table.is_empty());
}

#[test]
fn an_rfc_2543_peer_is_matched_without_a_unique_branch() {
    let mut desk = Desk::new();
    for method in [Method::Invite, Method::Invite] {
        desk.receive_request(method, "1");
    }
    let key = desk.key();
    assert_eq!(desk.out(), [""; 0], "the second is a repetition");
    desk.respond(key, 404);
    desk.receive_request(Method::Ack, "1");
    desk.receive_request(Method::Options, "1");
    assert_eq!(desk.out(), ["> 404 INVITE", "request OPTIONS"]);
}

#[test]
fn a_full_table_answers_503_and_forgets_nothing() {
    let mut desk = Desk::new();
    desk.table = Transactions::new(1, 1);
    desk.receive_request(Method::Invite, "z9hG4bKa");
    desk.receive_request(Method::Invite, "z9hG4bKb");
    desk.receive_request(Method::Ack, "z9hG4bKc");
    assert_eq!(desk.out(), ["request INVITE", "> 503 INVITE", "ack"]);
    desk.send(Method::Invite);
    let second = desk.request(Method::Invite, "z9hG4bKtwo");
    assert_eq!(desk.table.send_request(desk.now, desk.flow, second), Err(SendError::Full));
    assert_eq!(desk.table.counters().full, 2);
}

#[test]
fn a_key_of_the_dead_names_nobody() {
    let mut desk = Desk::new();
    desk.receive_request(Method::Invite, "z9hG4bKa");
    let old = desk.key();
    desk.table.discard(old);
    desk.receive_request(Method::Invite, "z9hG4bKb");
    desk.out();
    assert!(!desk.respond(old, 200));
    assert_eq!(desk.table.len(), (0, 1));
}

#[test]
fn malformed_requests_are_refused_and_malformed_responses_dropped() {
    let mut desk = Desk::new();
    let wire = desk.request(Method::Options, START_BRANCH).wire();
    let text = String::from_utf8(wire.to_vec()).unwrap();
    let bad = text.replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE");
    desk.receive(Message::parse(bad.as_bytes()).unwrap());
    assert_eq!(desk.out(), ["> 400 INVITE"]);
    let short = text.replace("Content-Length: 0", "Content-Length: 9");
    let error = Message::parse(short.as_bytes()).unwrap_err();
    desk.table.receive_broken(desk.flow, &error);
    assert_eq!(desk.out(), ["> 400 OPTIONS"]);
    let response = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKone\r\n\r\n";
    desk.receive(Message::parse(response.as_bytes()).unwrap());
    assert_eq!((desk.out(), desk.table.counters().dropped_responses), (vec![], 1));
}

#[test]
fn a_response_goes_to_where_the_request_came_from() {
    let mut desk = Desk::new();
    desk.flow.remote = "198.51.100.7:40000".parse().unwrap();
    desk.receive_request(Method::Invite, START_BRANCH);
    let Some(Output::Request { key, request, .. }) = desk.table.poll_output() else { panic!() };
    desk.table.respond(desk.now, key, &ResponseBuilder::to(&request, 180).build());
    let Some(Output::Send { flow, bytes }) = desk.table.poll_output() else { panic!() };
    assert_eq!(flow, desk.flow);
    let message = Message::parse(&bytes).unwrap();
    let via = message.headers().via().unwrap();
    assert_eq!((via.received(), via.rport()), (Some("198.51.100.7".parse().unwrap()), Some(Some(40000))));
}

#[test]
fn thousands_of_calls_leave_nothing_behind() {
    let mut desk = Desk::new();
    desk.table = Transactions::new(3, 50_000);
    for call in 0..5_000 {
        let (invite, bye) = (format!("z9hG4bKi{call}"), format!("z9hG4bKb{call}"));
        desk.receive_request(Method::Invite, &invite);
        let key = desk.key();
        desk.respond(key, 200);
        desk.receive_request(Method::Bye, &bye);
        let key = desk.key();
        desk.respond(key, 200);
        desk.out();
    }
    assert_eq!(desk.table.len(), (0, 10_000));
    desk.run(40_000);
    assert!(desk.table.is_empty());
    assert_eq!(desk.table.next_deadline(), None);
}

#[test]
fn over_a_reliable_transport_nothing_is_repeated_and_time_outs_stay() {
    let mut desk = Desk::over_tcp();
    desk.send(Method::Invite);
    assert_eq!(desk.out(), ["> INVITE"]);
    assert_eq!(desk.run(40_000), [(32_000, "timed out".to_owned())], "timer B alone");

    let mut desk = Desk::over_tcp();
    desk.send(Method::Bye);
    desk.out();
    assert_eq!(desk.run(40_000), [(32_000, "timed out".to_owned())], "timer F alone");

    let mut desk = Desk::over_tcp();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    desk.respond(key, 486);
    desk.out();
    assert_eq!(desk.run(40_000), [(32_000, "no ack".to_owned())], "timer H alone");
}

#[test]
fn over_a_reliable_transport_a_transaction_ends_with_its_last_message() {
    for (method, status) in [(Method::Invite, 486), (Method::Bye, 200)] {
        let mut desk = Desk::over_tcp();
        desk.send(method.clone());
        desk.answered(method.clone(), status);
        desk.run(0);
        assert_eq!(desk.table.len(), (0, 0), "timers D and K are zero: {method}");
    }
    let mut desk = Desk::over_tcp();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    desk.respond(key, 486);
    desk.receive_request(Method::Ack, START_BRANCH);
    desk.run(0);
    assert!(desk.table.is_empty(), "timer I is zero");

    let mut desk = Desk::over_tcp();
    desk.receive_request(Method::Bye, START_BRANCH);
    let key = desk.key();
    let response = ResponseBuilder::to(&desk.request(Method::Bye, START_BRANCH), 200).to_tag("b").build();
    desk.table.respond(desk.now, key, &response);
    desk.run(0);
    assert!(desk.table.is_empty(), "timer J is zero");
}

#[test]
fn a_lost_connection_fails_what_was_not_answered_and_leaves_what_rings() {
    let mut desk = Desk::over_tcp();
    desk.send(Method::Invite);
    desk.out();
    desk.table.connection_lost(ConnectionId::accepted(2));
    assert!(desk.out().is_empty(), "another's");
    desk.table.connection_lost(ConnectionId::accepted(1));
    assert_eq!(desk.out(), ["undelivered"]);
    assert!(desk.table.is_empty());

    let mut desk = Desk::over_tcp();
    desk.send(Method::Invite);
    desk.answered(Method::Invite, 180);
    desk.out();
    desk.table.connection_lost(ConnectionId::accepted(1));
    assert!(desk.out().is_empty());
    desk.answered(Method::Invite, 200);
    assert_eq!(desk.out(), ["response 200"], "it came another way");
}

#[test]
fn a_response_goes_back_by_the_connection_and_names_the_port_to_open_a_new_one_to() {
    let mut desk = Desk::over_tcp();
    desk.flow.remote = "192.0.2.77:40000".parse().unwrap();
    desk.receive_request(Method::Invite, START_BRANCH);
    let key = desk.key();
    desk.respond(key, 180);
    let Some(Output::Send { flow, .. }) = desk.table.poll_output() else { panic!("a response") };
    assert_eq!(flow.connection, Some(ConnectionId::accepted(1)));
    assert_eq!(flow.remote, "192.0.2.77:5070".parse().unwrap(), "RFC 3261 18.2.2: the source's host, sent-by's port");
}
