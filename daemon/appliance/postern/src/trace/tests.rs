use serde_json::json;

use super::*;

fn message(seq: u64, way: &str, remote: &str, text: &str) -> Message {
    let told = json!({
        "seq": seq, "at": 1_763_695_590_000_000u64 + seq * 1500, "call": "CA0123456789abcdef", "way": way, "transport": "udp",
        "local": "127.0.0.1:5060", "remote": remote, "text": text,
    });
    serde_json::from_value(told).unwrap()
}

const OFFER: &str = "Content-Type: application/sdp\r\n\r\nv=0\r\nc=IN IP4 10.0.0.7\r\nm=audio 4000 RTP/SAVP 0 96\r\na=rtpmap:96 opus/48000/2\r\na=sendonly\r\n";

fn call() -> Vec<Message> {
    let invite = format!("INVITE sip:bob@h SIP/2.0\r\nCSeq: 1 INVITE\r\n{OFFER}");
    let (caller, callee) = ("192.0.2.10:5060", "10.0.0.7:5062");
    vec![
        message(1, "in", caller, &invite),
        message(2, "out", caller, "SIP/2.0 100 Trying\r\nCSeq: 1 INVITE\r\n\r\n"),
        message(3, "out", callee, &invite),
        message(4, "out", callee, &invite),
        message(5, "in", callee, "SIP/2.0 486 Busy Here\r\nCSeq: 1 INVITE\r\nReason: Q.850;cause=17\r\n\r\n"),
        message(6, "out", "10.0.0.8:5062", "BYE sip:x SIP/2.0\r\nCSeq: 2 BYE\r\n\r\n"),
        message(7, "in", "10.0.0.8:5062", "SIP/2.0 200 \x1b[31mOK\r\nCSeq: 2 BYE\r\n\r\n"),
    ]
}

#[test]
fn a_ladder_has_an_arrow_a_message_and_says_what_counts() {
    let told = json!({ "call": "CA01", "dropped": 2 });
    let drawn = ladder::render(&told, &call(), None);
    let wanted = "\
call CA01, 2025-11-21 03:26:30.001 UTC, 7 messages
2 messages were given up from its middle: it had too many

      ms    192.0.2.10:5060               postern                       10.0.0.7:5062                 10.0.0.8:5062
            udp                                                         udp                           udp
       0    |------- INVITE (SDP) ------->|                             |                             |  10.0.0.7:4000 PCMU opus, SRTP, sendonly
       1    |<------- 100 Trying ---------|                             |                             |
       3    |                             |------- INVITE (SDP) ------->|                             |  10.0.0.7:4000 PCMU opus, SRTP, sendonly
       4    |                             |---- INVITE (SDP) again ---->|                             |
       6    |                             |<----- 486 Busy Here --------|                             |  reason: Q.850;cause=17
       7    |                             |----------- BYE -------------+---------------------------->|
       9    |                             |<--- 200 ?[31mOK to BYE -----+-----------------------------|
";
    assert_eq!(drawn, wanted, "\n{drawn}");
    let narrow = ladder::render(&told, &call(), Some(80));
    assert!(narrow.lines().skip(2).all(|line| line.chars().count() <= 80), "{narrow}");
    assert!(narrow.contains("INVITE"), "{narrow}");
    assert_eq!(ladder::render(&told, &[], Some(80)), "");
}

#[test]
fn a_line_and_a_whole_message_lose_what_a_terminal_could_obey() {
    let last = call().pop().unwrap();
    assert_eq!(line(&last), "03:26:30.010  CA01234567  <- udp 10.0.0.8:5062  200 ?[31mOK to BYE\n");
    assert!(whole(&last).starts_with("\n03:26:30.010 #7 <- udp 10.0.0.8:5062\n  SIP/2.0 200 ?[31mOK\n  CSeq: 2 BYE\n"));
    assert!(is_wanted(&last, "10.0.0.8") && is_wanted(&last, "BYE") && is_wanted(&last, "CA0123"));
    assert!(!is_wanted(&last, "10.0.0.9"));
}

#[test]
fn a_message_is_a_packet_with_right_lengths_and_sums() {
    let mut messages = call();
    messages[2].remote = "[2001:db8::7]:5060".parse().unwrap();
    messages[2].local = "[2001:db8::1]:5060".parse().unwrap();
    messages[3].base64 = Some(BASE64_STANDARD.encode(vec![7; 70_000]));
    let file = pcap::bytes(&messages);
    let mut reader = pcap_file::pcap::PcapReader::new(&file[..]).unwrap();
    let mut lengths = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let data = packet.unwrap().data.into_owned();
        lengths.push(data.len());
        match data[0] >> 4 {
            4 => assert_eq!(usize::from(u16::from_be_bytes([data[2], data[3]])), data.len()),
            6 => assert_eq!(usize::from(u16::from_be_bytes([data[4], data[5]])) + 40, data.len()),
            other => panic!("version {other}"),
        }
    }
    assert_eq!(lengths[1], 28 + messages[1].text.len());
    assert_eq!((lengths.len(), lengths[3]), (7, 65_535));
}
