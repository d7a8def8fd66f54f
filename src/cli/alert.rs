//! `leasehold alert`: the alerts.

use super::remote::Remote;
use super::{Exit, Failure};
use clap::builder::RangedU64ValueParser;
use reqwest::Method;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Alert {
    /// List the alerts that are raised now, or the log of alerts, the newest first
    List {
        /// Also alerts that are over: the whole log
        #[arg(long)]
        all: bool,
        /// Only of this pool
        #[arg(long)]
        pool: Option<String>,
        /// Only of this type, such as pool.full
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// Maximum number of entries of the log
        #[arg(long, default_value = "100", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        limit: usize,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: &Alert) -> Result<Exit, Failure> {
    let Alert::List {
        all,
        pool,
        kind,
        limit,
        remote,
    } = command;
    let mut wanted = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("pool", pool), ("type", kind)] {
        if let Some(value) = value {
            wanted.append_pair(name, value);
        }
    }
    wanted.append_pair("limit", &limit.clamp(&1, &1_000).to_string());
    let path = format!("/v1/alerts?{}", wanted.finish());
    if *all {
        let items = remote.list(&path, *limit)?;
        let columns = ["at", "state", "type", "pool", "summary"];
        return remote.show(&items, &columns, "no alerts yet");
    }
    let answer = remote.call(Method::GET, &path, None, "current")?;
    let current = answer["current"].as_array().cloned().unwrap_or_default();
    let columns = ["since", "type", "pool", "summary"];
    remote.show(&current, &columns, "no alert is raised")
}
