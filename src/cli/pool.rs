//! `leasehold pool`: sets of seats, and their policy.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::remote::{Remote, confirm};
use super::{Exit, Failure};
use crate::names::PoolName;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Pool {
    /// List the pools
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Print a pool: its policy, and how full it is
    Show {
        /// Name of the pool
        pool: PoolName,
        #[command(flatten)]
        remote: Remote,
    },
    /// Create a pool, or change fields of its policy
    Set {
        /// Name of the pool
        pool: PoolName,
        /// FIELD=VALUE, such as capacity=50; the value is JSON, or else a string; null restores the default
        #[arg(required = true, value_name = "FIELD=VALUE")]
        fields: Vec<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a pool; its leases are terminated
    Delete {
        /// Name of the pool
        pool: PoolName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: &Pool) -> Result<Exit, Failure> {
    match command {
        Pool::List { remote } => {
            let pools = remote.list("/v1/pools", usize::MAX)?;
            let nothing = "there are no pools; create one: leasehold pool set NAME capacity=5";
            remote.show(
                &pools,
                &["name", "in_use", "capacity", "free", "ttl_ms"],
                nothing,
            )
        }
        Pool::Show { pool, remote } => remote.show_one(&remote.call(
            Method::GET,
            &format!("/v1/pools/{pool}"),
            None,
            "capacity",
        )?),
        Pool::Set {
            pool,
            fields,
            remote,
        } => {
            let changes = Value::Object(changes(fields)?);
            let path = format!("/v1/pools/{pool}");
            // Looked for first: an attempt to change what is not there would stand in the audit trail as a failure.
            let set = match remote.call(Method::GET, &path, None, "capacity") {
                Err(failure) if failure.code == "pool_not_found" => {
                    let made = remote.call_if(Method::PUT, &path, ("if-none-match", "*"), &changes);
                    match made {
                        // Somebody was faster.
                        Err(failure) if failure.code == "precondition_failed" => {
                            remote.call(Method::PATCH, &path, Some(&changes), "capacity")
                        }
                        made => made,
                    }
                }
                found => found
                    .and_then(|_| remote.call(Method::PATCH, &path, Some(&changes), "capacity")),
            }?;
            remote.done(&what_it_means(pool, &set), &set)
        }
        Pool::Delete { pool, yes, remote } => {
            let path = format!("/v1/pools/{pool}");
            let before = remote.call(Method::GET, &path, None, "capacity")?;
            confirm(
                &format!(
                    "Remove the pool {pool} and end its {} leases?",
                    before["leases"]
                ),
                *yes,
            )?;
            remote.delete(&path)?;
            remote.done(
                &format!("{pool} is removed"),
                &json!({"name": pool, "status": "removed"}),
            )
        }
    }
}

/// What a policy means for those who are there.
fn what_it_means(pool: &PoolName, set: &Value) -> String {
    let number = |name: &str| set[name].as_u64().unwrap_or(0);
    let (in_use, capacity) = (number("in_use"), number("capacity"));
    let now = format!("{pool}: {in_use} of {capacity} seats in use");
    if in_use > capacity {
        return format!(
            "{now}; nobody is ended, and nobody gets a seat until fewer than {capacity} are in use"
        );
    }
    now
}

fn changes(fields: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut changes = Map::new();
    for field in fields {
        let (name, value) = field.split_once('=').ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("{field} is not FIELD=VALUE, such as capacity=50"),
            )
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        changes.insert(name.to_owned(), value);
    }
    Ok(changes)
}
