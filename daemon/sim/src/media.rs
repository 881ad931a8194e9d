//! The media plane's twin: hands out ports, remembers what is open, and tells what a worker would tell.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use postern_types::{
    CallSid, ConferenceSid, Now,
    media::{MediaCommand, MediaEvent, PlayId, RoomPart, StreamReport},
};

/// One open stream.
#[derive(Debug, Default)]
struct Stream {
    port: u16,
    peer: Option<CallSid>,
    room: Option<(ConferenceSid, RoomPart)>,
    latched: bool,
    play: Option<(PlayId, Instant)>,
}

/// The twin.
#[derive(Debug)]
pub struct Media {
    streams: HashMap<CallSid, Stream>,
    free: Vec<u16>,
    events: VecDeque<MediaEvent>,
    /// Streams that were open at once, at most.
    pub open_max: usize,
    /// Whether a configured stream gets its first packet at once.
    pub peers_send: bool,
    /// Whether what is left of ports and of the workers' time is kept for emergency calls.
    pub is_short: bool,
}

impl Media {
    /// With room for `streams` streams.
    pub fn new(streams: u16) -> Self {
        Self {
            streams: HashMap::new(),
            free: (0..streams).map(|n| 20_000 + 2 * n).collect(),
            events: VecDeque::new(),
            open_max: 0,
            peers_send: true,
            is_short: false,
        }
    }

    /// Carries a command out.
    pub fn command(&mut self, now: Now, command: MediaCommand) {
        match command {
            MediaCommand::Open { leg, urgent: false, .. } if self.is_short => {
                self.events.push_back(MediaEvent::OpenFailed { leg, why: "what is left is kept".into() });
            }
            MediaCommand::Open { leg, ipv6, .. } => self.open(leg, ipv6),
            MediaCommand::Configure { leg, setup } => {
                let Some(stream) = self.streams.get_mut(&leg) else { return };
                let sends = setup.direction.sends() && self.peers_send;
                if sends && !std::mem::replace(&mut stream.latched, true) {
                    self.events.push_back(MediaEvent::Latched { leg, source: setup.remote_rtp, as_described: true });
                }
            }
            MediaCommand::Bridge { a, b } => {
                for (leg, peer) in [(a, b), (b, a)] {
                    self.unbridge(leg);
                    if let Some(stream) = self.streams.get_mut(&leg) {
                        stream.room = None;
                        stream.peer = Some(peer);
                    }
                }
            }
            MediaCommand::Join { room, leg, part } => {
                self.unbridge(leg);
                if let Some(stream) = self.streams.get_mut(&leg) {
                    stream.room = Some((room, part));
                }
            }
            MediaCommand::Leave { leg } => {
                if let Some(stream) = self.streams.get_mut(&leg) {
                    stream.room = None;
                }
            }
            MediaCommand::Unbridge { leg } => self.unbridge(leg),
            MediaCommand::Play { leg, play, prompt, times } => {
                let Some(stream) = self.streams.get_mut(&leg) else { return };
                let lasts = if times == 0 { Duration::from_secs(1 << 30) } else { prompt.duration() * times };
                stream.play = Some((play, now.instant + lasts));
            }
            // No audio is simulated.
            MediaCommand::Tap { .. }
            | MediaCommand::Untap { .. }
            | MediaCommand::WatchRoom { .. }
            | MediaCommand::TapRoom { .. }
            | MediaCommand::UntapRoom { .. }
            | MediaCommand::Press { .. }
            | MediaCommand::Chime { .. } => {}
            MediaCommand::StopPlay { leg } => {
                if let Some(stream) = self.streams.get_mut(&leg) {
                    stream.play = None;
                }
            }
            MediaCommand::Close { leg } => {
                self.unbridge(leg);
                let Some(stream) = self.streams.remove(&leg) else { return };
                self.free.push(stream.port);
                self.events.push_back(MediaEvent::Closed { leg, report: Box::new(StreamReport::default()) });
            }
        }
    }

    fn open(&mut self, leg: CallSid, ipv6: bool) {
        let Some(port) = self.free.pop() else {
            self.events.push_back(MediaEvent::OpenFailed { leg, why: "every port is in use".into() });
            return;
        };
        let ip: IpAddr = if ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::new(127, 0, 0, 2).into() };
        let (rtp, rtcp) = (SocketAddr::new(ip, port), SocketAddr::new(ip, port + 1));
        self.streams.insert(leg, Stream { port, ..Stream::default() });
        self.open_max = self.open_max.max(self.streams.len());
        self.events.push_back(MediaEvent::Opened { leg, rtp, rtcp, fingerprint: None });
    }

    fn unbridge(&mut self, leg: CallSid) {
        let peer = self.streams.get_mut(&leg).and_then(|stream| stream.peer.take());
        if let Some(other) = peer.and_then(|peer| self.streams.get_mut(&peer)) {
            other.peer = None;
        }
    }

    /// The next thing to tell the router.
    pub fn poll_event(&mut self, now: Instant) -> Option<MediaEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let ended = |stream: &Stream| stream.play.filter(|(_, at)| *at <= now);
        let (leg, play) = self.streams.iter().find_map(|(leg, stream)| ended(stream).map(|(play, _)| (*leg, play)))?;
        if let Some(stream) = self.streams.get_mut(&leg) {
            stream.play = None;
        }
        Some(MediaEvent::PlayEnded { leg, play })
    }

    /// Has a party of a live call press a key; false when it has no stream.
    pub fn press(&mut self, leg: CallSid, digit: char) -> bool {
        let open = self.streams.contains_key(&leg);
        if open {
            self.events.push_back(MediaEvent::Digit { leg, digit, duration_ms: 100 });
        }
        open
    }

    /// Lets a leg fall silent for as long as is allowed; false when it has no stream.
    pub fn time_out(&mut self, leg: CallSid) -> bool {
        let open = self.streams.contains_key(&leg);
        if open {
            self.events.push_back(MediaEvent::TimedOut { leg, silent: Duration::from_secs(30) });
        }
        open
    }

    /// When something will be told by itself.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.streams.values().filter_map(|stream| stream.play.map(|(_, at)| at)).min()
    }

    /// Streams open now.
    pub fn open_now(&self) -> usize {
        self.streams.len()
    }

    /// Legs in rooms.
    pub fn in_rooms(&self) -> usize {
        self.streams.values().filter(|stream| stream.room.is_some()).count()
    }

    /// Pairs of legs that are relayed to each other.
    pub fn bridges(&self) -> usize {
        self.streams.values().filter(|stream| stream.peer.is_some()).count() / 2
    }
}
