//! SIP over TCP, TLS and WebSocket: connections made and accepted, bytes moved. What may be connected, and what the bytes mean, is
//! decided by the signaling plane.
//!
//! Each connection is a task of its own. What it reads waits in one bounded queue for the switch: when that is full, tasks stop
//! reading and the peers' windows close. What the switch writes waits with the connection, bounded in bytes: a peer that does not take it
//! is cut off. So a slow or silent peer costs its own connection and nothing else.

mod line;
mod listen;
pub(super) mod tls;
mod websocket;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use postern_config::{Config, Dscp, Realm};
use postern_signaling::{Connect, ConnectionCommand, ConnectionEvent};
use postern_types::{ConnectionId, Transport};
use tokio::{runtime::Handle, sync::mpsc};

use crate::mailbox::Mailbox;
use line::{Line, Order};
use listen::Served;

/// Letters to the switch that wait at most; each is 16 KB of bytes at most. When it is full, connections are not read.
const LETTERS_MAX: usize = 1024;

/// Letters taken in one turn at most, so that datagrams and timers have their turn too.
const LETTERS_A_TURN: usize = 256;

/// The switch thread's end.
pub struct Streams {
    lines: HashMap<ConnectionId, Line>,
    /// How SIP is marked that leaves from an address, as of the start.
    dscp: HashMap<IpAddr, Dscp>,
    letters: mpsc::Receiver<Letter>,
    post: Post,
    shared: Arc<Shared>,
    runtime: Handle,
}

/// The rest of the daemon's end: reloads certificates, tells figures.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    served: Mutex<HashMap<(Transport, SocketAddr), Arc<Served>>>,
    clients: Mutex<tls::Clients>,
    accepted: AtomicU64,
    slow: AtomicU64,
}

/// What a connection's task tells.
struct Letter {
    id: ConnectionId,
    news: News,
}

enum News {
    Accepted { transport: Transport, local: SocketAddr, remote: SocketAddr, line: Line },
    Connected,
    Received(Vec<u8>),
    Closed(Box<str>),
}

/// The way from a task to the switch.
#[derive(Clone)]
struct Post {
    letters: mpsc::Sender<Letter>,
    mailbox: Mailbox,
}

impl Post {
    /// Waits for room. False when the switch is gone.
    async fn send(&self, id: ConnectionId, news: News) -> bool {
        let sent = self.letters.send(Letter { id, news }).await.is_ok();
        self.mailbox.ring();
        sent
    }
}

/// A bound listener and what it serves.
pub struct Bound {
    transport: Transport,
    listener: TcpListener,
}

/// Binds every listener of the configuration. The error is a sentence for a person.
pub fn bind(config: &Config) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::new();
    for (name, realm) in &config.realms {
        for listener in &realm.listeners {
            let (transport, address) = (listener.transport, listener.address);
            let socket = listen::bind(address, realm.signaling_dscp)
                .map_err(|error| crate::daemon::bind_advice(name.as_str(), transport, address, &error))?;
            bound.push(Bound { transport, listener: socket });
        }
    }
    Ok(bound)
}

/// How SIP is marked that leaves from an address.
fn dscp_of(config: &Config) -> HashMap<IpAddr, Dscp> {
    let of = |realm: &Realm| {
        let addresses = realm.signaling.iter().chain(realm.listeners.iter().map(|listener| &listener.address));
        addresses.map(|address| (address.ip(), realm.signaling_dscp)).collect::<Vec<_>>()
    };
    config.realms.values().flat_map(of).collect()
}

impl Streams {
    /// Listens, on the current runtime. The error is a sentence for a person.
    pub fn start(config: &Config, bound: Vec<Bound>, mailbox: Mailbox) -> Result<(Self, Control), String> {
        let (letters, inbox) = mpsc::channel(LETTERS_MAX);
        let post = Post { letters, mailbox };
        let shared = Arc::new(Shared {
            served: Mutex::default(),
            clients: Mutex::default(),
            accepted: AtomicU64::new(0),
            slow: AtomicU64::new(0),
        });
        let control = Control { shared: shared.clone() };
        control.reload(config)?;
        let said = |error: io::Error| format!("a SIP listener cannot be served: {error}");
        for Bound { transport, listener } in bound {
            listen::start(transport, listener, post.clone(), shared.clone()).map_err(said)?;
        }
        let dscp = dscp_of(config);
        let streams = Self { lines: HashMap::new(), letters: inbox, post, shared, dscp, runtime: Handle::current() };
        Ok((streams, control))
    }

    /// Hands over what came, not more than a turn's worth; `each` may answer through [`Streams::carry`] later.
    pub fn take(&mut self, mut each: impl FnMut(&mut Self, ConnectionId, ConnectionEvent<'_>)) {
        for _ in 0..LETTERS_A_TURN {
            let Ok(Letter { id, news }) = self.letters.try_recv() else { return };
            match news {
                News::Accepted { transport, local, remote, line } => {
                    self.lines.insert(id, line);
                    each(self, id, ConnectionEvent::Accepted { transport, local, remote });
                }
                News::Connected => each(self, id, ConnectionEvent::Connected),
                News::Received(bytes) => each(self, id, ConnectionEvent::Received(&bytes)),
                News::Closed(why) => {
                    self.lines.remove(&id);
                    each(self, id, ConnectionEvent::Closed(why));
                }
            }
        }
        // There may be more: the next turn comes at once.
        self.post.mailbox.ring();
    }

    /// Carries out a command. What is returned happened at once.
    pub fn carry(&mut self, id: ConnectionId, command: ConnectionCommand) -> Option<ConnectionEvent<'static>> {
        match command {
            ConnectionCommand::Admit => self.lines.get(&id)?.order(Order::Admit),
            ConnectionCommand::Connect(connect) => self.connect(id, *connect),
            ConnectionCommand::Send(bytes) => {
                if !self.lines.get(&id)?.send(bytes) {
                    self.lines.remove(&id);
                    self.shared.slow.fetch_add(1, Ordering::Relaxed);
                    return Some(ConnectionEvent::Closed("the peer is too slow to take what is sent".into()));
                }
            }
            // Without its line the task writes what it has and ends.
            ConnectionCommand::Close => drop(self.lines.remove(&id)),
        }
        None
    }

    fn connect(&mut self, id: ConnectionId, connect: Connect) {
        let (line, orders) = Line::new();
        self.lines.insert(id, line);
        let tls = match connect.transport {
            Transport::Tls => {
                let clients = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
                Some(clients.of(connect.trunk.as_ref(), &connect.name))
            }
            _ => None,
        };
        let dscp = self.dscp.get(&connect.from).copied().unwrap_or(Dscp::AF31);
        self.runtime.spawn(line::connect(id, (connect, dscp), tls, self.post.clone(), orders));
    }
}

impl Control {
    /// Takes certificates, authorities and origins of a new configuration: for connections that are made from now on.
    pub fn reload(&self, config: &Config) -> Result<(), String> {
        let mut served = HashMap::new();
        for (name, realm) in &config.realms {
            for listener in &realm.listeners {
                let made = Served::new(listener).map_err(|error| format!("realms.{name}.signaling: {error}"))?;
                served.insert((listener.transport, listener.address), Arc::new(made));
            }
        }
        let clients = tls::Clients::new(config)?;
        *self.shared.served.lock().unwrap_or_else(PoisonError::into_inner) = served;
        *self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(())
    }

    /// Connections closed because the peer did not take what was sent.
    pub fn slow(&self) -> u64 {
        self.shared.slow.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn served(&self, transport: Transport, address: SocketAddr) -> Option<Arc<Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).get(&(transport, address)).cloned()
    }

    fn next_accepted(&self) -> ConnectionId {
        ConnectionId::accepted(self.accepted.fetch_add(1, Ordering::Relaxed))
    }
}
