//! The API over real HTTP on loopback, before a switch and a store of the tests' own.

mod fake;

use std::time::Duration;

use fake::{ACCOUNT, Fake, OTHER, TOKEN, record, recording};
use postern_facts::LegResumed;
use postern_types::CallSid;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const FORM: &str = "application/x-www-form-urlencoded";

fn ask(method: Method, url: &str) -> RequestBuilder {
    Client::new().request(method, url).basic_auth(ACCOUNT, Some(TOKEN))
}

fn post(url: &str, form: &'static str) -> RequestBuilder {
    ask(Method::POST, url).header("content-type", FORM).body(form)
}

async fn json(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

#[tokio::test]
async fn a_call_is_made_read_redirected_ended_and_deleted() {
    let fake = Fake::start().await;
    let (status, made) = json(post(&fake.calls_url(), "To=client:bob&From=%2B15550009&Twiml=%3CResponse/%3E")).await;
    assert_eq!((status, made["status"].as_str(), made["to"].as_str()), (201, Some("queued"), Some("client:bob")));
    assert_eq!(made["date_created"], "Tue, 14 Nov 2023 22:13:21 +0000");
    for absent in ["start_time", "end_time", "duration", "price", "parent_call_sid", "forwarded_from"] {
        assert!(made.get(absent).is_some_and(Value::is_null), "{absent} must be there and null");
    }
    let url = format!("{}{}", fake.url, made["uri"].as_str().unwrap());
    let bare = url.strip_suffix(".json").unwrap();
    assert_eq!(json(ask(Method::GET, bare)).await, (200, made.clone()));
    assert_eq!(json(post(&url, "Url=http://127.0.0.1:1/next&Method=GET")).await.0, 200);

    let (status, refused) = json(ask(Method::DELETE, &url)).await;
    assert_eq!((status, refused["code"].as_u64()), (409, Some(20009)));
    let (status, over) = json(post(&url, "Status=completed")).await;
    assert_eq!((status, over["status"].as_str()), (200, Some("completed")));
    assert_eq!(over["end_time"], "Tue, 14 Nov 2023 22:13:26 +0000");
    let (status, refused) = json(post(&url, "Status=completed")).await;
    assert_eq!((status, refused["code"].as_u64()), (400, Some(21220)));

    let gone = ask(Method::DELETE, &url).send().await.unwrap();
    assert_eq!((gone.status(), gone.text().await.unwrap().as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(json(ask(Method::GET, &url)).await.0, 404);
}

#[tokio::test]
async fn credentials_are_asked_for_and_others_calls_are_invisible() {
    let fake = Fake::start().await;
    let mut foreign = record(7, 1_600_000_000, "in-progress");
    foreign.account = Some(OTHER);
    let mut over = record(8, 1_600_000_000, "completed");
    over.account = Some(OTHER);
    fake.world().live.push(foreign);
    fake.world().finished.push(over);

    let wrong = Client::new().get(fake.calls_url()).basic_auth(ACCOUNT, Some("wrong"));
    let none = Client::new().get(fake.calls_url());
    for request in [wrong, none] {
        let (status, body) = json(request).await;
        assert_eq!((status, body["code"].as_u64(), body["status"].as_u64()), (401, Some(20003), Some(401)));
        assert_eq!(body["message"], "Authenticate");
    }
    assert_eq!(json(ask(Method::GET, &fake.calls_url())).await.1["calls"], serde_json::json!([]));
    for sid in [CallSid(7), CallSid(8), CallSid(9)] {
        let url = fake.calls_url().replace("Calls.json", &format!("Calls/{sid}.json"));
        for request in [ask(Method::GET, &url), ask(Method::DELETE, &url), post(&url, "Status=completed")] {
            let (status, body) = json(request).await;
            assert_eq!((status, body["code"].as_u64()), (404, Some(20404)), "{sid}");
        }
    }
    let theirs = fake.calls_url().replace(&ACCOUNT.to_string(), &OTHER.to_string());
    assert_eq!(json(ask(Method::GET, &theirs)).await.0, 404);
    let world = fake.world();
    assert_eq!((world.live.len(), world.finished.len()), (1, 1));
}

#[tokio::test]
async fn errors_have_the_shape_that_clients_read() {
    let fake = Fake::start().await;
    let calls = fake.calls_url();
    let big = Box::leak(format!("To=a&From=b&Twiml={}", "x".repeat(70_000)).into_boxed_str());
    let json_body = ask(Method::POST, &calls).header("content-type", "application/json").body("{}");
    for (request, status, code) in [
        (ask(Method::PUT, &calls), 405, 20004),
        (ask(Method::GET, &format!("{}/2010-04-01/Nothing", fake.url)), 404, 20404),
        (ask(Method::GET, &format!("{}/v1/status", fake.url)), 404, 20404),
        (ask(Method::GET, &calls.replace("Calls.json", "Calls/CA1.json")), 404, 20404),
        (post(&calls, "From=b&Url=http://127.0.0.1/"), 400, 21201),
        (post(&calls, "To=nobody&From=b&Url=http://127.0.0.1/"), 400, 21211),
        (post(&calls, big), 413, 20413),
        (json_body, 415, 20415),
        (ask(Method::GET, &format!("{calls}?Status=gone")), 400, 20001),
        (ask(Method::GET, &format!("{}/v1/events?colour=red", fake.url)), 400, 20001),
    ] {
        let told = format!("{request:?}");
        let (got, body) = json(request).await;
        assert_eq!(
            (got, body["code"].as_u64(), body["status"].as_u64()),
            (status, Some(code), Some(status.into())),
            "{told}"
        );
        assert!(body["message"].is_string() && body.get("more_info").is_some(), "{body}");
    }
}

#[tokio::test]
async fn pages_go_forward_and_back_and_hold_still_while_calls_come_and_go() {
    let fake = Fake::start().await;
    for n in 1..=7u64 {
        let state = if n > 5 { "in-progress" } else { "completed" };
        let mut world = fake.world();
        let list = if n > 5 { &mut world.live } else { &mut world.finished };
        list.push(record(n.into(), 1_600_000_000 + n, state));
    }
    // One that is ending: still among the live ones, and stored already. The finished record counts.
    fake.world().finished.push(record(6, 1_600_000_006, "completed"));
    let sids = |page: &Value| -> Vec<u128> {
        let calls = page["calls"].as_array().unwrap();
        calls.iter().map(|call| call["sid"].as_str().unwrap().parse::<CallSid>().unwrap().0).collect()
    };
    let page = async |uri: &Value| {
        let (status, page) = json(ask(Method::GET, &format!("{}{}", fake.url, uri.as_str().unwrap()))).await;
        assert_eq!(status, 200, "{page}");
        page
    };
    let (_, first) = json(ask(Method::GET, &format!("{}?PageSize=3&From=%2B15550001", fake.calls_url()))).await;
    assert_eq!((sids(&first), &first["calls"][1]["status"]), (vec![7, 6, 5], &Value::from("completed")));
    assert_eq!((first["page"].as_u64(), first["start"].as_u64(), first["end"].as_u64()), (Some(0), Some(0), Some(2)));
    assert!(first["previous_page_uri"].is_null());

    fake.world().live.push(record(99, 1_600_000_099, "queued"));
    fake.world().finished.retain(|record| record.sid != CallSid(5));
    let second = page(&first["next_page_uri"]).await;
    assert_eq!((sids(&second), second["start"].as_u64()), (vec![4, 3, 2], Some(3)));
    let third = page(&second["next_page_uri"]).await;
    assert_eq!(sids(&third), [1]);
    assert!(third["next_page_uri"].is_null());
    let back = page(&third["previous_page_uri"]).await;
    assert_eq!(sids(&back), [4, 3, 2]);
    let front = page(&back["previous_page_uri"]).await;
    assert_eq!(sids(&front), [99, 7, 6]);
    assert!(front["previous_page_uri"].is_null());
    assert_eq!(sids(&page(&front["next_page_uri"]).await), [4, 3, 2]);
    let keys: Vec<_> = front.as_object().unwrap().keys().map(String::as_str).collect();
    let want =
        ["calls", "end", "first_page_uri", "next_page_uri", "page", "page_size", "previous_page_uri", "start", "uri"];
    assert_eq!(keys, want);
}

#[tokio::test]
async fn lists_are_filtered() {
    let fake = Fake::start().await;
    // 2020-09-13T12:26:40Z and a day later.
    fake.world().finished.push(record(1, 1_600_000_000, "completed"));
    fake.world().finished.push(record(2, 1_600_086_400, "busy"));
    let mut child = record(3, 1_600_086_401, "ringing");
    (child.parent, child.to) = (Some(CallSid(1)), "client:bob".into());
    fake.world().live.push(child);
    for (filter, want) in [
        ("", vec![3, 2, 1]),
        ("Status=busy", vec![2]),
        ("To=client:bob", vec![3]),
        ("ParentCallSid=CA00000000000000000000000000000001", vec![3]),
        ("StartTime=2020-09-13", vec![1]),
        ("StartTime=2020-09-14T00:00:00Z", vec![3, 2]),
        ("StartTime%3E=2020-09-14", vec![3, 2]),
        ("StartTime%3C=2020-09-14", vec![1]),
        ("StartTime%3E=2020-09-13&StartTime%3C=2020-09-14", vec![1]),
        ("EndTime=2020-09-14", vec![2]),
        ("From=nobody", vec![]),
    ] {
        let (_, page) = json(ask(Method::GET, &format!("{}?{filter}", fake.calls_url()))).await;
        let calls = page["calls"].as_array().unwrap_or_else(|| panic!("{filter}: {page}"));
        let sids: Vec<_> = calls.iter().map(|c| c["sid"].as_str().unwrap().parse::<CallSid>().unwrap().0).collect();
        assert_eq!(sids, want, "{filter}");
    }
}

/// Reads a stream of events until `enough` is in it.
async fn read_until(response: &mut reqwest::Response, enough: &str) -> String {
    let mut text = String::new();
    let reading = async {
        while !text.contains(enough) {
            let piece = response.chunk().await.unwrap().expect("the stream goes on");
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the stream says so in time");
    text
}

#[tokio::test]
async fn an_account_follows_its_own_events_and_resumes() {
    let fake = Fake::start().await;
    let url = format!("{}/v1/events?type=leg.*", fake.url);
    assert_eq!(json(Client::new().get(&url)).await.0, 401);
    let mut stream = ask(Method::GET, &url).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert!(read_until(&mut stream, "\n\n").await.starts_with("retry: 2000\n"));
    fake.tell(Some(OTHER), Some(CallSid(1)), LegResumed {});
    fake.tell(None, None, LegResumed {});
    let third = fake.tell(Some(ACCOUNT), Some(CallSid(2)), LegResumed {});
    let text = read_until(&mut stream, "\n\n").await;
    assert!(text.starts_with(&format!("id: {third}\nevent: leg.resumed\ndata: {{\"seq\":3,")), "{text}");
    drop(stream);

    fake.tell(Some(ACCOUNT), Some(CallSid(4)), LegResumed {});
    let mut stream = ask(Method::GET, &url).header("last-event-id", "3").send().await.unwrap();
    let text = read_until(&mut stream, "data:").await;
    assert!(text.contains("id: 4\n") && !text.contains("id: 3\n"), "{text}");

    let once = format!("{}/v1/events?last_event_id=0&follow=false&call={}", fake.url, CallSid(2));
    let text = ask(Method::GET, &once).send().await.unwrap().text().await.unwrap();
    assert_eq!(text.matches("data:").count(), 1, "{text}");
    let tail = format!("{}/v1/events?tail=1&follow=false", fake.url);
    let text = ask(Method::GET, &tail).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("id: 4\n") && !text.contains("id: 3\n"), "{text}");
}

#[tokio::test]
async fn what_is_lost_is_told_and_the_stream_ends_with_the_daemon() {
    let fake = Fake::start().await;
    let mut stream = ask(Method::GET, &format!("{}/v1/events?last_event_id=0", fake.url)).send().await.unwrap();
    fake.tell(Some(ACCOUNT), None, LegResumed {});
    read_until(&mut stream, "id: 1\n").await;
    // Two numbers never reach the hub.
    let skipped = postern_facts::Event {
        seq: 4,
        id: postern_types::id::EventSid(4),
        at: postern_types::UnixMicros(4),
        subject: postern_facts::Subject { account: Some(ACCOUNT), ..Default::default() },
        fact: LegResumed {}.into(),
    };
    fake.feed.push(std::sync::Arc::new(postern_facts::Written::of(&skipped)));
    let text = read_until(&mut stream, "id: 4\n").await;
    assert!(text.contains("id: 3\nevent: gap\ndata: {\"from\":2,\"to\":3,"), "{text}");
    fake.stop.send(true).unwrap();
    let end = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), end).await.expect("the stream ends");
}

#[tokio::test]
async fn a_reader_that_does_not_read_delays_nobody() {
    let fake = Fake::start().await;
    let mut lazy = TcpStream::connect(fake.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "GET /v1/events?last_event_id=0 HTTP/1.1\r\nhost: x\r\nauthorization: Basic ";
    let proof = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("{ACCOUNT}:{TOKEN}"));
    lazy.write_all(format!("{head}{proof}\r\n\r\n").as_bytes()).await.unwrap();
    let mut first = [0; 16];
    lazy.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK\r");

    let mut brisk = ask(Method::GET, &format!("{}/v1/events", fake.url)).send().await.unwrap();
    let mut newest = fake.context.hub.newest();
    for round in 1..=20u64 {
        for _ in 0..1000 {
            fake.tell(Some(ACCOUNT), Some(CallSid(1)), LegResumed {});
        }
        newest.wait_for(|last| *last == round * 1000).await.unwrap();
    }
    read_until(&mut brisk, "id: 20000\n").await;
    assert_eq!((fake.context.hub.overflowed(), fake.context.hub.readers()), (0, 2));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let fake = Fake::start().await;
    let mut socket = TcpStream::connect(fake.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}", "x".repeat(100_000));
    _ = socket.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    _ = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await.expect("it is closed");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
}

#[tokio::test]
async fn metrics_and_health_need_no_credentials() {
    let fake = Fake::start().await;
    let text = reqwest::get(format!("{}/metrics", fake.url)).await.unwrap().text().await.unwrap();
    assert!(text.contains("\npostern_calls_live 0"), "{text}");
    let text = reqwest::get(format!("{}/healthz", fake.url)).await.unwrap().text().await.unwrap();
    assert_eq!(text, "ok\n");
}

#[tokio::test]
async fn a_trace_is_for_the_tools_socket_and_its_secrets_are_for_root() {
    let fake = Fake::start().await;
    let call = CallSid(7);
    assert_eq!(json(ask(Method::GET, &format!("{}/v1/trace/{call}", fake.url))).await.0, 404, "not over TCP");

    let path = std::env::temp_dir().join(format!("postern-api-trace-{}.sock", std::process::id()));
    let socket = postern_api::bind_unix(&path).unwrap();
    tokio::spawn(postern_api::serve_unix(socket, fake.context.clone(), fake.stop.subscribe()));
    let client = Client::builder().unix_socket(path.clone()).build().unwrap();
    let get = |path: String| json(client.get(format!("http://postern{path}")));
    let (status, told) = get(format!("/v1/trace/{call}")).await;
    assert_eq!((status, told["messages"][0]["way"].as_str()), (200, Some("in")));
    assert!(told["messages"][0]["text"].as_str().unwrap().contains("response=\"******\""), "{told}");
    assert_eq!((told["messages"][0]["base64"].as_str(), told["messages"][1]["base64"].is_string()), (None, true));
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    let (status, told) = get(format!("/v1/trace/{call}?secrets=true")).await;
    assert_eq!(status, if root { 200 } else { 403 }, "{told}");
    assert_eq!(told.to_string().contains("5ec7e7"), root, "{told}");
    let (status, told) = get(format!("/v1/trace/{}", CallSid(8))).await;
    assert!(status == 404 && told["message"].as_str().unwrap().contains("trace.calls"), "{told}");
    assert_eq!(get("/v1/trace".into()).await.1["last"], 9);
    assert_eq!(get("/v1/trace?after=x".into()).await.0, 400);
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn bans_and_waiting_messages_are_shown_and_changed_by_the_tools_socket() {
    let fake = Fake::start().await;
    assert_eq!(json(ask(Method::GET, &format!("{}/v1/bans", fake.url))).await.0, 404, "not over TCP");
    let path = std::env::temp_dir().join(format!("postern-api-bans-{}.sock", std::process::id()));
    let socket = postern_api::bind_unix(&path).unwrap();
    tokio::spawn(postern_api::serve_unix(socket, fake.context.clone(), fake.stop.subscribe()));
    let client = Client::builder().unix_socket(path.clone()).build().unwrap();
    let (status, told) = json(client.get("http://postern/v1/bans")).await;
    assert_eq!((status, told["bans"][0]["source"].as_str()), (200, Some("2001:db8::/64")));
    for (asked, status) in [("", 400), ("?user=bob", 404), ("?user=alice", 200)] {
        assert_eq!(json(client.get(format!("http://postern/v1/messages{asked}"))).await.0, status, "{asked}");
    }
    for (asked, status) in [("new=2&new_urgent=1", 200), ("new=-1", 400), ("new=1000001", 400), ("old=many", 400)] {
        let (code, told) = json(client.post(format!("http://postern/v1/messages?user=alice&{asked}"))).await;
        assert_eq!(code, status, "{asked}");
        if status == 200 {
            assert_eq!(told["messages"].to_string(), r#"{"new":2,"new_urgent":1,"old":0,"old_urgent":0}"#);
        }
    }
    for (source, status) in [("2001:db8::/64", 200), ("203.0.113.9", 404), ("nobody", 400), ("", 400)] {
        let lift = client.post(format!("http://postern/v1/bans/lift?source={source}"));
        assert_eq!(json(lift).await.0, status, "{source}");
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_recording_is_begun_paused_stopped_listed_heard_and_deleted() {
    let fake = Fake::start().await;
    fake.world().live.push(record(7, 1_600_000_000, "in-progress"));
    let of_call = fake.calls_url().replace("Calls.json", &format!("Calls/{}/Recordings", CallSid(7)));
    let (status, made) = json(post(&format!("{of_call}.json"), "RecordingChannels=dual")).await;
    assert_eq!((status, made["status"].as_str(), made["channels"].as_u64()), (201, Some("in-progress"), Some(2)));
    assert_eq!((made["duration"].as_str(), made["call_sid"].as_str()), (Some("-1"), Some(&*CallSid(7).to_string())));
    let sid = made["sid"].as_str().unwrap();
    let url = format!("{of_call}/{sid}.json");
    let (status, refused) = json(ask(Method::DELETE, &url)).await;
    assert_eq!((status, refused["code"].as_u64()), (409, Some(20009)));
    let paused = post(&format!("{of_call}/Twilio.CURRENT.json"), "Status=paused&PauseBehavior=skip");
    assert_eq!(json(paused).await.1["status"], "paused");
    assert_eq!(json(post(&url, "Status=over")).await.0, 400);
    assert_eq!(json(post(&url, "Status=stopped")).await.1["status"], "completed");
    let (status, refused) = json(post(&url, "Status=paused")).await;
    assert_eq!((status, refused["code"].as_u64()), (400, Some(21220)));

    let all = fake.calls_url().replace("Calls.json", "Recordings.json");
    for number in 0..4 {
        fake.world().recordings.push(recording(number, CallSid(8), "completed"));
    }
    let (_, page) = json(ask(Method::GET, &format!("{all}?PageSize=3"))).await;
    assert_eq!(page["recordings"].as_array().unwrap().len(), 3);
    assert_eq!(page["recordings"][0]["sid"], sid);
    let (_, rest) = json(ask(Method::GET, &format!("{}{}", fake.url, page["next_page_uri"].as_str().unwrap()))).await;
    assert_eq!((rest["recordings"].as_array().unwrap().len(), rest["next_page_uri"].is_null()), (2, true));
    let (_, of_one) = json(ask(Method::GET, &format!("{all}?CallSid={}", CallSid(8)))).await;
    assert_eq!(of_one["recordings"].as_array().unwrap().len(), 4);

    let path = std::env::temp_dir().join(format!("postern-api-audio-{}", std::process::id()));
    let sound = vec![7; 600_000];
    std::fs::write(&path, &sound).unwrap();
    fake.world().audio = Some(path.clone());
    let media = format!("{}{}", fake.url, made["media_url"].as_str().unwrap());
    let heard = ask(Method::GET, &media).send().await.unwrap();
    assert_eq!(heard.headers()["content-type"], "audio/wav");
    assert_eq!(heard.bytes().await.unwrap(), sound);
    std::fs::remove_file(path).unwrap();
    assert_eq!(json(ask(Method::GET, &media)).await.0, 404);
    assert_eq!(json(ask(Method::GET, &url)).await.1["duration"], "2");
    let other = url.replace(&CallSid(7).to_string(), &CallSid(8).to_string());
    assert_eq!(json(ask(Method::GET, &other)).await.0, 404);
    let stranger = Client::new().get(&media).basic_auth(OTHER, Some("token-of-two"));
    assert_eq!(stranger.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(ask(Method::DELETE, &url).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(json(ask(Method::GET, &url)).await.0, 404);
    let gone = fake.calls_url().replace("Calls.json", &format!("Calls/{}/Recordings.json", CallSid(99)));
    assert_eq!(json(post(&gone, "")).await.0, 404);
}
