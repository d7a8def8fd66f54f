//! Redis's clock is set, or a server takes over whose clock differs: nothing ends early, nothing stops, and history stays in order.
//!
//! The clock of a private server is moved by a library that is loaded into it (`chaos/clock.c`); where there is no C compiler
//! these tests cannot run, and report that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::admin_pages::log_in;
use crate::chaos::stage::Clock;
use crate::failover::run;
use crate::harness::{
    ANY, Behaviour, Launch, Node, Receiver, Reply, Scrape, Server, let_pass, wait_until,
};

const HOUR: i64 = 60 * 60 * 1_000;
/// How far the time of leases is ahead of Redis's clock.
const SHIFT: &str = "leasehold_clock_shift_seconds";

/// A Redis whose clock can be set, and two nodes.
struct Stage {
    nodes: Vec<Node>,
    server: Server,
    clock: Clock,
}

impl Stage {
    async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Option<Self> {
        let Some(clock) = Clock::build() else {
            eprintln!("there is no C compiler: nothing to test");
            return None;
        };
        let server = Server::alone(true, clock.environment()).await;
        let url = format!("redis://127.0.0.1:{}/0", server.port);
        let launches = (0..2).map(|_| Launch::on(&url).set_all(settings).start());
        let nodes = join_all(launches).await;
        Some(Self {
            nodes,
            server,
            clock,
        })
    }

    /// Sets the clock of Redis, and waits until it goes by that.
    async fn set(&self, offset_ms: i64) {
        self.clock.set(offset_ms);
        wait_until("the clock is set", Duration::from_secs(5), async || {
            let (seconds, _): (i64, i64) = self.server.query(&["TIME"]).await;
            let here = crate::chaos::crowd::now_ms() as i64;
            (seconds * 1_000 - here - offset_ms).abs() < 1_500
        })
        .await;
    }

    /// The history of a pool: the place of each event, ms, and its fields.
    async fn events(&self, pool: &str) -> Vec<(i64, HashMap<String, String>)> {
        let keys: Vec<String> = self
            .server
            .query(&["KEYS", &format!("lh1:*:{pool}:events")])
            .await;
        let entries: Vec<(String, HashMap<String, String>)> =
            self.server.query(&["XRANGE", &keys[0], "-", "+"]).await;
        let place = |id: &str| id.split('-').next().and_then(|ms| ms.parse().ok());
        entries
            .into_iter()
            .map(|(id, fields)| (place(&id).expect("an id"), fields))
            .collect()
    }

    async fn shift(&self) -> f64 {
        let scrape = Scrape::of(&self.nodes[0]).await;
        scrape.get(SHIFT, &[]).expect("every node says it")
    }
}

/// Asks until there is a seat, and tells when, counted from `since`.
async fn seat_after(
    node: &Node,
    pool: &str,
    since: Instant,
    patience: Duration,
) -> (Reply, Duration) {
    loop {
        let answer = node
            .acquire(pool, json!({"holder": "next"}), [201, 409, 503])
            .await;
        if answer.status == 201 {
            return (answer, since.elapsed());
        }
        assert!(
            since.elapsed() < patience,
            "no seat after {:?}: {}",
            since.elapsed(),
            answer.text
        );
        let_pass(50).await;
    }
}

/// A crashed holder's seat is free on time, and at most 3 s later, while one who beats keeps his.
async fn a_crashed_holder_is_followed(steps: &[(u64, i64)]) {
    const TTL: u64 = 6_000;
    let Some(stage) = Stage::start().await else {
        return;
    };
    let [a, b] = &stage.nodes[..] else {
        unreachable!()
    };
    a.put_pool("crm", json!({"capacity": 2, "ttl_ms": TTL}), 201)
        .await;
    let beating = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    let mut promised = Instant::now();
    let crashed = a.acquire("crm", json!({"holder": "bob"}), 201).await;
    let mut fence = crashed.number("/lease/fence");
    let mut before = 0;
    for (pause, offset) in steps {
        let_pass(*pause).await;
        stage.set(*offset).await;
        if *offset > before {
            // A step forward is taken for an outage: who lives has one more TTL.
            promised = Instant::now();
        }
        before = *offset;
    }
    let beats = async {
        loop {
            b.renew(&beating.token(), 200).await;
            let_pass(TTL / 4).await;
        }
    };
    let patience = Duration::from_millis(TTL + 3_500);
    let (seat, after) = tokio::select! {
        _ = beats => unreachable!(),
        seat = seat_after(a, "crm", promised, patience) => seat,
    };
    assert!(
        after >= Duration::from_millis(TTL - 100) && after <= Duration::from_millis(TTL + 3_000),
        "{after:?}"
    );
    assert!(seat.number("/lease/fence") > fence);
    fence = seat.number("/lease/fence");
    // And all goes on: what is left is over after its linger time, and the next has a greater fence.
    b.leave(&seat.token(), 204).await;
    b.patch_pool("crm", json!({"linger_ms": 1_000}), 200).await;
    b.renew(&seat.token(), 200).await;
    b.leave(&seat.token(), 204).await;
    let left = Instant::now();
    let (next, after) = seat_after(b, "crm", left, Duration::from_secs(4)).await;
    assert!(after >= Duration::from_millis(900), "{after:?}");
    assert!(next.number("/lease/fence") > fence);
    in_order(&stage.events("crm").await);
}

/// Instants never fall but for ends by time, which carry their own, and the place of an event is when it was written.
fn in_order(events: &[(i64, HashMap<String, String>)]) {
    let mut newest = 0;
    for (place, event) in events {
        let at: i64 = event["at"].parse().expect("milliseconds");
        if event["reason"] != "expired" {
            assert!(at >= newest, "{events:#?}");
            newest = at;
        }
        assert!(*place + 1_000 >= at, "written at {place}: {event:?}");
    }
    assert!(events.len() >= 5, "{events:#?}");
}

#[tokio::test]
async fn a_clock_that_goes_back_by_30_s_stops_nobody() {
    a_crashed_holder_is_followed(&[(1_000, -30_000)]).await;
}

#[tokio::test]
async fn a_clock_that_goes_back_by_an_hour_stops_nobody() {
    a_crashed_holder_is_followed(&[(1_000, -HOUR)]).await;
}

#[tokio::test]
async fn a_clock_that_is_an_hour_ahead_for_a_moment_stops_nobody() {
    a_crashed_holder_is_followed(&[(500, HOUR), (2_000, 0)]).await;
}

#[tokio::test]
async fn a_clock_that_goes_back_and_is_put_right_takes_nobodys_seat() {
    let Some(stage) = Stage::start().await else {
        return;
    };
    let node = &stage.nodes[0];
    node.put_pool("crm", json!({"capacity": 1, "ttl_ms": 2_000}), 201)
        .await;
    let lease = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let beat = async |pause: u64| {
        let_pass(pause).await;
        node.renew(&lease.token(), 200).await
    };
    beat(500).await;
    stage.set(-30_000).await;
    wait_until("the node says it", Duration::from_secs(5), async || {
        beat(200).await;
        stage.shift().await > 28.0
    })
    .await;
    let ahead = beat(0).await.instant("/lease/expires_at") - crate::chaos::crowd::now_ms() as i64;
    assert!((500..2_200).contains(&ahead), "{ahead}");

    stage.set(0).await;
    wait_until("it is over", Duration::from_secs(5), async || {
        beat(200).await;
        stage.shift().await == 0.0
    })
    .await;
    let ahead = beat(0).await.instant("/lease/expires_at") - crate::chaos::crowd::now_ms() as i64;
    assert!((500..2_200).contains(&ahead), "{ahead}");
    node.acquire("crm", json!({"holder": "eve"}), 409).await;
    let log = node.all_said().await;
    assert!(log.contains("Redis's clock went back"), "{log}");
    assert!(log.contains("leases go by Redis's clock again"), "{log}");
}

#[tokio::test]
async fn a_shifted_clock_returns_slowly_and_time_never_stands_still() {
    let Some(stage) = Stage::start().await else {
        return;
    };
    let node = &stage.nodes[0];
    node.put_pool("crm", json!({"capacity": 100, "ttl_ms": 60_000}), 201)
        .await;
    stage.set(-20_000).await;
    let start = async || {
        let reply = node.acquire("crm", json!({}), 201).await;
        reply.instant("/lease/started_at")
    };
    wait_until("the metric says it", Duration::from_secs(5), async || {
        stage.shift().await > 15.0
    })
    .await;
    let (begun, first, before) = (Instant::now(), start().await, stage.shift().await);
    let mut last = first;
    while begun.elapsed() < Duration::from_secs(6) {
        let_pass(150).await;
        let next = start().await;
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    let passed = (last - first) as f64 / begun.elapsed().as_millis() as f64;
    assert!((0.93..1.01).contains(&passed), "{passed}");
    wait_until("it shrinks", Duration::from_secs(5), async || {
        stage.shift().await < before - 0.05
    })
    .await;
}

#[tokio::test]
async fn the_doctor_and_the_metrics_say_how_far_a_clock_went_back() {
    let Some(stage) = Stage::start().await else {
        return;
    };
    let url = format!("redis://127.0.0.1:{}/0", stage.server.port);
    let found = |level: &str, words: &str| {
        let output = run("doctor", &url);
        let findings: Vec<Value> = serde_json::from_slice(&output.stdout).expect("findings");
        findings.iter().any(|finding| {
            let text = finding["found"].as_str().unwrap_or_default();
            finding["level"] == level && text.contains(words)
        })
    };
    assert!(found("ok", "leases go by its clock"));
    assert_eq!(stage.shift().await, 0.0);
    stage.set(-40_000).await;
    wait_until("the metric says it", Duration::from_secs(5), async || {
        (38.0..41.0).contains(&stage.shift().await)
    })
    .await;
    assert!(found("warning", "its clock went back"));
}

#[tokio::test]
async fn blocks_waits_and_denials_go_on_when_the_clock_goes_back() {
    let Some(stage) = Stage::start().await else {
        return;
    };
    let node = &stage.nodes[0];
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 9}});
    node.put_pool("crm", policy, 201).await;
    let held = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let wait = |holder: &str| json!({"holder": holder, "wait": true});
    let asked = Instant::now();
    let silent = node.acquire("crm", wait("bob"), 202).await;
    let answered = Instant::now();
    let patient = node.acquire("crm", wait("cid"), 202).await;
    let blocked = json!({"holder": "dan", "block_ms": 4_000});
    node.terminate("crm", blocked, 200).await;
    stage.set(-HOUR).await;
    let begun = Instant::now();
    let denied = node.acquire("crm", json!({"holder": "dan"}), 409).await;
    assert_eq!(denied["code"], "holder_blocked");
    // The silent one is dropped in his time, the other is first then.
    node.release(&held.token(), 204).await;
    let ticket = json!({"ticket": patient["ticket"]});
    loop {
        let answer = node.acquire("crm", ticket.clone(), [201, 202]).await;
        if answer.status == 201 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(9), "{}", answer.text);
        let_pass(200).await;
    }
    // The silent one was called first. The seat was kept for it until its next question was due, with 600 ms to be late; then it was
    // passed over, so that it holds up those behind it no longer than that.
    assert!(asked.elapsed() > Duration::from_millis(2_500));
    // Its place ends after six seconds of silence, and at most one more where the clock went back.
    tokio::time::sleep_until((answered + Duration::from_millis(7_500)).into()).await;
    node.acquire("crm", json!({"ticket": silent["ticket"]}), 410)
        .await;
    let denied = node.acquire("crm", json!({"holder": "dan"}), 409).await;
    assert_eq!(denied["code"], "pool_full");
}

#[tokio::test]
async fn a_failover_to_a_host_whose_clock_is_behind_is_an_outage_all_the_same() {
    let Some(stage) = Stage::start().await else {
        return;
    };
    let [a, b] = &stage.nodes[..] else {
        unreachable!()
    };
    a.put_pool("crm", json!({"capacity": 1, "ttl_ms": 8_000}), 201)
        .await;
    let lease = a.acquire("crm", json!({"holder": "ann"}), 201).await;
    let_pass(4_000).await;
    // The data goes on after six seconds, on a clock that is half a minute behind.
    stage.server.signal("STOP");
    stage.clock.set(-30_000);
    let_pass(6_000).await;
    stage.server.signal("CONT");
    stage.server.answers().await;
    let back = Instant::now();
    // Without the six seconds it would be over four after the return.
    while back.elapsed() < Duration::from_millis(5_500) {
        let answer = b.acquire("crm", json!({"holder": "eve"}), [409, 503]).await;
        drop(answer);
        let_pass(200).await;
    }
    a.renew(&lease.token(), 200).await;
}

#[tokio::test]
async fn a_step_forward_keeps_the_queue_and_what_redis_would_have_forgotten() {
    const KEY: &str = "the-operator-key-of-the-tests";
    let Some(stage) = Stage::start_with(&[("admin_key", KEY)]).await else {
        return;
    };
    let node = stage.nodes[0].with_key(KEY);
    let other = stage.nodes[1].with_key(KEY);
    let policy = json!({"capacity": 1, "queue": {"max_waiting": 9}});
    node.put_pool("crm", policy, 201).await;
    let held = node
        .acquire_once("crm", "tab-1", json!({"holder": "ann"}), 201)
        .await;
    let mut tickets = Vec::new();
    for holder in ["bob", "cid", "dan"] {
        let queued = node
            .acquire("crm", json!({"holder": holder, "wait": true}), 202)
            .await;
        tickets.push(json!({"ticket": queued["ticket"]}));
    }
    let cookie = log_in(&stage.nodes[0], KEY).await;

    let mut offset = 0;
    // By ten seconds; by five, and a moment of silence; by an hour.
    for (step, silence) in [(10_000, 0), (5_000, 1_500), (HOUR, 0)] {
        offset += step;
        if silence > 0 {
            stage.server.signal("STOP");
        }
        stage.clock.set(offset);
        let_pass(silence).await;
        stage.server.signal("CONT");
        stage.set(offset).await;
        let newcomer = json!({"holder": "eve", "wait": true});
        let newcomer = other.acquire("crm", newcomer, [202, 503]).await;
        if newcomer.status == 202 {
            assert!(newcomer.number("/position") > 3, "{}", newcomer.text);
        }
        for (place, ticket) in tickets.iter().enumerate().rev() {
            // The node may not have noticed yet that Redis is back.
            let mut asked = node.acquire("crm", ticket.clone(), [202, 503]).await;
            while asked.status == 503 {
                let_pass(100).await;
                asked = node.acquire("crm", ticket.clone(), [202, 503]).await;
            }
            assert_eq!(asked["position"], place + 1, "{}", asked.text);
        }
        other.renew(&held.token(), 200).await;
    }
    // The same request as before the steps yields the same lease.
    let again = node
        .acquire_once("crm", "tab-1", json!({"holder": "ann"}), 200)
        .await;
    assert_eq!(again.id(), held.id());
    let page = stage.nodes[1]
        .get("/admin")
        .header("accept", "text/html")
        .header("cookie", &cookie);
    page.expect(200).await;
}

#[tokio::test]
async fn a_webhook_is_told_once_when_redis_was_away_while_it_answered() {
    let Some(stage) =
        Stage::start_with(&[("webhook_http", "on"), ("webhook_private_networks", "on")]).await
    else {
        return;
    };
    let receiver = Receiver::start().await;
    // The answer takes until Redis is away.
    receiver.now(|_, _| Behaviour::Slow(Duration::from_millis(1_500)));
    let node = &stage.nodes[0];
    let webhook = json!({"url": receiver.url(), "events": ["pool.full"]});
    let webhook = node.post("/v1/webhooks").json(&webhook).expect(201).await;
    let id = webhook["id"].as_str().expect("an id").to_owned();
    node.post(&format!("/v1/webhooks/{id}/test"))
        .expect(202)
        .await;
    receiver.got(1).await;
    // Longer than a claim, by the clock of Redis.
    stage.server.signal("STOP");
    stage.clock.set(40_000);
    let_pass(4_000).await;
    stage.server.signal("CONT");
    wait_until("it is delivered", Duration::from_secs(20), async || {
        let listed = node
            .get(&format!("/v1/webhooks/{id}/deliveries?state=delivered"))
            .expect(ANY)
            .await;
        listed.status == 200 && !listed.list("items").is_empty()
    })
    .await;
    let_pass(1_500).await;
    assert_eq!(receiver.messages().len(), 1);
}
