//! Background work is done once, whatever the number of nodes, and goes on when the node that does it dies.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Installation, Launch, Node, Redis, wait_until};

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

/// Waits until these nodes share the buckets among themselves, each with some.
async fn shared(nodes: &[&Node]) {
    wait_until("each node has its buckets", PATIENCE, async || {
        let owners = owners(nodes).await;
        let owns = |place| owners.values().any(|owner| *owner == place);
        owners.len() == 32 && (0..nodes.len()).all(owns)
    })
    .await;
}

/// Commands that Redis has run, those of scripts among them.
async fn commands(redis: &Redis) -> u64 {
    let info: String = redis.query(&["INFO", "stats"]).await;
    let name = "total_commands_processed:";
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|text| text.trim().parse().ok()).expect(name)
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
        nodes.extend(futures_util::future::join_all(new).await);
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
        let before = commands(&redis).await;
        let since = Instant::now();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let after = commands(&redis).await;
        let each_second = (after - before) as f64 / since.elapsed().as_secs_f64();
        let bound = BASE + 40.0 * size as f64;
        assert!(
            each_second < bound,
            "{size} nodes: {each_second:.0} commands a second"
        );
    }
}

/// What the work of all buckets takes, commands a second.
const BASE: f64 = 700.0;

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
