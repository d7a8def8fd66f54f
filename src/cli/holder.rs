//! `leasehold holder`: what operators do about one holder.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::json;

use super::remote::Remote;
use super::{Exit, Failure};
use crate::names::PoolName;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Holder {
    /// Let a holder have no seat of a pool for a time; what it has it keeps
    Block(Block),
    /// Let a holder have seats of a pool again
    Unblock {
        /// Who it is
        holder: String,
        /// In this pool
        #[arg(long)]
        pool: PoolName,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("end").required(true)))]
pub(super) struct Block {
    /// Who it is
    holder: String,
    /// In this pool
    #[arg(long)]
    pool: PoolName,
    /// For so long, in ms
    #[arg(long, group = "end", value_name = "MS")]
    for_ms: Option<u64>,
    /// Until this instant, such as 2026-12-01T18:00:00Z
    #[arg(long, group = "end", value_name = "INSTANT")]
    until: Option<String>,
    /// What the holder reads when it asks for a seat
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(command: &Holder) -> Result<Exit, Failure> {
    match command {
        Holder::Block(block) => {
            let mut body = json!({});
            if let Some(for_ms) = block.for_ms {
                body["for_ms"] = json!(for_ms);
            }
            if let Some(until) = &block.until {
                body["until"] = json!(until);
            }
            if let Some(reason) = &block.reason {
                body["reason"] = json!(reason);
            }
            let Block {
                holder,
                pool,
                remote,
                ..
            } = block;
            let put = remote.call(Method::PUT, &path(pool, holder), Some(&body), "until")?;
            let until = put["until"].as_str().unwrap_or_default();
            let sentence = format!("{holder} gets no seat of the pool {pool} until {until}");
            remote.done(&sentence, &put)
        }
        Holder::Unblock {
            holder,
            pool,
            remote,
        } => {
            remote.delete(&path(pool, holder))?;
            let sentence = format!("{holder} may have seats of the pool {pool}");
            remote.done(&sentence, &json!({ "pool": pool, "holder": holder }))
        }
    }
}

fn path(pool: &PoolName, holder: &str) -> String {
    let holder = utf8_percent_encode(holder, NON_ALPHANUMERIC);
    format!("/v1/pools/{pool}/blocks/{holder}")
}
