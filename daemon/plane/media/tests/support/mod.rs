//! A plane on loopback with its legs and peers, for the tests of this folder.
#![allow(dead_code, clippy::disallowed_methods, reason = "each test file uses a part; tests read the clock")]

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant, SystemTime},
};

use postern_config::{Appliance, Config, FastPath, Media, Realm, RealmMedia};
use postern_media::MediaPlane;
use postern_rtp::{Header, packet::HEADER_LEN};
use postern_types::{
    CallSid, Now, RealmName, UnixMicros,
    media::{MediaCommand, MediaEvent, StreamSetup},
    stream::Format,
};
use postern_uring::Bell;

/// Longest wait for anything.
pub const LIMIT: Duration = Duration::from_secs(10);

/// One realm on loopback with so many port pairs, apart from those of other tests of this process.
pub fn config(pairs: u16) -> Config {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Each test program has a range of its own by its process id; ranges wrap below the ephemeral ports.
    let base = 10_000 + (std::process::id() % 20) as u16 * 1000;
    let port_first = base + NEXT.fetch_add(pairs * 2, Ordering::Relaxed);
    let media = RealmMedia {
        ipv4: Some(Ipv4Addr::LOCALHOST),
        ipv6: Some(Ipv6Addr::LOCALHOST),
        port_first,
        port_last: port_first + pairs * 2 - 1,
        dscp: postern_config::Dscp::EF,
    };
    let realm = Realm {
        signaling: vec![],
        listeners: vec![],
        media,
        advertised: None,
        registrations: false,
        lease: Default::default(),
        uri_calls: false,
        session_timer: Default::default(),
        access: Default::default(),
        emergency: Vec::new(),
        numbering: None,
        codecs: vec![],
        codecs_stripped: vec![],
        signaling_dscp: postern_config::Dscp::AF31,
    };
    let empty = Config::empty("test");
    Config {
        appliance: Appliance {
            name: "test".into(),
            state_folder: "/".into(),
            runtime_folder: "/".into(),
            spool_mb: 1,
            spool_days: 1,
            records_max: 1,
        },
        realms: BTreeMap::from([(RealmName::new("lo"), realm)]),
        trunks: BTreeMap::new(),
        users: BTreeMap::new(),
        numbers: BTreeMap::new(),
        routes: vec![],
        applications: BTreeMap::new(),
        accounts: BTreeMap::new(),
        media: Media { busy_max: 100, quarantine: Duration::from_millis(50), fast_path: FastPath::Off, ..empty.media },
        ..empty
    }
}

pub fn now() -> Now {
    Now { instant: Instant::now(), wall: UnixMicros::from_system(SystemTime::now()) }
}

/// The plane with events that were seen and not yet asked for.
pub struct House {
    pub plane: MediaPlane,
    pub seen: VecDeque<MediaEvent>,
    next: u128,
}

impl House {
    pub fn new(config: &Config) -> Self {
        let plane = MediaPlane::start(config, Bell::new().unwrap()).unwrap();
        Self { plane, seen: VecDeque::new(), next: 0 }
    }

    pub fn command(&mut self, command: MediaCommand) {
        self.plane.command(now(), command);
    }

    /// Waits for an event that `pick` takes; others stay for later.
    pub fn wait_for<T>(&mut self, what: &str, mut pick: impl FnMut(&MediaEvent) -> Option<T>) -> T {
        let limit = Instant::now() + LIMIT;
        let mut looked = 0;
        while Instant::now() < limit {
            self.seen.extend(std::iter::from_fn(|| self.plane.poll_event()));
            for at in looked..self.seen.len() {
                if let Some(picked) = pick(&self.seen[at]) {
                    self.seen.remove(at);
                    return picked;
                }
            }
            looked = self.seen.len();
            std::thread::yield_now();
        }
        panic!("no {what} within {LIMIT:?}; {:?}; seen: {:#?}", self.plane.status(), self.seen);
    }

    /// Waits until the workers' counters say so.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(postern_media::Status) -> bool) {
        let limit = Instant::now() + LIMIT;
        while Instant::now() < limit {
            if done(self.plane.status()) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("not {what} within {LIMIT:?}: {:?}", self.plane.status());
    }

    pub fn open(&mut self, ipv6: bool) -> (CallSid, SocketAddr, SocketAddr) {
        self.try_open(ipv6).unwrap()
    }

    pub fn try_open(&mut self, ipv6: bool) -> Result<(CallSid, SocketAddr, SocketAddr), String> {
        self.next += 1;
        let id = CallSid(self.next);
        self.command(MediaCommand::Open { leg: id, realm: RealmName::new("lo"), ipv6, urgent: false });
        self.wait_for("answer to Open", |event| match event {
            MediaEvent::Opened { leg, rtp, rtcp, .. } if *leg == id => Some(Ok((id, *rtp, *rtcp))),
            MediaEvent::OpenFailed { leg, why } if *leg == id => Some(Err(why.clone())),
            _ => None,
        })
    }

    /// A leg with a peer of its own, configured by `change`.
    pub fn leg(&mut self, ipv6: bool, change: impl FnOnce(&mut StreamSetup)) -> Peer {
        let (id, rtp, rtcp) = self.open(ipv6);
        let peer = Peer::new(id, rtp, rtcp);
        let mut setup = peer.setup();
        change(&mut setup);
        self.command(MediaCommand::Configure { leg: id, setup: Box::new(setup) });
        peer
    }

    pub fn latched(&mut self, id: CallSid) -> (SocketAddr, bool) {
        self.wait_for("Latched", |event| match event {
            MediaEvent::Latched { leg, source, as_described } if *leg == id => Some((*source, *as_described)),
            _ => None,
        })
    }

    pub fn close(&mut self, id: CallSid) -> postern_types::media::StreamReport {
        self.command(MediaCommand::Close { leg: id });
        self.wait_for("Closed", |event| match event {
            MediaEvent::Closed { leg, report } if *leg == id => Some((**report).clone()),
            _ => None,
        })
    }
}

/// The far end of a leg: an RTP and an RTCP socket.
pub struct Peer {
    pub id: CallSid,
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub leg_rtp: SocketAddr,
    pub leg_rtcp: SocketAddr,
}

impl Peer {
    pub fn new(id: CallSid, leg_rtp: SocketAddr, leg_rtcp: SocketAddr) -> Self {
        Self { id, rtp: socket(leg_rtp), rtcp: socket(leg_rtp), leg_rtp, leg_rtcp }
    }

    /// PCMA and PCMU both ways, digits as 101, described as it is.
    pub fn setup(&self) -> StreamSetup {
        StreamSetup {
            remote_rtcp: self.rtcp.local_addr().unwrap(),
            formats: vec![Format::pcma(), Format::pcmu()],
            telephone_event: Some(101),
            ..StreamSetup::plain(self.rtp.local_addr().unwrap(), Format::pcma())
        }
    }

    pub fn send(&self, packet: &[u8]) {
        // An ICMP error of an earlier packet may be told here; this packet did not leave then.
        if self.rtp.send_to(packet, self.leg_rtp).is_err() {
            self.rtp.send_to(packet, self.leg_rtp).unwrap();
        }
    }

    pub fn receive(&self) -> Vec<u8> {
        receive(&self.rtp).0
    }

    /// Nothing has arrived. Only meaningful after something later was seen to have been handled.
    pub fn is_quiet(&self) -> bool {
        self.rtp.set_nonblocking(true).unwrap();
        let quiet = self.rtp.recv(&mut [0; 2000]).is_err();
        self.rtp.set_nonblocking(false).unwrap();
        quiet
    }
}

pub fn socket(like: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((like.ip(), 0)).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

pub fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 2000];
    let (len, from) = socket.recv_from(&mut bytes).expect("a packet within the limit");
    (bytes[..len].to_vec(), from)
}

/// An RTP packet of SSRC 7.
pub fn rtp(payload_type: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        marker: false,
        payload_type,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 7,
        payload_start: HEADER_LEN,
        padded: false,
    };
    let mut packet = [0; HEADER_LEN];
    header.write(&mut packet);
    [&packet[..], payload].concat()
}

/// A receiver report without blocks.
pub const RTCP: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];
