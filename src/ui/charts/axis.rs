//! Axes whose marks are where people look for them: at whole seats, at full hours and at local midnights.

use std::ops::Range;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;
use plotters::coord::ranged1d::{
    KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter,
};

use crate::history::usage::midnight;
use crate::time::Timestamp;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// An axis with its marks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    marks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to at least `most`, with at most `marks` marks at whole numbers.
    pub(super) fn of_numbers(most: u64, marks: u64) -> Self {
        let most = most.max(1);
        let step = step(most.div_ceil(marks.max(1)));
        let marks = (0..=most / step).map(|at| at * step);
        Self {
            from: 0.0,
            to: most as f64 * 1.04,
            marks: marks.map(|at| (at as f64, grouped(at))).collect(),
        }
    }

    /// From one instant to another, with at most `marks` marks in a time zone.
    pub(super) fn of_time(from: Timestamp, to: Timestamp, zone: Tz, marks: i64) -> Self {
        let wanted = (to.0 - from.0) / marks.max(1);
        let minutes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720];
        let marks = match minutes.into_iter().find(|step| wanted <= step * MINUTE) {
            Some(step) => of_minutes(from, to, zone, step),
            None => of_days(from, to, zone, wanted),
        };
        Self {
            from: from.0 as f64,
            to: to.0 as f64,
            marks,
        }
    }

    /// Where a value is, as a share of the axis.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from).max(1e-9)
    }

    /// What is written at a mark.
    pub(super) fn label(&self, at: f64) -> String {
        let mark = self.marks.iter().find(|(mark, _)| *mark == at);
        mark.map(|(_, label)| label.clone()).unwrap_or_default()
    }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn step(least: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for step in [unit, unit * 2, unit * 5] {
            if least <= step {
                return step;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

fn grouped(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{}k", number as f64 / 1e3),
        _ => format!("{}M", number as f64 / 1e6),
    }
}

fn local(at: i64, zone: Tz) -> DateTime<Tz> {
    let utc: DateTime<Utc> = Utc.timestamp_millis_opt(at).single().unwrap_or_default();
    utc.with_timezone(&zone)
}

/// Marks at local times that are multiples of `step` minutes; at midnight the date. Offsets are multiples of a quarter of an
/// hour, so that looking at each quarter finds all.
fn of_minutes(from: Timestamp, to: Timestamp, zone: Tz, step: i64) -> Vec<(f64, String)> {
    let look = (step.min(15)) * MINUTE;
    let first = from.0.div_euclid(look) * look;
    (0..=(to.0 - first) / look)
        .map(|at| first + at * look)
        .filter(|at| from.0 <= *at && *at <= to.0)
        .filter_map(|at| {
            let time = local(at, zone);
            let minute = i64::from(time.hour() * 60 + time.minute());
            (minute % step == 0).then(|| {
                let label = if minute == 0 {
                    time.format("%-d %b").to_string()
                } else {
                    time.format("%H:%M").to_string()
                };
                (at as f64, label)
            })
        })
        .collect()
}

/// Marks at local midnights.
fn of_days(from: Timestamp, to: Timestamp, zone: Tz, wanted: i64) -> Vec<(f64, String)> {
    let days = [1, 2, 3, 7, 14, 28, 56, 91, 182];
    let step = days.into_iter().find(|days| wanted <= days * DAY);
    let step = u64::try_from(step.unwrap_or(365)).unwrap_or(1);
    let end = local(to.0, zone).date_naive();
    let mut day: NaiveDate = local(from.0, zone).date_naive();
    let mut marks = Vec::new();
    let mut year = day.year();
    while day <= end {
        let at = midnight(day, zone);
        if from <= at && at <= to {
            // A year is said where it changes.
            let format = if day.year() == year {
                "%-d %b"
            } else {
                "%-d %b %Y"
            };
            year = day.year();
            marks.push((at.0 as f64, day.format(format).to_string()));
        }
        day = day + Days::new(step);
    }
    marks
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.share(*value).clamp(0.0, 1.0) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight() {
            KeyPointWeight::Bold => self.marks.iter().map(|(at, _)| *at).collect(),
            KeyPointWeight::Any => Vec::new(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, at: &f64) -> String {
        self.label(*at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<DateTime<Utc>>().unwrap().timestamp_millis())
    }

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.marks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn marks_are_whole_numbers_that_people_count_in() {
        assert_eq!(
            labels(&Axis::of_numbers(5, 5)),
            ["0", "1", "2", "3", "4", "5"]
        );
        assert_eq!(
            labels(&Axis::of_numbers(47, 5)),
            ["0", "10", "20", "30", "40"]
        );
        assert_eq!(labels(&Axis::of_numbers(0, 5)), ["0", "1"]);
        assert_eq!(
            labels(&Axis::of_numbers(60_000, 3)),
            ["0", "20k", "40k", "60k"]
        );
    }

    #[test]
    fn marks_are_local_times_also_on_the_day_that_clocks_change() {
        let zurich: Tz = "Europe/Zurich".parse().unwrap();
        let axis = Axis::of_time(
            at("2026-03-28T23:00:00Z"),
            at("2026-03-29T22:00:00Z"),
            zurich,
            8,
        );
        assert_eq!(
            labels(&axis),
            [
                "29 Mar", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "30 Mar"
            ]
        );
        let kathmandu: Tz = "Asia/Kathmandu".parse().unwrap();
        let axis = Axis::of_time(
            at("2026-11-27T00:00:00Z"),
            at("2026-11-27T03:00:00Z"),
            kathmandu,
            4,
        );
        assert_eq!(labels(&axis), ["06:00", "07:00", "08:00"]);
        let axis = Axis::of_time(
            at("2026-12-20T00:00:00Z"),
            at("2027-01-10T00:00:00Z"),
            Tz::UTC,
            4,
        );
        assert_eq!(labels(&axis), ["20 Dec", "27 Dec", "3 Jan 2027", "10 Jan"]);
    }
}
