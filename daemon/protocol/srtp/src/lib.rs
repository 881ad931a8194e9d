//! SRTP: SDES keys and transforms in place.
