//! History is exact: it goes by the instants at which things happened.

pub(crate) mod by_hand;
mod crowd;
mod long_day;
mod reports;
mod turns;

use std::time::Duration;

use leasehold::config::Durability;
use leasehold::history::rollup::{self, Slots};
use leasehold::history::slot::{Slot, Step};
use leasehold::names::PoolName;
use leasehold::pool::Policy;
use leasehold::store::{Expect, Options, Store};
use leasehold::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Installation, Launch, PATIENCE, Redis, wait_until};

/// Sums a field over the items.
fn total(items: &[Value], field: &str) -> u64 {
    items
        .iter()
        .map(|item| item[field].as_u64().expect("a number"))
        .sum()
}

#[tokio::test]
async fn usage_and_history_tell_what_happened_and_when() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 3, "ttl_ms": 1_500}), 201)
        .await;
    let mut leases = Vec::new();
    for holder in ["ann", "bob", "cid"] {
        leases.push(a.acquire("crm", json!({"holder": holder}), 201).await);
    }
    a.acquire("crm", json!({"holder": "dan"}), 409).await;
    a.acquire("crm", json!({"holder": "dan"}), 409).await;
    a.release(&leases[0].token(), 204).await;

    let usage = b.get("/v1/pools/crm/usage?days=30").expect(200).await;
    assert_eq!(usage["capacity"], 3);
    assert_eq!(usage["daily_max"], 3);
    assert_eq!(usage["days"], 30);
    assert!(
        usage["daily_average"]
            .as_f64()
            .is_some_and(|mean| mean > 0.0)
    );

    wait_until(
        "the others have expired",
        Duration::from_secs(10),
        async || {
            let history = b.get("/v1/pools/crm/history?step=day").expect(200).await;
            let items = history.list("items");
            items
                .iter()
                .filter_map(|day| day["ends"]["expired"].as_u64())
                .sum::<u64>()
                == 2
        },
    )
    .await;
    for step in ["minute", "hour", "day"] {
        let path = format!("/v1/pools/crm/history?step={step}");
        let history = b.get(&path).expect(200).await;
        let items = history.list("items");
        assert_eq!(total(items, "grants"), 3, "{step}");
        let most = items
            .iter()
            .map(|item| item["high_water_mark"].as_u64().unwrap())
            .max();
        assert_eq!(most, Some(3), "{step}");
        let sum = |of: &str, reason: &str| -> u64 {
            items
                .iter()
                .filter_map(|item| item[of][reason].as_u64())
                .sum()
        };
        // The second denial of the same holder belongs to the first, but each is counted.
        assert_eq!(sum("denials", "pool_full"), 1, "{step}");
        assert_eq!(sum("raw_denials", "pool_full"), 2, "{step}");
        assert_eq!(sum("ends", "released"), 1, "{step}");
        assert_eq!(sum("ends", "expired"), 2, "{step}");
        assert_eq!(items.last().unwrap()["capacity"], 3);

        // Seats times time is what the leases say of themselves: each expired one lived for its TTL.
        let seat_ms: u64 = items
            .iter()
            .flat_map(|item| item["levels_ms"].as_object().unwrap())
            .map(|(level, ms)| level.parse::<u64>().unwrap() * ms.as_u64().unwrap())
            .sum();
        let held = b.get("/v1/pools/crm/holders").expect(200).await;
        assert_eq!(seat_ms, total(held.list("items"), "held_ms"), "{step}");
        assert!(seat_ms >= 2 * 1_500, "{step}: {seat_ms}");
    }
    let usage = b.get("/v1/pools/crm/usage").expect(200).await;
    assert_eq!(usage["current"], 0);
}

#[tokio::test]
async fn patterns_tell_the_busy_hours_of_the_week_by_the_clock_of_a_zone() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;
    // For four weeks two had a seat of four from 09:15 to 10:00 in Kathmandu (+05:45) on each Monday, and one at night.
    let now = store.clock().await.expect("a clock").0;
    let week = 7 * 86_400_000;
    // By the clock of the zone, where it is Monday when it is still Sunday in UTC. The epoch was a Thursday.
    let ahead = 345 * 60_000;
    let this_monday = now - (now + ahead - 4 * 86_400_000).rem_euclid(week);
    let mut events = vec![(this_monday - 5 * week, "configured", String::new(), "4")];
    for back in 1..=4 {
        let nine = this_monday - back * week + 9 * 3_600_000;
        for lease in ["a", "b"] {
            let id = format!("{lease}{back}");
            events.push((nine + 15 * 60_000, "started", id.clone(), ""));
            events.push((nine + 60 * 60_000, "ended", id, "released"));
        }
        events.push((nine + 14 * 3_600_000, "started", format!("c{back}"), ""));
        events.push((
            nine + 15 * 3_600_000,
            "ended",
            format!("c{back}"),
            "released",
        ));
    }
    events.sort();
    for (number, (at, kind, lease, reason)) in events.iter().enumerate() {
        event(&mut connection, &stream, (*at, number), kind, lease, reason).await;
    }
    let node = Launch::on(&redis.url()).start().await;
    let (from, to) = (Timestamp(this_monday - 4 * week), Timestamp(this_monday));
    let path = format!("/v1/pools/{pool}/patterns?tz=Asia/Kathmandu&from={from}&to={to}");
    let patterns = node.get(&path).expect(200).await;
    let cells = patterns.list("cells");
    assert_eq!(cells.len(), 168);
    let nine = &cells[9];
    assert_eq!(
        (&nine["weekday"], &nine["hour"]),
        (&json!("monday"), &json!(9))
    );
    assert_eq!((&nine["peak"], &nine["mean"]), (&json!(2), &json!(1.5)));
    assert_eq!(
        (&nine["utilisation"], &nine["full"]),
        (&json!(0.375), &json!(0.0))
    );
    assert_eq!(nine["hours"], 4.0);
    let night = &cells[23];
    assert_eq!((&night["peak"], &night["mean"]), (&json!(1), &json!(1.0)));
    let seats: u64 = cells.iter().filter_map(|cell| cell["peak"].as_u64()).sum();
    assert_eq!(seats, 2 + 1);
    let busiest: Vec<_> = patterns
        .list("busiest")
        .iter()
        .map(|cell| &cell["hour"])
        .collect();
    assert_eq!(busiest, [&json!(9), &json!(23)]);

    let usage = node
        .get(&format!(
            "/v1/pools/{pool}/usage?days=35&tz=Asia/Kathmandu&sustained_minutes=180"
        ))
        .expect(200)
        .await;
    assert_eq!(usage["sustained_peak"], json!({"minutes": 180, "seats": 2}));
    let usage = node
        .get(&format!(
            "/v1/pools/{pool}/usage?days=35&sustained_minutes=181&percent=50"
        ))
        .expect(200)
        .await;
    assert_eq!(usage["sustained_peak"]["seats"], 1);
    assert_eq!(usage["utilisation"]["at_or_above_ms"], 180 * 60_000);
    assert_eq!(usage["utilisation"]["seat_ms"], (360 + 240) * 60_000);

    let csv = node.get(&format!("{path}&format=csv")).expect(200).await;
    assert_eq!(csv.text.lines().count(), 1 + 168, "{}", csv.text);
}

#[tokio::test]
async fn holders_are_listed_by_name_with_what_they_used() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 10}), 201).await;
    for holder in ["bob", "ann", "ann", "=1+1"] {
        let lease = node.acquire("crm", json!({"holder": holder}), 201).await;
        node.release(&lease.token(), 204).await;
    }
    node.acquire("crm", json!({}), 201).await;

    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/pools/crm/holders?limit=1{cursor}");
        let page = node.get(&path).expect(200).await;
        names.extend(
            page.list("items")
                .iter()
                .map(|item| (item["holder"].clone(), item["leases"].clone())),
        );
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={}", next.replace('=', "%3D").replace('+', "%2B"));
    }
    let expected = [
        (json!(null), json!(1)),
        (json!("=1+1"), json!(1)),
        (json!("ann"), json!(2)),
        (json!("bob"), json!(1)),
    ];
    assert_eq!(names, expected);

    let csv = node
        .get("/v1/pools/crm/holders")
        .header("accept", "text/csv")
        .expect(200)
        .await;
    assert!(csv.text.contains("\r\n'=1+1,1,"), "{}", csv.text);
}

#[tokio::test]
async fn what_each_tenant_used_opens_as_a_table() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    for (holder, tenant, status) in [
        ("ann", "Müller, \"north\"", 201),
        ("bob", "Müller, \"north\"", 201),
        ("cid", "=1+1", 409),
    ] {
        let body = json!({"holder": holder, "tenant": tenant});
        node.acquire("crm", body, status).await;
    }
    let tenants = node.get("/v1/pools/crm/tenants").expect(200).await;
    assert!(tenants["covered_from"].is_string(), "{}", tenants.text);
    let file = node
        .get("/v1/pools/crm/tenants?format=csv")
        .expect(200)
        .await;
    let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(file.text.as_bytes())
        .records()
        .collect::<Result<_, _>>()
        .expect("CSV");
    let cells = |row: usize| [0, 1, 3, 4].map(|column| rows[row][column].to_owned());
    assert_eq!(rows.len(), 2, "{}", file.text);
    assert_eq!(cells(0), ["'=1+1", "0", "0", "1"]);
    assert_eq!(cells(1), ["Müller, \"north\"", "2", "2", "0"]);
}

#[tokio::test]
async fn a_denial_is_a_true_one_unless_the_holder_soon_gets_a_seat() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.acquire("crm", json!({"holder": "bob", "tenant": "acme"}), 409)
        .await;
    node.acquire("crm", json!({"holder": "cid"}), 409).await;
    node.release(&lease.token(), 204).await;
    node.acquire("crm", json!({"holder": "bob", "tenant": "acme"}), 201)
        .await;

    let denials = node.get("/v1/pools/crm/denials").expect(200).await;
    let [bob, cid] = denials.list("items") else {
        panic!("{}", denials.text)
    };
    assert_eq!(
        (&bob["holder"], &bob["tenant"]),
        (&json!("bob"), &json!("acme"))
    );
    assert_eq!(
        (&bob["code"], &bob["true_denial"]),
        (&json!("pool_full"), &json!(false))
    );
    assert!(bob["granted_at"].is_string() && bob["waited_ms"].is_u64());
    // Two minutes have not passed, so nobody can know yet.
    assert_eq!(
        (&cid["holder"], &cid["true_denial"]),
        (&json!("cid"), &json!(null))
    );
    let first = node.get("/v1/pools/crm/denials?limit=1").expect(200).await;
    let cursor = first["next_cursor"].as_str().expect("a next page");
    let path = format!("/v1/pools/crm/denials?limit=1&cursor={cursor}");
    assert_eq!(
        node.get(&path).expect(200).await["items"][0]["holder"],
        "cid"
    );
}

#[tokio::test]
async fn sizing_replays_the_demand_and_compares_prices() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;
    // Yesterday twenty worked in four shifts of five, two hours each.
    let now = store.clock().await.expect("a clock").0;
    let begin = now - 86_400_000;
    for shift in 0..4_i64 {
        for (kind, hour) in [("started", 2 * shift), ("ended", 2 * shift + 2)] {
            for agent in 5 * shift..5 * shift + 5 {
                let at = begin + hour * 3_600_000;
                let lease = agent.to_string();
                let holder = format!("agent-{agent}");
                // Those who leave come before those who arrive.
                let number = if kind == "ended" { agent } else { 100 + agent };
                let fields = [
                    "type",
                    kind,
                    "id",
                    &lease,
                    "at",
                    &at.to_string(),
                    "holder",
                    &holder,
                    "tenant",
                    "",
                    "reason",
                    "",
                ];
                let id = format!("{at}-{number}");
                redis::cmd("XADD")
                    .arg(&stream)
                    .arg(id)
                    .arg(&fields)
                    .exec_async(&mut connection)
                    .await
                    .expect("an event");
            }
        }
    }
    let node = Launch::on(&redis.url()).start().await;
    let path = format!("/v1/pools/{pool}/sizing?price_named=10&price_concurrent=35");
    let sizing = node.get(&path).expect(200).await;
    assert_eq!(sizing["inputs"]["holders"], 20);
    assert_eq!(sizing["inputs"]["peak"], 5);
    assert_eq!(sizing["choices"]["never_refuse"]["seats"], 5);
    let four = &sizing.list("curve")[3];
    assert_eq!(
        (&four["seats"], &four["denials"], &four["holders_denied"]),
        (&json!(4), &json!(4), &json!(4))
    );
    let compared = &sizing["named_vs_concurrent"];
    assert_eq!(compared["cheaper"], "concurrent");
    assert_eq!(
        (&compared["concurrent"]["cost"], &compared["named"]["cost"]),
        (&json!(175.0), &json!(200.0))
    );
    assert_eq!(sizing["growth"], json!(null));

    let csv = node
        .get(&path)
        .header("accept", "text/csv")
        .expect(200)
        .await;
    assert_eq!(csv.text.lines().count(), 1 + 5, "{}", csv.text);
    node.get(&format!("/v1/pools/{pool}/sizing?price_named=cheap"))
        .expect(400)
        .await;
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    for query in [
        "usage?days=0",
        "usage?days=801",
        "usage?tz=Mars",
        "usage?sustained_minutes=0",
        "usage?percent=101",
        "patterns?tz=Mars",
        "patterns?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "history?step=week",
        "history?from=yesterday",
        "history?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "history?step=minute&from=2020-01-01T00:00:00Z",
        "denials?limit=0",
        "denials?cursor=x",
        "holders?limit=1001",
        "holders?cursor=x",
        "holders?colour=red",
    ] {
        let refused = node
            .get(&format!("/v1/pools/crm/{query}"))
            .expect(400)
            .await;
        assert_eq!(refused["code"], "invalid_request", "{query}");
    }
    for report in [
        "usage", "history", "denials", "holders", "sizing", "patterns",
    ] {
        node.get(&format!("/v1/pools/none/{report}"))
            .expect(404)
            .await;
    }
}

/// A store that does nothing by itself.
pub(crate) async fn store(redis: &Redis) -> Store {
    store_that_sweeps(redis, Duration::ZERO).await
}

async fn store_that_sweeps(redis: &Redis, sweep_every: Duration) -> Store {
    store_at(&redis.url(), sweep_every).await
}

async fn store_at(url: &str, sweep_every: Duration) -> Store {
    let options = Options {
        url: url.to_owned().into(),
        connections: 2,
        timeout: Duration::from_secs(2),
        sweep_every,
        tls: Default::default(),
        key_prefix: Default::default(),
        durability: Durability::Async,
        metrics_max_pools: 0,
    };
    Store::connect(&options).await.expect("a store")
}

/// A pool of a store of its own, and a connection to write its past with.
pub(crate) async fn past(
    redis: &Redis,
) -> (Store, PoolName, redis::aio::MultiplexedConnection, String) {
    let store = store(redis).await;
    let pool: PoolName = "crm".parse().expect("a name");
    let client = redis::Client::open(redis.url()).expect("an address");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("a connection");
    connection.set_response_timeout(PATIENCE);
    store
        .put_pool(&pool, &Policy::with_capacity(7), Expect::Any)
        .await
        .expect("a pool");
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*:crm:events")
        .query_async(&mut connection)
        .await
        .expect("keys");
    let events = keys.into_iter().next().expect("a history");
    redis::cmd("DEL")
        .arg(&events)
        .exec_async(&mut connection)
        .await
        .expect("an empty history");
    (store, pool, connection, events)
}

/// Writes an event that happened when it was written.
pub(crate) async fn event(
    connection: &mut redis::aio::MultiplexedConnection,
    stream: &str,
    (at, number): (i64, usize),
    kind: &str,
    lease: &str,
    reason: &str,
) {
    let text = at.to_string();
    let fields = [
        "type", kind, "id", lease, "at", &text, "holder", "", "tenant", "", "reason", reason,
    ];
    redis::cmd("XADD")
        .arg(stream)
        .arg(format!("{at}-{number}"))
        .arg(&fields)
        .exec_async(connection)
        .await
        .expect("an event");
}

#[tokio::test]
async fn a_pool_with_more_events_in_a_minute_than_a_batch_is_rolled_up_in_few_parts() {
    // 200 a second for ten minutes: what is written in a minute is 120 times a batch.
    const WRITE: &str = r"
        for number = 0, 5999 do
          local at, id = ARGV[1] + number * 10, string.format('%021dA', number)
          for _, kind in ipairs({ 'started', 'ended' }) do
            redis.call('XADD', KEYS[1], at .. '-*', 'type', kind, 'id', id, 'at', at,
              'holder', '', 'tenant', '', 'reason', kind == 'ended' and 'released' or '')
          end
        end";
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;
    let now = store.clock().await.expect("a clock").0;
    let begin = now - 15 * 60_000;
    for minute in 0..10 {
        let () = redis::cmd("EVAL")
            .arg(WRITE)
            .arg(1)
            .arg(&stream)
            .arg(begin + minute * 60_000)
            .query_async(&mut connection)
            .await
            .expect("they came and went");
    }

    let mut parts = 1;
    while rollup::roll_up(&store, &pool, 100).await.unwrap() {
        parts += 1;
    }
    // Each reads two minutes and puts one away.
    assert!(parts <= 12, "{parts}");
    let found = rollup::slots(&store, &pool, Step::Minute, begin, now)
        .await
        .unwrap()
        .unwrap();
    let grants: u64 = found.slots.iter().map(|slot| slot.grants).sum();
    assert_eq!(grants, 60_000);
}

#[tokio::test]
async fn rolling_up_in_parts_changes_no_slot() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;

    // Three days of starts and ends, some of which were written up to 50 s late, as after a mass expiry.
    let now = store.clock().await.expect("a clock").0;
    let begin = now - 3 * 86_400_000;
    let mut random = 12_345_u64;
    let mut next = |bound: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((random >> 33) % bound).expect("small")
    };
    let mut written: Vec<(i64, i64, &str, String)> = vec![(begin, begin, "configured", "0".into())];
    let mut held_ms = 0;
    for lease in 0..1_500 {
        let start = begin + 1 + next(3 * 86_400_000 - 7_300_000);
        let end = start + 1 + next(7_200_000);
        held_ms += end - start;
        written.push((start, start, "started", lease.to_string()));
        written.push((end + next(50_000), end, "ended", lease.to_string()));
    }
    written.sort();
    let mut id = (0, 0);
    for (ms, at, kind, lease) in &written {
        id = if id.0 == *ms {
            (*ms, id.1 + 1)
        } else {
            (*ms, 0)
        };
        redis::cmd("XADD")
            .arg(&stream)
            .arg(format!("{}-{}", id.0, id.1))
            .arg(&[
                "type",
                kind,
                "id",
                lease,
                "at",
                &at.to_string(),
                "holder",
                "",
                "tenant",
                "",
                "reason",
                "7",
            ])
            .exec_async(&mut connection)
            .await
            .expect("an event");
    }

    let mut before = Vec::new();
    for step in Step::ALL {
        before.push(
            rollup::slots(&store, &pool, step, begin, now)
                .await
                .unwrap()
                .unwrap(),
        );
    }
    // As nodes do it, in several parts: each looks only at what the one before did not account for.
    while rollup::roll_up(&store, &pool, 400).await.unwrap() {}
    for (step, before) in Step::ALL.into_iter().zip(before) {
        let after = rollup::slots(&store, &pool, step, begin, now)
            .await
            .unwrap()
            .unwrap();
        // The first slots leave the time for which they are kept, and the last goes on meanwhile.
        let first = after.first.max(before.first);
        let last = step.slot(now) - 1;
        assert!(first < last, "{step:?}");
        for number in first..=last {
            let at =
                |slots: &Slots| slots.slots[usize::try_from(number - slots.first).unwrap()].clone();
            assert_eq!(at(&before), at(&after), "{step:?} {number}");
        }
        if step != Step::Minute {
            let seat_ms: u64 = after.slots.iter().map(|slot| slot.seat_ms).sum();
            assert_eq!(seat_ms, u64::try_from(held_ms).unwrap(), "{step:?}");
            let grants: u64 = after.slots.iter().map(|slot| slot.grants).sum();
            assert_eq!(grants, 1_500, "{step:?}");
        }
    }
}

/// The whole history of a pool, put together from the slots of a step.
async fn whole(store: &Store, pool: &PoolName, step: Step) -> Slot {
    let slots = rollup::slots(store, pool, step, 0, i64::MAX)
        .await
        .unwrap()
        .expect("a history");
    let mut whole = Slot::default();
    for slot in &slots.slots {
        whole.append(slot);
    }
    whole
}

async fn set(
    connection: &mut redis::aio::MultiplexedConnection,
    key: &str,
    name: &str,
    value: &str,
) {
    redis::cmd("HSET")
        .arg(key)
        .arg(name)
        .arg(value)
        .exec_async(connection)
        .await
        .expect("a field");
}

#[tokio::test]
async fn each_denial_is_counted_once_in_pools_with_and_without_rules() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("plain", json!({"capacity": 1}), 201).await;
    node.put_pool(
        "rules",
        json!({"capacity": 1, "tenants": {"acme": {"max": 0}}, "queue": {"max_waiting": 1}}),
        201,
    )
    .await;
    for pool in ["plain", "rules"] {
        let lease = node.acquire(pool, json!({"holder": "ann"}), 201).await;
        for _ in 0..3 {
            for holder in ["bob", "cid"] {
                node.acquire(pool, json!({"holder": holder}), 409).await;
            }
        }
        node.terminate(pool, json!({"ids": [lease.id()], "block_ms": 60_000}), 200)
            .await;
        for _ in 0..2 {
            node.acquire(pool, json!({"holder": "ann"}), 409).await;
        }
    }
    node.acquire("rules", json!({"holder": "dan", "tenant": "acme"}), 409)
        .await;
    for (pool, tenant) in [("plain", None), ("rules", Some(1))] {
        let usage = node
            .get(&format!("/v1/pools/{pool}/usage"))
            .expect(200)
            .await;
        assert_eq!(usage["raw_denials"]["pool_full"], 6, "{pool}");
        assert_eq!(usage["raw_denials"]["holder_blocked"], 2, "{pool}");
        assert_eq!(usage["raw_denials"]["tenant_full"], json!(tenant), "{pool}");
        assert_eq!(usage["denials"]["pool_full"], 2, "{pool}");
        assert_eq!(usage["denials"]["holder_blocked"], 1, "{pool}");
        let csv = node
            .get(&format!("/v1/pools/{pool}/history?step=day&format=csv"))
            .expect(200)
            .await;
        assert!(
            csv.text
                .lines()
                .next()
                .is_some_and(|head| head.contains("raw_denials"))
        );
    }
}

#[tokio::test]
async fn counts_of_denials_are_put_into_slots_once_and_then_dropped() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;
    let now = store.clock().await.expect("a clock").0;
    let key = stream.replace(":events", ":denials");
    let minute = now / 60_000 - 30;
    event(
        &mut connection,
        &stream,
        (minute * 60_000, 0),
        "configured",
        "",
        "2",
    )
    .await;
    for (at, count) in [(minute, "5"), (minute + 1, "700"), (minute + 20, "1")] {
        set(&mut connection, &key, &format!("{at}:pool_full"), count).await;
    }
    let before = whole(&store, &pool, Step::Minute).await;
    assert_eq!(before.raw_denials["pool_full"], 706);
    // Two nodes at the same time, more than once.
    for _ in 0..3 {
        let (a, b) = tokio::join!(
            rollup::roll_up(&store, &pool, 1_000),
            rollup::roll_up(&store, &pool, 1_000)
        );
        a.and(b).expect("rolled up");
    }
    let left: u64 = redis::cmd("HLEN")
        .arg(&key)
        .query_async(&mut connection)
        .await
        .expect("a number");
    assert_eq!(left, 0);
    for step in Step::ALL {
        let after = whole(&store, &pool, step).await;
        assert_eq!(after.raw_denials["pool_full"], 706, "{step:?}");
    }
    let slots = rollup::slots(
        &store,
        &pool,
        Step::Minute,
        (minute + 1) * 60_000,
        (minute + 2) * 60_000,
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(slots.slots[0].raw_denials["pool_full"], 700);
}

#[tokio::test]
async fn a_time_in_which_nobody_could_ask_is_marked_and_not_drawn_as_zero() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;
    let now = store.clock().await.expect("a clock").0;
    let begin = (now / 3_600_000 - 10) * 3_600_000;
    event(&mut connection, &stream, (begin, 0), "configured", "", "5").await;
    event(&mut connection, &stream, (begin + 1, 0), "started", "a", "").await;
    event(
        &mut connection,
        &stream,
        (begin + 8 * 3_600_000, 0),
        "ended",
        "a",
        "expired",
    )
    .await;
    // Redis was away for two and a half hours.
    let clock = stream.replace(":crm:events", ":clock");
    let (from, until) = (begin + 3_600_000, begin + 3_600_000 + 9_000_000);
    set(
        &mut connection,
        &clock,
        "silences",
        &format!("{from} {until} "),
    )
    .await;
    let look = async || {
        let slots = rollup::slots(&store, &pool, Step::Hour, begin, begin + 6 * 3_600_000)
            .await
            .unwrap()
            .unwrap();
        let gaps: Vec<u64> = slots.slots.iter().map(|slot| slot.gap_ms).collect();
        assert_eq!(gaps, [0, 3_600_000, 3_600_000, 1_800_000, 0, 0]);
        assert!(slots.slots.iter().all(|slot| slot.high_water_mark == 1));
        assert_eq!(whole(&store, &pool, Step::Minute).await.gap_ms, 9_000_000);
    };
    look().await;
    rollup::roll_up(&store, &pool, 1_000)
        .await
        .expect("rolled up");
    redis::cmd("HDEL")
        .arg(&clock)
        .arg("silences")
        .exec_async(&mut connection)
        .await
        .expect("gone");
    look().await;
}

#[tokio::test]
async fn a_silence_of_all_nodes_is_noted_by_the_first_who_comes_back() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;
    let clock = stream.replace(":crm:events", ":clock");
    let now = store.clock().await.expect("a clock").0;
    let away = (now - 3_600_000).to_string();
    set(&mut connection, &clock, "tick", &away).await;
    event(
        &mut connection,
        &stream,
        (now - 7_200_000, 0),
        "configured",
        "",
        "5",
    )
    .await;
    // Nobody is back yet, and yet it is known.
    let gap_ms = whole(&store, &pool, Step::Minute).await.gap_ms;
    assert!((3_600_000..3_700_000).contains(&gap_ms), "{gap_ms}");
    store
        .put_pool(&pool, &Policy::with_capacity(6), Expect::Any)
        .await
        .expect("a sign of life");
    let gap_ms = whole(&store, &pool, Step::Minute).await.gap_ms;
    assert!((3_600_000..3_700_000).contains(&gap_ms), "{gap_ms}");
}

#[tokio::test]
async fn when_events_are_lost_the_rest_is_right_and_the_time_between_is_unknown() {
    let redis = Redis::start().await;
    let (store, pool, mut connection, stream) = past(&redis).await;
    let now = store.clock().await.expect("a clock").0;
    let at = |minutes: i64| now - 3_600_000 + minutes * 60_000;
    let leases = stream.replace(":events", ":leases");
    event(&mut connection, &stream, (at(0), 0), "configured", "", "5").await;
    event(&mut connection, &stream, (at(5), 0), "started", "a", "").await;
    rollup::roll_up(&store, &pool, 1_000)
        .await
        .expect("rolled up");

    // Two starts and the end of `a` are lost with the stream; one of the two has ended since.
    redis::cmd("DEL")
        .arg(&stream)
        .exec_async(&mut connection)
        .await
        .expect("lost");
    let now = store.clock().await.expect("a clock").0;
    event(&mut connection, &stream, (now, 0), "ended", "b", "released").await;
    redis::cmd("ZADD")
        .arg(&leases)
        .arg(now + 3_600_000)
        .arg("c")
        .exec_async(&mut connection)
        .await
        .expect("a lease");
    for _ in 0..2 {
        let whole = whole(&store, &pool, Step::Minute).await;
        assert_eq!((whole.end_level, whole.high_water_mark), (1, 2));
        // From the last roll-up, which stays a minute behind, to the first event that is left.
        let known = 59_000..3_600_000;
        assert!(known.contains(&whole.gap_ms), "{}", whole.gap_ms);
        rollup::roll_up(&store, &pool, 1_000)
            .await
            .expect("rolled up");
    }
}
