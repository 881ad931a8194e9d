//! Each fact as a phrase for a person: the journal's MESSAGE, the lines of `postern events`, the rungs of `explain`.

use postern_types::{
    cause::EndedBy,
    leg::Party,
    stream::{Direction, Negotiated},
};

use crate::Fact;

/// One line, no full stop, without the ids: they stand beside it. Strangers choose some of these words: what a terminal
/// could obey is taken out.
pub fn sentence(fact: &Fact) -> String {
    plain(&worded(fact))
}

/// Without control characters.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn worded(fact: &Fact) -> String {
    match fact {
        Fact::ApplianceStarted(f) if f.calls_lost > 0 => {
            format!("{} {} is up; {} were cut by its previous end", f.name, f.version, count(f.calls_lost, "call"))
        }
        Fact::ApplianceStarted(f) => format!("{} {} is up", f.name, f.version),
        Fact::ApplianceStopping(f) => format!("stopping ({}), ending {}", f.why, count(f.legs, "leg")),
        Fact::ApplianceDraining(f) if f.on => {
            format!("draining: new calls are refused, {} live", count(f.calls, "call"))
        }
        Fact::ApplianceDraining(f) => format!("draining no more: new calls are taken, {} live", count(f.calls, "call")),
        Fact::ConfigApplied(f) => format!("configuration {} applied by {}", f.file, f.by),
        Fact::ConfigReverted(f) => {
            let but = if f.but.is_empty() { String::new() } else { format!("; its certificates stay: {}", f.but) };
            format!(
                "a configuration on trial was not confirmed within {} s; the one before of {} is in force{but}",
                f.after_s, f.file
            )
        }
        Fact::ConfigRefused(f) => {
            format!("configuration {} refused: {}, first {}", f.file, count(f.mistakes, "mistake"), f.first)
        }
        Fact::CallOffered(f) => match f.source {
            Some(source) => format!("call from {} to {}, {} at {source}", shown(&f.from), f.to, party(&f.party)),
            None => format!("call from {} to {}, {}", shown(&f.from), f.to, party(&f.party)),
        },
        Fact::CallCreated(f) => format!("call from {} to {} made by {}", shown(&f.from), f.to, f.by),
        Fact::CallRouted(f) if f.to == "refused" => format!("refused: {}", f.why),
        Fact::CallRouted(f) => format!("goes to {} by {} {}: {}", f.to, f.table, f.entry, f.why),
        Fact::CallReferred(f) => format!("refers the other party to {}", f.to),
        Fact::CallTransferred(f) if f.cause.status == 200 => format!("transferred to {}", f.to),
        Fact::CallTransferred(f) => format!("not transferred to {}: {}", f.to, f.cause),
        Fact::EmergencyCall(f) => format!("an emergency call to {}", f.number),
        Fact::NumbersChanged(f) => f.how.clone(),
        Fact::IdentitySigned(f) => format!("signed: {} calls {}, attestation {}", f.caller, f.called, f.attest),
        Fact::IdentityVerified(f) if f.attest.is_empty() => format!("the caller's signature is good ({})", f.signer),
        Fact::IdentityVerified(f) => {
            format!("the caller's signature is good: attestation {} ({})", f.attest, f.signer)
        }
        Fact::IdentityFailed(f) => {
            let then = if f.refused { "refused" } else { "the call goes on" };
            format!("the caller's signature does not count: {} ({}), {then}", f.why, f.status)
        }
        Fact::IdentityPassedOn(f) if f.diverted_from.is_empty() => {
            format!("the signature that it came with goes on: {} calls {}", f.caller, f.called)
        }
        Fact::IdentityPassedOn(f) => format!(
            "the signature that it came with goes on, and ours that it was sent on from {} to {}",
            f.diverted_from, f.called
        ),
        Fact::IdentityUnsigned(f) => format!("not signed: {}", f.why),
        Fact::HeadersChanged(f) => format!("headers of the INVITE {} changed by {}", f.way, f.rules),
        Fact::LegDialed(f) => {
            format!("dialing {} ({}) as {}, for {} s at most", f.to, party(&f.party), shown(&f.from), f.timeout_s)
        }
        Fact::LegRinging(f) if f.early_media => format!("rings with early media ({})", f.status),
        Fact::LegRinging(f) => format!("rings ({})", f.status),
        Fact::LegAnswered(f) => format!("answered after {}", took(f.after_ms)),
        Fact::LegNegotiated(f) => negotiated(&f.media),
        Fact::AudioTranscoded(f) => {
            format!("audio is converted between {} and {}: no common codec", f.codec, f.other_codec)
        }
        Fact::MessageDelivered(f) => {
            let to = if f.to.is_empty() { "the other party" } else { &f.to };
            format!(
                "message of {} from {} to {to} taken by {} ({}) after {}",
                count(f.bytes, "byte"),
                shown(&f.from),
                f.over,
                f.status,
                took(f.after_ms)
            )
        }
        Fact::MessageRefused(f) => {
            let to = if f.to.is_empty() { "the other party" } else { &f.to };
            format!("message of {} from {} to {to} not taken: {}", count(f.bytes, "byte"), shown(&f.from), f.cause)
        }
        Fact::LegMoved(f) => format!("goes on in call {}", f.into),
        Fact::LegReplaces(f) => format!("takes the place of leg {}, from {}", f.of, f.source),
        Fact::LegHeld(f) => format!("puts the other party on hold ({})", f.direction),
        Fact::LegResumed(_) => "resumes".into(),
        Fact::ReofferRefused(f) => format!("change of the session refused: {}", f.cause),
        Fact::LegFailedOver(f) => format!("{} failed ({}): on to {}", f.from, f.cause, f.to),
        Fact::TrunkTargetRests(f) => format!("{} is tried last for {} s: {}", f.address, f.for_s, f.cause),
        Fact::TrunkOverloaded(f) => {
            format!(
                "{} wants {} % fewer calls: {} went elsewhere, or failed",
                f.address,
                f.percent,
                count(f.calls, "call")
            )
        }
        Fact::TrunkTargetDown(f) => format!("{} is down after {}: {}", f.address, tries(f.fails), f.cause),
        Fact::TrunkTargetUp(f) => format!("{} is up again after {}", f.address, took(f.down_s * 1000)),
        Fact::TrunkDown(f) => format!("down: none of its {} answers; {}", count(f.targets, "target"), f.cause),
        Fact::TrunkRegistered(f) => format!("registered with {} for {} s", f.registrar, f.expires_s),
        Fact::TrunkRegistrationFailed(f) => format!("not registered: {}; again in {} s", f.cause, f.again_s),
        Fact::TrunkLimited(f) => {
            format!("{} refused by {} {}", count(f.refused, "call"), f.limit, f.max)
        }
        Fact::TrunkUp(f) => format!("up again by {} after {}", f.address, took(f.down_s * 1000)),
        // Never answered.
        Fact::LegEnded(f) if f.duration_ms == 0 => format!("{} by {}: {}", f.status, ended_by(f.by), f.cause),
        Fact::LegEnded(f) => {
            format!("{} by {} after {} of talk: {}", f.status, ended_by(f.by), took(f.duration_ms), f.cause)
        }
        Fact::CallEnded(f) => format!(
            "call ended by {} after {} with {}: {}",
            match f.by {
                EndedBy::Peer => "its first party",
                by => ended_by(by),
            },
            took(f.total_ms),
            count(f.legs, "leg"),
            f.cause
        ),
        Fact::MediaLatched(f) => {
            let how = if f.as_described { "as described" } else { "not as described: NAT?" };
            format!("first RTP from {} ({how}), {} after opening", f.source, took(f.after_ms))
        }
        Fact::OwnAddressDescribed(f) => format!("description refused: {} is a media port of this appliance", f.address),
        Fact::MediaConnected(f) => format!("ICE: its packets come from {} since {}", f.source, took(f.after_ms)),
        Fact::MediaKeyed(f) => format!("DTLS with {} done in {}: {}", f.source, took(f.took_ms), f.suite),
        Fact::MediaUnproven(f) => {
            format!("{} from {}: {}", count(f.packets, "failed proof"), f.source, f.why)
        }
        Fact::MediaUnheard(f) => format!("not heard for {}: {}", took(f.silent_ms), f.detail),
        Fact::MediaHeard(_) => "heard again".into(),
        Fact::MediaConsentLost(f) => format!("no ICE check for {}", took(f.silent_ms)),
        Fact::MediaForeign(f) => format!("{} from {} dropped", count(f.packets, "foreign packet"), f.source),
        Fact::MediaTimedOut(f) => format!("no audio for {}", took(f.silent_ms)),
        Fact::MediaFastPath(f) => {
            let state = if f.on { "the kernel forwards plain calls" } else { "the kernel does not forward calls" };
            if f.why.is_empty() { state.to_owned() } else { format!("{state}: {}", f.why) }
        }
        Fact::MediaCalibrated(f) if f.why.is_empty() => {
            let us = f.ns_per_packet as f64 / 1000.0;
            format!("a packet costs {us:.1} us of CPU by sockets: {} calls a media worker", f.calls_per_worker)
        }
        Fact::MediaCalibrated(f) => format!("what a packet costs could not be measured: {}", f.why),
        Fact::MediaWorkerFailed(f) => {
            format!("a media worker ended, {} since the start; {} at work", count(f.failed, "failure"), f.alive)
        }
        Fact::MediaRefused(f) => format!("no stream: {}", f.why),
        Fact::DigitReceived(f) => format!("a digit by {}", f.via),
        Fact::PlayStarted(f) => format!("playing {}", f.url),
        Fact::PlayEnded(f) => format!("played {}", f.url),
        Fact::PlayFailed(f) => format!("cannot play {}: {}", f.url, f.why),
        Fact::QualityMeasured(f) => {
            let report = &f.report;
            let score = |mos: Option<f32>| mos.map_or_else(|| "no MOS".to_owned(), |mos| format!("MOS {mos:.2}"));
            let there =
                report.far.and_then(|far| far.mos).map_or_else(String::new, |mos| format!(", MOS {mos:.2} there"));
            let way = report.round_trip_ms.map_or_else(String::new, |ms| format!(", round trip {ms:.0} ms"));
            format!(
                "{} received, {} lost, jitter {:.1} ms{way}, {}; {} sent{there}",
                count(report.packets_received, "packet"),
                report.packets_lost,
                report.jitter_ms,
                score(report.mos),
                report.packets_sent
            )
        }
        Fact::RecordingStarted(f) => {
            format!("recording {} ({}, {}, {})", f.recording, f.source, f.track, count(f.channels.into(), "channel"))
        }
        Fact::RecordingPaused(f) => format!("recording {} paused ({})", f.recording, f.behavior),
        Fact::RecordingResumed(f) => format!("recording {} goes on", f.recording),
        Fact::RecordingEnded(f) if f.bytes == 0 => {
            format!("recording {} ended ({}): nothing in it", f.recording, f.why)
        }
        Fact::RecordingEnded(f) => format!("recorded {} in {} ({})", took(f.duration_ms), f.recording, f.why),
        Fact::RecordingFailed(f) => {
            format!("recording {} failed after {}: {}", f.recording, took(f.duration_ms), f.why)
        }
        Fact::RecordingsTrimmed(f) => format!("{} deleted, {} bytes", count(f.recordings, "old recording"), f.bytes),
        Fact::ForkStarted(f) => format!("{} hears {} of the call", f.server, f.track),
        Fact::ForkEnded(f) => {
            format!("stream {} after {}: {} packets sent, {} lost", f.why, took(f.duration_ms), f.sent, f.lost)
        }
        Fact::ForkFailed(f) => format!("stream to {} failed: {}", f.server, f.why),
        Fact::ConferenceCreated(f) => format!("conference {} ({}) opened", f.name, f.conference),
        Fact::ConferenceStarted(f) => format!(
            "conference {} starts with {}, after {}",
            f.name,
            count(f.participants, "participant"),
            took(f.waited_ms)
        ),
        Fact::ConferenceJoined(f) => {
            format!("in conference {}, {} there ({})", f.name, count(f.participants, "participant"), f.part)
        }
        Fact::ConferenceChanged(f) => format!("{} in conference {}", f.what.replace('_', " "), f.conference),
        Fact::ConferenceLeft(f) => format!(
            "out of conference {} ({}) after {}, {} there",
            f.conference,
            f.why,
            took(f.duration_ms),
            count(f.participants, "participant")
        ),
        Fact::ConferenceRefused(f) => format!("not let into conference {}: {}", f.name, f.why),
        Fact::ConferenceEnded(f) => format!("conference {} is over after {}: {}", f.name, took(f.duration_ms), f.why),
        Fact::AppRequested(f) => format!("asking {} ({}, {})", f.url, f.method, f.purpose),
        Fact::AppResponded(f) => {
            let verbs = if f.verbs.is_empty() { "no verbs" } else { &f.verbs };
            format!("{} answered {} after {}: {verbs}", f.url, f.status, took(f.took_ms))
        }
        Fact::AppFailed(f) => format!("{} failed with {}: {}; then: {}", f.url, f.code, f.why, f.then),
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
        Fact::RegistrationsRestored(f) => {
            format!("{} of before the restart known again, {} dropped", count(f.devices, "device"), f.dropped)
        }
        Fact::SubscriptionBegan(f) => {
            format!("{} is told the {} of {} for {} s", f.source, f.package, f.of, f.expires_s)
        }
        Fact::SubscriptionEnded(f) => format!("the {} of {} is not told any more: {}", f.package, f.of, f.why),
        Fact::MessagesWaiting(f) => {
            format!("{} waiting, {} heard before, says {}", count(f.new.into(), "new voice message"), f.old, f.by)
        }
        Fact::AuthenticationFailed(f) => format!("{} claims to be {}: {}", f.source, shown(&f.claimed), f.why),
        Fact::ConnectionsRefused(f) => {
            format!("{} refused or closed, the last from {}: {}", count(f.connections, "connection"), f.source, f.why)
        }
        Fact::CertificateExpiring(f) if f.days == 0 => format!("the certificate {} of {} has ended", f.file, f.of),
        Fact::CertificateExpiring(f) => {
            format!("the certificate {} of {} ends in {}", f.file, f.of, count(f.days, "day"))
        }
        Fact::StrangersRefused(f) => {
            format!("{} from strangers refused, the latest from {}", count(f.requests, "request"), f.source)
        }
        Fact::MalformedDropped(f) => {
            format!("{} dropped, the latest from {}: {}", count(f.messages, "unreadable message"), f.source, f.why)
        }
        Fact::OverloadBegan(f) => format!(
            "too much to do (switch at {} %, longest turn {}): new calls and registrations are refused in part",
            f.busy_percent,
            took(f.turn_ms)
        ),
        Fact::OverloadEnded(f) => format!("keeps up again; {} refused meanwhile", count(f.refused, "request")),
        Fact::SourceBanned(f) => {
            let what = if f.slowed { "slowed down" } else { "banned" };
            let times = if f.times > 1 { format!(", {} times now", f.times) } else { String::new() };
            format!("{} {what} for {}{times}: {}", f.source, took(f.for_s * 1000), f.why)
        }
        Fact::BanLifted(f) => format!("ban of {} lifted by {}", f.source, f.by),
        Fact::SourcesThrottled(f) => {
            format!("{} over the rate dropped, the latest from {}", count(f.messages, "message"), f.source)
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
        EndedBy::Router => "the call's program or route",
        EndedBy::Operator => "an operator",
        EndedBy::Postern => "this appliance",
    }
}

/// `PCMA/8000, 20 ms, digits as 101, plain RTP; 10.0.0.1:4000 here, 10.0.0.2:5000 there`.
pub fn negotiated(media: &Negotiated) -> String {
    let mut told = format!("{}, {} ms", media.codec, media.ptime_ms);
    if let Some(payload_type) = media.telephone_event {
        told.push_str(&format!(", digits as {payload_type}"));
    }
    match &media.srtp {
        Some(suite) => told.push_str(&format!(", SRTP {suite}")),
        None => told.push_str(", plain RTP"),
    }
    if media.ice {
        told.push_str(", ICE");
    }
    // The flow as the peer asked for it.
    told.push_str(match media.direction {
        Direction::SendRecv => "",
        Direction::SendOnly => ", it only sends",
        Direction::RecvOnly => ", it only receives",
        Direction::Inactive => ", silent both ways",
    });
    if media.ice {
        // What the peer described is where nobody is; `media.connected` says more.
        return format!("{told}; {} here", media.local);
    }
    format!("{told}; {} here, {} there", media.local, media.remote)
}

/// A span for a person: `7 ms`, `12.3 s`, `61 min 5 s`.
pub fn took(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn tries(number: u32) -> String {
    format!("{number} {}", if number == 1 { "try" } else { "tries" })
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
                "call ended by its first party after 61.0 s with 1 leg: 200 normal clearing",
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
