//! Alerts for whoever has some pools only: these and no others, to read and to handle.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::admin_pages::{form, page_of_ours};
use crate::harness::{Launch, Redis, openapi, wait_until};

const KEY: &str = "the-operator-key-of-the-tests";

#[tokio::test]
async fn a_key_for_some_pools_reads_and_handles_the_alerts_of_these() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    for pool in ["crm", "desk"] {
        admin.put_pool(pool, json!({"capacity": 1}), 201).await;
        admin.acquire(pool, json!({}), 201).await;
    }
    wait_until("both are raised", Duration::from_secs(20), async || {
        let alerts = admin.get("/v1/alerts").expect(200).await;
        alerts.list("current").len() == 2 && alerts.list("items").len() == 2
    })
    .await;
    let make = async |more: Value| {
        let mut key = json!({"name": "lead", "role": "operator"});
        key.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        let key = admin.post("/v1/keys").json(&key).expect(201).await;
        key["secret"].as_str().expect("a secret").to_owned()
    };
    let secret = make(json!({"pools": ["crm"]})).await;
    let lead = node.with_key(&secret);

    // What it sees is about its pool, in every form.
    let seen = lead.get("/v1/alerts").expect(200).await;
    for list in ["current", "items"] {
        let pools: Vec<&Value> = seen.list(list).iter().map(|alert| &alert["pool"]).collect();
        assert_eq!(pools, ["crm"], "{list}");
    }
    lead.get("/v1/alerts?pool=crm").expect(200).await;
    lead.get("/v1/alerts?pool=desk").expect(403).await;
    let page = lead
        .get("/admin/alerts")
        .header("accept", "text/html")
        .expect(200)
        .await;
    assert!(
        page.text.contains("All seats of crm") && !page.text.contains("desk"),
        "{}",
        page.text
    );
    let csv = lead.get("/admin/alerts?format=csv").expect(200).await;
    assert_eq!(csv.text.lines().count(), 2, "{}", csv.text);

    // The stream goes over what is of others, and stays where it is in the log.
    let request = reqwest::Client::new()
        .get(format!("http://{}/v1/alerts/events", node.address()))
        .bearer_auth(&secret)
        .header("last-event-id", "0");
    let mut stream = request.send().await.expect("an answer");
    assert_eq!(stream.status(), 200);
    admin.put_pool("crm", json!({"capacity": 2}), 200).await;
    let mut text = String::new();
    while text.matches("data: ").count() < 2 || !text.ends_with("\n\n") {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunk());
        let chunk = chunk.await.expect("events come").expect("a stream");
        text.push_str(std::str::from_utf8(&chunk.expect("more")).expect("UTF-8"));
    }
    for event in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(event).expect("JSON");
        assert_eq!(event["pool"], "crm");
        assert_eq!(
            openapi::violation_of_event("/v1/alerts/events", &event),
            None
        );
    }
    drop(stream);

    // What it does is about its pool, too.
    let all = admin.get("/v1/alerts").expect(200).await;
    let desk = all.list("current")[0]["alert"].as_str().expect("an id");
    assert!(desk.starts_with("desk:"), "{desk}");
    let acknowledge = format!("/v1/alerts/{desk}/acknowledge");
    lead.post(&acknowledge).json(&json!({})).expect(403).await;
    lead.call(Method::DELETE, &acknowledge).expect(403).await;
    form(
        page_of_ours(&lead, "/admin/alerts/acknowledge"),
        &[("alert", desk)],
    )
    .expect(403)
    .await;
    let snooze = |pool: Value| json!({"pool": pool, "for_ms": 600_000});
    let put = |body: Value| lead.post("/v1/alerts/snoozes").json(&body);
    put(snooze(json!("desk"))).expect(403).await;
    put(snooze(Value::Null)).expect(403).await;
    put(snooze(json!("crm"))).expect(201).await;
    for pool in [json!("desk"), Value::Null] {
        let snooze = snooze(pool);
        let call = admin.post("/v1/alerts/snoozes").json(&snooze);
        call.expect(201).await;
    }
    // One of all pools keeps its messages back as well, and only who has all pools ends it.
    let listed = lead.get("/v1/alerts/snoozes").expect(200).await;
    let mut kept: Vec<(String, String)> = Vec::new();
    for snooze in listed.list("items") {
        let id = snooze["id"].as_str().expect("an id");
        let path = format!("/v1/alerts/snoozes/{id}");
        let status = if snooze["pool"] == "crm" { 204 } else { 403 };
        lead.call(Method::DELETE, &path).expect(status).await;
        kept.push((snooze["pool"].to_string(), status.to_string()));
    }
    kept.sort();
    let kept = json!(kept);
    assert_eq!(kept, json!([["\"crm\"", "204"], ["null", "403"]]));
    let listed = admin.get("/v1/alerts/snoozes").expect(200).await;
    assert_eq!(listed.list("items").len(), 2);

    // An alert is about a pool as a whole, so a key for some tenants reads none.
    let of_tenants = make(json!({"pools": ["crm"], "tenants": ["acme"]})).await;
    let of_tenants = node.with_key(&of_tenants);
    of_tenants.get("/v1/alerts").expect(403).await;
}

#[tokio::test]
async fn a_filter_that_cannot_be_is_refused_and_not_left_out() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    for address in [
        "/admin/audit?pool=crm%20",
        "/admin/audit?pool=&outcome=",
        "/admin/alerts?pool=crm",
    ] {
        node.get(address).expect(200).await;
    }
    for address in [
        "/admin/audit?pool=no%20pool",
        "/admin/audit?pool=no%20pool&format=csv",
        "/admin/audit?pool=no%20pool&format=jsonl",
        "/admin/audit?outcome=well",
        "/admin/alerts?pool=no%20pool",
    ] {
        let refused = node.get(address).expect(400).await;
        let detail = refused["detail"].as_str().expect("a sentence");
        assert!(detail.starts_with("The filter `"), "{detail}");
    }
}
