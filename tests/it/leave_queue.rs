//! A waiter that is gone gets nothing: it left by a call, or its connection broke.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Client, Installation, Launch, Node, Proxy, Reply, let_pass, raw, wait_until};
use crate::rules::index_is_true;

/// The pause that a waiter gets before it asks again, and what a loaded machine may add.
const RETRY: Duration = Duration::from_millis(2_000 + 1_500);

fn ticket(reply: &Reply) -> Value {
    json!({"ticket": reply["ticket"]})
}

fn wait(holder: &str) -> Value {
    json!({"holder": holder, "label": format!("{holder}'s desk"), "wait": true})
}

async fn pool_of_one(node: &Node) -> Reply {
    let policy = json!({"capacity": 1, "ttl_ms": 60_000, "queue": {"max_waiting": 9}});
    node.put_pool("crm", policy, 201).await;
    node.acquire("crm", json!({"holder": "ann"}), 201).await
}

async fn leave(node: &Client, body: Value, status: u16) -> Reply {
    let call = node.post("/v1/pools/crm/queue/leave").json(&body);
    call.expect(status).await
}

async fn places(node: &Client) -> Vec<String> {
    let queue = node.get("/v1/pools/crm/queue").expect(200).await;
    let name = |item: &Value| item["holder"].as_str().unwrap().to_owned();
    queue.list("items").iter().map(name).collect()
}

async fn seats(node: &Client) -> Vec<String> {
    let leases = node.list("crm", "", 200).await;
    let name = |item: &Value| item["holder"].as_str().unwrap().to_owned();
    leases.list("items").iter().map(name).collect()
}

/// An acquire that is held open on a connection of its own.
struct Open {
    stream: TcpStream,
    request: String,
}

impl Open {
    async fn ask(node: &Client, body: &Value, key: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(node.address()).await.unwrap();
        let key = key.map_or(String::new(), |key| format!("Idempotency-Key: {key}\r\n"));
        let request = raw::request("POST", "/v1/pools/crm/leases", &key, &body.to_string());
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, request }
    }

    /// Closes the connection in order, or breaks it off.
    fn close(self, in_order: bool) {
        if !in_order {
            self.stream.set_zero_linger().unwrap();
        }
        drop(self.stream);
    }

    /// The token of the grant, if it has come.
    fn has_answered(&self) -> Option<String> {
        let mut text = vec![0; 4_096];
        let read = self.stream.try_read(&mut text).ok()?;
        let reply = raw::parse(self.request.as_bytes(), &text[..read])?;
        reply["token"].as_str().map(str::to_owned)
    }

    async fn answer(mut self) -> Reply {
        raw::answer(&mut self.stream, self.request.as_bytes()).await
    }
}

/// Asks at the given times until it has a seat.
async fn served(node: &Client, mut body: Value, within: Duration) -> Reply {
    let began = Instant::now();
    loop {
        body["wait_ms"] = json!(1_500);
        let reply = node.acquire("crm", body.clone(), [201, 202]).await;
        assert!(
            reply.status == 201 || began.elapsed() < within,
            "not served within {within:?}: {}",
            reply.text
        );
        if reply.status == 201 {
            assert!(
                began.elapsed() < within,
                "served after {:?}",
                began.elapsed()
            );
            return reply;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_that_closed_its_connection_is_not_served_and_the_next_one_is_in_its_own_time() {
    for (in_order, gone_before) in [(true, 300), (false, 300), (true, 1_300), (true, 20)] {
        let cluster = Installation::two().await;
        let (a, b) = cluster.pair();
        let held = pool_of_one(a).await;
        let first = a.acquire("crm", wait("bob"), 202).await;
        let mut ask = ticket(&first);
        ask["wait_ms"] = json!(25_000);
        let open = Open::ask(a, &ask, None).await;
        let next = b.acquire("crm", wait("cid"), 202).await;
        let_pass(500).await;
        open.close(in_order);
        let_pass(gone_before).await;
        a.release(&held.token(), 204).await;
        let granted = served(b, ticket(&next), RETRY).await;
        assert_eq!(granted["lease"]["holder"], "cid");
        assert_eq!(seats(a).await, ["cid"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seat_that_was_granted_while_its_client_went_away_goes_to_the_next_one() {
    let cluster = Installation::one().await;
    let b = &cluster.nodes[0];
    let mut held = pool_of_one(b).await;
    let mut proxy = Proxy::start(cluster.redis.address());
    let a = Launch::on(&cluster.redis.url_through(&proxy)).start().await;
    for key in [None, Some("tab-1")] {
        let first = a.acquire("crm", wait("bob"), 202).await;
        let next = b.acquire("crm", wait("cid"), 202).await;
        let mut ask = ticket(&first);
        ask["wait_ms"] = json!(25_000);
        let open = Open::ask(&a, &ask, key).await;
        let_pass(300).await;
        // The node asks for its client, which is gone when the answer is there.
        proxy.delay(Duration::from_millis(250));
        b.release(&held.token(), 204).await;
        let_pass(100).await;
        open.close(true);
        wait_until("the seat was granted", Duration::from_secs(5), async || {
            let events = cluster.redis.events("crm").await;
            events
                .iter()
                .any(|event| event.kind == "started" && event.holder == "bob")
        })
        .await;
        proxy.restore();
        held = served(b, ticket(&next), RETRY).await;
        assert_eq!(held["lease"]["holder"], "cid");
        // The one that is gone has its place, and nothing else.
        assert_eq!(seats(b).await, ["cid"]);
        assert_eq!(b.acquire("crm", ticket(&first), 202).await["position"], 1);
        b.release(&held.token(), 204).await;
        held = a.acquire("crm", ticket(&first), 201).await;
        assert_eq!(held["lease"]["label"], "bob's desk");
        assert_eq!(b.renew(&held.token(), 200).await["lease"]["id"], held.id());
        b.release(&held.token(), 204).await;
        held = b.acquire("crm", json!({"holder": "ann"}), 201).await;
    }
    // What was taken back is in the history.
    assert_eq!(cluster.redis.balance("crm").await, (1, 1));
    index_is_true(&cluster.redis, "crm", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_closes_its_connection_right_before_its_turn_does_not_keep_the_seat_with_nobody() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let mut held = pool_of_one(node).await;
    for turn in 0..8 {
        let first = node.acquire("crm", wait("bob"), 202).await;
        let next = node.acquire("crm", wait("cid"), 202).await;
        let mut ask = ticket(&first);
        ask["wait_ms"] = json!(25_000);
        let open = Open::ask(node, &ask, None).await;
        let_pass(60).await;
        open.close(turn % 3 > 0);
        node.release(&held.token(), 204).await;
        held = served(node, ticket(&next), RETRY).await;
        assert_eq!(held["lease"]["holder"], "cid", "in turn {turn}");
        leave(node, ticket(&first), 204).await;
        assert_eq!(node.availability("crm", 200).await["waiting"], 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_again_with_its_ticket_is_where_it_was() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let held = pool_of_one(a).await;
    let first = a.acquire("crm", wait("bob"), 202).await;
    let next = b.acquire("crm", wait("cid"), 202).await;
    let mut ask = ticket(&first);
    ask["wait_ms"] = json!(25_000);
    // A page that loads again, and is there when its turn comes.
    let open = Open::ask(a, &ask, None).await;
    let_pass(200).await;
    open.close(true);
    let_pass(200).await;
    a.release(&held.token(), 204).await;
    b.acquire("crm", ticket(&next), 202).await;
    b.acquire("crm", json!({"holder": "eve"}), 409).await;
    let held = b.acquire("crm", ticket(&first), 201).await;
    assert_eq!(held["lease"]["holder"], "bob");

    // One that takes longer was passed over once, and is the next all the same.
    let longer = a.acquire("crm", wait("bob"), 202).await;
    assert_eq!(longer["position"], 2);
    let mut ask = ticket(&next);
    ask["wait_ms"] = json!(25_000);
    let open = Open::ask(a, &ask, None).await;
    let_pass(200).await;
    open.close(true);
    let_pass(1_300).await;
    b.release(&held.token(), 204).await;
    let held = a.acquire("crm", ticket(&longer), 201).await;
    assert_eq!(places(b).await, ["cid"]);
    assert_eq!(b.acquire("crm", ticket(&next), 202).await["position"], 1);
    a.release(&held.token(), 204).await;
    a.acquire("crm", ticket(&next), 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_nobody_can_ask_for_again_is_given_up_at_once() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    pool_of_one(node).await;
    for key in [None, Some("tab-1")] {
        let ask = json!({"holder": "bob", "wait": true, "wait_ms": 25_000});
        let open = Open::ask(node, &ask, key).await;
        wait_until("it waits", Duration::from_secs(3), async || {
            places(node).await == ["bob"]
        })
        .await;
        open.close(true);
        if key.is_none() {
            wait_until("its place is free", Duration::from_secs(2), async || {
                places(node).await.is_empty()
            })
            .await;
        }
    }
    // With its key it finds the place that it had.
    let again = node.acquire_once("crm", "tab-1", wait("bob"), 202).await;
    assert_eq!(again["position"], 1);
    assert_eq!(places(node).await, ["bob"]);
}

#[tokio::test]
async fn while_places_lapse_the_retry_time_is_short_and_the_words_are_true() {
    let cluster = Installation::start_with(1, &[("sweep_every_ms", "0")]).await;
    let node = cluster.first();
    let held = pool_of_one(node).await;
    node.acquire("crm", wait("bob"), 202).await;
    node.acquire("crm", wait("cid"), 202).await;
    let full = node.acquire("crm", json!({"holder": "eve"}), 409).await;
    assert!(full["detail"].as_str().unwrap().contains("is in use"));
    node.release(&held.token(), 204).await;
    let began = Instant::now();
    loop {
        let reply = node
            .acquire("crm", json!({"holder": "eve"}), [201, 409])
            .await;
        if reply.status == 201 {
            break;
        }
        assert_eq!(
            (&reply["code"], &reply["in_use"]),
            (&json!("pool_full"), &json!(0))
        );
        let detail = reply["detail"].as_str().unwrap();
        assert!(
            detail.contains("promised") && !detail.contains("in use"),
            "{detail}"
        );
        let retry = reply.number("/retry_after_ms");
        assert!((1..=6_000).contains(&retry), "{retry}");
        assert!(began.elapsed() < Duration::from_secs(8));
        let_pass(retry.min(700)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_frees_the_place_at_once_and_the_next_one_is_told() {
    let cluster = Installation::two().await;
    let (a, b) = cluster.pair();
    let held = pool_of_one(a).await;
    let first = a.acquire("crm", wait("bob"), 202).await;
    let next = b.acquire("crm", wait("cid"), 202).await;
    a.release(&held.token(), 204).await;
    let mut ask = ticket(&next);
    ask["wait_ms"] = json!(20_000);
    let waiter = tokio::spawn(b.acquire("crm", ask, 201));
    let_pass(300).await;
    let began = Instant::now();
    // As a page does that goes away: no media type, no key.
    let beacon = a.post("/v1/pools/crm/queue/leave");
    let beacon = beacon.header("content-type", "text/plain;charset=UTF-8");
    beacon.body(ticket(&first).to_string()).expect(204).await;
    let granted = waiter.await.unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(700),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(granted["lease"]["holder"], "cid");
    // Again, and with a ticket that is over.
    leave(b, ticket(&first), 204).await;
    assert_eq!(
        a.acquire("crm", ticket(&first), 410).await["code"],
        "ticket_expired"
    );

    // Of a ticket that has its seat the seat is given back.
    leave(a, ticket(&next), 204).await;
    leave(a, ticket(&next), 204).await;
    assert_eq!(
        b.renew(&granted.token(), 410).await["code"],
        "lease_released"
    );
    assert_eq!(a.availability("crm", 200).await["free"], 1);
    let events = cluster.redis.events("crm").await;
    let left: Vec<_> = events
        .iter()
        .filter(|event| event.kind == "gave_up")
        .collect();
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].holder.as_str(), left[0].reason.as_str()),
        ("bob", "left")
    );
}

#[tokio::test]
async fn only_a_ticket_of_the_pool_leaves_its_queue() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let held = pool_of_one(node).await;
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 9}});
    node.put_pool("erp", policy, 201).await;
    node.acquire("erp", json!({}), 201).await;
    let foreign = node.acquire("erp", wait("bob"), 202).await;
    let queued = node.acquire("crm", wait("bob"), 202).await;
    for forged in [
        &foreign["ticket"],
        &json!(held.id()),
        &json!(""),
        &json!(held.token()),
    ] {
        let refused = leave(node, json!({"ticket": forged}), 400).await;
        assert_eq!(refused["code"], "invalid_request");
        assert!(!refused.text.contains("\"ey"), "{}", refused.text);
    }
    leave(node, json!({}), 400).await;
    assert_eq!(
        node.acquire("crm", ticket(&queued), 202).await["position"],
        1
    );
    // A pool that is gone has nobody who waits.
    node.call(reqwest::Method::DELETE, "/v1/pools/crm")
        .expect(204)
        .await;
    leave(node, ticket(&queued), 204).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_leaves_and_hangs_up_holds_nobody_up_and_loses_no_seat() {
    let cluster = Installation::two().await;
    let nodes = &cluster.nodes;
    let policy = json!({"capacity": 2, "ttl_ms": 60_000, "queue": {"max_waiting": 50}});
    nodes[0].put_pool("crm", policy, 201).await;
    let began = Instant::now();
    let crowd = (0..16).map(|i| {
        let node = Client::clone(&nodes[i % 2]);
        tokio::spawn(async move {
            let queued = node
                .acquire("crm", wait(&format!("agent-{i}")), [201, 202])
                .await;
            if queued.status == 201 {
                let_pass(150).await;
                node.release(&queued.token(), 204).await;
                return;
            }
            match i % 4 {
                0 => drop(leave(&node, ticket(&queued), 204).await),
                1 => {
                    let mut ask = ticket(&queued);
                    ask["wait_ms"] = json!(25_000);
                    let open = Open::ask(&node, &ask, None).await;
                    let_pass(40 * i as u64).await;
                    match open.has_answered() {
                        // Nothing in HTTP shows that nobody reads it any more.
                        Some(token) => drop(node.release(&token, 204).await),
                        None => open.close(i % 8 == 1),
                    }
                }
                _ => {
                    let granted = served(&node, ticket(&queued), Duration::from_secs(20)).await;
                    let_pass(150).await;
                    node.release(&granted.token(), 204).await;
                }
            }
        })
    });
    for agent in join_all(crowd).await {
        agent.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(seats(&nodes[0]).await, Vec::<String>::new());
    index_is_true(&cluster.redis, "crm", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_heard_is_not_taken_back() {
    let cluster = Installation::one().await;
    let node = cluster.first();
    let held = pool_of_one(node).await;
    let queued = node.acquire("crm", wait("bob"), 202).await;
    let mut ask = ticket(&queued);
    ask["wait_ms"] = json!(25_000);
    let open = Open::ask(node, &ask, None).await;
    let_pass(200).await;
    node.release(&held.token(), 204).await;
    assert_eq!(open.answer().await.status, 201);
    let_pass(300).await;
    assert_eq!(seats(node).await, ["bob"]);
}
