use std::time::Duration;

use super::*;
use crate::time::Timestamp;

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
