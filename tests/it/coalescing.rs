//! Heartbeats that arrive while a call is under way share the next one, and so do acquires and releases. Nobody pays for the
//! company.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::{join, join_all};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{ANY, Launch, Node, Proxy, Redis, let_pass, raw};

/// So long takes each call of the node.
const DELAY: Duration = Duration::from_millis(120);

/// A node whose calls to Redis take their time, and one whose calls do not.
async fn start() -> (Node, Proxy, Node, Redis) {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.address());
    let slow = Launch::on(&redis.url_through(&proxy)).start().await;
    let fast = Launch::on(&redis.url()).start().await;
    (slow, proxy, fast, redis)
}

/// A number that the node tells Prometheus.
async fn metric(node: &Node, name: &str) -> f64 {
    let answer = node.get("/metrics").expect(200).await;
    let line = answer.text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0.0)
}

#[tokio::test]
async fn in_one_call_everybody_gets_an_answer_of_his_own() {
    let (slow, mut proxy, fast, _redis) = start().await;
    fast.put_pool("crm", json!({"capacity": 50}), 201).await;
    let leases = fast.fill("crm", 20).await;
    let released = fast.acquire("crm", json!({}), 201).await;
    fast.release(&released.token(), 204).await;
    let terminated = fast.acquire("crm", json!({}), 201).await;
    fast.terminate("crm", json!({"ids": [terminated.id()]}), 200)
        .await;
    let gone = fast.acquire("crm", json!({}), 201).await;
    // The node has its connections before they are slow.
    slow.renew(&gone.token(), 200).await;
    let calls = metric(&slow, "leasehold_renewals_per_call_count").await;
    let before: Vec<i64> = leases
        .iter()
        .map(|lease| lease.instant("/lease/expires_at"))
        .collect();

    proxy.delay(DELAY);
    // This one keeps the lane busy, and the others wait behind it.
    let first = tokio::spawn(slow.renew(&leases[0].token(), 200));
    let_pass(50).await;
    let mut client = TcpStream::connect(slow.address())
        .await
        .expect("the node listens");
    let body = json!({ "token": gone.token() }).to_string();
    let request = raw::request("POST", "/v1/leases/renew", "", &body);
    client
        .write_all(request.as_bytes())
        .await
        .expect("the node listens");
    let bad = tokio::spawn(slow.renew("nonsense", 401));
    let ended = [
        tokio::spawn(slow.renew(&released.token(), 410)),
        tokio::spawn(slow.renew(&terminated.token(), 410)),
    ];
    let beats = leases[1..]
        .iter()
        .map(|lease| tokio::spawn(slow.renew(&lease.token(), 200)));
    let beats: Vec<_> = beats.collect();
    let_pass(30).await;
    drop(client);

    let mut answers = vec![first.await.expect("renewed")];
    for answer in join_all(beats).await {
        answers.push(answer.expect("renewed"));
    }
    bad.await.expect("refused");
    let codes = join_all(ended)
        .await
        .into_iter()
        .map(|answer| answer.expect("lost")["code"].clone());
    assert_eq!(
        codes.collect::<Vec<_>>(),
        ["lease_released", "lease_terminated"]
    );
    for ((lease, before), answer) in leases.iter().zip(before).zip(&answers) {
        assert_eq!(answer.id(), lease.id());
        assert_eq!(answer["lease"]["holder"], lease["lease"]["holder"]);
        assert!(answer.instant("/lease/expires_at") > before);
    }
    let calls = metric(&slow, "leasehold_renewals_per_call_count").await - calls;
    assert!(calls <= 4.0, "23 beats took {calls} calls");
}

#[tokio::test]
async fn beats_of_several_pools_share_a_call_and_keep_their_own_terms() {
    let (slow, mut proxy, fast, _redis) = start().await;
    let pools: Vec<_> = (0..8_u64).map(|number| format!("team-{number}")).collect();
    for (pool, ttl) in pools.iter().zip(30_000..) {
        fast.put_pool(pool, json!({"capacity": 1, "ttl_ms": ttl}), 201)
            .await;
    }
    let leases = join_all(pools.iter().map(|pool| fast.acquire(pool, json!({}), 201))).await;
    // The slow node learns of the pools before its calls take long.
    join_all(leases.iter().map(|lease| slow.renew(&lease.token(), 200))).await;
    let calls = metric(&slow, "leasehold_renewals_per_call_count").await;

    proxy.delay(DELAY);
    let twice = leases.iter().chain(&leases);
    let answers = join_all(twice.map(|lease| slow.renew(&lease.token(), 200))).await;

    for ((answer, lease), ttl) in answers.iter().zip(&leases).zip(30_000_u64..) {
        assert_eq!(answer.id(), lease.id());
        assert_eq!(answer.number("/lease/ttl_ms"), ttl);
        assert_eq!(answer.number("/lease/expires_in_ms"), ttl);
    }
    let calls = metric(&slow, "leasehold_renewals_per_call_count").await - calls;
    assert!(calls <= 4.0, "16 beats in 8 pools took {calls} calls");
}

#[tokio::test]
async fn a_crowd_that_goes_away_leaves_nobody_waiting() {
    let (slow, mut proxy, fast, _redis) = start().await;
    fast.put_pool("crm", json!({"capacity": 300}), 201).await;
    let leases = fast.fill("crm", 100).await;

    proxy.delay(DELAY);
    let crowd = leases
        .iter()
        .map(|lease| tokio::spawn(slow.renew(&lease.token(), ANY)));
    let crowd: Vec<_> = crowd.collect();
    let_pass(20).await;
    for client in &crowd {
        client.abort();
    }
    let asked = std::time::Instant::now();
    slow.renew(&leases[0].token(), 200).await;
    // The call that was under way, the next one, and what a busy machine adds: not one for each that has gone.
    assert!(asked.elapsed() < 10 * DELAY, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_crowd_on_one_connection_is_served_in_its_turn() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url())
        .set("redis_connections", "1")
        .start()
        .await;
    node.put_pool("crm", json!({"capacity": 1_000}), 201).await;
    // As many as one connection serves within the time that a call waits for it, also on a busy machine.
    let turns = (0..100).map(|_| async {
        for _ in 0..6 {
            // Whoever asks again at once must not keep those waiting who asked before.
            let lease = node.acquire("crm", json!({}), 201).await;
            node.release(&lease.token(), 204).await;
        }
    });
    join_all(turns).await;
}

#[tokio::test]
async fn each_of_a_crowd_that_logs_in_gets_its_own_answer() {
    let (slow, mut proxy, fast, redis) = start().await;
    fast.put_pool("crm", json!({"capacity": 40}), 201).await;
    let leaving = fast.fill("crm", 10).await;
    let gone = fast.acquire("crm", json!({}), 201).await;
    fast.release(&gone.token(), 204).await;
    let block = fast.call(Method::PUT, "/v1/pools/crm/blocks/bob");
    block.json(&json!({"for_ms": 60_000})).expect(200).await;
    let kept = fast
        .acquire_once("crm", "tab-0", json!({"holder": "eve"}), 201)
        .await;
    // The node has its connections and the policy before they are slow.
    slow.renew(&kept.token(), 200).await;
    let calls = metric(&slow, "leasehold_seats_per_call_count").await;

    proxy.delay(DELAY);
    let crowd = |from: u64, to: u64| {
        let slow = &slow;
        join_all((from..to).map(move |number| {
            let holder =
                json!({"holder": format!("agent-{number}"), "label": format!("Desk {number}")});
            slow.acquire_once("crm", &format!("tab-{number}"), holder, [201, 409])
        }))
    };
    let first = tokio::spawn(slow.acquire("crm", json!({"holder": "first"}), 201));
    let_pass(50).await;
    let back = leaving
        .iter()
        .map(|lease| slow.release(&lease.token(), 204));
    // Seats that come back free the way for those who ask in the same moment.
    let ((granted, _), others) = join(
        join(crowd(1, 39), join_all(back)),
        join_all([
            slow.acquire_once("crm", "tab-0", json!({"holder": "eve"}), 200),
            slow.acquire("crm", json!({"holder": "bob"}), 409),
        ]),
    )
    .await;
    first.await.expect("granted");
    // One more, whose seat was given back before.
    slow.release(&gone.token(), 204).await;
    let calls = metric(&slow, "leasehold_seats_per_call_count").await - calls;
    assert!(calls <= 8.0, "53 requests took {calls} calls");

    assert_eq!(others[0].id(), kept.id());
    assert_eq!(others[0]["lease"]["holder"], "eve");
    assert_eq!(others[1]["code"], "holder_blocked");
    let (mut ids, mut fences) = (HashSet::new(), HashSet::new());
    for (answer, number) in granted.iter().zip(1_u64..) {
        assert_eq!(answer.status, 201, "{number}: {}", answer.text);
        assert_eq!(answer["lease"]["holder"], format!("agent-{number}"));
        assert_eq!(answer["lease"]["label"], format!("Desk {number}"));
        assert!(answer.number("/pool/in_use") <= 40);
        ids.insert(answer.id());
        fences.insert(answer.number("/lease/fence"));
        fast.renew(&answer.token(), 200).await;
    }
    assert_eq!((ids.len(), fences.len()), (38, 38));
    assert_eq!(fast.availability("crm", 200).await["in_use"], 40);
    // Records tell the same as the answers.
    let listed = fast.list("crm", "limit=100", 200).await;
    let known = |answer: &crate::harness::Reply| {
        let found = listed
            .list("items")
            .iter()
            .find(|lease| lease["id"] == answer.id().as_str());
        found.is_some_and(|lease| {
            ["holder", "label", "fence", "started_at"]
                .iter()
                .all(|field| lease[field] == answer["lease"][field])
        })
    };
    assert!(granted.iter().all(known));
    let full = slow.acquire("crm", json!({}), 409).await;
    assert_eq!((full.number("/in_use"), full.number("/capacity")), (40, 40));
    assert_eq!(redis.balance("crm").await, (40, 40));
}

/// Bytes of the append-only file that are about a bucket.
fn appended(redis: &Redis, tag: &str) -> usize {
    let file = redis.appended().unwrap_or_default();
    let mut rest = &file[..];
    let mut bytes = 0;
    while let Some(at) = memchr::memchr(b'*', rest) {
        rest = &rest[at..];
        let end = memchr::memmem::find(&rest[1..], b"\r\n*").map_or(rest.len(), |end| end + 3);
        let (command, others) = rest.split_at(end);
        // What begins and ends a transaction names nothing.
        if memchr::memmem::find(command, tag.as_bytes()).is_some() {
            bytes += command.len();
        }
        rest = others;
    }
    bytes
}

#[tokio::test]
async fn a_login_storm_costs_redis_a_few_commands_for_each() {
    const CLIENTS: usize = 64;
    const ROUNDS: usize = 6;
    let (slow, mut proxy, fast, redis) = start().await;
    fast.put_pool("crm", json!({"capacity": 10_000, "ttl_ms": 600_000}), 201)
        .await;
    let first = slow.acquire("crm", json!({}), 201).await;
    let tag = &redis.tag("crm").await;
    // A Redis in another zone: a call takes longer than a node needs for what comes meanwhile.
    proxy.delay(Duration::from_millis(15));
    let before = appended(&redis, tag);
    let storm = async {
        join_all((0..CLIENTS).map(|client| {
            let slow = &slow;
            async move {
                for round in 0..ROUNDS {
                    let holder = json!({"holder": format!("agent-{client}-{round}")});
                    slow.acquire("crm", holder, 201).await;
                }
            }
        }))
        .await;
    };
    let commands = redis.commands_of(tag, storm).await;
    let is_script = |command: &&String| command.contains("\"EVALSHA\"");
    let scripts = commands.iter().filter(is_script).count();
    // Each asks for the time as well.
    let commands = commands.len() + scripts;
    let bytes = appended(&redis, tag) - before;
    let each = |count: usize| count as f64 / (CLIENTS * ROUNDS) as f64;
    let figures = format!(
        "{:.3} calls, {:.2} commands, {:.0} bytes appended for each acquire",
        each(scripts),
        each(commands),
        each(bytes)
    );
    eprintln!("{figures}");
    assert!(each(scripts) <= 0.15, "{figures}");
    assert!(each(commands) <= 2.5, "{figures}");
    assert!(each(bytes) <= 420.0, "{figures}");
    assert_eq!(
        fast.availability("crm", 200).await["in_use"],
        1 + CLIENTS * ROUNDS
    );
    slow.renew(&first.token(), 200).await;
}

#[tokio::test]
async fn of_a_thousand_that_ask_in_one_moment_each_has_the_seat_that_its_answer_names() {
    const CLIENTS: usize = 1_000;
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 800}), 201).await;
    let connections = join_all((0..CLIENTS).map(|_| TcpStream::connect(node.address()))).await;
    let asked = connections
        .into_iter()
        .zip(0_u64..)
        .map(|(connection, number)| async move {
            let mut connection = connection.expect("the node listens");
            let body = json!({"holder": format!("agent-{number}")}).to_string();
            let request = raw::request("POST", "/v1/pools/crm/leases", "", &body);
            connection
                .write_all(request.as_bytes())
                .await
                .expect("the node listens");
            let reply = raw::answer(&mut connection, request.as_bytes()).await;
            // The connection stays: a client that is gone gives the seat back.
            (reply.status, connection)
        });
    let answers = join_all(asked).await;
    let count = |wanted: u16| {
        answers
            .iter()
            .filter(|(status, _)| *status == wanted)
            .count()
    };
    let (granted, denied) = (count(201), count(409));
    // A busy machine is too slow for all of them within the second in which each is answered.
    assert_eq!(granted + denied + count(503), CLIENTS);
    assert!(granted == 800 || count(503) > 0, "{granted} of 800");
    // A seat of which the node never heard whether it was granted comes back with the TTL.
    crate::harness::wait_until("all others are free", Duration::from_secs(75), async || {
        node.availability("crm", 200).await["in_use"] == granted
    })
    .await;
    let live = i64::try_from(granted).expect("few");
    assert_eq!(redis.balance("crm").await, (live, live));
}

#[tokio::test]
async fn seats_of_a_crowd_that_hung_up_are_free_again() {
    let (slow, mut proxy, fast, redis) = start().await;
    fast.put_pool("crm", json!({"capacity": 100, "ttl_ms": 60_000}), 201)
        .await;
    slow.acquire("crm", json!({}), 201).await;
    proxy.delay(DELAY);
    let crowd: Vec<_> = (0..60)
        .map(|_| tokio::spawn(slow.acquire("crm", json!({}), ANY)))
        .collect();
    // Some are under way by then, and others wait.
    let_pass(60).await;
    for client in &crowd {
        client.abort();
    }
    // One that stays, behind all of them.
    slow.acquire("crm", json!({}), 201).await;
    crate::harness::wait_until("only two are left", Duration::from_secs(5), async || {
        fast.availability("crm", 200).await["in_use"] == 2
    })
    .await;
    assert_eq!(redis.balance("crm").await, (2, 2));
}

#[tokio::test]
async fn a_beat_in_a_pool_with_a_long_ttl_looks_at_no_record_alone() {
    let redis = Redis::start().await;
    let node = Launch::on(&redis.url()).start().await;
    node.put_pool("crm", json!({"capacity": 64, "ttl_ms": 600_000}), 201)
        .await;
    let leases = node.fill("crm", 64).await;
    let beats = async {
        join_all(leases.iter().map(|lease| node.renew(&lease.token(), 200))).await;
    };
    let commands = redis.commands_of(&redis.tag("crm").await, beats).await;
    let looks = commands
        .iter()
        .filter(|command| command.contains("\"HEXISTS\""));
    assert_eq!(looks.count(), 0);
    assert!(
        commands
            .iter()
            .any(|command| command.contains("\"PEXPIRE\""))
    );

    // A record that was lost is noticed all the same, and made again from the token.
    let records = redis.keys("lh1:{*}:crm:records").await.remove(0);
    let lost = leases[7].id();
    let _: i64 = redis.query(&["HDEL", &records, &lost]).await;
    node.renew(&leases[7].token(), 200).await;
    assert_eq!(redis.query::<i64>(&["HEXISTS", &records, &lost]).await, 1);
}
