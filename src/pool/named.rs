//! Named seats and their billing periods.
//!
//! A period begins at midnight of the anchor day in the pool's time zone; a month without that day has its last one
//! instead. Where a clock change leaves out midnight it begins at the first instant after, and where midnight comes
//! twice at the first. The begins are worked out once, when the policy is put; which of them has come is judged by
//! Redis's clock alone.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Policy;
use crate::names::Invalid;
use crate::time::Timestamp;

/// How many periods are written down ahead: twenty years.
const AHEAD: u32 = 240;

/// Named seats: a holder that gets its first lease in a billing period has one until the period ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// How many, 1 to 10 000 000.
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub seats: u32,
    /// Day of the month on which a period begins, 1 to 31; a month without it begins one on its last day.
    #[serde(default = "first")]
    #[schema(minimum = 1, maximum = 31)]
    pub anchor_day: u32,
    /// Name of the time zone in the IANA database; `UTC` without it.
    #[serde(default = "utc")]
    #[schema(example = "Europe/Zurich")]
    pub time_zone: String,
    /// Whether a holder gets a concurrent seat when all named ones are taken.
    #[serde(default)]
    pub spill_to_concurrent: bool,
}

const fn first() -> u32 {
    1
}

fn utc() -> String {
    "UTC".into()
}

impl Named {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if !(1..=Policy::MAX_CAPACITY).contains(&self.seats) {
            return Err(Invalid(format!(
                "named.seats is 1 to {}",
                Policy::MAX_CAPACITY
            )));
        }
        if !(1..=31).contains(&self.anchor_day) {
            return Err(Invalid("named.anchor_day is 1 to 31".into()));
        }
        if self.time_zone.parse::<Tz>().is_err() {
            return Err(Invalid(
                "named.time_zone is not known; it is a name such as Europe/Zurich or UTC".into(),
            ));
        }
        Ok(())
    }

    /// The starts of the periods from some months before `now`, as `period_of` in `lua/parts/rules.lua` reads them.
    pub(super) fn periods(&self, now: Timestamp) -> String {
        let today = DateTime::from_timestamp_millis(now.0)
            .unwrap_or_default()
            .date_naive();
        let first = today.with_day(1).expect("every month has a first day") - Months::new(3);
        let mut line = String::new();
        for month in 0..AHEAD + 3 {
            let begin = self.begin(first + Months::new(month));
            write!(line, "{:013} ", begin.timestamp_millis().max(0))
                .expect("a string takes any text");
        }
        line
    }

    /// Begin and end of the period of an instant.
    pub fn period(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        let at = DateTime::from_timestamp_millis(at.0).unwrap_or_default();
        let first = at
            .date_naive()
            .with_day(1)
            .expect("every month has a first day")
            - Months::new(2);
        let begins: Vec<_> = (0..5)
            .map(|month| self.begin(first + Months::new(month)))
            .collect();
        let next = begins.partition_point(|begin| *begin <= at);
        let instant = |begin: &DateTime<Utc>| Timestamp(begin.timestamp_millis());
        (instant(&begins[next - 1]), instant(&begins[next]))
    }

    /// When the period of the month that begins with `first` begins.
    fn begin(&self, first: NaiveDate) -> DateTime<Utc> {
        let last = first + Months::new(1) - Days::new(1);
        let day = first
            .with_day(self.anchor_day.min(last.day()))
            .expect("not after the last day of the month");
        let zone: Tz = self.time_zone.parse().unwrap_or(Tz::UTC);
        let mut local: NaiveDateTime = day.and_hms_opt(0, 0, 0).expect("midnight is a time");
        loop {
            if let Some(begin) = local.and_local_timezone(zone).earliest() {
                return begin.to_utc();
            }
            // Midnight was left out; clock changes are of whole quarters of an hour.
            local += TimeDelta::minutes(15);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(anchor_day: u32, time_zone: &str) -> Named {
        Named {
            seats: 1,
            anchor_day,
            time_zone: time_zone.into(),
            spill_to_concurrent: false,
        }
    }

    fn period(named: &Named, at: &str) -> (String, String) {
        let at: DateTime<Utc> = at.parse().unwrap();
        let (begin, end) = named.period(Timestamp(at.timestamp_millis()));
        (begin.to_string(), end.to_string())
    }

    #[test]
    fn a_month_without_the_anchor_day_begins_a_period_on_its_last_day() {
        let named = named(31, "UTC");
        let (begin, end) = period(&named, "2027-02-28T00:00:00Z");
        assert_eq!(begin, "2027-02-28T00:00:00.000Z");
        assert_eq!(end, "2027-03-31T00:00:00.000Z");
        let (begin, end) = period(&named, "2027-02-27T23:59:59.999Z");
        assert_eq!(begin, "2027-01-31T00:00:00.000Z");
        assert_eq!(end, "2027-02-28T00:00:00.000Z");
        assert_eq!(
            period(&named, "2028-02-29T12:00:00Z").0,
            "2028-02-29T00:00:00.000Z"
        );
    }

    #[test]
    fn midnight_is_that_of_the_time_zone_on_days_of_23_and_25_hours_too() {
        // Clocks change at 02:00 on 28 March and at 03:00 on 31 October 2027.
        let spring = named(28, "Europe/Zurich");
        assert_eq!(
            period(&spring, "2027-03-28T05:00:00Z").0,
            "2027-03-27T23:00:00.000Z"
        );
        let after = named(29, "Europe/Zurich");
        assert_eq!(
            period(&after, "2027-03-29T05:00:00Z").0,
            "2027-03-28T22:00:00.000Z"
        );
        let autumn = named(31, "Europe/Zurich");
        assert_eq!(
            period(&autumn, "2027-10-31T12:00:00Z").0,
            "2027-10-30T22:00:00.000Z"
        );
        let winter = named(1, "Europe/Zurich");
        assert_eq!(
            period(&winter, "2027-11-01T12:00:00Z").0,
            "2027-10-31T23:00:00.000Z"
        );
    }

    #[test]
    fn where_midnight_is_left_out_the_period_begins_with_the_day() {
        // Chile goes from 00:00 to 01:00 on 5 September 2027; Cuba has midnight twice on 7 November 2027.
        assert_eq!(
            period(&named(5, "America/Santiago"), "2027-09-05T12:00:00Z").0,
            "2027-09-05T04:00:00.000Z"
        );
        assert_eq!(
            period(&named(7, "America/Havana"), "2027-11-07T12:00:00Z").0,
            "2027-11-07T04:00:00.000Z"
        );
    }

    #[test]
    fn the_periods_for_scripts_are_those_of_the_node() {
        let named = named(5, "Europe/Zurich");
        let at = Timestamp(1_795_000_000_000);
        let line = named.periods(at);
        assert_eq!(line.len() % 14, 0);
        let (begin, end) = named.period(at);
        assert!(line.contains(&format!("{:013} {:013} ", begin.0, end.0)));
        assert!(line.trim_end().split(' ').is_sorted());
    }
}
