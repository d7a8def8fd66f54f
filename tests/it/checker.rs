//! A crowd does everything at once while things break; then its whole history is held against the rules.
//!
//! The checker itself is tested: a proxy changes the text of a script on its way to Redis, as if somebody had made that
//! mistake in `lua/`, and the checker has to find it. A checker that finds nothing proves nothing.

mod rules;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use serde_json::json;

use self::rules::{Frame, Kind, Operation, Told, violations};
use crate::harness::{ANY, Answer, Client, Launch, Node, Proxy, Redis, let_pass};

const CAPACITY: usize = 6;
const TTL_MS: u64 = 1_000;
const CLIENTS: usize = 14;

fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64()
        * 1e3
}

/// What all clients saw.
type Log = Arc<Mutex<Vec<Operation>>>;

/// Sends one operation and writes down what became of it.
async fn record(
    log: &Log,
    kind: Kind,
    id: &str,
    key: &str,
    call: Answer,
) -> (Told, String, String) {
    let sent = now_ms();
    let reply = call.await;
    let received = now_ms();
    let told = match (kind, reply.status) {
        (Kind::Acquire, 201) => Told::Granted,
        (Kind::Acquire, 200) => Told::Existing,
        (Kind::Acquire, 409) => Told::Denied,
        (Kind::Renew, 200) if reply["resumed"] == true => Told::Resumed,
        (Kind::Renew, 200) => Told::Renewed,
        (Kind::Renew, 410) if reply["code"] == "lease_expired" => Told::Expired,
        (Kind::Renew, 410) => Told::Final,
        (Kind::Release, 204) | (Kind::Terminate, 200) => Told::Done,
        // Its node was killed.
        (_, 0) => Told::Unknown,
        (_, 503) if reply["outcome"] == "unknown" => Told::Unknown,
        (_, 503) => Told::NotRun,
        other => panic!("{other:?}: {}", reply.text),
    };
    // The deciding script is the last one that is not a mere look.
    let ran = reply.header("leasehold-trail").and_then(|trail| {
        let steps = trail.split(", ").filter_map(|step| {
            let words: Vec<&str> = step.split(' ').collect();
            let decides = ["acquire", "renew", "resume", "release", "terminate"];
            decides
                .contains(&words[0])
                .then(|| Some((words[1].parse().ok()?, words[2].parse().ok()?)))?
        });
        steps.last()
    });
    let id = match told {
        Told::Granted | Told::Existing => reply.id(),
        _ => id.to_owned(),
    };
    let has_lease = matches!(told, Told::Granted | Told::Renewed | Told::Resumed);
    let operation = Operation {
        kind,
        told,
        sent,
        received,
        id: id.clone(),
        key: key.to_owned(),
        ran: ran.filter(|_| !matches!(told, Told::Unknown | Told::NotRun)),
        expires_at: if has_lease {
            reply.instant("/lease/expires_at")
        } else {
            0
        },
        fence: if has_lease {
            reply.number("/lease/fence")
        } else {
            0
        },
    };
    log.lock().expect("no panic while held").push(operation);
    let token = reply["token"].as_str().unwrap_or_default().to_owned();
    (told, id, token)
}

/// A client: acquires, beats, is late, gives back, tries what it must not get.
async fn client(number: usize, nodes: Vec<Client>, log: Log, until: Instant) {
    let (mut turn, mut key) = (number, 0_u32);
    let mut node = || {
        turn += 1;
        nodes[turn % nodes.len()].clone()
    };
    let mut dice = number as u64 + 1;
    let mut roll = move |sides: u64| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    while Instant::now() < until {
        key += 1;
        let name = format!("{number}-{key}");
        let ask = |node: &Client| {
            node.acquire_once("crm", &name, json!({"holder": format!("h{number}")}), ANY)
        };
        let (told, id, token) = record(&log, Kind::Acquire, "", &name, ask(&node())).await;
        match told {
            Told::Granted | Told::Existing => {}
            // Once more with the same key; who did not get a seat before may get one now.
            Told::Unknown => {
                let_pass(20).await;
                record(&log, Kind::Acquire, "", &name, ask(&node())).await;
                continue;
            }
            _ => {
                let_pass(15 + roll(30)).await;
                continue;
            }
        }
        if roll(2) == 0 {
            record(&log, Kind::Acquire, "", &name, ask(&node())).await;
        }
        for _ in 0..roll(6) {
            // Mostly in time, at times around the deadline, at times too late.
            let pause = match roll(6) {
                0 => TTL_MS - 15 + roll(30),
                1 => TTL_MS + 100 + roll(400),
                _ => roll(TTL_MS / 2),
            };
            let_pass(pause).await;
            let call = node().renew(&token, ANY);
            let (told, ..) = record(&log, Kind::Renew, &id, "", call).await;
            if matches!(told, Told::Expired | Told::Final) {
                break;
            }
        }
        match roll(4) {
            0 => {}
            1 => {
                let body = json!({"ids": [id], "reason": "Over"});
                let call = node().terminate("crm", body, ANY);
                record(&log, Kind::Terminate, &id, "", call).await;
            }
            _ => {
                let call = node().release(&token, ANY);
                record(&log, Kind::Release, &id, "", call).await;
            }
        }
        if roll(2) == 0 {
            let call = node().renew(&token, ANY);
            record(&log, Kind::Renew, &id, "", call).await;
        }
    }
}

/// Two nodes, each behind its own proxy.
struct Stage {
    redis: Redis,
    nodes: Vec<Node>,
    proxies: Vec<Proxy>,
}

impl Stage {
    async fn start() -> Self {
        let redis = Redis::start().await;
        let proxies: Vec<Proxy> = (0..2).map(|_| Proxy::start(redis.address())).collect();
        let launches = proxies.iter().map(|proxy| {
            Launch::on(&redis.url_through(proxy))
                .set("trail", "on")
                .start()
        });
        let nodes = join_all(launches).await;
        let policy = json!({"capacity": CAPACITY, "ttl_ms": TTL_MS, "resume_window_ms": 5_000});
        nodes[0].put_pool("crm", policy, 201).await;
        Self {
            redis,
            nodes,
            proxies,
        }
    }

    /// Lets the crowd work for so long, and returns all that it saw.
    fn crowd(&self, clients: usize, lasting: Duration) -> (Log, Vec<tokio::task::JoinHandle<()>>) {
        let (log, until) = (Log::default(), Instant::now() + lasting);
        let tasks = (0..clients)
            .map(|number| {
                let nodes = self.nodes.iter().map(|node| Client::clone(node)).collect();
                tokio::spawn(client(number, nodes, Arc::clone(&log), until))
            })
            .collect();
        (log, tasks)
    }

    /// Holds what the crowd saw against the rules.
    async fn judge(&self, log: &Log) -> (usize, Vec<String>) {
        // Whatever is to be recorded is recorded by then.
        let_pass(TTL_MS + 2_600).await;
        let (seconds, micros): (i64, i64) = self.redis.query(&["TIME"]).await;
        let frame = Frame {
            capacity: CAPACITY,
            ttl: TTL_MS.cast_signed(),
            until: seconds * 1_000 + micros / 1_000,
            balance: self.redis.balance("crm").await,
        };
        let events = self.redis.events("crm").await;
        let operations = log.lock().expect("no panic while held").clone();
        (operations.len(), violations(frame, &operations, &events))
    }
}

/// What breaks, and for how long, in ms.
#[derive(Debug, Clone, Copy)]
enum Fault {
    RedisKilled,
    RedisFrozen,
    ScriptsFlushed,
    RepliesDropped,
    BlackHole,
    Delay,
    Cut,
    NodeKilled,
    NodeFrozen,
}

const FAULTS: [Fault; 9] = [
    Fault::RedisKilled,
    Fault::RepliesDropped,
    Fault::NodeKilled,
    Fault::RedisFrozen,
    Fault::ScriptsFlushed,
    Fault::BlackHole,
    Fault::Delay,
    Fault::NodeFrozen,
    Fault::Cut,
];

impl Fault {
    /// Shorter than the silence that counts as an outage, because the rules here know no amnesty: `outage.rs` has that.
    async fn strike(self, stage: &mut Stage, round: usize) {
        let one = round % 2;
        match self {
            Self::RedisKilled => {
                stage.redis.kill().await;
                let_pass(300).await;
                stage.redis.restart().await;
            }
            Self::RedisFrozen => {
                stage.redis.freeze().await;
                let_pass(900).await;
                stage.redis.thaw().await;
            }
            Self::ScriptsFlushed => {
                for _ in 0..5 {
                    let () = stage.redis.query(&["SCRIPT", "FLUSH"]).await;
                    let_pass(100).await;
                }
            }
            Self::RepliesDropped => {
                stage.proxies[one].drop_replies();
                let_pass(400).await;
                stage.proxies[one].restore();
            }
            Self::BlackHole => {
                stage.proxies[one].black_hole();
                let_pass(900).await;
                stage.proxies[one].restore();
            }
            Self::Delay => {
                stage.proxies[one].delay(Duration::from_millis(60));
                let_pass(600).await;
                stage.proxies[one].restore();
            }
            Self::Cut => {
                for _ in 0..5 {
                    stage.proxies[one].cut();
                    let_pass(80).await;
                }
            }
            Self::NodeKilled => stage.nodes[one].restart().await,
            Self::NodeFrozen => {
                stage.nodes[one].signal("STOP");
                let_pass(700).await;
                stage.nodes[one].signal("CONT");
            }
        }
    }
}

/// Longest time without an answer from a script, ms.
fn longest_gap(operations: &[Operation]) -> f64 {
    let mut received: Vec<f64> = operations
        .iter()
        .filter(|operation| operation.ran.is_some())
        .map(|operation| operation.received)
        .collect();
    received.sort_by(f64::total_cmp);
    received
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .fold(0.0, f64::max)
}

/// `make chaos MINUTES=10` gives it longer, with a line for each round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_everything_breaks_the_rules_hold() {
    let minutes: u64 = std::env::var("CHAOS_MINUTES")
        .ok()
        .and_then(|minutes| minutes.parse().ok())
        .unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let (mut total, mut round) = (0, 0);
    loop {
        let faults: Vec<Fault> = FAULTS
            .iter()
            .cycle()
            .skip(round * 4)
            .take(4)
            .copied()
            .collect();
        let mut stage = Stage::start().await;
        let (log, tasks) = stage.crowd(CLIENTS, Duration::from_secs(10));
        for fault in &faults {
            let_pass(900).await;
            fault.strike(&mut stage, round).await;
            let_pass(700).await;
        }
        for task in tasks {
            task.await.expect("a client does not panic");
        }
        let (count, wrong) = stage.judge(&log).await;
        let operations = log.lock().expect("no panic while held").clone();
        let known = operations
            .iter()
            .filter(|operation| operation.ran.is_some())
            .count();
        total += count;
        eprintln!(
            "{faults:?}: {count} operations, {known} answered, {} violations, longest without an answer {:.0} ms; {total} in all",
            wrong.len(),
            longest_gap(&operations)
        );
        assert!(
            wrong.is_empty(),
            "{faults:?}: {} of {count}: {wrong:#?}",
            wrong.len()
        );
        assert!(
            known > 200,
            "{known} of {count}: too little happened to prove anything"
        );
        round += 1;
        // At least every fault once.
        if round * 4 > FAULTS.len() && Instant::now() >= until {
            return;
        }
    }
}

/// A mistake in `lua/`: what is written there, and what somebody might have written. Of the same length.
struct Mistake {
    name: &'static str,
    right: &'static str,
    wrong: &'static str,
    /// Only one of the nodes makes it.
    on_one_node: bool,
    /// How many clients there are. Where there are few, nobody else ends what is due.
    clients: usize,
}

const fn mistake(name: &'static str, right: &'static str, wrong: &'static str) -> Mistake {
    assert!(right.len() == wrong.len());
    Mistake {
        name,
        right,
        wrong,
        on_one_node: false,
        clients: CLIENTS,
    }
}

const MISTAKES: [Mistake; 9] = [
    mistake(
        "one seat too many",
        "if in_use >= capacity then",
        "if in_use >  capacity then",
    ),
    mistake(
        "who has expired still counts",
        "'LIMIT', 0, limit, 'WITHSCORES')",
        "'LIMIT', 0, 0    , 'WITHSCORES')",
    ),
    Mistake {
        on_one_node: true,
        ..mistake(
            "the clock of a node in place of Redis's",
            "time[1] * 1000 + math.floor(",
            "time[1]*1000+900+math.floor(",
        )
    },
    Mistake {
        clients: 5,
        ..mistake(
            "a release leaves no tombstone",
            "'reason', 'released'",
            "'reasen', 'released'",
        )
    },
    mistake(
        "a resume does not look at the limit",
        "kind = count_live(leases, ttl) < capacity",
        "kind = count_live(leases, ttl) < 99999999",
    ),
    Mistake {
        clients: 4,
        ..mistake(
            "a repeat takes a second seat",
            "redis.call('GET', repeated)",
            "false                      ",
        )
    },
    mistake(
        "a renew gives less than it says",
        "live_from(ttl), int(now + ttl)",
        "live_from(ttl), int(now + 700)",
    ),
    mistake(
        "changes have no order",
        "  seq = seq + 1\n",
        "  seq = seq + 0\n",
    ),
    mistake(
        "a release does not free the seat",
        "redis.call('ZREM', leases, id)\n  local at",
        "redis.call('ZREM', KEYS[4],id)\n  local at",
    ),
];

async fn finds(mistake: &Mistake) {
    let scripts = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/lua")).expect("lua/");
    let is_there = scripts.flatten().any(|script| {
        std::fs::read_to_string(script.path()).is_ok_and(|text| text.contains(mistake.right))
    });
    assert!(
        is_there,
        "no script has {:?} any more: make this mistake anew",
        mistake.right
    );
    let mut stage = Stage::start().await;
    let nodes = if mistake.on_one_node { 1 } else { 2 };
    for proxy in &mut stage.proxies[..nodes] {
        proxy.replace(mistake.right, mistake.wrong);
        proxy.cut();
    }
    let () = stage.redis.query(&["SCRIPT", "FLUSH"]).await;
    // A few do less in the same time.
    let lasting = Duration::from_secs(if mistake.clients < CLIENTS { 9 } else { 5 });
    let (log, tasks) = stage.crowd(mistake.clients, lasting);
    for task in tasks {
        task.await.expect("a client does not panic");
    }
    let (count, wrong) = stage.judge(&log).await;
    eprintln!(
        "{}: {} violations in {count} operations",
        mistake.name,
        wrong.len()
    );
    assert!(
        !wrong.is_empty(),
        "{} was not noticed in {count} operations",
        mistake.name
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_seeded_mistake_is_found() {
    for some in MISTAKES.chunks(3) {
        join_all(some.iter().map(finds)).await;
    }
}

#[test]
fn a_grant_that_no_script_made_is_found() {
    let operation = Operation {
        kind: Kind::Acquire,
        told: Told::Granted,
        sent: 1_000.0,
        received: 1_002.0,
        id: "granted-on-a-time-out".to_owned(),
        key: "k".to_owned(),
        ran: Some((1, 1_001)),
        expires_at: 2_001,
        fence: 1,
    };
    let frame = Frame {
        capacity: 1,
        ttl: 1_000,
        until: 1_500,
        balance: (0, 0),
    };
    let wrong = violations(frame, &[operation], &[]);
    assert!(
        wrong.iter().any(|text| text.starts_with("invented")),
        "{wrong:?}"
    );
}
