//! The demand that a pool has seen, from its events, for [`super::sizing`].

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::denials;
use super::levels::Levels;
use super::reading;
use super::rollup;
use super::sizing::{Attempt, Demand};
use super::slot::Step;
use crate::names::PoolName;
use crate::store::{Error, EventId, Store};
use crate::time::Timestamp;

/// Denials that are looked at in one go.
const CHUNK: usize = 1_000;
/// One week, ms.
const WEEK_MS: i64 = 7 * 86_400_000;

/// The requests for seats from one instant to another: each lease, and each holder that was truly denied for want of a
/// seat, for whom its own median length of a lease is assumed, or that of all. A lease that shares its seat or has a
/// named one is no request for a seat; a holder that asks again and again counts once.
pub async fn demand(
    store: &Store,
    pool: &PoolName,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Result<Demand, Error> {
    let to = to.min(now);
    let mut live: HashMap<String, Attempt> = HashMap::new();
    let mut names: HashSet<Arc<str>> = HashSet::new();
    let mut name = |holder: Option<String>| -> Option<Arc<str>> {
        let holder = holder?;
        if let Some(name) = names.get(holder.as_str()) {
            return Some(name.clone());
        }
        let name: Arc<str> = holder.into();
        names.insert(name.clone());
        Some(name)
    };
    let mut attempts = Vec::new();
    let mut keep = |mut wish: Attempt, until: Timestamp| {
        wish.from_ms = wish.from_ms.max(from.0);
        wish.until_ms = until.0.min(to.0);
        if wish.from_ms < wish.until_ms {
            attempts.push(wish);
        }
    };
    reading::each(store, pool, EventId::default(), |event| {
        let Some(id) = event.lease else {
            return ControlFlow::Continue(());
        };
        match event.kind.as_str() {
            "started" | "resumed" | "rebuilt" if event.seats != Some(0) => {
                let wish = Attempt {
                    from_ms: event.at.0,
                    until_ms: event.at.0,
                    holder: name(event.holder),
                    denied: false,
                };
                live.insert(id, wish);
            }
            "ended" => {
                if let Some(wish) = live.remove(&id) {
                    keep(wish, event.at);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .await?;
    for wish in live.into_values() {
        keep(wish, to);
    }

    let usual = TypicalDuration::of(&attempts);
    // Holder -> when its last refused request stops counting.
    let mut refused: HashMap<Arc<str>, i64> = HashMap::new();
    let mut after = EventId::before_ms(from.0);
    loop {
        let (found, next) =
            denials::denials(store, pool, after, to, CHUNK, denials::PATIENCE_MS, now).await?;
        for denial in found {
            let for_want_of_a_seat = denial.code != "holder_blocked";
            if denial.true_denial != Some(true) || !for_want_of_a_seat {
                continue;
            }
            let holder = name(denial.holder);
            let from_ms = denial.at.0;
            if let Some(holder) = &holder
                && refused.get(holder).is_some_and(|until| from_ms < *until)
            {
                continue;
            }
            // Once it has a seat, that counts as a request of its own.
            let granted_ms = denial.granted_at.map_or(i64::MAX, |at| at.0);
            let until_ms = (from_ms + usual.ms(holder.as_ref()))
                .min(granted_ms)
                .min(to.0);
            if let Some(holder) = &holder {
                refused.insert(holder.clone(), until_ms);
            }
            attempts.push(Attempt {
                from_ms,
                until_ms,
                holder,
                denied: true,
            });
        }
        let Some(next) = next else { break };
        after = next;
    }
    Ok(Demand::new(from, to, attempts))
}

/// How long leases usually last.
struct TypicalDuration {
    by_holder: HashMap<Arc<str>, i64>,
    all: i64,
}

impl TypicalDuration {
    fn of(attempts: &[Attempt]) -> Self {
        let length = |wish: &Attempt| wish.until_ms - wish.from_ms;
        let mut by_holder: HashMap<Arc<str>, Vec<i64>> = HashMap::new();
        for wish in attempts {
            if let Some(holder) = &wish.holder {
                by_holder
                    .entry(holder.clone())
                    .or_default()
                    .push(length(wish));
            }
        }
        Self {
            by_holder: by_holder
                .into_iter()
                .map(|(holder, lengths)| (holder, median(lengths)))
                .collect(),
            all: median(attempts.iter().map(length).collect()),
        }
    }

    fn ms(&self, holder: Option<&Arc<str>>) -> i64 {
        let own = holder.and_then(|holder| self.by_holder.get(holder));
        *own.unwrap_or(&self.all)
    }
}

fn median(mut lengths: Vec<i64>) -> i64 {
    let middle = lengths.len() / 2;
    if lengths.is_empty() {
        return 0;
    }
    *lengths.select_nth_unstable(middle).1
}

/// The sustained peak of each whole week before an instant, oldest first, at most 52, and whether the pool was full in
/// one of them, so that they are lower bounds.
pub async fn weekly_peaks(
    store: &Store,
    pool: &PoolName,
    to: Timestamp,
    sustained_ms: u64,
) -> Result<(Vec<u64>, bool), Error> {
    // The present day is not over, and would make its week look like a fall.
    let to = to.0 - to.0.rem_euclid(Step::Day.ms());
    let Some(days) = rollup::slots(store, pool, Step::Day, to - 52 * WEEK_MS, to).await? else {
        return Ok((Vec::new(), false));
    };
    // The first day may have begun before the pool did.
    let whole = days.slots.get(1..).unwrap_or_default();
    // From the present back, so that the weeks are whole.
    let mut was_full = false;
    let mut weeks: Vec<u64> = whole
        .rchunks_exact(7)
        .map(|week| {
            let mut sum = Levels::none();
            for day in week {
                sum.append(&day.levels);
            }
            was_full |= sum.at_least_ms(100) > 0;
            sum.sustained(sustained_ms)
        })
        .collect();
    weeks.reverse();
    Ok((weeks, was_full))
}
