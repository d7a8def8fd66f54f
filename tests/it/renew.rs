//! Renew: the heartbeat that keeps a seat.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Installation, Launch, Redis, let_pass};

#[tokio::test]
async fn a_renew_on_any_node_gives_the_lease_its_whole_ttl_again() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1, "ttl_ms": 30_000}), 201)
        .await;
    let granted = a
        .acquire("crm", json!({"holder": "ann", "label": "Front desk"}), 201)
        .await;

    let_pass(30).await;
    let renewed = b.renew(&granted.token(), 200).await;

    assert_eq!(renewed["resumed"], false);
    assert_eq!(renewed.id(), granted.id());
    assert_eq!(renewed["lease"]["expires_in_ms"], 30_000);
    assert_eq!(renewed["lease"]["renew_after_ms"], 10_000);
    assert!(renewed.instant("/lease/expires_at") >= granted.instant("/lease/expires_at") + 30);
    assert_eq!(
        renewed.instant("/lease/expires_at"),
        renewed.instant("/lease/renewed_at") + 30_000
    );
    for field in [
        "holder",
        "label",
        "fence",
        "started_at",
        "pool",
        "seat",
        "ttl_ms",
    ] {
        assert_eq!(renewed["lease"][field], granted["lease"][field], "{field}");
    }
    // A young token is still the latest.
    assert!(renewed["token"].is_null());
}

#[tokio::test]
async fn a_renew_may_change_what_the_holder_is_doing() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let body = json!({"holder": "ann", "label": "Front desk", "activities": ["Order 17"]});
    let token = node.acquire("crm", body, 201).await.token();

    let changed =
        json!({"token": token, "activities": ["Order 18", "Order 19"], "label": "Back desk"});
    let renewed = node.renew_with(changed, 200).await;
    assert_eq!(
        renewed["lease"]["activities"],
        json!(["Order 18", "Order 19"])
    );
    assert_eq!(renewed["lease"]["label"], "Back desk");

    // What is not said stays.
    let renewed = node.renew(&token, 200).await;
    assert_eq!(
        renewed["lease"]["activities"],
        json!(["Order 18", "Order 19"])
    );
    assert_eq!(renewed["lease"]["label"], "Back desk");

    let renewed = node
        .renew_with(json!({"token": token, "activities": []}), 200)
        .await;
    assert_eq!(renewed["lease"]["activities"], json!([]));

    let listed = node.list("crm", "", 200).await;
    assert_eq!(listed["items"][0]["label"], "Back desk");
    assert_eq!(listed["items"][0]["activities"], json!([]));
}

#[tokio::test]
async fn a_renew_tells_the_present_label_and_activities_whichever_token_of_the_lease_it_shows() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let idle = json!({"after_ms": 60_000, "then": "count"});
    for (pool, policy) in [
        ("plain", json!({"capacity": 9})),
        ("watched", json!({"capacity": 9, "idle": idle})),
    ] {
        a.put_pool(pool, policy, 201).await;
        let other = a.acquire(pool, json!({"holder": "bob", "label": "B"}), 201);
        let (other, body) = (other.await.token(), json!({"holder": "ann", "label": "A"}));
        let first = a.acquire(pool, body, 201).await.token();
        b.renew(&first, 200).await;
        let change = json!({"token": first, "label": "L", "activities": ["x"]});
        let second = a.renew_with(change, 200).await.token();

        // Whoever did not get the new token is told the same, and gets one again.
        for node in [b, a, b] {
            let told = node.renew(&first, 200).await;
            assert_eq!(
                (&told["lease"]["label"], &told["lease"]["activities"]),
                (&json!("L"), &json!(["x"])),
                "{pool}"
            );
            let told = node.renew(&told.token(), 200).await;
            assert!(told["token"].is_null(), "{pool}");
            // The others have what they had.
            let told = node.renew(&other, 200).await;
            assert_eq!(told["lease"]["label"], "B");
            assert!(told["token"].is_null(), "{pool}");
        }
        let change = json!({"token": first, "label": "M", "activities": []});
        a.renew_with(change, 200).await;
        let many = json!({"tokens": [first, second, other]});
        let many = b.call(Method::POST, "/v1/leases/renew-many").json(&many);
        let many = many.expect(200).await;
        assert!(many["results"][0]["token"].is_string(), "{}", many.text);
        assert!(many["results"][1]["token"].is_string(), "{}", many.text);
        assert!(many["results"][2]["token"].is_null(), "{}", many.text);
        // Neither does an old one bring back what was, where more has to be decided.
        let notice = json!({"message": "Lunch."});
        let notice = b.post("/v1/holders/ann/notice").json(&notice);
        notice.expect(202).await;
        let told = b.renew(&second, 200).await;
        assert_eq!(told["notice"]["message"], "Lunch.");
        assert_eq!(told["lease"]["label"], "M");
        let listed = a.list(pool, "holder=ann", 200).await;
        assert_eq!(listed["items"][0]["label"], "M", "{pool}");
        let path = format!("/v1/pools/{pool}");
        a.call(Method::DELETE, &path).expect(204).await;
    }
}

#[tokio::test]
async fn a_lease_that_beats_outlives_its_ttl() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 1_000}), 201)
        .await;
    let granted = node.acquire("crm", json!({}), 201).await;

    for _ in 0..8 {
        let_pass(300).await;
        assert_eq!(node.renew(&granted.token(), 200).await["resumed"], false);
        node.acquire("crm", json!({}), 409).await;
    }
}

#[tokio::test]
async fn a_page_can_beacon_as_plain_text() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let token = node.acquire("crm", json!({}), 201).await.token();
    let body = json!({"token": token}).to_string();

    for content_type in [
        "text/plain;charset=UTF-8",
        "application/octet-stream",
        "application/json",
    ] {
        let call = node
            .post("/v1/leases/renew")
            .header("content-type", content_type);
        call.body(body.clone()).expect(200).await;
    }
    node.post("/v1/leases/leave")
        .body(body.clone())
        .expect(204)
        .await;
    node.post("/v1/leases/release")
        .header("content-type", "text/plain")
        .body(body)
        .expect(204)
        .await;
}

#[tokio::test]
async fn a_shorter_ttl_takes_back_nothing_that_was_promised() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 1, "ttl_ms": 60_000}), 201)
        .await;
    let granted = a.acquire("crm", json!({}), 201).await;

    a.patch_pool("crm", json!({"ttl_ms": 2_000}), 200).await;

    b.renew(&granted.token(), 200).await;
    // A new lease has the new TTL at once, on every node.
    a.patch_pool("crm", json!({"capacity": 2}), 200).await;
    let second = b.acquire("crm", json!({}), 201).await;
    assert_eq!(second["lease"]["ttl_ms"], 2_000);
    assert_eq!(second["lease"]["expires_in_ms"], 2_000);
    let_pass(2_050).await;
    let listed = b.list("crm", "", 200).await;
    let ids: Vec<_> = listed
        .list("items")
        .iter()
        .map(|lease| &lease["id"])
        .collect();
    assert_eq!(ids, [granted.id().as_str()]);
}

#[tokio::test]
async fn a_token_that_does_not_verify_renews_nothing() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let token = node.acquire("crm", json!({}), 201).await.token();

    let other_secret = "YW5vdGhlciBzZWNyZXQsIG9mIGFub3RoZXIgY2x1c3Rlcg";
    let elsewhere = Redis::start().await;
    let stranger = Launch::on(&elsewhere.url())
        .set("secret", other_secret)
        .start()
        .await;
    stranger.put_pool("crm", json!({"capacity": 5}), 201).await;
    let foreign = stranger.acquire("crm", json!({}), 201).await.token();

    let truncated = &token[..token.len() - 4];
    let tampered = tampered(&token);
    let stretched = format!("{token}AA");
    for wrong in [
        truncated,
        &tampered,
        &stretched,
        &foreign,
        "x",
        "",
        "ü",
        &"x".repeat(4_096),
    ] {
        for route in ["renew", "release", "leave"] {
            let call = node
                .post(&format!("/v1/leases/{route}"))
                .json(&json!({ "token": wrong }));
            let refused = call.expect(401).await;
            assert_eq!(refused["code"], "invalid_token", "{route} {wrong}");
        }
    }
    node.renew(&token, 200).await;
}

/// The token with one character changed, in the middle of what is signed.
fn tampered(token: &str) -> String {
    let at = token.len() / 3;
    let other = if token.as_bytes()[at] == b'A' {
        'B'
    } else {
        'A'
    };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}
