//! Receivers that have a form of their own, and people who read mail.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{HERE, KEY, deliveries, wait_for_state};
use crate::harness::{Behaviour, Client, Launch, MailServer, Receiver, Redis, wait_until};

async fn make(node: &Client, body: Value) -> String {
    let made = node.post("/v1/webhooks").json(&body).expect(201).await;
    made["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn each_service_gets_its_own_form_and_the_way_to_the_page_and_the_runbook() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set_all(&HERE)
        .set("admin_key", KEY)
        .set("public_url", "https://seats.example/")
        .set("runbook_url", "https://wiki.example/books")
        .start()
        .await;
    let admin = node.with_key(KEY);
    let routing_key = "0123456789abcdef0123456789abcdef";
    let mut hooks = Vec::new();
    for format in ["standard", "slack", "teams", "discord", "pagerduty"] {
        let receiver = Receiver::start().await;
        let mut body = json!({"url": receiver.url(), "events": ["pool.full"], "format": format});
        if format == "pagerduty" {
            let without = admin.post("/v1/webhooks").json(&body).expect(400).await;
            assert_eq!(without["errors"][0]["field"], "routing_key");
            body["routing_key"] = json!(routing_key);
        }
        let id = make(&admin, body).await;
        hooks.push((format, receiver, id));
    }
    admin.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = admin.acquire("crm", json!({}), 201).await;
    let mut opened = Value::Null;
    for (format, receiver, _) in &hooks {
        let message = receiver.got(1).await.remove(0);
        let text = message.json.to_string();
        for word in [
            "All seats of crm are in use: 1 of 1.",
            "https://seats.example/admin/pools/crm",
            "https://wiki.example/books/pool-full",
        ] {
            assert!(text.contains(word), "{format}: {word} in {text}");
        }
        assert_eq!(
            message.headers.contains_key("webhook-signature"),
            *format == "standard"
        );
        if *format == "pagerduty" {
            opened = message.json.clone();
        }
    }
    assert_eq!(opened["routing_key"], routing_key);
    assert_eq!(opened["event_action"], "trigger");

    admin.release(&lease.token(), 204).await;
    let (_, pager, pager_id) = &hooks[4];
    let closed = pager.got(2).await.remove(1).json;
    assert_eq!(closed["event_action"], "resolve");
    assert_eq!(closed["dedup_key"], opened["dedup_key"]);

    // The key goes to PagerDuty and nowhere else.
    wait_for_state(&admin, pager_id, "delivered", 2).await;
    let path = format!("/v1/webhooks/{pager_id}");
    let shown = admin.get(&path).expect(200).await;
    for path in [
        &path,
        &format!("{path}/deliveries"),
        "/v1/webhooks",
        "/v1/audit",
    ] {
        let shown = admin.get(path).expect(200).await;
        assert!(!shown.text.contains(routing_key), "{path}");
    }
    // What was read can be written: the key stays.
    let put = admin
        .call(Method::PUT, &path)
        .json(&shown.body)
        .expect(200)
        .await;
    assert_eq!(put["format"], "pagerduty");
    let tested = admin
        .post(&format!("{path}/test?wait_ms=15000"))
        .expect(200)
        .await;
    assert_eq!(tested["attempt"]["status"], 204, "{}", tested.text);
    assert_eq!(tested["attempt"]["error"], Value::Null);
    assert_eq!(pager.got(3).await[2].json["routing_key"], routing_key);
    assert!(!node.all_said().await.contains(routing_key));

    // A test says what was not accepted, too.
    let (_, slack, slack_id) = &hooks[1];
    slack.now(|_, _| Behaviour::Status(404));
    let path = format!("/v1/webhooks/{slack_id}/test");
    let refused = admin
        .post(&format!("{path}?wait_ms=15000"))
        .expect(200)
        .await;
    assert_eq!(refused["attempt"]["status"], 404);
    assert_eq!(refused["attempt"]["error"], "the receiver did not take it");
    admin
        .post(&format!("{path}?wait_ms=20001"))
        .expect(400)
        .await;
    admin.post(&path).expect(202).await;

    let url = hooks[0].1.url();
    for wrong in [
        json!({"url": url, "events": ["*"], "format": "telegram"}),
        json!({"url": url, "events": ["*"], "format": "email"}),
        json!({"url": url, "events": ["*"], "group": {"wait_ms": 10}}),
        json!({"url": url, "events": ["*"], "group": {"wait_ms": 5_000}, "format": "pagerduty", "routing_key": routing_key}),
        json!({"url": url, "events": ["*"], "format": "pagerduty", "routing_key": "no key"}),
        // Nothing takes mail here.
        json!({"url": "mailto:desk@example.com", "events": ["*"]}),
    ] {
        let refused = admin.post("/v1/webhooks").json(&wrong).expect(400).await;
        assert_eq!(refused["code"], "invalid_request", "{wrong}");
        assert!(!refused.text.contains("no key"), "{}", refused.text);
    }
}

#[tokio::test]
async fn mail_reaches_people_and_what_its_server_says_is_told() {
    let redis = Redis::start().await;
    let server = MailServer::start().await;
    let node = Launch::on(&redis.url())
        .set("webhook_retry_ms", "100")
        .set(
            "smtp_url",
            &server.url("seats%40example.com:hunter2-hunter2@"),
        )
        .set("smtp_from", "Leasehold <seats@example.com>")
        .set("public_url", "https://seats.example")
        .start()
        .await;
    let to = "mailto:on-call@example.com,desk@example.org";
    let id = make(
        &node,
        json!({"url": to, "events": ["pool.full"], "name": "the desk"}),
    )
    .await;
    let path = format!("/v1/webhooks/{id}");
    let shown = node.get(&path).expect(200).await;
    assert_eq!(shown["format"], "email");
    node.call(Method::PUT, &path)
        .json(&shown.body)
        .expect(200)
        .await;

    let tested = node
        .post(&format!("{path}/test?wait_ms=15000"))
        .expect(200)
        .await;
    assert_eq!(tested["attempt"]["status"], 250, "{}", tested.text);
    assert_eq!(tested["attempt"]["reply"], "queued as 1");
    let mail = server.got(1).await.remove(0);
    assert_eq!(mail.from, "seats@example.com");
    assert_eq!(mail.to, ["on-call@example.com", "desk@example.org"]);
    assert_eq!(mail.login, "seats@example.com hunter2-hunter2");
    assert_eq!(mail.header("Auto-Submitted"), "auto-generated");

    // One that is refused comes again, as the same mail.
    server.refuse(Some("450 4.2.1 the mailbox is busy"));
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;
    wait_until("it is refused", Duration::from_secs(20), async || {
        let pending = deliveries(&node, &id, "state=pending").await;
        pending
            .iter()
            .any(|one| one["attempts"][0]["status"] == 450)
    })
    .await;
    let pending = deliveries(&node, &id, "state=pending").await;
    let attempt = &pending[0]["attempts"][0];
    assert_eq!(attempt["error"], "the mail server did not take it");
    let reply = attempt["reply"].as_str().expect("what it said");
    assert!(reply.contains("the mailbox is busy"), "{reply}");
    server.refuse(None);
    let mail = server.got(2).await.remove(1);
    let name = pending[0]["id"].as_str().expect("an id");
    assert_eq!(mail.header("Message-ID"), format!("<{name}@example.com>"));
    assert_eq!(
        mail.header("Subject"),
        "All seats of crm are in use: 1 of 1"
    );
    assert_eq!(mail.header("From"), "Leasehold <seats@example.com>");
    for line in [
        "Open crm: https://seats.example/admin/pools/crm\n",
        "What to do: https://seats.example/docs/runbooks/pool-full\n",
        "because of the webhook the desk",
    ] {
        assert!(mail.body().contains(line), "{}", mail.body());
    }

    // What ends it is in the same thread.
    node.release(&lease.token(), 204).await;
    let over = server.got(3).await.remove(2);
    assert_eq!(over.header("References"), mail.header("References"));
    assert!(!node.all_said().await.contains("hunter2"));
    for (url, word) in [
        (server.url("seats:hunter2-hunter2@"), "takes mail"),
        ("smtp://127.0.0.1:1?tls=off".to_owned(), "cannot be reached"),
    ] {
        let doctor = tokio::process::Command::new(env!("CARGO_BIN_EXE_leasehold"))
            .args(["doctor", "--json"])
            .env("LEASEHOLD_REDIS_URL", redis.url())
            .env("LEASEHOLD_SMTP_URL", url)
            .env("LEASEHOLD_SMTP_FROM", "seats@example.com")
            .output()
            .await
            .expect("it runs");
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(said.contains(word) && !said.contains("hunter2"), "{said}");
    }
    let trail = node.get("/v1/audit?action=webhook").expect(200).await;
    assert!(!trail.text.contains("on-call@"), "{}", trail.text);
}
