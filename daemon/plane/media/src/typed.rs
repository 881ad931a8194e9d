//! What a leg knows of its peer's payload types: what each is, and which number it has for the partner.

/// Payload type that stands for "none" in [`Typed::mapped`].
pub(crate) const UNMAPPED: u8 = 0xff;

/// Static payload type of comfort noise (RFC 3389 4).
pub(crate) const COMFORT_NOISE: u8 = 13;

/// Types that are kept in place. Who describes more has a table of all of them.
const FEW: usize = 15;

/// What becomes of a payload type of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) kind: Kind,
    /// By the partner's numbers; [`UNMAPPED`]: it has none for it.
    pub(crate) mapped: u8,
}

const UNTYPED: Typed = Typed { kind: Kind::Unknown, mapped: UNMAPPED };

/// What a payload type of a peer is. One byte with its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not negotiated.
    Unknown,
    /// Audio with this clock.
    Audio(Clock),
    /// telephone-event.
    Event,
}

/// RTP clocks of audio (RFC 3551 table 4, and those of later codecs).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Hz8000,
    Hz11025,
    Hz12000,
    Hz16000,
    Hz22050,
    Hz24000,
    Hz32000,
    Hz44100,
    Hz48000,
    Hz90000,
    /// No codec's: jitter is not measured by it.
    Other,
}

impl Clock {
    pub(crate) fn of(hz: u32) -> Self {
        match hz {
            8000 => Self::Hz8000,
            11025 => Self::Hz11025,
            12000 => Self::Hz12000,
            16000 => Self::Hz16000,
            22050 => Self::Hz22050,
            24000 => Self::Hz24000,
            32000 => Self::Hz32000,
            44100 => Self::Hz44100,
            48000 => Self::Hz48000,
            90000 => Self::Hz90000,
            _ => Self::Other,
        }
    }

    pub(crate) fn hz(self) -> Option<u32> {
        Some(match self {
            Self::Hz8000 => 8000,
            Self::Hz11025 => 11025,
            Self::Hz12000 => 12000,
            Self::Hz16000 => 16000,
            Self::Hz22050 => 22050,
            Self::Hz24000 => 24000,
            Self::Hz32000 => 32000,
            Self::Hz44100 => 44100,
            Self::Hz48000 => 48000,
            Self::Hz90000 => 90000,
            Self::Other => return None,
        })
    }
}

/// The payload types of a peer. A description names a handful of the 128, and these fit into one line of the cache; looking through
/// them costs less than the line of a table that nobody has asked for.
#[derive(Debug)]
pub(crate) enum Types {
    /// So many entries of it count.
    Few(u8, [(u8, Typed); FEW]),
    /// By payload type.
    All(Box<[Typed; 128]>),
}

impl Default for Types {
    fn default() -> Self {
        Self::Few(0, [(0, UNTYPED); FEW])
    }
}

impl Types {
    /// What is known of a payload type; of what is none (above 127) nothing is.
    #[inline]
    pub(crate) fn of(&self, payload_type: u8) -> Typed {
        match self {
            Self::Few(used, entries) => entries
                .iter()
                .take(usize::from(*used))
                .find(|(of, _)| *of == payload_type)
                .map_or(UNTYPED, |(_, typed)| *typed),
            Self::All(table) => table.get(usize::from(payload_type)).copied().unwrap_or(UNTYPED),
        }
    }

    /// Takes what a new description says its types are. How they are mapped stays, until [`Types::map`].
    pub(crate) fn describe(&mut self, kinds: impl IntoIterator<Item = (u8, Kind)>) {
        let before = std::mem::take(self);
        before.known().for_each(|(of, typed)| self.change(of, |now| now.mapped = typed.mapped));
        kinds.into_iter().for_each(|(of, kind)| self.change(of, |typed| typed.kind = kind));
    }

    /// Takes the partner's numbers, and forgets the former ones.
    pub(crate) fn map(&mut self, mapped: impl IntoIterator<Item = (u8, u8)>) {
        let before = std::mem::take(self);
        before.known().for_each(|(of, typed)| self.change(of, |now| now.kind = typed.kind));
        mapped.into_iter().for_each(|(of, mapped)| self.change(of, |typed| typed.mapped = mapped));
    }

    fn known(&self) -> impl Iterator<Item = (u8, Typed)> {
        let (few, all) = match self {
            Self::Few(used, entries) => (entries.get(..usize::from(*used)).unwrap_or_default(), &[][..]),
            Self::All(table) => (&[][..], &table[..]),
        };
        few.iter().copied().chain((0..).zip(all.iter().copied())).filter(|(_, typed)| *typed != UNTYPED)
    }

    fn change(&mut self, payload_type: u8, how: impl FnOnce(&mut Typed)) {
        let mut typed = self.of(payload_type);
        how(&mut typed);
        if payload_type > 127 || typed == self.of(payload_type) {
            return;
        }
        match self {
            Self::Few(used, entries) => {
                let at = entries.iter().take(usize::from(*used)).position(|(of, _)| *of == payload_type);
                if let Some(entry) = entries.get_mut(at.unwrap_or(usize::from(*used))) {
                    *entry = (payload_type, typed);
                    *used += u8::from(at.is_none());
                } else {
                    let mut table = Box::new([UNTYPED; 128]);
                    entries.iter().chain([&(payload_type, typed)]).for_each(|(of, typed)| {
                        table[usize::from(*of)] = *typed;
                    });
                    *self = Self::All(table);
                }
            }
            Self::All(table) => table[usize::from(payload_type)] = typed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOICE: Kind = Kind::Audio(Clock::Hz8000);

    #[test]
    fn a_clock_is_what_it_was_made_of() {
        for hz in [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 90000] {
            assert_eq!(Clock::of(hz).hz(), Some(hz));
        }
        assert_eq!(Clock::of(0).hz(), None);
    }

    #[test]
    fn kinds_and_numbers_are_taken_apart_from_each_other_and_few_lie_in_one_line() {
        let mut types = Types::default();
        assert_eq!(types.of(0), UNTYPED);
        types.describe([(0, VOICE), (101, Kind::Event)]);
        types.map([(0, 8), (101, 96), (13, 13)]);
        assert_eq!(types.of(0), Typed { kind: VOICE, mapped: 8 });
        assert_eq!(types.of(101), Typed { kind: Kind::Event, mapped: 96 });
        assert_eq!(types.of(13), Typed { kind: Kind::Unknown, mapped: 13 });
        types.describe([(8, VOICE)]);
        assert_eq!(types.of(0), Typed { kind: Kind::Unknown, mapped: 8 }, "its number stays");
        assert_eq!(types.of(8), Typed { kind: VOICE, mapped: UNMAPPED });
        types.map([]);
        assert_eq!((types.of(0), types.of(8).kind), (UNTYPED, VOICE));
        assert_eq!(size_of::<Types>(), 48, "with the time of the last packet a line");
    }

    #[test]
    fn whoever_describes_every_type_there_is_gets_them_all_and_no_more() {
        let mut types = Types::default();
        for described in [FEW as u8, FEW as u8 + 1, 128, 255] {
            types.describe((0..described).map(|of| (of, VOICE)));
            types.map((0..described).map(|of| (of, of ^ 1)));
            for of in 0..=255 {
                let known = Typed { kind: VOICE, mapped: of ^ 1 };
                assert_eq!(types.of(of), if of < described.min(128) { known } else { UNTYPED }, "{of} of {described}");
            }
        }
        types.describe([(0, VOICE)]);
        types.map([]);
        assert!(matches!(types, Types::Few(1, _)), "a table is let go");
    }
}
