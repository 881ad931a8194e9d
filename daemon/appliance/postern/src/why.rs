//! Why a call failed, in words: what the cause means, and where to look. Two tables: the words of this appliance's own causes, and the SIP
//! statuses of others; Q.850 says more where a network sent it.

use std::fmt::Write;

/// What is known of an end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    /// Who released, as the record has it: `peer`, `other_party`, `router`, `operator`, `postern`.
    pub by: &'a str,
    pub status: u16,
    pub q850: Option<u8>,
    pub text: &'a str,
}

/// One or two sentences; none for an end that needs no word: a call that was answered and hung up.
pub(crate) fn why(end: End<'_>) -> Option<String> {
    if end.by == "operator" {
        return Some("A person or a program ended it: by REST, by `postern hangup` or from the control plane.".into());
    }
    let own = OURS.iter().find(|(words, _)| end.text.starts_with(words));
    if let Some((_, meaning)) = own {
        return (!meaning.is_empty()).then(|| (*meaning).to_owned());
    }
    if (200..300).contains(&end.status) {
        return None;
    }
    let ours = matches!(end.by, "router" | "postern");
    let who = if ours { "Here" } else { "There" };
    let mut told = match STATUSES.iter().find(|(status, _)| *status == end.status) {
        Some((_, meaning)) => format!("{who}: {meaning}"),
        None => format!("{who}: {} {}", class(end.status), end.status),
    };
    if let Some(meaning) = end.q850.and_then(|cause| Q850.iter().find(|(known, _)| *known == cause)) {
        _ = write!(told, " The telephone network's cause is {}: {}.", meaning.0, meaning.1);
    }
    Some(told)
}

/// Of a status that no standard in the table has.
fn class(status: u16) -> &'static str {
    match status {
        300..=399 => "the call is to be tried elsewhere, by a status that no RFC defines:",
        400..=499 => "the request was refused by a status that no RFC defines:",
        500..=599 => "the server failed with a status that no RFC defines:",
        600..=699 => "the call was refused everywhere by a status that no RFC defines:",
        _ => "the call ended with what is no final SIP status:",
    }
}

/// Causes that this appliance makes, by how their words begin. A test compares them with the sources.
const OURS: &[(&str, &str)] = &[
    // Needs no word.
    ("normal clearing", ""),
    (
        "transferred",
        "One party asked for the other to be transferred (REFER), whom it was transferred to answered, and the box let the one that asked go.",
    ),
    (
        "it cannot be dialed",
        "A transfer was asked for to a destination that a route allows, but whose trunk or user cannot be called now: `postern route NUMBER` shows the route, `postern status` the trunk.",
    ),
    (
        "an INVITE without a description takes nobody's place",
        "Somebody asked for the place of a party of a live call (Replaces) without describing its audio: the caller's software is to send an offer.",
    ),
    (
        "an application decides who talks in",
        "A transfer was asked for in a call that a document runs: who talks there is the document's to say, by a `<Dial>` of its own or a redirect of the call.",
    ),
    (
        "no such second call of the same party",
        "A transfer with consultation named a second call (Replaces) that is not there, or not the same party's: it ended meanwhile, or its dialog is another's.",
    ),
    (
        "nobody talks or rings there",
        "A transfer with consultation named a call in which nobody is yet, or any more, who could be joined.",
    ),
    ("nobody to be referred", "A transfer was asked for before the other party was there."),
    ("replaced", "Another dialog took its place (Replaces): the call went on with that one."),
    (
        "the other party did not reach it",
        "A transfer was passed on (`refer: relay`): the other party tried to reach whom it was sent to and told that it could not. The answer that it got is its own affair; its side knows.",
    ),
    ("the call is over", "A transfer was asked for in a call that ended in the same moment."),
    ("the second call is over", "The call that a transfer with consultation named ended in the same moment."),
    ("the conference is over", "It was being called into a conference that ended before it answered."),
    ("cancelled by the caller", "The caller hung up before anybody answered."),
    (
        "no answer, nothing was heard from",
        "The INVITE was sent and not even a 100 came back: a wrong address, a firewall between, or the other side is down. `postern trace CALL` shows the INVITE; send it an OPTIONS by hand.",
    ),
    (
        "another codec than the call was begun with",
        "A party asked in the middle of the call for a codec that cannot be joined to the other party's: the call goes on as it was, unless that party gives up. Compare the `codecs` of both.",
    ),
    (
        "our ringing was never acknowledged",
        "The caller asked for reliable ringing (100rel) and never acknowledged ours with a PRACK: it lost the way back to us, or cannot do what it asks for. `rel100: off` for that trunk goes without.",
    ),
    (
        "no answer to the INVITE",
        "The other side said nothing to an INVITE of a call that stood: it is gone, or a firewall closed.",
    ),
    (
        "no answer to a new offer",
        "The other side said nothing to a new offer of a call that stood: it is gone, or a firewall closed.",
    ),
    (
        "no address of the registrar is known",
        "The name of the trunk that we register with was not found: DNS does not answer, or does not have it.",
    ),
    (
        "the realm has no address to register from",
        "The trunk that we register with has an address of a family (IPv4 or IPv6) that its realm's `signaling` lacks.",
    ),
    ("no answer to OPTIONS", "The trunk does not answer its probes: it is down, or a firewall is between."),
    ("no answer", "It rang until the time limit and nobody picked up: `timeout` of the number or route says how long."),
    ("answered elsewhere", "Another device or number of the same call picked up first."),
    (
        "no media received",
        "A party that should send audio sent none for `media.timeout`: its network died, or a firewall drops its RTP. Its leg below shows the address that it described and its last packets.",
    ),
    (
        "no device is registered",
        "Nobody is registered under that user: `postern events --type registration.*` tells when it left and why.",
    ),
    (
        "this device of the user is not registered",
        "The address of one device (GRUU) was called, and that device is gone or its address was made up. The user's other devices are not rung for it.",
    ),
    ("the user is in a call", "The user has a call already, and takes no second one."),
    (
        "too many names are being resolved",
        "More host names were being looked up than is allowed: the name server is slow or dead (`postern doctor`).",
    ),
    (
        "T.38 was offered and not answered",
        "A switch to fax was accepted without a description of where to send it: the other side speaks no T.38, though its answer was 200.",
    ),
    (
        "an application takes calls alone",
        "A message was sent to a number that an application has: it takes calls and no messages.",
    ),
    (
        "messages go to users and trunks",
        "A message was sent to an address that is neither a user's nor leads to a trunk.",
    ),
    (
        "nobody in this call takes messages",
        "A message was sent in a call whose other party is a document or a conference, or not there yet.",
    ),
    (
        "its sender makes no SIP address",
        "Who sent the message has a name that cannot be written as a SIP address on the way out: see the number rules of that way.",
    ),
    ("no way to it", "None of the trunks that lead there could be tried."),
    ("the other party did not answer yet", "A message was sent in a call before its other party had answered."),
    ("the other party is gone", "A message was sent in a call while its other party was leaving it."),
    (
        "too large for a datagram",
        "The message is longer than one datagram may be, and the way to its receiver has UDP alone (RFC 3428 8): TCP or TLS carries it.",
    ),
    (
        "cannot be reached:",
        "No connection to the next hop could be made: its address, its port or a firewall between (`postern status`).",
    ),
    (
        "the trunk wants fewer calls",
        "The trunk asked for fewer calls (RFC 7339), and no other way was left: its operator sees why; `trunk.overloaded` tells how many.",
    ),
    ("the trunk's calls come too fast", "More calls a second than `limits` of the trunk allow."),
    (
        "the trunk's line is full",
        "The calls of the trunk take what its line may bear (`limits.bandwidth_max`): `postern status` shows how much that is.",
    ),
    ("the trunk has no room for a further call", "The trunk had as many calls as its `calls_max` allows."),
    (
        "as many calls as are allowed",
        "As many calls live as are allowed: of the trunk by its `calls_max`, or of the box.",
    ),
    (
        "no room for a further call",
        "The appliance had no room for a further call: `postern status` shows what it carries.",
    ),
    (
        "accepted without a usable description",
        "A new offer was accepted with an answer that describes no audio that can be used.",
    ),
    ("rejected as busy by the document", "The application's document said <Reject reason=\"busy\">."),
    ("rejected by the document", "The application's document said <Reject>."),
    ("hung up by the document", "The application's document said <Hangup>, or came to its end."),
    ("the document ended", "The application's document came to its end."),
    (
        "too many verbs",
        "The application's documents ran more verbs than one call may: they lead to each other without an end.",
    ),
    (
        "the application failed",
        "The application server gave no usable document, its spare neither: `app.failed` above says why.",
    ),
    (
        "nobody has this number",
        "No number and no route matches what was dialed: `call.routed` above says what was looked up.",
    ),
    ("nobody to dial", "The document's <Dial> names nobody."),
    ("glare", "Both sides wanted to change the session at the same time; each tries again."),
    ("another offer is open", "Both sides wanted to change the session at the same time; each tries again."),
    ("another change is under way", "A change of the session came while another one was open."),
    ("the call is not set up", "A change of the session came before the call was answered."),
    (
        "cannot be reached by",
        "No connection to the other side: refused, timed out or its certificate is not believed; the words behind the colon are the system's.",
    ),
    (
        "no address that can be reached",
        "Its name has no address, or none that this realm can reach: IPv4 against IPv6, or the name server (`postern doctor`).",
    ),
    ("no address in reach", "Its name has no address that this realm can reach: IPv4 against IPv6."),
    ("a transport that is not spoken here", "The address asks for a transport that is none of udp, tcp and tls."),
    ("no such trunk", "The trunk is gone from the configuration since the call began."),
    (
        "no carrier for this number",
        "The rows of the table that it was routed by lead to groups that are gone from the configuration.",
    ),
    ("no such group", "The group is gone from the configuration since the call began."),
    ("no such application", "The application is gone from the configuration since the call began."),
    (
        "our answer was never acknowledged",
        "We answered and the caller's ACK never came: it did not get our 200, or sends its ACK elsewhere (wrong Contact, NAT, firewall).",
    ),
    (
        "no usable answer in the ACK",
        "The caller called without an offer, and its ACK brought no answer that can be used.",
    ),
    ("the appliance stops", "The appliance was stopped or restarted while the call lived."),
    ("completed by the API", "A program ended it by REST."),
    ("canceled by the API", "A program cancelled it by REST."),
    ("the other party left", "The other party hung up while the session was being changed."),
    (
        "signaling did not tell the end of the leg",
        "The end of the leg was never told: a fault of this appliance. Please report it with `postern support-bundle`.",
    ),
    (
        "no codec in which a prompt can be played",
        "What the party speaks is nothing that prompts are played in: let it offer PCMU or PCMA.",
    ),
    (
        "the two parties have no codec in common",
        "The two parties share no codec that both trunk and user allow: compare their `codecs`, and the offers in `postern trace CALL`.",
    ),
    (
        "answered without a format that was offered",
        "The answer names a codec that was not offered: a fault of the other side.",
    ),
    ("answered without a description", "It was answered without saying where audio goes: a fault of the other side."),
    ("SRTP does not fit", "What one side wants of encryption the other cannot do: compare their `srtp`."),
    ("SRTP required, and not answered", "`srtp: required` here, and the other side answered without a key."),
    (
        "DTLS-SRTP required, and not answered",
        "DTLS is required here, and the other side answered without a fingerprint.",
    ),
    (
        "an SRTP key answered that was not offered",
        "The answer brings a key for which nothing was offered: a fault of the other side.",
    ),
    (
        "DTLS-SRTP answered, and not offered",
        "The answer brings DTLS where none was offered: a fault of the other side.",
    ),
    (
        "no dialog can be made with this INVITE",
        "The INVITE has no Contact or tag that a dialog could be made with: a fault of the caller.",
    ),
    (
        "an answer that makes no dialog",
        "Its 200 has no tag or Contact that a dialog could be made with: a fault of the other side.",
    ),
    (
        "too many transactions",
        "Too many SIP transactions were open at once: the box is overloaded, or nobody answers it.",
    ),
    ("the offer could not be delivered", "A new offer did not reach the other side: its connection is gone."),
    (
        "a media port of this appliance was described",
        "The party described one of this box's own media ports: a trunk or NAT leads the call back here.",
    ),
    ("a user is not reached by address", "A fault of this appliance. Please report it with `postern support-bundle`."),
    ("not an address that can be dialed", "What is to be dialed is no SIP address that can be reached."),
    ("not a SIP URI that can be dialed", "What is to be dialed is no SIP address that can be reached."),
    (
        "nothing was heard from",
        "Not even a 100 came back: a wrong address, a firewall between, or the other side is down.",
    ),
    (
        "no room for media",
        "Every media port was in use, or every media worker busy; the call's line `media.refused` says which. Look whether calls hang \
         (`postern calls`); then enlarge `media.ports` of the realm, or give `media.workers` more CPUs.",
    ),
    ("time limit reached", "The call reached the time limit that its document set."),
    ("the caller pressed *", "The caller left by pressing *, as its document allows."),
    ("an extension that is not supported", "The INVITE requires an extension that is not spoken here."),
];

/// What others' statuses mean for a call (RFC 3261 21 and the RFC named where it is another).
const STATUSES: &[(u16, &str)] = &[
    (300, "the callee can be had at several other addresses, which are not tried."),
    (301, "the callee has moved for good; the new address is in the answer's Contact (`postern trace CALL`)."),
    (302, "the callee is elsewhere for now; the address is in the answer's Contact, which is not followed."),
    (305, "the callee wants to be called through a proxy, which is not followed."),
    (380, "another service is offered in place of the call."),
    (400, "the request was not understood: `postern trace CALL --full` shows it and what the answer's reason says."),
    (401, "a password was asked for, and there is none, or it is wrong: `credentials` of the trunk, or the phone's."),
    (402, "payment is required: ask the carrier about the account."),
    (
        403,
        "the call is forbidden: the caller's number, the destination or this address is not allowed there; ask its owner.",
    ),
    (
        404,
        "the number or user is unknown: look at the number's form (+49…, 0049…, 049…) and at what `call.routed` chose.",
    ),
    (405, "the request's method is not allowed."),
    (406, "no answer would be acceptable to what the request says it accepts."),
    (407, "a proxy asked for a password, and there is none, or it is wrong: `credentials` of the trunk."),
    (408, "no answer came in time: the next hop did not reach the callee, or the callee is gone."),
    (410, "the number or user is gone for good."),
    (412, "a condition of the request did not hold (RFC 3903)."),
    (413, "the request was too large."),
    (414, "the request's address was too long."),
    (415, "the kind of body was not understood: the side takes no SDP, or no encoding of it."),
    (416, "the kind of address was not understood: it wants sip: or tel:."),
    (417, "the Resource-Priority is unknown there (RFC 4412)."),
    (420, "an extension was required that is not spoken there."),
    (421, "an extension is required of us that is not spoken here."),
    (422, "the session's refresh interval is too short for it (RFC 4028)."),
    (423, "the registration's time is too short for it."),
    (424, "the location that was sent is no good (RFC 6442)."),
    (428, "a signed caller identity is required (STIR, RFC 8224)."),
    (429, "the referrer's identity is required (RFC 3892)."),
    (430, "a hop of the way to the phone failed (RFC 5626)."),
    (433, "anonymous calls are not taken (RFC 5079): show a caller's number."),
    (436, "the certificate of the caller's signed identity cannot be fetched (RFC 8224)."),
    (437, "the certificate of the caller's signed identity is not believed (RFC 8224)."),
    (438, "the caller's signed identity is wrong (RFC 8224)."),
    (439, "the first hop does not support outbound connections (RFC 5626)."),
    (440, "the request went through more branches than it may (RFC 5393)."),
    (469, "the INFO package is unknown (RFC 6086)."),
    (470, "the callee did not consent (RFC 5360)."),
    (480, "the callee cannot be had now: not registered, or it did not pick up."),
    (481, "the dialog is unknown there: it ended, restarted, or the request went to the wrong box."),
    (482, "the call came back to where it had been: two boxes route it to each other."),
    (483, "the call went through too many hops: boxes route it in a circle."),
    (484, "the number is too short, or not of the form that is wanted."),
    (485, "the number or user is ambiguous."),
    (486, "the callee is busy."),
    (487, "the call was cancelled before it was answered."),
    (
        488,
        "the offered audio is not acceptable: codecs, encryption or address; compare the descriptions in `postern trace CALL`.",
    ),
    (489, "the event package is unknown."),
    (491, "both sides wanted to change the session at the same time."),
    (493, "an encrypted body could not be opened."),
    (494, "a security agreement is required (RFC 3329)."),
    (500, "a fault of that server; its log knows more."),
    (501, "the request's method is unknown to that server."),
    (502, "a gateway there got nonsense from the next hop."),
    (
        503,
        "the server is overloaded or under maintenance, or has no free circuit; `Retry-After` in the trace says how long.",
    ),
    (504, "a server there got no answer from the next hop in time."),
    (505, "the SIP version is not understood there."),
    (513, "the message is too large for that server."),
    (555, "push notification is not supported there (RFC 8599)."),
    (580, "a precondition, such as reserved bandwidth, failed (RFC 3312)."),
    (600, "the callee is busy everywhere."),
    (603, "the callee declined; also what some networks say of calls that they block."),
    (604, "the number exists nowhere."),
    (606, "the offered session is acceptable nowhere."),
    (607, "the callee says that such calls are unwanted (RFC 8197)."),
    (608, "an analytics engine rejected the call, not the callee (RFC 8688): the caller's number has a bad name."),
];

/// ITU-T Q.850, those that gateways send.
const Q850: &[(u8, &str)] = &[
    (1, "the number is not allocated"),
    (2, "no route to the transit network"),
    (3, "no route to the destination"),
    (18, "the telephone does not respond"),
    (20, "the subscriber is absent"),
    (21, "the call was rejected"),
    (22, "the number was changed"),
    (23, "redirected to a new destination"),
    (25, "a routing error in the exchange"),
    (27, "the destination is out of order"),
    (28, "the number is incomplete or of a wrong form"),
    (29, "a facility was rejected"),
    (34, "no circuit is free"),
    (38, "the network is out of order"),
    (41, "a temporary failure"),
    (42, "the exchange is congested"),
    (44, "the circuit that was asked for is not free"),
    (47, "a resource is not available"),
    (50, "the facility is not subscribed"),
    (55, "incoming calls are barred in the closed user group"),
    (57, "the bearer is not authorized"),
    (58, "the bearer is not available now"),
    (65, "the bearer is not implemented"),
    (79, "the service is not implemented"),
    (88, "the destination is incompatible"),
    (95, "the message is invalid"),
    (102, "a timer ran out"),
    (111, "a protocol error"),
    (127, "interworking, without a cause of its own"),
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn told(by: &str, status: u16, text: &str) -> Option<String> {
        why(End { by, status, q850: None, text })
    }

    #[test]
    fn every_standard_status_by_whomever_has_a_sentence_of_its_own() {
        for by in ["peer", "other_party", "router", "postern"] {
            let mut seen = BTreeSet::new();
            for (status, _) in STATUSES {
                let sentence = told(by, *status, "Whatever They Say").unwrap();
                assert!(!sentence.contains("no RFC defines"), "{status}");
                assert!(seen.insert(sentence.clone()), "{status} {by}: {sentence}");
            }
        }
        assert!(told("operator", 487, "x").unwrap().contains("postern hangup"));
        assert_eq!(told("peer", 200, "BYE"), None);
        for status in 100..=720 {
            let sentence = told("peer", status, "?");
            assert_eq!(sentence.is_none(), (200..300).contains(&status), "{status}");
            // Whatever is sent, its number is told when nothing else is known of it.
            let known = STATUSES.iter().any(|(known, _)| *known == status);
            assert!(known || sentence.is_none_or(|sentence| sentence.contains(&status.to_string())));
        }
        let no_circuit = why(End { by: "peer", status: 503, q850: Some(34), text: "Service Unavailable" }).unwrap();
        assert!(
            no_circuit.starts_with("There: the server is overloaded")
                && no_circuit.ends_with("34: no circuit is free."),
            "{no_circuit}"
        );
    }

    /// Causes are written as `Cause::new(503, "words…")` and `text: "words".into()` in the two rooms that end calls.
    #[test]
    fn every_cause_of_this_appliance_has_a_sentence_of_its_own() {
        let daemon = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut found = BTreeSet::new();
        for folder in ["router/src", "plane/signaling/src", "appliance/switch/src"] {
            sources(&daemon.join(folder), &mut |text| found.extend(causes(text)));
        }
        let constants = fs::read_to_string(daemon.join("core/types/src/cause.rs")).unwrap();
        found.extend(
            constants
                .split("text: Cow::Borrowed(\"")
                .skip(1)
                .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
        );
        assert!(found.len() > 40, "the sources are read: {found:?}");
        let known = |words: &String| OURS.iter().any(|(known, _)| words.starts_with(known));
        let unknown: Vec<_> = found.iter().filter(|words| !known(words)).collect();
        assert!(unknown.is_empty(), "write what these causes mean into OURS: {unknown:#?}");
    }

    fn sources(folder: &Path, each: &mut dyn FnMut(&str)) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            match () {
                () if name.starts_with("tests") => {}
                () if path.is_dir() => sources(&path, each),
                () => {
                    let text = fs::read_to_string(&path).unwrap();
                    each(text.split("#[cfg(test)]").next().unwrap_or_default());
                }
            }
        }
    }

    /// The literal words, up to what is filled in.
    fn causes(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for rest in text.split("Cause::new(").skip(1) {
            let Some(comma) = rest.find(',').filter(|comma| *comma < 24) else { continue };
            let words = rest[comma + 1..].trim_start().trim_start_matches("format!(").trim_start();
            found.extend(literal(words));
        }
        for rest in text.split("Cause { text: ").skip(1) {
            found.extend(literal(rest));
        }
        found
    }

    fn literal(text: &str) -> Option<String> {
        let words = text.strip_prefix('"')?.split_once('"')?.0.split('{').next()?.trim_end();
        (!words.is_empty()).then(|| words.to_owned())
    }
}
