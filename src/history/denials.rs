//! Denied requests, and whether their holders got a seat soon after.
//!
//! An agent that is refused and gets a seat a few seconds later was not harmed. A **true denial** is one whose holder
//! got no seat within two minutes. Anonymous holders look alike, so for them any grant counts as theirs.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::ControlFlow;

use super::reading;
use crate::names::{PoolName, Tenant};
use crate::store::{Error, Event, EventId, Store};
use crate::time::Timestamp;

/// A holder that gets a seat within this time was not truly denied, ms.
pub const SOON_MS: i64 = 120_000;
/// How long a report waits for the seat that a holder gets after all, ms.
pub const PATIENCE_MS: i64 = 3_600_000;

/// A run of denials of one holder: further ones within two minutes belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Its place in the pool's history.
    pub id: EventId,
    /// When the first was.
    pub at: Timestamp,
    /// Why.
    pub code: String,
    /// Who asked; none is anonymous.
    pub holder: Option<String>,
    /// The sub-account.
    pub tenant: Option<String>,
    /// Whether the holder got no seat within two minutes; none as long as that can still happen.
    pub true_denial: Option<bool>,
    /// When the holder got a seat after all; none if not within the time that was waited for.
    pub granted_at: Option<Timestamp>,
}

/// Denials after a place in the history and before an instant, oldest first, at most `limit`, and what the next
/// `patience_ms` brought their holders, at least two minutes. The second value is the place where the next page begins;
/// none at the end. `now` is what the scripts say. Only of these tenants, if some are given.
#[expect(clippy::too_many_arguments)]
pub async fn denials(
    store: &Store,
    pool: &PoolName,
    after: EventId,
    to: Timestamp,
    limit: usize,
    patience_ms: i64,
    now: Timestamp,
    own: Option<&BTreeSet<Tenant>>,
) -> Result<(Vec<Denial>, Option<EventId>), Error> {
    let mut open: VecDeque<Denial> = VecDeque::new();
    let mut done: Vec<Denial> = Vec::new();
    // Holders that wait for a seat.
    let mut waiting: HashSet<Option<String>> = HashSet::new();
    reading::each(store, pool, after, |event| {
        let written = event.id.written_ms();
        while open
            .front()
            .is_some_and(|denial| denial.at.0 + patience_ms < written)
        {
            done.extend(open.pop_front());
        }
        if open.is_empty() {
            waiting.clear();
        }
        let enough = limit < done.len() + open.len();
        if (enough || to.0 <= written) && waiting.is_empty() {
            return ControlFlow::Break(());
        }
        match event.kind.as_str() {
            _ if reading::is_foreign(&event, own) => {}
            "denied" if !enough && event.at < to => {
                waiting.insert(event.holder.clone());
                open.push_back(Denial::of(event));
            }
            "started" | "resumed" if waiting.remove(&event.holder) => {
                let theirs = open
                    .iter_mut()
                    .filter(|denial| denial.holder == event.holder && denial.granted_at.is_none());
                for denial in theirs {
                    denial.grant(event.at);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    })
    .await?;
    done.extend(open);
    for denial in &mut done {
        denial.settle(now);
    }
    let more = limit < done.len();
    done.truncate(limit);
    let next = done.last().filter(|_| more).map(|denial| denial.id);
    Ok((done, next))
}

impl Denial {
    /// A denial, of which it is not known yet what came of it.
    pub(super) fn of(event: Event) -> Self {
        Self {
            id: event.id,
            at: event.at,
            code: event.reason.unwrap_or_default(),
            holder: event.holder,
            tenant: event.tenant,
            true_denial: None,
            granted_at: None,
        }
    }

    /// The holder got a seat after all.
    pub(super) fn grant(&mut self, at: Timestamp) {
        self.granted_at = Some(at);
        let soon = at.since(self.at) <= SOON_MS.unsigned_abs();
        self.true_denial = Some(!soon);
    }

    /// Whether it was a true one, as far as that can be said at an instant.
    pub(super) fn settle(&mut self, now: Timestamp) {
        let over = self.at.0 + SOON_MS < now.0;
        self.true_denial = self.true_denial.or(over.then_some(true));
    }
}
