//! Requests that are too large, or cannot be understood.

use super::*;

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
            "GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n".to_owned(),
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
async fn a_length_that_no_body_has_is_a_413() {
    let node = Node::start(short()).await;
    for length in [u64::MAX, u64::MAX - 1, 1 << 40] {
        let mut client = node.connect().await;
        client
            .send(format!("POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"))
            .await;
        client.problem(413, "payload_too_large").await;
        client.closed().await;
    }
}
