//! What a node counts of each pool, for Prometheus.
//!
//! Counters are this node's own, so they are added up over the nodes. What a pool looks like now is read from Redis, by the one node
//! that does the background work of its bucket: a sum over all nodes counts it once, and Redis is asked once. It is
//! asked for when somebody reads the metrics, at most every [`FRESH`], and what could not be
//! read is left out: nothing old is shown as if it were new. Only a limited number of pools have series of their own
//! ([`super::Options::metrics_max_pools`]); the others are counted together. Deliberately absent: labels for holders and
//! tenants, whose number nobody bounds.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use metrics::{Histogram, histogram};

use super::acquire::Acquired;
use super::keys::{BUCKETS, Bucket};
use super::{Error, Store};
use crate::names::PoolName;
use crate::pool::Pool;
use crate::telemetry;
use crate::time::millis;

/// The pool of what is counted together. A pool of this name is counted with it, so that no series is there twice.
pub(crate) const OTHERS: &str = "_other";

/// A pool is read anew when what is known of it is older than this.
const FRESH: Duration = Duration::from_secs(5);

/// Maximum time for reading all pools. A scrape waits for it, and has ten seconds as a rule.
const READ: Duration = Duration::from_secs(3);

/// Pools that are read at the same time.
const AT_ONCE: usize = 4;

/// At most one heartbeat of a bucket is looked at in this time. Looking costs Redis two commands more.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// What became of a request for a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcquireOutcome {
    Granted,
    Existing,
    Queued,
    Denied,
    Closed,
    Error,
}

impl AcquireOutcome {
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Granted, "granted"),
        (Self::Existing, "existing"),
        (Self::Queued, "queued"),
        (Self::Denied, "denied"),
        (Self::Closed, "closed"),
        (Self::Error, "error"),
    ];

    /// None for what is no request to a pool: there is no such pool.
    fn of(acquired: &Result<Acquired, Error>) -> Option<Self> {
        Some(match acquired {
            Ok(Acquired::Granted(_)) => Self::Granted,
            Ok(Acquired::Existing(_)) => Self::Existing,
            Ok(Acquired::Queued { .. }) => Self::Queued,
            Ok(
                Acquired::PoolFull(_)
                | Acquired::TenantFull(..)
                | Acquired::NamedSeatsExhausted(_)
                | Acquired::QueueFull(_)
                | Acquired::HolderBlocked(..)
                | Acquired::PlatformNotLicensed(_)
                | Acquired::TicketExpired
                | Acquired::ForeignTicket,
            ) => Self::Denied,
            Ok(Acquired::Maintenance(..) | Acquired::Recovering { .. }) => Self::Closed,
            Ok(Acquired::Changed) | Err(_) => Self::Error,
            Ok(Acquired::NoPool) => return None,
        })
    }
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndKind {
    Released,
    Expired,
    Terminated,
    Evicted,
    Idle,
    MaxHold,
    HandedOver,
}

impl EndKind {
    pub(crate) const ALL: [(Self, &'static str); 7] = [
        (Self::Released, "released"),
        (Self::Expired, "expired"),
        (Self::Terminated, "terminated"),
        (Self::Evicted, "evicted"),
        (Self::Idle, "idle"),
        (Self::MaxHold, "max_hold"),
        (Self::HandedOver, "handed_over"),
    ];
}

/// What this node counted of one pool since it knows it, or of all that have no series of their own.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    acquires: [AtomicU64; AcquireOutcome::ALL.len()],
    ends: [AtomicU64; EndKind::ALL.len()],
    resumes: AtomicU64,
    true_denials: AtomicU64,
}

impl Counts {
    pub(crate) fn acquires(&self, outcome: AcquireOutcome) -> u64 {
        self.acquires[outcome as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn ends(&self, ended: EndKind) -> u64 {
        self.ends[ended as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn resumes(&self) -> u64 {
        self.resumes.load(Ordering::Relaxed)
    }

    pub(crate) fn true_denials(&self) -> u64 {
        self.true_denials.load(Ordering::Relaxed)
    }

    fn counts_anything(&self) -> bool {
        let counts = self.acquires.iter().chain(&self.ends);
        let more = [&self.resumes, &self.true_denials];
        counts
            .chain(more)
            .any(|count| count.load(Ordering::Relaxed) > 0)
    }
}

/// The series of one pool.
pub(crate) struct Series {
    /// None for all pools that have none of their own.
    pub(crate) name: Option<PoolName>,
    pub(crate) counts: Arc<Counts>,
    /// How the pool is now; none if it could not be read, or never was because another node does that or it is not one pool.
    pub(crate) now: Option<Pool>,
}

/// One for each node.
pub(super) struct Meters {
    most: usize,
    own: RwLock<HashMap<PoolName, Arc<Counts>>>,
    others: Arc<Counts>,
    duration: Histogram,
    lateness: Histogram,
    began: Instant,
    /// By bucket, when the next heartbeat is looked at, in ms since `began`.
    next_sample: Vec<AtomicU64>,
    /// When all that was due was last known to be recorded, in ms since `began`.
    caught_up: AtomicU64,
    read: tokio::sync::Mutex<Option<(Instant, Vec<Pool>)>>,
}

impl Meters {
    /// With series for up to `pools` pools.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            own: RwLock::default(),
            others: Arc::default(),
            duration: histogram!(telemetry::LEASE_DURATION),
            lateness: histogram!(telemetry::HEARTBEAT_LATENESS),
            began: Instant::now(),
            next_sample: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            caught_up: AtomicU64::new(0),
            read: tokio::sync::Mutex::default(),
        }
    }

    fn elapsed_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// Whether the next heartbeat of a bucket is one to look at.
    pub(super) fn takes_a_sample(&self, bucket: Bucket) -> bool {
        let (now, next) = (self.elapsed_ms(), &self.next_sample[bucket.index()]);
        let due = next.load(Ordering::Relaxed);
        let after = now + millis(SAMPLE_EVERY);
        now >= due
            && next
                .compare_exchange(due, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Notes a heartbeat without which the lease would have ended after `rest_ms`, of a pool with this TTL.
    pub(super) fn beaten(&self, rest_ms: i64, ttl: Duration) {
        let interval = ttl.as_millis() as f64 / 3.0;
        if interval > 0.0 {
            let waited = ttl.as_millis() as f64 - rest_ms as f64;
            self.lateness.record((waited / interval - 1.0).max(0.0));
        }
    }

    fn held(&self, held_ms: u64) {
        self.duration.record(held_ms as f64 / 1_000.0);
    }

    /// Notes that all that was due at `at` is recorded.
    pub(super) fn caught_up(&self, at: Instant) {
        let at = at.saturating_duration_since(self.began).as_millis();
        self.caught_up
            .fetch_max(u64::try_from(at).unwrap_or(0), Ordering::Relaxed);
    }

    /// How long ago all that was due was last known to be recorded.
    pub(super) fn behind(&self) -> Duration {
        let at = self.caught_up.load(Ordering::Relaxed);
        Duration::from_millis(self.elapsed_ms().saturating_sub(at))
    }
}

impl Store {
    /// The counts of a pool. A name that the node does not know may be anything that a client made up: it gets no series.
    fn counts(&self, pool: &PoolName) -> Arc<Counts> {
        let meters = &self.0.meters;
        if let Some(counts) = meters.own.read().expect("no panic while held").get(pool) {
            return Arc::clone(counts);
        }
        if pool.as_str() == OTHERS || self.0.pool_cache.pool(pool).is_none() {
            return Arc::clone(&meters.others);
        }
        let mut own = meters.own.write().expect("no panic while held");
        if own.len() >= meters.most && !own.contains_key(pool) {
            return Arc::clone(&meters.others);
        }
        Arc::clone(own.entry(pool.clone()).or_default())
    }

    /// Counts what became of a request for a seat.
    pub(crate) fn count_acquire(&self, pool: &PoolName, acquired: &Result<Acquired, Error>) {
        if let Some(outcome) = AcquireOutcome::of(acquired) {
            self.counts(pool).acquires[outcome as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts an end of a lease, and for how long it was held.
    pub(super) fn count_end(&self, pool: &PoolName, ended: EndKind, held_ms: u64) {
        self.counts(pool).ends[ended as usize].fetch_add(1, Ordering::Relaxed);
        self.0.meters.held(held_ms);
    }

    /// Counts a lease that had expired and has its seat again.
    pub(super) fn count_resume(&self, pool: &PoolName) {
        self.counts(pool).resumes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts holders that were denied for two minutes and got no seat.
    pub(super) fn count_true_denials(&self, pool: &PoolName, holders: u64) {
        if holders > 0 {
            self.counts(pool)
                .true_denials
                .fetch_add(holders, Ordering::Relaxed);
        }
    }

    /// How long this node is behind with recording ends; none for a node that leaves that to others.
    pub(crate) fn sweeper_lag(&self) -> Option<Duration> {
        self.0.sweeps.then(|| self.0.meters.behind())
    }

    /// The series of all pools, by name, and last, if there are such, those of all that have none of their own.
    pub(crate) async fn series(&self) -> Vec<Series> {
        let mut names = self.known_pools();
        names.sort_unstable();
        for name in names.iter().take(self.0.meters.most) {
            self.counts(name);
        }
        let meters = &self.0.meters;
        let there: HashSet<PoolName> = names.into_iter().collect();
        let mut series: Vec<Series> = {
            let mut own = meters.own.write().expect("no panic while held");
            own.retain(|name, _| there.contains(name));
            let series = own.iter().map(|(name, counts)| Series {
                name: Some(name.clone()),
                counts: Arc::clone(counts),
                now: None,
            });
            series.collect()
        };
        series.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let is_own = |name: &&PoolName| self.owns(Bucket::of(name));
        let own = series.iter().filter_map(|series| series.name.as_ref());
        let names: Vec<PoolName> = own.filter(is_own).cloned().collect();
        let mut read = self.read_pools(names).await;
        for series in &mut series {
            let own = series.name.as_ref().filter(is_own);
            series.now = own.and_then(|name| read.remove(name));
        }
        let others = Arc::clone(&meters.others);
        if there.len() > meters.most || others.counts_anything() {
            series.push(Series {
                name: None,
                counts: others,
                now: None,
            });
        }
        series
    }

    /// Pools as they are now, or were a few seconds ago. What Redis does not answer for is left out.
    async fn read_pools(&self, names: Vec<PoolName>) -> HashMap<PoolName, Pool> {
        // Two that ask at once share what the first one reads.
        let mut kept = self.0.meters.read.lock().await;
        if kept.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
            let reads = names
                .into_iter()
                .map(|name| async move { self.status(&name).await.ok().flatten() });
            let reads = stream::iter(reads).buffer_unordered(AT_ONCE);
            let mut pools = Vec::new();
            let enough = tokio::time::sleep(READ);
            let mut reads = std::pin::pin!(reads.take_until(enough));
            while let Some(pool) = reads.next().await {
                pools.extend(pool);
            }
            *kept = Some((Instant::now(), pools));
        }
        let (_, pools) = kept.as_ref().expect("it was there or is now");
        pools
            .iter()
            .map(|pool| (pool.name.clone(), pool.clone()))
            .collect()
    }
}
