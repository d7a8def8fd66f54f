//! A program without `async`, against the real server at `LEASEHOLD_URL`. `LEASEHOLD_KEY` is an operator's key: the program makes a pool.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use leasehold_client::Options;
use leasehold_client::blocking::Client;
use serde_json::{Value, json};

const POOL: &str = "rust-blocking";

fn variable(name: &str) -> String {
    std::env::var(name).expect("LEASEHOLD_URL and LEASEHOLD_KEY")
}

fn ask(method: &str, path: &str, body: &Value) -> Value {
    let host = variable("LEASEHOLD_URL").replace("http://", "");
    let mut stream = TcpStream::connect(&host).expect("a server");
    let (key, body) = (variable("LEASEHOLD_KEY"), body.to_string());
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .expect("a connection");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("an answer");
    assert!(said.starts_with("HTTP/1.1 2"), "{said}");
    let (_, body) = said.split_once("\r\n\r\n").expect("an answer");
    serde_json::from_str(body).unwrap_or_default()
}

fn in_use() -> Value {
    ask("GET", &format!("/v1/pools/{POOL}"), &Value::Null)["in_use"].clone()
}

fn main() {
    let policy = json!({ "capacity": 1, "ttl_ms": 1_500 });
    ask("PUT", &format!("/v1/pools/{POOL}"), &policy);
    let client =
        Client::new(&variable("LEASEHOLD_URL"), &*variable("LEASEHOLD_KEY")).expect("a client");

    let done = client.hold(POOL, Options::holder("ann"), |seat| {
        std::thread::sleep(Duration::from_secs(4)); // The thread of the program sleeps; the heartbeats do not.
        assert!(seat.is_sure());
        let full = client
            .acquire(POOL, Options::holder("bob"))
            .expect_err("a full pool");
        assert_eq!(full.code, "pool_full");
        42
    });
    assert_eq!(done.expect("the work"), 42);
    assert_eq!(in_use(), 0);

    drop(
        client
            .acquire(POOL, Options::holder("ann"))
            .expect("a seat"),
    );
    assert_eq!(in_use(), 0);

    let lost = client.hold(POOL, Options::holder("ann"), |seat| {
        assert!(seat.wait_lost(Duration::from_millis(100)).is_none());
        let words = json!({ "holder": "ann", "reason": "Over." });
        ask(
            "POST",
            &format!("/v1/pools/{POOL}/leases/terminate"),
            &words,
        );
        let began = Instant::now();
        let lost = seat.wait_lost(Duration::from_secs(20)).expect("a loss");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(lost.reason.as_deref(), Some("Over."));
    });
    let lost = lost.expect_err("a loss");
    assert!(lost.is_lost && lost.code == "lease_terminated");

    let _kept = client
        .acquire(POOL, Options::holder("ann"))
        .expect("a seat");
    client.close();
    assert_eq!(in_use(), 0);
}
