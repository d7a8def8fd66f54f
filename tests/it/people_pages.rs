//! The pages about people: who is found, what is said of somebody, and what operators do about it.

use reqwest::Method;
use serde_json::json;

use crate::admin_pages::{HOSTILE, form, log_in, page_of_ours};
use crate::harness::{Client, Launch, Redis, Reply};

const KEY: &str = "the-operator-key-of-the-tests";

async fn html(node: &Client, cookie: &str, path: &str) -> Reply {
    let call = node.get(path).header("accept", "text/html");
    call.header("cookie", cookie).expect(200).await
}

async fn send(
    node: &Client,
    cookie: &str,
    path: &str,
    fields: &[(&str, &str)],
    status: u16,
) -> Reply {
    let call = page_of_ours(node, path)
        .header("cookie", cookie)
        .header("accept", "text/html");
    form(call, fields).expect(status).await
}

#[tokio::test]
async fn a_person_is_found_and_dealt_with_on_one_page() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let rules = json!({"capacity": 9, "queue": {"max_waiting": 5}, "named": {"seats": 3, "spill_to_concurrent": true}});
    admin.put_pool("crm", rules, 201).await;
    admin.put_pool("erp", json!({"capacity": 9}), 201).await;
    let veiled = json!({"capacity": 9, "privacy": "pseudonymous"});
    admin.put_pool("veiled", veiled, 201).await;
    let maria = "maria@example.org";
    let mut leases = Vec::new();
    for pool in ["crm", "erp", "veiled"] {
        let asked = json!({"holder": maria, "tenant": "acme", "activities": ["Order 48213"]});
        leases.push(admin.acquire(pool, asked, 201).await);
    }
    admin
        .acquire("erp", json!({"holder": HOSTILE[0]}), 201)
        .await;
    let cookie = log_in(&node, KEY).await;

    // From the overview, from the head of every page, and by what somebody works on.
    let here = "/admin/people/maria%40example%2Eorg";
    for path in ["/admin?q=MARIA", "/admin/people?q=48213", "/admin/people"] {
        let page = html(&node, &cookie, path).await;
        assert!(
            page.text.contains(&format!("href=\"{here}\"")),
            "{path}: {}",
            page.text
        );
        assert!(!page.text.contains(HOSTILE[0]), "{path}");
        assert!(page.text.contains("action=\"/admin/people\""), "{path}");
    }
    let file = node
        .get("/admin/people?format=csv&q=maria")
        .header("cookie", &cookie);
    assert_eq!(file.expect(200).await.text.lines().count(), 2);

    // Everything on one page; the pool that keeps pseudonyms is searched by the whole name.
    let page = html(&node, &cookie, here).await;
    for text in [
        "<strong>3 leases in 3 pools</strong>",
        "Named seats",
        "Order 48213",
        "The last 30 days",
        "1 pool keeps pseudonyms",
    ] {
        assert!(page.text.contains(text), "{text} is not in {}", page.text);
    }
    let live = html(&node, &cookie, &format!("{here}?part=now")).await;
    assert!(live.text.contains("Order 48213") && !live.text.contains("The last 30 days"));

    // What cannot be taken comes back with what was typed.
    let typed = [("pool", "crm"), ("for", "90"), ("reason", "Lunch <b>")];
    let refused = send(&node, &cookie, &format!("{here}/block"), &typed, 422).await;
    for text in [
        "There is a problem",
        "href=\"#block-for\"",
        "90 what? Write 90 s or 90 min.",
        "value=\"90\"",
        "value=\"Lunch &lt;b&gt;\"",
        "aria-invalid=\"true\"",
        "aria-label=\"Pages\"",
    ] {
        assert!(
            refused.text.contains(text),
            "{text} is not in {}",
            refused.text
        );
    }
    admin
        .get("/v1/blocks")
        .expect(200)
        .await
        .list("items")
        .is_empty()
        .then_some(())
        .expect("no block");
    for (fields, id) in [
        (
            vec![("pool", "crm"), ("for", "2 h"), ("reason", "Lunch")],
            303,
        ),
        (vec![("pool", "nowhere"), ("for", "2 h")], 422),
    ] {
        send(&node, &cookie, &format!("{here}/block"), &fields, id).await;
    }
    let page = html(&node, &cookie, here).await;
    assert!(
        page.text.contains("Blocked in crm") && page.text.contains("Lunch"),
        "{}",
        page.text
    );
    send(
        &node,
        &cookie,
        &format!("{here}/unblock"),
        &[("pool", "crm")],
        303,
    )
    .await;
    assert_eq!(
        admin
            .get("/v1/blocks")
            .expect(200)
            .await
            .list("items")
            .len(),
        0
    );

    let long = "x".repeat(600);
    send(
        &node,
        &cookie,
        &format!("{here}/notice"),
        &[("message", &long)],
        422,
    )
    .await;
    let told = send(
        &node,
        &cookie,
        &format!("{here}/notice"),
        &[("message", "Hello")],
        303,
    )
    .await;
    assert!(
        told.header("location")
            .is_some_and(|to| to.ends_with("?done=told&n=3"))
    );
    assert_eq!(
        node.renew(&leases[2].token(), 200).await["notice"]["message"],
        "Hello"
    );

    // It ends where it is ticked, with a reason that it reads; and after the current activity where that is wanted.
    let asked = html(&node, &cookie, &format!("{here}/end")).await;
    assert!(
        asked.text.contains("End 3 leases of <bdi>maria"),
        "{}",
        asked.text
    );
    send(
        &node,
        &cookie,
        &format!("{here}/end"),
        &[("reason", "Over")],
        422,
    )
    .await;
    let end = [
        ("pools", "crm"),
        ("pools", "veiled"),
        ("reason", "Over"),
        ("block", "10 min"),
        ("when", "now"),
    ];
    let ended = send(&node, &cookie, &format!("{here}/end"), &end, 303).await;
    assert!(
        ended
            .header("location")
            .is_some_and(|to| to.ends_with("?done=ended&n=2"))
    );
    let lost = node.renew(&leases[0].token(), 410).await;
    assert_eq!(lost["reason"], "Over");
    assert!(lost["blocked_until"].is_string());
    let idle = [("pools", "erp"), ("when", "idle")];
    send(&node, &cookie, &format!("{here}/end"), &idle, 303).await;
    let token = leases[1].token();
    node.renew(&token, 200).await;
    let done = json!({"token": token, "activities": []});
    assert_eq!(node.renew_with(done, 410).await["code"], "lease_terminated");
    let trail = admin.get("/v1/audit?limit=1").expect(200).await;
    assert_eq!(trail["items"][0]["action"], "holder.terminate");
}

#[tokio::test]
async fn pages_about_people_show_and_do_what_the_key_may() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    for pool in ["crm", "erp"] {
        admin.put_pool(pool, json!({"capacity": 9}), 201).await;
    }
    let mut tokens = Vec::new();
    for (pool, tenant) in [("crm", "acme"), ("crm", "other"), ("erp", "acme")] {
        let asked = json!({"holder": "ann", "tenant": tenant, "label": format!("{pool} {tenant}")});
        tokens.push(admin.acquire(pool, asked, 201).await.token());
    }
    admin
        .acquire("crm", json!({"holder": "zoe", "tenant": "other"}), 201)
        .await;
    let login = async |role: &str, scope: serde_json::Value| {
        let mut key = json!({"name": "x", "role": role});
        key.as_object_mut()
            .expect("an object")
            .extend(scope.as_object().expect("an object").clone());
        let made = admin.post("/v1/keys").json(&key).expect(201).await;
        log_in(&node, made["secret"].as_str().expect("a secret")).await
    };
    let viewer = login("viewer", json!({"pools": ["erp"]})).await;
    let page = html(&node, &viewer, "/admin/people/ann").await;
    assert!(
        page.text.contains("erp acme") && !page.text.contains("crm"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("/end"), "{}", page.text);
    send(
        &node,
        &viewer,
        "/admin/people/ann/end",
        &[("pools", "erp")],
        403,
    )
    .await;
    send(
        &node,
        &viewer,
        "/admin/people/ann/block",
        &[("pool", "erp"), ("for", "1 h")],
        403,
    )
    .await;

    let tenant = login("operator", json!({"tenants": ["acme"]})).await;
    let list = html(&node, &tenant, "/admin/people").await;
    assert!(
        list.text.contains("ann") && !list.text.contains("zoe"),
        "{}",
        list.text
    );
    let zoe = html(&node, &tenant, "/admin/people/zoe").await;
    assert!(zoe.text.contains("Holds no seat now."), "{}", zoe.text);
    let end = [("pools", "crm"), ("pools", "erp")];
    let ended = send(&node, &tenant, "/admin/people/ann/end", &end, 303).await;
    assert!(
        ended
            .header("location")
            .is_some_and(|to| to.ends_with("n=2"))
    );
    node.renew(&tokens[1], 200).await;
    node.renew(&tokens[0], 410).await;
    // A pool that the key is not for is as unknown as one that is not there.
    let one = login("operator", json!({"pools": ["erp"]})).await;
    send(
        &node,
        &one,
        "/admin/people/ann/block",
        &[("pool", "crm"), ("for", "1 h")],
        422,
    )
    .await;
    let forged = node
        .call(Method::POST, "/admin/people/ann/end")
        .header("cookie", &one)
        .header("sec-fetch-site", "cross-site");
    form(forged, &[("pools", "erp")]).expect(403).await;
    // Clients have no pages.
    let client = admin
        .post("/v1/keys")
        .json(&json!({"name": "c", "role": "client", "pools": ["erp"]}))
        .expect(201)
        .await;
    node.with_key(client["secret"].as_str().expect("a secret"))
        .get("/admin/people")
        .expect(403)
        .await;
}
