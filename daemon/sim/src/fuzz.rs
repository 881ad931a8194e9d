//! One entry for each parser, with seeds to mutate.
//!
//! The entries live beside their parsers; here is the list of them, what a valid input looks like, and a mutator with a printed seed. The
//! tests run it briefly, `make fuzz` for as long as one likes.

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// A parser under fire.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Takes any bytes; must not panic, hang or grow without bound.
    pub run: fn(&[u8]),
    /// Valid inputs.
    pub seeds: &'static [&'static [u8]],
}

/// Bytes of a mutated input at most: the largest datagram.
const INPUT_MAX: usize = 65_535;

/// Every parser that reads what a peer or a person wrote.
pub const TARGETS: &[Target] = &[
    Target { name: "sip message", run: postern_sip::fuzz::message, seeds: &[INVITE, ANSWER, REGISTER, MESSAGE] },
    Target { name: "sip raw", run: postern_sip::fuzz::raw, seeds: &[INVITE, ANSWER, REGISTER] },
    Target { name: "sip stream", run: postern_sip::fuzz::stream, seeds: &[STREAM, ANSWER] },
    Target {
        name: "sip uri",
        run: postern_sip::fuzz::uri,
        seeds: &[b"sip:user;par=u%40example.net@example.com:5060;transport=udp?x=y", b"sips:a@[2001:db8::1]", b"tel:+1-555"],
    },
    Target {
        name: "sip digest",
        run: postern_sip::fuzz::digest,
        seeds: &[
            b"Digest realm=\"a\", nonce=\"b\", algorithm=SHA-256, qop=\"auth,auth-int\", opaque=\"\"",
            b"Digest username=\"Mufasa\", realm=\"x\", nonce=\"y\", uri=\"sip:a\", qop=auth, nc=00000001, cnonce=\"c\", response=\"d\"",
        ],
    },
    Target { name: "signaling plane", run: postern_signaling::fuzz::signaling, seeds: &[INVITE, ANSWER, REGISTER, SUBSCRIBE] },
    Target { name: "sip fields", run: postern_signaling::fuzz::fields, seeds: &[INVITE, SENT_ON, INFO, REFER, NOTIFY] },
    Target { name: "signaling stream", run: postern_signaling::fuzz::stream, seeds: &[INVITE, STREAM, REGISTER] },
    Target { name: "stir identity", run: postern_stir::fuzz::identity, seeds: &[IDENTITY] },
    Target {
        name: "stir certificate",
        run: postern_stir::fuzz::certificate,
        seeds: &[include_bytes!("../../protocol/stir/tests/certificates/signer.pem")],
    },
    Target { name: "dns answers", run: postern_locate::fuzz::answers, seeds: &[b"\x00\x02\x00\x01\x01\x00\x05\x00\x01\x02\x03\x04\x05\x06\x07\x08"] },
    Target { name: "sdp", run: postern_sdp::fuzz::sdp, seeds: &[SDP, FAX] },
    Target {
        name: "audio payload",
        run: postern_audio::fuzz::payloads,
        seeds: &[
            b"\x00\x10\xd5\xd5\xd5\xd5\x55\x12\x34\x80\xaa\x2a\xd5\xd5\xd5\xd5\xd5\xd5",
            b"\x0a\x08\xfa\xfa\xfa\xfa\x12\x34\x56\x78\x88\x00\x01\x02\x03\x04\x05\x06\x07",
            b"\x03\x0c\x78\x52\x80\xa0\x00\xfa\xd0\x00\x00\x56\x0b\x1d\x80\x0a\x78\x52\x80\xa0\x00\xfa\xd0\x00\x00\x56",
            b"\x04\x03\x08\xff\xfe\x81\x08\x09\x78\x01\x02\x03\x04\x05\x06\x07\x08\x02\x78\x80",
        ],
    },
    Target {
        name: "jitter buffer",
        run: postern_rtp::fuzz::jitter,
        seeds: &[b"\x00\x00\x01\x00\xa0\x08\x14\x54\x00\x00\x02\x01\x40\x08\x14\x54\x00\x00\x04\x02\x80\x08\x14\x54"],
    },
    Target {
        name: "stun",
        run: postern_ice::fuzz::stun,
        // RFC 5769 2.1 and 2.2.
        seeds: &[
            b"\x00\x01\x00\x58\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\x80\x22\x00\x10STUN test client\
              \x00\x24\x00\x04\x6e\x00\x01\xff\x80\x29\x00\x08\x93\x2f\xf9\xb1\x51\x26\x3b\x36\x00\x06\x00\x09evtj:h6vY\x20\x20\x20\
              \x00\x08\x00\x14\x9a\xea\xa7\x0c\xbf\xd8\xcb\x56\x78\x1e\xf2\xb5\xb2\xd3\xf2\x49\xc1\xb5\x71\xa2\x80\x28\x00\x04\xe5\x7a\x3b\xcf",
            b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\x80\x22\x00\x0btest vector\x20\
              \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\
              \xba\x53\xf0\x6b\xe7\xd7\x80\x28\x00\x04\xc0\x7d\x4c\x96",
        ],
    },
    Target {
        name: "dtls",
        run: postern_srtp::fuzz::dtls,
        // A ClientHello with one suite, one group and use_srtp; an alert; a fragment of something longer.
        seeds: &[
            b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x61\x01\x00\x00\x55\x00\x00\x00\x00\x00\x00\x00\x55\xfe\xfd\
              0123456789abcdef0123456789abcdef\x00\x00\x00\x02\xc0\x2b\x01\x00\x00\x29\x00\x0a\x00\x04\x00\x02\x00\x17\
              \x00\x0b\x00\x02\x01\x00\x00\x0d\x00\x04\x00\x02\x04\x03\x00\x0e\x00\x05\x00\x02\x00\x01\x00\x00\x17\x00\x00\
              \xff\x01\x00\x01\x00\x00\x23\x00\x00",
            b"\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x01\x00\x02\x02\x28",
            b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x01\x00\x10\x01\x00\x10\x00\x00\x00\x00\x00\x10\x00\x00\x04data",
        ],
    },
    Target {
        name: "rtp",
        run: postern_rtp::fuzz::rtp,
        seeds: &[
            b"\x00\x02\x01\x06\x00\x01\x01\x06",
            b"\x80\x08\x00\x01\x00\x00\x00\xa0\x12\x34\x56\x78\xd5\xd5\xd5\xd5",
            b"\x90\x65\x00\x02\x00\x00\x01\x40\x12\x34\x56\x78\xbe\xde\x00\x01\x10\xaa\x00\x00\x05\x8a\x03\x20",
            b"\x80\xc8\x00\x06\x12\x34\x56\x78\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xa0\x00\x00\x00\x01\x00\x00\x00\xa0",
        ],
    },
    Target {
        name: "rtcp",
        run: postern_rtp::fuzz::rtcp,
        seeds: &[
            // A sender report with a block, a CNAME and a goodbye; an extended report with VoIP metrics after an empty receiver report.
            b"\x81\xc8\x00\x0c\x12\x34\x56\x78\xe9\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\xa0\x00\x00\x00\x01\x00\x00\x00\xa0\
              \x12\x34\x56\x78\x40\x00\x00\x05\x00\x00\x00\x09\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00\x00\
              \x81\xca\x00\x03\x12\x34\x56\x78\x01\x02ab\x00\x00\x00\x00\x81\xcb\x00\x01\x12\x34\x56\x78",
            b"\x80\xc9\x00\x01\x12\x34\x56\x78\x80\xcf\x00\x0a\x12\x34\x56\x78\x07\x00\x00\x08\x12\x34\x56\x78\x05\x00\x40\x01\
              \x00\x78\x03\xe8\x00\x20\x00\x10\x7f\x7f\x7f\x10\x5d\x7f\x2c\x2b\x00\x00\x00\x28\x00\x50\x00\x78",
        ],
    },
    Target {
        name: "mp3 file",
        run: postern_audio::fuzz::mp3,
        seeds: &[
            include_bytes!("../../protocol/audio/src/mp3/tone-8000-1.mp3"),
            include_bytes!("../../protocol/audio/src/mp3/tone-22050-1.mp3"),
            include_bytes!("../../protocol/audio/src/mp3/tagged.mp3"),
        ],
    },
    Target {
        name: "wav",
        run: postern_audio::fuzz::wav,
        seeds: &[b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x08\0\0\0\0\0\0\x10\0\x20\0\x30"],
    },
    Target {
        name: "document",
        run: postern_document::fuzz::document,
        seeds: &[
            b"<?xml version=\"1.0\"?><Response><Gather numDigits=\"1\" action=\"/a\"><Play loop=\"2\">x.wav</Play></Gather>\
              <Dial timeout=\"9\"><Client>a</Client><Number>+1</Number><Sip>sip:a@b</Sip></Dial><Redirect>/b</Redirect></Response>",
        ],
    },
    Target { name: "numbers", run: postern_config::fuzz::numbers, seeds: &[b"+49301234567", b"0049 (30) 12-34", b"9112", b"030/1234;ext=5"] },
    Target {
        name: "record chain",
        run: postern_events::chain::fuzz::chain,
        seeds: &[
            b"{\"n\":1,\"previous\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"call\":{},\"hash\":\"00\"}",
            b"1,a,0000000000000000000000000000000000000000000000000000000000000000,0000000000000000000000000000000000000000000000000000000000000000",
        ],
    },
    Target {
        name: "prefix table",
        run: postern_config::fuzz::table,
        seeds: &[
            b"prefix,trunk,group,cost,schedule\n+49,a,,0.02,\n+4930,,b,0.015,c\n#31#,a,,1,\n",
            b"\xef\xbb\xbfCost, prefix ,trunk\r\n#* no row\r\n\"0.5\",+4930,\"a\"\r\n1,+49,b\r\n",
        ],
    },
    Target {
        name: "yaml",
        run: postern_config::fuzz::yaml,
        seeds: &[
            b"appliance: { name: a }\nrealms:\n  r: { signaling: [127.0.0.1:5060], media: { addresses: [127.0.0.1], ports: 20000-20100 } }\n\
              trunks:\n  t: { realm: r, address: 192.0.2.1, sources: [192.0.2.0/24], codecs: [PCMA] }\nusers:\n  u: { password: p }\n\
              numbers:\n  \"+15551234\": { user: u, timeout: 30s }\n",
            b"numbering: { n: { country: \"49\", received: e164, rules: [{ name: a, for: received_called, match: '9(.*)', replace: '$1' }] } }\n\
              protection: { rate: 10, burst: 50, bans: true, ban: 10m, ban_max: 1d, trusted: [192.0.2.0/24] }\n\
              realms: { r: { allow: [192.0.2.0/24], deny: [192.0.2.7], emergency: [\"112\"], numbering: n } }\n\
              trunks: { t: { realm: r, register: { user: a, password: b }, limits: { calls_in: 1, rate_out: 2 }, trusted: true } }\n",
            b"headers: { h: { rules: [{ name: a, for: [sent_request, received_response], methods: INVITE, header: X-A, copy: To, match: '<(.*)>', replace: '$1' },\n\
              { name: b, for: sent_response, header: Server, remove: true }] } }\ntrunks: { t: { realm: r, address: 192.0.2.1, headers: h } }\n",
            b"schedules: { s: { time_zone: Europe/Berlin, hours: [{ days: [mon, holiday], from: \"22:00\", to: \"06:00\" }], holidays: [2026-12-25] } }\n\
              tables: { t: { file: a.csv } }\nroutes: [{ name: a, schedule: s, to: { table: t } }]\n",
        ],
    },
];

/// Runs `rounds` mutations of a target's seeds. The same seed makes the same inputs.
pub fn run(target: &Target, seed: u64, rounds: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for input in target.seeds {
        (target.run)(input);
    }
    (target.run)(b"");
    for _ in 0..rounds {
        let input = mutate(target, &mut rng);
        (target.run)(&input);
    }
}

fn pick<'a>(target: &Target, rng: &mut StdRng) -> &'a [u8]
where
    'static: 'a,
{
    target.seeds[rng.random_range(0..target.seeds.len())]
}

/// A seed with some of its bytes flipped, cut, doubled, moved, or taken from another.
fn mutate(target: &Target, rng: &mut StdRng) -> Vec<u8> {
    let mut input = pick(target, rng).to_vec();
    for _ in 0..rng.random_range(1..=8) {
        let at = rng.random_range(0..=input.len());
        let until = rng.random_range(at..=input.len().min(at + 64));
        match rng.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
            1 if at < input.len() => input[at] = rng.random(),
            2 => input.truncate(at),
            3 => drop(input.drain(at..until)),
            4 => {
                let piece = input[at..until].to_vec();
                let copies = if rng.random_bool(0.05) { 200 } else { 1 };
                for _ in 0..copies {
                    input.splice(at..at, piece.iter().copied());
                }
            }
            5 => {
                let other = pick(target, rng);
                let from = rng.random_range(0..=other.len());
                let to = rng.random_range(from..=other.len());
                input.splice(at..until, other[from..to].iter().copied());
            }
            6 => {
                let odd: &[&[u8]] = &[
                    b"\r\n",
                    b"\0",
                    b"\"",
                    b"<",
                    b">",
                    b";",
                    b",",
                    b"%",
                    b"4294967296",
                    b"-1",
                    b"\xff\xfe",
                    b"[",
                    b":",
                    b"  ",
                ];
                input.splice(at..at, odd[rng.random_range(0..odd.len())].iter().copied());
            }
            _ => {
                let mut noise = [0; 16];
                rng.fill_bytes(&mut noise);
                input.splice(at..at, noise);
            }
        }
        input.truncate(INPUT_MAX);
    }
    input
}

/// SHAKEN (RFC 8588), with a signature that is none.
const IDENTITY: &[u8] =
    b"eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9hLmV4YW1wbGUvYy5wZW0ifQ.eyJ\
hdHRlc3QiOiJBIiwiZGVzdCI6eyJ0biI6WyIxMjEyNTU1MTIxMyJdfSwiaWF0IjoxNDQzMjA4MzQ1LCJvcmlnIjp7InRuIjoiMTIxNTU1NTEyM\
TIifSwib3JpZ2lkIjoiMTIzZTQ1NjctZTg5Yi0xMmQzLWE0NTYtNDI2NjU1NDQwMDAwIn0.AAAA;info=<https://a.example/c.pem>;alg\
=ES256;ppt=\"shaken\"";

const INVITE: &[u8] = b"INVITE sip:+15551234567@127.0.0.2:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.11:5060;branch=z9hG4bKabc;rport\r\n\
From: \"A. Caller\" <sip:+15559999999@127.0.0.11>;tag=1\r\nTo: <sip:+15551234567@127.0.0.2>\r\nCall-ID: x@127.0.0.11\r\nCSeq: 1 INVITE\r\n\
Contact: <sip:127.0.0.11:5060>\r\nMax-Forwards: 70\r\nX-Account: 7\r\nContent-Type: application/sdp\r\nContent-Length: 129\r\n\r\n\
v=0\r\no=- 1 1 IN IP4 127.0.0.11\r\ns=-\r\nc=IN IP4 127.0.0.11\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";

const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nv: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bKdef;received=127.0.0.2\r\nf: <sip:a@127.0.0.2>;tag=1\r\n\
t: <sip:b@127.0.0.11>;tag=2\r\ni: y\r\nCSeq: 1 INVITE\r\nm: <sip:b@[::1]:5060;transport=udp>\r\nRecord-Route: <sip:p1;lr>,\r\n <sip:p2;lr>\r\nl: 0\r\n\r\n";

const REGISTER: &[u8] = b"REGISTER sip:127.0.0.3 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.21:5060;branch=z9hG4bK1\r\nFrom: <sip:alice@127.0.0.3>;tag=a\r\n\
To: <sip:alice@127.0.0.3>\r\nCall-ID: r\r\nCSeq: 2 REGISTER\r\nContact: <sip:alice@127.0.0.21>;expires=300;+sip.instance=\"<urn:uuid:0>\"\r\n\
Authorization: Digest username=\"alice\", realm=\"postern\", nonce=\"n\", uri=\"sip:127.0.0.3\", response=\"0\", qop=auth, nc=00000001, cnonce=\"c\"\r\n\
Expires: 300\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

const SENT_ON: &[u8] = b"INVITE sip:1@127.0.0.2 SIP/2.0\r\nFrom: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1\r\nTo: <sip:1@127.0.0.2>\r\n\
P-Asserted-Identity: \"A\" <sip:+15551@x>, <tel:+15551>\r\nPrivacy: id;history\r\nDiversion: <sip:2@y>;reason=user-busy;counter=2\r\n\
History-Info: <sip:3@z?Reason=SIP%3Bcause%3D486>;index=1,<sip:1@127.0.0.2;cause=302>;index=1.1;mp=1\r\nRemote-Party-ID: <sip:4@x>;privacy=full\r\n\
Call-ID: x\r\nCSeq: 1 INVITE\r\nUser-Agent: friendly-scanner\r\nContent-Length: 0\r\n\r\n";

const INFO: &[u8] = b"INFO sip:1@127.0.0.2 SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:1@127.0.0.2>;tag=2\r\nCall-ID: x\r\nCSeq: 2 INFO\r\n\
Content-Type: application/dtmf-relay\r\nContent-Length: 24\r\n\r\nSignal=5\r\nDuration=160\r\n";

const REFER: &[u8] = b"REFER sip:1@127.0.0.2 SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:1@127.0.0.2>;tag=2\r\nCall-ID: x\r\nCSeq: 3 REFER\r\n\
Refer-To: <sip:+49301234@b;method=INVITE?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\nReferred-By: <sip:a@b>\r\nContent-Length: 0\r\n\r\n";

const SUBSCRIBE: &[u8] = b"SUBSCRIBE sip:alice@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK9\r\nMax-Forwards: 70\r\n\
From: <sip:a@b>;tag=1\r\nTo: <sip:alice@192.0.2.1>\r\nCall-ID: s\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:a@192.0.2.2>\r\nEvent: dialog;id=7\r\n\
Expires: 600\r\nContent-Length: 0\r\n\r\n";
const MESSAGE: &[u8] = b"MESSAGE sip:15551234@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK8\r\nMax-Forwards: 70\r\n\
From: <sip:a@b>;tag=1\r\nTo: <sip:15551234@192.0.2.1>\r\nCall-ID: m\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi";
const NOTIFY: &[u8] = b"NOTIFY sip:1@127.0.0.2 SIP/2.0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:1@127.0.0.2>;tag=2\r\nCall-ID: x\r\nCSeq: 4 NOTIFY\r\n\
Event: refer;id=3\r\nSubscription-State: terminated;reason=noresource\r\nReplaces: x@y;to-tag=1;from-tag=2;early-only\r\nContent-Type: message/sipfrag\r\n\
Content-Length: 16\r\n\r\nSIP/2.0 200 OK\r\n";

const STREAM: &[u8] = b"\r\n\r\nOPTIONS sip:a@b SIP/2.0\r\nCall-ID: x\r\nContent-Length: 0\r\n\r\n\r\nSIP/2.0 200 OK\r\nl:\r\n 4\r\n\r\nbodyMESSAGE sip:a@b SIP/2.0\r\n\
Content-Type: text/plain\r\nl : 2\r\nContent-Length: 2\r\n\r\nhi\r\n\r\n";

const FAX: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\nm=image 4000 udptl t38\r\n\
a=T38FaxVersion:0\r\na=T38FaxFillBitRemoval\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";
const SDP: &[u8] = b"v=0\r\no=alice 2890844526 2890844526 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP4 192.0.2.1/127\r\nt=0 0\r\na=sendonly\r\n\
m=audio 49170 RTP/SAVP 0 8 97 101\r\na=rtpmap:97 opus/48000/2\r\na=fmtp:97 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4\r\na=rtcp:53020 IN IP4 192.0.2.2\r\na=rtcp-mux\r\n\
a=ptime:20\r\nm=video 51372 RTP/AVP 31\r\n";
