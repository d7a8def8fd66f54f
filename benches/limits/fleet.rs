//! What nodes and pools cost in which nothing happens, and what heartbeats cost that many nodes carry: counts, which are the same on
//! every machine, and Redis's time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::load::steady;
use super::node::{Node, Redis};
use super::population::{Population, pools};
use super::table::{Row, number};
use super::{goal, say};

/// How long nothing happens before it is counted: longer than idle connections are kept.
const SETTLED: Duration = Duration::from_secs(70);
const COUNTED: Duration = Duration::from_secs(20);

/// What Redis did in a second.
struct Second {
    commands: f64,
    /// Part of a core.
    busy: f64,
}

async fn second(redis: &Redis) -> Second {
    let commands = async || redis.info("stats", "total_commands_processed").await;
    let (since, before, busy) = (Instant::now(), commands().await, redis.cpu_seconds().await);
    tokio::time::sleep(COUNTED).await;
    let seconds = since.elapsed().as_secs_f64();
    Second {
        commands: (commands().await - before) / seconds,
        busy: (redis.cpu_seconds().await - busy) / seconds,
    }
}

/// A row for what Redis did.
fn commands(what: String, second: &Second, most: f64) -> Row {
    let (count, busy) = (number(second.commands), second.busy * 100.0);
    goal(
        what,
        format!("{count}; {busy:.1} % of a core"),
        &format!("≤ {}", number(most)),
        second.commands <= most,
        "INFO stats, total_commands_processed, over 20 s",
    )
}

/// Scripts that Redis has run.
async fn scripts(redis: &Redis) -> f64 {
    let mut connection = redis.connection().await;
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut connection)
        .await
        .expect("Redis runs");
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let calls = calls.and_then(|rest| rest.split(',').next());
    calls.map_or(0.0, |calls| calls.parse().expect("a number"))
}

/// Heartbeats a second over all nodes together, and leases that they are for.
const RATE: f64 = 5_000.0;
const LEASES: usize = 20_000;

/// What heartbeats cost Redis that come to these nodes evenly, besides what idle nodes do.
async fn heartbeats(redis: &Redis, nodes: &[Node], mut leases: Population) -> (Row, f64) {
    leases.renew().await;
    let tokens = Arc::new(leases.tokens());
    drop(leases);
    let addresses: Vec<SocketAddr> = nodes.iter().map(|node| node.address).collect();
    let counted = async || (scripts(redis).await, redis.cpu_seconds().await);
    let (idle, since) = (counted().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, seconds) = (counted().await, since.elapsed().as_secs_f64());
    let begun = Instant::now();
    let (times, rate) = steady(&addresses, &tokens, RATE, Duration::from_secs(10)).await;
    let (after, share) = (counted().await, begun.elapsed().as_secs_f64() / seconds);
    let renews = times.len() as f64;
    let calls = (after.0 - before.0 - (before.0 - idle.0) * share) / renews;
    let cost = (after.1 - before.1 - (before.1 - idle.1) * share) / renews;
    let p50_ms = f64::from(times[times.len() / 2]) / 1_000.0;
    let row = goal(
        format!(
            "{} nodes, {} heartbeats a second in all: `EVALSHA` a heartbeat",
            nodes.len(),
            number(rate)
        ),
        format!(
            "{calls:.2}; {:.1} µs of Redis; p50 {p50_ms:.1} ms",
            cost * 1e6
        ),
        "≤ 0.5, p50 ≤ 15 ms; from 16 nodes on",
        nodes.len() < 16 || (calls <= 0.5 && p50_ms <= 15.0),
        "INFO commandstats and cpu, without what the same nodes do when idle; 256 connections of this program, each beat at its time",
    );
    (row, cost)
}

/// Idle nodes, then idle pools.
pub(crate) async fn fleet() -> Vec<Row> {
    let mut rows = Vec::new();
    let redis = Redis::start().await;
    let store = redis.store().await;
    let idle = pools(&store, "idle", 200, 200).await;
    drop(store);
    let (mut nodes, mut alone) = (Vec::new(), 0.0);
    for (count, most, connections) in [
        (1, 800.0, 8.0),
        (4, 1_000.0, 20.0),
        (16, 1_500.0, 64.0),
        (64, 4_000.0, 256.0),
    ] {
        say(&format!("{count} idle nodes"));
        while nodes.len() < count {
            nodes.push(Node::start(&redis).await);
        }
        tokio::time::sleep(SETTLED).await;
        let second = second(&redis).await;
        // Ours, which asks.
        let connected = redis.info("clients", "connected_clients").await - 1.0;
        let what = format!("{count} idle nodes, 200 pools: commands a second");
        rows.push(commands(what, &second, most));
        rows.push(goal(
            "their connections to Redis",
            number(connected),
            &format!("≤ {connections}"),
            connected <= connections,
            "INFO clients, connected_clients",
        ));
        // Those of the round before have expired.
        let leases = Population::acquire(&redis.store().await, &idle, LEASES).await;
        let (row, cost) = heartbeats(&redis, &nodes, leases).await;
        rows.push(row);
        if count == 1 {
            alone = cost;
        } else {
            rows.push(goal(
                "Redis's time for a heartbeat, against one node",
                format!("{:.2}", cost / alone),
                "≤ 1.5",
                cost / alone <= 1.5,
                "the same",
            ));
        }
    }
    drop(nodes);
    redis.stop().await;

    let redis = Redis::start().await;
    let store = redis.store().await;
    let before = redis.memory().await;
    for (count, most) in [(1_000_usize, 800.0), (10_000, 800.0)] {
        say(&format!("{count} idle pools"));
        pools(&store, &format!("of-{count}"), count, 5).await;
        let each = (redis.memory().await - before) / count as f64;
        let node = Node::start(&redis).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let second = second(&redis).await;
        drop(node);
        let pools = number(count as f64);
        let what = format!("one node, {pools} idle pools: commands a second");
        rows.push(commands(what, &second, most));
        if count == 1_000 {
            rows.push(goal(
                "Redis memory for an idle pool",
                format!("{} bytes", number(each)),
                "≤ 2 000",
                each <= 2_000.0,
                "INFO memory, used_memory, before and after",
            ));
        }
    }
    drop(store);
    redis.stop().await;
    rows
}
