//! The demand that a pool has seen, from its events, for [`super::sizing`].

use std::collections::HashMap;

use super::denials;
use super::rollup;
use super::sizing::{Demand, Wish};
use super::slot::Step;
use crate::lease::Instant;
use crate::pool::PoolName;
use crate::store::{Error, EventId, Store};

/// Events that are read at once.
const CHUNK: usize = 1_000;
/// One week, ms.
const WEEK_MS: i64 = 7 * 86_400_000;

/// The wishes for seats from one instant to another: each lease, and each holder that was truly denied, for whom the
/// median length of a lease is assumed. A lease that shares its seat or has a named one is no wish for a seat.
pub async fn demand(
    store: &Store,
    pool: &PoolName,
    from: Instant,
    to: Instant,
) -> Result<Demand, Error> {
    let to = to.min(store.clock().await?);
    let mut live: HashMap<String, Wish> = HashMap::new();
    let mut wishes = Vec::new();
    let mut keep = |mut wish: Wish, until: Instant| {
        wish.from_ms = wish.from_ms.max(from.0);
        wish.until_ms = until.0.min(to.0);
        if wish.from_ms < wish.until_ms {
            wishes.push(wish);
        }
    };
    let mut read = EventId::default();
    loop {
        let chunk = store.events(pool, read, CHUNK).await?;
        let whole = chunk.len() == CHUNK;
        for event in chunk {
            read = event.id;
            let Some(id) = event.lease else { continue };
            match event.kind.as_str() {
                "started" | "resumed" | "rebuilt" if event.seats != Some(0) => {
                    let wish = Wish {
                        from_ms: event.at.0,
                        until_ms: event.at.0,
                        holder: event.holder,
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
        }
        if !whole {
            break;
        }
    }
    for wish in live.into_values() {
        keep(wish, to);
    }

    let usual_ms = median(
        wishes
            .iter()
            .map(|wish| wish.until_ms - wish.from_ms)
            .collect(),
    );
    let mut after = EventId::before_ms(from.0);
    loop {
        let (found, next) = denials::denials(store, pool, after, to, CHUNK).await?;
        let refused = found
            .into_iter()
            .filter(|denial| denial.true_denial == Some(true));
        wishes.extend(refused.map(|denial| Wish {
            from_ms: denial.at.0,
            until_ms: denial.at.0 + usual_ms,
            holder: denial.holder,
            denied: true,
        }));
        let Some(next) = next else { break };
        after = next;
    }
    Ok(Demand::new(from, to, wishes))
}

fn median(mut lengths: Vec<i64>) -> i64 {
    let middle = lengths.len() / 2;
    if lengths.is_empty() {
        return 0;
    }
    *lengths.select_nth_unstable(middle).1
}

/// The most seats in use at once in each whole week before an instant, oldest first, at most 52.
pub async fn weekly_peaks(store: &Store, pool: &PoolName, to: Instant) -> Result<Vec<u64>, Error> {
    let from = to.0 - 52 * WEEK_MS;
    let Some(days) = rollup::slots(store, pool, Step::Day, from, to.0).await? else {
        return Ok(Vec::new());
    };
    let highs: Vec<u64> = days.slots.iter().map(|day| day.high_water_mark).collect();
    // From the present back, so that the weeks are whole.
    let mut weeks: Vec<u64> = highs
        .rchunks_exact(7)
        .map(|week| week.iter().copied().max().unwrap_or(0))
        .collect();
    weeks.reverse();
    Ok(weeks)
}
