//! Logins of the admin pages: a cookie is good only as it was made, only here, and only as long as its key.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::admin_pages::{form, log_in, page_of_ours};
use crate::harness::{ANY, Client, Installation, Launch, Redis, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";

/// The status of the overview with this cookie: 200, or 303 to the login.
async fn overview(node: &Client, cookie: &str) -> u16 {
    node.get("/admin")
        .header("accept", "text/html")
        .header("cookie", cookie)
        .expect(ANY)
        .await
        .status
}

#[tokio::test]
async fn a_cookie_with_any_character_changed_is_none() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let cookie = log_in(&node, KEY).await;
    let (name, value) = cookie.split_once('=').expect("a name and a value");
    assert_eq!(overview(&node, &cookie).await, 200);
    for at in 0..value.len() {
        let mut bytes = value.as_bytes().to_vec();
        // Another character of the same alphabet: one that differs in its first bit, which every reading sees.
        bytes[at] = match bytes[at] {
            b'A'..=b'Z' | b'a'..=b'f' => b'9',
            _ => b'A',
        };
        let forged = format!("{name}={}", String::from_utf8(bytes).expect("ASCII"));
        assert_eq!(overview(&node, &forged).await, 303, "{forged}");
    }
    for forged in [
        format!("{name}={}", &value[..value.len() - 1]),
        format!("{name}={value}="),
        format!("{name}=\"{value}\""),
        format!("{name}={}", value.to_uppercase()),
        format!("{}={value}", name.to_lowercase()),
    ] {
        assert_eq!(overview(&node, &forged).await, 303, "{forged}");
    }
    assert_eq!(overview(&node, &cookie).await, 200);
}

#[tokio::test]
async fn a_cookie_that_another_secret_sealed_is_none() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let other = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("secret", "YW5vdGhlciBzZWNyZXQgdGhhbiB0aGUgb25lIG9mIHRlc3Rz")
        .spawn();
    // It is not ready, and serves whoever asks all the same.
    wait_until("it serves", Duration::from_secs(20), async || {
        other.probe("/livez").await == Some(200)
    })
    .await;
    // The login itself is in the Redis that both have.
    let cookie = log_in(&other, KEY).await;
    assert_eq!(overview(&other, &cookie).await, 200);
    assert_eq!(overview(&node, &cookie).await, 303);
    // A node that cannot verify the login does not list it either.
    for (client, sessions) in [(&*node, 0), (&*other, 1)] {
        let listed = client.with_key(KEY).get("/v1/sessions").expect(200).await;
        assert_eq!(listed.list("items").len(), sessions);
    }
}

#[tokio::test]
async fn a_login_ends_with_its_time_and_with_the_data_of_redis() {
    let redis = Redis::start_alone().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let cookie = log_in(&node, KEY).await;
    let logins = redis.keys("lh1:{login}:*").await;
    assert_eq!(logins.len(), 1, "{logins:?}");
    let left: i64 = redis.query(&["TTL", &logins[0]]).await;
    assert!(
        (8 * 60 * 60..=8 * 60 * 60 + 30 * 60).contains(&left),
        "{left}"
    );
    // What is kept of it is a hash.
    let value = cookie.split_once('=').expect("a value").1;
    let id = value.split('.').next().expect("an id");
    assert!(!logins[0].contains(id), "{logins:?}");
    // The last page was 29 minutes ago, and then 31.
    let left = (8 * 60 + 1) * 60 * 1_000;
    let _: i64 = redis
        .query(&["PEXPIRE", &logins[0], &left.to_string()])
        .await;
    assert_eq!(overview(&node, &cookie).await, 200);
    let left = (8 * 60 - 1) * 60 * 1_000;
    let _: i64 = redis
        .query(&["PEXPIRE", &logins[0], &left.to_string()])
        .await;
    assert_eq!(overview(&node, &cookie).await, 303);
    // Nor is one of an older node, which Redis ends.
    let cookie = log_in(&node, KEY).await;
    let all = redis.keys("lh1:{login}:*").await;
    let login = all
        .iter()
        .find(|key| **key != logins[0])
        .expect("it is new");
    let _: i64 = redis.query(&["PEXPIRE", login, "1800000"]).await;
    assert_eq!(overview(&node, &cookie).await, 200);
    let _: i64 = redis.query(&["PEXPIREAT", login, "1"]).await;
    wait_until("it ends", Duration::from_secs(30), async || {
        overview(&node, &cookie).await == 303
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_ends_its_logins_on_all_nodes_within_a_second() {
    let cluster = Installation::start_with(2, &[("admin_key", KEY)]).await;
    let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
    let admin = a.with_key(KEY);
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "o", "role": "operator"}))
        .expect(201)
        .await;
    let cookie = log_in(a, made["secret"].as_str().expect("a secret")).await;
    let kept = log_in(b, KEY).await;
    assert_eq!(
        (overview(a, &cookie).await, overview(b, &cookie).await),
        (200, 200)
    );
    let id = made["id"].as_str().expect("an id");
    admin
        .call(Method::DELETE, &format!("/v1/keys/{id}"))
        .expect(204)
        .await;
    // Without a page: one takes long on a busy machine.
    let interface = async |node: &Client| {
        let call = node.get("/v1/pools").header("cookie", &cookie);
        call.expect(ANY).await.status
    };
    assert_eq!(interface(a).await, 401);
    wait_until("the other node knows", Duration::from_secs(1), async || {
        interface(b).await == 401
    })
    .await;
    assert_eq!(
        (overview(a, &cookie).await, overview(b, &cookie).await),
        (303, 303)
    );
    // Whose key it was not is not logged out.
    assert_eq!(
        (overview(a, &kept).await, overview(b, &kept).await),
        (200, 200)
    );
}

#[tokio::test]
async fn each_login_is_another_and_guessing_is_slowed_down() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let first = log_in(&node, KEY).await;
    // A cookie that somebody planted is not made good by logging in with it.
    let planted = "__Host-leasehold=cGxhbnRlZA.cGxhbnRlZA";
    let entered = form(
        page_of_ours(&node, "/admin/login").header("cookie", planted),
        &[("key", KEY)],
    )
    .expect(303)
    .await;
    let set = entered.header("set-cookie").expect("a cookie");
    assert!(
        !set.contains("cGxhbnRlZA") && !set.contains(&first),
        "{set}"
    );
    assert_eq!(overview(&node, planted).await, 303);

    let wrong = || form(page_of_ours(&node, "/admin/login"), &[("key", "wrong")]).expect(ANY);
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) && statuses.len() < 100 {
        statuses.push(wrong().await.status);
    }
    assert!(
        statuses.starts_with(&[303, 303]) && statuses.ends_with(&[429]),
        "{statuses:?}"
    );
    // Logins go on.
    assert_eq!(overview(&node, &first).await, 200);
}
