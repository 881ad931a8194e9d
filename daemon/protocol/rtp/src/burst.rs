//! How losses lie together: bursts and the gaps between them (RFC 3611 4.7.2, counted as its A.2 does).
//!
//! A burst begins and ends with a loss and has fewer than [`GMIN`] packets in a row between two. What is late is not lost yet: a packet's
//! fate is settled when it is [`HORIZON`] behind, further than any jitter buffer reaches. Sketch: two shifts and a test a packet.

/// Received packets in a row that end a burst: the value that RFC 3611 4.7.2 recommends.
pub const GMIN: u32 = 16;
/// Packets that are waited for.
const HORIZON: u32 = 32;

/// The counts of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bursts {
    /// Bit n: the packet n before the highest came. Only the lowest `filled` bits count.
    window: u32,
    filled: u8,
    /// Received in a row since the last loss.
    run: u32,
    /// Losses since the last gap.
    recent: u32,
    /// Transitions between received (1, 2) and lost (3, 4) in gaps (1, 4) and bursts (2, 3).
    c11: u32,
    c13: u32,
    c14: u32,
    c22: u32,
    c23: u32,
    c33: u32,
    /// Losses, and how many of them stood first in a row.
    losses: u32,
    rows: u32,
}

/// What the counts come to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pattern {
    /// Lost within bursts, per cent.
    pub burst_density_percent: f32,
    /// Lost within gaps, per cent.
    pub gap_density_percent: f32,
    /// Mean length of a burst, packets; 0 without one.
    pub burst_packets: f32,
    /// Mean length of a gap, packets.
    pub gap_packets: f32,
    /// How much longer rows of losses are than random ones would be, at least 1: BurstR of ITU-T G.107 7.
    pub burst_ratio: f32,
}

impl Bursts {
    /// The next packet came, `ahead` numbers after the highest before it.
    pub(crate) fn advance(&mut self, ahead: u16) {
        for left in (0..ahead).rev() {
            if u32::from(self.filled) == HORIZON {
                self.settle(self.window >> (HORIZON - 1) & 1 == 1);
            } else {
                self.filled += 1;
            }
            self.window = self.window << 1 | u32::from(left == 0);
        }
    }

    /// A packet came `behind` the highest: late, or again.
    pub(crate) fn late(&mut self, behind: u16) {
        if u32::from(behind) < u32::from(self.filled) {
            self.window |= 1 << behind;
        }
    }

    /// Another stream begins: what is waited for will not come.
    pub(crate) fn restart(&mut self) {
        let (window, filled) = (self.window, self.filled);
        (self.window, self.filled) = (0, 0);
        (0..filled).rev().for_each(|bit| self.settle(window >> bit & 1 == 1));
    }

    fn settle(&mut self, came: bool) {
        if came {
            self.run = self.run.saturating_add(1);
            return;
        }
        self.losses = self.losses.saturating_add(1);
        self.rows += u32::from(self.run > 0 || self.losses == 1);
        if self.run >= GMIN || self.losses == 1 {
            self.close_gap();
            self.recent = 1;
        } else {
            self.recent += 1;
            match self.run {
                0 => self.c33 += 1,
                run => {
                    self.c23 += 1;
                    self.c22 = self.c22.saturating_add(run - 1);
                }
            }
        }
        self.run = 0;
    }

    /// After enough packets in a row: what was before them was one loss within the gap, or a burst.
    fn close_gap(&mut self) {
        match self.recent {
            0 => {}
            1 => self.c14 += 1,
            _ => self.c13 += 1,
        }
        self.c11 = self.c11.saturating_add(self.run);
    }

    /// What was counted up to now; none before a packet's fate was settled.
    pub fn pattern(&self) -> Option<Pattern> {
        let mut whole = *self;
        whole.restart();
        // A burst ends with a loss; what came since is of the next gap, however short yet.
        whole.close_gap();
        let Self { c11, c13, c14, c22, c23, c33, losses, rows, .. } = whole;
        let [c11, c13, c14, c22, c23, c33] = [c11, c13, c14, c22, c23, c33].map(f64::from);
        let (c31, c32) = (c13, c23);
        let total = c11 + c14 + c13 + c22 + c23 + c31 + c32 + c33;
        if total == 0.0 {
            return None;
        }
        let share = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
        let p32 = share(c32, c31 + c32 + c33);
        let p23 = if c22 + c23 < 1.0 { 1.0 } else { 1.0 - c22 / (c22 + c23) };
        let has_burst = c13 > 0.0;
        let gap_packets = share(c11 + c14 + c13, c13.max(1.0));
        let loss = share(f64::from(losses), c11 + c22 + c23 + f64::from(losses));
        let row = share(f64::from(losses), f64::from(rows));
        Some(Pattern {
            burst_density_percent: if has_burst { (100.0 * share(p23, p23 + p32)) as f32 } else { 0.0 },
            gap_density_percent: (100.0 * share(c14, c11 + c14)) as f32,
            burst_packets: if has_burst { (total / c13 - gap_packets) as f32 } else { 0.0 },
            gap_packets: gap_packets as f32,
            // A row of random losses has 1 / (1 - p) of them in the mean.
            burst_ratio: (row * (1.0 - loss)).max(1.0) as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts a text of packets: `.` came, `x` was lost.
    fn counted(text: &str) -> Pattern {
        let mut bursts = Bursts::default();
        let mut ahead = 1;
        for letter in text.chars() {
            match letter {
                '.' => {
                    bursts.advance(ahead);
                    ahead = 1;
                }
                _ => ahead += 1,
            }
        }
        bursts.pattern().unwrap()
    }

    #[test]
    fn bursts_and_gaps_are_as_defined() {
        let good = ".".repeat(100);
        let rows = [
            // text, burst density, gap density, burst length, gap length
            ("no loss", good.clone(), (0.0, 0.0, 0.0, 100.0)),
            ("a single loss is of the gap", format!("{good}x{good}"), (0.0, 100.0 / 201.0, 0.0, 201.0)),
            // By hand: c11 200, c13 1, c23 2, so that p32 is 2/3 and p23 1.
            ("three of five", format!("{good}x.x.x{good}"), (60.0, 0.0, 5.0, 201.0)),
            ("five in a row", format!("{good}xxxxx{good}"), (100.0, 0.0, 5.0, 201.0)),
            ("a burst at the end", format!("{good}xx."), (100.0, 0.0, 2.0, 102.0)),
        ];
        for (what, text, (burst, gap, burst_packets, gap_packets)) in rows {
            let pattern = counted(&text);
            let got = [
                pattern.burst_density_percent,
                pattern.gap_density_percent,
                pattern.burst_packets,
                pattern.gap_packets,
            ];
            for (got, want) in got.into_iter().zip([burst, gap, burst_packets, gap_packets]) {
                assert!((got - want).abs() <= 1.0 + want / 50.0, "{what}: {pattern:?}");
            }
        }
    }

    #[test]
    fn fifteen_between_losses_are_a_burst_and_sixteen_are_a_gap() {
        let good = ".".repeat(100);
        let between = |n: usize| counted(&format!("{good}x{}x{good}", ".".repeat(n)));
        assert!(between(15).burst_packets > 10.0);
        assert_eq!(between(16).burst_packets, 0.0);
    }

    #[test]
    fn random_losses_have_ratio_one_and_rows_more() {
        let mut state = 88_172_645_463_325_252_u64;
        let mut text = String::new();
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push(if state % 100 < 5 { 'x' } else { '.' });
        }
        let ratio = counted(&(text + ".")).burst_ratio;
        assert!((0.95..1.1).contains(&ratio), "{ratio}");
        // Rows of four with a loss of 4 %: four times what is almost one.
        let rows = counted(&format!("{}xxxx", ".".repeat(96)).repeat(50)).burst_ratio;
        assert!((3.7..4.0).contains(&rows), "{rows}");
    }

    #[test]
    fn what_is_late_is_not_lost() {
        let mut bursts = Bursts::default();
        for n in 0..200u16 {
            // Every tenth comes after its successor.
            match n % 10 {
                3 => {}
                4 => {
                    bursts.advance(2);
                    bursts.late(1);
                }
                _ => bursts.advance(1),
            }
        }
        let pattern = bursts.pattern().unwrap();
        assert_eq!((pattern.gap_density_percent, pattern.burst_packets, pattern.burst_ratio), (0.0, 0.0, 1.0));
        assert_eq!(Bursts::default().pattern(), None);
        bursts.late(5000);
        bursts.advance(3000);
        assert!(bursts.pattern().unwrap().burst_packets > 2000.0);
    }
}
