//! The client against a server of few words.

use postern_types::RequestId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// Answers by path; returns its address.
async fn server() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let taken = connection.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..taken]).into_owned();
                let line = head.lines().next().unwrap_or_default().to_owned();
                let (status, extra, body) = match line.split([' ', '?']).nth(1).unwrap_or_default() {
                    "/moved" => ("302 Found", "Location: /echo\r\n", String::new()),
                    "/loop" => ("302 Found", "Location: /loop\r\n", String::new()),
                    "/long" => ("200 OK", "", "x".repeat(BODY_MAX + 1)),
                    "/silent" => return std::future::pending().await,
                    _ => ("200 OK", "Content-Type: text/xml\r\n", line.clone()),
                };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\n{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
                let _ = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}

fn request(url: String, method: HttpMethod) -> HttpRequest {
    HttpRequest {
        id: RequestId(1),
        url,
        method,
        headers: Vec::new(),
        form: vec![("To".into(), "+1 &".into())],
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(5),
        follow_redirects: 3,
        purpose: Purpose::Voice,
    }
}

fn client() -> Http {
    super::super::install_crypto();
    Http::start(Arc::new(|_| {}))
}

#[tokio::test]
async fn answers_and_redirects_come_whole() {
    let (http, server) = (client(), server().await);
    let answer = http.perform(&request(format!("{server}/echo"), HttpMethod::Post)).await.unwrap();
    assert_eq!((answer.status, &*answer.content_type), (200, "text/xml"));
    assert_eq!(answer.body, b"POST /echo HTTP/1.1");
    let answer = http.perform(&request(format!("{server}/moved"), HttpMethod::Post)).await.unwrap();
    assert_eq!(answer.body, b"GET /echo HTTP/1.1", "a 302 is followed by GET");
    assert_eq!(answer.final_url, format!("{server}/echo"));
}

#[tokio::test]
async fn failures_have_their_code_and_no_query() {
    let (http, server) = (client(), server().await);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let table = [
        (format!("{server}/long?pin=1234"), 11200),
        (format!("{server}/loop?pin=1234"), 11200),
        (format!("http://{closed}/?pin=1234"), 11205),
        ("http://no-such-host.invalid/?pin=1234".into(), 11210),
        (format!("{}/?pin=1234", server.replace("http:", "https:")), 11220),
        (format!("{server}/silent?pin=1234"), 11235),
        ("ftp://a/?pin=1234".into(), 11200),
    ];
    for (url, code) in table {
        let mut asked = request(url.clone(), HttpMethod::Get);
        if code == 11235 {
            asked.total_timeout = Duration::from_millis(50);
        }
        let failed = http.perform(&asked).await.unwrap_err();
        assert_eq!(failed.code, code, "{url}: {}", failed.why);
        assert!(!failed.why.contains("1234"), "{}", failed.why);
    }
}
