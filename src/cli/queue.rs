//! `leasehold queue`: who waits for a seat.

use super::remote::Remote;
use super::{Exit, Failure};
use crate::names::PoolName;
use clap::builder::RangedU64ValueParser;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Queue {
    /// List those who wait for a seat of a pool, in the order in which they are served
    List {
        /// Name of the pool
        pool: PoolName,
        /// Maximum number of waiters
        #[arg(long, default_value = "1000", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        limit: usize,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: &Queue) -> Result<Exit, Failure> {
    let Queue::List {
        pool,
        limit,
        remote,
    } = command;
    let path = format!("/v1/pools/{pool}/queue?limit={}", limit.clamp(&1, &1_000));
    let mut waiters = remote.list(&path, *limit)?;
    if !remote.json {
        for waiter in &mut waiters {
            if waiter["holder"].is_null() {
                waiter["holder"] = "Guest".into();
            }
        }
    }
    let columns = [
        "position",
        "holder",
        "tenant",
        "since",
        "asks_again_by",
        "eta_ms",
    ];
    remote.show(&waiters, &columns, "nobody waits for a seat")
}
