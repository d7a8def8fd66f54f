//! Release: gives a seat back now, permanently.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::meters::EndKind;
use super::scripts;
use super::scripts::release::Status;
use crate::names::{Holder, Tenant};
use crate::token::{self, Claims};

impl Store {
    /// Frees a seat now, permanently. A lease that has ended is released too.
    pub async fn release(&self, claims: &Claims) -> Result<(), Error> {
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
        let reply = self.call(keys.bucket, &release).await?;
        let ended = match reply.status {
            Status::Released => EndKind::Released,
            Status::Expired => EndKind::Expired,
            Status::Evicted => EndKind::Evicted,
            Status::Ended => return Ok(()),
        };
        self.count_end(&claims.pool, ended, reply.now.since(claims.started_at));
        Ok(())
    }
}
