//! The policy of a pool as this node knows it, for a request that is made for that policy.

use futures_util::FutureExt as _;

use super::Store;
use super::error::Error;
use super::pool_cache::CachedPool;
use crate::names::PoolName;
use crate::pool::Policy;
use crate::time::Timestamp;

/// What a node knows of a pool when it makes a request for it. The scripts check that it is still so.
#[derive(Debug, Clone, Default)]
pub struct PolicySnapshot {
    pub(super) pool: Option<CachedPool>,
    /// For how long the name of the holder in the request is good; zeros for ever.
    pub from: Timestamp,
    /// The end of it.
    pub until: Timestamp,
}

impl PolicySnapshot {
    /// The policy, if the node knows the pool.
    pub fn policy(&self) -> Option<&Policy> {
        self.pool.as_ref().map(|pool| pool.policy.as_ref())
    }

    /// What tells the pool from others that had its name before; 0 if the node does not know it.
    pub(super) fn incarnation(&self) -> u64 {
        self.pool.as_ref().map_or(0, |pool| pool.incarnation)
    }

    /// Whether the pool has rules.
    pub fn has_rules(&self) -> bool {
        self.policy().is_some_and(Policy::has_rules)
    }
}

impl Store {
    /// What this node knows of a pool; it reads the policy if it knows nothing.
    pub async fn policy_snapshot(&self, pool: &PoolName) -> Result<PolicySnapshot, Error> {
        let mut cached = self.0.pool_cache.pool(pool);
        if cached.is_none() {
            self.status(pool).boxed().await?;
            cached = self.0.pool_cache.pool(pool);
        }
        Ok(PolicySnapshot {
            pool: cached,
            from: Timestamp(0),
            until: Timestamp(0),
        })
    }
}
