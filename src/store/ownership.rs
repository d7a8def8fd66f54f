//! Which node does the background work of a bucket: ticks, sweeps, alerts, roll-ups.
//!
//! It decides nothing. All of that work may run on any number of nodes at once, and where nobody does it for a moment it
//! is late and nothing else. So there is no lock and no leader.
//!
//! Every node keeps a mark in one hash, and another one for each bucket that it has ticked; all of them change with every
//! tick. A node whose mark stands still is taken for dead, by the observer's stopwatch and nobody's clock. A bucket belongs
//! to the live node whose hash with it is the greatest (rendezvous hashing), so what a node leaves is spread over all others.
//! A node that cannot read the marks works for all buckets, as it does when it is alone.
//!
//! Marks of buckets are read at every look. Those of nodes are read less often the more nodes there are, or the cost of all
//! looks would grow with the square of their number; until then an owner whose bucket stands still is left out.

mod marks;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use self::marks::NODE;
pub(super) use self::marks::{BucketMark, Marks};
use super::Store;
use super::error::Error;
use super::keys::{BUCKETS, Bucket, MARKS};
use super::pool_cache::{LastTick, Silence};

/// Looks at the marks between two ticks of a bucket.
pub(super) const LOOKS: u32 = 4;

/// Which buckets this node works for; shared with whoever does that work.
#[derive(Debug)]
pub(super) struct Owned {
    buckets: AtomicU32,
    /// Of each bucket, grows when what is due in it may not be noted: see [`Store::look_of`].
    looks: [AtomicU64; BUCKETS as usize],
    /// Whether the node stops and takes no part any more.
    left: AtomicBool,
    /// Nodes that live, this one among them, as it saw last.
    live: AtomicU32,
}

impl Owned {
    /// A node that does not sweep takes no part: it does whatever else it is asked for all buckets.
    pub(super) fn new(sweeps: bool) -> Self {
        Self {
            buckets: AtomicU32::new(if sweeps { 0 } else { u32::MAX }),
            looks: std::array::from_fn(|_| AtomicU64::new(1)),
            left: AtomicBool::new(false),
            live: AtomicU32::new(1),
        }
    }

    fn set(&self, buckets: &[Bucket]) {
        let owned = buckets
            .iter()
            .fold(0, |owned, bucket| owned | 1 << bucket.index());
        let before = self.buckets.swap(owned, Ordering::AcqRel);
        for bucket in Bucket::all().filter(|bucket| (owned & !before) & 1 << bucket.index() != 0) {
            self.looks[bucket.index()].fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Has all pools of all buckets looked at.
    pub(super) fn look_at_all(&self) {
        for look in &self.looks {
            look.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Store {
    /// Whether this node does the background work of a bucket.
    pub(super) fn owns(&self, bucket: Bucket) -> bool {
        self.0.owned.buckets.load(Ordering::Acquire) & 1 << bucket.index() != 0
    }

    /// The buckets that this node does the background work of.
    pub(super) fn owned_buckets(&self) -> impl Iterator<Item = Bucket> {
        Bucket::all().filter(|bucket| self.owns(*bucket))
    }

    /// How many nodes live, this one among them.
    pub(super) fn live_nodes(&self) -> u32 {
        self.0.owned.live.load(Ordering::Relaxed)
    }

    /// The number of the last occasion to look at all pools of a bucket. Work is found by what is noted as due; nodes of versions
    /// that note nothing leave some behind, so whoever begins to own a bucket looks once.
    pub(super) fn look_of(&self, bucket: Bucket) -> u64 {
        self.0.owned.looks[bucket.index()].load(Ordering::Acquire)
    }

    /// Reads the marks. Returns those of buckets that other nodes have ticked meanwhile.
    pub(super) async fn read_marks(&self, marks: &mut Marks) -> Vec<(Bucket, BucketMark)> {
        // Ticks come first: they do not wait for a Redis that is slow, or for the one part of a cluster that has this.
        let all = marks.reads_all(Instant::now());
        let found = tokio::time::timeout(marks.every / LOOKS, async {
            let mut connection = self.0.connections.share().await?;
            if all {
                let mut read = redis::cmd("HGETALL");
                return Ok(read.arg(MARKS).query_async(&mut *connection).await?);
            }
            let numbers: Vec<String> = Bucket::all()
                .map(|bucket| bucket.number().to_string())
                .collect();
            let marks: Vec<Option<String>> = redis::cmd("HMGET")
                .arg(MARKS)
                .arg(&numbers)
                .query_async(&mut *connection)
                .await?;
            let marks = numbers.into_iter().zip(marks);
            let found: HashMap<String, String> = marks
                .filter_map(|(number, mark)| Some((number, mark?)))
                .collect();
            Ok::<_, Error>(found)
        });
        let found = found.await;
        let now = Instant::now();
        let changed = match found {
            Ok(Ok(found)) => {
                let changed = marks.observe(found, all, now);
                let live = u32::try_from(marks.live(now).len()).unwrap_or(u32::MAX);
                self.0.owned.live.store(live, Ordering::Relaxed);
                changed
            }
            // The sweeper says once that Redis is away.
            _ => Vec::new(),
        };
        self.0.owned.set(&marks.owned(now));
        changed
    }

    /// Writes the marks of this node and of buckets that it has ticked.
    pub(super) async fn write_marks(&self, marks: &mut Marks, ticked: &[(Bucket, BucketMark)]) {
        let now = Instant::now();
        let is_due = marks
            .written
            .is_none_or(|at| marks.quarters(3) <= now.saturating_duration_since(at));
        if self.0.owned.left.load(Ordering::Acquire) || (!is_due && ticked.is_empty()) {
            return;
        }
        marks.writes += 1;
        let mut write = redis::pipe();
        write
            .cmd("HSET")
            .arg(MARKS)
            .arg(format!("{NODE}{}", marks.this))
            .arg(marks.writes);
        for (bucket, mark) in ticked {
            write.arg(bucket.number()).arg(mark.to_text());
        }
        let forgotten = marks.forgotten(now);
        if !forgotten.is_empty() {
            write.cmd("HDEL").arg(MARKS).arg(&forgotten);
        }
        let written = tokio::time::timeout(marks.every / LOOKS, async {
            let mut connection = self.0.connections.share().await?;
            Ok::<_, Error>(write.exec_async(&mut *connection).await?)
        });
        match written.await {
            Ok(Ok(())) => marks.written = Some(now),
            Ok(Err(error)) => tracing::debug!(error = %error, "no mark of this node: {error}"),
            Err(_) => tracing::debug!("no mark of this node: Redis did not answer in time"),
        }
    }

    /// The mark of a bucket that this node has ticked.
    pub(super) fn mark_of(
        &self,
        tick: LastTick,
        silence: Silence,
        generation: u64,
        revision: u64,
    ) -> BucketMark {
        BucketMark {
            node: self.0.node.clone(),
            tick,
            silence,
            generation,
            revision,
        }
    }

    /// Takes the mark of this node away when it stops, so that others go on with its work at once.
    pub(super) async fn remove_mark(&self) -> Result<(), Error> {
        self.0.owned.left.store(true, Ordering::Release);
        let mut connection = self.0.connections.share().await?;
        Ok(redis::cmd("HDEL")
            .arg(MARKS)
            .arg(format!("{NODE}{}", self.0.node))
            .exec_async(&mut *connection)
            .await?)
    }

    /// The numbers of the buckets that each node does the background work of, by its id.
    pub async fn buckets_by_owner(&self) -> Result<HashMap<String, Vec<u16>>, Error> {
        let mut connection = self.0.connections.share().await?;
        let found: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(MARKS)
            .query_async(&mut *connection)
            .await?;
        let mut owners: HashMap<String, Vec<u16>> = HashMap::new();
        for (field, text) in found {
            if let (Ok(number), Some(node)) = (field.parse::<u16>(), text.split(' ').next())
                && number < BUCKETS
            {
                owners.entry(node.to_owned()).or_default().push(number);
            }
        }
        owners
            .values_mut()
            .for_each(|buckets| buckets.sort_unstable());
        Ok(owners)
    }
}

#[cfg(test)]
mod tests;
