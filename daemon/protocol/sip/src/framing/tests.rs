use super::*;
use crate::Message;

fn message(body: &str) -> String {
    format!("MESSAGE sip:a@b SIP/2.0\r\nCall-ID: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What a stream carries, in words, when it comes in pieces of this size.
fn read(text: &str, piece: usize) -> Vec<String> {
    let mut framer = Framer::default();
    let mut found = Vec::new();
    for piece in text.as_bytes().chunks(piece) {
        framer.push(piece);
        while let Some(frame) = framer.next() {
            found.push(match frame {
                Ok(Frame::Message(bytes)) => {
                    let message = Message::parse(bytes).unwrap();
                    format!("message {}", String::from_utf8_lossy(message.body()))
                }
                Ok(Frame::Ping) => "ping".into(),
                Err(broken) => broken.to_string(),
            });
            if found.last().is_some_and(|last| framer.broken.is_some_and(|b| *last == b.to_string())) {
                return found;
            }
        }
    }
    found
}

#[test]
fn messages_and_pings_are_the_same_however_the_stream_is_split() {
    let text =
        format!("\r\n{}\r\n\r\n{}{}\r\n\r\n\r\n\r\n", message("one"), message(""), message("Via: x\r\n\r\nthree"));
    let want = ["message one", "ping", "message ", "message Via: x\r\n\r\nthree", "ping", "ping"];
    for piece in 1..text.len() {
        assert_eq!(read(&text, piece), want, "in pieces of {piece}");
    }
}

#[test]
fn what_a_head_says_of_its_length() {
    let line = "OPTIONS sip:a@b SIP/2.0\r\n";
    for (fields, want) in [
        ("Content-Length: 0", "message "),
        ("l:0", "message "),
        ("CONTENT-LENGTH \t: 0 ", "message "),
        ("Content-Length:\r\n 0", "message "),
        ("Content-Length: 0\r\nl: 0", "message "),
        ("Subject: x\r\n l: 9\r\nl: 0", "message "),
        ("Content-Length: 0\r\nl: 1", "bad Content-Length"),
        ("Content-Length: 0\r\n 1", "bad Content-Length"),
        ("Content-Length: -1", "bad Content-Length"),
        ("Content-Length: +0", "bad Content-Length"),
        ("Content-Length: 0x0", "bad Content-Length"),
        ("Content-Length:", "bad Content-Length"),
        ("Content-Length: 99999999999999999999999", "bad Content-Length"),
        ("Content-Length: 65535", "message too long"),
        ("Subject: l: 0", "no Content-Length"),
    ] {
        assert_eq!(read(&format!("{line}{fields}\r\n\r\n"), 1000), [want], "{fields}");
    }
}

#[test]
fn another_protocol_is_seen_at_its_first_line() {
    for (text, want) in [
        ("\x16\x03\x01\x02\x00\x01\x00", "not SIP"),
        ("GET / HTTP/1.1\r\n", "not SIP"),
        (" INVITE sip:a SIP/2.0\r\n", "not SIP"),
        ("\0", "not SIP"),
        ("SSH-2.0-x\r\n", "not SIP"),
        ("SIP/2.0 200 OK\r\nl: 0\r\n\r\n", "message "),
    ] {
        assert_eq!(read(text, 1), [want], "{text:?}");
    }
}

#[test]
fn a_head_without_end_costs_no_more_than_its_limit() {
    let mut framer = Framer::default();
    framer.push(b"INVITE sip:a@b SIP/2.0\r\n");
    let mut most = 0;
    let line = format!("X-Long: {}\r\n", "x".repeat(1000));
    let broken = (0..10_000).find_map(|_| {
        framer.push(line.as_bytes());
        most = most.max(framer.buffer.capacity());
        framer.next().map(|frame| frame.unwrap_err())
    });
    assert_eq!(broken, Some(Broken::HeadTooLong));
    assert!(most < 4 * STREAM_HEAD_MAX, "{most}");
    assert_eq!(framer.buffer.capacity(), 0, "nothing is kept of a broken stream");
    framer.push(message("").as_bytes());
    assert_eq!(framer.next(), Some(Err(Broken::HeadTooLong)), "and nothing is read of it any more");

    let mut framer = Framer::default();
    framer.push(&[b'x'; LINE_MAX]);
    assert_eq!(framer.next(), Some(Err(Broken::HeadTooLong)), "a start line without end");
}

#[test]
fn an_idle_stream_holds_no_buffer() {
    let mut framer = Framer::default();
    framer.push(message(&"x".repeat(20_000)).as_bytes());
    assert!(matches!(framer.next(), Some(Ok(Frame::Message(_)))));
    assert!(framer.next().is_none() && !framer.is_waiting());
    assert_eq!(framer.buffer.capacity(), 0);
}
