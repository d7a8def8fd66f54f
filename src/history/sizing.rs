//! How many seats a pool needs: the recorded demand, replayed with other numbers of seats.
//!
//! A replay is worth more than a formula, because arrivals are not random: shifts begin together. [`super::formulas`]
//! stand next to it as a cross-check. Deliberately absent: a single "right" number. Three are offered with what they cost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use chrono_tz::Tz;

use super::attempt::{Attempt, busy_hour, holders, peak};
use super::formulas::{engset, erlang_b};
use super::levels::Levels;
use crate::time::Timestamp;

/// Points of a curve, at most.
pub(super) const POINTS: u64 = 50;

/// What it would have meant to give idle seats away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Harvest {
    /// Seats that were idle on average.
    pub idle_mean: f64,
    /// The number of seats with which nobody would have been refused.
    pub seats_needed: u64,
    /// So many requests fewer would have been refused with the seats that there were.
    pub denials_avoided: u64,
}

/// The requests of a range of time.
#[derive(Debug, Clone)]
pub struct Demand {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
    /// In order of their start.
    pub(super) attempts: Vec<Attempt>,
    /// The same without the stretches in which a seat was idle.
    pub(super) busy_attempts: Vec<Attempt>,
    /// The load for the formulas, and from how many holders it comes.
    busy: f64,
    holders: u64,
}

/// What this number of seats would have meant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// The seats.
    pub seats: u64,
    /// Requests that would have been refused.
    pub denials: u64,
    /// Holders to whom that would have happened.
    pub holders_denied: u64,
    /// The longest time until one of them could have had a seat, ms.
    pub longest_wait_ms: u64,
    /// Share of refused requests by Erlang's B formula, in the busy hour.
    pub erlang_b: f64,
    /// Share of time at which all seats are taken by Engset's formula, in the busy hour.
    pub engset: f64,
    /// Time at which all seats would have been taken, ms.
    pub full_ms: u64,
    /// Seats times milliseconds that nobody would have used.
    pub unused_seat_ms: u64,
}

impl Demand {
    /// Takes requests in any order.
    pub fn new(from: Timestamp, to: Timestamp, mut attempts: Vec<Attempt>) -> Self {
        attempts.sort_by_key(|attempt| attempt.from_ms);
        let holders = holders(&attempts);
        let busy = busy_hour(&attempts, Tz::UTC);
        Self {
            from,
            to,
            attempts,
            busy_attempts: Vec::new(),
            busy,
            holders,
        }
    }

    /// With what is left of the requests without the stretches in which a seat was idle, in any order.
    pub(super) fn with_busy(mut self, busy_attempts: Vec<Attempt>) -> Self {
        self.busy_attempts = busy_attempts;
        self
    }

    /// What it would have meant to give idle seats away, with this number of seats: whoever comes back asks anew.
    pub fn harvest(&self, seats: u64) -> Harvest {
        let busy = Self::new(self.from, self.to, self.busy_attempts.clone());
        let (all, fewer) = (self.with(seats).denials, busy.with(seats).denials);
        // Before the first request there is nothing that could have been idle: a pool that is a week old is not diluted by a month.
        let begun = self
            .attempts
            .first()
            .map_or(self.to.0, |first| first.from_ms);
        let range = (self.to.0 - begun.max(self.from.0)).max(1);
        Harvest {
            idle_mean: (self.wanted() - busy.wanted()).max(0) as f64 / range as f64,
            seats_needed: busy.peak(),
            denials_avoided: all.saturating_sub(fewer),
        }
    }

    /// The same, with the busy hour of the days of a time zone.
    pub fn in_zone(mut self, zone: Tz) -> Self {
        self.busy = busy_hour(&self.attempts, zone);
        self
    }

    /// Number of requests.
    pub fn len(&self) -> u64 {
        self.attempts.len() as u64
    }

    /// Whether nobody wanted a seat.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// How many of them were truly denied.
    pub fn denied(&self) -> u64 {
        self.attempts
            .iter()
            .filter(|attempt| attempt.denied)
            .count() as u64
    }

    /// How many holders there are, each of the anonymous counted as one.
    pub fn holders(&self) -> u64 {
        self.holders
    }

    /// Seats that were wanted on average in the busiest hour of a day, the mean over the days: what formulas call
    /// the offered load of the busy hour, in Erlang (average daily peak hour of ITU-T E.492).
    pub fn busy_hour_load(&self) -> f64 {
        self.busy
    }

    /// How long each number of seats was wanted at once.
    pub fn levels(&self) -> Levels {
        let mut changes: Vec<(i64, bool)> = Vec::with_capacity(2 * self.attempts.len());
        for attempt in &self.attempts {
            changes.extend([(attempt.from_ms, true), (attempt.until_ms, false)]);
        }
        changes.sort_unstable();
        let mut levels = Levels::none();
        let (mut level, mut since) = (0_u64, self.from.0);
        for (at, is_begin) in changes.into_iter().chain([(self.to.0, false)]) {
            levels.add(0, level, u64::try_from(at - since).unwrap_or(0));
            since = since.max(at);
            level = if is_begin {
                level + 1
            } else {
                level.saturating_sub(1)
            };
        }
        levels
    }

    /// Seat-milliseconds that were wanted.
    fn wanted(&self) -> i64 {
        self.attempts
            .iter()
            .map(|attempt| attempt.until_ms - attempt.from_ms)
            .sum()
    }

    /// Seats that were wanted on average: the offered load, in Erlang.
    pub fn load(&self) -> f64 {
        let (range, wanted) = (self.to.since(self.from), self.wanted());
        if range == 0 {
            0.0
        } else {
            wanted as f64 / range as f64
        }
    }

    /// The most seats that were wanted at once.
    pub fn peak(&self) -> u64 {
        peak(&self.attempts, |_| true)
    }

    /// What `seats` seats would have meant. A refused request is gone: whether its holder would have asked again is not
    /// known, so the number of refusals is a lower bound.
    pub fn with(&self, seats: u64) -> Point {
        let mut ends: BinaryHeap<Reverse<i64>> = BinaryHeap::new();
        let mut holders: HashSet<&Arc<str>> = HashSet::new();
        let (mut denials, mut anonymous, mut longest) = (0, 0, 0);
        let (mut full_ms, mut full_since, mut used_ms) = (0, self.from.0, 0);
        for attempt in &self.attempts {
            while let Some(end) = ends.peek().filter(|end| end.0 <= attempt.from_ms) {
                if ends.len() as u64 == seats {
                    full_ms += end.0 - full_since;
                }
                ends.pop();
            }
            if (ends.len() as u64) < seats {
                ends.push(Reverse(attempt.until_ms));
                used_ms += attempt.until_ms - attempt.from_ms;
                full_since = attempt.from_ms;
                continue;
            }
            denials += 1;
            match &attempt.holder {
                Some(holder) => drop(holders.insert(holder)),
                None => anonymous += 1,
            }
            let free = ends.peek().map_or(attempt.until_ms, |end| end.0);
            longest = longest.max(free - attempt.from_ms);
        }
        if ends.len() as u64 == seats {
            full_ms += ends.peek().map_or(self.to.0, |end| end.0.min(self.to.0)) - full_since;
        }
        let there_ms = seats.saturating_mul(self.to.since(self.from));
        Point {
            seats,
            denials,
            holders_denied: holders.len() as u64 + anonymous,
            longest_wait_ms: u64::try_from(longest).unwrap_or(0),
            erlang_b: erlang_b(seats, self.busy),
            engset: engset(seats, self.holders, self.busy),
            full_ms: u64::try_from(full_ms).unwrap_or(0),
            unused_seat_ms: there_ms.saturating_sub(u64::try_from(used_ms).unwrap_or(0)),
        }
    }

    /// What different numbers of seats would have meant, from one to the peak.
    pub fn curve(&self) -> Vec<Point> {
        let peak = self.peak();
        let step = peak.div_ceil(POINTS).max(1);
        let mut seats: Vec<u64> = (1..=peak)
            .step_by(usize::try_from(step).unwrap_or(1))
            .collect();
        if seats.last().is_some_and(|last| *last < peak) {
            seats.push(peak);
        }
        seats.into_iter().map(|seats| self.with(seats)).collect()
    }

    /// The fewest seats with which at most this share of the requests would have been refused.
    pub fn fewest(&self, share: f64) -> Point {
        let (mut low, mut high) = (0, self.peak());
        while low < high {
            let middle = (low + high) / 2;
            if self.with(middle).denials as f64 <= share * self.len() as f64 {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        self.with(low)
    }
}

/// Where a curve bends: the point that is farthest below the straight line between its ends (the idea of Kneedle:
/// Satopää and others, 2011). None for a curve of fewer than three points, or one that bends nowhere.
pub fn knee(curve: &[Point]) -> Option<Point> {
    let (first, last) = (curve.first()?, curve.last()?);
    let wide = last
        .seats
        .checked_sub(first.seats)
        .filter(|wide| *wide > 0)? as f64;
    let high = first
        .denials
        .checked_sub(last.denials)
        .filter(|high| *high > 0)? as f64;
    let below = |point: &Point| {
        let along = (point.seats - first.seats) as f64 / wide;
        let left = point.denials.saturating_sub(last.denials) as f64 / high;
        1.0 - along - left
    };
    let knee = curve.iter().max_by(|a, b| below(a).total_cmp(&below(b)))?;
    (below(knee) > 0.05).then_some(*knee)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn attempt(holder: &str, from_ms: i64, until_ms: i64) -> Attempt {
        Attempt {
            from_ms,
            until_ms,
            holder: Some(holder.into()),
            denied: false,
        }
    }

    fn day(attempts: Vec<Attempt>) -> Demand {
        Demand::new(Timestamp(0), Timestamp(24 * HOUR), attempts)
    }

    #[test]
    fn a_replay_refuses_who_finds_no_seat_and_no_other() {
        let demand = day(vec![
            attempt("ann", 0, 100),
            attempt("bob", 10, 50),
            attempt("cid", 20, 60),
            attempt("cid", 55, 70),
            attempt("dan", 100, 110),
        ]);
        assert_eq!(demand.peak(), 3);
        let point = demand.with(2);
        assert_eq!(
            (point.denials, point.holders_denied, point.longest_wait_ms),
            (1, 1, 30)
        );
        let point = demand.with(1);
        // A seat that comes free at an instant is free for a request at that instant.
        assert_eq!(
            (point.denials, point.holders_denied, point.longest_wait_ms),
            (3, 2, 90)
        );
        assert_eq!(demand.with(3).denials, 0);
        // One seat: ann has it up to 100, then dan.
        assert_eq!(
            (point.full_ms, point.unused_seat_ms),
            (110, 86_400_000 - 110)
        );
        let point = demand.with(2);
        // Taken by ann and bob from 10 to 50, by ann and the second cid from 55 to 70.
        assert_eq!(
            (point.full_ms, point.unused_seat_ms),
            (55, 2 * 86_400_000 - 100 - 40 - 15 - 10)
        );
        assert_eq!(demand.fewest(0.0).seats, 3);
        assert_eq!(demand.fewest(0.2).seats, 2);
    }

    #[test]
    fn a_harvest_gives_idle_stretches_away_and_nothing_else() {
        let ann = attempt("ann", 0, 100);
        let parts = |stretches: &[(i64, i64)]| -> Vec<(i64, i64)> {
            let parts = ann.without(stretches).into_iter();
            parts.map(|part| (part.from_ms, part.until_ms)).collect()
        };
        assert_eq!(parts(&[]), [(0, 100)]);
        assert_eq!(parts(&[(20, 40), (90, 120)]), [(0, 20), (40, 90)]);
        assert_eq!(parts(&[(-10, 5)]), [(5, 100)]);
        assert_eq!(parts(&[(0, 100)]), []);

        // Bob and Cid want a seat while Ann is idle, and there is one.
        let all = [ann.clone(), attempt("bob", 25, 35), attempt("cid", 30, 38)];
        let busy: Vec<Attempt> = ann
            .without(&[(20, 40)])
            .into_iter()
            .chain(all[1..].to_vec())
            .collect();
        let demand = day(all.to_vec()).with_busy(busy);
        assert_eq!(demand.with(1).denials, 2);
        let expected = Harvest {
            idle_mean: 20.0 / (24 * HOUR) as f64,
            seats_needed: 2,
            denials_avoided: 1,
        };
        let harvest = demand.harvest(1);
        assert!((harvest.idle_mean - expected.idle_mean).abs() < 1e-12);
        let counts = |harvest: Harvest| (harvest.seats_needed, harvest.denials_avoided);
        assert_eq!(counts(harvest), counts(expected));
    }

    #[test]
    fn a_curve_bends_where_further_seats_help_little() {
        let point = |seats, denials| Point {
            seats,
            denials,
            ..Point::default()
        };
        let bent = [
            point(1, 100),
            point(2, 40),
            point(3, 10),
            point(4, 6),
            point(5, 0),
        ];
        assert_eq!(knee(&bent).map(|knee| knee.seats), Some(3));
        let straight = [point(1, 20), point(2, 10), point(3, 0)];
        assert_eq!(knee(&straight), None);
        assert_eq!(knee(&[]), None);
    }

    #[test]
    fn the_load_of_the_busy_hour_is_that_of_each_day_s_busiest() {
        let zurich: Tz = "Europe/Zurich".parse().unwrap();
        let day = |day: i64, seats: i64| {
            (0..seats).map(move |_| {
                attempt(
                    "ann",
                    day * 24 * HOUR + 22 * HOUR,
                    day * 24 * HOUR + 24 * HOUR,
                )
            })
        };
        let attempts: Vec<Attempt> = day(0, 4).chain(day(1, 2)).collect();
        let demand = Demand::new(Timestamp(0), Timestamp(48 * HOUR), attempts);
        assert_eq!(demand.busy_hour_load(), 3.0);
        assert_eq!(demand.levels().sustained(2 * 3_600_000), 4);
        assert_eq!(demand.levels().sustained(2 * 3_600_000 + 1), 2);
        assert_eq!(demand.levels().ms(), 48 * 3_600_000);
        // In Zurich the last hours belong to the next days.
        assert_eq!(
            demand.in_zone(zurich).busy_hour_load(),
            (4.0 + 4.0 + 2.0) / 3.0
        );
    }

    #[test]
    fn a_hundred_thousand_leases_are_replayed_in_no_time_worth_mentioning() {
        let attempts = (0..100_000_i64)
            .map(|n| attempt(&format!("user-{}", n % 1_000), n * 800, n * 800 + 60_000))
            .collect();
        let demand = day(attempts);
        let curve = demand.curve();
        assert!(curve.len() <= 51);
        assert_eq!(curve.last().unwrap().denials, 0);
        assert!(
            curve
                .windows(2)
                .all(|pair| pair[1].denials <= pair[0].denials)
        );
    }
}
