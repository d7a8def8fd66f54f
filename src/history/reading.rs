//! Reads the events of a pool for a report, however many there are.
//!
//! A report begins at the first event that is kept, because who has a seat at an instant follows only from all starts
//! and ends before it. So it reads in chunks and keeps what it counts, and few reports are made at a time. Events
//! are dropped by age (`store/sweeper.rs`), and by number beyond some millions (`lua/prelude.lua`); a report says from
//! when on they cover it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use tokio::sync::Semaphore;

use crate::names::{PoolName, Tenant};
use crate::store::{Error, Event, EventId, Store};
use crate::time::Timestamp;

/// Events that are read at once.
const CHUNK: usize = 1_000;
/// Reports that are made at the same time; others wait for them.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// Visits each event after an id, in the order in which they were written, until they end or the visitor stops.
pub(super) async fn each(
    store: &Store,
    pool: &PoolName,
    after: EventId,
    mut show: impl FnMut(Event) -> ControlFlow<()>,
) -> Result<(), Error> {
    let _turn = AT_ONCE.acquire().await;
    let mut read = after;
    loop {
        let chunk = store.events(pool, read, CHUNK).await?;
        let whole = chunk.len() == CHUNK;
        for event in chunk {
            read = event.id;
            if show(event).is_break() {
                return Ok(());
            }
        }
        if !whole {
            return Ok(());
        }
    }
}

/// Whether an event that says whose it is, is of none of these tenants; without any, all are theirs.
pub(super) fn is_foreign(event: &Event, own: Option<&BTreeSet<Tenant>>) -> bool {
    let says_whose = matches!(
        event.kind.as_str(),
        "started" | "resumed" | "rebuilt" | "denied"
    );
    let is_own = |own: &BTreeSet<Tenant>| {
        let tenant = event.tenant.as_deref();
        tenant.is_some_and(|tenant| own.iter().any(|own| own.as_str() == tenant))
    };
    says_whose && !own.is_none_or(is_own)
}

/// The earliest event that a range can be based on; `None` in a pool without events.
pub async fn covered_from(
    store: &Store,
    pool: &PoolName,
    from: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let first = store.events(pool, EventId::default(), 1).await?;
    Ok(first.first().map(|first| first.at.max(from)))
}
