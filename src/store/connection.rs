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
mod manager;
mod one;
mod routed;
pub(super) mod sentinel;
pub(super) mod single;
mod source;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::manager::{Manager, Reasons};
pub(super) use self::one::Connection;
pub(super) use self::source::Source;
use super::Options;
use super::error::{Error, Outcome, Trouble};
use super::health::Health;
use super::keys::Bucket;
use super::{diagnosis, keys, rights, script};
use crate::finding::Level;

/// How long a check-out waits for a free or a new connection. Together with the response time-out it stays
/// under the second in which every call is answered.
const CHECK_OUT: Duration = Duration::from_millis(350);

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
            if Trouble::of(&error) == Trouble::NotAllowed {
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
