//! Entry for fuzzing: what a stranger can send before it proved anything.

use std::{cell::OnceCell, time::Instant};

use postern_types::stream::Fingerprint;

use crate::dtls::{Dtls, Identity, Role, State, client_hello};

thread_local! {
    static IDENTITY: OnceCell<Identity> = const { OnceCell::new() };
}

/// Feeds bytes to a handshake that waits for its peer, whole and in two datagrams. No bytes make keys.
#[allow(clippy::disallowed_methods, reason = "fuzzing only needs a beginning of time")]
pub fn dtls(data: &[u8]) {
    let now = Instant::now();
    let _ = client_hello(data);
    IDENTITY.with(|identity| {
        let identity = identity.get_or_init(|| Identity::generate().expect("a library that can make keys"));
        let Ok(mut dtls) = Dtls::new(now, identity, Role::Server, Fingerprint([0; 32])) else { return };
        dtls.handle_input(now, data);
        let (head, tail) = data.split_at(data.len() / 2);
        dtls.handle_input(now, head);
        dtls.handle_input(now, tail);
        dtls.handle_timeout(now);
        assert!(!matches!(dtls.state(), State::Keyed(_)));
        assert!(std::iter::from_fn(|| dtls.poll_transmit()).all(|datagram| datagram.len() <= 1200));
    });
}
