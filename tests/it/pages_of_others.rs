//! Pages of other origins: they read what a key lets them read, and nothing else (CORS, DNS rebinding).

use reqwest::Method;
use serde_json::json;

use crate::harness::{Client, Launch, Redis, Reply};

const KEY: &str = "the-operator-key-of-the-tests";

async fn preflight(client: &Client, path: &str, origin: &str, status: u16) -> Reply {
    client
        .call(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        )
        .expect(status)
        .await
}

fn reads(reply: &Reply) -> Option<&str> {
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    reply.header("access-control-allow-origin")
}

#[tokio::test]
async fn a_page_reads_what_its_key_names_and_no_other_page_does() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 100}), 201).await;
    admin.put_pool("other", json!({"capacity": 100}), 201).await;
    let named = "https://crm.example";
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "c", "role": "client", "pools": ["crm"], "origins": [named, "http://[::1]:8080"]}))
        .expect(201)
        .await;
    admin
        .post("/v1/keys")
        .json(&json!({"name": "c", "role": "client", "pools": ["crm"], "origins": ["https://second.example"]}))
        .expect(201)
        .await;
    let client = node.with_key(made["secret"].as_str().expect("a secret"));
    let acquire = |origin: &str, status: u16| {
        client
            .post("/v1/pools/crm/leases")
            .header("origin", origin)
            .json(&json!({}))
            .expect(status)
    };

    let leave = preflight(&node, "/v1/pools/crm/leases", named, 204).await;
    assert_eq!(reads(&leave), Some(named));
    assert_eq!(leave.header("vary"), Some("origin"));
    assert!(
        leave
            .header("access-control-allow-headers")
            .is_some_and(|names| names.contains("authorization"))
    );
    let granted = acquire(named, 201).await;
    assert_eq!(reads(&granted), Some(named));
    assert!(
        granted
            .header("access-control-expose-headers")
            .is_some_and(|names| names.contains("retry-after"))
    );
    acquire("http://[::1]:8080", 201).await;

    for wrong in [
        "https://evil.example",
        "http://crm.example",
        "https://crm.example:8443",
        "https://crm.example.evil.example",
        "https://evilcrm.example",
        "https://crm.example.",
        "https://CRM.example",
        "https://crm.example/",
        "https://user@crm.example",
        "https://crm.exämple",
        "https://*.example",
        "http://localhost",
        "http://127.0.0.1:3000",
        "null",
        "file://",
        "*",
        " ",
    ] {
        if wrong.is_ascii() && !wrong.trim().is_empty() {
            let refused = preflight(&node, "/v1/pools/crm/leases", wrong, 403).await;
            assert_eq!(reads(&refused), None, "{wrong}");
            let refused = acquire(wrong, 403).await;
            assert_eq!(refused["code"], "origin_not_allowed", "{wrong}");
            assert_eq!(reads(&refused), None, "{wrong}");
            assert_eq!(refused.header("vary"), Some("origin"));
        }
    }
    // Named by another key: that page can ask, and this key does not help it.
    let refused = acquire("https://second.example", 403).await;
    assert_eq!(reads(&refused), None);
    preflight(&node, "/v1/pools/other/leases", named, 403).await;

    // A token needs no key, but only pages that some key names read the answer.
    let token = granted.token();
    let renew = |origin: &str| {
        node.post("/v1/leases/renew")
            .header("origin", origin)
            .header("content-type", "text/plain")
            .body(json!({ "token": token }).to_string())
            .expect(200)
    };
    assert_eq!(reads(&renew(named).await), Some(named));
    assert_eq!(reads(&renew("https://evil.example").await), None);
    // Routes of operators answer no page of others.
    for path in ["/v1/pools", "/v1/pools/crm", "/v1/keys", "/v1/audit"] {
        let reply = admin.get(path).header("origin", named).expect(200).await;
        assert_eq!(reads(&reply), None, "{path}");
        preflight(&node, path, named, 405).await;
    }
}

#[tokio::test]
async fn in_open_mode_pages_of_this_machine_are_let_in_and_others_are_not() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 100}), 201).await;
    let local = "http://localhost:3000";

    assert_eq!(
        reads(&preflight(&node, "/v1/pools/crm/leases", local, 204).await),
        Some(local)
    );
    let acquire = |origin: &str, status: u16| {
        node.post("/v1/pools/crm/leases")
            .header("origin", origin)
            .expect(status)
    };
    assert_eq!(reads(&acquire(local, 201).await), Some(local));
    for foreign in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
    ] {
        preflight(&node, "/v1/pools/crm/leases", foreign, 403).await;
        let refused = acquire(foreign, 403).await;
        assert_eq!(refused["code"], "origin_not_allowed");
    }

    // A name that somebody pointed at this machine is no name of it.
    for host in ["evil.example", "127.0.0.1.evil.example:7070"] {
        let refused = node.get("/v1/pools").header("host", host).expect(403).await;
        assert_eq!(refused["code"], "forbidden");
    }
    for host in ["localhost:7070", "127.0.0.1", "[::1]:7070"] {
        node.get("/v1/pools").header("host", host).expect(200).await;
    }
    node.get("/readyz")
        .header("host", "node-1.internal")
        .expect(200)
        .await;
}
