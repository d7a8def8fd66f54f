//! Redis loses its data under many pools and several nodes: all that nodes remember is put back, however hard that is.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    Installation, Launch, Node, Redis, Scrape, Server, Shards, free_port, let_pass, wait_until,
};

const SOON: Duration = Duration::from_secs(20);

/// The policy of a pool, told apart from all others.
fn policy(number: usize) -> Value {
    json!({"capacity": number + 1, "ttl_ms": 20_000, "tenant_max": 3})
}

/// Whether a node has all of these pools, as they were.
async fn has_all(node: &Node, pools: &[String]) -> bool {
    for (number, pool) in pools.iter().enumerate() {
        let found = node.pool(pool, [200, 404, 503]).await;
        let as_it_was = found.status == 200
            && found["capacity"] == number + 1
            && found["ttl_ms"] == 20_000
            && found["tenant_max"] == 3;
        if !as_it_was {
            return false;
        }
    }
    true
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("pool-{number}")).collect()
}

#[tokio::test]
async fn hundreds_of_pools_of_several_nodes_are_put_back_with_their_holders() {
    let cluster = Installation::start(3).await;
    let pools = names(240);
    let mut leases = Vec::new();
    for (number, pool) in pools.iter().enumerate() {
        let node = &cluster.nodes[number % 3];
        node.put_pool(pool, policy(number), 201).await;
        if number % 8 == 0 {
            leases.push(node.acquire(pool, json!({}), 201).await);
        }
    }
    // The last ones are known to one node only.
    cluster.redis.empty().await;
    for node in &cluster.nodes {
        wait_until("all pools are back", SOON, async || {
            has_all(node, &pools).await
        })
        .await;
    }
    // Holders come first.
    let newcomer = cluster.nodes[0].acquire(&pools[0], json!({}), 503).await;
    assert_eq!(newcomer["code"], "recovering");
    for (lease, node) in leases.iter().zip(cluster.nodes.iter().cycle()) {
        let back = node.renew(&lease.token(), 200).await;
        assert_eq!(back.id(), lease.id());
        assert_eq!(back["lease"]["started_at"], lease["lease"]["started_at"]);
    }
}

#[tokio::test]
async fn what_an_operator_ends_after_the_loss_is_not_brought_back_by_its_token() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let ended = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let goes_on = node.acquire("crm", json!({"holder": "bob"}), 201).await;

    cluster.redis.empty().await;
    wait_until("the pool is back", SOON, async || {
        node.pool("crm", [200, 404, 503]).await.status == 200
    })
    .await;
    let over = json!({"ids": [ended.id()], "reason": "The shift is over."});
    let result = node.terminate("crm", over, 200).await;
    assert_eq!(result.list("results")[0]["status"], "ended");

    let lost = node.renew(&ended.token(), 410).await;
    assert_eq!(lost["code"], "lease_terminated");
    assert_eq!(lost["reason"], "The shift is over.");
    node.renew(&goes_on.token(), 200).await;
}

#[tokio::test]
async fn pools_that_cannot_be_put_back_at_once_are_put_back_later() {
    let port = free_port();
    let text = port.to_string();
    let mut server = Server::prepare(
        port,
        &["--port", &text, "--bind", "127.0.0.1", "--save", ""],
    );
    server.restart();
    server.answers().await;
    let node = Launch::on(&format!("redis://127.0.0.1:{port}"))
        .start()
        .await;
    let pools = names(40);
    for (number, pool) in pools.iter().enumerate() {
        node.put_pool(pool, policy(number), 201).await;
    }
    wait_until("the node knows them", SOON, async || {
        node.get("/v1/pools").expect(200).await.list("items").len() == 40
    })
    .await;

    // A bucket can be opened, and a pool cannot be put.
    let () = server.query(&["ACL", "SETUSER", "default", "-del"]).await;
    let () = server.query(&["FLUSHALL"]).await;
    wait_until("it is noticed", SOON, async || {
        let scrape = Scrape::of(&node).await;
        scrape.get("leasehold_data_losses_total", &[]) == Some(32.0)
    })
    .await;
    // Time for the sweeper to look at what is there now, which is nothing.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // All of it is one trouble for an operator; a busy machine may take its time to see all.
    let log = node.all_said().await;
    let told = log.matches("lost the data of").count();
    assert!((1..4).contains(&told), "{told} lines: {log}");
    let () = server.query(&["ACL", "SETUSER", "default", "+del"]).await;
    wait_until("all pools are back", SOON, async || {
        has_all(&node, &pools).await
    })
    .await;
}

#[tokio::test]
async fn the_secret_in_the_store_is_put_back_and_good_on_nodes_that_start_later() {
    let redis = Redis::start().await;
    let without_secret = || Launch::embedded().set("redis_url", &redis.url());
    let old = without_secret().start().await;
    old.put_pool("crm", json!({"capacity": 5}), 201).await;
    let lease = old.acquire("crm", json!({}), 201).await;
    redis.empty().await;
    wait_until("it is put back", SOON, async || {
        redis.query::<bool>(&["EXISTS", "lh1:secret"]).await
    })
    .await;
    let new = without_secret().start().await;
    wait_until("the pool is back", SOON, async || {
        new.renew(&lease.token(), [200, 503]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_part_of_a_cluster_that_lost_its_data_holds_up_its_own_pools_only() {
    let redis = Shards::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let pools = names(24);
    for (number, pool) in pools.iter().enumerate() {
        node.put_pool(pool, policy(number), 201).await;
    }
    let leases = join_all(pools.iter().map(|pool| node.acquire(pool, json!({}), 201))).await;
    wait_until("the node knows them", SOON, async || {
        node.get("/v1/pools").expect(200).await.list("items").len() == 24
    })
    .await;

    let () = redis.servers[0].query(&["FLUSHALL"]).await;
    wait_until("all pools are back", SOON, async || {
        has_all(&node, &pools).await
    })
    .await;
    let mut recovering = 0;
    for (pool, lease) in pools.iter().zip(&leases) {
        // The smallest pool is full, so that a newcomer is denied there.
        let newcomer = node.acquire(pool, json!({}), [201, 409, 503]).await;
        if newcomer.status == 503 {
            assert_eq!(newcomer["code"], "recovering");
            recovering += 1;
        }
        node.renew(&lease.token(), 200).await;
    }
    assert!((1..20).contains(&recovering), "{recovering} of 24");
}

#[tokio::test]
async fn after_a_restored_backup_those_who_hold_seats_come_before_those_of_the_backup() {
    let mut server = Server::alone(false, Vec::new()).await;
    let url = format!("redis://127.0.0.1:{}/0", server.port);
    let node = Launch::on(&url).start().await;
    node.put_pool("crm", json!({"capacity": 2, "ttl_ms": 3_000}), 201)
        .await;
    let ann = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let bob = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    let () = server.query(&["SAVE"]).await;
    let dump = server.directory().join("dump.rdb");
    let backup = server.directory().join("backup.rdb");
    std::fs::copy(&dump, &backup).expect("it was saved");

    node.release(&bob.token(), 204).await;
    let cid = node.acquire("crm", json!({"holder": "cid"}), 201).await;
    let beat = async |statuses: [u16; 2]| {
        for lease in [&ann, &cid] {
            node.renew(&lease.token(), statuses).await;
        }
    };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(13) {
        beat([200, 200]).await;
        let_pass(700).await;
    }
    server.kill();
    std::fs::copy(&backup, &dump).expect("it is there");
    server.restart();
    server.answers().await;

    // The next tick sees it; until then the pool is full as it was.
    wait_until("the loss is noticed", Duration::from_secs(10), async || {
        let newcomer = json!({"holder": "eve"});
        let newcomer = node.acquire("crm", newcomer, [409, 503]).await;
        newcomer["code"] == "recovering"
    })
    .await;
    // A newcomer asks all the time. Ann, who is in the backup, and cid, who is not, go on beating.
    let back = Instant::now();
    while back.elapsed() < Duration::from_secs(5) {
        let newcomer = node
            .acquire("crm", json!({"holder": "eve"}), [409, 503])
            .await;
        assert_ne!(newcomer.status, 201);
        let_pass(300).await;
        beat([200, 503]).await;
    }
    beat([200, 200]).await;
    let listed = node.list("crm", "", 200).await;
    let mut holders: Vec<_> = listed
        .list("items")
        .iter()
        .map(|lease| lease["holder"].as_str().unwrap_or_default())
        .collect();
    holders.sort_unstable();
    assert_eq!(holders, ["ann", "cid"], "{}", listed.text);
    node.says("Redis lost the data").await;
}

/// Every call about a pool that fails without that pool.
const ABOUT_A_POOL: [(&str, &str, &str); 32] = [
    ("POST", "/leases", "{}"),
    ("POST", "/leases/acquire-many", r#"{"leases": [{}]}"#),
    ("GET", "/leases", ""),
    ("GET", "/availability", ""),
    (
        "POST",
        "/leases/terminate",
        r#"{"ids": ["AAAAAAAAAAAAAAAAAAAAAA"]}"#,
    ),
    ("POST", "/leases/terminate", r#"{"holder": "ann"}"#),
    ("POST", "/leases/terminate", r#"{"tenant": "x"}"#),
    ("POST", "/leases/terminate", r#"{"all": true}"#),
    ("GET", "", ""),
    ("PATCH", "", r#"{"capacity": 2}"#),
    ("DELETE", "", ""),
    ("GET", "/blocks", ""),
    ("PUT", "/blocks/ann", r#"{"for_ms": 1000}"#),
    ("DELETE", "/blocks/ann", ""),
    ("GET", "/queue", ""),
    ("GET", "/named", ""),
    ("GET", "/named/ann", ""),
    ("PUT", "/named/ann", ""),
    ("DELETE", "/named/ann", ""),
    ("POST", "/named/ann/transfer", r#"{"to": "bob"}"#),
    ("GET", "/events", ""),
    ("GET", "/usage", ""),
    ("GET", "/history", ""),
    ("GET", "/denials", ""),
    ("GET", "/holders", ""),
    ("GET", "/tenants", ""),
    ("GET", "/sizing", ""),
    ("GET", "/patterns", ""),
    ("GET", "/leases?format=csv", ""),
    ("GET", "/blocks?format=csv", ""),
    ("GET", "/queue?format=csv", ""),
    ("GET", "/named?format=csv", ""),
];

#[tokio::test]
async fn of_a_pool_that_was_not_put_back_yet_nobody_says_that_there_is_none() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let ask = async |method: &str, path: &str, body: &str| {
        let method = method.parse().expect("a method");
        let mut call = node.call(method, &format!("/v1/pools/not-back{path}"));
        if !body.is_empty() {
            call = call.json(&serde_json::from_str::<Value>(body).expect("JSON"));
        }
        call.expect([404, 503]).await
    };
    for (method, path, body) in ABOUT_A_POOL {
        let told = ask(method, path, body).await;
        assert_eq!(
            told["code"], "pool_not_found",
            "{method} {path}: {}",
            told.text
        );
    }

    // Nodes put back what they remember; this one may be about to come from another node.
    cluster.redis.empty().await;
    wait_until("the loss is noticed", SOON, async || {
        node.pool("crm", [200, 404, 503]).await.status == 200
    })
    .await;
    for (method, path, body) in ABOUT_A_POOL {
        wait_until("its bucket is open", SOON, async || {
            ask(method, path, body).await["code"] != "store_unavailable"
        })
        .await;
        let told = ask(method, path, body).await;
        assert_eq!(told["code"], "recovering", "{method} {path}: {}", told.text);
        assert_eq!(told["outcome"], "none", "{method} {path}: {}", told.text);
        assert!(told["retry_after_ms"].as_u64().is_some(), "{}", told.text);
    }
    // Lists go on without it, and who makes it need not wait.
    node.get("/v1/pools").expect(200).await;
    node.put_pool("not-back", json!({"capacity": 1}), 201).await;
}
