//! What clients that behave badly get, over real sockets, with limits short enough to wait for.

mod http2;
mod kept;
mod refused;
mod slow;

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
struct Order {
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
            post(|Body(wish): Body<Order>| async move { wish.wish.unwrap_or_default() }),
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
        .route("/medium", get(async || vec![b'x'; 200_000]))
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
