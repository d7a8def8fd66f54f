//! Mistakes in the rules of a queue, made in the scripts on their way to Redis, and a check that finds them: the order of
//! arrival holds among those who are there, and nobody waits for those who are not.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, Launch, Node, Proxy, Redis, let_pass};

/// A mistake: what is written in `lua/`, and what somebody might have written. Of the same length.
struct Mistake {
    name: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const MISTAKES: [Mistake; 3] = [
    Mistake {
        name: "a place whose client is gone is kept for it",
        right: "if (not from or from > now)",
        wrong: "if (not nil  or from > now)",
    },
    Mistake {
        name: "a place that was left still counts",
        right: "mark()\ngive_up_place(keys, id)",
        wrong: "mark()\ntype         (keys, id)",
    },
    Mistake {
        name: "a newcomer is served before those who wait",
        right: "place or redis.call('ZCARD', keys.queue))",
        wrong: "place or 0                              )",
    },
];

/// A seat that comes free falls to somebody within this time; much less than a place takes to lapse.
const SOON: Duration = Duration::from_millis(2_500);

async fn ask(node: &Client, body: Value) -> Option<String> {
    let reply = node.acquire("crm", body, [201, 202, 409, 503]).await;
    (reply.status == 201).then(|| reply.token())
}

/// One seat and those who want it, in the order in which they came: one that leaves, one whose connection breaks, two that
/// stay, and a newcomer that pushes. Returns what is against the rules.
async fn check(mistake: Option<&Mistake>) -> Vec<String> {
    let redis = Redis::start().await;
    let mut proxy = Proxy::start(redis.address());
    if let Some(mistake) = mistake {
        proxy.replace(mistake.right, mistake.wrong);
    }
    let node: Node = Launch::on(&redis.url_through(&proxy)).start().await;
    let policy = json!({"capacity": 1, "ttl_ms": 60_000, "queue": {"max_waiting": 9}});
    node.put_pool("crm", policy, 201).await;
    let held = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let mut tickets = Vec::new();
    for holder in ["left", "gone", "first", "second"] {
        let queued = node
            .acquire("crm", json!({"holder": holder, "wait": true}), 202)
            .await;
        tickets.push(queued["ticket"].clone());
    }
    let open = json!({"ticket": tickets[1], "wait_ms": 25_000});
    let gone = tokio::spawn(node.acquire("crm", open, [201, 202]));
    // These ask now and then, so that there is time to overtake them.
    let waits = |ticket: &Value| {
        let (node, body) = (Client::clone(&node), json!({ "ticket": ticket }));
        tokio::spawn(async move {
            for _ in 0..25 {
                if let Some(token) = ask(&node, body.clone()).await {
                    return (Some(token), Instant::now());
                }
                let_pass(400).await;
            }
            (None, Instant::now())
        })
    };
    let (first, second) = (waits(&tickets[2]), waits(&tickets[3]));
    let_pass(300).await;
    // Its future is dropped, and with it the connection.
    gone.abort();
    let leave = json!({"ticket": tickets[0]});
    node.post("/v1/pools/crm/queue/leave")
        .json(&leave)
        .expect(204)
        .await;
    let_pass(1_500).await;

    let mut wrong = Vec::new();
    node.release(&held.token(), 204).await;
    let freed = Instant::now();
    for holder in ["eve", "fay"] {
        if ask(&node, json!({"holder": holder})).await.is_some() {
            wrong.push(format!(
                "order: {holder} came last and was served before those who wait"
            ));
        }
    }
    for (name, waiter) in [("first", first), ("second", second)] {
        let (token, at) = waiter.await.expect("it does not panic");
        let took = at.saturating_duration_since(freed);
        match token {
            Some(token) => node.release(&token, 204).await,
            None => {
                wrong.push(format!("{name} waits for a seat that is free"));
                continue;
            }
        };
        if took > SOON {
            wrong.push(format!("{name} was served after {took:?}"));
        }
    }
    let events = redis.events("crm").await;
    let served = events.iter().filter(|event| event.kind == "started");
    let served: Vec<&str> = served.map(|event| event.holder.as_str()).collect();
    if served
        .iter()
        .any(|holder| ["left", "gone"].contains(holder))
    {
        wrong.push(format!("somebody was served who is not there: {served:?}"));
    }
    let places: Vec<_> = ["first", "second"]
        .iter()
        .map(|name| served.iter().position(|holder| holder == name))
        .collect();
    if !places.is_sorted() {
        wrong.push(format!("order: served as {served:?}"));
    }
    wrong
}

/// All of `lua/`, because the rules are in a part.
fn scripts() -> String {
    let lua = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("lua");
    let files = [lua.clone(), lua.join("parts")]
        .into_iter()
        .flat_map(|directory| {
            let entries = fs::read_dir(directory).expect("a directory");
            entries.map(|entry| entry.expect("an entry").path())
        });
    files
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_in_a_queue_is_found_and_nothing_without_one() {
    let scripts = scripts();
    let found = join_all(MISTAKES.iter().map(async |mistake| {
        assert_eq!(mistake.right.len(), mistake.wrong.len(), "{}", mistake.name);
        assert!(
            scripts.contains(mistake.right),
            "make this mistake anew: {}",
            mistake.name
        );
        (mistake.name, check(Some(mistake)).await)
    }))
    .await;
    for (name, wrong) in found {
        eprintln!("{name}: {wrong:?}");
        assert!(!wrong.is_empty(), "{name} was not noticed");
    }
    assert_eq!(check(None).await, Vec::<String>::new());
}
