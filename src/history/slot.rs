//! What happened in a pool in a minute, a quarter of an hour, an hour or a day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::levels::Levels;

/// Length of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Kept for 48 hours.
    Minute,
    /// Kept for 35 days. All zones differ from UTC by whole quarters, so from these follow the hours and days of each.
    Quarter,
    /// Kept for 35 days.
    Hour,
    /// Kept for 800 days; begins at midnight UTC.
    Day,
}

impl Step {
    /// All of them, from the shortest.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Quarter, Self::Hour, Self::Day];

    /// Length in milliseconds.
    pub const fn ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Quarter => 900_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// How long slots are kept, in milliseconds.
    pub const fn kept_ms(self) -> i64 {
        match self {
            Self::Minute => 48 * 3_600_000,
            Self::Quarter | Self::Hour => 35 * 86_400_000,
            Self::Day => 800 * 86_400_000,
        }
    }

    /// The slot of an instant: its number since the epoch.
    pub const fn slot(self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.ms())
    }
}

/// What happened in a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Seats in use at the start.
    #[serde(rename = "s", default)]
    pub start_level: u64,
    /// Capacity at the start.
    #[serde(rename = "k", default)]
    pub start_capacity: u64,
    /// The most seats in use at once.
    #[serde(rename = "h", default)]
    pub high_water_mark: u64,
    /// Seats in use times milliseconds; by the length it is the mean.
    #[serde(rename = "m", default)]
    pub seat_ms: u64,
    /// Milliseconds at each level of seats in use, by capacity. Levels of no length are left out.
    #[serde(rename = "l", default)]
    pub levels: Levels,
    /// Seats in use at the end.
    #[serde(rename = "e", default)]
    pub end_level: u64,
    /// Capacity at the end.
    #[serde(rename = "c", default)]
    pub capacity: u64,
    /// Leases that got a seat for the first time.
    #[serde(rename = "g", default, skip_serializing_if = "is_zero")]
    pub grants: u64,
    /// Leases that had ended by time, or were lost, and got their seat again.
    #[serde(rename = "v", default, skip_serializing_if = "is_zero")]
    pub resumes: u64,
    /// Runs of denials by reason; a holder that asks again within two minutes is in the same run.
    #[serde(rename = "d", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub denials: BTreeMap<String, u64>,
    /// Acquires that were denied, by reason: each one, also of the same holder.
    #[serde(rename = "r", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub raw_denials: BTreeMap<String, u64>,
    /// How long those had waited who were served from the queue: how many by bucket ([`crate::pool::Waited`]).
    #[serde(rename = "q", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waits: BTreeMap<i32, u64>,
    /// Ends by reason.
    #[serde(rename = "x", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ends: BTreeMap<String, u64>,
    /// Seats that are idle times milliseconds.
    #[serde(rename = "i", default, skip_serializing_if = "is_zero")]
    pub idle_ms: u64,
    /// Seats that are idle at the start.
    #[serde(rename = "j", default, skip_serializing_if = "is_zero")]
    pub(super) start_idle: u64,
    /// Seats that are idle at the end.
    #[serde(rename = "y", default, skip_serializing_if = "is_zero")]
    pub end_idle: u64,
    /// Milliseconds in which nobody could ask for a seat, because Redis or all nodes were away, or of which nothing is
    /// known because data was lost. The level in that time is the last that was known.
    #[serde(rename = "u", default, skip_serializing_if = "is_zero")]
    pub gap_ms: u64,
    /// Whether it began in such a time.
    #[serde(rename = "w", default, skip_serializing_if = "is_false")]
    pub(super) begins_in_gap: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(word: &bool) -> bool {
    !*word
}

impl Slot {
    /// A slot that begins at this level.
    pub(super) fn at(level: u64, capacity: u64) -> Self {
        Self {
            start_level: level,
            start_capacity: capacity,
            high_water_mark: level,
            end_level: level,
            capacity,
            ..Self::default()
        }
    }

    /// Lets time pass at the present level.
    pub(super) fn pass(&mut self, ms: i64, in_gap: bool) {
        let ms = u64::try_from(ms).unwrap_or(0);
        if ms > 0 {
            self.seat_ms += self.end_level * ms;
            self.idle_ms += self.end_idle * ms;
            self.levels.add(self.capacity, self.end_level, ms);
            self.gap_ms += if in_gap { ms } else { 0 };
        }
    }

    /// A slot without events, `ms` long.
    pub fn idle(level: u64, capacity: u64, ms: i64) -> Self {
        let mut slot = Self::at(level, capacity);
        slot.pass(ms, false);
        slot
    }

    /// A slot without events before this one, `ms` long.
    pub(super) fn idle_before(&self, ms: i64) -> Self {
        let mut slot = Self::at(self.start_level, self.start_capacity);
        slot.begins_in_gap = self.begins_in_gap;
        (slot.start_idle, slot.end_idle) = (self.start_idle, self.start_idle);
        slot.pass(ms, self.begins_in_gap);
        slot
    }

    /// Adds a slot that follows this one.
    pub fn append(&mut self, next: &Self) {
        self.high_water_mark = self.high_water_mark.max(next.high_water_mark);
        self.seat_ms += next.seat_ms;
        self.idle_ms += next.idle_ms;
        self.end_idle = next.end_idle;
        self.levels.append(&next.levels);
        self.end_level = next.end_level;
        self.capacity = next.capacity;
        self.grants += next.grants;
        self.resumes += next.resumes;
        for (sums, counts) in [
            (&mut self.denials, &next.denials),
            (&mut self.raw_denials, &next.raw_denials),
            (&mut self.ends, &next.ends),
        ] {
            for (reason, count) in counts {
                *sums.entry(reason.clone()).or_default() += count;
            }
        }
        for (bucket, count) in &next.waits {
            *self.waits.entry(*bucket).or_default() += count;
        }
        self.gap_ms += next.gap_ms;
    }
}
