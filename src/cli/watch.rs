//! `leasehold watch`: the pools as they are now, again and again.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;

use super::remote::{Remote, table};
use super::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    /// Only pools with this in their name
    name: Option<String>,
    /// Seconds between two looks
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    #[command(flatten)]
    remote: Remote,
}

/// Until it is interrupted. An outage is shown and waited out; a key that may not look ends it.
pub(super) fn run(watch: &Watch) -> Result<Exit, Failure> {
    let screen = std::io::stdout().is_terminal() && !watch.remote.json;
    loop {
        let text = match watch.remote.list("/v1/pools", usize::MAX) {
            Ok(pools) => watch.frame(pools),
            Err(failure) if failure.exit == Exit::Unavailable && screen => {
                format!("{failure}\ntrying again every {} s\n", watch.every)
            }
            Err(failure) => return Err(failure),
        };
        if screen {
            // Home, the text, and away with what is left of the frame before.
            let lines: String = text
                .lines()
                .map(|line| format!("{line}\u{1b}[K\n"))
                .collect();
            super::print(&format!("\u{1b}[H{lines}\u{1b}[J"))?;
        } else {
            super::print(&text)?;
        }
        std::thread::sleep(Duration::from_secs(watch.every));
    }
}

impl Watch {
    fn frame(&self, mut pools: Vec<Value>) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        pools.retain(|pool| {
            pool["name"]
                .as_str()
                .is_some_and(|known| known.contains(name))
        });
        if self.remote.json {
            return pools.iter().map(|pool| format!("{pool}\n")).collect();
        }
        for pool in &mut pools {
            let (in_use, free) = (
                pool["in_use"].as_u64().unwrap_or(0),
                pool["free"].as_u64().unwrap_or(0),
            );
            pool["seats"] = bar(in_use, in_use + free).into();
        }
        table(
            &pools,
            &["name", "in_use", "capacity_now", "free", "waiting", "seats"],
        )
    }
}

/// How much is in use, as twenty characters.
fn bar(in_use: u64, seats: u64) -> String {
    let filled = usize::try_from((in_use * 20).checked_div(seats).unwrap_or(0))
        .unwrap_or(20)
        .min(20);
    format!("{}{}", "█".repeat(filled), "░".repeat(20 - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_any_other() {
        for (in_use, seats, filled) in [(0, 0, 0), (0, 5, 0), (1, 5, 4), (5, 5, 20), (9, 5, 20)] {
            let bar = bar(in_use, seats);
            assert_eq!(
                (bar.chars().count(), bar.matches('█').count()),
                (20, filled)
            );
        }
    }
}
