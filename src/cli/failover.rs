//! `leasehold failover`: make a replica the master, under Sentinel, and lose nothing.

use super::{Exit, Failure};
use crate::config::Flags;
use crate::store::fail_over;

#[derive(Debug, clap::Args)]
pub(super) struct Failover {
    #[command(flatten)]
    flags: Flags,
    /// Print what happened as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(failover: &Failover) -> Result<Exit, Failure> {
    let settings = super::load(&failover.flags)?.check()?;
    let options = super::store_options(&settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let switched = super::block_on(runtime, fail_over(&options))
        .map_err(|error| Failure::new(Exit::Unavailable, error))?;
    let text = if failover.json {
        serde_json::to_string(&switched).expect("strings have a JSON form")
    } else {
        format!(
            "{} is the master now, after {}; writes were held for {} ms and none was lost",
            switched.to, switched.from, switched.paused_ms
        )
    };
    super::print(&format!("{text}\n"))
}
