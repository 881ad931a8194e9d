//! The messages of the SIP load, written and read with as little work as will do: the load must never be what is measured.

use std::{fmt::Write as _, net::SocketAddr};

/// Who calls whom through whom.
pub struct Wire {
    pub from: SocketAddr,
    pub at: SocketAddr,
    pub through: SocketAddr,
    /// Told in Call-ID and branches, so that what belongs to an earlier run is known.
    pub run: u32,
}

const AGENT: &str =
    "User-Agent: bench\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, PRACK\r\nSupported: timer, 100rel\r\n";

impl Wire {
    /// The call that a Call-ID of this run names.
    pub fn number(&self, call_id: &str) -> Option<usize> {
        let (run, rest) = call_id.split_once('-')?;
        (run.parse() == Ok(self.run)).then(|| rest.split_once('@')?.0.parse().ok())?
    }

    pub fn invite(&self, text: &mut String, number: usize) {
        let to = format!("<sip:+4930{:06}@{}>", number % 1_000_000, self.through);
        self.request(text, "INVITE", number, &to[1..to.len() - 1], &to, 1, 'i');
        put(text, format_args!("Contact: <sip:bench@{}>\r\n", self.from));
        text.push_str(AGENT);
        body(text, self.from, number);
    }

    pub fn ack(&self, text: &mut String, number: usize, target: &str, (to, route): (&str, &str)) {
        self.request(text, "ACK", number, target, to, 1, 'a');
        text.push_str(route);
        text.push_str("Content-Length: 0\r\n\r\n");
    }

    /// The ACK of a refusal belongs to the INVITE's transaction (RFC 3261 17.1.1.3).
    pub fn ack_refusal(&self, text: &mut String, number: usize, to: &str) {
        let target = format!("sip:+4930{:06}@{}", number % 1_000_000, self.through);
        self.request(text, "ACK", number, &target, to, 1, 'i');
        text.push_str("Content-Length: 0\r\n\r\n");
    }

    pub fn bye(&self, text: &mut String, number: usize, target: &str, (to, route): (&str, &str)) {
        self.request(text, "BYE", number, target, to, 2, 'b');
        text.push_str(route);
        text.push_str(AGENT);
        text.push_str("Content-Length: 0\r\n\r\n");
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one request line and its headers, used three times")]
    fn request(&self, text: &mut String, method: &str, number: usize, target: &str, to: &str, cseq: u32, branch: char) {
        let Self { from, run, .. } = self;
        put(
            text,
            format_args!(
                "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{run}.{number}.{branch};rport\r\n\
                 Max-Forwards: 70\r\nFrom: \"Bench\" <sip:+1555{:06}@{}>;tag=c{number}\r\nTo: {to}\r\n\
                 Call-ID: {run}-{number}@bench\r\nCSeq: {cseq} {method}\r\n",
                number % 1_000_000,
                from.ip(),
            ),
        );
    }

    /// A response of the answering side: what RFC 3261 8.2.6.2 wants copied, and no more.
    pub fn answer(&self, text: &mut String, request: &str, status: &str, with_body: bool) {
        put(text, format_args!("SIP/2.0 {status}\r\n"));
        for line in request.lines().skip(1).take_while(|line| !line.is_empty()) {
            let Some((name, _)) = line.split_once(':') else { continue };
            let is = |full: &str, short: &str| name.eq_ignore_ascii_case(full) || name.eq_ignore_ascii_case(short);
            if is("to", "t") {
                text.push_str(line);
                text.push_str(if line.contains(";tag=") { "\r\n" } else { ";tag=here\r\n" });
            } else if is("via", "v")
                || is("from", "f")
                || is("call-id", "i")
                || is("cseq", "cseq")
                || is("record-route", "record-route")
            {
                text.push_str(line);
                text.push_str("\r\n");
            }
        }
        put(text, format_args!("Contact: <sip:bench@{}>\r\n", self.at));
        if with_body {
            body(text, self.at, 0);
        } else {
            text.push_str("Content-Length: 0\r\n\r\n");
        }
    }
}

/// The code of a response; none when it is a request.
pub fn status(message: &str) -> Option<u32> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// The value of a header's first line, by its lower-case name.
pub fn header<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    let lines = message.lines().skip(1).take_while(|line| !line.is_empty());
    lines
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.trim_end().eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}

/// The Route headers of the calling side: what was recorded, in reverse (RFC 3261 12.1.2).
pub fn route(message: &str) -> Box<str> {
    let lines = message.lines().skip(1).take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
    let recorded =
        lines.filter(|(name, _)| name.eq_ignore_ascii_case("record-route")).flat_map(|(_, all)| all.split(','));
    let mut route = String::new();
    recorded
        .collect::<Vec<_>>()
        .iter()
        .rev()
        .for_each(|one| put(&mut route, format_args!("Route: {}\r\n", one.trim())));
    route.into()
}

fn body(text: &mut String, address: SocketAddr, number: usize) {
    let (ip, port) = (address.ip(), 10_000 + 2 * (number % 20_000));
    let sdp = format!(
        "v=0\r\no=bench {number} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    );
    put(text, format_args!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len()));
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes all that is written");
}
