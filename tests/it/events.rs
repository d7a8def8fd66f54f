//! What happens in a pool can be followed, and a follower that was away misses nothing.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Client, Installation, wait_until};

fn url(node: &Client, path: &str) -> String {
    format!("http://{}{path}", node.address())
}

/// One server-sent event.
#[derive(Debug)]
struct Event {
    id: String,
    data: Value,
}

/// Reads a stream until this many events have come.
async fn read(response: &mut Response, count: usize) -> Vec<Event> {
    let mut text = String::new();
    let reading = async {
        loop {
            let events = parse(&text);
            if events.len() >= count {
                return events;
            }
            let chunk = response.chunk().await.expect("a stream").expect("more");
            text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .expect("events come")
}

fn parse(text: &str) -> Vec<Event> {
    let field = |block: &str, name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.trim_start().to_owned())
    };
    // What follows the last blank line may still be incomplete.
    let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    whole
        .split("\n\n")
        .filter_map(|block| {
            Some(Event {
                id: field(block, "id")?,
                data: serde_json::from_str(&field(block, "data")?).expect("JSON"),
            })
        })
        .collect()
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.data["type"].as_str().expect("a type"))
        .collect()
}

#[tokio::test]
async fn a_follower_sees_starts_denials_and_ends_and_goes_on_where_it_was() {
    let cluster = Installation::start(2).await;
    let [a, b] = &cluster.nodes[..] else {
        unreachable!()
    };
    a.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;

    let mut following = reqwest::get(url(b, "/v1/pools/crm/events")).await.unwrap();
    assert_eq!(following.status(), 200);
    assert_eq!(following.headers()["content-type"], "text/event-stream");

    let first = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    a.acquire("crm", json!({"holder": "bob"}), 409).await;
    a.release(&first.token(), 204).await;
    let seen = read(&mut following, 3).await;
    assert_eq!(kinds(&seen), ["started", "denied", "ended"]);
    assert_eq!(seen[0].data["holder"], "ann");
    assert_eq!(seen[0].data["lease"], first["lease"]["id"]);
    assert_eq!(seen[1].data["reason"], "pool_full");
    assert_eq!(seen[2].data["reason"], "released");
    drop(following);

    // What happens meanwhile is not lost: also an expiry, with its exact instant.
    let second = a.acquire("crm", json!({"holder": "cid"}), 201).await;
    wait_until(
        "the lease has expired",
        Duration::from_secs(10),
        async || a.availability("crm", 200).await["in_use"] == 0,
    )
    .await;
    let mut following = reqwest::Client::new()
        .get(url(a, "/v1/pools/crm/events"))
        .header("last-event-id", &seen[2].id)
        .send()
        .await
        .unwrap();
    let seen = read(&mut following, 2).await;
    assert_eq!(kinds(&seen), ["started", "ended"]);
    assert_eq!(seen[1].data["reason"], "expired");
    assert_eq!(seen[1].data["at"], second["lease"]["expires_at"]);
}

#[tokio::test]
async fn an_unknown_pool_and_a_wrong_id_are_refused() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    let unknown = reqwest::get(url(node, "/v1/pools/none/events"))
        .await
        .unwrap();
    assert_eq!(unknown.status(), 404);
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let wrong = reqwest::Client::new()
        .get(url(node, "/v1/pools/crm/events"))
        .header("last-event-id", "yesterday")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
}
