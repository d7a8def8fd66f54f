//! `leasehold demo`: something to look at in the first minute, apart from everything else.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Launch, wait_until};

#[tokio::test]
async fn a_demo_has_a_past_and_a_crowd_and_leaves_an_installation_alone() {
    // What leads to an installation is not looked at: nobody is at this address.
    let mut node = Launch::demo()
        .set("redis_url", "redis://127.0.0.1:1")
        .set("admin_key", "the-operator-key-of-the-tests")
        .start()
        .await;
    let usage = node
        .get("/v1/pools/demo-support/usage?days=30")
        .expect(200)
        .await;
    assert!(
        usage["daily"]
            .as_array()
            .is_some_and(|days| days.len() >= 30)
    );
    assert!(
        usage["daily_max"]
            .as_u64()
            .is_some_and(|most| (15..=24).contains(&most)),
        "{}",
        usage.text
    );
    let history = node
        .get("/v1/pools/demo-sales/history?step=day")
        .expect(200)
        .await;
    let denied = history
        .list("items")
        .iter()
        .filter(|day| day["denials"]["pool_full"].is_u64());
    assert!(denied.count() >= 3, "{}", history.text);
    let sizing = node.get("/v1/pools/demo-sales/sizing").expect(200).await;
    let harvest = &sizing["harvest"];
    assert!(
        harvest["idle_mean"].as_f64().is_some_and(|idle| idle > 0.2),
        "{harvest}"
    );
    assert_ne!(
        harvest["busiest_day"]["wanted"],
        harvest["busiest_day"]["used"]
    );
    wait_until("people have come", Duration::from_secs(20), async || {
        let pool = node.pool("demo-support", 200).await;
        pool["in_use"].as_u64().is_some_and(|seats| seats >= 10)
    })
    .await;
    let page = node
        .get("/admin")
        .header("accept", "text/html")
        .expect(200)
        .await;
    assert!(page.text.contains("Demonstration: "), "{}", page.text);
    let people = node
        .get("/v1/holders?q=example.com&limit=1")
        .expect(200)
        .await;
    let somebody = people["items"][0]["holder"]
        .as_str()
        .expect("somebody")
        .replace('@', "%40");
    let page = node
        .get(&format!("/admin/people/{somebody}"))
        .header("accept", "text/html")
        .expect(200)
        .await;
    assert!(
        page.text.contains("The last 30 days") && !page.text.contains("Nothing is known"),
        "{}",
        page.text
    );

    // The next time it goes on with what there is.
    let version = node.pool("demo-support", 200).await["version"].clone();
    node.restart().await;
    assert_eq!(node.pool("demo-support", 200).await["version"], version);
    node.put_pool("mine", json!({"capacity": 1}), 201).await;
}
