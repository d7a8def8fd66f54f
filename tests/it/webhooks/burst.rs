//! Very many alerts at once: nothing is lost, nothing comes twice, whether each goes alone or all together.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};

use super::HERE;
use crate::harness::{Installation, Message, Receiver, wait_until};

/// More pools than could wait for a webhook before.
const POOLS: usize = 600;

/// How often each alert came to a receiver.
fn counted(messages: &[Message]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for message in messages {
        let data = &message.json["data"];
        let alerts = match data["alerts"].as_array() {
            Some(alerts) => alerts.clone(),
            None => vec![data.clone()],
        };
        for alert in alerts {
            let id = alert["alert"].as_str().expect("an alert").to_owned();
            *counts.entry(id).or_default() += 1;
        }
    }
    counts
}

#[tokio::test]
async fn a_burst_of_alerts_reaches_every_receiver_once() {
    let cluster = Installation::start_with(2, &HERE).await;
    let (a, b) = cluster.pair();
    let names: Vec<String> = (0..POOLS).map(|n| format!("pool-{n}")).collect();
    let each = stream::iter(&names).for_each_concurrent(32, async |pool| {
        a.put_pool(pool, json!({"capacity": 1}), 201).await;
    });
    each.await;
    let (alone, together) = (Receiver::start().await, Receiver::start().await);
    let chat = Receiver::start().await;
    let url = alone.url();
    let mut secret = String::new();
    for (url, more) in [
        (url, json!({})),
        (together.url(), json!({"group": {"wait_ms": 1_000}})),
        (
            chat.url(),
            json!({"group": {"wait_ms": 1_000}, "format": "slack"}),
        ),
    ] {
        let mut body = json!({"url": url, "events": ["pool.full"]});
        if let Value::Object(more) = more {
            body.as_object_mut().expect("an object").extend(more);
        }
        let made = a.post("/v1/webhooks").json(&body).expect(201).await;
        if url == together.url() {
            secret = made["secret"].as_str().expect("a secret").to_owned();
        }
    }
    let each = stream::iter(names.iter().enumerate()).for_each_concurrent(32, async |(n, pool)| {
        let node = if n % 2 == 0 { a } else { b };
        node.acquire(pool, json!({}), 201).await;
    });
    each.await;

    for receiver in [&alone, &together] {
        wait_until("all have come", Duration::from_secs(60), async || {
            counted(&receiver.messages()).len() == POOLS
        })
        .await;
    }
    let lines = |message: &Message| {
        let text = message.json["text"].as_str().expect("a text");
        text.matches("All seats of pool-").count()
    };
    wait_until("the chat has all", Duration::from_secs(60), async || {
        chat.messages().iter().map(lines).sum::<usize>() == POOLS
    })
    .await;
    for receiver in [&alone, &together] {
        let twice: Vec<_> = counted(&receiver.messages())
            .into_iter()
            .filter(|(_, count)| *count > 1)
            .collect();
        assert_eq!(twice, []);
    }
    assert_eq!(alone.messages().len(), POOLS);
    // At most 200 in a list, and 50 in one for people.
    assert!(
        together.messages().len() < 60,
        "{}",
        together.messages().len()
    );
    assert!(chat.messages().len() < 120, "{}", chat.messages().len());
    let list = &together.messages()[0];
    assert!(list.is_signed_with(&secret));
    assert_eq!(list.json["type"], "alerts");
    assert!(list.id().starts_with("msg_group-"), "{}", list.id());
    assert!(list.body.len() < 256 * 1_024);
    let listed = a.get("/v1/webhooks").expect(200).await;
    for webhook in listed.list("items") {
        assert_eq!(webhook["dead"], 0, "{webhook}");
    }
}
