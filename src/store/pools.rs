//! Pools: put, read, list and delete.

use std::collections::{BTreeMap, HashSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::error::Error;
use super::keys::{Bucket, Keys};
use super::script::{DELETE_POOL, PUT_POOL, Reply, STATUS};
use super::{Store, json};
use crate::lease::{Instant, LeaseId};
use crate::pool::{Policy, Pool, PoolName};

/// What the caller expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// No pool of this name.
    None,
    /// A pool, of any version.
    Some,
    /// A pool of this version.
    Version(u64),
}

impl Expect {
    fn word(self) -> String {
        match self {
            Self::Any => "any".into(),
            Self::None => "none".into(),
            Self::Some => "some".into(),
            Self::Version(version) => version.to_string(),
        }
    }
}

/// What became of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The pool is new.
    Created(u64),
    /// It has this policy now, and this version.
    Replaced(u64),
    /// It is not what was expected; this is its version, 0 if there is none.
    Conflict(u64),
    /// `seat_per` cannot change while anybody has a seat.
    InUse,
}

/// What became of a pool that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, and its leases were terminated.
    Deleted,
    /// It is not what was expected; this is its version.
    Conflict(u64),
    /// There is no such pool.
    NoPool,
}

impl Store {
    /// Creates a pool or replaces its policy, for all nodes at one instant.
    pub async fn put_pool(
        &self,
        pool: &PoolName,
        policy: &Policy,
        expect: Expect,
    ) -> Result<Put, Error> {
        let reply = self.put(pool, policy, expect, 0).await?;
        let version = reply.count(3)?;
        match reply.status() {
            "conflict" => return Ok(Put::Conflict(version)),
            "in_use" => return Ok(Put::InUse),
            "created" | "replaced" => self.0.memory.note(pool, version, policy),
            _ => return Err(reply.unexpected(0)),
        }
        Ok(if reply.status() == "created" {
            Put::Created(version)
        } else {
            Put::Replaced(version)
        })
    }

    /// Puts back a policy that Redis lost. A newer one stays. `false` if the bucket was lost again meanwhile.
    pub(super) async fn put_back(
        &self,
        pool: &PoolName,
        version: u64,
        policy: &Policy,
    ) -> Result<bool, Error> {
        let call = Self::put_call(pool, policy, Expect::Any, version, self.now());
        Ok(self.send(&call).await?.status() != "unopened")
    }

    /// Puts back the policies that Redis lost, and can be called again if it gets through with a part only.
    pub(super) async fn put_back_pools(&self, bucket: Bucket) -> Result<(), Error> {
        let lost = self.0.memory.lost(bucket).clone();
        let put_back = lost.into_iter().map(async |(pool, (version, policy))| {
            if self.put_back(&pool, version, &policy).await? {
                self.0.memory.lost(bucket).remove(&pool);
            }
            Ok::<_, Error>(())
        });
        let put_back = stream::iter(put_back).buffer_unordered(4);
        put_back.try_for_each(|()| std::future::ready(Ok(()))).await
    }

    async fn put(
        &self,
        pool: &PoolName,
        policy: &Policy,
        expect: Expect,
        version: u64,
    ) -> Result<Reply, Error> {
        self.run(
            Bucket::of(pool),
            &Self::put_call(pool, policy, expect, version, self.now()),
        )
        .await
    }

    fn put_call(
        pool: &PoolName,
        policy: &Policy,
        expect: Expect,
        version: u64,
        now: Instant,
    ) -> super::script::Call {
        let keys = Keys::of(pool);
        let mut call = PUT_POOL
            .call(12)
            .arg(keys.bucket.clock())
            .arg(keys.bucket.pools())
            .arg(keys.config())
            .arg(keys.events())
            .arg(keys.bucket.due())
            .arg(keys.leases())
            .arg(keys.expired())
            .arg(keys.who())
            .arg(keys.seats())
            .arg(keys.holders())
            .arg(keys.lent())
            .arg(keys.queue())
            .arg(pool.as_str())
            .arg(expect.word())
            .arg(version)
            .arg(json(policy))
            .arg(policy.capacity)
            .arg(policy.ttl_ms)
            .arg(policy.linger_ms)
            .arg(policy.resume_window_ms);
        for (name, value) in policy.for_scripts(now) {
            call.push(name);
            call.push(value);
        }
        call
    }

    /// A pool as it is now; `None` if there is none.
    pub async fn status(&self, pool: &PoolName) -> Result<Option<Pool>, Error> {
        let keys = Keys::of(pool);
        let call = STATUS
            .call(10)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.who())
            .arg(keys.seats())
            .arg(keys.holders())
            .arg(keys.lent())
            .arg(keys.queue())
            .arg(keys.waiting())
            .arg(keys.named_seats());
        let reply = self.run_whole(pool, &call).await?;
        match reply.status() {
            "no_pool" => Ok(None),
            "read" => {
                let status = read_status(pool, &reply)?;
                self.0.memory.note(pool, status.version, &status.policy);
                Ok(Some(status))
            }
            _ => Err(reply.unexpected(0)),
        }
    }

    /// Pools whose name comes after `after`, at most `limit`, by name.
    pub async fn pools(&self, after: Option<&PoolName>, limit: usize) -> Result<Vec<Pool>, Error> {
        let mut names = self.names().await?;
        names.retain(|name| after.is_none_or(|after| after < name));
        names.truncate(limit);
        self.statuses(names).await
    }

    /// The names of all pools, sorted.
    pub async fn names(&self) -> Result<Vec<PoolName>, Error> {
        let mut names = Vec::new();
        for bucket in Bucket::all() {
            names.extend(self.pool_names(bucket).await?);
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Pools as they are now, in the order of these names; without those that are not there.
    pub async fn statuses(&self, names: Vec<PoolName>) -> Result<Vec<Pool>, Error> {
        let statuses = names.into_iter().map(|name| {
            let store = self.clone();
            async move { store.status(&name).await }
        });
        let pools: Vec<Option<Pool>> = stream::iter(statuses).buffered(8).try_collect().await?;
        Ok(pools.into_iter().flatten().collect())
    }

    /// Pools that this node knows of, perhaps a second late; for work that can wait.
    pub fn known_pools(&self) -> Vec<PoolName> {
        self.0.memory.pools()
    }

    async fn pool_names(&self, bucket: Bucket) -> Result<Vec<PoolName>, Error> {
        self.pools_since(bucket, 0).await
    }

    /// Names of a bucket's pools that have this version or a later one.
    async fn pools_since(&self, bucket: Bucket, version: u64) -> Result<Vec<PoolName>, Error> {
        let mut connection = self.0.connections.get().await?;
        let names: Vec<String> = redis::cmd("ZRANGE")
            .arg(bucket.pools())
            .arg(version)
            .arg("+inf")
            .arg("BYSCORE")
            .query_async(&mut *connection)
            .await?;
        Ok(names
            .into_iter()
            .filter_map(|name| PoolName::try_from(name).ok())
            .collect())
    }

    /// Reads what has changed in a bucket's pools into the node's memory, so that it can be put back after a loss.
    pub(super) async fn remember_pools(&self, bucket: Bucket, revision: u64) -> Result<(), Error> {
        let generation = self.0.memory.generation(bucket);
        let since = self.0.memory.seen(bucket);
        let mut seen = since;
        for name in self.pools_since(bucket, since).await? {
            // Reading it notes it.
            if let Some(pool) = self.status(&name).await? {
                seen = seen.max(pool.version);
            }
        }
        let names: HashSet<PoolName> = self.pool_names(bucket).await?.into_iter().collect();
        // If the data was lost meanwhile, the names are those of an emptied bucket, and what is known here is what puts the
        // others back. The generation is read after the names: the other way round it could be lost in between.
        if self.generation_now(bucket).await? == Some(generation) {
            self.0.memory.keep(bucket, &names, revision, seen);
        }
        Ok(())
    }

    /// The generation that the bucket has in Redis; none if it is empty.
    async fn generation_now(&self, bucket: Bucket) -> Result<Option<u64>, Error> {
        let mut connection = self.0.connections.get().await?;
        Ok(redis::cmd("HGET")
            .arg(bucket.clock())
            .arg("generation")
            .query_async(&mut *connection)
            .await?)
    }

    /// Removes a pool and terminates its leases.
    pub async fn delete_pool(&self, pool: &PoolName, expect: Expect) -> Result<Deleted, Error> {
        let keys = Keys::of(pool);
        let mut expect = expect.word();
        loop {
            let call = DELETE_POOL
                .call(23)
                .arg(keys.bucket.clock())
                .arg(keys.bucket.due())
                .arg(keys.bucket.pools())
                .arg(keys.config())
                .arg(keys.leases())
                .arg(keys.expired())
                .arg(keys.events())
                .arg(keys.denied())
                .arg(keys.blocks())
                .arg(keys.alerts())
                .arg(keys.bucket.alerts())
                .arg(keys.rolled())
                .arg(keys.records())
                .arg(keys.evicted())
                .arg(keys.who())
                .arg(keys.seats())
                .arg(keys.holders())
                .arg(keys.lent())
                .arg(keys.named_seats())
                .arg(keys.queue())
                .arg(keys.waiting())
                .arg(keys.tickets())
                .arg(keys.denials())
                .arg(pool.as_str())
                .arg(&expect);
            let reply = self.run(keys.bucket, &call).await?;
            match reply.status() {
                "deleted" => {
                    self.0.memory.forget(pool);
                    return Ok(Deleted::Deleted);
                }
                "conflict" => return Ok(Deleted::Conflict(reply.count(3)?)),
                "no_pool" => return Ok(Deleted::NoPool),
                "closed" => {
                    let ids: Vec<LeaseId> = (4..reply.len())
                        .map(|at| reply.parse(at))
                        .collect::<Result<_, _>>()?;
                    self.terminate(
                        pool,
                        &ids,
                        &super::Termination::because("The pool was deleted."),
                    )
                    .await?;
                    expect = Expect::Any.word();
                }
                _ => return Err(reply.unexpected(0)),
            }
        }
    }
}

/// A pool as `status.lua` reads it.
fn read_status(pool: &PoolName, reply: &Reply) -> Result<Pool, Error> {
    let mut tenants = BTreeMap::new();
    let mut overdrawn = 0;
    for (field, seats) in reply.fields(15)? {
        let seats = seats.parse().map_err(|_| reply.unexpected(15))?;
        if let Some(tenant) = field.strip_prefix("t:") {
            tenants.insert(tenant.to_owned(), seats);
        } else if field == "overdraft" {
            overdrawn = seats;
        }
    }
    let (change_at, period, period_end) =
        (reply.instant(11)?, reply.instant(13)?, reply.instant(14)?);
    Ok(Pool {
        name: pool.clone(),
        in_use: reply.count(3)?,
        capacity: reply.count(4)?,
        version: reply.count(5)?,
        policy: serde_json::from_str(reply.text(6)?).map_err(|_| reply.unexpected(6))?,
        leases: reply.count(7)?,
        waiting: reply.count(8)?,
        lent_ms: reply.count(9)?,
        named_taken: reply.count(10)?,
        next_change: (change_at.0 > 0)
            .then(|| reply.count(12).map(|seats| (change_at, seats)))
            .transpose()?,
        period: (period.0 > 0).then_some((period, period_end)),
        tenants,
        overdrawn,
        at: reply.now()?,
    })
}
