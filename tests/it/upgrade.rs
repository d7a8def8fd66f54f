//! A node and the next version of it run side by side, as while nodes are replaced one by one: their scripts differ, and each
//! runs its own on the same pools.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Launch, Node, Redis, wait_until};

/// The next version: this build, with another first comment in each script. Redis knows scripts by all of their text, so to it
/// none of them is one that the other build has.
///
/// Written by another process than this one, where it could still be open in a child of another test when it is to run.
fn next_version(directory: &Path) -> PathBuf {
    let next = directory.join("leasehold");
    let build = env!("CARGO_BIN_EXE_leasehold");
    let copied = Command::new("cp").arg(build).arg(&next).status();
    assert!(copied.expect("it runs").success());
    let mut sed = Command::new("sed");
    sed.arg("-i").env("LC_ALL", "C");
    let lua = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/lua")).expect("listed");
    for entry in lua {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "lua") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let comment = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("-- "));
        let comment = comment.unwrap_or_else(|| panic!("{} begins otherwise", path.display()));
        let mut pattern = String::new();
        for letter in comment.chars() {
            if r".[]*^$/\".contains(letter) {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        sed.args(["-e", &format!("s/-- {pattern}/--~{pattern}/g")]);
    }
    assert!(sed.arg(&next).status().expect("it runs").success());
    next
}

/// How many scripts Redis has.
async fn scripts(redis: &Redis) -> usize {
    let memory: String = redis.query(&["INFO", "memory"]).await;
    let mut lines = memory.lines();
    let number = lines.find_map(|line| line.strip_prefix("number_of_cached_scripts:"));
    number
        .expect("every server says it")
        .parse()
        .expect("a number")
}

/// Half of them ask the one, half the other; how many got a seat.
async fn crowd(old: &Node, new: &Node, pool: &str) -> usize {
    let asked = (0..60).map(|number| {
        let node = if number % 2 == 0 { old } else { new };
        node.acquire(pool, json!({}), [201, 409])
    });
    let answers = join_all(asked).await;
    answers.iter().filter(|reply| reply.status == 201).count()
}

#[tokio::test]
async fn nodes_whose_scripts_differ_share_pools() {
    let redis = Redis::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let old = Launch::on(&redis.url()).start().await;
    let before = scripts(&redis).await;
    let next = old.launch().anew().running(&next_version(directory.path()));
    let new = next.start().await;
    // Each of the next one's is another.
    assert!(scripts(&redis).await >= before + 25, "{before}");

    // What one begins the other goes on with, and ends.
    old.put_pool("crm", json!({"capacity": 10}), 201).await;
    for (here, there) in [(&old, &new), (&new, &old)] {
        let lease = here.acquire("crm", json!({"holder": "ann"}), 201).await;
        there.renew(&lease.token(), 200).await;
        there.leave(&lease.token(), 204).await;
        here.renew_many(&[&lease.token()], 200).await;
        there.release(&lease.token(), 204).await;
        assert_eq!(
            here.renew(&lease.token(), 410).await["code"],
            "lease_released"
        );

        let lease = there.acquire("crm", json!({"holder": "bob"}), 201).await;
        let ended = json!({"holder": "bob", "reason": "enough"});
        here.terminate("crm", ended, 200).await;
        let lost = there.renew(&lease.token(), 410).await;
        assert_eq!(lost["code"], "lease_terminated");
    }
    assert_eq!(crowd(&old, &new, "crm").await, 10);

    // An end by time, and a place in the queue, which is kept by the rules of either.
    new.put_pool(
        "queue",
        json!({"capacity": 1, "ttl_ms": 1_000, "queue": {"max_waiting": 5}}),
        201,
    )
    .await;
    let lease = old.acquire("queue", json!({"holder": "ann"}), 201).await;
    let wait = json!({"holder": "bob", "wait": true});
    let ticket = new.acquire("queue", wait, 202).await["ticket"].clone();
    wait_until("it is his turn", Duration::from_secs(20), async || {
        let ask = json!({"holder": "bob", "ticket": ticket, "wait": true});
        old.acquire("queue", ask, [201, 202]).await.status == 201
    })
    .await;
    new.renew(&lease.token(), 410).await;

    // A change that one makes is known to the other.
    new.patch_pool("crm", json!({"capacity": 12}), 200).await;
    assert_eq!(crowd(&old, &new, "crm").await, 2);
    old.terminate("crm", json!({"all": true}), 200).await;
    assert_eq!(crowd(&new, &old, "crm").await, 12);
    let (balance, live) = redis.balance("crm").await;
    assert_eq!((balance, live), (12, 12));

    // And back: the next one goes, and the one before takes over all that it did.
    drop(new);
    old.terminate("crm", json!({"all": true}), 200).await;
    assert_eq!(old.availability("crm", 200).await["in_use"], 0);
}
