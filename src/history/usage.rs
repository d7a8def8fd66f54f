//! How full a pool was: now, by slot, and over the last days.

use chrono::{DateTime, NaiveDate, TimeZone as _, Utc};
use chrono_tz::Tz;

use super::replay::{Slot, Step};
use super::rollup::{self, Slots};
use crate::lease::Instant;
use crate::pool::PoolName;
use crate::store::{Error, Store};

/// A slot with its begin and end.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its begin.
    pub from: Instant,
    /// Its end, or now if it is not over.
    pub until: Instant,
    /// What happened in it.
    pub slot: Slot,
}

impl Span {
    /// Seats in use on the average.
    pub fn mean(&self) -> f64 {
        let ms = self.until.since(self.from);
        if ms == 0 {
            return 0.0;
        }
        self.slot.seat_ms as f64 / ms as f64
    }
}

impl Slots {
    /// The slots with their begins and ends.
    pub fn spans(self) -> Vec<Span> {
        let begin = |number: i64| (self.first + number) * self.step.ms();
        (0_i64..)
            .zip(self.slots)
            .map(|(number, slot)| Span {
                from: Instant(begin(number)),
                until: Instant(begin(number + 1).min(self.now_ms)),
                slot,
            })
            .collect()
    }
}

/// How full a pool is and was.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Seats in use.
    pub current: u64,
    /// Seats in all.
    pub capacity: u64,
    /// Mean of the days' maxima, over the days since the pool has a history.
    pub daily_average: f64,
    /// The most seats in use at once.
    pub daily_max: u64,
    /// The days, the present one last.
    pub days: Vec<(NaiveDate, Span)>,
}

/// How full a pool is, and was in the last `days` days of a time zone, today included. None if there is no pool.
pub async fn usage(
    store: &Store,
    pool: &PoolName,
    days: u32,
    zone: Tz,
) -> Result<Option<Usage>, Error> {
    let Some(now) = store.status(pool).await? else {
        return Ok(None);
    };
    let today = date(now.at, zone);
    let first = today - chrono::Days::new(u64::from(days.saturating_sub(1)));
    let from = midnight(first, zone);
    let days = by_day(store, pool, from, Instant(now.at.0 + 1), zone).await?;
    let highs = || days.iter().map(|(_, day)| day.slot.high_water_mark);
    let daily_average = if days.is_empty() {
        0.0
    } else {
        highs().sum::<u64>() as f64 / days.len() as f64
    };
    Ok(Some(Usage {
        current: now.in_use,
        capacity: now.capacity,
        daily_average,
        daily_max: highs().max().unwrap_or(0),
        days,
    }))
}

/// The slots of a range, one after the other.
pub async fn history(
    store: &Store,
    pool: &PoolName,
    step: Step,
    from: Instant,
    to: Instant,
    zone: Tz,
) -> Result<Vec<Span>, Error> {
    if step == Step::Day && zone != Tz::UTC {
        let days = by_day(store, pool, from, to, zone).await?;
        return Ok(days.into_iter().map(|(_, day)| day).collect());
    }
    spans(store, pool, step, from, to).await
}

async fn spans(
    store: &Store,
    pool: &PoolName,
    step: Step,
    from: Instant,
    to: Instant,
) -> Result<Vec<Span>, Error> {
    let found = rollup::slots(store, pool, step, from.0, to.0).await?;
    Ok(found.map_or_else(Vec::new, Slots::spans))
}

/// Days of a zone. Days of UTC are kept for 800 days; those of other zones are put together from hours, as long as
/// these are kept. In a zone whose offset is not whole hours the hour that midnight falls into counts to the new day.
async fn by_day(
    store: &Store,
    pool: &PoolName,
    from: Instant,
    to: Instant,
    zone: Tz,
) -> Result<Vec<(NaiveDate, Span)>, Error> {
    let step = if zone == Tz::UTC {
        Step::Day
    } else {
        Step::Hour
    };
    let mut days: Vec<(NaiveDate, Span)> = Vec::new();
    for span in spans(store, pool, step, from, to).await? {
        let day = date(Instant(span.until.0 - 1), zone);
        match days.last_mut() {
            Some((last, whole)) if *last == day => {
                whole.slot.append(&span.slot);
                whole.until = span.until;
            }
            _ => days.push((day, span)),
        }
    }
    Ok(days)
}

/// The day of an instant in a zone.
pub(super) fn date(at: Instant, zone: Tz) -> NaiveDate {
    utc(at).with_timezone(&zone).date_naive()
}

/// The first instant of a day. Where clocks go forward at midnight it is the instant of the change.
pub fn midnight(day: NaiveDate, zone: Tz) -> Instant {
    let noon = day.and_hms_opt(12, 0, 0).expect("every day has a noon");
    let mut at = (0..=12)
        .rev()
        .filter_map(|hour| day.and_hms_opt(hour, 0, 0))
        .filter_map(|time| zone.from_local_datetime(&time).earliest())
        .map(|time| time.timestamp_millis())
        .min();
    if at.is_none() {
        at = zone
            .from_local_datetime(&noon)
            .earliest()
            .map(|time| time.timestamp_millis());
    }
    Instant(at.unwrap_or_else(|| noon.and_utc().timestamp_millis()))
}

fn utc(at: Instant) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(at.0).single().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_its_local_midnight_also_when_clocks_change() {
        let zurich: Tz = "Europe/Zurich".parse().unwrap();
        let day = |month, day| NaiveDate::from_ymd_opt(2026, month, day).unwrap();
        let begin = |month, date| midnight(day(month, date), zurich).to_string();
        assert_eq!(begin(3, 29), "2026-03-28T23:00:00.000Z");
        assert_eq!(begin(3, 30), "2026-03-29T22:00:00.000Z");
        assert_eq!(begin(10, 25), "2026-10-24T22:00:00.000Z");
        assert_eq!(begin(10, 26), "2026-10-25T23:00:00.000Z");
    }
}
