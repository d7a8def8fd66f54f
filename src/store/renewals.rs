//! Heartbeats. They are the load, so those that arrive while others are under way go together ([`super::batcher`]): one script
//! call for each [`BATCH`] of beats, whatever their buckets are. A beat whose client is gone is dropped before it is sent.

use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::batcher::{Batched, Batcher, Waiting};
use super::error::{Error, Trouble};
use super::heartbeat::{Heartbeat, RECORD_MARGIN, RenewOutcome};
use super::keys::{Bucket, Keys};
use super::script::Change;
use super::scripts;
use super::scripts::renew;
use super::{Shared, Store};
use crate::names::{Label, PoolName};
use crate::telemetry;

/// Maximum of beats per call; about half a millisecond of Redis's time.
const BATCH: usize = 256;

/// Maximum of pools per call; a pool costs as much as several beats.
const POOLS: usize = 64;

/// How long a heartbeat waits for others, for each node that lives, and at most.
///
/// Each of many nodes has few heartbeats at a time, and one that travels alone costs Redis several times as much as one among others.
/// With this pause all nodes together make no more than some thousand calls a second, however many they are. A heartbeat has
/// seconds to spare.
const PAUSE_EACH: Duration = Duration::from_micros(600);
const MAX_PAUSE: Duration = Duration::from_millis(10);

/// Nodes among which no heartbeat waits.
const FEW_NODES: u32 = 2;

/// Heartbeats of one request that share calls with others where heartbeats wait; more of them are worth a call of their own.
const FEW_HEARTBEATS: usize = 64;

/// The lanes of heartbeats.
pub(super) struct Renewals {
    batcher: Batcher<Heartbeat>,
    /// Whether a call is for one bucket only.
    apart: AtomicBool,
}

impl Renewals {
    /// Starts the lanes.
    pub(super) fn start(lanes: usize, store: &Weak<Shared>) -> Self {
        Self {
            batcher: Batcher::start(lanes, store),
            apart: AtomicBool::new(lanes > 1),
        }
    }

    fn apart(&self) -> bool {
        self.apart.load(Ordering::Relaxed)
    }

    /// Puts a beat into its lane and waits for the answer.
    pub(super) async fn beat(
        &self,
        bucket: Bucket,
        beat: Heartbeat,
    ) -> Result<RenewOutcome, Error> {
        self.batcher.ask(bucket, beat).await
    }
}

impl Batched for Heartbeat {
    type Answer = RenewOutcome;

    const NAME: &'static str = "renewals";
    const ROUND: usize = 1024;

    fn pause(store: &Store) -> Duration {
        pause_among(store.live_nodes())
    }

    async fn send_round(store: &Store, mut round: Vec<Waiting<Self>>) {
        round.retain(|waiting| !waiting.is_abandoned());
        // The keys of one pool stand together in the call.
        round.sort_unstable_by(|a, b| {
            let place = |waiting: &Waiting<Self>| (waiting.bucket, waiting.request.watched);
            let (a_place, b_place) = (place(a), place(b));
            (a_place.0, &a.request.pool, a_place.1).cmp(&(b_place.0, &b.request.pool, b_place.1))
        });
        let mut calls = FuturesUnordered::new();
        while !round.is_empty() {
            let pools = round
                .iter()
                .map(|waiting| (&waiting.request.pool, waiting.request.watched));
            let size = size_of_call(pools, store.0.renewals.apart());
            let rest = round.split_off(size);
            let batch = std::mem::replace(&mut round, rest);
            calls.push(store.send_batch(batch));
        }
        while calls.next().await.is_some() {}
    }
}

/// How long a heartbeat waits for others where so many nodes live.
fn pause_among(nodes: u32) -> Duration {
    match nodes {
        0..=FEW_NODES => Duration::ZERO,
        _ => PAUSE_EACH.saturating_mul(nodes).min(MAX_PAUSE),
    }
}

/// How many of the first of these beats, sorted by bucket and pool, go into one call. Of each its pool is given, and whether the use of
/// its seats is watched.
fn size_of_call<'a>(
    pools_of_beats: impl Iterator<Item = (&'a PoolName, bool)>,
    apart: bool,
) -> usize {
    let (mut pools, mut last) = (0, None::<(&PoolName, bool)>);
    let fits = |next: &(&'a PoolName, bool)| {
        if last == Some(*next) {
            return true;
        }
        let crosses = last.is_some_and(|(last, watched)| {
            watched || next.1 || (apart && Bucket::of(last) != Bucket::of(next.0))
        });
        pools += 1;
        last = Some(*next);
        pools <= POOLS && !crosses
    };
    pools_of_beats.take(BATCH).take_while(fits).count()
}

impl Store {
    /// Sends beats in one call, and answers them.
    async fn send_batch(&self, batch: Vec<Waiting<Heartbeat>>) {
        let (beats, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|waiting| (waiting.request, waiting.answer))
            .unzip();
        metrics::histogram!(telemetry::RENEWALS_PER_CALL).record(beats.len() as f64);
        match self.renew_batch(&beats).await {
            Ok(beaten) => {
                for (answer, beaten) in answers.into_iter().zip(beaten) {
                    // A client that has gone away meanwhile has its seat renewed all the same.
                    let _ = answer.send(Ok(beaten));
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }

    /// Renews many beats, in as few calls as they go into. The answers are in the same order as `beats`, which are sorted by
    /// bucket and pool.
    pub(super) async fn renew_sorted(
        &self,
        beats: Vec<Heartbeat>,
    ) -> Vec<Result<RenewOutcome, Error>> {
        let waits = !pause_among(self.live_nodes()).is_zero();
        if waits && beats.len() < FEW_HEARTBEATS {
            let renewals = &self.0.renewals;
            let beats = beats
                .into_iter()
                .map(|beat| super::within_deadline(renewals.beat(Bucket::of(&beat.pool), beat)));
            return futures_util::future::join_all(beats).await;
        }
        let (mut calls, mut rest) = (Vec::new(), &beats[..]);
        while !rest.is_empty() {
            let pools = rest.iter().map(|beat| (&beat.pool, beat.watched));
            let size = size_of_call(pools, self.0.renewals.apart());
            let (batch, others) = rest.split_at(size);
            rest = others;
            calls.push(async move {
                match self.renew_batch(batch).await {
                    Ok(beaten) => beaten.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error); batch.len()],
                }
            });
        }
        futures_util::future::join_all(calls).await.concat()
    }

    /// The pool whose first beat is looked at; none if those of its bucket were lately. Any pool, or that with the first name
    /// would be looked at most.
    fn sample<'a>(&self, beats: &'a [Heartbeat]) -> Option<&'a PoolName> {
        let pool = &beats[rand::random_range(0..beats.len())].pool;
        let due = self.0.meters.takes_a_sample(Bucket::of(pool));
        due.then_some(pool)
    }

    /// Renews beats, and reads the records of those whose tokens may know less. The answers are in the same order.
    async fn renew_batch(&self, beats: &[Heartbeat]) -> Result<Vec<RenewOutcome>, Error> {
        let mut outcomes = self.renew_once(beats).await?;
        let unread: Vec<usize> = outcomes
            .iter()
            .zip(0..)
            .filter(|(outcome, _)| matches!(outcome, RenewOutcome::Renewed { unread: true, .. }))
            .map(|(_, place)| place)
            .collect();
        if !unread.is_empty() {
            // Only until this node has heard that in this pool it reads them at once.
            let again: Vec<Heartbeat> =
                unread.iter().map(|place| beats[*place].to_read()).collect();
            for (place, outcome) in unread.into_iter().zip(self.renew_once(&again).await?) {
                outcomes[place] = outcome;
            }
        }
        Ok(outcomes)
    }

    /// Renews beats in one call, or in one for each bucket where Redis wants that. The answers are in the same order.
    async fn renew_once(&self, beats: &[Heartbeat]) -> Result<Vec<RenewOutcome>, Error> {
        let sample = self.sample(beats);
        if beats.first().is_some_and(|beat| beat.watched) {
            return self.renew_by_rules(beats, sample.is_some()).await;
        }
        let error = match self.renew_at_once(beats, sample).await {
            Err(error) if error.trouble() == Some(Trouble::CrossSlot) => error,
            result => return result,
        };
        // A cluster behind one address: a server that has all slots, or somebody's proxy.
        if !self.0.renewals.apart.swap(true, Ordering::Relaxed) {
            tracing::info!("heartbeats of several buckets go apart from now on: {error}");
        }
        let mut beaten = Vec::with_capacity(beats.len());
        for beats in beats.chunk_by(|a, b| Bucket::of(&a.pool) == Bucket::of(&b.pool)) {
            beaten.append(&mut self.renew_at_once(beats, None).await?);
        }
        Ok(beaten)
    }

    /// Renews beats in one call, those of a bucket and of a pool together. The first one of the pool `sample` is also looked at:
    /// how late it is.
    async fn renew_at_once(
        &self,
        beats: &[Heartbeat],
        sample: Option<&PoolName>,
    ) -> Result<Vec<RenewOutcome>, Error> {
        let of_pools: Vec<&[Heartbeat]> = beats.chunk_by(|a, b| a.pool == b.pool).collect();
        let keys: Vec<Keys> = of_pools.iter().map(|of| Keys::of(&of[0].pool)).collect();
        let pools: Vec<renew::Pool<'_>> = of_pools
            .iter()
            .zip(&keys)
            .map(|(of, keys)| renew::Pool {
                keys,
                heartbeats: of.len() as u64,
            })
            .collect();
        let heartbeats: Vec<renew::Heartbeat> = beats
            .iter()
            .map(|beat| renew::Heartbeat { id: beat.id })
            .collect();
        let (mut touched, mut sampled) = (Vec::new(), None);
        let mut number = 0;
        for (pool, of) in of_pools.iter().enumerate() {
            for (position, beat) in of.iter().enumerate() {
                number += 1;
                // The record of the sampled one tells whether the lease was left, which would look like a late heartbeat.
                let is_sampled = position == 0 && sample == Some(&beat.pool);
                if is_sampled {
                    sampled = Some((pool, touched.len()));
                }
                if is_sampled || beat.record {
                    touched.push((pool, number, beat));
                }
            }
        }
        let activities: Vec<Option<String>> = touched
            .iter()
            .map(|(_, _, beat)| beat.activities.as_ref().map(super::json))
            .collect();
        let details: Vec<renew::Detail<'_>> = touched
            .iter()
            .zip(&activities)
            .map(|((pool, heartbeat, beat), activities)| renew::Detail {
                keys: &keys[*pool],
                pool: *pool as u64 + 1,
                heartbeat: *heartbeat,
                label: Change(beat.label.as_ref().map(Label::as_str)),
                activities: Change(activities.as_deref()),
                read: beat.details,
            })
            .collect();

        let call = scripts::Renew {
            margin: RECORD_MARGIN,
            sample: sampled.map_or(0, |(_, detail)| detail as u64 + 1),
            pools: &pools,
            details: &details,
            heartbeats: &heartbeats,
        };
        let reply = self.call(keys[0].bucket, &call).await?;
        if let (Some((pool, _)), Some(rest)) = (sampled, reply.rest) {
            self.0.meters.beaten(rest, reply.pools[pool].ttl);
        }

        let mut outcomes = Vec::with_capacity(beats.len());
        for (pool, of) in reply.pools.iter().zip(&of_pools) {
            self.note_unread(&of[0].pool, &pool.marks);
            outcomes.extend(pool.marks.bytes().map(|mark| match mark {
                b'1' | b'2' => RenewOutcome::Renewed {
                    at: pool.now,
                    seq: pool.seq,
                    ttl: pool.ttl,
                    details: None,
                    unread: mark == b'2',
                    ends: None,
                    requested: None,
                },
                _ => RenewOutcome::Unclear,
            }));
        }
        for ((_, heartbeat, beat), detail) in touched.iter().zip(reply.details) {
            if let Some(outcome) = outcomes.get_mut(*heartbeat as usize - 1) {
                outcome.note_details(beat, detail.known, (detail.label, detail.activities));
            }
        }
        if outcomes.len() == beats.len() {
            Ok(outcomes)
        } else {
            Err(Error::Broken(format!(
                "renew.lua answered about {} heartbeats of {}",
                outcomes.len(),
                beats.len()
            )))
        }
    }
}

impl Store {
    /// Notes, by the marks of heartbeats of a pool, whether the next ones have to read the records.
    pub(super) fn note_unread(&self, pool: &PoolName, marks: &str) {
        let reads_details = marks.contains('2');
        if reads_details || marks.contains('1') {
            self.0.pool_cache.set_reads_details(pool, reads_details);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_wait_for_others_only_among_many_nodes_and_never_long() {
        assert_eq!([0, 1, 2].map(pause_among), [Duration::ZERO; 3]);
        assert_eq!(pause_among(10), Duration::from_millis(6));
        assert_eq!([64, 1_000, u32::MAX].map(pause_among), [MAX_PAUSE; 3]);
    }

    #[test]
    fn a_call_takes_so_many_beats_and_pools_and_one_bucket_where_they_are_apart() {
        let mut pools: Vec<PoolName> = (0..100)
            .map(|number| format!("pool-{number}").parse().unwrap())
            .collect();
        pools.sort_by(|a, b| (Bucket::of(a), a).cmp(&(Bucket::of(b), b)));
        let plain =
            |pools: &[PoolName], apart| size_of_call(pools.iter().map(|pool| (pool, false)), apart);
        assert_eq!(plain(&pools, false), POOLS);
        assert_eq!(
            size_of_call(std::iter::repeat_n((&pools[0], false), 1_000), true),
            BATCH
        );
        assert_eq!(plain(&pools[..3], false), 3);
        let one_watched = |at: usize| {
            let pools = pools[..3].iter().enumerate();
            size_of_call(pools.map(|(number, pool)| (pool, number == at)), false)
        };
        assert_eq!((one_watched(0), one_watched(1), one_watched(2)), (1, 1, 2));

        let mut rest = &pools[..];
        while !rest.is_empty() {
            let (call, others) = rest.split_at(plain(rest, true));
            let bucket = Bucket::of(&call[0]);
            assert!(call.iter().all(|pool| Bucket::of(pool) == bucket));
            assert!(others.first().is_none_or(|pool| Bucket::of(pool) != bucket));
            rest = others;
        }
    }
}
