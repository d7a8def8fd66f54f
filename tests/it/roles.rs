//! Rights: every route of the description, with every kind of credential.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ANY, Client, Launch, Redis, let_pass};

const KEY: &str = "the-operator-key-of-the-tests";

/// The kinds of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Nobody,
    Revoked,
    Expired,
    ClientOfAnother,
    Client,
    Reports,
    ViewerOfAnother,
    Viewer,
    Operator,
    Admin,
    AdminKey,
}

/// What must become of a call.
#[derive(Debug, PartialEq, Eq)]
enum Cell {
    /// The credential is not asked for, or it is enough.
    In,
    /// 401.
    Unknown,
    /// 403.
    Forbidden,
}

/// The rule of a page, said a second time, too.
fn expected_of_page(method: &str, path: &str, who: Who) -> Cell {
    let least = match (method, path) {
        (_, "/admin/login" | "/admin/logout" | "/admin/assets/{file}" | "/admin/wall") => {
            return Cell::In;
        }
        (_, path) if path.starts_with("/admin/login/") => return Cell::In,
        _ if matches!(who, Who::Nobody | Who::Revoked | Who::Expired) => return Cell::Unknown,
        (method, path) if who == Who::Reports => {
            let reports = ["history", "patterns", "sizing", "tenants"];
            let tab = path.strip_prefix("/admin/pools/{pool}/");
            // Who the people are is told to viewers only.
            let sheet = path.strip_prefix("/admin/reports");
            let may = path == "/admin"
                || tab.is_some_and(|tab| reports.contains(&tab))
                || sheet.is_some_and(|sheet| !["/people", "/denials"].contains(&sheet));
            return if method == "GET" && may {
                Cell::In
            } else {
                Cell::Forbidden
            };
        }
        (
            "GET",
            "/admin"
            | "/admin/alerts"
            | "/admin/audit"
            | "/admin/blocks"
            | "/admin/people"
            | "/admin/people/{holder}",
        ) => Who::ViewerOfAnother,
        ("GET", path) if path.starts_with("/admin/reports") => Who::ViewerOfAnother,
        (_, path) if path.starts_with("/admin/people/") => Who::Operator,
        ("POST", path) if path.starts_with("/admin/alerts/") => Who::Operator,
        ("GET", "/admin/sessions") => Who::Admin,
        ("GET", path) if path.ends_with("/terminate") || path.contains("/named/") => Who::Operator,
        ("GET", path)
            if ["/roll", "/revoke", "/delete"]
                .iter()
                .any(|end| path.ends_with(end)) =>
        {
            Who::Admin
        }
        ("GET", _) => Who::Viewer,
        ("POST", path) if path.starts_with("/admin/pools/{pool}/named") => Who::Operator,
        (
            "POST",
            "/admin/pools/{pool}/terminate"
            | "/admin/pools/{pool}/schedule"
            | "/admin/pools/{pool}/settings",
        ) => Who::Operator,
        _ => Who::Admin,
    };
    if who >= least {
        Cell::In
    } else {
        Cell::Forbidden
    }
}

/// Method and path of every page, from the program's own table: who may do what is said here again.
pub(crate) fn pages() -> Vec<(&'static str, &'static str)> {
    let table = include_str!("../../src/http/access/table.rs");
    let rows = table.lines().filter_map(|line| {
        let (kind, rest) = line.trim().split_once('(')?;
        let words: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
        match (kind, &words[..]) {
            ("read", [path]) => Some(("GET", *path)),
            ("open", [method, path])
            | ("change" | "change_own" | "change_keys", [method, path, _]) => {
                Some((*method, *path))
            }
            _ => None,
        }
    });
    rows.filter(|(_, path)| path.starts_with("/admin"))
        .collect()
}

/// The rule of a route, said a second time and independently of the program's own table.
fn expected(method: &str, path: &str, who: Who) -> Cell {
    let least = match (method, path) {
        (
            "get",
            "/livez" | "/readyz" | "/healthz" | "/metrics" | "/v1/openapi.json" | "/v1/jwks",
        ) => {
            return Cell::In;
        }
        ("post", path) if path.starts_with("/v1/leases/") && path != "/v1/leases/check" => {
            return Cell::In;
        }
        ("post", "/v1/pools/{pool}/queue/leave" | "/v1/pools/{pool}/queue/request") => {
            return Cell::In;
        }
        _ if matches!(who, Who::Nobody | Who::Revoked | Who::Expired) => return Cell::Unknown,
        ("get", "/v1/pools" | "/v1/pools/{pool}" | "/v1/pools/{pool}/availability")
            if who == Who::Reports =>
        {
            return Cell::In;
        }
        (method, path) if who == Who::Reports => {
            let reports = ["usage", "history", "patterns", "sizing", "tenants"];
            let report = path.strip_prefix("/v1/pools/{pool}/");
            let sheets = ["summary", "tenants", "workbook"];
            let sheet = path.strip_prefix("/v1/reports/");
            let may = report.is_some_and(|report| reports.contains(&report))
                || sheet.is_some_and(|sheet| sheets.contains(&sheet));
            return if method == "get" && may {
                Cell::In
            } else {
                Cell::Forbidden
            };
        }
        ("post", "/v1/leases/check") if who >= Who::ViewerOfAnother => return Cell::In,
        ("post", "/v1/leases/check") => return Cell::Forbidden,
        ("post", "/v1/pools/{pool}/leases" | "/v1/pools/{pool}/leases/acquire-many") => {
            return match who {
                Who::Client | Who::Admin | Who::AdminKey => Cell::In,
                _ => Cell::Forbidden,
            };
        }
        ("get", "/v1/pools/{pool}/availability") => {
            return match who {
                Who::ClientOfAnother | Who::ViewerOfAnother => Cell::Forbidden,
                _ => Cell::In,
            };
        }
        ("post", path) if path.starts_with("/v1/holders/") => Who::Operator,
        (
            "get",
            "/v1/pools"
            | "/v1/audit"
            | "/v1/alerts"
            | "/v1/alerts/events"
            | "/v1/alerts/snoozes"
            | "/v1/blocks"
            | "/v1/holders"
            | "/v1/holders/{holder}",
        ) => {
            return if who >= Who::ViewerOfAnother {
                Cell::In
            } else {
                Cell::Forbidden
            };
        }
        ("get", path) if path.starts_with("/v1/reports/") => {
            return if who >= Who::ViewerOfAnother {
                Cell::In
            } else {
                Cell::Forbidden
            };
        }
        ("get", "/v1/sessions") => Who::Admin,
        ("get", _) => Who::Viewer,
        ("post", "/v1/pools/{pool}/leases/terminate") => Who::Operator,
        // Of the policy the schedule only; what is sent here is nothing.
        ("patch", "/v1/pools/{pool}") => Who::Operator,
        (_, path) if path.starts_with("/v1/pools/{pool}/named/") => Who::Operator,
        (_, path) if path.starts_with("/v1/pools/{pool}/blocks/") => Who::Operator,
        (_, path) if path.starts_with("/v1/alerts/") => Who::Operator,
        _ => Who::Admin,
    };
    if who >= least {
        Cell::In
    } else {
        Cell::Forbidden
    }
}

async fn make(admin: &Client, body: Value) -> String {
    let made = admin.post("/v1/keys").json(&body).expect(201).await;
    made["secret"].as_str().expect("a secret").to_owned()
}

#[tokio::test]
async fn every_route_asks_every_credential_for_what_the_table_says() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 1000}), 201).await;

    let revoked = admin
        .post("/v1/keys")
        .json(&json!({"name": "gone", "role": "admin"}))
        .expect(201)
        .await;
    let id = revoked["id"].as_str().expect("an id");
    admin
        .call(Method::DELETE, &format!("/v1/keys/{id}"))
        .expect(204)
        .await;
    let expired = json!({"name": "late", "role": "admin", "expires_in_ms": 1});
    let expired = make(&admin, expired).await;
    let_pass(5).await;
    let credentials = [
        (Who::Nobody, node.with_key("")),
        (
            Who::Revoked,
            node.with_key(revoked["secret"].as_str().expect("a secret")),
        ),
        (Who::Expired, node.with_key(&expired)),
        (
            Who::ClientOfAnother,
            node.with_key(
                &make(
                    &admin,
                    json!({"name": "c", "role": "client", "pools": ["other"]}),
                )
                .await,
            ),
        ),
        (
            Who::Client,
            node.with_key(
                &make(
                    &admin,
                    json!({"name": "c", "role": "client", "pools": ["crm"]}),
                )
                .await,
            ),
        ),
        (
            Who::Reports,
            node.with_key(&make(&admin, json!({"name": "r", "role": "reports"})).await),
        ),
        (
            Who::ViewerOfAnother,
            node.with_key(
                &make(
                    &admin,
                    json!({"name": "v", "role": "viewer", "pools": ["other"]}),
                )
                .await,
            ),
        ),
        (
            Who::Viewer,
            node.with_key(&make(&admin, json!({"name": "v", "role": "viewer"})).await),
        ),
        (
            Who::Operator,
            node.with_key(&make(&admin, json!({"name": "o", "role": "operator"})).await),
        ),
        (
            Who::Admin,
            node.with_key(&make(&admin, json!({"name": "a", "role": "admin"})).await),
        ),
        (Who::AdminKey, admin.clone()),
    ];

    let document = node.get("/v1/openapi.json").expect(200).await;
    let mut cells = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, _) in item.as_object().expect("a path item") {
            if !["get", "put", "post", "patch", "delete"].contains(&method.as_str()) {
                continue;
            }
            for (who, client) in &credentials {
                // Deleting would spoil the rest; a wrong version is as good a question.
                let filled = path
                    .replace("{pool}", "crm")
                    .replace("{holder}", "h")
                    .replace("{id}", "nobodyhaseis");
                // Of an answer without an end the head is asked for, which says as much, and not why.
                let is_endless = path.ends_with("/events");
                let call = if is_endless {
                    let head = client.call(Method::HEAD, &filled);
                    head.of_another_program().header("accept", "text/html")
                } else {
                    let method = Method::from_bytes(method.to_uppercase().as_bytes());
                    client.call(method.expect("a method"), &filled)
                };
                let call = call.header("if-match", "\"1\"");
                let answer = match method.as_str() {
                    "get" | "delete" => call.expect(ANY).await,
                    _ => call.json(&json!({})).expect(ANY).await,
                };
                let code = match (is_endless, answer.status) {
                    (true, 401) => "unauthorized",
                    (true, 403) => "forbidden",
                    _ => answer["code"].as_str().unwrap_or_default(),
                };
                let cell = match (answer.status, code) {
                    (401, "unauthorized") => Cell::Unknown,
                    (403, "forbidden") => Cell::Forbidden,
                    _ => Cell::In,
                };
                assert_eq!(
                    cell,
                    expected(method, path, *who),
                    "{method} {path} as {who:?}: {} {code}",
                    answer.status
                );
                cells += 1;
            }
        }
    }
    assert!(cells > 150, "only {cells}");

    // The same keys on the pages.
    let pages = pages();
    assert!(pages.len() > 40, "only {}", pages.len());
    for (method, path) in pages {
        for (who, client) in &credentials {
            let filled = path
                .replace("{pool}", "crm")
                .replace("{id}", "nobodyhaseis")
                .replace("{delivery}", "msg_x")
                .replace("{file}", "style.css");
            let answer = client
                .call(method.parse().expect("a method"), &filled)
                .header("content-type", "application/x-www-form-urlencoded")
                .header("sec-fetch-site", "same-origin")
                .expect(ANY)
                .await;
            let code = answer["code"].as_str().unwrap_or_default();
            let cell = match (answer.status, code) {
                (401, "unauthorized") => Cell::Unknown,
                (403, "forbidden") => Cell::Forbidden,
                _ => Cell::In,
            };
            let due = expected_of_page(method, path, *who);
            assert_eq!(
                cell, due,
                "{method} {path} as {who:?}: {} {code}",
                answer.status
            );
        }
    }
}

#[tokio::test]
async fn an_operator_schedules_and_changes_nothing_else() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 5}), 201).await;
    let operator = node.with_key(&make(&admin, json!({"name": "o", "role": "operator"})).await);

    let refused = operator
        .patch_pool("crm", json!({"capacity": 6}), 403)
        .await;
    assert_eq!(refused["code"], "forbidden");
    operator
        .patch_pool("crm", json!({"schedule": [], "ttl_ms": 5000}), 403)
        .await;
    operator.put_pool("crm", json!({"capacity": 6}), 403).await;
    assert_eq!(admin.pool("crm", 200).await["capacity"], 5);
}

#[tokio::test]
async fn a_key_for_one_pool_sees_no_other() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    for pool in ["crm", "other"] {
        admin.put_pool(pool, json!({"capacity": 5}), 201).await;
    }
    let viewer = node.with_key(
        &make(
            &admin,
            json!({"name": "v", "role": "viewer", "pools": ["crm"]}),
        )
        .await,
    );

    let pools = viewer.get("/v1/pools").expect(200).await;
    assert_eq!(pools.list("items").len(), 1);
    assert_eq!(pools["items"][0]["name"], "crm");
    viewer.pool("crm", 200).await;
    for path in [
        "/v1/pools/other",
        "/v1/pools/%6fther",
        "/v1/pools/nowhere",
        "/v1/keys",
    ] {
        viewer.get(path).expect(403).await;
    }

    // Of the trail it sees what was done in its pool, and what it did itself; also as a page and as files.
    viewer.put_pool("other", json!({"capacity": 9}), 403).await;
    let trail = viewer.get("/v1/audit").expect(200).await;
    let seen: Vec<[&Value; 3]> = trail
        .list("items")
        .iter()
        .map(|entry| [&entry["actor"], &entry["pool"], &entry["outcome"]])
        .collect();
    let own = &seen[0][0];
    assert_ne!(*own, "admin_key");
    assert_eq!(
        json!(seen),
        json!([[own, "other", "refused"], ["admin_key", "crm", "done"],])
    );
    let narrowed = viewer
        .get("/v1/audit?pool=other&actor=admin_key")
        .expect(200);
    assert!(narrowed.await.list("items").is_empty());
    for path in ["/v1/audit", "/admin/audit"] {
        let lines = viewer
            .get(&format!("{path}?format=jsonl"))
            .expect(200)
            .await;
        assert_eq!(lines.text.lines().count(), 2, "{path}: {}", lines.text);
    }
}
