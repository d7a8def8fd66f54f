//! Slots by minute, hour and day: kept, brought up to date, and read with what is not kept yet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::replay::{Change, Replay};
use super::slot::{Slot, Step};
use crate::lease::Instant;
use crate::pool::PoolName;
use crate::store::{Denials, Error, Event, EventId, Standing, Store, Stretch};

/// How late an event may be written and still be put in its place, ms. A sweep is there within two seconds.
const LATE_MS: i64 = 60_000;
/// Events that are read at once.
const CHUNK: usize = 2_000;
/// Events of one roll-up, about 10 MiB; more only if a minute had more.
const BATCH: usize = 50_000;
/// Counts of denials that one roll-up takes away.
const COUNTS: usize = 1_000;
/// Whether an event of longer ago is gone says nothing: events are kept for 35 days.
const RECENT_MS: i64 = 30 * 86_400_000;
/// How often a node looks for pools with something to roll up.
const EVERY: Duration = Duration::from_secs(30);

/// How far the events of a pool are rolled up, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rolled {
    /// Everything written up to here was looked at, ms.
    read_ms: i64,
    /// The last event that was; as long as it is there none was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
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
    /// When the pool's history begins, ms.
    pub began_ms: i64,
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

/// Rolls up about so many events, or those of a bit more than a minute if these are more. `true` if there is more.
pub async fn roll_up(store: &Store, pool: &PoolName, batch: usize) -> Result<bool, Error> {
    let standing = store.rolled(pool).await?;
    let now_ms = standing.now.0;
    let before = standing.rolled.as_deref();
    let Some(mut rolled) = begin(store, pool, before).await? else {
        return Ok(false);
    };
    let begun_ms = rolled.replay.at_ms();
    // A roll-up stays a minute behind what it has read, so a minute with more events than a batch is read whole.
    let enough =
        |events: &[Event]| batch <= events.len() && spans_more_than(events, begun_ms, LATE_MS);
    let Read {
        mut events,
        is_whole,
    } = read(store, pool, &rolled, enough).await?;
    let more = enough(&events);
    // What was written in the present millisecond may not be all of it.
    let read_ms = match events.last() {
        Some(last) if more => last.id.written_ms() - 1,
        _ => now_ms - 1,
    };
    let to_ms = read_ms - LATE_MS;
    if to_ms <= begun_ms {
        return Ok(false);
    }
    let mut others = beside(&standing, &rolled, is_whole, &events, to_ms);
    events.retain(|event| event.id.written_ms() <= read_ms && event.at.0 <= to_ms);
    others.retain(|(at_ms, _)| *at_ms <= to_ms);
    if !more && events.is_empty() && others.is_empty() {
        return Ok(false);
    }

    let mut closed: BTreeMap<(Step, i64), BTreeMap<i64, Slot>> = BTreeMap::new();
    let mut keep = |step: Step, number: i64, slot| {
        let stretch = number.div_euclid(step.stretch());
        closed
            .entry((step, stretch))
            .or_default()
            .insert(number, slot);
    };
    let last = events.iter().map(|event| event.id).max();
    rolled.last = last.map(|id| id.to_string()).or(rolled.last);
    replay(&mut rolled, events, others, to_ms, &mut keep);
    rolled.read_ms = read_ms;
    let counted: Vec<Denials> = standing
        .denials
        .iter()
        .filter(|denials| last_ms(denials) <= to_ms)
        .take(COUNTS)
        .cloned()
        .collect();

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
        .roll_up(pool, before, &json(&rolled), &counted, &stretches)
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
    let (standing, mut rolled, Read { events, is_whole }) = loop {
        let standing = store.rolled(pool).await?;
        let Some(rolled) = begin(store, pool, standing.rolled.as_deref()).await? else {
            return Ok(None);
        };
        let found = read(store, pool, &rolled, |events| BATCH <= events.len()).await?;
        if found.events.len() < BATCH {
            break (standing, rolled, found);
        }
        // So many at once are not kept in memory for one reader; but for those of the last minute there is no choice.
        if !roll_up(store, pool, BATCH).await? {
            let all = read(store, pool, &rolled, |_| false).await?;
            break (standing, rolled, all);
        }
    };
    let now_ms = standing.now.0;
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

    let others = beside(&standing, &rolled, is_whole, &events, now_ms);
    let mut keep = |closed: Step, number: i64, slot| {
        if closed == step {
            found.insert(number, slot);
        }
    };
    replay(&mut rolled, events, others, now_ms, &mut keep);
    let (number, open) = rolled.replay.open(step);
    found.insert(number, open.clone());

    Ok(Some(Slots {
        step,
        first,
        slots: without_gaps(&found, step, first, last),
        now_ms,
        began_ms: rolled.replay.began(),
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
    let enough = |read: &[Event]| events <= read.len();
    let since = read(store, pool, &rolled, enough).await?.events;
    let now_ms = if since.len() < events {
        let mut keep = |closed: Step, number: i64, slot| {
            if closed == step {
                found.insert(number, slot);
            }
        };
        replay(&mut rolled, since, Vec::new(), now.0, &mut keep);
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
            began_ms: rolled.replay.began(),
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
                    slot.idle_before(step.ms())
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
            last: None,
            replay: Replay::begin(at_ms),
        }
    }))
}

/// What is not rolled up yet.
struct Read {
    /// In the order in which they were written.
    events: Vec<Event>,
    /// Whether the last event that was rolled up is still there; none if none was, or if it was too long ago.
    is_whole: Option<bool>,
}

/// Events that the roll-up has not accounted for: those that happened later, and those that were written too late.
async fn read(
    store: &Store,
    pool: &PoolName,
    rolled: &Rolled,
    is_enough: impl Fn(&[Event]) -> bool,
) -> Result<Read, Error> {
    let at_ms = rolled.replay.at_ms();
    let mut after = EventId::before_ms(at_ms);
    let last: Option<EventId> = rolled.last.as_ref().and_then(|id| id.parse().ok());
    // An event of long ago may be gone because of its age.
    let last = last.filter(|id| rolled.read_ms - RECENT_MS < id.written_ms());
    if let Some(last) = last {
        after = after.min(last.before());
    }
    let mut is_there = false;
    let mut events = Vec::new();
    loop {
        let chunk = store.events(pool, after, CHUNK).await?;
        let whole = chunk.len() == CHUNK;
        for event in chunk {
            after = event.id;
            is_there |= last == Some(event.id);
            if at_ms < event.at.0 || rolled.read_ms < event.id.written_ms() {
                events.push(event);
            }
        }
        if !whole || is_enough(&events) {
            return Ok(Read {
                events,
                is_whole: last.map(|_| is_there),
            });
        }
    }
}

/// Whether the last of these events was written so long after an instant.
fn spans_more_than(events: &[Event], since_ms: i64, ms: i64) -> bool {
    events
        .last()
        .is_some_and(|last| since_ms + ms + 1 < last.id.written_ms())
}

/// The last instant of the minute of a count, at which it is put into slots: once, whoever does it when.
fn last_ms(denials: &Denials) -> i64 {
    (denials.minute + 1) * Step::Minute.ms() - 1
}

/// What happened to a pool that no event tells: denials within a run, and times in which nobody could ask. If events
/// were lost the time up to the first that is left is unknown, and what is in use follows from the seats that are taken.
fn beside(
    standing: &Standing,
    rolled: &Rolled,
    is_whole: Option<bool>,
    events: &[Event],
    to_ms: i64,
) -> Vec<(i64, Change)> {
    let at_ms = rolled.replay.at_ms();
    let mut changes = Vec::new();
    for denials in &standing.denials {
        let at = last_ms(denials);
        if at_ms < at {
            let change = Change::Refused {
                reason: denials.code.clone(),
                count: denials.count,
            };
            changes.push((at.min(standing.now.0), change));
        }
    }
    for (from, until) in &standing.silences {
        if at_ms < until.0 {
            changes.push((from.0.max(at_ms), Change::Silent));
            changes.push((until.0, Change::Heard { seats: None }));
        }
    }
    let is_first = standing.rolled.is_none();
    if is_whole == Some(false) || is_first {
        let since: i64 = events
            .iter()
            .filter(|event| Some(event.id) <= standing.last)
            .map(|event| match Change::of(event) {
                Some(Change::Started { seats }) => i64::try_from(seats).unwrap_or(0),
                Some(Change::Ended { seats, .. }) => -i64::try_from(seats).unwrap_or(0),
                _ => 0,
            })
            .sum();
        let before = i64::try_from(standing.seats).unwrap_or(0) - since;
        // Only if all events were read that the number of seats knows of.
        let all = events.last().map(|last| last.id) >= standing.last;
        let seats = u64::try_from(before).ok().filter(|_| all);
        let heard = Change::Heard { seats };
        if !is_first {
            changes.push((at_ms, Change::Silent));
            let first = events.iter().map(|event| event.at.0).min();
            changes.push((first.unwrap_or(to_ms).max(at_ms), heard));
        } else if seats.is_some_and(|seats| seats > 0) {
            changes.push((at_ms, heard));
        }
    }
    changes
}

/// Applies events, and what is beside them, in the order of their instants, and lets time pass to `to_ms`.
fn replay(
    rolled: &mut Rolled,
    events: Vec<Event>,
    others: Vec<(i64, Change)>,
    to_ms: i64,
    closed: &mut impl FnMut(Step, i64, Slot),
) {
    let of = |event: Event| Some((event.at.0, Change::of(&event)?));
    let mut changes = others;
    changes.extend(events.into_iter().filter_map(of));
    changes.sort_by_key(|(at_ms, _)| *at_ms);
    for (at_ms, change) in changes {
        rolled.replay.apply(at_ms, &change, closed);
    }
    rolled.replay.pass(to_ms, closed);
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and texts have a JSON form")
}
