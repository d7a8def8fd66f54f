//! The last day of a pool in a few numbers, cheap enough for a page with many pools.

use chrono_tz::Tz;

use super::rollup;
use super::slot::Step;
use super::usage::{Span, date, midnight};
use crate::pool::Pool;
use crate::store::{Error, Store};
use crate::time::Timestamp;

/// Hours of a glance.
pub const HOURS: i64 = 24;
/// Events since the last roll-up that are still counted. A pool that is busier than this is reported as of the roll-up.
const EVENTS: usize = 5_000;

/// The last day of a pool.
#[derive(Debug, Clone, Default)]
pub struct LastDay {
    /// The last hours, the present one last; fewer for a pool that is younger.
    pub hours: Vec<Span>,
    /// The most seats in use at once since midnight.
    pub peak_today: u64,
    /// Denials since midnight; those of one holder within two minutes count once.
    pub denials_today: u64,
    /// Since when no seat is free, if none is.
    pub full_since: Option<Timestamp>,
}

/// A glance at a pool as it was read just now; midnight is that of its own zone.
pub async fn last_day(store: &Store, pool: &Pool) -> Result<LastDay, Error> {
    let found = rollup::latest(store, &pool.name, Step::Hour, HOURS, pool.at, EVENTS).await?;
    let Some(found) = found else {
        return Ok(LastDay::default());
    };
    let today = midnight(date(pool.at, zone(pool)), zone(pool));
    let hours = found.slots.spans();
    let of_today = || hours.iter().filter(|hour| today < hour.until);
    let highs = of_today().map(|hour| hour.slot.high_water_mark);
    let denials = of_today().flat_map(|hour| hour.slot.denials.values());
    Ok(LastDay {
        peak_today: highs.max().unwrap_or(0).max(pool.in_use),
        denials_today: denials.sum(),
        full_since: found
            .full_since
            .filter(|_| pool.capacity > 0 && pool.free() == 0),
        hours,
    })
}

/// The time zone of a pool: that of its billing periods, else UTC.
pub fn zone(pool: &Pool) -> Tz {
    let named = pool.policy.named.as_ref();
    named
        .and_then(|named| named.time_zone.parse().ok())
        .unwrap_or(Tz::UTC)
}
