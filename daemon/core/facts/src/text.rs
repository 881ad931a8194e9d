//! Each fact as a phrase for a person: the journal's MESSAGE, the lines of `postern events`, the rungs of `explain`.

use postern_types::{cause::EndedBy, leg::Party};

use crate::Fact;

/// One line, no full stop, without the ids: they stand beside it.
pub fn sentence(fact: &Fact) -> String {
    match fact {
        Fact::ApplianceStarted(f) if f.calls_lost > 0 => {
            format!("{} {} is up; {} were cut by its previous end", f.name, f.version, count(f.calls_lost, "call"))
        }
        Fact::ApplianceStarted(f) => format!("{} {} is up", f.name, f.version),
        Fact::ApplianceStopping(f) => format!("stopping ({}), ending {}", f.why, count(f.legs, "leg")),
        Fact::ConfigApplied(f) => format!("configuration {} applied by {}", f.file, f.by),
        Fact::ConfigRefused(f) => {
            format!("configuration {} refused: {}, first {}", f.file, count(f.mistakes, "mistake"), f.first)
        }
        Fact::CallOffered(f) => match f.source {
            Some(source) => format!("call from {} to {}, {} at {source}", shown(&f.from), f.to, party(&f.party)),
            None => format!("call from {} to {}, {}", shown(&f.from), f.to, party(&f.party)),
        },
        Fact::CallCreated(f) => format!("call from {} to {} made by {}", shown(&f.from), f.to, f.by),
        Fact::CallRouted(f) => format!("goes to {}: {} {} ({})", f.to, f.table, f.entry, f.why),
        Fact::LegDialed(f) => {
            format!("dialing {} ({}) as {}, for {} s at most", f.to, party(&f.party), shown(&f.from), f.timeout_s)
        }
        Fact::LegRinging(f) if f.early_media => format!("rings with early media ({})", f.status),
        Fact::LegRinging(f) => format!("rings ({})", f.status),
        Fact::LegAnswered(f) => format!("answered after {}", seconds(f.after_ms)),
        Fact::LegNegotiated(f) => {
            let (media, protection) = (&f.media, f.media.srtp.as_deref().unwrap_or("plain RTP"));
            format!("audio {}, {protection}, {} here, {} there", media.codec, media.local, media.remote)
        }
        Fact::LegHeld(f) => format!("puts the other party on hold ({})", f.direction),
        Fact::LegResumed(_) => "resumes".into(),
        Fact::ReofferRefused(f) => format!("change of the session refused: {}", f.cause),
        Fact::LegEnded(f) => {
            format!("leg {} by {} after {}: {}", f.status, ended_by(f.by), seconds(f.duration_ms), f.cause)
        }
        Fact::CallEnded(f) => format!(
            "call ended by {} after {} with {}: {}",
            ended_by(f.by),
            seconds(f.total_ms),
            count(f.legs, "leg"),
            f.cause
        ),
        Fact::MediaLatched(f) if f.as_described => {
            format!("first RTP after {} from {}, as described", seconds(f.after_ms), f.source)
        }
        Fact::MediaLatched(f) => {
            format!("first RTP after {} from {}, not the described address", seconds(f.after_ms), f.source)
        }
        Fact::MediaForeign(f) => format!("{} from {} dropped", count(f.packets, "foreign packet"), f.source),
        Fact::MediaTimedOut(f) => format!("no audio for {}", seconds(f.silent_ms)),
        Fact::MediaRefused(f) => format!("no stream: {}", f.why),
        Fact::DigitReceived(f) => format!("a digit by {}", f.via),
        Fact::PlayStarted(f) => format!("playing {}", f.url),
        Fact::PlayEnded(f) => format!("played {}", f.url),
        Fact::PlayFailed(f) => format!("cannot play {}: {}", f.url, f.why),
        Fact::QualityMeasured(f) => {
            let report = &f.report;
            let mos = report.mos.map_or_else(|| "no MOS".to_owned(), |mos| format!("MOS {mos:.2}"));
            format!(
                "{} received, {} lost, jitter {:.1} ms, {mos}; {} sent",
                count(report.packets_received, "packet"),
                report.packets_lost,
                report.jitter_ms,
                report.packets_sent
            )
        }
        Fact::AppRequested(f) => format!("asking {} ({}, {})", f.url, f.method, f.purpose),
        Fact::AppResponded(f) => format!("{} answered {} in {} ms: {}", f.url, f.status, f.took_ms, shown(&f.verbs)),
        Fact::AppFailed(f) => format!("{} failed with {}: {}; {}", f.url, f.code, f.why, f.then),
        Fact::VerbStarted(f) if f.detail.is_empty() => format!("<{}>", f.verb),
        Fact::VerbStarted(f) => format!("<{}> {}", f.verb, f.detail),
        Fact::CallbackDelivered(f) => {
            format!("callback `{}` number {} to {}: {}", f.event, f.sequence, f.url, f.status)
        }
        Fact::CallbackFailed(f) => format!(
            "callback `{}` number {} to {} failed after {}: {}",
            f.event,
            f.sequence,
            f.url,
            tries(f.tries),
            f.why
        ),
        Fact::RegistrationAdded(f) => {
            format!("device {} registered for {} s, {} now", f.source, f.expires_s, count(f.devices.into(), "device"))
        }
        Fact::RegistrationRemoved(f) => {
            format!("device {} gone ({}), {} left", f.source, f.why, count(f.devices.into(), "device"))
        }
        Fact::AuthenticationFailed(f) => format!("{} claims to be {}: {}", f.source, shown(&f.claimed), f.why),
        Fact::StrangersRefused(f) => {
            format!("{} from strangers refused, the latest from {}", count(f.requests, "request"), f.source)
        }
        Fact::MalformedDropped(f) => {
            format!("{} dropped, the latest from {}: {}", count(f.messages, "unreadable message"), f.source, f.why)
        }
        Fact::PresenceChanged(f) => {
            let (devices, calls) = (count(f.devices.into(), "device"), count(f.calls.into(), "call"));
            format!("{}: {devices}, {calls}", f.status)
        }
        Fact::LinkUp(f) => format!("control plane {} connected, {} waiting", f.server, count(f.waiting, "event")),
        Fact::LinkDown(f) => format!("control plane {} lost: {}", f.server, f.why),
        Fact::LinkCommand(f) => format!("control plane asks `{}`: {}", f.command, f.outcome),
        Fact::SpoolTrimmed(f) => format!("events {} to {} were given up before delivery", f.from_seq, f.to_seq),
        Fact::StoreFailed(f) => format!("cannot write {}: {}", f.file, f.why),
    }
}

/// A party in two words: `trunk acme`, `user ann`, or its URI.
pub fn party(party: &Party) -> String {
    match party {
        Party::Trunk { trunk } => format!("trunk {trunk}"),
        Party::User { user } => format!("user {user}"),
        Party::Uri { uri } => uri.to_string(),
    }
}

/// Who released, for a person.
pub fn ended_by(by: EndedBy) -> &'static str {
    match by {
        EndedBy::Peer => "its party",
        EndedBy::OtherParty => "the other party",
        EndedBy::Router => "the call's program",
        EndedBy::Operator => "an operator",
        EndedBy::Postern => "this appliance",
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn tries(number: u32) -> String {
    format!("{number} {}", if number == 1 { "try" } else { "tries" })
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

fn shown(text: &str) -> &str {
    if text.is_empty() { "nobody" } else { text }
}

#[cfg(test)]
mod tests {
    use postern_types::{TrunkName, cause::Cause, media::StreamReport};

    use super::*;
    use crate::{ApplianceStarted, CallEnded, CallOffered, CallbackFailed, QualityMeasured};

    #[test]
    fn facts_read_as_a_person_would_say_them() {
        let table: [(Fact, &str); 5] = [
            (
                CallOffered {
                    party: Party::Trunk { trunk: TrunkName::new("acme") },
                    from: "+1".into(),
                    to: "+2".into(),
                    source: "[::1]:5060".parse().ok(),
                    sip_call_id: "x".into(),
                }
                .into(),
                "call from +1 to +2, trunk acme at [::1]:5060",
            ),
            (
                CallEnded { by: EndedBy::Peer, cause: Cause::NORMAL, total_ms: 61_007, legs: 1 }.into(),
                "call ended by its party after 61.007 s with 1 leg: 200 normal clearing",
            ),
            (
                QualityMeasured { report: StreamReport::default() }.into(),
                "0 packets received, 0 lost, jitter 0.0 ms, no MOS; 0 sent",
            ),
            (
                CallbackFailed {
                    url: "http://a".into(),
                    event: "ringing".into(),
                    sequence: 1,
                    why: "404".into(),
                    tries: 2,
                }
                .into(),
                "callback `ringing` number 1 to http://a failed after 2 tries: 404",
            ),
            (
                ApplianceStarted { name: "edge".into(), version: "0.1".into(), calls_lost: 2 }.into(),
                "edge 0.1 is up; 2 calls were cut by its previous end",
            ),
        ];
        for (fact, wanted) in table {
            assert_eq!(sentence(&fact), wanted);
        }
    }
}
