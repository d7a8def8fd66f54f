//! `leasehold block`: who gets no seat for a time.

use super::remote::Remote;
use super::{Exit, Failure};
use crate::names::PoolName;
use clap::builder::RangedU64ValueParser;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Block {
    /// List the holders that get no seat for a time, and why
    List {
        /// Only of this pool
        #[arg(long)]
        pool: Option<PoolName>,
        /// Maximum number of blocks
        #[arg(long, default_value = "1000", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        limit: usize,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: &Block) -> Result<Exit, Failure> {
    let Block::List {
        pool,
        limit,
        remote,
    } = command;
    let page = limit.clamp(&1, &1_000);
    let path = match pool {
        Some(pool) => format!("/v1/pools/{pool}/blocks?limit={page}"),
        None => format!("/v1/blocks?limit={page}"),
    };
    let blocks = remote.list(&path, *limit)?;
    let columns = [
        "pool", "holder", "tenants", "until", "reason", "by", "since",
    ];
    remote.show(&blocks, &columns, "nobody is blocked")
}
