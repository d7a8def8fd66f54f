//! The only module that speaks Redis: one method per script of `lua/`.
//!
//! Everything is decided by the scripts, at one instant, by Redis's clock. This module names the keys, sends the
//! call and decodes the reply; it keeps nothing that decides. Deliberately absent: a trait with a second
//! implementation in memory. The scripts are the logic, so a fake would test nothing.

mod access_keys;
mod audit;
mod connection;
pub mod embedded;
mod error;
mod events;
mod hints;
mod history;
mod keys;
mod leases;
mod listing;
mod logins;
mod memory;
mod pools;
mod renewals;
mod rules;
mod script;
mod sweeper;

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

pub use self::access_keys::PutKey;
pub use self::audit::{Action, Recorded, Trail};
use self::connection::Connections;
pub use self::error::{Error, Outcome};
pub use self::events::{Event, EventId};
use self::hints::Hints;
pub use self::history::Stretch;
use self::keys::Bucket;
pub use self::leases::{Acquired, Asked, Denial, Grant, Renewal, Renewed, Terminated, Termination};
pub use self::listing::{Listing, Place, Selection, Sort};
pub use self::logins::{CODE, LOGIN};
use self::memory::Memory;
pub use self::pools::{Deleted, Expect, Put};
use self::renewals::Lanes;
pub use self::rules::{Known, NamedChange, NamedChanged, NamedSeat, NamedSeats, Wait};
use self::script::{Call, OPEN, Reply};
use crate::lease::Instant;

/// Longest time that any call takes, from the handler's side. The promise is an answer within a second.
const DEADLINE: Duration = Duration::from_millis(950);

/// The pools and leases of an installation, in Redis. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

/// What all clones share.
pub(crate) struct Shared {
    connections: Connections,
    memory: Memory,
    lanes: Lanes,
    keyring: access_keys::Copy,
    hints: Hints,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({:?})", self.0.connections)
    }
}

/// How to reach Redis.
#[derive(Debug)]
pub struct Options {
    /// `redis://`, `rediss://` or `unix://`.
    pub url: SecretString,
    /// Most connections of this node.
    pub connections: u32,
    /// How long Redis may take for one answer.
    pub timeout: Duration,
    /// How often this node ends what is due; zero for never.
    pub sweep_every: Duration,
}

impl Store {
    /// Connects, loads all scripts, checks the server and opens the buckets. Fails rather than serve half.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let connections = Connections::open(
            options.url.expose_secret(),
            options.connections,
            options.timeout,
        )
        .await?;
        connections.check().await?;

        let store = Self(Arc::new_cyclic(|shared: &std::sync::Weak<Shared>| Shared {
            connections,
            memory: Memory::new(),
            keyring: access_keys::Copy::default(),
            hints: Hints::new(&options.url),
            lanes: Lanes::start(|bucket, lane| {
                tokio::spawn(renewals::run(shared.clone(), bucket, lane));
            }),
        }));
        store.read_clock().await?;
        for bucket in Bucket::all() {
            store.open(bucket, 0).await?;
        }
        store.refresh_keys().await?;
        tokio::spawn(access_keys::run(Arc::downgrade(&store.0)));
        if !options.sweep_every.is_zero() {
            tokio::spawn(sweeper::run(Arc::downgrade(&store.0), options.sweep_every));
        }
        Ok(store)
    }

    /// The secret kept in the store, for nodes of one machine that have none in their settings. The first node
    /// offers `random`; all nodes get the same.
    pub async fn secret(&self, random: &SecretString) -> Result<SecretString, Error> {
        let mut connection = self.0.connections.get().await?;
        let _: Option<String> = redis::cmd("SET")
            .arg(keys::SECRET)
            .arg(random.expose_secret())
            .arg("NX")
            .query_async(&mut *connection)
            .await?;
        let secret: String = redis::cmd("GET")
            .arg(keys::SECRET)
            .query_async(&mut *connection)
            .await?;
        Ok(SecretString::from(secret))
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("PING").exec_async(&mut *connection).await?)
    }

    /// Asks Redis what time it is, once: from then on every answer says so.
    async fn read_clock(&self) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        let (seconds, micros): (i64, i64) =
            redis::cmd("TIME").query_async(&mut *connection).await?;
        self.0
            .memory
            .set_now(Instant(seconds * 1_000 + micros / 1_000));
        Ok(())
    }

    /// About what Redis's clock says; for the age of a token, never for a lease.
    pub fn now(&self) -> Instant {
        self.0.memory.now()
    }

    /// Runs a script, opening its bucket first if Redis has none.
    async fn run(&self, bucket: Bucket, call: &Call) -> Result<Reply, Error> {
        let answered = tokio::time::timeout(DEADLINE, async {
            let mut reply = self.send(call).await?;
            if reply.status() == "unopened" {
                self.open(bucket, self.0.memory.generation(bucket)).await?;
                reply = self.send(call).await?;
            }
            if reply.status() == "unopened" {
                return Err(Error::not_sent(
                    "Redis loses its data as fast as it gets it",
                ));
            }
            self.0.memory.set_now(reply.now()?);
            Ok(reply)
        });
        answered
            .await
            .unwrap_or_else(|_| Err(Error::unanswered("Redis did not answer in time")))
    }

    /// Sends a script. If the connection is found cut it is sent once more over another: every script is idempotent.
    async fn send(&self, call: &Call) -> Result<Reply, Error> {
        let mut connection = self.0.connections.get().await?;
        match call.run(&mut connection).await {
            Err(error) if error.is_io_error() && !error.is_timeout() => {
                drop(connection);
                tracing::debug!(error = %error, "connection to Redis lost, sending again: {error}");
                let Ok(mut connection) = self.0.connections.get().await else {
                    return Err(Error::unanswered(error.to_string()));
                };
                Ok(call
                    .run(&mut connection)
                    .await
                    .map_err(Error::from)
                    .map_err(|error| match error {
                        // The first try may have run, whatever became of the second.
                        Error::Unavailable { cause, .. } => Error::unanswered(cause),
                        error => error,
                    })?)
            }
            result => Ok(result?),
        }
    }

    /// Opens a bucket, noting a loss if the caller remembers another generation, and puts back the policies that
    /// this node knows.
    async fn open(&self, bucket: Bucket, remembered: u64) -> Result<(), Error> {
        let reply = self
            .send(&OPEN.call(1).arg(bucket.clock()).arg(remembered))
            .await?;
        let generation = reply.count(1)?;
        let before = self.0.memory.set_generation(bucket, generation);
        if before != 0 && before != generation {
            let policies = self.0.memory.policies(bucket);
            tracing::warn!(
                bucket = bucket.index(),
                pools = policies.len(),
                "Redis lost the data of a bucket; putting back its pools, holders come back with their next beat"
            );
            metrics::counter!("leasehold_data_losses_total").increment(1);
            for (pool, (version, policy)) in policies {
                self.put_back(&pool, version, &policy).await?;
            }
        }
        Ok(())
    }
}

/// Text of a value that always has one.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers have a JSON form")
}
