//! Outages end nobody: whoever beats again within one TTL of the return keeps its seat, and nobody gets one too many.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::{
    ANY, Client, Installation, Launch, Node, Proxy, Redis, Reply, let_pass, wait_until,
};

/// Longer than it, an outage outlives every lease. Amnesty begins at a silence of 3 s.
const TTL_MS: u64 = 2_000;
const OUTAGE_MS: u64 = 4_500;

fn clients(nodes: &[Node]) -> Vec<Client> {
    nodes.iter().map(|node| Client::clone(node)).collect()
}

/// A crowd that does what clients do, until it has to stop.
struct Crowd<T> {
    tasks: Vec<JoinHandle<T>>,
    stop: watch::Sender<bool>,
}

impl<T> Crowd<T> {
    async fn stop(self) -> Vec<T> {
        self.stop.send_replace(true);
        let ended = join_all(self.tasks).await;
        ended
            .into_iter()
            .map(|result| result.expect("a client does not panic"))
            .collect()
    }
}

/// Holders of these tokens: they beat three times per TTL, ask again soon if nobody knows, and end with what made them
/// give up.
fn holders(nodes: &[Node], tokens: &[String]) -> Crowd<Option<String>> {
    let stop = watch::Sender::new(false);
    let tasks = tokens.iter().zip(0..).map(|(token, number)| {
        let (nodes, token, mut stopped) = (clients(nodes), token.clone(), stop.subscribe());
        tokio::spawn(async move {
            let mut pause = TTL_MS / 3;
            for beat in number.. {
                tokio::select! {
                    _ = stopped.wait_for(|stopped| *stopped) => return None,
                    () = let_pass(pause) => {}
                }
                let answer = nodes[beat % nodes.len()].renew(&token, ANY).await;
                pause = match answer.status {
                    200 => TTL_MS / 3,
                    503 => 150,
                    _ => return Some(answer.text),
                };
            }
            None
        })
    });
    Crowd {
        tasks: tasks.collect(),
        stop,
    }
}

/// Those who have no seat and ask for one all the time; they end with how often they got which answer.
fn newcomers(nodes: &[Node], count: usize) -> Crowd<BTreeMap<String, usize>> {
    let stop = watch::Sender::new(false);
    let tasks = (0..count).map(|number| {
        let (nodes, stopped) = (clients(nodes), stop.subscribe());
        tokio::spawn(async move {
            let mut answers = BTreeMap::new();
            for ask in number.. {
                if *stopped.borrow() {
                    break;
                }
                let body = json!({"holder": format!("newcomer-{number}")});
                let answer = nodes[ask % nodes.len()].acquire("crm", body, ANY).await;
                let word = answer["code"].as_str().unwrap_or("granted").to_owned();
                *answers.entry(word).or_default() += 1;
                let_pass(40).await;
            }
            answers
        })
    });
    Crowd {
        tasks: tasks.collect(),
        stop,
    }
}

/// A pool of 5 with `count` holders.
async fn seated(node: &Node, count: usize) -> Vec<String> {
    node.put_pool("crm", json!({"capacity": 5, "ttl_ms": TTL_MS}), 201)
        .await;
    let leases = join_all(
        (0..count).map(|i| node.acquire("crm", json!({"holder": format!("holder-{i}")}), 201)),
    )
    .await;
    leases.iter().map(|lease| lease.token()).collect()
}

/// The names of those who hold a seat, sorted.
async fn seats(node: &Node) -> Vec<String> {
    let listed = node.list("crm", "", 200).await;
    let items = listed.list("items").iter();
    let mut holders: Vec<_> = items
        .map(|lease| lease["holder"].as_str().unwrap_or_default().to_owned())
        .collect();
    holders.sort();
    holders
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("holder-{i}")).collect()
}

/// Replays the history: at no point were there more leases than seats.
async fn never_more_than(redis: &Redis, capacity: i64) {
    let events = redis.events("crm").await;
    assert!(!events.is_empty());
    let mut live = 0;
    for event in &events {
        live += event.change();
        assert!(
            live <= capacity,
            "{live} leases after {event:?} in {events:#?}"
        );
    }
}

#[tokio::test]
async fn redis_was_away_for_longer_than_the_ttl_and_kept_its_data() {
    let mut cluster = Installation::two().await;
    let tokens = seated(&cluster.nodes[0], 5).await;
    let (holders, newcomers) = (
        holders(&cluster.nodes, &tokens),
        newcomers(&cluster.nodes, 2),
    );
    let_pass(500).await;

    cluster.redis.kill().await;
    let_pass(OUTAGE_MS).await;
    cluster.redis.restart().await;
    let_pass(TTL_MS + 1_000).await;

    assert_eq!(seats(&cluster.nodes[1]).await, names(5));
    for answers in newcomers.stop().await {
        assert!(!answers.contains_key("granted"), "{answers:?}");
        assert!(answers.contains_key("store_unavailable"), "{answers:?}");
    }
    assert_eq!(holders.stop().await, [const { None }; 5]);
    never_more_than(&cluster.redis, 5).await;

    // The grace is for once: who stops now is gone after one TTL.
    let_pass(TTL_MS + 50).await;
    cluster.nodes[0].acquire("crm", json!({}), 201).await;
}

#[tokio::test]
async fn redis_was_frozen_for_longer_than_the_ttl() {
    let mut cluster = Installation::two().await;
    let tokens = seated(&cluster.nodes[0], 5).await;
    let (holders, newcomers) = (
        holders(&cluster.nodes, &tokens),
        newcomers(&cluster.nodes, 2),
    );
    let_pass(500).await;

    cluster.redis.freeze().await;
    let_pass(OUTAGE_MS).await;
    cluster.redis.thaw().await;
    let_pass(TTL_MS + 1_000).await;

    assert_eq!(seats(&cluster.nodes[1]).await, names(5));
    for answers in newcomers.stop().await {
        assert!(!answers.contains_key("granted"), "{answers:?}");
    }
    assert_eq!(holders.stop().await, [const { None }; 5]);
    never_more_than(&cluster.redis, 5).await;
}

#[tokio::test]
async fn all_nodes_were_away_for_longer_than_the_ttl() {
    let mut cluster = Installation::two().await;
    let tokens = seated(&cluster.nodes[0], 5).await;

    for node in &cluster.nodes {
        node.kill();
    }
    let_pass(OUTAGE_MS).await;
    for node in &mut cluster.nodes {
        node.restart().await;
    }
    // A newcomer comes first, and gets nothing.
    cluster.nodes[0].acquire("crm", json!({}), 409).await;

    let holders = holders(&cluster.nodes, &tokens);
    let_pass(TTL_MS + 500).await;
    assert_eq!(seats(&cluster.nodes[1]).await, names(5));
    assert_eq!(holders.stop().await, [const { None }; 5]);
    never_more_than(&cluster.redis, 5).await;
}

#[tokio::test]
async fn redis_came_back_empty_to_nodes_that_remember() {
    let mut cluster = Installation::two().await;
    let tokens = seated(&cluster.nodes[0], 3).await;
    let holders = holders(&cluster.nodes, &tokens);
    let_pass(500).await;

    cluster.redis.kill().await;
    let_pass(OUTAGE_MS).await;
    let newcomers = newcomers(&cluster.nodes, 2);
    cluster.redis.restart_empty().await;
    wait_until(
        "the holders are back",
        Duration::from_millis(TTL_MS),
        async || {
            let listed = cluster.nodes[0]
                .get("/v1/pools/crm/leases")
                .expect(ANY)
                .await;
            listed["items"]
                .as_array()
                .is_some_and(|items| items.len() >= 3)
        },
    )
    .await;

    // After the hold two seats are left, and go to the newcomers.
    wait_until(
        "the newcomers have the other seats",
        Duration::from_millis(2 * TTL_MS),
        async || seats(&cluster.nodes[1]).await.len() == 5,
    )
    .await;
    assert_eq!(seats(&cluster.nodes[0]).await[..3], names(3));
    for answers in newcomers.stop().await {
        assert!(answers.contains_key("recovering"), "{answers:?}");
    }
    assert_eq!(holders.stop().await, [const { None }; 3]);
    never_more_than(&cluster.redis, 5).await;
    assert_eq!(cluster.nodes[1].pool("crm", 200).await["ttl_ms"], TTL_MS);
}

#[tokio::test]
async fn a_full_pool_whose_data_was_lost_while_all_ran_stays_with_its_holders() {
    let cluster = Installation::two().await;
    let tokens = seated(&cluster.nodes[0], 5).await;
    let (holders, newcomers) = (
        holders(&cluster.nodes, &tokens),
        newcomers(&cluster.nodes, 2),
    );
    // By then both nodes know the pool, and can put it back.
    let_pass(1_500).await;

    cluster.redis.empty().await;
    let_pass(2 * TTL_MS).await;

    assert_eq!(seats(&cluster.nodes[1]).await, names(5));
    for answers in newcomers.stop().await {
        assert!(!answers.contains_key("granted"), "{answers:?}");
        assert!(answers.contains_key("recovering"), "{answers:?}");
    }
    assert_eq!(holders.stop().await, [const { None }; 5]);
    never_more_than(&cluster.redis, 5).await;
}

#[tokio::test]
async fn a_node_that_does_not_know_a_lost_pool_yet_does_not_say_that_there_is_none() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    // Since a moment ago, and only on one node.
    let tokens = seated(a, 2).await;
    cluster.redis.empty().await;

    let refused = b.acquire("crm", json!({}), 503).await;
    assert_eq!(refused["code"], "recovering");
    let many: Vec<_> = tokens.iter().map(String::as_str).collect();
    let answers = tokio::join!(
        b.renew(&tokens[0], [200, 503]),
        b.renew_many(&many, [200, 503])
    );
    if answers.1.status == 200 {
        let lost = answers
            .1
            .list("results")
            .iter()
            .filter(|result| result["status"] == "lost");
        assert_eq!(lost.count(), 0, "{}", answers.1.text);
    }

    for token in &tokens {
        wait_until(
            "the holder is back",
            Duration::from_millis(TTL_MS),
            async || b.renew(token, [200, 503]).await.status == 200,
        )
        .await;
    }
}

#[tokio::test]
async fn redis_came_back_empty_to_nodes_that_are_new_too() {
    let redis = Redis::start().await;
    let pools = json!({"crm": {"capacity": 5, "ttl_ms": TTL_MS}}).to_string();
    let mut node = Launch::on(&redis.url()).set("pools", &pools).start().await;
    let leases = node.fill("crm", 3).await;

    node.kill();
    redis.empty().await;
    node.restart().await;

    // The first token shows that there was something before.
    let rebuilt = node.renew(&leases[0].token(), 200).await;
    assert_eq!(rebuilt.id(), leases[0].id());
    assert_eq!(
        rebuilt["lease"]["started_at"],
        leases[0]["lease"]["started_at"]
    );
    assert_eq!(rebuilt["lease"]["fence"], leases[0]["lease"]["fence"]);
    let refused = node.acquire("crm", json!({}), 503).await;
    assert_eq!(refused["code"], "recovering");
    assert_eq!(refused["outcome"], "none");
    assert!(refused.number("/retry_after_ms") <= TTL_MS);
    for lease in &leases[1..] {
        node.renew(&lease.token(), 200).await;
    }

    let_pass(refused.number("/retry_after_ms")).await;
    let fresh = node.acquire("crm", json!({}), 201).await;
    let newest = leases
        .iter()
        .map(|lease| lease.number("/lease/fence"))
        .max();
    assert!(
        Some(fresh.number("/lease/fence")) > newest,
        "the fence grows over a loss of data too"
    );
}

#[tokio::test]
async fn a_first_start_on_an_empty_redis_is_not_a_loss() {
    let cluster = Installation::two().await;
    cluster.nodes[0]
        .put_pool("crm", json!({"capacity": 1}), 201)
        .await;
    cluster.nodes[1].acquire("crm", json!({}), 201).await;
}

/// A lease of a spare pool, for calls that are to be refused and may run after all.
async fn spare(node: &Client) -> String {
    node.put_pool("spare", json!({"capacity": 5}), 201).await;
    node.acquire("spare", json!({}), 201).await.token()
}

/// Every call of the interface that asks Redis is refused within a second, with its outcome.
async fn every_call_is_refused_in_time(node: &Client, spare: &str) {
    let calls = [
        (Method::POST, "/v1/pools/spare/leases", json!({})),
        (Method::POST, "/v1/leases/renew", json!({ "token": spare })),
        (
            Method::POST,
            "/v1/leases/renew-many",
            json!({ "tokens": [spare] }),
        ),
        (Method::POST, "/v1/leases/leave", json!({ "token": spare })),
        (
            Method::POST,
            "/v1/leases/release",
            json!({ "token": spare }),
        ),
        (
            Method::POST,
            "/v1/pools/spare/leases/terminate",
            json!({"all": true}),
        ),
        (Method::GET, "/v1/pools/spare/leases", json!(null)),
        (Method::GET, "/v1/pools/spare/availability", json!(null)),
        (Method::GET, "/v1/pools/spare", json!(null)),
        (Method::GET, "/v1/pools", json!(null)),
        (Method::PUT, "/v1/pools/spare", json!({"capacity": 5})),
        (Method::PATCH, "/v1/pools/spare", json!({"capacity": 5})),
        (Method::DELETE, "/v1/pools/spare", json!(null)),
    ];
    let answers = calls.into_iter().map(|(method, path, body)| async move {
        let call = node.call(method, path);
        let call = if body.is_null() {
            call
        } else {
            call.json(&body)
        };
        let asked = Instant::now();
        let answer = call.expect(503).await;
        let took = asked.elapsed();
        assert_eq!(
            answer["code"], "store_unavailable",
            "{path}: {}",
            answer.text
        );
        assert!(took < Duration::from_secs(1), "{path} took {took:?}");
    });
    join_all(answers).await;
}

/// Calls until one works, which has to be within a second.
#[track_caller]
fn recovers(node: &Client) -> impl Future<Output = ()> {
    wait_until("the node works again", Duration::from_secs(1), async || {
        let answer = node.acquire("crm", json!({}), [201, 404, 409, 503]).await;
        answer.status != 503
    })
}

#[tokio::test]
async fn without_redis_every_call_is_refused_within_a_second_and_all_is_well_a_second_after_its_return()
 {
    let mut cluster = Installation::one().await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let token = node.acquire("crm", json!({}), 201).await.token();
    let spare = spare(node).await;

    for _ in 0..2 {
        cluster.redis.kill().await;
        every_call_is_refused_in_time(node, &spare).await;
        // Once it is known that nobody listens, it is known that nothing ran.
        wait_until(
            "it is known that nothing runs",
            Duration::from_secs(3),
            async || node.acquire("crm", json!({}), 503).await["outcome"] == "none",
        )
        .await;
        every_call_is_refused_in_time(node, &spare).await;
        wait_until(
            "the node is not ready",
            Duration::from_secs(3),
            async || node.probe("/readyz").await == Some(503),
        )
        .await;
        assert_eq!(node.probe("/livez").await, Some(200));

        let_pass(1_500).await;
        cluster.redis.restart().await;
        recovers(node).await;
        wait_until("the node is ready", Duration::from_secs(2), async || {
            node.is_ready().await
        })
        .await;
        node.renew(&token, 200).await;
    }
}

#[tokio::test]
async fn a_node_that_says_it_is_ready_takes_the_next_request() {
    let redis = Redis::start().await;
    let mut proxy = Proxy::start(redis.address());
    let node = Launch::on(&redis.url_through(&proxy)).start().await;
    node.put_pool("crm", json!({"capacity": 50}), 201).await;

    for round in 0..10 {
        proxy.drop_replies();
        // So many that calls are not even tried any more.
        join_all((0..8).map(|_| node.acquire_once("crm", "meanwhile", json!({}), 503))).await;
        proxy.restore();
        node.ready().await;
        node.acquire_once("crm", &format!("tab-{round}"), json!({}), 201)
            .await;
    }
}

#[tokio::test]
async fn a_frozen_redis_holds_up_nobody_for_a_second_and_fills_no_memory() {
    let mut cluster = Installation::one().await;
    let node = &cluster.nodes[0];
    node.put_pool("crm", json!({"capacity": 5}), 201).await;
    let token = node.acquire("crm", json!({}), 201).await.token();
    let spare = spare(node).await;
    // The first requests of a process fill its caches.
    join_all((0..200).map(|_| node.renew(&token, 200))).await;
    let before = node.memory_kib();

    cluster.redis.freeze().await;
    for _ in 0..5 {
        every_call_is_refused_in_time(node, &spare).await;
        let asked = Instant::now();
        join_all((0..200).map(|_| node.renew(&token, 503))).await;
        assert!(
            asked.elapsed() < Duration::from_millis(1_500),
            "200 calls took {:?}",
            asked.elapsed()
        );
    }
    let after = node.memory_kib();
    assert!(
        after < before + 50 * 1024,
        "{before} KiB before, {after} KiB after"
    );

    cluster.redis.thaw().await;
    recovers(node).await;
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_an_outage_of_one_node() {
    let redis = Redis::start().await;
    let mut proxy = Proxy::start(redis.address());
    let cut_off = Launch::on(&redis.url_through(&proxy)).start().await;
    let other = Launch::on(&redis.url()).start().await;
    other.put_pool("crm", json!({"capacity": 5}), 201).await;
    let token = cut_off.acquire("crm", json!({}), 201).await.token();
    let spare = spare(&cut_off).await;

    proxy.black_hole();
    every_call_is_refused_in_time(&cut_off, &spare).await;
    every_call_is_refused_in_time(&cut_off, &spare).await;
    other.renew(&token, 200).await;
    proxy.restore();

    recovers(&cut_off).await;
    other.renew(&token, 200).await;
}

#[tokio::test]
async fn a_slow_redis_is_waited_for_and_a_too_slow_one_is_not() {
    let redis = Redis::start().await;
    let mut proxy = Proxy::start(redis.address());
    let node = Launch::on(&redis.url_through(&proxy)).start().await;
    node.put_pool("crm", json!({"capacity": 5}), 201).await;

    let spare = spare(&node).await;

    proxy.delay(Duration::from_millis(100));
    node.acquire_once("crm", "tab-1", json!({}), 201).await;
    proxy.delay(Duration::from_millis(900));
    every_call_is_refused_in_time(&node, &spare).await;
    node.acquire_once("crm", "tab-2", json!({}), 503).await;
    proxy.restore();

    recovers(&node).await;
    node.acquire_once("crm", "tab-2", json!({}), [200, 201])
        .await;
    let again = node.acquire_once("crm", "tab-2", json!({}), 200).await;
    node.renew(&again.token(), 200).await;
}

/// Three who wait for the one seat of a pool, in their order, and who has it.
async fn queue_of_three(node: &Node) -> (Reply, Vec<Value>) {
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 9}});
    node.put_pool("queue", policy, 201).await;
    let held = node.acquire("queue", json!({"holder": "ann"}), 201).await;
    let mut tickets = Vec::new();
    for holder in ["bob", "cid", "dan"] {
        let wait = json!({"holder": holder, "wait": true});
        let queued = node.acquire("queue", wait, 202).await;
        tickets.push(json!({"ticket": queued["ticket"]}));
    }
    (held, tickets)
}

/// A newcomer asks first, the three after it, the last of them first: each is where it was, and served in that order.
async fn nobody_was_overtaken(nodes: &[Node], held: &Reply, tickets: &[Value]) {
    let wait = json!({"holder": "eve", "wait": true});
    let newcomer = nodes[0].acquire("queue", wait, 202).await;
    assert_eq!(newcomer["position"], 4, "{}", newcomer.text);
    for (place, ticket) in tickets.iter().enumerate().rev() {
        let node = &nodes[place % nodes.len()];
        let asked = node.acquire("queue", ticket.clone(), 202).await;
        assert_eq!(asked["position"], place + 1, "{}", asked.text);
    }
    let mut token = held.token();
    nodes[0].renew(&token, 200).await;
    let newcomer = json!({"ticket": newcomer["ticket"]});
    for ticket in tickets.iter().chain([&newcomer]) {
        nodes[0].release(&token, 204).await;
        token = nodes[0].acquire("queue", ticket.clone(), 201).await.token();
    }
}

/// Longer than a waiter may be silent.
const QUEUE_OUTAGE_MS: u64 = 7_500;

#[tokio::test]
async fn places_in_the_queue_outlast_a_redis_that_was_away() {
    let mut cluster = Installation::two().await;
    let (held, tickets) = queue_of_three(&cluster.nodes[0]).await;
    cluster.redis.kill().await;
    let_pass(QUEUE_OUTAGE_MS).await;
    cluster.redis.restart().await;
    recovers(&cluster.nodes[0]).await;
    recovers(&cluster.nodes[1]).await;
    nobody_was_overtaken(&cluster.nodes, &held, &tickets).await;
}

#[tokio::test]
async fn places_in_the_queue_outlast_a_redis_that_was_frozen_but_not_a_waiter_that_was_gone_before()
{
    let mut cluster = Installation::two().await;
    let (held, tickets) = queue_of_three(&cluster.nodes[0]).await;
    let gone = json!({"holder": "fay", "wait": true});
    let gone = cluster.nodes[0].acquire("queue", gone, 202).await;
    // The others go on asking.
    for _ in 0..13 {
        let_pass(500).await;
        for ticket in &tickets {
            cluster.nodes[1].acquire("queue", ticket.clone(), 202).await;
        }
    }
    cluster.redis.freeze().await;
    let_pass(QUEUE_OUTAGE_MS).await;
    cluster.redis.thaw().await;
    recovers(&cluster.nodes[0]).await;
    recovers(&cluster.nodes[1]).await;
    let gone = json!({"ticket": gone["ticket"]});
    cluster.nodes[0].acquire("queue", gone, 410).await;
    nobody_was_overtaken(&cluster.nodes, &held, &tickets).await;
}

#[tokio::test]
async fn places_in_the_queue_outlast_a_time_without_nodes_and_are_given_up_6_s_after_it() {
    let mut cluster = Installation::two().await;
    let (held, mut tickets) = queue_of_three(&cluster.nodes[0]).await;
    for node in &cluster.nodes {
        node.kill();
    }
    let_pass(QUEUE_OUTAGE_MS).await;
    for node in &mut cluster.nodes {
        node.restart().await;
    }
    // The second does not come back, and holds up those behind it for as long as ever.
    let node = cluster.first();
    let gone = tickets.remove(1);
    node.release(&held.token(), 204).await;
    let mut token = node.acquire("queue", tickets[0].clone(), 201).await.token();
    node.release(&token, 204).await;
    let begun = Instant::now();
    token = loop {
        let asked = node.acquire("queue", tickets[1].clone(), [201, 202]).await;
        if asked.status == 201 {
            break asked.token();
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{}", asked.text);
        let_pass(200).await;
    };
    node.renew(&token, 200).await;
    // It was passed over before, when its next question was due. Its place ends later, six seconds after the return: until then it would
    // be where it was with a question.
    tokio::time::sleep_until((begun + Duration::from_millis(6_200)).into()).await;
    node.acquire("queue", gone, 410).await;
}

#[tokio::test]
async fn a_page_that_left_and_comes_back_after_an_outage_that_is_short_against_the_ttl_has_its_seat()
 {
    let mut cluster = Installation::two().await;
    let (a, b) = (&cluster.nodes[0], &cluster.nodes[1]);
    let policy = json!({"capacity": 1, "ttl_ms": 60_000, "linger_ms": 5_000});
    a.put_pool("crm", policy, 201).await;
    let lease = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    a.leave(&lease.token(), 204).await;
    cluster.redis.freeze().await;
    let_pass(7_000).await;
    cluster.redis.thaw().await;
    recovers(b).await;
    b.acquire("crm", json!({"holder": "eve"}), 409).await;
    a.renew(&lease.token(), 200).await;

    // Who does not come back has it for the linger time, and no longer.
    a.leave(&lease.token(), 204).await;
    cluster.redis.freeze().await;
    let_pass(7_000).await;
    cluster.redis.thaw().await;
    recovers(b).await;
    let back = Instant::now();
    wait_until("the seat is free", Duration::from_secs(8), async || {
        b.acquire("crm", json!({"holder": "eve"}), [201, 409])
            .await
            .status
            == 201
    })
    .await;
    assert!(back.elapsed() > Duration::from_secs(3));
}

#[tokio::test]
async fn the_window_of_a_resume_does_not_pass_while_nobody_could_beat() {
    let mut cluster = Installation::one().await;
    let node = &cluster.nodes[0];
    let policy = json!({"capacity": 2, "ttl_ms": 1_000, "resume_window_ms": 4_000});
    node.put_pool("crm", policy, 201).await;
    let late = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let later = node.acquire("crm", json!({"holder": "bob"}), 201).await;
    let_pass(2_000).await;
    cluster.redis.freeze().await;
    let_pass(5_000).await;
    cluster.redis.thaw().await;
    recovers(node).await;
    assert_eq!(node.renew(&late.token(), 200).await["resumed"], true);
    let_pass(4_100).await;
    assert_eq!(
        node.renew(&later.token(), 410).await["code"],
        "lease_expired"
    );
}
