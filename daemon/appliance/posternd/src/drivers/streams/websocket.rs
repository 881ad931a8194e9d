//! SIP over WebSocket (RFC 7118): the handshake with its subprotocol and origin, and one message a frame.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use postern_types::ConnectionId;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::{HeaderValue, StatusCode, header},
        protocol::WebSocketConfig,
    },
};

use super::{
    News, Post,
    line::{HANDSHAKE_PATIENCE, Orders},
};

/// Bytes of one message at most: what the signaling plane takes.
const MESSAGE_BYTES_MAX: usize = 65_535;
/// How long the peer may take none of what is written.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);
/// RFC 7118 4.1: the subprotocol.
const SUBPROTOCOL: &str = "sip";

/// Shakes hands and moves messages until either side ends it; why it ended.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    id: ConnectionId,
    stream: S,
    origins: &[String],
    post: &Post,
    orders: &mut Orders,
) -> String {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .max_write_buffer_size(4 * MESSAGE_BYTES_MAX);
    #[allow(clippy::result_large_err, reason = "the error is the library's")]
    let look = |request: &Request, response: Response| admit(request, response, origins);
    let shaken = timeout(HANDSHAKE_PATIENCE, accept_hdr_async_with_config(stream, look, Some(config))).await;
    match shaken {
        Err(_) => "no WebSocket handshake in time".to_owned(),
        Ok(Err(error)) => format!("WebSocket: {error}"),
        Ok(Ok(socket)) => {
            post.send(id, News::Connected).await;
            carry(id, socket, post, orders).await
        }
    }
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    id: ConnectionId,
    mut socket: WebSocketStream<S>,
    post: &Post,
    orders: &mut Orders,
) -> String {
    loop {
        tokio::select! {
            came = socket.next() => {
                let bytes = match came {
                    Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                    Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
                    // The library answers pings by itself.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                    Some(Ok(Message::Close(_))) | None => return "the peer closed it".to_owned(),
                    Some(Err(error)) => return format!("WebSocket: {error}"),
                };
                if !post.send(id, News::Received(bytes)).await {
                    return "the daemon stops".to_owned();
                }
            }
            order = orders.next() => {
                let Some(bytes) = order else {
                    let _ = timeout(WRITE_PATIENCE, socket.close(None)).await;
                    return "closed from here".to_owned();
                };
                let length = bytes.len();
                // Bodies of other charsets are not for text frames.
                let message = match String::from_utf8(bytes) {
                    Ok(text) => Message::text(text),
                    Err(error) => Message::binary(error.into_bytes()),
                };
                match timeout(WRITE_PATIENCE, socket.send(message)).await {
                    Ok(Ok(())) => orders.written(length),
                    Ok(Err(error)) => return format!("WebSocket: {error}"),
                    Err(_) => return "the peer takes nothing".to_owned(),
                }
            }
        }
    }
}

/// Only who speaks SIP, and only web pages that are listed. Who sends no Origin is no browser: a list cannot keep those out.
#[allow(clippy::result_large_err, reason = "the error is the library's")]
fn admit(request: &Request, mut response: Response, origins: &[String]) -> Result<Response, ErrorResponse> {
    let refuse = |status: StatusCode, why: &str| {
        let mut refusal = ErrorResponse::new(Some(why.to_owned()));
        *refusal.status_mut() = status;
        Err(refusal)
    };
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = offered.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    if !offered.any(|protocol| protocol.trim().eq_ignore_ascii_case(SUBPROTOCOL)) {
        return refuse(StatusCode::BAD_REQUEST, "the subprotocol is sip\n");
    }
    let origin = request.headers().get(header::ORIGIN).map(HeaderValue::as_bytes);
    let listed = |origin: &[u8]| origins.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin));
    if !origins.is_empty() && origin.is_some_and(|origin| !listed(origin)) {
        return refuse(StatusCode::FORBIDDEN, "not from this web page\n");
    }
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}
