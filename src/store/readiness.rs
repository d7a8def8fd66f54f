//! Whether the next acquire could be decided: tried by a script that writes, and noted in the health of the store.
//!
//! The one answer behind `/readyz` and `leasehold_store_up`, so that they cannot disagree. A ping would not do: a replica, a master
//! without its replicas, a server with a full disk and a user who lost a right all answer it.

use futures_util::future::join_all;

use crate::telemetry;

use super::error::{Error, Trouble};
use super::keys::Bucket;
use super::script::Request as _;
use super::scripts;
use super::{Store, within_deadline};

/// What an acquire would meet now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// An answer.
    Ready,
    /// A full memory: who has a seat is served.
    Full,
    /// In a cluster: an answer or not, by which master has the pool.
    Partly(Trouble),
    /// No answer.
    Not(Trouble),
}

impl Store {
    /// Tries it, at each master. If it works, calls are sent again at once: a node that says it is ready would otherwise refuse the
    /// next ones.
    pub async fn readiness(&self) -> Readiness {
        let buckets = self.0.connections.one_bucket_of_each_master();
        let tried = join_all(buckets.into_iter().map(|bucket| self.probe(bucket))).await;
        let mut failed = tried.iter().filter_map(|tried| match tried {
            Err(Error::Full) | Ok(()) => None,
            Err(error) => Some(error.trouble().unwrap_or(Trouble::Refused)),
        });
        let works = tried.len() - failed.clone().count();
        metrics::gauge!(telemetry::STORE_UP).set(works as f64 / tried.len() as f64);
        match failed.next() {
            Some(trouble) if works == 0 => Readiness::Not(trouble),
            Some(trouble) => Readiness::Partly(trouble),
            None if tried.iter().any(Result::is_err) => Readiness::Full,
            None => Readiness::Ready,
        }
    }

    async fn probe(&self, bucket: Bucket) -> Result<(), Error> {
        let call = scripts::Probe { keys: bucket }.call();
        let tried = within_deadline(async { self.send(&call).await.map(drop) }).await;
        self.note(bucket, &tried);
        tried
    }
}
