//! Replays a pool's events in order of time, which tells how full the pool was, and when.
//!
//! An end is written when somebody notices it, up to two seconds late, but with its exact instant. So events are
//! put into the order of their instants before they are replayed; that is why a replay stays a minute behind the
//! present until it is finished for an answer.

use serde::{Deserialize, Serialize};

use super::slot::{Slot, Step, is_zero};
use crate::pool::Waited;
use crate::store::Event;

/// What an event does to a pool, apart from who it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A lease got a seat; `seats` is 0 if it shares one that was occupied, or one outside the capacity.
    Started {
        /// Seats that are in use now and were not before.
        seats: u64,
        /// How long its holder had waited in the queue, ms; none if it had not.
        waited_ms: Option<u64>,
    },
    /// A lease that had ended by time, or was lost, has its seat again.
    Resumed {
        /// Seats that are in use now and were not before.
        seats: u64,
    },
    /// A lease ended.
    Ended {
        /// Seats that are free now and were not before.
        seats: u64,
        /// Why.
        reason: String,
    },
    /// A run of denials began.
    Denied {
        /// Why.
        reason: String,
    },
    /// So many acquires were denied, those of a run included.
    Refused {
        /// Why.
        reason: String,
        /// How many.
        count: u64,
    },
    /// The pool has this capacity from now on.
    Capacity(u64),
    /// So many seats more are idle than before; negative for fewer.
    Idle(i64),
    /// A time begins in which nobody can ask, or of which nothing is known.
    Silent,
    /// It is over.
    Heard {
        /// Seats that are in use now, if events were lost.
        seats: Option<u64>,
    },
}

impl Change {
    /// What an event changes; none for those that tell of something else.
    pub fn of(event: &Event) -> Option<Self> {
        let reason = || event.reason.clone().unwrap_or_default();
        Some(match event.kind.as_str() {
            "started" => Self::Started {
                seats: event.seats.unwrap_or(1),
                waited_ms: event.waited_ms,
            },
            "resumed" | "rebuilt" => Self::Resumed {
                seats: event.seats.unwrap_or(1),
            },
            "ended" => Self::Ended {
                seats: event.seats.unwrap_or(1),
                reason: reason(),
            },
            "denied" => Self::Denied { reason: reason() },
            "configured" => Self::Capacity(reason().parse().unwrap_or(0)),
            _ => return None,
        })
    }
}

/// How far a replay has come: everything before `at_ms` is accounted for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// When it began, ms.
    #[serde(rename = "b")]
    began_ms: i64,
    /// Up to here, ms.
    #[serde(rename = "a")]
    at_ms: i64,
    /// Seats in use.
    #[serde(rename = "n")]
    level: u64,
    /// Seats in all.
    #[serde(rename = "c")]
    capacity: u64,
    /// Seats in use that are idle.
    #[serde(rename = "i", default, skip_serializing_if = "is_zero")]
    idle: u64,
    /// The slots that are not over, by step.
    #[serde(rename = "o")]
    open: [Slot; Step::ALL.len()],
    /// Since when no seat is free, ms.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    full_ms: Option<i64>,
    /// Whether nobody can ask. Not kept: whoever goes on says it again.
    #[serde(skip)]
    silent: bool,
}

impl Replay {
    /// When the first event was, ms.
    pub const fn began(&self) -> i64 {
        self.began_ms
    }

    /// Begins with an empty pool.
    pub fn begin(at_ms: i64) -> Self {
        Self {
            began_ms: at_ms,
            at_ms,
            ..Self::default()
        }
    }

    /// Everything before this is accounted for, ms.
    pub const fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// Seats in use, and in all.
    pub const fn now(&self) -> (u64, u64) {
        (self.level, self.capacity)
    }

    /// Since when no seat is free, if none is.
    pub const fn full_since(&self) -> Option<i64> {
        self.full_ms
    }

    /// The slot of a step that is not over.
    pub fn open(&self, step: Step) -> (i64, &Slot) {
        (step.slot(self.at_ms), &self.open[step as usize])
    }

    /// Lets time pass. `closed` gets each slot that ended in between and in which something happened, and the last
    /// one before a stretch without events; slots that are missing are idle at the level of the one before.
    pub fn pass(&mut self, to_ms: i64, closed: &mut impl FnMut(Step, i64, Slot)) {
        if to_ms <= self.at_ms {
            return;
        }
        for step in Step::ALL {
            let open = &mut self.open[step as usize];
            let (from, to) = (step.slot(self.at_ms), step.slot(to_ms));
            if from == to {
                open.pass(to_ms - self.at_ms, self.silent);
                continue;
            }
            open.pass((from + 1) * step.ms() - self.at_ms, self.silent);
            let mut next = Slot::at(self.level, self.capacity);
            next.begins_in_gap = self.silent;
            (next.start_idle, next.end_idle) = (self.idle, self.idle);
            closed(step, from, std::mem::replace(open, next));
            open.pass(to_ms - to * step.ms(), self.silent);
        }
        self.at_ms = to_ms;
    }

    /// Applies what happened at an instant that is not before [`Self::at_ms`]. One that is, because somebody noticed
    /// it more than a minute late, counts from now on.
    pub fn apply(&mut self, at_ms: i64, change: &Change, closed: &mut impl FnMut(Step, i64, Slot)) {
        self.pass(at_ms, closed);
        match change {
            Change::Started { seats, .. } | Change::Resumed { seats } => self.level += seats,
            Change::Ended { seats, .. } => self.level = self.level.saturating_sub(*seats),
            Change::Capacity(capacity) => self.capacity = *capacity,
            Change::Idle(more) => self.idle = self.idle.saturating_add_signed(*more),
            Change::Silent => self.silent = true,
            Change::Heard { seats } => {
                self.silent = false;
                self.level = seats.unwrap_or(self.level);
                // Of leases that were rebuilt nothing is known, so they are active.
                if seats.is_some() {
                    self.idle = 0;
                }
            }
            Change::Denied { .. } | Change::Refused { .. } => {}
        }
        self.full_ms = (self.capacity <= self.level).then(|| self.full_ms.unwrap_or(at_ms));
        for (step, slot) in Step::ALL.into_iter().zip(&mut self.open) {
            slot.end_level = self.level;
            slot.end_idle = self.idle;
            slot.capacity = self.capacity;
            // A seat that comes free at the first instant of a slot was in use in the one before.
            let begins = self.at_ms % step.ms() == 0 && slot.grants + slot.resumes == 0;
            slot.high_water_mark = if begins {
                self.level
            } else {
                slot.high_water_mark.max(self.level)
            };
            match change {
                Change::Started { waited_ms, .. } => {
                    slot.grants += 1;
                    if let Some(waited_ms) = waited_ms {
                        *slot.waits.entry(Waited::bucket(*waited_ms)).or_default() += 1;
                    }
                }
                Change::Resumed { .. } => slot.resumes += 1,
                Change::Ended { reason, .. } => *slot.ends.entry(reason.clone()).or_default() += 1,
                Change::Denied { reason } => {
                    *slot.denials.entry(reason.clone()).or_default() += 1;
                }
                Change::Refused { reason, count } => {
                    *slot.raw_denials.entry(reason.clone()).or_default() += count;
                }
                Change::Capacity(_) | Change::Idle(_) | Change::Silent | Change::Heard { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            Just(Change::Started {
                seats: 1,
                waited_ms: None
            }),
            Just(Change::Started {
                seats: 0,
                waited_ms: None
            }),
            Just(Change::Resumed { seats: 1 }),
            Just(Change::Ended {
                seats: 1,
                reason: "expired".into()
            }),
            Just(Change::Denied {
                reason: "pool_full".into()
            }),
            (0..20_u64).prop_map(Change::Capacity),
        ]
    }

    /// The level at each millisecond, counted one by one: another computation of the same.
    fn levels(changes: &[(i64, Change)], end: i64) -> Vec<u64> {
        let mut level = 0_u64;
        let mut at = 0;
        let mut levels = Vec::new();
        for (when, change) in changes {
            levels.extend((at..*when).map(|_| level));
            at = *when;
            match change {
                Change::Started { seats, .. } | Change::Resumed { seats } => level += seats,
                Change::Ended { seats, .. } => level = level.saturating_sub(*seats),
                _ => {}
            }
        }
        levels.extend((at..end).map(|_| level));
        levels
    }

    proptest! {
        #[test]
        fn every_slot_is_what_counting_each_millisecond_gives(
            gaps in proptest::collection::vec((0..40_000_i64, change()), 0..60)
        ) {
            let mut at = 0;
            let changes: Vec<(i64, Change)> = gaps
                .into_iter()
                .map(|(gap, change)| {
                    at += gap;
                    (at, change)
                })
                .collect();
            let end = at + 1_000;

            let mut slots = BTreeMap::new();
            let mut closed = |step, number, slot| {
                if step == Step::Minute {
                    slots.insert(number, slot);
                }
            };
            let mut replay = Replay::begin(0);
            for (at, change) in &changes {
                replay.apply(*at, change, &mut closed);
            }
            replay.pass(end, &mut closed);
            let (number, slot) = replay.open(Step::Minute);
            slots.insert(number, slot.clone());

            let levels = levels(&changes, end);
            let mut before = 0;
            for number in 0..=Step::Minute.slot(end) {
                let from = usize::try_from(number * 60_000).unwrap();
                let stretch = &levels[from..levels.len().min(from + 60_000)];
                let idle = Slot::idle(before, 0, i64::try_from(stretch.len()).unwrap());
                let slot = slots.get(&number).unwrap_or(&idle);
                prop_assert_eq!(slot.seat_ms, stretch.iter().sum::<u64>());
                for (level, ms) in &slot.levels.by_level() {
                    let counted = stretch.iter().filter(|there| *there == level).count();
                    prop_assert_eq!(*ms, u64::try_from(counted).unwrap());
                }
                // A level of no length is still the most that there was at once.
                prop_assert!(stretch.iter().max().is_none_or(|most| *most <= slot.high_water_mark));
                before = slot.end_level;
            }
            let grants: u64 = slots.values().map(|slot| slot.grants).sum();
            let started = changes.iter().filter(|(_, change)| matches!(change, Change::Started { .. })).count();
            prop_assert_eq!(grants, u64::try_from(started).unwrap());
        }
    }

    #[test]
    fn a_pool_is_full_from_its_last_free_seat_until_one_is_free_again() {
        let mut nothing = |_, _, _| {};
        let mut replay = Replay::begin(1_000);
        let ended = || Change::Ended {
            seats: 1,
            reason: "released".into(),
        };
        let mut apply = |at, change| {
            replay.apply(at, &change, &mut nothing);
            replay.full_since()
        };
        assert_eq!(apply(1_000, Change::Capacity(2)), None);
        assert_eq!(
            apply(
                2_000,
                Change::Started {
                    seats: 1,
                    waited_ms: None
                }
            ),
            None
        );
        assert_eq!(
            apply(
                3_000,
                Change::Started {
                    seats: 1,
                    waited_ms: None
                }
            ),
            Some(3_000)
        );
        assert_eq!(apply(4_000, Change::Capacity(1)), Some(3_000));
        assert_eq!(apply(5_000, ended()), Some(3_000));
        assert_eq!(apply(6_000, ended()), None);
    }

    #[test]
    fn a_replay_that_is_put_away_goes_on_as_if_it_had_not_been() {
        let mut nothing = |_, _, _| {};
        let mut replay = Replay::begin(1_000);
        replay.apply(1_500, &Change::Capacity(5), &mut nothing);
        replay.apply(
            2_000,
            &Change::Started {
                seats: 1,
                waited_ms: None,
            },
            &mut nothing,
        );
        let text = serde_json::to_string(&replay).unwrap();
        let mut again: Replay = serde_json::from_str(&text).unwrap();
        assert_eq!(again, replay);
        again.pass(9_000, &mut nothing);
        replay.pass(9_000, &mut nothing);
        assert_eq!(again, replay);
        assert_eq!(again.open(Step::Minute).1.seat_ms, 7_000);
    }
}
