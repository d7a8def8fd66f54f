//! What clients that behave badly get, over real sockets, with limits short enough to wait for.

use std::sync::atomic::AtomicUsize;
use std::time::Instant as Clock;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use super::*;
use crate::http::extract::Body;
use crate::http::trace::{instrument, no_route};

/// How many answers of `/counted` were made, which one test counts.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// An answer that no socket buffer holds.
const LARGE: usize = 24 << 20;

/// Much longer than any limit below, much shorter than a test run.
const PATIENCE: Duration = Duration::from_secs(5);

fn short() -> Limits {
    Limits {
        header_read: Duration::from_millis(200),
        body_read: Duration::from_millis(200),
        idle: Duration::from_millis(900),
        park: Duration::from_millis(250),
        write_stall: Duration::from_millis(300),
        linger: Duration::from_millis(300),
        drain_wait: Duration::from_millis(300),
        drain_total: Duration::from_millis(1_500),
        ..Limits::default()
    }
}

#[derive(Debug, Deserialize)]
struct Wish {
    wish: Option<String>,
}

fn routes() -> impl Fn(Request) -> BoxFuture<'static, Response> + Send + Sync + 'static {
    let routes = Router::new()
        .fallback(async || no_route())
        .route(
            "/",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.ip().to_string() }),
        )
        .route(
            "/order",
            post(|Body(wish): Body<Wish>| async move { wish.wish.unwrap_or_default() }),
        )
        .route(
            "/slow",
            get(async || sleep(Duration::from_millis(600)).await),
        )
        .route("/never", get(std::future::pending::<()>))
        .route(
            "/host",
            get(|headers: axum::http::HeaderMap| async move {
                headers["host"]
                    .clone()
                    .to_str()
                    .unwrap_or_default()
                    .to_owned()
            }),
        )
        .route(
            "/endless",
            get(async || {
                let bytes = futures_util::stream::repeat(Ok::<_, Infallible>("x".repeat(1_000)));
                axum::body::Body::from_stream(bytes)
            }),
        )
        .route(
            "/counted",
            get(async || {
                MADE.fetch_add(1, Ordering::Relaxed);
                vec![b'x'; 100_000]
            }),
        )
        .route("/large", get(async || vec![b'x'; LARGE]));
    move |request| {
        let routes = routes.clone();
        Box::pin(instrument(None, request, async move |request| {
            let Ok(response) = routes.oneshot(request).await;
            response
        }))
    }
}

struct Node {
    address: SocketAddr,
    drain: Drain,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl Node {
    async fn start(limits: Limits) -> Self {
        Self::start_with(None, limits).await
    }

    async fn start_with(certificate: Option<ServerCertificate>, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Drain::default();
        let (stop, stopped) = oneshot::channel();
        let wait = limits.drain_wait;
        let shutdown = async move { stopped.await.map_or(wait, |()| wait) };
        let serving = {
            let drain = drain.clone();
            async move {
                serve(
                    listener,
                    certificate.as_ref(),
                    routes(),
                    limits,
                    drain,
                    shutdown,
                )
                .await
            }
        };
        let task = tokio::spawn(serving);
        Self {
            address,
            drain,
            stop: Some(stop),
            task,
        }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end and returns how long it took.
    async fn ended(self) -> Duration {
        let started = Clock::now();
        timeout(PATIENCE, self.task)
            .await
            .expect("an end")
            .unwrap()
            .unwrap();
        started.elapsed()
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// One answer with its length: the head and the body.
    async fn answer(&mut self) -> (String, String) {
        timeout(PATIENCE, async {
            let mut bytes = Vec::new();
            let head = loop {
                if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                    break at + 4;
                }
                assert_ne!(
                    self.0.read_buf(&mut bytes).await.unwrap(),
                    0,
                    "closed in a head: {bytes:?}"
                );
            };
            let text = String::from_utf8(bytes[..head].to_vec())
                .unwrap()
                .to_lowercase();
            let length: usize = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            while bytes.len() < head + length {
                assert_ne!(
                    self.0.read_buf(&mut bytes).await.unwrap(),
                    0,
                    "closed in a body"
                );
            }
            assert_eq!(bytes.len(), head + length, "more than one answer");
            (text, String::from_utf8(bytes[head..].to_vec()).unwrap())
        })
        .await
        .expect("an answer")
    }

    async fn problem(&mut self, status: u16, code: &str) -> String {
        let (head, body) = self.answer().await;
        assert!(
            head[..head.len().min(12)].ends_with(&format!(" {status}")),
            "{head}{body}"
        );
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}{body}"
        );
        let document: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(document["code"], code);
        assert_eq!(document["status"], status);
        assert!(
            document["title"].is_string()
                && document["type"].is_string()
                && document["detail"].is_string()
        );
        head
    }

    /// Waits until the server closes and returns how long it took; anything else that arrives is a failure.
    async fn closed(&mut self) -> Duration {
        let started = Clock::now();
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest))
            .await
            .expect("a close");
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
        started.elapsed()
    }
}

fn between(low: u64, elapsed: Duration, high: u64) {
    let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
    assert!(
        low <= elapsed && elapsed <= high,
        "{elapsed:?} is not between {low:?} and {high:?}"
    );
}

#[tokio::test]
async fn requests_are_answered_on_a_connection_that_stays() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let (head, body) = client.answer().await;
        assert!(
            head.starts_with("http/1.1 200 ") && !head.contains("connection: close"),
            "{head}"
        );
        assert_eq!(body, "127.0.0.1");
        // Longer than a head may take, shorter than the silence between two requests may be.
        sleep(Duration::from_millis(350)).await;
    }
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_told_so_and_closed() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    let started = Clock::now();
    client.send("GET / HTTP/1.1\r\nx-slow: ").await;
    sleep(Duration::from_millis(100)).await;
    // A byte now and then does not prolong it.
    client.send("y").await;
    client.problem(408, "request_timeout").await;
    client.closed().await;
    between(150, started.elapsed(), 1_500);
}

#[tokio::test]
async fn the_second_head_of_a_connection_has_the_same_time_as_the_first() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.answer().await;
    sleep(Duration::from_millis(300)).await;
    let started = Clock::now();
    client.send("GET / HT").await;
    client.problem(408, "request_timeout").await;
    between(150, started.elapsed(), 850);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    between(150, client.closed().await, 850);
}

#[tokio::test]
async fn an_idle_connection_is_closed_later_than_a_slow_head() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.answer().await;
    between(800, client.closed().await, 3_000);
}

#[tokio::test]
async fn a_long_answer_is_no_silence() {
    let node = Node::start(Limits {
        idle: Duration::from_millis(200),
        ..short()
    })
    .await;
    let mut client = node.connect().await;
    client.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (head, _) = client.answer().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_a_408_and_closed() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    let started = Clock::now();
    client.send("POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{").await;
    let head = client.problem(408, "request_timeout").await;
    assert!(head.contains("connection: close"), "{head}");
    client.closed().await;
    between(150, started.elapsed(), 2_000);
}

#[tokio::test]
async fn a_gigabyte_is_refused_before_it_is_sent() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client
        .send("POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000000\r\n\r\n")
        .await;
    let head = client.problem(413, "payload_too_large").await;
    assert!(head.contains("connection: close"), "{head}");
    client.closed().await;
}

#[tokio::test]
async fn a_client_that_sends_too_much_and_reads_late_still_gets_its_answer() {
    let node = Node::start(short()).await;
    for framing in ["content-length: 4000000", "transfer-encoding: chunked"] {
        let mut client = node.connect().await;
        let head = format!(
            "POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
        );
        client.send(head).await;
        let chunk = if framing.starts_with('c') {
            vec![b' '; 4_000_000]
        } else {
            [b"3d0900\r\n".to_vec(), vec![b' '; 4_000_000]].concat()
        };
        client.send(chunk).await;
        client.problem(413, "payload_too_large").await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_or_has_too_many_lines_is_a_431() {
    let node = Node::start(short()).await;
    let large = format!(
        "GET / HTTP/1.1\r\nhost: x\r\ncookie: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000));
    let many = format!(
        "GET / HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "x: y\r\n".repeat(500)
    );
    for head in [large, long, many] {
        let mut client = node.connect().await;
        client.send(head).await;
        let head = client.problem(431, "headers_too_large").await;
        assert!(head.contains("connection: close"), "{head}");
        client.closed().await;
    }
    let mut client = node.connect().await;
    client
        .send(format!(
            "GET / HTTP/1.1\r\nhost: x\r\ncookie: {}\r\n\r\n",
            "x".repeat(15_000)
        ))
        .await;
    assert!(client.answer().await.0.starts_with("http/1.1 200 "));
}

#[tokio::test]
async fn what_is_not_http_is_a_400() {
    let node = Node::start(short()).await;
    for nonsense in [
        "HELLO\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /order HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
        "POST /order HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "POST /order HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n",
    ] {
        let mut client = node.connect().await;
        client.send(nonsense).await;
        client.problem(400, "invalid_request").await;
        client.closed().await;
    }
}

#[tokio::test]
async fn nonsense_after_a_request_is_answered_after_it() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client
        .send("GET / HTTP/1.1\r\nhost: x\r\n\r\n\u{1}\u{2}\r\n\r\n")
        .await;
    let mut both = String::new();
    timeout(PATIENCE, client.0.read_to_string(&mut both))
        .await
        .unwrap()
        .unwrap();
    let (first, second) = both.split_at(both.rfind("HTTP/1.1 ").unwrap());
    assert!(first.starts_with("HTTP/1.1 200 "), "{both}");
    assert!(
        second.starts_with("HTTP/1.1 400 ") && second.contains("\"code\":\"invalid_request\""),
        "{both}"
    );
}

#[tokio::test]
async fn a_chunk_that_is_none_is_a_400() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client
        .send("POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n")
        .await;
    client.problem(400, "invalid_request").await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client.send("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // Not read for longer than a write may stall, so the end of it never comes.
    sleep(Duration::from_millis(900)).await;
    let mut read = Vec::new();
    let end = timeout(PATIENCE, client.0.read_to_end(&mut read))
        .await
        .expect("a close");
    assert!(
        end.is_err() && read.len() < LARGE,
        "{end:?} after {} bytes",
        read.len()
    );
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client
        .send("GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    let mut total = 0;
    let mut buf = vec![0; 8 << 20];
    loop {
        match client.0.read(&mut buf).await.unwrap() {
            0 => break,
            n => total += n,
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert!(total > LARGE, "{total}");
}

#[tokio::test]
async fn whoever_has_been_idle_for_longest_makes_room() {
    let node = Node::start(Limits {
        connections: 2,
        idle: PATIENCE,
        ..short()
    })
    .await;
    let mut first = node.connect().await;
    let mut second = node.connect().await;
    for client in [&mut first, &mut second] {
        client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        client.answer().await;
    }
    let mut third = node.connect().await;
    third.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (head, _) = third.answer().await;
    assert!(
        head.starts_with("http/1.1 200 ") && !head.contains("connection: close"),
        "{head}"
    );
    first.closed().await;
    // Parked by now, and of use all the same.
    sleep(Duration::from_millis(400)).await;
    second.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(second.answer().await.0.starts_with("http/1.1 200 "));
}

#[tokio::test]
async fn where_nobody_is_idle_a_few_more_get_one_answer_and_others_are_told_so() {
    let node = Node::start(Limits {
        connections: 1,
        ..short()
    })
    .await;
    let mut busy = Vec::new();
    for _ in 0..65 {
        let mut client = node.connect().await;
        client.send("GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
        busy.push(client);
        sleep(Duration::from_millis(3)).await;
    }
    let mut refused = node.connect().await;
    refused.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let head = refused.problem(503, "overloaded").await;
    assert!(head.contains("retry-after: "), "{head}");
    refused.closed().await;

    busy.pop();
    sleep(Duration::from_millis(100)).await;
    let mut probe = node.connect().await;
    probe.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (head, _) = probe.answer().await;
    assert!(
        head.starts_with("http/1.1 200 ") && head.contains("connection: close"),
        "{head}"
    );
    probe.closed().await;
}

#[tokio::test]
async fn an_early_answer_leaves_a_connection_that_can_be_used_or_says_that_it_closes() {
    let node = Node::start(short()).await;
    let head = "POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    // The body comes after the head, as Python's http.client sends it.
    let mut client = node.connect().await;
    for framing in [
        "content-length: 14\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n",
    ] {
        client.send(format!("{head}{framing}")).await;
        sleep(Duration::from_millis(30)).await;
        client
            .send(if framing.starts_with('c') {
                "{\"order\":\"much\"}"[..14].to_owned()
            } else {
                "2\r\n{}\r\n0\r\n\r\n".to_owned()
            })
            .await;
        let (head, _) = client.answer().await;
        assert!(
            head.starts_with("http/1.1 404 ") && !head.contains("connection: close"),
            "{head}"
        );
    }
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(client.answer().await.0.starts_with("http/1.1 200 "));

    for framing in [
        "content-length: 1000000\r\n\r\n",
        "expect: 100-continue\r\ncontent-length: 9\r\n\r\n",
    ] {
        let mut client = node.connect().await;
        client.send(format!("{head}{framing}")).await;
        let (head, _) = client.answer().await;
        assert!(
            head.starts_with("http/1.1 404 ") && head.contains("connection: close"),
            "{framing}: {head}"
        );
        client.closed().await;
    }
}

#[tokio::test]
async fn a_request_that_two_could_read_in_two_ways_is_a_400() {
    let node = Node::start(short()).await;
    let post = "POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    for (head, status, code) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "invalid_request"),
        (
            "GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n".to_owned(),
            400,
            "invalid_request",
        ),
        (
            "GET / HTTP/1.0\r\nhost: x\r\nhost: y\r\n\r\n".to_owned(),
            400,
            "invalid_request",
        ),
        (
            "GET / HTTP/1.1\r\nhost: localhost:80@evil\r\n\r\n".to_owned(),
            400,
            "invalid_request",
        ),
        (
            "GET / HTTP/1.1\r\nhost: [::1].evil.example\r\n\r\n".to_owned(),
            400,
            "invalid_request",
        ),
        (
            "GET / HTTP/1.1\r\nhost: localhost:x\r\n\r\n".to_owned(),
            400,
            "invalid_request",
        ),
        (
            "GET / HTTP/1.1\nhost: x\r\n\r\n".to_owned(),
            400,
            "invalid_request",
        ),
        (
            "GET / HTTP/1.1\r\nhost: x\n\r\n".to_owned(),
            400,
            "invalid_request",
        ),
        (
            format!("{post}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            400,
            "invalid_request",
        ),
        (
            format!(
                "{post}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
            "invalid_request",
        ),
        (
            format!("{post}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            400,
            "invalid_request",
        ),
        (
            format!("{post}content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{{}}"),
            415,
            "unsupported_media_type",
        ),
    ] {
        let mut client = node.connect().await;
        client.send(&head).await;
        let answer = client.problem(status, code).await;
        assert!(answer.contains("connection: close"), "{head}{answer}");
        client.closed().await;
    }
    // HTTP/1.0 knows no Host, and a target that names the host has precedence over it.
    let mut client = node.connect().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(client.answer().await.0.starts_with("http/1.0 200 "));
    let mut client = node.connect().await;
    client
        .send("GET http://right.example/host HTTP/1.1\r\nhost: wrong.example\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.1, "right.example");
}

#[tokio::test]
async fn a_head_that_begins_behind_a_request_has_its_time_too() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client
        .send("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhos")
        .await;
    client.answer().await;
    sleep(Duration::from_millis(300)).await;
    client.send("t: x\r\n\r\n").await;
    assert!(client.answer().await.0.starts_with("http/1.1 200 "));
    let started = Clock::now();
    client
        .send("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhos")
        .await;
    client.answer().await;
    client.problem(408, "request_timeout").await;
    between(150, started.elapsed(), 850);
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The bytes of a client that asks for `path` on `streams` streams, each with a window of `window` bytes.
fn http2(path: &str, streams: u32, window: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(
        4,
        0,
        0,
        &[&[0, 4][..], &window.to_be_bytes()].concat(),
    ));
    // GET, http, and two literals: path and authority.
    let mut head = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    head.extend(path.as_bytes());
    head.extend(b"\x01\x01x");
    for n in 0..streams {
        bytes.extend(frame(1, 0b101, 2 * n + 1, &head));
    }
    bytes
}

#[tokio::test]
async fn an_http2_stream_without_a_window_ends_its_connection() {
    let node = Node::start(short()).await;
    for (path, window) in [
        ("/large", 0),
        ("/large", 1),
        ("/", 0),
        ("/", 3),
        ("/endless", 0),
    ] {
        let mut client = node.connect().await;
        let started = Clock::now();
        client.send(http2(path, 5, window)).await;
        let mut frames = Vec::new();
        let _ = timeout(PATIENCE, client.0.read_to_end(&mut frames))
            .await
            .unwrap_or_else(|_| panic!("{path} with a window of {window} is held"));
        between(300, started.elapsed(), 2_000);
    }
}

#[tokio::test]
async fn an_http2_stream_that_waits_for_us_is_not_ended() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    client.send(http2("/slow", 1, 65_535)).await;
    let mut frames = Vec::new();
    let _ = timeout(
        Duration::from_millis(700),
        client.0.read_to_end(&mut frames),
    )
    .await;
    // The head of the answer: a frame of type 1 on stream 1.
    let answered = frames
        .windows(9)
        .any(|frame| frame[3] == 1 && frame[5..] == [0, 0, 0, 1]);
    assert!(answered, "{frames:?}");
}

#[tokio::test]
async fn answers_that_an_http2_client_does_not_take_are_not_made() {
    let node = Node::start(Limits {
        write_stall: PATIENCE,
        ..short()
    })
    .await;
    let mut client = node.connect().await;
    client.send(http2("/counted", 100, 0)).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(MADE.load(Ordering::Relaxed), 16);
}

#[tokio::test]
async fn an_http2_connection_is_closed_when_idle_and_not_as_a_slow_head() {
    let node = Node::start(short()).await;
    let mut client = node.connect().await;
    let started = Clock::now();
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    client
        .send([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &empty_settings[..]].concat())
        .await;
    let mut frames = Vec::new();
    let _ = timeout(PATIENCE, client.0.read_to_end(&mut frames))
        .await
        .expect("a close");
    between(850, started.elapsed(), 4_000);
}

#[tokio::test]
async fn http2_in_clear_text_is_served() {
    let node = Node::start(short()).await;
    crate::tls::choose_cryptography();
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let url = format!("http://{}/", node.address);
    let response = client.get(&url).send().await.unwrap();
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    assert_eq!(response.text().await.unwrap(), "127.0.0.1");
    let large = client
        .get(&url)
        .header("cookie", "x".repeat(20_000))
        .send()
        .await
        .unwrap();
    assert_eq!(large.status(), 431);
    let document: Value = serde_json::from_slice(&large.bytes().await.unwrap()).unwrap();
    assert_eq!(document["code"], "headers_too_large");
}

#[tokio::test]
async fn a_node_that_stops_answers_first_and_then_ends_though_clients_stall() {
    let limits = Limits {
        header_read: PATIENCE,
        idle: PATIENCE,
        ..short()
    };
    let mut node = Node::start(limits).await;
    let mut stalled = Vec::new();
    for n in 0..100 {
        let mut client = node.connect().await;
        match n % 3 {
            0 => {}
            1 => client.send("GET / HTTP/1.1\r\nx-slow: ").await,
            _ => {
                client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
                client.answer().await;
            }
        }
        stalled.push(client);
    }
    let mut busy = node.connect().await;
    busy.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_millis(50)).await;
    assert!(!node.drain.is_draining());

    node.stop();
    timeout(PATIENCE, node.drain.begun()).await.unwrap();
    // Still accepting: a balancer has not noticed yet.
    let mut late = node.connect().await;
    late.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (head, _) = late.answer().await;
    assert!(
        head.starts_with("http/1.1 200 ") && head.contains("connection: close"),
        "{head}"
    );
    late.closed().await;

    let (head, _) = busy.answer().await;
    assert!(
        head.starts_with("http/1.1 200 ") && head.contains("connection: close"),
        "{head}"
    );
    for client in &mut stalled {
        client.closed().await;
    }
    let address = node.address;
    assert!(node.ended().await < Duration::from_millis(1_400));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_handler_that_never_ends_is_cut_at_the_end() {
    let mut node = Node::start(short()).await;
    let mut client = node.connect().await;
    client.send("GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_millis(50)).await;
    node.stop();
    between(1_300, node.ended().await, 3_000);
    client.closed().await;
}

/// A certificate for localhost that nobody has signed.
fn certificate() -> ServerCertificate {
    let directory = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("openssl")
        .current_dir(directory.path())
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out pem -days 2 -subj /CN=localhost".split(' '))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    ServerCertificate::read(&directory.path().join("pem"), &directory.path().join("key")).unwrap()
}

#[tokio::test]
async fn a_handshake_has_as_long_as_a_head_and_holds_nobody_else_up() {
    let node = Node::start_with(Some(certificate()), short()).await;
    let started = Clock::now();
    let mut slow = Vec::new();
    for n in 0..64 {
        let mut client = node.connect().await;
        // Nothing, the beginning of a record, and a record whose rest never comes.
        let sent: &[u8] = [&[][..], &[22, 3], &[22, 3, 1, 2, 0, 1, 0, 1, 252]][n % 3];
        client.send(sent).await;
        slow.push(client);
    }
    crate::tls::choose_cryptography();
    let browser = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/large", node.address.port());
    let large = browser.get(url).send().await.unwrap();
    assert_eq!(large.version(), reqwest::Version::HTTP_2);
    assert_eq!(large.bytes().await.unwrap().len(), LARGE);
    for client in &mut slow {
        client.closed().await;
    }
    between(180, started.elapsed(), 4_000);
}
