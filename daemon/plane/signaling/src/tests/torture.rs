//! RFC 4475 and RFC 5118 at the door of a known trunk: each message with the answer that its section asks of an endpoint.

use super::*;

const FILE: &str = include_str!("../../../../protocol/sip/tests/torture/messages.txt");

/// A message of the file, as [`World::recv`] cannot write it: bytes are kept.
fn message(name: &str) -> Vec<u8> {
    let text = FILE.split("== ").find_map(|part| part.strip_prefix(name)?.strip_prefix('\n')).expect(name);
    let text = if text.contains("\n\n") { text.to_owned() } else { format!("{text}\n") };
    let mut out = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['<', '\n']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        let marked = rest.strip_prefix("<hex ").or_else(|| rest.strip_prefix("<repeat "));
        match marked.and_then(|mark| mark.split_once('>')) {
            Some((run, after)) => {
                match run.split_once(' ') {
                    Some((count, what)) => out.extend(what.repeat(count.parse().unwrap()).bytes()),
                    None => out
                        .extend((0..run.len()).step_by(2).map(|at| u8::from_str_radix(&run[at..at + 2], 16).unwrap())),
                }
                rest = after;
            }
            None if rest.starts_with('\n') => {
                out.extend_from_slice(b"\r\n");
                rest = &rest[1..];
            }
            None => {
                out.push(b'<');
                rest = &rest[1..];
            }
        }
    }
    out
}

/// The status of the first final answer, or the first when there is none; 0: nothing was said.
fn answer(bytes: &[u8]) -> u16 {
    answer_at(OUTER, CARRIER, bytes)
}

fn answer_at(local: &str, source: &str, bytes: &[u8]) -> u16 {
    let mut world = World::new();
    world.signaling.handle_datagram(world.now, address(local), address(source), bytes);
    world.drain();
    let status = |text: &String| text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let all: Vec<u16> = world.sent.iter().map(|(_, text)| status(text)).collect();
    all.iter().copied().find(|status| *status >= 200).or(all.first().copied()).unwrap_or(0)
}

#[test]
fn every_message_of_rfc_4475_gets_the_answer_that_its_section_asks_for() {
    // A trunk registers nowhere here: a REGISTER that reads well is 405. One that was sent to a tag is of no dialog: 481.
    let table = [
        ("wsinv", 481),
        ("intmeth", 501),
        ("esc01", 100),
        ("escnull", 405),
        ("esc02", 501),
        ("lwsdisp", 200),
        ("longreq", 100),
        ("dblreq", 405),
        ("semiuri", 200),
        ("transports", 200),
        ("mpart01", 415),
        ("unreason", 0),
        ("noreason", 0),
        ("badinv01", 400),
        ("clerr", 400),
        ("ncl", 400),
        ("scalar02", 400),
        ("scalarlg", 0),
        ("quotbal", 400),
        ("ltgtruri", 400),
        ("lwsruri", 400),
        ("lwsstart", 400),
        ("trws", 400),
        ("escruri", 400),
        ("baddate", 100),
        ("regbadct", 400),
        ("badaspec", 200),
        ("baddn", 200),
        ("badvers", 505),
        ("mismatch01", 400),
        ("mismatch02", 400),
        ("bigcode", 0),
        ("badbranch", 200),
        ("insuf", 400),
        ("unkscm", 416),
        ("novelsc", 416),
        ("unksm2", 405),
        ("bext01", 420),
        ("invut", 415),
        ("regaut01", 405),
        ("multi01", 400),
        ("mcl01", 400),
        ("bcast", 0),
        ("zeromf", 483),
        ("cparam01", 405),
        ("cparam02", 405),
        ("regescrt", 405),
        ("sdp01", 406),
        // 3.4: to be taken by who wants to be compatible. Without a Contact there is no address for our BYE.
        ("inv2543", 400),
    ];
    let wrong: Vec<_> = table
        .iter()
        .map(|(name, want)| (name, want, answer(&message(name))))
        .filter(|(_, want, got)| *want != got)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(table.len(), FILE.matches("== ").count(), "every message of the file is in the table");
}

/// What the sections of RFC 5118 4 are about, in requests of our own.
#[test]
fn rfc_5118_addresses_of_ipv6_are_read_or_refused_as_its_sections_ask() {
    let options = |uri: &str, via: &str, contact: &str| {
        format!(
            "OPTIONS {uri} SIP/2.0
            Via: SIP/2.0/UDP {via}
            Max-Forwards: 70
            From: <sip:user@example.com>;tag=81x2
            To: <sip:user@example.com>
            Contact: <{contact}>
            Call-ID: v6
            CSeq: 98176 OPTIONS"
        )
    };
    let via = "[2001:db8::9:1];branch=z9hG4bKas3-111";
    let contact = "sip:user@[2001:db8::1]";
    let table = [
        // 4.1 a reference in brackets; 4.2 without them it is no URI.
        (options("sip:[2001:db8::10]", via, contact), 200),
        (options("sip:2001:db8::10", via, contact), 400),
        // 4.3 a port inside the brackets is a group of the address; 4.4 behind them it is a port.
        (options("sip:[2001:db8::10:5070]", via, contact), 200),
        (options("sip:[2001:db8::10]:5070", via, contact), 200),
        // 4.5 `received` with brackets and without.
        (options("sip:[2001:db8::10]", "[2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3", contact), 200),
        (options("sip:[2001:db8::10]", "[2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3", contact), 200),
        // 4.7 both families in one message; 4.9 an IPv4-mapped address.
        (
            options(
                "sip:user@example.com",
                "192.0.2.1:5060;branch=z9hG4bKa, SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKb",
                contact,
            ),
            200,
        ),
        (options("sip:[2001:db8::10]", via, "sip:user@[::ffff:192.0.2.10]"), 200),
        // 4.10 three colons, which only the grammar of RFC 3261 seems to allow, are no address.
        (options("sip:[2001:db8:::192.0.2.1]", via, contact), 400),
        (options("sip:[2001:db8::10", via, contact), 400),
        (options("sip:user@example.com", "[2001:db8::9:1;branch=z9hG4bKas3", contact), 400),
    ];
    for (text, want) in table {
        assert_eq!(answer(wire(&text).as_bytes()), want, "{text}");
    }
    // 4.6, 4.8: descriptions with addresses of IPv6, and of both.
    for sdp in [
        "v=0\no=a 1 1 IN IP6 2001:db8::20\ns=-\nc=IN IP6 2001:db8::20\nt=0 0\nm=audio 6000 RTP/AVP 0\n",
        "v=0\no=a 1 1 IN IP6 2001:db8::20\ns=-\nt=0 0\nm=audio 6000 RTP/AVP 0\nc=IN IP6 2001:db8::20\nm=video 6024 RTP/AVP 107\nc=IN IP4 192.0.2.1\na=rtpmap:107 H263/90000\n",
        "v=0\no=a 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP6 ::ffff:192.0.2.1\nt=0 0\nm=audio 6000 RTP/AVP 0\n",
    ] {
        assert_eq!(answer(wire(&invite("v6", 1).replace(SDP, sdp)).as_bytes()), 100, "{sdp}");
    }
}

#[test]
fn a_registrars_door_challenges_what_reads_well_and_is_silent_to_the_rest() {
    let table = [
        ("escnull", 401),
        ("mpart01", 401),
        ("ncl", 0),
        ("dblreq", 401),
        ("scalar02", 0),
        ("regbadct", 0),
        ("unksm2", 401),
        ("regaut01", 401),
        ("cparam01", 401),
        ("cparam02", 401),
        ("regescrt", 401),
    ];
    for (name, want) in table {
        assert_eq!(answer_at(INNER, PHONE, &message(name)), want, "{name}");
    }
}
