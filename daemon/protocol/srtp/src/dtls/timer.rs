//! The retransmission timer of a handshake (RFC 6347 4.2.4): OpenSSL runs it, one second doubling to a minute, and must be asked.
//!
//! It reads the system's clock and cannot be given another. So the caller's `now` only carries the remaining time on to a deadline;
//! a handshake in a simulated world retransmits when as much real time has passed.

#![allow(unsafe_code, reason = "OpenSSL's timer has no safe binding")]

use std::{mem::MaybeUninit, ptr, time::Duration};

use openssl::ssl::SslRef;
use openssl_sys::SSL_ctrl;

/// `DTLS_CTRL_GET_TIMEOUT` of ssl.h.
const GET_TIMEOUT: libc::c_int = 73;
/// `DTLS_CTRL_HANDLE_TIMEOUT`.
const HANDLE_TIMEOUT: libc::c_int = 74;

/// How long until the last flight is to be sent again; none when nothing is awaited.
pub(super) fn remaining(ssl: &SslRef) -> Option<Duration> {
    let mut left = MaybeUninit::<libc::timeval>::zeroed();
    // SAFETY: the pointer is that of a live SSL, borrowed from the crate `openssl`, whose type foreign-types does not export a safe
    // way to; the control writes one timeval and reads nothing.
    let left = unsafe {
        let is_set = SSL_ctrl(as_ptr(ssl), GET_TIMEOUT, 0, left.as_mut_ptr().cast());
        (is_set == 1).then(|| left.assume_init())
    }?;
    let (seconds, micros) = (u64::try_from(left.tv_sec).ok()?, u64::try_from(left.tv_usec).ok()?);
    Some(Duration::from_secs(seconds) + Duration::from_micros(micros))
}

/// Sends the last flight again if its time has come. False: too often, the handshake has failed.
pub(super) fn expire(ssl: &SslRef) -> bool {
    // SAFETY: as above; this control takes no argument. The caller owns the stream exclusively, though the crate lends its SSL shared.
    unsafe { SSL_ctrl(as_ptr(ssl), HANDLE_TIMEOUT, 0, ptr::null_mut()) >= 0 }
}

fn as_ptr(ssl: &SslRef) -> *mut openssl_sys::SSL {
    // `SslRef` is an opaque place at the address of its SSL (foreign-types' contract).
    ptr::from_ref(ssl).cast_mut().cast()
}
