//! Forms of the admin pages: what was typed is kept, what is wrong is said at its field, and nothing is made twice.

use reqwest::Method;
use serde_json::{Value, json};

use crate::admin_pages::{form, log_in, page_of_ours};
use crate::harness::{Client, Launch, Redis, Reply};

const KEY: &str = "the-operator-key-of-the-tests";

async fn send(node: &Client, path: &str, fields: &[(&str, &str)], status: u16) -> Reply {
    let call = page_of_ours(node, path).header("accept", "text/html");
    form(call, fields).expect(status).await
}

async fn look(node: &Client, path: &str, status: u16) -> Reply {
    let call = node.get(path).header("accept", "text/html");
    call.expect(status).await
}

/// Whether a page has all of these, with what it has if not.
fn has(page: &Reply, texts: &[&str]) {
    for text in texts {
        assert!(page.text.contains(text), "{text} is not in {}", page.text);
    }
}

#[tokio::test]
async fn a_form_that_is_wrong_keeps_what_was_typed_and_says_what_to_mend() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let whole = [
        "There is a problem",
        "role=\"alert\"",
        "aria-label=\"Pages\"",
        "aria-invalid=\"true\"",
    ];

    let refused = send(
        &node,
        "/admin/pools",
        &[("name", "cr m"), ("capacity", "5")],
        422,
    )
    .await;
    has(&refused, &whole);
    has(
        &refused,
        &[
            "value=\"cr m\"",
            "href=\"#pool-name\"",
            "id=\"pool-name-error\"",
        ],
    );
    send(
        &node,
        "/admin/pools",
        &[("name", "crm"), ("capacity", "1 000")],
        303,
    )
    .await;
    assert_eq!(node.pool("crm", 200).await["capacity"], 1_000);
    let clash = send(
        &node,
        "/admin/pools",
        &[("name", "crm"), ("capacity", "7")],
        412,
    )
    .await;
    has(
        &clash,
        &["There is a pool of this name already", "value=\"7\""],
    );

    // Another one with the same rules, but those that are for a time.
    let like = [("name", "erp2"), ("capacity", "7"), ("like", "nowhere")];
    has(
        &send(&node, "/admin/pools", &like, 422).await,
        &["href=\"#pool-like\""],
    );
    node.put_pool(
        "rules",
        json!({"capacity": 1, "ttl_ms": 5_000, "maintenance": {"message": "Soon"}}),
        201,
    )
    .await;
    let like = [("name", "erp2"), ("capacity", "7"), ("like", "rules")];
    send(&node, "/admin/pools", &like, 303).await;
    let copy = node.pool("erp2", 200).await;
    assert_eq!(
        (&copy["capacity"], &copy["ttl_ms"], &copy["maintenance"]),
        (&json!(7), &json!(5_000), &Value::Null)
    );

    // The policy in words and units; all that is wrong is said at once.
    let settings = "/admin/pools/crm/settings";
    let page = look(&node, settings, 200).await;
    has(
        &page,
        &[
            "Heartbeat timeout",
            "value=\"60 s\"",
            "value=\"10 min\"",
            ">ttl_ms<",
            "Spellings of a name",
        ],
    );
    assert!(
        !page.text.contains("{&quot;"),
        "JSON for people: {}",
        page.text
    );
    let wrong = "?review=1&f.capacity=12&f.ttl_ms=90&f.alert_at_percent=many&g=queue&f.queue=on&f.queue.max_waiting=-1";
    let refused = look(&node, &format!("{settings}{wrong}"), 422).await;
    has(&refused, &whole);
    has(
        &refused,
        &[
            "90 what? Write 90 s or 90 min.",
            "value=\"12\"",
            "value=\"many\"",
            "value=\"-1\"",
            "href=\"#f-ttl_ms\"",
            "href=\"#f-alert_at_percent\"",
            "href=\"#f-queue-max_waiting\"",
        ],
    );
    // What only the rules know.
    let refused = look(
        &node,
        &format!("{settings}?review=1&f.ttl_ms=1+ms&f.capacity=12"),
        422,
    )
    .await;
    has(
        &refused,
        &["href=\"#f-ttl_ms\"", "value=\"1 ms\"", "value=\"12\""],
    );
    let right = "f.capacity=1+200&f.ttl_ms=2+min&f.alert_at_percent=80,+95&f.platforms=web,+desktop&f.outage_grace_ms=no+limit&g=queue&f.queue=on&f.queue.max_waiting=50";
    let review = look(&node, &format!("{settings}?review=1&{right}"), 200).await;
    has(
        &review,
        &[
            "What changes",
            "<td>2 min</td>",
            "80, 95",
            "no limit",
            "Back to the form",
        ],
    );
    let back = look(&node, &format!("{settings}?edit=1&{right}"), 200).await;
    has(&back, &["value=\"1 200\"", "value=\"2 min\""]);
    let version = node.pool("crm", 200).await["version"].to_string();
    let typed: Vec<(String, String)> = reqwest::Url::parse(&format!("http://x/?{right}"))
        .expect("an address")
        .query_pairs()
        .into_owned()
        .collect();
    let mut fields: Vec<(&str, &str)> = typed
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    fields.push(("version", &version));
    send(&node, settings, &fields, 303).await;
    let pool = node.pool("crm", 200).await;
    assert_eq!(
        (
            &pool["capacity"],
            &pool["ttl_ms"],
            &pool["alert_at_percent"],
            &pool["platforms"],
            &pool["queue"]
        ),
        (
            &json!(1_200),
            &json!(120_000),
            &json!([80, 95]),
            &json!(["web", "desktop"]),
            &json!({"max_waiting": 50})
        )
    );
    assert_eq!(pool["outage_grace_ms"], Value::Null);
    // The same again is no change; somebody else's is not overwritten, and nothing that was typed is lost.
    let same = look(&node, &format!("{settings}?review=1&{right}"), 200).await;
    has(&same, &["Nothing is changed."]);
    fields[0].1 = "7";
    let conflict = send(&node, settings, &fields, 412).await;
    has(
        &conflict,
        &["Somebody else changed the pool", "value=\"7\""],
    );
    // A rule that is switched off is gone.
    let off = look(&node, &format!("{settings}?review=1&g=queue"), 200).await;
    has(&off, &["<th scope=\"row\">Queue</th>", "<td>none</td>"]);

    let entry = [
        ("name", "Season"),
        ("tz", "UTC"),
        ("from", "2036-12-02T17:00"),
        ("until", "2036-12-02T09:00"),
        ("capacity", "9"),
    ];
    let refused = send(&node, "/admin/pools/crm/schedule", &entry, 422).await;
    has(
        &refused,
        &[
            "Until must be after its from.",
            "href=\"#schedule-until\"",
            "value=\"2036-12-02T17:00\"",
        ],
    );

    // A price as people write it.
    let sizing = look(
        &node,
        "/admin/pools/crm/sizing?price_named=18,50&price_concurrent=35",
        200,
    )
    .await;
    has(&sizing, &["value=\"18,50\""]);

    // Programs read the same.
    let refused = node
        .call(Method::PUT, "/v1/pools/erp")
        .json(&json!({"capacity": 5, "ttl_ms": 1}))
        .expect(400)
        .await;
    assert_eq!(refused["errors"][0]["field"], "ttl_ms");
    assert!(
        refused["errors"][0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("1000"))
    );
    let refused = node
        .call(Method::PUT, "/v1/pools/erp")
        .json(&json!({"capacity": "x"}))
        .expect(400)
        .await;
    assert_eq!(
        (&refused["errors"][0]["field"], &refused["field"]),
        (&json!("capacity"), &json!("capacity"))
    );
}

#[tokio::test]
async fn a_form_that_comes_twice_makes_one_thing() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let page = look(&node, "/admin/keys", 200).await;
    has(&page, &["name=\"once\""]);
    let key = [
        ("once", "a-mark"),
        ("name", "widget"),
        ("role", "client"),
        ("pools", "crm"),
        ("origins", "https://crm.example/"),
        ("expires", "90 d"),
    ];
    let made = send(&node, "/admin/keys", &key, 200).await;
    has(&made, &["lh_client_"]);
    let again = send(&node, "/admin/keys", &key, 303).await;
    let shown = look(&node, again.header("location").expect("an address"), 200).await;
    has(&shown, &["This key was made before"]);
    let keys = node.get("/v1/keys").expect(200).await;
    assert_eq!(keys.list("items").len(), 1);
    assert_eq!(keys["items"][0]["origins"], json!(["https://crm.example"]));
    assert!(keys["items"][0]["expires_at"].is_string());
    let wrong = [
        ("name", "x"),
        ("role", "client"),
        ("pools", ""),
        ("expires", "90"),
    ];
    let refused = send(&node, "/admin/keys", &wrong, 422).await;
    has(
        &refused,
        &["90 what?", "href=\"#key-expires\"", "selected>client"],
    );
    let refused = send(
        &node,
        "/admin/keys",
        &[("name", "x"), ("role", "client")],
        422,
    )
    .await;
    has(&refused, &["href=\"#key-pools\""]);
}

#[tokio::test]
async fn what_comes_twice_ends_no_secret_in_use_and_nobody_else() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let key = node
        .post("/v1/keys")
        .json(&json!({"name": "backend", "role": "viewer"}))
        .expect(201)
        .await;
    let roll = format!(
        "/admin/keys/{}/roll",
        key["key"]["id"]
            .as_str()
            .or(key["id"].as_str())
            .expect("an id")
    );
    let page = look(&node, &roll, 200).await;
    has(&page, &["name=\"once\""]);
    let fields = [("once", "a-roll"), ("overlap_ms", "86400000")];
    let made = send(&node, &roll, &fields, 200).await;
    has(&made, &["Copy it now"]);
    let again = send(&node, &roll, &fields, 303).await;
    let shown = look(&node, again.header("location").expect("an address"), 200).await;
    has(&shown, &["The form came twice"]);

    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let all = [
        ("once", "an-end"),
        ("all", "1"),
        ("sure", "crm"),
        ("seen", "18446744073709551615"),
    ];
    send(&node, "/admin/pools/crm/terminate", &all, 200).await;
    node.acquire("crm", json!({"holder": "bob"}), 201).await;
    send(&node, "/admin/pools/crm/terminate", &all, 303).await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 1);
    // A name that cannot be is no reason to end everybody.
    let wrong = [("all", "1"), ("holder", "\u{7}")];
    send(&node, "/admin/pools/crm/terminate", &wrong, 303).await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 1);
}

#[tokio::test]
async fn a_login_that_has_ended_carries_the_form_through() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let post = |path: &str, fields: &[(&str, &str)]| {
        let call = page_of_ours(&node, path).header("accept", "text/html");
        form(call, fields)
    };
    let pool = [("name", "crm"), ("capacity", "5"), ("note", "<b>")];
    let asked = post("/admin/pools", &pool).expect(200).await;
    let body = "name=%63%72%6D&amp;capacity=%35&amp;note=%3C%62%3E";
    has(
        &asked,
        &[
            "Your login has ended.",
            "name=\"to\" value=\"/admin/pools\"",
            body,
        ],
    );
    let body = body.replace("&amp;", "&");
    let carried = |key: &'static str| {
        vec![
            ("to", "/admin/pools".to_owned()),
            ("body", body.clone()),
            ("key", key.to_owned()),
        ]
    };
    let fields = carried("wrong");
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let wrong = post("/admin/login", &fields).expect(200).await;
    has(
        &wrong,
        &["That did not work.", "name=\"to\" value=\"/admin/pools\""],
    );
    let fields = carried(KEY);
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let entered = post("/admin/login", &fields).expect(200).await;
    has(
        &entered,
        &[
            "action=\"/admin/pools\"",
            "name=\"name\" value=\"crm\"",
            "value=\"&lt;b&gt;\"",
            "Send it",
        ],
    );
    assert!(entered.header("set-cookie").is_some());
    node.with_key(KEY).get("/v1/pools/crm").expect(404).await;

    // What another page sent is not kept, and nothing leads elsewhere.
    let foreign = form(
        node.post("/admin/pools")
            .header("sec-fetch-site", "cross-site")
            .header("accept", "text/html"),
        &pool,
    );
    foreign.expect(303).await;
    let away = [
        ("to", "https://evil.example/"),
        ("body", "a=b"),
        ("key", KEY),
    ];
    assert_eq!(
        post("/admin/login", &away)
            .expect(303)
            .await
            .header("location"),
        Some("/admin")
    );
    log_in(&node, KEY).await;
}
