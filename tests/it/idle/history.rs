//! What is counted of idle seats: by slots, by ends, by a replay of the demand, in alerts and in metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::{MINUTE, beat, idle, seat};
use crate::harness::{Installation, Scrape, let_pass, wait_until};

#[tokio::test]
async fn history_is_what_an_outsider_sums_up_of_idle_stretches() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 3, "idle": idle("yield")}), 201)
        .await;
    let (ann, bob) = (
        seat(node, "crm", "ann").await,
        seat(node, "crm", "bob").await,
    );
    let cid = seat(node, "crm", "cid").await;
    beat(node, &ann, 20 * MINUTE).await;
    let_pass(250).await;
    beat(node, &bob, 30 * MINUTE).await;
    beat(node, &ann, 0).await;
    let_pass(250).await;
    // Bob gives way, Ann goes while she is idle, and Cid stays so.
    seat(node, "crm", "dan").await;
    beat(node, &ann, 40 * MINUTE).await;
    beat(node, &cid, 40 * MINUTE).await;
    let_pass(250).await;
    node.release(&ann.token(), 204).await;
    let_pass(250).await;

    let found = node
        .get("/v1/pools/crm/history?step=minute")
        .expect(200)
        .await;
    let slots = found.list("items");
    let until = slots.last().expect("a slot")["until"].clone();
    let until: chrono::DateTime<chrono::Utc> =
        until.as_str().expect("an instant").parse().expect("one");
    let (mut since, mut sum) = (BTreeMap::new(), 0);
    for event in redis.events("crm").await {
        match event.kind.as_str() {
            "idle" => drop(since.insert(event.id, event.at)),
            _ => sum += since.remove(&event.id).map_or(0, |from| event.at - from),
        }
    }
    assert_eq!(since.len(), 1);
    sum += since
        .values()
        .map(|from| until.timestamp_millis() - from)
        .sum::<i64>();
    let told: f64 = slots
        .iter()
        .map(|slot| {
            let at = |name: &str| -> i64 {
                let text = slot[name].as_str().expect("an instant");
                let at: chrono::DateTime<chrono::Utc> = text.parse().expect("one");
                at.timestamp_millis()
            };
            slot["idle_mean"].as_f64().expect("a number") * (at("until") - at("from")) as f64
        })
        .sum();
    // The means are rounded.
    assert!((told - sum as f64).abs() < 60.0, "{told} {sum}");
    let ends: u64 = slots
        .iter()
        .filter_map(|slot| slot["ends"]["idle"].as_u64())
        .sum();
    assert_eq!(ends, 1);

    let usage = node.get("/v1/pools/crm/usage").expect(200).await;
    assert_eq!(usage["idle_now"], 1);
    assert!(usage["idle_mean"].as_f64().expect("a number") > 0.0);
    assert!(usage["daily"][0]["idle_mean"].is_number());
    let file = node
        .get("/v1/pools/crm/history?step=minute&format=csv")
        .expect(200)
        .await;
    assert!(
        file.text
            .lines()
            .next()
            .expect("names")
            .ends_with(",idle_mean")
    );

    // A seat that went from one to another in one step was never free: the pool was full from Cid on until Ann went.
    let full = async || node.get("/v1/alerts?type=pool.full").expect(200).await;
    wait_until("it is told", Duration::from_secs(10), async || {
        full().await["items"][0]["state"] == "resolved"
    })
    .await;
    assert_eq!(full().await.list("items").len(), 2);
}

#[tokio::test]
async fn counting_says_what_giving_idle_seats_away_would_save_and_pools_without_it_say_nothing() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 2, "idle": idle("count")}), 201)
        .await;
    node.put_pool("plain", json!({"capacity": 2}), 201).await;
    for pool in ["crm", "plain"] {
        let ann = seat(node, pool, "ann").await;
        let_pass(30).await;
        beat(node, &ann, 20 * MINUTE).await;
        let_pass(30).await;
        let bob = seat(node, pool, "bob").await;
        node.acquire(pool, json!({"holder": "cid"}), 409).await;
        let_pass(30).await;
        node.release(&bob.token(), 204).await;
    }
    let sizing = node
        .get("/v1/pools/crm/sizing?price_concurrent=35")
        .expect(200)
        .await;
    assert_eq!(sizing["inputs"]["peak"], 2);
    let mut harvest = sizing["harvest"].clone();
    let members = harvest.as_object_mut().expect("an object");
    let idle_mean = members.remove("idle_mean");
    // Of the time since the first request, and not of the 35 days that were asked for.
    let idle_mean = idle_mean.and_then(|mean| mean.as_f64());
    assert!(idle_mean.is_some_and(|mean| mean > 0.2), "{idle_mean:?}");
    let day = members.remove("busiest_day").expect("one");
    let most = |levels: &str| {
        let levels = day[levels].as_array().expect("numbers");
        levels.iter().filter_map(|level| level.as_u64()).max()
    };
    assert_eq!((most("wanted"), most("used")), (Some(2), Some(1)));
    assert_eq!(
        harvest,
        json!({"after_ms": 15 * MINUTE, "seats_now": 2, "seats_needed": 1, "denials_avoided": 0, "saving": 35.0})
    );
    for report in ["sizing", "usage", "history?step=minute"] {
        let report = node
            .get(&format!("/v1/pools/plain/{report}"))
            .expect(200)
            .await;
        for word in ["harvest", "idle"] {
            assert!(!report.text.contains(word), "{}", report.text);
        }
    }

    let page = node.get("/admin/pools/crm/sizing").expect(200).await.text;
    let sentence = "at most 2 seats were wanted at once, and without those that were idle 1.";
    assert!(page.contains(sentence), "{page}");
    let page = node.get("/admin/pools/crm/history").expect(200).await.text;
    assert!(page.contains("Idle on average"), "{page}");
    let page = node.get("/admin/people/ann").expect(200).await.text;
    assert!(page.contains("Idle for"), "{page}");

    // Somebody was denied while a seat was idle.
    let told = async || {
        node.get("/v1/alerts?type=pool.idle_while_denied")
            .expect(200)
            .await
    };
    wait_until("it is told", Duration::from_secs(10), async || {
        !told().await.list("items").is_empty()
    })
    .await;
    let alerts = told().await;
    let [alert] = alerts.list("items") else {
        panic!("{}", alerts.text);
    };
    assert_eq!((&alert["pool"], &alert["idle"]), (&json!("crm"), &json!(1)));
    let idle_ms = alert["idle_ms"].as_u64().expect("a number");
    assert!((20 * MINUTE..21 * MINUTE).contains(&idle_ms), "{idle_ms}");
    let summary =
        "Somebody was denied a seat of crm while 1 seat was idle, the longest for 20 min.";
    assert_eq!(alert["summary"], summary);

    wait_until("it is measured", Duration::from_secs(10), async || {
        let scrape = Scrape::of(node).await;
        scrape.get("leasehold_seats_idle", &[("pool", "crm")]) == Some(1.0)
    })
    .await;
    let scrape = Scrape::of(node).await;
    assert_eq!(
        scrape.get("leasehold_seats_idle", &[("pool", "plain")]),
        None
    );
}
