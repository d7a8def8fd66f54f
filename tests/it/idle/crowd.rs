//! A crowd for which there are too few seats, some of it idle, in a pool with both policies: the checker knows the rules, and finds
//! mistakes that are made in them.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::{MINUTE, idle};
use crate::checker::idle::{Report, SeatUse};
use crate::harness::{ANY, Client, Launch, Proxy, Redis, let_pass, wait_until};

/// After this time somebody else may have the seat, whoever uses it.
const HOLD_MS: u64 = 1_000;

/// A mistake: what is written in `lua/`, and what somebody might have written. Not longer.
struct Mistake {
    name: &'static str,
    right: &'static str,
    wrong: &'static str,
    /// How the checker says it.
    found_as: &'static str,
}

const MISTAKES: [Mistake; 4] = [
    Mistake {
        name: "somebody who is there is displaced",
        right: "list(index.idle, '+inf', 'idle')",
        wrong: "list(index.held, '+inf', 'idle')",
        found_as: "active",
    },
    Mistake {
        name: "who is idle for the shortest time gives way",
        right: "return a.since < b.since",
        wrong: "return a.since > b.since",
        found_as: "order",
    },
    Mistake {
        name: "two give way to one",
        right: "  local seat = waiters.find_yielding(tenant, which, arrival)\n  if seat then\n    take_seat({ leases = leases, evicted = evicted, records = records, events = events, due = due, name = name }, index, seat)\n    kind = seat.kind\n",
        wrong: "local p={leases=leases,evicted=evicted,records=records,events=events,due=due,name=name}for _=1,2 do local seat=waiters.find_yielding(tenant,which)if seat then take_seat(p,index,seat)kind=seat.kind end end if kind then\n",
        found_as: "one for one",
    },
    Mistake {
        name: "an end has no reason",
        right: "record[WHY] = reason",
        wrong: "record[WHY] = ''",
        found_as: "reason",
    },
];

/// What one of them does until it is over: half of them are there, a quarter is idle, and a quarter goes and comes back.
async fn member(node: Client, number: u64, over: Arc<AtomicBool>, log: Arc<Mutex<SeatUse>>) {
    let name = format!("agent-{number}");
    // Each is idle for a time of its own, so that there is an order.
    let away_ms = 15 * MINUTE + number * 7_000;
    let mut held: Option<(String, Arc<str>)> = None;
    for beat in 0_u64.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let Some((token, id)) = held.take() else {
            let asked = node.acquire("crm", json!({ "holder": name }), ANY).await;
            if asked.status == 201 {
                held = Some((asked.token(), asked.id().into()));
            }
            let_pass(rand::random_range(5..60)).await;
            continue;
        };
        let idle_ms = match number % 4 {
            0 | 1 => 0,
            2 => away_ms,
            _ => away_ms * (beat % 2),
        };
        let body = json!({"token": token, "idle_ms": idle_ms});
        let answer = node.renew_with(body, ANY).await;
        if answer.status == 200 {
            let report = Report {
                id: Arc::clone(&id),
                at: answer.instant("/lease/renewed_at"),
                idle: Some(idle_ms.cast_signed()),
            };
            log.lock().expect("no panic").reports.push(report);
            held = Some((token, id));
        } else if answer.status == 503 {
            // A node that has too much to do says so, and perhaps not what became of it.
            if answer["outcome"] != "none" {
                let mut log = log.lock().expect("no panic");
                log.unclear.insert(Arc::clone(&id));
            }
            held = Some((token, id));
        } else {
            assert_eq!(answer["code"], "lease_evicted", "{}", answer.text);
            let reason = answer["reason"].as_str().map(str::to_owned);
            log.lock().expect("no panic").ends.push((id, reason));
        }
        let_pass(rand::random_range(5..60)).await;
    }
}

/// Lets a crowd go on for a while at some nodes. Returns what the checker finds, and how many gave way for each of the policies.
async fn crowd(
    redis: &Redis,
    nodes: &[Client],
    members: u64,
    seats: u32,
) -> (Vec<String>, [usize; 2]) {
    let hold = json!({"after_ms": HOLD_MS, "then": "yield"});
    let policy = json!({"capacity": seats, "idle": idle("yield"), "max_hold": hold});
    // On a busy machine a node that has just come may need a moment.
    wait_until("the pool is there", Duration::from_secs(20), async || {
        let put = nodes[0].put_pool("crm", policy.clone(), [200, 201, 503]);
        put.await.status != 503
    })
    .await;
    let over = Arc::new(AtomicBool::new(false));
    let log = Arc::new(Mutex::new(SeatUse {
        after_ms: 15 * MINUTE.cast_signed(),
        hold_ms: HOLD_MS.cast_signed(),
        events: Vec::new(),
        reports: Vec::new(),
        ends: Vec::new(),
        unclear: HashSet::new(),
    }));
    let members: Vec<_> = (0..members)
        .map(|number| {
            let node = nodes[number as usize % nodes.len()].clone();
            tokio::spawn(member(node, number, Arc::clone(&over), Arc::clone(&log)))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // On a busy machine it takes longer until enough have heard that their seats are gone.
    let enough = async || log.lock().expect("no panic").ends.len() >= 20;
    wait_until("some lost a seat", Duration::from_secs(30), enough).await;
    over.store(true, Ordering::Relaxed);
    for done in join_all(members).await {
        done.expect("nobody heard anything else");
    }
    let mut seats = log.lock().expect("no panic").clone();
    seats.events = redis.events("crm").await;
    let gave_way = ["idle", "max_hold"].map(|reason| {
        let ends = seats.events.iter().filter(|event| event.kind == "ended");
        ends.filter(|event| event.reason == reason).count()
    });
    (seats.check(), gave_way)
}

#[tokio::test]
async fn in_a_crowd_at_the_limit_nobody_who_is_active_loses_a_seat_and_the_checker_finds_nothing() {
    let redis = Redis::start().await;
    let (one, two) = (
        Launch::on(&redis.url()).start().await,
        Launch::on(&redis.url()).start().await,
    );
    let nodes = [Client::clone(&one), Client::clone(&two)];
    let (wrong, [by_idle, by_hold]) = crowd(&redis, &nodes, 100, 40).await;
    assert!(
        by_idle > 20,
        "only {by_idle} gave way because they were idle"
    );
    assert!(by_hold > 5, "only {by_hold} had a seat for too long");
    assert!(
        wrong.is_empty(),
        "{} of {by_idle} and {by_hold}: {}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    assert_eq!(redis.balance("crm").await, (40, 40));
    crate::rules::index_is_true(&redis, "crm", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mistake_in_giving_seats_away_is_found() {
    let lua = concat!(env!("CARGO_MANIFEST_DIR"), "/lua/");
    let scripts = [
        "parts/idle.lua",
        "parts/yielding.lua",
        "renew_by_rules.lua",
        "acquire_by_rules.lua",
    ]
    .map(|file| fs::read_to_string(format!("{lua}{file}")).expect("a script"))
    .concat();
    let found = join_all(MISTAKES.iter().map(async |mistake| {
        let room = mistake.right.len();
        assert!(room >= mistake.wrong.len(), "{}", mistake.name);
        assert!(
            scripts.contains(mistake.right),
            "make this mistake anew: {}",
            mistake.name
        );
        let redis = Redis::start().await;
        let mut proxy = Proxy::start(redis.address());
        proxy.replace(mistake.right, &format!("{:room$}", mistake.wrong));
        let node = Launch::on(&redis.url_through(&proxy)).start().await;
        let nodes = [Client::clone(&node)];
        (mistake, crowd(&redis, &nodes, 40, 16).await.0)
    }))
    .await;
    for (mistake, wrong) in found {
        let is_named = wrong
            .iter()
            .any(|wrong| wrong.starts_with(mistake.found_as));
        assert!(is_named, "{} was not noticed: {wrong:?}", mistake.name);
    }
}
