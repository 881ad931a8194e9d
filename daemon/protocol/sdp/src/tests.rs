//! Descriptions as real peers write them, and the rules of reading and writing one by one.

use postern_types::{
    Secret,
    stream::{Codec, Direction, DtlsSetup, Ice, SrtpSuite},
};

use crate::*;

fn text(lines: &[&str]) -> Vec<u8> {
    let mut out = lines.join("\r\n").into_bytes();
    out.extend(b"\r\n");
    out
}

const HEAD: [&str; 4] = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0"];

/// A description with the usual head, c= and the given lines.
fn with(lines: &[&str]) -> Vec<u8> {
    let mut all = HEAD.to_vec();
    all.push("c=IN IP4 192.0.2.1");
    all.extend(lines);
    text(&all)
}

/// `payload codec/clock/channels fmtp` of every format.
fn formats(described: &Described) -> Vec<String> {
    let show = |f: &postern_types::stream::Format| {
        format!("{} {}/{}/{} {}", f.payload_type, f.codec, f.clock_hz, f.channels, f.fmtp).trim_end().to_owned()
    };
    described.audio.formats.iter().map(show).collect()
}

#[test]
fn sipp() {
    let described = read(&text(&[
        "v=0",
        "o=user1 53655765 2353687637 IN IP4 127.0.1.1",
        "s=-",
        "c=IN IP4 127.0.1.1",
        "t=0 0",
        "m=audio 6000 RTP/AVP 0",
        "a=rtpmap:0 PCMU/8000",
    ]))
    .unwrap();
    assert_eq!(formats(&described), ["0 PCMU/8000/1"]);
    let audio = &described.audio;
    assert_eq!((audio.rtp.to_string(), audio.rtcp.port()), ("127.0.1.1:6000".into(), 6001));
    assert_eq!((audio.telephone_event, audio.ptime_ms, audio.direction), (None, 20, Direction::SendRecv));
}

#[test]
fn baresip_with_srtp_and_ipv6() {
    let described = read(&text(&[
        "v=0",
        "o=- 3725437462 1843712341 IN IP6 2001:db8::7",
        "s=-",
        "c=IN IP6 2001:db8::7",
        "t=0 0",
        "a=tool:baresip 1.0.0",
        "m=audio 21470 RTP/SAVP 96 0 8 101",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 stereo=1;sprop-stereo=1",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=rtcp:21471",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20",
        "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
        "a=minptime:20",
        "a=ptime:20",
        "a=sendrecv",
        "a=label:1",
    ]))
    .unwrap();
    assert_eq!(formats(&described)[0], "96 opus/48000/2 stereo=1;sprop-stereo=1");
    assert_eq!(described.audio.rtp.to_string(), "[2001:db8::7]:21470");
    assert_eq!(described.audio.telephone_event, Some(101));
    let keys: Vec<_> = described.audio.crypto.iter().map(|k| (k.tag, k.suite)).collect();
    assert_eq!(keys, [(1, SrtpSuite::AesCm128HmacSha1_32), (2, SrtpSuite::AesCm128HmacSha1_80)]);
    assert_eq!(&described.audio.crypto[0].key_salt.expose()[..3], b"YS_");
}

#[test]
fn asterisk_on_hold_with_video_beside() {
    let described = read(&text(&[
        "v=0",
        "o=- 1216571233 3 IN IP4 198.51.100.4",
        "s=Asterisk",
        "c=IN IP4 198.51.100.4",
        "t=0 0",
        "m=video 0 RTP/AVP 99",
        "m=audio 14080 RTP/AVP 9 8 3 101 13",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:3 GSM/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=maxptime:150",
        "a=sendonly",
    ]))
    .unwrap();
    assert_eq!(formats(&described), ["9 G722/8000/1", "8 PCMA/8000/1", "3 GSM/8000/1", "13 CN/8000/1"]);
    assert_eq!((described.audio.direction, described.audio_at), (Direction::SendOnly, 1));
}

#[test]
fn cisco_with_static_types_and_media_level_address() {
    let described = read(&text(&[
        "v=0",
        "o=CiscoSystemsSIP-GW-UserAgent 5320 8143 IN IP4 203.0.113.9",
        "s=SIP Call",
        "t=0 0",
        "m=audio 17390 RTP/AVP 18 0 100",
        "c=IN IP4 203.0.113.10",
        "a=fmtp:18 annexb=no",
        "a=rtpmap:100 telephone-event/8000",
        "a=fmtp:100 0-16",
    ]))
    .unwrap();
    assert_eq!(formats(&described), ["18 G729/8000/1 annexb=no", "0 PCMU/8000/1"]);
    assert_eq!(described.audio.formats[0].codec, Codec::G729);
    assert_eq!(
        (described.audio.rtp.to_string().as_str(), described.audio.telephone_event),
        ("203.0.113.10:17390", Some(100))
    );
}

/// A fingerprint's value.
const PRINT: &str =
    "sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:fF";

fn browser() -> Vec<u8> {
    let print = format!("a=fingerprint:{PRINT}");
    text(&[
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE audio 1",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=ice-ufrag:Yx1a",
        "a=ice-pwd:2/1muCWoOi3uLifh0NuRHlAB",
        "a=ice-options:trickle",
        &print,
        "a=setup:actpass",
        "a=mid:audio",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtpmap:126 telephone-event/8000",
        "a=candidate:1 1 udp 2122260223 127.0.0.1 40000 typ host generation 0",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "c=IN IP4 0.0.0.0",
        "a=mid:1",
    ])
}

#[test]
fn chromium() {
    let described = read(&browser()).unwrap();
    let audio = &described.audio;
    let dtls = audio.dtls.as_ref().unwrap();
    assert_eq!((dtls.setup, dtls.fingerprint.0[10], dtls.fingerprint.0[31]), (DtlsSetup::ActPass, 10, 0xff));
    let ice = audio.ice.as_ref().unwrap();
    assert_eq!((&*ice.ufrag, &**ice.pwd.expose(), ice.lite), ("Yx1a", "2/1muCWoOi3uLifh0NuRHlAB", false));
    // The unspecified address is no hold: the addresses are the checks' business.
    assert_eq!((audio.direction, audio.rtcp_mux, audio.telephone_event), (Direction::SendRecv, true, Some(126)));
    assert_eq!((described.bundled, described.media[1].mid.as_deref()), (true, Some("1")));
}

#[test]
fn an_answer_to_a_browser_bundles_audio_alone_and_says_where_we_are() {
    let offer = read(&browser()).unwrap();
    let mut ours = offer.audio.clone();
    ours.formats.retain(|format| format.codec == Codec::Pcmu);
    ours.rtp = "198.51.100.1:30000".parse().unwrap();
    ours.rtcp = ours.rtp;
    ours.dtls.as_mut().unwrap().setup = DtlsSetup::Passive;
    let pwd = Secret::new("ourpasswordhas22letter".into());
    **ours.ice.as_mut().unwrap() = Ice { ufrag: "ours".into(), pwd, lite: true };
    let origin = Origin { session: 7, version: 2 };
    let answer = String::from_utf8(write(&ours, origin, Some(&offer))).unwrap();
    let print = PRINT.to_ascii_uppercase().replace("SHA", "sha");
    assert_eq!(
        answer,
        format!(
            "v=0\r\no=- 7 2 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE audio\r\n\
             m=audio 30000 UDP/TLS/RTP/SAVPF 0 126\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-15\r\n\
             a=ptime:20\r\na=mid:audio\r\na=rtcp-mux\r\na=fingerprint:{print}\r\na=setup:passive\r\n\
             a=ice-ufrag:ours\r\na=ice-pwd:ourpasswordhas22letter\r\n\
             a=candidate:1 1 udp 2130706431 198.51.100.1 30000 typ host\r\na=end-of-candidates\r\na=sendrecv\r\n\
             m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
        )
    );
    let again = String::from_utf8(write_again(&ours, origin, &offer)).unwrap();
    assert_eq!(again, answer.replace("passive", "actpass"), "a later offer keeps the layout and leaves the role open");
    let first = read(&write(&ours, origin, None)).unwrap();
    assert_eq!((first.bundled, first.media[0].mid.as_deref()), (true, Some("0")));
    assert_eq!(&*first.media[0].profile, "UDP/TLS/RTP/SAVPF");
    ours.ice = None;
    assert_eq!(&*read(&write(&ours, origin, None)).unwrap().media[0].profile, "UDP/TLS/RTP/SAVP");
}

#[test]
fn fingerprints_and_ice_words_are_taken_whole_or_not_at_all() {
    let long = format!("{PRINT}:00");
    for (line, taken) in [
        (PRINT, true),
        (&PRINT.to_ascii_lowercase(), true),
        (&PRINT.replace("sha-256", "sha-1"), false),
        (&PRINT[..PRINT.len() - 3], false),
        (&PRINT.replace("0A", "+A"), false),
        (&PRINT.replace("0A", "A"), false),
        (&long, false),
    ] {
        let lines = ["m=audio 5000 UDP/TLS/RTP/SAVP 0", &format!("a=fingerprint:{line}")];
        assert_eq!(read(&with(&lines)).err(), (!taken).then_some(SdpError::NoKey), "{line}");
    }
    let session = with(&[&format!("a=fingerprint:{PRINT}"), "a=setup:active", "m=audio 5000 UDP/TLS/RTP/SAVP 0"]);
    assert_eq!(read(&session).unwrap().audio.dtls.unwrap().setup, DtlsSetup::Active);
    for (ufrag, pwd, taken) in [
        ("abcd", "0123456789abcdefghij/+", true),
        ("abc", "0123456789abcdefghij/+", false),
        ("abcd", "0123456789abcdefghij/", false),
        ("ab=d", "0123456789abcdefghij/+", false),
    ] {
        let (ufrag, pwd) = (format!("a=ice-ufrag:{ufrag}"), format!("a=ice-pwd:{pwd}"));
        let audio = read(&with(&["m=audio 5000 RTP/AVP 0", &ufrag, &pwd])).unwrap().audio;
        assert_eq!((audio.ice.is_some(), audio.dtls.is_some()), (taken, false));
    }
    let elder = with(&["m=audio 5000 RTP/SAVPF 0", &format!("a=fingerprint:{PRINT}")]);
    assert!(read(&elder).unwrap().audio.dtls.is_some());
}

#[test]
fn what_cannot_be_used_says_why() {
    let table: &[(&[&str], SdpError)] = &[
        (&[], SdpError::NoAudio),
        (&["m=video 5000 RTP/AVP 31"], SdpError::NoAudio),
        (&["m=audio 5000"], SdpError::Malformed),
        (&["m=audio x RTP/AVP 0"], SdpError::Malformed),
        (&["m=audio 70000 RTP/AVP 0"], SdpError::Malformed),
        (&["nonsense"], SdpError::Malformed),
        (&["m=audio 5000 RTP/AVP 0", "c=IN IP4 host.example"], SdpError::Address),
        (&["m=audio 5000 RTP/AVP 0", "c=IN IP4 224.2.1.1/127"], SdpError::Address),
        (&["m=audio 5000 RTP/SAVP 0"], SdpError::NoKey),
        (&["m=audio 5000 RTP/SAVP 0", "a=crypto:1 AEAD_AES_128_GCM inline:AAAA"], SdpError::NoKey),
        (&["m=audio 5000 TCP/RTP/AVP 0"], SdpError::Profile),
        (&["m=audio 5000 UDP/TLS/RTP/SAVPF 0"], SdpError::NoKey),
    ];
    for (lines, error) in table {
        assert_eq!(read(&with(lines)), Err(*error), "{lines:?}");
    }
    assert_eq!(read(b""), Err(SdpError::Malformed));
    assert_eq!(read(b"s=-\r\nv=0\r\n"), Err(SdpError::Malformed));
    assert_eq!(read(&vec![b'a'; BYTES_MAX + 1]), Err(SdpError::TooLong));
    assert_eq!(read(&with(&["m=video 0 RTP/AVP 31"; MEDIA_MAX + 1])), Err(SdpError::TooLong));
}

#[test]
fn crypto_lines_are_taken_or_skipped_one_by_one() {
    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    let table = [
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), true),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31"), true),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1048576 WSH=64"), true),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} -future"), true),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"), false),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{KEY}"), false),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"), false),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}AAAA"), false),
        (format!("1 AES_CM_128_HMAC_SHA1_80 {KEY}"), false),
        (format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), false),
        (format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"), false),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:****fX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGV".into(), false),
    ];
    for (value, taken) in table {
        let offer = with(&["m=audio 5000 RTP/SAVP 0", &format!("a=crypto:{value}")]);
        assert_eq!(read(&offer).is_ok(), taken, "{value}");
    }
    let plain = with(&["m=audio 5000 RTP/AVP 0", &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")]);
    assert!(read(&plain).unwrap().audio.crypto.is_empty(), "RTP/AVP is plain whatever else it says");
}

#[test]
fn of_two_audio_streams_the_first_wanted_and_usable_one_is_taken() {
    let best_effort = with(&["m=audio 5000 RTP/SAVP 0", "m=audio 5002 RTP/AVP 8"]);
    let described = read(&best_effort).unwrap();
    assert_eq!((described.audio_at, described.audio.rtp.port()), (1, 5002));
    let refused_first = with(&["m=audio 0 RTP/AVP 0", "m=audio 5002 RTP/AVP 8"]);
    assert_eq!(read(&refused_first).unwrap().audio_at, 1);
    let refused = with(&["m=audio 0 RTP/AVP 0"]);
    assert_eq!(read(&refused).unwrap().audio.rtp.port(), 0);
}

#[test]
fn directions_and_the_elder_hold() {
    let table: &[(&[&str], Direction)] = &[
        (&["m=audio 5000 RTP/AVP 0"], Direction::SendRecv),
        (&["a=sendonly", "m=audio 5000 RTP/AVP 0"], Direction::SendOnly),
        (&["a=sendonly", "m=audio 5000 RTP/AVP 0", "a=inactive"], Direction::Inactive),
        (&["m=audio 5000 RTP/AVP 0", "a=recvonly"], Direction::RecvOnly),
        (&["m=audio 5000 RTP/AVP 0", "c=IN IP4 0.0.0.0"], Direction::SendOnly),
        (&["m=audio 5000 RTP/AVP 0", "c=IN IP4 0.0.0.0", "a=recvonly"], Direction::Inactive),
    ];
    for (lines, direction) in table {
        assert_eq!(read(&with(lines)).unwrap().audio.direction, *direction, "{lines:?}");
    }
}

#[test]
fn where_rtcp_goes() {
    let table: &[(&[&str], &str, bool)] = &[
        (&[], "192.0.2.1:5001", false),
        (&["a=rtcp:7000"], "192.0.2.1:7000", false),
        (&["a=rtcp:7000 IN IP4 192.0.2.2"], "192.0.2.2:7000", false),
        (&["a=rtcp:7000", "a=rtcp-mux"], "192.0.2.1:5000", true),
    ];
    for (lines, rtcp, mux) in table {
        let mut all = vec!["m=audio 5000 RTP/AVP 0"];
        all.extend(*lines);
        let audio = read(&with(&all)).unwrap().audio;
        assert_eq!((audio.rtcp.to_string().as_str(), audio.rtcp_mux), (*rtcp, *mux), "{lines:?}");
        let again = read(&write(&audio, Origin { session: 1, version: 1 }, None)).unwrap();
        assert_eq!(again.audio, audio);
    }
}

#[test]
fn an_answer_refuses_other_media_in_their_place_and_copies_nothing() {
    let offer = text(&[
        "v=0",
        "o=inner 99 99 IN IP4 10.1.2.3",
        "s=secret session",
        "i=inner",
        "c=IN IP4 10.1.2.3",
        "t=0 0",
        "a=tool:inner",
        "m=image 5010 udptl t38",
        "m=audio 5000 RTP/AVPF 8 0",
        "m=video 5002 RTP/AVP 31 32",
        "a=rtpmap:31 H261/90000",
    ]);
    let offer = read(&offer).unwrap();
    let mut ours = offer.audio.clone();
    ours.rtp = "198.51.100.1:30000".parse().unwrap();
    ours.rtcp = "198.51.100.1:30001".parse().unwrap();
    let answer = String::from_utf8(write(&ours, Origin { session: 7, version: 2 }, Some(&offer))).unwrap();
    assert_eq!(
        answer,
        "v=0\r\no=- 7 2 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
         m=image 0 udptl t38\r\n\
         m=audio 30000 RTP/AVPF 8 0\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n\
         m=video 0 RTP/AVP 31\r\n"
    );
}

#[test]
fn an_offer_reads_back_as_it_was_meant() {
    let audio = read(&with(&[
        "m=audio 5000 RTP/SAVP 96 8 101",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:101 telephone-event/8000",
        "a=ptime:30",
        "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
        "a=recvonly",
    ]))
    .unwrap()
    .audio;
    assert_eq!(read(&write(&audio, Origin { session: 1, version: 1 }, None)).unwrap().audio, audio);
}

#[test]
fn bare_line_feeds_odd_bytes_and_odd_formats_do_no_harm() {
    let bytes = b"v=0\no=- 1 1 IN IP4 1.1.1.1\ns=\xff\xfe\nc=IN IP4 1.1.1.1\nm=audio 5000/2 RTP/AVP 0 0 200 x 97 98\na=rtpmap:98 bad name/8000\na=ptime:20.0\n";
    let described = read(bytes).unwrap();
    assert_eq!(formats(&described), ["0 PCMU/8000/1"]);
    assert_eq!(described.audio.rtp.port(), 5000);
}

/// The fuzz target over mutations of a rich description: enough to meet every branch, and the same each run.
#[test]
fn mutated_descriptions_never_panic_and_read_back() {
    let seed = with(&[
        "m=audio 5000 RTP/SAVP 96 8 101 0",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:96 useinbandfec=1",
        "a=rtpmap:101 telephone-event/8000",
        "a=rtcp:5007 IN IP6 ::1",
        "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20",
        "m=video 0 RTP/AVP 31",
    ]);
    let seeds = [seed, browser()];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = seeds[random(2)].clone();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(3) {
                0 => bytes[at] = random(256) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"0:/=; \r\nam"[random(10)]),
            }
        }
        fuzz::sdp(&bytes);
    }
}

#[test]
fn who_wants_metrics_says_so_for_a_stream_or_all() {
    let asks = |lines: &[&str]| read(&with(lines)).unwrap().audio.rtcp_xr;
    let audio = "m=audio 6000 RTP/AVP 0";
    assert!(asks(&[audio, "a=rtcp-xr:stat-summary=loss,jitt voip-metrics"]));
    assert!(asks(&["a=rtcp-xr:voip-metrics", audio]));
    assert!(!asks(&[audio]) && !asks(&[audio, "a=rtcp-xr:rcvr-rtt=all"]) && !asks(&[audio, "a=rtcp-xr"]));
    let described = read(&with(&[audio, "a=rtcp-xr:voip-metrics"])).unwrap();
    let written = write(&described.audio, Origin { session: 1, version: 1 }, Some(&described));
    assert!(String::from_utf8(written).unwrap().contains("a=rtcp-xr:voip-metrics\r\n"));
}

const FAX: [&str; 6] = [
    "m=image 49170 udptl t38",
    "a=T38FaxVersion:0",
    "a=t38maxbitrate:14400",
    "a=T38FaxFillBitRemoval",
    "a=T38FaxRateManagement:transferredTCF",
    "a=T38VendorInfo:0 0 37",
];

#[test]
fn fax_in_place_of_audio_is_read_and_written_without_what_is_not_its_own() {
    let described = read(&with(&[&["m=audio 0 RTP/AVP 8", "a=tool:host7"][..], &FAX].concat())).unwrap();
    assert_eq!((described.audio_at, described.media.len()), (1, 2));
    let stream = &described.audio;
    let attributes: Vec<_> = stream.fax.as_ref().unwrap().attributes.iter().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(
        attributes,
        ["T38FaxVersion=0", "T38MaxBitRate=14400", "T38FaxFillBitRemoval=", "T38FaxRateManagement=transferredTCF"]
    );
    assert_eq!((stream.rtp.to_string(), stream.formats.len()), ("192.0.2.1:49170".into(), 0));
    let origin = Origin { session: 1, version: 1 };
    let answer = String::from_utf8(write(stream, origin, Some(&described))).unwrap();
    assert!(answer.contains("m=audio 0 RTP/AVP 8\r\nm=image 49170 udptl t38\r\n"), "{answer}");
    assert!(!answer.contains("Vendor") && !answer.contains("host7") && !answer.contains("sendrecv"), "{answer}");
    assert_eq!(read(answer.as_bytes()).unwrap().audio, *stream);
    // Audio again, where the fax was.
    let audio = read(&with(&["m=audio 4000 RTP/AVP 8"])).unwrap().audio;
    let back = String::from_utf8(write_again(&audio, origin, &described)).unwrap();
    assert!(back.contains("m=audio 0 RTP/AVP 8\r\nm=audio 4000 RTP/AVP 8\r\n"), "{back}");
    // And fax where audio was.
    let began = read(&with(&[
        "m=audio 4000 RTP/SAVP 8",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
        "a=mid:a",
    ]))
    .unwrap();
    let fax = String::from_utf8(write_again(stream, origin, &began)).unwrap();
    assert!(fax.contains("m=image 49170 udptl t38\r\na=mid:a\r\na=T38FaxVersion:0\r\n"), "{fax}");
}

#[test]
fn fax_is_taken_only_where_no_audio_is_wanted_and_it_is_whole() {
    let both = read(&with(&[&FAX[..], &["m=audio 4000 RTP/AVP 8"]].concat())).unwrap();
    assert!(both.audio.fax.is_none() && both.audio_at == 1);
    let answer = String::from_utf8(write(&both.audio, Origin { session: 1, version: 1 }, Some(&both))).unwrap();
    assert!(answer.contains("m=image 0 udptl t38\r\n"), "{answer}");
    for (lines, want) in [
        (&["m=image 0 udptl t38"][..], SdpError::NoAudio),
        (&["m=image 4000 tcp t38"], SdpError::NoAudio),
        (&["m=image 4000 udptl other"], SdpError::NoAudio),
        (&["m=image 4000 udptl t38", "c=IN IP4 fax.example.net"], SdpError::Address),
    ] {
        assert_eq!(read(&with(lines)), Err(want), "{lines:?}");
    }
    let hostile =
        read(&with(&["m=image 4000 UDPTL T38", "a=T38FaxVersion:0 1", "a=T38FaxMaxBuffer:1", "a=T38FaxMaxBuffer:2"]));
    assert_eq!(hostile.unwrap().audio.fax.unwrap().attributes, [("T38FaxMaxBuffer", "1".into())]);
}
