//! One connection: its task, and the switch's end of it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use postern_config::Dscp;
use postern_signaling::Connect;
use postern_types::ConnectionId;
use postern_uring::mark;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    time::timeout,
};

use super::{News, Post, tls::Client};

/// Bytes that wait for a slow peer at most: some hundred messages. The connection is closed beyond.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// What each message that waits costs besides its bytes.
const MESSAGE_COST: usize = 64;
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long the peer may take none of what is written, and how long a goodbye may take.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);
/// How long a peer may take to accept and shake hands.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that the kernel keeps for a connection each way. Left alone it would grow them to megabytes, for every stranger that reads nothing.
const KERNEL_BYTES: usize = 128 * 1024;

/// Silent connections are tried by the kernel: a peer that lost its power is noticed within two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// The switch's end. Dropped, it ends the connection when what waits is written.
pub struct Line {
    orders: mpsc::UnboundedSender<Order>,
    waiting: Arc<AtomicUsize>,
}

/// What the switch wants of a connection.
pub enum Order {
    /// Go on with one that was accepted.
    Admit,
    /// Write this.
    Send(Vec<u8>),
}

/// The task's end.
pub struct Orders {
    orders: mpsc::UnboundedReceiver<Order>,
    waiting: Arc<AtomicUsize>,
}

impl Line {
    pub fn new() -> (Self, Orders) {
        // Bounded all the same, in bytes: see [`Line::send`].
        let (sender, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        (Self { orders: sender, waiting: waiting.clone() }, Orders { orders: receiver, waiting })
    }

    pub fn order(&self, order: Order) {
        // A task that has ended says so in a letter of its own.
        let _ = self.orders.send(order);
    }

    /// False when the peer is too slow.
    pub fn send(&self, bytes: Vec<u8>) -> bool {
        let cost = bytes.len() + MESSAGE_COST;
        if self.waiting.fetch_add(cost, Ordering::Relaxed) + cost > WAITING_BYTES_MAX {
            return false;
        }
        self.order(Order::Send(bytes));
        true
    }
}

impl Orders {
    /// Whether the switch admits an accepted connection.
    pub async fn admitted(&mut self) -> bool {
        matches!(self.orders.recv().await, Some(Order::Admit))
    }

    /// The next bytes to write; none when the connection is to end.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.orders.recv().await? {
                Order::Admit => {}
                Order::Send(bytes) => return Some(bytes),
            }
        }
    }

    /// Those bytes were written.
    pub fn written(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes + MESSAGE_COST, Ordering::Relaxed);
    }
}

/// What every TCP socket gets.
pub fn prepare(stream: &TcpStream) {
    let alive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(4);
    let socket = SockRef::from(stream);
    // All are for comfort: a connection without them works.
    let _ = stream.set_nodelay(true);
    let _ = socket.set_tcp_keepalive(&alive);
    let _ = socket.set_send_buffer_size(KERNEL_BYTES);
    let _ = socket.set_recv_buffer_size(KERNEL_BYTES);
}

/// Makes a connection and serves it.
pub async fn connect(
    id: ConnectionId,
    (connect, dscp): (Connect, Dscp),
    tls: Option<Result<Client, String>>,
    post: Post,
    mut orders: Orders,
) {
    let why = match timeout(HANDSHAKE_PATIENCE, dial(&connect, dscp)).await {
        Err(_) => format!("{} does not answer", connect.remote),
        Ok(Err(error)) => format!("{}: {error}", connect.remote),
        Ok(Ok(stream)) => match tls {
            None => match post.send(id, News::Connected).await {
                true => serve(id, stream, &post, &mut orders).await,
                false => return,
            },
            Some(Err(why)) => why,
            Some(Ok(client)) => match timeout(HANDSHAKE_PATIENCE, client.shake_hands(stream)).await {
                Err(_) => format!("{} does not shake hands", connect.remote),
                Ok(Err(error)) => format!("TLS with {}: {error}", connect.remote),
                Ok(Ok(stream)) => match post.send(id, News::Connected).await {
                    true => serve(id, stream, &post, &mut orders).await,
                    false => return,
                },
            },
        },
    };
    post.send(id, News::Closed(why.into())).await;
}

async fn dial(connect: &Connect, dscp: Dscp) -> std::io::Result<TcpStream> {
    let socket = if connect.remote.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    mark(&SockRef::from(&socket), connect.remote.is_ipv6(), dscp.code())?;
    socket.bind(SocketAddr::new(connect.from, 0))?;
    let stream = socket.connect(connect.remote).await?;
    prepare(&stream);
    Ok(stream)
}

/// Moves bytes until either side ends it; why it ended.
pub async fn serve<S: AsyncRead + AsyncWrite>(id: ConnectionId, stream: S, post: &Post, orders: &mut Orders) -> String {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return "the peer closed it".to_owned(),
                Ok(read) => {
                    if !post.send(id, News::Received(buffer[..read].to_vec())).await {
                        return "the daemon stops".to_owned();
                    }
                }
                Err(error) => return error.to_string(),
            }
        }
    };
    let write = async {
        while let Some(bytes) = orders.next().await {
            let length = bytes.len();
            match timeout(WRITE_PATIENCE, async {
                writer.write_all(&bytes).await?;
                writer.flush().await
            })
            .await
            {
                Ok(Ok(())) => orders.written(length),
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "the peer takes nothing".to_owned(),
            }
        }
        let _ = timeout(WRITE_PATIENCE, writer.shutdown()).await;
        "closed from here".to_owned()
    };
    tokio::select! {
        why = read => why,
        why = write => why,
    }
}
