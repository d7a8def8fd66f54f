//! A crowd does everything at once on three nodes while one thing after the other breaks, on Redis alone, behind a name, behind
//! sentinels and as a cluster; what everybody saw is held against the rules.
//!
//! The test gives each topology one round for each of a few faults. `make chaos MINUTES=60` takes longer, all faults and more
//! load, prints a line for each, and a table at the end; see [`Options`] for what can be chosen.

mod address;
pub(crate) mod crowd;
mod faults;
mod hosts;
mod long_outage;
pub(crate) mod observer;
pub(crate) mod stage;
mod table;

use std::time::{Duration, Instant};

use self::crowd::{Crowd, Plan, now_ms};
use self::faults::Fault;
use self::observer::{Observer, bucket, third};
use self::stage::{Stage, Topology};
use self::table::{Row, Table};
use crate::checker::History;
use crate::harness::{ANY, let_pass};

/// Fewer operations in the second before a fault prove nothing.
const ENOUGH: u64 = 150;

/// What to break, from the environment: `CHAOS_MINUTES`, `CHAOS_TOPOLOGY` (names, by commas), `CHAOS_FAULTS` (parts of
/// names, by commas), `CHAOS_TABLE` (a file for the table), `CHAOS_OUTAGE` (seconds of the one long outage).
#[derive(Debug, Clone)]
struct Options {
    minutes: Option<f64>,
    topologies: Vec<Topology>,
    faults: Vec<String>,
    outage: Option<u64>,
}

fn option(name: &str) -> Option<String> {
    std::env::var(format!("CHAOS_{name}"))
        .ok()
        .filter(|text| !text.is_empty())
}

impl Options {
    fn read() -> Self {
        let number = |name: &str| {
            option(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: {text:?}")))
        };
        let words = |name: &str| -> Vec<String> {
            let text = option(name).unwrap_or_default();
            text.split(',')
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let names = words("TOPOLOGY");
        let known = Topology::ALL.into_iter();
        let topologies: Vec<Topology> = known
            .filter(|topology| names.is_empty() || names.iter().any(|n| n == topology.name()))
            .collect();
        assert!(!topologies.is_empty(), "no topology is named {names:?}");
        Self {
            minutes: number("MINUTES"),
            topologies,
            faults: words("FAULTS"),
            outage: number("OUTAGE").map(|seconds| seconds as u64),
        }
    }

    fn faults(&self, topology: Topology) -> Vec<Fault> {
        let wanted = |fault: &Fault| {
            let name = fault.name().to_lowercase();
            self.faults.is_empty()
                || self
                    .faults
                    .iter()
                    .any(|part| name.contains(&part.to_lowercase()))
        };
        let short = self.minutes.is_none() && self.faults.is_empty();
        let all = Fault::of(topology, short).into_iter();
        all.filter(wanted).collect()
    }
}

/// The pools of a round: different terms, each in a bucket of its own, on all shards of a cluster.
fn plans(round: usize, topology: Topology, long: bool) -> Vec<Plan> {
    let mut taken: Vec<u16> = Vec::new();
    let mut pool = |place: usize| {
        (0..)
            .map(|number| format!("{}-{round}-{place}-{number}", topology.name()))
            .find(|name| {
                let fits = !taken.contains(&bucket(name)) && third(bucket(name)) == place % 3;
                if fits {
                    taken.push(bucket(name));
                }
                fits
            })
            .expect("there are many names")
    };
    let seats_of_gateway = if long { 40 } else { 8 };
    let queue = pool(3);
    let plan = |pool, ttl, guests, keepers, gateways| Plan {
        pool,
        capacity: keepers + seats_of_gateway * gateways + guests / 2,
        ttl,
        linger: ttl / 4,
        resume_window: 5 * ttl,
        guests,
        keepers,
        gateways,
        seats_of_gateway,
        waiters: 0,
        pause: if long { 30 } else { 70 },
    };
    let more = if long { 2 } else { 1 };
    let in_line = Plan {
        capacity: 2 + more,
        waiters: 6 * more,
        ..plan(queue, 6_000, more, 0, 0)
    };
    vec![
        plan(pool(0), 1_000, 10, 0, 0),
        plan(pool(1), 6_000, 6 * more, 3 * more, more),
        plan(pool(2), 60_000, 4 * more, 3 * more, more),
        in_line,
    ]
}

/// One fault on a stage, and what was found.
async fn round(stage: &mut Stage, fault: Fault, number: usize, long: bool) -> Row {
    let clients = stage.clients();
    let plans = plans(number, stage.topology, long);
    for plan in &plans {
        // A node that is just back may need a moment.
        let mut tries = 0;
        while clients[tries % 3]
            .put_pool(&plan.pool, plan.policy(), ANY)
            .await
            .status
            >= 300
        {
            tries += 1;
            assert!(tries < 100, "{} cannot be made", plan.pool);
            let_pass(100).await;
        }
    }
    let (lead_before, begun) = (stage.lead, Instant::now());
    let pools: Vec<String> = plans.iter().map(|plan| plan.pool.clone()).collect();
    let observer = Observer::open(&stage.way(), &pools);
    let mut crowds: Vec<Crowd> = plans
        .into_iter()
        .map(|plan| Crowd::start(plan, &clients))
        .collect();
    let answered =
        |crowds: &[Crowd]| -> u64 { crowds.iter().map(|crowd| crowd.log.answered()).sum() };

    // Until everybody has found a seat or has not, and there is enough to do.
    let quiet = if long { 4_000 } else { 1_500 };
    let_pass(quiet).await;
    let waited = Instant::now();
    let mut rate = 0;
    while waited.elapsed() < Duration::from_secs(15) {
        let before = answered(&crowds);
        let_pass(1_000).await;
        rate = answered(&crowds) - before;
        if rate >= ENOUGH {
            break;
        }
    }
    let struck_at = now_ms();
    let struck = fault.strike(stage, number).await;
    let_pass(if long { 4_000 } else { 2_500 }).await;
    for crowd in &mut crowds {
        crowd.stop().await;
    }
    let ended_at = now_ms();
    stage.repair().await;
    let sights = observer.close().await;

    let mut row = Row::new(stage.topology, &fault.name(), rate, rate >= ENOUGH);
    let passed = i64::try_from(begun.elapsed().as_millis()).expect("minutes");
    stage.pass(passed, struck.silence);
    let (least, most) = (
        lead_before.0.min(stage.lead.0),
        lead_before.1.max(stage.lead.1),
    );
    for (crowd, sight) in crowds.iter().zip(sights) {
        let (operations, strange) = crowd.log.take();
        row.note_times(&operations, struck_at, struck.back, ended_at);
        let history = History {
            capacity: crowd.plan.capacity,
            ttl: crowd.plan.ttl.cast_signed(),
            linger: crowd.plan.linger.cast_signed(),
            resume_window: crowd.plan.resume_window.cast_signed(),
            queue: crowd.plan.waiters > 0,
            until: sight.until,
            balance: sight.balance,
            left_records: sight.left_records,
            segments: sight.segments,
            operations,
            remade: crowd.remade.take().0,
            lossy: struck.lossy.into_iter().collect(),
            repeated: struck.repeated.into_iter().collect(),
            sent_again: struck.sent_again.into_iter().collect(),
            silences: struck.silence.into_iter().collect(),
            only_notices_fail: struck.only_notices_fail.into_iter().collect(),
            // Where little happened before, the machine was busy with something else.
            moved: struck
                .moved
                .filter(|_| rate >= ENOUGH)
                .into_iter()
                .collect(),
            skew: (least, most),
        };
        let mut verdict = tokio::task::spawn_blocking(move || history.check())
            .await
            .expect("the checker does not panic");
        verdict.violations.extend(strange);
        row.add(&crowd.plan.pool, verdict, struck.lossy.is_some());
    }
    row
}

/// All faults of a topology, again and again until the time is over; at least once each.
async fn play(topology: Topology, options: &Options, until: Option<Instant>, table: &Table) {
    let faults = options.faults(topology);
    if faults.is_empty() {
        return;
    }
    let mut stage = match Stage::start(topology).await {
        Ok(stage) => stage,
        Err(why) => {
            table.say(&format!("{:9} skipped: {why}", topology.name()));
            return;
        }
    };
    for (number, fault) in faults.iter().cycle().enumerate() {
        let all_once = number >= faults.len();
        if all_once && until.is_none_or(|until| Instant::now() >= until) {
            return;
        }
        // A long run that has little time may end within the first turn.
        if until.is_some_and(|until| Instant::now() >= until) {
            return;
        }
        if let Err(why) = fault.is_possible(&stage) {
            if !all_once {
                table.say(&format!(
                    "{:9} {}: skipped: {why}",
                    topology.name(),
                    fault.name()
                ));
            }
            continue;
        }
        table.add(round(&mut stage, *fault, number, until.is_some()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_everything_breaks_the_rules_hold() {
    let options = Options::read();
    let table = Table::start();
    if let Some(minutes) = options.minutes {
        let outage = options.outage.unwrap_or(600);
        let all = Duration::from_secs_f64(minutes * 60.0);
        let long = outage > 0 && all.as_secs() > outage + 120 && options.faults.is_empty();
        let parts = async {
            // Redis alone has by far the most that can break.
            let weight = |topology: Topology| match topology {
                Topology::Alone => 8,
                Topology::Volatile | Topology::Hosts | Topology::Address => 2,
                Topology::Sentinel | Topology::Installation => 4,
            };
            let sum: u32 = options.topologies.iter().map(|one| weight(*one)).sum();
            let mut until = Instant::now();
            for topology in &options.topologies {
                until += all * weight(*topology) / sum;
                play(*topology, &options, Some(until), &table).await;
            }
        };
        let outage = async {
            if long {
                table.add(long_outage::of(Duration::from_secs(outage)).await);
            }
        };
        tokio::join!(parts, outage);
    } else {
        for topology in &options.topologies {
            play(*topology, &options, None, &table).await;
        }
    }
    table.finish();
}
