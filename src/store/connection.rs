//! Connections to Redis: a pool of them, each given back or dropped after its first failure.
//!
//! A short call shares its connection with others ([`Connections::share`]): what is sent at about the same time goes out
//! in one write and comes back in one read. Whatever is long, or waits, has a connection to itself ([`Connections::get`]).
//!
//! A failed call marks its connection, and all others of the same age, so that one error after a restart of Redis is the last
//! one, and a check-out costs nothing. So does an answer that only a new connection can cure, such as that of a server that
//! became a replica: it goes on answering, and nobody cuts it off. Where a connection leads is one of three: [`single`],
//! [`sentinel`] or [`cluster`].

pub(super) mod cluster;
mod routed;
pub(super) mod sentinel;
pub(super) mod single;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value};
use secrecy::ExposeSecret as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::cluster::Cluster;
use self::routed::Routed;
use self::sentinel::Sentinel;
use self::single::Single;
use super::Options;
use super::error::{Error, Outcome, Trouble};
use super::health::Health;
use super::keys::Bucket;
use super::{diagnosis, keys, rights, script};
use crate::config::{RedisUrl, Topology};
use crate::finding::Level;
use crate::telemetry;

/// How long a check-out waits for a free or a new connection. Together with the response time-out it stays
/// under the second in which every call is answered.
const CHECK_OUT: Duration = Duration::from_millis(350);

/// How long a call waits for a replica, in ms. Replicas answer within a millisecond or not soon.
const REPLICA_MS: u64 = 100;

/// After a connection could not be made, the next try comes no sooner: a server that refuses is not stormed.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// While calls fail over connections that work, a new one is tried no sooner.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Connections that nobody uses, in hand for whoever comes, beside the one that short calls share: there may be hundreds of nodes.
const SPARE: u32 = 1;

/// More of them are closed when they were not used for so long.
const IDLE: Duration = Duration::from_secs(30);

/// Most calls under way on one shared connection.
const SHARED_BY: usize = 32;

/// The pool that all calls take their connection from.
#[derive(Clone)]
pub(super) struct Connections {
    pool: bb8::Pool<Manager>,
    /// Given out in the order in which they are asked for. The pool alone lets whoever comes take a connection that has
    /// just come back, so that under load some wait until they give up.
    turns: Arc<Semaphore>,
    /// The same for calls that share.
    shares: Arc<Semaphore>,
    /// The connection that they share, so that none waits until one is made while others have all there are.
    shared: Arc<Mutex<Option<Connection>>>,
    health: Arc<Health>,
    source: Arc<Source>,
    age: Arc<AtomicU64>,
    /// When another server was looked for last.
    looked_at: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.pool.state();
        write!(
            f,
            "Connections({} of which {} idle)",
            state.connections, state.idle_connections
        )
    }
}

/// Where connections lead.
pub(super) enum Source {
    /// One server.
    Single(Box<Single>),
    /// The master that sentinels name.
    Sentinel(Arc<Sentinel>),
    /// All masters of a cluster.
    Cluster(Arc<Cluster>),
}

impl Source {
    /// Reads `redis_url`; `age` grows when the servers change.
    pub(super) fn new(options: &Options, age: Arc<AtomicU64>) -> Result<Self, RedisError> {
        let url: RedisUrl = options.url.expose_secret().parse().map_err(|_| {
            RedisError::from((ErrorKind::InvalidClientConfig, "redis_url cannot be read"))
        })?;
        let (tls, timeout) = (&options.tls, options.timeout);
        Ok(match &url.topology {
            Topology::Single => Self::Single(Box::new(Single::new(
                url.as_single().expose_secret(),
                tls,
                timeout,
            )?)),
            Topology::Sentinel { master } => {
                Self::Sentinel(Arc::new(Sentinel::new(&url, master, tls, timeout, age)))
            }
            Topology::Cluster => Self::Cluster(Arc::new(Cluster::new(&url, tls, timeout, age))),
        })
    }

    /// Whether buckets are on several servers.
    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    fn watch(&self) {
        match self {
            Self::Single(_) => {}
            Self::Sentinel(sentinel) => Sentinel::watch(&Arc::downgrade(sentinel)),
            Self::Cluster(cluster) => Cluster::watch(&Arc::downgrade(cluster)),
        }
    }

    async fn connect(&self) -> Result<Link, RedisError> {
        Ok(match self {
            Self::Single(single) => Link::One(single.connect_to_master().await?),
            Self::Sentinel(sentinel) => Link::One(sentinel.connect().await?),
            Self::Cluster(cluster) => Link::Many(Box::new(cluster.connect().await?)),
        })
    }

    /// A connection that listens to what is published: to the master, or to any node of a cluster, which tell each other.
    pub(super) async fn subscribe(&self) -> Result<PubSub, RedisError> {
        match self {
            Self::Single(single) => single.subscribe().await,
            Self::Sentinel(sentinel) => sentinel.subscribe().await,
            Self::Cluster(cluster) => cluster.subscribe().await,
        }
    }

    /// A connection to each master, or why it failed, with a name for an operator. Fails if it cannot be known who they
    /// are.
    pub(super) async fn masters(&self) -> Result<Vec<Master>, RedisError> {
        Ok(match self {
            Self::Single(single) => {
                let master = match single.connect_to_master().await {
                    // The caller names it in its message.
                    Err(error) if Trouble::of(&error) == Trouble::Replica => single.connect().await,
                    master => master,
                };
                vec![("Redis".to_owned(), master)]
            }
            Self::Sentinel(sentinel) => {
                vec![("the master".to_owned(), sentinel.connect().await)]
            }
            Self::Cluster(cluster) => {
                let mut masters = Vec::new();
                for address in cluster.masters().await? {
                    let name = format!("{}:{}", address.0, address.1);
                    masters.push((name, cluster.connect_to(&address).await));
                }
                masters
            }
        })
    }
}

/// What an operator calls a master, and a connection to it.
pub(super) type Master = (String, Result<MultiplexedConnection, RedisError>);

impl Connections {
    /// A pool of connections. Fails if none can be made now.
    pub(super) async fn open(options: &Options) -> Result<Self, Error> {
        let age = Arc::new(AtomicU64::new(0));
        let source = Source::new(options, Arc::clone(&age))
            .map(Arc::new)
            .map_err(|error| Error::not_connected(&error))?;
        let health = Arc::new(Health::new(source.is_cluster()));
        let opened = Self::pool(options, Arc::clone(&source), age, health).await?;
        source.watch();
        Ok(opened)
    }

    /// Another pool, to the same servers: what one of the two notices holds for both.
    pub(super) async fn another(&self, options: &Options) -> Result<Self, Error> {
        let (source, age) = (Arc::clone(&self.source), Arc::clone(&self.age));
        Self::pool(options, source, age, Arc::clone(&self.health)).await
    }

    async fn pool(
        options: &Options,
        source: Arc<Source>,
        changes: Arc<AtomicU64>,
        health: Arc<Health>,
    ) -> Result<Self, Error> {
        // Connections to a cluster lead to all of its servers, and find a new master by themselves.
        let age = if source.is_cluster() {
            Arc::default()
        } else {
            Arc::clone(&changes)
        };
        let manager = Manager {
            source: Arc::clone(&source),
            age,
            response_timeout: options.timeout,
            failing: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(None),
        };
        // With a wrong address the pool would come up empty and the node would serve nothing but 503.
        let first = bb8::ManageConnection::connect(&manager).await;
        if let Err(error) = first {
            // To load the scripts is a right too.
            if Trouble::of(&error) == Trouble::AddressRefused {
                check_rights(&source, options).await?;
            }
            return Err(Error::not_connected(&error));
        }
        let pool = bb8::Pool::builder()
            .max_size(options.connections)
            .min_idle(options.connections.min(SPARE))
            .connection_timeout(CHECK_OUT)
            .idle_timeout(Some(IDLE))
            .reaper_rate(IDLE)
            .max_lifetime(None)
            // The last one that was used, so that calls that share meet on one connection.
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .error_sink(Box::new(Reasons(Arc::clone(&health))))
            .build(manager)
            .await
            .map_err(|error| Error::not_connected(&error))?;
        let turns = options.connections as usize;
        Ok(Self {
            pool,
            turns: Arc::new(Semaphore::new(turns)),
            shares: Arc::new(Semaphore::new(turns * SHARED_BY)),
            shared: Arc::default(),
            health,
            source,
            age: changes,
            looked_at: Arc::default(),
        })
    }

    /// Looks whether a new connection can do what the present ones cannot, if it is some time since the last look. The
    /// address may lead to another server now, while the one that is connected still answers.
    pub(super) fn look_for_another_server(&self, bucket: Bucket) {
        {
            let mut looked_at = self.looked_at.lock().expect("no panic while held");
            if looked_at.is_some_and(|at| at.elapsed() < BETWEEN_LOOKS) {
                return;
            }
            *looked_at = Some(Instant::now());
        }
        if let Source::Cluster(cluster) = &*self.source {
            cluster.refresh_soon();
            return;
        }
        let connections = self.clone();
        tokio::spawn(async move {
            let made_at = connections.age.load(Ordering::Relaxed);
            // The failure may have been one of a single pool, or over by now.
            let Ok(mut present) = connections.share().await else {
                return;
            };
            if script::try_to_write(bucket, &mut present).await.is_ok() {
                return;
            }
            let Ok(link) = connections.source.connect().await else {
                return;
            };
            let mut another = Connection {
                link,
                made_at,
                age: Arc::clone(&connections.age),
                broken: Arc::default(),
            };
            if script::try_to_write(bucket, &mut another).await.is_ok() {
                tracing::warn!(
                    "a new connection to Redis works where the old ones do not: dropping them"
                );
                connections.age.fetch_max(made_at + 1, Ordering::Relaxed);
            }
        });
    }

    /// Whether Redis works, as this node sees it.
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Whether a call may be sent now; what is not sent surely does not run.
    pub(super) fn admit(&self, bucket: Bucket) -> Result<(), Error> {
        self.health.admit(bucket)?;
        match &*self.source {
            Source::Cluster(cluster) if cluster.is_silent_at(bucket.slot()) => Err(Error::of(
                Trouble::Silent,
                Outcome::None,
                "a master of the cluster fell silent; its calls wait until it is sure who the master is",
            )),
            _ => Ok(()),
        }
    }

    /// Buckets that are all on different servers, and together on all of them; only one outside of a cluster.
    pub(super) fn one_bucket_of_each_master(&self) -> Vec<Bucket> {
        let Source::Cluster(cluster) = &*self.source else {
            return Bucket::all().take(1).collect();
        };
        let mut masters = std::collections::BTreeMap::new();
        for bucket in Bucket::all() {
            masters
                .entry(cluster.server_of(bucket.slot()))
                .or_insert(bucket);
        }
        masters.into_values().collect()
    }

    /// Where the connections lead.
    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Grows when connections failed or the servers changed: what was connected before is of no use.
    pub(super) fn age(&self) -> &Arc<AtomicU64> {
        &self.age
    }

    /// Refuses a server that would lose leases or cannot run the scripts, saying what to change.
    pub(super) async fn check(&self, options: &Options) -> Result<(), Error> {
        let masters = self.source.masters().await?;
        for (name, master) in masters {
            match master {
                Ok(mut master) => {
                    rights::check(&self.source, &mut master, options, &name).await?;
                    check_server(&mut master, options).await?;
                }
                // The others serve their pools without it, and a replica may be about to take over.
                Err(error) if self.source.is_cluster() => {
                    tracing::warn!("the master {name} of the cluster cannot be reached ({error})");
                }
                Err(error) => return Err(Error::not_connected(&error)),
            }
        }
        let mut connection = self.get().await?;
        redis::cmd("SET")
            .arg(keys::BUCKET_COUNT)
            .arg(keys::BUCKETS)
            .arg("NX")
            .exec_async(&mut *connection)
            .await?;
        let buckets: u16 = redis::cmd("GET")
            .arg(keys::BUCKET_COUNT)
            .query_async(&mut *connection)
            .await?;
        if buckets != keys::BUCKETS {
            return Err(Error::not_sent(format!(
                "this Redis holds an installation with {buckets} buckets, and this program has {}: use another database",
                keys::BUCKETS
            )));
        }
        Ok(())
    }

    /// What an error says about its script. A cluster's client sends again by itself, so that the answer may be to the
    /// second try, while the first one ran.
    pub(super) fn understand(&self, error: RedisError) -> Error {
        let trouble = Trouble::of(&error);
        let error = Error::from(error);
        match trouble {
            Trouble::Loading | Trouble::MasterDown | Trouble::ClusterDown | Trouble::Replica
                if self.source.is_cluster() =>
            {
                error.may_have_run()
            }
            _ => error,
        }
    }

    /// A connection for one call at a time.
    pub(super) async fn get(&self) -> Result<CheckedOut<'_>, Error> {
        self.in_time(async {
            let turn = self.turns.acquire().await.expect("it is never closed");
            Ok(CheckedOut {
                connection: self.pool.get().await?,
                _turn: turn,
            })
        })
        .await
    }

    /// A connection that others use too, for one call that Redis answers at once.
    pub(super) async fn share(&self) -> Result<SharedOut<'_>, Error> {
        self.in_time(async {
            let turn = self.shares.acquire().await.expect("it is never closed");
            let connection = match self.present() {
                Some(present) => present,
                None => {
                    // It goes back at once.
                    let new = self.pool.get().await?.another();
                    let kept = new.another();
                    *self.shared.lock().expect("no panic while held") = Some(kept);
                    new
                }
            };
            Ok(SharedOut {
                connection: Box::new(connection),
                _turn: turn,
            })
        })
        .await
    }

    /// The connection that short calls share, while it works.
    fn present(&self) -> Option<Connection> {
        let mut shared = self.shared.lock().expect("no panic while held");
        if shared.as_ref().is_some_and(Connection::has_failed) {
            *shared = None;
        }
        shared.as_ref().map(Connection::another)
    }

    /// Not an `async fn`, which would have room for `checking_out` twice.
    fn in_time<T>(
        &self,
        checking_out: impl Future<Output = Result<T, bb8::RunError<RedisError>>>,
    ) -> impl Future<Output = Result<T, Error>> {
        tokio::time::timeout(CHECK_OUT, checking_out).map(|checked_out| match checked_out {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(bb8::RunError::User(error))) => Err(Error::not_connected(&error)),
            Ok(Err(bb8::RunError::TimedOut)) | Err(_) => Err(self.health.why_no_connection()),
        })
    }
}

/// A connection, until it is dropped; then it is the next one's turn.
pub(super) struct Turn<'a, C> {
    // Before the turn, so that it is back when somebody may take it.
    connection: C,
    _turn: SemaphorePermit<'a>,
}

/// A connection of one's own.
pub(super) type CheckedOut<'a> = Turn<'a, bb8::PooledConnection<'a, Manager>>;
/// A connection that others use too.
pub(super) type SharedOut<'a> = Turn<'a, Box<Connection>>;

impl<C: std::ops::Deref> std::ops::Deref for Turn<'_, C> {
    type Target = C::Target;

    fn deref(&self) -> &C::Target {
        &self.connection
    }
}

impl<C: std::ops::DerefMut> std::ops::DerefMut for Turn<'_, C> {
    fn deref_mut(&mut self) -> &mut C::Target {
        &mut self.connection
    }
}

/// Refuses to go on at the first master that allows too little.
async fn check_rights(source: &Source, options: &Options) -> Result<(), Error> {
    for (name, master) in source.masters().await? {
        if let Ok(mut master) = master {
            rights::check(source, &mut master, options, &name).await?;
        }
    }
    Ok(())
}

/// Refuses what cannot work or would lose leases, and warns of what can be lost or read.
async fn check_server(server: &mut MultiplexedConnection, options: &Options) -> Result<(), Error> {
    let info = super::info::Info::read(server).await?;
    let version = info.text("redis_version");
    if info.version() < (6, 2) {
        return Err(Error::not_sent(format!(
            "Redis {version} is too old: use Redis 6.2 or later, or Valkey"
        )));
    }
    let policy = info.text("maxmemory_policy");
    if policy.starts_with("allkeys") {
        return Err(Error::not_sent(format!(
            "Redis may throw leases away (maxmemory-policy {policy}): set maxmemory-policy noeviction"
        )));
    }
    for finding in diagnosis::at_start(options, &info) {
        let (found, advice) = (&finding.found, &finding.advice);
        match finding.level {
            Level::Ok => {}
            Level::Warning | Level::Error => tracing::warn!("{found}; {advice}"),
        }
    }
    Ok(())
}

/// Keeps why no connection could be made; without it only time-outs would be seen.
#[derive(Debug)]
struct Reasons(Arc<Health>);

impl bb8::ErrorSink<RedisError> for Reasons {
    fn sink(&self, error: RedisError) {
        if error.kind() != ErrorKind::Client {
            self.0.refused(&error);
        }
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<RedisError>> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

/// Makes connections, and loads the scripts that the server of a new one does not have.
pub(super) struct Manager {
    source: Arc<Source>,
    /// Grows with each failure of a connection; those made before are dropped.
    age: Arc<AtomicU64>,
    response_timeout: Duration,
    /// Whether the last try failed; then tries come one by one.
    failing: AtomicBool,
    turn: tokio::sync::Mutex<Option<Instant>>,
}

impl Manager {
    async fn make(&self) -> Result<Connection, RedisError> {
        let made_at = self.age.load(Ordering::Relaxed);
        let link = self.source.connect().await?;
        let mut connection = Connection {
            link,
            made_at,
            age: Arc::clone(&self.age),
            broken: Arc::default(),
        };
        match script::load_missing(&mut connection, self.source.is_cluster()).await {
            // In a cluster this goes to all masters, and one that is away must not keep us from the others: a script
            // that a server lacks is sent whole.
            Err(error) if self.source.is_cluster() && Trouble::of(&error) != Trouble::Refused => {}
            loaded => loaded?,
        }
        if let Link::One(one) = &mut connection.link {
            // Until here it was longer: a busy server takes its time with the scripts, and no call waits for that.
            one.set_response_timeout(self.response_timeout);
        }
        connection.broken.store(false, Ordering::Relaxed);
        Ok(connection)
    }
}

impl bb8::ManageConnection for Manager {
    type Connection = Connection;
    type Error = RedisError;

    async fn connect(&self) -> Result<Connection, RedisError> {
        if self.failing.load(Ordering::Relaxed) {
            let mut last = self.turn.lock().await;
            if self.failing.load(Ordering::Relaxed) {
                if let Some(last) = *last {
                    tokio::time::sleep(BETWEEN_TRIES.saturating_sub(last.elapsed())).await;
                }
                *last = Some(Instant::now());
            }
        }
        let made = self.make().await;
        self.failing.store(made.is_err(), Ordering::Relaxed);
        made
    }

    /// No PING: whether the connection was made after the last failure.
    async fn is_valid(&self, connection: &mut Connection) -> Result<(), RedisError> {
        if self.has_broken(connection) {
            return Err((ErrorKind::Client, "made before the last failure").into());
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.has_failed()
    }
}

enum Link {
    One(MultiplexedConnection),
    Many(Box<Routed>),
}

/// One connection, which notices its own failure.
pub(super) struct Connection {
    link: Link,
    made_at: u64,
    age: Arc<AtomicU64>,
    /// Of all that share it.
    broken: Arc<AtomicBool>,
}

impl Connection {
    /// Whether it, or one that was made before or with it, is of no use any more.
    fn has_failed(&self) -> bool {
        self.broken.load(Ordering::Relaxed) || self.made_at < self.age.load(Ordering::Relaxed)
    }

    /// The same connection once more.
    fn another(&self) -> Self {
        Self {
            link: match &self.link {
                Link::One(one) => Link::One(one.clone()),
                Link::Many(many) => Link::Many(many.clone()),
            },
            made_at: self.made_at,
            age: Arc::clone(&self.age),
            broken: Arc::clone(&self.broken),
        }
    }

    /// After these a connection is of no use: it is cut, it is stuck, or what it leads to is no master of ours now. The next
    /// one looks up where the address leads.
    fn note(&self, error: &RedisError, of_script: bool) {
        // One of a cluster leads to all servers. Scripts find their way whatever one of these does; the library, which has
        // all the rest, may wait for a silent one as long as it is asked.
        if matches!(self.link, Link::Many(_)) {
            if error.kind() == ErrorKind::ClusterConnectionNotFound
                || (error.is_timeout() && !of_script)
            {
                self.broken.store(true, Ordering::Relaxed);
            }
            return;
        }
        let useless = error.is_unrecoverable_error()
            || error.is_timeout()
            || matches!(
                Trouble::of(error),
                Trouble::Replica | Trouble::MasterDown | Trouble::Loading | Trouble::Auth
            );
        if useless && !self.broken.swap(true, Ordering::Relaxed) {
            let after = self.made_at + 1;
            self.age.fetch_max(after, Ordering::Relaxed);
        }
    }
}

impl Connection {
    /// Waits until a replica has what this connection has seen. `false` if none has it in time.
    pub(super) async fn wait_for_replica(&mut self, call: &script::Call) -> bool {
        let mut wait = redis::cmd("WAIT");
        wait.arg(1).arg(REPLICA_MS);
        let replicas: Result<i64, RedisError> = match &mut self.link {
            Link::One(_) => wait.query_async(self).await,
            Link::Many(many) => {
                // Left to the library, it would go to all masters.
                let Some(key) = call.first_key() else {
                    return false;
                };
                let answer = many.query_at(key, &wait).await;
                answer.and_then(|value| Ok(redis::from_redis_value(value)?))
            }
        };
        let durable = replicas.is_ok_and(|replicas| replicas > 0);
        metrics::counter!(telemetry::STORE_WAITS, "durable" => if durable { "true" } else { "false" }).increment(1);
        durable
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let result = match &mut self.link {
                Link::One(one) => one.req_packed_command(command).await,
                Link::Many(many) => many.query(command).await,
            };
            // What a server refuses comes as a value.
            let result = result.and_then(Value::extract_error);
            if let Err(error) = &result {
                self.note(error, script::first_key(command).is_some());
            }
            result
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let result = match &mut self.link {
                Link::One(one) => one.req_packed_commands(pipeline, offset, count).await,
                Link::Many(many) => many.queries(pipeline, offset, count).await,
            };
            match &result {
                Err(error) => self.note(error, false),
                Ok(values) => {
                    for value in values {
                        if let Value::ServerError(error) = value {
                            self.note(&error.clone().into(), false);
                        }
                    }
                }
            }
            result
        })
    }

    fn get_db(&self) -> i64 {
        match &self.link {
            Link::One(one) => one.get_db(),
            Link::Many(many) => many.get_db(),
        }
    }
}
