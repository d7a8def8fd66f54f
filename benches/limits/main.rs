//! `make bench`: every row of `docs/performance.md`, side by side in one run.
//!
//! The load generator, the node and Redis share the machine, as they do in the targets. Absolute figures drift with the
//! machine, so the rows of a part are measured in rounds, one after the other in each round, and ratios are taken within
//! a round. Arguments: names of parts (`beats`, `crowds`, `memory`, `expiry`, `node`, `fleet`, `pages`, `queue`, `reports`), all of them without one; `--quick` for one
//! short round; `--write` to put the table into the page.

mod fleet;
mod load;
mod node;
mod pages;
mod population;
mod queue;
mod reports;
mod table;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use leasehold::names::PoolName;
use leasehold::store::{Renewed, Store};

use self::load::{Client, redis_benchmark, steady, wrk, wrk_command};
use self::node::{Etcd, Node, Redis};
use self::population::{Population, pools};
use self::table::{Row, median, number, ratio};

/// How thorough a run is.
#[derive(Clone, Copy)]
struct Depth {
    rounds: usize,
    seconds: u64,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let parts: Vec<&str> = [
        "beats", "crowds", "memory", "expiry", "node", "fleet", "pages", "queue", "reports",
    ]
    .into_iter()
    .filter(|part| has(part))
    .collect();
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let depth = if has("--quick") {
        Depth {
            rounds: 1,
            seconds: 2,
        }
    } else {
        Depth {
            rounds: 5,
            seconds: 3,
        }
    };

    let mut rows = Vec::new();
    if wanted("beats") {
        rows.append(&mut beats(depth).await);
    }
    if wanted("crowds") {
        rows.append(&mut crowds(depth).await);
    }
    if wanted("memory") {
        rows.append(&mut many_pools().await);
    }
    if wanted("expiry") {
        rows.append(&mut expiry().await);
    }
    if wanted("node") {
        rows.append(&mut node_memory().await);
    }
    if wanted("fleet") {
        rows.append(&mut fleet::fleet().await);
    }
    if wanted("pages") {
        rows.append(&mut pages::pages().await);
    }
    if wanted("queue") {
        rows.append(&mut queue::queue(depth).await);
    }
    if wanted("reports") {
        rows.append(&mut reports::reports(depth).await);
    }
    let table = table::render(&machine(), &rows);
    println!("{table}");
    if has("--write") {
        table::write(&table).expect("docs/performance.md can be written");
    }
}

fn say(text: &str) {
    eprintln!("bench: {text}");
}

fn goal(
    what: impl Into<String>,
    figure: impl Into<String>,
    goal: &str,
    reached: bool,
    command: impl Into<String>,
) -> Row {
    Row {
        what: what.into(),
        figure: figure.into(),
        goal: goal.to_owned(),
        reached: Some(reached),
        command: command.into(),
    }
}

fn figure(what: &str, figure: String, command: impl Into<String>) -> Row {
    Row {
        what: what.to_owned(),
        figure,
        goal: String::new(),
        reached: None,
        command: command.into(),
    }
}

/// The rows that are compared with each other: 100 000 leases in one pool and in 10 000 pools.
async fn beats(depth: Depth) -> Vec<Row> {
    let redis = Redis::start().await;
    let store = redis.store().await;
    say("seeding 100 000 leases in one pool, and 100 000 in 10 000 pools");
    let crowd = pools(&store, "crowd", 1, 100_000).await;
    let spread = pools(&store, "team", 10_000, 10).await;
    let open = pools(&store, "open", 1, 1_000_000).await;
    let newcomers = pools(&store, "storm", 1, 100_000_000).await;
    let node = Node::start(&redis).await;
    let mut one_pool = Population::acquire(&store, &crowd, 100_000).await;
    let mut ten_thousand = Population::acquire(&store, &spread, 100_000).await;
    let file = |name: &str| redis.directory().join(name);
    let path = |name: &str| file(name).to_str().expect("a plain path").to_owned();
    one_pool.write_tokens(&file("one"), 250_000);
    ten_thousand.write_tokens(&file("pools"), 250_000);
    one_pool.write_bodies(&file("many"), 500);
    let single = single_renew(&redis, &one_pool, &crowd[0]).await;
    let etcd = Etcd::start().await;
    if let Some(etcd) = &etcd {
        std::fs::write(file("etcd"), etcd.grant(1_000).await.join("\n")).expect("a file");
    } else {
        say("etcd is not installed: its row is left out");
    }

    let url = node.url();
    let seconds = depth.seconds;
    let tokens = std::fs::read_to_string(file("one")).expect("written above");
    let tokens = Arc::new(tokens.lines().map(str::to_owned).collect::<Vec<_>>());
    let (mut halves, mut p50_ms, mut p99_ms) = (vec![], vec![], vec![]);
    let (mut livez, mut renew, mut script, mut keepalive) = (vec![], vec![], vec![], vec![]);
    let (mut pooled, mut paired, mut denied, mut many) = (vec![], vec![], vec![], vec![]);
    let (mut livez_cost, mut renew_cost, mut storm) = (vec![], vec![], vec![]);
    for round in 1..=depth.rounds {
        say(&format!("round {round} of {}", depth.rounds));
        one_pool.keep().await;
        ten_thousand.keep().await;
        let cost = async |kind: &str, argument: &str| {
            let before = (node.cpu_seconds(), redis.cpu_seconds().await);
            let counted = wrk(&url, kind, argument, 64, seconds).await;
            Cost {
                rate: counted.rate(),
                node_us: (node.cpu_seconds() - before.0) * 1e6 / counted.requests,
                redis_us: (redis.cpu_seconds().await - before.1) * 1e6 / counted.requests,
            }
        };
        livez_cost.push(cost("livez", "").await);
        renew_cost.push(cost("renew", &path("one")).await);
        storm.push(cost("acquire", newcomers[0].as_str()).await);
        reports::forget(&redis, &newcomers[0]).await;
        livez.push(livez_cost[livez_cost.len() - 1].rate);
        renew.push(renew_cost[renew_cost.len() - 1].rate);
        let half = renew[renew.len() - 1] / 2.0;
        let length = Duration::from_secs(seconds);
        let (times, reached) = steady(&[node.address], &tokens, half, length).await;
        halves.push(reached);
        p50_ms.push(f64::from(times[times.len() / 2]) / 1_000.0);
        p99_ms.push(f64::from(times[times.len() * 99 / 100]) / 1_000.0);
        script
            .push(redis_benchmark(redis.socket(), 40_000 * depth.seconds as usize, &single).await);
        if let Some(etcd) = &etcd {
            let url = format!("http://{}", etcd.address);
            let counted = wrk(&url, "keepalive", &path("etcd"), 64, seconds).await;
            keepalive.push(counted.rate());
        }
        pooled.push(wrk(&url, "renew", &path("pools"), 64, seconds).await.rate());
        one_pool.keep().await;
        ten_thousand.keep().await;
        paired.push(
            wrk(&url, "pairs", open[0].as_str(), 64, seconds)
                .await
                .rate()
                / 2.0,
        );
        denied.push(
            wrk(&url, "denied", crowd[0].as_str(), 64, seconds)
                .await
                .rate(),
        );
        many.push(
            wrk(&url, "renew-many", &path("many"), 8, seconds)
                .await
                .rate()
                * 500.0,
        );
    }

    let (reached, p50_ms, p99_ms) = (median(&halves), median(&p50_ms), median(&p99_ms));

    let a_second = |rates: &[f64]| format!("{} requests/s", number(median(rates)));
    let renew_command = wrk_command("renew 2 TOKENS", 64);
    let over_livez = ratio(&renew, &livez);
    let over_script = ratio(&renew, &script);
    let over_etcd = ratio(&renew, &keepalive);
    let over_one = ratio(&pooled, &renew);
    let pairs = ratio(&paired, &livez);
    let node_us = |costs: &[Cost]| costs.iter().map(|cost| cost.node_us).collect::<Vec<_>>();
    let redis_us = |costs: &[Cost]| costs.iter().map(|cost| cost.redis_us).collect::<Vec<_>>();
    let rates: Vec<f64> = storm.iter().map(|cost| cost.rate).collect();
    let node_over_livez = ratio(&node_us(&storm), &node_us(&livez_cost));
    let renew_over_livez = ratio(&node_us(&renew_cost), &node_us(&livez_cost));
    let redis_over_renew = ratio(&redis_us(&storm), &redis_us(&renew_cost));
    let denials = ratio(&denied, &livez);
    let leases = median(&many);
    let mut rows = vec![
        figure("`GET /livez`", a_second(&livez), wrk_command("livez 2", 64)),
        figure(
            "`POST /v1/leases/renew`, 100 000 leases in one pool",
            a_second(&renew),
            renew_command.clone(),
        ),
        goal(
            "renew against `/livez`",
            format!("{over_livez:.2}"),
            "≥ 0.45, aim 0.60",
            over_livez >= 0.45,
            "",
        ),
        figure(
            "`redis-benchmark`, the renew script with one lease",
            format!("{} calls/s", number(median(&script))),
            "redis-benchmark -s SOCKET -c 50 -n N EVALSHA SHA 3 CLOCK CONFIG LEASES 1 MARGIN 0 0 1 ID",
        ),
        goal(
            "renew against that",
            format!("{over_script:.2}"),
            "≥ 1.0",
            over_script >= 1.0,
            "",
        ),
    ];
    if etcd.is_some() {
        rows.push(figure(
            "etcd, lease keep-alive over its JSON gateway",
            a_second(&keepalive),
            wrk_command("keepalive 2 IDS", 64),
        ));
        rows.push(goal(
            "renew against that",
            format!("{over_etcd:.1}"),
            "≥ 6",
            over_etcd >= 6.0,
            "",
        ));
    }
    rows.extend([
        figure(
            "renew, 10 000 pools of 10",
            a_second(&pooled),
            renew_command,
        ),
        goal(
            "the same against one pool",
            format!("{over_one:.2}"),
            "≥ 0.6, aim 0.8",
            over_one >= 0.6,
            "",
        ),
        figure(
            "acquire, newcomers only",
            a_second(&rates),
            wrk_command("acquire 2 POOL", 64),
        ),
        goal(
            "processor time of the node, an acquire against `/livez`",
            format!(
                "{node_over_livez:.2} ({:.1} µs, {:.1} µs)",
                median(&node_us(&storm)),
                median(&node_us(&livez_cost))
            ),
            "≤ 2.5, aim 2.0",
            node_over_livez <= 2.5,
            "/proc/PID/stat over the runs of these rows",
        ),
        goal(
            "the same, a renew against `/livez`",
            format!("{renew_over_livez:.2}"),
            "≤ 1.6, aim 1.45",
            renew_over_livez <= 1.6,
            "",
        ),
        goal(
            "processor time of Redis, an acquire against a renew",
            format!(
                "{redis_over_renew:.2} ({:.1} µs, {:.1} µs)",
                median(&redis_us(&storm)),
                median(&redis_us(&renew_cost))
            ),
            "≤ 2.5, aim 2.0",
            redis_over_renew <= 2.5,
            "INFO cpu over the runs of these rows",
        ),
        figure(
            "acquire and release",
            format!("{} pairs/s", number(median(&paired))),
            wrk_command("pairs 2 POOL", 64),
        ),
        goal(
            "pairs against `/livez`",
            format!("{pairs:.3}"),
            "≥ 0.12, aim 0.16",
            pairs >= 0.12,
            "",
        ),
        figure(
            "denied acquires, a full pool of 100 000",
            a_second(&denied),
            wrk_command("denied 2 POOL", 64),
        ),
        goal(
            "denied against `/livez`",
            format!("{denials:.2}"),
            "≥ 0.30, aim 0.36",
            denials >= 0.30,
            "",
        ),
        goal(
            "`renew-many`, 500 tokens a call",
            format!("{} leases/s", number(leases)),
            "≥ 100 000, aim 150 000",
            leases >= 100_000.0,
            wrk_command("renew-many 2 BODIES", 8),
        ),
        goal(
            format!(
                "p99 of a renew at half of the maximum rate ({}/s)",
                number(reached)
            ),
            format!("{p99_ms:.2} ms (p50 {p50_ms:.2} ms)"),
            "≤ 5 ms",
            p99_ms <= 5.0,
            "64 connections of this program, each beat at its time",
        ),
    ]);
    drop((node, etcd));
    redis.stop().await;
    rows
}

/// What requests of a kind cost in one round.
#[derive(Clone, Copy)]
struct Cost {
    /// Answers in a second.
    rate: f64,
    /// Processor time of the node for each.
    node_us: f64,
    /// Processor time of Redis for each.
    redis_us: f64,
}

/// The arguments of redis-benchmark for one beat.
async fn single_renew(redis: &Redis, population: &Population, pool: &PoolName) -> Vec<String> {
    let mut connection = redis.connection().await;
    let sha: String = redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(leasehold::store::script_text("renew").expect("a script"))
        .query_async(&mut connection)
        .await
        .expect("Redis takes the script");
    let config = config_key(redis, pool).await;
    let (prefix, _) = config.split_once(pool.as_str()).expect("its name is in it");
    let id = population.renewals[0].claims.id.to_string();
    let leases = config.replace(":config", ":leases");
    let clock = format!("{prefix}clock");
    [
        "EVALSHA", &sha, "3", &clock, &config, &leases, "1", "0", "1200000", "0", "1", &id,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The key of a pool's policy. Its bucket is asked for, not computed; only while nobody minds a scan of all keys.
async fn config_key(redis: &Redis, pool: &PoolName) -> String {
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("lh1:*:{pool}:config"))
        .query_async(&mut redis.connection().await)
        .await
        .expect("Redis answers");
    keys.first().expect("the pool is there").clone()
}

/// One pool of 1 000, of 100 000 and of 1 000 000 leases on one Redis: speed, memory and processor.
async fn crowds(depth: Depth) -> Vec<Row> {
    let redis = Redis::start().await;
    let store = redis.store().await;
    let large = pools(&store, "large", 1, 2_000_000).await;
    let before = redis.memory().await;
    let node = Node::start(&redis).await;
    say("seeding 1 000 000 leases");
    let mut million = Population::acquire(&store, &large, 1_000_000).await;
    let bytes = (redis.memory().await - before) / 1_000_000.0;

    say("a beat in 20 s from each");
    million.renew().await;
    let (share, beaten) = processor(&redis, &store, &million).await;

    let small = pools(&store, "small", 1, 1_000).await;
    let middle = pools(&store, "middle", 1, 100_000).await;
    let mut hundred_thousand = Population::acquire(&store, &middle, 100_000).await;
    let mut thousand = Population::acquire(&store, &small, 1_000).await;
    let file = |name: &str| redis.directory().join(name);
    let path = |name: &str| file(name).to_str().expect("a plain path").to_owned();
    thousand.write_tokens(&file("thousand"), 250_000);
    hundred_thousand.write_tokens(&file("hundred"), 250_000);
    // More than these it does not come to in the time.
    million.write_tokens(&file("million"), 250_000);
    let mut rates: [Vec<f64>; 3] = Default::default();
    for round in 1..=depth.rounds.min(3) {
        say(&format!("crowds, round {round}"));
        thousand.keep().await;
        hundred_thousand.keep().await;
        million.keep().await;
        for (rates, name) in rates.iter_mut().zip(["thousand", "hundred", "million"]) {
            let counted = wrk(&node.url(), "renew", &path(name), 64, depth.seconds).await;
            rates.push(counted.rate());
        }
    }
    let medians = rates.each_ref().map(|rates| number(median(rates)));
    let over = ratio(&rates[2], &rates[0]);
    drop(node);
    redis.stop().await;
    vec![
        goal(
            "renew with 1 000 / 100 000 / 1 000 000 leases in the pool",
            format!(
                "{} requests/s; last over first {over:.2}",
                medians.join(" / ")
            ),
            "≥ 0.7",
            over >= 0.7,
            wrk_command("renew 2 TOKENS", 64),
        ),
        goal(
            "Redis memory for each of 1 000 000 leases in one pool",
            format!("{bytes:.0} bytes"),
            "≤ 512",
            bytes <= 512.0,
            "INFO memory, used_memory, before and after",
        ),
        goal(
            format!(
                "Redis processor time for 1 000 000 leases, {} beats/s",
                number(beaten)
            ),
            format!("{:.0} % of a core", share * 100.0),
            "≤ 50 %",
            share <= 0.5,
            "INFO cpu; beats from this process through the node's own lanes, at a steady rate",
        ),
    ]
}

/// Share of a core that Redis needs for 50 000 beats a second through the lanes, and how many there were.
async fn processor(redis: &Redis, store: &Store, population: &Population) -> (f64, f64) {
    const RATE: usize = 50_000;
    const LENGTH: usize = 10;
    let renewals = Arc::new(population.renewals.clone());
    let lost = Arc::new(AtomicU64::new(0));
    let beaten = Arc::new(AtomicU64::new(0));
    let cpu = redis.cpu_seconds().await;
    let begin = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let mut sent = 0;
    while sent < RATE * LENGTH {
        ticks.tick().await;
        let due = (begin.elapsed().as_secs_f64() * RATE as f64) as usize;
        while sent < due.min(RATE * LENGTH) {
            let (store, renewals) = (store.clone(), renewals.clone());
            let (lost, beaten) = (lost.clone(), beaten.clone());
            tokio::spawn(async move {
                match store.renew(&renewals[sent % renewals.len()]).await {
                    Ok(Renewed::Renewed(_)) => beaten.fetch_add(1, Ordering::Relaxed),
                    _ => lost.fetch_add(1, Ordering::Relaxed),
                };
            });
            sent += 1;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let share = (redis.cpu_seconds().await - cpu) / seconds;
    let lost = lost.load(Ordering::Relaxed);
    assert_eq!(lost, 0, "beats at a steady rate were not answered");
    (share, beaten.load(Ordering::Relaxed) as f64 / seconds)
}

/// Memory of many small pools.
async fn many_pools() -> Vec<Row> {
    let redis = Redis::start().await;
    let store = redis.store().await;
    let before = redis.memory().await;
    say("seeding 300 000 leases in 10 000 pools");
    let teams = pools(&store, "team", 10_000, 30).await;
    let population = Population::acquire(&store, &teams, 300_000).await;
    let bytes = (redis.memory().await - before) / population.renewals.len() as f64;
    redis.stop().await;
    vec![goal(
        "Redis memory for each lease in 10 000 pools of 30",
        format!("{bytes:.0} bytes"),
        "≤ 256",
        bytes <= 256.0,
        "INFO memory, used_memory, before and after",
    )]
}

/// The longest pause of an acquire while 200 000 leases of its pool expire.
async fn expiry() -> Vec<Row> {
    const LEASES: usize = 200_000;
    let redis = Redis::start().await;
    let store = redis.store().await;
    let pool = pools(&store, "crowd", 1, 1_000_000).await;
    let expired = config_key(&redis, &pool[0])
        .await
        .replace(":config", ":expired");
    let mut connection = redis.connection().await;
    let node = Node::start(&redis).await;
    say("200 000 leases that will expire at once");
    let mut population = Population::acquire(&store, &pool, LEASES).await;
    population.renew().await;
    let ended = Instant::now();

    let stop = Arc::new(AtomicBool::new(false));
    let (address, name) = (node.address, pool[0].clone());
    let asking = {
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut client = Client::connect(address).await.expect("the node runs");
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let from = Instant::now();
                let (status, body) = client
                    .post(&format!("/v1/pools/{name}/leases"), "{}")
                    .await
                    .expect("the node answers");
                times.push((from, from.elapsed().as_secs_f64() * 1_000.0));
                assert_eq!(status, 201, "{body}");
                let token = body.split_once("\"token\":\"").expect("a grant").1;
                let token = token.split_once('"').expect("a grant").0;
                let body = format!("{{\"token\":\"{token}\"}}");
                client
                    .post("/v1/leases/release", &body)
                    .await
                    .expect("the node answers");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            times
        })
    };
    let live = || async {
        let status = store.status(&pool[0]).await.expect("Redis runs");
        status.expect("the pool is there").in_use
    };
    let mut expiring = None;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let live = live().await;
        if expiring.is_none() && live < LEASES as u64 {
            expiring = Some(Instant::now());
        }
        // All are over; the sweeper may still be writing it down.
        let waiting: u64 = redis::cmd("ZCARD")
            .arg(&expired)
            .query_async(&mut connection)
            .await
            .expect("Redis answers");
        if live <= 1 && waiting == 0 {
            break;
        }
        assert!(
            ended.elapsed() < Duration::from_secs(180),
            "the leases do not end"
        );
    }
    let took = expiring.map_or(0.0, |from| from.elapsed().as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    let times = asking.await.expect("every acquire is granted");
    let begin = expiring.expect("they have expired") - Duration::from_millis(200);
    let longest = |times: &mut dyn Iterator<Item = f64>| times.fold(0.0, f64::max);
    let before = longest(
        &mut times
            .iter()
            .filter(|(at, _)| *at < begin)
            .map(|(_, ms)| *ms),
    );
    let during = longest(
        &mut times
            .iter()
            .filter(|(at, _)| *at >= begin)
            .map(|(_, ms)| *ms),
    );
    drop(node);
    redis.stop().await;
    vec![goal(
        "200 000 leases expire at once: longest pause of an acquire",
        format!("{during:.1} ms (before it {before:.1} ms); all recorded after {took:.1} s"),
        "≤ 20 ms",
        during <= 20.0,
        "one connection of this program, acquire and release by turns",
    )]
}

/// Resident memory of a node.
async fn node_memory() -> Vec<Row> {
    const CONNECTIONS: usize = 10_000;
    let redis = Redis::start().await;
    let store = redis.store().await;
    let pool = pools(&store, "crowd", 1, 100_000).await;
    let node = Node::start(&redis).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = node.resident_mib();
    say("10 000 connections");
    let mut clients = Vec::with_capacity(CONNECTIONS);
    let path = format!("/v1/pools/{}/leases", pool[0]);
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(node.address)
            .await
            .expect("a connection; see `ulimit -n`");
        let (status, body) = client.post(&path, "{}").await.expect("the node answers");
        assert_eq!(status, 201, "{body}");
        clients.push(client);
    }
    let full = node.resident_mib();
    drop((clients, node));
    redis.stop().await;
    vec![
        goal(
            "resident memory of a node, idle",
            format!("{idle:.0} MiB"),
            "≤ 30 MiB",
            idle <= 30.0,
            "VmRSS, two seconds after the start",
        ),
        goal(
            "the same with 10 000 connections",
            format!("{full:.0} MiB"),
            "≤ 200 MiB",
            full <= 200.0,
            "VmRSS, after an acquire over each",
        ),
    ]
}

/// Date, machine and versions.
fn machine() -> String {
    let ask = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .output()
            .ok()
            .and_then(|output| {
                let text =
                    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                text.lines().next().map(str::to_owned)
            })
            .unwrap_or_else(|| "none".to_owned())
    };
    let first = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "Measured on {date}: {cpu}, {cores} cores shared by wrk, node and Redis, {memory} of memory, Linux {kernel}; {redis}; {etcd}. \
         Load average at the end {load}.",
        date = ask("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        cpu = first("/proc/cpuinfo", "model name"),
        memory = first("/proc/meminfo", "MemTotal"),
        kernel = ask("uname", &["-r"]),
        redis = ask("redis-server", &["--version"])
            .split(" sha")
            .next()
            .unwrap_or_default(),
        etcd = ask("etcd", &["--version"]),
        load = load.split(' ').next().unwrap_or_default(),
    )
}
