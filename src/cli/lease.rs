//! `leasehold lease`: who holds what, and how to end it.

use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{Remote, confirm};
use super::{Exit, Failure};
use crate::pool::PoolName;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Lease {
    /// List the live leases of a pool
    List {
        /// Name of the pool
        pool: PoolName,
        /// Only leases of this holder
        #[arg(long)]
        holder: Option<String>,
        /// Only leases of this tenant
        #[arg(long)]
        tenant: Option<String>,
        /// Only leases with this text in holder, tenant, label, activities or platform
        #[arg(long, short)]
        query: Option<String>,
        /// holder, tenant, label, started_at, renewed_at, expires_at, platform or activities; with - in front backwards
        #[arg(long, allow_hyphen_values = true)]
        sort: Option<String>,
        /// At most so many
        #[arg(long, default_value = "1000")]
        limit: usize,
        #[command(flatten)]
        remote: Remote,
    },
    /// End leases at once
    Terminate(Terminate),
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true)))]
pub(super) struct Terminate {
    /// Name of the pool
    pool: PoolName,
    /// Ids of leases
    #[arg(group = "which")]
    ids: Vec<String>,
    /// All of this holder
    #[arg(long, group = "which")]
    holder: Option<String>,
    /// All of this tenant
    #[arg(long, group = "which")]
    tenant: Option<String>,
    /// All of the pool
    #[arg(long, group = "which")]
    all: bool,
    /// What the holders read with their next heartbeat
    #[arg(long)]
    reason: Option<String>,
    /// How long the holders may not acquire, in ms
    #[arg(long, default_value = "0", value_name = "MS")]
    block_ms: u64,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(command: &Lease) -> Result<Exit, Failure> {
    match command {
        Lease::List {
            pool,
            holder,
            tenant,
            query,
            sort,
            limit,
            remote,
        } => {
            let mut wanted = form_urlencoded::Serializer::new(String::new());
            for (name, value) in [
                ("holder", holder),
                ("tenant", tenant),
                ("q", query),
                ("sort", sort),
            ] {
                if let Some(value) = value {
                    wanted.append_pair(name, value);
                }
            }
            wanted.append_pair("limit", &limit.clamp(&1, &1_000).to_string());
            let path = format!("/v1/pools/{pool}/leases?{}", wanted.finish());
            let leases = remote.list(&path, *limit)?;
            let columns = [
                "holder",
                "tenant",
                "label",
                "activities",
                "platform",
                "started_at",
                "expires_in_ms",
                "id",
            ];
            remote.show(&leases, &columns, "there are currently no agents connected")
        }
        Lease::Terminate(terminate) => terminate.run(),
    }
}

impl Terminate {
    fn run(&self) -> Result<Exit, Failure> {
        let Self { pool, remote, .. } = self;
        let mut body = json!({ "block_ms": self.block_ms });
        let which = if let Some(holder) = &self.holder {
            body["holder"] = json!(holder);
            format!("all leases of {holder}")
        } else if let Some(tenant) = &self.tenant {
            body["tenant"] = json!(tenant);
            format!("all leases of the tenant {tenant}")
        } else if self.all {
            body["all"] = json!(true);
            let status = remote.call(Method::GET, &format!("/v1/pools/{pool}"), None)?;
            format!("all {} leases", status["in_use"])
        } else {
            body["ids"] = json!(self.ids);
            format!("{} leases", self.ids.len())
        };
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        confirm(&format!("Terminate {which} in the pool {pool}?"), self.yes)?;
        let path = format!("/v1/pools/{pool}/leases/terminate");
        let answer = remote.call(Method::POST, &path, Some(&body))?;
        let results: Vec<Value> = answer["results"].as_array().cloned().unwrap_or_default();
        let ended = results
            .iter()
            .filter(|result| result["status"] == "terminated")
            .count();
        let exit = remote.show(&results, &["id", "status"], "no lease matches")?;
        eprintln!("{ended} of {} leases were terminated", results.len());
        Ok(exit)
    }
}
