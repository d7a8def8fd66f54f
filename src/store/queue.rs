//! Those who wait for a seat: who they are, and how somebody leaves or is passed over.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::meters::EndKind;
use super::script::{LEAVE_QUEUE, LIST_QUEUE, Reply};
use crate::names::{Holder, Invalid, LeaseId, PoolName, Tenant};
use crate::time::Timestamp;

/// Somebody who waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// 1 is the next.
    pub position: u64,
    /// The order of its arrival; the cursor of the list.
    pub arrival: u64,
    /// Since when it waits; not known of a place that a node of an earlier version gave.
    pub since: Option<Timestamp>,
    /// Until when it has to ask again to keep its place.
    pub asks_again_by: Timestamp,
    /// About how long it waits still, ms.
    pub eta_ms: u64,
    /// The sub-account.
    pub tenant: Option<Tenant>,
    /// Who it is; none is anonymous.
    pub holder: Option<Holder>,
}

/// A page of those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiters {
    /// In the order in which they are served.
    pub items: Vec<Waiter>,
    /// How many there are in all.
    pub waiting: u64,
}

/// The turn of somebody who waited, as the grant says it: with it the seat can be taken back as if it had not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The ticket, and the lease.
    pub ticket: LeaseId,
    /// The end of the lease as it was granted.
    pub expires_at: Timestamp,
    /// Its fence.
    pub fence: u64,
    /// When it began to hold the seat.
    pub started_at: Timestamp,
    /// The order of its arrival.
    pub arrival: u64,
    /// Since when it waited, and what stood in the ticket.
    pub asked: String,
}

/// How somebody leaves the queue.
#[derive(Debug, Clone, Copy)]
pub enum Leaving<'a> {
    /// By saying so.
    Left(LeaseId),
    /// Its connection broke after the seat was granted, and before it could hear of it.
    Undelivered(&'a Turn),
}

/// What became of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueLeft {
    /// It has no place any more.
    Left,
    /// It has the seat that it waited for.
    Granted,
    /// It keeps its place, and others pass it over until it asks again.
    Kept,
    /// It asked again meanwhile.
    AcquireRequest,
}

impl Store {
    /// Takes somebody out of the queue of a pool, or takes back the seat of somebody who cannot hear of it.
    pub async fn leave_queue(
        &self,
        pool: &PoolName,
        leaving: Leaving<'_>,
    ) -> Result<QueueLeft, Error> {
        let keys = Keys::of(pool);
        let call = LEAVE_QUEUE
            .call(16)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.expired())
            .arg(keys.events())
            .arg(keys.records())
            .arg(keys.who())
            .arg(keys.seats())
            .arg(keys.holders())
            .arg(keys.lent())
            .arg(keys.queue())
            .arg(keys.waiting())
            .arg(keys.tickets())
            .arg(keys.line())
            .arg(keys.heads())
            .arg(keys.called());
        let call = match leaving {
            Leaving::Left(ticket) => call
                .arg(ticket.to_string())
                .arg("left")
                .arg(0)
                .arg("")
                .arg(0)
                .arg(""),
            Leaving::Undelivered(turn) => call
                .arg(turn.ticket.to_string())
                .arg("unheard")
                .arg(turn.expires_at.0)
                .arg(turn.fence)
                .arg(turn.arrival)
                .arg(turn.asked.as_str()),
        };
        let reply = self.run_whole(pool, &call).await?;
        Ok(match reply.status() {
            "left" | "none" => QueueLeft::Left,
            "granted" => QueueLeft::Granted,
            "returned" => {
                if let Leaving::Undelivered(turn) = leaving {
                    let held = reply.now()?.since(turn.started_at);
                    self.count_end(pool, EndKind::Released, held);
                }
                QueueLeft::Kept
            }
            "asked" => QueueLeft::AcquireRequest,
            _ => return Err(reply.unexpected(0)),
        })
    }

    /// A page of those who wait for a seat, behind the one who arrived as `after`; none if there is no such pool.
    pub async fn list_queue(
        &self,
        pool: &PoolName,
        after: u64,
        limit: usize,
    ) -> Result<Option<Waiters>, Error> {
        let keys = Keys::of(pool);
        let call = LIST_QUEUE
            .call(9)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.who())
            .arg(keys.seats())
            .arg(keys.holders())
            .arg(keys.lent())
            .arg(keys.queue())
            .arg(keys.waiting())
            .arg(keys.tickets())
            .arg(after)
            .arg(limit);
        let reply = self.run_whole(pool, &call).await?;
        match reply.status() {
            "listed" => Ok(Some(Waiters {
                items: reply
                    .texts(4)?
                    .into_iter()
                    .map(|entry| waiter(entry).ok_or_else(|| reply.unexpected(4)))
                    .collect::<Result<_, _>>()?,
                waiting: reply.count(3)?,
            })),
            "no_pool" => Ok(None),
            "recovering" => Err(Error::Recovering),
            _ => Err(reply.unexpected(0)),
        }
    }
}

fn waiter(entry: &str) -> Option<Waiter> {
    let mut parts = entry.split('\u{1}');
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (position, arrival, since) = (number()?, number()?, number()?);
    let (asks_again_by, eta_ms) = (number()?, number()?);
    let (tenant, holder) = (parts.next()?, parts.next()?);
    Some(Waiter {
        position: position.try_into().ok()?,
        arrival: arrival.try_into().ok()?,
        since: (since > 0).then_some(Timestamp(since)),
        asks_again_by: Timestamp(asks_again_by),
        eta_ms: eta_ms.try_into().ok()?,
        tenant: recorded(tenant, Tenant::recorded)?,
        holder: recorded(holder, Holder::recorded)?,
    })
}

/// A name of a record; none where it is empty.
fn recorded<T>(name: &str, read: impl Fn(String) -> Result<T, Invalid>) -> Option<Option<T>> {
    if name.is_empty() {
        return Some(None);
    }
    Some(Some(read(name.to_owned()).ok()?))
}

/// What a grant to somebody who waited says of its turn; none for another one, or one that was asked for again.
pub(super) fn turn(ticket: LeaseId, reply: &Reply) -> Result<Option<Turn>, Error> {
    let arrival = reply.count(14)?;
    if arrival == 0 {
        return Ok(None);
    }
    Ok(Some(Turn {
        ticket,
        expires_at: reply.instant(4)?,
        fence: reply.count(6)?,
        started_at: reply.now()?,
        arrival,
        asked: reply.text(12)?.to_owned(),
    }))
}
