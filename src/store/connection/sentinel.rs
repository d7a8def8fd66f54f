//! The master that sentinels name: asked for with every new connection, and watched.
//!
//! A server that was a master goes on answering for seconds after another was promoted, and what it acknowledges then is
//! lost. So every sentinel is subscribed to, and asked each second in case a message was lost; when the master changes
//! all connections are dropped. A server is believed only if its own ROLE says master too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Client, ErrorKind, RedisError};
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use super::single::{Single, client};
use crate::config::RedisUrl;
use crate::tasks::{self, Over};
use crate::telemetry;
use crate::tls::Tls;

/// How long one sentinel may take.
const ANSWER: Duration = Duration::from_millis(250);
/// What it gets besides for the handshake, where it speaks TLS.
const HANDSHAKE: Duration = Duration::from_millis(750);
/// How often they are asked, in case a message was lost.
const POLL: Duration = Duration::from_secs(1);
/// Between tries to subscribe to a sentinel that is away.
const RESUBSCRIBE: Duration = Duration::from_millis(500);

/// How long sentinels that did not lead a failover may name the old master.
const CONVERGED: Duration = Duration::from_secs(30);

/// Host and port.
type Address = (String, u16);

/// The sentinels of one master.
pub(in crate::store) struct Sentinel {
    url: RedisUrl,
    master: String,
    tls: Tls,
    response_timeout: Duration,
    /// The master when last asked.
    known: Mutex<Option<Address>>,
    /// When it changed.
    switched_at: Mutex<Option<Instant>>,
    /// Told when the master changes.
    changed: watch::Sender<()>,
    /// What ages the connections of the pool.
    age: std::sync::Arc<AtomicU64>,
}

impl Sentinel {
    /// `age` grows when the master changes.
    pub(in crate::store) fn new(
        url: &RedisUrl,
        master: &str,
        tls: &Tls,
        response_timeout: Duration,
        age: std::sync::Arc<AtomicU64>,
    ) -> Self {
        Self {
            url: url.clone(),
            master: master.to_owned(),
            tls: tls.clone(),
            response_timeout,
            known: Mutex::new(None),
            switched_at: Mutex::new(None),
            changed: watch::Sender::new(()),
            age,
        }
    }

    /// What the sentinels call the master.
    pub(in crate::store) fn master_name(&self) -> &str {
        &self.master
    }

    /// Host and port of each sentinel of the settings.
    pub(in crate::store) fn sentinels(&self) -> &[Address] {
        &self.url.hosts
    }

    /// A connection to the master: a server that a sentinel names and whose own ROLE agrees.
    ///
    /// When the master changes meanwhile, the present try is given up: it may wait for one that will never answer.
    pub(in crate::store) async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut changed = self.changed.subscribe();
        loop {
            tokio::select! {
                connected = self.connect_now() => return connected,
                _ = changed.changed() => {}
            }
        }
    }

    async fn connect_now(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut failure = None;
        let named = self.named().await?;
        if let Some(address) = named.first() {
            match self.connect_to_master(address).await {
                Ok(connection) => {
                    self.switch_to(address.clone());
                    return Ok(connection);
                }
                Err(error) => failure = Some(error),
            }
        }
        // Who leads a failover knows the new master before the others do.
        for address in self
            .ask(false)
            .await?
            .iter()
            .filter(|&address| Some(address) != named.first())
        {
            match self.connect_to_master(address).await {
                Ok(connection) => {
                    self.switch_to(address.clone());
                    return Ok(connection);
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| {
            (
                ErrorKind::MasterNameNotFoundBySentinel,
                "no sentinel knows a master of this name",
            )
                .into()
        }))
    }

    /// A connection to the master that listens to what is published.
    pub(in crate::store) async fn subscribe(&self) -> Result<PubSub, RedisError> {
        drop(self.connect().await?);
        let known = self.known.lock().expect("no panic while held").clone();
        let Some(address) = known else {
            return Err((ErrorKind::Io, "the master has changed meanwhile").into());
        };
        self.server(&address)?.subscribe().await
    }

    /// A connection to one data server, whatever its role.
    pub(in crate::store) async fn connect_to(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, RedisError> {
        self.server(address)?.connect().await
    }

    fn server(&self, (host, port): &Address) -> Result<Single, RedisError> {
        let url = self.url.node_url(host, *port);
        Single::new(url.expose_secret(), &self.tls, self.response_timeout)
    }

    async fn connect_to_master(
        &self,
        address: &Address,
    ) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connect_to(address).await?;
        let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        let role: String = match role.into_iter().next() {
            Some(role) => redis::from_redis_value(role)?,
            None => String::new(),
        };
        if role == "master" {
            return Ok(connection);
        }
        Err((
            ErrorKind::Server(redis::ServerErrorKind::ReadOnly),
            "the server that a sentinel names is not a master yet",
        )
            .into())
    }

    /// The servers that sentinels name, those first that most of them name. For a time after a failover the new master is first if any of
    /// them names it: who leads the failover does so before the others, and the old master may be back meanwhile and take itself for one.
    async fn named(&self) -> Result<Vec<Address>, RedisError> {
        let switched_at = *self.switched_at.lock().expect("no panic while held");
        if switched_at.is_none_or(|at| CONVERGED <= at.elapsed()) {
            return self.ask(true).await;
        }
        let known = self.known.lock().expect("no panic while held").clone();
        let mut named = self.ask(false).await?;
        if let Some(place) = named
            .iter()
            .position(|address| Some(address) == known.as_ref())
        {
            named[..=place].rotate_right(1);
        }
        Ok(named)
    }

    /// The servers that sentinels name, those first that most of them name. If `in_haste`, as soon as most agree no more
    /// is waited for.
    async fn ask(&self, in_haste: bool) -> Result<Vec<Address>, RedisError> {
        let mut answers: FuturesUnordered<_> = self
            .url
            .hosts
            .iter()
            .map(|sentinel| self.ask_one(sentinel))
            .collect();
        let majority = self.url.hosts.len() / 2 + 1;
        let mut votes: HashMap<Address, usize> = HashMap::new();
        let mut failure = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Some(address)) => {
                    let count = votes.entry(address).or_default();
                    *count += 1;
                    if in_haste && *count >= majority {
                        break;
                    }
                }
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        let mut named: Vec<_> = votes.into_iter().collect();
        named.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        match (named.is_empty(), failure) {
            (true, Some(error)) => Err(error),
            _ => Ok(named.into_iter().map(|(address, _)| address).collect()),
        }
    }

    fn client(&self, (host, port): &Address) -> Result<Client, RedisError> {
        let url = self.url.sentinel_url(host, *port);
        client(url.expose_secret(), &self.tls)
    }

    /// How long it may take to be connected to a sentinel.
    fn timeout(&self) -> Duration {
        if self.url.sentinels_use_tls() {
            ANSWER + HANDSHAKE
        } else {
            ANSWER
        }
    }

    /// A connection to one sentinel.
    pub(in crate::store) async fn connect_to_sentinel(
        &self,
        sentinel: &Address,
    ) -> Result<MultiplexedConnection, RedisError> {
        let client = self.client(sentinel)?;
        let mut connection =
            tokio::time::timeout(self.timeout(), client.get_multiplexed_async_connection())
                .await
                .map_err(|_| {
                    RedisError::from((ErrorKind::Io, "a sentinel does not answer in time"))
                })??;
        connection.set_response_timeout(ANSWER);
        Ok(connection)
    }

    /// Whom one sentinel names.
    pub(in crate::store) async fn ask_one(
        &self,
        sentinel: &Address,
    ) -> Result<Option<Address>, RedisError> {
        let mut connection = self.connect_to_sentinel(sentinel).await?;
        let named: Option<(String, u16)> = redis::cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(&self.master)
            .query_async(&mut connection)
            .await?;
        Ok(named)
    }

    /// Notes who is the master. If it is another one, what is connected to the old one is dropped.
    fn note(&self, address: Address) -> bool {
        let mut known = self.known.lock().expect("no panic while held");
        let changed = known.as_ref().is_some_and(|known| *known != address);
        *known = Some(address);
        changed
    }

    fn switch_to(&self, address: Address) {
        let text = format!("{}:{}", address.0, address.1);
        if self.note(address) {
            *self.switched_at.lock().expect("no panic while held") = Some(Instant::now());
            self.age.fetch_add(1, Ordering::Relaxed);
            self.changed.send_replace(());
            metrics::counter!(telemetry::STORE_FAILOVERS).increment(1);
            tracing::warn!(master = text, "the sentinels have a new master: {text}");
        }
    }

    /// Watches the sentinels until the store is dropped.
    pub(in crate::store) fn watch(watched: &Weak<Self>) {
        let Some(sentinel) = watched.upgrade() else {
            return;
        };
        for address in &sentinel.url.hosts {
            let (watched, address) = (watched.clone(), address.clone());
            tasks::spawn("sentinels", move || {
                follow(watched.clone(), address.clone())
            });
        }
        let watched = watched.clone();
        tasks::spawn("sentinels", move || poll(watched.clone()));
    }
}

/// Asks each second, in case a message was lost.
async fn poll(watched: Weak<Sentinel>) -> Over {
    let mut interval = tokio::time::interval(POLL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(sentinel) = watched.upgrade() else {
            return Over;
        };
        let Ok(named) = sentinel.named().await else {
            continue;
        };
        // Believed only if the server agrees: a sentinel that was away names the master of yesterday.
        if let Some(address) = named.into_iter().next()
            && *sentinel.known.lock().expect("no panic while held") != Some(address.clone())
            && sentinel.connect_to_master(&address).await.is_ok()
        {
            sentinel.switch_to(address);
        }
    }
}

/// Listens to one sentinel, and again when it comes back.
async fn follow(watched: Weak<Sentinel>, address: Address) -> Over {
    loop {
        let Some((client, master, timeout)) = watched.upgrade().and_then(|sentinel| {
            let client = sentinel.client(&address).ok()?;
            Some((client, sentinel.master.clone(), sentinel.timeout()))
        }) else {
            return Over;
        };
        if let Ok(Ok(mut messages)) = tokio::time::timeout(timeout, client.get_async_pubsub()).await
            && let Ok(Ok(())) =
                tokio::time::timeout(timeout, messages.subscribe("+switch-master")).await
        {
            let mut messages = messages.into_on_message();
            loop {
                let message = tokio::time::timeout(Duration::from_secs(5), messages.next()).await;
                let Some(sentinel) = watched.upgrade() else {
                    return Over;
                };
                match message {
                    // Nothing happened; the keep-alive of the socket tells whether the sentinel is there.
                    Err(_) => {}
                    Ok(None) => break,
                    Ok(Some(message)) => {
                        // "<name> <old host> <old port> <new host> <new port>"
                        let text: String = message.get_payload().unwrap_or_default();
                        let words: Vec<&str> = text.split(' ').collect();
                        if let [name, _, _, host, port] = words[..]
                            && name == master
                            && let Ok(port) = port.parse()
                        {
                            sentinel.switch_to((host.to_owned(), port));
                        }
                    }
                }
            }
        }
        tokio::time::sleep(RESUBSCRIBE).await;
    }
}
