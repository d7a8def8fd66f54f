//! Pools with rules: the longer way of an acquire.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::Store;
use super::acquire::{AcquireRequest, Acquired, Denial, Given, Grant};
use super::error::Error;
use super::keys::Keys;
use super::memory::CachedPool;
use super::queue::turn;
use super::record::activities_json;
use super::renewals::RECORD_MARGIN;
use super::script::{ACQUIRE_BY_RULES, Call, Reply, millis, or_empty};
use crate::lease::Seat;
use crate::names::{Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::pool::Policy;
use crate::time::Timestamp;

/// Whether who asks waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wait {
    /// No: it is denied if there is no seat.
    #[default]
    No,
    /// It gets a place in the queue if there is no seat, and the pool has one.
    Queue,
    /// It has a place already.
    Ticket(LeaseId),
}

/// What a node knows of a pool when it makes a request for it. The scripts check that it is still so.
#[derive(Debug, Clone, Default)]
pub struct PolicySnapshot {
    pool: Option<CachedPool>,
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
    pub async fn known(&self, pool: &PoolName) -> Result<PolicySnapshot, Error> {
        let mut known = self.0.memory.pool(pool);
        if known.is_none() {
            self.status(pool).boxed().await?;
            known = self.0.memory.pool(pool);
        }
        Ok(PolicySnapshot {
            pool: known,
            from: Timestamp(0),
            until: Timestamp(0),
        })
    }

    /// Asks for a seat in a pool with rules.
    pub(super) async fn acquire_by_rules(
        &self,
        pool: &PoolName,
        asked: &AcquireRequest,
    ) -> Result<Acquired, Error> {
        let (id, wait) = match asked.wait {
            Wait::No => (LeaseId::random(), ""),
            Wait::Queue => (LeaseId::random(), "wait"),
            Wait::Ticket(id) => (id, "ticket"),
        };
        let version = match &asked.known.pool {
            Some(pool) => pool.version,
            // The script says whether there is a pool, and nothing else.
            None if wait == "ticket" => 0,
            None => return Ok(Acquired::Changed),
        };
        let call = acquire_call(pool, asked, id, wait, version);
        loop {
            let reply = self.run_whole(pool, &call).await?;
            return Ok(match reply.status() {
                // What was asked for stands in the ticket, and then in the record.
                "granted" if wait == "ticket" => match self.granted_lease(pool, id).await? {
                    Some(mut grant) => {
                        grant.named_left = named_left(&reply)?;
                        grant.turn = turn(id, &reply)?.map(Box::new);
                        Acquired::Granted(grant)
                    }
                    None => continue,
                },
                "granted" => {
                    let mut grant = granted(pool, asked, &reply)?;
                    grant.named_left = named_left(&reply)?;
                    Acquired::Granted(grant)
                }
                "existing" => match self.granted_lease(pool, reply.parse(3)?).await? {
                    Some(mut grant) => {
                        grant.named_left = named_left(&reply)?;
                        Acquired::Existing(grant)
                    }
                    // It ended in between; the next call finds that.
                    None => continue,
                },
                "waiting" => {
                    let again = AcquireRequest {
                        wait: Wait::Ticket(reply.parse(3)?),
                        ..asked.clone()
                    };
                    return Box::pin(self.acquire_by_rules(pool, &again)).await;
                }
                "queued" => Acquired::Queued {
                    ticket: id,
                    position: reply.count(14)?,
                    retry_after: denial(&reply)?.retry_after,
                    eta: Duration::from_millis(reply.count(15)?),
                    asks_again_by: reply.instant(4)?,
                },
                "ticket_expired" => Acquired::TicketExpired,
                "pool_full" => Acquired::PoolFull(denial(&reply)?),
                "tenant_full" => Acquired::TenantFull(denial(&reply)?, reply.text(12)?.to_owned()),
                "named_seats_exhausted" => Acquired::NamedSeatsExhausted(denial(&reply)?),
                "queue_full" => Acquired::QueueFull(denial(&reply)?),
                "holder_blocked" => {
                    let reason = reply.text(12)?;
                    let reason = (!reason.is_empty()).then(|| reason.to_owned());
                    Acquired::blocked(denial(&reply)?, reply.now()?, reason)
                }
                "platform_not_licensed" => {
                    Acquired::PlatformNotLicensed(reply.text(12)?.to_owned())
                }
                "maintenance" => Acquired::Maintenance(denial(&reply)?, reply.text(12)?.to_owned()),
                "no_pool" | "recovering" if reply.count(5)? == 0 && self.restore(pool).await? => {
                    Acquired::Changed
                }
                "recovering" => Acquired::Recovering {
                    retry_after: denial(&reply)?.retry_after,
                },
                "changed" => {
                    self.status(pool).await?;
                    Acquired::Changed
                }
                "no_pool" => {
                    self.0.memory.forget(pool);
                    Acquired::NoPool
                }
                _ => return Err(reply.unexpected(0)),
            });
        }
    }
}

fn granted(pool: &PoolName, asked: &AcquireRequest, reply: &Reply) -> Result<Grant, Error> {
    let given = Given {
        id: reply.parse(3)?,
        seat: Seat::from_letter(reply.text(11)?),
        at: reply.now()?,
        expires_at: reply.instant(4)?,
        ttl: Duration::from_millis(reply.count(5)?),
        fence: reply.count(6)?,
        generation: reply.count(7)?,
        in_use: reply.count(8)?,
        capacity: reply.count(9)?,
    };
    Ok(Grant::new(pool, asked, &given))
}

/// The numbers of a reply that grants nothing.
fn denial(reply: &Reply) -> Result<Denial, Error> {
    Ok(Denial {
        in_use: reply.count(8)?,
        capacity: reply.count(9)?,
        retry_after: Duration::from_millis(reply.count(10)?),
    })
}

fn named_left(reply: &Reply) -> Result<Option<u64>, Error> {
    Ok(u64::try_from(reply.int(13)?).ok())
}

fn acquire_call(
    pool: &PoolName,
    asked: &AcquireRequest,
    id: LeaseId,
    wait: &str,
    version: u64,
) -> Call {
    let keys = Keys::of(pool);
    let mut call = ACQUIRE_BY_RULES
        .call(24 + usize::from(asked.key.is_some()))
        .arg(keys.bucket.clock())
        .arg(keys.bucket.due())
        .arg(keys.config())
        .arg(keys.leases())
        .arg(keys.expired())
        .arg(keys.events())
        .arg(keys.denied())
        .arg(keys.blocks())
        .arg(keys.records())
        .arg(keys.who())
        .arg(keys.seats())
        .arg(keys.holders())
        .arg(keys.lent())
        .arg(keys.evicted())
        .arg(keys.named())
        .arg(keys.queue())
        .arg(keys.waiting())
        .arg(keys.tickets())
        .arg(keys.denials())
        .arg(keys.block_notes())
        .arg(keys.line())
        .arg(keys.heads())
        .arg(keys.called())
        .arg(keys.tombstone(id));
    if let Some(key) = asked.key {
        call.push(keys.repeated(key));
    }
    call.arg(pool.as_str())
        .arg(id.to_string())
        .arg(or_empty(asked.holder.as_ref(), Holder::key))
        .arg(or_empty(asked.tenant.as_ref(), Tenant::as_str))
        .arg(or_empty(asked.label.as_ref(), Label::as_str))
        .arg(activities_json(&asked.activities).unwrap_or_default())
        .arg(or_empty(asked.platform.as_ref(), Platform::as_str))
        .arg(millis(RECORD_MARGIN))
        .arg(version)
        .arg(wait)
        .arg(asked.known.from.0)
        .arg(asked.known.until.0)
        .arg(or_empty(asked.holder.as_ref(), Holder::given_beside_key))
}
