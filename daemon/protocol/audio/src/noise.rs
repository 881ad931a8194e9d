//! Comfort noise (RFC 3389): the sound of a line on which nobody speaks, from its level and the shape of its spectrum.

/// Reflection coefficients taken at most; further ones are ignored. RFC 3389 sets no bound; encoders send about ten.
const ORDER_MAX: usize = 12;

/// A generator. Quiet until it was told a level.
#[derive(Debug, Clone)]
pub struct Noise {
    /// Standard deviation of the excitation.
    loudness: f32,
    reflections: [f32; ORDER_MAX],
    order: usize,
    /// State of the lattice.
    state: [f32; ORDER_MAX + 1],
    random: u32,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            loudness: 0.0,
            reflections: [0.0; ORDER_MAX],
            order: 0,
            state: [0.0; ORDER_MAX + 1],
            random: 0x9e37_79b9,
        }
    }
}

impl Noise {
    /// Takes a payload of type 13. An empty one changes nothing.
    pub fn take(&mut self, payload: &[u8]) {
        let Some((level, shape)) = payload.split_first() else { return };
        self.order = shape.len().min(ORDER_MAX);
        // RFC 3389 3.1 and 3.2: -dBov in seven bits; each coefficient is (value - 127) / 128.
        for (reflection, byte) in self.reflections.iter_mut().zip(shape) {
            *reflection = ((f32::from(*byte) - 127.0) / 128.0).clamp(-0.98, 0.98);
        }
        let overload = 32768.0 * 10f32.powf(-f32::from(level & 0x7f) / 20.0);
        // The filter amplifies; the level is what comes out of it.
        let gain: f32 = self.reflections[..self.order].iter().map(|k| 1.0 - k * k).product();
        self.loudness = overload * gain.sqrt();
    }

    /// Makes some noise. Cost: order x 4 operations a sample.
    pub fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            let mut forward = self.loudness * self.normal();
            for at in (0..self.order).rev() {
                let k = self.reflections[at];
                forward -= k * self.state[at];
                self.state[at + 1] = self.state[at] + k * forward;
            }
            self.state[0] = forward;
            *sample = forward as i16;
        }
    }

    /// About normal, of variance 1: the sum of four uniform numbers.
    fn normal(&mut self) -> f32 {
        let mut sum = 0i32;
        for _ in 0..2 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 17;
            self.random ^= self.random << 5;
            sum += i32::from(self.random as i16) + i32::from((self.random >> 16) as i16);
        }
        // Each has a variance of 65536² / 12.
        sum as f32 / 37_837.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(noise: &mut Noise) -> f64 {
        let mut out = [0; 16000];
        noise.fill(&mut out);
        let power = out[2000..].iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 14000.0;
        20.0 * (power.sqrt().max(1e-3) / 32768.0).log10()
    }

    #[test]
    fn noise_is_as_loud_as_told_whatever_its_shape() {
        let mut noise = Noise::default();
        assert!(level(&mut noise) < -100.0, "nothing was told yet");
        let shapes: [&[u8]; 4] =
            [&[], &[127], &[60, 150], &[20, 200, 100, 140, 127, 127, 127, 127, 127, 127, 127, 127, 9]];
        for shape in shapes {
            for told in [20u8, 40, 60] {
                noise.take(&[&[told], shape].concat());
                let heard = level(&mut noise);
                assert!((heard + f64::from(told)).abs() < 2.0, "{told} {shape:?}: {heard}");
            }
        }
        noise.take(&[]);
        assert!(level(&mut noise) > -70.0, "an empty payload changes nothing");
    }

    #[test]
    fn no_payload_makes_it_unstable() {
        let mut noise = Noise::default();
        for byte in 0..=255 {
            noise.take(&[byte; 14]);
            let heard = level(&mut noise);
            assert!(heard.is_finite());
        }
        noise.take(&[70]);
        noise.state = [0.0; ORDER_MAX + 1];
        assert!(level(&mut noise) < -60.0);
    }
}
