//! RFC 3263 4.1 and 4.2 over the answers that are there: the targets, or what must be asked first.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use postern_types::Transport;
use rand::{RngExt, rngs::StdRng};

use crate::{Answer, Kind, Question, Record, TARGETS_MAX, Target, Wanted};

/// Questions for one host at most: NAPTR, some SRV, and two for each server. Those beyond are left out.
const QUESTIONS_MAX: usize = 100;
/// Servers of one host whose addresses are asked for.
const SERVERS_MAX: usize = 32;

/// What was answered so far for one host.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) answers: HashMap<Question, Answer>,
    /// What was asked and not answered.
    pub(crate) waiting: Vec<Question>,
    /// When the first of them ends.
    pub(crate) until: Option<Instant>,
}

/// How it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Solved {
    /// These must be asked first.
    Wants(Vec<Question>),
    /// In the order in which they are to be tried. `sure`: nothing failed, so that an empty list means that there is no such host.
    Targets { targets: Vec<Target>, sure: bool },
}

/// A server, before its addresses are known.
struct Server {
    host: Box<str>,
    port: u16,
    transport: Transport,
}

/// Looks answers up and notes what is missing.
struct Look<'k> {
    known: &'k Known,
    missing: Vec<Question>,
    failed: bool,
}

impl Look<'_> {
    fn records(&mut self, name: &str, kind: Kind) -> &[Record] {
        let question = Question { name: name.into(), kind };
        match self.known.answers.get(&question) {
            Some(Answer::Records(records, _)) => records,
            Some(Answer::Nothing(_)) => &[],
            Some(Answer::Failed) => {
                self.failed = true;
                &[]
            }
            None => {
                if self.known.answers.len() + self.missing.len() < QUESTIONS_MAX && !self.missing.contains(&question) {
                    self.missing.push(question);
                }
                &[]
            }
        }
    }
}

/// The port of a transport without one (RFC 3261 19.1.2).
fn usual_port(transport: Transport) -> u16 {
    if transport.is_secure() { 5061 } else { 5060 }
}

/// The name of a host's SRV records (RFC 3263 4.1).
fn service_name(transport: Transport, host: &str) -> String {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tls => "_sips._tcp",
        _ => "_sip._tcp",
    };
    format!("{service}.{host}")
}

fn transport_of(service: &str) -> Option<Transport> {
    match service.to_ascii_uppercase().as_str() {
        "SIP+D2U" => Some(Transport::Udp),
        "SIP+D2T" => Some(Transport::Tcp),
        "SIPS+D2T" => Some(Transport::Tls),
        _ => None,
    }
}

/// As far as the answers go. `rng` draws by weight only when everything is there, so that one answer more changes no draw.
pub(crate) fn solve(wanted: &Wanted, known: &Known, rng: &mut StdRng) -> Solved {
    let usual = wanted.transport.or(wanted.spoken.first().copied()).unwrap_or_default();
    if let Ok(address) = wanted.host.parse::<IpAddr>() {
        let port = wanted.port.unwrap_or(usual_port(usual));
        return Solved::Targets { targets: vec![Target { transport: usual, address, port }], sure: true };
    }
    let mut look = Look { known, missing: Vec::new(), failed: false };
    let servers = match wanted.port {
        // RFC 3263 4.2: a port that is written is final.
        Some(port) => vec![Server { host: wanted.host.clone(), port, transport: usual }],
        None => {
            let services = services(wanted, &mut look);
            if !look.missing.is_empty() {
                return Solved::Wants(look.missing);
            }
            let lists: Vec<_> =
                services.iter().map(|(transport, name)| (*transport, look.records(name, Kind::Srv).to_vec())).collect();
            if !look.missing.is_empty() {
                return Solved::Wants(look.missing);
            }
            let none = lists.iter().all(|(_, records)| records.is_empty());
            let mut servers = Vec::new();
            for (transport, records) in lists {
                servers.extend(in_order(&records, transport, rng));
            }
            if none {
                servers.push(Server { host: wanted.host.clone(), port: usual_port(usual), transport: usual });
            }
            servers.truncate(SERVERS_MAX);
            servers
        }
    };
    let mut targets: Vec<Target> = Vec::new();
    for Server { host, port, transport } in servers {
        let literal = host.parse::<IpAddr>().ok();
        let mut addresses: Vec<IpAddr> = literal.into_iter().collect();
        let ask = |kind| literal.is_none() && if kind == Kind::A { wanted.families.0 } else { wanted.families.1 };
        for kind in [Kind::Aaaa, Kind::A] {
            if ask(kind) {
                addresses.extend(look.records(&host, kind).iter().filter_map(|record| match record {
                    Record::A(address) => Some(IpAddr::V4(*address)),
                    Record::Aaaa(address) => Some(IpAddr::V6(*address)),
                    Record::Naptr { .. } | Record::Srv { .. } => None,
                }));
            }
        }
        for address in addresses {
            let target = Target { transport, address, port };
            let sound = port != 0 && !address.is_unspecified() && !address.is_multicast();
            if sound && targets.len() < TARGETS_MAX && !targets.contains(&target) {
                targets.push(target);
            }
        }
    }
    if !look.missing.is_empty() {
        return Solved::Wants(look.missing);
    }
    Solved::Targets { targets, sure: !look.failed }
}

/// The names whose SRV records are looked for, by preference.
fn services(wanted: &Wanted, look: &mut Look<'_>) -> Vec<(Transport, String)> {
    if let Some(transport) = wanted.transport {
        return vec![(transport, service_name(transport, &wanted.host))];
    }
    let mut ways: Vec<(u16, u16, Transport, String)> = Vec::new();
    for record in look.records(&wanted.host, Kind::Naptr) {
        let Record::Naptr { order, preference, flags, service, replacement } = record else { continue };
        let transport = transport_of(service).filter(|transport| wanted.spoken.contains(transport));
        if let Some(transport) = transport
            && flags.eq_ignore_ascii_case("s")
            && !replacement.is_empty()
        {
            ways.push((*order, *preference, transport, replacement.to_string()));
        }
    }
    if ways.is_empty() {
        // RFC 3263 4.1: no NAPTR, so SRV tells which transports there are. TLS is for `sips`, which is said by `transport`.
        let spoken = wanted.spoken.iter().filter(|transport| !transport.is_secure() || wanted.spoken.len() == 1);
        return spoken.map(|transport| (*transport, service_name(*transport, &wanted.host))).collect();
    }
    ways.sort_by_key(|(order, preference, ..)| (*order, *preference));
    ways.into_iter().map(|(_, _, transport, name)| (transport, name)).collect()
}

/// RFC 2782: by priority, among equals drawn by weight.
fn in_order(records: &[Record], transport: Transport, rng: &mut StdRng) -> Vec<Server> {
    let mut left: Vec<(u16, u16, u16, &str)> = records
        .iter()
        .filter_map(|record| match record {
            // A target of `.`: the service is decidedly not there.
            Record::Srv { priority, weight, port, target } if !target.is_empty() => {
                Some((*priority, *weight, *port, &**target))
            }
            _ => None,
        })
        .collect();
    // Those without weight in front, and a fixed order besides: DNS gives its records in any.
    left.sort_by_key(|(priority, weight, port, target)| (*priority, *weight != 0, *target, *port));
    let mut servers = Vec::with_capacity(left.len());
    while let Some(&(priority, ..)) = left.first() {
        let equals = left.iter().take_while(|record| record.0 == priority).count();
        let total: u32 = left[..equals].iter().map(|record| u32::from(record.1)).sum();
        let drawn = rng.random_range(0..=total);
        let mut sum = 0;
        let at = left[..equals].iter().position(|record| {
            sum += u32::from(record.1);
            sum >= drawn
        });
        let (_, _, port, host) = left.remove(at.unwrap_or(0));
        servers.push(Server { host: host.into(), port, transport });
    }
    servers
}
