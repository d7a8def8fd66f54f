//! List of a queue: who waits for a seat, in the order in which they are served.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::scripts;
use super::scripts::list_queue::Status;
use crate::names::{Holder, Invalid, PoolName, Tenant};
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
    /// Until when its request for the seat of a holder is open.
    pub requested_until: Option<Timestamp>,
    /// About how long it waits still.
    pub eta: Duration,
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

impl Store {
    /// A page of those who wait for a seat, behind the one who arrived as `after`; none if there is no such pool.
    pub async fn list_queue(
        &self,
        pool: &PoolName,
        after: u64,
        limit: usize,
    ) -> Result<Option<Waiters>, Error> {
        let keys = Keys::of(pool);
        let call = scripts::ListQueue {
            keys: &keys,
            after,
            limit: limit as u64,
        };
        let reply = self.call_whole(pool, &call).await?;
        match reply.status {
            Status::Listed => Ok(Some(Waiters {
                items: reply
                    .waiters
                    .into_iter()
                    .map(Waiter::read)
                    .collect::<Result<_, _>>()
                    .map_err(|_| {
                        Error::Broken(
                            "list_queue.lua answered a name that no acquire takes".to_owned(),
                        )
                    })?,
                waiting: reply.length,
            })),
            Status::NoPool => Ok(None),
            Status::Recovering => Err(Error::Recovering),
        }
    }
}

impl Waiter {
    fn read(row: scripts::list_queue::WaiterReply) -> Result<Self, Invalid> {
        Ok(Self {
            position: row.position,
            arrival: row.arrival,
            since: (row.since.0 > 0).then_some(row.since),
            asks_again_by: row.asks_again_by,
            requested_until: (row.requested.0 > 0).then_some(row.requested),
            eta: row.eta,
            tenant: row.tenant.map(Tenant::recorded).transpose()?,
            holder: row.holder.map(Holder::recorded).transpose()?,
        })
    }
}
