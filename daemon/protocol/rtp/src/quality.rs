//! How it sounds, estimated from loss and delay: the E-model (ITU-T G.107) with default values.
//!
//! R = 93.2 - Id - Ie,eff. All terminal and network figures that we cannot know stand at their defaults, which give
//! 93.2; Ie,eff is the codec's impairment with random loss, Id that of delay.

use postern_types::stream::Codec;

/// G.107 with all parameters at default (Table 3).
const R_DEFAULT: f64 = 93.2;

/// How a codec suffers (ITU-T G.113 Appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Ie: without loss.
    pub ie: f64,
    /// Bpl: robustness against loss, per cent.
    pub bpl: f64,
}

impl Impairment {
    /// The published values for G.711 with concealment and G.729A. The narrow-band model has none for other codecs;
    /// they are counted as G.711, so their figure shows the network, not the codec.
    pub fn of(codec: &Codec) -> Self {
        match codec {
            Codec::G729 => Self { ie: 11.0, bpl: 19.0 },
            Codec::Pcmu | Codec::Pcma | Codec::G722 | Codec::Opus | Codec::Other(_) => Self { ie: 0.0, bpl: 25.1 },
        }
    }

    /// Ie,eff with random loss of so many per cent (G.107 equation 7-29 with BurstR = 1).
    pub fn with_loss(self, loss_percent: f64) -> f64 {
        self.ie + (95.0 - self.ie) * loss_percent / (loss_percent + self.bpl)
    }
}

/// Mean opinion score, 1.0 to 4.5, of a stream with so much loss (per cent) and jitter (milliseconds).
///
/// The one-way delay cannot be seen from here. What a receiver must add to ride out the jitter can: a buffer of twice
/// the jitter and one packet.
pub fn mos(codec: &Codec, loss_percent: f64, jitter_ms: f64) -> f32 {
    let rating = R_DEFAULT - delay_impairment(2.0 * jitter_ms) - Impairment::of(codec).with_loss(loss_percent);
    mos_of_rating(rating) as f32
}

/// Id in the usual two-part approximation of G.107's curve: slow to 177.3 ms, steep afterwards.
fn delay_impairment(delay_ms: f64) -> f64 {
    0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0)
}

/// G.107 Annex B.
fn mos_of_rating(rating: f64) -> f64 {
    if rating <= 0.0 {
        return 1.0;
    }
    if rating >= 100.0 {
        return 4.5;
    }
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_become_the_published_scores() {
        // G.107 Annex B, Table B.1, and the default rating's well-known 4.41.
        for (rating, want) in
            [(93.2, 4.41), (90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0)]
        {
            assert!((mos_of_rating(rating) - want).abs() < 0.01, "{rating}: {}", mos_of_rating(rating));
        }
        assert_eq!((mos_of_rating(-5.0), mos_of_rating(120.0)), (1.0, 4.5));
    }

    #[test]
    fn loss_impairs_as_published() {
        let g711 = Impairment::of(&Codec::Pcma);
        let g729 = Impairment::of(&Codec::G729);
        // G.107 7-29 by hand: at a loss of Bpl per cent, half of what is left of 95 is gone.
        assert_eq!((g711.with_loss(0.0), g729.with_loss(0.0)), (0.0, 11.0));
        assert_eq!((g711.with_loss(25.1), g729.with_loss(19.0)), (47.5, 53.0));
        assert!((g711.with_loss(2.0) - 7.01).abs() < 0.01);
    }

    #[test]
    fn worse_networks_score_less() {
        assert!((mos(&Codec::Pcmu, 0.0, 0.0) - 4.41).abs() < 0.01);
        let mut last = 5.0;
        for (loss, jitter) in
            [(0.0, 0.0), (0.0, 20.0), (1.0, 20.0), (5.0, 20.0), (5.0, 150.0), (50.0, 150.0), (100.0, 1e9)]
        {
            let score = mos(&Codec::Pcmu, loss, jitter);
            assert!((1.0..=4.5).contains(&score) && score < last, "{loss} % {jitter} ms: {score}");
            last = score;
        }
    }
}
