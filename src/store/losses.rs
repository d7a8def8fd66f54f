//! Tells the operator once that Redis lost data, though each bucket is found empty for itself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long it is waited for others after the first: a node looks at each bucket every second.
const TOGETHER: Duration = Duration::from_millis(1_500);

/// Losses that the log does not have yet.
#[derive(Debug, Default)]
pub(super) struct Losses(Arc<Mutex<Lost>>);

#[derive(Debug, Default)]
struct Lost {
    buckets: usize,
    pools: usize,
}

impl Losses {
    /// A bucket was emptied; the number is that of the pools that this node knew there.
    pub(super) fn add(&self, pools: usize) {
        let mut lost = self.0.lock().expect("no panic while held");
        lost.buckets += 1;
        lost.pools += pools;
        if lost.buckets > 1 {
            return;
        }
        drop(lost);
        let all = Arc::clone(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(TOGETHER).await;
            let Lost { buckets, pools } =
                std::mem::take(&mut *all.lock().expect("no panic while held"));
            tracing::warn!(
                buckets,
                pools,
                "Redis lost the data of {buckets} of {} buckets; putting back their {pools} pools, holders come back \
                 with their next beat",
                super::keys::BUCKETS
            );
        });
    }
}
