//! What a node remembers, so that it can notice that Redis lost data and put back what operators decided.
//!
//! Nothing here decides about a lease. A node that has forgotten everything serves as well; it only cannot help
//! to repair a loss that it has not seen happen.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::keys::{BUCKETS, Bucket};
use crate::names::PoolName;
use crate::pool::Policy;
use crate::telemetry;
use crate::time::Timestamp;

/// A bucket's pools.
pub(super) type Pools = BTreeMap<PoolName, CachedPool>;

/// A pool, as this node last saw it.
#[derive(Debug, Clone)]
pub(super) struct CachedPool {
    pub(super) version: u64,
    /// Tells it from others that had its name before.
    pub(super) incarnation: u64,
    pub(super) policy: Arc<Policy>,
    /// Whether heartbeats have to read the records, because tokens may not know what another heartbeat has changed. Follows what
    /// Redis answers.
    pub(super) reads_details: bool,
}

/// One for each node.
#[derive(Debug)]
pub(super) struct PoolCache {
    buckets: Vec<CachedBucket>,
    /// Redis's clock minus the time since `began`, in ms.
    offset: AtomicI64,
    began: Instant,
    silence: Mutex<Silence>,
}

/// The last time in which nobody could keep a deadline; zeros without one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Silence {
    /// The last sign of life before it.
    pub(super) floor: Timestamp,
    /// The first one after it.
    pub(super) back: Timestamp,
}

impl Silence {
    /// When a deadline is over that gives `period` in all: the rule of `lua/prelude.lua`.
    pub(super) fn end_of(self, deadline: Timestamp, period: Duration) -> Timestamp {
        let period_ms = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
        if self.floor < deadline {
            deadline.max(Timestamp(self.back.0.saturating_add(period_ms)))
        } else {
            deadline
        }
    }
}

/// What the last tick of a bucket said, and when that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastTick {
    /// By Redis's clock.
    pub(super) at: Timestamp,
    /// Its number.
    pub(super) seq: u64,
    /// By a stopwatch.
    pub(super) heard: Instant,
    /// How far the time of the bucket is ahead of Redis's clock.
    pub(super) shift_ms: u64,
}

#[derive(Debug, Default)]
struct CachedBucket {
    generation: AtomicU64,
    revision: AtomicU64,
    /// The revision that Redis has, as was heard last.
    present_revision: AtomicU64,
    /// All changes of pools up to this version were read.
    seen: AtomicU64,
    policies: Mutex<Pools>,
    ticked: Mutex<Option<LastTick>>,
    /// Those that Redis lost and that were not put back yet. Apart from `policies`, which follow what Redis has.
    lost: Mutex<Pools>,
}

impl PoolCache {
    /// Remembers nothing yet.
    pub(super) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| CachedBucket::default()).collect(),
            offset: AtomicI64::new(0),
            began: Instant::now(),
            silence: Mutex::default(),
        }
    }

    /// The generation that this node knows; 0 for none.
    pub(super) fn generation(&self, bucket: Bucket) -> u64 {
        self.buckets[bucket.index()]
            .generation
            .load(Ordering::Acquire)
    }

    /// Notes a generation and returns the one before.
    pub(super) fn set_generation(&self, bucket: Bucket, generation: u64) -> u64 {
        let memory = &self.buckets[bucket.index()];
        let before = memory.generation.swap(generation, Ordering::AcqRel);
        if before != generation {
            // What other nodes put back is older than what was read before.
            memory.seen.store(0, Ordering::Release);
            let all = self.buckets.iter();
            let newest = all.map(|memory| memory.generation.load(Ordering::Acquire));
            metrics::gauge!(telemetry::GENERATION).set(newest.max().unwrap_or(0) as f64 / 1e3);
        }
        before
    }

    /// Notes that Redis lost a bucket: what is known of its pools has to be put back. Returns how many that are.
    pub(super) fn lose(&self, bucket: Bucket) -> usize {
        let known = self.policies(bucket);
        let mut lost = self.lost(bucket);
        for (name, pool) in known {
            if lost
                .get(&name)
                .is_none_or(|older| older.version < pool.version)
            {
                lost.insert(name, pool);
            }
        }
        lost.len()
    }

    /// What has to be put back into a bucket.
    pub(super) fn lost(&self, bucket: Bucket) -> MutexGuard<'_, Pools> {
        let memory = &self.buckets[bucket.index()];
        memory.lost.lock().expect("no panic while held")
    }

    /// The revision that the policies here are from.
    pub(super) fn revision(&self, bucket: Bucket) -> u64 {
        self.buckets[bucket.index()]
            .revision
            .load(Ordering::Acquire)
    }

    /// The revision that Redis has, as was heard last.
    pub(super) fn present_revision(&self, bucket: Bucket) -> u64 {
        self.buckets[bucket.index()]
            .present_revision
            .load(Ordering::Acquire)
    }

    /// Whether all pools of a bucket are known, as far as was heard.
    pub(super) fn knows_all_pools(&self, bucket: Bucket) -> bool {
        self.revision(bucket) == self.present_revision(bucket)
    }

    /// Notes the revision that Redis has.
    pub(super) fn note_revision(&self, bucket: Bucket, revision: u64) {
        self.buckets[bucket.index()]
            .present_revision
            .store(revision, Ordering::Release);
    }

    /// Up to which version all changes of the bucket's pools were read. Not the highest version that is known: a
    /// pool that was asked for may have been changed after another one that was not read yet.
    pub(super) fn seen(&self, bucket: Bucket) -> u64 {
        self.buckets[bucket.index()].seen.load(Ordering::Acquire)
    }

    /// Forgets all pools of a bucket but these, and notes how far its changes were read.
    pub(super) fn keep(&self, bucket: Bucket, names: &HashSet<PoolName>, revision: u64, seen: u64) {
        let memory = &self.buckets[bucket.index()];
        memory
            .policies
            .lock()
            .expect("no panic while held")
            .retain(|name, _| names.contains(name));
        memory.seen.store(seen, Ordering::Release);
        memory.revision.store(revision, Ordering::Release);
    }

    /// Notes one pool that this node has just changed or read.
    pub(super) fn note(&self, pool: &PoolName, version: u64, incarnation: u64, policy: &Policy) {
        let mut policies = self.buckets[Bucket::of(pool).index()]
            .policies
            .lock()
            .expect("no panic while held");
        // Two answers may come in the wrong order.
        let known = policies.get(pool);
        let reads_details = known.is_some_and(|known| known.reads_details);
        if known.is_none_or(|known| known.version < version) {
            let remembered = CachedPool {
                version,
                incarnation,
                policy: Arc::new(policy.clone()),
                reads_details,
            };
            policies.insert(pool.clone(), remembered);
        }
    }

    /// A pool when this node last looked.
    pub(super) fn pool(&self, pool: &PoolName) -> Option<CachedPool> {
        self.buckets[Bucket::of(pool).index()]
            .policies
            .lock()
            .expect("no panic while held")
            .get(pool)
            .cloned()
    }

    /// Forgets a pool that was deleted.
    pub(super) fn forget(&self, pool: &PoolName) {
        self.buckets[Bucket::of(pool).index()]
            .policies
            .lock()
            .expect("no panic while held")
            .remove(pool);
    }

    /// Something of a pool as it was when this node last looked; `None` if it does not know the pool.
    pub(super) fn with_pool<T>(
        &self,
        pool: &PoolName,
        of: impl FnOnce(&CachedPool) -> T,
    ) -> Option<T> {
        let policies = self.buckets[Bucket::of(pool).index()]
            .policies
            .lock()
            .expect("no panic while held");
        policies.get(pool).map(of)
    }

    /// Notes whether heartbeats of a pool have to read the records.
    pub(super) fn set_reads_details(&self, pool: &PoolName, reads_details: bool) {
        let mut policies = self.buckets[Bucket::of(pool).index()]
            .policies
            .lock()
            .expect("no panic while held");
        if let Some(known) = policies.get_mut(pool) {
            known.reads_details = reads_details;
        }
    }

    /// The names of all pools that are known.
    pub(super) fn pools(&self) -> Vec<PoolName> {
        Bucket::all()
            .flat_map(|bucket| self.policies(bucket).into_keys())
            .collect()
    }

    /// What is known of a bucket's pools.
    pub(super) fn policies(&self, bucket: Bucket) -> Pools {
        self.buckets[bucket.index()]
            .policies
            .lock()
            .expect("no panic while held")
            .clone()
    }

    /// What the last tick of a bucket said.
    pub(super) fn last_tick(&self, bucket: Bucket) -> Option<LastTick> {
        let ticked = &self.buckets[bucket.index()].ticked;
        *ticked.lock().expect("no panic while held")
    }

    /// Notes what a tick says, and the last silence that it knows of.
    pub(super) fn note_tick(&self, bucket: Bucket, tick: LastTick, silence: Silence) {
        let ticked = &self.buckets[bucket.index()].ticked;
        *ticked.lock().expect("no panic while held") = Some(tick);
        let mut last = self.silence.lock().expect("no panic while held");
        if last.back < silence.back {
            *last = silence;
        }
    }

    /// The last silence that any bucket knows of.
    pub(super) fn silence(&self) -> Silence {
        *self.silence.lock().expect("no panic while held")
    }

    /// How far the time of the bucket that is furthest ahead is ahead of Redis's clock.
    pub(super) fn shift_ms(&self) -> u64 {
        let ticks = Bucket::all().filter_map(|bucket| self.last_tick(bucket));
        ticks.map(|tick| tick.shift_ms).max().unwrap_or(0)
    }

    /// Notes an instant that Redis has just named.
    pub(super) fn set_now(&self, now: Timestamp) {
        self.offset.store(now.0 - self.elapsed(), Ordering::Relaxed);
    }

    /// About what Redis's clock says, from its last answer. Good enough for the age of a token and for when
    /// a record is worth a refresh; nothing about a lease is decided by it.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.offset.load(Ordering::Relaxed) + self.elapsed())
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
