//! The admin pages: what they say and do, and against those who forge. In a real browser: `admin_browser`.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Call, Client, Launch, Receiver, Redis, Reply, wait_until};
use crate::history::by_hand::Hands;

const KEY: &str = "the-operator-key-of-the-tests";

/// Texts that would be scripts or formulas if somebody forgot to write them as text.
pub(crate) const HOSTILE: [&str; 4] = [
    "<script>window.pwned=1</script>",
    "\"><img src=x onerror=window.pwned=1>",
    "'+alert(1)+'",
    "=cmd|' /C calc'!A0",
];

pub(crate) fn form(call: Call, fields: &[(&str, &str)]) -> Call {
    let body: Vec<String> = fields
        .iter()
        .map(|(name, value)| {
            let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            format!("{name}={value}")
        })
        .collect();
    call.header("content-type", "application/x-www-form-urlencoded")
        .body(body.join("&"))
}

pub(crate) fn page_of_ours(node: &Client, path: &str) -> Call {
    node.post(path).header("sec-fetch-site", "same-origin")
}

fn cookie(reply: &Reply) -> String {
    let cookie = reply.header("set-cookie").expect("a cookie");
    for part in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(
        cookie.starts_with("__Host-leasehold=") && !cookie.contains("Domain"),
        "{cookie}"
    );
    cookie.split(';').next().expect("a value").to_owned()
}

pub(crate) async fn log_in(node: &Client, key: &str) -> String {
    let entered = form(page_of_ours(node, "/admin/login"), &[("key", key)])
        .expect(303)
        .await;
    cookie(&entered)
}

#[tokio::test]
async fn a_login_is_asked_for_and_ends_with_its_key() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let html = |path: &str| node.get(path).header("accept", "text/html");

    for path in ["/admin", "/admin/keys", "/admin/audit", "/admin/pools/crm"] {
        let sent = html(path).expect(303).await;
        assert!(
            sent.header("location")
                .is_some_and(|to| to.starts_with("/admin/login?next="))
        );
        node.get(path).expect(401).await;
    }
    let refused = form(page_of_ours(&node, "/admin/login"), &[("key", "wrong")])
        .expect(303)
        .await;
    assert_eq!(refused.header("location"), Some("/admin/login?wrong=1"));
    assert_eq!(refused.header("set-cookie"), None);

    let made = node
        .with_key(KEY)
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer"}))
        .expect(201)
        .await;
    let viewer = log_in(&node, made["secret"].as_str().expect("a secret")).await;
    let with = |cookie: &str, path: &str| html(path).header("cookie", cookie);
    with(&viewer, "/admin").expect(200).await;
    // The cookie is good for the interface too, for what its role may do, and changes only from our own pages.
    node.get("/v1/pools")
        .header("cookie", &viewer)
        .expect(200)
        .await;
    let admin = log_in(&node, KEY).await;
    let put = |site: &str, cookie: &str| {
        node.call(Method::PUT, "/v1/pools/crm")
            .header("cookie", cookie)
            .header("sec-fetch-site", site)
            .json(&json!({"capacity": 1}))
    };
    put("same-origin", &viewer).expect(403).await;
    for site in ["cross-site", "same-site", "none"] {
        put(site, &admin).expect(403).await;
    }
    put("same-origin", &admin).expect(201).await;

    // Forged, cut and another's.
    for forged in [
        "__Host-leasehold=".to_owned(),
        "__Host-leasehold=x.y".to_owned(),
        format!("{admin}x"),
        admin.replace('.', "x."),
        admin.replace("__Host-", ""),
    ] {
        with(&forged, "/admin").expect(303).await;
    }
    let id = made["id"].as_str().expect("an id");
    node.with_key(KEY)
        .call(Method::DELETE, &format!("/v1/keys/{id}"))
        .expect(204)
        .await;
    with(&viewer, "/admin").expect(303).await;
    page_of_ours(&node, "/admin/logout")
        .header("cookie", &admin)
        .expect(303)
        .await;
    with(&admin, "/admin").expect(303).await;
}

#[tokio::test]
async fn pages_of_others_cannot_make_a_browser_act() {
    let redis = Redis::start().await;
    let closed = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = log_in(&closed, KEY).await;
    let open = Launch::on(&redis.url()).start().await;

    for (node, cookie) in [(&closed, admin.as_str()), (&open, "")] {
        let host = node.address().to_owned();
        let new = || {
            form(
                node.post("/admin/pools").header("cookie", cookie),
                &[("name", "crm"), ("capacity", "5")],
            )
        };
        new().expect(403).await;
        new()
            .header("sec-fetch-site", "cross-site")
            .expect(403)
            .await;
        new()
            .header("origin", "https://evil.example")
            .expect(403)
            .await;
        new().header("origin", "null").expect(403).await;
        new()
            .header("origin", "http://localhost:1")
            .expect(403)
            .await;
        new()
            .header("origin", &format!("http://{host}"))
            .expect([303, 412])
            .await;
    }
    // Nor log it in as somebody else, nor out.
    form(
        closed
            .post("/admin/login")
            .header("sec-fetch-site", "cross-site"),
        &[("key", KEY)],
    )
    .expect(403)
    .await;
    form(closed.post("/admin/login"), &[("key", KEY)])
        .expect(403)
        .await;
    closed
        .post("/admin/logout")
        .header("cookie", &admin)
        .expect(403)
        .await;
    for next in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/admin\\..\\..",
        "/adminevil",
    ] {
        let entered = form(
            page_of_ours(&closed, "/admin/login"),
            &[("key", KEY), ("next", next)],
        )
        .expect(303)
        .await;
        assert_eq!(entered.header("location"), Some("/admin"), "{next}");
    }
}

#[tokio::test]
async fn what_others_wrote_is_text_on_every_page_and_in_every_file() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 9}), 201).await;
    for text in HOSTILE {
        let lease = json!({"holder": text, "tenant": text, "label": text, "activities": [text], "platform": "web"});
        node.acquire("crm", lease, [201, 400]).await;
        node.post("/v1/keys")
            .json(&json!({"name": text, "role": "viewer"}))
            .expect(201)
            .await;
    }
    for path in [
        "/admin",
        "/admin/pools/crm",
        "/admin/pools/crm?q=%3Cscript%3E",
        "/admin/keys",
        "/admin/audit?actor=%22%3E%3Cscript%3E",
    ] {
        let page = node.get(path).expect(200).await;
        assert!(
            !page.text.contains("<script>window") && !page.text.contains("<img"),
            "{path}"
        );
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'")
                && !policy.contains("unsafe")
        );
    }
    let file = node.get("/admin/pools/crm?format=csv").expect(200).await;
    assert!(file.text.contains("'=cmd"), "{}", file.text);
    assert!(
        file.text
            .lines()
            .skip(1)
            .all(|line| !line.contains(",=cmd")),
        "{}",
        file.text
    );
    let list = node
        .get("/admin/pools/crm")
        .header("accept", "application/json")
        .expect(200)
        .await;
    assert_eq!(list.list("items").len(), 4);
}

#[tokio::test]
async fn the_overview_tells_the_day_of_each_pool() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 3}), 201).await;
    for pool in ["a-idle", "b-idle"] {
        node.put_pool(pool, json!({"capacity": 5}), 201).await;
    }
    let mut tokens = Vec::new();
    for holder in ["ann", "bob", "cid"] {
        let lease = node.acquire("crm", json!({"holder": holder}), 201).await;
        tokens.push(lease.token());
    }
    node.acquire("crm", json!({"holder": "dan"}), 409).await;

    let overview = |query: &str| {
        node.get(&format!("/admin?{query}"))
            .header("accept", "application/json")
            .expect(200)
    };
    let full = overview("q=crm").await;
    let crm = &full["pools"][0];
    assert_eq!(
        (&crm["in_use"], &crm["peak_today"], &crm["denials_today"]),
        (&json!(3), &json!(3), &json!(1))
    );
    assert!(crm["full_since"].is_string(), "{crm}");
    assert_eq!(
        crm["hours"].as_array().and_then(|hours| hours.last()),
        Some(&json!(3))
    );
    let page = node
        .get("/admin")
        .header("accept", "text/html")
        .expect(200)
        .await;
    for text in [
        "Full",
        "since <time",
        "Peak today",
        "Denials today",
        "1 node is up",
    ] {
        assert!(page.text.contains(text), "{text} is not in {}", page.text);
    }

    let table = node
        .get("/admin?view=table&only=full")
        .header("accept", "text/html")
        .expect(200)
        .await;
    assert!(
        table
            .text
            .contains("<th scope=\"row\"><a href=\"/admin/pools/crm\">")
            && !table.text.contains("a-idle"),
        "{}",
        table.text
    );

    // A seat is free again; the peak stays, and it is what the interface says too.
    node.release(&tokens[0], 204).await;
    let free = overview("q=crm").await;
    let crm = &free["pools"][0];
    assert_eq!((&crm["in_use"], &crm["peak_today"]), (&json!(2), &json!(3)));
    assert!(crm["full_since"].is_null(), "{crm}");
    let usage = node.get("/v1/pools/crm/usage?days=1").expect(200).await;
    assert_eq!(usage["daily"][0]["high_water_mark"], crm["peak_today"]);

    // By name, or the fullest first; page by page.
    let names = |page: &Reply| -> Vec<String> {
        let pools = page.list("pools");
        let names = pools.iter().filter_map(|pool| pool["name"].as_str());
        names.map(str::to_owned).collect()
    };
    let first = overview("limit=2").await;
    assert_eq!(names(&first), ["a-idle", "b-idle"]);
    let second = overview("limit=2&cursor=b-idle").await;
    assert_eq!(names(&second), ["crm"]);
    assert_eq!(first["next_cursor"], "b-idle");
    assert!(second["next_cursor"].is_null());
    assert_eq!(
        names(&overview("sort=use").await),
        ["crm", "a-idle", "b-idle"]
    );
    let rest = overview("sort=use&limit=2&cursor=2").await;
    assert_eq!(names(&rest), ["b-idle"]);
    node.get("/admin?limit=0").expect(400).await;
}

#[tokio::test]
async fn a_view_of_a_pool_says_what_the_interface_says() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    // Live data changes between two requests, so time stands still here unless the test moves it.
    let noon = chrono::Utc::now()
        .date_naive()
        .and_hms_opt(12, 0, 0)
        .expect("a noon");
    let noon = noon.and_utc().timestamp_millis() + 86_400_000;
    let mut hands = Hands::take(&redis, "crm", noon).await;
    node.put_pool("crm", json!({"capacity": 2, "ttl_ms": 86_400_000}), 201)
        .await;
    let mut leases = Vec::new();
    for (holder, status) in [("ann", 201), ("bob", 201), ("cid", 409)] {
        let body = json!({"holder": holder, "tenant": "acme"});
        leases.push(node.acquire("crm", body, status).await);
    }
    hands.pass(20 * 60_000).await;
    node.release(&leases[0].token(), 204).await;
    hands.pass(10 * 60_000).await;
    let instant = |ms: i64| leasehold::time::Timestamp(ms).to_string();
    let range = format!(
        "from={}&to={}",
        instant(noon - 3_600_000),
        instant(hands.now)
    );
    for view in [
        "history?step=hour",
        "history?step=day&tz=Europe/Zurich",
        "patterns?tz=Asia/Kathmandu",
        "denials?a=b",
        "holders?sort=holder",
        "tenants?tz=UTC",
        "sizing?price_named=10&price_concurrent=35&reserve=20&target_lean=0.5&sustained_minutes=5",
    ] {
        let path = view.split('?').next().expect("a path");
        let page = node
            .get(&format!("/admin/pools/crm/{view}&{range}"))
            .header("accept", "application/json")
            .expect(200)
            .await;
        // What only the page knows is not sent to the interface.
        let asked = view
            .replace("a=b", "limit=1000")
            .replace("sort=holder", "limit=1000")
            .replace("tenants?tz=UTC", "tenants?limit=1000");
        // The page knows the zone of its pool.
        let asked = asked.replace("sizing?", "sizing?tz=UTC&");
        let told = node
            .get(&format!("/v1/pools/crm/{asked}&{range}"))
            .expect(200)
            .await;
        assert_eq!(page.body, told.body, "{path}");
        let is_empty = told.text.contains("\"items\":[]") || told.text.contains("\"wishes\":0");
        assert!(!is_empty, "{path}: {}", told.text);
        let csv = node
            .get(&format!("/admin/pools/crm/{view}&{range}&format=csv"))
            .expect(200)
            .await;
        let told = node
            .get(&format!("/v1/pools/crm/{asked}&{range}&format=csv"))
            .expect(200)
            .await;
        // Spreadsheets know by the mark that a file of a page is UTF-8.
        assert_eq!(csv.text, format!("\u{feff}{}", told.text), "{path}");
    }

    let html = |path: &str| node.get(path).header("accept", "text/html").expect(200);
    let history = html("/admin/pools/crm/history?range=1h").await;
    for text in [
        "At most 2 of 2 seats were in use at once",
        "One denial.",
        "role=\"img\"",
        "<desc id=\"levels-wide-desc\">",
    ] {
        assert!(history.text.contains(text), "{text}: {}", history.text);
    }
    assert!(!history.text.contains("style="), "no style of its own");
    let holders = html("/admin/pools/crm/holders").await;
    assert!(holders.text.contains("ann") && holders.text.contains("2 holders"));
    let denials = html("/admin/pools/crm/denials").await;
    assert!(denials.text.contains("cid") && denials.text.contains("pool_full"));
    for wrong in [
        "history?tz=Mars/Base",
        "history?from=yesterday",
        "denials?from=2026-02-02&to=2026-01-01",
    ] {
        node.get(&format!("/admin/pools/crm/{wrong}"))
            .expect(400)
            .await;
    }
}

#[tokio::test]
async fn a_file_of_a_page_has_every_row() {
    const PEOPLE: usize = 1_250;
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    for pool in 0..70 {
        node.put_pool(&format!("small-{pool:03}"), json!({"capacity": 0}), 201)
            .await;
    }
    node.put_pool("big", json!({"capacity": PEOPLE}), 201).await;
    node.put_pool("none", json!({"capacity": 0}), 201).await;
    let people: Vec<Value> = (0..PEOPLE)
        .map(|number| json!({"holder": format!("agent-{number}")}))
        .collect();
    for (pool, some) in ["big", "none"]
        .into_iter()
        .flat_map(|pool| people.chunks(500).map(move |some| (pool, some)))
    {
        node.post(&format!("/v1/pools/{pool}/leases/acquire-many"))
            .json(&json!({ "leases": some }))
            .expect(200)
            .await;
    }
    for (path, rows) in [
        ("/admin/pools/big/holders?", PEOPLE),
        ("/admin/pools/none/denials?", PEOPLE),
        ("/admin?", 72),
    ] {
        let file = node.get(&format!("{path}format=csv")).expect(200).await;
        assert_eq!(file.text.lines().count(), rows + 1, "{path}");
    }
}

#[tokio::test]
async fn each_rule_of_a_pool_has_its_editor() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let named = json!({"capacity": 5, "named": {"seats": 3}});
    node.put_pool("crm", named, 201).await;
    let version = async || node.pool("crm", 200).await["version"].to_string();
    let send = async |path: &str, fields: &[(&str, &str)], status: u16| {
        let version = version().await;
        let mut all = vec![("version", version.as_str())];
        all.extend(fields);
        form(
            page_of_ours(&node, &format!("/admin/pools/crm/{path}")),
            &all,
        )
        .expect(status)
        .await
    };

    // Maintenance: on with a message that those read who ask; and off.
    send("maintenance", &[("on", "1"), ("message", HOSTILE[0])], 303).await;
    let refused = node.acquire("crm", json!({"holder": "ann"}), 503).await;
    assert_eq!(refused["code"], "maintenance");
    let page = node.get("/admin/pools/crm/settings").expect(200).await;
    assert!(page.text.contains("aria-checked=\"true\"") && !page.text.contains(HOSTILE[0]));
    send("maintenance", &[], 303).await;
    assert!(node.pool("crm", 200).await["maintenance"].is_null());

    // A schedule in somebody's own time.
    let entry = [
        ("name", "Season"),
        ("tz", "Europe/Zurich"),
        ("from", "2036-12-01T08:00"),
        ("until", "2036-12-31T18:00"),
        ("capacity", "9"),
    ];
    send("schedule", &entry, 303).await;
    let schedule = node.pool("crm", 200).await["schedule"].clone();
    assert_eq!(schedule[0]["from"], "2036-12-01T07:00:00Z");
    send("schedule", &[("remove", "7")], 400).await;
    send("schedule", &[("remove", "0")], 303).await;
    assert!(node.pool("crm", 200).await["schedule"].is_null());

    // A limit of a tenant, and none again.
    send(
        "tenants",
        &[("tenant", "acme"), ("max", "2"), ("reserved", "1")],
        303,
    )
    .await;
    let tenants = node.pool("crm", 200).await["tenants"].clone();
    assert_eq!(tenants["acme"], json!({"max": 2, "reserved": 1}));
    send("tenants", &[("remove", "acme")], 303).await;
    assert!(node.pool("crm", 200).await["tenants"].is_null());

    // Named seats: given, handed on, taken.
    send("named", &[("holder", "ann")], 303).await;
    send(
        "named/transfer",
        &[("holder", "ann"), ("to", HOSTILE[1])],
        303,
    )
    .await;
    let page = node.get("/admin/pools/crm/named").expect(200).await;
    assert!(
        !page.text.contains("<img") && page.text.contains("1 of 3"),
        "{}",
        page.text
    );
    // It changed hands, so only an admin can take it, with `force`.
    send("named/free", &[("holder", HOSTILE[1])], 409).await;
    let set_aside = [("holder", HOSTILE[1]), ("force", "1")];
    send("named/free", &set_aside, 303).await;
    node.get("/v1/pools/crm/named/ann").expect(404).await;

    // What somebody else changed meanwhile is not overwritten.
    let old = [("version", "1"), ("on", "1")];
    form(page_of_ours(&node, "/admin/pools/crm/maintenance"), &old)
        .expect(412)
        .await;
}

#[tokio::test]
async fn webhooks_and_alerts_are_handled_on_pages() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("webhook_http", "on")
        .set("webhook_private_networks", "on")
        .start()
        .await;
    let admin = node.with_key(KEY);
    let cookie = log_in(&node, KEY).await;
    let get = |path: &str| {
        node.get(path)
            .header("accept", "text/html")
            .header("cookie", &cookie)
    };
    let post = |path: &str, fields: &[(&str, &str)]| {
        form(page_of_ours(&node, path).header("cookie", &cookie), fields)
    };
    let receiver = Receiver::start().await;
    let hostile = HOSTILE[0];
    let empty = get("/admin/webhooks").expect(200).await;
    assert!(empty.text.contains("There are no webhooks yet."));

    let url = receiver.url();
    let made = post(
        "/admin/webhooks",
        &[
            ("url", &url),
            ("events", "pool.full"),
            ("events", "pool.level"),
            ("name", hostile),
        ],
    )
    .expect(200)
    .await;
    assert!(made.text.contains("whsec_"), "{}", made.text);
    let listed = admin.get("/v1/webhooks").expect(200).await;
    let id = listed["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        listed["items"][0]["events"],
        json!(["pool.level", "pool.full"])
    );
    let here = format!("/admin/webhooks/{id}");
    for path in ["/admin/webhooks", &here] {
        let page = get(path).expect(200).await;
        assert!(page.text.contains("&lt;script&gt;window.pwned"), "{path}");
        assert!(
            !page.text.contains(hostile) && !page.text.contains("whsec_"),
            "{path}"
        );
    }

    // Without the origin of ours nothing happens.
    let forged = form(
        node.post(&format!("{here}/test"))
            .header("cookie", &cookie)
            .header("sec-fetch-site", "cross-site"),
        &[],
    );
    forged.expect(403).await;
    post(&format!("{here}/test"), &[]).expect(303).await;
    let came = receiver.got(1).await;
    assert_eq!(came[0].json["type"], "webhook.test");
    wait_until("it is delivered", Duration::from_secs(20), async || {
        get(&here).expect(200).await.text.contains(">delivered<")
    })
    .await;
    let resend = format!("{here}/deliveries/{}/resend", came[0].id());
    post(&resend, &[]).expect(303).await;
    receiver.got(2).await;
    let csv = get(&format!("{here}?format=csv")).expect(200).await;
    assert!(
        csv.text.starts_with("\u{feff}id,state,type,"),
        "{}",
        csv.text
    );

    post(
        &here,
        &[("url", &url), ("events", "*"), ("pools", "crm other")],
    )
    .expect(303)
    .await;
    let changed = admin.get(&format!("/v1/webhooks/{id}")).expect(200).await;
    assert_eq!(changed["pools"], json!(["crm", "other"]));
    assert_eq!(changed["name"], Value::Null);
    // What is not right comes back with what was typed.
    let both = [
        ("url", url.as_str()),
        ("events", "*"),
        ("events", "pool.full"),
    ];
    for wrong in [
        &[("url", "ftp://x/"), ("events", "*")][..],
        &[("url", &url)],
        &both,
    ] {
        let kept = post(&here, wrong)
            .header("accept", "text/html")
            .expect(422)
            .await;
        // A program gets the problem.
        post(&here, wrong).expect(400).await;
        assert!(kept.text.contains("There is a problem"), "{}", kept.text);
        assert!(
            kept.text.contains(&format!("value=\"{}\"", wrong[0].1)),
            "{}",
            kept.text
        );
    }
    get(&format!("{here}/roll")).expect(200).await;
    let rolled = post(&format!("{here}/roll"), &[("overlap_ms", "0")])
        .expect(200)
        .await;
    assert!(rolled.text.contains("whsec_"));

    admin.put_pool("crm", json!({"capacity": 1}), 201).await;
    admin.acquire("crm", json!({}), 201).await;
    wait_until("it is told", Duration::from_secs(20), async || {
        get("/admin/alerts?pool=crm")
            .expect(200)
            .await
            .text
            .contains("All seats of crm are in use: 1 of 1.")
    })
    .await;
    let json = get("/admin/alerts?format=json").expect(200).await;
    assert_eq!(json["current"][0]["type"], "pool.full");
    let csv = get("/admin/alerts?format=csv&type=pool.full")
        .expect(200)
        .await;
    assert_eq!(csv.text.lines().count(), 2, "{}", csv.text);

    post(&format!("{here}/enabled"), &[("enabled", "false")])
        .expect(303)
        .await;
    assert!(
        get(&here)
            .expect(200)
            .await
            .text
            .contains("an operator disabled it")
    );
    get(&format!("{here}/delete")).expect(200).await;
    post(&format!("{here}/delete"), &[]).expect(303).await;
    admin.get(&format!("/v1/webhooks/{id}")).expect(404).await;

    // A viewer sees no buttons.
    let made = admin
        .post("/v1/webhooks")
        .json(&json!({"url": url, "events": ["*"]}))
        .expect(201)
        .await;
    let viewer = admin
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer"}))
        .expect(201)
        .await;
    let viewer = node.with_key(viewer["secret"].as_str().expect("a secret"));
    let here = format!("/admin/webhooks/{}", made["id"].as_str().expect("an id"));
    let page = viewer
        .get(&here)
        .header("accept", "text/html")
        .expect(200)
        .await;
    assert!(
        !page
            .text
            .contains("method=\"post\" action=\"/admin/webhooks")
    );
    viewer.post(&format!("{here}/test")).expect(403).await;
    let trail = admin.get("/v1/audit?action=webhook.").expect(200).await;
    assert_eq!(trail.list("items").len(), 16, "{}", trail.text);
}
