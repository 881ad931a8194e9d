//! Entry for fuzzing: any bytes, no panic, and no answer without the password.

use std::{net::SocketAddr, time::Instant};

use postern_types::{Secret, stream::Ice};

use crate::{Lite, Verdict, answer_binding, is_stun};

/// Feeds bytes to a leg's ICE, with RFC 5769's name and password, which mutations of its request know.
pub fn stun(data: &[u8]) {
    let source = SocketAddr::from(([192, 0, 2, 1], 9));
    let mut lite =
        Lite::new(&Ice { ufrag: "evtj".into(), pwd: Secret::new("VOkJxbRl1RmTxUk/WvJxBt".into()), lite: true });
    let mut room = data.to_vec();
    room.resize(data.len().max(600), 0);
    let now = any_instant();
    if let Some(answer) = answer_binding(data, source) {
        // No more than it took: nobody is to be hit by it whose address was forged.
        assert!(is_stun(data) && is_stun(&answer) && answer.len() <= data.len() + 24);
    }
    match lite.handle_input(now, source, &mut room, data.len()) {
        Verdict::Answer(answer) => {
            assert!(is_stun(data) && is_stun(&room[..answer.len]) && answer.len < 200);
            assert_eq!(answer.nominated, lite.nominated() == Some(source));
        }
        Verdict::Drop(_) => assert!(!lite.is_proven(now, source) && lite.nominated().is_none()),
    }
}

#[allow(clippy::disallowed_methods, reason = "fuzzing and tests only need a beginning of time")]
pub(crate) fn any_instant() -> Instant {
    Instant::now()
}
