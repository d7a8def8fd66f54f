//! What it costs to wait, and what it costs to be served: two nodes, 50 seats, and up to 10 000 who wait with requests held open.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::node::{Node, Redis};
use super::table::Row;
use super::{Depth, figure, goal, number, say};

const SEATS: usize = 50;
/// How long the crowd only waits.
const WAITS: Duration = Duration::from_secs(10);
const COMMAND: &str =
    "two nodes, 50 seats, polls of 25 s over a connection each; INFO commandstats and cpu";

/// One connection that asks and waits for the answer.
struct Http(TcpStream, Vec<u8>);

impl Http {
    async fn connect(address: SocketAddr) -> Self {
        loop {
            if let Ok(stream) = TcpStream::connect(address).await {
                stream.set_nodelay(true).expect("a socket option");
                return Self(stream, Vec::new());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask(&mut self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await.ok()?;
        self.1.clear();
        let mut part = [0; 4_096];
        loop {
            let read = self.0.read(&mut part).await.ok().filter(|read| *read > 0)?;
            self.1.extend_from_slice(&part[..read]);
            let text = String::from_utf8_lossy(&self.1);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse::<usize>().unwrap_or(0));
            if body.len() >= length {
                let status = head.get(9..12)?.parse().ok()?;
                return Some((status, serde_json::from_str(body).unwrap_or(Value::Null)));
            }
        }
    }
}

/// Somebody who got a seat.
struct Served {
    at: Instant,
    token: String,
}

/// Those who wait, and what becomes of them.
#[derive(Default)]
struct Crowd {
    /// Where each of them asks: at this node, or at the next one when it is gone.
    addresses: Vec<SocketAddr>,
    /// They give their seats back as soon as they have them.
    hurry: AtomicBool,
    turned_away: AtomicU64,
    granted: AtomicU64,
    /// Answers that say that it waits, to those who had lost their node.
    back: AtomicU64,
}

/// Waits as the interface says until there is a seat. First it takes a ticket, so that it can come back with it.
async fn wait(arrival: usize, crowd: Arc<Crowd>, served: mpsc::UnboundedSender<Served>) {
    let mut node = arrival % crowd.addresses.len();
    let mut http = Http::connect(crowd.addresses[node]).await;
    let mut body = json!({"holder": format!("agent-{arrival:05}"), "wait": true});
    let mut moved = false;
    loop {
        let Some((status, answer)) = http.ask("POST", "/v1/pools/full/leases", &body).await else {
            node = (node + 1) % crowd.addresses.len();
            match TcpStream::connect(crowd.addresses[node]).await {
                Ok(stream) => http = Http(stream, Vec::new()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            if !moved && body.get("ticket").is_some() {
                // Whether the place is still there is what it asks first.
                body = json!({"ticket": body["ticket"]});
                moved = true;
            }
            continue;
        };
        match status {
            200 | 201 => {
                crowd.granted.fetch_add(1, Ordering::Relaxed);
                let token = answer["token"].as_str().unwrap_or_default().to_owned();
                if crowd.hurry.load(Ordering::Relaxed) {
                    let body = json!({ "token": token });
                    http.ask("POST", "/v1/leases/release", &body).await;
                } else {
                    let at = Instant::now();
                    let _ = served.send(Served { at, token });
                }
                return;
            }
            202 => {
                if moved {
                    moved = false;
                    crowd.back.fetch_add(1, Ordering::Relaxed);
                }
                body = json!({"ticket": answer["ticket"], "wait_ms": 25_000});
            }
            _ => {
                crowd.turned_away.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// How often somebody was served before more than those who could be called at the time and came earlier, by the pool's history.
async fn overtaken(redis: &Redis, seats: usize) -> usize {
    let mut connection = redis.connection().await;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("lh1:*:full:events")
        .query_async(&mut connection)
        .await
        .expect("Redis answers");
    // In parts, because the connection waits half a second for an answer.
    let (mut events, mut after) = (Vec::new(), "-".to_owned());
    loop {
        let part: Vec<(String, HashMap<String, String>)> = redis::cmd("XRANGE")
            .arg(&keys[0])
            .arg(&[after.as_str(), "+", "COUNT", "1000"])
            .query_async(&mut connection)
            .await
            .expect("Redis answers");
        let Some((last, _)) = part.last() else { break };
        after = format!("({last}");
        events.extend(part.into_iter().map(|(_, event)| event));
    }
    let (mut ranks, mut waiting, mut overtaken) = (HashMap::new(), BTreeSet::new(), 0);
    for event in &events {
        let (Some(kind), Some(id)) = (event.get("type"), event.get("id")) else {
            continue;
        };
        let next = ranks.len();
        match kind.as_str() {
            "queued" => {
                waiting.insert(*ranks.entry(id).or_insert(next));
            }
            "started" | "gave_up" => {
                if let Some(rank) = ranks.get(id)
                    && waiting.remove(rank)
                    && kind == "started"
                    && waiting.range(..rank).nth(seats).is_some()
                {
                    overtaken += 1;
                }
            }
            _ => {}
        }
    }
    overtaken
}

/// Calls of scripts so far, and their time in microseconds.
async fn scripts(redis: &Redis) -> (f64, f64) {
    let text: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut redis.connection().await)
        .await
        .expect("Redis answers");
    let line = text
        .lines()
        .find(|line| line.starts_with("cmdstat_evalsha:"));
    let value = |name: &str| {
        let rest = line?.split_once(name)?.1;
        rest.split(',').next()?.parse::<f64>().ok()
    };
    (
        value("calls=").unwrap_or(0.0),
        value("usec=").unwrap_or(0.0),
    )
}

fn at(values: &mut [f64], part: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let place = (values.len() as f64 * part) as usize;
    values
        .get(place.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// All rows for each length of the queue.
pub(crate) async fn queue(depth: Depth) -> Vec<Row> {
    let lengths: &[usize] = if depth.rounds == 1 {
        &[200, 2_000]
    } else {
        &[200, 2_000, 10_000]
    };
    let mut rows = Vec::new();
    for length in lengths {
        rows.append(&mut with(*length).await);
    }
    rows.append(&mut herds(if depth.rounds == 1 { 1_000 } else { 10_000 }).await);
    rows
}

/// Two nodes, and a pool with that many seats of which all are held; their tokens.
async fn full_pool(redis: &Redis) -> ([Node; 2], Http, Vec<String>) {
    let nodes = [Node::start(redis).await, Node::start(redis).await];
    let mut http = Http::connect(nodes[0].address).await;
    let policy = json!({"capacity": SEATS, "ttl_ms": 600_000, "queue": {"max_waiting": 10_000}});
    http.ask("PUT", "/v1/pools/full", &policy)
        .await
        .expect("a pool");
    let other = json!({"capacity": 10});
    http.ask("PUT", "/v1/pools/other", &other)
        .await
        .expect("a pool");
    let mut held = Vec::new();
    for _ in 0..SEATS {
        let granted = http.ask("POST", "/v1/pools/full/leases", &json!({})).await;
        let (_, granted) = granted.expect("a seat");
        held.push(granted["token"].as_str().expect("a token").to_owned());
    }
    (nodes, http, held)
}

/// Waits until so many wait, and says how long that took; none if it did not come to that.
async fn until_waiting(http: &mut Http, number: usize) -> Option<f64> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let answer = http
            .ask("GET", "/v1/pools/full/availability", &json!({}))
            .await;
        if answer.is_some_and(|(_, answer)| answer["waiting"] == number) {
            return Some(began.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// Has them come, a thousand in a second.
async fn come(
    length: usize,
    crowd: &Arc<Crowd>,
    sender: &mpsc::UnboundedSender<Served>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::with_capacity(length);
    let began = Instant::now();
    for arrival in 0..length {
        tasks.push(tokio::spawn(wait(
            arrival,
            Arc::clone(crowd),
            sender.clone(),
        )));
        if arrival % 10 == 9 {
            let due = began + Duration::from_millis(arrival as u64 + 1);
            tokio::time::sleep_until(due.into()).await;
        }
    }
    tasks
}

/// Seats come free one after the other; how long after it each next one has it, ms.
async fn one_by_one(
    http: &mut Http,
    held: &mut Vec<String>,
    served: &mut mpsc::UnboundedReceiver<Served>,
    grants: usize,
    late: &mut Vec<f64>,
) {
    for _ in 0..grants {
        let token = held.remove(0);
        let freed = Instant::now();
        http.ask("POST", "/v1/leases/release", &json!({"token": token}))
            .await
            .expect("an answer");
        match tokio::time::timeout(Duration::from_secs(20), served.recv()).await {
            Ok(Some(next)) => {
                late.push(next.at.saturating_duration_since(freed).as_secs_f64() * 1_000.0);
                held.push(next.token);
            }
            _ => break,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What happens to thousands at once.
async fn herds(length: usize) -> Vec<Row> {
    let redis = Redis::start().await;
    let (nodes, mut http, _held) = full_pool(&redis).await;
    let [first, second] = nodes;
    let crowd = Arc::new(Crowd {
        addresses: vec![first.address, second.address],
        ..Crowd::default()
    });
    let (sender, _served) = mpsc::unbounded_channel();
    let half = length / 2;
    let mut rows = Vec::new();
    let mut add = |what: String, took: Option<f64>, aside: f64, away: u64| {
        let took = took.map_or("not within a minute".to_owned(), |took| {
            format!("{took:.1} s")
        });
        let text = format!("{took}; {away} turned away; elsewhere p99 {aside:.0} ms");
        let reached = !took.starts_with("not") && away == 0;
        rows.push(goal(
            what,
            text,
            "all of them, 0 turned away",
            reached,
            COMMAND,
        ));
    };
    let away = |crowd: &Crowd| crowd.turned_away.swap(0, Ordering::Relaxed);
    let prober = tokio::spawn(elsewhere(second.address));
    let aside = || {
        let mut probes = PROBES.lock().expect("no panic").split_off(0);
        at(&mut probes, 0.99)
    };

    say(&format!("{length} come within {} s", length / 1_000));
    let began = Instant::now();
    let tasks = come(length, &crowd, &sender).await;
    let took = until_waiting(&mut http, length).await;
    let took = took.map(|_| began.elapsed().as_secs_f64());
    let who = number(length as f64);
    add(
        format!("{who} come, a thousand a second"),
        took,
        aside(),
        away(&crowd),
    );

    say("Redis is restarted");
    drop(http);
    let began = Instant::now();
    redis.restart().await;
    let mut http = Http::connect(second.address).await;
    let took = until_waiting(&mut http, length).await;
    // Nobody lost a place while nobody could ask.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let kept = until_waiting(&mut http, length).await;
    let took = took.and(kept).map(|_| began.elapsed().as_secs_f64() - 8.0);
    aside();
    add(
        format!("Redis is restarted while {who} wait, and all are there"),
        took,
        0.0,
        away(&crowd),
    );

    let more = length / 10;
    say(&format!("capacity grows by {more}"));
    let began = Instant::now();
    let grown = json!({"capacity": SEATS + more});
    http.ask("PATCH", "/v1/pools/full", &grown).await;
    let mut took = None;
    while took.is_none() && began.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if crowd.granted.load(Ordering::Relaxed) >= more as u64 {
            took = Some(began.elapsed().as_secs_f64());
        }
    }
    add(
        format!("{} seats more, and as many are served", number(more as f64)),
        took,
        aside(),
        away(&crowd),
    );

    let lost = tasks
        .iter()
        .step_by(2)
        .filter(|task| !task.is_finished())
        .count();
    say(&format!("a node with {lost} dies"));
    let began = Instant::now();
    drop(first);
    let mut took = None;
    while took.is_none() && began.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if crowd.back.load(Ordering::Relaxed) >= lost as u64 {
            took = Some(began.elapsed().as_secs_f64());
        }
    }
    let took = took.filter(|_| crowd.back.load(Ordering::Relaxed) == lost as u64);
    let kept = until_waiting(&mut http, length - more).await;
    let what = format!(
        "a node with {} of them dies, and they have their places at another",
        number(lost as f64)
    );
    add(
        what,
        took.and_then(|took| kept.map(|_| took)),
        aside(),
        away(&crowd),
    );

    say("half of them close their pages");
    let left = tasks
        .iter()
        .filter(|task| !task.is_finished())
        .take(half)
        .inspect(|task| task.abort())
        .count();
    let closed = Instant::now();
    // They have tickets and could come back, so their places are kept for a while.
    let took = until_waiting(&mut http, length - more - left).await;
    add(
        format!(
            "{} close their pages, and their places are gone",
            number(left as f64)
        ),
        took.map(|_| closed.elapsed().as_secs_f64()),
        aside(),
        away(&crowd),
    );
    prober.abort();
    let wrong = overtaken(&redis, SEATS + more).await;
    rows.push(goal(
        "… served out of order in all of that",
        number(wrong as f64),
        "0",
        wrong == 0,
        COMMAND,
    ));
    drop(second);
    redis.stop().await;
    rows
}

async fn with(length: usize) -> Vec<Row> {
    let redis = Redis::start().await;
    let (nodes, mut http, mut held) = full_pool(&redis).await;
    let (before, resident) = (redis.memory().await, nodes[0].resident_mib());
    let idle = scripts(&redis).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle_rate = (scripts(&redis).await.0 - idle.0) / 3.0;

    say(&format!("{length} come"));
    let (sender, mut served) = mpsc::unbounded_channel();
    let crowd = Arc::new(Crowd {
        addresses: nodes.iter().map(|node| node.address).collect(),
        ..Crowd::default()
    });
    let _tasks = come(length, &crowd, &sender).await;
    until_waiting(&mut http, length).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bytes = (redis.memory().await - before) / length as f64;
    let resident = nodes[0].resident_mib() - resident;

    say(&format!("{length} wait"));
    let (start, cpu, began) = (
        scripts(&redis).await,
        redis.cpu_seconds().await,
        Instant::now(),
    );
    tokio::time::sleep(WAITS).await;
    let seconds = began.elapsed().as_secs_f64();
    let end = scripts(&redis).await;
    let waiting_rate = (end.0 - start.0) / seconds - idle_rate;
    let waiting_us = (end.1 - start.1) / seconds;
    let waiting_cpu = (redis.cpu_seconds().await - cpu) / seconds * 100.0;

    say("seats come free, one by one");
    let (start, began) = (scripts(&redis).await, Instant::now());
    let grants = 40_usize;
    let mut late = Vec::new();
    one_by_one(&mut http, &mut held, &mut served, grants, &mut late).await;
    let seconds = began.elapsed().as_secs_f64();
    let end = scripts(&redis).await;
    let background = (idle_rate + waiting_rate) * seconds;
    let per_grant = (end.0 - start.0 - background) / grants as f64;
    let time = (end.1 - start.1 - waiting_us * seconds) / grants as f64 / 1_000.0;

    say("the same, while others acquire and release in another pool");
    let prober = tokio::spawn(elsewhere(nodes[1].address));
    one_by_one(&mut http, &mut held, &mut served, grants, &mut late).await;
    prober.abort();
    let mut probes = PROBES.lock().expect("no panic").split_off(0);

    say("seats come free as fast as they are given back");
    crowd.hurry.store(true, Ordering::Relaxed);
    let (start, cpu) = (scripts(&redis).await, redis.cpu_seconds().await);
    let (began, before) = (Instant::now(), crowd.granted.load(Ordering::Relaxed));
    for token in held.split_off(0) {
        http.ask("POST", "/v1/leases/release", &json!({"token": token}))
            .await
            .expect("an answer");
    }
    let most = (length - 2 * grants).min(5_000) as u64;
    let fast = || crowd.granted.load(Ordering::Relaxed) - before;
    while fast() < most && began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (seconds, count) = (began.elapsed().as_secs_f64(), fast() as f64);
    let rate = count / seconds;
    let end = scripts(&redis).await;
    let at_once = format!(
        "{:.1} scripts and {:.2} ms of them each, Redis at {:.0} %",
        (end.0 - start.0) / count,
        (end.1 - start.1) / count / 1_000.0,
        (redis.cpu_seconds().await - cpu) / seconds * 100.0
    );
    let disorder = overtaken(&redis, SEATS).await;
    let away = crowd.turned_away.load(Ordering::Relaxed);

    let who = number(length as f64);
    let goals = length == 2_000;
    let row = |what: &str, text: String, must: &str, reached: bool| {
        let what = format!("{who} wait: {what}");
        if goals {
            goal(what, text, must, reached, COMMAND)
        } else {
            figure(&what, text, COMMAND)
        }
    };
    let mut rows = vec![
        row(
            "calls of scripts a second more than idle; processor of Redis",
            format!("{waiting_rate:.0}; {waiting_cpu:.1} %"),
            "≤ 150; 3 %, aim 20; 1 %",
            waiting_rate <= 150.0 && waiting_cpu <= 3.0,
        ),
        row(
            "a grant: calls of scripts; time of Redis, beyond what it takes while they only wait",
            format!("{per_grant:.1}; {time:.2} ms"),
            "≤ 6; 0.5 ms, aim 3; 0.15 ms",
            per_grant <= 6.0 && time <= 0.5,
        ),
        row(
            "a grant comes after, p50; p99",
            format!("{:.0}; {:.0} ms", at(&mut late, 0.5), at(&mut late, 0.99)),
            "≤ 20; 60 ms, aim 5; 20 ms",
            at(&mut late, 0.5) <= 20.0 && at(&mut late, 0.99) <= 60.0,
        ),
        row(
            "acquires in another pool meanwhile, p99",
            format!("{:.0} ms", at(&mut probes, 0.99)),
            "≤ 50 ms, aim 10",
            at(&mut probes, 0.99) <= 50.0,
        ),
        row("turned away", number(away as f64), "0", away == 0),
    ];
    let fast = format!("{who} wait: grants a second, in order ({disorder} out of it)");
    let text = format!("{rate:.0}; {at_once}");
    let memory = format!("{who} wait: memory of a node; bytes of Redis each, with their events");
    let sizes = format!("{resident:.0} MiB for half of them; {bytes:.0}");
    if length == 10_000 {
        rows.push(goal(
            fast,
            text,
            "≥ 500, aim 2 000",
            rate >= 500.0 && disorder == 0,
            COMMAND,
        ));
        rows.push(goal(
            memory,
            sizes,
            "≤ 250 MB; 600, aim 120 MB; 350",
            resident <= 250.0 && bytes <= 600.0,
            COMMAND,
        ));
    } else {
        rows.push(figure(&fast, text, COMMAND));
        rows.push(figure(&memory, sizes, COMMAND));
    }
    drop(nodes);
    redis.stop().await;
    rows
}

/// How long acquires in another pool took, ms.
static PROBES: Mutex<Vec<f64>> = Mutex::new(Vec::new());

/// Acquires and releases in another pool, all the time.
async fn elsewhere(address: SocketAddr) {
    let mut http = Http::connect(address).await;
    loop {
        let asked = Instant::now();
        let answer = http.ask("POST", "/v1/pools/other/leases", &json!({})).await;
        let took = asked.elapsed().as_secs_f64() * 1_000.0;
        PROBES.lock().expect("no panic").push(took);
        if let Some((201, granted)) = answer {
            http.ask(
                "POST",
                "/v1/leases/release",
                &json!({"token": granted["token"]}),
            )
            .await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
