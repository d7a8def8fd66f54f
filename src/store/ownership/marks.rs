//! The marks of nodes and buckets: which nodes live, by what changes, and whose a bucket is.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::LOOKS;
use crate::store::keys::Bucket;
use crate::store::pool_cache::{LastTick, Silence};
use crate::time::Timestamp;

/// Ticks that a mark may miss, in quarters. Together with a look before and after it has to stay below the 3 s after which
/// `prelude.lua` sees an outage: the death of an owner is none.
pub(super) const DEAD: u32 = 5;

/// The same for a bucket whose owner lives and cannot reach it.
pub(super) const ABANDONED: u32 = 8;

/// Reads of the marks of all nodes between two ticks, by all nodes together.
pub(super) const FULL_READS: u32 = 64;

/// What a dead node has left is removed after so many ticks.
pub(super) const FORGOTTEN: u32 = 60;

/// What stands in front of the id in the field of a node.
pub(super) const NODE: &str = "node:";

/// What whoever ticked a bucket found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct BucketMark {
    pub(super) node: String,
    pub(in crate::store) tick: LastTick,
    pub(in crate::store) silence: Silence,
    pub(in crate::store) generation: u64,
    pub(in crate::store) revision: u64,
}

impl BucketMark {
    /// Numbers behind the id; a later version may have more of them.
    pub(super) fn to_text(&self) -> String {
        format!(
            "{} {} {} {} {} {} {} {}",
            self.node,
            self.tick.at.0,
            self.tick.seq,
            self.tick.shift_ms,
            self.silence.floor.0,
            self.silence.back.0,
            self.generation,
            self.revision
        )
    }

    /// `heard` is when it was first seen: later than the tick, so that a silence measured from it is never too long.
    pub(super) fn read(text: &str, heard: Instant) -> Option<Self> {
        let mut words = text.split(' ');
        let node = words.next()?.to_owned();
        let mut number = || words.next()?.parse::<i64>().ok();
        let (at, seq, shift_ms) = (number()?, number()?, number()?);
        let (floor, back, generation, revision) = (number()?, number()?, number()?, number()?);
        let count = |number| u64::try_from(number).ok();
        Some(Self {
            node,
            tick: LastTick {
                at: Timestamp(at),
                seq: count(seq)?,
                heard,
                shift_ms: count(shift_ms)?,
            },
            silence: Silence {
                floor: Timestamp(floor),
                back: Timestamp(back),
            },
            generation: count(generation)?,
            revision: count(revision)?,
        })
    }
}

/// A mark, and since when it has said the same.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) text: String,
    pub(super) since: Instant,
    /// Whether it has changed or come since the first look. Until then it may be of a node that is gone, the one that ran here
    /// before this one for example.
    pub(super) has_moved: bool,
    /// Of a bucket: its owner was left out because of it.
    pub(super) is_reported: bool,
}

/// What one node sees of all marks.
#[derive(Debug)]
pub(in crate::store) struct Marks {
    pub(super) this: String,
    /// How often a bucket is ticked.
    pub(super) every: Duration,
    pub(super) nodes: HashMap<String, Observed>,
    pub(super) buckets: HashMap<Bucket, Observed>,
    /// Nodes whose bucket stood still, until their own mark is seen to move.
    pub(super) suspects: HashSet<String>,
    /// When any were read last, when those of all nodes were, and when the first were.
    pub(super) read: Option<Instant>,
    pub(super) read_all: Option<Instant>,
    pub(super) began: Instant,
    /// When this node ticked them last.
    pub(super) ticked: HashMap<Bucket, Instant>,
    /// Grows with each write of the own mark.
    pub(super) writes: u64,
    pub(super) written: Option<Instant>,
}

impl Marks {
    pub(in crate::store) fn new(this: &str, every: Duration, now: Instant) -> Self {
        Self {
            this: this.to_owned(),
            every,
            nodes: HashMap::new(),
            buckets: HashMap::new(),
            suspects: HashSet::new(),
            read: None,
            read_all: None,
            began: now,
            ticked: HashMap::new(),
            writes: 0,
            written: None,
        }
    }

    pub(super) fn quarters(&self, count: u32) -> Duration {
        self.every * count / 4
    }

    /// Time between two reads of the marks of all nodes.
    pub(super) fn pause(&self) -> Duration {
        let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        (self.every / FULL_READS).saturating_mul(nodes)
    }

    /// Whether they are read at every look.
    pub(super) fn always_reads_all(&self) -> bool {
        self.pause() <= self.quarters(1)
    }

    /// Whether they are read at this look.
    pub(super) fn reads_all(&self, now: Instant) -> bool {
        // A node that has just started knows of nobody that it lives before it has read twice.
        self.always_reads_all()
            || now.saturating_duration_since(self.began) <= self.quarters(DEAD)
            || self
                .read_all
                .is_none_or(|at| self.pause() <= now.saturating_duration_since(at))
    }

    /// Takes in what was read. Returns the marks of buckets that other nodes have changed.
    pub(super) fn observe(
        &mut self,
        found: HashMap<String, String>,
        all: bool,
        now: Instant,
    ) -> Vec<(Bucket, BucketMark)> {
        let is_first = self.read.replace(now).is_none();
        let mut changed = Vec::new();
        if all {
            self.read_all = Some(now);
            self.nodes
                .retain(|id, _| found.contains_key(&format!("{NODE}{id}")));
        }
        for (field, text) in found {
            let is_news = |known: Option<&Observed>| known.is_none_or(|known| known.text != text);
            let observed = Observed {
                text: text.clone(),
                since: now,
                has_moved: !is_first,
                is_reported: false,
            };
            if let Some(id) = field.strip_prefix(NODE) {
                if is_news(self.nodes.get(id)) {
                    let has_moved = observed.has_moved && !self.suspects.remove(id);
                    let observed = Observed {
                        has_moved,
                        ..observed
                    };
                    self.nodes.insert(id.to_owned(), observed);
                }
            } else if let Some(bucket) = field.parse().ok().and_then(Bucket::numbered)
                && is_news(self.buckets.get(&bucket))
            {
                let mark = BucketMark::read(&text, now).filter(|mark| mark.node != self.this);
                changed.extend(mark.map(|mark| (bucket, mark)));
                self.buckets.insert(bucket, observed);
            }
        }
        if !self.always_reads_all() {
            self.leave_out_owners_that_stand_still(now);
        }
        changed
    }

    /// Takes the owner of a bucket that stands still for dead, where its own mark was not read lately. Whoever follows it reads the
    /// marks at the next look.
    pub(super) fn leave_out_owners_that_stand_still(&mut self, now: Instant) {
        let dead = self.quarters(DEAD);
        let stands_still = |mark: &Observed| {
            !mark.is_reported && dead <= now.saturating_duration_since(mark.since)
        };
        let buckets: Vec<Bucket> = Bucket::all()
            .filter(|bucket| self.buckets.get(bucket).is_some_and(stands_still))
            .collect();
        for bucket in buckets {
            let live = self.live(now);
            let Some(gone) = owner(bucket, &live).filter(|id| *id != self.this) else {
                continue;
            };
            let gone = gone.to_owned();
            self.nodes.remove(&gone);
            self.suspects.insert(gone);
            if let Some(mark) = self.buckets.get_mut(&bucket) {
                mark.is_reported = true;
            }
            if owner(bucket, &self.live(now)) == Some(self.this.as_str()) {
                self.read_all = None;
            }
        }
    }

    /// The nodes that live, this one among them.
    pub(super) fn live(&self, now: Instant) -> Vec<&str> {
        // A mark that is read rarely may be old and its node well.
        let dead = self.quarters(DEAD).max(self.pause() * 2 + self.quarters(1));
        let others = self.nodes.iter().filter(|(id, observed)| {
            **id != self.this
                && observed.has_moved
                && now.saturating_duration_since(observed.since) < dead
        });
        let mut live: Vec<&str> = others.map(|(id, _)| id.as_str()).collect();
        live.push(&self.this);
        live
    }

    /// The buckets that this node works for.
    pub(in crate::store) fn owned(&self, now: Instant) -> Vec<Bucket> {
        let dead = self.quarters(DEAD);
        // Before the first look nobody knows better, and whoever starts must not wait for it.
        let blind = self
            .read
            .is_none_or(|read| dead <= now.saturating_duration_since(read));
        let live = self.live(now);
        Bucket::all()
            .filter(|bucket| {
                blind || owner(*bucket, &live) == Some(self.this.as_str()) || {
                    let since = self
                        .buckets
                        .get(bucket)
                        .map_or(self.began, |mark| mark.since);
                    self.quarters(ABANDONED) <= now.saturating_duration_since(since)
                }
            })
            .collect()
    }

    /// Those of `buckets` that this node did not tick for as long as it may be.
    pub(in crate::store) fn due(
        &self,
        buckets: impl Iterator<Item = Bucket>,
        now: Instant,
    ) -> Vec<Bucket> {
        // A little less, because a round of ticks takes its time.
        let pause = self.every.saturating_sub(self.every / (2 * LOOKS));
        let is_due = |bucket: &Bucket| {
            let ticked = self.ticked.get(bucket);
            ticked.is_none_or(|at| pause <= now.saturating_duration_since(*at))
        };
        buckets.filter(is_due).collect()
    }

    pub(in crate::store) fn note_tick(&mut self, bucket: Bucket, now: Instant) {
        self.ticked.insert(bucket, now);
    }

    /// The fields of nodes that have been dead for long.
    pub(super) fn forgotten(&self, now: Instant) -> Vec<String> {
        let is_old = |since| self.every * FORGOTTEN <= now.saturating_duration_since(since);
        let old = self.nodes.iter().filter(|(_, node)| is_old(node.since));
        old.map(|(id, _)| format!("{NODE}{id}")).collect()
    }
}

/// The live node that a bucket belongs to.
pub(super) fn owner<'a>(bucket: Bucket, live: &[&'a str]) -> Option<&'a str> {
    let rank = |id: &str| rank(bucket, id);
    live.iter().copied().max_by_key(|id| (rank(id), *id))
}

/// A hash that is the same in every version and on every machine: FNV-1a, mixed as splitmix64 does, because ids and numbers of
/// buckets are short.
pub(super) fn rank(bucket: Bucket, id: &str) -> u64 {
    let number = bucket.number().to_be_bytes();
    let hash = id
        .bytes()
        .chain(number)
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
