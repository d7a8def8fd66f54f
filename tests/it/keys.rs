//! Keys: shown once, good on all nodes, rolled without a gap, revoked within a second.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::harness::{ANY, Installation, Launch, Redis, let_pass, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";

#[tokio::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("log", "debug")
        .start()
        .await;
    let admin = node.with_key(KEY);

    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "crm widget", "role": "client", "pools": ["crm"], "origins": ["https://crm.example"]}))
        .expect(201)
        .await;
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert!(
        secret.starts_with("lh_client_") && secret.len() == 60,
        "{secret}"
    );

    for path in [
        "/v1/keys".to_owned(),
        format!("/v1/keys/{id}"),
        "/v1/audit".to_owned(),
        "/metrics".to_owned(),
    ] {
        let answer = admin.get(&path).expect(200).await;
        assert!(!answer.text.contains(&secret[22..]), "{path}");
        assert!(!answer.text.contains("fingerprint"), "{path}");
    }
    let listed = admin.get(&format!("/v1/keys/{id}")).expect(200).await;
    assert_eq!(listed["origins"], json!(["https://crm.example"]));
    node.with_key(&secret).availability("crm", 404).await;
    assert!(!node.all_said().await.contains(&secret[22..]));
    let stored: Vec<String> = redis.query(&["HGETALL", "lh1:{keys}:records"]).await;
    let stored = stored.join(" ");
    assert!(
        stored.contains(&id) && !stored.contains(&secret[22..]),
        "{stored}"
    );
}

#[tokio::test]
async fn what_is_no_sensible_key_is_refused() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    for body in [
        json!({}),
        json!({"name": "x"}),
        json!({"name": "", "role": "viewer"}),
        json!({"name": "x", "role": "root"}),
        json!({"name": "x", "role": "client"}),
        json!({"name": "x", "role": "client", "pools": []}),
        json!({"name": "x", "role": "client", "pools": ["a b"]}),
        json!({"name": "x", "role": "client", "pools": ["crm"], "origins": ["*"]}),
        json!({"name": "x", "role": "client", "pools": ["crm"], "origins": ["ftp://crm.example"]}),
        json!({"name": "x", "role": "client", "pools": ["crm"], "origins": ["https://crm.example/"]}),
        json!({"name": "x", "role": "viewer", "origins": ["https://crm.example"]}),
        json!({"name": "x", "role": "viewer", "secret": "mine"}),
        json!({"name": "x", "role": "viewer", "expires_in_ms": 0}),
        json!({"name": "x", "role": "viewer", "limits": {"per_minute": 0}}),
    ] {
        node.post("/v1/keys").json(&body).expect(400).await;
    }
    let made = json!({"name": "x", "role": "client", "pools": ["crm"], "origins": ["https://crm.example"]});
    let made = node.post("/v1/keys").json(&made).expect(201).await;
    let path = format!("/v1/keys/{}", made["id"].as_str().expect("an id"));
    for change in [
        json!({"secret": "mine"}),
        json!({"role": "admin"}),
        json!({"name": ""}),
        json!({"pools": []}),
        json!({"origins": ["*"]}),
        json!({"limits": {"burst": 0}}),
        json!({"expires_at": "2020-01-01T00:00:00Z"}),
        json!({"expires_at": "9000-01-01T00:00:00Z"}),
        json!({"expires_at": "tomorrow"}),
    ] {
        let call = node.call(Method::PATCH, &path).json(&change);
        call.expect(400).await;
    }
    for path in ["/v1/keys/nobodyhaseis", "/v1/keys/x"] {
        node.call(Method::PATCH, path)
            .json(&json!({}))
            .expect(404)
            .await;
        let answer = node.get(path).expect(404).await;
        assert_eq!(answer["code"], "key_not_found");
        node.call(Method::DELETE, path).expect(404).await;
        node.post(&format!("{path}/roll")).expect(404).await;
    }
}

#[tokio::test]
async fn a_key_is_good_on_all_nodes_at_once_and_revoked_within_a_second() {
    let cluster = Installation::start_with(2, &[("admin_key", KEY)]).await;
    let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
    let made = a
        .with_key(KEY)
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer"}))
        .expect(201)
        .await;
    let secret = made["secret"].as_str().expect("a secret");
    b.with_key(secret).get("/v1/pools").expect(200).await;

    let id = made["id"].as_str().expect("an id");
    a.with_key(KEY)
        .call(Method::DELETE, &format!("/v1/keys/{id}"))
        .expect(204)
        .await;
    let revoked = Instant::now();
    a.with_key(secret).get("/v1/pools").expect(401).await;
    wait_until("the other node knows", Duration::from_secs(1), async || {
        b.with_key(secret).get("/v1/pools").expect(ANY).await.status == 401
    })
    .await;
    assert!(revoked.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_rolled_key_has_two_secrets_for_a_while() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer"}))
        .expect(201)
        .await;
    let id = made["id"].as_str().expect("an id");
    let first = node.with_key(made["secret"].as_str().expect("a secret"));

    let rolled = admin
        .post(&format!("/v1/keys/{id}/roll"))
        .json(&json!({"overlap_ms": 700}))
        .expect(200)
        .await;
    assert_eq!(rolled["id"], id);
    let second = node.with_key(rolled["secret"].as_str().expect("a secret"));
    first.get("/v1/pools").expect(200).await;
    second.get("/v1/pools").expect(200).await;
    let_pass(800).await;
    first.get("/v1/pools").expect(401).await;
    second.get("/v1/pools").expect(200).await;
}

#[tokio::test]
async fn a_key_ends_at_its_time() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let made = node
        .with_key(KEY)
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer", "expires_in_ms": 600}))
        .expect(201)
        .await;
    let viewer = node.with_key(made["secret"].as_str().expect("a secret"));
    viewer.get("/v1/pools").expect(200).await;
    let_pass(700).await;
    viewer.get("/v1/pools").expect(401).await;
}

#[tokio::test]
async fn lost_keys_are_put_back_and_an_empty_redis_lets_nobody_in() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let made = node
        .with_key(KEY)
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer"}))
        .expect(201)
        .await;
    redis.empty().await;
    node.get("/v1/keys").expect(401).await;
    wait_until("the keys are back", Duration::from_secs(3), async || {
        redis.query::<u64>(&["HLEN", "lh1:{keys}:records"]).await == 1
    })
    .await;
    node.with_key(made["secret"].as_str().expect("a secret"))
        .get("/v1/pools")
        .expect(200)
        .await;
}

#[tokio::test]
async fn a_client_key_that_is_used_too_often_waits_and_heartbeats_do_not() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 100}), 201).await;
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "c", "role": "client", "pools": ["crm"], "limits": {"per_address_per_minute": 30}}))
        .expect(201)
        .await;
    let client = node.with_key(made["secret"].as_str().expect("a secret"));

    // Ten seconds' worth at once, and no more.
    let mut token = String::new();
    for _ in 0..5 {
        token = client.acquire("crm", json!({}), 201).await.token();
    }
    let refused = client.acquire("crm", json!({}), 429).await;
    assert_eq!(refused["code"], "too_many_requests");
    assert!(
        refused.number("/retry_after_ms") <= 2_000,
        "{}",
        refused.text
    );
    for _ in 0..50 {
        client.renew(&token, 200).await;
    }
    admin.acquire("crm", json!({}), 201).await;
}

#[tokio::test]
async fn a_key_is_changed_without_a_new_secret_on_all_nodes() {
    let cluster = Installation::start_with(2, &[("admin_key", KEY)]).await;
    let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
    let admin = a.with_key(KEY);
    for pool in ["crm", "phone"] {
        admin.put_pool(pool, json!({"capacity": 100}), 201).await;
    }
    let made = json!({"name": "crm widget", "role": "client", "pools": ["crm"], "origins": ["https://crm.example"]});
    let made = admin.post("/v1/keys").json(&made).expect(201).await;
    assert_eq!(
        made["limits"],
        json!({"per_minute": 6_000, "burst": 1_000, "per_address_per_minute": 1_200})
    );
    assert!(made["last_used_at"].is_null() && made["expires_at"].is_null());
    let path = format!("/v1/keys/{}", made["id"].as_str().expect("an id"));
    let client = b.with_key(made["secret"].as_str().expect("a secret"));
    client.acquire("crm", json!({}), 201).await;
    client.acquire("phone", json!({}), 403).await;
    wait_until(
        "its use is known everywhere",
        Duration::from_secs(8),
        async || admin.get(&path).expect(200).await["last_used_at"].is_string(),
    )
    .await;

    let change = json!({
        "name": "phone widget", "pools": ["phone"], "origins": ["https://phone.example", "null"],
        "limits": {"burst": 3, "per_address_per_minute": 6}, "expires_at": "2030-01-01T00:00:00Z",
    });
    let changed = admin
        .call(Method::PATCH, &path)
        .json(&change)
        .expect(200)
        .await;
    assert_eq!(
        changed["limits"],
        json!({"per_minute": 6_000, "burst": 3, "per_address_per_minute": 6})
    );
    assert_eq!(changed["expires_at"], "2030-01-01T00:00:00.000Z");
    assert_eq!(
        (&changed["name"], &changed["origins"][1]),
        (&json!("phone widget"), &json!("null"))
    );
    assert!(
        changed["last_used_at"].is_string() && changed["secret"].is_null(),
        "{}",
        changed.text
    );
    wait_until("the other node knows", Duration::from_secs(2), async || {
        client.acquire("crm", json!({}), ANY).await.status == 403
    })
    .await;
    // Three at once, and then one in ten seconds. What was refused counted, too.
    let statuses = async || client.acquire("phone", json!({}), ANY).await.status;
    let mut seen = vec![statuses().await];
    while seen.last() != Some(&429) && seen.len() < 5 {
        seen.push(statuses().await);
    }
    assert_eq!(seen.last(), Some(&429), "{seen:?}");

    // What is left out stays; null is never.
    let changed = admin
        .call(Method::PATCH, &path)
        .json(&json!({"expires_at": null}))
        .expect(200)
        .await;
    assert!(changed["expires_at"].is_null() && changed["name"] == "phone widget");
    let trail = admin.get("/v1/audit?action=key.patch").expect(200).await;
    let entry = &trail["items"][1];
    assert_eq!(
        (&entry["before"]["name"], &entry["after"]["name"]),
        (&json!("crm widget"), &json!("phone widget"))
    );
}

#[tokio::test]
async fn a_backend_logs_in_a_thousand_people_at_once() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 2_000}), 201).await;
    // No page may use it, so everybody comes from one address.
    let made = json!({"name": "backend", "role": "client", "pools": ["crm"]});
    let made = admin.post("/v1/keys").json(&made).expect(201).await;
    assert_eq!(
        made["limits"],
        json!({"per_minute": 6_000, "burst": 1_000, "per_address_per_minute": 6_000})
    );
    let backend = node.with_key(made["secret"].as_str().expect("a secret"));
    for _ in 0..20 {
        // A busy machine may be too slow for all of them; none is too many.
        let some = (0..50).map(|_| backend.acquire("crm", json!({}), [201, 503]));
        futures_util::future::join_all(some).await;
    }
}

#[tokio::test]
async fn keys_come_in_pages_and_a_change_of_one_makes_nobody_read_all() {
    let redis = Redis::start_alone().await;
    let first = Launch::on(&redis.url()).start().await;
    let second = Launch::on(&redis.url()).start().await;
    let create = async |n: usize| {
        let key = json!({"name": format!("backend {n:03}"), "role": "client", "pools": ["crm"]});
        first.post("/v1/keys").json(&key).expect(201).await["id"].clone()
    };
    for some in (0..120).collect::<Vec<_>>().chunks(20) {
        futures_util::future::join_all(some.iter().map(|n| create(*n))).await;
    }
    let (mut path, mut sizes, mut names) = ("/v1/keys?limit=50".to_owned(), Vec::new(), Vec::new());
    loop {
        let page = second.get(&path).expect(200).await;
        let items = page.list("items");
        sizes.push(items.len());
        names.extend(
            items
                .iter()
                .map(|key| key["name"].as_str().expect("a name").to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/keys?limit=50&cursor={cursor}");
    }
    assert_eq!(sizes, [50, 50, 20]);
    assert!(names.is_sorted(), "{names:?}");
    second.get("/v1/keys?limit=0").expect(400).await;
    second.get("/v1/keys?cursor=x").expect(400).await;

    let sent = async || {
        let info: String = redis.query(&["INFO", "stats"]).await;
        let name = "total_net_output_bytes:";
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|text| text.parse::<u64>().ok()).expect(name)
    };
    let before = sent().await;
    for n in 200..210 {
        let id = create(n).await;
        let path = format!("/v1/keys/{}", id.as_str().expect("an id"));
        second.get(&path).expect(200).await;
    }
    let each = (sent().await - before) / 10;
    // All of them are some 40 KB, for each node.
    assert!(each < 25_000, "{each} bytes for each change");
}
