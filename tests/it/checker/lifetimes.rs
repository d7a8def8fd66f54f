//! The lives of leases, as the pool's own history tells them, and how many there were when.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::{Grace, History, Segment};
use crate::harness::Event;

/// A life of a lease: from a start or a resume to the next end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetime {
    pub(crate) from: i64,
    /// `i64::MAX` while it lasts.
    pub(crate) to: i64,
    /// Whether time ended it.
    pub(crate) expired: bool,
}

impl Lifetime {
    pub(super) fn is_open(self) -> bool {
        self.to == i64::MAX
    }

    /// Whether it was there at an instant, perhaps ended later in the same millisecond by somebody.
    pub(super) fn had(self, at: i64) -> bool {
        self.has(at) || (!self.expired && self.from <= at && at == self.to)
    }

    pub(super) fn has(self, at: i64) -> bool {
        self.from <= at && at < self.to
    }
}

/// All lives of one segment.
#[derive(Debug)]
pub(crate) struct Lifetimes<'a> {
    pub(super) segment: &'a Segment,
    pub(super) lives: HashMap<&'a str, Vec<Lifetime>>,
    /// Every begin and every end, sorted, to count by.
    begins: Vec<i64>,
    closes: Vec<i64>,
    ttl: i64,
    linger: i64,
}

impl<'a> Lifetimes<'a> {
    pub(super) fn read(history: &History, segment: &'a Segment, wrong: &mut Vec<String>) -> Self {
        let mut lives: HashMap<&str, Vec<Lifetime>> = HashMap::new();
        let mut newest = 0;
        for event in segment.events.iter().filter(|event| event.change() != 0) {
            let own = lives.entry(&event.id).or_default();
            let open = own.last().is_some_and(|life| life.is_open());
            if event.change() > 0 && !open {
                own.push(Lifetime {
                    from: event.at,
                    to: i64::MAX,
                    expired: false,
                });
            } else if event.change() < 0 && open {
                let life = own.last_mut().expect("open");
                life.to = event.at;
                life.expired = event.reason == "expired";
                if life.to < life.from {
                    wrong.push(format!("order: {event:?} before its start"));
                }
            } else {
                wrong.push(format!(
                    "conservation: {event:?} does not fit what was before"
                ));
            }
            // An end by time carries its own instant, which may be noticed later.
            if event.reason != "expired" {
                if event.at < newest {
                    wrong.push(format!("order: {event:?} after one at {newest}"));
                }
                newest = newest.max(event.at);
            }
        }
        let all = || lives.values().flatten();
        let mut begins: Vec<i64> = all().map(|life| life.from).collect();
        let mut closes: Vec<i64> = all().map(|life| life.to).collect();
        begins.sort_unstable();
        closes.sort_unstable();
        Self {
            segment,
            lives,
            begins,
            closes,
            ttl: history.ttl,
            linger: history.linger,
        }
    }

    /// How many lived at an instant, at most: in the same millisecond one may have begun or ended before or after.
    pub(super) fn most_at(&self, at: i64) -> usize {
        let begun = self.begins.partition_point(|from| *from <= at);
        let closed = self.closes.partition_point(|to| *to < at);
        begun - closed.min(begun)
    }

    pub(super) fn of(&self, id: &str) -> &[Lifetime] {
        self.lives.get(id).map_or(&[], Vec::as_slice)
    }

    /// The instants at which a lease with this expiry may end: at its expiry, or later for the sake of an outage that
    /// the store knew of before `seen`.
    pub(super) fn ends_of(&self, expiry: i64, seen: i64) -> Vec<i64> {
        let graces = self.segment.graces.iter();
        let extended = graces
            .filter(|grace| grace.back <= seen)
            .filter_map(|grace: &Grace| grace.extends(expiry, self.ttl, self.linger));
        std::iter::once(expiry).chain(extended).collect()
    }

    /// Until when it lives surely, as far as was known at `seen`.
    pub(super) fn end_of(&self, expiry: i64, seen: i64) -> i64 {
        *self.ends_of(expiry, seen).last().expect("at least one")
    }

    /// Replays the events in the order in which they were written: whoever got a seat found one free.
    pub(super) fn check_admission(&self, capacity: usize, wrong: &mut Vec<String>) {
        // Ends by time count from their instant, all others from their place in the order.
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut by_time = BinaryHeap::new();
        let mut live = 0_usize;
        let changes = self.segment.events.iter();
        for event in changes.filter(|event: &&Event| event.change() != 0) {
            let own = self.of(&event.id);
            if event.change() < 0 {
                if event.reason != "expired" {
                    live = live.saturating_sub(1);
                }
                continue;
            }
            while let Some(Reverse(to)) = by_time.peek()
                && *to <= event.at
            {
                by_time.pop();
                live = live.saturating_sub(1);
            }
            let place = seen.entry(&event.id).or_default();
            if let Some(life) = own.get(*place)
                && life.expired
            {
                by_time.push(Reverse(life.to));
            }
            *place += 1;
            live += 1;
            if live > capacity {
                wrong.push(format!("admission: {live} of {capacity} with {event:?}"));
            }
        }
    }
}
