//! Listeners: each connection that is accepted is asked about, shakes hands, and is served by a task of its own.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use postern_config::{Dscp, Listener};
use postern_types::{ConnectionId, Transport};
use postern_uring::mark;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use super::{
    News, Post, Shared,
    line::{self, HANDSHAKE_PATIENCE, Line, Orders},
    tls, websocket,
};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 1024;
/// After a failed accept (mostly: no descriptors left), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener serves, as of the last configuration.
pub struct Served {
    tls: Option<Arc<ServerConfig>>,
    origins: Arc<[String]>,
}

impl Served {
    pub fn new(listener: &Listener) -> Result<Self, String> {
        let tls = listener.tls.as_deref().map(tls::server).transpose()?;
        Ok(Self { tls, origins: listener.origins.clone() })
    }
}

/// A listening socket. The port of a daemon that just ended can be had at once; that of one that runs cannot.
/// What it accepts is marked as it is.
pub fn bind(address: SocketAddr, dscp: Dscp) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    mark(&socket, address.is_ipv6(), dscp.code())?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub fn start(transport: Transport, listener: StdListener, post: Post, shared: Arc<Shared>) -> io::Result<()> {
    let local = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, remote)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let id = shared.next_accepted();
            let (line, orders) = Line::new();
            if !post.send(id, News::Accepted { transport, local, remote, line }).await {
                return;
            }
            tokio::spawn(accepted(id, stream, transport, local, post.clone(), orders, shared.clone()));
        }
    });
    Ok(())
}

async fn accepted(
    id: ConnectionId,
    stream: TcpStream,
    transport: Transport,
    local: SocketAddr,
    post: Post,
    mut orders: Orders,
    shared: Arc<Shared>,
) {
    if !orders.admitted().await {
        return;
    }
    line::prepare(&stream);
    let Some(served) = shared.served(transport, local) else {
        post.send(id, News::Closed("the configuration has no such listener any more".into())).await;
        return;
    };
    let why = match &served.tls {
        None => carry(id, stream, transport, &served, &post, &mut orders).await,
        Some(tls) => match timeout(HANDSHAKE_PATIENCE, TlsAcceptor::from(tls.clone()).accept(stream)).await {
            Err(_) => "no TLS handshake in time".to_owned(),
            Ok(Err(error)) => format!("TLS: {error}"),
            Ok(Ok(stream)) => carry(id, stream, transport, &served, &post, &mut orders).await,
        },
    };
    post.send(id, News::Closed(why.into())).await;
}

async fn carry<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    id: ConnectionId,
    stream: S,
    transport: Transport,
    served: &Served,
    post: &Post,
    orders: &mut Orders,
) -> String {
    match transport {
        Transport::Ws | Transport::Wss => websocket::serve(id, stream, &served.origins, post, orders).await,
        Transport::Udp | Transport::Tcp | Transport::Tls => {
            post.send(id, News::Connected).await;
            line::serve(id, stream, post, orders).await
        }
    }
}
