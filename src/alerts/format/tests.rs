use super::*;
use crate::names::Label;
use crate::webhook::{RoutingKey, SigningSecret, WebhookId};

fn webhook(format: WebhookFormat) -> Webhook {
    Webhook {
        id: WebhookId::random(),
        url: "https://example.com/".into(),
        name: Some(Label::try_from("desk".to_owned()).unwrap()),
        events: Vec::new(),
        pools: Vec::new(),
        disabled: None,
        created_at_ms: 0,
        secret: SigningSecret::random(),
        former: None,
        format,
        routing_key: Some(RoutingKey::try_from("0123456789abcdef0123".to_owned()).unwrap()),
        group: None,
        remind_after_ms: None,
    }
}

fn delivery(kind: &str, data: &Value) -> Delivery {
    Delivery {
        id: "msg_4-1-0_V1StGXR8Z5jd".into(),
        webhook: WebhookId::random(),
        kind: kind.to_owned(),
        pool: data["pool"].as_str().map(str::to_owned),
        created_at_ms: 0,
        body: json!({"type": kind, "timestamp": "2026-11-18T16:26:41.000Z", "data": data})
            .to_string(),
        tries: 0,
        attempts: Vec::new(),
    }
}

fn full(state: &str) -> Delivery {
    let is_over = state == "resolved";
    delivery(
        "pool.full",
        &json!({
            "alert": "crm:pool.full:1795000000000",
            "state": state,
            "pool": "crm",
            "since": "2026-11-18T16:26:40.000Z",
            "until": is_over.then_some("2026-11-18T16:39:00.000Z"),
            "summary": if is_over { "The pool crm has free seats again: 8 of 10 are in use." } else { "All seats of crm are in use: 10 of 10." },
            "page_url": "https://seats.example/admin/pools/crm",
            "runbook_url": "https://seats.example/docs/runbooks/pool-full",
        }),
    )
}

fn sent(format: WebhookFormat, deliveries: &[&Delivery]) -> Value {
    let body = body(&webhook(format), deliveries, Timestamp(0));
    serde_json::from_str(&body).unwrap()
}

#[test]
fn slack_reads_a_sentence_with_its_links() {
    let text = sent(WebhookFormat::Slack, &[&full("firing")]);
    assert_eq!(
        text,
        json!({"text": ":red_circle: *All seats of crm are in use: 10 of 10.*\nSince 16:26 UTC on 18 November 2026.\n\
            <https://seats.example/admin/pools/crm|Open crm> · <https://seats.example/docs/runbooks/pool-full|What to do>"})
    );
    let text = sent(WebhookFormat::Slack, &[&full("resolved")]);
    assert_eq!(
        text,
        json!({"text": ":large_green_circle: *The pool crm has free seats again: 8 of 10 are in use.*\n\
            It began at 16:26 UTC on 18 November 2026 and lasted 12 min.\n<https://seats.example/admin/pools/crm|Open crm>"})
    );
    let hostile = delivery("pool.full", &json!({"summary": "<!channel> & more"}));
    let text = sent(WebhookFormat::Slack, &[&hostile]);
    assert_eq!(text, json!({"text": "*&lt;!channel&gt; &amp; more*"}));
}

#[test]
fn teams_and_discord_get_what_they_draw() {
    let card = sent(WebhookFormat::Teams, &[&full("firing")]);
    let content = &card["attachments"][0]["content"];
    assert_eq!(card["type"], "message");
    assert_eq!(
        card["attachments"][0]["contentType"],
        "application/vnd.microsoft.card.adaptive"
    );
    assert_eq!(
        content["body"][0]["text"],
        "All seats of crm are in use: 10 of 10."
    );
    assert_eq!(content["body"][0]["color"], "Attention");
    assert_eq!(
        content["actions"],
        json!([
            {"type": "Action.OpenUrl", "title": "Open crm", "url": "https://seats.example/admin/pools/crm"},
            {"type": "Action.OpenUrl", "title": "What to do", "url": "https://seats.example/docs/runbooks/pool-full"},
        ])
    );
    let embed = sent(WebhookFormat::Discord, &[&full("resolved")]);
    assert_eq!(embed["allowed_mentions"], json!({"parse": []}));
    assert_eq!(
        embed["embeds"][0]["title"],
        "The pool crm has free seats again: 8 of 10 are in use."
    );
    assert_eq!(
        embed["embeds"][0]["description"],
        "It began at 16:26 UTC on 18 November 2026 and lasted 12 min.\n[Open crm](https://seats.example/admin/pools/crm)"
    );
}

#[test]
fn pagerduty_opens_an_incident_and_closes_the_same() {
    let [opened, closed] =
        ["firing", "resolved"].map(|state| sent(WebhookFormat::Pagerduty, &[&full(state)]));
    assert_eq!(opened["routing_key"], "0123456789abcdef0123");
    assert_eq!(opened["event_action"], "trigger");
    assert_eq!(closed["event_action"], "resolve");
    assert_eq!(opened["dedup_key"], "crm:pool.full:1795000000000");
    assert_eq!(opened["dedup_key"], closed["dedup_key"]);
    assert_eq!(opened["payload"]["severity"], "warning");
    assert_eq!(opened["payload"]["source"], "crm");
    assert_eq!(
        opened["client_url"],
        "https://seats.example/admin/pools/crm"
    );
    assert_eq!(opened["links"][1]["text"], "What to do");
    let lost = delivery(
        "store.data_lost",
        &json!({"state": "happened", "summary": "x"}),
    );
    let lost = sent(WebhookFormat::Pagerduty, &[&lost]);
    assert_eq!(lost["payload"]["severity"], "critical");
    let test = delivery(TEST, &json!({"summary": "This is a test."}));
    let test = sent(WebhookFormat::Pagerduty, &[&test]);
    assert_eq!(test["payload"]["severity"], "info");
}

#[test]
fn a_list_of_as_many_as_there_may_be_fits_where_it_goes() {
    let long = "x".repeat(128);
    let one = delivery(
        "pool.level",
        &json!({
            "state": "firing", "pool": long, "summary": format!("The use of {long} reached 80 %: 8000 of 10000 seats."),
            "page_url": format!("https://seats.example/admin/pools/{long}"),
            "runbook_url": "https://seats.example/docs/runbooks/pool-nearly-full",
        }),
    );
    let runbook = "https://seats.example/docs/runbooks/pool-nearly-full";
    for format in WebhookFormat::ALL {
        let several: Vec<&Delivery> = (0..format.most_alerts()).map(|_| &one).collect();
        let (subject, text) = mail(&webhook(format), &several, "https://seats.example");
        let sent = sent(format, &several);
        let characters = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
        // Each message leads to what is to be done, once.
        let text = match format {
            WebhookFormat::Email => text,
            _ => sent.to_string(),
        };
        match format {
            WebhookFormat::Standard | WebhookFormat::Pagerduty => {}
            _ => assert_eq!(text.matches(runbook).count(), 1, "{text}"),
        }
        match format {
            WebhookFormat::Slack => assert!(characters(&sent["text"]) < 40_000),
            WebhookFormat::Teams => assert!(
                sent.to_string().len() < 28_000,
                "{}",
                sent.to_string().len()
            ),
            WebhookFormat::Discord => {
                let text = &sent["embeds"][0]["description"];
                assert!(characters(text) <= 4_096);
                // Nothing is cut.
                assert_eq!(text.as_str().unwrap().lines().count(), several.len() + 1);
                assert!(!text.as_str().unwrap().ends_with('…'));
            }
            WebhookFormat::Standard => assert_eq!(
                sent["data"]["alerts"].as_array().map(Vec::len),
                Some(several.len())
            ),
            WebhookFormat::Pagerduty => {}
            WebhookFormat::Email => {
                assert_eq!(subject, "200 new alerts");
                assert_eq!(text.matches("- The use of").count(), 200);
            }
        }
    }
}

#[test]
fn a_mail_reads_as_a_person_writes_it() {
    let (subject, text) = mail(
        &webhook(WebhookFormat::Email),
        &[&full("firing")],
        "https://seats.example",
    );
    assert_eq!(subject, "All seats of crm are in use: 10 of 10");
    let body = text.split("\n-- \n").next().unwrap();
    assert_eq!(
        body,
        "All seats of crm are in use: 10 of 10.\nSince 16:26 UTC on 18 November 2026.\n\n\
            Open crm: https://seats.example/admin/pools/crm\nWhat to do: https://seats.example/docs/runbooks/pool-full\n"
    );
    assert!(text.contains("because of the webhook desk: https://seats.example/admin/webhooks/"));
    let both = [&full("firing"), &full("resolved")];
    let (subject, text) = mail(
        &webhook(WebhookFormat::Email),
        &both,
        "https://seats.example",
    );
    assert_eq!(subject, "2 alerts: 1 new, 1 over");
    assert_eq!(text.matches("runbooks/pool-full").count(), 1, "{text}");
}
