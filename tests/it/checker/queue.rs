//! Mistakes in the rules of a queue, made in the scripts on their way to Redis, and a check that finds them: the order of
//! arrival holds among those who are there, and nobody waits for those who are not.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::line;
use crate::harness::{Client, Launch, Node, Proxy, Redis, let_pass};

/// A mistake: what is written in `lua/`, and what somebody might have written. Not longer.
struct Mistake {
    name: &'static str,
    right: &'static str,
    wrong: &'static str,
}

const MISTAKES: [Mistake; 7] = [
    Mistake {
        name: "a seat is kept for a ticket whose client is gone",
        right: "tonumber(redis.call('HGET', tickets, 'broken:' .. id) or asks_by)",
        wrong: "asks_by",
    },
    Mistake {
        name: "a place that was left still counts",
        right: "mark()\nlocal waiters = open_queue(queue_keys, index, config)\nlocal tenant, holder, was_called = waiters.give_up(id)",
        wrong: "mark()\nlocal waiters = open_queue(queue_keys, index, config)\nlocal tenant, holder, was_called = '', ''",
    },
    Mistake {
        name: "a newcomer is served before those who wait",
        right: "if may and (has_kept(v, tenant) or has_any(v)) then",
        wrong: "if may and v.free > 0 then",
    },
    Mistake {
        name: "two are called for one seat",
        right: "v.called = v.called + 1",
        wrong: "v.called = v.called",
    },
    Mistake {
        name: "one is overtaken",
        right: "redis.call('ZRANGEBYLEX', line, '[w' .. tenant .. '\\1', '(w' .. tenant .. '\\2', 'LIMIT', 0, 1)[1]",
        wrong: "redis.call('ZREVRANGEBYLEX',line,'(w'..tenant..'\\2','[w'..tenant..'\\1','LIMIT',0,1)[1]",
    },
    Mistake {
        name: "one that was passed over and comes back is forgotten",
        right: "elseif put_into_line('w' .. entry_of(tenant, arrival)) then",
        wrong: "elseif false then",
    },
    Mistake {
        name: "a seat waits for a ghost",
        right: "tonumber(first[2 * i]) <= in_time or not places[i]",
        wrong: "false",
    },
];

/// A seat that comes free falls to somebody within this time: who is called and does not come has what is left of its time to ask.
const SOON: Duration = Duration::from_millis(4_500);

/// A token, if there is a seat. Who heard that its place has ended (410) has none, and that is against the rules here: nobody who
/// asks is silent for six seconds, unless a mistake keeps the seat from those before it for so long. [`check`] reports it as it reports
/// any other wait.
async fn ask(node: &Client, body: Value) -> Option<String> {
    let reply = node.acquire("crm", body, [201, 202, 409, 410, 503]).await;
    (reply.status == 201).then(|| reply.token())
}

/// One seat and those who want it, in the order in which they came: one that leaves, one whose connection breaks, one that asks a
/// last time and then is silent until it was passed over, two that stay, and a newcomer that pushes. Returns what is against the
/// rules.
async fn check(mistake: Option<&Mistake>) -> Vec<String> {
    let redis = Redis::start().await;
    let mut proxy = Proxy::start(redis.address());
    if let Some(mistake) = mistake {
        let room = mistake.right.len();
        proxy.replace(mistake.right, &format!("{:room$}", mistake.wrong));
    }
    let node: Node = Launch::on(&redis.url_through(&proxy)).start().await;
    let policy = json!({"capacity": 1, "ttl_ms": 60_000, "queue": {"max_waiting": 9}});
    node.put_pool("crm", policy, 201).await;
    let held = node.acquire("crm", json!({"holder": "ann"}), 201).await;
    let mut tickets = Vec::new();
    for holder in ["left", "gone", "silent", "first", "second"] {
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
                let_pass(300).await;
            }
            (None, Instant::now())
        })
    };
    let (first, second) = (waits(&tickets[3]), waits(&tickets[4]));
    let_pass(300).await;
    // Its future is dropped, and with it the connection.
    gone.abort();
    let leave = json!({"ticket": tickets[0]});
    node.post("/v1/pools/crm/queue/leave")
        .json(&leave)
        .expect(204)
        .await;
    let mut wrong = Vec::new();
    let listed = node.get("/v1/pools/crm/queue").expect(200).await;
    if listed
        .list("items")
        .iter()
        .any(|waiter| waiter["holder"] == "left")
    {
        wrong.push("left has a place".to_owned());
    }
    let_pass(1_050).await;

    drop(ask(&node, json!({"ticket": tickets[2]})).await);
    wrong.extend(line::check(&redis, "crm").await);
    node.release(&held.token(), 204).await;
    let freed = Instant::now();
    wrong.extend(line::check(&redis, "crm").await);
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
        if name == "first" {
            // It was passed over, and is where it was.
            drop(ask(&node, json!({"ticket": tickets[2]})).await);
            wrong.extend(line::check(&redis, "crm").await);
        }
        match token {
            Some(token) => node.release(&token, 204).await,
            None => {
                wrong.push(format!("{name} waits for a seat that is free"));
                continue;
            }
        };
        if name == "first" {
            if took > SOON {
                wrong.push(format!("{name} was served after {took:?}"));
            }
            match ask(&node, json!({"ticket": tickets[2]})).await {
                Some(token) => drop(node.release(&token, 204).await),
                None => wrong.push("silent is back, and not the next".to_owned()),
            }
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
    let places: Vec<_> = ["first", "silent", "second"]
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
        assert!(
            mistake.right.len() >= mistake.wrong.len(),
            "{}",
            mistake.name
        );
        assert!(
            scripts.contains(mistake.right),
            "make this mistake anew: {}",
            mistake.name
        );
        // On a busy machine a mistake can come to nothing: by the time a seat is free, the one who is gone is late anyway.
        for _ in 0..2 {
            let wrong = check(Some(mistake)).await;
            if !wrong.is_empty() {
                return (mistake.name, wrong);
            }
        }
        (mistake.name, check(Some(mistake)).await)
    }))
    .await;
    for (name, wrong) in found {
        eprintln!("{name}: {wrong:?}");
        assert!(!wrong.is_empty(), "{name} was not noticed");
    }
    assert_eq!(check(None).await, Vec::<String>::new());
}
