//! One recorded day with all seats that were wanted, and with those that somebody used.

use chrono::Days;
use chrono_tz::Tz;

use super::attempt::{Attempt, peak_at};
use super::sizing::Demand;
use super::usage::{date, midnight};
use crate::time::Timestamp;

/// Length of a part of the day, ms.
pub const PART_MS: i64 = 900_000;

/// The day on which most seats were wanted at once, in parts of a quarter of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusiestDay {
    /// Its begin.
    pub from: Timestamp,
    /// The most seats that were wanted at once in each part.
    pub wanted: Vec<u64>,
    /// The same without those that were idle.
    pub used: Vec<u64>,
}

impl BusiestDay {
    /// The busiest day of a time zone, if somebody wanted a seat.
    pub fn of(demand: &Demand, zone: Tz) -> Option<Self> {
        let day = date(Timestamp(peak_at(&demand.attempts)?), zone);
        let from = midnight(day, zone);
        let until = midnight(day.checked_add_days(Days::new(1))?, zone).min(demand.to);
        Some(Self {
            from,
            wanted: most_in_parts(&demand.attempts, from.0, until.0),
            used: most_in_parts(&demand.busy_attempts, from.0, until.0),
        })
    }
}

/// The most requests at once in each part of a range.
fn most_in_parts(attempts: &[Attempt], from_ms: i64, until_ms: i64) -> Vec<u64> {
    let is_of_the_range =
        |attempt: &&Attempt| attempt.from_ms < until_ms && from_ms < attempt.until_ms;
    let mut changes: Vec<(i64, bool)> = attempts
        .iter()
        .filter(is_of_the_range)
        .flat_map(|attempt| [(attempt.from_ms, true), (attempt.until_ms, false)])
        .collect();
    // An end comes before a start at the same instant.
    changes.sort_unstable();
    let part_of = |at_ms: i64| usize::try_from((at_ms - from_ms) / PART_MS).unwrap_or(0);
    let mut most = vec![0; part_of(until_ms - 1) + 1];
    let (mut level, mut since) = (0_u64, from_ms);
    for (at_ms, begins) in changes.into_iter().chain([(until_ms, false)]) {
        let at_ms = at_ms.min(until_ms);
        if since < at_ms {
            for part in &mut most[part_of(since)..=part_of(at_ms - 1)] {
                *part = level.max(*part);
            }
            since = at_ms;
        }
        level = if begins {
            level + 1
        } else {
            level.saturating_sub(1)
        };
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn attempt(from_ms: i64, until_ms: i64) -> Attempt {
        Attempt {
            from_ms,
            until_ms,
            holder: None,
            denied: false,
        }
    }

    #[test]
    fn the_busiest_day_has_the_most_at_once_in_each_part_with_and_without_idle_seats() {
        // Two at once on the first day in UTC, and one on the second.
        let all = vec![
            attempt(HOUR, 2 * HOUR),
            attempt(2 * HOUR - 1, 3 * HOUR),
            attempt(3 * HOUR, 30 * HOUR),
        ];
        let used = vec![attempt(HOUR, 2 * HOUR), attempt(23 * HOUR, 30 * HOUR)];
        let demand = Demand::new(Timestamp(0), Timestamp(48 * HOUR), all).with_busy(used);
        let day = BusiestDay::of(&demand, Tz::UTC).unwrap();
        assert_eq!((day.from, day.wanted.len()), (Timestamp(0), 96));
        let at = |quarters: &[usize], parts: &[u64]| -> Vec<u64> {
            quarters.iter().map(|quarter| parts[*quarter]).collect()
        };
        let quarters = [3, 4, 7, 8, 12, 91, 92, 95];
        assert_eq!(at(&quarters, &day.wanted), [0, 1, 2, 1, 1, 1, 1, 1]);
        assert_eq!(at(&quarters, &day.used), [0, 1, 1, 0, 0, 0, 1, 1]);

        // In Zurich it began an hour earlier, and what is not over yet ends with the range.
        let zurich = BusiestDay::of(&demand, Tz::Europe__Zurich).unwrap();
        assert_eq!(zurich.from, Timestamp(-HOUR));
        let short = Demand::new(
            Timestamp(0),
            Timestamp(2 * HOUR),
            vec![attempt(HOUR, 2 * HOUR)],
        );
        let short = BusiestDay::of(&short, Tz::UTC).unwrap();
        assert_eq!((short.wanted.len(), short.used), (8, vec![0; 8]));
        assert_eq!(
            BusiestDay::of(&Demand::new(Timestamp(0), Timestamp(1), vec![]), Tz::UTC),
            None
        );
    }
}
