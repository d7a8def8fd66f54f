//! `leasehold lease`: who holds what, and how to end it.

use clap::builder::RangedU64ValueParser;
use reqwest::Method;
use serde_json::{Value, json};

use super::progress::Progress;
use super::remote::{Remote, confirm};
use super::{Exit, Failure};
use crate::names::PoolName;
use crate::stderr;

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
        /// Only leases with this string in holder, tenant, label, activities or platform
        #[arg(long, short)]
        query: Option<String>,
        /// Only leases whose users have done nothing for this long, by their last report, in ms
        #[arg(long, value_name = "MS")]
        idle_ms: Option<u64>,
        /// holder, tenant, label, started_at, renewed_at, expires_at, active_at, platform or activities; with - in front backwards
        #[arg(long, allow_hyphen_values = true)]
        sort: Option<String>,
        /// Maximum number of leases
        #[arg(long, default_value = "1000", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
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
    /// Reason, which the holders read with their next heartbeat
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
            idle_ms,
            sort,
            limit,
            remote,
        } => {
            let mut wanted = form_urlencoded::Serializer::new(String::new());
            let idle_ms = idle_ms.map(|ms| ms.to_string());
            for (name, value) in [
                ("holder", holder),
                ("tenant", tenant),
                ("q", query),
                ("idle_ms", &idle_ms),
                ("sort", sort),
            ] {
                if let Some(value) = value {
                    wanted.append_pair(name, value);
                }
            }
            wanted.append_pair("limit", &limit.clamp(&1, &1_000).to_string());
            let path = format!("/v1/pools/{pool}/leases?{}", wanted.finish());
            let mut leases = remote.list(&path, *limit)?;
            if !remote.json {
                for lease in &mut leases {
                    if lease["holder"].is_null() {
                        lease["holder"] = "Guest".into();
                    }
                }
            }
            let mut columns = vec![
                "holder",
                "tenant",
                "label",
                "activities",
                "platform",
                "seat",
                "started_at",
                "renewed_at",
                "expires_in_ms",
                "id",
            ];
            // Only pools whose policy has `idle` tell it.
            if leases.iter().any(|lease| lease.get("active_at").is_some()) {
                columns.insert(columns.len() - 2, "active_at");
            }
            remote.show(&leases, &columns, "there are currently no agents connected")
        }
        Lease::Terminate(terminate) => terminate.run(),
    }
}

/// Maximum ids per request.
const AT_ONCE: usize = 1_000;
/// Maximum results that are shown to a person one by one.
const WORTH_A_LINE: usize = 20;

impl Terminate {
    fn run(&self) -> Result<Exit, Failure> {
        let Self { pool, remote, .. } = self;
        let ids = match self.selection() {
            Some(selection) => self.matching(&selection)?,
            None => self.ids.clone(),
        };
        let leases = match ids.len() {
            1 => "1 lease".to_owned(),
            many => format!("{many} leases"),
        };
        let which = if let Some(holder) = &self.holder {
            format!("all leases of {holder}, now {leases},")
        } else if let Some(tenant) = &self.tenant {
            format!("all leases of the tenant {tenant}, now {leases},")
        } else if self.all {
            format!("all leases, now {leases},")
        } else {
            leases
        };
        confirm(&format!("Terminate {which} in the pool {pool}?"), self.yes)?;
        let results = self.end(&ids)?;
        let ended = results
            .iter()
            .filter(|result| result["status"] == "terminated")
            .count();
        let exit = if remote.json || results.len() <= WORTH_A_LINE {
            remote.show(&results, &["id", "status"], "no lease matches")?
        } else {
            Exit::Ok
        };
        stderr::say_line(format_args!(
            "{ended} of {} leases were terminated",
            results.len()
        ));
        Ok(exit)
    }

    /// Which leases, unless their ids were given.
    fn selection(&self) -> Option<(&'static str, Value)> {
        if let Some(holder) = &self.holder {
            Some(("holder", json!(holder)))
        } else if let Some(tenant) = &self.tenant {
            Some(("tenant", json!(tenant)))
        } else {
            self.all.then_some(("all", json!(true)))
        }
    }

    /// The ids of those that match now: for the question, and so that the work has an end.
    fn matching(&self, (name, value): &(&str, Value)) -> Result<Vec<String>, Failure> {
        let mut wanted = form_urlencoded::Serializer::new(String::new());
        if let Some(value) = value.as_str() {
            wanted.append_pair(name, value);
        }
        wanted.append_pair("limit", "1000");
        let path = format!("/v1/pools/{}/leases?{}", self.pool, wanted.finish());
        let leases = self.remote.list(&path, usize::MAX)?;
        let ids = leases.iter().filter_map(|lease| lease["id"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }

    /// Some at a time, so that no request is long; then those that came meanwhile, and what has expired and could come back.
    fn end(&self, ids: &[String]) -> Result<Vec<Value>, Failure> {
        if let Some(holder) = &self.holder {
            // In one request, which blocks the holder first, so that nothing slips in.
            return self.ask("holder", json!(holder));
        }
        let progress = Progress::of(ids.len(), "terminating");
        let mut results = Vec::new();
        for some in ids.chunks(AT_ONCE) {
            results.extend(self.ask("ids", json!(some))?);
            progress.at(results.len());
        }
        if let Some((name, value)) = self.selection() {
            results.extend(self.ask(name, value)?);
        }
        Ok(results)
    }

    fn ask(&self, which: &str, value: Value) -> Result<Vec<Value>, Failure> {
        let mut body = json!({ "block_ms": self.block_ms });
        body[which] = value;
        if let Some(reason) = &self.reason {
            body["reason"] = json!(reason);
        }
        let path = format!("/v1/pools/{}/leases/terminate", self.pool);
        let answer = self
            .remote
            .call(Method::POST, &path, Some(&body), "results")?;
        Ok(answer["results"].as_array().cloned().unwrap_or_default())
    }
}
