//! The audit trail: one entry for each thing that an operator did, or was not allowed to do.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Launch, Redis};

const KEY: &str = "the-operator-key-of-the-tests";

#[tokio::test]
async fn each_action_is_one_entry_with_who_what_before_and_after() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);

    admin.put_pool("crm", json!({"capacity": 5}), 201).await;
    let patched = admin.patch_pool("crm", json!({"capacity": 3}), 200).await;
    let lease = admin
        .acquire("crm", json!({"holder": "agent-7"}), 201)
        .await;
    admin
        .terminate(
            "crm",
            json!({"holder": "agent-7", "reason": "The shift is over."}),
            200,
        )
        .await;
    admin.patch_pool("crm", json!({"capcity": 3}), 400).await;
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "=cmd()", "role": "viewer"}))
        .expect(201)
        .await;
    let viewer = node.with_key(made["secret"].as_str().expect("a secret"));
    viewer.put_pool("crm", json!({"capacity": 500}), 403).await;
    node.put_pool("crm", json!({"capacity": 500}), 401).await;
    let id = made["id"].as_str().expect("an id");
    admin.post(&format!("/v1/keys/{id}/roll")).expect(200).await;
    admin
        .call(Method::DELETE, &format!("/v1/keys/{id}"))
        .expect(204)
        .await;
    admin
        .call(Method::DELETE, "/v1/pools/crm")
        .expect(204)
        .await;
    // What holders do and what is only read is not in it.
    admin.get("/v1/pools").expect(200).await;

    let trail = admin.get("/v1/audit").expect(200).await;
    let entries = trail.list("items");
    let told: Vec<_> = entries
        .iter()
        .rev()
        .map(|entry| {
            let word = |name: &str| entry[name].as_str().unwrap_or_default();
            (word("action"), word("outcome"), word("actor"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("pool.put", "done", "admin_key"),
            ("pool.patch", "done", "admin_key"),
            ("leases.terminate", "done", "admin_key"),
            ("pool.patch", "failed", "admin_key"),
            ("key.create", "done", "admin_key"),
            ("pool.put", "refused", id),
            ("pool.put", "refused", "unknown"),
            ("key.roll", "done", "admin_key"),
            ("key.revoke", "done", "admin_key"),
            ("pool.delete", "done", "admin_key"),
        ]
    );
    let patch = &entries[8];
    assert_eq!(patch["before"]["capacity"], 5);
    assert_eq!(patch["after"]["capacity"], 3);
    assert_eq!(patch["pool"], "crm");
    assert_eq!(patch["address"], "127.0.0.1");
    assert_eq!(
        patch["request_id"],
        patched.header("x-request-id").expect("a request id")
    );
    let terminate = &entries[7];
    assert_eq!(terminate["after"]["reason"], "The shift is over.");
    assert_eq!(terminate["before"]["leases"], json!([lease.id()]));

    // Filters, pages and the same as a file.
    let about_keys = admin.get("/v1/audit?action=key").expect(200).await;
    assert_eq!(about_keys.list("items").len(), 3);
    assert_eq!(
        admin
            .get("/v1/audit?outcome=refused&pool=crm")
            .expect(200)
            .await
            .list("items")
            .len(),
        2
    );
    assert_eq!(
        admin
            .get(&format!("/v1/audit?actor={id}"))
            .expect(200)
            .await
            .list("items")
            .len(),
        1
    );
    assert_eq!(
        admin
            .get("/v1/audit?to=2020-01-01T00:00:00Z")
            .expect(200)
            .await
            .list("items")
            .len(),
        0
    );
    assert_eq!(
        admin
            .get("/v1/audit?from=2020-01-01T00:00:00Z")
            .expect(200)
            .await
            .list("items")
            .len(),
        10
    );
    let mut cursor = String::new();
    let mut seen = Vec::new();
    loop {
        let page = admin
            .get(&format!("/v1/audit?limit=3{cursor}"))
            .expect(200)
            .await;
        seen.extend(page.list("items").iter().map(|entry| entry["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all: Vec<_> = entries.iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!(seen, all);
    for query in ["cursor=x", "from=yesterday", "limit=0", "colour=red"] {
        admin.get(&format!("/v1/audit?{query}")).expect(400).await;
    }
    let file = admin
        .get("/v1/audit")
        .header("accept", "text/csv")
        .expect(200)
        .await;
    assert!(
        file.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/csv"))
    );
    assert_eq!(file.text.lines().count(), 11);
    assert!(file.text.contains(",'=cmd(),"), "{}", file.text);
}
