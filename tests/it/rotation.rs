//! The secret that signs tokens is changed as `docs/secrets.md` says, node by node, and nobody notices.

use std::time::Duration;

use serde_json::json;

use crate::failover::run;
use crate::harness::{Launch, Node, Redis, SECRET, wait_until};

const NEW: &str = "dGhlIG5ldyBvbmUsIGZvciB0aGUgdGltZSBhZnRlciB0aGlz";
/// Has signed nothing: it stands where there is no former secret any more.
const OTHER: &str = "bm8gdG9rZW4gd2FzIGV2ZXIgc2lnbmVkIHdpdGggdGhpcw";

/// Stops the node as an orchestrator does, and starts it with other settings.
async fn roll(node: &mut Node, secret: &str, previous: &str) {
    node.signal("TERM");
    node.ended(Duration::from_secs(30)).await;
    let launch = node
        .launch()
        .set("secret", secret)
        .set("previous_secrets", previous);
    *node = launch.start().await;
}

#[tokio::test]
async fn a_secret_is_changed_on_one_node_after_the_other_and_every_token_stays_good() {
    let redis = Redis::start().await;
    let mut a = Launch::on(&redis.url()).start().await;
    let mut b = Launch::on(&redis.url()).start().await;
    a.put_pool("crm", json!({"capacity": 100}), 201).await;

    // All nodes learn the new one; then they sign with it; in each step each node verifies what the other signs.
    let mut tokens = Vec::new();
    for (secret, previous) in [(SECRET, NEW), (NEW, SECRET)] {
        for which in 0..2 {
            roll(if which == 0 { &mut a } else { &mut b }, secret, previous).await;
            for node in [&a, &b] {
                tokens.push(
                    node.acquire("crm", json!({"holder": "ann"}), 201)
                        .await
                        .token(),
                );
            }
            for token in &tokens {
                a.renew(token, 200).await;
                b.renew(token, 200).await;
            }
        }
    }
    // A day later, when no older token is good any more, the old one is forgotten.
    let last = a
        .acquire("crm", json!({"holder": "bob"}), 201)
        .await
        .token();
    for node in [&mut a, &mut b] {
        roll(node, NEW, OTHER).await;
        node.renew(&last, 200).await;
        let refused = node.renew(&tokens[0], 401).await;
        assert_eq!(refused["code"], "invalid_token");
    }
}

async fn readiness(node: &Node) -> (u16, String) {
    let answer = node.get("/readyz").expect([200, 503]).await;
    (answer.status, answer["checks"]["secret"].to_string())
}

/// Starts the node with other settings, and does not wait until it is ready.
async fn replace(node: &mut Node, secret: &str, previous: Option<&str>) {
    node.signal("TERM");
    node.ended(Duration::from_secs(30)).await;
    let mut launch = node.launch().set("secret", secret);
    if let Some(previous) = previous {
        launch = launch.set("previous_secrets", previous);
    }
    *node = launch.spawn();
    wait_until("it serves", Duration::from_secs(20), async || {
        node.probe("/livez").await == Some(200)
    })
    .await;
}

#[tokio::test]
async fn a_node_that_signs_what_others_cannot_verify_is_the_one_that_is_not_ready() {
    let redis = Redis::start().await;
    let mut a = Launch::on(&redis.url()).start().await;
    let mut b = Launch::on(&redis.url()).start().await;
    let ok = (200, "\"ok\"".to_owned());
    assert_eq!(
        (readiness(&a).await, readiness(&b).await),
        (ok.clone(), ok.clone())
    );

    // The wrong order: it signs with the new one before the other knows that. From its first answer on it is not ready.
    replace(&mut b, NEW, Some(SECRET)).await;
    assert_eq!(readiness(&b).await, (503, "\"differs\"".to_owned()));
    wait_until(
        "its announcement shows it",
        Duration::from_secs(20),
        async || {
            let nodes = a.get("/v1/nodes").expect(200).await;
            let said: Vec<_> = nodes
                .list("items")
                .iter()
                .map(|node| node["secret"].clone())
                .collect();
            said == ["ok", "differs"] && nodes.list("disagreements").len() == 1
        },
    )
    .await;
    assert_eq!(readiness(&a).await, ok);
    let page = a
        .get("/admin/nodes")
        .header("accept", "text/html")
        .expect(200)
        .await;
    assert!(
        page.text
            .contains("signs with a secret that others do not have")
    );
    let log = b.all_said().await;
    let warned = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("secret that others"));
    assert_eq!(warned.count(), 1, "{log}");
    assert!(!log.contains(NEW) && !log.contains(SECRET), "{log}");
    let doctor = run("doctor", &redis.direct_url());
    let findings = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1), "{findings}");
    assert!(findings.contains("signs with a secret"), "{findings}");

    // One that is wrong keeps no other from a restart.
    replace(&mut a, SECRET, None).await;
    wait_until(
        "the right one is ready",
        Duration::from_secs(20),
        async || readiness(&a).await.0 == 200,
    )
    .await;

    // When all know the new one all are ready.
    replace(&mut a, SECRET, Some(NEW)).await;
    wait_until("all are ready", Duration::from_secs(20), async || {
        readiness(&a).await.0 == 200 && readiness(&b).await.0 == 200
    })
    .await;
    let token = b.put_pool("crm", json!({"capacity": 5}), 201).await;
    drop(token);
    let lease = b.acquire("crm", json!({}), 201).await;
    a.renew(&lease.token(), 200).await;
}

#[tokio::test]
async fn settings_that_are_not_the_same_everywhere_are_named() {
    let redis = Redis::start().await;
    let a = Launch::on(&redis.url()).start().await;
    let b = Launch::on(&redis.url())
        .set("webhook_attempts", "3")
        .start()
        .await;
    wait_until("they are compared", Duration::from_secs(20), async || {
        let nodes = a.get("/v1/nodes").expect(200).await;
        let said = nodes["disagreements"].to_string();
        said.contains("webhook_attempts is not the same on all nodes")
            && nodes.list("disagreements").len() == 1
    })
    .await;
    // It is a matter of taste, and keeps nobody from serving.
    assert!(a.is_ready().await && b.is_ready().await);
}

#[tokio::test]
async fn blanks_around_a_secret_do_not_count() {
    let redis = Redis::start().await;
    let a = Launch::on(&redis.url())
        .set("secret", &format!("{SECRET}\n"))
        .start()
        .await;
    let b = Launch::on(&redis.url()).start().await;
    a.put_pool("crm", json!({"capacity": 5}), 201).await;
    let lease = a.acquire("crm", json!({}), 201).await;
    b.renew(&lease.token(), 200).await;
}
