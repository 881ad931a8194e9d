//! What a two-leg call costs in this plane: trunk in, trunk out, answered and ended, peers not counted.
//!
//! `cargo run --release -p postern-signaling --example call_cost -- 20000`
#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use postern_config::*;
use postern_signaling::{Output, Signaling};
use postern_types::{
    CallSid, Cause, EndedBy, Now, RealmName, TrunkName, UnixMicros,
    leg::{Dial, LegCommand, LegEvent, Target},
    stream::AudioStream,
};
use rand::{SeedableRng, rngs::StdRng};

const SDP: &str = "v=0\r\no=u 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8 0 101\r\n\
a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n";

/// The plane with a stopwatch that runs only inside it.
struct Bench {
    plane: Signaling,
    now: Now,
    spent: Duration,
    sent: Vec<(SocketAddr, String)>,
    events: Vec<LegEvent>,
}

impl Bench {
    fn run(&mut self, input: impl FnOnce(&mut Signaling, Now)) {
        self.sent.clear();
        self.events.clear();
        let mut outputs = Vec::with_capacity(8);
        let start = Instant::now();
        input(&mut self.plane, self.now);
        while let Some(output) = self.plane.poll_output() {
            outputs.push(output);
        }
        let _ = self.plane.next_deadline();
        self.spent += start.elapsed();
        for output in outputs {
            match output {
                Output::Send { destination, bytes, .. } => {
                    self.sent.push((destination, String::from_utf8(bytes.to_vec()).expect("ours is text")));
                }
                Output::Leg(event) => self.events.push(event),
                _ => {}
            }
        }
    }

    fn recv(&mut self, source: SocketAddr, text: &str) {
        let local = local();
        self.run(|plane, now| plane.handle_datagram(now, local, source, text.as_bytes()));
    }

    fn command(&mut self, command: LegCommand) {
        self.run(|plane, now| plane.handle_command(now, command));
    }
}

fn local() -> SocketAddr {
    ([192, 0, 2, 1], 5060).into()
}

fn request(method: &str, call: u64, cseq: u32, to_tag: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:+15550100@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK{method}{call}\r\n\
         From: \"sipp\" <sip:+15550199@192.0.2.2:5060>;tag=f{call}\r\nTo: <sip:+15550100@192.0.2.1:5060>{to_tag}\r\n\
         Call-ID: {call}-1@192.0.2.2\r\nCSeq: {cseq} {method}\r\nContact: <sip:sipp@192.0.2.2:5060>\r\nMax-Forwards: 70\r\n\
         Subject: Performance Test\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn response(request: &str, status: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or("");
        if matches!(name, "Via" | "From" | "Call-ID" | "CSeq") {
            text += &format!("{line}\r\n");
        } else if name == "To" {
            text += &format!("{line}{}\r\n", if line.contains(";tag=") { "" } else { ";tag=callee" });
        }
    }
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    text + &format!("Contact: <sip:192.0.2.3:5060>\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn main() {
    let calls: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let (caller, callee): (SocketAddr, SocketAddr) = (([192, 0, 2, 2], 5060).into(), ([192, 0, 2, 3], 5060).into());
    let now = Now { instant: Instant::now(), wall: UnixMicros(1) };
    let plane = Signaling::new(Arc::new(config()), StdRng::seed_from_u64(1), now.instant);
    let mut bench = Bench { plane, now, spent: Duration::ZERO, sent: vec![], events: vec![] };
    for call in 0..calls {
        // 2000 calls a second, so that timers and tables are as full as they would be.
        bench.now = bench.now + Duration::from_micros(500);
        bench.run(|plane, now| plane.handle_timeout(now));
        bench.recv(caller, &request("INVITE", call, 1, "", SDP));
        let Some(LegEvent::Offered(offered)) = bench.events.pop() else { panic!("not offered") };
        let ours: AudioStream = offered.offer.clone().expect("an offer");
        let out = CallSid(u128::from(call) + 1);
        bench.command(LegCommand::Dial(Box::new(Dial {
            leg: out,
            target: Target::Trunk { trunk: TrunkName::new("callee"), number: "+15550100".into() },
            from: offered.from,
            from_name: offered.from_name,
            offer: ours.clone(),
            timeout: Duration::from_secs(30),
            headers: vec![],
            identity: Default::default(),
            max_forwards: offered.max_forwards - 1,
            emergency: false,
            spare: false,
        })));
        let invite = bench.sent.pop().expect("an INVITE").1;
        bench.recv(callee, &response(&invite, "180 Ringing", ""));
        bench.command(LegCommand::Ring { leg: offered.leg, status: 180, early: None });
        bench.recv(callee, &response(&invite, "200 OK", SDP));
        bench.command(LegCommand::Answer { leg: offered.leg, answer: Box::new(ours) });
        let answer = bench.sent.pop().expect("a 200").1;
        let tag =
            answer.lines().find(|line| line.starts_with("To:")).and_then(|to| to.split_once(";tag=")).expect("a tag").1;
        let to_tag = format!(";tag={tag}");
        bench.recv(caller, &request("ACK", call, 1, &to_tag, ""));
        bench.recv(caller, &request("BYE", call, 2, &to_tag, ""));
        bench.command(LegCommand::Hangup { leg: out, by: EndedBy::OtherParty, cause: Cause::NORMAL });
        let bye = bench.sent.pop().expect("a BYE").1;
        bench.recv(callee, &response(&bye, "200 OK", ""));
    }
    let counters = bench.plane.counters();
    assert_eq!(counters.legs, 0);
    println!(
        "{calls} calls, {} datagrams in, {} out: {:.1} us a call",
        counters.received,
        counters.sent,
        bench.spent.as_secs_f64() * 1e6 / calls as f64
    );
}

fn config() -> Config {
    let realm = Realm {
        signaling: vec![local()],
        listeners: vec![],
        media: RealmMedia {
            ipv4: None,
            ipv6: None,
            port_first: 30000,
            port_last: 31000,
            dscp: postern_config::Dscp::EF,
        },
        advertised: None,
        registrations: true,
        lease: Default::default(),
        uri_calls: false,
        session_timer: Default::default(),
        access: Default::default(),
        emergency: Vec::new(),
        numbering: None,
        codecs: vec![],
        codecs_stripped: vec![],
        signaling_dscp: postern_config::Dscp::AF31,
    };
    let trunk = |host: &str| Trunk::at("r", host, 5060);
    Config {
        appliance: Appliance {
            name: "bench".into(),
            state_folder: "s".into(),
            runtime_folder: "r".into(),
            spool_mb: 1,
            spool_days: 1,
            records_max: 1,
        },
        realms: BTreeMap::from([(RealmName::new("r"), realm)]),
        trunks: BTreeMap::from([
            (TrunkName::new("caller"), trunk("192.0.2.2")),
            (TrunkName::new("callee"), trunk("192.0.2.3")),
        ]),
        users: BTreeMap::new(),
        numbers: BTreeMap::new(),
        routes: vec![],
        applications: BTreeMap::new(),
        accounts: BTreeMap::new(),
        ..Config::empty("test")
    }
}
