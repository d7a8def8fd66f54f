//! When a pool is busy: weekday by hour, as clocks in a time zone show them.

use chrono::{Datelike as _, Timelike as _, Weekday};
use chrono_tz::Tz;

use super::levels::Levels;
use super::usage::{self, Span};
use crate::names::PoolName;
use crate::store::{Error, Store};
use crate::time::Timestamp;

/// The weekdays, in the order of a week.
pub const WEEKDAYS: [Weekday; 7] = [
    Weekday::Mon,
    Weekday::Tue,
    Weekday::Wed,
    Weekday::Thu,
    Weekday::Fri,
    Weekday::Sat,
    Weekday::Sun,
];
/// Hours that are called busy.
const BUSIEST: usize = 10;

/// What happened in an hour of a weekday, in all weeks of a range together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The day.
    pub weekday: Weekday,
    /// The hour, 0 to 23.
    pub hour: u32,
    /// Time that was looked at, in milliseconds; 0 where there is no history.
    pub ms: u64,
    /// The most seats in use at once.
    pub peak: u64,
    /// Begin of the slot in which that was; none without a history.
    pub peak_at: Option<Timestamp>,
    /// Time at each number of seats in use.
    pub levels: Levels,
    /// Seats in use times milliseconds.
    pub seat_ms: u64,
    /// Runs of denials.
    pub denials: u64,
    /// Denied acquires.
    pub raw_denials: u64,
}

impl Cell {
    const fn empty(weekday: Weekday, hour: u32) -> Self {
        Self {
            weekday,
            hour,
            ms: 0,
            peak: 0,
            peak_at: None,
            levels: Levels::none(),
            seat_ms: 0,
            denials: 0,
            raw_denials: 0,
        }
    }

    /// Seats in use on average; none without a history.
    pub fn mean(&self) -> Option<f64> {
        (self.ms > 0).then(|| self.seat_ms as f64 / self.ms as f64)
    }

    /// Share of the seats that was in use, 1 for all; more with an overdraft. None without a seat.
    pub fn utilisation(&self) -> Option<f64> {
        let capacity_ms = self.levels.capacity_ms();
        (capacity_ms > 0).then(|| self.seat_ms as f64 / capacity_ms as f64)
    }

    /// Share of the time at which no seat was free; none without a history.
    pub fn full(&self) -> Option<f64> {
        (self.ms > 0).then(|| self.levels.at_least_ms(100) as f64 / self.ms as f64)
    }

    fn add(&mut self, span: &Span) {
        let slot = &span.slot;
        self.ms += slot.levels.ms();
        if self.peak_at.is_none() || self.peak < slot.high_water_mark {
            self.peak = slot.high_water_mark;
            self.peak_at = Some(span.from);
        }
        self.levels.append(&slot.levels);
        self.seat_ms += slot.seat_ms;
        self.denials += slot.denials.values().sum::<u64>();
        self.raw_denials += slot.raw_denials.values().sum::<u64>();
    }
}

/// When a pool is busy.
#[derive(Debug, Clone)]
pub struct Patterns {
    /// Begin of what was looked at.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// 168 cells: the hours of Monday, then of Tuesday, and so on.
    pub cells: Vec<Cell>,
}

impl Patterns {
    /// Of slots that are an hour long or shorter.
    pub fn of(spans: &[Span], zone: Tz) -> Self {
        let hours = |weekday: &Weekday| {
            let weekday = *weekday;
            (0..24).map(move |hour| Cell::empty(weekday, hour))
        };
        let mut cells: Vec<Cell> = WEEKDAYS.iter().flat_map(hours).collect();
        for span in spans {
            let local = usage::local(span.from, zone);
            let at = local.weekday().num_days_from_monday() * 24 + local.hour();
            cells[at as usize].add(span);
        }
        Self {
            from: spans.first().map_or(Timestamp(0), |span| span.from),
            until: spans.last().map_or(Timestamp(0), |span| span.until),
            cells,
        }
    }

    /// One cell.
    pub fn cell(&self, weekday: Weekday, hour: u32) -> &Cell {
        &self.cells[(weekday.num_days_from_monday() * 24 + hour) as usize]
    }

    /// The hours that are busiest on average, at most ten, the busiest first; those in which nobody had a seat are
    /// none.
    pub fn busiest(&self) -> Vec<&Cell> {
        let mut busy: Vec<&Cell> = self.cells.iter().filter(|cell| cell.seat_ms > 0).collect();
        let mean = |cell: &Cell| cell.mean().unwrap_or(0.0);
        busy.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        busy.truncate(BUSIEST);
        busy
    }
}

/// When a pool was busy from one instant to another, as long as hours are kept. Cells without a history are there,
/// and empty.
pub async fn patterns(
    store: &Store,
    pool: &PoolName,
    from: Timestamp,
    to: Timestamp,
    zone: Tz,
) -> Result<Patterns, Error> {
    let step = usage::parts(zone, from, to);
    let spans = usage::spans(store, pool, step, from, to).await?;
    let mut patterns = Patterns::of(&spans, zone);
    if spans.is_empty() {
        (patterns.from, patterns.until) = (from, to);
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::slot::{Slot, Step};

    fn hour(at: &str, level: u64, capacity: u64) -> Span {
        let from = at
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
            .timestamp_millis();
        Span {
            from: Timestamp(from),
            until: Timestamp(from + Step::Hour.ms()),
            slot: Slot::idle(level, capacity, Step::Hour.ms()),
        }
    }

    #[test]
    fn an_hour_counts_to_what_clocks_showed_at_its_begin() {
        let zurich: Tz = "Europe/Zurich".parse().unwrap();
        let patterns = Patterns::of(
            &[
                // Mondays at nine, in winter and in summer.
                hour("2026-03-23T08:00:00Z", 4, 10),
                hour("2026-03-30T07:00:00Z", 8, 10),
                // The hour from two to three that comes twice.
                hour("2026-10-25T00:00:00Z", 1, 10),
                hour("2026-10-25T01:00:00Z", 3, 2),
            ],
            zurich,
        );
        let monday = patterns.cell(Weekday::Mon, 9);
        assert_eq!(monday.mean(), Some(6.0));
        assert_eq!(monday.utilisation(), Some(0.6));
        assert_eq!(monday.peak, 8);
        assert_eq!(
            monday.peak_at.unwrap().to_string(),
            "2026-03-30T07:00:00.000Z"
        );
        let sunday = patterns.cell(Weekday::Sun, 2);
        assert_eq!((sunday.ms, sunday.peak), (7_200_000, 3));
        assert_eq!(sunday.full(), Some(0.5));
        assert_eq!(patterns.cell(Weekday::Tue, 9).mean(), None);
        let busiest: Vec<_> = patterns
            .busiest()
            .iter()
            .map(|cell| (cell.weekday, cell.hour))
            .collect();
        assert_eq!(busiest, [(Weekday::Mon, 9), (Weekday::Sun, 2)]);
    }
}
