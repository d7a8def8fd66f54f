//! Starting, stopping and dying: of nodes, and of the Redis that a node brings along.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{
    Installation, Launch, Node, Proxy, Redis, let_pass, processes_in, server_on_the_path,
    wait_until,
};

#[tokio::test]
async fn a_node_that_is_to_stop_says_so_serves_on_and_ends_in_time() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("drain_wait_ms", "700")
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let token = node.acquire("crm", json!({}), 201).await.token();
    // Clients that would hold a node for ever: one says nothing, one stops in its head, one in its body.
    let stalled = [
        "",
        "GET /v1/pools HTTP/1.1\r\nHo",
        "POST /v1/leases/renew HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    ];
    let mut connections = Vec::new();
    for beginning in stalled {
        let mut stream = TcpStream::connect(node.address())
            .await
            .expect("the node listens");
        stream
            .write_all(beginning.as_bytes())
            .await
            .expect("it is sent");
        connections.push(stream);
    }

    let asked = Instant::now();
    node.signal("TERM");
    wait_until(
        "the node is not ready",
        Duration::from_millis(500),
        async || node.probe("/readyz").await == Some(503),
    )
    .await;
    // Balancers have not noticed yet: nothing fails.
    assert_eq!(node.probe("/livez").await, Some(200));
    node.renew(&token, 200).await;
    node.acquire("crm", json!({}), 201).await;

    let status = node.ended(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() >= Duration::from_millis(700));
    for mut stream in connections {
        // Whatever the answer, the connection is closed.
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
}

#[tokio::test]
async fn a_rolling_restart_fails_no_request_of_those_who_go_where_it_is_ready() {
    let mut cluster = Installation::start_with(3, &[("drain_wait_ms", "300")]).await;
    cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 5}), 201)
        .await;
    let token = cluster.nodes[0]
        .acquire("crm", json!({}), 201)
        .await
        .token();

    for stopping in 0..3 {
        cluster.nodes[stopping].signal("TERM");
        let others = [(stopping + 1) % 3, (stopping + 2) % 3];
        for _ in 0..20 {
            for other in others {
                cluster.nodes[other].renew(&token, 200).await;
            }
        }
        assert!(
            cluster.nodes[stopping]
                .ended(Duration::from_secs(20))
                .await
                .success()
        );
        cluster.nodes[stopping].restart().await;
        cluster.nodes[stopping].renew(&token, 200).await;
    }
}

#[tokio::test]
async fn a_node_that_is_killed_takes_nothing_with_it() {
    let mut cluster = Installation::two().await;
    cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 1, "ttl_ms": 2_000}), 201)
        .await;
    let token = cluster.nodes[0]
        .acquire("crm", json!({}), 201)
        .await
        .token();

    cluster.nodes[0].kill();

    let other = &cluster.nodes[1];
    assert_eq!(other.renew(&token, 200).await["resumed"], false);
    other.acquire("crm", json!({}), 409).await;
    // The end of a lease is recorded by the node that is left.
    wait_until("the end is recorded", Duration::from_secs(5), async || {
        cluster
            .redis
            .events("crm")
            .await
            .iter()
            .any(|event| event.kind == "ended")
    })
    .await;

    cluster.nodes[0].restart().await;
    assert_eq!(cluster.nodes[0].renew(&token, 200).await["resumed"], true);
}

#[tokio::test]
async fn pools_of_the_settings_are_there_from_the_start_and_not_put_over_those_of_operators() {
    let redis = Redis::start().await;
    let mut node = Launch::on(&redis.url())
        .set("pools", "crm=5,phone=2")
        .start()
        .await;
    assert_eq!(node.pool("crm", 200).await["capacity"], 5);
    assert_eq!(node.pool("phone", 200).await["capacity"], 2);

    node.patch_pool("crm", json!({"capacity": 9}), 200).await;
    node.restart().await;

    assert_eq!(node.pool("crm", 200).await["capacity"], 9);
    // What a person reads who has started it is what there is, not what the setting says.
    let told = "crm (9 seats as it was there already; the settings say 5 seats), phone (2 seats)";
    wait_until("the banner", Duration::from_secs(10), async || {
        node.log().contains(told)
    })
    .await;
    node.says("it has 9 seats, and the settings say 5 seats")
        .await;
    let one = node.launch().anew().set("pools", "crm=1").start().await;
    let told = "crm (9 seats as it was there already; the settings say 1 seat)";
    wait_until("the banner", Duration::from_secs(10), async || {
        one.log().contains(told)
    })
    .await;
}

#[tokio::test]
async fn a_node_has_as_many_threads_as_it_is_told() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("threads", "40").start().await;
    node.ready().await;
    let tasks = format!("/proc/{}/task", node.pid());
    let threads = std::fs::read_dir(tasks).expect("it runs").count();
    // Others of it write to files, look up names and replay history.
    assert!((41..60).contains(&threads), "{threads}");
}

#[tokio::test]
async fn a_wrong_setting_refuses_to_start_and_is_named() {
    let redis = Redis::start().await;
    let secret = "hunter2-hunter2";
    for (setting, value) in [
        ("sweep_evry_ms", "0"),
        ("sweep_every_ms", "often"),
        ("secret", secret),
        ("redis_url", "http://x"),
    ] {
        let (status, log) = Launch::on(&redis.url()).set(setting, value).refuse().await;
        assert!(!status.success(), "{setting}={value}");
        assert!(
            log.to_lowercase().contains(setting),
            "{setting}={value}: {log}"
        );
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn a_redis_that_may_throw_keys_away_is_refused() {
    let redis = Redis::start_alone().await;
    let policy = async |policy: &str| {
        let () = redis
            .query(&["CONFIG", "SET", "maxmemory-policy", policy])
            .await;
    };

    policy("allkeys-lru").await;
    let launch = Launch::on(&redis.url());
    let refused = tokio::time::timeout(Duration::from_secs(8), launch.refuse()).await;
    policy("noeviction").await;

    let (status, log) = refused.expect("it ends");
    assert!(!status.success());
    assert!(log.contains("noeviction"), "{log}");
}

#[tokio::test]
async fn a_node_that_starts_waits_for_a_redis_that_is_slow_but_not_for_ever() {
    let redis = Redis::start().await;
    let mut proxy = Proxy::start(redis.address());
    proxy.black_hole();

    let node = Launch::on(&redis.url_through(&proxy)).spawn();
    wait_until("it tries again", Duration::from_secs(5), async || {
        node.log().contains("not connected yet")
    })
    .await;
    proxy.restore();
    node.ready().await;

    proxy.black_hole();
    let (status, log) = Launch::on(&redis.url_through(&proxy)).refuse().await;
    assert_eq!(status.code(), Some(6), "{log}");
    assert!(log.contains("does not answer in time"), "{log}");
}

/// `true` with a server to embed; without one, the node must tell how to get one.
async fn nothing_to_embed() -> bool {
    if server_on_the_path().is_some() {
        return false;
    }
    without_a_server(&std::env::var("PATH").unwrap_or_default()).await;
    true
}

async fn without_a_server(path: &str) {
    let (status, log) = Launch::embedded().set("env_path", path).refuse().await;
    assert!(!status.success());
    assert!(
        log.contains("redis-server") && log.contains("redis_url") && log.contains("install"),
        "{log}"
    );
}

#[tokio::test]
async fn without_any_redis_the_node_says_how_to_get_one() {
    without_a_server("/nonexistent").await;
}

#[tokio::test]
async fn a_node_of_its_own_keeps_its_data_over_a_restart() {
    if nothing_to_embed().await {
        return;
    }
    let mut node = Launch::embedded().start().await;
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    let kept = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let given_back = node.acquire("crm", json!({}), 201).await;
    node.release(&given_back.token(), 204).await;

    node.signal("TERM");
    assert!(node.ended(Duration::from_secs(20)).await.success());
    assert_eq!(
        processes_in(&node.directory()),
        [0; 0],
        "nothing is left behind"
    );
    node.restart().await;

    assert_eq!(node.pool("crm", 200).await["in_use"], 1);
    let renewed = node.renew(&kept.token(), 200).await;
    assert_eq!(renewed["resumed"], false);
    assert_eq!(renewed["lease"]["holder"], "ann");
    assert_eq!(
        node.renew(&given_back.token(), 410).await["code"],
        "lease_released"
    );
}

#[tokio::test]
async fn a_node_of_its_own_that_is_killed_leaves_no_redis_behind_and_loses_nothing() {
    if nothing_to_embed().await {
        return;
    }
    let mut node = Launch::embedded().start().await;
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    let token = node.acquire("crm", json!({}), 201).await.token();
    let directory = node.directory();
    assert_eq!(redis_of(&node).len(), 1);

    node.kill();
    nobody_is_left_in(&directory).await;
    node.restart().await;

    node.renew(&token, 200).await;
    assert_eq!(node.pool("crm", 200).await["in_use"], 1);
}

async fn nobody_is_left_in(directory: &Path) {
    wait_until("no process is left", Duration::from_secs(8), async || {
        processes_in(directory).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_second_node_on_the_same_data_is_refused_and_the_first_goes_on() {
    if nothing_to_embed().await {
        return;
    }
    let node = Launch::embedded().start().await;
    node.put_pool("crm", json!({"capacity": 2}), 201).await;

    let (status, log) = node.launch().on_another_port().refuse().await;

    assert!(!status.success());
    assert!(log.contains("in use") && log.contains("data"), "{log}");
    node.acquire("crm", json!({}), 201).await;
}

#[tokio::test]
async fn an_embedded_redis_that_dies_is_started_again() {
    if nothing_to_embed().await {
        return;
    }
    let node = Launch::embedded().start().await;
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    let token = node.acquire("crm", json!({}), 201).await.token();

    for pid in redis_of(&node) {
        crate::harness::signal(pid, "KILL");
    }
    let_pass(10).await;

    wait_until(
        "the node renews again",
        Duration::from_secs(5),
        async || node.renew(&token, [200, 503]).await.status == 200,
    )
    .await;
    assert_eq!(node.pool("crm", 200).await["in_use"], 1);
}

/// The server itself, not what watches over it.
fn redis_of(node: &Node) -> Vec<u32> {
    let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let all = processes_in(&node.directory());
    all.into_iter()
        .filter(|pid| name(pid).contains("redis") || name(pid).contains("valkey"))
        .collect()
}
