//! Messages out of a stream of bytes (RFC 3261 18.3), and the keep-alives between them (RFC 5626 3.5.1).
//!
//! A stream says where a message ends by Content-Length alone. What cannot be a message, or says no length that can be believed, is
//! the end of the stream: nobody can tell where the next message would begin. Bytes are copied once, into the buffer; an idle
//! stream holds none. WebSocket parts messages by itself and needs no [`Framer`].

use std::fmt;

use crate::{
    limits::{LINE_MAX, MESSAGE_MAX, STREAM_HEAD_MAX},
    scan,
};

/// A buffer larger than this is given back when it is empty, so that a large message once does not cost its room for ever.
const KEPT_BYTES: usize = 4096;

/// One stream's bytes that are not yet a message.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the next message begins; before it everything was taken.
    start: usize,
    /// Up to here, from `start`, no end of the head was found.
    scanned: usize,
    /// Bytes of the whole message, once its head was read.
    whole: Option<usize>,
    broken: Option<Broken>,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// One whole message, for [`crate::Message::parse`].
    Message(&'a [u8]),
    /// The peer asks whether we are there: answer with [`PONG`].
    Ping,
}

/// The answer to [`Frame::Ping`].
pub const PONG: &[u8] = b"\r\n";

/// Why a stream cannot be read on: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Broken {
    /// What came is no SIP: another protocol, or noise.
    NotSip,
    /// A head of more than [`STREAM_HEAD_MAX`], or a start line of more than [`LINE_MAX`].
    HeadTooLong,
    /// A message of more than [`MESSAGE_MAX`].
    TooLong,
    /// No Content-Length: RFC 3261 20.14 demands it on a stream.
    NoLength,
    /// Content-Length is no number, or there twice with different values.
    BadLength,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::NotSip, Self::HeadTooLong, Self::TooLong, Self::NoLength, Self::BadLength];
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSip => "not SIP",
            Self::HeadTooLong => "header fields too long",
            Self::TooLong => "message too long",
            Self::NoLength => "no Content-Length",
            Self::BadLength => "bad Content-Length",
        })
    }
}

impl std::error::Error for Broken {}

impl Framer {
    /// Takes what came. Drain [`Framer::next`] afterwards: what stays is less than one message.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; none when more bytes are needed. After an error there is only that error.
    #[allow(clippy::should_implement_trait, reason = "a frame borrows from the stream")]
    pub fn next(&mut self) -> Option<Result<Frame<'_>, Broken>> {
        if let Some(broken) = self.broken {
            return Some(Err(broken));
        }
        if self.whole.is_none() {
            if self.skip_line_ends() {
                return Some(Ok(Frame::Ping));
            }
            match self.measure() {
                Ok(Some(whole)) => self.whole = Some(whole),
                Ok(None) => return None,
                Err(broken) => {
                    *self = Self { broken: Some(broken), ..Self::default() };
                    return Some(Err(broken));
                }
            }
        }
        let whole = self.whole.filter(|whole| self.buffer.len() - self.start >= *whole)?;
        let from = self.start;
        (self.start, self.scanned, self.whole) = (from + whole, 0, None);
        Some(Ok(Frame::Message(&self.buffer[from..from + whole])))
    }

    /// Whether a message has begun that is not yet whole.
    pub fn is_waiting(&self) -> bool {
        self.buffer.len() > self.start
    }

    /// Takes line ends in front of a message. True when they were a ping: two in a row. A single one is the answer to a ping of
    /// ours, or a habit (RFC 3261 7.5).
    fn skip_line_ends(&mut self) -> bool {
        loop {
            let rest = &self.buffer[self.start..];
            match rest {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.start += 4;
                    return true;
                }
                // More may follow: one line end, or the half of the second.
                [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return false,
                [b'\r', b'\n', ..] => self.start += 2,
                [b'\n', ..] => self.start += 1,
                [] => {
                    (self.start, self.scanned) = (0, 0);
                    self.buffer.clear();
                    if self.buffer.capacity() > KEPT_BYTES {
                        self.buffer = Vec::new();
                    }
                    return false;
                }
                _ => return false,
            }
        }
    }

    /// Bytes of the message that begins here, once its head is there.
    fn measure(&mut self) -> Result<Option<usize>, Broken> {
        let rest = &self.buffer[self.start..];
        if rest.is_empty() || b"\r\n\r".starts_with(rest) {
            return Ok(None);
        }
        if !rest[0].is_ascii_alphanumeric() && !b"-.!%*_+`'~".contains(&rest[0]) {
            return Err(Broken::NotSip);
        }
        if self.scanned == 0 {
            // Looked at as soon as it is there: a wrong protocol ends at once, not at the limit of a head.
            let line = match memchr::memchr(b'\n', &rest[..rest.len().min(LINE_MAX)]) {
                Some(at) => &rest[..at],
                None if rest.len() >= LINE_MAX => return Err(Broken::HeadTooLong),
                None => return Ok(None),
            };
            if !is_start_line(line) {
                return Err(Broken::NotSip);
            }
        }
        // The last bytes looked at before may be the first half of the end.
        let from = self.scanned.saturating_sub(2);
        let Some(end) = scan::head_end(&rest[from..]).map(|end| from + end) else {
            self.scanned = rest.len();
            return if rest.len() > STREAM_HEAD_MAX { Err(Broken::HeadTooLong) } else { Ok(None) };
        };
        if end > STREAM_HEAD_MAX {
            return Err(Broken::HeadTooLong);
        }
        let whole = content_length(&rest[..end])?.saturating_add(end);
        if whole > MESSAGE_MAX { Err(Broken::TooLong) } else { Ok(Some(whole)) }
    }
}

/// A request line ends with the version, a status line starts with it.
fn is_start_line(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let is_version = |word: &[u8]| word.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
    is_version(line) || line.rsplit(|byte| *byte == b' ').next().is_some_and(is_version)
}

/// What the head says of its body. Folds and the compact form count; two that differ would be read differently by two readers.
fn content_length(head: &[u8]) -> Result<usize, Broken> {
    let mut found: Option<usize> = None;
    let mut lines = head.split_inclusive(|byte| *byte == b'\n').skip(1).peekable();
    while let Some(line) = lines.next() {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let name = line[..colon].trim_ascii_end();
        if !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"l") {
            continue;
        }
        let mut value = line[colon + 1..].trim_ascii();
        while let Some(fold) = lines.next_if(|line| matches!(line.first(), Some(b' ' | b'\t'))) {
            match (value.is_empty(), fold.trim_ascii()) {
                (true, fold) => value = fold,
                (false, b"") => {}
                (false, _) => return Err(Broken::BadLength),
            }
        }
        let length = std::str::from_utf8(value).ok().and_then(scan::number::<usize>).ok_or(Broken::BadLength)?;
        if found.is_some_and(|before| before != length) {
            return Err(Broken::BadLength);
        }
        found = Some(length);
    }
    found.ok_or(Broken::NoLength)
}

#[cfg(test)]
mod tests;
