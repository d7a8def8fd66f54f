//! `leasehold alert`: the alerts.

use clap::builder::RangedU64ValueParser;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::json;

use super::remote::Remote;
use super::{Exit, Failure};
use crate::names::PoolName;
use crate::webhook::AlertType;

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
    /// Acknowledge an alert: no reminder of it is sent
    Acknowledge {
        /// The alert, as in the column `alert` of `leasehold alert list`
        alert: String,
        /// What others are to know
        #[arg(long)]
        comment: Option<String>,
        /// Withdraw the acknowledgement
        #[arg(long, conflicts_with = "comment")]
        undo: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Send no messages about some alerts for a time; they are listed all the same
    #[command(group(clap::ArgGroup::new("end").required(true)))]
    Snooze {
        /// Duration of the snooze, in ms, at most thirty days
        #[arg(long, group = "end", value_name = "MS")]
        for_ms: Option<u64>,
        /// Until this instant, such as 2026-12-01T18:00:00Z
        #[arg(long, group = "end", value_name = "INSTANT")]
        until: Option<String>,
        /// Only of this pool
        #[arg(long)]
        pool: Option<PoolName>,
        /// Only of this type, such as pool.full
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<AlertType>,
        /// Reason, for others
        #[arg(long)]
        comment: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List the snoozes that are not over
    Snoozes {
        #[command(flatten)]
        remote: Remote,
    },
    /// End a snooze now
    Unsnooze {
        /// Id of the snooze
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: &Alert) -> Result<Exit, Failure> {
    match command {
        Alert::List {
            all,
            pool,
            kind,
            limit,
            remote,
        } => list(remote, *all, pool.as_deref(), kind.as_deref(), *limit),
        Alert::Acknowledge {
            alert,
            comment,
            undo,
            remote,
        } => acknowledge(remote, alert, comment.as_deref(), *undo),
        Alert::Snooze {
            for_ms,
            until,
            pool,
            kind,
            comment,
            remote,
        } => {
            let body = json!({"for_ms": for_ms, "until": until, "pool": pool, "type": kind, "comment": comment});
            let snooze = remote.call(Method::POST, "/v1/alerts/snoozes", Some(&body), "id")?;
            let word = |name: &str| snooze[name].as_str().unwrap_or_default();
            let (id, until) = (word("id"), word("until"));
            remote.done(
                &format!("snooze {id} keeps messages back until {until}"),
                &snooze,
            )
        }
        Alert::Snoozes { remote } => {
            let snoozes = remote.list("/v1/alerts/snoozes", usize::MAX)?;
            let columns = ["id", "until", "type", "pool", "by", "comment"];
            remote.show(&snoozes, &columns, "nothing is snoozed")
        }
        Alert::Unsnooze { id, remote } => {
            remote.delete(&format!("/v1/alerts/snoozes/{}", encoded(id)))?;
            remote.done(&format!("the snooze {id} is over"), &json!({ "id": id }))
        }
    }
}

/// A part of a path.
fn encoded(part: &str) -> String {
    utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()
}

fn acknowledge(
    remote: &Remote,
    alert: &str,
    comment: Option<&str>,
    undo: bool,
) -> Result<Exit, Failure> {
    let path = format!("/v1/alerts/{}/acknowledge", encoded(alert));
    if undo {
        remote.delete(&path)?;
        let sentence = format!("{alert} is not acknowledged any more");
        return remote.done(&sentence, &json!({ "alert": alert }));
    }
    let body = json!({ "comment": comment });
    let answer = remote.call(Method::POST, &path, Some(&body), "by")?;
    let by = answer["by"].as_str().unwrap_or_default();
    remote.done(&format!("{by} has acknowledged {alert}"), &answer)
}

fn list(
    remote: &Remote,
    all: bool,
    pool: Option<&str>,
    kind: Option<&str>,
    limit: usize,
) -> Result<Exit, Failure> {
    let mut wanted = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("pool", pool), ("type", kind)] {
        if let Some(value) = value {
            wanted.append_pair(name, value);
        }
    }
    wanted.append_pair("limit", &limit.clamp(1, 1_000).to_string());
    let path = format!("/v1/alerts?{}", wanted.finish());
    if all {
        let items = remote.list(&path, limit)?;
        let columns = ["at", "state", "type", "pool", "summary"];
        return remote.show(&items, &columns, "no alerts yet");
    }
    let answer = remote.call(Method::GET, &path, None, "current")?;
    let current = answer["current"].as_array().cloned().unwrap_or_default();
    let columns = ["since", "type", "pool", "summary", "alert"];
    remote.show(&current, &columns, "no alert is raised")
}
