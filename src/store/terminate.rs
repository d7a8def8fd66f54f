//! Terminate: an operator ends leases at once.

use std::time::Duration;

use super::Store;
use super::error::Error;
use super::keys::{IndexedBy, Keys};
use super::meters::EndKind;
use super::scripts::{self, terminate};
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::time::millis;
use crate::token::{self, Claims};

/// Why leases are terminated, and what follows for their holders.
#[derive(Debug, Clone, Default)]
pub struct Termination {
    /// What the holders read in their next renew.
    pub reason: Option<String>,
    /// How long the holders may not acquire; zero for not at all.
    pub block: Duration,
    /// This holder is blocked even if it has no lease.
    pub holder: Option<Holder>,
    /// The tenants for which alone the holders are blocked; without any for all of them.
    pub blocked_tenants: Vec<Tenant>,
    /// Who does it, for people who look at blocks.
    pub by: String,
    /// Only leases whose seat nobody uses: no named one, and none whose holder works with another lease.
    pub unused: bool,
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
    /// It goes on, because its seat is in use.
    Used,
}

/// Maximum of ids per terminate call.
const TERMINATE_AT_ONCE: usize = 100;

impl Keys {
    /// The mark of whoever holds this lease; that of the pool where it is anonymous.
    pub(super) fn holder_mark(&self, claims: &Claims) -> String {
        self.mark(
            claims
                .holder
                .as_ref()
                .map_or(IndexedBy::All, IndexedBy::Holder),
        )
    }

    /// The mark of its tenant; that of the pool where it has none.
    pub(super) fn tenant_mark(&self, claims: &Claims) -> String {
        self.mark(
            claims
                .tenant
                .as_ref()
                .map_or(IndexedBy::All, IndexedBy::Tenant),
        )
    }
}

impl Store {
    /// Ends leases at once. The words are in the order of the ids.
    pub async fn terminate(
        &self,
        pool: &PoolName,
        ids: &[LeaseId],
        why: &Termination,
    ) -> Result<Vec<Terminated>, Error> {
        let mut words = Vec::with_capacity(ids.len());
        // Each lease blocks its holder once for each tenant.
        let at_once = (TERMINATE_AT_ONCE / why.blocked_tenants.len().max(1)).max(1);
        for (chunk, ids) in ids.chunks(at_once).enumerate() {
            let ended = self.terminate_some(pool, ids, None, why).await;
            // After the first call, a failure must not be reported as "nothing was done".
            words.extend(ended.map_err(|error| error.after_a_part(chunk > 0))?);
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
        let leases: Vec<_> = ids.iter().map(|id| terminate::Lease { id: *id }).collect();
        let tenants: Vec<_> = why
            .blocked_tenants
            .iter()
            .map(|tenant| terminate::Tenant {
                tenant: tenant.as_str(),
            })
            .collect();
        let terminate = scripts::Terminate {
            keys: &keys,
            ended_mark: keys.mark(marked.unwrap_or(IndexedBy::All)),
            reason: why.reason.as_deref(),
            block_for: why.block,
            blocked: why.holder.as_ref().map(Holder::key),
            keep: token::LIFE,
            marks: marked.is_some(),
            by: Some(&why.by),
            unused: why.unused,
            leases: &leases,
            tenants: &tenants,
        };
        let reply = self.call_whole(pool, &terminate).await?;
        let words = reply.leases.iter().map(|lease| {
            let held_ms = millis(lease.held);
            match lease.word {
                terminate::Word::Terminated => {
                    self.count_end(pool, EndKind::Terminated, held_ms);
                    Terminated::Terminated
                }
                terminate::Word::Expired => {
                    self.count_end(pool, EndKind::Expired, held_ms);
                    Terminated::Ended
                }
                terminate::Word::Ended => Terminated::Ended,
                terminate::Word::Used => Terminated::Used,
            }
        });
        Ok(words.collect())
    }
}
