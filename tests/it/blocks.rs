//! Blocks: a holder gets no seat for a time, reads the end and the reason, and operators see and lift blocks.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Installation, Node, Reply, let_pass};

async fn put(node: &Node, pool: &str, holder: &str, body: Value, status: u16) -> Reply {
    let path = format!("/v1/pools/{pool}/blocks/{holder}");
    node.call(Method::PUT, &path)
        .json(&body)
        .expect(status)
        .await
}

async fn lift(node: &Node, pool: &str, holder: &str, status: u16) {
    let path = format!("/v1/pools/{pool}/blocks/{holder}");
    node.call(Method::DELETE, &path).expect(status).await;
}

#[tokio::test]
async fn a_blocked_holder_reads_until_when_and_why_and_a_lifted_one_gets_its_seat() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    for (pool, policy) in [
        ("plain", json!({"capacity": 5})),
        ("rules", json!({"capacity": 5, "tenant_max": 5})),
    ] {
        a.put_pool(pool, policy, 201).await;
        let lease = a.acquire(pool, json!({"holder": "ann"}), 201).await;
        let body = json!({"for_ms": 60_000, "reason": "Call the desk."});
        let block = put(a, pool, "ann", body, 200).await;
        assert_eq!(block["pool"], pool);
        assert_eq!(block["holder"], "ann");
        assert_eq!(block["reason"], "Call the desk.");
        assert_eq!(block["by"], "no key");
        assert_eq!(
            block.instant("/until"),
            block.instant("/since") + 60_000,
            "{}",
            block.text
        );

        let denied = b.acquire(pool, json!({"holder": "ann"}), 409).await;
        assert_eq!(denied["code"], "holder_blocked");
        assert_eq!(denied["reason"], "Call the desk.");
        assert_eq!(denied["blocked_until"], block["until"]);
        // What it has it keeps.
        b.renew(&lease.token(), 200).await;
        b.acquire(pool, json!({"holder": "bob"}), 201).await;

        let path = format!("/v1/pools/{pool}/blocks");
        let listed = b.get(&path).expect(200).await;
        assert_eq!(listed["items"], json!([block.body]));
        assert_eq!(listed["next_cursor"], Value::Null);

        lift(b, pool, "ann", 204).await;
        lift(b, pool, "ann", 204).await;
        lift(b, pool, "nobody", 204).await;
        assert_eq!(a.get(&path).expect(200).await["items"], json!([]));
        a.acquire(pool, json!({"holder": "ann"}), 201).await;
    }
}

#[tokio::test]
async fn a_block_ends_by_itself_and_can_be_made_shorter() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "100")]).await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5, "ttl_ms": 1_000}), 201)
        .await;
    put(node, "crm", "ann", json!({"for_ms": 3_600_000}), 200).await;
    let block = put(
        node,
        "crm",
        "ann",
        json!({"for_ms": 300, "reason": "Short."}),
        200,
    )
    .await;
    let denied = node.acquire("crm", json!({"holder": "ann"}), 409).await;
    assert!(denied.number("/retry_after_ms") <= 300);
    assert_eq!(denied["reason"], "Short.");
    let_pass(denied.number("/retry_after_ms")).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    assert!(lease.instant("/lease/started_at") >= block.instant("/until"));
    let listed = node.get("/v1/pools/crm/blocks").expect(200).await;
    assert_eq!(listed["items"], json!([]));

    // An instant, and a late beat of a blocked holder that reads why.
    let until = leasehold::time::Timestamp(lease.instant("/lease/started_at") + 3_600_000);
    let body = json!({"until": until, "reason": "An hour."});
    let block = put(node, "crm", "ann", body, 200).await;
    assert_eq!(block["until"], json!(until));
    let_pass(1_100).await;
    let lost = node.renew(&lease.token(), 410).await;
    assert_eq!(lost["code"], "lease_terminated");
    assert_eq!(lost["reason"], "An hour.");
    assert_eq!(lost["blocked_until"], json!(until));
}

#[tokio::test]
async fn a_termination_with_a_block_is_in_the_list_and_one_of_an_earlier_node_has_no_reason() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let why = json!({"holder": "ann", "reason": "Enough.", "block_ms": 60_000});
    node.terminate("crm", why, 200).await;
    let listed = node.get("/v1/blocks").expect(200).await;
    let [block] = listed.list("items") else {
        panic!("{}", listed.text);
    };
    assert_eq!(block["holder"], "ann");
    assert_eq!(block["reason"], "Enough.");
    assert_eq!(block["by"], "no key");

    // It writes only the end.
    let blocks = cluster.redis.keys("lh1:*:crm:blocks").await.remove(0);
    let until = "4102444800000";
    let _: i64 = cluster.redis.query(&["ZADD", &blocks, until, "ann"]).await;
    let listed = node.get("/v1/pools/crm/blocks").expect(200).await;
    let expected = json!([{"pool": "crm", "holder": "ann", "until": "2100-01-01T00:00:00.000Z", "reason": null,
        "by": null, "since": null, "tenants": null}]);
    assert_eq!(listed["items"], expected);
    let denied = node.acquire("crm", json!({"holder": "ann"}), 409).await;
    assert_eq!(denied["reason"], Value::Null);
    assert_eq!(denied["blocked_until"], "2100-01-01T00:00:00.000Z");
}

#[tokio::test]
async fn blocks_are_listed_page_by_page_and_as_a_table() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let mut all = 0;
    for pool in ["a", "b", "c"] {
        node.put_pool(pool, json!({"capacity": 5}), 201).await;
        for number in 0..4 {
            // Two end together; their order is Redis's.
            let body = json!({"for_ms": 60_000 + number / 2, "reason": "=1+1"});
            if pool != "b" {
                let holder = format!("holder-{number}");
                put(node, pool, &holder, body, 200).await;
                all += 1;
            }
        }
    }
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/blocks?limit=3{cursor}");
        let page = node.get(&path).expect(200).await;
        assert!(page.list("items").len() <= 3);
        for item in page.list("items") {
            found.push((item["pool"].clone(), item["holder"].clone()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found.len(), all);
    assert!(found.windows(2).all(|pair| pair[0] != pair[1]));

    let table = node.get("/v1/pools/a/blocks?format=csv").expect(200).await;
    let mut lines = table.text.lines();
    assert_eq!(
        lines.next(),
        Some("pool,holder,until,reason,by,since,tenants")
    );
    assert_eq!(lines.clone().count(), 4);
    assert!(lines.all(|line| line.contains(",'=1+1,no key,")));
    let first = node.get("/v1/blocks?format=csv&limit=3").expect(200).await;
    assert!(
        first
            .header("link")
            .is_some_and(|link| link.contains("cursor="))
    );
}

#[tokio::test]
async fn a_block_that_cannot_be_is_refused() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    for body in [
        json!({}),
        json!({"for_ms": 0}),
        json!({"for_ms": -1}),
        json!({"for_ms": 31_622_400_001_u64}),
        json!({"for_ms": 1, "until": "2099-01-01T00:00:00Z"}),
        json!({"until": "2020-01-01T00:00:00Z"}),
        json!({"until": "1960-01-01T00:00:00Z"}),
        json!({"until": "2999-01-01T00:00:00Z"}),
        json!({"until": "tomorrow"}),
        json!({"for_ms": 1_000, "reason": "x".repeat(513)}),
        json!({"for_ms": 1_000, "because": "x"}),
    ] {
        let refused = put(node, "crm", "ann", body, 400).await;
        assert_eq!(refused["code"], "invalid_request");
    }
    put(node, "nowhere", "ann", json!({"for_ms": 1_000}), 404).await;
    lift(node, "nowhere", "ann", 404).await;
    node.get("/v1/pools/nowhere/blocks").expect(404).await;
    node.get("/v1/blocks?cursor=x").expect(400).await;
    node.get("/v1/blocks?limit=0").expect(400).await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
}

#[tokio::test]
async fn a_pool_that_keeps_no_names_lists_what_it_keeps() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let policy = json!({"capacity": 5, "privacy": "pseudonymous"});
    node.put_pool("secret", policy, 201).await;
    let block = put(node, "secret", "ann", json!({"for_ms": 60_000}), 200).await;
    let kept = block["holder"].as_str().expect("a pseudonym");
    assert!(kept.starts_with('~'), "{kept}");
    let denied = node.acquire("secret", json!({"holder": "ann"}), 409).await;
    assert_eq!(denied["code"], "holder_blocked");
    let listed = node.get("/v1/blocks").expect(200).await;
    assert_eq!(listed["items"][0]["holder"], kept);
    let trail = node.get("/v1/audit").expect(200).await;
    assert!(!trail.text.contains("ann\""), "{}", trail.text);
    lift(node, "secret", "ann", 204).await;
    node.acquire("secret", json!({"holder": "ann"}), 201).await;

    let policy = json!({"capacity": 5, "privacy": "anonymous"});
    node.put_pool("nobody", policy, 201).await;
    put(node, "nobody", "ann", json!({"for_ms": 60_000}), 400).await;
}
