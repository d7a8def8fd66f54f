//! A cluster: who the masters are, by the word of most of its nodes.
//!
//! A failover shows in redirections and cut connections, but a master that is only silent gives neither. So the nodes are
//! asked each second who has which slots, and much sooner while something is wrong. What is sent where is in `routed.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::{ErrorKind, RedisError, Value};
use secrecy::ExposeSecret as _;
use tokio::sync::Notify;

use super::routed::{Routed, outcome_unknown};
use super::single::{Single, certificates, tcp_settings};
use crate::config::RedisUrl;
use crate::tasks::{self, Over};
use crate::telemetry;
use crate::tls::Tls;

/// How often the nodes are asked.
const POLL: Duration = Duration::from_secs(1);
/// How often while something is wrong.
const POLL_IN_TROUBLE: Duration = Duration::from_millis(100);
/// How long one node may take.
const ANSWER: Duration = Duration::from_millis(400);
/// Few: with each the caller waits longer, and a script may run once more.
const RETRIES: u32 = 2;

/// Host and port.
pub(super) type Address = (String, u16);

/// First slot of each range, and its master.
type Masters = BTreeMap<u16, Address>;

/// Some nodes of one cluster.
pub(in crate::store) struct Cluster {
    url: RedisUrl,
    tls: Tls,
    response_timeout: Duration,
    seen: Mutex<ClusterView>,
    age: Arc<AtomicU64>,
    /// Wakes who asks the nodes.
    soon: Notify,
}

#[derive(Debug, Default)]
struct ClusterView {
    masters: Masters,
    /// Those of the settings, and all that most of the nodes named last, for when those of the settings are gone.
    nodes: BTreeSet<Address>,
    /// Masters that fell silent: nothing is sent to them, and no answer of theirs believed, until they speak again and the
    /// others still name them.
    suspects: BTreeSet<Address>,
}

impl Cluster {
    /// `age` grows when there are other masters.
    pub(in crate::store) fn new(
        url: &RedisUrl,
        tls: &Tls,
        response_timeout: Duration,
        age: Arc<AtomicU64>,
    ) -> Self {
        let seen = ClusterView {
            masters: Masters::new(),
            nodes: url.hosts.iter().cloned().collect(),
            suspects: BTreeSet::new(),
        };
        Self {
            url: url.clone(),
            tls: tls.clone(),
            response_timeout,
            seen: Mutex::new(seen),
            age,
            soon: Notify::new(),
        }
    }

    fn client(&self) -> Result<ClusterClient, RedisError> {
        let nodes = self.seen.lock().expect("no panic while held").nodes.clone();
        let urls = nodes
            .iter()
            .map(|(host, port)| self.url.node_url(host, *port).expose_secret().to_owned());
        let mut client = ClusterClientBuilder::new(urls)
            .retries(RETRIES)
            .min_retry_wait(20)
            .max_retry_wait(100)
            .connection_timeout(ANSWER)
            .response_timeout(self.response_timeout)
            .overall_response_timeout(Some(self.response_timeout + ANSWER / 2))
            .tcp_settings(tcp_settings());
        if self.tls.ca.is_some() || self.tls.client.is_some() {
            client = client.certs(certificates(&self.tls));
        }
        client.build()
    }

    /// A connection to all masters.
    pub(in crate::store) async fn connect(self: &Arc<Self>) -> Result<Routed, RedisError> {
        let nobody = {
            let seen = self.seen.lock().expect("no panic while held");
            seen.masters.is_empty()
        };
        if nobody {
            let masters = self.ask(&BTreeSet::new()).await?;
            self.seen.lock().expect("no panic while held").masters = masters;
        }
        let library = self.client()?.get_async_connection().await?;
        Ok(Routed::new(library, Arc::clone(self)))
    }

    /// Who serves a slot. An error if nobody does, or if who does is doubted.
    pub(super) fn master_of(&self, slot: u16) -> Result<Address, RedisError> {
        let seen = self.seen.lock().expect("no panic while held");
        let Some((_, master)) = seen.masters.range(..=slot).next_back() else {
            return Err((ErrorKind::Io, "no node of the cluster serves this slot").into());
        };
        if seen.suspects.contains(master) {
            return Err(outcome_unknown());
        }
        Ok(master.clone())
    }

    /// Who serves a slot, doubted or not; none if nobody does.
    pub(super) fn server_of(&self, slot: u16) -> Option<Address> {
        let seen = self.seen.lock().expect("no panic while held");
        let (_, master) = seen.masters.range(..=slot).next_back()?;
        Some(master.clone())
    }

    /// Whether the master of this key fell silent. What is not sent to it surely does not run.
    pub(in crate::store) fn is_silent_at(&self, slot: u16) -> bool {
        let seen = self.seen.lock().expect("no panic while held");
        if seen.suspects.is_empty() {
            return false;
        }
        let master = seen.masters.range(..=slot).next_back();
        master.is_some_and(|(_, master)| seen.suspects.contains(master))
    }

    pub(super) fn is_suspect(&self, master: &Address) -> bool {
        let seen = self.seen.lock().expect("no panic while held");
        seen.suspects.contains(master)
    }

    /// A master did not answer in time: before anything of it is believed the others are asked.
    pub(super) fn suspect(&self, master: &Address) {
        let mut seen = self.seen.lock().expect("no panic while held");
        // One that is named no more gets no calls anyway.
        if seen.masters.values().any(|named| named == master) {
            seen.suspects.insert(master.clone());
        }
        drop(seen);
        self.soon.notify_one();
    }

    /// Something is wrong: the nodes are asked who the masters are.
    pub(super) fn refresh_soon(&self) {
        self.soon.notify_one();
    }

    /// A connection for scripts.
    pub(super) async fn connect_to_master(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, RedisError> {
        let connecting = tokio::time::timeout(ANSWER, self.connect_to(address));
        let mut connection = connecting
            .await
            .unwrap_or_else(|_| Err(outcome_unknown()))?;
        connection.set_response_timeout(self.response_timeout);
        Ok(connection)
    }

    /// A connection that listens to what is published. The nodes of a cluster tell each other, so any of them will do;
    /// each time another one is begun with, so that not all subscribers are at the first.
    pub(in crate::store) async fn subscribe(&self) -> Result<PubSub, RedisError> {
        let masters = self.masters().await?;
        let first = rand::random_range(0..masters.len().max(1));
        let mut failure = RedisError::from((ErrorKind::Io, "the cluster has no master"));
        for address in masters.iter().cycle().skip(first).take(masters.len()) {
            match self.server(address)?.subscribe().await {
                Ok(subscription) => return Ok(subscription),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// A connection to one node.
    pub(in crate::store) async fn connect_to(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.server(address)?.connect().await
    }

    fn server(&self, (host, port): &Address) -> Result<Single, RedisError> {
        let url = self.url.node_url(host, *port);
        Single::new(url.expose_secret(), &self.tls, ANSWER)
    }

    /// The masters, as most of the nodes that answer see them.
    pub(in crate::store) async fn masters(&self) -> Result<Vec<Address>, RedisError> {
        let masters: BTreeSet<Address> = self.ask(&BTreeSet::new()).await?.into_values().collect();
        Ok(masters.into_iter().collect())
    }

    /// Asks all nodes but some, unless there are no others.
    async fn ask(&self, but: &BTreeSet<Address>) -> Result<Masters, RedisError> {
        let mut nodes = self.seen.lock().expect("no panic while held").nodes.clone();
        if nodes.iter().any(|node| !but.contains(node)) {
            nodes.retain(|node| !but.contains(node));
        }
        let answers = futures_util::future::join_all(nodes.iter().map(|node| async {
            tokio::time::timeout(ANSWER, self.ask_one(node))
                .await
                .unwrap_or_else(|_| Err((ErrorKind::Io, "no answer in time").into()))
        }))
        .await;
        let mut votes: BTreeMap<Masters, (usize, BTreeSet<Address>)> = BTreeMap::new();
        let mut failure = None;
        for answer in answers {
            match answer {
                Ok((masters, nodes)) => {
                    let (count, named) = votes.entry(masters).or_default();
                    *count += 1;
                    named.extend(nodes);
                }
                Err(error) => failure = Some(error),
            }
        }
        let Some((masters, (_, named))) = votes.into_iter().max_by_key(|(_, (count, _))| *count)
        else {
            return Err(failure.unwrap_or_else(|| (ErrorKind::Io, "no node answers").into()));
        };
        // Whoever is named no more is asked no more: each that is gone would hold up every look for as long as it may take.
        let mut seen = self.seen.lock().expect("no panic while held");
        seen.nodes = self.url.hosts.iter().cloned().chain(named).collect();
        Ok(masters)
    }

    async fn ask_one(&self, node: &Address) -> Result<(Masters, BTreeSet<Address>), RedisError> {
        let mut connection = self.connect_to(node).await?;
        let slots: Vec<Vec<Value>> = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut connection)
            .await?;
        let (mut masters, mut nodes) = (Masters::new(), BTreeSet::new());
        for range in slots {
            // First slot, last slot, then the master and its replicas: host, port and more.
            let mut range = range.into_iter();
            let first: u16 = redis::from_redis_value(range.next().unwrap_or(Value::Nil))?;
            let servers = range.skip(1);
            for (place, server) in servers.enumerate() {
                let server: Vec<Value> = redis::from_redis_value(server)?;
                let mut server = server.into_iter();
                let host: Option<String> =
                    redis::from_redis_value(server.next().unwrap_or(Value::Nil))?;
                let port: u16 = redis::from_redis_value(server.next().unwrap_or(Value::Nil))?;
                // A node that does not know its own address leaves it out.
                let host = host
                    .filter(|host| !host.is_empty())
                    .unwrap_or_else(|| node.0.clone());
                nodes.insert((host.clone(), port));
                if place == 0 {
                    masters.insert(first, (host, port));
                }
            }
        }
        Ok((masters, nodes))
    }

    /// Watches the cluster until the store is dropped.
    pub(in crate::store) fn watch(watched: &Weak<Self>) {
        let watched = watched.clone();
        tasks::spawn("cluster", move || poll(watched.clone()));
    }
}

/// Asks each second, and sooner while something is wrong.
async fn poll(watched: Weak<Cluster>) -> Over {
    loop {
        let Some(cluster) = watched.upgrade() else {
            return Over;
        };
        cluster.refresh().await;
        let is_suspect = {
            let seen = cluster.seen.lock().expect("no panic while held");
            !seen.suspects.is_empty()
        };
        tokio::time::sleep(POLL_IN_TROUBLE).await;
        if !is_suspect {
            let rest = POLL - POLL_IN_TROUBLE;
            // Nothing else holds the cluster while there is nothing to do.
            let _ = tokio::time::timeout(rest, cluster.soon.notified()).await;
        }
    }
}

impl Cluster {
    async fn refresh(&self) {
        let suspects = {
            let seen = self.seen.lock().expect("no panic while held");
            seen.suspects.clone()
        };
        // First whether they speak, then what the others say: the other way round one could wake up in between.
        let speaking = futures_util::future::join_all(suspects.iter().map(|master| async {
            let spoken = tokio::time::timeout(ANSWER, self.ask_one(master)).await;
            spoken.is_ok_and(|answer| answer.is_ok())
        }))
        .await;
        let Ok(masters) = self.ask(&suspects).await else {
            return;
        };
        let mut seen = self.seen.lock().expect("no panic while held");
        for (master, speaks) in suspects.iter().zip(speaking) {
            if speaks || !masters.values().any(|named| named == master) {
                seen.suspects.remove(master);
            }
        }
        let all = |masters: &Masters| masters.values().cloned().collect::<BTreeSet<_>>();
        let (before, now) = (all(&seen.masters), all(&masters));
        // Slots that move from one to another are no failover.
        seen.masters = masters;
        drop(seen);
        if !before.is_empty() && before != now {
            self.age.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(telemetry::STORE_FAILOVERS).increment(1);
            tracing::warn!("the cluster has other masters than before");
        }
    }
}
