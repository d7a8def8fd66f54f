//! `leasehold export`: pools, keys and webhooks as the file that `leasehold apply` reads.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::declared::{Declared, DeclaredKey, DeclaredWebhook};
use super::remote::Remote;
use super::{Exit, Failure};
use crate::http::extract::Replacement;
use crate::pool::Policy;
use crate::stderr;

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(Export { remote }: &Export) -> Result<Exit, Failure> {
    let mut declared = Declared::nothing();
    for pool in remote.list("/v1/pools?limit=1000", usize::MAX)? {
        let name = text(&pool, "name");
        let name = name.parse().map_err(|_| newer("pool", &name))?;
        declared.pools.insert(name, policy(pool)?);
    }
    for key in remote.list("/v1/keys", usize::MAX)? {
        let name = text(&key, "name");
        let ends: Option<DateTime<Utc>> = key["expires_at"].as_str().and_then(|at| at.parse().ok());
        if ends.is_some_and(|at| at <= Utc::now()) {
            stderr::say_line(format_args!(
                "the key {name} is not in the file, because it has ended; revoke it"
            ));
            continue;
        }
        let former = declared.keys.insert(name.clone(), declared_key(&key)?);
        if former.is_some() {
            stderr::say_line(format_args!(
                "two keys are called {name}, and the file has one of them; give one another name"
            ));
        }
    }
    for webhook in remote.list("/v1/webhooks", usize::MAX)? {
        let Some(name) = webhook["name"].as_str() else {
            stderr::say_line(format_args!(
                "the webhook {} is not in the file, because it has no name; give it one",
                text(&webhook, "id")
            ));
            continue;
        };
        let written = declared_webhook(&webhook)?;
        if declared.webhooks.insert(name.to_owned(), written).is_some() {
            stderr::say_line(format_args!(
                "two webhooks are called {name}, and the file has one of them; give one another name"
            ));
        }
    }
    if remote.json {
        let json = serde_json::to_value(&declared).expect("strings and numbers have a JSON form");
        return remote.show_json(&json);
    }
    super::print(&declared.to_yaml())
}

/// A field that is a string.
pub(super) fn text(thing: &Value, field: &str) -> String {
    thing[field].as_str().unwrap_or_default().to_owned()
}

/// A server may know more than this program.
fn newer(kind: &str, name: &str) -> Failure {
    Failure::new(
        Exit::Error,
        format!(
            "the {kind} {name} has what this program does not know; use that of the server's version"
        ),
    )
}

/// The policy of a pool, as the server shows the pool.
pub(super) fn policy(pool: Value) -> Result<Policy, Failure> {
    let name = text(&pool, "name");
    match serde_json::from_value(pool) {
        Ok(Replacement(policy)) => Ok(policy),
        Err(_) => Err(newer("pool", &name)),
    }
}

/// These fields of a thing.
fn only(thing: &Value, fields: &[&str]) -> Value {
    let fields = fields
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), thing.get(field)?.clone())));
    Value::Object(fields.collect())
}

/// A key, as the server shows it.
pub(super) fn declared_key(key: &Value) -> Result<DeclaredKey, Failure> {
    let mut fields = vec![
        "role",
        "pools",
        "tenants",
        "tenant",
        "origins",
        "expires_at",
    ];
    // Only client keys have limits that mean something.
    if key["role"] == "client" {
        fields.push("limits");
    }
    serde_json::from_value(only(key, &fields)).map_err(|_| newer("key", &text(key, "name")))
}

/// A webhook, as the server shows it.
pub(super) fn declared_webhook(webhook: &Value) -> Result<DeclaredWebhook, Failure> {
    let fields = only(
        webhook,
        &[
            "url",
            "events",
            "pools",
            "enabled",
            "format",
            "group",
            "remind_after_ms",
        ],
    );
    serde_json::from_value(fields).map_err(|_| newer("webhook", &text(webhook, "name")))
}
