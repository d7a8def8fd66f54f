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
            // It may ask, so that it can read why it may not.
            let leave = preflight(&node, "/v1/pools/crm/leases", wrong, 204).await;
            assert_eq!(reads(&leave), Some(wrong));
            let refused = acquire(wrong, 403).await;
            assert_eq!(refused["code"], "origin_not_allowed", "{wrong}");
            assert_eq!(reads(&refused), Some(wrong));
            assert_eq!(refused.header("vary"), Some("origin"));
        }
    }
    // Named by another key: that page can ask, and this key does not help it.
    let refused = acquire("https://second.example", 403).await;
    assert_eq!(reads(&refused), Some("https://second.example"));
    let looked = |origin: &str, status: u16| {
        let call = client
            .get("/v1/pools/crm/availability")
            .header("origin", origin);
        call.expect(status)
    };
    assert_eq!(reads(&looked(named, 200).await), Some(named));
    looked("https://evil.example", 403).await;

    // What is wrong with the key or the pool is read as well.
    let origin = "https://evil.example";
    for (key, pool, status) in [("lh_client_000000000000", "crm", 401), ("", "crm", 401)] {
        let refused = node
            .with_key(key)
            .post(&format!("/v1/pools/{pool}/leases"))
            .header("origin", origin)
            .json(&json!({}))
            .expect(status)
            .await;
        assert_eq!(reads(&refused), Some(origin), "{}", refused.text);
    }
    let elsewhere = json!({"name": "c", "role": "client", "pools": ["nopool"], "origins": [named]});
    let elsewhere = admin.post("/v1/keys").json(&elsewhere).expect(201).await;
    let unknown = node
        .with_key(elsewhere["secret"].as_str().expect("a secret"))
        .post("/v1/pools/nopool/leases")
        .header("origin", named)
        .json(&json!({}))
        .expect(404)
        .await;
    assert_eq!(
        (reads(&unknown), &unknown["code"]),
        (Some(named), &json!("pool_not_found"))
    );

    // A token needs no key, and whoever has it reads the answer: also when the key is gone with which the lease began.
    let token = granted.token();
    let renew = |origin: &str| {
        node.post("/v1/leases/renew")
            .header("origin", origin)
            .header("content-type", "text/plain")
            .body(json!({ "token": token }).to_string())
            .expect(200)
    };
    assert_eq!(reads(&renew(named).await), Some(named));
    assert_eq!(
        reads(&renew("https://evil.example").await),
        Some("https://evil.example")
    );
    let id = made["id"].as_str().expect("an id");
    admin
        .call(Method::DELETE, &format!("/v1/keys/{id}"))
        .expect(204)
        .await;
    assert_eq!(reads(&renew(named).await), Some(named));
    let refused = acquire(named, 401).await;
    assert_eq!(reads(&refused), Some(named));
    admin
        .post("/v1/pools/crm/leases/terminate")
        .json(&json!({"all": true, "reason": "licence over"}))
        .expect(200)
        .await;
    let ended = node
        .post("/v1/leases/renew")
        .header("origin", named)
        .header("content-type", "text/plain")
        .body(json!({ "token": token }).to_string())
        .expect(410)
        .await;
    assert_eq!(
        (reads(&ended), &ended["code"]),
        (Some(named), &json!("lease_terminated"))
    );
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
        preflight(&node, "/v1/pools/crm/leases", foreign, 204).await;
        let refused = acquire(foreign, 403).await;
        assert_eq!(reads(&refused), Some(foreign));
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

#[tokio::test]
async fn pages_in_programs_and_tracing_headers_are_let_in_where_an_operator_says_so() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 100}), 201).await;
    let origins = [
        "null",
        "file://",
        "capacitor://localhost",
        "tauri://localhost",
        "app://crm",
        "chrome-extension://gighmmpiobklfepjocnamgkkbiglidom",
        "moz-extension://6f1f0c1e-5a8b-4d2c-9f60-2b1c7a9e2d11",
        "vscode-webview://0a1b2c3d",
    ];
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "c", "role": "client", "pools": ["crm"], "origins": origins}))
        .expect(201)
        .await;
    let client = node.with_key(made["secret"].as_str().expect("a secret"));
    for origin in origins {
        let leave = preflight(&node, "/v1/pools/crm/leases", origin, 204).await;
        let allowed = leave
            .header("access-control-allow-headers")
            .unwrap_or_default();
        for header in ["traceparent", "tracestate", "baggage"] {
            assert!(allowed.split(',').any(|name| name == header), "{allowed}");
        }
        let granted = client
            .post("/v1/pools/crm/leases")
            .header("origin", origin)
            .json(&json!({}))
            .expect(201)
            .await;
        assert_eq!(reads(&granted), Some(origin));
    }
    let refused = client
        .post("/v1/pools/crm/leases")
        .header("origin", "capacitor://elsewhere")
        .json(&json!({}))
        .expect(403)
        .await;
    assert_eq!(refused["code"], "origin_not_allowed");
}
