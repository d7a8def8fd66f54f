//! Slots by minute, hour and day: kept, brought up to date, and read with what is not kept yet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::replay::{Change, Replay};
use super::slot::{Slot, Step};
use crate::lease::Instant;
use crate::pool::PoolName;
use crate::store::{Error, Event, EventId, Store, Stretch};

/// How late an event may be written and still be put in its place, ms. A sweep is there within two seconds.
const LATE_MS: i64 = 60_000;
/// Events that are read at once.
const CHUNK: usize = 2_000;
/// Events of one roll-up, about 10 MiB.
const BATCH: usize = 50_000;
/// How often a node looks for pools with something to roll up.
const EVERY: Duration = Duration::from_secs(30);

/// How far the events of a pool are rolled up, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rolled {
    /// Everything written up to here was looked at, ms.
    read_ms: i64,
    /// What it came to.
    replay: Replay,
}

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
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minutes",
            Self::Quarter => "quarters",
            Self::Hour => "hours",
            Self::Day => "days",
        }
    }

    /// Slots that share a key: as many as are kept, at most.
    const fn stretch(self) -> i64 {
        match self {
            Self::Minute => 24 * 60,
            Self::Quarter => 7 * 24 * 4,
            Self::Hour => 35 * 24,
            Self::Day => 400,
        }
    }
}

/// Rolls up what has happened, now and then, for as long as the store lives. Every node does; whoever is late loses
/// nothing but its work.
pub async fn run(store: Store) {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = roll_up_all(&store).await {
            tracing::debug!(error = %error, "history is not rolled up: {error}");
        }
    }
}

async fn roll_up_all(store: &Store) -> Result<(), Error> {
    for pool in store.known_pools() {
        while roll_up(store, &pool, BATCH).await? {}
    }
    Ok(())
}

/// Rolls up at most about so many events. `true` if there is more.
pub async fn roll_up(store: &Store, pool: &PoolName, batch: usize) -> Result<bool, Error> {
    let now_ms = store.clock().await?.0;
    let before = store.rolled(pool).await?;
    let Some(mut rolled) = begin(store, pool, before.as_deref()).await? else {
        return Ok(false);
    };
    let mut events = read(store, pool, &rolled, batch).await?;
    let more = batch <= events.len();
    // What was written in the present millisecond may not be all of it.
    let read_ms = match events.last() {
        Some(last) if more => last.id.written_ms() - 1,
        _ => now_ms - 1,
    };
    let begun_ms = rolled.replay.at_ms();
    let to_ms = read_ms - LATE_MS.min((read_ms - begun_ms) / 2);
    if to_ms <= begun_ms || (!more && events.iter().all(|event| to_ms < event.at.0)) {
        return Ok(false);
    }
    events.retain(|event| event.id.written_ms() <= read_ms && event.at.0 <= to_ms);

    let mut closed: BTreeMap<(Step, i64), BTreeMap<i64, Slot>> = BTreeMap::new();
    let mut keep = |step: Step, number: i64, slot| {
        let stretch = number.div_euclid(step.stretch());
        closed
            .entry((step, stretch))
            .or_default()
            .insert(number, slot);
    };
    replay(&mut rolled, events, to_ms, &mut keep);
    rolled.read_ms = read_ms;

    let stretches: Vec<Stretch> = closed
        .into_iter()
        .map(|((step, number), slots)| Stretch {
            step: step.name(),
            number,
            kept_ms: step.kept_ms() + step.stretch() * step.ms(),
            slots: slots
                .into_iter()
                .map(|(number, slot)| (number, json(&slot)))
                .collect(),
        })
        .collect();
    // If another node was faster the next look begins where it ended.
    store
        .roll_up(pool, before.as_deref(), &json(&rolled), &stretches)
        .await?;
    Ok(more)
}

/// Slots of a step from one instant to another, up to now at most. None if the pool has no history.
pub async fn slots(
    store: &Store,
    pool: &PoolName,
    step: Step,
    from_ms: i64,
    to_ms: i64,
) -> Result<Option<Slots>, Error> {
    let now_ms = store.clock().await?.0;
    let kept = store.rolled(pool).await?;
    let Some(mut rolled) = begin(store, pool, kept.as_deref()).await? else {
        return Ok(None);
    };
    let first = step.slot(
        from_ms
            .max(rolled.replay.began())
            .max(now_ms - step.kept_ms()),
    );
    let last = step.slot(to_ms.min(now_ms) - 1);

    // The slot after the range tells the level in a gap at its end, so it is read too.
    let stretch = |number: i64| number.div_euclid(step.stretch());
    let present = stretch(step.slot(rolled.replay.at_ms()));
    let mut found: BTreeMap<i64, Slot> = store
        .slots(pool, step.name(), stretch(first)..=present)
        .await?
        .into_iter()
        .filter_map(|(number, json)| Some((number, serde_json::from_str(&json).ok()?)))
        .collect();

    let events = read(store, pool, &rolled, usize::MAX).await?;
    let mut keep = |closed: Step, number: i64, slot| {
        if closed == step {
            found.insert(number, slot);
        }
    };
    replay(&mut rolled, events, now_ms, &mut keep);
    let (number, open) = rolled.replay.open(step);
    found.insert(number, open.clone());

    Ok(Some(Slots {
        step,
        first,
        slots: without_gaps(&found, step, first, last),
        now_ms,
    }))
}

/// The latest slots of a step, up to now.
#[derive(Debug, Clone)]
pub struct Latest {
    /// The slots, at most as many as were asked for.
    pub slots: Slots,
    /// Since when no seat is free, if none is.
    pub full_since: Option<Instant>,
}

/// The last `count` slots of a step up to `now`, for a look at many pools: it costs the same however long a pool's
/// history is. If more than `events` have happened since the last roll-up it ends there, at most some minutes ago.
/// None if the pool has no history.
pub async fn latest(
    store: &Store,
    pool: &PoolName,
    step: Step,
    count: i64,
    now: Instant,
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
    let (kept, found) = store.rolled_with(pool, &wanted).await?;
    let Some(mut rolled) = begin(store, pool, kept.as_deref()).await? else {
        return Ok(None);
    };
    let mut found: BTreeMap<i64, Slot> = found
        .into_iter()
        .filter_map(|(number, json)| Some((number, serde_json::from_str(&json).ok()?)))
        .collect();
    let since = read(store, pool, &rolled, events).await?;
    let now_ms = if since.len() < events {
        replay(&mut rolled, since, now.0, &mut |closed, number, slot| {
            if closed == step {
                found.insert(number, slot);
            }
        });
        now.0
    } else {
        rolled.replay.at_ms()
    };
    let (last, open) = rolled.replay.open(step);
    found.insert(last, open.clone());
    let first = first.max(step.slot(rolled.replay.began()));
    Ok(Some(Latest {
        slots: Slots {
            step,
            first,
            slots: without_gaps(&found, step, first, last),
            now_ms,
        },
        full_since: rolled.replay.full_since().map(Instant),
    }))
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
                    Slot::idle(slot.start_level, slot.start_capacity, step.ms())
                }
            })
        })
        .collect()
}

/// Where the roll-up of a pool stands; at its first event if it never was. None if nothing has happened.
async fn begin(
    store: &Store,
    pool: &PoolName,
    kept: Option<&str>,
) -> Result<Option<Rolled>, Error> {
    if let Some(kept) = kept {
        return serde_json::from_str(kept)
            .map(Some)
            .map_err(|error| Error::Broken(format!("the history of pool {pool}: {error}")));
    }
    let first = store.events(pool, EventId::default(), 1).await?;
    Ok(first.first().map(|first| {
        let at_ms = first.at.0.min(first.id.written_ms()) - 1;
        Rolled {
            read_ms: at_ms,
            replay: Replay::begin(at_ms),
        }
    }))
}

/// Events that the roll-up has not accounted for: those that happened later, and those that were written too late.
async fn read(
    store: &Store,
    pool: &PoolName,
    rolled: &Rolled,
    limit: usize,
) -> Result<Vec<Event>, Error> {
    let at_ms = rolled.replay.at_ms();
    let mut after = EventId::before_ms(at_ms);
    let mut events = Vec::new();
    loop {
        let chunk = store.events(pool, after, CHUNK).await?;
        let whole = chunk.len() == CHUNK;
        for event in chunk {
            after = event.id;
            if at_ms < event.at.0 || rolled.read_ms < event.id.written_ms() {
                events.push(event);
            }
        }
        if !whole || limit <= events.len() {
            return Ok(events);
        }
    }
}

/// Applies events in the order of their instants, and lets time pass to `to_ms`.
fn replay(
    rolled: &mut Rolled,
    mut events: Vec<Event>,
    to_ms: i64,
    closed: &mut impl FnMut(Step, i64, Slot),
) {
    events.sort_by_key(|event| event.at);
    for event in events {
        if let Some(change) = Change::of(&event) {
            rolled.replay.apply(event.at.0, &change, closed);
        }
    }
    rolled.replay.pass(to_ms, closed);
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and texts have a JSON form")
}
