//! Several installations in one Redis, told apart by the prefix of their keys: none sees or disturbs another one.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Launch, Node, Server, wait_until};
use crate::hints::{a_waiter_is_told, metric, one_seat};

/// Uses a node for all that it is for, with names that every other installation has too.
async fn used(node: &Node) {
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.acquire("crm", json!({"holder": "eve"}), 409).await;
    node.renew(&lease.token(), 200).await;
    let key = json!({"name": "page", "role": "client", "pools": ["crm"]});
    node.post("/v1/keys").json(&key).expect(201).await;
    node.put_pool("queue", one_seat(), 201).await;
    a_waiter_is_told(node, node, "queue").await;
}

async fn has_only_its_own(node: &Node) {
    for path in ["/v1/nodes", "/v1/keys"] {
        let listed = node.get(path).expect(200).await;
        assert_eq!(listed.list("items").len(), 1, "{path}: {}", listed.text);
    }
    let pools = node.get("/v1/pools").expect(200).await;
    assert_eq!(pools.list("items").len(), 2, "{}", pools.text);
}

/// Three installations on one Redis.
async fn share(server: &Server, scheme: &str) {
    let url = format!("{scheme}://{}", server.address());
    let launches = ["", "staging", "staging2"].map(|prefix| {
        let launch = Launch::on(&url);
        if prefix.is_empty() {
            return launch;
        }
        launch.set("key_prefix", prefix)
    });
    let mut nodes = Vec::new();
    for launch in launches {
        let node = launch.start().await;
        used(&node).await;
        nodes.push(node);
    }
    for node in &nodes {
        has_only_its_own(node).await;
    }
    let keys: Vec<String> = server.query(&["KEYS", "*"]).await;
    for prefix in ["lh1:", "staging:lh1:", "staging2:lh1:"] {
        assert!(keys.iter().any(|key| key.starts_with(prefix)), "{keys:?}");
    }
    for key in &keys {
        let key = key.strip_prefix("staging:").unwrap_or(key);
        let key = key.strip_prefix("staging2:").unwrap_or(key);
        assert!(key.starts_with("lh1:"), "{key}");
    }

    // A waiter of one gets no hints of another one.
    let told = metric(&nodes[0], "leasehold_store_hints_total").await;
    for node in &nodes[1..] {
        a_waiter_is_told(node, node, "queue").await;
    }
    assert!(metric(&nodes[0], "leasehold_store_hints_total").await <= told);
    nodes[1].says("key_prefix staging").await;
}

#[tokio::test]
async fn installations_share_a_server() {
    share(&Server::alone(false, Vec::new()).await, "redis").await;
}

#[tokio::test]
async fn installations_share_a_cluster() {
    share(&Server::with_all_slots().await, "redis+cluster").await;
}

#[tokio::test]
async fn a_user_with_the_rights_of_one_prefix_is_enough_for_it_and_for_no_other() {
    let server = Server::alone(false, Vec::new()).await;
    let shipped = include_str!("../../deploy/redis/leasehold.acl");
    let line = shipped
        .lines()
        .find(|line| line.starts_with("user leasehold "))
        .expect("it is shipped");
    let line = line
        .replace("lh1:", "staging:lh1:")
        .replace("user leasehold ", "ACL SETUSER leasehold ");
    let words: Vec<&str> = line.split(' ').collect();
    let () = server.query(&words).await;
    let url = format!("redis://leasehold:change-me-nodes@{}", server.address());
    let node = Launch::on(&url).set("key_prefix", "staging").start().await;
    used(&node).await;
    let trouble = ["NOPERM", "ACL failure", "executing the script"];
    let log = node.all_said().await;
    assert!(!trouble.iter().any(|word| log.contains(word)), "{log}");
    for other in [
        Launch::on(&url),
        Launch::on(&url).set("key_prefix", "staging2"),
    ] {
        let (status, said) = other.refuse().await;
        assert_eq!(status.code(), Some(6), "{said}");
    }
}

#[tokio::test]
async fn a_prefix_that_could_be_mistaken_is_refused() {
    for wrong in [
        "a b",
        "a:b",
        "{a}",
        "a*",
        "lh1",
        "lh2",
        "ä",
        &"a".repeat(33),
    ] {
        let launch = Launch::on("redis://127.0.0.1:1").set("key_prefix", wrong);
        let (status, said) = launch.refuse().await;
        assert_eq!(status.code(), Some(2), "{wrong}: {said}");
        assert!(said.contains("key_prefix"), "{said}");
    }
}

#[tokio::test]
async fn an_address_that_leads_to_another_installation_is_noticed() {
    let (ours, other) = (
        Server::alone(false, Vec::new()).await,
        Server::alone(false, Vec::new()).await,
    );
    let proxy = crate::harness::Proxy::start(ours.address().parse().expect("an address"));
    let node = Launch::on(&format!("redis://127.0.0.1:{}", proxy.port()))
        .start()
        .await;
    let id: String = ours.query(&["GET", "lh1:installation"]).await;
    assert!(id.len() >= 8, "{id}");
    drop(
        Launch::on(&format!("redis://{}", other.address()))
            .start()
            .await,
    );

    proxy.lead_to(other.address().parse().expect("an address"));
    let () = ours
        .query(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    wait_until("it is noticed", Duration::from_secs(10), async || {
        node.probe("/readyz").await == Some(503)
    })
    .await;
    let told = node.get("/readyz").expect(503).await;
    assert_eq!(told["code"], "not_ready", "{}", told.text);
    assert_eq!(told["checks"]["installation"], "another");
    node.says("another installation").await;

    // Data that was lost is no other installation: nodes put back what it was.
    proxy.lead_to(ours.address().parse().expect("an address"));
    let () = other
        .query(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
        .await;
    node.ready().await;
    let () = ours.query(&["FLUSHALL"]).await;
    wait_until("it is put back", Duration::from_secs(10), async || {
        let now: Option<String> = ours.query(&["GET", "lh1:installation"]).await;
        now.as_ref() == Some(&id)
    })
    .await;
    node.ready().await;
}

/// Both are meant to be alone: same address, same database, no prefix.
#[tokio::test]
async fn two_installations_that_meet_in_one_place_are_told_so() {
    let server = Server::alone(false, Vec::new()).await;
    let url = format!("redis://{}", server.address());
    let first = Launch::on(&url).set("pools", "crm=2").start().await;
    let held = first.acquire("crm", json!({"holder": "ann"}), 201).await;
    let second = Launch::on(&url)
        .set(
            "secret",
            "dGhlIHNlY3JldCBvZiBzb21lYm9keSBlbHNlIGFsdG9nZXRoZXI",
        )
        .set("pools", "crm=50");
    let node = second.clone().spawn();
    node.says("give this one a key_prefix or a database of its own")
        .await;
    let told = node.get("/readyz").expect(503).await;
    assert_eq!(told["checks"]["secret"], "differs", "{}", told.text);
    // The one that was there first goes on, with what it had.
    assert!(first.is_ready().await);
    assert_eq!(first.pool("crm", 200).await["capacity"], 2);
    first.renew(&held.token(), 200).await;
    wait_until("operators read it", Duration::from_secs(10), async || {
        let nodes = first.get("/v1/nodes").expect(200).await;
        nodes["disagreements"].to_string().contains("key_prefix")
    })
    .await;

    node.signal("TERM");
    node.ended(Duration::from_secs(10)).await;
    let node = second.set("key_prefix", "second").start().await;
    assert_eq!(node.pool("crm", 200).await["capacity"], 50);
    assert_eq!(node.availability("crm", 200).await["in_use"], 0);
}
