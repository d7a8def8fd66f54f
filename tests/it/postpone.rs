//! A pool whose holders beat is looked at once in a TTL, and not swept.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Installation, Node, Redis, Scrape, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// The keys of the pool `crm`, and of its bucket.
struct Keys {
    due: String,
    pool: String,
}

impl Keys {
    async fn find(redis: &Redis) -> Self {
        let config = redis.keys("*:crm:config").await.remove(0);
        let pool = config.replace("config", "");
        Self {
            due: pool.replace("crm:", "due"),
            pool,
        }
    }

    fn of_pool(&self, name: &str) -> String {
        format!("{}{name}", self.pool)
    }

    /// Has the next tick find that the pool is due, and waits until it has been looked at. Returns what its bound is then.
    async fn look(&self, redis: &Redis) -> Option<i64> {
        redis.query::<()>(&["ZADD", &self.due, "1", "crm"]).await;
        let bound = async || {
            redis
                .query::<Option<i64>>(&["ZSCORE", &self.due, "crm"])
                .await
        };
        wait_until("the pool was looked at", PATIENCE, async || {
            bound().await != Some(1)
        })
        .await;
        bound().await
    }
}

/// Waits until the node has called a script this often.
async fn called(node: &Node, script: &str, times: f64) {
    wait_until(script, PATIENCE, async || {
        calls(node, script).await >= times
    })
    .await;
}

/// How often the node has called a script.
async fn calls(node: &Node, script: &str) -> f64 {
    let scrape = Scrape::of(node).await;
    let name = "leasehold_store_request_duration_seconds_count";
    scrape.get(name, &[("script", script)]).unwrap_or(0.0)
}

#[tokio::test]
async fn a_pool_in_which_nothing_is_due_is_not_swept() {
    let cluster = Installation::one().await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    node.acquire("crm", json!({}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;
    let keys = Keys::find(redis).await;

    let bound = keys.look(redis).await;

    let earliest: Vec<String> = redis
        .query(&["ZRANGE", &keys.of_pool("leases"), "0", "0", "WITHSCORES"])
        .await;
    assert_eq!(bound, Some(earliest[1].parse().expect("an instant")));
    called(node, "postpone", 1.0).await;
    assert_eq!(calls(node, "sweep").await, 0.0);
    node.renew(&lease.token(), 200).await;
    assert_eq!(redis.balance("crm").await, (2, 2));
}

#[tokio::test]
async fn what_is_too_old_goes_without_a_sweep() {
    let cluster = Installation::one().await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let keys = Keys::find(redis).await;
    let (events, blocks) = (keys.of_pool("events"), keys.of_pool("blocks"));
    // Redis drops whole blocks of a stream only; these are several.
    redis.query::<()>(&["DEL", &events]).await;
    const WRITE: &str = r"
        for number = 0, 499 do
          redis.call('XADD', KEYS[1], '1000-' .. number, 'type', 'denied', 'at', '1000')
        end";
    redis.query::<()>(&["EVAL", WRITE, "1", &events]).await;
    redis
        .query::<()>(&["ZADD", &blocks, "1000", "ann", "99999999999999", "bob"])
        .await;
    node.acquire("crm", json!({}), 201).await;

    assert!(keys.look(redis).await.is_some());

    assert_eq!(calls(node, "sweep").await, 0.0);
    let left: i64 = redis.query(&["XLEN", &events]).await;
    assert!(left < 200, "{left} events");
    let blocked: Vec<String> = redis.query(&["ZRANGE", &blocks, "0", "-1"]).await;
    assert_eq!(blocked, ["bob"]);
}

#[tokio::test]
async fn where_there_is_something_to_do_a_sweep_follows() {
    let cluster = Installation::one().await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;
    let keys = Keys::find(redis).await;
    assert_eq!(calls(node, "sweep").await, 0.0);

    // A holder that is denied for two minutes is a true denial.
    let denied = keys.of_pool("denied");
    redis.query::<()>(&["ZADD", &denied, "1000", "ann"]).await;
    keys.look(redis).await;
    assert_eq!(redis.query::<i64>(&["ZCARD", &denied]).await, 0);
    called(node, "sweep", 1.0).await;

    // An end that no record has yet.
    let expired = keys.of_pool("expired");
    redis
        .query::<()>(&["ZADD", &expired, "1000", "kP0oJ0s1TtaC5Zq2V0w7xg"])
        .await;
    keys.look(redis).await;
    wait_until("the end is stamped", PATIENCE, async || {
        redis.query::<i64>(&["ZCARD", &expired]).await == 0
    })
    .await;
    called(node, "sweep", 2.0).await;

    // Rules have instants of their own.
    let rules = json!({"overdraft": {"seats": 1, "seat_minutes_per_day": 3}});
    node.patch_pool("crm", rules, 200).await;
    keys.look(redis).await;
    called(node, "sweep", 3.0).await;

    // The last lease goes, and with it the bound.
    node.release(&lease.token(), 204).await;
    assert_eq!(keys.look(redis).await, None);
}
