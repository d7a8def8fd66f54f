//! Keys for some tenants: they see and touch what is theirs, and nothing tells them of others, also not by a difference.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{ANY, Call, Client, Installation, Launch, Node, Redis, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";
/// Whatever of others could show up.
const FOREIGN: [&str; 5] = ["greta", "gus", "gwen", "globex", "nora"];

/// A pool in which two tenants and somebody without one hold seats, and another in which both wait.
async fn stage(redis: &Redis) -> Node {
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let tenants = json!({"acme": {"max": 5}, "globex": {"max": 9, "reserved": 4}});
    let policy = json!({"capacity": 20, "tenants": tenants, "alert_at_percent": [50]});
    admin.put_pool("crm", policy, 201).await;
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 9}});
    admin.put_pool("full", policy, 201).await;
    admin.put_pool("other", json!({"capacity": 5}), 201).await;
    for (pool, holder, tenant) in [
        ("crm", "ann", Some("acme")),
        ("crm", "abe", Some("acme")),
        ("crm", "greta", Some("globex")),
        ("crm", "gus", Some("globex")),
        ("crm", "nora", None),
        ("full", "gus", Some("globex")),
    ] {
        admin
            .acquire(pool, json!({"holder": holder, "tenant": tenant}), 201)
            .await;
    }
    for (holder, tenant) in [("gwen", "globex"), ("alma", "acme")] {
        let body = json!({"holder": holder, "tenant": tenant, "wait": true});
        admin.acquire("full", body, 202).await;
    }
    node
}

async fn make(by: &Client, body: Value) -> (String, String) {
    let made = by.post("/v1/keys").json(&body).expect(201).await;
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (text("id"), text("secret"))
}

/// The routes of somebody who is for some tenants, said a second time and independently of the program's own table.
fn keeps_to_tenants(method: &str, path: &str) -> bool {
    let reads = [
        "/v1/pools",
        "/v1/pools/{pool}",
        "/v1/pools/{pool}/leases",
        "/v1/pools/{pool}/queue",
        "/v1/pools/{pool}/blocks",
        "/v1/pools/{pool}/tenants",
        "/v1/pools/{pool}/denials",
        "/v1/pools/{pool}/holders",
        "/v1/pools/{pool}/events",
        "/v1/blocks",
        "/v1/holders",
        "/v1/holders/{holder}",
        "/v1/reports/summary",
        "/v1/reports/tenants",
        "/v1/reports/people",
        "/v1/reports/denials",
        "/v1/reports/workbook",
        "/v1/keys",
        "/v1/keys/{id}",
        "/v1/audit",
        "/admin",
        "/admin/blocks",
        "/admin/people",
        "/admin/people/{holder}",
        "/admin/reports",
        "/admin/reports/tenants",
        "/admin/reports/people",
        "/admin/reports/denials",
        "/admin/reports/workbook",
        "/admin/people/{holder}/end",
        "/admin/pools/{pool}",
        "/admin/pools/{pool}/terminate",
        "/admin/pools/{pool}/queue",
        "/admin/pools/{pool}/denials",
        "/admin/pools/{pool}/holders",
        "/admin/keys",
        "/admin/keys/{id}/roll",
        "/admin/keys/{id}/revoke",
    ];
    let changes = [
        "/v1/leases/check",
        "/v1/pools/{pool}/leases",
        "/v1/pools/{pool}/leases/acquire-many",
        "/v1/pools/{pool}/leases/terminate",
        "/v1/pools/{pool}/blocks/{holder}",
        "/v1/holders/{holder}/terminate",
        "/v1/holders/{holder}/notice",
        "/v1/keys",
        "/v1/keys/{id}",
        "/v1/keys/{id}/roll",
        "/admin/people/{holder}/end",
        "/admin/people/{holder}/notice",
        "/admin/people/{holder}/block",
        "/admin/people/{holder}/unblock",
        "/admin/pools/{pool}/terminate",
        "/admin/keys",
        "/admin/keys/{id}/roll",
        "/admin/keys/{id}/revoke",
    ];
    let for_anybody = [
        "/livez",
        "/readyz",
        "/healthz",
        "/metrics",
        "/v1/openapi.json",
        "/v1/jwks",
        "/v1/leases/renew",
        "/v1/leases/renew-many",
        "/v1/leases/release",
        "/v1/leases/leave",
        "/v1/leases/yield",
        "/v1/pools/{pool}/queue/leave",
        "/v1/pools/{pool}/queue/request",
        "/admin/login",
        "/admin/login/oidc",
        "/admin/login/callback",
        "/admin/login/backchannel",
        "/admin/logout",
        "/admin/assets/{file}",
        "/admin/wall",
    ];
    let own: &[&str] = if method == "get" { &reads } else { &changes };
    own.contains(&path) || for_anybody.contains(&path)
}

/// Method and path of every route and page.
async fn routes(node: &Client) -> Vec<(String, String)> {
    let document = node.get("/v1/openapi.json").expect(200).await;
    let paths = document["paths"].as_object().expect("paths");
    let mut routes = Vec::new();
    for (path, item) in paths {
        let methods = item.as_object().expect("a path item").keys();
        let methods = methods
            .filter(|method| ["get", "put", "post", "patch", "delete"].contains(&method.as_str()));
        routes.extend(methods.map(|method| (method.clone(), path.clone())));
    }
    let pages = crate::roles::pages().into_iter();
    routes.extend(pages.map(|(method, path)| (method.to_lowercase(), path.to_owned())));
    routes
}

#[tokio::test]
async fn every_route_keeps_to_the_tenants_of_a_key_or_refuses_it() {
    let redis = Redis::start().await;
    let node = stage(&redis).await;
    let admin = node.with_key(KEY);
    for holder in ["ann", "gus"] {
        let path = format!("/v1/pools/crm/blocks/{holder}");
        admin
            .call(Method::PUT, &path)
            .json(&json!({"for_ms": 600_000}))
            .expect(200)
            .await;
    }
    let (_, acme) = make(
        &admin,
        json!({"name": "acme", "role": "admin", "tenants": ["acme"]}),
    )
    .await;
    let acme = node.with_key(&acme);
    let mut cells = 0;
    for (method, path) in routes(&admin).await {
        if method == "get" && path.ends_with("/events") {
            continue;
        }
        // Somebody foreign, and nobody at all: the answers tell no difference.
        let filled = |holder: &str| {
            path.replace("{pool}", "crm")
                .replace("{holder}", holder)
                .replace("{id}", "nobodyhaseis")
                .replace("{delivery}", "msg_x")
                .replace("{file}", "style.css")
        };
        let is_page = path.starts_with("/admin");
        let ask = |holder: &str| -> Call {
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let call = acme
                .call(verb, &filled(holder))
                .header("sec-fetch-site", "same-origin");
            match method.as_str() {
                "get" | "delete" => call,
                _ if is_page => call.header("content-type", "application/x-www-form-urlencoded"),
                _ if path.ends_with("/blocks/{holder}") => call.json(&json!({"for_ms": 1_000})),
                _ if path.ends_with("/notice") => call.json(&json!({"message": "x"})),
                _ => call.json(&json!({})),
            }
        };
        let answer = ask("greta").expect(ANY).await;
        let refused = answer.status == 403 && answer["code"] == "forbidden";
        // An acquire has to name a tenant, and that is said in the same way.
        let acquires = path.ends_with("/leases") && method == "post";
        assert_eq!(
            refused,
            !keeps_to_tenants(&method, &path) || acquires,
            "{method} {path}: {} {}",
            answer.status,
            answer.text
        );
        if !refused && !path.starts_with("/v1/openapi") && path != "/metrics" {
            // A month has one of the names in it.
            let of_greta = answer.text.replace("greta", "nobody").replace("August", "");
            for foreign in FOREIGN {
                assert!(
                    !of_greta.contains(foreign),
                    "{method} {path}: {}",
                    answer.text
                );
            }
            if path.contains("{holder}") {
                let of_nobody = ask("nobody").expect(ANY).await;
                assert_eq!(answer.status, of_nobody.status, "{method} {path}");
                assert_eq!(answer["code"], of_nobody["code"], "{method} {path}");
                let without = |reply: &crate::harness::Reply| {
                    let mut body = reply.body.clone();
                    if let Some(body) = body.as_object_mut() {
                        body.remove("request_id");
                    }
                    body.to_string().replace("greta", "nobody")
                };
                assert_eq!(without(&answer), without(&of_nobody), "{method} {path}");
            }
        }
        cells += 1;
    }
    assert!(cells > 90, "only {cells}");
    // What was done to somebody foreign was not done.
    let leases = admin.list("crm", "holder=greta", 200).await;
    assert_eq!(leases.list("items").len(), 1);
    let blocks = admin.get("/v1/blocks").expect(200).await;
    assert_eq!(blocks.list("items").len(), 2, "{}", blocks.text);
}

#[tokio::test]
async fn numbers_lists_and_streams_are_those_of_the_own_tenants() {
    let redis = Redis::start().await;
    let node = stage(&redis).await;
    let admin = node.with_key(KEY);
    let (_, operator) = make(
        &admin,
        json!({"name": "o", "role": "operator", "tenants": ["acme"]}),
    )
    .await;
    let operator = node.with_key(&operator);

    let pool = operator.pool("crm", 200).await;
    let number = |name: &str| pool[name].as_u64();
    assert_eq!(
        (number("in_use"), number("leases"), number("capacity_now")),
        (Some(2), Some(2), Some(5))
    );
    assert_eq!(number("free"), Some(3));
    assert_eq!(pool["tenants_in_use"], json!({"acme": 2}));
    assert_eq!(pool["capacity"], 5);
    let page = json!({"name": "p", "role": "client", "pools": ["crm"], "tenant": "acme"});
    let page = node.with_key(&make(&admin, page).await.1);
    let use_of_acme = json!({"acme": {"in_use": 2, "max": 5, "reserved": 0}});
    assert_eq!(
        page.availability("crm", 200).await.body,
        json!({"in_use": 2, "capacity": 5, "free": 3, "tenants": use_of_acme})
    );
    assert!(pool["tenants"].get("globex").is_none());
    let full = operator.pool("full", 200).await;
    assert_eq!(
        (full["in_use"].as_u64(), full["waiting"].as_u64()),
        (Some(0), Some(1))
    );
    let queue = operator.get("/v1/pools/full/queue").expect(200).await;
    assert_eq!(queue.list("items").len(), 1);
    assert_eq!(
        (&queue["items"][0]["holder"], &queue["items"][0]["position"]),
        (&json!("alma"), &json!(1))
    );
    assert_eq!(queue["items"][0]["eta_ms"], Value::Null);
    let person = operator.get("/v1/holders/alma?days=30").expect(200).await;
    assert_eq!(person["waiting"][0]["eta_ms"], Value::Null);
    assert_eq!(person["history"], json!([]));
    let leases = operator.list("crm", "limit=1&sort=holder", 200).await;
    assert_eq!(leases["items"][0]["holder"], "abe");
    let cursor = leases["next_cursor"].as_str().expect("another page");
    let leases = operator
        .list("crm", &format!("limit=1&sort=holder&cursor={cursor}"), 200)
        .await;
    assert_eq!(
        (&leases["items"][0]["holder"], &leases["next_cursor"]),
        (&json!("ann"), &Value::Null)
    );
    assert!(
        operator
            .list("crm", "tenant=globex", 200)
            .await
            .list("items")
            .is_empty()
    );
    let csv = operator
        .get("/v1/pools/crm/leases?format=csv")
        .of_another_program()
        .expect(200)
        .await;
    assert_eq!(csv.text.lines().count(), 3, "{}", csv.text);
    let people = operator.get("/v1/holders").expect(200).await;
    assert_eq!(people.list("items").len(), 2, "{}", people.text);

    // Ends: one's own, and nothing else.
    let id_of = async |holder: &str| {
        let found = admin.list("crm", &format!("holder={holder}"), 200).await;
        found["items"][0]["id"].clone()
    };
    let (own, foreign) = (id_of("ann").await, id_of("greta").await);
    let ended = operator
        .terminate("crm", json!({"ids": [own, foreign]}), 200)
        .await;
    assert_eq!(
        (
            &ended["results"][0]["status"],
            &ended["results"][1]["status"]
        ),
        (&json!("terminated"), &json!("ended"))
    );
    for body in [json!({"holder": "greta"}), json!({"tenant": "globex"})] {
        let ended = operator.terminate("crm", body, 200).await;
        assert!(ended.list("results").is_empty(), "{}", ended.text);
    }
    let ended = operator
        .post("/v1/holders/abe/terminate")
        .json(&json!({"block_ms": 60_000}))
        .expect(200)
        .await;
    assert_eq!(ended.list("results").len(), 1, "{}", ended.text);
    let ended = operator.terminate("crm", json!({"all": true}), 200).await;
    assert!(ended.list("results").is_empty(), "{}", ended.text);
    assert_eq!(admin.pool("crm", 200).await["leases"], 3);
    // Somebody who was ended a moment ago is still one of theirs: the block can be seen and lifted.
    let blocks = operator.get("/v1/blocks").expect(200).await;
    assert_eq!(blocks["items"][0]["holder"], "abe", "{}", blocks.text);
    operator
        .call(Method::DELETE, "/v1/pools/crm/blocks/abe")
        .expect(204)
        .await;
    admin
        .acquire("crm", json!({"holder": "abe", "tenant": "acme"}), 201)
        .await;
    // Two that will end by time, one of them from before the stream.
    admin
        .put_pool("short", json!({"capacity": 9, "ttl_ms": 1_000}), 201)
        .await;
    let short = async |holder: &str, tenant: &str| {
        let body = json!({"holder": holder, "tenant": tenant});
        admin.acquire("short", body, 201).await["lease"]["id"].clone()
    };
    let before = short("ann", "acme").await;
    let bearer = format!("Bearer {}", secret_of_a_viewer(&admin).await);
    let ends = reqwest::Client::new()
        .get(node.url("/v1/pools/short/events"))
        .header("authorization", bearer);
    let mut ends = ends.send().await.expect("an answer");
    let (after, _) = (short("abe", "acme").await, short("greta", "globex").await);
    let mut told = String::new();
    while told.matches("\"expired\"").count() < 2 {
        let chunk = tokio::time::timeout(Duration::from_secs(20), ends.chunk()).await;
        let chunk = chunk
            .expect("in time")
            .expect("a stream")
            .expect("it goes on");
        told.push_str(&String::from_utf8_lossy(&chunk));
    }
    for (lease, holder) in [(before, "ann"), (after, "abe")] {
        let is_its_end = |line: &&str| {
            line.contains("\"ended\"") && line.contains(lease.as_str().expect("an id"))
        };
        let end = told.lines().find(is_its_end).expect("its end");
        assert!(
            end.contains(&format!("\"holder\":\"{holder}\",\"tenant\":\"acme\"")),
            "{end}"
        );
    }
    assert!(!told.contains("greta"), "{told}");

    // What was done is in their trail, what others did is not.
    let trail = operator.get("/v1/audit").expect(200).await;
    assert!(
        trail
            .list("items")
            .iter()
            .all(|entry| entry["actor_name"] == "o"),
        "{}",
        trail.text
    );
    assert!(
        operator
            .get("/v1/audit?actor=admin_key")
            .expect(200)
            .await
            .list("items")
            .is_empty()
    );

    let mut stream = reqwest::Client::new()
        .get(node.url("/v1/pools/crm/events"))
        .header(
            "authorization",
            format!("Bearer {}", secret_of_a_viewer(&admin).await),
        )
        .header("last-event-id", "0")
        .send()
        .await
        .expect("an answer");
    let mut seen = String::new();
    while !seen.contains("\"holder\":\"abe\"") || !seen.contains("terminated") {
        let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await;
        let chunk = chunk
            .expect("in time")
            .expect("a stream")
            .expect("it goes on");
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    for foreign in FOREIGN {
        assert!(!seen.contains(foreign), "{seen}");
    }
}

async fn secret_of_a_viewer(admin: &Client) -> String {
    make(
        admin,
        json!({"name": "s", "role": "viewer", "tenants": ["acme"]}),
    )
    .await
    .1
}

#[tokio::test]
async fn an_admin_of_a_tenant_makes_keys_for_no_more_than_it_has() {
    let redis = Redis::start().await;
    let node = stage(&redis).await;
    let admin = node.with_key(KEY);
    let (whole, _) = make(&admin, json!({"name": "whole", "role": "viewer"})).await;
    let (acme_id, acme) = make(
        &admin,
        json!({"name": "acme", "role": "admin", "tenants": ["acme"], "pools": ["crm", "full"]}),
    )
    .await;
    let acme = node.with_key(&acme);
    for body in [
        json!({"name": "a", "role": "viewer"}),
        json!({"name": "a", "role": "viewer", "tenants": ["acme"]}),
        json!({"name": "a", "role": "viewer", "pools": ["crm"]}),
        json!({"name": "a", "role": "viewer", "pools": ["crm"], "tenants": ["globex"]}),
        json!({"name": "a", "role": "viewer", "pools": ["crm"], "tenants": ["acme", "globex"]}),
        json!({"name": "a", "role": "viewer", "pools": ["other"], "tenants": ["acme"]}),
        json!({"name": "a", "role": "client", "pools": ["crm"]}),
        json!({"name": "a", "role": "client", "pools": ["crm"], "tenant": "globex"}),
    ] {
        let refused = acme.post("/v1/keys").json(&body).expect(403).await;
        assert_eq!(refused["code"], "forbidden", "{body}");
    }
    for body in [
        json!({"name": "a", "role": "client", "pools": ["crm"], "tenants": ["acme"]}),
        json!({"name": "a", "role": "viewer", "tenant": "acme", "tenants": ["acme"]}),
    ] {
        admin.post("/v1/keys").json(&body).expect(400).await;
    }
    let own = json!({"name": "own", "role": "operator", "pools": ["crm"], "tenants": ["acme"]});
    let (own, secret) = make(&acme, own).await;
    let client = json!({"name": "widget", "role": "client", "pools": ["crm"], "tenant": "acme"});
    let (widget, widget_secret) = make(&acme, client).await;
    let listed = acme.get("/v1/keys").expect(200).await;
    let names: Vec<&str> = listed
        .list("items")
        .iter()
        .filter_map(|key| key["name"].as_str())
        .collect();
    assert_eq!(names, ["acme", "own", "widget"]);
    assert_eq!(listed["items"][2]["tenant"], "acme");
    assert_eq!(listed["items"][1]["tenants"], json!(["acme"]));
    for call in [
        acme.get(&format!("/v1/keys/{whole}")),
        acme.call(Method::DELETE, &format!("/v1/keys/{whole}")),
        acme.post(&format!("/v1/keys/{whole}/roll"))
            .json(&json!({})),
        acme.call(Method::PATCH, &format!("/v1/keys/{whole}"))
            .json(&json!({"name": "x"})),
    ] {
        assert_eq!(call.expect(404).await["code"], "key_not_found");
    }
    let patch = |id: &str, body: Value| {
        acme.call(Method::PATCH, &format!("/v1/keys/{id}"))
            .json(&body)
    };
    patch(&own, json!({"tenants": []})).expect(403).await;
    // The right of somebody who has it for an hour does not outlive the hour by another key.
    let hour = json!({"name": "hour", "role": "admin", "expires_in_ms": 3_600_000});
    let (hour_id, hour) = make(&admin, hour).await;
    let hour = node.with_key(&hour);
    for (body, status) in [
        (json!({"name": "a", "role": "viewer"}), 403),
        (
            json!({"name": "a", "role": "viewer", "expires_in_ms": 7_200_000}),
            403,
        ),
        (
            json!({"name": "a", "role": "viewer", "expires_in_ms": 60_000}),
            201,
        ),
    ] {
        hour.post("/v1/keys").json(&body).expect(status).await;
    }
    let rolled = hour
        .post(&format!("/v1/keys/{whole}/roll"))
        .json(&json!({}));
    rolled.expect(403).await;
    let for_ever = hour.call(Method::PATCH, &format!("/v1/keys/{hour_id}"));
    for_ever
        .json(&json!({"expires_at": null}))
        .expect(403)
        .await;
    patch(&acme_id, json!({"tenants": ["acme", "globex"]}))
        .expect(403)
        .await;
    patch(&widget, json!({"tenant": null})).expect(403).await;

    // A key that fixes a tenant acquires for it, whatever is said.
    let widget_of = node.with_key(&widget_secret);
    let lease = widget_of
        .acquire("crm", json!({"holder": "zoe"}), 201)
        .await;
    assert_eq!(lease["lease"]["tenant"], "acme");
    widget_of
        .acquire("crm", json!({"holder": "zoe", "tenant": "acme"}), 201)
        .await;
    let refused = widget_of
        .acquire("crm", json!({"holder": "zoe", "tenant": "globex"}), 403)
        .await;
    assert_eq!(refused["code"], "forbidden");
    let many = json!({"leases": [{"holder": "y"}, {"holder": "x", "tenant": "acme"}]});
    let many = widget_of
        .post("/v1/pools/crm/leases/acquire-many")
        .json(&many)
        .expect(200)
        .await;
    assert_eq!(
        many["results"][0]["lease"]["tenant"], "acme",
        "{}",
        many.text
    );
    let many = json!({"leases": [{"holder": "y", "tenant": "globex"}]});
    widget_of
        .post("/v1/pools/crm/leases/acquire-many")
        .json(&many)
        .expect(403)
        .await;
    // So does an admin of the tenant, who may name it.
    acme.acquire("crm", json!({"holder": "w"}), 403).await;
    acme.acquire("crm", json!({"holder": "w", "tenant": "globex"}), 403)
        .await;

    // A change acts soon, also on what the key sees.
    let operator = node.with_key(&secret);
    assert_eq!(
        operator
            .list("crm", "holder=greta", 200)
            .await
            .list("items")
            .len(),
        0
    );
    admin
        .call(Method::PATCH, &format!("/v1/keys/{own}"))
        .json(&json!({"tenants": ["globex"]}))
        .expect(200)
        .await;
    wait_until("it acts", Duration::from_secs(2), async || {
        operator
            .list("crm", "holder=greta", 200)
            .await
            .list("items")
            .len()
            == 1
    })
    .await;
}

#[tokio::test]
async fn a_block_by_a_key_for_some_tenants_meets_a_person_there_and_nowhere_else() {
    let cluster = Installation::start_with(2, &[("admin_key", KEY)]).await;
    let (admin, other) = (
        cluster.nodes[0].with_key(KEY),
        cluster.nodes[1].with_key(KEY),
    );
    let operator_of = async |tenants: &[&str]| {
        let key = json!({"name": tenants.join("+"), "role": "operator", "tenants": tenants});
        cluster.nodes[1].with_key(&make(&admin, key).await.1)
    };
    let acme = operator_of(&["acme"]).await;
    let globex = operator_of(&["globex"]).await;
    let both = operator_of(&["acme", "initech"]).await;
    for (pool, policy) in [
        ("plain", json!({"capacity": 9})),
        (
            "rules",
            json!({"capacity": 9, "tenant_max": 9, "queue": {"max_waiting": 9}}),
        ),
    ] {
        admin.put_pool(pool, policy, 201).await;
        let acquire = async |tenant: Option<&str>, status: u16| {
            let body = json!({"holder": "sam", "tenant": tenant});
            other.acquire(pool, body, status).await
        };
        let put = async |by: &Client, body: Value, status: u16| {
            let path = format!("/v1/pools/{pool}/blocks/sam");
            by.call(Method::PUT, &path).json(&body).expect(status).await
        };
        let lift = async |by: &Client, status: u16| {
            let path = format!("/v1/pools/{pool}/blocks/sam");
            by.call(Method::DELETE, &path).expect(status).await
        };
        let list = async |by: &Client| {
            let path = format!("/v1/pools/{pool}/blocks?limit=1");
            let mut page = by.get(&path).expect(200).await;
            let mut items = page.list("items").to_vec();
            while let Some(cursor) = page["next_cursor"].as_str() {
                page = by.get(&format!("{path}&cursor={cursor}")).expect(200).await;
                items.extend_from_slice(page.list("items"));
            }
            items
        };
        for tenant in [Some("acme"), Some("globex"), None] {
            acquire(tenant, 201).await;
        }
        let why = json!({"holder": "sam", "reason": "Enough.", "block_ms": 60_000});
        let ended = acme.terminate(pool, why, 200).await;
        assert_eq!(ended.list("results").len(), 1, "{}", ended.text);
        let denied = acquire(Some("acme"), 409).await;
        assert_eq!(
            (&denied["code"], &denied["reason"]),
            (&json!("holder_blocked"), &json!("Enough."))
        );
        let other_lease = acquire(Some("globex"), 201).await;
        acquire(None, 201).await;
        assert!(list(&globex).await.is_empty());
        let of_globex = globex.get("/v1/holders/sam").expect(200).await;
        assert_eq!(of_globex["blocks"], json!([]));
        let people = globex.get("/v1/holders").expect(200).await;
        assert_eq!(people["items"][0]["blocked_until"], Value::Null);
        for by in [&acme, &admin] {
            let blocks = list(by).await;
            assert_eq!(blocks.len(), 1, "{blocks:?}");
            assert_eq!(blocks[0]["tenants"], json!(["acme"]));
            assert_eq!(blocks[0]["reason"], "Enough.");
        }
        // Nobody of another tenant lifts it, and one that comes back reads it.
        lift(&globex, 204).await;
        acquire(Some("acme"), 409).await;

        // By somebody for two tenants there are two; what was answered can be put again.
        let put_by = put(&both, json!({"for_ms": 90_000, "reason": "Both."}), 200).await;
        assert_eq!(put_by["tenants"], json!(["acme", "initech"]));
        put(&both, put_by.body.clone(), 200).await;
        put(&both, json!({"for_ms": 1_000, "tenants": ["globex"]}), 403).await;
        assert_eq!(list(&admin).await.len(), 2);
        assert_eq!(list(&acme).await.len(), 1);
        acquire(Some("initech"), 409).await;
        lift(&both, 204).await;
        acquire(Some("acme"), 201).await;

        // One for all meets everybody, and is not theirs to lift.
        let all = put(&admin, json!({"for_ms": 60_000}), 200).await;
        assert_eq!(all["tenants"], Value::Null);
        for tenant in [Some("acme"), Some("globex"), None] {
            acquire(tenant, 409).await;
        }
        assert_eq!(list(&globex).await[0]["tenants"], Value::Null);
        let refused = lift(&globex, 403).await;
        assert_eq!(refused["code"], "forbidden");
        put(
            &admin,
            json!({"for_ms": 60_000, "tenants": ["acme", "globex"]}),
            200,
        )
        .await;
        lift(&admin, 204).await;
        assert!(list(&admin).await.is_empty());
        acquire(Some("globex"), 201).await;

        // So does one that waits for the next idle heartbeat.
        let end = json!({"pools": [pool], "when": "idle", "block_ms": 60_000});
        let path = "/v1/holders/sam/terminate";
        globex.post(path).json(&end).expect(200).await;
        admin.renew(&other_lease.token(), 410).await;
        acquire(Some("globex"), 409).await;
        acquire(Some("acme"), 201).await;
        lift(&globex, 204).await;
    }
}

#[tokio::test]
async fn a_key_for_one_tenant_hears_its_own_place_and_shows_its_own_tickets() {
    let cluster = Installation::start_with(2, &[("admin_key", KEY)]).await;
    let admin = cluster.nodes[0].with_key(KEY);
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 9}});
    admin.put_pool("crm", policy, 201).await;
    let page_of = async |tenant: &str, node: usize| {
        let key = json!({"name": tenant, "role": "client", "pools": ["crm"], "tenant": tenant});
        cluster.nodes[node].with_key(&make(&admin, key).await.1)
    };
    let acme = page_of("acme", 0).await;
    let globex = page_of("globex", 1).await;
    let held = globex.acquire("crm", json!({"holder": "gus"}), 201).await;
    let wait = async |by: &Client, body: Value, place: u64| {
        let queued = by.acquire("crm", body, 202).await;
        assert_eq!(queued["position"], place, "{}", queued.text);
        assert!(queued["eta_ms"].is_null(), "{}", queued.text);
        queued["ticket"].clone()
    };
    let first = wait(&globex, json!({"holder": "gwen", "wait": true}), 1).await;
    let own = wait(&acme, json!({"holder": "ann", "wait": true}), 1).await;
    let second = wait(&acme, json!({"holder": "abe", "wait": true}), 2).await;
    wait(
        &globex,
        json!({"holder": "gil", "wait": true, "wait_ms": 200}),
        2,
    )
    .await;
    wait(&acme, json!({"ticket": second, "wait_ms": 200}), 2).await;
    wait(&acme, json!({"ticket": own}), 1).await;
    for wait_ms in [0, 200] {
        let foreign = json!({"ticket": own, "wait_ms": wait_ms});
        let refused = globex.acquire("crm", foreign, 403).await;
        assert_eq!(refused["code"], "forbidden");
    }
    // Whoever sees all tenants is told of all.
    let of_all = json!({"ticket": second});
    assert_eq!(admin.acquire("crm", of_all, 202).await["position"], 3);

    globex.release(&held.token(), 204).await;
    let granted = json!({ "ticket": first });
    let granted = globex.acquire("crm", granted, 201).await;
    assert_eq!(granted["lease"]["tenant"], "globex");
    // A seat that was got with it is as foreign.
    let foreign = json!({ "ticket": first });
    acme.acquire("crm", foreign, 403).await;
}

#[tokio::test]
async fn reports_of_people_and_denials_are_those_of_the_own_tenants() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    admin.put_pool("crm", json!({"capacity": 2}), 201).await;
    let key = json!({"name": "v", "role": "viewer", "tenants": ["acme"]});
    let viewer = node.with_key(&make(&admin, key).await.1);
    let acquire = async |holder: &str, tenant: Option<&str>, status: u16| {
        let body = json!({"holder": holder, "tenant": tenant});
        admin.acquire("crm", body, status).await
    };
    // The same person for both, and somebody for nobody.
    let own = acquire("sam", Some("acme"), 201).await;
    let foreign = acquire("sam", Some("globex"), 201).await;
    for (holder, tenant) in [
        ("ann", Some("acme")),
        ("greta", Some("globex")),
        ("nora", None),
    ] {
        acquire(holder, tenant, 409).await;
    }
    for lease in [&own, &foreign] {
        admin.release(&lease.token(), 204).await;
    }
    // She got a seat after all, but not here.
    acquire("ann", Some("globex"), 201).await;
    acquire("nora", None, 201).await;

    let column = async |by: &Client, path: &str, name: &str| -> Vec<Value> {
        let found = by.get(path).expect(200).await;
        let items = found.list("items").iter();
        items.map(|item| item[name].clone()).collect()
    };
    let denials = "/v1/pools/crm/denials";
    assert_eq!(column(&admin, denials, "holder").await.len(), 3);
    assert_eq!(column(&viewer, denials, "holder").await, [json!("ann")]);
    assert_eq!(column(&viewer, denials, "granted_at").await, [Value::Null]);
    let csv = format!("{denials}?format=csv");
    let csv = viewer.get(&csv).of_another_program().expect(200).await;
    assert_eq!(csv.text.lines().count(), 2, "{}", csv.text);
    let holders = "/v1/pools/crm/holders";
    assert_eq!(
        column(&admin, holders, "leases").await,
        [json!(1), json!(1), json!(2)]
    );
    assert_eq!(column(&viewer, holders, "holder").await, [json!("sam")]);
    assert_eq!(column(&viewer, holders, "leases").await, [json!(1)]);
    for (by, leases) in [(&viewer, 1), (&admin, 2)] {
        let person = by.get("/v1/holders/sam?days=7").expect(200).await;
        let history = &person["history"][0];
        assert_eq!(history["leases"], leases, "{}", person.text);
        assert_eq!(history["ends"], json!({ "released": leases }));
    }
    for page in ["denials", "holders"] {
        let page = format!("/admin/pools/crm/{page}");
        let page = viewer.get(&page).expect(200).await;
        assert!(page.text.contains("/admin/pools/crm/denials"), "its tabs");
        for foreign in ["greta", "nora", "globex"] {
            assert!(!page.text.contains(foreign), "{}", page.text);
        }
    }
}
