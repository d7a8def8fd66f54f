//! What it costs to wait, and what it costs to be served: two nodes, 50 seats, and up to 10 000 who wait with requests held open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    arrival: usize,
}

/// Waits as the interface says until there is a seat.
async fn wait(
    address: SocketAddr,
    arrival: usize,
    served: mpsc::UnboundedSender<Served>,
    turned_away: Arc<AtomicU64>,
) {
    let mut http = Http::connect(address).await;
    let mut body =
        json!({"holder": format!("agent-{arrival:05}"), "wait": true, "wait_ms": 25_000});
    loop {
        let Some((status, answer)) = http.ask("POST", "/v1/pools/full/leases", &body).await else {
            http = Http::connect(address).await;
            continue;
        };
        match status {
            200 | 201 => {
                let token = answer["token"].as_str().unwrap_or_default().to_owned();
                let at = Instant::now();
                let _ = served.send(Served { at, token, arrival });
                return;
            }
            202 => body = json!({"ticket": answer["ticket"], "wait_ms": 25_000}),
            _ => {
                turned_away.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
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
    rows
}

async fn with(length: usize) -> Vec<Row> {
    let redis = Redis::start().await;
    let nodes = [Node::start(&redis).await, Node::start(&redis).await];
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
    let (before, resident) = (redis.memory().await, nodes[0].resident_mib());
    let idle = scripts(&redis).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle_rate = (scripts(&redis).await.0 - idle.0) / 3.0;

    say(&format!("{length} come"));
    let (sender, mut served) = mpsc::unbounded_channel();
    let turned_away = Arc::new(AtomicU64::new(0));
    for arrival in 0..length {
        let node = nodes[arrival % 2].address;
        tokio::spawn(wait(
            node,
            arrival,
            sender.clone(),
            Arc::clone(&turned_away),
        ));
        if arrival % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
    }
    let began = Instant::now();
    loop {
        let answer = http
            .ask("GET", "/v1/pools/full/availability", &json!({}))
            .await;
        if answer.is_some_and(|(_, answer)| answer["waiting"] == length)
            || began.elapsed() > Duration::from_secs(60)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
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
    let waiting_rate = (scripts(&redis).await.0 - start.0) / seconds - idle_rate;
    let waiting_cpu = (redis.cpu_seconds().await - cpu) / seconds * 100.0;

    say("seats come free, one by one");
    let prober = tokio::spawn(elsewhere(nodes[1].address));
    let (start, began) = (scripts(&redis).await, Instant::now());
    let grants = 40;
    let mut late = Vec::new();
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
    let seconds = began.elapsed().as_secs_f64();
    let end = scripts(&redis).await;
    prober.abort();
    let mut probes = PROBES.lock().expect("no panic").split_off(0);
    // Two scripts of the prober for each of its rounds.
    let background = (idle_rate + waiting_rate) * seconds + 2.0 * probes.len() as f64;
    let per_grant = (end.0 - start.0 - background) / f64::from(grants);
    let time = (end.1 - start.1) / f64::from(grants) / 1_000.0;

    say("seats come free as fast as they are given back");
    let (began, mut count, mut last, mut disorder) = (Instant::now(), 0_u32, 0, 0);
    for token in held.split_off(0) {
        http.ask("POST", "/v1/leases/release", &json!({"token": token}))
            .await
            .expect("an answer");
    }
    let mut back = Vec::new();
    for number in 0..4 {
        back.push(Http::connect(nodes[number % 2].address).await);
    }
    let most = (length as u32).saturating_sub(grants as u32).min(2_000);
    while count < most && began.elapsed() < Duration::from_secs(20) {
        let Ok(Some(next)) = tokio::time::timeout(Duration::from_secs(5), served.recv()).await
        else {
            break;
        };
        // Those of one group of ten came at the same time; others are in order.
        disorder += u32::from(next.arrival + 200 < last);
        last = last.max(next.arrival);
        let http = &mut back[count as usize % 4];
        http.ask("POST", "/v1/leases/release", &json!({"token": next.token}))
            .await
            .expect("an answer");
        count += 1;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    let away = turned_away.load(Ordering::Relaxed);

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
            "a grant: calls of scripts; time of Redis, with all else that ran",
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
    let text = format!("{rate:.0}");
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
static PROBES: std::sync::Mutex<Vec<f64>> = std::sync::Mutex::new(Vec::new());

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
