//! The index that rules count by, made from the records of leases; and scripts that need it to be whole.

use super::Store;
use super::error::Error;
use super::keys::Keys;
use super::script::Request;
use super::scripts;
use crate::names::PoolName;

/// About how many leases one call takes into the index: about a millisecond of Redis's time.
const LEASES: u64 = 100;

impl Store {
    /// Runs a script that wants everything counted: where it finds that something was not, that is done first.
    pub(super) async fn call_whole<R: Request>(
        &self,
        pool: &PoolName,
        request: &R,
    ) -> Result<R::Reply, Error> {
        let call = request.call();
        let bucket = Keys::of(pool).bucket;
        let deadline = tokio::time::Instant::now() + super::call::DEADLINE;
        loop {
            let reply = self.run(bucket, &call).await?;
            match reply.status() {
                // Thousands of leases may end at one instant; each call ends some of them.
                // Both are rare, and boxed: a future has room for each of its ways.
                "behind" => Box::pin(self.sweep(pool)).await?,
                "unindexed" => Box::pin(self.reindex(pool)).await?,
                _ => return request.read(&reply),
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::not_sent(
                    "more leases ended or were taken into the index at once than one request can wait for",
                ));
            }
        }
    }

    /// Takes all leases of a pool into its index, call after call, so that no other call waits long.
    pub(super) async fn reindex(&self, pool: &PoolName) -> Result<(), Error> {
        let keys = Keys::of(pool);
        let mut cursor = 0;
        loop {
            let reindex = scripts::Reindex {
                keys: &keys,
                cursor,
                limit: LEASES,
            };
            cursor = self.call(keys.bucket, &reindex).await?.next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}
