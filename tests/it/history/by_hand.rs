//! The clock of a pool in the hands of a test, and the slots of its history, counted by hand.
//!
//! A script's *now* is never before the `tick` of its bucket's clock, so whoever sets that tick sets the time: a day
//! passes in seconds. From there time goes on, but where it is [`held`]. Everything else is as ever: nodes, HTTP, scripts, sweeps and roll-ups. What these record is held against
//! a count from the raw events that shares no line with `src/history`.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::future::join_all;
use leasehold::history::rollup;
use leasehold::history::slot::Step;
use leasehold::names::PoolName;
use leasehold::store::Store;
use serde_json::json;

use crate::harness::{Client, Installation, Launch, PATIENCE, Proxy, Redis};

pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;
/// The way to a Redis on which the time of a pool stands still between the hands' moves, and its address: scripts forget by how
/// much they are ahead of the server's clock.
pub(crate) fn held(redis: &Redis) -> (Proxy, String) {
    let mut proxy = Proxy::start(redis.address());
    proxy.replace("now = instant + shift", "now = instant + 0    ");
    let url = redis.url_through(&proxy);
    (proxy, url)
}

/// Two nodes on such a Redis, with these settings.
pub(crate) async fn held_cluster(settings: &[(&str, &str)]) -> (Installation, Proxy, String) {
    let redis = Redis::start().await;
    let (proxy, url) = held(&redis);
    let launches = (0..2).map(|_| {
        let launch = Launch::on(&url);
        settings
            .iter()
            .fold(launch, |launch, (name, value)| launch.set(name, value))
            .start()
    });
    let nodes = join_all(launches).await;
    (Installation { nodes, redis }, proxy, url)
}

/// What time it is for the scripts of a pool, and for the ids of its events.
pub(crate) struct Hands {
    pub(super) connection: redis::aio::MultiplexedConnection,
    clock: String,
    pub(super) events: String,
    pub(crate) now: i64,
}

impl Hands {
    /// Takes the hands of a pool's clock, before the pool is made.
    pub(crate) async fn take(redis: &Redis, pool: &str, now: i64) -> Self {
        // Any key of the pool shows its bucket.
        let bucket = bucket_of(pool);
        let client = redis::Client::open(redis.direct_url()).expect("an address");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("a connection");
        connection.set_response_timeout(PATIENCE);
        let events = format!("lh1:{{{bucket}}}:{pool}:events");
        // A stream whose next entry gets this time, and in which there is nothing yet.
        let first = format!("{now}-1");
        let () = redis::pipe()
            .cmd("XADD")
            .arg(&[&events, &first, "type", "none"])
            .cmd("XDEL")
            .arg(&[&events, &first])
            .query_async(&mut connection)
            .await
            .expect("an empty stream");
        let mut hands = Self {
            connection,
            clock: format!("lh1:{{{bucket}}}:clock"),
            events,
            now: now - 1,
        };
        hands.pass(1).await;
        hands
    }

    pub(crate) async fn pass(&mut self, ms: i64) {
        if ms == 0 {
            return;
        }
        self.now += ms;
        let () = redis::pipe()
            .atomic()
            .cmd("HSET")
            .arg(&self.clock)
            .arg("tick")
            .arg(self.now)
            .cmd("XSETID")
            .arg(&self.events)
            .arg(format!("{}-2", self.now))
            .query_async(&mut self.connection)
            .await
            .expect("the clock is set");
    }
}

/// CRC16 of the name modulo 32, as `lua/README.md` says.
fn bucket_of(pool: &str) -> u16 {
    let mut crc = 0_u16;
    for byte in pool.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    crc % 32
}

/// What a slot has to be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    start_level: u64,
    end_level: u64,
    capacity: u64,
    high_water_mark: u64,
    seat_ms: u64,
    levels_ms: BTreeMap<u64, u64>,
    full_ms: u64,
    grants: u64,
    resumes: u64,
    ends: BTreeMap<String, u64>,
    denials: BTreeMap<String, u64>,
    raw_denials: BTreeMap<String, u64>,
}

/// A raw event of the stream.
struct Raw {
    at: i64,
    kind: String,
    id: String,
    reason: String,
    seats: Option<u64>,
}

async fn raw_events(hands: &mut Hands) -> Vec<Raw> {
    let mut entries: Vec<(String, HashMap<String, String>)> = Vec::new();
    loop {
        let after = entries
            .last()
            .map_or("-".to_owned(), |(id, _)| format!("({id}"));
        let part: Vec<(String, HashMap<String, String>)> = redis::cmd("XRANGE")
            .arg(&[hands.events.as_str(), &after, "+", "COUNT", "2000"])
            .query_async(&mut hands.connection)
            .await
            .expect("events");
        if part.is_empty() {
            break;
        }
        entries.extend(part);
    }
    let mut raw: Vec<Raw> = entries
        .into_iter()
        .map(|(_, mut fields)| Raw {
            at: fields["at"].parse().expect("milliseconds"),
            kind: fields.remove("type").expect("a type"),
            id: fields.remove("id").expect("an id"),
            reason: fields.remove("reason").expect("a reason"),
            seats: fields
                .get("seats")
                .map(|seats| seats.parse().expect("a number")),
        })
        .collect();
    // In the order of their instants; of one instant in the order in which they were written.
    raw.sort_by_key(|event| event.at);
    raw
}

/// A point of the history after which something is as it is until the next.
struct Point {
    at: i64,
    level: u64,
    capacity: u64,
    is_start: bool,
}

/// Follows the leases one by one.
fn follow(raw: &[Raw]) -> Vec<Point> {
    // Lease -> the seats that are in use because of it, where the event has them.
    let mut live: HashSet<&str> = HashSet::new();
    let (mut level, mut capacity) = (0, 0);
    raw.iter()
        .map(|event| {
            let is_start = matches!(event.kind.as_str(), "started" | "resumed" | "rebuilt");
            if is_start {
                assert!(live.insert(&event.id), "{} starts twice", event.id);
                level += event.seats.unwrap_or(1);
            } else if event.kind == "ended" {
                assert!(live.remove(event.id.as_str()), "{} ends twice", event.id);
                level -= event.seats.unwrap_or(1);
            } else if event.kind == "configured" {
                capacity = event.reason.parse().expect("seats");
            }
            Point {
                at: event.at,
                level,
                capacity,
                is_start,
            }
        })
        .collect()
}

pub(super) fn ms(length: i64) -> u64 {
    u64::try_from(length).expect("time goes on")
}

/// What happened in a stretch of time, by looking at each event of all.
fn count(raw: &[Raw], points: &[Point], told: &[(i64, String)], from: i64, until: i64) -> Counted {
    let mut slot = Counted::default();
    let (mut since, mut level, mut capacity) = (from, 0, 0);
    let mut stay = |slot: &mut Counted, until: i64, level: u64, capacity: u64| {
        if since < until {
            let length = ms(until - since);
            slot.seat_ms += level * length;
            *slot.levels_ms.entry(level).or_default() += length;
            slot.high_water_mark = slot.high_water_mark.max(level);
            if capacity > 0 && capacity <= level {
                slot.full_ms += length;
            }
            since = until;
        }
    };
    for point in points.iter().take_while(|point| point.at < until) {
        stay(&mut slot, point.at, level, capacity);
        (level, capacity) = (point.level, point.capacity);
        if point.at < from {
            slot.start_level = level;
        } else if point.is_start {
            slot.high_water_mark = slot.high_water_mark.max(level);
        }
    }
    stay(&mut slot, until, level, capacity);
    (slot.end_level, slot.capacity) = (level, capacity);
    for event in raw
        .iter()
        .filter(|event| from <= event.at && event.at < until)
    {
        let add = |counts: &mut BTreeMap<String, u64>| {
            *counts.entry(event.reason.clone()).or_default() += 1;
        };
        match event.kind.as_str() {
            "started" => slot.grants += 1,
            "resumed" | "rebuilt" => slot.resumes += 1,
            "ended" => add(&mut slot.ends),
            "denied" => add(&mut slot.denials),
            _ => {}
        }
    }
    for (_, code) in told.iter().filter(|(at, _)| from <= *at && *at < until) {
        *slot.raw_denials.entry(code.clone()).or_default() += 1;
    }
    slot
}

/// Holds every slot of every step against a count by hand, and the same over HTTP.
pub(super) async fn every_slot_is_right(
    store: &Store,
    node: &Client,
    pool: &PoolName,
    hands: &mut Hands,
    told: &[(i64, String)],
) {
    let raw = raw_events(hands).await;
    let points = follow(&raw);
    let (began, now) = (raw[0].at - 1, hands.now);
    for (step, length, word) in [
        (Step::Minute, MINUTE, Some("minute")),
        (Step::Quarter, 15 * MINUTE, None),
        (Step::Hour, HOUR, Some("hour")),
        (Step::Day, DAY, Some("day")),
    ] {
        let found = rollup::slots(store, pool, step, began, now)
            .await
            .expect("Redis answers")
            .expect("a history");
        assert_eq!(found.first, began.div_euclid(length), "{step:?}");
        let last = (now - 1).div_euclid(length);
        assert_eq!(
            found.first + i64::try_from(found.slots.len()).unwrap() - 1,
            last
        );
        let mut expected = Vec::new();
        for (number, slot) in (found.first..).zip(&found.slots) {
            let from = (number * length).max(began);
            let until = ((number + 1) * length).min(now);
            let right = count(&raw, &points, told, from, until);
            let recorded = Counted {
                start_level: slot.start_level,
                end_level: slot.end_level,
                capacity: slot.capacity,
                high_water_mark: slot.high_water_mark,
                seat_ms: slot.seat_ms,
                levels_ms: slot.levels.by_level(),
                full_ms: slot.levels.at_least_ms(100),
                grants: slot.grants,
                resumes: slot.resumes,
                ends: slot.ends.clone(),
                denials: slot.denials.clone(),
                raw_denials: slot.raw_denials.clone(),
            };
            assert_eq!(recorded, right, "{step:?} from {from} to {until}");
            assert_eq!(slot.gap_ms, 0, "{step:?} from {from}");
            expected.push(right);
        }
        let Some(word) = word else { continue };
        let path = format!(
            "/v1/pools/{pool}/history?step={word}&from={}",
            leasehold::time::Timestamp(began)
        );
        let answer = node.get(&path).expect(200).await;
        let items = answer.list("items");
        assert_eq!(items.len(), expected.len(), "{word}");
        for (item, right) in items.iter().zip(expected) {
            let shown = json!({
                "capacity": item["capacity"], "high_water_mark": item["high_water_mark"], "full_ms": item["full_ms"],
                "levels_ms": item["levels_ms"], "grants": item["grants"], "ends": item["ends"], "resumes": item["resumes"],
                "denials": item["denials"], "raw_denials": item["raw_denials"],
            });
            let right = json!({
                "capacity": right.capacity, "high_water_mark": right.high_water_mark, "full_ms": right.full_ms,
                "levels_ms": right.levels_ms, "grants": right.grants, "ends": right.ends, "resumes": right.resumes,
                "denials": right.denials, "raw_denials": right.raw_denials,
            });
            assert_eq!(shown, right, "{word} {}", item["from"]);
        }
    }
}
