//! One server: connect, say what comes, send it, say goodbye.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use postern_types::fork::{ForkEnd, ForkSetup};
use reqwest::Url;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue},
        protocol::WebSocketConfig,
    },
};

use super::{
    Item,
    messages::{Messages, Unread},
};
use crate::drivers::streams::tls::Clients;

/// Until the server has taken the WebSocket: name, TCP, TLS and handshake together.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the server may take none of what is written.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take for what is left, and its goodbye, once the fork is to end.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How long its own goodbye is waited for.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of a message of the server's at most.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes that the kernel keeps for a server that does not read: some ten messages.
const SEND_BUFFER: usize = 8 << 10;
/// Bytes that wait to be written at most: some twenty messages.
const WRITE_BUFFER: usize = 8 << 10;
/// Bytes that are read of a server each [`READ_EVERY`]: 1.6 MB a second. More waits on its side.
const READ_BUDGET: usize = 32 << 10;
/// See above.
const READ_EVERY: Duration = Duration::from_millis(20);
/// What a message costs of the budget beside its bytes: who sends empty ones is held too.
const MESSAGE_COST: usize = 256;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Packets whose audio was sent.
    pub sent: u64,
    /// Packets that media workers could not copy.
    pub lost: u64,
    /// Packets that were nothing of their codec.
    pub unread: u64,
}

/// Serves a fork until `stopped` resolves, or the server ends it; `started` is called when the server took the connection.
pub(super) async fn run(
    setup: &ForkSetup,
    items: mpsc::Receiver<Item>,
    stopped: oneshot::Receiver<()>,
    started: impl FnOnce(),
) -> (ForkEnd, Figures) {
    let mut figures = Figures::default();
    let overdue = async {
        // Nobody sends: the other end is dropped when the fork is to end.
        let _ = stopped.await;
        sleep(END_WITHIN).await;
    };
    let end = tokio::select! {
        end = connect_and_serve(setup, items, started, &mut figures) => end,
        () = overdue => ForkEnd::Failed("the server did not take the end in time".into()),
    };
    (end, figures)
}

async fn connect_and_serve(
    setup: &ForkSetup,
    items: mpsc::Receiver<Item>,
    started: impl FnOnce(),
    figures: &mut Figures,
) -> ForkEnd {
    let socket = match timeout(CONNECT_WITHIN, connect(setup)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(why)) => return ForkEnd::Failed(why),
        Err(_) => return ForkEnd::Failed(format!("no WebSocket within {} s", CONNECT_WITHIN.as_secs())),
    };
    started();
    match serve(setup, socket, items, figures).await {
        Ok(end) => end,
        Err(why) => ForkEnd::Failed(why),
    }
}

trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Bytes for S {}

type Socket = WebSocketStream<Box<dyn Bytes>>;

async fn connect(setup: &ForkSetup) -> Result<Socket, String> {
    let url = Url::parse(setup.url.expose()).map_err(|error| format!("not a URL: {error}"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or_default();
    let stream = TcpStream::connect((host, port)).await.map_err(|error| format!("{host}:{port}: {error}"))?;
    // A message is small, and late is worse than costly; what a slow server will hear too late is better lost.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
    let stream: Box<dyn Bytes> = if url.scheme() == "wss" {
        let shaken = system_tls()?.of(None, host)?.shake_hands(stream).await;
        Box::new(shaken.map_err(|error| format!("{host}:{port}: TLS: {error}"))?)
    } else {
        Box::new(stream)
    };
    let mut request = url.as_str().into_client_request().map_err(|error| format!("WebSocket: {error}"))?;
    for (name, value) in &setup.headers {
        let value = HeaderValue::from_str(value.expose()).map_err(|_| format!("{name} is no header"))?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name} is no header"))?;
        request.headers_mut().insert(name, value);
    }
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(16 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER);
    let (socket, _) =
        client_async_with_config(request, stream, Some(config)).await.map_err(|error| format!("WebSocket: {error}"))?;
    Ok(socket)
}

/// The system's authorities take some milliseconds to read: once, and only when somebody needs them.
fn system_tls() -> Result<&'static Clients, String> {
    static CLIENTS: OnceLock<Result<Clients, String>> = OnceLock::new();
    CLIENTS.get_or_init(Clients::of_the_system).as_ref().map_err(Clone::clone)
}

async fn serve(
    setup: &ForkSetup,
    mut socket: Socket,
    mut items: mpsc::Receiver<Item>,
    figures: &mut Figures,
) -> Result<ForkEnd, String> {
    let mut messages = Messages::new(setup, Instant::now());
    send(&mut socket, messages.connected()).await?;
    send(&mut socket, messages.start(setup)).await?;
    let (mut budget, mut refill) = (READ_BUDGET, tokio::time::Instant::now() + READ_EVERY);
    loop {
        tokio::select! {
            item = items.recv() => match item {
                Some(Item::Copy(copy)) => {
                    figures.lost = figures.lost.max(copy.lost);
                    match messages.media(&copy) {
                        Ok(Some(message)) => send(&mut socket, message).await?,
                        Ok(None) => {}
                        Err(Unread) => {
                            figures.unread += 1;
                            continue;
                        }
                    }
                    figures.sent += 1;
                }
                Some(Item::Digit(digit)) => send(&mut socket, messages.dtmf(digit)).await?,
                None => break,
            },
            came = socket.next(), if budget > 0 => match came {
                // What it says is nobody's business here, and the library answers pings by itself.
                Some(Ok(message)) if !message.is_close() => {
                    budget = budget.saturating_sub(message.len() + MESSAGE_COST);
                }
                Some(Ok(_)) | None => return Ok(ForkEnd::Closed),
                Some(Err(error)) => return Err(format!("WebSocket: {error}")),
            },
            () = sleep_until(refill), if budget < READ_BUDGET => {
                budget = READ_BUDGET;
                refill = tokio::time::Instant::now() + READ_EVERY;
            }
        }
    }
    send(&mut socket, messages.stop(setup)).await?;
    // What it sent is read to the end: a socket closed over unread bytes resets, and takes our last message with it.
    let goodbye = async {
        let _ = socket.close(None).await;
        while let Some(Ok(_)) = socket.next().await {}
    };
    let _ = timeout(GOODBYE_WITHIN, goodbye).await;
    Ok(ForkEnd::Stopped)
}

async fn send(socket: &mut Socket, text: String) -> Result<(), String> {
    match timeout(WRITE_PATIENCE, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("WebSocket: {error}")),
        Err(_) => Err(format!("the server took nothing for {} s", WRITE_PATIENCE.as_secs())),
    }
}
