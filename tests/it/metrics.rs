//! `/metrics` counts what was done, no more and no less, and stays small.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Installation, Launch, Proxy, Redis, Scrape, let_pass, wait_until};

/// What two nodes counted together.
async fn both(cluster: &Installation, name: &str, labels: &[(&str, &str)]) -> f64 {
    let scrapes = join_all(cluster.nodes.iter().map(|node| Scrape::of(node))).await;
    let values = scrapes.iter().filter_map(|scrape| scrape.get(name, labels));
    values.sum()
}

#[tokio::test]
async fn what_was_done_on_two_nodes_is_what_they_counted() {
    let cluster = Installation::two().await;
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    a.put_pool("crm", json!({"capacity": 4, "ttl_ms": 1500}), 201)
        .await;

    // Four grants, one of them asked for twice, and three denials.
    let once = a
        .acquire_once("crm", "k", json!({"holder": "ann"}), 201)
        .await;
    b.acquire_once("crm", "k", json!({"holder": "ann"}), 200)
        .await;
    let released = b.acquire("crm", json!({"holder": "bob"}), 201).await;
    let terminated = a.acquire("crm", json!({"holder": "cid"}), 201).await;
    let silent = b.acquire("crm", json!({"holder": "dan"}), 201).await;
    for node in [a, b, b] {
        node.acquire("crm", json!({"holder": "eve"}), 409).await;
    }
    // What makes no difference is not counted: there is one release, and no pool of that name.
    for node in [a, b] {
        node.release(&released.token(), 204).await;
        node.acquire("nowhere", json!({}), 404).await;
    }
    a.terminate("crm", json!({"ids": [terminated.id(), released.id()]}), 200)
        .await;

    // Two are silent. One of them comes back, so there are three ends by time when all is over.
    let_pass(1600).await;
    assert_eq!(b.renew(&silent.token(), 200).await["resumed"], true);
    wait_until(
        "all ends are recorded",
        Duration::from_secs(15),
        async || {
            both(
                &cluster,
                "leasehold_lease_ends_total",
                &[("reason", "expired")],
            )
            .await
                >= 3.0
        },
    )
    .await;
    a.renew(&once.token(), 200).await;
    b.release(&once.token(), 204).await;

    for (name, label, value, count) in [
        ("leasehold_acquires_total", "result", "granted", 4.0),
        ("leasehold_acquires_total", "result", "existing", 1.0),
        ("leasehold_acquires_total", "result", "denied", 3.0),
        ("leasehold_acquires_total", "result", "error", 0.0),
        ("leasehold_lease_ends_total", "reason", "released", 2.0),
        ("leasehold_lease_ends_total", "reason", "terminated", 1.0),
        ("leasehold_lease_ends_total", "reason", "expired", 3.0),
        ("leasehold_lease_ends_total", "reason", "evicted", 0.0),
        ("leasehold_leases_resumed_total", "pool", "crm", 2.0),
    ] {
        let counted = both(&cluster, name, &[("pool", "crm"), (label, value)]).await;
        assert_eq!(counted, count, "{name} {value}");
    }
    let denials = both(
        &cluster,
        "leasehold_denials_total",
        &[("code", "pool_full")],
    )
    .await;
    assert_eq!(denials, 3.0);
    assert_eq!(
        both(&cluster, "leasehold_lease_duration_seconds_count", &[]).await,
        6.0
    );
    assert_eq!(
        both(&cluster, "leasehold_leases_rebuilt_total", &[]).await,
        0.0
    );
    // Starts and resumes are ends and live ones, here none.
    let events = cluster.redis.events("crm").await;
    assert_eq!(events.iter().map(|event| event.change()).sum::<i64>(), 0);
}

#[tokio::test]
async fn evictions_places_in_the_queue_and_true_denials_are_counted() {
    let cluster = Installation::two().await;
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    let policy =
        json!({"capacity": 1, "when_full": "evict_oldest_of_holder", "queue": {"max_waiting": 5}});
    a.put_pool("crm", policy, 201).await;
    let first = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    b.acquire("crm", json!({"holder": "ann"}), 201).await;
    a.acquire("crm", json!({"holder": "bob", "wait": true}), 202)
        .await;
    b.acquire("crm", json!({"holder": "cid"}), 409).await;
    // Released before anybody wrote down that it was evicted, or after: it is one eviction.
    a.release(&first.token(), 204).await;

    // Two minutes later, and no seat: nobody waits for them here.
    let denied = &cluster.redis.keys("lh1:*:crm:denied").await[0];
    let due = format!("{}due", denied.trim_end_matches("crm:denied"));
    let _: i64 = cluster
        .redis
        .query(&["ZINCRBY", denied, "-121000", "cid"])
        .await;
    let _: i64 = cluster.redis.query(&["ZADD", &due, "1", "crm"]).await;
    for (name, labels) in [
        ("leasehold_true_denials_total", vec![("pool", "crm")]),
        (
            "leasehold_lease_ends_total",
            vec![("pool", "crm"), ("reason", "evicted")],
        ),
        (
            "leasehold_acquires_total",
            vec![("pool", "crm"), ("result", "queued")],
        ),
    ] {
        wait_until(name, Duration::from_secs(15), async || {
            both(&cluster, name, &labels).await == 1.0
        })
        .await;
    }
}

#[tokio::test]
async fn the_gauges_of_a_pool_come_from_one_node_and_go_with_it() {
    let cluster = Installation::two().await;
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    let policy = json!({
        "capacity": 3, "queue": {"max_waiting": 5}, "overdraft": {"seats": 1, "seat_minutes_per_day": 9},
        "named": {"seats": 2, "anchor_day": 1, "time_zone": "UTC", "spill_to_concurrent": true},
    });
    a.put_pool("crm", policy, 201).await;
    b.put_pool("plain", json!({"capacity": 7}), 201).await;
    // The first two get named seats, and the last one is lent.
    for number in 0..6 {
        a.acquire("crm", json!({"holder": format!("agent-{number}")}), 201)
            .await;
    }
    let place = b
        .acquire("crm", json!({"holder": "late", "wait": true}), 202)
        .await;
    let place = json!({"ticket": place["ticket"]});

    let expected = [
        ("leasehold_seats_capacity", 3.0, Some(7.0)),
        ("leasehold_seats_in_use", 4.0, Some(0.0)),
        ("leasehold_seats_free", 0.0, Some(7.0)),
        ("leasehold_seats_waiting", 1.0, None),
        ("leasehold_seats_lent", 1.0, None),
        ("leasehold_named_seats", 2.0, None),
        ("leasehold_named_seats_taken", 2.0, None),
    ];
    // Whoever adds up what all nodes tell counts a pool once.
    let sum = |scrapes: &[Scrape], name: &str, pool: &str| {
        let each = scrapes.iter();
        let each = each.filter_map(|scrape| scrape.get(name, &[("pool", pool)]));
        each.reduce(|a, b| a + b)
    };
    wait_until(
        "the gauges are there",
        Duration::from_secs(20),
        async || {
            // A waiter that is silent for six seconds loses its place.
            b.acquire("crm", place.clone(), 202).await;
            let scrapes = [Scrape::of(a).await, Scrape::of(b).await];
            let each_knows_both = scrapes
                .iter()
                .all(|scrape| scrape.get("leasehold_pools", &[]) == Some(2.0));
            each_knows_both
                && expected.iter().all(|(name, crm, plain)| {
                    sum(&scrapes, name, "crm") == Some(*crm)
                        && sum(&scrapes, name, "plain") == *plain
                })
        },
    )
    .await;
    let scrapes = [Scrape::of(a).await, Scrape::of(b).await];
    for (name, ..) in expected {
        let help = format!("# HELP {name} ");
        let mut lines = scrapes.iter().flat_map(|scrape| scrape.text.lines());
        let help = lines
            .find(|line| line.starts_with(&help))
            .expect("a help text");
        assert!(
            help.contains("One node at a time tells it: use max by (pool)"),
            "{help}"
        );
    }
    let of_node = |line: &&str| line.starts_with("leasehold_");
    for line in scrapes[0].text.lines().filter(of_node) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let help = |name: &str| scrapes[0].text.contains(&format!("# HELP {name} "));
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part));
        assert!(
            help(name) || whole.is_some_and(help),
            "{name} has no help text"
        );
    }

    a.call(reqwest::Method::DELETE, "/v1/pools/crm")
        .expect(204)
        .await;
    for node in [a, b] {
        wait_until("its series are gone", Duration::from_secs(20), async || {
            !Scrape::of(node).await.values_of("pool").contains("crm")
        })
        .await;
    }
}

#[tokio::test]
async fn while_redis_is_away_no_old_gauge_is_shown_as_if_it_were_new() {
    let redis = Redis::start().await;
    let mut proxy = Proxy::start(redis.address());
    let node = Launch::on(&redis.url_through(&proxy)).start().await;
    node.put_pool("crm", json!({"capacity": 2}), 201).await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let here = Scrape::of(&node).await;
    assert_eq!(here.get("leasehold_store_up", &[]), Some(1.0));
    assert_eq!(here.get("leasehold_ready", &[]), Some(1.0));

    proxy.refuse().await;
    wait_until("the gauges are gone", Duration::from_secs(30), async || {
        let gone = Scrape::of(&node).await;
        gone.get("leasehold_seats_in_use", &[("pool", "crm")])
            .is_none()
            && gone.get("leasehold_store_up", &[]) == Some(0.0)
            && gone.get("leasehold_ready", &[]) == Some(0.0)
    })
    .await;
    let gone = Scrape::of(&node).await;
    // Counters are the node's own: they stay.
    let granted = gone.get(
        "leasehold_acquires_total",
        &[("pool", "crm"), ("result", "granted")],
    );
    assert_eq!(granted, Some(1.0));
    node.acquire("crm", json!({"holder": "bob"}), 503).await;
    wait_until(
        "the sweeper is behind",
        Duration::from_secs(20),
        async || {
            let lag = Scrape::of(&node)
                .await
                .get("leasehold_sweeper_lag_seconds", &[]);
            lag > Some(2.0)
        },
    )
    .await;

    proxy.restore();
    wait_until("all is as before", Duration::from_secs(30), async || {
        let back = Scrape::of(&node).await;
        back.get("leasehold_seats_in_use", &[("pool", "crm")]) == Some(1.0)
            && back.get("leasehold_ready", &[]) == Some(1.0)
            && back.get("leasehold_sweeper_lag_seconds", &[]) < Some(2.0)
    })
    .await;
    let back = Scrape::of(&node).await;
    let errors = back.get(
        "leasehold_acquires_total",
        &[("pool", "crm"), ("result", "error")],
    );
    assert_eq!(errors, Some(1.0));
    let failed = back.get(
        "leasehold_store_request_duration_seconds_count",
        &[("outcome", "none")],
    );
    assert!(failed > Some(0.0), "{failed:?}");
}

#[tokio::test]
async fn with_300_pools_there_are_series_for_200_and_nothing_is_lost() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let names: Vec<String> = (0..300).map(|number| format!("pool-{number:03}")).collect();
    for batch in names.chunks(8) {
        join_all(
            batch
                .iter()
                .map(|name| node.put_pool(name, json!({"capacity": 1}), 201)),
        )
        .await;
        join_all(batch.iter().map(async |name| {
            let lease = node.acquire(name, json!({"holder": "ann"}), 201).await;
            node.acquire(name, json!({"holder": "bob"}), 409).await;
            node.release(&lease.token(), 204).await;
        }))
        .await;
    }
    let scrape = Scrape::of(node).await;
    let pools = scrape.values_of("pool");
    assert_eq!(pools.len(), 201, "{pools:?}");
    assert!(pools.contains("_other"));
    assert_eq!(scrape.get("leasehold_pools", &[]), Some(300.0));
    for (name, label, value) in [
        ("leasehold_acquires_total", "result", "granted"),
        ("leasehold_acquires_total", "result", "denied"),
        ("leasehold_lease_ends_total", "reason", "released"),
    ] {
        assert_eq!(scrape.get(name, &[(label, value)]), Some(300.0), "{name}");
        let others = scrape.get(name, &[(label, value), ("pool", "_other")]);
        assert_eq!(others, Some(100.0), "{name}");
    }
    let read = scrape
        .names()
        .into_iter()
        .filter(|name| name.starts_with("leasehold_seats_"));
    for name in read {
        assert_eq!(scrape.get(name, &[("pool", "_other")]), None, "{name}");
    }
    assert!(scrape.len() <= 2_000, "{} series", scrape.len());
}

#[tokio::test]
async fn a_beat_of_any_pool_may_be_looked_at_if_one_call_is_for_many() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let mut tokens = Vec::new();
    for number in 0..20 {
        let pool = format!("team-{number}");
        node.put_pool(&pool, json!({"capacity": 9}), 201).await;
        tokens.push(node.acquire(&pool, json!({}), 201).await.token());
    }
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let looked_at = async || {
        let scrape = Scrape::of(node).await;
        let count = scrape.get("leasehold_heartbeat_lateness_ratio_count", &[]);
        count.unwrap_or(0.0)
    };
    // Each bucket is looked at once in a tenth of a second, so a single one could not have that many.
    let begin = Instant::now();
    for _ in 0..60 {
        node.renew_many(&tokens, 200).await;
    }
    let of_one = 1.0 + begin.elapsed().as_secs_f64() / 0.1;
    let looked_at = looked_at().await;
    assert!(
        of_one < looked_at,
        "{looked_at} beats, and {of_one} of one bucket"
    );
}

#[tokio::test]
async fn a_beat_that_comes_late_is_seen_and_one_of_a_page_that_left_is_not() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    node.put_pool(
        "crm",
        json!({"capacity": 9, "ttl_ms": 6000, "linger_ms": 5000}),
        201,
    )
    .await;
    let beats = async |le: &str| {
        let scrape = Scrape::of(node).await;
        scrape
            .get("leasehold_heartbeat_lateness_ratio_bucket", &[("le", le)])
            .unwrap_or(0.0)
    };
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    node.renew(&lease.token(), 200).await;
    assert_eq!((beats("0.05").await, beats("+Inf").await), (1.0, 1.0));
    // It should have beaten after two seconds. Within six it is alive, but late.
    let_pass(4000).await;
    node.renew(&lease.token(), 200).await;
    assert_eq!((beats("0.05").await, beats("+Inf").await), (1.0, 2.0));
    // A page that is loaded anew looks like one that is late.
    node.leave(&lease.token(), 204).await;
    let_pass(150).await;
    node.renew(&lease.token(), 200).await;
    assert_eq!((beats("0.05").await, beats("+Inf").await), (1.0, 2.0));
    // Gateways beat for many.
    let_pass(150).await;
    node.renew_many(&[&lease.token()], 200).await;
    assert_eq!((beats("0.05").await, beats("+Inf").await), (2.0, 3.0));
}

#[tokio::test]
async fn metrics_name_no_holder_no_lease_and_no_secret() {
    const KEY: &str = "canary-of-the-admin-key-4f2a";
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).set("admin_key", KEY).start().await;
    let admin = node.with_key(KEY);
    assert_eq!(Scrape::of(&node).await.values_of("pool").len(), 0);
    admin.put_pool("crm", json!({"capacity": 1}), 201).await;
    let asked = json!({"holder": "canary-holder", "tenant": "canary-tenant", "label": "canary-label", "platform": "canary-platform", "activities": ["canary-activity"]});
    let lease = admin.acquire("crm", asked.clone(), 201).await;
    admin.acquire("crm", asked, 409).await;
    admin.renew(&lease.token(), 200).await;
    node.acquire("canary-pool", json!({}), 401).await;
    admin.acquire("canary-pool", json!({}), 404).await;
    node.get("/canary-path?canary=1").expect(404).await;
    admin.release(&lease.token(), 204).await;

    let scrape = Scrape::of(&node).await;
    assert!(!scrape.text.contains("canary"), "{}", scrape.text);
    assert!(!scrape.text.contains(&lease.id()) && !scrape.text.contains(&lease.token()));
    for label in scrape.labels() {
        assert!(
            [
                "code", "durable", "kind", "le", "method", "outcome", "pool", "reason", "result",
                "revision", "route", "script", "status", "task", "trouble", "version",
                // One value: the address of the runbooks, from the settings.
                "url"
            ]
            .contains(&label),
            "who bounds the values of {label}?"
        );
    }
}
