//! Background work is done once, whatever the number of nodes, and goes on when the node that does it dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;

use futures_util::future::join_all;

use crate::harness::{Installation, Launch, Node, Redis, Scrape, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// Which of the nodes does the work of each bucket, by the place of the node.
async fn owners(nodes: &[&Node]) -> BTreeMap<u64, usize> {
    let listed = nodes[0].get("/v1/nodes").expect(200).await;
    let mut owners = BTreeMap::new();
    for item in listed.list("items") {
        let place = nodes
            .iter()
            .position(|node| item["address"] == node.address());
        for bucket in item["owned_buckets"].as_array().expect("a list") {
            owners.extend(place.map(|place| (bucket.as_u64().expect("a number"), place)));
        }
    }
    owners
}

/// Waits until these nodes share the buckets among themselves, each with some. Of ten nodes one in thirty may have none.
async fn shared(nodes: &[&Node]) {
    let spare = if nodes.len() > 4 { nodes.len() / 3 } else { 0 };
    wait_until("each node has its buckets", PATIENCE, async || {
        let owners = owners(nodes).await;
        let own: BTreeSet<&usize> = owners.values().collect();
        owners.len() == 32 && own.len() + spare >= nodes.len()
    })
    .await;
}

/// A number of INFO.
fn number(info: &str, name: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|text| text.trim().parse().ok()).expect(name)
}

/// Commands that Redis has run, those of scripts among them.
async fn commands(redis: &Redis) -> u64 {
    let info: String = redis.query(&["INFO", "stats"]).await;
    number(&info, "total_commands_processed:")
}

/// Waits until Redis has to run fewer commands a second: what was just made is read for a while.
async fn settles(redis: &Redis, bound: f64) {
    wait_until("Redis has little to do", PATIENCE, async || {
        let (since, before) = (Instant::now(), commands(redis).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let done = commands(redis).await - before;
        (done as f64) < bound * since.elapsed().as_secs_f64()
    })
    .await;
}

async fn calls(redis: &Redis, command: &str) -> u64 {
    let info: String = redis.query(&["INFO", "commandstats"]).await;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    let count = line.and_then(|rest| rest.split(',').next());
    count.map_or(0, |count| count.parse().expect("a number"))
}

/// The bucket of a pool.
async fn bucket_of(redis: &Redis, pool: &str) -> u64 {
    let keys = redis.keys(&format!("lh1:{{*}}:{pool}:config")).await;
    let bucket = keys[0].split(['{', '}']).nth(1).expect("a bucket");
    bucket.parse().expect("a number")
}

#[tokio::test]
async fn the_tenth_idle_node_costs_redis_little_more_than_the_second() {
    let redis = Redis::start_alone().await;
    let mut nodes: Vec<Node> = Vec::new();
    for size in [1, 3, 10] {
        let loaded = calls(&redis, "script|load").await;
        let new = (nodes.len()..size).map(|_| Launch::on(&redis.url()).start());
        let count = new.len() as u64;
        nodes.extend(join_all(new).await);
        if size == 1 {
            for n in 0..20 {
                let pool = format!("p{n}");
                nodes[0].put_pool(&pool, json!({"capacity": 5}), 201).await;
            }
        } else {
            // One of them tries whether the user may load a script; nobody loads what is there.
            let loaded = calls(&redis, "script|load").await - loaded;
            assert!(
                loaded <= 2 * count,
                "{loaded} scripts loaded by {count} nodes"
            );
        }
        let all: Vec<&Node> = nodes.iter().collect();
        shared(&all).await;
        settles(&redis, BASE + 40.0 * size as f64).await;
        let info: String = redis.query(&["INFO", "clients"]).await;
        let clients = number(&info, "connected_clients:");
        assert!(
            clients <= 6 * size as u64 + 4,
            "{size} nodes: {clients} connections"
        );
    }
    heartbeats_gather(&nodes[9]).await;
}

/// Heartbeats that come to one of many nodes wait a moment for others, and share calls of Redis.
async fn heartbeats_gather(node: &Node) {
    node.put_pool("beats", json!({"capacity": 50, "ttl_ms": 60_000}), 201)
        .await;
    let leases = join_all((0..40).map(|_| node.acquire("beats", json!({}), 201))).await;
    let tokens: Vec<String> = leases.iter().map(|lease| lease.token()).collect();
    let counted = async || {
        let scrape = Scrape::of(node).await;
        ["count", "sum"].map(|what| {
            let name = format!("leasehold_renewals_per_call_{what}");
            scrape.get(&name, &[]).unwrap_or(0.0)
        })
    };
    let before = counted().await;
    let beats = tokens.iter().enumerate().map(async |(n, token)| {
        tokio::time::sleep(Duration::from_millis(2 * n as u64)).await;
        node.renew(token, 200).await
    });
    join_all(beats).await;
    let after = counted().await;
    assert_eq!(after[1] - before[1], 40.0);
    assert!(
        after[0] - before[0] <= 20.0,
        "{} calls for 40 heartbeats",
        after[0] - before[0]
    );

    let requests = tokens.chunks(2).map(|two| {
        let two: Vec<&str> = two.iter().map(String::as_str).collect();
        async move { node.renew_many(&two, 200).await }
    });
    join_all(requests).await;
    let requests = counted().await;
    assert_eq!(requests[1] - after[1], 40.0);
    assert!(
        requests[0] - after[0] <= 10.0,
        "{} calls for 20 requests with two heartbeats each",
        requests[0] - after[0]
    );
}

/// What the work of all buckets takes, commands a second.
const BASE: f64 = 300.0;

#[tokio::test]
async fn a_pool_in_which_nothing_happens_costs_nothing_but_its_memory() {
    const POOLS: u64 = 300;
    let redis = Redis::start_alone().await;
    let node = Launch::on(&redis.url()).start().await;
    shared(&[&node]).await;
    let memory = async || {
        let info: String = redis.query(&["INFO", "memory"]).await;
        number(&info, "used_memory_dataset:")
    };
    let before = memory().await;
    let pools: Vec<String> = (0..POOLS).map(|n| format!("pool-{n}")).collect();
    for some in pools.chunks(20) {
        let puts = some
            .iter()
            .map(|pool| node.put_pool(pool, json!({"capacity": 5}), 201));
        join_all(puts).await;
    }
    let _: () = redis.query(&["MEMORY", "PURGE"]).await;
    let each = (memory().await - before) / POOLS;
    assert!(
        each <= 2_500,
        "{each} bytes a pool, with what the audit has of it"
    );
    settles(&redis, BASE + 40.0).await;
    assert!(redis.keys("lh1:{*}:pool-*:alerts").await.is_empty());
    // The first lease is noticed.
    node.put_pool("pool-0", json!({"capacity": 1}), 200).await;
    node.acquire("pool-0", json!({}), 201).await;
    wait_until("the alert", PATIENCE, async || {
        is_full(&node, "pool-0").await
    })
    .await;
}

/// Whether the pool is full, as alerts say.
async fn is_full(node: &Node, pool: &str) -> bool {
    let answer = node.get("/v1/alerts").expect(200).await;
    let mut current = answer.list("current").iter();
    current.any(|alert| alert["type"] == "pool.full" && alert["pool"] == pool)
}

/// Scripts of earlier versions do not note that something has happened in a pool.
#[tokio::test]
async fn what_nodes_of_an_earlier_version_do_is_evaluated_too() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 1}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;
    wait_until("the alert", PATIENCE, async || is_full(node, "crm").await).await;
    node.release(&lease.token(), 204).await;
    wait_until("its end", PATIENCE, async || !is_full(node, "crm").await).await;

    let events = redis.keys("lh1:*:crm:events").await.remove(0);
    let leases = events.replace(":events", ":leases");
    let now = node.get("/v1/nodes").expect(200).await;
    let sign = json!({"id": "old", "version": "0.0.9", "host": "h", "address": "127.0.0.1:1", "started_at_ms": 1});
    let time: Vec<String> = redis.query(&["TIME"]).await;
    let later = format!("{}000", time[0].parse::<u64>().expect("seconds") + 60);
    let at = format!("{}000", time[0]);
    assert_eq!(now.list("items").len(), 1);
    let _: i64 = redis
        .query(&["ZADD", "lh1:{nodes}:signs", &at, &sign.to_string()])
        .await;
    let id = "AAAAAAAAAAAAAAAAAAAAAA";
    let _: i64 = redis.query(&["ZADD", &leases, &later, id]).await;
    let _: String = redis
        .query(&[
            "XADD", &events, "*", "type", "started", "id", id, "at", &at, "holder", "", "tenant",
            "", "reason", "",
        ])
        .await;
    wait_until("the alert", Duration::from_secs(60), async || {
        is_full(node, "crm").await
    })
    .await;
}

#[tokio::test]
async fn an_end_is_recorded_and_no_outage_seen_when_its_owner_is_killed_or_frozen() {
    let cluster = Installation::start(3).await;
    let nodes: Vec<&Node> = cluster.nodes.iter().collect();
    let pools = ["crm", "cad", "erp", "cms"];
    for pool in pools {
        nodes[0]
            .put_pool(pool, json!({"capacity": 5, "ttl_ms": 2_000}), 201)
            .await;
    }
    shared(&nodes).await;
    let owned = owners(&nodes).await;
    let mut of: Vec<usize> = Vec::new();
    for pool in pools {
        of.push(owned[&bucket_of(&cluster.redis, pool).await]);
    }
    // One node stays, the others die in the two ways there are.
    let stays = (0..3).find(|place| of.iter().any(|owner| owner != place));
    let stays = stays.expect("four pools have more than one owner, or that one goes");
    for pool in pools {
        nodes[stays].acquire(pool, json!({}), 201).await;
    }
    let expire = Instant::now() + Duration::from_secs(2);
    let gone: Vec<&&Node> = (0..3)
        .filter(|place| *place != stays)
        .map(|place| &nodes[place])
        .collect();
    gone[0].kill();
    gone[1].signal("STOP");
    for pool in pools {
        wait_until("the end is recorded", PATIENCE, async || {
            let events = cluster.redis.events(pool).await;
            events.iter().any(|event| event.kind == "ended")
        })
        .await;
        let late = Instant::now().saturating_duration_since(expire);
        assert!(
            late < Duration::from_secs(4),
            "{pool}: {late:?} after it was due"
        );
        let clock = format!("lh1:{{{}}}:clock", bucket_of(&cluster.redis, pool).await);
        let silences: Option<String> = cluster.redis.query(&["HGET", &clock, "silences"]).await;
        assert_eq!(
            silences, None,
            "{pool}: an outage was seen, and there was none"
        );
    }
    assert!(
        owners(&[nodes[stays]]).await.len() == 32,
        "all is done by the one that stays"
    );
    // Whoever comes back has its share again.
    gone[1].signal("CONT");
    shared(&[nodes[stays], gone[1]]).await;
}
