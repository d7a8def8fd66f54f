//! Yield: a holder gives its seat to whoever asked for one.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::scripts;
use super::scripts::yield_seat::Status;
use crate::token::Claims;

impl Store {
    /// Gives a seat to whoever asked first and still waits; false if nobody asks who could have it, and then the lease goes on.
    pub async fn yield_seat(&self, claims: &Claims) -> Result<bool, Error> {
        let keys = Keys::of(&claims.pool);
        let call = scripts::YieldSeat {
            keys: &keys,
            name: &claims.pool,
            id: claims.id,
        };
        let reply = self.call_whole(&claims.pool, &call).await?;
        Ok(match reply.status {
            Status::Yielded => true,
            Status::NoRequest => false,
        })
    }
}
