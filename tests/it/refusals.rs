//! Redis refuses to work: each way is a 503 that says whether anything happened, one line in the log, and nothing more.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{ANY, Launch, Node, Scrape, Server, free_port, is_7, wait_until};

async fn start() -> (Server, Node) {
    let port = free_port().to_string();
    let arguments = ["--port", &port, "--save", "", "--appendonly", "no"];
    let mut server = Server::prepare(port.parse().expect("a port"), &arguments);
    if is_7() {
        // Before, it needed no leave.
        server.set("--enable-debug-command", "yes");
        server.set("--enable-protected-configs", "yes");
    }
    server.restart();
    server.answers().await;
    let node = Launch::on(&format!("redis://127.0.0.1:{port}"))
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 100}), 201).await;
    (server, node)
}

/// All calls answer 503 within a second, with the outcome `none`; the log names the trouble.
async fn refuses(node: &Node, trouble: &str) {
    wait_until("the node notices", Duration::from_secs(3), async || {
        node.acquire("crm", json!({}), ANY).await.status == 503
    })
    .await;
    for _ in 0..20 {
        let asked = Instant::now();
        let refused = node.acquire("crm", json!({}), 503).await;
        assert!(asked.elapsed() < Duration::from_millis(1_050));
        assert_eq!(refused["code"], "store_unavailable");
        assert_eq!(refused["outcome"], "none", "{}", refused.text);
    }
    let word = format!("trouble=\"{trouble}\"");
    // What was seen first may be the cut connection.
    wait_until("the log names it", Duration::from_secs(3), async || {
        node.acquire("crm", json!({}), 503).await;
        node.log().contains(&word)
    })
    .await;
    let log = node.all_said().await;
    assert_eq!(log.matches(&word).count(), 1, "{log}");
    // It is said to balancers and to monitoring alike.
    let ready = node.get("/readyz").expect(503).await;
    assert_eq!(ready["checks"]["store"], trouble, "{}", ready.text);
    assert!(
        ready["reasons"]["store"]
            .as_str()
            .is_some_and(|reason| reason.len() > 10)
    );
    let metrics = node.get("/metrics").expect(200).await.text;
    assert!(metrics.contains("leasehold_store_up 0\n"), "{metrics}");
    assert!(metrics.contains("leasehold_ready 0\n"), "{metrics}");
    assert!(
        metrics.contains(&format!(
            "leasehold_store_failures_total{{trouble=\"{trouble}\"}}"
        )),
        "{metrics}"
    );
}

async fn works_again(node: &Node) {
    wait_until("the node works again", Duration::from_secs(1), async || {
        node.acquire("crm", json!({}), ANY).await.status == 201
    })
    .await;
    let ready = node.get("/readyz").expect(200).await;
    assert_eq!(ready["checks"]["store"], "ok");
    let metrics = node.get("/metrics").expect(200).await.text;
    assert!(metrics.contains("leasehold_store_up 1\n"), "{metrics}");
}

#[tokio::test]
async fn too_few_replicas() {
    let (server, node) = start().await;
    let lease = node.acquire("crm", json!({}), 201).await;
    let () = server
        .query(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await;
    refuses(&node, "no_replicas").await;
    node.renew(&lease.token(), 503).await;
    // What writes nothing goes on.
    node.availability("crm", 200).await;
    let () = server
        .query(&["CONFIG", "SET", "min-replicas-to-write", "0"])
        .await;
    works_again(&node).await;
    node.renew(&lease.token(), 200).await;
}

#[tokio::test]
async fn a_node_that_nobody_asks_says_by_itself_that_it_could_not_decide() {
    let (server, node) = start().await;
    let node = node
        .launch()
        .set("sweep_every_ms", "0")
        .anew()
        .start()
        .await;
    let () = server
        .query(&["CONFIG", "SET", "min-replicas-to-write", "1"])
        .await;
    let ready = node.get("/readyz").expect(503).await;
    assert_eq!(ready["code"], "store_unavailable");
    assert_eq!(ready["checks"]["node"], "ok");
    assert_eq!(ready["checks"]["store"], "no_replicas");
    let () = server
        .query(&["CONFIG", "SET", "min-replicas-to-write", "0"])
        .await;
    node.get("/readyz").expect(200).await;
}

/// Whatever right is taken away while a node runs: it does not report ready while its acquires are refused.
#[tokio::test]
async fn a_right_that_was_taken_away_makes_a_node_unready_by_the_next_look() {
    let (server, node) = start().await;
    let queue = json!({"capacity": 1, "queue": {"max_waiting": 3}, "tenant_max": 1});
    node.put_pool("queue", queue, 201).await;
    node.acquire("queue", json!({"tenant": "acme"}), 201).await;
    let mut refused = Vec::new();
    for (number, command) in [
        "get",
        "set",
        "exists",
        "pttl",
        "del",
        "unlink",
        "hget",
        "hmget",
        "hgetall",
        "hlen",
        "hset",
        "hdel",
        "hincrby",
        "pexpire",
        "zadd",
        "zrem",
        "zscore",
        "zmscore",
        "zcard",
        "zcount",
        "zlexcount",
        "zrank",
        "zrange",
        "zrangebylex",
        "zremrangebylex",
        "xadd",
        "xtrim",
    ]
    .into_iter()
    .enumerate()
    {
        let right = |sign: &str| format!("{sign}{command}");
        let () = server
            .query(&["ACL", "SETUSER", "default", &right("-")])
            .await;
        // Before anything else was asked.
        let ready = node.get("/readyz").expect([200, 503]).await;
        let up = Scrape::of(&node).await.get("leasehold_store_up", &[]);
        let mut able = true;
        for (pool, body) in [
            ("crm", json!({"holder": "ann"})),
            ("queue", json!({"tenant": "beta", "wait": true})),
            ("queue", json!({"tenant": "acme"})),
        ] {
            let key = format!("key-{number}");
            let answer = node.acquire_once(pool, &key, body, ANY).await;
            able &= answer.status != 503;
        }
        assert!(able || ready.status == 503, "{command}: {}", ready.text);
        assert_eq!(
            up,
            Some(f64::from(u8::from(ready.status == 200))),
            "{command}"
        );
        if ready.status == 503 {
            assert_eq!(ready["checks"]["store"], "not_allowed", "{}", ready.text);
            refused.push(command);
        }
        let () = server
            .query(&["ACL", "SETUSER", "default", &right("+")])
            .await;
        wait_until("it is ready again", Duration::from_secs(5), async || {
            node.is_ready().await
        })
        .await;
    }
    assert!(
        refused.contains(&"xadd") && refused.contains(&"zadd"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_server_that_became_a_replica() {
    let (server, node) = start().await;
    let () = server.query(&["REPLICAOF", "127.0.0.1", "1"]).await;
    refuses(&node, "replica").await;
    let () = server.query(&["REPLICAOF", "NO", "ONE"]).await;
    works_again(&node).await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_written() {
    let (server, node) = start().await;
    std::fs::create_dir(server.directory().join("taken")).expect("the directory is ours");
    let () = server.query(&["CONFIG", "SET", "save", "900 1"]).await;
    let () = server
        .query(&["CONFIG", "SET", "dbfilename", "taken"])
        .await;
    let _: redis::RedisResult<String> = server.try_query(&["BGSAVE"]).await;
    refuses(&node, "unsaved").await;
    node.availability("crm", 200).await;
    let () = server.query(&["CONFIG", "SET", "dbfilename", "free"]).await;
    let () = server
        .query(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"])
        .await;
    works_again(&node).await;
}

#[tokio::test]
async fn a_script_of_somebody_else_that_does_not_end() {
    let (server, node) = start().await;
    let () = server
        .query(&["CONFIG", "SET", "lua-time-limit", "100"])
        .await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).expect("a URL");
    let looping = tokio::spawn(async move {
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("it runs");
        connection.set_response_timeout(Duration::from_secs(60));
        let _: redis::RedisResult<()> = redis::cmd("EVAL")
            .arg(&["while true do end", "0"])
            .query_async(&mut connection)
            .await;
    });
    wait_until("Redis is busy", Duration::from_secs(3), async || {
        server.try_query::<String>(&["PING"]).await.is_err()
    })
    .await;
    wait_until("the node notices", Duration::from_secs(3), async || {
        node.acquire("crm", json!({}), ANY).await.status == 503
    })
    .await;
    let _: redis::RedisResult<()> = server.try_query(&["SCRIPT", "KILL"]).await;
    works_again(&node).await;
    looping.await.expect("it ends");
}

#[tokio::test]
async fn more_clients_than_redis_takes() {
    let (server, node) = start().await;
    let () = server.query(&["CONFIG", "SET", "maxclients", "1"]).await;
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).expect("a URL");
    let mut only = client.get_multiplexed_async_connection().await.ok();
    // Ours may hold the one place; then the node has to go.
    let () = match &mut only {
        Some(only) => redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "NORMAL", "SKIPME", "YES"])
            .query_async(only)
            .await
            .expect("it is connected"),
        None => return,
    };
    refuses(&node, "too_many_clients").await;
    let connects_before = connects(only.as_mut().expect("connected")).await;
    for _ in 0..20 {
        node.acquire("crm", json!({}), 503).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let connects = connects(only.as_mut().expect("connected")).await - connects_before;
    assert!(connects <= 10, "{connects} connections in about a second");
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "maxclients", "1000"])
        .query_async(only.as_mut().expect("connected"))
        .await
        .expect("it is connected");
    works_again(&node).await;
}

async fn connects(connection: &mut redis::aio::MultiplexedConnection) -> i64 {
    let info: String = redis::cmd("INFO")
        .arg("stats")
        .query_async(connection)
        .await
        .expect("it is connected");
    let count = |name: &str| -> i64 {
        info.lines()
            .find_map(|line| line.strip_prefix(name))
            .map_or(0, |number| number.trim().parse().expect("a number"))
    };
    count("rejected_connections:") + count("total_connections_received:")
}

#[tokio::test]
async fn a_password_that_changed() {
    let (server, node) = start().await;
    let () = server
        .query(&["CONFIG", "SET", "requirepass", "another"])
        .await;
    let url = format!("redis://:another@127.0.0.1:{}", server.port);
    let client = redis::Client::open(url).expect("a URL");
    let mut admin = client
        .get_multiplexed_async_connection()
        .await
        .expect("the right password");
    let () = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "NORMAL", "SKIPME", "YES"])
        .query_async(&mut admin)
        .await
        .expect("it is connected");
    refuses(&node, "auth").await;
    assert!(!node.all_said().await.contains("another@"));
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", ""])
        .query_async(&mut admin)
        .await
        .expect("it is connected");
    works_again(&node).await;
}

#[tokio::test]
async fn a_frozen_redis_costs_every_call_less_than_a_second_and_no_memory() {
    let (server, node) = start().await;
    node.acquire("crm", json!({}), 201).await;
    let before = node.memory_kib();
    server.signal("STOP");
    let asking = (0..40).map(|_| async {
        for _ in 0..50 {
            // A second, and room for a busy machine: forty ask at once.
            let asked = Instant::now();
            let refused = node.acquire("crm", json!({}), 503).await;
            assert!(
                asked.elapsed() < Duration::from_millis(1_500),
                "{:?}",
                asked.elapsed()
            );
            assert!(refused["retry_after_ms"].as_u64().is_some());
        }
    });
    futures_util::future::join_all(asking).await;
    server.signal("CONT");
    works_again(&node).await;
    let grown = node.memory_kib().saturating_sub(before);
    assert!(grown < 50 * 1024, "{grown} KiB more");
}
