//! The audit trail: one entry for each thing that an operator did, or was not allowed to do.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Call, Client, Launch, Redis, Reply, let_pass, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";

#[tokio::test]
async fn each_action_is_one_entry_with_who_what_before_and_after() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);

    admin.put_pool("crm", json!({"capacity": 5}), 201).await;
    let patched = admin.patch_pool("crm", json!({"capacity": 3}), 200).await;
    let lease = admin
        .acquire("crm", json!({"holder": "agent-7"}), 201)
        .await;
    admin
        .terminate(
            "crm",
            json!({"holder": "agent-7", "reason": "The shift is over."}),
            200,
        )
        .await;
    admin.patch_pool("crm", json!({"capcity": 3}), 400).await;
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "=cmd()", "role": "viewer"}))
        .expect(201)
        .await;
    let viewer = node.with_key(made["secret"].as_str().expect("a secret"));
    viewer.put_pool("crm", json!({"capacity": 500}), 403).await;
    node.put_pool("crm", json!({"capacity": 500}), 401).await;
    let id = made["id"].as_str().expect("an id");
    admin.post(&format!("/v1/keys/{id}/roll")).expect(200).await;
    admin
        .call(Method::DELETE, &format!("/v1/keys/{id}"))
        .expect(204)
        .await;
    admin
        .call(Method::DELETE, "/v1/pools/crm")
        .expect(204)
        .await;
    // What holders do and what is only read is not in it.
    admin.get("/v1/pools").expect(200).await;

    let trail = admin.get("/v1/audit").expect(200).await;
    let entries = trail.list("items");
    let told: Vec<_> = entries
        .iter()
        .rev()
        .map(|entry| {
            let word = |name: &str| entry[name].as_str().unwrap_or_default();
            (word("action"), word("outcome"), word("actor"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("pool.put", "done", "admin_key"),
            ("pool.patch", "done", "admin_key"),
            ("leases.terminate", "done", "admin_key"),
            ("pool.patch", "failed", "admin_key"),
            ("key.create", "done", "admin_key"),
            ("pool.put", "refused", id),
            ("pool.put", "refused", "unknown"),
            ("key.roll", "done", "admin_key"),
            ("key.revoke", "done", "admin_key"),
            ("pool.delete", "done", "admin_key"),
        ]
    );
    let patch = &entries[8];
    assert_eq!(patch["before"]["capacity"], 5);
    assert_eq!(patch["after"]["capacity"], 3);
    assert_eq!(patch["pool"], "crm");
    assert_eq!(patch["address"], "127.0.0.1");
    assert_eq!(
        patch["request_id"],
        patched.header("x-request-id").expect("a request id")
    );
    let terminate = &entries[7];
    assert_eq!(terminate["after"]["reason"], "The shift is over.");
    assert_eq!(terminate["before"]["leases"], json!([lease.id()]));

    // Filters, pages and the same as a file.
    let about_keys = admin.get("/v1/audit?action=key").expect(200).await;
    assert_eq!(about_keys.list("items").len(), 3);
    assert_eq!(
        admin
            .get("/v1/audit?outcome=refused&pool=crm")
            .expect(200)
            .await
            .list("items")
            .len(),
        2
    );
    assert_eq!(
        admin
            .get(&format!("/v1/audit?actor={id}"))
            .expect(200)
            .await
            .list("items")
            .len(),
        1
    );
    assert_eq!(
        admin
            .get("/v1/audit?to=2020-01-01T00:00:00Z")
            .expect(200)
            .await
            .list("items")
            .len(),
        0
    );
    assert_eq!(
        admin
            .get("/v1/audit?from=2020-01-01T00:00:00Z")
            .expect(200)
            .await
            .list("items")
            .len(),
        10
    );
    let mut cursor = String::new();
    let mut seen = Vec::new();
    loop {
        let page = admin
            .get(&format!("/v1/audit?limit=3{cursor}"))
            .expect(200)
            .await;
        seen.extend(page.list("items").iter().map(|entry| entry["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all: Vec<_> = entries.iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!(seen, all);
    for query in [
        "cursor=x",
        "from=yesterday",
        "limit=0",
        "colour=red",
        "outcome=x",
    ] {
        admin.get(&format!("/v1/audit?{query}")).expect(400).await;
    }
    let file = admin
        .get("/v1/audit")
        .header("accept", "text/csv")
        .expect(200)
        .await;
    assert!(
        file.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/csv"))
    );
    assert_eq!(file.text.lines().count(), 11);
    assert!(file.text.contains(",'=cmd(),"), "{}", file.text);
}

/// Everything that changes something for an operator, as the program's own table lists it.
fn changes() -> Vec<(&'static str, &'static str, &'static str)> {
    let table = include_str!("../../src/http/access/table.rs");
    let rows = table.lines().filter_map(|line| {
        let line = line.trim();
        line.strip_prefix("change(")
            .or_else(|| line.strip_prefix("change_own("))
            .or_else(|| line.strip_prefix("change_keys("))
    });
    rows.map(|row| {
        let words: Vec<&str> = row.split('"').skip(1).step_by(2).collect();
        let [method, path, action] = words[..] else {
            panic!("{row}");
        };
        (method, path, action)
    })
    .collect()
}

/// One action as an operator does it.
struct Step {
    method: Method,
    path: &'static str,
    /// JSON for the interface, fields for a page.
    body: Value,
    /// What stands for the parts of the path in braces.
    named: Vec<(&'static str, String)>,
    /// Whether the trail knows how it was before, and how it is after.
    told: (bool, bool),
}

fn step(method: &str, path: &'static str, body: Value, told: (bool, bool)) -> Step {
    Step {
        method: Method::from_bytes(method.as_bytes()).expect("a method"),
        path,
        body,
        named: vec![("pool", "crm".to_owned())],
        told,
    }
}

impl Step {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.named.push((name, value.to_owned()));
        self
    }

    fn call(&self, client: &Client) -> Call {
        let mut path = self.path.to_owned();
        for (name, value) in &self.named {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        let call = client.call(self.method.clone(), &path);
        if !path.starts_with("/admin") {
            return match &self.body {
                Value::Null => call,
                body => call.json(body),
            };
        }
        let fields = self.body.as_object().expect("fields").iter();
        let fields: Vec<String> = fields
            .map(|(name, value)| format!("{name}={}", value.as_str().expect("a text")))
            .collect();
        call.header("content-type", "application/x-www-form-urlencoded")
            .body(fields.join("&"))
    }
}

/// The actions of the interface and of the pages, each done once. What was made by one is what a later one is about.
struct Walk {
    admin: Client,
    viewer: Client,
    stranger: Client,
    viewer_id: String,
    walked: BTreeSet<(String, String)>,
}

impl Walk {
    async fn newest(&self, skip: usize) -> Value {
        let trail = self.admin.get("/v1/audit?limit=5").expect(200).await;
        trail.list("items")[skip].clone()
    }

    /// What became of a call that is refused, and its entry.
    async fn refused(&self, step: &Step, client: &Client, status: u16) -> (Reply, Value) {
        // Strangers could fill the trail, so a node writes down ten of them a second; a few more are only in its log.
        for _ in 0..50 {
            let refused = step.call(client).expect(status).await;
            let entry = self.newest(0).await;
            if entry["request_id"] == json!(refused.header("x-request-id")) {
                return (refused, entry);
            }
            assert_eq!(
                status, 401,
                "what somebody known was refused is not in the trail"
            );
            let_pass(100).await;
        }
        panic!("no refusal of a stranger is in the trail");
    }

    /// Refused twice, done once; each time with an entry that says all there is to say.
    async fn go(&mut self, step: Step) -> Reply {
        let action = changes()
            .iter()
            .find(|(method, path, _)| (*method, *path) == (step.method.as_str(), step.path))
            .unwrap_or_else(|| panic!("{} {} is not in the table", step.method, step.path))
            .2;
        let place = format!("{} {}", step.method, step.path);
        for (client, status, actor) in [
            (&self.stranger, 401, "unknown"),
            (&self.viewer, 403, self.viewer_id.as_str()),
        ] {
            let (refused, entry) = self.refused(&step, client, status).await;
            let told = (
                &entry["action"],
                &entry["outcome"],
                &entry["actor"],
                &entry["status"],
            );
            let due = (
                &json!(action),
                &json!("refused"),
                &json!(actor),
                &json!(status),
            );
            assert_eq!(told, due, "{place}: {entry}");
            assert_eq!(entry["code"], refused["code"], "{place}");
        }
        let done = step
            .call(&self.admin)
            .expect([200, 201, 202, 204, 303])
            .await;
        let entry = self.newest(0).await;
        let told = (
            &entry["action"],
            &entry["outcome"],
            &entry["actor"],
            &entry["status"],
        );
        let due = (
            &json!(action),
            &json!("done"),
            &json!("admin_key"),
            &json!(done.status),
        );
        assert_eq!(told, due, "{place}: {entry}");
        assert_eq!(
            entry["request_id"],
            done.header("x-request-id").expect("an id"),
            "{place}"
        );
        assert_eq!(entry["address"], "127.0.0.1", "{place}");
        let told = (!entry["before"].is_null(), !entry["after"].is_null());
        assert_eq!(told, step.told, "{place}, before and after: {entry}");
        // Pools are named; everything else is identified by its id.
        let about = if ["key.", "webhook.", "session.", "alert."]
            .iter()
            .any(|kind| action.starts_with(kind))
        {
            &entry["target"]
        } else {
            &entry["pool"]
        };
        assert!(about.is_string(), "{place}: {entry}");
        for secret in ["lh_operator_", "lh_client_", "whsec_"] {
            assert!(!entry.to_string().contains(secret), "{place}: {entry}");
        }
        self.walked
            .insert((step.method.to_string(), step.path.to_owned()));
        done
    }
}

#[tokio::test]
async fn every_action_leaves_an_entry_whether_it_is_done_or_refused() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("admin_key", KEY)
        .set("webhook_private_networks", "on")
        .start()
        .await;
    let admin = node.with_key(KEY);
    let made = admin
        .post("/v1/keys")
        .json(&json!({"name": "v", "role": "viewer"}))
        .expect(201)
        .await;
    let mut walk = Walk {
        viewer: node.with_key(made["secret"].as_str().expect("a secret")),
        viewer_id: made["id"].as_str().expect("an id").to_owned(),
        stranger: node.with_key(""),
        walked: BTreeSet::new(),
        admin,
    };
    let both = (true, true);
    let (after, before, neither) = ((false, true), (true, false), (false, false));

    // The interface.
    let pool = json!({"capacity": 5, "named": {"seats": 3}});
    walk.go(step("PUT", "/v1/pools/{pool}", pool, after)).await;
    walk.go(step(
        "PATCH",
        "/v1/pools/{pool}",
        json!({"capacity": 4}),
        both,
    ))
    .await;
    walk.admin
        .acquire("crm", json!({"holder": "ann"}), 201)
        .await;
    let terminate = json!({"all": true, "reason": "Over."});
    walk.go(step(
        "POST",
        "/v1/pools/{pool}/leases/terminate",
        terminate,
        both,
    ))
    .await;
    let holder = |step: Step, holder: &str| step.with("holder", holder);
    let put = step("PUT", "/v1/pools/{pool}/named/{holder}", Value::Null, after);
    walk.go(holder(put, "bob")).await;
    let path = "/v1/pools/{pool}/named/{holder}/transfer";
    walk.go(holder(
        step("POST", path, json!({"to": "eve"}), both),
        "bob",
    ))
    .await;
    let path = "/v1/pools/{pool}/named/{holder}";
    // It changed hands before in the period, so an admin sets that aside.
    let set_aside = "eve?force=true";
    walk.go(holder(step("DELETE", path, Value::Null, both), set_aside))
        .await;

    let path = "/v1/pools/{pool}/blocks/{holder}";
    let block = json!({"for_ms": 60_000, "reason": "Enough."});
    walk.go(holder(step("PUT", path, block, after), "eve"))
        .await;
    walk.go(holder(step("DELETE", path, Value::Null, before), "eve"))
        .await;

    let key = json!({"name": "k", "role": "viewer"});
    let made = walk.go(step("POST", "/v1/keys", key, after)).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    let about = |step: Step| step.with("id", &id);
    let path = "/v1/keys/{id}/roll";
    walk.go(about(step("POST", path, json!({}), both))).await;
    let change = json!({"name": "k still"});
    walk.go(about(step("PATCH", "/v1/keys/{id}", change, both)))
        .await;
    walk.go(about(step("DELETE", "/v1/keys/{id}", Value::Null, before)))
        .await;
    crate::admin_pages::log_in(&node, KEY).await;
    let sessions = walk.admin.get("/v1/sessions").expect(200).await;
    let id = sessions["items"][0]["id"].as_str().expect("an id");
    let end = step("DELETE", "/v1/sessions/{id}", Value::Null, before);
    walk.go(end.with("id", id)).await;
    crate::admin_pages::log_in(&node, KEY).await;
    walk.go(step("DELETE", "/v1/sessions", Value::Null, after))
        .await;

    // Nobody listens there.
    let webhook = json!({"url": "https://127.0.0.1:9/", "events": ["*"]});
    let made = walk
        .go(step("POST", "/v1/webhooks", webhook.clone(), after))
        .await;
    let id = made["id"].as_str().expect("an id").to_owned();
    let about = |step: Step| step.with("id", &id);
    walk.go(about(step("PUT", "/v1/webhooks/{id}", webhook, both)))
        .await;
    let path = "/v1/webhooks/{id}";
    walk.go(about(step("PATCH", path, json!({"name": "pager"}), both)))
        .await;
    let path = "/v1/webhooks/{id}/test";
    let sent = walk
        .go(about(step("POST", path, Value::Null, neither)))
        .await;
    let delivery = sent["delivery"].as_str().expect("an id").to_owned();
    let path = "/v1/webhooks/{id}/deliveries/{delivery}/resend";
    let resend = step("POST", path, Value::Null, neither).with("delivery", &delivery);
    walk.go(about(resend)).await;
    let path = "/v1/webhooks/{id}/roll";
    walk.go(about(step("POST", path, json!({}), both))).await;
    let path = "/v1/webhooks/{id}";
    walk.go(about(step("DELETE", path, Value::Null, before)))
        .await;
    walk.go(step("DELETE", "/v1/pools/{pool}", Value::Null, before))
        .await;

    // The pages.
    let pool = json!({"name": "crm", "capacity": "5"});
    walk.go(step("POST", "/admin/pools", pool, after)).await;
    walk.admin
        .patch_pool("crm", json!({"named": {"seats": 3}}), 200)
        .await;
    walk.admin
        .acquire("crm", json!({"holder": "ann"}), 201)
        .await;
    let all = json!({"all": "1", "sure": "crm", "reason": "Over."});
    walk.go(step("POST", "/admin/pools/{pool}/terminate", all, both))
        .await;
    for (path, mut fields) in [
        ("/admin/pools/{pool}/settings", json!({"f.capacity": "7"})),
        (
            "/admin/pools/{pool}/maintenance",
            json!({"on": "1", "message": "Soon"}),
        ),
        (
            "/admin/pools/{pool}/schedule",
            json!({"name": "s", "tz": "UTC", "from": "2036-12-01T08:00", "until": "2036-12-02T08:00", "capacity": "9"}),
        ),
        (
            "/admin/pools/{pool}/tenants",
            json!({"tenant": "acme", "max": "2"}),
        ),
    ] {
        let version = walk.admin.pool("crm", 200).await["version"].to_string();
        fields["version"] = json!(version);
        walk.go(step("POST", path, fields, both)).await;
    }
    let path = "/admin/pools/{pool}/named";
    walk.go(step("POST", path, json!({"holder": "bob"}), after))
        .await;
    let path = "/admin/pools/{pool}/named/transfer";
    walk.go(step(
        "POST",
        path,
        json!({"holder": "bob", "to": "eve"}),
        both,
    ))
    .await;
    let path = "/admin/pools/{pool}/named/free";
    let set_aside = json!({"holder": "eve", "force": "1"});
    walk.go(step("POST", path, set_aside, both)).await;

    let key = json!({"name": "page", "role": "viewer"});
    walk.go(step("POST", "/admin/keys", key, after)).await;
    let keys = walk.admin.get("/v1/keys").expect(200).await;
    let made = keys.list("items").iter().find(|key| key["name"] == "page");
    let id = made.expect("it is made")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let about = |step: Step| step.with("id", &id);
    let path = "/admin/keys/{id}/roll";
    walk.go(about(step("POST", path, json!({"overlap_ms": "0"}), both)))
        .await;
    let path = "/admin/keys/{id}/revoke";
    walk.go(about(step("POST", path, json!({}), before))).await;

    crate::admin_pages::log_in(&node, KEY).await;
    let sessions = walk.admin.get("/v1/sessions").expect(200).await;
    let id = sessions["items"][0]["id"].as_str().expect("an id");
    let end = step("POST", "/admin/sessions/{id}/end", json!({}), before);
    walk.go(end.with("id", id)).await;
    walk.go(step("POST", "/admin/sessions", json!({}), after))
        .await;

    let webhook = json!({"url": "https://127.0.0.1:9/", "events": "*"});
    walk.go(step("POST", "/admin/webhooks", webhook.clone(), after))
        .await;
    let hooks = walk.admin.get("/v1/webhooks").expect(200).await;
    let id = hooks["items"][0]["id"].as_str().expect("an id").to_owned();
    let about = |step: Step| step.with("id", &id);
    walk.go(about(step("POST", "/admin/webhooks/{id}", webhook, both)))
        .await;
    let path = "/admin/webhooks/{id}/enabled";
    walk.go(about(step("POST", path, json!({"enabled": "true"}), both)))
        .await;
    let path = "/admin/webhooks/{id}/test";
    walk.go(about(step("POST", path, json!({}), neither))).await;
    let sent = walk
        .admin
        .get(&format!("/v1/webhooks/{id}/deliveries"))
        .expect(200)
        .await;
    let delivery = sent["items"][0]["id"].as_str().expect("an id").to_owned();
    let path = "/admin/webhooks/{id}/deliveries/{delivery}/resend";
    let resend = step("POST", path, json!({}), neither).with("delivery", &delivery);
    walk.go(about(resend)).await;
    let path = "/admin/webhooks/{id}/roll";
    walk.go(about(step("POST", path, json!({"overlap_ms": "0"}), both)))
        .await;
    let path = "/admin/webhooks/{id}/delete";
    walk.go(about(step("POST", path, json!({}), before))).await;

    // Alerts, of a pool that is full.
    walk.admin
        .put_pool("desk", json!({"capacity": 1}), 201)
        .await;
    walk.admin.acquire("desk", json!({}), 201).await;
    let raised = async || {
        let alerts = walk.admin.get("/v1/alerts?pool=desk").expect(200).await;
        alerts["current"][0]["alert"].as_str().map(str::to_owned)
    };
    wait_until("it is raised", Duration::from_secs(20), async || {
        raised().await.is_some()
    })
    .await;
    let alert = raised().await.expect("an alert");
    let path = "/v1/alerts/{alert}/acknowledge";
    let about = |step: Step| step.with("alert", &alert);
    walk.go(about(step("POST", path, json!({}), after))).await;
    walk.go(about(step("DELETE", path, Value::Null, before)))
        .await;
    let snooze = json!({"pool": "desk", "for_ms": 60_000});
    let path = "/v1/alerts/snoozes";
    let snoozed = walk.go(step("POST", path, snooze, after)).await;
    let id = snoozed["id"].as_str().expect("an id");
    let end = step("DELETE", "/v1/alerts/snoozes/{id}", Value::Null, before);
    walk.go(end.with("id", id)).await;
    let fields = json!({"alert": alert});
    for (path, told) in [
        ("/admin/alerts/acknowledge", after),
        ("/admin/alerts/withdraw", before),
    ] {
        walk.go(step("POST", path, fields.clone(), told)).await;
    }
    let snooze = json!({"pool": "desk", "for_ms": "1 min"});
    walk.go(step("POST", "/admin/alerts/snoozes", snooze, after))
        .await;
    let path = "/admin/alerts/snoozes/{id}/end";
    walk.go(step("POST", path, json!({}), before).with("id", id))
        .await;

    // All of the table, so that what is new must be walked too.
    // What is done about a person is walked with people and their pages.
    let elsewhere = ["/v1/holders/", "/admin/people/"];
    let due: BTreeSet<(String, String)> = changes()
        .iter()
        .filter(|(_, path, _)| !elsewhere.iter().any(|prefix| path.starts_with(prefix)))
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(walk.walked, due);

    // As files: all of it, whatever the size of a page.
    let entries = 3 + 3 * due.len();
    for path in ["/v1/audit", "/admin/audit"] {
        let lines = walk
            .admin
            .get(&format!("{path}?format=jsonl"))
            .expect(200)
            .await;
        assert_eq!(lines.header("content-type"), Some("application/jsonl"));
        let lines: Vec<Value> = lines
            .text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON on each line"))
            .collect();
        assert_eq!(lines.len(), entries, "{path}");
        assert_eq!(lines[0], walk.newest(0).await);
        let csv = walk
            .admin
            .get(&format!("{path}?format=csv"))
            .expect(200)
            .await;
        assert_eq!(csv.text.lines().count(), entries + 1, "{path}");
        let some = walk
            .admin
            .get(&format!("{path}?format=jsonl&action=key.&outcome=done"))
            .expect(200)
            .await;
        // The viewer's own key, three by each way, and a change.
        assert_eq!(some.text.lines().count(), 8, "{path}");
    }
    let lines = walk
        .admin
        .get("/v1/audit?limit=2")
        .header("accept", "application/jsonl")
        .expect(200)
        .await;
    assert_eq!(lines.text.lines().count(), 2);
}

#[tokio::test]
async fn of_a_large_policy_an_entry_keeps_what_differs() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    let tenants = (0..500).map(|number| (format!("tenant-{number}"), json!({"max": 5})));
    let mut policy = json!({"capacity": 9});
    policy["tenants"] = Value::Object(tenants.collect());
    admin.put_pool("crm", policy.clone(), 201).await;
    policy["tenants"]["tenant-7"] = json!({"max": 6});
    policy["tenants"]["new"] = json!({"max": 1});
    admin.put_pool("crm", policy, 200).await;
    let trail = admin.get("/v1/audit?limit=1").expect(200).await;
    let entry = &trail["items"][0];
    let differs = |part: &str| entry[part]["tenants"].clone();
    assert_eq!(differs("before"), json!({"tenant-7": {"max": 5}}));
    let after = json!({"tenant-7": {"max": 6}, "new": {"max": 1, "reserved": 0}});
    assert_eq!(differs("after"), after);
}
