//! The secret that signs tokens is changed as `docs/operating.md` says, node by node, and nobody notices.

use serde_json::json;

use crate::harness::{Launch, Node, Redis, SECRET};

const NEW: &str = "dGhlIG5ldyBvbmUsIGZvciB0aGUgdGltZSBhZnRlciB0aGlz";
/// Has signed nothing: it stands where there is no former secret any more.
const OTHER: &str = "bm8gdG9rZW4gd2FzIGV2ZXIgc2lnbmVkIHdpdGggdGhpcw";

/// Stops the node as an orchestrator does, and starts it with other settings.
async fn roll(node: &mut Node, secret: &str, previous: &str) {
    node.signal("TERM");
    node.ended(std::time::Duration::from_secs(30)).await;
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
