//! Clients that let the node wait: how much is kept for them, and who makes room.

use super::http2::http2;
use super::*;

#[tokio::test]
async fn a_client_that_pauses_within_an_answer_gets_all_of_it() {
    let node = Node::start(Limits {
        write_stall: PATIENCE,
        ..short()
    })
    .await;
    let mut client = node.connect().await;
    client
        .send("GET /large HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    // Longer than a connection may be silent before it is parked, and than a head may take.
    sleep(Duration::from_millis(700)).await;
    let mut both = Vec::new();
    let read = timeout(PATIENCE, client.0.read_to_end(&mut both)).await;
    read.expect("an end").expect("a whole answer");
    assert!(both.len() > LARGE, "{} bytes", both.len());
    assert!(both.ends_with(b"127.0.0.1"));
}

/// A connection on which next to nothing arrives that nobody reads.
async fn narrow(address: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    socket.connect(address).await.unwrap()
}

/// Waits until the other side has reset the connection, without taking anything of what it sent.
async fn reset(client: &mut TcpStream) -> Duration {
    let started = Clock::now();
    let ended = timeout(PATIENCE, async {
        while client.write_all(b"\r\n").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    ended.await.expect("an end");
    started.elapsed()
}

#[tokio::test]
async fn whoever_asks_for_much_at_once_and_takes_nothing_is_cut() {
    let node = Node::start(short()).await;
    // What the kernel takes of one answer, of some, and more than it ever would.
    for (path, requests) in [
        ("/medium", 1),
        ("/medium", 5),
        ("/medium", 400),
        ("/host", 400),
    ] {
        let mut client = narrow(node.address).await;
        let asked = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(requests);
        let _ = client.write_all(asked.as_bytes()).await;
        let took = reset(&mut client).await;
        assert!(
            took < Duration::from_secs(3),
            "{path} {requests} times: {took:?}"
        );
    }
}

/// How long it took until a new client had an answer, which asks again while it is told that there is no room.
async fn served(node: &Node) -> Duration {
    let started = Clock::now();
    let served = timeout(PATIENCE, async {
        loop {
            let mut probe = node.connect().await;
            let _ = probe
                .0
                .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                .await;
            let mut answer = vec![0; 1_024];
            let read = probe.0.read(&mut answer).await.unwrap_or(0);
            if answer[..read].starts_with(b"HTTP/1.1 200 ") {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    served.await.expect("an answer");
    started.elapsed()
}

#[tokio::test]
async fn whoever_lets_the_node_wait_makes_room() {
    let node = Node::start(Limits {
        connections: 4,
        body_read: PATIENCE,
        write_stall: PATIENCE,
        idle: PATIENCE,
        linger: PATIENCE,
        ..short()
    })
    .await;
    let half = "POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let unwanted = "POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let kinds: [&[u8]; 6] = [
        half.as_bytes(),
        unwanted.as_bytes(),
        b"GET /medium HTTP/1.1\r\nhost: x\r\n\r\n",
        // No window for the answer; and an answer that is taken, by a client that does not go when it is asked to.
        &http2("/medium", 1, 0),
        &http2("/endless", 1, 0),
        &http2("/", 10, 65_535),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let mut crowd = Vec::new();
        for _ in 0..90 {
            let mut client = narrow(node.address).await;
            let _ = client.write_all(kind).await;
            crowd.push(client);
        }
        for _ in 0..20 {
            let took = served(&node).await;
            assert!(took < Duration::from_millis(500), "kind {number}: {took:?}");
        }
    }
}

#[tokio::test]
async fn what_is_kept_for_clients_that_let_wait_has_a_bound() {
    let node = Node::start(Limits {
        kept_bytes: 400_000,
        body_read: PATIENCE,
        write_stall: PATIENCE,
        ..short()
    })
    .await;
    let half = format!(
        "POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n{}",
        " ".repeat(50_000)
    );
    let whole = format!(
        "POST /order HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60002\r\n\r\n{}",
        " ".repeat(60_000)
    );
    let mut crowd = Vec::new();
    for kind in [half, "GET /medium HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()] {
        for _ in 0..20 {
            let mut client = narrow(node.address).await;
            let _ = client.write_all(kind.as_bytes()).await;
            crowd.push(client);
        }
        sleep(Duration::from_millis(600)).await;
        // Whoever sends and takes finds room, in both directions.
        let mut client = node.connect().await;
        client.send(&whole).await;
        sleep(Duration::from_millis(50)).await;
        client.send("{}").await;
        let (head, _) = client.answer().await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        client.send("GET /medium HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(client.answer().await.1.len(), 200_000);
    }
    // Of those who let wait, most have been refused or cut.
    let mut gone = 0;
    for client in &mut crowd {
        let mut bytes = [0; 16];
        let read = timeout(Duration::from_millis(5), client.read(&mut bytes)).await;
        let refused = |read: usize| bytes[..read].starts_with(b"HTTP/1.1 503");
        gone += usize::from(
            read.is_ok_and(|read| read.map_or(true, |read| read == 0 || refused(read))),
        );
    }
    assert!(gone > 15, "{gone} of {}", crowd.len());
}
