//! Every bound of this crate, with its reason and what happens beyond it.

/// Bytes of one message: what a UDP datagram can carry. A longer one is dropped.
pub const MESSAGE_MAX: usize = 65_535;
/// Header fields of one message, counted by line. A longer list is answered with 400: real calls have 15 to 60.
pub const HEADERS_MAX: usize = 256;
/// Bytes of one start line or header field with its folds. Identity and History-Info stay below 4 KB; 400 beyond.
pub const LINE_MAX: usize = 8_192;
/// Bytes of a header field's name; 400 beyond. RFC 4475 has one of 94.
pub const NAME_MAX: usize = 128;
/// Bytes of a message's head on a stream: sixteen of the longest lines never come together. The connection is closed beyond.
pub const STREAM_HEAD_MAX: usize = 32_768;
/// Entries read of one comma list (Via, Route, Contact, Supported): the rest is an error of that header.
pub const LIST_MAX: usize = 128;
/// Sequence numbers are below 2^31 (RFC 3261 8.1.1.5).
pub const CSEQ_MAX: u32 = 0x7fff_ffff;

/// Client and server transactions alive at once. 32 seconds of 2000 calls a second with two legs; 503 beyond.
pub const TRANSACTIONS_MAX: usize = 262_144;
/// Outputs that wait to be taken. The caller drains after each input; beyond, a repetition is dropped and counted.
pub const OUTPUTS_MAX: usize = 65_536;

/// Route entries a dialog keeps; an INVITE with more is refused: nobody has 32 proxies that record a route.
pub const ROUTE_SET_MAX: usize = 32;

/// Challenges of one 401 or 407 that are looked at.
pub const CHALLENGES_MAX: usize = 16;
/// Parameters of one challenge or authorization.
pub const AUTH_PARAMS_MAX: usize = 32;
/// Nonces whose counter is remembered; beyond, the oldest is forgotten and its next use answered as stale.
pub const NONCES_MAX: usize = 65_536;

const _: () = assert!(LINE_MAX < STREAM_HEAD_MAX && STREAM_HEAD_MAX < MESSAGE_MAX && NAME_MAX < LINE_MAX);
