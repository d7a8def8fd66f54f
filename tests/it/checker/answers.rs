//! What clients heard fits what happened, and each other.

use std::collections::{HashMap, HashSet};

use super::lifetimes::Lifetimes;
use super::{CLOCK_SLACK, History, Kind, Operation, Outcome, Verdict};

/// Checks the answers of one segment.
pub(super) fn check(
    history: &History,
    lifetimes: &Lifetimes<'_>,
    operations: &[&Operation],
    verdict: &mut Verdict,
) {
    for operation in operations
        .iter()
        .filter(|operation| operation.ran.is_some())
    {
        check_one(history, lifetimes, operation, verdict);
    }
    let wrong = &mut verdict.violations;
    check_finality(history, lifetimes, operations, wrong);
    check_keys(lifetimes, operations, wrong);
    check_starts(history, lifetimes, wrong);
}

fn check_one(
    history: &History,
    lifetimes: &Lifetimes<'_>,
    operation: &Operation,
    verdict: &mut Verdict,
) {
    let wrong = &mut verdict.violations;
    let (at, capacity) = (operation.at(), history.capacity);
    let lives = lifetimes.of(&operation.id);
    let sure = !history.may_be_lost(operation);
    match operation.outcome {
        Outcome::Granted | Outcome::Resumed => {
            let from = match operation.outcome {
                Outcome::Granted => operation.expires_at - history.ttl,
                _ => at,
            };
            // A ticket that already has its seat gets that seat again, however long ago it was granted.
            let had = !operation.ticket.is_empty() && lives.iter().any(|life| life.had(at));
            if !had && !lives.iter().any(|life| life.from == from) {
                if sure {
                    wrong.push(format!("invented: no start for {operation:?}"));
                } else {
                    verdict.lost_writes += 1;
                }
            }
            let newcomers_wait = lifetimes.segment.generation + history.ttl;
            if operation.outcome == Outcome::Granted
                && lifetimes.segment.after_loss
                && (lifetimes.segment.generation..newcomers_wait).contains(&from)
            {
                verdict
                    .violations
                    .push(format!("recovering: a newcomer came first: {operation:?}"));
            }
        }
        Outcome::Renewed if !lives.iter().any(|life| life.had(at)) => {
            if sure {
                wrong.push(format!("invented: renewed without a life: {operation:?}"));
            } else {
                verdict.lost_writes += 1;
            }
        }
        Outcome::Denied if sure && !history.queue && lifetimes.most_at(at) < capacity => {
            wrong.push(format!(
                "denied with {} of {capacity}: {operation:?}",
                lifetimes.most_at(at)
            ));
        }
        Outcome::Expired => {
            if sure && lives.iter().any(|life| life.has(at)) {
                wrong.push(format!("told that it ended while it lived: {operation:?}"));
            }
            // A late beat has its seat again if one is free, and so has one whose data was lost.
            let in_time = match lives.iter().rev().find(|life| life.from <= at) {
                Some(life) => life.expired && at - life.to <= history.resume_window,
                None if lifetimes.segment.after_loss => {
                    let window = history.ttl.max(history.resume_window);
                    at <= lifetimes.segment.generation + window
                }
                None => history.lossy_after(at - history.resume_window),
            };
            if sure && in_time && !history.queue && lifetimes.most_at(at) < capacity {
                wrong.push(format!(
                    "turned away with {} of {capacity}: {operation:?}",
                    lifetimes.most_at(at)
                ));
            }
        }
        _ => {}
    }
}

/// What was released or terminated never has a seat again.
fn check_finality(
    history: &History,
    lifetimes: &Lifetimes<'_>,
    operations: &[&Operation],
    wrong: &mut Vec<String>,
) {
    let mut ended: HashMap<&str, &Operation> = HashMap::new();
    let mut wanted: HashSet<&str> = HashSet::new();
    for operation in &history.operations {
        if matches!(operation.kind, Kind::Release | Kind::Terminate)
            && operation.outcome != Outcome::NotRun
        {
            wanted.insert(&operation.id);
        }
    }
    for operation in operations.iter().filter(|operation| {
        matches!(operation.kind, Kind::Release | Kind::Terminate)
            && operation.outcome == Outcome::Done
    }) {
        if !history.may_be_lost(operation) {
            let first = ended.entry(&operation.id).or_insert(operation);
            if operation.received < first.received {
                *first = operation;
            }
        }
    }
    for operation in operations {
        if operation.outcome == Outcome::Final && !wanted.contains(&*operation.id) {
            wrong.push(format!("invented: nobody ended {operation:?}"));
        }
        if let Some(end) = ended.get(&*operation.id)
            && operation.sent > end.received
            && matches!(
                operation.outcome,
                Outcome::Renewed | Outcome::Resumed | Outcome::Existing
            )
        {
            wrong.push(format!(
                "finality: after its release or termination {operation:?}"
            ));
        }
    }
    let starts = lifetimes.segment.events.iter();
    for event in starts.filter(|event| event.change() > 0) {
        let end = ended.get(&*event.id);
        if end
            .is_some_and(|end| event.at as f64 > end.received + CLOCK_SLACK + history.skew.1 as f64)
        {
            wrong.push(format!(
                "finality: after its release or termination {event:?}"
            ));
        }
    }
}

/// A key is used anew only when its lease has ended.
fn check_keys(lifetimes: &Lifetimes<'_>, operations: &[&Operation], wrong: &mut Vec<String>) {
    let mut keys: HashMap<&str, HashSet<&str>> = HashMap::new();
    for operation in operations.iter().filter(|operation| {
        matches!(operation.outcome, Outcome::Granted | Outcome::Existing)
            && !operation.key.is_empty()
    }) {
        keys.entry(&operation.key)
            .or_default()
            .insert(&operation.id);
    }
    for (key, ids) in keys {
        let mut lives: Vec<_> = ids
            .iter()
            .flat_map(|id| {
                lifetimes
                    .of(id)
                    .iter()
                    .map(move |life| (life.from, life.to, *id))
            })
            .collect();
        lives.sort_unstable();
        for pair in lives.windows(2) {
            if pair[1].0 < pair[0].1 && pair[0].2 != pair[1].2 {
                let asked: Vec<_> = operations
                    .iter()
                    .filter(|asked| &*asked.key == key)
                    .collect();
                wrong.push(format!(
                    "idempotency: two leases at once for {key}: {pair:?}, of {asked:?}"
                ));
            }
        }
    }
}

/// Whoever has a seat has asked for it, and knows of it unless the answer got lost.
fn check_starts(history: &History, lifetimes: &Lifetimes<'_>, wrong: &mut Vec<String>) {
    let mut known: HashSet<&str> = HashSet::new();
    let mut open: HashMap<&str, Vec<f64>> = HashMap::new();
    for operation in &history.operations {
        match (operation.kind, operation.outcome) {
            (Kind::Acquire, Outcome::Unknown) => {
                open.entry(&operation.holder)
                    .or_default()
                    .push(operation.sent);
            }
            // A second run may find a seat where the first one did not, or that the lease of its key is gone by then.
            (Kind::Acquire, Outcome::Denied | Outcome::Blocked | Outcome::Existing)
                if history.may_repeat(operation) =>
            {
                open.entry(&operation.holder)
                    .or_default()
                    .push(operation.sent);
            }
            _ => {}
        }
        if operation.kind == Kind::Acquire
            && matches!(operation.outcome, Outcome::Granted | Outcome::Existing)
        {
            known.insert(&operation.id);
        }
    }
    for asked in open.values_mut() {
        asked.sort_by(f64::total_cmp);
        asked.reverse();
    }
    let starts = lifetimes.segment.events.iter();
    for event in starts.filter(|event| event.kind == "started") {
        if known.contains(&*event.id) {
            continue;
        }
        let asked = open.get_mut(&*event.holder);
        let explained = asked.and_then(|asked| {
            asked
                .pop_if(|sent| *sent - CLOCK_SLACK - 1.0 + history.skew.0 as f64 <= event.at as f64)
        });
        if explained.is_none() {
            wrong.push(format!("invented: nobody got {event:?}"));
        }
    }
}
