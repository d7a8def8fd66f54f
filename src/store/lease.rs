//! One live lease, read by its id.

use super::Store;
use super::acquire::Grant;
use super::error::Error;
use super::keys::Keys;
use super::record::{LiveLease, Ttls};
use super::scripts;
use super::scripts::lease::Status;
use crate::names::{LeaseId, PoolName};

impl Store {
    /// A live lease and its pool; `None` if it is not live.
    pub async fn granted_lease(
        &self,
        pool: &PoolName,
        id: LeaseId,
    ) -> Result<Option<Grant>, Error> {
        let keys = Keys::of(pool);
        let call = scripts::Lease { keys: &keys, id };
        let reply = self.call(keys.bucket, &call).await?;
        match reply.status {
            Status::Ended | Status::NoPool => return Ok(None),
            Status::Recovering => return Err(Error::Recovering),
            Status::Read => {}
        }
        let found = LiveLease {
            id,
            score: reply.score,
            expires_at: reply.expires_at,
            read_at: reply.now,
            ttls: Ttls::of(reply.ttl, reply.renewed_with, reply.changed),
        };
        Ok(Some(Grant {
            lease: found.lease(pool, reply.record.as_deref().unwrap_or_default()),
            at: found.read_at,
            generation: reply.generation,
            in_use: reply.in_use,
            capacity: reply.capacity,
            named_left: None,
            turn: None,
        }))
    }
}
