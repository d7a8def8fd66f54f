//! `leasehold key`: who may do what.

use reqwest::Method;
use serde_json::{Value, json};

use super::remote::{Remote, confirm};
use super::{Exit, Failure};
use crate::access_key::{KeyId, Origin, Role};
use crate::names::PoolName;
use crate::stderr;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Key {
    /// Create a key and print its secret, this once
    Create {
        /// For people
        name: String,
        /// client, viewer, operator or admin
        #[arg(long)]
        role: Role,
        /// Pool that it is for; may be given more than once
        #[arg(long = "pool", value_name = "POOL")]
        pools: Vec<PoolName>,
        /// For client keys: page that may use it, such as `https://crm.example`; may be given more than once
        #[arg(long = "origin", value_name = "ORIGIN")]
        origins: Vec<Origin>,
        /// When it ends by itself, in ms from now
        #[arg(long, value_name = "MS")]
        expires_in_ms: Option<u64>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List the keys
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// Give a key a new secret and print it, this once
    Roll {
        /// Id of the key
        id: KeyId,
        /// How long the former secret stays good, in ms [default: a day]
        #[arg(long, value_name = "MS")]
        overlap_ms: Option<u64>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Revoke a key, on all nodes within a second
    Revoke {
        /// Id of the key
        id: KeyId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        remote: Remote,
    },
}

pub(super) fn run(command: &Key) -> Result<Exit, Failure> {
    match command {
        Key::Create {
            name,
            role,
            pools,
            origins,
            expires_in_ms,
            remote,
        } => {
            let mut body = json!({"name": name, "role": role, "pools": pools, "origins": origins});
            if let Some(ms) = expires_in_ms {
                body["expires_in_ms"] = json!(ms);
            }
            reveal(remote, &remote.call(Method::POST, "/v1/keys", Some(&body))?)
        }
        Key::List { remote } => {
            let keys = remote.list("/v1/keys", usize::MAX)?;
            remote.show(
                &keys,
                &[
                    "id",
                    "name",
                    "role",
                    "pools",
                    "origins",
                    "created_at",
                    "expires_at",
                ],
                "there are no keys",
            )
        }
        Key::Roll {
            id,
            overlap_ms,
            remote,
        } => {
            let body = overlap_ms.map_or_else(|| json!({}), |ms| json!({ "overlap_ms": ms }));
            reveal(
                remote,
                &remote.call(Method::POST, &format!("/v1/keys/{id}/roll"), Some(&body))?,
            )
        }
        Key::Revoke { id, yes, remote } => {
            let path = format!("/v1/keys/{id}");
            let key = remote.call(Method::GET, &path, None)?;
            confirm(
                &format!(
                    "Revoke the key {id} ({})?",
                    key["name"].as_str().unwrap_or_default()
                ),
                *yes,
            )?;
            remote.call(Method::DELETE, &path, None)?;
            remote.done(
                &format!("{id} is revoked"),
                &json!({"id": id, "status": "revoked"}),
            )
        }
    }
}

/// The secret alone on stdout, so that it can go straight into a file.
fn reveal(remote: &Remote, key: &Value) -> Result<Exit, Failure> {
    if remote.json {
        return remote.show_json(key);
    }
    stderr::say_line(format_args!(
        "key {}; its secret cannot be shown again:",
        key["id"].as_str().unwrap_or_default()
    ));
    super::print(&format!("{}\n", key["secret"].as_str().unwrap_or_default()))
}
