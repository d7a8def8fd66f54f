//! The sign of life, and the recording of ends that nobody asked for.
//!
//! Every node does this for every bucket, each second; they do not get in each other's way. Nothing else waits for
//! it: a seat whose time is over is free for the next acquire whether or not a sweep has been there.

use std::sync::Weak;
use std::time::Duration;

use super::error::Error;
use super::keys::{Bucket, Keys};
use super::script::{STAMP, SWEEP, TICK};
use super::{Shared, Store};
use crate::lease::LeaseId;
use crate::pool::PoolName;
use crate::token;

/// Pools of a bucket that one tick names.
const POOLS: usize = 64;
/// Leases that one call ends; well under a millisecond of Redis's time each.
const LEASES: usize = 128;
/// Age at which events are dropped.
const EVENTS: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// Ticks and sweeps all buckets until the store is dropped.
pub(super) async fn run(store: Weak<Shared>, every: Duration) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        interval.tick().await;
        let Some(store) = store.upgrade().map(Store) else {
            return;
        };
        match store.sweep_all().await {
            Ok(()) => {
                if failing {
                    tracing::info!("Redis answers again");
                }
                failing = false;
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %error, "Redis does not answer: {error}");
                }
                failing = true;
            }
        }
    }
}

impl Store {
    /// One round over all buckets. Stops at the first failure: the next round is soon.
    pub(super) async fn sweep_all(&self) -> Result<(), Error> {
        for bucket in Bucket::all() {
            self.tick(bucket).await?;
        }
        Ok(())
    }

    /// Gives a sign of life for a bucket and ends what is due in its pools.
    async fn tick(&self, bucket: Bucket) -> Result<(), Error> {
        let call = TICK
            .call(2)
            .arg(bucket.clock())
            .arg(bucket.due())
            .arg(POOLS);
        loop {
            let reply = self.run(bucket, &call).await?;
            let generation = reply.count(3)?;
            if generation != self.0.memory.generation(bucket) {
                // Another node opened it: say that data was lost, and put back what this node knows.
                self.open(bucket, self.0.memory.generation(bucket)).await?;
            }
            let revision = reply.count(5)?;
            if revision != self.0.memory.revision(bucket) {
                self.remember_pools(bucket, revision).await?;
            }
            for at in 6..reply.len() {
                let pool: PoolName = reply.parse(at)?;
                self.sweep(&pool).await?;
            }
            if reply.len() < 6 + POOLS {
                return Ok(());
            }
        }
    }

    /// Ends what is due in a pool, call after call, so that no other call waits long.
    async fn sweep(&self, pool: &PoolName) -> Result<(), Error> {
        let keys = Keys::of(pool);
        loop {
            let call = SWEEP
                .call(8)
                .arg(keys.bucket.clock())
                .arg(keys.bucket.due())
                .arg(keys.config())
                .arg(keys.leases())
                .arg(keys.expired())
                .arg(keys.events())
                .arg(keys.denied())
                .arg(keys.blocks())
                .arg(pool.as_str())
                .arg(LEASES)
                .arg(u64::try_from(EVENTS.as_millis()).expect("days"));
            let reply = self.run(keys.bucket, &call).await?;
            let ids: Vec<LeaseId> = (4..reply.len())
                .map(|at| reply.parse(at))
                .collect::<Result<_, _>>()?;
            if ids.is_empty() {
                return Ok(());
            }
            metrics::counter!("leasehold_leases_expired_total").increment(reply.count(3)?);
            self.stamp(&keys, &ids).await?;
            if ids.len() < LEASES {
                return Ok(());
            }
        }
    }

    /// Writes into the records of expired leases that and when they ended.
    async fn stamp(&self, keys: &Keys, ids: &[LeaseId]) -> Result<(), Error> {
        let mut call = STAMP
            .call(2 + ids.len())
            .arg(keys.bucket.clock())
            .arg(keys.expired());
        for id in ids {
            call.push(keys.record(*id));
        }
        call.push(u64::try_from(token::LIFE.as_millis()).expect("a day"));
        for id in ids {
            call.push(id.to_string());
        }
        self.run(keys.bucket, &call).await?;
        Ok(())
    }
}
