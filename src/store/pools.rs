//! Pools: put, read, list and delete.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::error::Error;
use super::keys::{Bucket, Keys};
use super::pool_cache::CachedPool;
use super::script::Request as _;
use super::scripts::{self, delete_pool, put_pool, status};
use super::unreadable::Kind;
use super::{Store, json};
use crate::names::PoolName;
use crate::pool::{Policy, Pool, Waited};
use crate::time::millis;
use crate::token;

/// How often all leases of a pool are taken into its index before rules that need it are put all the same. A second time is
/// enough, unless nodes of an earlier version start leases meanwhile.
const PASSES: usize = 3;

/// What the caller expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// No pool of this name.
    None,
    /// A pool, of any version.
    Some,
    /// A pool without a policy, whose deletion was begun and not finished.
    Closed,
    /// A pool of this version.
    Version(u64),
}

impl Expect {
    fn word(self) -> String {
        match self {
            Self::Any => "any".into(),
            Self::None => "none".into(),
            Self::Some => "some".into(),
            Self::Closed => "closed".into(),
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
    /// It is not what was expected; this is its version, 0 for a pool that does not exist.
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
    ///
    /// Rules that count by an index come into force when it is there. It is made before, in bites, while the rules of before
    /// go on to decide.
    pub async fn put_pool(
        &self,
        pool: &PoolName,
        policy: &Policy,
        expect: Expect,
    ) -> Result<Put, Error> {
        self.check_words(Kind::Pool, policy).await?;
        let keys = Keys::of(pool);
        let mut passes = 0;
        loop {
            let whole = passes < PASSES;
            let put = self.put(&keys, pool, policy, expect, None, whole).await?;
            let reply = put.ok_or_else(|| Error::Broken("put_pool.lua found no clock".into()))?;
            let version = reply.version;
            return Ok(match reply.status {
                put_pool::Status::Indexing => {
                    passes += 1;
                    self.reindex(pool).await?;
                    continue;
                }
                put_pool::Status::Conflict => Put::Conflict(version),
                put_pool::Status::InUse => Put::InUse,
                put_pool::Status::Created | put_pool::Status::Replaced => {
                    self.0
                        .pool_cache
                        .note(pool, version, reply.incarnation, policy);
                    if reply.status == put_pool::Status::Created {
                        Put::Created(version)
                    } else {
                        Put::Replaced(version)
                    }
                }
                put_pool::Status::Kept => {
                    return Err(Error::Broken(
                        "put_pool.lua kept what it was to replace".into(),
                    ));
                }
            });
        }
    }

    /// `None` where the bucket is not open: whoever puts back a lost pool is opening it.
    async fn put(
        &self,
        keys: &Keys,
        pool: &PoolName,
        policy: &Policy,
        expect: Expect,
        lost: Option<&CachedPool>,
        whole: bool,
    ) -> Result<Option<put_pool::Reply>, Error> {
        let mut others = keys.rest();
        others.push(keys.alerts());
        let others: Vec<_> = others
            .into_iter()
            .map(|key| put_pool::Other { key })
            .collect();
        let rules = policy.for_scripts(self.now());
        let rules: Vec<_> = rules
            .iter()
            .map(|(name, value)| put_pool::Rule { name, value })
            .collect();
        let put = scripts::PutPool {
            keys,
            pool,
            expect: &expect.word(),
            put_back: lost.map_or(0, |lost| lost.version),
            policy: &json(policy),
            capacity: policy.capacity.into(),
            ttl: Duration::from_millis(policy.ttl_ms),
            linger: Duration::from_millis(policy.linger_ms),
            resume_window: Duration::from_millis(policy.resume_window_ms),
            put_back_as: lost.map_or(0, |lost| lost.incarnation),
            whole,
            others: &others,
            rules: &rules,
        };
        if lost.is_none() {
            return self.call_whole(pool, &put).await.map(Some);
        }
        let reply = self.send(&put.call()).await?;
        if reply.status() == "unopened" {
            return Ok(None);
        }
        put.read(&reply).map(Some)
    }

    /// Puts back a pool that Redis lost. A newer policy stays. `false` if the bucket was lost again meanwhile.
    pub(super) async fn put_back(&self, pool: &PoolName, lost: &CachedPool) -> Result<bool, Error> {
        let keys = Keys::of(pool);
        let put = self.put(&keys, pool, &lost.policy, Expect::Any, Some(lost), false);
        Ok(put.await?.is_some())
    }

    /// Puts back the policies that Redis lost, and can be called again if it gets through with a part only.
    pub(super) async fn put_back_pools(&self, bucket: Bucket) -> Result<(), Error> {
        let lost = self.0.pool_cache.lost(bucket).clone();
        let put_back = lost.into_iter().map(async |(pool, remembered)| {
            if self.put_back(&pool, &remembered).await? {
                self.0.pool_cache.lost(bucket).remove(&pool);
            }
            Ok::<_, Error>(())
        });
        let put_back = stream::iter(put_back).buffer_unordered(4);
        put_back.try_for_each(|()| std::future::ready(Ok(()))).await
    }

    /// A pool as it is now; `None` for one that does not exist.
    pub async fn status(&self, pool: &PoolName) -> Result<Option<Pool>, Error> {
        let keys = Keys::of(pool);
        let reply = self
            .call_whole(pool, &scripts::Status { keys: &keys })
            .await?;
        match reply.status {
            status::Status::NoPool => Ok(None),
            status::Status::Recovering => Err(Error::Recovering),
            status::Status::Read => {
                let Ok(policy) = serde_json::from_str(&reply.policy) else {
                    // What was known of it before is no longer so.
                    self.0.pool_cache.forget(pool);
                    self.0.unreadable.note(Kind::Pool, pool.as_str());
                    return Err(Error::Newer(format!("the policy of pool {pool}")));
                };
                self.0
                    .unreadable
                    .keep(Kind::Pool, |name| name != pool.as_str());
                let incarnation = reply.incarnation;
                let status = read_status(pool, policy, reply);
                self.0
                    .pool_cache
                    .note(pool, status.version, incarnation, &status.policy);
                Ok(Some(status))
            }
        }
    }

    /// Pools whose name comes after `after`, at most `limit`, by name.
    pub async fn pools(&self, after: Option<&PoolName>, limit: usize) -> Result<Vec<Pool>, Error> {
        let mut names = self.names().await?;
        names.retain(|name| after.is_none_or(|after| after < name));
        let mut pools = Vec::new();
        let mut names = names.into_iter();
        // Those that are gone, or cannot be read, leave room for others.
        while pools.len() < limit {
            let some: Vec<_> = names.by_ref().take(limit - pools.len()).collect();
            if some.is_empty() {
                break;
            }
            pools.extend(self.statuses(some).await?);
        }
        Ok(pools)
    }

    /// Names of the pools whose policy only a later version can read.
    pub fn unreadable_pools(&self) -> Vec<PoolName> {
        let names = self.0.unreadable.names(Kind::Pool);
        names
            .into_iter()
            .filter_map(|name| PoolName::try_from(name).ok())
            .collect()
    }

    /// The policy of a pool as this node saw it last; none if it does not know the pool.
    pub fn cached_policy(&self, pool: &PoolName) -> Option<Arc<Policy>> {
        Some(self.0.pool_cache.pool(pool)?.policy)
    }

    /// The names of the pools that this node knows, sorted; for what a page suggests, and for what only their cached policies tell.
    pub fn cached_names(&self) -> Vec<PoolName> {
        let mut names = self.0.pool_cache.pools();
        names.sort_unstable();
        names
    }

    /// The names of all pools, sorted; a call for each bucket.
    pub async fn names(&self) -> Result<Vec<PoolName>, Error> {
        let mut names = Vec::new();
        for bucket in Bucket::all() {
            names.extend(self.pool_names(bucket).await?);
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Pools as they are now, in the order of these names; without those that are not there or cannot be read.
    pub async fn statuses(&self, names: Vec<PoolName>) -> Result<Vec<Pool>, Error> {
        let statuses = names.into_iter().map(|name| {
            let store = self.clone();
            async move {
                match store.status(&name).await {
                    // One that was not put back yet is in no list either.
                    Err(Error::Newer(_) | Error::Recovering) => Ok(None),
                    read => read,
                }
            }
        });
        let pools: Vec<Option<Pool>> = stream::iter(statuses).buffered(8).try_collect().await?;
        Ok(pools.into_iter().flatten().collect())
    }

    /// Pools that this node knows of, perhaps a second late; for work that can wait.
    pub fn known_pools(&self) -> Vec<PoolName> {
        self.0.pool_cache.pools()
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
        let generation = self.0.pool_cache.generation(bucket);
        let since = self.0.pool_cache.seen(bucket);
        let mut seen = since;
        for name in self.pools_since(bucket, since).await? {
            // Reading it notes it.
            match self.status(&name).await {
                Ok(Some(pool)) => seen = seen.max(pool.version),
                Ok(None) => self.finish_deletion(&name).await?,
                // The others have their turn.
                Err(Error::Newer(_) | Error::Recovering) => {}
                Err(error) => return Err(error),
            }
        }
        let names: HashSet<PoolName> = self.pool_names(bucket).await?.into_iter().collect();
        // If the data was lost meanwhile, the names are those of an emptied bucket, and what is known here is what puts the
        // others back. The generation is read after the names: the other way round it could be lost in between.
        if self.generation_now(bucket).await? == Some(generation) {
            self.0.pool_cache.keep(bucket, &names, revision, seen);
            self.0.unreadable.keep(Kind::Pool, |name| {
                let name = PoolName::try_from(name.to_owned());
                name.is_ok_and(|name| Bucket::of(&name) != bucket || names.contains(&name))
            });
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

    /// Removes a pool. Its leases have ended with that, whatever state they were in.
    ///
    /// `slots` are the stretches of its history that may be kept, each the name of its length and its number.
    pub async fn delete_pool(
        &self,
        pool: &PoolName,
        expect: Expect,
        slots: &[(&'static str, i64)],
    ) -> Result<Deleted, Error> {
        let keys = Keys::of(pool);
        let slots = slots.iter().map(|(step, number)| keys.slots(step, *number));
        let rest = keys
            .only_deleted()
            .into_iter()
            .chain(keys.rest())
            .chain(slots);
        let others: Vec<_> = rest.map(|key| delete_pool::Other { key }).collect();
        let delete = scripts::DeletePool {
            keys: &keys,
            pool,
            expect: &expect.word(),
            keep: token::LIFE,
            others: &others,
        };
        let reply = self.call(keys.bucket, &delete).await?;
        Ok(match reply.status {
            delete_pool::Status::Deleted => {
                self.0.pool_cache.forget(pool);
                Deleted::Deleted
            }
            delete_pool::Status::Conflict => Deleted::Conflict(reply.version),
            delete_pool::Status::NoPool => Deleted::NoPool,
            delete_pool::Status::Recovering => return Err(Error::Recovering),
        })
    }

    /// Finishes the deletion of a pool that has no policy any more: a node of an earlier version needs several calls for one,
    /// and may have been stopped between them.
    pub(super) async fn finish_deletion(&self, pool: &PoolName) -> Result<(), Error> {
        if self.delete_pool(pool, Expect::Closed, &[]).await? == Deleted::Deleted {
            tracing::info!(pool.name = %pool, "finished the deletion of pool {pool}, which was left half done");
        }
        Ok(())
    }
}

impl Keys {
    /// What `put_pool.lua` names one by one, and `delete_pool.lua` only removes.
    fn only_deleted(&self) -> Vec<String> {
        vec![
            self.expired(),
            self.events(),
            self.who(),
            self.seats(),
            self.holders(),
            self.lent(),
            self.queue(),
            self.blocks(),
            self.named(),
            self.waiting(),
            self.tickets(),
            self.line(),
            self.heads(),
            self.called(),
            self.idle(),
            self.held(),
        ]
    }

    /// What both only remove.
    fn rest(&self) -> Vec<String> {
        vec![
            self.denied(),
            self.block_notes(),
            self.notices(),
            self.rolled(),
            self.records(),
            self.evicted(),
            self.denials(),
        ]
    }
}

/// A pool as `status.lua` reads it.
fn read_status(pool: &PoolName, policy: Policy, reply: status::Reply) -> Pool {
    let mut tenants = BTreeMap::new();
    let (mut overdrawn, mut idle) = (0, 0);
    let mut waits = BTreeMap::new();
    for status::CountReply { name, value } in reply.counts {
        if let Some(tenant) = name.strip_prefix("t:") {
            tenants.insert(tenant.to_owned(), value);
        } else if name == "overdraft" {
            overdrawn = value;
        } else if name == "idle" {
            idle = value;
        } else if let Some(Ok(bucket)) = name.strip_prefix("wait:").map(str::parse) {
            waits.insert(bucket, value);
        }
    }
    Pool {
        name: pool.clone(),
        in_use: reply.in_use,
        capacity: reply.capacity,
        version: reply.version,
        policy,
        leases: reply.live,
        waiting: reply.waiting_now,
        lent_ms: millis(reply.lent_now),
        named_taken: reply.named_now,
        next_change: reply.change_at.map(|at| (at, reply.change_capacity)),
        period: reply.period.map(|begin| (begin, reply.period_end)),
        tenants,
        overdrawn,
        idle,
        waited: Waited::of(&waits),
        at: reply.now,
    }
}
