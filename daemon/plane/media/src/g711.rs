//! The two laws of G.711, as a prompt needs them.

use postern_audio::g711::{encode_alaw, encode_ulaw};

/// Encodes samples; what they do not fill becomes silence.
pub(crate) fn encode(samples: &[i16], a_law: bool, out: &mut [u8]) {
    let law = if a_law { encode_alaw } else { encode_ulaw };
    let written = law(samples, out);
    let mut silence = [0];
    law(&[0], &mut silence);
    out[written..].fill(silence[0]);
}
