//! A cluster is resharded while a crowd works: slots move from master to master, and nobody notices but by a short 503.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::watch;

use crate::harness::{ANY, Client, Launch, Scrape, Server, Shards, wait_until};

const POOLS: usize = 6;
const CAPACITY: usize = 3;
const CLIENTS: usize = 5;

/// What a client of the crowd has at the end, and what it saw.
#[derive(Debug, Default)]
struct Saw {
    token: Option<String>,
    done: usize,
    refused: usize,
}

/// Takes a seat, keeps it for some heartbeats, gives it back, until the end of the test. It repeats what was not answered.
async fn client(
    nodes: [Client; 2],
    pool: String,
    number: usize,
    stop: watch::Receiver<bool>,
) -> Saw {
    let mut saw = Saw::default();
    for round in number.. {
        if *stop.borrow() {
            break;
        }
        let node = &nodes[round % 2];
        let answer = match saw.token.clone() {
            None => {
                let key = format!("{pool}-{number}-{}", saw.done);
                node.acquire_once(&pool, &key, json!({"holder": format!("h-{number}")}), ANY)
                    .await
            }
            Some(token) if round % 7 == 0 => node.release(&token, ANY).await,
            Some(token) => node.renew(&token, ANY).await,
        };
        match answer.status {
            200 | 201 => {
                saw.done += 1;
                if let Some(token) = answer["token"].as_str() {
                    saw.token = Some(token.to_owned());
                }
            }
            204 => {
                saw.done += 1;
                saw.token = None;
            }
            409 => saw.done += 1,
            503 => {
                assert_eq!(answer["code"], "store_unavailable", "{}", answer.text);
                saw.refused += 1;
            }
            _ => panic!("{} {}", answer.status, answer.text),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    saw
}

async fn id(server: &Server) -> String {
    server.query(&["CLUSTER", "MYID"]).await
}

/// Who serves a slot, among the first three.
async fn owner(servers: &[Server], slot: &str) -> usize {
    for (place, server) in servers.iter().enumerate().take(3) {
        let ranges: Vec<(u16, u16, Vec<redis::Value>)> = slots(server).await;
        let number: u16 = slot.parse().expect("a slot");
        let port = ranges
            .iter()
            .find(|(from, to, _)| (*from..=*to).contains(&number))
            .map(|(_, _, master)| {
                redis::from_redis_value::<u16>(master[1].clone()).expect("a port")
            });
        if port == Some(server.port) {
            return place;
        }
    }
    panic!("nobody serves {slot}");
}

async fn slots(server: &Server) -> Vec<(u16, u16, Vec<redis::Value>)> {
    let answer: Vec<Vec<redis::Value>> = server.query(&["CLUSTER", "SLOTS"]).await;
    let number = |value: &redis::Value| redis::from_redis_value(value.clone()).expect("a slot");
    answer
        .into_iter()
        .map(|range| {
            let master = redis::from_redis_value(range[2].clone()).expect("a server");
            (number(&range[0]), number(&range[1]), master)
        })
        .collect()
}

/// What `redis-cli --cluster reshard` does for one slot: the keys go over a few at a time, while clients ask for them.
async fn move_slot(servers: &[Server], slot: &str, from: usize, to: usize) {
    let (source, target) = (&servers[from], &servers[to]);
    let (source_id, target_id) = (id(source).await, id(target).await);
    let () = target
        .query(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &source_id])
        .await;
    let () = source
        .query(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &target_id])
        .await;
    let port = target.port.to_string();
    loop {
        let keys: Vec<String> = source.query(&["CLUSTER", "GETKEYSINSLOT", slot, "3"]).await;
        if keys.is_empty() {
            break;
        }
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.iter().map(String::as_str));
        // NOKEY is an answer too: the key ended meanwhile.
        let _: String = source.query(&migrate).await;
    }
    for server in [target, source].into_iter().chain(&servers[..3]) {
        let () = server
            .query(&["CLUSTER", "SETSLOT", slot, "NODE", &target_id])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_under_load_and_no_seat_is_lost_or_given_twice() {
    let redis = Shards::start().await;
    // As the shipped user: a slot on its way is asked for with ASKING.
    let users = include_str!("../../deploy/redis/leasehold.acl");
    let rights = users
        .lines()
        .find_map(|line| line.strip_prefix("user leasehold "))
        .expect("the user of the nodes");
    for server in &redis.servers {
        let mut set = vec!["ACL", "SETUSER", "leasehold"];
        set.extend(rights.split(' '));
        let () = server.query(&set).await;
    }
    let scheme = "redis+cluster://";
    let as_shipped = format!("{scheme}leasehold:change-me-nodes@");
    let url = redis.url().replacen(scheme, &as_shipped, 1);
    let nodes = join_all((0..2).map(|_| Launch::on(&url).start())).await;
    let pools: Vec<String> = (0..POOLS).map(|number| format!("pool-{number}")).collect();
    for pool in &pools {
        nodes[0]
            .put_pool(pool, json!({"capacity": CAPACITY}), 201)
            .await;
    }
    let stop = watch::Sender::new(false);
    let mut crowd = Vec::new();
    for pool in &pools {
        for number in 0..CLIENTS {
            let both = [Client::clone(&nodes[0]), Client::clone(&nodes[1])];
            let works = client(both, pool.clone(), number, stop.subscribe());
            crowd.push((pool.clone(), tokio::spawn(works)));
        }
    }

    let masters = &redis.servers[..3];
    for round in 1..=2 {
        for bucket in 0..32 {
            let key = format!("lh1:{{{bucket}}}:clock");
            let slot: u16 = masters[0].query(&["CLUSTER", "KEYSLOT", &key]).await;
            let slot = slot.to_string();
            let from = owner(&redis.servers, &slot).await;
            move_slot(&redis.servers, &slot, from, (from + round) % 3).await;
        }
    }
    // Everything works again, for everybody.
    for node in &nodes {
        for pool in &pools {
            wait_until("the pool is there", Duration::from_secs(10), async || {
                node.availability(pool, [200, 503]).await.status == 200
            })
            .await;
        }
    }
    stop.send_replace(true);
    let (mut done, mut refused) = (0, 0);
    let mut holders = std::collections::BTreeMap::<String, Vec<String>>::new();
    for (pool, client) in crowd {
        let saw = client.await.expect("no panic");
        done += saw.done;
        refused += saw.refused;
        holders.entry(pool).or_default().extend(saw.token);
    }
    eprintln!("{done} operations done, {refused} refused while 64 slots moved");
    assert!(done > 300, "{done}");

    for (pool, tokens) in &holders {
        assert!(
            tokens.len() <= CAPACITY,
            "{} hold a seat of {pool}",
            tokens.len()
        );
        for token in tokens {
            // Every client that was granted a seat has it, unless its release was not answered.
            let renewed = nodes[0].renew(token, [200, 410]).await;
            if renewed.status == 410 {
                assert_eq!(renewed["code"], "lease_released", "{}", renewed.text);
            }
            nodes[1].release(token, 204).await;
        }
        assert_eq!(
            nodes[0].availability(pool, 200).await["in_use"],
            0,
            "{pool}"
        );
    }
    for node in &nodes {
        let log = node.all_said().await;
        for trouble in [
            "lost the data",
            "NOPERM",
            "ACL failure",
            "executing the script",
        ] {
            assert!(!log.contains(trouble), "{log}");
        }
        // The same masters as before: no failover, and no connection was dropped for it.
        let scrape = Scrape::of(node).await;
        let failovers = scrape.get("leasehold_store_failovers_total", &[]);
        assert_eq!(failovers.unwrap_or(0.0), 0.0, "{log}");
    }
}
