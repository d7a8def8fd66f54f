//! `leasehold holder`: what operators do about one holder.

use clap::builder::RangedU64ValueParser;
use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{Remote, confirm};
use super::{Exit, Failure};
use crate::names::{PoolName, holder_segment};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Holder {
    /// List people: what they hold in all pools, and when their blocks end
    List {
        /// Only those with this in their name
        #[arg(long, short)]
        query: Option<String>,
        /// Only what they hold in this pool
        #[arg(long)]
        pool: Option<PoolName>,
        /// Only what they hold for this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Maximum number of rows
        #[arg(long, default_value = "1000", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        limit: usize,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show what somebody holds, waits for and has, where it is blocked, and what it did
    Show {
        /// Name of the holder
        holder: String,
        /// Also its history of that many days, at most 35
        #[arg(long)]
        days: Option<u32>,
        #[command(flatten)]
        remote: Remote,
    },
    /// End the leases of somebody, at once or when it is idle
    End(End),
    /// Send a holder a message, which arrives with the next heartbeat of each of its leases
    Notify {
        /// Name of the holder
        holder: String,
        /// What it reads
        message: String,
        /// Only in this pool; may be given more than once
        #[arg(long = "pool")]
        pools: Vec<PoolName>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Let a holder have no seat of a pool for a time; what it has it keeps
    Block(Block),
    /// Let a holder have seats of a pool again
    Unblock {
        /// Name of the holder
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
    /// Name of the holder
    holder: String,
    /// In this pool
    #[arg(long)]
    pool: PoolName,
    /// Duration of the block, in ms
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

#[derive(Debug, clap::Args)]
pub(super) struct End {
    /// Name of the holder
    holder: String,
    /// Only in this pool; may be given more than once
    #[arg(long = "pool")]
    pools: Vec<PoolName>,
    /// Reason, which the holder reads with its next heartbeat
    #[arg(long)]
    reason: Option<String>,
    /// For how long it may not acquire, in ms
    #[arg(long, default_value = "0", value_name = "MS")]
    block_ms: u64,
    /// Only with the first heartbeat without activities
    #[arg(long)]
    when_idle: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(command: &Holder) -> Result<Exit, Failure> {
    match command {
        Holder::List {
            query,
            pool,
            tenant,
            limit,
            remote,
        } => {
            let mut wanted = form_urlencoded::Serializer::new(String::new());
            let pool = pool.as_ref().map(PoolName::as_str);
            for (name, value) in [
                ("q", query.as_deref()),
                ("pool", pool),
                ("tenant", tenant.as_deref()),
            ] {
                if let Some(value) = value {
                    wanted.append_pair(name, value);
                }
            }
            wanted.append_pair("limit", &limit.clamp(&1, &1_000).to_string());
            let people = remote.list(&format!("/v1/holders?{}", wanted.finish()), *limit)?;
            if remote.json {
                return remote.show_json(&people.into());
            }
            let rows: Vec<Value> = people.iter().map(in_one_line).collect();
            let columns = ["holder", "seats", "pools", "blocked_until"];
            remote.show(&rows, &columns, "nobody holds a seat")
        }
        Holder::Show {
            holder,
            days,
            remote,
        } => {
            let days = days.map_or(String::new(), |days| format!("?days={days}"));
            let path = format!("/v1/holders/{}{days}", holder_segment(holder));
            remote.show_one(&remote.call(Method::GET, &path, None, "leases")?)
        }
        Holder::End(end) => {
            let End { holder, remote, .. } = end;
            confirm(&format!("End the leases of {holder}?"), end.yes)?;
            let mut body = json!({ "block_ms": end.block_ms });
            if !end.pools.is_empty() {
                body["pools"] = json!(end.pools);
            }
            if let Some(reason) = &end.reason {
                body["reason"] = json!(reason);
            }
            if end.when_idle {
                body["when"] = json!("idle");
            }
            let path = format!("/v1/holders/{}/terminate", holder_segment(holder));
            let ended = remote.call(Method::POST, &path, Some(&body), "results")?;
            let count = ended["results"].as_array().map_or(0, Vec::len);
            let how = if end.when_idle {
                "will end when idle"
            } else {
                "were ended"
            };
            remote.done(&format!("{count} leases of {holder} {how}"), &ended)
        }
        Holder::Notify {
            holder,
            message,
            pools,
            remote,
        } => {
            let mut body = json!({ "message": message });
            if !pools.is_empty() {
                body["pools"] = json!(pools);
            }
            let path = format!("/v1/holders/{}/notice", holder_segment(holder));
            let sent = remote.call(Method::POST, &path, Some(&body), "leases")?;
            let count = sent["leases"].as_u64().unwrap_or_default();
            let sentence =
                format!("{count} leases of {holder} bring the message with their next heartbeat");
            remote.done(&sentence, &sent)
        }
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

/// A person, as a row of a table.
fn in_one_line(person: &Value) -> Value {
    let pools = person["pools"].as_array().into_iter().flatten();
    let pools: Vec<String> = pools
        .map(|held| {
            let pool = held["pool"].as_str().unwrap_or_default();
            match held["leases"].as_u64() {
                Some(leases) if leases != 1 => format!("{pool} ({leases})"),
                _ => pool.to_owned(),
            }
        })
        .collect();
    json!({
        "holder": person["holder"], "seats": person["seats"], "pools": pools.join(", "),
        "blocked_until": person["blocked_until"],
    })
}

fn path(pool: &PoolName, holder: &str) -> String {
    format!("/v1/pools/{pool}/blocks/{}", holder_segment(holder))
}
