//! Leave of a queue: by a call, or because nobody is there to hear of a grant.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::meters::EndKind;
use super::scripts;
use super::scripts::leave_queue::{How, Status};
use crate::names::{LeaseId, PoolName};
use crate::time::Timestamp;

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
    /// Since when it waited, and what stood in the ticket, as the scripts write it.
    pub request: String,
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
    AskedAgain,
}

impl Store {
    /// Takes somebody out of the queue of a pool, or takes back the seat of somebody who cannot hear of it.
    pub async fn leave_queue(
        &self,
        pool: &PoolName,
        leaving: Leaving<'_>,
    ) -> Result<QueueLeft, Error> {
        let keys = Keys::of(pool);
        let call = match leaving {
            Leaving::Left(ticket) => scripts::LeaveQueue {
                keys: &keys,
                id: ticket,
                how: How::Left,
                expires_at: Timestamp(0),
                fence: 0,
                arrival: 0,
                turn: None,
            },
            Leaving::Undelivered(turn) => scripts::LeaveQueue {
                keys: &keys,
                id: turn.ticket,
                how: How::Unheard,
                expires_at: turn.expires_at,
                fence: turn.fence,
                arrival: turn.arrival,
                turn: Some(&turn.request),
            },
        };
        let reply = self.call_whole(pool, &call).await?;
        Ok(match reply.status {
            Status::Left | Status::None => QueueLeft::Left,
            Status::Granted => QueueLeft::Granted,
            Status::Returned => {
                if let Leaving::Undelivered(turn) = leaving {
                    let held = reply.now.since(turn.started_at);
                    self.count_end(pool, EndKind::Released, held);
                }
                QueueLeft::Kept
            }
            Status::Asked => QueueLeft::AskedAgain,
        })
    }
}
