//! What nodes have written into a Redis: whether they agree, and what this version cannot read.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use serde::de::DeserializeOwned;

use super::Findings;
use crate::access_key::AccessKey;
use crate::names::PoolName;
use crate::pool::Policy;
use crate::store::agreement::disagreements;
use crate::store::alerts::Alert;
use crate::store::keys::{ACCESS_KEYS, Bucket, Keys, NODES, RAISED, SESSIONS, WEBHOOKS};
use crate::store::logins::{Session, id_of};
use crate::store::nodes::{Announcement, Node};
use crate::store::unreadable::Kind;
use crate::time::Timestamp;
use crate::webhook::Webhook;

/// Pools whose policies are read; reading all of ten thousand would be no look any more.
const POOLS: usize = 1_000;

/// An answer; none if another master of the cluster has the key, or this user may not read it.
async fn ask<T: FromRedisValue>(server: &mut MultiplexedConnection, command: &Cmd) -> Option<T> {
    command.query_async(server).await.ok()
}

pub(super) async fn check(server: &mut MultiplexedConnection, notes: &mut Findings<'_>) {
    check_nodes(server, notes).await;
    let mut unreadable: Vec<(Kind, String)> = Vec::new();
    let kinds = [
        (
            Kind::AccessKey,
            ACCESS_KEYS,
            can_read::<AccessKey> as fn(&str) -> bool,
        ),
        (Kind::Webhook, WEBHOOKS, can_read::<Webhook>),
        (Kind::Alert, RAISED, can_read::<Alert>),
        (Kind::Session, SESSIONS, can_read::<Session>),
    ];
    for (kind, key, can_read) in kinds {
        let records: Option<HashMap<String, String>> =
            ask(server, redis::cmd("HGETALL").arg(key)).await;
        let others = records.into_iter().flatten();
        let others = others.filter(|(_, record)| !can_read(record));
        unreadable.extend(others.map(|(id, _)| match kind {
            Kind::Session => (kind, id_of(&id).to_owned()),
            _ => (kind, id),
        }));
    }
    for pool in pools(server).await {
        let command = redis::cmd("HGET")
            .arg(Keys::of(&pool).config())
            .arg("policy")
            .to_owned();
        let policy: Option<String> = ask(server, &command).await;
        if policy.is_some_and(|policy| !can_read::<Policy>(&policy)) {
            unreadable.push((Kind::Pool, pool.to_string()));
        }
    }
    if unreadable.is_empty() {
        notes.ok("this version can read all records");
        return;
    }
    unreadable.sort();
    for (kind, name) in unreadable {
        let (what, so) = kind.consequence();
        notes.warn(
            format!("{what} {name} cannot be read by this version: {so}"),
            "let nodes of the version that wrote it serve, or write it anew",
        );
    }
}

fn can_read<T: DeserializeOwned>(record: &str) -> bool {
    serde_json::from_str::<T>(record).is_ok()
}

async fn pools(server: &mut MultiplexedConnection) -> Vec<PoolName> {
    let mut pools = Vec::new();
    for bucket in Bucket::all() {
        let mut command = redis::cmd("ZRANGE");
        command.arg(bucket.pools()).arg(0).arg(POOLS / 32);
        let names: Option<Vec<String>> = ask(server, &command).await;
        let names = names.into_iter().flatten();
        pools.extend(names.filter_map(|name| PoolName::try_from(name).ok()));
    }
    pools
}

async fn check_nodes(server: &mut MultiplexedConnection, notes: &mut Findings<'_>) {
    let mut command = redis::cmd("ZRANGE");
    command.arg(NODES).arg(0).arg(-1).arg("WITHSCORES");
    let (Some(signs), Some(time)) = (
        ask::<Vec<(String, i64)>>(server, &command).await,
        ask::<(i64, i64)>(server, &redis::cmd("TIME")).await,
    ) else {
        return;
    };
    let now = Timestamp(time.0 * 1_000 + time.1 / 1_000);
    let nodes: Vec<Node> = signs
        .iter()
        .filter_map(|(sign, seen_ms)| {
            Some(Node::of(
                Announcement::read(sign)?,
                Timestamp(*seen_ms),
                now,
            ))
        })
        .collect();
    if !nodes.iter().any(Node::is_up) {
        return;
    }
    let sentences = disagreements(&nodes);
    if sentences.is_empty() {
        notes.ok("the nodes have the same secret and settings");
    }
    for sentence in sentences {
        notes.error(sentence, "see docs/secrets.md");
    }
}
