//! Entry for the fuzzer, run briefly with the ordinary tests too.

use postern_types::stream::DtlsSetup;

use crate::{Origin, read, write, write_again};

/// Reads anything. What can be read must be read back the same from what we write of it, as an offer and as an answer.
///
/// # Panics
/// When it is not: that is the finding.
pub fn sdp(data: &[u8]) {
    let Ok(described) = read(data) else { return };
    let origin = Origin { session: 1, version: 1 };
    for against in [None, Some(&described)] {
        let written = write(&described.audio, origin, against);
        let Ok(again) = read(&written) else { continue };
        if (described.audio.formats.is_empty() && described.audio.fax.is_none()) || described.audio.rtp.port() == 0 {
            continue;
        }
        let mut meant = described.audio.clone();
        if let Some(dtls) = meant.dtls.as_mut().filter(|_| against.is_none()) {
            dtls.setup = DtlsSetup::ActPass;
        }
        assert_eq!(again.audio, meant, "{}", String::from_utf8_lossy(&written));
        assert_eq!(again.media.len(), against.map_or(1, |offer| offer.media.len()));
        let later = read(&write_again(&meant, origin, &described)).map(|later| (later.audio_at, later.bundled));
        assert_eq!(later, Ok((described.audio_at, described.bundled)));
    }
}
