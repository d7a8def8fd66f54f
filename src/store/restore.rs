//! Puts back a pool that Redis lost when somebody asks for it.

use super::Store;
use super::error::Error;
use super::keys::Bucket;
use crate::names::PoolName;

impl Store {
    /// Puts back a pool that this node remembers and Redis does not know. `false` if there is nothing to put back.
    pub(super) async fn restore(&self, pool: &PoolName) -> Result<bool, Error> {
        let policies = self.0.pool_cache.policies(Bucket::of(pool));
        let Some(remembered) = policies.get(pool) else {
            return Ok(false);
        };
        // Only after a loss: a pool that was deleted on another node must not come back.
        if !self.lost_since(Bucket::of(pool), remembered.version) {
            return Ok(false);
        }
        self.put_back(pool, remembered).await
    }

    /// Whether the bucket was opened again after a policy was made: versions are instants too.
    fn lost_since(&self, bucket: Bucket, version: u64) -> bool {
        version < self.0.pool_cache.generation(bucket)
    }
}
