//! What a leg takes of its trunk's line, each way: audio with RTP, UDP and IP around it, and SRTP's tag. RTCP, a twentieth at most (RFC 3550 6.2), and
//! what is below IP are not in it.

use postern_config::Config;
use postern_types::{
    TrunkName,
    stream::{Codec, Format},
};

use crate::leg::Leg;

/// RTP and UDP headers, bytes.
const RTP_UDP: u32 = 12 + 8;
const IPV4: u32 = 20;
const IPV6: u32 = 40;
/// The longest tag of the suites that are spoken (AES-GCM).
const SRTP_TAG: u32 = 16;
/// Opus where its receiver named no rate: what two voices get (RFC 7587 3.1.1 has 20 to 40 for speech).
const OPUS_BITS: u32 = 40_000;
/// Codecs that are passed and not known, and fax: as much as G.711.
const OTHER_BITS: u32 = 64_000;

/// Of a leg that was negotiated, kbit/s; none before.
pub fn of_leg(leg: &Leg) -> Option<u32> {
    let setup = leg.setup()?;
    let is_encrypted = setup.srtp_out.is_some() || setup.dtls.is_some();
    Some(kbps(&setup.format, setup.ptime_ms, leg.ipv6, is_encrypted))
}

/// Of a call before anything of it is known: the trunk's first codec, or G.711 where it names none.
pub fn expected(config: &Config, trunk: &TrunkName) -> u32 {
    let first = config.trunks.get(trunk).and_then(|trunk| trunk.codecs.first());
    let format = Format { codec: first.cloned().unwrap_or(Codec::Pcma), ..Format::pcma() };
    kbps(&format, 20, false, false)
}

fn kbps(format: &Format, ptime_ms: u8, ipv6: bool, is_encrypted: bool) -> u32 {
    let bits = match format.codec {
        Codec::Pcmu | Codec::Pcma | Codec::G722 => 64_000,
        Codec::G729 => 8_000,
        Codec::Opus => {
            format.parameter("maxaveragebitrate").and_then(|bits| bits.parse().ok()).unwrap_or(OPUS_BITS).min(510_000)
        }
        Codec::Other(_) => OTHER_BITS,
    };
    let around = RTP_UDP + if ipv6 { IPV6 } else { IPV4 } + if is_encrypted { SRTP_TAG } else { 0 };
    let packets = 1000 / u32::from(ptime_ms.max(1));
    (bits + around * 8 * packets).div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_takes_its_codec_and_all_headers() {
        let of = |codec, fmtp: &str| Format { codec, fmtp: fmtp.into(), ..Format::pcma() };
        let rows = [
            (of(Codec::Pcma, ""), 20, false, false, 80),
            (of(Codec::Pcma, ""), 20, true, false, 88),
            (of(Codec::Pcma, ""), 30, false, false, 75),
            (of(Codec::G722, ""), 20, false, true, 87),
            (of(Codec::G729, "annexb=no"), 20, false, false, 24),
            (of(Codec::Opus, ""), 20, false, false, 56),
            (of(Codec::Opus, "useinbandfec=1;maxaveragebitrate=16000"), 20, false, false, 32),
            (of(Codec::Opus, "maxaveragebitrate=4000000000"), 20, false, false, 526),
            (of(Codec::Opus, "maxaveragebitrate=-1"), 20, false, false, 56),
            (of(Codec::Other("iLBC".into()), ""), 0, false, false, 384),
        ];
        for (format, ptime_ms, ipv6, is_encrypted, want) in rows {
            assert_eq!(
                kbps(&format, ptime_ms, ipv6, is_encrypted),
                want,
                "{format:?} {ptime_ms} {ipv6} {is_encrypted}"
            );
        }
    }
}
