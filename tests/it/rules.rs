//! The rules of a pool: one file for each.

mod evict;
mod losses;
mod maintenance;
mod model;
mod named;
mod overdraft;
mod platforms;
mod policy;
mod privacy;
mod queue;
mod races;
mod schedule;
mod shared_seats;
mod spellings;
mod tenants;

use crate::harness::Redis;

/// Moves the clock of the pool's bucket to an instant in the future, where it stands until the real one has caught up:
/// now is never before the last sign of life.
pub(crate) async fn jump(redis: &Redis, pool: &str, at_ms: u64) {
    let config = redis.keys(&format!("lh1:*:{pool}:config")).await;
    let [config] = &config[..] else {
        panic!("{config:?}");
    };
    let (bucket, _) = config.split_once(&format!(":{pool}:")).unwrap();
    let clock = format!("{bucket}:clock");
    let _: u64 = redis
        .query(&["HSET", &clock, "tick", &at_ms.to_string()])
        .await;
}

/// The sum of what is reserved and not in use, as Redis keeps it, and the sum over all tenants.
async fn sum_of_reserves_is_true(
    redis: &Redis,
    prefix: &str,
    seats: &std::collections::BTreeMap<String, usize>,
) {
    let config = format!("{prefix}config");
    let (reserves, version): (Option<String>, String) = redis
        .query(&["HMGET", &config, "reserves", "version"])
        .await;
    let (Some(reserves), Some(kept)) = (reserves, seats.get("unmet")) else {
        return;
    };
    if seats["unmet_of"].to_string() != version {
        // It is made anew by the next one who needs it.
        return;
    }
    let reserves: Vec<(String, usize)> = serde_json::from_str(&reserves).expect("pairs");
    let unmet = reserves.iter().map(|(tenant, reserved)| {
        assert_eq!(
            seats.get(&format!("r:{tenant}")),
            Some(reserved),
            "{tenant}"
        );
        let used = seats.get(&format!("t:{tenant}")).copied().unwrap_or(0);
        reserved.saturating_sub(used)
    });
    assert_eq!(
        *kept,
        unmet.sum::<usize>(),
        "reserved seats that are not in use"
    );
}

/// What the index of a pool must be, worked out from the truth, beside what it is: leases, and seats by field.
pub(crate) async fn index_is_true(redis: &Redis, pool: &str, per_holder: bool) {
    use std::collections::{BTreeMap, BTreeSet};
    let config = redis.keys(&format!("lh1:*:{pool}:config")).await;
    let prefix = config[0].trim_end_matches("config").to_owned();
    let leases: BTreeSet<String> = redis
        .query(&["ZRANGE", &format!("{prefix}leases"), "0", "-1"])
        .await;
    let who: BTreeMap<String, String> = redis.query(&["HGETALL", &format!("{prefix}who")]).await;
    assert_eq!(
        leases,
        who.keys().cloned().collect(),
        "leases and their index"
    );
    let (mut all, mut tenants): (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>) =
        Default::default();
    for (id, entry) in &who {
        let parts: Vec<_> = entry.split('\u{1}').collect();
        let [kind, _, tenant, holder] = parts[..] else {
            panic!("{entry:?}");
        };
        if kind == "n" {
            continue;
        }
        let seat = if per_holder && !holder.is_empty() {
            format!("holder {holder}")
        } else {
            id.clone()
        };
        all.insert(seat.clone());
        if !tenant.is_empty() {
            tenants
                .entry(format!("t:{tenant}"))
                .or_default()
                .insert(seat);
        }
    }
    let seats: BTreeMap<String, usize> = redis.query(&["HGETALL", &format!("{prefix}seats")]).await;
    assert_eq!(
        seats.get("all").copied().unwrap_or(0),
        all.len(),
        "seats in use"
    );
    sum_of_reserves_is_true(redis, &prefix, &seats).await;
    let counted: BTreeMap<_, _> = seats
        .into_iter()
        .filter(|(field, _)| field.starts_with("t:"))
        .collect();
    let expected: BTreeMap<_, _> = tenants
        .into_iter()
        .map(|(tenant, seats)| (tenant, seats.len()))
        .collect();
    assert_eq!(counted, expected, "seats of tenants");
    // What is known of the use of seats is known of leases that live, and the idle ones are counted.
    let live = async |key: &str| -> BTreeMap<String, i64> {
        let range = ["ZRANGE", &format!("{prefix}{key}"), "0", "-1", "WITHSCORES"];
        let known: BTreeMap<String, i64> = redis.query(&range).await;
        let dead: Vec<_> = known.keys().filter(|id| !leases.contains(*id)).collect();
        assert!(dead.is_empty(), "{key} of leases that ended: {dead:?}");
        known
    };
    live("held").await;
    let unused = live("idle").await;
    let mut is_idle: BTreeMap<String, bool> = BTreeMap::new();
    for (id, entry) in &who {
        let holder = entry.rsplit('\u{1}').next().unwrap_or_default();
        let seat = if per_holder && !holder.is_empty() {
            holder.to_owned()
        } else {
            id.clone()
        };
        *is_idle.entry(seat).or_insert(true) &= unused.contains_key(id);
    }
    let counted: Option<usize> = redis
        .query(&["HGET", &format!("{prefix}seats"), "idle"])
        .await;
    assert_eq!(
        counted.unwrap_or(0),
        is_idle.values().filter(|idle| **idle).count(),
        "idle seats"
    );
}
