//! How it sounds, estimated from loss and delay: the E-model (ITU-T G.107).
//!
//! R = Ro - Is - Id - Ie,eff + A. What a packet relay cannot know of terminals and rooms stands at the Recommendation's default (Table 3):
//!
//! | parameter | here | |
//! |---|---|---|
//! | SLR, RLR, STMR, LSTR, Ds, Dr, Ps, Pr, Nc, Nfor, qdu | defaults | Ro = 94.77, Is = 1.41 |
//! | TELR, WEPL | 65 dB, 110 dB | echo is controlled, as in any IP phone |
//! | T, Ta, Tr | T = Ta = Tr / 2 | half of the measured round trip, a packet time, and a jitter buffer of twice the jitter |
//! | Ie, Bpl | [`Impairment::of`] | by codec |
//! | Ppl, BurstR | measured | |
//! | A | 0 | |
//!
//! Without loss and delay that is the well-known 93.2. Listening quality (MOS-LQ) leaves the delay out, conversational quality (MOS-CQ) has it.

use postern_types::stream::Codec;

/// Basic signal-to-noise ratio (G.107 equation 7-3 and following) with all parameters at default.
const RO: f64 = 94.7688;
/// Simultaneous impairment (equation 7-8) with all parameters at default.
const IS: f64 = 1.4136;
/// Talker echo loudness rating, default, dB.
const TELR: f64 = 65.0;
/// Weighted echo path loss, default, dB.
const WEPL: f64 = 110.0;

/// How a codec suffers (ITU-T G.113 Appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Ie: without loss.
    pub ie: f64,
    /// Bpl: robustness against loss, per cent.
    pub bpl: f64,
}

impl Impairment {
    /// The published values: G.711 with concealment, G.729A, GSM-EFR (also AMR at its best rate), G.723.1 at 6.3 kbit/s. The
    /// narrow-band model has none for other codecs; they are counted as G.711, so that their figure shows the network, not the codec.
    pub fn of(codec: &Codec) -> Self {
        match codec {
            Codec::G729 => Self { ie: 11.0, bpl: 19.0 },
            Codec::Other(name) if ["GSM-EFR", "AMR"].iter().any(|of| name.eq_ignore_ascii_case(of)) => {
                Self { ie: 5.0, bpl: 10.0 }
            }
            Codec::Other(name) if name.eq_ignore_ascii_case("G723") => Self { ie: 15.0, bpl: 16.1 },
            Codec::Pcmu | Codec::Pcma | Codec::G722 | Codec::Opus | Codec::Other(_) => Self { ie: 0.0, bpl: 25.1 },
        }
    }

    /// Ie,eff with a loss of so many per cent, `burst_ratio` times as dense as random ones (G.107 equation 7-29).
    pub fn with_loss(self, loss_percent: f64, burst_ratio: f64) -> f64 {
        self.ie + (95.0 - self.ie) * loss_percent / (loss_percent / burst_ratio.max(1.0) + self.bpl)
    }
}

/// What a stream went through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Of its codec.
    pub impairment: Impairment,
    /// Lost, per cent.
    pub loss_percent: f64,
    /// See [`crate::burst::Pattern::burst_ratio`].
    pub burst_ratio: f64,
    /// From mouth to ear, as far as it is known, milliseconds.
    pub delay_ms: f64,
}

impl Conditions {
    /// R for a conversation, at most 93.2; can fall below 0.
    pub fn rating(&self) -> f64 {
        RO - IS - delay_impairment(self.delay_ms) - self.impairment.with_loss(self.loss_percent, self.burst_ratio)
    }

    /// R for who only listens.
    pub fn listening(&self) -> f64 {
        Self { delay_ms: 0.0, ..*self }.rating()
    }
}

/// Id = Idte + Idle + Idd (equations 7-18 to 7-28) for a one-way delay.
fn delay_impairment(delay_ms: f64) -> f64 {
    let t = delay_ms.max(0.0);
    // Talker echo. Roe is Ro, for RLR and SLR stand at defaults that make them equal.
    let talker = if t < 1.0 {
        0.0
    } else {
        let terv = TELR - 40.0 * ((1.0 + t / 10.0) / (1.0 + t / 150.0)).log10() + 6.0 * (-0.3 * t * t).exp();
        let half = (RO - (80.0 + 2.5 * (terv - 14.0))) / 2.0;
        (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-t).exp())
    };
    // Listener echo.
    let half = (RO - 10.5 * (WEPL + 7.0) * (2.0 * t + 1.0).powf(-0.25)) / 2.0;
    let listener = half + (half * half + 169.0).sqrt();
    // Delay that is felt even without echo.
    let felt = if t <= 100.0 {
        0.0
    } else {
        let x = (t / 100.0).log2();
        let root = |x: f64| (1.0 + x.powi(6)).powf(1.0 / 6.0);
        25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
    };
    talker + listener + felt
}

/// Mean opinion score of a rating, 1.0 to 4.5 (G.107 Annex B).
pub fn mos(rating: f64) -> f32 {
    if rating <= 0.0 {
        return 1.0;
    }
    if rating >= 100.0 {
        return 4.5;
    }
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn g711(loss_percent: f64, delay_ms: f64) -> Conditions {
        Conditions { impairment: Impairment::of(&Codec::Pcma), loss_percent, burst_ratio: 1.0, delay_ms }
    }

    #[test]
    fn ratings_become_the_published_scores() {
        // G.107 Annex B, Table B.1, and the default rating's well-known 4.41.
        for (rating, want) in
            [(93.2, 4.41), (90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58), (0.0, 1.0)]
        {
            assert!((mos(rating) - want).abs() < 0.01, "{rating}: {}", mos(rating));
        }
        assert_eq!((mos(-5.0), mos(120.0)), (1.0, 4.5));
    }

    #[test]
    fn all_at_default_is_93_2() {
        assert!((g711(0.0, 0.0).rating() - 93.2).abs() < 0.05, "{}", g711(0.0, 0.0).rating());
        // Ro and Is are what their equations give with the defaults of Table 3.
        let (slr, rlr, ds, ps, pr, lstr, nc, nfor) = (8.0, 2.0, 3.0, 35.0, 35.0, 18.0, -70.0, -64.0);
        let power = |db: f64| 10f64.powf(db / 10.0);
        let nos = ps - slr - ds - 100.0 + 0.004 * (ps - (slr + rlr) - ds - 14.0_f64).powi(2);
        let pre = pr + 10.0 * (1.0 + power(10.0 - lstr)).log10();
        let nor = rlr - 121.0 + pre + 0.008 * (pre - 35.0_f64).powi(2);
        let no = 10.0 * (power(nc) + power(nos) + power(nor) + power(nfor + rlr)).log10();
        assert!((15.0 - 1.5 * (slr + no) - RO).abs() < 0.001, "{}", 15.0 - 1.5 * (slr + no));
        assert!((-1.5 * (no - rlr) - RO).abs() < 0.001, "Roe is the same");
    }

    #[test]
    fn loss_impairs_as_published() {
        // ITU-T G.113 Appendix I (provisional planning values): Ie with random loss, G.729A and G.711 with concealment.
        let g729 = [(0.0, 11.0), (1.0, 15.0), (2.0, 19.0), (3.0, 23.0), (4.0, 26.0), (8.0, 36.0), (16.0, 49.0)];
        let g711 = [(0.0, 0.0), (2.0, 7.0), (3.0, 10.0), (5.0, 15.0), (7.0, 20.0)];
        for (codec, rows) in [(Codec::G729, &g729[..]), (Codec::Pcmu, &g711[..])] {
            for &(loss, want) in rows {
                let ie = Impairment::of(&codec).with_loss(loss, 1.0);
                assert!((ie - want).abs() <= 1.0, "{codec} {loss} %: {ie}");
            }
        }
        let dense = Impairment::of(&Codec::Pcmu).with_loss(4.0, 4.0);
        assert!(dense > Impairment::of(&Codec::Pcmu).with_loss(4.0, 1.0), "rows of losses are worse: {dense}");
        assert_eq!(Impairment::of(&Codec::Other("gsm-efr".into())).ie, 5.0);
    }

    #[test]
    fn delay_impairs_little_to_150_ms_and_much_beyond_300() {
        // ITU-T G.114 and the categories of G.109: best to 150 ms, satisfied to some 250, many dissatisfied from 400 on.
        for (delay, range) in [(50.0, 91.0..93.2), (150.0, 88.0..91.0), (250.0, 78.0..83.0), (400.0, 58.0..70.0)] {
            let rating = g711(0.0, delay).rating();
            assert!(range.contains(&rating), "{delay} ms: {rating}");
        }
        // Equation 7-27 by hand at 200 ms: X is 1, so that 25 (2^(1/6) - 3 (1 + 3^-6)^(1/6) + 2) is 3.04.
        let felt = 25.0 * (2f64.powf(1.0 / 6.0) - 3.0 * (1.0 + 3f64.powi(-6)).powf(1.0 / 6.0) + 2.0);
        assert!((felt - 3.04).abs() < 0.01, "{felt}");
        assert_eq!(g711(1.0, 300.0).listening(), g711(1.0, 0.0).rating());
    }

    #[test]
    fn worse_networks_score_less() {
        let mut last = 94.0;
        for (loss, delay) in
            [(0.0, 0.0), (0.0, 40.0), (1.0, 40.0), (5.0, 40.0), (5.0, 300.0), (50.0, 300.0), (100.0, 1e9)]
        {
            let rating = g711(loss, delay).rating();
            assert!(rating < last && (1.0..=4.5).contains(&mos(rating)), "{loss} % {delay} ms: {rating}");
            last = rating;
        }
    }
}
