//! Requests for seats, and how many of them there were at once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::Arc;

use chrono_tz::Tz;

use crate::history::usage;
use crate::time::Timestamp;

/// One hour, ms.
const HOUR_MS: i64 = 3_600_000;

/// A request for a seat, which was granted or truly denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub from_ms: i64,
    /// When it ended; for a denial the start plus the usual length.
    pub until_ms: i64,
    /// Whose it was; none is anonymous, each a holder of its own.
    pub holder: Option<Arc<str>>,
    /// Whether it was truly denied, so that its length is a guess.
    pub denied: bool,
}

impl Attempt {
    /// What is left of it without these stretches, which are in order.
    pub(super) fn without(&self, stretches: &[(i64, i64)]) -> Vec<Self> {
        let (mut parts, mut from_ms) = (Vec::new(), self.from_ms);
        let ends = [(self.until_ms, self.until_ms)];
        for (idle_ms, active_ms) in stretches.iter().chain(&ends) {
            let until_ms = (*idle_ms).min(self.until_ms);
            if from_ms < until_ms {
                parts.push(Self {
                    from_ms,
                    until_ms,
                    ..self.clone()
                });
            }
            from_ms = from_ms.max(*active_ms);
        }
        parts
    }
}

pub(super) fn holders(attempts: &[Attempt]) -> u64 {
    let named: HashSet<&Arc<str>> = attempts
        .iter()
        .filter_map(|attempt| attempt.holder.as_ref())
        .collect();
    let anonymous = attempts
        .iter()
        .filter(|attempt| attempt.holder.is_none())
        .count();
    (named.len() + anonymous) as u64
}

/// The mean load of the busiest hours of the days on which there was any.
pub(super) fn busy_hour(attempts: &[Attempt], zone: Tz) -> f64 {
    let mut hours: BTreeMap<i64, i64> = BTreeMap::new();
    for attempt in attempts {
        let mut from = attempt.from_ms;
        while from < attempt.until_ms {
            let hour = from.div_euclid(HOUR_MS);
            let until = attempt.until_ms.min((hour + 1) * HOUR_MS);
            *hours.entry(hour).or_default() += until - from;
            from = until;
        }
    }
    let mut days: BTreeMap<_, i64> = BTreeMap::new();
    for (hour, ms) in hours {
        let day = days
            .entry(usage::date(Timestamp(hour * HOUR_MS), zone))
            .or_default();
        *day = ms.max(*day);
    }
    if days.is_empty() {
        return 0.0;
    }
    days.values().sum::<i64>() as f64 / (days.len() as i64 * HOUR_MS) as f64
}

/// The maximum of simultaneous requests among those that are `counted`.
pub(super) fn peak<'a>(attempts: &'a [Attempt], counted: impl Fn(&'a Attempt) -> bool) -> u64 {
    let mut ends: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
    let mut most = 0;
    for attempt in attempts.iter().filter(|attempt| counted(attempt)) {
        while ends.peek().is_some_and(|end| end.0 <= attempt.from_ms) {
            ends.pop();
        }
        ends.push(Reverse(attempt.until_ms));
        most = most.max(ends.len() as u64);
    }
    most
}

/// The first instant at which most of these attempts, which are in order, are there at once.
pub(super) fn peak_at(attempts: &[Attempt]) -> Option<i64> {
    let mut ends: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
    let mut most: Option<(usize, i64)> = None;
    for attempt in attempts {
        while ends.peek().is_some_and(|end| end.0 <= attempt.from_ms) {
            ends.pop();
        }
        ends.push(Reverse(attempt.until_ms));
        if most.is_none_or(|(most, _)| most < ends.len()) {
            most = Some((ends.len(), attempt.from_ms));
        }
    }
    most.map(|(_, at_ms)| at_ms)
}
