//! Bad input: the right refusal, a sentence that helps, nothing written, and nothing secret in the log.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Client, Launch, Redis, SECRET, raw};

const KEY: &str = "the-operator-key-of-the-tests";
const LEASES: &str = "/v1/pools/crm/leases";
const RENEW: &str = "/v1/leases/renew";

/// Method, path, body, expected status and code. Text bodies are sent as JSON.
type Case = (Method, String, Vec<u8>, u16, &'static str);

fn case(
    method: Method,
    path: &str,
    body: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
) -> Case {
    (method, path.to_owned(), body.into(), status, code)
}

fn cases() -> Vec<Case> {
    let invalid =
        |method: Method, path: &str, body: &[u8]| case(method, path, body, 400, "invalid_request");
    let mut cases = Vec::new();

    for body in [
        r#"{"holdr": "ann"}"#,
        r#"{"holder": 7}"#,
        r#"{"holder": ["ann"]}"#,
        r#"{"holder": ""}"#,
        r#"{"holder": "a\u0000b"}"#,
        r#"{"holder": "a\nb"}"#,
        r#"{"holder": "ann", "holder": "bob"}"#,
        r#"{"tenant": ""}"#,
        r#"{"activities": "Order 17"}"#,
        r#"{"activities": [17]}"#,
        r#"{"wait": "yes"}"#,
        r#"{"holder": "ann""#,
        r#"{"holder": "ann"} {}"#,
        r#"{'holder': 'ann'}"#,
        r#""ann""#,
        "[]",
        "17",
        "null",
        "holder=ann",
        "\u{feff}{}",
        r#"{"holder": "\ud800"}"#,
    ] {
        cases.push(invalid(Method::POST, LEASES, body.as_bytes()));
    }
    cases.push(invalid(Method::POST, LEASES, b"{\"holder\": \"\xff\xfe\"}"));
    cases.push(invalid(Method::POST, LEASES, &[0; 100]));
    cases.push(invalid(Method::POST, LEASES, "[".repeat(50_000).as_bytes()));
    let deep = format!(
        "{{\"holder\": {}{}}}",
        "{\"a\":".repeat(9_000),
        "}".repeat(9_000)
    );
    cases.push(invalid(Method::POST, LEASES, deep.as_bytes()));
    for (field, length) in [
        ("holder", 513),
        ("holder", 4_096),
        ("tenant", 4_096),
        ("label", 4_096),
        ("platform", 4_096),
    ] {
        let body = json!({ field: "x".repeat(length) }).to_string();
        cases.push(invalid(Method::POST, LEASES, body.as_bytes()));
    }
    let many = json!({"activities": vec!["Order"; 1_000]}).to_string();
    cases.push(invalid(Method::POST, LEASES, many.as_bytes()));

    for name in [
        "%7Bcrm%7D",
        "%7B1%7D:crm",
        "a%20b",
        "a%00b",
        "%ff%fe",
        "caf%C3%A9",
        "a%2Fb",
        "a:b",
        "*",
        &"x".repeat(65),
        &"x".repeat(4_096),
    ] {
        for (method, path, body) in [
            (Method::POST, format!("/v1/pools/{name}/leases"), "{}"),
            (
                Method::PUT,
                format!("/v1/pools/{name}"),
                r#"{"capacity": 5}"#,
            ),
            (Method::GET, format!("/v1/pools/{name}"), ""),
            (Method::GET, format!("/v1/pools/{name}/availability"), ""),
            (
                Method::POST,
                format!("/v1/pools/{name}/leases/terminate"),
                r#"{"all": true}"#,
            ),
        ] {
            cases.push(invalid(method, &path, body.as_bytes()));
        }
    }

    for policy in [
        r#"{"capacity": 5, "ttl_ms": 0}"#,
        r#"{"capacity": 5, "ttl_ms": -60000}"#,
        r#"{"capacity": 5, "ttl_ms": 60000.5}"#,
        r#"{"capacity": 5, "ttl_ms": 1e30}"#,
        r#"{"capacity": 5, "ttl": 60000}"#,
        r#"{"capacity": 99999999999999999999}"#,
        r#"{"ttl_ms": 60000}"#,
        "",
    ] {
        cases.push(invalid(Method::PUT, "/v1/pools/new", policy.as_bytes()));
    }

    for body in [
        "",
        "{}",
        r#"{"token": 7}"#,
        r#"{"tokken": "x"}"#,
        r#"{"token": null}"#,
        "token",
    ] {
        for path in [RENEW, "/v1/leases/release", "/v1/leases/leave"] {
            cases.push(invalid(Method::POST, path, body.as_bytes()));
        }
    }
    for body in ["", "{}", r#"{"tokens": "x"}"#, r#"{"token": "x"}"#] {
        cases.push(invalid(
            Method::POST,
            "/v1/leases/renew-many",
            body.as_bytes(),
        ));
    }
    for token in ["x", "lh1.AAAA.BBBB", "..", "eyJhbGciOiJub25lIn0.e30."] {
        let body = json!({ "token": token }).to_string();
        cases.push(case(Method::POST, RENEW, body, 401, "invalid_token"));
    }

    let larger = vec![b' '; 64 * 1024 + 1];
    for (method, path) in [
        (Method::POST, LEASES),
        (Method::POST, RENEW),
        (Method::PUT, "/v1/pools/crm"),
    ] {
        cases.push(case(method, path, larger.clone(), 413, "payload_too_large"));
    }
    cases.push(case(
        Method::POST,
        "/v1/leases/renew-many",
        vec![b' '; 1536 * 1024 + 1],
        413,
        "payload_too_large",
    ));

    for path in [
        "/v1/nothing",
        "/v2/pools",
        "/v1/pools/crm/nothing",
        "/v1/leases",
        "/v1/pools/crm/leases/x/y",
        "//v1/pools",
    ] {
        cases.push(case(Method::GET, path, "", 404, "route_not_found"));
        cases.push(case(Method::POST, path, "{}", 404, "route_not_found"));
    }
    for (method, path) in [
        (Method::GET, RENEW),
        (Method::PUT, RENEW),
        (Method::DELETE, "/v1/pools"),
        (Method::POST, "/v1/pools/crm"),
        (Method::PUT, LEASES),
        (Method::POST, "/v1/openapi.json"),
        (Method::DELETE, "/livez"),
    ] {
        cases.push(case(method, path, "", 405, "method_not_allowed"));
    }
    cases
}

#[tokio::test]
async fn a_bad_request_is_refused_with_a_reason_and_leaves_no_trace() {
    let redis = Redis::start().await;
    // No sweeper, so that nothing of a pool changes but by what is asked here.
    let launch = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("sweep_every_ms", "0")
        .set("log", "trace");
    let node = launch.start().await;
    let operator = node.with_key(KEY);
    operator.put_pool("crm", json!({"capacity": 5}), 201).await;
    let token = operator
        .acquire("crm", json!({"holder": "ann"}), 201)
        .await
        .token();
    let before = contents(&redis).await;

    let mut wrong = Vec::new();
    for (method, path, body, status, code) in cases() {
        let mut call = operator.call(method.clone(), &path);
        if !body.is_empty() {
            call = call
                .header("content-type", "application/json")
                .body(body.clone());
        }
        let answer = call.expect([]).await;
        let detail = answer["detail"].as_str().unwrap_or_default();
        let is_sentence = detail.len() > 10 && detail.ends_with('.') && is_plain(detail);
        if (answer.status, &answer["code"]) != (status, &json!(code)) || !is_sentence {
            let sent = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let path = &path[..path.len().min(60)];
            wrong.push(format!(
                "{method} {path} {sent:?}: {status} {code} expected: {}",
                answer.text
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for key in ["", " ", &"x".repeat(4_096)] {
        let call = operator
            .post(LEASES)
            .header("idempotency-key", key)
            .json(&json!({}));
        assert_eq!(
            call.expect(400).await["code"],
            "invalid_request",
            "idempotency key of {}",
            key.len()
        );
    }
    // A page of another origin may send plain text without asking first; it must not get a seat by that.
    let call = operator
        .post(LEASES)
        .header("content-type", "text/plain")
        .body("{}");
    assert_eq!(call.expect(415).await["code"], "unsupported_media_type");
    operator
        .call(Method::PUT, "/v1/pools/new")
        .header("if-match", "nonsense")
        .json(&json!({"capacity": 1}))
        .expect([400, 412])
        .await;

    assert_eq!(contents(&redis).await, before, "nothing was written");
    let log = node.all_said().await;
    for (what, secret) in [("token", token.as_str()), ("key", KEY), ("secret", SECRET)] {
        assert!(!log.contains(secret), "the log holds the {what}:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(operator.renew(&token, 200).await["lease"]["holder"], "ann");
}

/// Whether nothing in it is a parser's word, or a type of the program.
fn is_plain(detail: &str) -> bool {
    const PARSERS: [&str; 14] = [
        "unknown field",
        "unknown variant",
        "missing field",
        "duplicate field",
        "expected one of",
        "invalid type",
        "invalid value",
        "struct ",
        "enum ",
        "EOF",
        "premature",
        "trailing",
        "u32",
        "f64",
    ];
    !PARSERS.iter().any(|word| detail.contains(word))
}

#[tokio::test]
async fn what_is_not_known_is_refused_by_name_wherever_it_stands() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;

    // Parameters of an address, on every route.
    let document = node.get("/v1/openapi.json").expect(200).await;
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let whole = path
            .replace("{pool}", "crm")
            .replace("{holder}", "ann")
            .replace("{id}", "0123456789ab")
            .replace("{delivery}", "0123456789ab");
        for method in ["get", "post", "put", "patch", "delete"] {
            if item[method].is_null()
                || !path.starts_with("/v1/")
                || path == "/v1/jwks"
                || path == "/v1/openapi.json"
            {
                continue;
            }
            let verb = method.to_uppercase().parse().expect("a method");
            let call = node.call(verb, &format!("{whole}?nosuch=1&limit=x"));
            let call = if method == "get" {
                call
            } else {
                call.json(&json!({}))
            };
            let refused = call.expect(400).await;
            let detail = refused["detail"].as_str().expect("a detail");
            assert!(is_plain(detail), "{method} {path}: {detail}");
            assert!(
                path.contains("{id}") || detail.contains("nosuch"),
                "{method} {path}: {detail}"
            );
            asked += 1;
        }
    }
    assert!(asked > 60, "{asked}");

    // Lists for objects, words for other words, numbers that no integer holds; in all that can be put, changed or made.
    let put = |body: Value| node.call(Method::PUT, "/v1/pools/bb").json(&body);
    let patch = |body: Value| node.call(Method::PATCH, "/v1/pools/crm").json(&body);
    let many = |body: Value| node.post("/v1/pools/crm/leases/acquire-many").json(&body);
    let key = |body: Value| node.post("/v1/keys").json(&body);
    let key_with = |limits: Value| {
        key(json!({"name": "x", "role": "client", "pools": ["crm"], "limits": limits}))
    };
    let huge: Value =
        serde_json::from_str("{\"capacity\": 100000000000000000000000000}").expect("JSON");
    for (call, at) in [
        (put(json!({"capacity": 1, "queue": [5]})), "queue"),
        (put(json!({"capacity": 1, "named": [3]})), "named"),
        (
            put(json!({"capacity": 1, "overdraft": [1, 2]})),
            "overdraft",
        ),
        (
            put(json!({"capacity": 1, "maintenance": ["x"]})),
            "maintenance",
        ),
        (put(json!({"capacity": 1, "proofs": ["x"]})), "proofs"),
        (
            put(json!({"capacity": 1, "idle": [60_000, "count"]})),
            "idle",
        ),
        (
            put(json!({"capacity": 1, "tenants": {"a": [1, 0]}})),
            "tenants.a",
        ),
        (
            put(
                json!({"capacity": 1, "schedule": [["a", "2026-12-01T08:00:00Z", "2026-12-02T08:00:00Z", 1]]}),
            ),
            "schedule[0]",
        ),
        (put(json!({"capacity": 1, "seat_per": "x"})), "seat_per"),
        (put(huge), "capacity"),
        (patch(json!({"queue": [5]})), "queue"),
        (patch(json!({"seat_per": "x"})), "seat_per"),
        (patch(json!({"capacity": "many"})), "capacity"),
        (many(json!({"leases": [["x"]]})), "leases[0]"),
        (key_with(json!([null, null])), "limits"),
        (key_with(json!({"per_minute": 0})), "limits.per_minute"),
        (key(json!({"name": "x", "role": "king"})), "role"),
    ] {
        let refused = call.expect(400).await;
        let detail = refused["detail"].as_str().expect("a detail");
        assert_eq!(refused["field"], at, "{detail}");
        assert!(is_plain(detail), "{detail}");
    }
    // A name that is there twice, wherever names are free.
    let twice = r#"{"capacity": 1, "tenants": {"a": {"max": 1}, "a": {"max": 2}}}"#;
    for (method, path, body) in [
        (Method::PUT, "/v1/pools/bb", twice),
        (Method::PATCH, "/v1/pools/crm", twice),
        (
            Method::PATCH,
            "/v1/pools/crm",
            r#"{"capacity": 1, "capacity": 2}"#,
        ),
    ] {
        let call = node.call(method, path);
        let call = call
            .header("content-type", "application/json")
            .body(body.to_owned());
        let refused = call.expect(400).await;
        let detail = refused["detail"].as_str().expect("a detail");
        assert!(detail.contains("twice") && is_plain(detail), "{detail}");
    }
    for path in [
        "/v1/pools/crm/usage?format=xml",
        "/v1/pools/crm/leases?sort=x",
        "/v1/pools/crm/history?step=year",
    ] {
        let refused = node.get(path).expect(400).await;
        let detail = refused["detail"].as_str().expect("a detail");
        assert!(is_plain(detail), "{path}: {detail}");
    }
}

/// Every key with a digest of its value.
async fn contents(redis: &Redis) -> Vec<(String, Option<Vec<u8>>)> {
    let mut contents = Vec::new();
    let mut keys = redis.keys("*").await;
    // What operators were refused is written down, on purpose. And what a node does by itself goes on meanwhile.
    let of_itself = [
        "{audit}",
        "{nodes}",
        ":clock",
        ":watch",
        ":alerts",
        ":evaluations",
        ":rollups",
    ];
    keys.retain(|key| !of_itself.iter().any(|part| key.contains(part)));
    keys.sort();
    for key in keys {
        let value = redis.query(&["DUMP", &key]).await;
        contents.push((key, value));
    }
    contents
}

#[tokio::test]
async fn the_wrong_method_learns_the_right_ones() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;

    let refused = node.get(RENEW).expect(405).await;
    assert_eq!(refused.header("allow"), Some("POST"));
    let refused = node.post("/v1/pools/crm").expect(405).await;
    let allowed = refused.header("allow").unwrap_or_default();
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        assert!(allowed.contains(method), "{allowed}");
    }
}

/// Sends bytes as they are. The status and the problem that come back.
async fn raw(client: &Client, request: &[u8]) -> (u16, Value) {
    let mut stream = TcpStream::connect(client.address())
        .await
        .expect("the node listens");
    // The node may answer and close before all is sent.
    let _ = stream.write_all(request).await;
    let reply = raw::answer(&mut stream, request).await;
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    (reply.status, reply.body)
}

#[tokio::test]
async fn a_body_or_a_head_without_end_is_refused_before_it_is_read() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let before = node.memory_kib();

    let head = format!("POST {LEASES} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    let gigabyte = format!("{head}Content-Length: 1073741824\r\n\r\n{{");
    let (status, problem) = raw(&node, gigabyte.as_bytes()).await;
    assert_eq!(
        (status, &problem["code"]),
        (413, &json!("payload_too_large"))
    );

    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{}",
        chunk.repeat(8)
    );
    let (status, problem) = raw(&node, chunked.as_bytes()).await;
    assert_eq!(
        (status, &problem["code"]),
        (413, &json!("payload_too_large"))
    );

    let long_header = format!("{head}X-Long: {}\r\n\r\n", "x".repeat(20_000));
    let (status, problem) = raw(&node, long_header.as_bytes()).await;
    assert_eq!(
        (status, &problem["code"]),
        (431, &json!("headers_too_large"))
    );

    let (status, problem) = raw(&node, b"\x16\x03\x01 this is not HTTP\r\n\r\n").await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_request")));

    let both = format!("{head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let mut stream = TcpStream::connect(node.address())
        .await
        .expect("the node listens");
    stream.write_all(both.as_bytes()).await.expect("it is sent");
    raw::answer(&mut stream, both.as_bytes()).await;

    assert!(node.memory_kib() < before + 32 * 1024);
    node.acquire("crm", json!({}), 201).await;
}
