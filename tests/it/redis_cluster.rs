//! On a Redis cluster: every script stays in one slot, and a master that dies is felt only by its own pools.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{ANY, Behaviour, Launch, NAME, Names, Receiver, Server, Shards, wait_until};

#[tokio::test]
async fn every_operation_works_and_a_dead_master_is_replaced() {
    let mut redis = Shards::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let other = Launch::on(&redis.url()).start().await;
    let pools: Vec<String> = (0..24).map(|number| format!("pool-{number}")).collect();

    let mut leases = Vec::new();
    for pool in &pools {
        node.put_pool(pool, json!({"capacity": 2}), 201).await;
        let lease = node
            .acquire(pool, json!({"holder": "agent", "label": "Front desk"}), 201)
            .await;
        leases.push(lease);
        let second = other.acquire(pool, json!({}), 201).await;
        other.acquire(pool, json!({}), 409).await;
        node.leave(&second.token(), 204).await;
        node.release(&second.token(), 204).await;
        assert_eq!(other.list(pool, "", 200).await.list("items").len(), 1);
    }
    assert_eq!(
        other.get("/v1/pools").expect(200).await.list("items").len(),
        24
    );
    let tokens: Vec<_> = leases.iter().map(|lease| lease.token()).collect();
    let many: Vec<_> = tokens.iter().map(String::as_str).collect();
    for result in other.renew_many(&many, 200).await.list("results") {
        assert_eq!(result["status"], "renewed");
    }

    for server in &redis.servers[..3] {
        server.copied_to(1).await;
    }
    redis.servers[0].kill();
    // Those of the other two masters go on.
    let renewed = join_all(tokens.iter().map(|token| node.renew(token, ANY))).await;
    let working = renewed.iter().filter(|reply| reply.status == 200).count();
    assert!((8..24).contains(&working), "{working} of 24 pools");
    for reply in renewed.iter().filter(|reply| reply.status != 200) {
        assert_eq!(reply["code"], "store_unavailable", "{}", reply.text);
    }
    for node in [&node, &other] {
        wait_until("all pools are back", Duration::from_secs(8), async || {
            let renewed = join_all(tokens.iter().map(|token| node.renew(token, ANY))).await;
            renewed.iter().all(|reply| reply.status == 200)
        })
        .await;
    }
    for pool in &pools {
        assert_eq!(node.availability(pool, 200).await["in_use"], 1);
    }
}

#[tokio::test]
async fn behind_a_plain_address_beats_of_several_buckets_go_apart() {
    // As some hosted servers are: a cluster of one, of which the URL says nothing.
    let redis = Server::with_all_slots().await;
    let node = Launch::on(&format!("redis://{}", redis.address()))
        .start()
        .await;
    let mut leases = Vec::new();
    for number in 0..8 {
        let pool = format!("pool-{number}");
        node.put_pool(&pool, json!({"capacity": 1}), 201).await;
        leases.push(node.acquire(&pool, json!({}), 201).await);
    }
    let tokens: Vec<_> = leases.iter().map(|lease| lease.token()).collect();
    let many: Vec<_> = tokens.iter().map(String::as_str).collect();

    for _ in 0..2 {
        for result in node.renew_many(&many, 200).await.list("results") {
            assert_eq!(result["status"], "renewed");
        }
        join_all(many.iter().map(|token| node.renew(token, 200))).await;
    }
}

#[tokio::test]
async fn a_coordinated_failover_and_a_silent_master_lose_nobody() {
    let redis = Shards::start().await;
    let node = Launch::on(&redis.url()).start().await;
    let mut leases = Vec::new();
    for number in 0..24 {
        let pool = format!("pool-{number}");
        node.put_pool(&pool, json!({"capacity": 1}), 201).await;
        leases.push(node.acquire(&pool, json!({}), 201).await);
    }
    let all_renewed = async || {
        let renewed = join_all(leases.iter().map(|lease| node.renew(&lease.token(), ANY))).await;
        assert!(
            renewed
                .iter()
                .all(|reply| reply.status == 200 || reply.status == 503)
        );
        renewed.iter().all(|reply| reply.status == 200)
    };

    let masters = redis.masters().await;
    let replica = (0..6)
        .find(|place| !masters.contains(place))
        .expect("there are 3");
    let () = redis.servers[replica].query(&["CLUSTER", "FAILOVER"]).await;
    // Redis holds writes back meanwhile, and gives up after 5 s if the replica got no votes.
    wait_until("after the failover", Duration::from_secs(20), all_renewed).await;

    let frozen = redis.masters().await[0];
    redis.servers[frozen].signal("STOP");
    wait_until(
        "a replica takes over",
        Duration::from_secs(15),
        async || {
            let masters = {
                let mut masters = 0;
                for (place, server) in redis.servers.iter().enumerate() {
                    let role: Result<String, _> = if place == frozen {
                        continue;
                    } else {
                        server.try_query(&["INFO", "replication"]).await
                    };
                    masters += usize::from(role.is_ok_and(|info| info.contains("role:master")));
                }
                masters
            };
            masters == 3
        },
    )
    .await;
    wait_until("after the silence", Duration::from_secs(5), all_renewed).await;
    redis.servers[frozen].signal("CONT");
}

#[tokio::test]
async fn alerts_of_all_servers_are_told_and_delivered() {
    let redis = Shards::start().await;
    let launch = || {
        Launch::on(&redis.url())
            .set("webhook_http", "on")
            .set("webhook_private_networks", "on")
            .set("webhook_retry_ms", "50")
            .start()
    };
    let (node, other) = (launch().await, launch().await);
    let receiver = Receiver::that(|n, _| Behaviour::Status(if n == 0 { 500 } else { 200 })).await;
    let made = node
        .post("/v1/webhooks")
        .json(&json!({"url": receiver.url(), "events": ["pool.full"]}))
        .expect(201)
        .await;
    let secret = made["secret"].as_str().expect("a secret");
    let pools: Vec<String> = (0..12).map(|number| format!("pool-{number}")).collect();
    for pool in &pools {
        node.put_pool(pool, json!({"capacity": 1}), 201).await;
        other.acquire(pool, json!({}), 201).await;
    }
    // One of them came twice.
    let came = receiver.got(13).await;
    let ids: std::collections::HashSet<String> = came.iter().map(|message| message.id()).collect();
    assert_eq!((came.len(), ids.len()), (13, 12));
    assert!(came.iter().all(|message| message.is_signed_with(secret)));
    let alerts = other.get("/v1/alerts").expect(200).await;
    assert_eq!(alerts.list("current").len(), 12);
    for pool in &pools {
        node.terminate(pool, json!({"all": true}), 200).await;
    }
    receiver.got(25).await;
    let listed = other.get("/v1/webhooks").expect(200).await;
    assert_eq!(listed["items"][0]["dead"], 0);
}

/// A cluster of one, as a pod that is moved: it has another address afterwards, and is found by its name.
#[tokio::test]
async fn servers_whose_addresses_change_behind_their_names_are_followed() {
    let names = match Names::new() {
        Ok(names) => names,
        Err(why) => {
            eprintln!("nothing to test: {why}");
            return;
        }
    };
    let mut redis = Server::with_all_slots_at("127.0.0.2").await;
    if !redis.tells_its_name(NAME).await {
        eprintln!("nothing to test: servers tell their names from Redis 7 on");
        return;
    }
    names.lead_to(&[redis.ip()]);
    let launch = Launch::on(&format!("redis+cluster://{NAME}:{}", redis.port));
    let node = launch.knowing(&names).start().await;
    node.put_pool("crm", json!({"capacity": 100}), 201).await;
    let lease = node.acquire("crm", json!({}), 201).await;

    for host in ["127.0.0.3", "127.0.0.2"] {
        redis.move_to(host).await;
        // Until then the name leads to where nobody is.
        wait_until("it is told", Duration::from_secs(5), async || {
            node.renew(&lease.token(), ANY).await.status == 503
        })
        .await;
        names.lead_to(&[redis.ip()]);
        wait_until("it is followed", Duration::from_secs(5), async || {
            node.renew(&lease.token(), ANY).await.status == 200
        })
        .await;
        node.acquire("crm", json!({}), 201).await;
        node.get("/readyz").expect(200).await;
    }
}

#[tokio::test]
async fn a_cluster_at_an_address_of_version_6_is_served() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("nothing to test: this machine has no IPv6");
        return;
    }
    let redis = Server::with_all_slots_at("::1").await;
    let node = Launch::on(&format!("redis+cluster://{}", redis.address()))
        .start()
        .await;
    for number in 0..4 {
        let pool = format!("pool-{number}");
        node.put_pool(&pool, json!({"capacity": 1}), 201).await;
        let lease = node.acquire(&pool, json!({}), 201).await;
        node.renew(&lease.token(), 200).await;
    }
    node.get("/readyz").expect(200).await;
}
