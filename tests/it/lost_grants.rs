//! A failover that loses grants: everybody who can have the seat back has it, the history stays right, and nothing is silent.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{ANY, Installation, Launch, Scrape, Sentinels, wait_until};

#[tokio::test]
async fn lost_grants_are_rebuilt_while_there_are_seats_and_counted_where_there_are_none() {
    let mut redis = Sentinels::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let safe = join_all((0..2).map(|_| node.acquire("crm", json!({}), 201))).await;
    redis.servers[0].copied_to(2).await;

    // The replicas are cut off, and the master goes on.
    let () = redis.servers[0]
        .query(&["ACL", "SETUSER", "default", "-psync", "-sync"])
        .await;
    let _: i64 = redis.servers[0]
        .query(&["CLIENT", "KILL", "TYPE", "replica"])
        .await;
    wait_until(
        "the replicas are gone",
        Duration::from_secs(10),
        async || {
            let info: String = redis.servers[0].query(&["INFO", "replication"]).await;
            info.contains("connected_slaves:0")
        },
    )
    .await;
    let lost = join_all((0..3).map(|_| node.acquire("crm", json!({}), 201))).await;
    redis.servers[0].kill();
    redis.promoted(0).await;
    wait_until("the node follows", Duration::from_secs(10), async || {
        node.availability("crm", [200, 503]).await.status == 200
    })
    .await;
    assert_eq!(node.availability("crm", 200).await["in_use"], 2);

    // Heartbeats in time bring the seat back. Then two newcomers are quicker than the other two.
    node.renew(&lost[0].token(), 200).await;
    let newcomers = join_all((0..2).map(|_| node.acquire("crm", json!({}), 201))).await;
    node.acquire("crm", json!({}), 409).await;
    let mut displaced = 0;
    for lease in &lost[1..] {
        let told = node.renew(&lease.token(), 410).await;
        assert_eq!(told["code"], "lease_expired");
        displaced += 1;
    }
    for lease in safe.iter().chain(&lost[..1]).chain(&newcomers) {
        node.renew(&lease.token(), 200).await;
    }

    let listed = node.list("crm", "", 200).await.list("items").len();
    let scrape = Scrape::of(&node).await;
    let said = |name| scrape.get(name, &[]);
    assert_eq!(listed, 5);
    assert_eq!(said("leasehold_leases_rebuilt_total"), Some(1.0));
    assert_eq!(
        said("leasehold_leases_displaced_total"),
        Some(f64::from(displaced))
    );
    // In the history there was never one too many; at the clients there were as many as were displaced.
    assert_eq!(said("leasehold_overcommit"), None);
    assert_eq!(said("leasehold_data_losses_total"), Some(0.0));
    assert_eq!(said("leasehold_store_failovers_total"), Some(1.0));
}

#[tokio::test]
async fn a_lowered_capacity_is_overcommitted_until_it_fits() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    a.put_pool("crm", json!({"capacity": 5}), 201).await;
    let leases = a.fill("crm", 5).await;
    a.patch_pool("crm", json!({"capacity": 2}), 200).await;
    let overcommit = async |expected: usize| {
        let expected = Some(expected as f64).filter(|seats| *seats > 0.0);
        wait_until("the gauge shows it", Duration::from_secs(15), async || {
            let scrapes = [Scrape::of(a).await, Scrape::of(b).await];
            let of = |name| {
                let each = scrapes.iter();
                each.filter_map(|scrape| scrape.get(name, &[("pool", "crm")]))
                    .next()
            };
            of("leasehold_seats_in_use").is_some() && of("leasehold_overcommit") == expected
        })
        .await;
    };
    for (ended, left) in [(0, 3), (1, 2), (2, 1), (3, 0), (4, 0)] {
        if ended > 0 {
            a.release(&leases[ended].token(), 204).await;
        }
        let in_use = b.list("crm", "", 200).await.list("items").len();
        assert_eq!(in_use.saturating_sub(2), left);
        overcommit(left).await;
        let answer = b.acquire("crm", json!({}), ANY).await;
        assert_eq!(answer.status, if in_use < 2 { 201 } else { 409 });
        if answer.status == 201 {
            b.release(&answer.token(), 204).await;
        }
    }
}

#[tokio::test]
async fn a_loss_of_everything_is_a_new_generation() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let generation = async || {
        let scrape = Scrape::of(node).await;
        scrape
            .get("leasehold_generation", &[])
            .expect("there is one")
    };
    let before = generation().await;
    cluster.redis.empty().await;
    wait_until(
        "all are opened again",
        Duration::from_secs(10),
        async || {
            let scrape = Scrape::of(node).await;
            scrape.get("leasehold_data_losses_total", &[]) == Some(32.0)
        },
    )
    .await;
    assert!(generation().await > before);
}
