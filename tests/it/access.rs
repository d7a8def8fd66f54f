//! Access: who may do what. Without a key the node is open to its own machine; with one, operators show it.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Client, Launch, Node, Redis};

const KEY: &str = "the-operator-key-of-the-tests";

/// What only operators may do, with a body for those that take one.
const OPERATORS: [(Method, &str, &str); 8] = [
    (Method::GET, "/v1/pools", ""),
    (Method::GET, "/v1/pools/crm", ""),
    (Method::PUT, "/v1/pools/crm", r#"{"capacity": 5}"#),
    (Method::PATCH, "/v1/pools/crm", r#"{"capacity": 5}"#),
    (Method::GET, "/v1/pools/crm/leases", ""),
    (
        Method::POST,
        "/v1/pools/crm/leases/terminate",
        r#"{"all": true}"#,
    ),
    (Method::DELETE, "/v1/pools/crm", ""),
    (Method::PUT, "/v1/pools/phone", r#"{"capacity": 5}"#),
];

async fn closed(redis: &Redis) -> Node {
    Launch::on(&redis.url()).set("admin_key", KEY).start().await
}

async fn operate(client: &Client, status: &[u16]) {
    for (method, path, body) in OPERATORS {
        let mut call = client.call(method.clone(), path);
        if !body.is_empty() {
            call = call.header("content-type", "application/json").body(body);
        }
        let answer = call.expect([]).await;
        assert!(
            status.contains(&answer.status),
            "{method} {path}: {} {}",
            answer.status,
            answer.text
        );
        if answer.status == 401 {
            assert_eq!(answer["code"], "unauthorized", "{method} {path}");
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(
                challenge.starts_with("Bearer"),
                "{method} {path}: {challenge}"
            );
        }
    }
}

#[tokio::test]
async fn operators_show_their_key_and_others_learn_nothing() {
    let redis = Redis::start().await;
    let node = closed(&redis).await;
    let operator = node.with_key(KEY);
    operator.put_pool("crm", json!({"capacity": 5}), 201).await;
    let lease = operator.acquire("crm", json!({}), 201).await;

    operate(&node, &[401]).await;
    for wrong in [
        "",
        "wrong",
        "the-operator-key-of-the-test",
        "the-operator-key-of-the-tests2",
        &lease.token(),
    ] {
        operate(&node.with_key(wrong), &[401]).await;
    }
    // Other places for a key are none.
    node.get(&format!("/v1/pools?key={KEY}"))
        .expect([400, 401])
        .await;
    node.get("/v1/pools")
        .header("authorization", &format!("Basic {KEY}"))
        .expect(401)
        .await;
    node.get("/v1/pools")
        .header("x-api-key", KEY)
        .expect(401)
        .await;
    // Not even which pools there are.
    node.pool("nowhere", 401).await;
    node.renew(&lease.token(), 200).await;

    operate(&operator, &[200, 201, 204]).await;
}

#[tokio::test]
async fn a_token_needs_no_other_credential() {
    let redis = Redis::start().await;
    let node = closed(&redis).await;
    let operator = node.with_key(KEY);
    operator.put_pool("crm", json!({"capacity": 5}), 201).await;
    let token = operator.acquire("crm", json!({}), 201).await.token();

    node.renew(&token, 200).await;
    node.renew_many(&[&token], 200).await;
    node.leave(&token, 204).await;
    node.release(&token, 204).await;
}

#[tokio::test]
async fn a_seat_needs_a_key_where_there_are_keys() {
    let redis = Redis::start().await;
    let node = closed(&redis).await;
    node.with_key(KEY)
        .put_pool("crm", json!({"capacity": 5}), 201)
        .await;

    node.acquire("crm", json!({}), 401).await;
    node.availability("crm", 401).await;
    node.with_key("wrong").acquire("crm", json!({}), 401).await;

    node.with_key(KEY).acquire("crm", json!({}), 201).await;
    assert_eq!(
        node.with_key(KEY).availability("crm", 200).await["in_use"],
        1
    );
}

#[tokio::test]
async fn machines_and_readers_of_the_interface_need_no_key() {
    let redis = Redis::start().await;
    let node = closed(&redis).await;

    for path in ["/livez", "/readyz", "/v1/openapi.json"] {
        node.get(path).expect(200).await;
    }
}

#[tokio::test]
async fn without_a_key_everything_is_open_to_this_machine() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;

    operate(&node, &[200, 201, 204]).await;
}

#[tokio::test]
async fn without_a_key_no_other_machine_is_let_in() {
    let redis = Redis::start().await;

    let (status, log) = Launch::on(&redis.url())
        .set("listen", "0.0.0.0:1")
        .refuse()
        .await;

    assert!(!status.success());
    assert!(log.contains("admin_key") && log.contains("listen"), "{log}");
}
