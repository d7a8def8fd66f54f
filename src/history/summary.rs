//! What a pool came to in some whole days, in one row.

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::slot::{Slot, Step};
use super::usage;
use crate::names::PoolName;
use crate::store::{Error, Store};
use crate::time::Timestamp;

/// Whole days of a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first.
    pub first: NaiveDate,
    /// The last.
    pub last: NaiveDate,
    /// Whose midnights part them.
    pub zone: Tz,
}

impl Days {
    /// The instant at which they begin.
    pub fn from(self) -> Timestamp {
        usage::midnight(self.first, self.zone)
    }

    /// The instant at which they are over.
    pub fn until(self) -> Timestamp {
        usage::midnight(self.last + chrono::Days::new(1), self.zone)
    }

    /// The days of which slots are kept: those of another zone than UTC are put together from hours, and hours are not kept for as long
    /// as days are.
    pub fn kept(self, now: Timestamp) -> Self {
        let oldest = now.0 - Step::Hour.kept_ms();
        let zone = if self.from().0 < oldest {
            Tz::UTC
        } else {
            self.zone
        };
        Self { zone, ..self }
    }
}

/// What a pool came to.
#[derive(Debug, Clone)]
pub struct Summary {
    /// When what is known begins.
    pub from: Timestamp,
    /// When it ends: with the days, or now.
    pub until: Timestamp,
    /// The most seats in use at once, and the last of the days on which that was.
    pub peak: (u64, NaiveDate),
    /// Mean of the days' maxima.
    pub daily_average: f64,
    /// All of it together.
    pub whole: Slot,
}

/// What a pool came to in some days, as far as slots are kept; none if nothing is known of any of them.
pub async fn summary(store: &Store, pool: &PoolName, days: Days) -> Result<Option<Summary>, Error> {
    let found = usage::by_day(store, pool, days.from(), days.until(), days.zone).await?;
    let (Some((first, from)), Some((_, last))) = (found.first(), found.last()) else {
        return Ok(None);
    };
    let mut summary = Summary {
        from: from.from,
        until: last.until,
        peak: (0, *first),
        daily_average: 0.0,
        whole: Slot::default(),
    };
    for (date, day) in &found {
        let most = day.slot.high_water_mark;
        if summary.peak.0 <= most {
            summary.peak = (most, *date);
        }
        summary.daily_average += most as f64 / found.len() as f64;
        summary.whole.append(&day.slot);
    }
    Ok(Some(summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_that_lies_back_for_longer_than_hours_are_kept_has_days_of_utc() {
        let day = |month, day| NaiveDate::from_ymd_opt(2026, month, day).unwrap();
        let days = Days {
            first: day(10, 1),
            last: day(10, 31),
            zone: Tz::Europe__Zurich,
        };
        assert_eq!(days.from().to_string(), "2026-09-30T22:00:00.000Z");
        assert_eq!(days.until().to_string(), "2026-10-31T23:00:00.000Z");
        let soon = Timestamp(days.until().0 + 86_400_000);
        assert_eq!(days.kept(soon), days);
        let late = Timestamp(days.until().0 + 7 * 86_400_000);
        assert_eq!(
            days.kept(late).from().to_string(),
            "2026-10-01T00:00:00.000Z"
        );
    }
}
