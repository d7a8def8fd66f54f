//! What programs report of their users, and who sees it.

use serde_json::{Value, json};

use super::{MINUTE, beat, idle, seat};
use crate::harness::{Installation, Reply, let_pass};

/// How long before its last heartbeat the user of a lease was active, ms.
fn idle_for(lease: &Reply) -> i64 {
    lease.instant("/lease/renewed_at") - lease.instant("/lease/active_at")
}

#[tokio::test]
async fn a_duration_becomes_an_instant_by_the_clock_of_redis_and_silence_is_activity() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 9, "idle": idle("count")}), 201)
        .await;

    // Whatever day it is where the page runs.
    let asked = json!({"holder": "ann", "idle_ms": 4 * MINUTE});
    let ann = node.acquire("crm", asked, 201).await;
    assert_eq!(idle_for(&ann), 240_000);
    assert_eq!(idle_for(&beat(node, &ann, 5 * MINUTE).await), 300_000);
    let known = node.renew(&ann.token(), 200).await;
    assert_eq!(known["lease"]["active_at"], Value::Null);
    assert_eq!(idle_for(&beat(node, &ann, 20 * MINUTE).await), 1_200_000);
    // A call goes on although nobody touches the keyboard.
    let call = json!({"token": ann.token(), "idle_ms": 20 * MINUTE, "activities": ["Call"]});
    let at_work = node.renew_with(call, 200).await;
    assert_eq!(idle_for(&at_work), 0);
    let bob = seat(node, "crm", "bob").await;
    assert_eq!(bob["lease"]["active_at"], Value::Null);

    // A gateway says it for many, and an acquire of many too.
    let many = json!({"leases": [
        {"token": ann.token(), "idle_ms": 1_000}, {"token": bob.token(), "idle_ms": 7 * MINUTE}, {"token": "x"}]});
    let results = node
        .post("/v1/leases/renew-many")
        .json(&many)
        .expect(200)
        .await;
    let words: Vec<_> = results
        .list("results")
        .iter()
        .map(|one| &one["status"])
        .collect();
    assert_eq!(words, ["renewed", "renewed", "invalid"]);
    let many = json!({"leases": [{"holder": "cid", "idle_ms": 9 * MINUTE}, {"holder": "dan"}]});
    let results = node
        .post("/v1/pools/crm/leases/acquire-many")
        .json(&many)
        .expect(200)
        .await;
    assert!(results["results"][0]["lease"]["active_at"].is_string());
    assert_eq!(results["results"][1]["lease"]["active_at"], Value::Null);

    // Whoever works on something is active, however long ago that was said.
    let holders = async |query: &str| -> Vec<Value> {
        let list = node.list("crm", query, 200).await;
        let items = list.list("items").iter();
        items.map(|lease| lease["holder"].clone()).collect()
    };
    assert_eq!(
        holders("sort=active_at").await,
        ["cid", "bob", "ann", "dan"]
    );
    assert_eq!(holders("sort=-active_at&limit=2").await, ["dan", "ann"]);
    assert_eq!(holders("idle_ms=420000&sort=holder").await, ["bob", "cid"]);
    assert_eq!(holders("idle_ms=540001").await, [""; 0]);
    let file = node
        .get("/v1/pools/crm/leases?format=csv")
        .expect(200)
        .await;
    let file = file.text;
    assert!(
        file.lines().next().expect("names").ends_with(",active_at"),
        "{file}"
    );
}

#[tokio::test]
async fn what_is_no_duration_is_refused_and_other_pools_tell_and_keep_nothing() {
    let cluster = Installation::start(1).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("crm", json!({"capacity": 3, "idle": idle("yield")}), 201)
        .await;
    node.put_pool("plain", json!({"capacity": 3}), 201).await;

    let ann = seat(node, "crm", "ann").await;
    let too_long = 31 * 24 * 60 * MINUTE + 1;
    for idle_ms in [json!(-1), json!("soon"), json!(too_long)] {
        node.acquire("crm", json!({"idle_ms": idle_ms}), 400).await;
        let body = json!({"token": ann.token(), "idle_ms": idle_ms});
        node.renew_with(body, 400).await;
        // One who says too much does not stop the heartbeats of a thousand.
        let status = if idle_ms == too_long { 200 } else { 400 };
        let many = json!({"leases": [{"token": ann.token(), "idle_ms": idle_ms}]});
        node.post("/v1/leases/renew-many")
            .json(&many)
            .expect(status)
            .await;
    }
    let both = json!({"tokens": [], "leases": []});
    node.post("/v1/leases/renew-many")
        .json(&both)
        .expect(400)
        .await;
    beat(node, &ann, too_long - 1).await;

    let bob = node
        .acquire(
            "plain",
            json!({"holder": "bob", "idle_ms": 99 * MINUTE}),
            201,
        )
        .await;
    let told = beat(node, &bob, 99 * MINUTE).await;
    for answer in [&bob, &told] {
        assert_eq!(answer["lease"].get("active_at"), None);
        assert_eq!(answer.body.get("ends"), None);
    }
    let list = node.list("plain", "", 200).await;
    assert_eq!(list["items"][0].get("active_at"), None);
    assert_eq!(redis.keys("lh1:*:plain:active").await, [""; 0]);
    assert_eq!(node.pool("plain", 200).await.body.get("idle_now"), None);
}

#[tokio::test]
async fn a_pool_without_these_policies_pays_not_one_command_and_not_one_byte_for_them() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let (node, redis) = (&cluster.nodes[0], &cluster.redis);
    node.put_pool("plain", json!({"capacity": 500}), 201).await;
    let ann = seat(node, "plain", "ann").await;
    node.renew(&ann.token(), 200).await;

    // Each command that Redis runs for a call, with all that it is given. What a node does besides, such as a look at how late a
    // heartbeat is, comes at its own time: the fewest of some calls are those of the call alone.
    let tag = &redis.tag("plain").await;
    // Comes after them, so nothing is missing.
    let end = &format!("lh1:{tag}:end-of-a-call");
    let fewest = async |what: &str| -> Vec<String> {
        let mut fewest: Option<Vec<String>> = None;
        let mut calls = 0;
        while calls < 5 {
            let call = async {
                match what {
                    "acquire" => drop(node.acquire("plain", json!({"holder": "bob"}), 201).await),
                    "idle acquire" => {
                        let asked = json!({"holder": "bob", "idle_ms": 99 * MINUTE});
                        node.acquire("plain", asked, 201).await;
                    }
                    "renew" => drop(node.renew(&ann.token(), 200).await),
                    _ => drop(beat(node, &ann, 99 * MINUTE).await),
                }
                redis.query::<i64>(&["EXISTS", end]).await;
                let_pass(20).await;
            };
            let mut commands = redis.commands_of(tag, call).await;
            let Some(all) = commands.iter().position(|command| command.contains(end)) else {
                continue;
            };
            commands.truncate(all);
            calls += 1;
            if fewest
                .as_ref()
                .is_none_or(|so_far| commands.len() < so_far.len())
            {
                fewest = Some(commands);
            }
        }
        fewest.expect("some calls")
    };
    let words = |commands: &[String]| -> Vec<String> {
        let word = |command: &String| command.split('"').nth(1).map(str::to_owned);
        commands.iter().filter_map(word).collect()
    };
    let renew = fewest("renew").await;
    assert_eq!(words(&renew), RENEW);
    // Redis is told the same, so it answers the same.
    let told = |commands: &[String]| -> Vec<String> {
        let script = commands[0].split_once("\"EVALSHA\"").expect("a script").1;
        script.split(' ').map(str::to_owned).collect()
    };
    assert_eq!(told(&renew), told(&fewest("idle renew").await));
    let (acquire, idle_acquire) = (fewest("acquire").await, fewest("idle acquire").await);
    assert_eq!(words(&acquire), ACQUIRE);
    assert_eq!(words(&acquire), words(&idle_acquire));
    let is_id = |(one, other): &(String, String)| one.len() == 24 && other.len() == 24;
    let (one, other) = (told(&acquire), told(&idle_acquire));
    assert_eq!(one.len(), other.len());
    let differs = one
        .into_iter()
        .zip(other)
        .filter(|(one, other)| one != other);
    let differs: Vec<_> = differs
        .filter(|pair| !is_id(pair) && !pair.0.contains("lease:"))
        .collect();
    assert!(differs.is_empty(), "{differs:?}");
}

/// The commands of a renew and of an acquire, as before there were these policies.
const RENEW: [&str; 7] = [
    "EVALSHA", "HMGET", "PERSIST", "HSET", "HMGET", "ZRANGE", "ZADD",
];
const ACQUIRE: [&str; 18] = [
    "EVALSHA", "HMGET", "HMGET", "ZMSCORE", "EXISTS", "EXISTS", "HSET", "ZRANGE", "ZCARD", "ZREM",
    "ZADD", "HSET", "HSET", "PEXPIRE", "ZADD", "XADD", "ZSCORE", "EXISTS",
];

#[tokio::test]
async fn of_two_reports_of_a_lease_in_one_request_the_later_one_counts() {
    let cluster = Installation::start(1).await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 1, "idle": idle("yield")}), 201)
        .await;
    let ann = seat(node, "crm", "ann").await;
    let report = async |minutes: [u64; 2]| {
        let leases = minutes.map(|idle| json!({"token": ann.token(), "idle_ms": idle * MINUTE}));
        let call = node.post("/v1/leases/renew-many");
        let told = call.json(&json!({"leases": leases})).expect(200).await;
        told.list("results")[1].clone()
    };
    let told = report([16, 0]).await;
    assert_eq!(told.get("ends"), None, "{told}");
    node.acquire("crm", json!({"holder": "bob"}), 409).await;
    let told = report([0, 16]).await;
    assert_eq!(told["ends"]["in_ms"], 0, "{told}");
    seat(node, "crm", "bob").await;
}
