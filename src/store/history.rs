//! Slots of a pool's history, as they are kept.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Store;
use super::error::Error;
use super::events::EventId;
use super::keys::{Bucket, Keys};
use super::scripts;
use super::scripts::{changed_pools, roll_up};
use super::unreadable::Kind;
use crate::names::PoolName;
use crate::time::Timestamp;

/// Pools of one call; under a millisecond of Redis's time.
const POOLS: usize = 40;

/// Slots of one length that share a key.
#[derive(Debug, Clone)]
pub struct SlotRange {
    /// Name of the length, part of the key.
    pub step: &'static str,
    /// Number of the stretch, part of the key.
    pub number: i64,
    /// How long the key is kept after the last change, in milliseconds.
    pub kept_ms: i64,
    /// Slot number and its JSON.
    pub slots: Vec<(i64, String)>,
}

/// How far the events of a pool are rolled up, and what the next roll-up needs beside events.
#[derive(Debug, Clone, Default)]
pub struct RollupState {
    /// When this was so.
    pub now: Timestamp,
    /// What the last roll-up left; none if there never was one.
    pub checkpoint: Option<String>,
    /// The last times in which no node could work, each with its end; the last one may go on.
    pub silences: Vec<(Timestamp, Timestamp)>,
    /// Seats that are taken, as the events up to `last` say if none of them is lost.
    pub seats: u64,
    /// The last event.
    pub last: Option<EventId>,
    /// Denied acquires that no slot has yet.
    pub denials: Vec<Denials>,
}

/// Acquires that were denied in one minute for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denials {
    /// Number of the minute since the epoch.
    pub minute: i64,
    /// Why.
    pub code: String,
    /// How many.
    pub count: u64,
}

impl Denials {
    fn field(&self) -> String {
        format!("{}:{}", self.minute, self.code)
    }
}

/// For which occasion this node has looked at all pools of a bucket.
#[derive(Debug, Default)]
pub struct RollupLooks(HashMap<Bucket, u64>);

/// Slots to read: the name of their length, the number of their stretch, and theirs.
pub type SlotRequest = (&'static str, i64, Vec<i64>);

impl Store {
    /// Notes the pools of a bucket that have something which no roll-up knows of, if no node has done so within `every`. Costs
    /// a pool in which nothing happened a few reads, so only what nodes of earlier versions may have left is found like this.
    /// Returns how many were noted; none if it was not this node's turn.
    async fn find_rollups(
        &self,
        bucket: Bucket,
        mut every: Duration,
    ) -> Result<Option<u64>, Error> {
        let pools: Vec<PoolName> = self.0.pool_cache.policies(bucket).into_keys().collect();
        let mut noted = 0;
        for chunk in pools.chunks(POOLS) {
            let keys: Vec<Keys> = chunk.iter().map(Keys::of).collect();
            let pools = keys.iter().zip(chunk);
            let pools = pools.map(|(keys, name)| changed_pools::Pool { keys, name });
            let call = scripts::ChangedPools {
                keys: bucket,
                every,
                pools: &pools.collect::<Vec<_>>(),
            };
            let reply = self.call(bucket, &call).await?;
            if reply.status == changed_pools::Status::Fresh {
                return Ok(None);
            }
            noted += reply.changed;
            // The turn is this node's.
            every = Duration::ZERO;
        }
        Ok(Some(noted))
    }

    /// Looks at all pools of those buckets of this node in which something may be due that is not noted, if no other node did so
    /// within `every`. Buckets may be on several servers: an error only if none of them says anything.
    pub async fn note_rollups(
        &self,
        looks: &mut RollupLooks,
        every: Duration,
    ) -> Result<u64, Error> {
        let (mut noted, mut has_answer, mut trouble) = (0, false, None);
        for bucket in self.owned_buckets() {
            let look = self.look_of(bucket);
            if looks.0.get(&bucket) == Some(&look) {
                continue;
            }
            let cache = &self.0.pool_cache;
            // Before the first tick a node knows of no pool that there may be.
            let knows_all = cache.last_tick(bucket).is_some() && cache.knows_all_pools(bucket);
            match self.find_rollups(bucket, every).await {
                Ok(found) => {
                    has_answer = true;
                    noted += found.unwrap_or(0);
                    if found.is_some() && knows_all {
                        looks.0.insert(bucket, look);
                    }
                }
                Err(error) => trouble = Some(error),
            }
        }
        trouble.filter(|_| !has_answer).map_or(Ok(noted), Err)
    }

    /// Pools whose history is to be rolled up, in the buckets of this node; those that wait for longest first, and not all if
    /// there are very many.
    pub async fn pools_to_roll_up(&self) -> Result<Vec<PoolName>, Error> {
        let (mut due, mut trouble) = (Vec::new(), None);
        for bucket in self.owned_buckets() {
            let mut connection = self.0.connections.share().await?;
            let names: Result<Vec<String>, _> = redis::cmd("ZRANGE")
                .arg(bucket.rollups())
                .arg("-inf")
                .arg(self.now().0)
                .arg("BYSCORE")
                .arg("LIMIT")
                .arg(0)
                .arg(POOLS)
                .query_async(&mut *connection)
                .await;
            match names {
                Ok(names) => due.extend(
                    names
                        .into_iter()
                        .filter_map(|name| PoolName::try_from(name).ok()),
                ),
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if due.is_empty() => Err(error.into()),
            _ => Ok(due),
        }
    }

    /// Takes a pool out of those that are due, if all up to its event `last` is in slots and nothing has happened since; otherwise
    /// it is due `again`. None if there is more to do in any case.
    pub async fn finish_roll_up(
        &self,
        pool: &PoolName,
        last: Option<Option<EventId>>,
        again: Duration,
    ) -> Result<(), Error> {
        let keys = Keys::of(pool);
        let text = last.flatten().map(|last| last.to_string());
        let finish = scripts::FinishRollUp {
            keys: &keys,
            pool,
            last: text.as_deref(),
            whole: last.is_some(),
            again,
        };
        self.call(keys.bucket, &finish).await?;
        Ok(())
    }

    /// Notes that a part of the history of a pool cannot be read by this version.
    pub(crate) fn note_unreadable_history(&self, pool: &PoolName) {
        self.0.unreadable.note(Kind::History, pool.as_str());
    }

    /// How far the events of a pool are rolled up, and what belongs to that, at one instant.
    pub async fn rollup_state(&self, pool: &PoolName) -> Result<RollupState, Error> {
        let keys = Keys::of(pool);
        let reply = self
            .call(keys.bucket, &scripts::RollupState { keys: &keys })
            .await?;
        let broken = || Error::Broken(format!("the counts of pool {pool} are not ours"));
        let instants: Vec<i64> = reply
            .silences
            .split_ascii_whitespace()
            .map(|at| at.parse().map_err(|_| broken()))
            .collect::<Result<_, _>>()?;
        let denials = reply.counts.iter().filter_map(|count| {
            let (minute, code) = count.minute_and_code.split_once(':')?;
            Some(Denials {
                minute: minute.parse().ok()?,
                code: code.to_owned(),
                count: count.denied,
            })
        });
        Ok(RollupState {
            now: reply.now,
            denials: denials.collect(),
            silences: instants
                .chunks_exact(2)
                .map(|pair| (Timestamp(pair[0]), Timestamp(pair[1])))
                .collect(),
            seats: reply.in_use,
            last: reply
                .last
                .map(|id| id.parse().map_err(|_| broken()))
                .transpose()?,
            checkpoint: reply.checkpoint,
        })
    }

    /// Writes slots, and how far the events are rolled up, and drops the counts that are in slots now, at most 1 000.
    /// `false` if another node was faster.
    pub async fn roll_up(
        &self,
        pool: &PoolName,
        before: Option<&str>,
        after: &str,
        counted: &[Denials],
        stretches: &[SlotRange],
    ) -> Result<bool, Error> {
        let keys = Keys::of(pool);
        let ranges: Vec<_> = stretches
            .iter()
            .map(|range| roll_up::Range {
                key: keys.slots(range.step, range.number),
                keep: Duration::from_millis(u64::try_from(range.kept_ms).unwrap_or(0)),
            })
            .collect();
        let fields: Vec<String> = counted.iter().map(Denials::field).collect();
        let counts: Vec<_> = fields
            .iter()
            .map(|field| roll_up::Count {
                minute_and_code: field,
            })
            .collect();
        let slots: Vec<_> = (1..)
            .zip(stretches)
            .flat_map(|(place, range)| {
                let slots = range.slots.iter();
                slots.map(move |(number, json)| roll_up::Slot {
                    range: place,
                    number: *number,
                    json,
                })
            })
            .collect();
        let roll_up = scripts::RollUp {
            keys: &keys,
            before,
            after,
            ranges: &ranges,
            counts: &counts,
            slots: &slots,
        };
        let reply = self.call(keys.bucket, &roll_up).await?;
        Ok(reply.status == roll_up::Status::Rolled)
    }

    /// The slots of some stretches of one length, by number.
    pub async fn slots(
        &self,
        pool: &PoolName,
        step: &'static str,
        stretches: impl Iterator<Item = i64>,
    ) -> Result<BTreeMap<i64, String>, Error> {
        let keys = Keys::of(pool);
        let mut connection = self.0.connections.get().await?;
        let mut slots = BTreeMap::new();
        for number in stretches {
            let stretch: BTreeMap<i64, String> = redis::cmd("HGETALL")
                .arg(keys.slots(step, number))
                .query_async(&mut *connection)
                .await?;
            slots.extend(stretch);
        }
        Ok(slots)
    }

    /// How far the events of a pool are rolled up, and a few slots of one length, by number: a look that costs the
    /// same however much a pool has been through.
    pub async fn checkpoint_with_slots(
        &self,
        pool: &PoolName,
        stretches: &[SlotRequest],
    ) -> Result<(Option<String>, BTreeMap<i64, String>), Error> {
        let keys = Keys::of(pool);
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(keys.rolled());
        for (step, stretch, numbers) in stretches {
            pipe.cmd("HMGET")
                .arg(keys.slots(step, *stretch))
                .arg(numbers);
        }
        let mut connection = self.0.connections.get().await?;
        let replies: Vec<redis::Value> = pipe.query_async(&mut *connection).await?;
        let mut replies = replies.into_iter();
        let checkpoint = match replies.next() {
            Some(value) => redis::from_redis_value(value).map_err(redis::RedisError::from)?,
            None => None,
        };
        let mut slots = BTreeMap::new();
        for ((_, _, numbers), found) in stretches.iter().zip(replies) {
            let found: Vec<Option<String>> =
                redis::from_redis_value(found).map_err(redis::RedisError::from)?;
            let found = numbers.iter().zip(found);
            slots.extend(found.filter_map(|(number, slot)| Some((*number, slot?))));
        }
        Ok((checkpoint, slots))
    }

    /// What Redis's clock says, for reports that go up to now.
    pub async fn clock(&self) -> Result<Timestamp, Error> {
        let mut connection = self.0.connections.get().await?;
        let (seconds, micros): (i64, i64) =
            redis::cmd("TIME").query_async(&mut *connection).await?;
        Ok(Timestamp(seconds * 1_000 + micros / 1_000))
    }
}
