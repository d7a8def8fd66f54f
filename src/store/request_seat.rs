//! Request of a seat: somebody who waits asks the holders of the pool.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::scripts;
use super::scripts::request_seat::Status;
use crate::names::{LeaseId, PoolName};

/// What became of a request for the seat of a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestedSeat {
    /// Holders are told for so long still.
    Requested(Duration),
    /// The pool does not offer it.
    Off,
    /// The ticket has its seat, or its place is lost.
    NotWaiting,
    /// There is no such pool.
    NoPool,
}

impl Store {
    /// Asks the holders of a pool for a seat, in the name of somebody who waits.
    pub async fn request_seat(
        &self,
        pool: &PoolName,
        ticket: LeaseId,
    ) -> Result<RequestedSeat, Error> {
        let keys = Keys::of(pool);
        let call = scripts::RequestSeat {
            keys: &keys,
            id: ticket,
        };
        let reply = self.call(keys.bucket, &call).await?;
        Ok(match reply.status {
            Status::Requested => RequestedSeat::Requested(reply.rest),
            Status::Off => RequestedSeat::Off,
            Status::NotWaiting => RequestedSeat::NotWaiting,
            Status::NoPool => RequestedSeat::NoPool,
            Status::Recovering => return Err(Error::Recovering),
        })
    }
}
