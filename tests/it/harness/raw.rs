//! Requests over a socket of their own, byte for byte. Their answers are held against the document, as all others are.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{Reply, openapi};

/// A request with a JSON body. `headers` are whole lines, with their ends.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Waits for the answer to a request that was sent.
pub(crate) async fn answer(stream: &mut TcpStream, request: &[u8]) -> Reply {
    let mut bytes = Vec::new();
    loop {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_buf(&mut bytes)).await;
        // A node may reset a connection on which more came than it reads.
        let is_over = !matches!(read.expect("an answer in time"), Ok(1..));
        if let Some(reply) = parse(request, &bytes) {
            return reply;
        }
        assert!(!is_over, "half an answer: {}", bytes.escape_ascii());
    }
}

/// The answer to a request, if it is whole.
pub(crate) fn parse(request: &[u8], bytes: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: HeaderMap = lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a header");
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            let value = HeaderValue::from_str(value.trim()).expect("a value");
            (name, value)
        })
        .collect();
    let length = headers.get("content-length");
    let length: usize = length.map_or(0, |length| {
        length
            .to_str()
            .expect("a number")
            .parse()
            .expect("a number")
    });
    let text = body.get(..length)?.to_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    let reply = Reply {
        status,
        headers,
        body,
        text,
    };
    let line = String::from_utf8_lossy(request);
    let mut words = line.lines().next().unwrap_or_default().split(' ');
    // What is not HTTP has no place in the document.
    if let (Some(method), Some(path)) = (words.next(), words.next())
        && let Ok(method) = method.parse::<Method>()
        && path.starts_with('/')
    {
        let path = path.split('?').next().unwrap_or_default();
        let violation =
            openapi::violation(&method, path, reply.status, &reply.headers, &reply.body);
        assert!(violation.is_none(), "{violation:?}: {}", reply.text);
    }
    Some(reply)
}
