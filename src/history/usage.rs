//! How full a pool was: now, by slot, and over the last days.

use chrono::{DateTime, NaiveDate, Offset as _, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

use super::rollup::{self, Slots};
use super::slot::{Slot, Step};
use crate::names::PoolName;
use crate::store::{Error, Store};
use crate::time::Timestamp;

/// A slot with its start and end.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its begin.
    pub from: Timestamp,
    /// Its end, or now if it is not over.
    pub until: Timestamp,
    /// What happened in it.
    pub slot: Slot,
}

impl Span {
    /// Seats in use on average.
    pub fn mean(&self) -> f64 {
        let ms = self.until.since(self.from);
        if ms == 0 {
            return 0.0;
        }
        self.slot.seat_ms as f64 / ms as f64
    }

    /// Seats that were idle on average.
    pub fn idle_mean(&self) -> f64 {
        let ms = self.until.since(self.from);
        if ms == 0 {
            return 0.0;
        }
        self.slot.idle_ms as f64 / ms as f64
    }
}

impl Slots {
    /// The slots with their begins and ends.
    pub fn spans(self) -> Vec<Span> {
        let begin = |number: i64| (self.first + number) * self.step.ms();
        (0_i64..)
            .zip(self.slots)
            .map(|(number, slot)| Span {
                from: Timestamp(begin(number)),
                until: Timestamp(begin(number + 1).min(self.now_ms)),
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
    /// Seats in use that are idle, in a pool whose policy says when they are.
    pub idle: Option<u64>,
    /// Mean of the days' maxima, over the days since the pool has a history.
    pub daily_average: f64,
    /// The most seats in use at once.
    pub daily_max: u64,
    /// The days, the present one last.
    pub days: Vec<(NaiveDate, Span)>,
    /// All days together.
    pub whole: Slot,
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
    let days = by_day(store, pool, from, Timestamp(now.at.0 + 1), zone).await?;
    let mut whole = Slot::default();
    for (_, day) in &days {
        whole.append(&day.slot);
    }
    let highs = || days.iter().map(|(_, day)| day.slot.high_water_mark);
    let daily_average = if days.is_empty() {
        0.0
    } else {
        highs().sum::<u64>() as f64 / days.len() as f64
    };
    Ok(Some(Usage {
        current: now.in_use,
        capacity: now.capacity,
        idle: now.policy.idle.map(|_| now.idle),
        daily_average,
        daily_max: highs().max().unwrap_or(0),
        days,
        whole,
    }))
}

/// The slots of a range, one after the other, as long as they are kept. Hours and days begin when they do in the zone.
pub async fn history(
    store: &Store,
    pool: &PoolName,
    step: Step,
    from: Timestamp,
    to: Timestamp,
    zone: Tz,
) -> Result<Vec<Span>, Error> {
    match step {
        Step::Day => {
            let days = by_day(store, pool, from, to, zone).await?;
            Ok(days.into_iter().map(|(_, day)| day).collect())
        }
        Step::Hour if !has_whole_hours(zone, from, to) => {
            let from = hour(from, zone);
            let quarters = spans(store, pool, Step::Quarter, from, to).await?;
            let hours = together(quarters, |at| hour(at, zone));
            Ok(hours.into_iter().map(|(_, hour)| hour).collect())
        }
        step => spans(store, pool, step, from, to).await,
    }
}

pub(super) async fn spans(
    store: &Store,
    pool: &PoolName,
    step: Step,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Span>, Error> {
    let found = rollup::slots(store, pool, step, from.0, to.0).await?;
    Ok(found.map_or_else(Vec::new, Slots::spans))
}

/// Whole days of a zone. Days of UTC are kept for 800 days; those of other zones are put together from hours, or from
/// quarters of an hour, as long as these are kept.
pub(super) async fn by_day(
    store: &Store,
    pool: &PoolName,
    from: Timestamp,
    to: Timestamp,
    zone: Tz,
) -> Result<Vec<(NaiveDate, Span)>, Error> {
    let from = midnight(date(from, zone), zone);
    let last = date(Timestamp(to.0 - 1), zone);
    let to = midnight(last + chrono::Days::new(1), zone);
    let step = if zone == Tz::UTC {
        Step::Day
    } else {
        parts(zone, from, to)
    };
    let spans = spans(store, pool, step, from, to).await?;
    Ok(together(spans, |at| date(at, zone)))
}

/// The longest slots of which the hours of a zone consist in a range.
pub(super) fn parts(zone: Tz, from: Timestamp, to: Timestamp) -> Step {
    if has_whole_hours(zone, from, to) {
        Step::Hour
    } else {
        Step::Quarter
    }
}

fn has_whole_hours(zone: Tz, from: Timestamp, to: Timestamp) -> bool {
    [from, to]
        .iter()
        .all(|at| local(*at, zone).offset().fix().local_minus_utc() % 3_600 == 0)
}

/// Puts spans together that follow each other and have something in common.
fn together<T: PartialEq>(spans: Vec<Span>, of: impl Fn(Timestamp) -> T) -> Vec<(T, Span)> {
    let mut whole: Vec<(T, Span)> = Vec::new();
    for span in spans {
        let common = of(span.from);
        match whole.last_mut() {
            Some((last, sum)) if *last == common => {
                sum.slot.append(&span.slot);
                sum.until = span.until;
            }
            _ => whole.push((common, span)),
        }
    }
    whole
}

/// The start of the hour of an instant, as clocks show it.
fn hour(at: Timestamp, zone: Tz) -> Timestamp {
    let local = local(at, zone);
    let into = i64::from(local.minute() * 60 + local.second()) * 1_000;
    Timestamp(at.0 - into - i64::from(local.timestamp_subsec_millis()))
}

/// An instant as clocks of a zone show it.
pub(super) fn local(at: Timestamp, zone: Tz) -> DateTime<Tz> {
    utc(at).with_timezone(&zone)
}

/// The day of an instant in a zone.
pub fn date(at: Timestamp, zone: Tz) -> NaiveDate {
    local(at, zone).date_naive()
}

/// The first instant of a day. Where clocks go forward at midnight it is the instant of the change.
pub fn midnight(day: NaiveDate, zone: Tz) -> Timestamp {
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
    Timestamp(at.unwrap_or_else(|| noon.and_utc().timestamp_millis()))
}

fn utc(at: Timestamp) -> DateTime<Utc> {
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

    #[test]
    fn days_have_as_many_hours_as_clocks_give_them() {
        let lengths = |zone: &str, month, days: std::ops::Range<u32>| -> Vec<i64> {
            let zone: Tz = zone.parse().unwrap();
            let begin = |day| midnight(NaiveDate::from_ymd_opt(2026, month, day).unwrap(), zone).0;
            days.map(|day| (begin(day + 1) - begin(day)) / 900_000)
                .collect()
        };
        assert_eq!(lengths("Europe/Zurich", 3, 28..31), [96, 92, 96]);
        assert_eq!(lengths("Europe/Zurich", 10, 24..27), [96, 100, 96]);
        assert_eq!(lengths("Australia/Lord_Howe", 4, 4..7), [96, 98, 96]);
        assert_eq!(lengths("Asia/Kathmandu", 4, 4..7), [96, 96, 96]);
    }

    #[test]
    fn slots_are_put_together_by_the_clock_of_a_zone() {
        let spans = |from: i64, count: i64| -> Vec<Span> {
            (0..count)
                .map(|at| Span {
                    from: Timestamp(from + at * 900_000),
                    until: Timestamp(from + (at + 1) * 900_000),
                    slot: Slot::idle(1, 2, 900_000),
                })
                .collect()
        };
        // Two hours from 00:00 UTC in Kolkata, at +05:30: the rest of one hour, a whole one, and the start of the next.
        let kolkata: Tz = "Asia/Kolkata".parse().unwrap();
        let begin = 1_790_000_000_000 - 1_790_000_000_000 % 86_400_000;
        let hours = together(spans(begin, 8), |at| hour(at, kolkata));
        let seat_ms: Vec<_> = hours.iter().map(|(_, hour)| hour.slot.seat_ms).collect();
        assert_eq!(seat_ms, [1_800_000, 3_600_000, 1_800_000]);

        // The hour from two to three that comes twice is two hours of one day.
        let zurich: Tz = "Europe/Zurich".parse().unwrap();
        let midnight = midnight(NaiveDate::from_ymd_opt(2026, 10, 25).unwrap(), zurich);
        let hours = together(spans(midnight.0, 100), |at| hour(at, zurich));
        assert_eq!(hours.len(), 25);
        let days = together(spans(midnight.0, 104), |at| date(at, zurich));
        let seat_ms: Vec<_> = days
            .iter()
            .map(|(_, day)| day.slot.seat_ms / 900_000)
            .collect();
        assert_eq!(seat_ms, [100, 4]);
    }
}
