//! What the two parties of a call speak in `make bench`, as `--sides EVEN,ODD` names it: `pcma`, `pcmu`, `g722`, `opus`.

use postern_types::{
    Secret,
    stream::{Codec, Format, SdesKey, SrtpSuite},
};

/// The two formats; one name stands for both.
pub fn formats(sides: &str) -> [Format; 2] {
    let (even, odd) = sides.split_once(',').unwrap_or((sides, sides));
    [even, odd].map(|name| {
        let (payload_type, codec, clock_hz, channels) = match name {
            "pcma" => (8, Codec::Pcma, 8000, 1),
            "pcmu" => (0, Codec::Pcmu, 8000, 1),
            "g722" => (9, Codec::G722, 8000, 1),
            "opus" => (96, Codec::Opus, 48000, 2),
            other => panic!("{other}: no codec of this bench"),
        };
        Format { payload_type, codec, clock_hz, channels, fmtp: "".into() }
    })
}

/// A key by its sixty hexadecimal digits.
pub fn key(hex: &str) -> SdesKey {
    let byte = |at: usize| hex.get(2 * at..2 * at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let key_salt = std::array::from_fn(|at| byte(at).unwrap_or_else(|| panic!("thirty bytes in hexadecimal digits")));
    SdesKey { tag: 1, suite: SrtpSuite::AesCm128HmacSha1_80, key_salt: Secret::new(key_salt) }
}
