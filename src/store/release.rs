//! Release: gives a seat back now, permanently. What `acquire.lua` does not take along is decided by `release.lua`.

use futures_util::FutureExt as _;

use super::error::Error;
use super::keys::Keys;
use super::meters::EndKind;
use super::scripts::release::Status;
use super::seats::{SeatOutcome, SeatRequest};
use super::{Store, script_trace, scripts};
use crate::names::{Holder, PoolName, Tenant};
use crate::time::Timestamp;
use crate::token::{self, Claims};

impl Store {
    /// Frees a seat now, permanently. A lease that has ended is released too.
    pub async fn release(&self, claims: &Claims) -> Result<(), Error> {
        super::within_deadline(async {
            if self.has_no_rules(&claims.pool) {
                let answer = self.ask_for_seat(SeatRequest::release(claims)).await?;
                if let SeatOutcome::Freed = answer.outcome {
                    script_trace::note(answer.step);
                    let held = Timestamp(answer.step.at).since(claims.started_at);
                    self.count_end(&claims.pool, EndKind::Released, held);
                    return Ok(());
                }
            }
            self.release_alone(claims).boxed().await
        })
        .await
    }

    /// Whether a pool has no rules, as far as this node knows.
    fn has_no_rules(&self, pool: &PoolName) -> bool {
        let known = self.0.pool_cache.pool(pool);
        known.is_some_and(|pool| !pool.policy.has_rules())
    }

    async fn release_alone(&self, claims: &Claims) -> Result<(), Error> {
        let keys = Keys::of(&claims.pool);
        let release = scripts::Release {
            holder_mark: keys.holder_mark(claims),
            tenant_mark: keys.tenant_mark(claims),
            keys: &keys,
            id: claims.id,
            fence: claims.fence,
            holder: claims.holder.as_ref().map(Holder::key),
            tenant: claims.tenant.as_ref().map(Tenant::as_str),
            keep: token::LIFE,
        };
        let reply = self.call_whole(&claims.pool, &release).await?;
        let ended = match reply.status {
            Status::Released => EndKind::Released,
            Status::Expired => EndKind::Expired,
            Status::Ended => return Ok(()),
        };
        self.count_end(&claims.pool, ended, reply.now.since(claims.started_at));
        Ok(())
    }
}
