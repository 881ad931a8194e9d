//! G.711 (ITU-T G.711, 11/88): 16-bit samples to 8-bit A-law or µ-law codes and back.
//!
//! A code is a sign, a segment of three bits and a step of four; A-law codes have their even bits inverted on the wire, µ-law
//! codes all of them. The crate audio-codec 0.4 gives the A-law of -8 to -1 the positive sign and allocates for each packet, so these few
//! lines are our own, held against the tables of the standard by the tests. Encoding is arithmetic without a table (about 2 ns a sample); decoding looks up 256 values made at compile time.

/// 20 ms of silence decodes from this A-law code: the smallest positive value.
pub const ALAW_SILENCE: u8 = 0xd5;
/// The same in µ-law.
pub const ULAW_SILENCE: u8 = 0xff;

/// Added to a 14-bit µ-law magnitude so that segments start at powers of two.
const ULAW_BIAS: i32 = 33;
/// The largest 14-bit magnitude with its bias.
const ULAW_MAX: i32 = 0x1fff;

/// Encodes as many samples as there is room for; returns how many.
pub fn encode_alaw(samples: &[i16], out: &mut [u8]) -> usize {
    out.iter_mut().zip(samples).map(|(code, sample)| *code = alaw(*sample)).count()
}

/// Encodes as many samples as there is room for; returns how many.
pub fn encode_ulaw(samples: &[i16], out: &mut [u8]) -> usize {
    out.iter_mut().zip(samples).map(|(code, sample)| *code = ulaw(*sample)).count()
}

/// Decodes as many codes as there is room for; returns how many.
pub fn decode_alaw(codes: &[u8], out: &mut [i16]) -> usize {
    out.iter_mut().zip(codes).map(|(sample, code)| *sample = FROM_ALAW[usize::from(*code)]).count()
}

/// Decodes as many codes as there is room for; returns how many.
pub fn decode_ulaw(codes: &[u8], out: &mut [i16]) -> usize {
    out.iter_mut().zip(codes).map(|(sample, code)| *sample = FROM_ULAW[usize::from(*code)]).count()
}

/// One sample to A-law. Its uniform code has 13 bits (table 1a): sign and 12 of magnitude.
pub fn alaw(sample: i16) -> u8 {
    let (sign, magnitude) = if sample >= 0 { (0x80, sample >> 4) } else { (0, !sample >> 4) };
    // Segments 0 and 1 have steps of one size; each further one begins at a power of two and doubles the step.
    let segment = (12 - magnitude.leading_zeros().min(12)) as u8;
    let step = (magnitude >> segment.saturating_sub(1)) as u8 & 0x0f;
    (sign | segment << 4 | step) ^ 0x55
}

/// One sample to µ-law. Its uniform code has 14 bits (table 2a): sign and 13 of magnitude.
pub fn ulaw(sample: i16) -> u8 {
    let (sign, magnitude) = if sample >= 0 { (0x80, sample >> 2) } else { (0, !sample >> 2) };
    let biased = (i32::from(magnitude) + ULAW_BIAS).min(ULAW_MAX);
    // `biased` has its highest bit at 5 to 12.
    let segment = (31 - 5 - biased.leading_zeros()) as u8;
    let step = (biased >> (segment + 1)) as u8 & 0x0f;
    sign | (!(segment << 4 | step) & 0x7f)
}

/// The samples that A-law codes stand for.
static FROM_ALAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = code ^ 0x55;
        let (segment, step) = (bits >> 4 & 7, bits & 0x0f);
        // The middle of the step, in sixteenths of the 13-bit code's unit.
        let magnitude = match segment {
            0 => (step << 4) + 8,
            _ => ((step << 4) + 0x108) << (segment - 1),
        };
        table[code] = if bits & 0x80 != 0 { magnitude as i16 } else { -(magnitude as i16) };
        code += 1;
    }
    table
};

/// The samples that µ-law codes stand for.
static FROM_ULAW: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = !code & 0xff;
        let (segment, step) = (bits >> 4 & 7, bits & 0x0f);
        let magnitude = (((step << 1) + 33) << segment) - 33;
        let sample = (magnitude << 2) as i16;
        table[code] = if bits & 0x80 == 0 { sample } else { -sample };
        code += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables 1a and 2a of G.711: upper decision value of each segment's first step, and its decoder output, positive side.
    /// A-law: segment, first code without inversion, decision value, output (13-bit units).
    const ALAW_SEGMENTS: [(u8, i32, i32); 8] = [
        (0x80, 0, 1),
        (0x90, 32, 33),
        (0xa0, 64, 66),
        (0xb0, 128, 132),
        (0xc0, 256, 264),
        (0xd0, 512, 528),
        (0xe0, 1024, 1056),
        (0xf0, 2048, 2112),
    ];
    /// µ-law: code, decision value below, output (14-bit units).
    const ULAW_SEGMENTS: [(u8, i32, i32); 8] = [
        (0xff, 0, 0),
        (0xef, 31, 33),
        (0xdf, 95, 99),
        (0xcf, 223, 231),
        (0xbf, 479, 495),
        (0xaf, 991, 1023),
        (0x9f, 2015, 2079),
        (0x8f, 4063, 4191),
    ];

    #[test]
    fn segments_begin_and_decode_as_the_tables_of_g711_say() {
        for (code, decision, output) in ALAW_SEGMENTS {
            // Table 1a counts in half steps of the 12-bit magnitude: decision 4096 is 32768 of 16 bits.
            let sample = (decision * 8) as i16;
            assert_eq!(alaw(sample) ^ 0x55, code, "A-law from {sample}");
            assert_eq!(i32::from(FROM_ALAW[usize::from(code ^ 0x55)]), output * 8, "A-law {code:#x}");
        }
        for (code, decision, output) in ULAW_SEGMENTS {
            // Table 2a: decision 8159 is 32636 of 16 bits.
            let sample = (decision * 4) as i16;
            assert_eq!(ulaw(sample), code, "mu-law from {sample}");
            assert_eq!(i32::from(FROM_ULAW[usize::from(code)]), output * 4, "mu-law {code:#x}");
        }
        assert_eq!(
            (FROM_ALAW[0x80 | 0x7f ^ 0x55], FROM_ULAW[0x80]),
            (32256, 32124),
            "the largest outputs: 4032 and 8031"
        );
        assert_eq!((alaw(i16::MAX), alaw(i16::MIN), ulaw(i16::MAX), ulaw(i16::MIN)), (0xaa, 0x2a, 0x80, 0x00));
        assert_eq!((alaw(0), alaw(-1), ulaw(0), ulaw(-1)), (ALAW_SILENCE, 0x55, ULAW_SILENCE, 0x7f));
    }

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for code in 0..=255u8 {
            assert_eq!(alaw(FROM_ALAW[usize::from(code)]), code, "A-law {code:#x}");
            // Table 2a note: +0 and -0 decode to the same sample; it encodes as +0.
            let want = if code == 0x7f { 0xff } else { code };
            assert_eq!(ulaw(FROM_ULAW[usize::from(code)]), want, "mu-law {code:#x}");
        }
    }

    #[test]
    fn louder_never_becomes_quieter_and_the_error_is_half_a_step() {
        let (mut last_a, mut last_u) = (i16::MIN, i16::MIN);
        for sample in i16::MIN..=i16::MAX {
            let (a, u) = (FROM_ALAW[usize::from(alaw(sample))], FROM_ULAW[usize::from(ulaw(sample))]);
            assert!(a >= last_a && u >= last_u, "{sample}");
            (last_a, last_u) = (a, u);
            let loud = i32::from(sample).abs();
            let (error_a, error_u) =
                ((i32::from(a) - i32::from(sample)).abs(), (i32::from(u) - i32::from(sample)).abs());
            assert!(error_a <= (loud / 32).max(8) + 8, "A-law {sample}: {a}");
            assert!(error_u <= (loud + 132) / 32 + 4 || loud > 32124, "mu-law {sample}: {u}");
        }
    }

    #[test]
    fn the_shorter_of_both_buffers_bounds_the_work() {
        let mut codes = [0; 3];
        assert_eq!(encode_alaw(&[0, -1, 100, 200], &mut codes), 3);
        let mut samples = [7; 4];
        assert_eq!(decode_alaw(&codes, &mut samples), 3);
        assert_eq!((samples[0], samples[1], samples[3]), (8, -8, 7));
        assert_eq!((encode_ulaw(&[], &mut codes), decode_ulaw(&[0xff], &mut samples), samples[0]), (0, 1, 0));
    }
}
