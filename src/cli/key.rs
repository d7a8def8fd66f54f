//! `leasehold key`: who may do what.

use std::num::NonZeroU32;

use reqwest::Method;
use serde_json::{Map, Value, json};

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
        /// client, verifier, reports, viewer, operator or admin
        #[arg(long)]
        role: Role,
        /// Pool that it is for; may be given more than once
        #[arg(long = "pool", value_name = "POOL")]
        pools: Vec<PoolName>,
        /// Tenant that it is for; of a client key the one of everybody who acquires with it; may be given more than once
        #[arg(long = "tenant", value_name = "TENANT")]
        tenants: Vec<String>,
        /// For client keys: page that may use it, such as `https://crm.example`; may be given more than once
        #[arg(long = "origin", value_name = "ORIGIN")]
        origins: Vec<Origin>,
        /// When it ends by itself, in ms from now
        #[arg(long, value_name = "MS")]
        expires_in_ms: Option<u64>,
        /// When it ends by itself, such as `2027-01-01`
        #[arg(long, value_name = "WHEN", conflicts_with = "expires_in_ms")]
        expires_at: Option<String>,
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        remote: Remote,
    },
    /// Change a key; its secret stays, and what is not given stays as it is
    Set {
        /// Id of the key
        id: KeyId,
        /// For people
        #[arg(long)]
        name: Option<String>,
        /// Pool that it is for, in place of those that it has; may be given more than once
        #[arg(long = "pool", value_name = "POOL")]
        pools: Vec<PoolName>,
        /// Tenant that it is for, in place of those that it has; may be given more than once
        #[arg(long = "tenant", value_name = "TENANT")]
        tenants: Vec<String>,
        /// For client keys: page that may use it, in place of those that may; may be given more than once
        #[arg(long = "origin", value_name = "ORIGIN")]
        origins: Vec<Origin>,
        /// When it ends by itself, such as `2027-01-01`, or `never`
        #[arg(long, value_name = "WHEN")]
        expires_at: Option<String>,
        #[command(flatten)]
        limits: Limits,
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

/// How often a client key may be used, on each node.
#[derive(Debug, clap::Args)]
pub(super) struct Limits {
    /// For client keys: requests per minute, from everywhere together
    #[arg(long, value_name = "N")]
    per_minute: Option<NonZeroU32>,
    /// For client keys: how many may come at once, also from one address [default: a sixth of each limit]
    #[arg(long, value_name = "N")]
    burst: Option<NonZeroU32>,
    /// For client keys: requests per minute from one network address
    #[arg(long, value_name = "N")]
    per_address_per_minute: Option<NonZeroU32>,
}

impl Limits {
    /// As the interface takes them; none if none is given.
    fn body(&self) -> Option<Value> {
        let given = [
            ("per_minute", self.per_minute),
            ("burst", self.burst),
            ("per_address_per_minute", self.per_address_per_minute),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, limit)| Some((name.to_owned(), json!(limit?))));
        let body: Map<String, Value> = given.collect();
        (!body.is_empty()).then_some(Value::Object(body))
    }
}

/// Puts the tenants of a key where its role has them.
fn put_tenants(body: &mut Value, is_client: bool, tenants: &[String]) -> Result<(), Failure> {
    match (is_client, tenants) {
        (_, []) => {}
        (true, [tenant]) => body["tenant"] = json!(tenant),
        (true, _) => {
            return Err(Failure::new(
                Exit::Usage,
                "a client key has one tenant, for everybody who acquires with it; give --tenant once",
            ));
        }
        (false, tenants) => body["tenants"] = json!(tenants),
    }
    Ok(())
}

pub(super) fn run(command: &Key) -> Result<Exit, Failure> {
    match command {
        Key::Create {
            name,
            role,
            pools,
            tenants,
            origins,
            expires_in_ms,
            expires_at,
            limits,
            remote,
        } => {
            let mut body = json!({"name": name, "role": role, "pools": pools, "origins": origins});
            put_tenants(&mut body, *role == Role::Client, tenants)?;
            if let Some(at) = expires_at {
                body["expires_at"] = json!(at);
            }
            if let Some(limits) = limits.body() {
                body["limits"] = limits;
            }
            if let Some(ms) = expires_in_ms {
                body["expires_in_ms"] = json!(ms);
            }
            reveal(
                remote,
                &remote.call(Method::POST, "/v1/keys", Some(&body), "secret")?,
            )
        }
        Key::Set {
            id,
            name,
            pools,
            tenants,
            origins,
            expires_at,
            limits,
            remote,
        } => {
            let mut body = json!({});
            let path = format!("/v1/keys/{id}");
            if !tenants.is_empty() {
                let key = remote.call(Method::GET, &path, None, "id")?;
                put_tenants(&mut body, key["role"] == "client", tenants)?;
            }
            let body = body.as_object_mut().expect("it was made one");
            if let Some(name) = name {
                body.insert("name".to_owned(), json!(name));
            }
            if !pools.is_empty() {
                body.insert("pools".to_owned(), json!(pools));
            }
            if !origins.is_empty() {
                body.insert("origins".to_owned(), json!(origins));
            }
            if let Some(at) = expires_at {
                let at = (at != "never").then_some(at);
                body.insert("expires_at".to_owned(), json!(at));
            }
            if let Some(limits) = limits.body() {
                body.insert("limits".to_owned(), limits);
            }
            if body.is_empty() {
                return Err(Failure::new(
                    Exit::Usage,
                    "there is nothing to change; say --name, --pool, --tenant, --origin, --expires-at or a limit",
                ));
            }
            let body = Value::Object(std::mem::take(body));
            let key = remote.call(Method::PATCH, &path, Some(&body), "id")?;
            remote.show_one(&key)
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
                    "tenants",
                    "origins",
                    "created_at",
                    "last_used_at",
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
                &remote.call(
                    Method::POST,
                    &format!("/v1/keys/{id}/roll"),
                    Some(&body),
                    "secret",
                )?,
            )
        }
        Key::Revoke { id, yes, remote } => {
            let path = format!("/v1/keys/{id}");
            let key = remote.call(Method::GET, &path, None, "id")?;
            confirm(
                &format!(
                    "Revoke the key {id} ({})?",
                    key["name"].as_str().unwrap_or_default()
                ),
                *yes,
            )?;
            remote.delete(&path)?;
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
