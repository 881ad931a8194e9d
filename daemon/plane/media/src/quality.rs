//! A leg's figures: what was counted, as loss, delay and a score, for reports to the house and to the peer.

use postern_rtp::{Conditions, Impairment, burst::GMIN, metrics::VoipMetrics, mos};
use postern_types::media::{BurstReport, FarReport, StreamReport};

use crate::leg::Leg;

impl Leg {
    /// A second is over, with so many packets in all: notes what was lost in it.
    pub(crate) fn note_second(&mut self, received: u64) {
        let lost = self.reception.lost();
        let (came, lacking) = (received.saturating_sub(self.received_before), lost.saturating_sub(self.lost_before));
        self.lost_before = lost;
        let expected = came + lacking;
        self.figures.recent_loss_percent = if expected == 0 { 0.0 } else { lacking as f32 * 100.0 / expected as f32 };
    }

    /// Fills in what follows from the counts of a report.
    pub(crate) fn measure(&self, report: &mut StreamReport) {
        report.round_trip_ms = self.control.round_trip().map(|span| span.as_secs_f32() * 1000.0);
        if let Some(conditions) = self.conditions(report) {
            let rating = conditions.rating();
            (report.rating, report.mos) = (Some(rating as f32), Some(mos(rating)));
        }
        let packet_ms = f32::from(self.packet_ms());
        report.bursts = self.reception.pattern().map(|pattern| BurstReport {
            burst_density_percent: pattern.burst_density_percent,
            gap_density_percent: pattern.gap_density_percent,
            burst_ms: (pattern.burst_packets * packet_ms) as u32,
            gap_ms: (pattern.gap_packets * packet_ms) as u32,
        });
        report.far = self.control.far().map(|far| {
            let loss_percent = f64::from(far.lost.max(0)) * 100.0 / f64::from(self.sent.packets().max(1));
            let there = self.setup.as_ref().map(|setup| Conditions {
                impairment: Impairment::of(&setup.format.codec),
                loss_percent: loss_percent.min(100.0),
                burst_ratio: 1.0,
                delay_ms: self.delay_ms(far.jitter_ms),
            });
            // 127 is "not available"; a score is 10 to 50.
            let told = self
                .control
                .metrics()
                .and_then(|m| [m.mos_cq, m.mos_lq].into_iter().find(|mos| (10..=50).contains(mos)));
            FarReport {
                packets_lost: far.lost.into(),
                recent_loss_percent: far.recent_loss_percent,
                jitter_ms: far.jitter_ms,
                mos: there.map(|there| mos(there.rating())),
                told_mos: told.map(|tenths| f32::from(tenths) / 10.0),
            }
        });
    }

    /// What the peer's audio went through on its way here; none without packets.
    fn conditions(&self, report: &StreamReport) -> Option<Conditions> {
        let setup = self.setup.as_ref().filter(|_| report.packets_received > 0)?;
        let expected = report.packets_received + report.packets_lost;
        Some(Conditions {
            impairment: Impairment::of(&setup.format.codec),
            loss_percent: report.packets_lost as f64 * 100.0 / expected as f64,
            burst_ratio: self.reception.pattern().map_or(1.0, |pattern| f64::from(pattern.burst_ratio)),
            delay_ms: self.delay_ms(report.jitter_ms),
        })
    }

    /// One way: half of the round trip, a packet that has to be filled, and a buffer that rides out twice the jitter.
    fn delay_ms(&self, jitter_ms: f32) -> f64 {
        let way = self.control.round_trip().map_or(0.0, |span| span.as_secs_f64() * 500.0);
        way + f64::from(self.packet_ms()) + 2.0 * f64::from(jitter_ms)
    }

    fn packet_ms(&self) -> u8 {
        self.setup.as_ref().map_or(20, |setup| setup.ptime_ms)
    }

    /// The block of VoIP metrics about what the peer sends, if it asked for them.
    pub(crate) fn voip_metrics(&self) -> Option<VoipMetrics> {
        self.setup.as_ref().filter(|setup| setup.rtcp_xr)?;
        let report = self.report();
        let conditions = self.conditions(&report)?;
        let (bursts, ssrc) = (report.bursts.unwrap_or_default(), self.reception.ssrc()?);
        let of_256 = |percent: f64| (percent * 2.56).clamp(0.0, 255.0) as u8;
        let half = |ms: f64| ms.clamp(0.0, 65_535.0) as u16;
        let tenths = |rating: f64| (f64::from(mos(rating)) * 10.0).round() as u8;
        Some(VoipMetrics {
            ssrc,
            loss_rate: of_256(conditions.loss_percent),
            // Whoever hears this has the jitter buffer; none is discarded here.
            discard_rate: 0,
            burst_density: of_256(bursts.burst_density_percent.into()),
            gap_density: of_256(bursts.gap_density_percent.into()),
            burst_ms: half(bursts.burst_ms.into()),
            gap_ms: half(bursts.gap_ms.into()),
            round_trip_ms: half(report.round_trip_ms.unwrap_or(0.0).into()),
            end_system_ms: 0,
            gmin: GMIN as u8,
            rating: conditions.rating().clamp(0.0, 100.0).round() as u8,
            mos_lq: tenths(conditions.listening()),
            mos_cq: tenths(conditions.rating()),
        })
    }
}
