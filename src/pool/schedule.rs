//! Other capacities for a time: training, season, special events.
//!
//! Overlapping entries are resolved by one rule: the one that began last counts, and when it ends the one before it
//! counts again, if it still runs. Two that begin at one instant with different capacities contradict each other
//! and are refused.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Policy;
use crate::names::{Invalid, check_sentence};
use crate::time::Timestamp;

/// Maximum entries per schedule.
const MAX_ENTRIES: usize = 100;

/// Another capacity from an instant to an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scheduled {
    /// For people, at most 64 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 64)]
    pub name: String,
    /// The first instant at which it counts.
    pub from: DateTime<Utc>,
    /// The first instant at which it does not count any more.
    pub until: DateTime<Utc>,
    /// Seats in that time, more or fewer than the pool's capacity.
    #[schema(maximum = 10_000_000)]
    pub capacity: u32,
}

/// Refuses entries that are empty, too many, or contradict each other, naming the entry.
pub(super) fn check(schedule: &[Scheduled]) -> Result<(), Invalid> {
    if schedule.len() > MAX_ENTRIES {
        return Err(Invalid(format!(
            "schedule has at most {MAX_ENTRIES} entries"
        )));
    }
    for (at, entry) in schedule.iter().enumerate() {
        if entry.from >= entry.until {
            return Err(Invalid(format!(
                "schedule[{at}].until must be after its from"
            )));
        }
        if entry.from.timestamp_millis() <= 0 {
            return Err(Invalid(format!("schedule[{at}].from must be after 1970")));
        }
        if entry.capacity > Policy::MAX_CAPACITY {
            return Err(Invalid(format!(
                "schedule[{at}].capacity is 0 to {} seats",
                Policy::MAX_CAPACITY
            )));
        }
        if entry.name.len() > 64 {
            return Err(Invalid(format!("schedule[{at}].name has at most 64 bytes")));
        }
        check_sentence("schedule[].name", &entry.name)?;
        for (other, earlier) in schedule[..at].iter().enumerate() {
            if earlier.from == entry.from && earlier.capacity != entry.capacity {
                return Err(Invalid(format!(
                    "schedule[{at}].from is that of schedule[{other}], with another capacity; leave one of them out"
                )));
            }
        }
    }
    Ok(())
}

/// Every change of capacity, in order, as `lua/parts/schedule.lua` reads it: instant in ms, then seats.
pub(super) fn changes(base: u32, schedule: &[Scheduled]) -> String {
    let instants: BTreeSet<DateTime<Utc>> = schedule
        .iter()
        .flat_map(|entry| [entry.from, entry.until])
        .collect();
    let mut line = String::new();
    let mut before = base;
    for at in instants {
        let counts = schedule
            .iter()
            .filter(|entry| entry.from <= at && at < entry.until)
            .max_by_key(|entry| entry.from);
        let capacity = counts.map_or(base, |entry| entry.capacity);
        if capacity != before {
            write!(line, "{} {capacity} ", at.timestamp_millis()).expect("a string takes any text");
            before = capacity;
        }
    }
    line
}

impl Policy {
    /// Seats at an instant: those of the schedule, or the base.
    pub fn capacity_at(&self, at: Timestamp) -> u32 {
        let counts = self
            .schedule
            .iter()
            .filter(|entry| {
                entry.from.timestamp_millis() <= at.0 && at.0 < entry.until.timestamp_millis()
            })
            .max_by_key(|entry| entry.from);
        counts.map_or(self.capacity, |entry| entry.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(from: i64, until: i64, capacity: u32) -> Scheduled {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        Scheduled {
            name: String::new(),
            from: at(from),
            until: at(until),
            capacity,
        }
    }

    #[test]
    fn the_entry_that_began_last_counts_and_the_one_before_it_comes_back() {
        let schedule = [entry(10, 50, 7), entry(20, 30, 2), entry(60, 70, 9)];
        assert_eq!(
            changes(5, &schedule),
            "10000 7 20000 2 30000 7 50000 5 60000 9 70000 5 "
        );
    }

    #[test]
    fn the_capacity_at_an_instant_is_what_the_changes_say() {
        let mut policy = Policy::with_capacity(5);
        policy.schedule = vec![entry(10, 50, 7), entry(20, 30, 2)];
        let at = |second: i64| policy.capacity_at(Timestamp(second * 1_000));
        assert_eq!([at(9), at(10), at(20), at(30), at(50)], [5, 7, 2, 7, 5]);
    }

    #[test]
    fn entries_that_follow_each_other_leave_no_gap() {
        let schedule = [entry(20, 30, 6), entry(10, 20, 7)];
        assert_eq!(changes(5, &schedule), "10000 7 20000 6 30000 5 ");
    }

    #[test]
    fn what_contradicts_is_refused() {
        assert!(check(&[entry(10, 20, 7), entry(10, 15, 6)]).is_err());
        assert!(check(&[entry(10, 20, 7), entry(10, 15, 7)]).is_ok());
        assert!(check(&[entry(20, 20, 7)]).is_err());
    }
}
