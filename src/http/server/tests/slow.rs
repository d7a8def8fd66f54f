//! Clients that send or read slowly.

use super::*;

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
