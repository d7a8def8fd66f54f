//! `GET /v1/nodes`: who shares a Redis, and how it is.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Installation, Launch, wait_until};

fn addresses(nodes: &Value) -> Vec<String> {
    let items = nodes["items"].as_array().expect("items");
    let addresses = items
        .iter()
        .map(|node| node["address"].as_str().unwrap_or_default());
    addresses.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_node_knows_all_that_share_its_redis() {
    let cluster = Installation::start(3).await;
    let mut own: Vec<String> = Vec::new();
    for node in &cluster.nodes {
        wait_until(
            "each node sees three",
            Duration::from_secs(20),
            async || node.get("/v1/nodes").expect(200).await.list("items").len() == 3,
        )
        .await;
        let nodes = node.get("/v1/nodes").expect(200).await;
        let this: Vec<Value> = nodes
            .list("items")
            .iter()
            .filter(|other| other["is_this"] == true)
            .cloned()
            .collect();
        assert_eq!(this.len(), 1);
        assert_eq!(this[0]["address"], node.address().to_owned());
        assert_eq!(this[0]["state"], "up");
        assert_eq!(this[0]["version"], env!("CARGO_PKG_VERSION"));
        own.push(this[0]["id"].as_str().expect("an id").to_owned());

        let redis = &nodes["redis"][0];
        assert_eq!(redis["role"], "master");
        assert!(redis["used_memory_bytes"].as_u64() > Some(0), "{redis}");
        assert!(redis["latency_ms"].as_f64() > Some(0.0), "{redis}");
    }
    own.sort();
    own.dedup();
    assert_eq!(own.len(), 3, "each has a name of its own");

    let csv = cluster.nodes[0]
        .get("/v1/nodes?format=csv")
        .expect(200)
        .await;
    assert_eq!(csv.text.lines().count(), 4, "{}", csv.text);
}

#[tokio::test]
async fn a_node_that_stops_takes_its_sign_away_and_one_that_crashes_falls_silent() {
    let cluster = Installation::one().await;
    let here = &cluster.nodes[0];
    let stops = Launch::on(&cluster.redis.url()).start().await;
    let crashes = Launch::on(&cluster.redis.url()).start().await;
    wait_until("three nodes", Duration::from_secs(20), async || {
        here.get("/v1/nodes").expect(200).await.list("items").len() == 3
    })
    .await;

    stops.signal("TERM");
    crashes.kill();
    let gone = stops.address().to_owned();
    wait_until(
        "the one that stopped is gone",
        Duration::from_secs(20),
        async || !addresses(&here.get("/v1/nodes").expect(200).await.body).contains(&gone),
    )
    .await;
    wait_until(
        "the one that crashed is silent",
        Duration::from_secs(40),
        async || {
            let nodes = here.get("/v1/nodes").expect(200).await;
            let items = nodes.list("items");
            let found = items
                .iter()
                .find(|node| node["address"] == crashes.address());
            found.is_some_and(|node| {
                node["state"] == "silent" && node["silent_ms"].as_u64() >= Some(10_000)
            })
        },
    )
    .await;
    assert_eq!(
        addresses(&here.get("/v1/nodes").expect(200).await.body).len(),
        2
    );
}
