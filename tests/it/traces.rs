//! Traces: a request belongs to the trace that its caller names, in the log, at a collector of OpenTelemetry and on the way to receivers.

use std::time::Duration;

use axum::body::Bytes;
use serde_json::json;

use crate::harness::{Behaviour, Client, Launch, Node, Receiver, wait_until};

const TRACE: [u8; 16] = [
    0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36,
];
const CALLER: [u8; 8] = [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7];
const RECORDED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_RECORDED: &str = "00-1111111111111111111111111111111f-00f067aa0ba902b7-00";

async fn renew(node: &Client, token: &str, traceparent: Option<&str>) {
    let mut request =
        reqwest::Client::new().post(format!("http://{}/v1/leases/renew", node.address()));
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let answer = request.json(&json!({"token": token})).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);
}

/// How often these bytes are in what came, in whatever form that is.
fn count(exported: &[Bytes], wanted: &[u8]) -> usize {
    let found = exported.iter().map(|body| {
        let places = body.windows(wanted.len());
        places.filter(|place| *place == wanted).count()
    });
    found.sum()
}

/// What the collector has when the node has ended.
async fn exported(node: Node, collector: &Receiver) -> Vec<Bytes> {
    node.signal("TERM");
    node.ended(Duration::from_secs(10)).await;
    wait_until("the spans came", Duration::from_secs(10), async || {
        !collector.messages().is_empty()
    })
    .await;
    let messages = collector.messages();
    messages.into_iter().map(|message| message.body).collect()
}

#[tokio::test]
async fn a_collector_gets_what_its_callers_record_and_no_heartbeat_besides() {
    let collector = Receiver::that(|_, _| Behaviour::Status(200)).await;
    let node = Launch::embedded()
        .set("otlp_endpoint", collector.url().trim_end_matches("/hook"))
        .set("log", "info,leasehold::http::trace=debug")
        .set("log_format", "json")
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let token = lease.token();
    renew(&node, &token, Some(RECORDED)).await;
    for _ in 0..3 {
        renew(&node, &token, None).await;
        renew(&node, &token, Some(NOT_RECORDED)).await;
    }
    node.says("\"trace.id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"")
        .await;
    node.says("\"trace.id\":\"1111111111111111111111111111111f\"")
        .await;

    let spans = exported(node, &collector).await;
    assert_eq!(count(&spans, &TRACE), 1);
    assert_eq!(count(&spans, &CALLER), 1, "the caller's part is the parent");
    assert_eq!(count(&spans, b"POST /v1/leases/renew"), 1);
    // Requests without a trace begin one.
    assert_eq!(count(&spans, b"PUT /v1/pools/{pool}"), 1);
    assert_eq!(count(&spans, b"POST /v1/pools/{pool}/leases"), 1);
    assert_eq!(count(&spans, b"GET /readyz"), 0);
    // Nobody's name, and no credential.
    assert_eq!(count(&spans, b"ann") + count(&spans, token.as_bytes()), 0);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_a_line_in_the_log_and_no_request() {
    let collector = Receiver::that(|_, _| Behaviour::Status(403)).await;
    let node = Launch::embedded()
        .set("otlp_endpoint", collector.url().trim_end_matches("/hook"))
        .start()
        .await;
    for n in 0..20 {
        node.put_pool(&format!("pool-{n}"), json!({"capacity": 1}), 201)
            .await;
    }
    node.signal("TERM");
    let ended = node.ended(Duration::from_secs(10)).await;
    assert!(ended.success(), "{}", node.log());
    let log = node.log();
    assert_eq!(log.matches("spans are lost").count(), 1, "{log}");
    assert!(log.contains("403"), "{log}");
}

#[tokio::test]
async fn a_command_is_part_of_the_trace_that_it_is_started_in() {
    let node = Launch::embedded()
        .set("log", "info,leasehold::http::trace=debug")
        .set("log_format", "json")
        .start()
        .await;
    let list = tokio::process::Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["pool", "list", "--server"])
        .arg(format!("http://{}", node.address()))
        .env("TRACEPARENT", RECORDED)
        .output()
        .await
        .expect("it runs");
    assert!(list.status.success(), "{list:?}");
    node.says("\"trace.id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"")
        .await;
}
