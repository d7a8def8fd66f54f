//! Whether a lease lives, for whoever was shown its proof or its id.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::record::{LiveLease, Ttls};
use super::scripts;
use super::scripts::check::Status;
use crate::lease::{EndReason, Eviction, Lease};
use crate::names::{LeaseId, PoolName};

/// What is known of a lease that somebody asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It lives.
    Active(Box<Lease>),
    /// It does not; none if nothing is known of it.
    Ended(Option<EndReason>),
    /// There is no such pool.
    NoPool,
}

impl Store {
    /// Says whether the lease of this id and fence lives. It extends nothing.
    pub async fn check(&self, pool: &PoolName, id: LeaseId, fence: u64) -> Result<Checked, Error> {
        let keys = Keys::of(pool);
        let call = scripts::Check {
            keys: &keys,
            id,
            fence,
        };
        let reply = self.call(keys.bucket, &call).await?;
        Ok(match reply.status {
            Status::Active => {
                let live = LiveLease {
                    id,
                    score: reply.score,
                    expires_at: reply.expires_at,
                    read_at: reply.now,
                    ttls: Ttls::of(reply.ttl, reply.renewed_with, reply.changed),
                };
                let mut lease = live.lease(pool, reply.record.as_deref().unwrap_or_default());
                lease.fence = fence;
                Checked::Active(Box::new(lease))
            }
            Status::Ended => Checked::Ended(match reply.reason.as_deref() {
                Some("expired") => Some(EndReason::Expired),
                Some("released") => Some(EndReason::Released),
                Some("evicted") => Some(EndReason::Evicted(Eviction::default())),
                Some("terminated") => Some(EndReason::Terminated {
                    reason: None,
                    blocked_until: None,
                }),
                _ => None,
            }),
            Status::NoPool => Checked::NoPool,
            Status::Recovering => return Err(Error::Recovering),
        })
    }
}
