//! `leasehold pool`: sets of seats, and their policy.

use reqwest::Method;
use serde_json::{Map, Value};

use super::remote::{Remote, confirm};
use super::{Exit, Failure};
use crate::pool::PoolName;

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
        /// FIELD=VALUE, such as capacity=50; the value is JSON, or else text; null is the default
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
        Pool::Show { pool, remote } => {
            remote.show_json(&remote.call(Method::GET, &format!("/v1/pools/{pool}"), None)?)
        }
        Pool::Set {
            pool,
            fields,
            remote,
        } => {
            let changes = Value::Object(changes(fields)?);
            let path = format!("/v1/pools/{pool}");
            let set = match remote.call(Method::PATCH, &path, Some(&changes)) {
                Err(failure) if failure.exit == Exit::NotFound => {
                    remote.call(Method::PUT, &path, Some(&changes))
                }
                set => set,
            }?;
            if remote.json {
                return remote.show_json(&set);
            }
            eprintln!(
                "{pool}: {} of {} seats in use",
                set["in_use"], set["capacity"]
            );
            Ok(Exit::Ok)
        }
        Pool::Delete { pool, yes, remote } => {
            let path = format!("/v1/pools/{pool}");
            let before = remote.call(Method::GET, &path, None)?;
            confirm(
                &format!(
                    "Remove the pool {pool} and end its {} leases?",
                    before["in_use"]
                ),
                *yes,
            )?;
            remote.call(Method::DELETE, &path, None)?;
            eprintln!("{pool} is removed");
            Ok(Exit::Ok)
        }
    }
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
