//! What happens in a pool can be followed, and a follower that was away misses nothing.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Client, Installation, Launch, Redis, let_pass, openapi, wait_until};

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
                for event in &events {
                    let violation =
                        openapi::violation_of_event("/v1/pools/crm/events", &event.data);
                    assert_eq!(violation, None, "{event:?}");
                }
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
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
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
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.get("/v1/pools/none/events").expect(404).await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    node.get("/v1/pools/crm/events")
        .header("last-event-id", "yesterday")
        .expect(400)
        .await;
}

#[tokio::test]
async fn what_an_outage_and_a_late_holder_mean_for_a_seat_is_told() {
    let redis = Redis::start().await;
    // Nobody ticks, so that a silence is what this test makes.
    let node = Launch::on(&redis.url())
        .set("sweep_every_ms", "0")
        .start()
        .await;
    let told = async |pool: &str, body: Value| {
        node.acquire(pool, body, 201).await["lease"]["outage_grace_ms"].clone()
    };
    let policy = |grace: Value| {
        let mut policy = json!({"capacity": 1, "ttl_ms": 1_000, "resume_window_ms": 60_000});
        if !grace.is_string() {
            policy["outage_grace_ms"] = grace;
        }
        policy
    };
    node.put_pool("short", policy(json!("default")), 201).await;
    node.put_pool("strict", policy(json!(0)), 201).await;
    let unlimited = node.put_pool("endless", policy(Value::Null), 201).await;
    assert!(unlimited["outage_grace_ms"].is_null());
    assert_eq!(told("short", json!({})).await, 60_000);
    assert_eq!(told("strict", json!({})).await, 0);
    assert_eq!(told("endless", json!({})).await, Value::Null);
    node.put_pool(
        "crm",
        json!({"capacity": 1, "outage_grace_ms": 2_678_400_001_u64}),
        400,
    )
    .await;

    // A holder that comes too late, and reports what it did meanwhile.
    node.put_pool("crm", policy(json!(300)), 201).await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let_pass(1_500).await;
    let late = json!({"token": ann.token(), "grace_used_ms": 250});
    let back = node.renew_with(late, 200).await;
    assert_eq!(back["resumed"], true);
    assert_eq!(back["lease"]["outage_grace_ms"], 300);

    // An outage of Redis or of all nodes, after which she does not come in time.
    let_pass(300).await;
    let clock = redis.keys("lh1:*:crm:config").await[0].replace(":crm:config", ":clock");
    let _: i64 = redis.query(&["HINCRBY", &clock, "tick", "-20000"]).await;
    let here = node.list("crm", "", 200).await;
    assert_eq!(here.list("items").len(), 1);
    node.acquire("crm", json!({"holder": "bob"}), 409).await;
    let_pass(1_050).await;
    let back = node.renew(&ann.token(), 200).await;
    assert_eq!(back["resumed"], true);

    let following = reqwest::Client::new().get(url(&node, "/v1/pools/crm/events"));
    let mut following = following.header("last-event-id", "0").send().await.unwrap();
    let events = read(&mut following, 7).await;
    assert_eq!(
        kinds(&events),
        [
            "configured",
            "started",
            "ended",
            "resumed",
            "denied",
            "ended",
            "resumed"
        ]
    );
    let number = |at: usize, name: &str| events[at].data[name].as_u64().expect("a number");
    assert!(events[1].data.get("gap_ms").is_none());
    assert_eq!(events[2].data["cause"], "holder_away");
    assert_eq!(number(2, "gap_ms"), 1_000);
    assert_eq!(number(2, "possible_overlap_ms"), 300);
    assert_eq!(events[3].data["cause"], "holder_away");
    assert!(number(3, "gap_ms") >= 1_500, "{:?}", events[3]);
    assert_eq!(number(3, "possible_overlap_ms"), 300);
    assert_eq!(number(3, "grace_used_ms"), 250);
    assert_eq!(events[5].data["cause"], "coordinator_away");
    assert!(number(5, "gap_ms") >= 1_300, "{:?}", events[5]);
    assert_eq!(events[6].data["cause"], "coordinator_away");
    assert!(number(6, "gap_ms") >= 20_000, "{:?}", events[6]);
    assert!(number(6, "possible_overlap_ms") <= 300);
}
