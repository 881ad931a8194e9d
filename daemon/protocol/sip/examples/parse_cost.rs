//! What reading an INVITE of 1.2 KB costs: time and allocations, beside rsip in the same run.
//!
//! `cargo run --release -p postern-sip --example parse_cost [-- --json]`

#![allow(clippy::disallowed_methods, reason = "it measures")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use postern_sip::{Message, Name};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// The allocator is the one thing that cannot be counted without `unsafe`; this is an example, no part of the crate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: u32 = 50_000;
const RUNS: usize = 7;

fn invite() -> Vec<u8> {
    let body = "v=0\r\no=- 3724394400 3724394400 IN IP4 198.51.100.7\r\ns=call\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
                m=audio 40376 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:18 G729/8000\r\n\
                a=fmtp:18 annexb=no\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";
    let head = "INVITE sip:+15551230001@198.51.100.20:5060;transport=udp SIP/2.0\r\n\
                Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-524287-1---0f3eb40b11f97a9c;rport\r\n\
                Via: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bK776asdhds;received=203.0.113.5\r\n\
                Record-Route: <sip:198.51.100.7;lr;ftag=5e00e125>\r\n\
                Max-Forwards: 68\r\n\
                From: \"Alice Example\" <sip:+15557650009@carrier.example.net;user=phone>;tag=5e00e125\r\n\
                To: <sip:+15551230001@198.51.100.20;user=phone>\r\n\
                Call-ID: wSSsR1c-lUjKuRhxr0iEKA..@203.0.113.5\r\n\
                CSeq: 314159 INVITE\r\n\
                Contact: <sip:+15557650009@203.0.113.5:5060;transport=udp>\r\n\
                Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY\r\n\
                Supported: timer, 100rel, path\r\n\
                Session-Expires: 1800;refresher=uac\r\n\
                P-Asserted-Identity: \"Alice Example\" <sip:+15557650009@carrier.example.net>\r\n\
                User-Agent: Example-SBC/7.2.1\r\n\
                Content-Type: application/sdp\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Median nanoseconds and allocations of one call.
fn cost(mut work: impl FnMut()) -> (f64, f64) {
    let mut nanos = Vec::new();
    let mut allocations = 0;
    for _ in 0..RUNS {
        let (start, count) = (Instant::now(), COUNT.load(Relaxed));
        for _ in 0..ROUNDS {
            work();
        }
        nanos.push(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
        allocations = COUNT.load(Relaxed) - count;
    }
    nanos.sort_by(f64::total_cmp);
    (nanos[RUNS / 2], allocations as f64 / f64::from(ROUNDS))
}

fn main() {
    let bytes = invite();
    let is_json = std::env::args().any(|word| word == "--json");
    if is_json {
        print!("{{\"bytes\": {}", bytes.len());
    } else {
        println!("INVITE of {} bytes, median of {RUNS} runs of {ROUNDS}", bytes.len());
    }
    let report = |key: &str, what: &str, (nanos, allocations): (f64, f64)| {
        if is_json {
            print!(", \"{key}\": {{\"ns\": {nanos:.1}, \"allocations\": {allocations:.1}}}");
        } else {
            println!("{what:<44} {nanos:8.0} ns {allocations:6.1} allocations");
        }
    };
    report("parse", "postern: parse", cost(|| drop(black_box(Message::parse(black_box(&bytes))))));
    report(
        "check",
        "postern: parse and check",
        cost(|| match Message::parse(black_box(&bytes)) {
            Ok(Message::Request(request)) => request.check().expect("valid"),
            other => panic!("{other:?}"),
        }),
    );
    report(
        "call",
        "postern: parse, check and read what a call needs",
        cost(|| {
            let Ok(Message::Request(request)) = Message::parse(black_box(&bytes)) else { panic!("a request") };
            request.check().expect("valid");
            let headers = &request.headers;
            let _ = black_box((
                request.uri().user(),
                headers.via().map(|via| via.branch()),
                headers.call_id(),
                headers.cseq(),
            ));
            let _ = black_box((
                headers.from().map(|from| from.tag()),
                headers.to().map(|to| to.tag()),
                headers.first(Name::ContentType),
            ));
            black_box(headers.contact().map(|contact| contact.uri().map(|uri| uri.port())).is_ok());
        }),
    );
    report("rsip_parse", "rsip: parse", cost(|| drop(black_box(rsip::SipMessage::try_from(black_box(&bytes[..]))))));
    report(
        "rsip_call",
        "rsip: parse and read what a call needs",
        cost(|| {
            use rsip::prelude::{HeadersExt, ToTypedHeader};
            let request = rsip::Request::try_from(black_box(&bytes[..])).expect("a request");
            black_box(request.via_header().expect("Via").typed().expect("Via"));
            black_box(request.from_header().expect("From").typed().expect("From"));
            black_box(request.to_header().expect("To").typed().expect("To"));
            black_box(request.cseq_header().expect("CSeq").typed().expect("CSeq"));
            black_box(request.contact_header().expect("Contact").typed().expect("Contact"));
        }),
    );
    if is_json {
        println!("}}");
    }
}
