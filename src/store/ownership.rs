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

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Store;
use super::error::Error;
use super::keys::{BUCKETS, Bucket, MARKS};
use super::pool_cache::{LastTick, Silence};
use crate::time::Timestamp;

/// Looks at the marks between two ticks of a bucket.
pub(super) const LOOKS: u32 = 4;
/// Ticks that a mark may miss, in quarters. Together with a look before and after it has to stay below the 3 s after which
/// `prelude.lua` sees an outage: the death of an owner is none.
const DEAD: u32 = 5;
/// The same for a bucket whose owner lives and cannot reach it.
const ABANDONED: u32 = 8;
/// Reads of the marks of all nodes between two ticks, by all nodes together.
const FULL_READS: u32 = 64;
/// What a dead node has left is removed after so many ticks.
const FORGOTTEN: u32 = 60;
/// What stands in front of the id in the field of a node.
const NODE: &str = "node:";

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

/// What whoever ticked a bucket found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BucketMark {
    node: String,
    pub(super) tick: LastTick,
    pub(super) silence: Silence,
    pub(super) generation: u64,
    pub(super) revision: u64,
}

impl BucketMark {
    /// Numbers behind the id; a later version may have more of them.
    fn to_text(&self) -> String {
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
    fn read(text: &str, heard: Instant) -> Option<Self> {
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
struct Observed {
    text: String,
    since: Instant,
    /// Whether it has changed or come since the first look. Until then it may be of a node that is gone, the one that ran here
    /// before this one for example.
    has_moved: bool,
    /// Of a bucket: its owner was left out because of it.
    is_reported: bool,
}

/// What one node sees of all marks.
#[derive(Debug)]
pub(super) struct Marks {
    this: String,
    /// How often a bucket is ticked.
    every: Duration,
    nodes: HashMap<String, Observed>,
    buckets: HashMap<Bucket, Observed>,
    /// Nodes whose bucket stood still, until their own mark is seen to move.
    suspects: HashSet<String>,
    /// When any were read last, when those of all nodes were, and when the first were.
    read: Option<Instant>,
    read_all: Option<Instant>,
    began: Instant,
    /// When this node ticked them last.
    ticked: HashMap<Bucket, Instant>,
    /// Grows with each write of the own mark.
    writes: u64,
    written: Option<Instant>,
}

impl Marks {
    pub(super) fn new(this: &str, every: Duration, now: Instant) -> Self {
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

    fn quarters(&self, count: u32) -> Duration {
        self.every * count / 4
    }

    /// Time between two reads of the marks of all nodes.
    fn pause(&self) -> Duration {
        let nodes = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        (self.every / FULL_READS).saturating_mul(nodes)
    }

    /// Whether they are read at every look.
    fn always_reads_all(&self) -> bool {
        self.pause() <= self.quarters(1)
    }

    /// Whether they are read at this look.
    fn reads_all(&self, now: Instant) -> bool {
        self.always_reads_all()
            || self
                .read_all
                .is_none_or(|at| self.pause() <= now.saturating_duration_since(at))
    }

    /// Takes in what was read. Returns the marks of buckets that other nodes have changed.
    fn observe(
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
    fn leave_out_owners_that_stand_still(&mut self, now: Instant) {
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
    fn live(&self, now: Instant) -> Vec<&str> {
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
    pub(super) fn owned(&self, now: Instant) -> Vec<Bucket> {
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
    pub(super) fn due(&self, buckets: impl Iterator<Item = Bucket>, now: Instant) -> Vec<Bucket> {
        // A little less, because a round of ticks takes its time.
        let pause = self.every.saturating_sub(self.every / (2 * LOOKS));
        let is_due = |bucket: &Bucket| {
            let ticked = self.ticked.get(bucket);
            ticked.is_none_or(|at| pause <= now.saturating_duration_since(*at))
        };
        buckets.filter(is_due).collect()
    }

    pub(super) fn note_tick(&mut self, bucket: Bucket, now: Instant) {
        self.ticked.insert(bucket, now);
    }

    /// The fields of nodes that have been dead for long.
    fn forgotten(&self, now: Instant) -> Vec<String> {
        let is_old = |since| self.every * FORGOTTEN <= now.saturating_duration_since(since);
        let old = self.nodes.iter().filter(|(_, node)| is_old(node.since));
        old.map(|(id, _)| format!("{NODE}{id}")).collect()
    }
}

/// The live node that a bucket belongs to.
fn owner<'a>(bucket: Bucket, live: &[&'a str]) -> Option<&'a str> {
    let rank = |id: &str| rank(bucket, id);
    live.iter().copied().max_by_key(|id| (rank(id), *id))
}

/// A hash that is the same in every version and on every machine: FNV-1a, mixed as splitmix64 does, because ids and numbers of
/// buckets are short.
fn rank(bucket: Bucket, id: &str) -> u64 {
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
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);

    /// Some nodes that see the same marks, by a stopwatch that the test turns.
    struct Fleet {
        now: Instant,
        nodes: Vec<Marks>,
        hash: HashMap<String, String>,
        /// Those that stand still.
        frozen: Vec<usize>,
        /// When each bucket was ticked last.
        ticked: HashMap<Bucket, Instant>,
        ticks: usize,
        /// Marks of nodes that were read.
        read: usize,
    }

    impl Fleet {
        fn of(nodes: usize) -> Self {
            let now = Instant::now();
            let nodes = (0..nodes).map(|n| Marks::new(&format!("node-{n}"), EVERY, now));
            Self {
                now,
                nodes: nodes.collect(),
                hash: HashMap::new(),
                frozen: Vec::new(),
                ticked: HashMap::new(),
                ticks: 0,
                read: 0,
            }
        }

        /// A quarter of a second, and a look of each node.
        fn pass(&mut self) {
            self.now += EVERY / LOOKS;
            for (n, marks) in self.nodes.iter_mut().enumerate() {
                if self.frozen.contains(&n) {
                    continue;
                }
                let all = marks.reads_all(self.now);
                let mut found = self.hash.clone();
                found.retain(|field, _| all || !field.starts_with(NODE));
                self.read += found.keys().filter(|field| field.starts_with(NODE)).count();
                marks.observe(found, all, self.now);
                for bucket in marks.due(marks.owned(self.now).into_iter(), self.now) {
                    marks.note_tick(bucket, self.now);
                    self.ticked.insert(bucket, self.now);
                    self.ticks += 1;
                    let seq = self.ticks;
                    let text = format!("{} {seq} {seq} 0 0 0 1 1", marks.this);
                    self.hash.insert(bucket.number().to_string(), text);
                }
                marks.writes += 1;
                self.hash
                    .insert(format!("{NODE}{}", marks.this), marks.writes.to_string());
            }
        }

        fn longest_without_a_tick(&self) -> Duration {
            let pauses = Bucket::all().map(|bucket| self.now - self.ticked[&bucket]);
            pauses.max().expect("there are buckets")
        }
    }

    #[test]
    fn each_bucket_has_one_owner_and_every_node_some() {
        let mut fleet = Fleet::of(8);
        (0..8).for_each(|_| fleet.pass());
        fleet.ticks = 0;
        (0..40).for_each(|_| fleet.pass());
        assert_eq!(fleet.ticks, 10 * usize::from(BUCKETS), "once a second each");
        for marks in &fleet.nodes {
            let owned = marks.owned(fleet.now).len();
            assert!((1..=10).contains(&owned), "{owned}");
        }
    }

    #[test]
    fn what_dead_owners_leave_is_taken_over_before_it_looks_like_an_outage() {
        let mut fleet = Fleet::of(8);
        (0..9).for_each(|_| fleet.pass());
        // All but one, at once.
        fleet.frozen = (1..8).collect();
        for _ in 0..12 {
            fleet.pass();
            let longest = fleet.longest_without_a_tick();
            assert!(longest <= Duration::from_secs(2), "{longest:?}");
        }
        assert_eq!(fleet.nodes[0].owned(fleet.now).len(), usize::from(BUCKETS));
        // They wake up, and after a look each has its own again.
        fleet.frozen.clear();
        (0..8).for_each(|_| fleet.pass());
        fleet.ticks = 0;
        (0..4).for_each(|_| fleet.pass());
        assert_eq!(fleet.ticks, usize::from(BUCKETS));
    }

    #[test]
    fn thirty_nodes_read_no_more_of_each_other_each_than_sixteen() {
        let mut fleet = Fleet::of(30);
        (0..24).for_each(|_| fleet.pass());
        (fleet.ticks, fleet.read) = (0, 0);
        (0..20).for_each(|_| fleet.pass());
        assert_eq!(fleet.ticks, 5 * usize::from(BUCKETS), "once a second each");
        let each = fleet.read / 30 / 5;
        assert!(each <= 64, "{each} marks of nodes in a second");

        // Some die, those that own most among them; others are stopped and come back.
        let mut owners: Vec<usize> = (0..30).collect();
        owners.sort_by_key(|n| std::cmp::Reverse(fleet.nodes[*n].owned(fleet.now).len()));
        fleet.frozen = owners[..4].to_vec();
        for _ in 0..24 {
            fleet.pass();
            let longest = fleet.longest_without_a_tick();
            assert!(longest <= Duration::from_millis(2_250), "{longest:?}");
        }
        fleet.ticks = 0;
        (0..20).for_each(|_| fleet.pass());
        let most = 6 * usize::from(BUCKETS);
        assert!(fleet.ticks <= most, "{} ticks in five seconds", fleet.ticks);
        fleet.frozen.clear();
        (0..24).for_each(|_| fleet.pass());
        fleet.ticks = 0;
        (0..20).for_each(|_| fleet.pass());
        assert_eq!(
            fleet.ticks,
            5 * usize::from(BUCKETS),
            "each has its own again"
        );
    }

    #[test]
    fn a_bucket_that_its_owner_cannot_reach_is_ticked_by_others() {
        let mut fleet = Fleet::of(3);
        (0..9).for_each(|_| fleet.pass());
        let bucket = fleet.nodes[0].owned(fleet.now)[0];
        // It marks itself and not the bucket.
        for _ in 0..8 {
            fleet.now += EVERY / LOOKS;
            for marks in &mut fleet.nodes {
                marks.writes += 1;
                fleet
                    .hash
                    .insert(format!("{NODE}{}", marks.this), marks.writes.to_string());
            }
            let (hash, now) = (fleet.hash.clone(), fleet.now);
            fleet.nodes[1].observe(hash, true, now);
        }
        assert!(fleet.nodes[1].owned(fleet.now).contains(&bucket));
    }

    #[test]
    fn who_cannot_read_the_marks_works_for_all_buckets() {
        let now = Instant::now();
        let mut marks = Marks::new("alone", EVERY, now);
        assert_eq!(marks.owned(now).len(), usize::from(BUCKETS));
        let others = |beat: &str| {
            let others = (0..40).map(|n| (format!("{NODE}{n}"), beat.to_owned()));
            others.collect::<HashMap<_, _>>()
        };
        // They may have been dead for long, until they move.
        marks.observe(others("1"), true, now);
        marks.observe(others("1"), true, now);
        assert_eq!(marks.owned(now).len(), usize::from(BUCKETS));
        marks.observe(others("2"), true, now);
        assert!(marks.owned(now).len() < 10);
        let later = now + EVERY * 4;
        assert_eq!(marks.owned(later).len(), usize::from(BUCKETS));
    }

    #[test]
    fn a_mark_says_what_the_tick_said_also_to_a_version_that_says_less() {
        let now = Instant::now();
        let mark = BucketMark {
            node: "abc".to_owned(),
            tick: LastTick {
                at: Timestamp(5),
                seq: 6,
                heard: now,
                shift_ms: 7,
            },
            silence: Silence {
                floor: Timestamp(1),
                back: Timestamp(2),
            },
            generation: 3,
            revision: 4,
        };
        let text = mark.to_text();
        assert_eq!(BucketMark::read(&text, now), Some(mark.clone()));
        assert_eq!(BucketMark::read(&format!("{text} more"), now), Some(mark));
        assert_eq!(BucketMark::read("abc 1 2", now), None);
    }
}
