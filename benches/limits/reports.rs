//! What the history costs: reports over a year, what recording adds to an acquire, and memory.

use std::time::{Duration, Instant};

use leasehold::history::rollup;
use leasehold::names::PoolName;
use leasehold::pool::Policy;
use leasehold::store::{Expect, Store};

use crate::load::{Client, redis_benchmark};
use crate::node::{Node, Redis};
use crate::table::{Row, median, number, ratio};
use crate::{Depth, figure, goal, say};

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
/// A day's leases, so that 35 days have 100 000 of them.
const LEASES: i64 = 2_860;
const SEATS: u32 = 400;
/// Age at which events are dropped.
const KEPT: i64 = 35 * DAY;

pub(crate) async fn reports(depth: Depth) -> Vec<Row> {
    let mut rows = year(depth).await;
    rows.append(&mut recording(depth).await);
    rows.append(&mut memory().await);
    rows
}

/// A year of working days in one pool, written as events and rolled up as nodes do it.
async fn year(depth: Depth) -> Vec<Row> {
    let redis = Redis::start().await;
    let store = redis.store().await;
    let pool: PoolName = "year".parse().expect("a plain name");
    let events = empty_pool(&redis, &store, &pool).await;
    let now = store.clock().await.expect("Redis runs").0;
    say("a year of events");
    let begin = now - 365 * DAY;
    let mut written: Vec<(i64, u64, String)> = vec![(begin, 0, SEATS.to_string())];
    let mut dice = Dice(1);
    for day in 0..365 {
        for number in 0..LEASES {
            // Most work by day; there are more of them from month to month.
            let from = begin + day * DAY + 7 * 60 * MINUTE + dice.below(10 * 60 * MINUTE);
            let until = from + MINUTE + dice.below(90 * MINUTE) + day * 5_000;
            let id = format!("{day}.{number}");
            written.push((from, 1, id.clone()));
            if until < now {
                written.push((until, 2, id));
            }
            if number % 20 == 0 {
                written.push((from, 3, String::new()));
            }
        }
    }
    written.retain(|(at, ..)| *at < now);
    written.sort_unstable();
    let count = written.len();
    let mut connection = redis.connection().await;
    for (part, chunk) in written.chunks(500).enumerate() {
        let mut pipe = redis::pipe();
        for (at, (ms, kind, what)) in chunk.iter().enumerate() {
            let holder = format!("agent-{}", (part * 500 + at) % 3_000);
            let (kind, id, holder, reason) = match kind {
                0 => ("configured", "", "", what.as_str()),
                1 => ("started", what.as_str(), holder.as_str(), ""),
                2 => ("ended", what.as_str(), "", "released"),
                _ => ("denied", "", holder.as_str(), "pool_full"),
            };
            pipe.cmd("XADD")
                .arg(&events)
                .arg(format!("{ms}-{}", part * 500 + at + 1))
                .arg(&["type", kind, "id", id, "at", &ms.to_string()])
                .arg(&["holder", holder, "tenant", "", "reason", reason])
                .ignore();
        }
        let () = pipe
            .query_async(&mut connection)
            .await
            .expect("Redis takes it");
    }
    say("rolling it up");
    let began = Instant::now();
    while rollup::roll_up(&store, &pool, 50_000)
        .await
        .expect("Redis runs")
    {}
    let rolling = began.elapsed().as_secs_f64();
    // Exactly: with `~` Redis drops at most 10 000 events at a time, and the reports would read those of the whole year.
    let () = redis::cmd("XTRIM")
        .arg(&[events.as_str(), "MINID", "=", &(now - KEPT).to_string()])
        .query_async(&mut connection)
        .await
        .expect("Redis runs");

    let node = Node::start(&redis).await;
    let at = |ms: i64| leasehold::time::Timestamp(ms).to_string();
    let month = format!("from={}&to={}", at(now - 30 * DAY), at(now));
    let hourly = ask(&node, depth, &pool, &format!("history?step=hour&{month}")).await;
    let quarters = ask(
        &node,
        depth,
        &pool,
        &format!("history?step=hour&{month}&tz=Asia/Kathmandu"),
    )
    .await;
    let daily = ask(&node, depth, &pool, "usage?days=365").await;
    let patterns = ask(&node, depth, &pool, "patterns").await;
    let sizing = ask(
        &node,
        depth,
        &pool,
        "sizing?price_named=10&price_concurrent=35",
    )
    .await;
    let holders = ask(&node, depth, &pool, "holders").await;
    let tenants = ask(&node, depth, &pool, "tenants").await;
    let hour = format!("from={}", at(now - 3_600_000));
    let lately = ask(&node, depth, &pool, &format!("holders?{hour}")).await;
    let denials = ask(&node, depth, &pool, &format!("denials?limit=1000&{hour}")).await;
    drop(node);
    redis.stop().await;
    let ms = |ms: f64| format!("{ms:.0} ms");
    vec![
        figure(
            &format!(
                "a year of history, {} events, rolled up",
                number(count as f64)
            ),
            format!("{} events/s", number(count as f64 / rolling)),
            "written into the stream, then as nodes do it",
        ),
        goal(
            "30 days by the hour",
            ms(hourly),
            "≤ 100 ms",
            hourly <= 100.0,
            "GET …/history?step=hour&from&to",
        ),
        goal(
            "the same in a zone of quarters, Asia/Kathmandu",
            ms(quarters),
            "≤ 100 ms",
            quarters <= 100.0,
            "with &tz",
        ),
        goal(
            "365 days: usage",
            ms(daily),
            "≤ 100 ms",
            daily <= 100.0,
            "GET …/usage?days=365",
        ),
        goal(
            "28 days: busy hours of the week",
            ms(patterns),
            "≤ 100 ms",
            patterns <= 100.0,
            "GET …/patterns",
        ),
        goal(
            "sizing of 100 000 leases of 35 days, with prices",
            ms(sizing),
            "≤ 2000 ms",
            sizing <= 2_000.0,
            "GET …/sizing?price_named&price_concurrent",
        ),
        figure(
            "holders, tenants of the same 35 days",
            format!("{holders:.0} ms, {tenants:.0} ms"),
            "GET …/holders, …/tenants",
        ),
        figure(
            "holders, denials of the last hour",
            format!("{lately:.0} ms, {denials:.0} ms"),
            "GET …/holders?from, …/denials?from",
        ),
    ]
}

/// The median time of a report, ms.
async fn ask(node: &Node, depth: Depth, pool: &PoolName, report: &str) -> f64 {
    let mut client = Client::connect(node.address).await.expect("the node runs");
    let mut times = Vec::new();
    for _ in 0..2 * depth.rounds + 1 {
        let from = Instant::now();
        let (status, body) = client
            .get(&format!("/v1/pools/{pool}/{report}"))
            .await
            .expect("the node answers");
        times.push(from.elapsed().as_secs_f64() * 1_000.0);
        assert_eq!(status, 200, "{report}: {body}");
    }
    median(&times)
}

/// A pool, and the key of its events, which is empty.
async fn empty_pool(redis: &Redis, store: &Store, pool: &PoolName) -> String {
    store
        .put_pool(pool, &Policy::with_capacity(SEATS), Expect::Any)
        .await
        .expect("Redis runs");
    let events = crate::config_key(redis, pool)
        .await
        .replace(":config", ":events");
    let () = redis::cmd("DEL")
        .arg(&events)
        .query_async(&mut redis.connection().await)
        .await
        .expect("Redis runs");
    events
}

/// What recording adds to an acquire: Redis's processor time for each call of the script as it is, and of the same script
/// without the lines that record.
async fn recording(depth: Depth) -> Vec<Row> {
    let redis = Redis::start().await;
    let store = redis.store().await;
    let pool: PoolName = "open".parse().expect("a plain name");
    let full: PoolName = "full".parse().expect("a plain name");
    for (pool, seats) in [(&pool, 10_000_000), (&full, 0)] {
        store
            .put_pool(pool, &Policy::with_capacity(seats), Expect::Any)
            .await
            .expect("Redis runs");
    }
    let with = leasehold::store::script_text("acquire").expect("a script");
    let cut = |source: &str, from: &str, to: &str| {
        let (before, rest) = source
            .split_once(from)
            .unwrap_or_else(|| panic!("acquire.lua has `{from}`"));
        let (_, after) = rest
            .split_once(to)
            .unwrap_or_else(|| panic!("acquire.lua has `{to}`"));
        format!("{before}{after}")
    };
    let mut without = cut(
        with,
        "  local runs, begun = redis.call('ZCARD', denied)",
        "':' .. code, last - first + 1)\n",
    );
    without = cut(&without, "  end_runs(first, last)", "\n");
    let mut connection = redis.connection().await;
    let mut shas = Vec::new();
    for source in [with, without.as_str()] {
        let sha: String = redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(source)
            .query_async(&mut connection)
            .await
            .expect("Redis takes the script");
        shas.push(sha);
    }

    let (mut granted, mut denied) = ([vec![], vec![]], [vec![], vec![]]);
    let calls = 30_000 * usize::try_from(depth.seconds).expect("some");
    for round in 1..=depth.rounds {
        say(&format!("with and without recording, round {round}"));
        for which in [0, 1] {
            let grant = arguments(&redis, &shas[which], &pool, "agent-7").await;
            granted[which].push(cost(&redis, calls, &grant).await);
            forget(&redis, &pool).await;
            // A crowd of 5 000 that asks again and again.
            let deny = arguments(&redis, &shas[which], &full, "agent-__rand_int__").await;
            denied[which].push(cost(&redis, calls, &deny).await);
        }
    }
    redis.stop().await;
    let row = |what: &str, costs: &[Vec<f64>; 2]| {
        let over = ratio(&costs[0], &costs[1]);
        let (with, without) = (median(&costs[0]) * 1e6, median(&costs[1]) * 1e6);
        goal(
            format!("what recording adds to {what}"),
            format!(
                "{:+.0} % ({without:.1} µs → {with:.1} µs)",
                (over - 1.0) * 100.0
            ),
            "≤ 15 %",
            over <= 1.15,
            "INFO cpu over redis-benchmark -r 5000 EVALSHA; acquire.lua as it is, and without the lines that record",
        )
    };
    vec![
        row("an acquire", &granted),
        row("a denied acquire", &denied),
    ]
}

/// Redis's processor time for one call, in seconds.
async fn cost(redis: &Redis, calls: usize, arguments: &[String]) -> f64 {
    let before = redis.cpu_seconds().await;
    redis_benchmark(redis.socket(), calls, arguments).await;
    (redis.cpu_seconds().await - before) / calls as f64
}

/// The arguments of redis-benchmark for an acquire of a new lease.
async fn arguments(redis: &Redis, sha: &str, pool: &PoolName, holder: &str) -> Vec<String> {
    let config = crate::config_key(redis, pool).await;
    let key = |name: &str| config.replace(":config", &format!(":{name}"));
    let bucket = |name: &str| config.replace(&format!(":{pool}:config"), &format!(":{name}"));
    let keys = [
        bucket("clock"),
        bucket("due"),
        config.clone(),
        key("leases"),
        key("expired"),
        key("events"),
        key("denied"),
        key("blocks"),
        key("records"),
        key("denials"),
        key("block_notes"),
        key("lease:__rand_int__"),
    ];
    let random = if holder.contains("__rand_int__") {
        "5000"
    } else {
        "1000000000"
    };
    let mut arguments: Vec<String> = ["-r", random, "EVALSHA", sha, "12"]
        .map(str::to_owned)
        .to_vec();
    arguments.extend(keys);
    let fields = [
        // One lease of the pool, the margin of records and the life of tombstones, no incarnation and no releases.
        "1",
        pool.as_str(),
        "1200000",
        "86400000",
        "0",
        "0",
        "lease-__rand_int__",
        holder,
        "acme",
        "\u{1}Front desk",
    ];
    arguments.extend(fields.map(str::to_owned));
    arguments
}

/// Takes the leases of a pool away, so that each round begins alike.
pub(crate) async fn forget(redis: &Redis, pool: &PoolName) {
    let config = crate::config_key(redis, pool).await;
    let keys = [":leases", ":records", ":events"].map(|key| config.replace(":config", key));
    let () = redis::cmd("UNLINK")
        .arg(&keys)
        .query_async(&mut redis.connection().await)
        .await
        .expect("Redis answers");
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Memory of a pool that is busy in every minute: a start and an end every six seconds, for 40 days, around 50 of 100 seats.
async fn memory() -> Vec<Row> {
    let redis = Redis::start().await;
    let store = redis.store().await;
    let pool: PoolName = "busy".parse().expect("a plain name");
    let events = empty_pool(&redis, &store, &pool).await;
    let now = store.clock().await.expect("Redis runs").0;
    say("a pool that is busy in every minute");
    let mut connection = redis.connection().await;
    let mut dice = Dice(3);
    let mut live: Vec<u64> = Vec::new();
    let (mut at, mut next) = (now - 40 * DAY, 0_u64);
    let mut pipe = redis::pipe();
    let mut waiting = 0;
    // What MEMORY USAGE says of a stream is a third too much where its blocks are small.
    let without = redis.memory().await;
    while at < now {
        at += 1 + dice.below(6_000);
        let comes = live.len() < 30 || live.len() < 70 && dice.below(2) == 0;
        let (kind, number, holder, reason) = if comes {
            next += 1;
            live.push(next);
            ("started", next, "agent-1234", "")
        } else {
            let place = dice.below(i64::try_from(live.len()).expect("few"));
            (
                "ended",
                live.swap_remove(usize::try_from(place).expect("small")),
                "",
                "released",
            )
        };
        pipe.cmd("XADD")
            .arg(&events)
            .arg(format!("{at}-1"))
            .arg(&[
                "type",
                kind,
                "id",
                &format!("{number:021}A"),
                "at",
                &at.to_string(),
            ])
            .arg(&["holder", holder, "tenant", "", "reason", reason])
            .ignore();
        waiting += 1;
        if waiting == 500 || now <= at {
            let () = pipe
                .query_async(&mut connection)
                .await
                .expect("Redis takes it");
            pipe = redis::pipe();
            waiting = 0;
        }
    }
    let with = redis.memory().await;
    while rollup::roll_up(&store, &pool, 50_000)
        .await
        .expect("Redis runs")
    {}

    let usage = |key: String| {
        let mut connection = connection.clone();
        async move {
            let bytes: f64 = redis::cmd("MEMORY")
                .arg(&["USAGE", &key, "SAMPLES", "0"])
                .query_async(&mut connection)
                .await
                .expect("Redis answers");
            bytes
        }
    };
    let length: f64 = redis::cmd("XLEN")
        .arg(&events)
        .query_async(&mut connection.clone())
        .await
        .expect("Redis answers");
    let event = (with - without) / length;
    let (mut figures, mut whole) = (Vec::new(), 0.0);
    for (step, kept) in [
        ("minutes", 2_880.0),
        ("quarters", 3_360.0),
        ("hours", 840.0),
        ("days", 800.0),
    ] {
        let keys: Vec<String> = redis::cmd("KEYS")
            .arg(events.replace(":events", &format!(":{step}:*")))
            .query_async(&mut connection.clone())
            .await
            .expect("Redis answers");
        let (mut bytes, mut slots) = (0.0, 0.0);
        for key in keys {
            let count: f64 = redis::cmd("HLEN")
                .arg(&key)
                .query_async(&mut connection.clone())
                .await
                .expect("Redis answers");
            slots += count;
            bytes += usage(key).await;
        }
        let each = bytes / slots;
        whole += each * kept;
        figures.push(format!("{each:.0}"));
    }
    redis.stop().await;
    vec![
        figure(
            "memory of an event",
            format!("{event:.0} bytes"),
            "INFO memory, used_memory, before and after, over XLEN; ids and names as in production",
        ),
        figure(
            "memory of a slot: minute, quarter, hour, day",
            format!("{} bytes", figures.join(", ")),
            "MEMORY USAGE over HLEN; 20 events a minute, 30 to 70 of 100 seats",
        ),
        figure(
            "all slots of such a pool, when it is older than 800 days",
            format!("{:.1} MB", whole / 1e6),
            "2 880 minutes, 3 360 quarters, 840 hours, 800 days",
        ),
    ]
}

/// Random, and the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).cast_signed() % bound
    }
}
