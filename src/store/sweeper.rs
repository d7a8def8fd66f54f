//! The sign of life, and the recording of ends that nobody asked for.
//!
//! Each bucket has one node that does this, each second ([`super::ownership`]); where two do, they do not get in each other's way.
//! Nothing else waits for it: a seat whose time is over is free for the next acquire whether or not a sweep has been there.

use std::collections::HashMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::task::JoinHandle;

use super::clock_shift::ClockShift;
use super::error::Error;
use super::keys::{Bucket, Keys};
use super::meters::EndKind;
use super::ownership::{BucketMark, LOOKS, Marks};
use super::pool_cache::{LastTick, Silence};
use super::scripts;
use super::scripts::finalize_ends::How;
use super::{Shared, Store};
use crate::names::{LeaseId, PoolName};
use crate::tasks::Over;
use crate::time::{Timestamp, millis};
use crate::token;

/// Pools of a bucket that one tick names.
const POOLS: usize = 64;
/// Maximum leases that one call ends; well under a millisecond of Redis's time.
const LEASES: usize = 64;
/// Buckets that are ticked at the same time.
const AT_ONCE: usize = 4;
/// Age at which events are dropped.
const EVENTS: Duration = Duration::from_secs(35 * 24 * 60 * 60);

/// Ticks the buckets of this node until the store is dropped, and has done what the ticks find to do.
///
/// The work does not hold up the ticks: a silence of some seconds counts as an outage, however busy the node was.
pub(super) async fn run(store: Weak<Shared>, every: Duration) -> Over {
    let mut interval = tokio::time::interval(every / LOOKS);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut work: Option<JoinHandle<()>> = None;
    let mut shift = ClockShift::default();
    let mut marks: Option<Marks> = None;
    loop {
        interval.tick().await;
        let Some(store) = store.upgrade().map(Store) else {
            return Over;
        };
        if let Some(done) = work.take_if(|work| work.is_finished())
            && let Err(error) = done.await
            && let Ok(panic) = error.try_into_panic()
        {
            // It is a failure of this task, to be counted as one.
            std::panic::resume_unwind(panic);
        }
        let asked = Instant::now();
        let marks = marks.get_or_insert_with(|| Marks::new(store.node_id(), every, asked));
        store.follow_marks(marks).await;
        let round = store.tick_due(marks).await;
        shift.note(store.0.pool_cache.shift_ms());
        if work.is_some() {
            continue;
        }
        let todo = store.todo(round.replies);
        if todo.is_empty() {
            if round.is_whole {
                store.0.meters.caught_up(asked);
            }
            continue;
        }
        work = Some(tokio::spawn(async move {
            let done = store.work(todo).await;
            if round.is_whole && done {
                store.0.meters.caught_up(asked);
            }
        }));
    }
}

/// What a tick says of its bucket.
pub(super) struct TickReply {
    bucket: Bucket,
    /// Pools with leases to end, at most [`POOLS`].
    due: Vec<PoolName>,
    /// Whether the alerts of any pool are to be evaluated.
    evaluates: bool,
    /// What other nodes are told of it.
    mark: BucketMark,
}

/// The ticks of one look.
struct Round {
    replies: Vec<TickReply>,
    /// Whether there was anything to tick, and all of it was.
    is_whole: bool,
}

/// What is to do in a bucket.
struct Todo {
    bucket: Bucket,
    due: Vec<PoolName>,
}

impl Store {
    /// Learns of the buckets of other nodes what it learns of its own from their ticks.
    async fn follow_marks(&self, marks: &mut Marks) {
        for (bucket, mark) in self.read_marks(marks).await {
            // It may have been written before the last tick of this node.
            let last = self.0.pool_cache.last_tick(bucket);
            if last.is_some_and(|last| mark.tick.at < last.at) {
                continue;
            }
            self.0.pool_cache.note_tick(bucket, mark.tick, mark.silence);
            self.0.pool_cache.note_revision(bucket, mark.revision);
            if let Err(error) = self.note_generation(bucket, mark.generation).await {
                tracing::debug!(bucket = bucket.index(), error = %error, "the bucket is not opened: {error}");
            }
        }
    }

    /// Ticks the buckets of this node, and one at each master: so it notices in time that Redis does not work for it. A
    /// bucket that fails is left for the next round, which is soon; the log has it already. Buckets may be on several servers,
    /// so one that fails does not keep the others from their sign of life.
    async fn tick_due(&self, marks: &mut Marks) -> Round {
        let tried = self.0.connections.one_bucket_of_each_master();
        let wanted = Bucket::all().filter(|bucket| self.owns(*bucket) || tried.contains(bucket));
        let due = marks.due(wanted, Instant::now());
        let ticks = stream::iter(due).map(async |bucket| (bucket, self.tick(bucket).await));
        let ticked: Vec<_> = ticks.buffer_unordered(AT_ONCE).collect().await;
        let is_whole = !ticked.is_empty() && ticked.iter().all(|(_, reply)| reply.is_ok());
        let now = Instant::now();
        let mut replies = Vec::with_capacity(ticked.len());
        for (bucket, reply) in ticked {
            if let Ok(mut reply) = reply {
                marks.note_tick(bucket, now);
                if !self.owns(bucket) {
                    reply.due.clear();
                } else if reply.evaluates {
                    self.0.alert_looks.wake(bucket);
                }
                replies.push(reply);
            }
        }
        let ticked: Vec<(Bucket, BucketMark)> = replies
            .iter()
            .filter(|reply| self.owns(reply.bucket))
            .map(|reply| (reply.bucket, reply.mark.clone()))
            .collect();
        self.write_marks(marks, &ticked).await;
        Round { replies, is_whole }
    }

    /// The buckets in which there is something to do: what ticks found, pools to read, pools to put back.
    fn todo(&self, replies: Vec<TickReply>) -> Vec<Todo> {
        let mut due: HashMap<Bucket, Vec<PoolName>> = replies
            .into_iter()
            .map(|reply| (reply.bucket, reply.due))
            .collect();
        let todo = Bucket::all().map(|bucket| Todo {
            bucket,
            due: due.remove(&bucket).unwrap_or_default(),
        });
        todo.filter(|todo| {
            !self.0.pool_cache.knows_all_pools(todo.bucket)
                || !todo.due.is_empty()
                || !self.0.pool_cache.lost(todo.bucket).is_empty()
        })
        .collect()
    }

    /// Gives a sign of life for a bucket.
    pub(super) async fn tick(&self, bucket: Bucket) -> Result<TickReply, Error> {
        let last = self.0.pool_cache.last_tick(bucket);
        let tick = scripts::Tick {
            keys: bucket,
            limit: POOLS as u64,
            ticked: last.map_or(Timestamp(0), |last| last.at),
            // Less than really passed in Redis, never more: from the answer to the question.
            waited: last.map_or(Duration::ZERO, |last| last.heard.elapsed()),
            last_seq: last.map_or(0, |last| last.seq),
        };
        let reply = self.call(bucket, &tick).await?;
        let ticked = LastTick {
            at: reply.now,
            seq: reply.seq,
            heard: Instant::now(),
            shift_ms: millis(reply.shift),
        };
        let silence = Silence {
            floor: reply.floor,
            back: reply.back,
        };
        self.0.pool_cache.note_tick(bucket, ticked, silence);
        self.0.pool_cache.note_revision(bucket, reply.revision);
        self.note_generation(bucket, reply.generation).await?;
        Ok(TickReply {
            bucket,
            due: reply.pools.into_iter().map(|pool| pool.name).collect(),
            evaluates: reply.to_evaluate > 0,
            mark: self.mark_of(ticked, silence, reply.generation, reply.revision),
        })
    }

    /// If another node opened the bucket: says that data was lost, and puts back what this node knows. It is lost also if that
    /// does not get through now.
    async fn note_generation(&self, bucket: Bucket, generation: u64) -> Result<(), Error> {
        let known = self.0.pool_cache.generation(bucket);
        if generation == known {
            return Ok(());
        }
        super::within_deadline(self.open(bucket, known)).await
    }

    /// Reads changed pools, and ends what is due. Whatever fails in one bucket or pool is left for the next round and keeps no
    /// other from its turn; `false` if anything did.
    async fn work(&self, todo: Vec<Todo>) -> bool {
        let mut done = true;
        for Todo { bucket: at, due } in todo {
            let bucket = at.index();
            let mut note = |what: &str, result: Result<(), Error>| {
                if let Err(error) = result {
                    // Where Redis is away the log has it already.
                    tracing::debug!(bucket, error = %error, "{what}: {error}");
                    done = false;
                }
            };
            note("policies are not put back", self.put_back_pools(at).await);
            let revision = self.0.pool_cache.present_revision(at);
            if revision != self.0.pool_cache.revision(at) {
                let remembered = self.remember_pools(at, revision).await;
                note("policies are not read", remembered);
            }
            note("ends are not recorded", self.end_due(at, due).await);
        }
        done
    }

    /// Ends what is due in a bucket, pool by pool; the last error if there was one.
    async fn end_due(&self, bucket: Bucket, mut due: Vec<PoolName>) -> Result<(), Error> {
        let mut failure = None;
        loop {
            for pool in &self.postpone(bucket, &due).await? {
                if let Err(error) = self.sweep(pool).await {
                    failure = Some(error);
                }
            }
            // Those that failed would be named again and again.
            if due.len() < POOLS || failure.is_some() {
                return failure.map_or(Ok(()), Err);
            }
            due = self.tick(bucket).await?.due;
        }
    }

    /// Puts off the sweep of those pools of a bucket in which nothing is due, and returns the others.
    ///
    /// A pool in use is named by a tick once in a TTL, when the lease that expired first has long been renewed. Where
    /// thousands of small pools came at the same time, sweeps of their own would keep Redis busy for a second, again and again.
    async fn postpone(&self, bucket: Bucket, pools: &[PoolName]) -> Result<Vec<PoolName>, Error> {
        if pools.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<Keys> = pools.iter().map(Keys::of).collect();
        let rows = keys.iter().zip(pools);
        let rows: Vec<_> = rows
            .map(|(keys, name)| scripts::postpone::Pool { keys, name })
            .collect();
        let postpone = scripts::Postpone {
            keys: bucket,
            keep: EVENTS,
            pools: &rows,
        };
        let due = self.call(bucket, &postpone).await?.due_pools;
        Ok(due.into_iter().map(|pool| pool.name).collect())
    }

    /// Ends what is due in a pool, call after call, so that no other call waits long.
    pub(super) async fn sweep(&self, pool: &PoolName) -> Result<(), Error> {
        let keys = Keys::of(pool);
        let sweep = scripts::Sweep {
            keys: &keys,
            pool,
            limit: LEASES as u64,
            keep: EVENTS,
        };
        loop {
            let swept = self.call(keys.bucket, &sweep).await?;
            if swept.status == scripts::sweep::Status::Closed {
                return self.finish_deletion(pool).await;
            }
            self.count_true_denials(pool, swept.true_denials);
            if swept.leases.is_empty() {
                return Ok(());
            }
            let ids: Vec<LeaseId> = swept.leases.iter().map(|lease| lease.id).collect();
            self.finalize_ends(pool, &keys, &ids).await?;
            if ids.len() < LEASES {
                return Ok(());
            }
        }
    }

    /// Makes tombstones of the records of expired leases.
    async fn finalize_ends(
        &self,
        pool: &PoolName,
        keys: &Keys,
        ids: &[LeaseId],
    ) -> Result<(), Error> {
        let leases = ids
            .iter()
            .map(|id| scripts::finalize_ends::Lease { id: *id });
        let leases: Vec<_> = leases.collect();
        let finalize_ends = scripts::FinalizeEnds {
            keys,
            keep: token::LIFE,
            leases: &leases,
        };
        for lease in self.call(keys.bucket, &finalize_ends).await?.leases {
            let ended = match lease.how {
                Some(How::Expired) => EndKind::Expired,
                Some(How::Evicted) => EndKind::Evicted,
                Some(How::Idle) => EndKind::Idle,
                Some(How::MaxHold) => EndKind::MaxHold,
                Some(How::HandedOver) => EndKind::HandedOver,
                // Another node was here before.
                None => continue,
            };
            self.count_end(pool, ended, millis(lease.held));
        }
        Ok(())
    }
}
