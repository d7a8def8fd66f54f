//! `leasehold demo`: a node of its own with five weeks of made-up history and a crowd that lives, for whoever looks at it for the first
//! time. It keeps its data apart, serves this machine only, and touches no pool of another name than its own.

mod crowd;
mod past;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args as _, FromArgMatches as _};
use futures_util::future::BoxFuture;

use super::serve;
use super::{Exit, Failure};
use crate::config::{Flags, Settings};
use crate::history::rollup;
use crate::names::PoolName;
use crate::pool::{Idle, Policy, Queue, WhenIdle};
use crate::store::{self, Expect, Put, Store};

/// Where its data is unless a flag says otherwise.
const DATA: &str = "leasehold-demo";
/// After so long without activity a seat of the demo is idle: not long, for it is looked at for some minutes.
pub(super) const IDLE_MS: u64 = 300_000;
/// Events of a roll-up.
const BATCH: usize = 50_000;

#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Address of the pages; of this machine
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the embedded Redis keeps the data of the demo
    #[arg(long, default_value = DATA, value_name = "DIRECTORY")]
    data_dir: PathBuf,
}

/// A pool of the demo, and who works there.
pub(super) struct DemoPool {
    pub(super) name: &'static str,
    /// Seats for the first part of the five weeks, and since then.
    pub(super) before: u32,
    pub(super) capacity: u32,
    pub(super) people: usize,
    /// Hours of the day, in UTC, and whether also on weekends.
    pub(super) hours: (i64, i64),
    pub(super) weekends: bool,
    pub(super) tenants: &'static [&'static str],
    pub(super) activities: &'static [&'static str],
    pub(super) queue: bool,
    /// Whether idle seats are counted.
    pub(super) counts_idle: bool,
}

const POOLS: [DemoPool; 3] = [
    DemoPool {
        name: "demo-support",
        before: 20,
        capacity: 24,
        people: 36,
        hours: (6, 18),
        weekends: false,
        tenants: &[],
        activities: &["Call", "Chat", "E-mail", "Order", "Refund"],
        queue: true,
        counts_idle: false,
    },
    DemoPool {
        name: "demo-sales",
        before: 12,
        capacity: 12,
        people: 17,
        hours: (7, 17),
        weekends: false,
        tenants: &["acme", "globex"],
        activities: &["Quote", "Call", "Contract"],
        queue: false,
        counts_idle: true,
    },
    DemoPool {
        name: "demo-warehouse",
        before: 10,
        capacity: 10,
        people: 9,
        hours: (4, 22),
        weekends: true,
        tenants: &[],
        activities: &["Picking", "Packing", "Inventory"],
        queue: false,
        counts_idle: false,
    },
];

impl DemoPool {
    fn policy(&self) -> Policy {
        Policy {
            queue: self.queue.then_some(Queue { max_waiting: 20 }),
            alert_at_percent: vec![80, 95],
            idle: self.counts_idle.then_some(Idle {
                after_ms: IDLE_MS,
                then: WhenIdle::Count,
                notice_ms: IDLE_MS / 2,
                people: false,
            }),
            ..Policy::with_capacity(self.capacity)
        }
    }

    /// Somebody who works there, by number.
    pub(super) fn person(&self, number: usize) -> String {
        const FIRST: [&str; 12] = [
            "maria", "jonas", "aisha", "luca", "ines", "tomasz", "yuki", "noah", "carmen", "søren",
            "emre", "zoe",
        ];
        const LAST: [&str; 7] = [
            "rossi", "keller", "okafor", "novak", "silva", "tanaka", "meier",
        ];
        let shift = self.name.len();
        let first = FIRST[(number + shift) % FIRST.len()];
        let last = LAST[(number * 3 + number / FIRST.len() + shift) % LAST.len()];
        format!("{first}.{last}@example.com")
    }

    /// The sub-account of somebody.
    pub(super) fn tenant(&self, number: usize) -> Option<&'static str> {
        (!self.tenants.is_empty()).then(|| self.tenants[number % self.tenants.len()])
    }
}

/// Settings from the environment that say where things are on this machine, and nothing of an installation.
const KEPT: [&str; 3] = [
    "LEASEHOLD_REDIS_SERVER",
    "LEASEHOLD_LOG",
    "LEASEHOLD_LOG_FORMAT",
];

pub(super) fn run(demo: &Demo) -> Result<Exit, Failure> {
    let flags = clap::Command::new("demo").no_binary_name(true);
    let given = Flags::augment_args(flags).try_get_matches_from([
        "--listen".into(),
        demo.listen.to_string().into(),
        "--data-dir".into(),
        demo.data_dir.clone().into_os_string(),
    ]);
    let flags = given.and_then(|given| Flags::from_arg_matches(&given));
    let flags = flags.map_err(|error| Failure::new(Exit::Usage, error))?;
    // None of the settings of a real installation: they could lead to its Redis.
    let kept = std::env::vars_os().filter(|(name, _)| KEPT.iter().any(|kept| name == *kept));
    let settings = Settings::load(&flags, kept, Path::new("/nonexistent"))?.check()?;
    serve::run_with(&settings, &BTreeSet::new(), false, Some(begin))
}

/// Makes the pools with their past, where they are not there yet, and lets people come.
fn begin(store: Store, address: SocketAddr) -> BoxFuture<'static, Result<(), store::Error>> {
    Box::pin(async move {
        for pool in &POOLS {
            let name: PoolName = pool.name.parse().expect("a name of a pool");
            let made = store.put_pool(&name, &pool.policy(), Expect::None).await?;
            if matches!(made, Put::Created(_)) {
                let events = past::of(pool, store.now());
                store.replace_history(&name, &events, pool.capacity).await?;
                while rollup::roll_up(&store, &name, BATCH).await? {}
            }
        }
        for pool in &POOLS {
            crowd::come(pool, address);
        }
        Ok(())
    })
}
