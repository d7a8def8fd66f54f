//! The nodes that share a Redis, by the signs that they leave there, and the servers behind it.
//!
//! Nothing about a lease is decided by either: they tell people who serves, and nodes whether they agree
//! ([`super::agreement`]) and what the others can read ([`super::formats`]). A node signs every two seconds, takes its sign away when it stops,
//! and is forgotten a quarter of an hour after a crash. Deliberately absent: anything secret, and any list of nodes
//! that a node would need.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::error::Error;
use super::formats::FORMAT;
use super::info::Info;
use super::keys::NODES;
use super::unreadable::Kind;
use super::{Store, json, within_deadline};
use crate::proof::{ProofKeys, PublishedKey};
use crate::tasks::Over;
use crate::time::Timestamp;
use crate::token::Tokens;

/// How often a node signs.
const EVERY: Duration = Duration::from_secs(2);
/// A node that has not signed for so long does not work, or cannot reach Redis, ms.
const SILENT_MS: u64 = 10_000;
/// A sign is kept for so long after the last time, ms.
const KEPT_MS: i64 = 15 * 60 * 1_000;
/// Signs that are kept, the latest.
const MOST: isize = 256;
/// How long the answers of servers are cached: several people may look at once.
const FRESH: Duration = Duration::from_secs(2);
/// PINGs that the latency is the median of.
const PINGS: usize = 5;

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Drawn anew at each start.
    pub id: String,
    /// Of the program.
    pub version: String,
    /// Name of its machine or container.
    pub host: String,
    /// What it listens on.
    pub address: String,
    /// What records it can read, as a number that grows; 0 for those that do not say.
    #[serde(default)]
    pub format: u32,
    /// Id of the key that signs its tokens; empty for a version that does not say.
    #[serde(default)]
    pub signs: String,
    /// Ids of the keys whose tokens it takes.
    #[serde(default)]
    pub verifies: Vec<String>,
    /// Settings that should be the same on all nodes. What is secret is only something to compare.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Whether it found that nodes which were there before cannot verify what it signs.
    #[serde(default)]
    pub differs: bool,
    /// Whether its scripts note in which pools something has happened. Those of earlier versions do not.
    #[serde(default)]
    pub notes_events: bool,
    /// The public keys of the proofs that it signs, or will sign.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proof_keys: Vec<PublishedKey>,
    /// When it began to serve.
    #[serde(rename = "started_at_ms", with = "milliseconds")]
    pub started_at: Timestamp,
}

/// A node that has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it said.
    pub sign: Announcement,
    /// When it did last.
    pub seen_at: Timestamp,
    /// How long ago that is, in ms.
    pub silent_ms: u64,
}

impl Announcement {
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether the value of a setting only stands for it.
    pub(crate) fn is_secret(setting: &str) -> bool {
        setting == "admin_key"
    }
}

impl Node {
    pub(super) fn of(sign: Announcement, seen_at: Timestamp, now: Timestamp) -> Self {
        Self {
            sign,
            seen_at,
            silent_ms: now.since(seen_at),
        }
    }

    /// Whether it signs as it should.
    pub const fn is_up(&self) -> bool {
        self.silent_ms < SILENT_MS
    }
}

/// A Redis server, as it describes itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// What it is for, or its address in a cluster. Never a credential.
    pub name: String,
    /// Of the server, or of the Redis that it is compatible with.
    pub version: String,
    /// `master`, or `slave` in Redis's word.
    pub role: String,
    /// Memory that it uses, in bytes.
    pub used_memory: u64,
    /// Memory that it may use, in bytes; 0 for no limit.
    pub max_memory: u64,
    /// Whether it keeps an append-only file.
    pub append_only: bool,
    /// Whether its last writes to the disk went well.
    pub persists: bool,
    /// Replicas that are connected.
    pub replicas: u64,
    /// How long it takes to answer this node, median, in ms.
    pub latency_ms: f64,
}

/// What the servers said last, and when.
#[derive(Debug, Default)]
pub(super) struct ServersCache(tokio::sync::Mutex<Option<(Instant, Arc<[Server]>)>>);

impl Store {
    /// The sign of a node that begins to serve now.
    pub fn new_announcement(
        &self,
        address: SocketAddr,
        tokens: &Tokens,
        proofs: &ProofKeys,
        settings: BTreeMap<String, String>,
    ) -> Announcement {
        Announcement {
            id: self.0.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            address: address.to_string(),
            format: FORMAT,
            signs: tokens.key_ids().next().unwrap_or_default(),
            verifies: tokens.key_ids().collect(),
            settings,
            differs: false,
            notes_events: true,
            proof_keys: proofs.to_publish(tokens),
            started_at: self.now(),
        }
    }

    /// The id of this node among the others.
    pub fn node_id(&self) -> &str {
        &self.0.node
    }

    /// Signs now and then, and takes the sign away when told to stop.
    pub(crate) async fn announce_until(
        self,
        sign: Announcement,
        mut stopped: watch::Receiver<bool>,
    ) -> Over {
        let mut sign = sign;
        let mut interval = tokio::time::interval(EVERY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // One after the other, so that no sign is under way when it is taken away.
            let done = tokio::select! {
                _ = interval.tick() => self.announce_and_compare(&mut sign).await,
                // Gone is stopped as well.
                () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {
                    let _ = within_deadline(self.retract_announcement(&sign)).await;
                    let _ = within_deadline(self.remove_mark()).await;
                    return Over;
                }
            };
            if let Err(error) = done {
                // The sweeper says once that Redis is away.
                tracing::debug!(error = %error, "the node could not sign: {error}");
            }
        }
    }

    /// Signs, and says in the sign how that compares with the others.
    pub(crate) async fn announce_and_compare(&self, sign: &mut Announcement) -> Result<(), Error> {
        within_deadline(async {
            let differs = match self.compares_now(sign, EVERY) {
                true => self.compare(sign).await?,
                false => false,
            };
            let before = (differs != sign.differs).then(|| json(sign));
            sign.differs = differs;
            self.announce(sign, before.as_deref()).await
        })
        .await
    }

    /// Signs in place of the sign of `before`.
    async fn announce(&self, sign: &Announcement, before: Option<&str>) -> Result<(), Error> {
        let now = self.now().0;
        let mut connection = self.0.connections.get().await?;
        let mut pipe = redis::pipe();
        pipe.atomic();
        if let Some(before) = before {
            pipe.cmd("ZREM").arg(NODES).arg(before);
        }
        Ok(pipe
            .cmd("ZADD")
            .arg(NODES)
            .arg(now)
            .arg(json(sign))
            .cmd("ZREMRANGEBYSCORE")
            .arg(NODES)
            .arg("-inf")
            .arg(now - KEPT_MS)
            .cmd("ZREMRANGEBYRANK")
            .arg(NODES)
            .arg(0)
            .arg(-MOST - 1)
            .cmd("PEXPIRE")
            .arg(NODES)
            .arg(KEPT_MS)
            .exec_async(&mut *connection)
            .await?)
    }

    async fn retract_announcement(&self, sign: &Announcement) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("ZREM")
            .arg(NODES)
            .arg(json(sign))
            .exec_async(&mut *connection)
            .await?)
    }

    /// The nodes that share this Redis, the longest running first.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let mut connection = self.0.connections.get().await?;
        let signs: Vec<(String, i64)> = redis::cmd("ZRANGE")
            .arg(NODES)
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query_async(&mut *connection)
            .await?;
        let now = self.now();
        let mut nodes: Vec<Node> = signs
            .into_iter()
            .filter_map(|(sign, seen_ms)| {
                // One of a later version may say more, or something else.
                let read = Announcement::read(&sign);
                if read.is_none() {
                    let name: String = sign.chars().take(64).collect();
                    self.0.unreadable.note(Kind::Node, &name);
                }
                Some(Node::of(read?, Timestamp(seen_ms), now))
            })
            .collect();
        // One that says something else than before may have left its former sign.
        nodes.sort_by(|a, b| (&a.sign.id, a.silent_ms).cmp(&(&b.sign.id, b.silent_ms)));
        nodes.dedup_by(|a, b| a.sign.id == b.sign.id);
        nodes.sort_by(|a, b| (a.sign.started_at, &a.sign.id).cmp(&(b.sign.started_at, &b.sign.id)));
        Ok(nodes)
    }

    /// What the masters say about themselves, perhaps two seconds ago.
    pub async fn servers(&self) -> Result<Arc<[Server]>, Error> {
        let mut asked = self.0.servers.0.lock().await;
        if let Some((at, servers)) = asked.as_ref()
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(servers));
        }
        let servers: Arc<[Server]> = within_deadline(async {
            let masters = self.0.connections.source().masters().await;
            let mut servers = Vec::new();
            for (name, master) in masters.map_err(|error| Error::not_connected(&error))? {
                let mut master = master.map_err(|error| Error::not_connected(&error))?;
                let mut took = Vec::with_capacity(PINGS);
                for _ in 0..PINGS {
                    let began = Instant::now();
                    redis::cmd("PING").exec_async(&mut master).await?;
                    took.push(began.elapsed());
                }
                took.sort_unstable();
                let info = Info::read(&mut master).await?;
                servers.push(Server::of(name, &info, took[PINGS / 2]));
            }
            Ok(servers.into())
        })
        .await?;
        *asked = Some((Instant::now(), Arc::clone(&servers)));
        Ok(servers)
    }
}

impl Server {
    fn of(name: String, info: &Info, latency: Duration) -> Self {
        let is_ok = |field: &str| matches!(info.text(field), "ok" | "");
        Self {
            name,
            version: info.text("redis_version").to_owned(),
            role: info.text("role").to_owned(),
            used_memory: info.number("used_memory"),
            max_memory: info.number("maxmemory"),
            append_only: info.number("aof_enabled") == 1,
            persists: is_ok("aof_last_write_status") && is_ok("rdb_last_bgsave_status"),
            replicas: info.number("connected_slaves"),
            latency_ms: latency.as_secs_f64() * 1e3,
        }
    }
}

/// A name for a node, for as long as its process lives.
pub(super) fn new_id() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>())
}

/// An instant as a number: RFC 3339 is for people.
mod milliseconds {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::time::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.0.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp)
    }
}
