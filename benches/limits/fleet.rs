//! What nodes and pools cost in which nothing happens: counts, which are the same on every machine, and Redis's time.

use std::time::{Duration, Instant};

use super::node::{Node, Redis};
use super::population::pools;
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

/// Idle nodes, then idle pools.
pub(crate) async fn fleet() -> Vec<Row> {
    const COMMAND: &str = "INFO stats, total_commands_processed, over 20 s";
    let mut rows = Vec::new();
    let redis = Redis::start().await;
    let store = redis.store().await;
    pools(&store, "idle", 200, 5).await;
    drop(store);
    let mut nodes = Vec::new();
    for (count, most, connections) in [(1, 800.0, 8.0), (4, 1_000.0, 20.0), (16, 1_500.0, 64.0)] {
        say(&format!("{count} idle nodes"));
        while nodes.len() < count {
            nodes.push(Node::start(&redis).await);
        }
        tokio::time::sleep(SETTLED).await;
        let second = second(&redis).await;
        // Ours, which asks.
        let connected = redis.info("clients", "connected_clients").await - 1.0;
        rows.push(goal(
            format!("{count} idle nodes, 200 pools: commands a second"),
            format!(
                "{}; {:.1} % of a core",
                number(second.commands),
                second.busy * 100.0
            ),
            &format!("≤ {}", number(most)),
            second.commands <= most,
            COMMAND,
        ));
        rows.push(goal(
            "their connections to Redis",
            number(connected),
            &format!("≤ {connections}"),
            connected <= connections,
            "INFO clients, connected_clients",
        ));
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
        rows.push(goal(
            format!(
                "one node, {} idle pools: commands a second",
                number(count as f64)
            ),
            format!(
                "{}; {:.1} % of a core",
                number(second.commands),
                second.busy * 100.0
            ),
            &format!("≤ {}", number(most)),
            second.commands <= most,
            COMMAND,
        ));
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
