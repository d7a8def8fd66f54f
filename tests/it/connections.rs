//! Connections: nothing is held for a client that takes nothing, those who matter find room, and a connection ends as HTTP says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::harness::{Client, Launch, Node, Redis, free_port, raw, wait_until};
use crate::rolling_restart::Balancer;

const KEY: &str = "the-operator-key-of-the-tests";
const PATIENCE: Duration = Duration::from_secs(10);

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The bytes of a client of HTTP/2 that asks for this so many times and takes none of it.
fn unread(path: &str, times: u32) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    // GET, http, and two literals: path and authority.
    let mut head = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).expect("short")];
    head.extend(path.as_bytes());
    head.extend(b"\x01\x09localhost");
    for n in 0..times {
        bytes.extend(frame(1, 0b101, 2 * n + 1, &head));
    }
    bytes
}

/// Sends this on a connection of its own, and does nothing more.
async fn greedy(address: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // The node may be done with it before all is sent.
    let _ = stream.write_all(bytes).await;
    stream
}

#[tokio::test]
async fn whoever_takes_nothing_or_sends_half_costs_little() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let pools = (0..100).map(|n| node.put_pool(&format!("pool{n}"), json!({"capacity": 5}), 201));
    join_all(pools).await;
    let size = node.get("/metrics").expect(200).await.text.len();
    assert!(size > 40_000, "too little to be worth it: {size}");

    let before = node.memory_kib();
    let metrics = unread("/metrics", 200);
    let mut bodies = format!(
        "POST /v1/leases/renew-many HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 900000\r\n\r\n",
        node.address()
    )
    .into_bytes();
    bodies.resize(bodies.len() + 899_000, b' ');
    let crowd = [(&metrics, 20), (&bodies, 100)].map(|(bytes, connections)| {
        // Some of them are refused while they send.
        let connections = (0..connections)
            .map(|_| timeout(Duration::from_secs(1), greedy(node.address(), bytes)));
        join_all(connections)
    });
    let _crowd = join_all(crowd).await;
    // As many as the node allows a connection were asked for by now, and made.
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    wait_until("the node answers", PATIENCE, async || {
        node.probe("/livez").await == Some(200)
    })
    .await;
    let grown = node.memory_kib().saturating_sub(before);
    assert!(grown < 100 * 1024, "{grown} KiB for 120 connections");
}

/// A kept connection that has had one answer.
async fn idle(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET /livez HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a request");
    raw::answer(&mut stream, request.as_bytes()).await;
    stream
}

fn browser() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy();
    builder.build().expect("a client")
}

/// The status of an answer, and its text.
async fn answer(http: &reqwest::Client, url: &str) -> (u16, String) {
    let response = http.get(url).send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, response.text().await.expect("a text"))
}

/// A stream of events; its status, and itself.
async fn events(http: &reqwest::Client, client: &Client, pool: &str) -> (u16, reqwest::Response) {
    let response = http
        .get(client.url(&format!("/v1/pools/{pool}/events")))
        .send()
        .await
        .expect("an answer");
    (response.status().as_u16(), response)
}

#[tokio::test]
async fn heartbeats_and_probes_find_room_beside_idle_connections_and_streams() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("max_connections", "20")
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 50}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;

    let http = browser();
    let mut streams = Vec::new();
    for n in 0..18 {
        let (status, stream) = events(&http, &node, "crm").await;
        assert_eq!(status, if n < 15 { 200 } else { 503 }, "stream {n}");
        streams.push(stream);
    }
    let mut idle_ones = Vec::new();
    for _ in 0..30 {
        idle_ones.push(idle(node.address()).await);
        node.renew(&lease.token(), 200).await;
        assert_eq!(node.probe("/readyz").await, Some(200));
    }
    node.acquire("crm", json!({}), 201).await;
    // Whoever waits takes room too, so there is no wait, but an answer.
    let full = json!({"capacity": 1, "queue": {"max_waiting": 5}});
    node.put_pool("full", full, 201).await;
    node.acquire("full", json!({}), 201).await;
    let asked = Instant::now();
    node.acquire("full", json!({"wait": true, "wait_ms": 10_000}), 202)
        .await;
    assert!(asked.elapsed() < Duration::from_secs(5));

    node.says("max_connections").await;
    let scrape = node.get("/metrics").expect(200).await.text;
    let made_room = "leasehold_http_connections_closed_total{reason=\"made_room\"}";
    assert!(scrape.contains(made_room), "{scrape}");
}

#[tokio::test]
async fn streams_of_the_public_take_no_acquire_from_nodes_behind_the_balancer() {
    let redis = Redis::start().await;
    let launch = || {
        Launch::on(&redis.url())
            .set("max_connections", "60")
            .start()
    };
    let (a, b) = tokio::join!(launch(), launch());
    a.put_pool("crm", json!({"capacity": 500}), 201).await;
    let nodes = [a, b];
    let Some(balancer) = Balancer::start(&nodes).await else {
        return;
    };
    let client = &balancer.client;

    let http = browser();
    let streams = join_all((0..140).map(|_| events(&http, client, "crm"))).await;
    let open = streams.iter().filter(|(status, _)| *status == 200).count();
    assert!((60..=90).contains(&open), "{open} streams");
    // Long enough for the balancer to think about its nodes.
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        let lease = client.acquire("crm", json!({}), 201).await;
        client.renew(&lease.token(), 200).await;
        client.release(&lease.token(), 204).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends head and body apart, as Python's own client does, to a node that refuses them before it has read the body.
const BURST: &str = r#"
import http.client, sys
broken = 0
connection = http.client.HTTPConnection(sys.argv[1], timeout=10)
for n in range(600):
    path, method = [("/v1/pools/crm/leases", "POST"), ("/nowhere", "POST"), ("/livez", "PUT")][n % 3]
    try:
        connection.request(method, path, body=b'{"holder":"ann"}', headers={"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        assert response.status in (401, 404, 405), response.status
    except (http.client.RemoteDisconnected, ConnectionError):
        broken += 1
        connection.close()
print(broken)
"#;

#[tokio::test]
async fn pythons_own_client_meets_no_broken_connection_in_a_burst_of_denials() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let address = node.address().to_owned();
    let run = tokio::task::spawn_blocking(move || {
        Command::new("python3")
            .args(["-c", BURST, &address])
            .output()
    });
    let Ok(output) = run.await.expect("no panic") else {
        eprintln!("skipped: there is no python3");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{said}");
}

#[tokio::test]
async fn a_hangup_is_no_reason_to_end_and_a_quit_drains() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    for name in ["HUP", "USR1", "USR2"] {
        node.signal(name);
        node.says(&format!("SIG{name}")).await;
    }
    assert_eq!(node.probe("/livez").await, Some(200));
    node.signal("QUIT");
    assert!(node.ended(PATIENCE).await.success());
    assert!(node.log().contains("stopped"), "{}", node.log());
}

#[tokio::test]
async fn a_node_ends_in_time_while_a_name_server_is_silent() {
    let Ok(silent) = UdpSocket::bind("127.9.8.7:53").await else {
        eprintln!("skipped: only root may be a name server");
        return;
    };
    let directory = TempDir::with_prefix("leasehold-names-").expect("a temporary directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("ours");
        path
    };
    let servers = file(
        "resolv.conf",
        "nameserver 127.9.8.7\noptions attempts:2 timeout:5\n",
    );
    let program = file(
        "node",
        &format!(
            "#!/bin/sh\nexec unshare -m sh -c 'mount --bind {} /etc/resolv.conf && exec {} \"$@\"' node \"$@\"\n",
            servers.display(),
            env!("CARGO_BIN_EXE_leasehold"),
        ),
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).running(&program).start().await;
    let webhook = node
        .post("/v1/webhooks")
        .json(&json!({"url": "https://silent.example/hook", "events": ["pool.full"]}))
        .expect(201)
        .await;
    let id = webhook["id"].as_str().expect("an id");
    node.post(&format!("/v1/webhooks/{id}/test"))
        .json(&json!({}))
        .expect([])
        .await;
    let mut question = [0; 512];
    let asked = timeout(PATIENCE, silent.recv(&mut question)).await;
    asked
        .expect("the node asks for the name")
        .expect("a question");

    let told = Instant::now();
    node.signal("TERM");
    node.ended(PATIENCE).await;
    assert!(
        told.elapsed() < Duration::from_secs(7),
        "{:?}",
        told.elapsed()
    );
}

#[tokio::test]
async fn metrics_can_have_an_address_of_their_own() {
    let redis = Redis::start().await;
    let port = free_port();
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("metrics_listen", &format!("127.0.0.1:{port}"))
        .start()
        .await;
    let machines = Client::new(&format!("http://127.0.0.1:{port}"));
    let metrics = machines.get("/metrics").expect(200).await.text;
    assert!(metrics.contains("leasehold_ready 1"), "{metrics}");
    machines.get("/livez").expect(200).await;
    machines.get("/readyz").expect(200).await;
    // On an address that serves a part of the interface, the document of all of it does not hold.
    let http = browser();
    for path in ["/", "/admin", "/v1/pools", "/v1/openapi.json", "/demo"] {
        let (status, text) = answer(&http, &machines.url(path)).await;
        assert!(
            status == 404 && text.contains("route_not_found"),
            "{path}: {text}"
        );
    }
    let (status, text) = answer(&http, &node.url("/metrics")).await;
    assert!(status == 404 && text.contains("route_not_found"), "{text}");
    node.get("/livez").expect(200).await;

    let (status, text) = node
        .launch()
        .anew()
        .set("metrics_listen", &format!("127.0.0.1:{port}"))
        .refuse()
        .await;
    assert!(
        !status.success() && text.contains("metrics_listen"),
        "{text}"
    );
}

/// Where a time, a cursor or a number may stand, and where a parser or Redis could stumble.
async fn ask_with_odd_values(http: &reqwest::Client, node: &Node, path: &str) {
    const TIMES: [&str; 9] = [
        "1970-01-01T00:00:00Z",
        "-262143-01-01T00:00:00Z",
        "+262142-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "2026-02-30T00:00:00Z",
        "99999999999999999999",
        "-1",
    ];
    const CURSORS: [&str; 6] = [
        "0",
        "0-0",
        "18446744073709551615-18446744073709551615",
        "99999999999999999999",
        "-1",
        "%00",
    ];
    let times = TIMES.iter().flat_map(|time| {
        let time = time.replace('+', "%2B");
        ["from", "to", "at"].map(|name| format!("{path}?{name}={time}"))
    });
    let cursors = CURSORS
        .iter()
        .map(|cursor| format!("{path}?cursor={cursor}"));
    for url in times.chain(cursors) {
        let (status, text) = answer(http, &node.url(&url)).await;
        assert!(status < 500, "{url}: {status} {text}");
    }
}

#[tokio::test]
async fn no_date_and_no_cursor_is_too_far_away_for_an_answer() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let of_a_pool = [
        "",
        "/leases",
        "/queue",
        "/blocks",
        "/named",
        "/usage",
        "/history",
        "/denials",
        "/holders",
        "/tenants",
        "/sizing",
        "/patterns",
    ];
    let mut paths: Vec<String> = [
        "/v1/pools",
        "/v1/alerts",
        "/v1/audit",
        "/v1/keys",
        "/v1/webhooks",
        "/v1/nodes",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.extend(of_a_pool.map(|view| format!("/v1/pools/crm{view}")));
    let pages = [
        "",
        "/history",
        "/denials",
        "/holders",
        "/tenants",
        "/sizing",
        "/patterns",
    ];
    paths.extend(pages.map(|view| format!("/admin/pools/crm{view}")));
    paths.extend(["/admin", "/admin/alerts", "/admin/audit"].map(str::to_owned));
    let http = browser();
    join_all(
        paths
            .iter()
            .map(|path| ask_with_odd_values(&http, &node, path)),
    )
    .await;
}
