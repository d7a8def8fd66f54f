//! Live leases with real tokens, made through the library: over HTTP a million would take minutes.
//!
//! The age of a lease decides whether a beat also refreshes its record (one window of one TTL in every five minutes), and
//! all leases of a bench are young. So the tokens are signed with ages that are spread over the last five minutes, as they
//! are where leases did not all begin at once: about a quarter of the beats refresh.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leasehold::names::PoolName;
use leasehold::pool::Policy;
use leasehold::store::{AcquireRequest, Acquired, Expect, Grant, Renewal, Renewed, Store};
use leasehold::token::{Claims, Tokens};
use secrecy::SecretString;

use crate::node::SECRET;

/// Acquires and calls that are under way at a time.
const AT_ONCE: usize = 64;
/// So long after their last beat leases are kept alive between two rows; their TTL is 60 s.
const KEEP_AFTER: Duration = Duration::from_secs(20);

/// A set of live leases.
pub(crate) struct Population {
    store: Store,
    /// What the leases' tokens say.
    pub(crate) renewals: Vec<Renewal>,
    kept: Instant,
}

/// Makes pools of this capacity, named `prefix` and a number of four digits.
pub(crate) async fn pools(
    store: &Store,
    prefix: &str,
    count: usize,
    capacity: u32,
) -> Vec<PoolName> {
    let mut pools = Vec::with_capacity(count);
    for number in 0..count {
        let name: PoolName = format!("{prefix}{number:04}")
            .parse()
            .expect("a plain name");
        let policy = Policy::with_capacity(capacity);
        store
            .put_pool(&name, &policy, Expect::Any)
            .await
            .expect("Redis runs");
        pools.push(name);
    }
    pools
}

impl Population {
    /// Acquires `count` leases, spread evenly over the pools, for holders of twelve characters.
    pub(crate) async fn acquire(store: &Store, pools: &[PoolName], count: usize) -> Self {
        let mut population = Self {
            store: store.clone(),
            renewals: Vec::with_capacity(count),
            kept: Instant::now(),
        };
        while population.renewals.len() < count {
            let begin = population.renewals.len();
            let end = count.min(begin + 50_000);
            let mut grants = acquire(store, pools, begin, end).await;
            population.renewals.append(&mut grants);
            // A million takes longer than a TTL.
            population.keep().await;
        }
        population
    }

    /// Renews all, unless that was done lately. None may be lost.
    pub(crate) async fn keep(&mut self) {
        if self.kept.elapsed() > KEEP_AFTER {
            self.renew().await;
        }
    }

    /// Renews all.
    pub(crate) async fn renew(&mut self) {
        self.kept = Instant::now();
        let chunks: Arc<Vec<Vec<Renewal>>> =
            Arc::new(self.renewals.chunks(1_000).map(<[_]>::to_vec).collect());
        let next = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (store, chunks, next) = (self.store.clone(), chunks.clone(), next.clone());
                tokio::spawn(async move {
                    while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        for renewed in store.renew_many(chunk).await {
                            assert!(
                                matches!(renewed, Ok(Renewed::Renewed(_))),
                                "a lease was not kept alive: {renewed:?}"
                            );
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no lease is lost");
        }
    }

    /// Writes the tokens, one per line; at most `most`, at equal distances.
    pub(crate) fn write_tokens(&self, path: &Path, most: usize) {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
        let distance = self.renewals.len().div_ceil(most).max(1);
        for token in self.tokens().iter().step_by(distance) {
            writeln!(file, "{token}").expect("room on the disk");
        }
    }

    /// Writes bodies for renew-many, each with `each` tokens.
    pub(crate) fn write_bodies(&self, path: &Path, tokens: usize) {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
        for chunk in self.tokens().chunks_exact(tokens) {
            writeln!(file, "{{\"tokens\":[\"{}\"]}}", chunk.join("\",\""))
                .expect("room on the disk");
        }
    }

    /// The tokens of all.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let tokens = Tokens::new(&SecretString::from(SECRET), []);
        self.renewals
            .iter()
            .map(|renewal| tokens.sign(&renewal.claims))
            .collect()
    }
}

async fn acquire(store: &Store, pools: &[PoolName], begin: usize, end: usize) -> Vec<Renewal> {
    let pools: Arc<[PoolName]> = pools.into();
    let next = Arc::new(AtomicUsize::new(begin));
    let renewals = Arc::new(Mutex::new(Vec::with_capacity(end - begin)));
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (store, pools, next) = (store.clone(), pools.clone(), next.clone());
            let renewals = renewals.clone();
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return;
                    }
                    let asked = AcquireRequest {
                        holder: format!("agent-{:06}", number % 1_000_000).try_into().ok(),
                        ..AcquireRequest::default()
                    };
                    let pool = &pools[number % pools.len()];
                    match store.acquire(pool, &asked).await {
                        Ok(Acquired::Granted(grant)) => {
                            let renewal = renewal(grant);
                            renewals.lock().expect("no panic").push(renewal);
                        }
                        other => panic!("no seat for the bench: {other:?}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("every lease is granted");
    }
    Arc::into_inner(renewals)
        .expect("all tasks have ended")
        .into_inner()
        .expect("no panic")
}

fn renewal(grant: Grant) -> Renewal {
    let age_ms: i64 = rand::random_range(0..300_000);
    let lease = grant.lease;
    Renewal {
        claims: Claims {
            id: lease.id,
            pool: lease.pool,
            generation: grant.generation,
            holder: lease.holder,
            tenant: None,
            label: None,
            platform: None,
            seat: lease.seat,
            fence: lease.fence,
            started_at: leasehold::time::Timestamp(lease.started_at.0 - age_ms),
            issued_at: grant.at,
            details: false,
        },
        label: None,
        activities: None,
        grace_used_ms: None,
        idle: None,
    }
}
