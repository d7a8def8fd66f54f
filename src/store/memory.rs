//! What a node remembers, so that it can notice that Redis lost data and put back what operators decided.
//!
//! Nothing here decides about a lease. A node that has forgotten everything serves as well; it only cannot help
//! to repair a loss that it has not seen happen.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant as Monotonic;

use super::keys::{BUCKETS, Bucket};
use crate::lease::Instant;
use crate::pool::{Policy, PoolName};

/// Policies of a bucket's pools, with their versions.
pub(super) type Policies = BTreeMap<PoolName, (u64, Policy)>;

/// One for each node.
#[derive(Debug)]
pub(super) struct Memory {
    buckets: Vec<BucketMemory>,
    /// Redis's clock minus the time since `began`, in ms.
    offset: AtomicI64,
    began: Monotonic,
}

#[derive(Debug, Default)]
struct BucketMemory {
    generation: AtomicU64,
    revision: AtomicU64,
    policies: Mutex<Policies>,
}

impl Memory {
    /// Remembers nothing yet.
    pub(super) fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| BucketMemory::default()).collect(),
            offset: AtomicI64::new(0),
            began: Monotonic::now(),
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
        self.buckets[bucket.index()]
            .generation
            .swap(generation, Ordering::AcqRel)
    }

    /// The revision that the policies here are from.
    pub(super) fn revision(&self, bucket: Bucket) -> u64 {
        self.buckets[bucket.index()]
            .revision
            .load(Ordering::Acquire)
    }

    /// Replaces what is known of a bucket's pools.
    pub(super) fn set_policies(&self, bucket: Bucket, revision: u64, policies: Policies) {
        let memory = &self.buckets[bucket.index()];
        *memory.policies.lock().expect("no panic while held") = policies;
        memory.revision.store(revision, Ordering::Release);
    }

    /// Notes one pool that this node has just changed.
    pub(super) fn note(&self, pool: &PoolName, version: u64, policy: &Policy) {
        let mut policies = self.buckets[Bucket::of(pool).index()]
            .policies
            .lock()
            .expect("no panic while held");
        policies.insert(pool.clone(), (version, policy.clone()));
    }

    /// Forgets a pool that was deleted.
    pub(super) fn forget(&self, pool: &PoolName) {
        self.buckets[Bucket::of(pool).index()]
            .policies
            .lock()
            .expect("no panic while held")
            .remove(pool);
    }

    /// The TTL that a pool had when this node last looked; `None` if it does not know the pool.
    pub(super) fn ttl_ms(&self, pool: &PoolName) -> Option<u64> {
        let policies = self.buckets[Bucket::of(pool).index()]
            .policies
            .lock()
            .expect("no panic while held");
        policies.get(pool).map(|(_, policy)| policy.ttl_ms)
    }

    /// The names of all pools that are known.
    pub(super) fn pools(&self) -> Vec<PoolName> {
        Bucket::all()
            .flat_map(|bucket| self.policies(bucket).into_keys())
            .collect()
    }

    /// What is known of a bucket's pools.
    pub(super) fn policies(&self, bucket: Bucket) -> Policies {
        self.buckets[bucket.index()]
            .policies
            .lock()
            .expect("no panic while held")
            .clone()
    }

    /// Notes an instant that Redis has just named.
    pub(super) fn set_now(&self, now: Instant) {
        self.offset.store(now.0 - self.elapsed(), Ordering::Relaxed);
    }

    /// About what Redis's clock says, from its last answer. Good enough for the age of a token and for when
    /// a record is worth a refresh; nothing about a lease is decided by it.
    pub(super) fn now(&self) -> Instant {
        Instant(self.offset.load(Ordering::Relaxed) + self.elapsed())
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
