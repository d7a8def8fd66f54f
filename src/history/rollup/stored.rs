//! Slots as they are kept, with what is not rolled up yet.

use std::collections::BTreeMap;

use super::pending::{PendingEvents, RollupEvent, read, synthetic_changes};
use super::{BATCH, Checkpoint, begin, replay, replayed, roll_up};
use crate::history::replay::Change;
use crate::history::slot::{Slot, Step};
use crate::names::PoolName;
use crate::store::{Error, Store};
use crate::time::Timestamp;

/// Slots of one step, without gaps.
#[derive(Debug, Clone)]
pub struct Slots {
    /// The step.
    pub step: Step,
    /// Number of the first.
    pub first: i64,
    /// One after the other. The last may not be over.
    pub slots: Vec<Slot>,
    /// When this was worked out, ms; the end of a slot that is not over.
    pub now_ms: i64,
    /// When the pool's history begins, ms.
    pub began_ms: i64,
}

/// Slots of a step from one instant to another, up to now at most. None if the pool has no history.
pub async fn slots(
    store: &Store,
    pool: &PoolName,
    step: Step,
    from_ms: i64,
    to_ms: i64,
) -> Result<Option<Slots>, Error> {
    let (state, mut checkpoint, PendingEvents { events, is_whole }) = loop {
        let state = store.rollup_state(pool).await?;
        let Some(checkpoint) = begin(store, pool, state.checkpoint.as_deref()).await? else {
            return Ok(None);
        };
        let found = read(store, pool, &checkpoint, |events| BATCH <= events.len()).await?;
        if found.events.len() < BATCH {
            break (state, checkpoint, found);
        }
        // So many at once are not kept in memory for one reader; but for those of the last minute there is no choice.
        if !roll_up(store, pool, BATCH).await? {
            let all = read(store, pool, &checkpoint, |_| false).await?;
            break (state, checkpoint, all);
        }
    };
    let now_ms = state.now.0;
    let first = step.slot(
        from_ms
            .max(checkpoint.replay.began())
            .max(now_ms - step.kept_ms()),
    );
    let last = step.slot(to_ms.min(now_ms) - 1);

    // The slot after the range tells the level in a gap at its end, so it is read too.
    let stretch = |number: i64| number.div_euclid(step.stretch());
    let present = stretch(step.slot(checkpoint.replay.at_ms()));
    let kept = store
        .slots(pool, step.name(), stretch(first)..=present)
        .await?;
    let mut found = read_slots(store, pool, kept);

    let others = synthetic_changes(&state, &checkpoint, is_whole, &events, now_ms);
    let (checkpoint, found) = replayed(events.len(), move || {
        add_since(&mut checkpoint, events, others, now_ms, step, &mut found);
        (checkpoint, found)
    })
    .await;

    Ok(Some(Slots {
        step,
        first,
        slots: without_gaps(&found, step, first, last),
        now_ms,
        began_ms: checkpoint.replay.began(),
    }))
}

/// Slots as they are kept. One that only a later version can read is left out, as if nothing had happened in it.
fn read_slots(store: &Store, pool: &PoolName, kept: BTreeMap<i64, String>) -> BTreeMap<i64, Slot> {
    let mut slots = BTreeMap::new();
    for (number, json) in kept {
        match serde_json::from_str(&json) {
            Ok(slot) => {
                slots.insert(number, slot);
            }
            Err(_) => store.note_unreadable_history(pool),
        }
    }
    slots
}

/// The latest slots of a step, up to now.
#[derive(Debug, Clone)]
pub struct Latest {
    /// The slots, at most as many as were asked for.
    pub slots: Slots,
    /// Since when no seat is free, if none is.
    pub full_since: Option<Timestamp>,
}

/// The last `count` slots of a step up to `now`, for a look at many pools: it costs the same however long a pool's
/// history is. If more than `events` have happened since the last roll-up it ends there, at most some minutes ago.
/// None if the pool has no history.
pub async fn latest(
    store: &Store,
    pool: &PoolName,
    step: Step,
    count: i64,
    now: Timestamp,
    events: usize,
) -> Result<Option<Latest>, Error> {
    let first = step.slot(now.0) - count + 1;
    let mut wanted: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for number in first..first + count {
        let stretch = number.div_euclid(step.stretch());
        wanted.entry(stretch).or_default().push(number);
    }
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|(stretch, numbers)| (step.name(), stretch, numbers))
        .collect();
    let (kept, found) = store.checkpoint_with_slots(pool, &wanted).await?;
    let Some(mut checkpoint) = begin(store, pool, kept.as_deref()).await? else {
        return Ok(None);
    };
    let mut found = read_slots(store, pool, found);
    let enough = |read: &[RollupEvent]| events <= read.len();
    let since = read(store, pool, &checkpoint, enough).await?.events;
    // Not the slots that are there already: only how far they reach.
    let (since, now_ms) = if since.len() < events {
        (since, now.0)
    } else {
        (Vec::new(), checkpoint.replay.at_ms())
    };
    add_since(&mut checkpoint, since, Vec::new(), now_ms, step, &mut found);
    let last = step.slot(checkpoint.replay.at_ms());
    let first = first.max(step.slot(checkpoint.replay.began()));
    Ok(Some(Latest {
        slots: Slots {
            step,
            first,
            slots: without_gaps(&found, step, first, last),
            now_ms,
            began_ms: checkpoint.replay.began(),
        },
        full_since: checkpoint.replay.full_since().map(Timestamp),
    }))
}

/// Adds to kept slots of a step those that a replay closes, and the one that is not over.
fn add_since(
    checkpoint: &mut Checkpoint,
    events: Vec<RollupEvent>,
    others: Vec<(i64, Change)>,
    to_ms: i64,
    step: Step,
    found: &mut BTreeMap<i64, Slot>,
) {
    let mut keep = |closed: Step, number: i64, slot| {
        if closed == step {
            found.insert(number, slot);
        }
    };
    replay(checkpoint, events, others, to_ms, &mut keep);
    let (number, open) = checkpoint.replay.open(step);
    found.insert(number, open.clone());
}

/// Slots from number to number. One that was not kept is idle, at the level that the next one begins with.
fn without_gaps(found: &BTreeMap<i64, Slot>, step: Step, first: i64, last: i64) -> Vec<Slot> {
    (first..=last)
        .map(|number| {
            let next = found.range(number..).next();
            next.map_or_else(Slot::default, |(at, slot)| {
                if *at == number {
                    slot.clone()
                } else {
                    slot.idle_before(step.ms())
                }
            })
        })
        .collect()
}
