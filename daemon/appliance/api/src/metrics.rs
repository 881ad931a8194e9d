//! `GET /metrics`: the status and the counts of events, in the text format of Prometheus.
//!
//! Labels are names of trunks and types of events, both bounded by configuration and catalog.

use std::{collections::BTreeMap, fmt};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use postern_switch::Status;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{App, error::Refusal};

/// Serves the metrics of this moment.
pub(crate) async fn serve(State(app): State<App>) -> Result<Response, Refusal> {
    let status = app.context.status().await?;
    let hub = &app.context.hub;
    let snapshot =
        Snapshot { status, by_type: hub.by_type(), readers: hub.readers() as u64, overflowed: hub.overflowed() };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], snapshot.text()).into_response())
}

#[derive(Debug)]
struct Snapshot {
    status: Status,
    by_type: BTreeMap<Box<str>, u64>,
    readers: u64,
    overflowed: u64,
}

impl Snapshot {
    fn text(self) -> String {
        let mut registry = Registry::with_prefix("postern");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let Self { status: s, by_type, readers, overflowed } = self;
        let (media, delivery) = (&s.media, &s.delivery);
        // The encoder puts `_total` behind the name of a counter.
        let counters = [
            ("calls", "Calls since start", s.calls_total),
            ("legs_answered", "Legs that were answered since start", s.answered_total),
            ("legs_measured", "Legs whose audio was measured to its end", s.measured_total),
            ("legs_poor", "Of these, with a MOS below 3.6 in either direction", s.poor_total),
            ("sip_received", "SIP messages received", s.sip_received),
            ("sip_sent", "SIP messages sent", s.sip_sent),
            ("sip_strangers", "Requests from unknown sources, turned away", s.strangers),
            ("sip_malformed", "SIP messages that could not be read", s.malformed),
            ("sip_throttled", "SIP messages dropped: their source sent too many", s.throttled),
            ("sip_banned", "SIP messages dropped: their source is banned", s.banned),
            ("sip_denied", "SIP messages dropped: the realm's access list does not have their source", s.denied),
            ("sip_shed", "New calls and registrations refused: too much to do", s.shed),
            ("sip_connections_refused", "SIP connections refused: as many as are allowed", s.connections_refused),
            ("sip_connections_broken", "SIP connections closed: what came was no SIP", s.connections_broken),
            ("sip_connections_expired", "SIP connections closed: nobody proved itself in time", s.connections_expired),
            ("sip_connections_slow", "SIP connections closed: the peer took nothing", s.connections_slow),
            ("media_packets_received", "RTP packets received", media.packets_received),
            ("media_packets_sent", "RTP packets sent", media.packets_sent),
            (
                "media_packets_forwarded",
                "Of both, packets that the kernel forwarded by itself",
                media.packets_forwarded,
            ),
            ("media_packets_dropped", "Packets dropped: foreign, malformed, unsendable", media.packets_dropped),
            ("media_send_errors", "Packets that the kernel did not send", media.send_errors),
            (
                "media_receive_starved",
                "Times that packets waited because every buffer was in use",
                media.receive_starved,
            ),
            ("media_packets_truncated", "Packets longer than a buffer, dropped", media.truncated),
            ("media_messages_lost", "Commands to media workers and events of theirs given up", media.messages_lost),
            ("media_workers_failed", "Times that a media worker ended by itself", media.workers_failed),
            ("events_published", "Events acknowledged by the control plane", delivery.published),
            ("events_overflowed", "Events that never reached the event streams", *overflowed),
            ("journal_dropped", "Journal lines dropped because journald was too slow", delivery.journal_dropped),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let link_up = f64::from(u8::from(delivery.link == "up"));
        let gauges = [
            ("uptime_seconds", "Time since start", s.uptime_s as f64),
            ("calls_live", "Live calls", s.calls as f64),
            ("legs_live", "Live legs", s.legs as f64),
            ("bans", "Sources that are banned", s.bans as f64),
            ("sip_shedding", "Of new calls and registrations, the part that is refused", s.shedding as f64 / 1000.0),
            ("devices", "Registered devices", s.devices as f64),
            ("subscriptions", "Subscriptions to what becomes of users", s.subscriptions as f64),
            ("users_available", "Users that are available", s.users_available as f64),
            ("users_busy", "Users that are in a call", s.users_busy as f64),
            ("media_streams", "Open media streams", media.streams as f64),
            ("media_flows", "Directions of calls that the kernel forwards by itself", media.flows as f64),
            ("media_workers", "Media workers at work", media.workers as f64),
            ("sip_connections", "SIP connections open", s.connections as f64),
            ("media_ports_free", "Media ports that can still be used", media.ports_free as f64),
            ("event_readers", "Readers of event streams", *readers as f64),
            ("event_last", "Number of the last event", s.events_seq as f64),
            ("spool_waiting", "Events that the control plane has not acknowledged", delivery.spool_waiting as f64),
            ("spool_bytes", "Bytes in the event spool", delivery.spool_bytes as f64),
            ("records", "Finished legs in the store", delivery.records as f64),
            (
                "media_busy_ratio",
                "The busiest media worker's share of its CPU in the last second",
                media.busy_percent / 100.0,
            ),
            ("link_up", "1 while the connection to the control plane stands", link_up),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        if let Some(cost) = media.us_per_packet {
            let help = "CPU time of the media workers per packet received, over the last seconds";
            let gauge = ConstGauge::new(cost / 1e6);
            gauge.encode(to.encode_descriptor("media_packet_cpu_seconds", help, None, MetricType::Gauge)?)?;
        }
        if let Some(found) = &media.calibrated {
            let help = "CPU time of a media worker per packet relayed by sockets, as measured at the start";
            let gauge = ConstGauge::new(found.us_per_packet / 1e6);
            gauge.encode(to.encode_descriptor(
                "media_packet_cpu_calibrated_seconds",
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        {
            let help = "How many more calls fit, by what they need";
            let mut family = to.encode_descriptor("calls_remaining", help, None, MetricType::Gauge)?;
            for room in &s.remaining {
                ConstGauge::new(room.calls).encode(family.encode_family(&[("resource", room.of.as_str())])?)?;
            }
        }
        {
            let help = "When a certificate of ours ends, seconds since 1970";
            let mut family = to.encode_descriptor("certificate_expires", help, None, MetricType::Gauge)?;
            for certificate in &s.certificates {
                let labels = [("of", certificate.of.as_str()), ("file", certificate.file.as_str())];
                ConstGauge::new(certificate.expires).encode(family.encode_family(&labels)?)?;
            }
        }
        {
            let help = "Live legs on a trunk";
            let mut family = to.encode_descriptor("trunk_legs_live", help, None, MetricType::Gauge)?;
            for trunk in &s.trunks {
                ConstGauge::new(trunk.calls).encode(family.encode_family(&[("trunk", trunk.name.as_str())])?)?;
            }
            let help = "What the calls of a trunk take of its line, each way, bits a second";
            let mut family = to.encode_descriptor("trunk_line_bits", help, None, MetricType::Gauge)?;
            for trunk in &s.trunks {
                let bits = u64::from(trunk.kbps) * 1000;
                ConstGauge::new(bits).encode(family.encode_family(&[("trunk", trunk.name.as_str())])?)?;
            }
            let help = "Whether an address of a trunk is known to live";
            let mut family = to.encode_descriptor("trunk_up", help, None, MetricType::Gauge)?;
            for trunk in &s.trunks {
                let up = u64::from(trunk.state != "down");
                ConstGauge::new(up).encode(family.encode_family(&[("trunk", trunk.name.as_str())])?)?;
            }
            let help = "Calls of a trunk, or to it, refused for one of its limits";
            let mut family = to.encode_descriptor("trunk_refused", help, None, MetricType::Counter)?;
            for trunk in &s.trunks {
                for (direction, refused) in [("in", trunk.refused_in), ("out", trunk.refused_out)] {
                    let labels = [("trunk", trunk.name.as_str()), ("direction", direction)];
                    ConstCounter::new(refused).encode(family.encode_family(&labels)?)?;
                }
            }
            let help = "Whether we are registered with a trunk that wants it";
            let mut family = to.encode_descriptor("trunk_registered", help, None, MetricType::Gauge)?;
            for (trunk, of) in s.trunks.iter().filter_map(|trunk| Some((trunk, trunk.registration.as_ref()?))) {
                let holds = u64::from(of.registered);
                ConstGauge::new(holds).encode(family.encode_family(&[("trunk", trunk.name.as_str())])?)?;
            }
        }
        let mut family = to.encode_descriptor("events", "Events by type", None, MetricType::Counter)?;
        for (name, count) in by_type {
            ConstCounter::new(*count).encode(family.encode_family(&[("type", &**name)])?)?;
        }
        let version = [("version", s.version.as_str()), ("name", s.name.as_str())];
        let mut family = to.encode_descriptor("build", "Version and name of the appliance", None, MetricType::Gauge)?;
        ConstGauge::new(1_u64).encode(family.encode_family(&version)?)
    }
}

#[cfg(test)]
mod tests {
    use postern_switch::request::{CalibrationStatus, MediaStatus, RemainingStatus, TrunkStatus};

    use super::*;

    #[test]
    fn the_status_is_told_with_names_units_and_bounded_labels() {
        let status = Status {
            name: "edge1".into(),
            calls: 3,
            calls_total: 9,
            media: MediaStatus {
                workers: 1,
                workers_failed: 2,
                send_errors: 3,
                calibrated: Some(CalibrationStatus { us_per_packet: 250_000.0, legs: 2, calls_per_worker: 9 }),
                ..MediaStatus::default()
            },
            remaining: vec![RemainingStatus { of: "ports of realm a".into(), calls: 7 }],
            trunks: vec![TrunkStatus {
                name: "car\"rier".into(),
                calls: 2,
                state: "up".into(),
                ..TrunkStatus::default()
            }],
            ..Status::default()
        };
        let by_type = BTreeMap::from([("call.offered".into(), 4_u64)]);
        let text = Snapshot { status, by_type, readers: 1, overflowed: 0 }.text();
        for line in [
            "# TYPE postern_calls_live gauge",
            "postern_calls_live 3.0",
            "postern_calls_total 9",
            "postern_media_workers 1.0",
            "postern_media_workers_failed_total 2",
            "postern_media_send_errors_total 3",
            "postern_media_packet_cpu_calibrated_seconds 0.25",
            "postern_calls_remaining{resource=\"ports of realm a\"} 7",
            "postern_trunk_legs_live{trunk=\"car\\\"rier\"} 2",
            "postern_events_total{type=\"call.offered\"} 4",
            "postern_build{version=\"\",name=\"edge1\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
