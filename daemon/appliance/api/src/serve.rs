//! Sockets: connections in, bounded in number, size and patience.

use std::{
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Sleep,
};

use crate::{App, Context, router};

/// Connections on one face at once: readers of event streams, and as many short ones again.
const CONNECTIONS_MAX: usize = 2 * crate::READERS_MAX;

/// How long a client may take to send a request's head, and how long an idle connection is kept.
const HEAD_WITHIN: Duration = Duration::from_secs(15);

/// How long a client may let a started answer lie: a reader that does not read is let go.
const STALL_MAX: Duration = Duration::from_secs(60);

/// Bytes of a request's head at most; also bounds what is buffered a connection.
const HEAD_MAX: usize = 32 * 1024;

/// Header lines at most.
const HEADERS_MAX: usize = 64;

/// How long requests in flight may still take when the daemon stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// Serves accounts over TCP until `stop` holds true or its sender is gone, then lets requests in flight end.
pub async fn serve_tcp(listener: TcpListener, context: Context, stop: watch::Receiver<bool>) {
    let app = App { context, local: false, stop: stop.clone() };
    accept(router(app), stop, listener).await;
}

/// Serves the tool over the Unix socket until `stop`, then removes the socket.
pub async fn serve_unix(listener: UnixListener, context: Context, stop: watch::Receiver<bool>) {
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    let app = App { context, local: true, stop: stop.clone() };
    accept(router(app), stop, listener).await;
    if let Some(path) = path {
        _ = std::fs::remove_file(path);
    }
}

/// Opens the tool's socket, mode 0660. A socket that a dead daemon left is removed; a living daemon's is an error.
pub fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            let why = format!("{} exists and is not a socket", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
            Ok(_) => {
                let why = format!("another daemon serves {}", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Who is at the other end of a connection, as the kernel knows it: each request carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// A process of root, on the tool's socket.
    pub is_root: bool,
}

/// A face's door.
trait Door: Send {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&mut self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;
}

impl Door for TcpListener {
    type Io = TcpStream;
    async fn next(&mut self) -> io::Result<(TcpStream, Peer)> {
        let (socket, _) = self.accept().await?;
        // Small answers and events go out at once.
        socket.set_nodelay(true)?;
        Ok((socket, Peer { is_root: false }))
    }
}

impl Door for UnixListener {
    type Io = UnixStream;
    async fn next(&mut self) -> io::Result<(UnixStream, Peer)> {
        let (socket, _) = self.accept().await?;
        let is_root = socket.peer_cred()?.uid() == 0;
        Ok((socket, Peer { is_root }))
    }
}

async fn accept(router: Router, mut stop: watch::Receiver<bool>, mut door: impl Door) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let for_each = stop.clone();
    loop {
        // Full: the next one waits in the kernel's backlog, which is bounded, until one leaves.
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
            () = stopped(&mut stop) => break,
        };
        tokio::select! {
            accepted = door.next() => match accepted {
                Ok((io, peer)) => {
                    let (router, stop) = (router.clone(), for_each.clone());
                    connections.spawn(async move {
                        serve(io, peer, router, stop).await;
                        drop(place);
                    });
                }
                // Out of descriptors, or the peer is gone already: not a reason to spin or to stop.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            () = stopped(&mut stop) => break,
        }
        while connections.try_join_next().is_some() {}
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    _ = tokio::time::timeout(DRAIN_WITHIN, drained).await;
}

async fn serve<IO>(io: IO, peer: Peer, router: Router, mut stop: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Impatient::new(io)), service);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong with a connection is its peer's doing, and its peer knows.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    _ = connection.await;
}

/// Waits for the end of the daemon: `stop` holds true, or nobody is left who could set it.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    _ = stop.wait_for(|stop| *stop).await;
}

/// A socket that gives up when the peer takes nothing for [`STALL_MAX`].
struct Impatient<IO> {
    io: IO,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<IO> Impatient<IO> {
    fn new(io: IO) -> Self {
        Self { io, stalled: None }
    }

    fn judge<T>(&mut self, cx: &mut task::Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL_MAX)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Impatient<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Impatient<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, from);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, from);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
