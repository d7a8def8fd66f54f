//! Slots by minute, hour and day: kept, brought up to date, and read with what is not kept yet.

mod pending;
mod stored;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};

use self::pending::{PendingEvents, RollupEvent, last_ms, read, synthetic_changes};
pub use self::stored::{Latest, Slots, latest, slots};
use super::replay::{Change, Replay};
use super::slot::{Slot, Step};
use crate::blocking;
use crate::names::PoolName;
use crate::store::{Denials, Error, EventId, RollupLooks, RollupState, SlotRange, Store};
use crate::time::Timestamp;

/// How late an event may be written and still be put in its place, ms. A sweep is there within two seconds.
const LATE_MS: i64 = 60_000;
/// Events that are read at once: about a millisecond of a thread that answers requests meanwhile, and less of Redis's time.
const CHUNK: usize = 250;
/// Events of one roll-up, about 5 MiB; more only if two minutes had more.
const BATCH: usize = 50_000;
/// Counts of denials that one roll-up takes away.
const COUNTS: usize = 1_000;
/// Whether an event of longer ago is gone says nothing: events are kept for 35 days.
const RECENT_MS: i64 = 30 * 86_400_000;
/// How often a node looks whether a roll-up is due.
const EVERY: Duration = Duration::from_secs(30);
/// Part of the time after which another node's look is not fresh any more.
const FRESH: f64 = 0.8;
/// How often a node rolls up one pool. Each time it reads a minute that the next time it reads again.
const EACH: Duration = Duration::from_secs(4 * 60);
/// Less than this is left for the next time, ms: another node has been here.
const WORTH_MS: i64 = 2 * 60_000;
/// So many events are replayed in less than a millisecond.
const FEW: usize = 1_000;

/// How far the events of a pool are rolled up, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Checkpoint {
    /// Everything written up to here was looked at, ms.
    read_ms: i64,
    /// The last event that was; as long as it is there none was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// What it came to.
    replay: Replay,
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

/// The stretches of slots that a pool may have at this instant, each the name of its length and its number.
pub fn stretches(now: Timestamp) -> Vec<(&'static str, i64)> {
    let all = Step::ALL.into_iter().flat_map(|step| {
        let oldest_ms = now.0 - step.kept_ms() - step.stretch() * step.ms();
        let stretch = |at_ms| step.slot(at_ms).div_euclid(step.stretch());
        (stretch(oldest_ms)..=stretch(now.0)).map(move |number| (step.name(), number))
    });
    all.collect()
}

/// Rolls up what has happened, now and then, for as long as the store lives. Each pool belongs to one node; if two do the same,
/// whoever is late loses nothing but its work.
pub async fn run(store: Store) -> Infallible {
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks = RollupLooks::default();
    loop {
        interval.tick().await;
        if let Err(error) = roll_up_all(&store, &mut looks).await {
            tracing::debug!(error = %error, "history is not rolled up: {error}");
        }
    }
}

async fn roll_up_all(store: &Store, looks: &mut RollupLooks) -> Result<(), Error> {
    // What other buckets have is rolled up all the same.
    if let Err(error) = store.note_rollups(looks, EVERY.mul_f64(FRESH)).await {
        tracing::debug!(error = %error, "pools to roll up are not noted: {error}");
    }
    loop {
        let due = store.pools_to_roll_up().await?;
        if due.is_empty() {
            return Ok(());
        }
        for pool in due {
            roll_up_due(store, &pool).await?;
        }
    }
}

/// Rolls up one pool, and notes when to do so again.
async fn roll_up_due(store: &Store, pool: &PoolName) -> Result<(), Error> {
    let rolling = AssertUnwindSafe(roll_up_whole(store, pool)).catch_unwind();
    // Numbers that no version of ours writes are a panic. The other pools have their turn all the same.
    let rolled = rolling
        .await
        .unwrap_or_else(|_| Err(Error::Newer(format!("the history of pool {pool}"))));
    if matches!(rolled, Err(Error::Newer(_))) {
        store.note_unreadable_history(pool);
    }
    let whole = match rolled {
        Ok((RollupResult::Nothing, state)) if is_old(&state) => Some(state.last),
        Ok(_) => None,
        // It may be the only one of which something is wrong.
        Err(error) => {
            tracing::debug!(%pool, error = %error, "history is not rolled up: {error}");
            None
        }
    };
    // Not all pools at the same time, even if they were made together.
    let again = EACH.mul_f64(rand::random_range(0.75..1.25));
    store.finish_roll_up(pool, whole, again).await
}

/// Whether all that has happened in a pool is so old that a roll-up does not leave it for later.
fn is_old(state: &RollupState) -> bool {
    let ripe_ms = state.now.0 - 1 - LATE_MS;
    state.last.map_or(0, EventId::written_ms) <= ripe_ms
}

/// What came of a roll-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RollupResult {
    /// It is too soon: there may be something.
    Waited,
    /// There was nothing old enough.
    Nothing,
    /// All that is old enough.
    All,
    /// A part: there is more.
    More,
}

/// Rolls up about `batch` events, or those of a minute if these are more. `true` if there is more.
pub async fn roll_up(store: &Store, pool: &PoolName, batch: usize) -> Result<bool, Error> {
    let (did, _) = roll_up_once(store, pool, batch, 0).await?;
    Ok(did == RollupResult::More)
}

async fn roll_up_whole(
    store: &Store,
    pool: &PoolName,
) -> Result<(RollupResult, RollupState), Error> {
    let (did, state) = roll_up_once(store, pool, BATCH, WORTH_MS).await?;
    if did == RollupResult::More {
        while roll_up(store, pool, BATCH).await? {}
    }
    Ok((did, state))
}

/// Returns what it came to, and from which state of the pool.
async fn roll_up_once(
    store: &Store,
    pool: &PoolName,
    batch: usize,
    worth_ms: i64,
) -> Result<(RollupResult, RollupState), Error> {
    let state = store.rollup_state(pool).await?;
    let now_ms = state.now.0;
    let before = state.checkpoint.as_deref();
    let Some(mut checkpoint) = begin(store, pool, before).await? else {
        return Ok((RollupResult::Nothing, state));
    };
    let begun_ms = checkpoint.replay.at_ms();
    if now_ms - LATE_MS - begun_ms < worth_ms {
        return Ok((RollupResult::Waited, state));
    }
    // A roll-up stays a minute behind what it has read. It puts away at least half of that, or the next one would
    // read almost the same events once more.
    let enough = |events: &[RollupEvent]| {
        batch <= events.len()
            && is_late(events, begun_ms)
            && is_late(events, events[events.len() / 2].id.written_ms())
    };
    let PendingEvents {
        mut events,
        is_whole,
    } = read(store, pool, &checkpoint, enough).await?;
    let more = enough(&events);
    // What was written in the present millisecond may not be all of it.
    let read_ms = match events.last() {
        Some(last) if more => last.id.written_ms() - 1,
        _ => now_ms - 1,
    };
    let to_ms = read_ms - LATE_MS;
    if to_ms <= begun_ms {
        return Ok((RollupResult::Nothing, state));
    }
    let mut others = synthetic_changes(&state, &checkpoint, is_whole, &events, to_ms);
    events.retain(|event| event.id.written_ms() <= read_ms && event.at_ms <= to_ms);
    others.retain(|(at_ms, _)| *at_ms <= to_ms);
    if !more && events.is_empty() && others.is_empty() {
        return Ok((RollupResult::Nothing, state));
    }

    let last = events.iter().map(|event| event.id).max();
    checkpoint.last = last.map(|id| id.to_string()).or(checkpoint.last);
    checkpoint.read_ms = read_ms;
    let (checkpoint, stretches) = replayed(events.len(), move || {
        let stretches = fold(&mut checkpoint, events, others, to_ms);
        (checkpoint, stretches)
    })
    .await;
    let counted: Vec<Denials> = state
        .denials
        .iter()
        .filter(|denials| last_ms(denials) <= to_ms)
        .take(COUNTS)
        .cloned()
        .collect();

    // If another node was faster the next look begins where it ended.
    store
        .roll_up(pool, before, &json(&checkpoint), &counted, &stretches)
        .await?;
    let did = if more {
        RollupResult::More
    } else {
        RollupResult::All
    };
    Ok((did, state))
}

/// Replays, and gives the slots that are over, by the keys that they are kept in.
fn fold(
    checkpoint: &mut Checkpoint,
    events: Vec<RollupEvent>,
    others: Vec<(i64, Change)>,
    to_ms: i64,
) -> Vec<SlotRange> {
    let mut closed: BTreeMap<(Step, i64), BTreeMap<i64, Slot>> = BTreeMap::new();
    let mut keep = |step: Step, number: i64, slot| {
        let stretch = number.div_euclid(step.stretch());
        closed
            .entry((step, stretch))
            .or_default()
            .insert(number, slot);
    };
    replay(checkpoint, events, others, to_ms, &mut keep);
    closed
        .into_iter()
        .map(|((step, number), slots)| SlotRange {
            step: step.name(),
            number,
            kept_ms: step.kept_ms() + step.stretch() * step.ms(),
            slots: slots
                .into_iter()
                .map(|(number, slot)| (number, json(&slot)))
                .collect(),
        })
        .collect()
}

/// Replays the events: a million take a second, a few no time at all.
async fn replayed<T: Send + 'static>(
    events: usize,
    replay: impl FnOnce() -> T + Send + 'static,
) -> T {
    if events <= FEW {
        replay()
    } else {
        blocking::run(replay).await
    }
}

/// Where the roll-up of a pool stands; at its first event if it never was. None if nothing has happened.
async fn begin(
    store: &Store,
    pool: &PoolName,
    stored: Option<&str>,
) -> Result<Option<Checkpoint>, Error> {
    if let Some(stored) = stored {
        return serde_json::from_str(stored)
            .map(Some)
            .map_err(|_| Error::Newer(format!("the history of pool {pool}")));
    }
    let first = store.events(pool, EventId::default(), 1).await?;
    Ok(first.first().map(|first| {
        let at_ms = first.at.0.min(first.id.written_ms()) - 1;
        Checkpoint {
            read_ms: at_ms,
            last: None,
            replay: Replay::begin(at_ms),
        }
    }))
}

/// Applies events and synthetic changes in order of time, and lets time pass to `to_ms`.
fn replay(
    checkpoint: &mut Checkpoint,
    events: Vec<RollupEvent>,
    others: Vec<(i64, Change)>,
    to_ms: i64,
    closed: &mut impl FnMut(Step, i64, Slot),
) {
    let of = |event: RollupEvent| {
        let idle = (event.idle != 0).then_some(Change::Idle(event.idle));
        let changes = event.change.into_iter().chain(idle);
        changes.map(move |change| (event.at_ms, change))
    };
    let mut changes = others;
    changes.extend(events.into_iter().flat_map(of));
    changes.sort_by_key(|(at_ms, _)| *at_ms);
    for (at_ms, change) in changes {
        checkpoint.replay.apply(at_ms, &change, closed);
    }
    checkpoint.replay.pass(to_ms, closed);
}

/// Whether the last of these events was written so late after an instant that all that happened until then is written.
fn is_late(events: &[RollupEvent], at_ms: i64) -> bool {
    events
        .last()
        .is_some_and(|last| at_ms + LATE_MS + 1 < last.id.written_ms())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings have a JSON form")
}
