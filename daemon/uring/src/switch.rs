//! The ring as the switch uses it: a handful of sockets, datagrams in and out, a bell, a deadline.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::{
    bell::Bell,
    buffer::Buffer,
    gather::{Gather, Gathering},
    ring::{Completion, Counters, Ring, SocketId},
    setup::Options,
};

/// Sockets of one thread that waits on nothing else. Belongs to the thread that made it.
pub struct SwitchRing {
    ring: Ring,
    bell: Bell,
    gather: Gather,
    /// Events since the last sleep.
    events: usize,
}

/// Signaling has time: from some hundred calls a second on, a millisecond's messages are taken together.
const GATHER: Gathering = Gathering { span: Duration::from_millis(1), from: 4.0, most: 64 };

/// What woke the thread.
#[derive(Debug)]
pub enum Event {
    /// A datagram came.
    Datagram {
        /// Where.
        socket: SocketId,
        /// From whom.
        source: SocketAddr,
        /// Its bytes.
        bytes: Buffer,
    },
    /// Somebody rang the bell: look at your queues.
    Woken,
    /// A socket given to [`SwitchRing::close`] is closed and its port free.
    Closed {
        /// Which.
        socket: SocketId,
    },
    /// A socket can receive no more; close it.
    Broken {
        /// Which.
        socket: SocketId,
        /// Why.
        error: io::Error,
    },
}

/// Why a datagram was not taken for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// As many as [`Options::spare_buffers`] are under way: lost, as the network may lose any datagram.
    Full,
    /// Longer than UDP carries.
    TooLong,
    /// The socket is closed.
    Closed,
}

impl SwitchRing {
    /// A ring over bound sockets; their names come back in the same order.
    pub fn new(now: Instant, sockets: Vec<UdpSocket>) -> io::Result<(Self, Vec<SocketId>)> {
        let bell = Bell::new()?;
        let ring = Ring::new(&Options::SWITCH, bell.try_clone()?)?;
        let mut ring = Self { ring, bell, gather: Gather::new(now, GATHER), events: 0 };
        let ids = sockets.into_iter().map(|socket| ring.add(socket)).collect::<io::Result<_>>()?;
        Ok((ring, ids))
    }

    /// Takes a further socket over.
    pub fn add(&mut self, socket: UdpSocket) -> io::Result<SocketId> {
        self.ring.add(socket).map_err(|_| io::Error::other("the ring has no room for a further socket"))
    }

    /// Ends a socket; [`Event::Closed`] follows.
    pub fn close(&mut self, socket: SocketId) {
        self.ring.close(socket);
    }

    /// The bell that wakes this thread; clone it for each who needs it.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// What this kernel cannot do, in words for a person.
    pub fn notices(&self) -> &[&'static str] {
        self.ring.notices()
    }

    /// Figures since the start.
    pub fn counters(&self) -> Counters {
        self.ring.counters()
    }

    /// Sends what was queued, sleeps until something happens or `deadline`, and hands over all that is there.
    pub fn wait(&mut self, now: Instant, deadline: Option<Instant>, mut each: impl FnMut(Event)) -> io::Result<()> {
        self.sleep(now, deadline)?;
        while let Some(event) = self.poll() {
            each(event);
        }
        Ok(())
    }

    /// The first half of [`SwitchRing::wait`]: for a caller that sends between two events.
    pub fn sleep(&mut self, now: Instant, deadline: Option<Instant>) -> io::Result<()> {
        self.gather.learn(now, std::mem::take(&mut self.events));
        let (want, span) = self.gather.plan();
        self.ring.wait(want, span, deadline)
    }

    /// The next event that is there.
    pub fn poll(&mut self) -> Option<Event> {
        let completion = self.ring.next()?;
        self.events += 1;
        Some(match completion {
            Completion::Datagram { socket, source, buffer } => Event::Datagram { socket, source, bytes: buffer },
            Completion::Woken => Event::Woken,
            // The switch never releases a socket; should it, its handle is closed here.
            Completion::Closed { socket } | Completion::Released { socket, .. } => Event::Closed { socket },
            Completion::Broken { socket, error } => {
                Event::Broken { socket, error: io::Error::from_raw_os_error(error) }
            }
        })
    }

    /// Queues a datagram; it leaves with the next [`SwitchRing::wait`], or earlier when many are queued.
    pub fn send(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) -> Result<(), SendError> {
        if bytes.len() > UDP_MAX {
            return Err(SendError::TooLong);
        }
        let mut buffer = self.ring.spare().ok_or(SendError::Full)?;
        buffer.fill(bytes).map_err(|_| SendError::TooLong)?;
        self.ring.send(socket, to, buffer).map_err(|_| SendError::Closed)?;
        self.gather.sent();
        Ok(())
    }
}

/// Payload of the largest UDP datagram over IPv4.
const UDP_MAX: usize = 65507;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SocketOptions, bind};

    #[test]
    fn datagrams_pass_both_ways_and_the_bell_and_the_deadline_wake() {
        let any = "127.0.0.1:0".parse().unwrap();
        let (ours, peer) =
            (bind(any, &SocketOptions::SIGNALING).unwrap(), bind(any, &SocketOptions::SIGNALING).unwrap());
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let address = ours.local_addr().unwrap();
        let (mut ring, ids) = SwitchRing::new(Instant::now(), vec![ours]).unwrap();

        let large = vec![b'x'; 60_000];
        peer.send_to(&large, address).unwrap();
        ring.bell().ring();
        let (mut got, mut woken) = (None, false);
        let limit = Instant::now() + Duration::from_secs(5);
        while (got.is_none() || !woken) && Instant::now() < limit {
            ring.wait(Instant::now(), Some(limit), |event| match event {
                Event::Datagram { source, bytes, .. } => got = Some((source, bytes.to_vec())),
                Event::Woken => woken = true,
                other => panic!("{other:?}"),
            })
            .unwrap();
        }
        assert!(woken);
        assert_eq!(got, Some((peer.local_addr().unwrap(), large)));

        for n in 0..100u8 {
            ring.send(ids[0], peer.local_addr().unwrap(), &[n; 500]).unwrap();
        }
        assert_eq!(ring.send(ids[0], address, &[0; 65508]), Err(SendError::TooLong));
        let start = Instant::now();
        let deadline = start + Duration::from_millis(5);
        while Instant::now() < deadline {
            ring.wait(Instant::now(), Some(deadline), |_| {}).unwrap();
        }
        let mut bytes = [0; 1000];
        for n in 0..100u8 {
            assert_eq!((peer.recv(&mut bytes).unwrap(), bytes[0]), (500, n));
        }
    }

    #[test]
    fn sends_are_bounded() {
        let ours = bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::SIGNALING).unwrap();
        let to = ours.local_addr().unwrap();
        let (mut ring, ids) = SwitchRing::new(Instant::now(), vec![ours]).unwrap();
        let full = (0..10_000).find_map(|_| ring.send(ids[0], to, b"x").err());
        assert_eq!(full, Some(SendError::Full));
        ring.wait(Instant::now(), Some(Instant::now()), |_| {}).unwrap();
        ring.wait(Instant::now(), Some(Instant::now()), |_| {}).unwrap();
        assert_eq!(ring.send(ids[0], to, b"x"), Ok(()));
    }

    #[test]
    fn a_busy_port_is_tried_again_at_start() {
        let first = bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::MEDIA).unwrap();
        let address = first.local_addr().unwrap();
        assert!(bind_patiently(address, &SocketOptions::MEDIA, Duration::from_millis(10)).is_err());
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            drop(first);
        });
        assert!(bind_patiently(address, &SocketOptions::MEDIA, Duration::from_secs(5)).is_ok());
        thread.join().unwrap();
    }

    use crate::bind_patiently;
}
