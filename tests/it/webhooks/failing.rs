//! Receivers that fail below HTTP, or half-way: the message waits, its operator reads why, and it arrives when that is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{HERE, create, deliveries, wait_for_state};
use crate::harness::{Installation, free_port, wait_until};

/// A way to fail, and a word of what the operator reads.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Nobody listens.
    Refused,
    /// The connection is closed before anything is said.
    Closed,
    /// The connection is reset in the middle of the head.
    ClosedInHead,
    /// 200, and closed before the body is all there.
    ClosedInBody,
    /// 200, and a body of which a byte comes each second, for ever.
    SlowBody,
    /// A head of which a byte comes each second, for ever.
    SlowHead,
    /// Something that is not HTTP.
    Nonsense,
    /// A head without an end.
    HugeHead,
    /// An answer that is no success.
    Says(&'static str),
}

const WAYS: [(Way, &str); 13] = [
    (Way::Refused, "reached"),
    (Way::Closed, "reached"),
    (Way::ClosedInHead, "reached"),
    (Way::ClosedInBody, "reached"),
    (Way::SlowBody, "in time"),
    (Way::SlowHead, "in time"),
    (Way::Nonsense, "reached"),
    (Way::HugeHead, "reached"),
    (
        Way::Says("301 Moved Permanently\r\nLocation: http://127.0.0.1:1/"),
        "redirect",
    ),
    (Way::Says("400 Bad Request"), "did not take it"),
    (Way::Says("404 Not Found"), "did not take it"),
    (Way::Says("500 Internal Server Error"), "did not take it"),
    (Way::Says("503 Service Unavailable"), "did not take it"),
];

/// Answers one request.
async fn answer(mut stream: TcpStream, way: Option<Way>) -> std::io::Result<()> {
    let mut seen = vec![0; 16 * 1024];
    if matches!(way, Some(Way::Closed)) {
        return Ok(());
    }
    let _ = stream.read(&mut seen).await?;
    let write = match way {
        None => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        Some(Way::Says(status)) => format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"),
        Some(Way::ClosedInHead) => "HTTP/1.1 200 O".to_owned(),
        Some(Way::ClosedInBody) => {
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of".to_owned()
        }
        Some(Way::SlowBody) => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_owned(),
        Some(Way::Nonsense) => "220 mail.example ESMTP\r\n".to_owned(),
        _ => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    stream.write_all(write.as_bytes()).await?;
    match way {
        Some(Way::SlowBody | Way::SlowHead) => loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stream.write_all(b"x").await?;
        },
        Some(Way::HugeHead) => loop {
            stream
                .write_all(format!("X-Filler: {}\r\n", "x".repeat(8_000)).as_bytes())
                .await?;
        },
        _ => stream.shutdown().await,
    }
}

/// Fails in this way until it is mended.
fn serve(listener: TcpListener, way: Way, mended: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let way = (!mended.load(Ordering::Relaxed)).then_some(way);
            tokio::spawn(answer(stream, way));
        }
    })
}

#[tokio::test]
async fn however_a_receiver_fails_its_operator_is_told_and_the_message_comes_when_it_is_mended() {
    let cluster = Installation::start_with(1, &HERE).await;
    let node = cluster.first();
    let before = node.memory_kib();
    let mut servers = Vec::new();
    let mut hooks = Vec::new();
    for (way, word) in WAYS {
        let port = free_port();
        let mended = Arc::new(AtomicBool::new(false));
        if !matches!(way, Way::Refused) {
            let listener = TcpListener::bind(("127.0.0.1", port))
                .await
                .expect("it is free");
            servers.push(serve(listener, way, mended.clone()));
        }
        let (id, _) = create(node, &format!("http://127.0.0.1:{port}/"), &["*"]).await;
        node.post(&format!("/v1/webhooks/{id}/test"))
            .expect(202)
            .await;
        hooks.push((way, word, port, mended, id));
    }
    for (way, word, port, mended, id) in &hooks {
        let failed = async || -> Option<Value> {
            let pending = deliveries(node, id, "state=pending").await;
            let attempt = pending.first()?["attempts"].get(0)?.clone();
            attempt["error"].is_string().then_some(attempt)
        };
        wait_until(
            &format!("{way:?} is reported"),
            Duration::from_secs(60),
            async || failed().await.is_some(),
        )
        .await;
        let attempt = failed().await.expect("it stays in the list");
        let error = attempt["error"].as_str().expect("why");
        assert!(error.contains(word), "{way:?}: {error}");
        assert!(!error.contains("127.0.0.1"), "{way:?}: {error}");
        mended.store(true, Ordering::Relaxed);
        if matches!(way, Way::Refused) {
            let listener = TcpListener::bind(("127.0.0.1", *port))
                .await
                .expect("it is free");
            servers.push(serve(listener, *way, mended.clone()));
        }
        // The pauses have grown meanwhile.
        let waiting = deliveries(node, id, "state=pending").await;
        if let Some(delivery) = waiting.first() {
            let delivery = delivery["id"].as_str().expect("an id");
            node.post(&format!("/v1/webhooks/{id}/deliveries/{delivery}/resend"))
                .json(&json!({}))
                .expect([202, 404, 409])
                .await;
        }
        wait_for_state(node, id, "delivered", 1).await;
    }
    assert!(node.memory_kib() < before + 64 * 1024);
    for server in servers {
        server.abort();
    }
}
