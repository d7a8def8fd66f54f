//! Who was denied, and whether that holder got a seat soon after.
//!
//! An agent that is refused and gets a seat a few seconds later was not harmed. A **true denial** is one whose holder
//! got no seat within two minutes. Anonymous holders cannot be told apart, so for them any grant counts as theirs.

use std::collections::{HashMap, VecDeque};

use crate::lease::Instant;
use crate::pool::PoolName;
use crate::store::{Error, Event, EventId, Store};

/// A holder that gets a seat within this time was not truly denied, ms.
pub const SOON_MS: i64 = 120_000;
/// Events that are read at once.
const CHUNK: usize = 1_000;

/// A run of denials of one holder: further ones within two minutes belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Its place in the pool's history.
    pub id: EventId,
    /// When the first was.
    pub at: Instant,
    /// Why.
    pub code: String,
    /// Who asked; none is anonymous.
    pub holder: Option<String>,
    /// The sub-account.
    pub tenant: Option<String>,
    /// Whether the holder got no seat within two minutes; none as long as that can still happen.
    pub true_denial: Option<bool>,
}

/// Denials after a place in the history and before an instant, oldest first, at most `limit`. The second value is the
/// place where the next page begins; none at the end.
pub async fn denials(
    store: &Store,
    pool: &PoolName,
    after: EventId,
    to: Instant,
    limit: usize,
) -> Result<(Vec<Denial>, Option<EventId>), Error> {
    let now = store.clock().await?;
    let mut open: VecDeque<Denial> = VecDeque::new();
    let mut done: Vec<Denial> = Vec::new();
    // Holders that wait for an answer -> how many of the open ones are theirs.
    let mut waiting: HashMap<Option<String>, usize> = HashMap::new();
    let mut read = after;
    'reading: loop {
        let chunk = store.events(pool, read, CHUNK).await?;
        let whole = chunk.len() == CHUNK;
        for event in chunk {
            read = event.id;
            let written = event.id.written_ms();
            while open
                .front()
                .is_some_and(|denial| denial.at.0 + SOON_MS < written)
            {
                done.extend(open.pop_front());
            }
            let enough = limit < done.len() + open.len();
            if (enough || to <= event.at) && open.is_empty() {
                break 'reading;
            }
            match event.kind.as_str() {
                "denied" if !enough && event.at < to => {
                    *waiting.entry(event.holder.clone()).or_default() += 1;
                    open.push_back(denied(event));
                }
                "started" | "resumed" if waiting.remove(&event.holder).is_some() => {
                    for denial in open
                        .iter_mut()
                        .filter(|denial| denial.holder == event.holder)
                    {
                        let soon = event.at.since(denial.at) <= SOON_MS.unsigned_abs();
                        denial.true_denial = denial.true_denial.or(soon.then_some(false));
                    }
                }
                _ => {}
            }
        }
        if !whole {
            break;
        }
    }
    done.extend(open);
    for denial in &mut done {
        let over = denial.at.0 + SOON_MS < now.0;
        denial.true_denial = denial.true_denial.or(over.then_some(true));
    }
    let more = limit < done.len();
    done.truncate(limit);
    let next = done.last().filter(|_| more).map(|denial| denial.id);
    Ok((done, next))
}

fn denied(event: Event) -> Denial {
    Denial {
        id: event.id,
        at: event.at,
        code: event.reason.unwrap_or_default(),
        holder: event.holder,
        tenant: event.tenant,
        true_denial: None,
    }
}
