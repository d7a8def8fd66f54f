//! How long a pool had how many seats in use, and how many it had in all.
//!
//! From that follow the sustained peak, the time at which the pool was full, and every share of its capacity: exactly,
//! also for a time in which the capacity changed, because times can be added and peaks of samples cannot.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A pool with up to this many seats has a time for each number of them. In a larger one numbers are put together in
/// steps of at most a thousandth of it, or a slot would have no bound.
const EXACT: u64 = 1_024;
/// Capacities that one sum tells apart. A pool with more of them in one slot is being played with.
const CAPACITIES: usize = 64;
/// Numbers of seats, of all capacities together, that one sum tells apart; further ones are put to the next one below. It
/// bounds a slot also where both change all the time.
const PAIRS: usize = 2_048;

/// Milliseconds at each number of seats in use, by the capacity that there was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Levels(BTreeMap<u64, BTreeMap<u64, u64>>);

impl Levels {
    /// No time at all.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds time at a level.
    pub fn add(&mut self, capacity: u64, level: u64, ms: u64) {
        if ms == 0 {
            return;
        }
        let is_crowded = PAIRS <= self.0.values().map(BTreeMap::len).sum();
        let has_room = self.0.len() < CAPACITIES && !is_crowded;
        let capacity = if self.0.contains_key(&capacity) || has_room {
            capacity
        } else {
            let at_most = self.0.range(..capacity).next_back();
            *at_most
                .or_else(|| self.0.first_key_value())
                .expect("there are many")
                .0
        };
        let at = self.0.entry(capacity).or_default();
        let mut level = kept(capacity, level);
        if is_crowded && !at.contains_key(&level) {
            let below = at.range(..level).next_back();
            let next = below.or_else(|| at.first_key_value());
            level = next.map_or(level, |(level, _)| *level);
        }
        *at.entry(level).or_default() += ms;
    }

    /// Adds the times of another.
    pub fn append(&mut self, other: &Self) {
        for (capacity, levels) in &other.0 {
            for (level, ms) in levels {
                self.add(*capacity, *level, *ms);
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let of = |(capacity, levels): (&u64, _)| {
            let capacity = *capacity;
            let levels: &BTreeMap<u64, u64> = levels;
            levels
                .iter()
                .map(move |(level, ms)| (capacity, *level, *ms))
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of)
    }

    /// Milliseconds at each number of seats in use, whatever the capacity was.
    pub fn by_level(&self) -> BTreeMap<u64, u64> {
        let mut sum = BTreeMap::new();
        for (_, level, ms) in self.each() {
            *sum.entry(level).or_default() += ms;
        }
        sum
    }

    /// The time that is known, in milliseconds.
    pub fn ms(&self) -> u64 {
        self.each().map(|(_, _, ms)| ms).sum()
    }

    /// Seats times milliseconds that there were.
    pub fn capacity_ms(&self) -> u64 {
        self.each().map(|(capacity, _, ms)| capacity * ms).sum()
    }

    /// Milliseconds at which at least this percentage of the capacity was in use; 100 is full. A pool without a seat
    /// is never full.
    pub fn at_least_ms(&self, percent: u64) -> u64 {
        self.each()
            .filter(|(capacity, level, _)| *capacity > 0 && percent * capacity <= level * 100)
            .map(|(_, _, ms)| ms)
            .sum()
    }

    /// The sustained peak: the highest number of seats at which at least that many were in use for this many milliseconds in
    /// total, not necessarily on end. Some vendors bill it with 30 minutes, so that a change of shifts costs nothing.
    pub fn sustained(&self, ms: u64) -> u64 {
        let mut reached = 0;
        for (level, there) in self.by_level().into_iter().rev() {
            reached += there;
            if ms <= reached {
                return level;
            }
        }
        0
    }

    /// The fewest seats that were enough for this share of the time.
    pub fn enough_for(&self, share: f64) -> u64 {
        let beyond = (self.ms() as f64 * (1.0 - share)).round() as u64;
        self.sustained(beyond + 1)
    }
}

/// The number that a level is kept as: itself, or the lowest of its step. Being full stays being full.
fn kept(capacity: u64, level: u64) -> u64 {
    let step = |of: u64| of.div_ceil(EXACT).max(1).next_power_of_two();
    if level < capacity {
        level - level % step(capacity)
    } else {
        level - (level - capacity) % step(level)
    }
}

/// As short as JSON allows: for each capacity a list of it, then for each level how many seats it is above the one
/// before, and its milliseconds.
impl Serialize for Levels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|(capacity, levels)| {
            let mut before = 0;
            let mut list = vec![*capacity];
            for (level, ms) in levels {
                list.extend([level - before, *ms]);
                before = *level;
            }
            list
        }))
    }
}

impl<'de> Deserialize<'de> for Levels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lists: Vec<Vec<u64>> = Deserialize::deserialize(deserializer)?;
        let mut levels = Self::default();
        for list in lists {
            let Some((capacity, pairs)) = list.split_first() else {
                continue;
            };
            let mut level = 0;
            let at = levels.0.entry(*capacity).or_default();
            for pair in pairs.chunks_exact(2) {
                level += pair[0];
                at.insert(level, pair[1]);
            }
        }
        Ok(levels)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn a_sustained_peak_is_reached_for_that_time_in_total() {
        let mut levels = Levels::default();
        // 40 for 10 minutes in the morning and 25 in the evening, 41 for a moment, 30 for hours.
        for (level, minutes) in [(30, 300), (40, 10), (41, 4), (0, 600), (40, 25)] {
            levels.add(50, level, minutes * MINUTE);
        }
        assert_eq!(levels.sustained(30 * MINUTE), 40);
        assert_eq!(levels.sustained(1), 41);
        assert_eq!(levels.sustained(4 * MINUTE + 1), 40);
        assert_eq!(levels.sustained(40 * MINUTE), 30);
        // A pool that was not there for that long has none.
        assert_eq!(levels.sustained(10_000 * MINUTE), 0);
    }

    #[test]
    fn shares_are_of_the_capacity_that_there_was() {
        let mut levels = Levels::default();
        levels.add(10, 8, 100);
        levels.add(20, 8, 100);
        levels.add(8, 8, 50);
        levels.add(0, 0, 1_000);
        assert_eq!(levels.at_least_ms(100), 50);
        assert_eq!(levels.at_least_ms(80), 150);
        assert_eq!(levels.at_least_ms(40), 250);
        assert_eq!(levels.capacity_ms(), 10 * 100 + 20 * 100 + 8 * 50);
        assert_eq!(levels.enough_for(0.5), 0);
        assert_eq!(levels.enough_for(0.9), 8);
    }

    #[test]
    fn what_a_slot_keeps_of_a_crowd_is_bounded_and_still_says_when_it_was_full() {
        let mut levels = Levels::default();
        for level in 0..=100_000 {
            levels.add(100_000, level, 1);
        }
        assert!(levels.by_level().len() <= 1_100);
        assert_eq!(levels.at_least_ms(100), 1);
        assert_eq!(levels.ms(), 100_001);
        let sustained = levels.sustained(1_001);
        assert!((98_900..=99_000).contains(&sustained), "{sustained}");
        for capacity in 0..10_000 {
            levels.add(capacity, 5, 1);
        }
        assert!(levels.0.len() <= CAPACITIES);
        assert_eq!(levels.ms(), 110_001);
        for level in 0..1_000 {
            for capacity in 1_000..1_064 {
                levels.add(capacity, level, 1);
            }
        }
        let pairs: usize = levels.0.values().map(BTreeMap::len).sum();
        assert!(pairs <= PAIRS, "{pairs}");
        assert_eq!(levels.ms(), 174_001);
        let text = serde_json::to_string(&levels).unwrap();
        assert!(text.len() < 16 * 1024, "{}", text.len());
    }

    proptest! {
        #[test]
        fn levels_survive_the_way_through_text(
            times in proptest::collection::vec((0..50_u64, 0..60_u64, 0..100_u64), 0..40)
        ) {
            let mut levels = Levels::default();
            for (capacity, level, ms) in times {
                levels.add(capacity, level, ms);
            }
            let text = serde_json::to_string(&levels).unwrap();
            prop_assert_eq!(serde_json::from_str::<Levels>(&text).unwrap(), levels);
        }
    }
}
