//! A crowd whose time is over at the same instant is recorded at that instant, whenever somebody notices.

use std::time::Duration;

use leasehold::history::rollup;
use leasehold::history::slot::{Slot, Step};
use leasehold::names::PoolName;
use serde_json::json;

use super::by_hand::{self, DAY, HOUR, Hands, MINUTE};
use crate::harness::wait_until;

const CROWD: u64 = 100_000;

/// Writes what `n` acquires at one instant write, all of which end at another one; the lease ids are numbers.
const ARRIVE: &str = r"
    local leases, events, started, ends = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
    for number = tonumber(ARGV[3]), tonumber(ARGV[4]) do
      local id = string.format('%021dA', number)
      redis.call('ZADD', leases, ends, id)
      redis.call('XADD', events, '*', 'type', 'started', 'id', id, 'at', started,
        'holder', 'agent-' .. number, 'tenant', '', 'reason', '')
    end";

#[tokio::test]
async fn a_hundred_thousand_leases_that_expire_at_once_are_recorded_at_that_instant() {
    let (cluster, _proxy, url) = by_hand::held_cluster(&[]).await;
    let store = super::store_at(&url, Duration::ZERO).await;
    let pool: PoolName = "crm".parse().expect("a name");
    let today = store.clock().await.expect("a clock").0.div_euclid(DAY);
    let begin = (today + 1) * DAY + 12 * HOUR + 59 * MINUTE;
    let mut hands = Hands::take(&cluster.redis, "crm", begin).await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": CROWD, "ttl_ms": 60_000}), 201)
        .await;

    // They come within a second, and all beat together once more, so that they all end in the same millisecond.
    let ends = begin + 75_001;
    for part in 0..20 {
        hands.pass(50).await;
        let count = CROWD / 20;
        let () = redis::cmd("EVAL")
            .arg(ARRIVE)
            .arg(2)
            .arg(hands.events.replace(":events", ":leases"))
            .arg(&hands.events)
            .arg(hands.now)
            .arg(ends)
            .arg(part * count)
            .arg((part + 1) * count - 1)
            .query_async(&mut hands.connection)
            .await
            .expect("they come");
    }
    let () = redis::cmd("ZADD")
        .arg(hands.events.replace(":crm:events", ":due"))
        .arg(ends)
        .arg("crm")
        .query_async(&mut hands.connection)
        .await
        .expect("the sweeps know");
    let all_there = hands.now;
    hands.pass(MINUTE - (hands.now - begin)).await;
    node.acquire("crm", json!({"holder": "early"}), 409).await;

    // At that very instant the seats are free, long before all the ends are written.
    hands.pass(ends - hands.now).await;
    let mut newcomers = Vec::new();
    for _ in 0..3 {
        newcomers.push(node.acquire("crm", json!({"holder": "at once"}), 201).await);
    }
    let (live, free) = {
        let pool = node.pool("crm", 200).await;
        (pool["in_use"].clone(), pool["free"].clone())
    };
    assert_eq!((live, free), (json!(3), json!(CROWD - 3)));
    rollup::roll_up(&store, &pool, 10_000)
        .await
        .expect("rolled up");
    // The capacity, the starts, a denial, and the ends.
    let (events, leases) = (
        hands.events.clone(),
        hands.events.replace(":events", ":leases"),
    );
    wait_until(
        "all ends are written",
        Duration::from_secs(60),
        async || {
            let written: u64 = cluster.redis.query(&["XLEN", &events]).await;
            let live: u64 = cluster.redis.query(&["ZCARD", &leases]).await;
            written == 1 + CROWD + 3 + 1 + CROWD && live == 3
        },
    )
    .await;

    hands.pass(50_000).await;
    newcomers.push(node.acquire("crm", json!({"holder": "later"}), 201).await);
    let later = hands.now;
    hands.pass(5_000).await;
    for lease in newcomers {
        node.release(&lease.token(), 204).await;
    }
    let gone = hands.now;
    hands.pass(3 * MINUTE).await;
    while rollup::roll_up(&store, &pool, 10_000)
        .await
        .expect("rolled up")
    {}
    // A quarter and an hour end within this, and all steps tell the same.
    for step in Step::ALL {
        let found = rollup::slots(&store, &pool, step, begin, hands.now)
            .await
            .expect("Redis answers")
            .expect("a history");
        let mut whole = Slot::default();
        for slot in &found.slots {
            whole.append(slot);
        }
        assert_eq!(
            (whole.grants, whole.ends["expired"]),
            (CROWD + 4, CROWD),
            "{step:?}"
        );
        assert_eq!(whole.high_water_mark, CROWD, "{step:?}");
        assert_eq!(
            whole.levels.by_level()[&CROWD],
            by_hand::ms(ends - all_there),
            "{step:?}"
        );
        assert_eq!(
            whole.levels.at_least_ms(100),
            by_hand::ms(ends - all_there),
            "{step:?}"
        );
        assert_eq!(whole.raw_denials["pool_full"], 1, "{step:?}");
        // Those of the last second came in twenty parts; three had a seat after it, and a fourth from `later` on.
        let coming: u64 = (1..20).map(|part| part * CROWD / 20 * 50).sum();
        let seat_ms = coming
            + CROWD * by_hand::ms(ends - all_there)
            + 3 * by_hand::ms(gone - ends)
            + by_hand::ms(gone - later);
        assert_eq!(whole.seat_ms, seat_ms, "{step:?}");
    }
    let minutes = rollup::slots(&store, &pool, Step::Minute, begin, hands.now)
        .await
        .expect("Redis answers")
        .expect("a history");
    let full = &minutes.slots[1];
    assert_eq!((full.start_level, full.end_level), (CROWD, 3));
    assert_eq!((full.ends["expired"], full.grants), (CROWD, 3));
    assert_eq!(full.levels.by_level()[&CROWD], 15_001);
    assert_eq!(minutes.slots[2].high_water_mark, 4);
}
