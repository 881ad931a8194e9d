//! T.38 on a leg: datagrams of UDPTL go to the leg that hears it, as they are.
//!
//! Who may be heard is what the latch says, as for audio. A leg with fax says and hears no RTP and no RTCP, and what still comes of
//! that is dropped. One machine may be silent for as long as the other sends a page, so either's datagrams count as a sign
//! of life of both.

use std::{net::SocketAddr, time::Instant};

use postern_rtp::udptl::is_udptl;
use postern_types::media::MediaEvent;

use super::{Port, Relay, Verdict, leg, tell};
use crate::latch::Judgement;

impl Relay {
    /// Decides about a datagram that came to a leg with fax.
    #[cold]
    pub(super) fn fax(&mut self, now: Instant, slot: u32, port: Port, source: SocketAddr, datagram: &[u8]) -> Verdict {
        let sent = self.fax_out(now, slot, port, source, datagram);
        match sent {
            Some(_) => self.counts.packets_out += 1,
            None => self.counts.dropped += 1,
        }
        sent.unwrap_or(Verdict::Drop)
    }

    fn fax_out(&mut self, now: Instant, slot: u32, port: Port, source: SocketAddr, datagram: &[u8]) -> Option<Verdict> {
        let from = leg(&mut self.legs, slot).filter(|_| port == Port::Rtp)?;
        let judgement = from.latch.judge(now, source);
        if judgement == Judgement::Stranger {
            let event = from.stranger(now, source);
            event.into_iter().for_each(|event| tell(&mut self.events, &mut self.counts, event));
            return None;
        }
        // Audio that was under way when the leg changed: of the source that spoke last.
        let is_late_audio = from.reception.so_far().is_some_and(|(ssrc, ..)| {
            datagram.first().is_some_and(|first| first >> 6 == 2) && datagram.get(8..12) == Some(&ssrc.to_be_bytes())
        });
        if is_late_audio || !is_udptl(datagram) {
            from.unreadable();
            return None;
        }
        if judgement == Judgement::Candidate {
            let as_described = from.latch.bind(source);
            let latched = MediaEvent::Latched { leg: from.id, source, as_described };
            tell(&mut self.events, &mut self.counts, latched);
        }
        from.received.add(1, datagram.len() as u64);
        from.heard = now;
        let to_slot = from.partner?;
        let to = leg(&mut self.legs, to_slot).filter(|to| to.is_fax)?;
        to.heard = now;
        let destination = to.latch.destination()?;
        to.sent_tally.add(1, datagram.len() as u64);
        Some(Verdict::Send { slot: to_slot, port: Port::Rtp, to: destination, len: datagram.len() })
    }
}

#[cfg(test)]
mod tests;
