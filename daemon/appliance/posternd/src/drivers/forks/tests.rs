//! Forks against WebSocket servers that listen, hang, close and lie.

use std::{
    sync::mpsc::SyncSender,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use postern_types::{
    AccountSid, CallSid, Secret, StreamSid,
    recording::{Coding, Listener, TAPPED_MAX, Track},
};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use super::*;

const TAP: TapId = TapId(1);

struct Scene {
    forks: Forks,
    copies: SyncSender<Tapped>,
    told: mpsc::UnboundedReceiver<DriverInput>,
    server: TcpListener,
}

impl Scene {
    async fn new() -> Self {
        let (copies, tapped) = std::sync::mpsc::sync_channel(4096);
        let (report, told) = mpsc::unbounded_channel();
        let forks = Forks::start(tapped, Arc::new(move |input| drop(report.send(input))));
        Self { forks, copies, told, server: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn start(&self, path: &str) {
        let url = format!("ws://{}{path}", self.server.local_addr().unwrap());
        let setup = ForkSetup {
            stream: StreamSid(7),
            account: Some(AccountSid(1)),
            call: CallSid(2),
            url: Secret::new(url.into()),
            headers: vec![("X-Twilio-Signature", Secret::new("signed".into()))],
            inbound: true,
            outbound: false,
            parameters: Vec::new(),
        };
        self.forks.command(ForkCommand::Start(TAP, Box::new(setup)));
    }

    async fn accept(&self) -> WebSocketStream<TcpStream> {
        accept_async(self.server.accept().await.unwrap().0).await.unwrap()
    }

    fn say(&self, n: u32) {
        let copy = Tapped {
            to: Listener::Fork,
            tap: TAP,
            at: Instant::now(),
            track: Track::Inbound,
            coding: Coding::Ulaw,
            ssrc: 1,
            timestamp: n * 160,
            lost: 0,
            len: 160,
            room: [n as u8; TAPPED_MAX],
        };
        self.copies.send(copy).unwrap();
    }

    async fn told(&mut self) -> ForkEvent {
        match tokio::time::timeout(Duration::from_secs(20), self.told.recv()).await {
            Ok(Some(DriverInput::Fork(event))) => event,
            other => panic!("{other:?}"),
        }
    }

    /// How it ended, and packets sent and lost.
    async fn ended(&mut self) -> (ForkEnd, u64, u64) {
        match self.told().await {
            ForkEvent::Ended { why, sent, lost, .. } => (why, sent, lost),
            other => panic!("{other:?}"),
        }
    }
}

/// The events of all messages that come until the end.
async fn events(server: &mut WebSocketStream<TcpStream>) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(Ok(Message::Text(text))) = server.next().await {
        let message: Value = serde_json::from_str(&text).unwrap();
        events.push(message["event"].as_str().unwrap().to_owned());
    }
    events
}

#[tokio::test]
async fn what_is_said_arrives_until_it_is_stopped() {
    let mut scene = Scene::new().await;
    scene.start("/ear?key=k");
    let mut server = scene.accept().await;
    assert_eq!(scene.told().await, ForkEvent::Started { tap: TAP });
    scene.say(1);
    scene.say(2);
    scene.forks.command(ForkCommand::Digit { tap: TAP, digit: '5' });
    scene.forks.command(ForkCommand::Stop(TAP));
    assert_eq!(events(&mut server).await, ["connected", "start", "media", "media", "dtmf", "stop"]);
    assert_eq!(scene.ended().await, (ForkEnd::Stopped, 2, 0));
}

#[tokio::test]
async fn a_server_may_talk_and_close() {
    let mut scene = Scene::new().await;
    scene.start("/");
    let mut server = scene.accept().await;
    scene.told().await;
    for nonsense in ["", "{", "{\"event\":\"media\"}", "\u{0}"] {
        server.send(Message::text(nonsense)).await.unwrap();
    }
    server.send(Message::binary(vec![0xff; 60_000])).await.unwrap();
    server.close(None).await.unwrap();
    assert_eq!(scene.ended().await, (ForkEnd::Closed, 0, 0));
    // A copy that comes late is nobody's, and the next fork is served.
    scene.say(1);
    scene.start("/");
    let _server = scene.accept().await;
    assert_eq!(scene.told().await, ForkEvent::Started { tap: TAP });
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_it() {
    let mut scene = Scene::new().await;
    scene.start("/");
    let mut server = scene.accept().await;
    scene.told().await;
    let _ = server.send(Message::binary(vec![0; 1 << 20])).await;
    let (why, ..) = scene.ended().await;
    assert!(matches!(&why, ForkEnd::Failed(why) if why.contains("too long")), "{why:?}");
}

#[tokio::test]
async fn a_server_that_is_none_is_told_without_its_secrets() {
    let mut scene = Scene::new().await;
    scene.start("/ear?key=secret");
    let (mut stream, _) = scene.server.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 404 Not Found\r\n\r\n").await.unwrap();
    let (why, ..) = scene.ended().await;
    assert!(matches!(&why, ForkEnd::Failed(why) if why.contains("404") && !why.contains("secret")), "{why:?}");
    // Nobody listens any more.
    scene.start("/ear?key=secret");
    let address = scene.server.local_addr().unwrap();
    scene.server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (why, ..) = scene.ended().await;
    let want = address.to_string();
    assert!(matches!(&why, ForkEnd::Failed(why) if !why.contains("secret")), "{why:?}, not of {want}");
}

#[tokio::test]
async fn what_a_server_does_not_take_is_lost_and_counted() {
    let mut scene = Scene::new().await;
    scene.start("/");
    let mut server = scene.accept().await;
    scene.told().await;
    // Far more than waits, between two looks: whatever the server reads, the rest is gone.
    (0..4000).for_each(|n| scene.say(n));
    scene.forks.command(ForkCommand::Stop(TAP));
    let sent = events(&mut server).await.iter().filter(|event| *event == "media").count() as u64;
    let (why, told, lost) = scene.ended().await;
    assert_eq!((why, told, told + lost), (ForkEnd::Stopped, sent, 4000));
    assert!(sent >= WAITING_MAX as u64 && lost > 0, "{sent} {lost}");
}

#[tokio::test]
async fn a_stop_while_connecting_ends_it_in_time() {
    tokio::time::pause();
    let mut scene = Scene::new().await;
    scene.start("/");
    // Accepts, and never answers.
    let _silent = scene.server.accept().await.unwrap();
    scene.forks.command(ForkCommand::Stop(TAP));
    assert!(matches!(scene.ended().await.0, ForkEnd::Failed(_)));
}
