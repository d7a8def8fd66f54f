//! The demand that a pool has seen, from its events, for [`super::sizing`].

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::attempt::Attempt;
use super::denials;
use super::levels::Levels;
use super::reading;
use super::rollup;
use super::sizing::Demand;
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
    let (mut attempts, mut busy) = (Vec::new(), Vec::new());
    let mut idle = IdleStretches::default();
    let mut keep = |mut attempt: Attempt, until: Timestamp, idle: Vec<(i64, i64)>| {
        attempt.from_ms = attempt.from_ms.max(from.0);
        attempt.until_ms = until.0.min(to.0);
        if attempt.from_ms < attempt.until_ms {
            busy.extend(attempt.without(&idle));
            attempts.push(attempt);
        }
    };
    reading::each(store, pool, EventId::default(), |event| {
        let Some(id) = event.lease else {
            return ControlFlow::Continue(());
        };
        idle.note(
            &event.kind,
            &id,
            event.holder.as_deref(),
            event.seats,
            event.at.0,
            event.idle,
        );
        match event.kind.as_str() {
            "started" | "resumed" | "rebuilt" if event.seats != Some(0) => {
                let attempt = Attempt {
                    from_ms: event.at.0,
                    until_ms: event.at.0,
                    holder: name(event.holder),
                    denied: false,
                };
                live.insert(id, attempt);
            }
            "ended" => {
                let idle = idle.take(&id, event.at.0);
                if let Some(attempt) = live.remove(&id) {
                    keep(attempt, event.at, idle);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .await?;
    for (id, attempt) in live {
        let idle = idle.take(&id, to.0);
        keep(attempt, to, idle);
    }

    let usual = TypicalDuration::of(&attempts);
    // Holder -> when its last refused request stops counting.
    let mut refused: HashMap<Arc<str>, i64> = HashMap::new();
    let mut after = EventId::before_ms(from.0);
    loop {
        let (found, next) = denials::denials(
            store,
            pool,
            after,
            to,
            CHUNK,
            denials::PATIENCE_MS,
            now,
            None,
        )
        .await?;
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
            let refused = Attempt {
                from_ms,
                until_ms,
                holder,
                denied: true,
            };
            busy.push(refused.clone());
            attempts.push(refused);
        }
        let Some(next) = next else { break };
        after = next;
    }
    Ok(Demand::new(from, to, attempts).with_busy(busy))
}

/// When seats were idle, by the lease that has the seat.
#[derive(Default)]
struct IdleStretches {
    /// Lease -> the one that took the seat which it shares; only of those that share.
    shares: HashMap<String, String>,
    /// Holder -> the lease that took its seat.
    seat_of: HashMap<String, String>,
    since: HashMap<String, i64>,
    over: HashMap<String, Vec<(i64, i64)>>,
}

impl IdleStretches {
    /// Notes what an event says: `seats` are taken or freed by it, and `more` is how many more are idle.
    fn note(
        &mut self,
        kind: &str,
        lease: &str,
        holder: Option<&str>,
        seats: Option<u64>,
        at_ms: i64,
        more: i64,
    ) {
        // Only where leases share seats it matters whose they are.
        if kind == "started"
            && let (Some(holder), Some(seats)) = (holder, seats)
        {
            if seats > 0 {
                self.seat_of.insert(holder.to_owned(), lease.to_owned());
            } else if let Some(seat) = self.seat_of.get(holder) {
                self.shares.insert(lease.to_owned(), seat.clone());
            }
        }
        let seat = self
            .shares
            .get(lease)
            .map_or(lease, String::as_str)
            .to_owned();
        if more > 0 {
            self.since.entry(seat).or_insert(at_ms);
        } else if more < 0
            && let Some(since) = self.since.remove(&seat)
        {
            self.over.entry(seat).or_default().push((since, at_ms));
        }
    }

    /// The idle stretches of a lease that has ended, in order.
    fn take(&mut self, lease: &str, at_ms: i64) -> Vec<(i64, i64)> {
        let mut over = self.over.remove(lease).unwrap_or_default();
        if let Some(since) = self.since.remove(lease) {
            over.push((since, at_ms));
        }
        self.shares.remove(lease);
        over
    }
}

/// How long leases usually last.
struct TypicalDuration {
    by_holder: HashMap<Arc<str>, i64>,
    all: i64,
}

impl TypicalDuration {
    fn of(attempts: &[Attempt]) -> Self {
        let length = |attempt: &Attempt| attempt.until_ms - attempt.from_ms;
        let mut by_holder: HashMap<Arc<str>, Vec<i64>> = HashMap::new();
        for attempt in attempts {
            if let Some(holder) = &attempt.holder {
                by_holder
                    .entry(holder.clone())
                    .or_default()
                    .push(length(attempt));
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
