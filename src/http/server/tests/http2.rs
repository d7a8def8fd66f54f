//! HTTP/2.

use super::*;

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
pub(super) fn http2(path: &str, streams: u32, window: u32) -> Vec<u8> {
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
