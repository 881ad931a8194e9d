//! Overload control (RFC 7339): what the parameters of the topmost Via say. Of its algorithms `loss`, which everybody knows (5.7).

use std::fmt::Write;

use crate::message::Via;

/// What a request's Via says of a sender that heeds what it is told.
pub const WANTED: &str = ";oc;oc-algo=\"loss\"";
/// How long a word holds that does not say it (RFC 7339 4.3).
const USUAL_MS: u32 = 500;
/// A word never holds longer, whatever it says: a peer that is silent afterwards is found again.
const LONGEST_MS: u32 = 60_000;

/// How many requests somebody wants less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relief {
    /// Of those that would be sent, per cent to be left out; 0: send all.
    pub loss: u8,
    /// How long that holds; 0: it is over.
    pub validity_ms: u32,
    /// What orders this word among others of its speaker: seconds, and hundred-thousandths (RFC 7339 4.4).
    pub seq: (u64, u32),
}

impl Relief {
    /// What a response tells its receiver, in the Via that is the receiver's. None: nothing that is understood.
    pub fn told(via: &Via<'_>) -> Option<Self> {
        let loss: u8 = via.params.value("oc")?.parse().ok().filter(|loss| *loss <= 100)?;
        if !algorithms(via).is_none_or(|list| names_loss(&list)) {
            return None;
        }
        let validity_ms = match via.params.value("oc-validity") {
            Some(value) => value.parse::<u32>().ok()?.min(LONGEST_MS),
            None => USUAL_MS,
        };
        let (seconds, part) = via.params.value("oc-seq")?.split_once('.')?;
        let scale = 10_u32.checked_pow(5_u32.checked_sub(part.len() as u32)?)?;
        let seq = (seconds.parse().ok()?, part.parse::<u32>().ok()?.checked_mul(scale)?);
        Some(Self { loss, validity_ms, seq })
    }

    /// Whether the sender of a request wants to be told (RFC 7339 4.1).
    pub fn is_wanted(via: &Via<'_>) -> bool {
        let asks = via.params.iter().any(|(name, value)| name.eq_ignore_ascii_case("oc") && value.is_none());
        asks && algorithms(via).is_some_and(|list| names_loss(&list))
    }

    /// The parameters of a Via.
    pub(crate) fn write(self, text: &mut String) {
        let Self { loss, validity_ms, seq: (seconds, part) } = self;
        write!(text, ";oc={loss};oc-algo=\"loss\";oc-validity={validity_ms};oc-seq={seconds}.{part:05}")
            .expect("a String takes all that is written to it");
    }

    /// Whether a parameter of a Via is one of these.
    pub(crate) fn has(name: &str) -> bool {
        ["oc", "oc-algo", "oc-validity", "oc-seq"].iter().any(|known| name.eq_ignore_ascii_case(known))
    }
}

fn algorithms<'a>(via: &Via<'a>) -> Option<std::borrow::Cow<'a, str>> {
    via.params.text("oc-algo")
}

fn names_loss(list: &str) -> bool {
    list.split(',').any(|name| name.trim().eq_ignore_ascii_case("loss"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn via(params: &str) -> String {
        format!("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1{params}")
    }

    #[test]
    fn what_is_told_is_read_and_what_is_odd_is_nothing() {
        let relief = |loss, validity_ms, seq| Some(Relief { loss, validity_ms, seq });
        for (params, want) in [
            // RFC 7339 4.5.
            (";oc=20;oc-algo=\"loss\";oc-validity=500;oc-seq=1282321615.782", relief(20, 500, (1_282_321_615, 78_200))),
            (";oc=0;oc-algo=\"loss\";oc-validity=0;oc-seq=1.1", relief(0, 0, (1, 10_000))),
            (";oc=100;oc-seq=1.00001", relief(100, 500, (1, 1))),
            (";oc=5;oc-validity=4000000000;oc-seq=1.0", relief(5, 60_000, (1, 0))),
            (";oc=101;oc-algo=\"loss\";oc-seq=1.0", None),
            (";oc=-1;oc-seq=1.0", None),
            (";oc=20;oc-algo=\"rate\";oc-seq=1.0", None),
            (";oc=20", None),
            (";oc=20;oc-seq=1", None),
            (";oc=20;oc-seq=1.123456", None),
            (";oc=20;oc-seq=x.1", None),
            (";oc;oc-seq=1.0", None),
            ("", None),
        ] {
            let text = via(params);
            assert_eq!(Relief::told(&Via::parse(&text).unwrap()), want, "{params}");
        }
    }

    #[test]
    fn who_asks_is_known_and_what_is_written_reads_back() {
        for (params, want) in [
            (WANTED, true),
            (";oc;oc-algo=\"rate,loss\"", true),
            (";oc;oc-algo=\"rate\"", false),
            (";oc", false),
            (";oc=3;oc-algo=\"loss\"", false),
            (";oc-algo=\"loss\"", false),
        ] {
            let text = via(params);
            assert_eq!(Relief::is_wanted(&Via::parse(&text).unwrap()), want, "{params}");
        }
        let relief = Relief { loss: 35, validity_ms: 1000, seq: (1_800_000_000, 42) };
        let mut text = via("");
        relief.write(&mut text);
        assert_eq!(Relief::told(&Via::parse(&text).unwrap()), Some(relief));
    }
}
