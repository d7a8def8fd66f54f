//! One live lease, read by its id.

use super::Store;
use super::acquire::Grant;
use super::error::Error;
use super::keys::Keys;
use super::record::{LiveLease, Ttls};
use super::script::LEASE;
use crate::names::{LeaseId, PoolName};

impl Store {
    /// A live lease and its pool; `None` if it is not live.
    pub async fn granted_lease(
        &self,
        pool: &PoolName,
        id: LeaseId,
    ) -> Result<Option<Grant>, Error> {
        let keys = Keys::of(pool);
        let call = LEASE
            .call(5)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.records())
            .arg(keys.seats())
            .arg(id.to_string());
        let reply = self.run(keys.bucket, &call).await?;
        match reply.status() {
            "ended" | "no_pool" => Ok(None),
            "recovering" => Err(Error::Recovering),
            "read" => {
                let found = LiveLease {
                    id,
                    score: reply.int(3)?,
                    expires_at: reply.instant(4)?,
                    read_at: reply.now()?,
                    ttls: Ttls {
                        now: reply.int(5)?,
                        before: reply.int(6)?,
                        changed: reply.int(7)?,
                    },
                };
                Ok(Some(Grant {
                    lease: found.lease(pool, reply.text(11)?),
                    at: found.read_at,
                    generation: reply.count(8)?,
                    in_use: reply.count(9)?,
                    capacity: reply.count(10)?,
                    named_left: None,
                    turn: None,
                }))
            }
            _ => Err(reply.unexpected(0)),
        }
    }
}
