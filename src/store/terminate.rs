//! Terminate: an operator ends leases at once.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::{IndexedBy, Keys};
use super::meters::EndKind;
use super::script::{TERMINATE, millis, or_empty};
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::token;

/// Why leases are terminated, and what follows for their holders.
#[derive(Debug, Clone, Default)]
pub struct Termination {
    /// What the holders read in their next renew.
    pub reason: Option<String>,
    /// How long the holders may not acquire; zero for not at all.
    pub block: Duration,
    /// This holder is blocked even if it has no lease.
    pub holder: Option<Holder>,
    /// Who does it, for people who look at blocks.
    pub by: String,
}

impl Termination {
    /// A termination without a block.
    pub fn because(reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            ..Self::default()
        }
    }
}

/// What became of a lease that was to be terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminated {
    /// It was live.
    Terminated,
    /// It was not; it cannot be resumed either.
    Ended,
}

/// Most ids of one terminate call.
const TERMINATE_AT_ONCE: usize = 100;

impl Store {
    /// Ends leases at once. The words are in the order of the ids.
    pub async fn terminate(
        &self,
        pool: &PoolName,
        ids: &[LeaseId],
        why: &Termination,
    ) -> Result<Vec<Terminated>, Error> {
        let mut words = Vec::with_capacity(ids.len());
        for (chunk, ids) in ids.chunks(TERMINATE_AT_ONCE).enumerate() {
            let ended = self.terminate_some(pool, ids, None, why).await;
            // Of a failure after the first call nobody may say that nothing was done.
            words.extend(ended.map_err(|error| match chunk {
                0 => error,
                _ => error.may_have_run(),
            })?);
        }
        Ok(words)
    }

    /// Sees to it that of all leases so far of a holder, of a tenant or of the pool none comes back, and blocks the holder if
    /// that is asked for. Those that are live have to be ended one by one after this.
    pub async fn mark_ended(
        &self,
        pool: &PoolName,
        holder: Option<&Holder>,
        tenant: Option<&Tenant>,
        why: &Termination,
    ) -> Result<(), Error> {
        let whose = match (holder, tenant) {
            (Some(holder), _) => IndexedBy::Holder(holder),
            (None, Some(tenant)) => IndexedBy::Tenant(tenant),
            (None, None) => IndexedBy::All,
        };
        self.terminate_some(pool, &[], Some(whose), why).await?;
        Ok(())
    }

    async fn terminate_some(
        &self,
        pool: &PoolName,
        ids: &[LeaseId],
        marked: Option<IndexedBy<'_>>,
        why: &Termination,
    ) -> Result<Vec<Terminated>, Error> {
        let keys = Keys::of(pool);
        let mut words = Vec::with_capacity(ids.len());
        {
            let mut call = TERMINATE
                .call(19 + ids.len())
                .arg(keys.bucket.clock())
                .arg(keys.config())
                .arg(keys.leases())
                .arg(keys.expired())
                .arg(keys.events())
                .arg(keys.blocks())
                .arg(keys.who())
                .arg(keys.seats())
                .arg(keys.holders())
                .arg(keys.lent())
                .arg(keys.queue())
                .arg(keys.records())
                .arg(keys.block_notes())
                .arg(keys.mark(marked.unwrap_or(IndexedBy::All)))
                .arg(keys.waiting())
                .arg(keys.tickets())
                .arg(keys.line())
                .arg(keys.heads())
                .arg(keys.called());
            for id in ids {
                call.push(keys.tombstone(*id));
            }
            call.push(why.reason.as_deref().unwrap_or(""));
            call.push(millis(why.block));
            call.push(or_empty(why.holder.as_ref(), Holder::key));
            call.push(millis(token::LIFE));
            call.push(u8::from(marked.is_some()));
            call.push(&why.by);
            for id in ids {
                call.push(id.to_string());
            }
            let reply = self.run(keys.bucket, &call).await?;
            for at in (3..reply.len()).step_by(2) {
                let held_ms = reply.count(at + 1)?;
                words.push(match reply.text(at)? {
                    "terminated" => {
                        self.count_end(pool, EndKind::Terminated, held_ms);
                        Terminated::Terminated
                    }
                    "expired" => {
                        self.count_end(pool, EndKind::Expired, held_ms);
                        Terminated::Ended
                    }
                    "ended" => Terminated::Ended,
                    _ => return Err(reply.unexpected(at)),
                });
            }
        }
        Ok(words)
    }
}
