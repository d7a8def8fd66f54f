//! Waiters: the list of a queue, and about how long it takes.

use serde_json::{Value, json};

use crate::harness::{Installation, Node, Reply};
use crate::rules::jump;

async fn ask(node: &Node, ticket: &Value) -> Reply {
    let body = json!({ "ticket": ticket });
    node.acquire("crm", body, [201, 202]).await
}

#[tokio::test]
async fn the_queue_is_listed_in_its_order_by_pages_and_as_a_table() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let policy = json!({"capacity": 1, "tenant_max": 9, "queue": {"max_waiting": 20}});
    a.put_pool("crm", policy, 201).await;
    a.acquire("crm", json!({"holder": "ann"}), 201).await;
    for number in 0..7 {
        let mut body = json!({"wait": true, "tenant": "acme"});
        if number != 3 {
            body["holder"] = json!(format!("agent {number}"));
        }
        [a, b][number % 2].acquire("crm", body, 202).await;
    }
    let mut holders = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/pools/crm/queue?limit=3{cursor}");
        let page = b.get(&path).expect(200).await;
        for item in page.list("items") {
            assert_eq!(item["position"], holders.len() + 1);
            assert_eq!(item["tenant"], "acme");
            assert!(item["eta_ms"].as_u64().unwrap() > 0);
            assert!(item["since"].as_str().unwrap() < item["asks_again_by"].as_str().unwrap());
            assert_eq!(item.as_object().unwrap().len(), 6);
            holders.push(item["holder"].clone());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(holders.len(), 7);
    assert_eq!(
        (&holders[0], &holders[3]),
        (&json!("agent 0"), &Value::Null)
    );
    assert_eq!(holders[6], "agent 6");

    let table = a.get("/v1/pools/crm/queue").header("accept", "text/csv");
    let table = table.expect(200).await.text;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "position,holder,tenant,since,asks_again_by,eta_ms,requested_until"
    );
    assert_eq!(lines.len(), 8);
    assert!(lines[7].starts_with("7,agent 6,acme,20"), "{}", lines[7]);
    let shown = a
        .get("/admin/pools/crm/queue")
        .header("accept", "text/html");
    let shown = shown.expect(200).await.text;
    assert!(
        shown.contains("agent 6") && shown.contains("Guest"),
        "{shown}"
    );

    // A pool without a queue has nobody who waits, and one that is not there none at all.
    a.put_pool("erp", json!({"capacity": 1}), 201).await;
    let none = a.get("/v1/pools/erp/queue").expect(200).await;
    assert!(none.list("items").is_empty());
    a.get("/v1/pools/none/queue").expect(404).await;
    for query in ["limit=0", "limit=1001", "cursor=x", "cursor=-1", "wrong=1"] {
        a.get(&format!("/v1/pools/crm/queue?{query}"))
            .expect(400)
            .await;
    }
}

/// A minute of a pool, by the clock of Redis, in steps of two seconds. Everybody who waits asks in each.
#[tokio::test]
async fn the_time_until_a_seat_does_not_jump_while_nothing_happens_and_comes_to_be_right() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    let policy = json!({"capacity": 3, "ttl_ms": 900_000, "queue": {"max_waiting": 50}});
    node.put_pool("crm", policy, 201).await;
    let mut held: Vec<String> = Vec::new();
    for seat in 0..3 {
        held.push(
            node.acquire("crm", json!({"holder": format!("first {seat}")}), 201)
                .await
                .token(),
        );
    }
    let mut tickets = Vec::new();
    for number in 0..30 {
        let body = json!({"holder": format!("agent {number}"), "wait": true});
        tickets.push(node.acquire("crm", body, 202).await["ticket"].clone());
    }
    let mut now = chrono::Utc::now().timestamp_millis().cast_unsigned() + 1_000;
    let mut last: Vec<Option<u64>> = vec![None; 30];
    // None for long, then one every four seconds, and none again.
    for step in 0..45 {
        now += 2_000;
        jump(&cluster.redis, "crm", now).await;
        let frees = (8..38).contains(&step) && step % 2 == 0;
        if frees {
            node.release(&held.remove(0), 204).await;
        }
        for (ticket, last) in tickets.iter().zip(&mut last) {
            if ticket.is_null() {
                continue;
            }
            let reply = ask(node, ticket).await;
            if reply.status == 201 {
                held.push(reply.token());
                *last = None;
                continue;
            }
            let eta = reply.number("/eta_ms");
            if let Some(before) = *last
                && !frees
            {
                let ratio = eta as f64 / before as f64;
                assert!(
                    (0.5..=2.0).contains(&ratio),
                    "{before} to {eta} at step {step}"
                );
            }
            *last = Some(eta);
            if step == 37 {
                let due = 4_000 * reply.number("/position");
                assert!((due / 2..=due * 2).contains(&eta), "{eta} and not {due}");
            }
        }
        let served = last.iter().take_while(|eta| eta.is_none()).count();
        for ticket in &mut tickets[..served] {
            *ticket = Value::Null;
        }
    }
}
