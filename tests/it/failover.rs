//! `leasehold failover`: what operators do when a master has to go.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{ANY, Launch, Redis, Sentinels};

pub(crate) fn run(command: &str, redis_url: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .env_clear()
        .env("LEASEHOLD_REDIS_URL", redis_url)
        .env("LEASEHOLD_SECRET", crate::harness::SECRET)
        .current_dir(std::env::temp_dir())
        .args([command, "--json"])
        .output()
        .expect("the binary runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_loses_no_grant_and_pauses_for_about_a_second() {
    let redis = Sentinels::start().await;
    let url = redis.url();
    let node = Launch::on(&url).start().await;
    node.put_pool("crm", json!({"capacity": 100_000}), 201)
        .await;

    let switching = tokio::task::spawn_blocking({
        let url = url.clone();
        move || {
            std::thread::sleep(Duration::from_millis(700));
            run("failover", &url)
        }
    });
    let (mut granted, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
    let began = Instant::now();
    while !switching.is_finished() || began.elapsed() < Duration::from_secs(5) {
        let answer = node.acquire("crm", json!({}), ANY).await;
        if answer.status == 201 {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            granted.push(answer.id());
        } else {
            assert_eq!(answer.status, 503, "{}", answer.text);
        }
    }
    let done = switching.await.expect("no panic");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let said: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    eprintln!(
        "{} grants, {said}, longest pause for a client {longest:?}",
        granted.len()
    );

    let new = redis.promoted(0).await;
    for id in &granted {
        assert!(
            redis.servers[new].has_lease("crm", id).await,
            "{id} was granted and is lost"
        );
    }
    assert!(granted.len() > 50, "{} grants", granted.len());
    // About a second here; the bound leaves room for a busy machine.
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

#[tokio::test]
async fn a_failover_is_refused_where_there_is_nobody_to_take_over() {
    let single = Redis::start().await;
    let refused = run("failover", &single.url());
    assert_eq!(refused.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("redis+sentinel://"));
}
