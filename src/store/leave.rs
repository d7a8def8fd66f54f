//! Leave: lets a lease run out soon, unless a renew follows.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::scripts;
use crate::token::Claims;

impl Store {
    /// Lets a lease run out soon, unless a renew follows. One that has ended is left alone.
    pub async fn leave(&self, claims: &Claims) -> Result<(), Error> {
        let keys = Keys::of(&claims.pool);
        let leave = scripts::Leave {
            keys: &keys,
            pool: &claims.pool,
            id: claims.id,
        };
        self.call(keys.bucket, &leave).await?;
        Ok(())
    }
}
