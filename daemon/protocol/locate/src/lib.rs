//! Where a SIP host is reached (RFC 3263): its transports by NAPTR, its servers by SRV, their addresses by A and AAAA.
//!
//! Sans-IO: what is wanted goes in, questions for DNS come out, answers with their time to live go in, and targets in the order in
//! which they are to be tried come out. Nothing here reads DNS messages: the driver's library does.
//!
//! ```text
//! host ── numeric ──────────────────────────────────────────────► target
//!      ── with a port ───────────────────────────► A, AAAA ─────► targets
//!      ── NAPTR ── none ─► SRV of each transport ─► A, AAAA ─────► targets
//!           └ some ──────► SRV of those named ────┘    ▲
//!                                  └ none ─────────────┘ the host itself, usual port
//! ```
//!
//! Answers are kept as long as they say, at most a day; that there is nothing for a quarter of an hour at most. When DNS fails, what was
//! known last is used (RFC 8767): a carrier is not lost with its name server.

#![forbid(unsafe_code)]

mod cache;
mod locator;
mod solve;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use postern_types::Transport;

pub use locator::{Counters, LocateId, Located, Locator, Output};

/// Records of one answer that are looked at; more are left out.
pub const RECORDS_MAX: usize = 64;
/// Targets of one host at most.
pub const TARGETS_MAX: usize = 32;

/// A question for DNS. Its name is in lower case and has no dot at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// Whose records.
    pub name: Box<str>,
    /// Which.
    pub kind: Kind,
}

/// The records that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// RFC 3403.
    Naptr,
    /// RFC 2782.
    Srv,
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

/// What DNS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These, for so long.
    Records(Vec<Record>, Duration),
    /// There are none, for so long (RFC 2308).
    Nothing(Duration),
    /// Nobody answered, or a server failed.
    Failed,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A way to a service (RFC 3403 4.1).
    Naptr {
        /// The lowest first.
        order: u16,
        /// The lowest first among those of an order.
        preference: u16,
        /// `s` for one that leads to SRV records.
        flags: Box<str>,
        /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`.
        service: Box<str>,
        /// Where it leads.
        replacement: Box<str>,
    },
    /// A server (RFC 2782).
    Srv {
        /// The lowest first.
        priority: u16,
        /// Its share among equals.
        weight: u16,
        /// Its port.
        port: u16,
        /// Its name; `.`, here empty: the service is not there.
        target: Box<str>,
    },
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
}

/// A host to be found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// A name or a numeric address, without brackets.
    pub host: Box<str>,
    /// As it was written.
    pub port: Option<u16>,
    /// As it was written.
    pub transport: Option<Transport>,
    /// What is spoken here, the best first: what DNS may choose from.
    pub spoken: Vec<Transport>,
    /// Whether IPv4 and IPv6 can be reached from here.
    pub families: (bool, bool),
}

/// A place to send to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// By what.
    pub transport: Transport,
    /// Where.
    pub address: IpAddr,
    /// Where.
    pub port: u16,
}

/// Entry for fuzzing.
pub mod fuzz {
    use std::time::Instant;

    use super::*;

    /// Whatever DNS answers, and in whatever order: every host is found or not, nothing grows without bound.
    pub fn answers(data: &[u8]) {
        let mut bytes = data.iter().copied();
        let mut byte = || bytes.next().unwrap_or(0);
        #[allow(clippy::disallowed_methods, reason = "a fuzz target reads the clock once")]
        let now = Instant::now();
        let mut locator = Locator::new(7);
        let names = ["a.example", "b.example", "_sip._udp.a.example", "", "x y", "203.0.113.1"];
        let wanted = Wanted {
            host: names[usize::from(byte()) % names.len()].into(),
            port: None,
            transport: None,
            spoken: vec![Transport::Udp, Transport::Tcp, Transport::Tls],
            families: (true, true),
        };
        locator.locate(now, LocateId(1), wanted);
        let mut found = 0;
        let mut asked = 0;
        while let Some(output) = locator.poll_output() {
            match output {
                Output::Located(..) => found += 1,
                Output::Ask(question) => {
                    asked += 1;
                    let mut record = || {
                        let name: Box<str> = names[usize::from(byte()) % names.len()].into();
                        match byte() % 4 {
                            0 => Record::Naptr {
                                order: byte().into(),
                                preference: byte().into(),
                                flags: if byte() % 2 == 0 { "s".into() } else { "".into() },
                                service: ["SIP+D2U", "SIP+D2T", "SIPS+D2T", "x"][usize::from(byte()) % 4].into(),
                                replacement: name,
                            },
                            1 => Record::Srv {
                                priority: byte().into(),
                                weight: byte().into(),
                                port: byte().into(),
                                target: name,
                            },
                            2 => Record::A(Ipv4Addr::from([203, 0, 113, byte()])),
                            _ => Record::Aaaa(Ipv6Addr::LOCALHOST),
                        }
                    };
                    let records = (0..8).map(|_| record()).collect();
                    let answer = match byte() % 4 {
                        0 => Answer::Failed,
                        1 => Answer::Nothing(Duration::from_secs(byte().into())),
                        _ => Answer::Records(records, Duration::from_secs(byte().into())),
                    };
                    locator.handle_answer(now, &question, answer);
                }
            }
        }
        assert!(found == 1, "every question of ours was answered: so is the one that was asked of us");
        assert!(asked <= 200, "bounded: {asked}");
    }
}

#[cfg(test)]
mod tests;
