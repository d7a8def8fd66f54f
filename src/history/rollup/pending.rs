//! What a roll-up has not accounted for.

use super::{CHUNK, Checkpoint, RECENT_MS};
use crate::history::replay::Change;
use crate::history::slot::Step;
use crate::names::PoolName;
use crate::store::{Denials, Error, EventId, RollupState, Store};

/// What a roll-up has to know of an event. A crowd's minute has hundreds of thousands.
pub(super) struct RollupEvent {
    /// Its place.
    pub(super) id: EventId,
    /// When it happened, ms.
    pub(super) at_ms: i64,
    /// What it changed, if anything.
    pub(super) change: Option<Change>,
    /// How many seats more are idle by it.
    pub(super) idle: i64,
}

/// What is not rolled up yet.
pub(super) struct PendingEvents {
    /// In the order in which they were written.
    pub(super) events: Vec<RollupEvent>,
    /// Whether the last event that was rolled up is still there; none if none was, or if it was too long ago.
    pub(super) is_whole: Option<bool>,
}

/// Events that the roll-up has not accounted for: those that happened later, and those that were written too late.
pub(super) async fn read(
    store: &Store,
    pool: &PoolName,
    checkpoint: &Checkpoint,
    is_enough: impl Fn(&[RollupEvent]) -> bool,
) -> Result<PendingEvents, Error> {
    let at_ms = checkpoint.replay.at_ms();
    let mut after = EventId::before_ms(at_ms);
    let last: Option<EventId> = checkpoint.last.as_ref().and_then(|id| id.parse().ok());
    // An event of long ago may be gone because of its age.
    let last = last.filter(|id| checkpoint.read_ms - RECENT_MS < id.written_ms());
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
            if at_ms < event.at.0 || checkpoint.read_ms < event.id.written_ms() {
                events.push(RollupEvent {
                    id: event.id,
                    at_ms: event.at.0,
                    change: Change::of(&event),
                    idle: event.idle,
                });
            }
        }
        if !whole || is_enough(&events) {
            return Ok(PendingEvents {
                events,
                is_whole: last.map(|_| is_there),
            });
        }
    }
}

/// The last instant of the minute of a count, at which it is put into slots: once, whoever does it when.
pub(super) fn last_ms(denials: &Denials) -> i64 {
    (denials.minute + 1) * Step::Minute.ms() - 1
}

/// What happened to a pool that no event tells: denials within a run, and times in which nobody could ask. If events
/// were lost the time up to the first that is left is unknown, and what is in use follows from the seats that are taken.
pub(super) fn synthetic_changes(
    state: &RollupState,
    checkpoint: &Checkpoint,
    is_whole: Option<bool>,
    events: &[RollupEvent],
    to_ms: i64,
) -> Vec<(i64, Change)> {
    let at_ms = checkpoint.replay.at_ms();
    let mut changes = Vec::new();
    for denials in &state.denials {
        let at = last_ms(denials);
        if at_ms < at {
            let change = Change::Refused {
                reason: denials.code.clone(),
                count: denials.count,
            };
            changes.push((at.min(state.now.0), change));
        }
    }
    for (from, until) in &state.silences {
        if at_ms < until.0 {
            changes.push((from.0.max(at_ms), Change::Silent));
            changes.push((until.0, Change::Heard { seats: None }));
        }
    }
    let is_first = state.checkpoint.is_none();
    if is_whole == Some(false) || is_first {
        let since: i64 = events
            .iter()
            .filter(|event| Some(event.id) <= state.last)
            .map(|event| match &event.change {
                Some(Change::Started { seats, .. } | Change::Resumed { seats }) => {
                    i64::try_from(*seats).unwrap_or(0)
                }
                Some(Change::Ended { seats, .. }) => -i64::try_from(*seats).unwrap_or(0),
                _ => 0,
            })
            .sum();
        let before = i64::try_from(state.seats).unwrap_or(0) - since;
        // Only if all events were read that the number of seats knows of.
        let all = events.last().map(|last| last.id) >= state.last;
        let seats = u64::try_from(before).ok().filter(|_| all);
        let heard = Change::Heard { seats };
        if !is_first {
            changes.push((at_ms, Change::Silent));
            let first = events.iter().map(|event| event.at_ms).min();
            changes.push((first.unwrap_or(to_ms).max(at_ms), heard));
        } else if seats.is_some_and(|seats| seats > 0) {
            changes.push((at_ms, heard));
        }
    }
    changes
}
