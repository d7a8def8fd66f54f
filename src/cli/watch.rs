//! `leasehold watch`: the pools as they are now, again and again.
//!
//! On a terminal it is a view of its own ([`screen`]), which leaves the terminal as it was. Elsewhere each reading is printed
//! below the one before, as a table or as one JSON object for each pool.

mod screen;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::Value;

use super::remote::Remote;
use super::table::table;
use super::{Exit, Failure};

const KEYS: &str = "On a terminal: q quits, space pauses, r refreshes, s sorts, the arrows scroll, + and - change how often it \
     reads.";

#[derive(Debug, clap::Args)]
#[command(after_help = KEYS)]
pub(super) struct Watch {
    /// Only pools with this in their name
    name: Option<String>,
    /// Seconds between two readings
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    #[command(flatten)]
    remote: Remote,
}

/// Until it is interrupted, or nobody reads any more.
pub(super) fn run(watch: &Watch) -> Result<Exit, Failure> {
    if io::stdout().is_terminal() && io::stdin().is_terminal() && !watch.remote.json {
        return watch.remote.run(screen::run(watch));
    }
    loop {
        let pools = watch.wanted(watch.remote.list("/v1/pools", usize::MAX)?);
        let text = if watch.remote.json {
            pools.iter().map(|pool| format!("{pool}\n")).collect()
        } else {
            let mut columns = vec!["name", "in_use", "capacity_now", "free", "waiting"];
            if pools.iter().any(knows_idle) {
                columns.push("idle_now");
            }
            format!("{}\n", table(&pools, &columns))
        };
        let mut stdout = io::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
            Err(error) => return Err(error.into()),
        }
        drop(stdout);
        std::thread::sleep(Duration::from_secs(watch.every));
    }
}

/// Whether it is known which seats of a pool are idle.
fn knows_idle(pool: &Value) -> bool {
    pool["idle_now"].is_u64()
}

impl Watch {
    fn wanted(&self, mut pools: Vec<Value>) -> Vec<Value> {
        let name = self.name.as_deref().unwrap_or_default();
        pools.retain(|pool| {
            pool["name"]
                .as_str()
                .is_some_and(|known| known.contains(name))
        });
        pools
    }
}
