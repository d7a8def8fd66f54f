//! Acquire in a pool with rules: the longer way.

use super::Store;
use super::acquire::{AcquireRequest, Acquired, Denial, Given, Grant, Wait};
use super::error::Error;
use super::heartbeat::RECORD_MARGIN;
use super::keys::Keys;
use super::leave_queue::Turn;
use super::record::activities_json;
use super::scripts;
use super::scripts::acquire_by_rules::{Reply, Status};
use crate::lease::Seat;
use crate::names::{Holder, Label, LeaseId, Platform, PoolName, Tenant};

impl Store {
    /// Asks for a seat in a pool with rules.
    pub(super) async fn acquire_by_rules(
        &self,
        pool: &PoolName,
        asked: &AcquireRequest,
    ) -> Result<Acquired, Error> {
        let (id, wait) = match asked.wait {
            Wait::No => (LeaseId::random(), scripts::acquire_by_rules::Wait::No),
            Wait::Queue => (LeaseId::random(), scripts::acquire_by_rules::Wait::Queue),
            Wait::Ticket(id) => (id, scripts::acquire_by_rules::Wait::Ticket),
        };
        let has_ticket = matches!(asked.wait, Wait::Ticket(_));
        let version = match &asked.snapshot.pool {
            Some(pool) => pool.version,
            // The script only checks that there is a pool.
            None if has_ticket => 0,
            None => return Ok(Acquired::Changed),
        };
        let keys = Keys::of(pool);
        let activities = activities_json(&asked.activities);
        let call = scripts::AcquireByRules {
            keys: &keys,
            repeated: asked.key.map(|key| keys.repeated(key)),
            name: pool,
            id,
            holder: asked.holder.as_ref().map(Holder::key),
            tenant: asked.tenant.as_ref().map(Tenant::as_str),
            label: asked.label.as_ref().map(Label::as_str),
            activities: activities.as_deref(),
            platform: asked.platform.as_ref().map(Platform::as_str),
            margin: RECORD_MARGIN,
            version,
            wait,
            name_from: asked.snapshot.from,
            name_until: asked.snapshot.until,
            given: asked.holder.as_ref().map(Holder::given_beside_key),
            is_fixed: asked.is_of_one_tenant,
            unused_for: asked.idle,
        };
        loop {
            let reply = self.call_whole(pool, &call).await?;
            let denial = Denial {
                in_use: reply.in_use,
                capacity: reply.capacity,
                retry_after: reply.retry_after,
            };
            let detail = reply.detail.clone().unwrap_or_default();
            return Ok(match reply.status {
                // What was asked for stands in the ticket, and then in the record.
                Status::Granted if has_ticket => match self.granted_lease(pool, id).await? {
                    Some(mut grant) => {
                        grant.named_left = reply.named_left;
                        grant.turn = turn(id, reply).map(Box::new);
                        Acquired::Granted(grant)
                    }
                    None => continue,
                },
                Status::Granted => {
                    let grant = granted(pool, asked, id, &reply);
                    let policy = asked.snapshot.policy();
                    if policy.is_some_and(|policy| policy.idle.is_some()) {
                        self.0.use_reports.note(id, grant.lease.active_at);
                    }
                    Acquired::Granted(grant)
                }
                Status::Existing => {
                    match self.granted_lease(pool, reply.id.unwrap_or(id)).await? {
                        Some(mut grant) => {
                            grant.named_left = reply.named_left;
                            Acquired::Existing(grant)
                        }
                        // It ended in between; the next call finds that.
                        None => continue,
                    }
                }
                Status::Waiting => {
                    let again = AcquireRequest {
                        wait: Wait::Ticket(reply.id.unwrap_or(id)),
                        ..asked.clone()
                    };
                    return Box::pin(self.acquire_by_rules(pool, &again)).await;
                }
                Status::Queued => Acquired::Queued {
                    ticket: id,
                    position: reply.position,
                    in_tenant: reply.in_tenant,
                    retry_after: reply.retry_after,
                    eta: reply.eta,
                    asks_again_by: reply.expires_at,
                },
                Status::TicketExpired => Acquired::TicketExpired,
                Status::ForeignTicket => Acquired::ForeignTicket,
                Status::PoolFull => Acquired::PoolFull(denial),
                Status::TenantFull => Acquired::TenantFull(denial, detail),
                Status::NamedSeatsExhausted => Acquired::NamedSeatsExhausted(denial),
                Status::QueueFull => Acquired::QueueFull(denial),
                Status::HolderBlocked => Acquired::blocked(denial, reply.now, reply.detail),
                Status::PlatformNotLicensed => Acquired::PlatformNotLicensed(detail),
                Status::Maintenance => Acquired::Maintenance(denial, detail),
                Status::NoPool | Status::Recovering
                    if reply.ttl.is_zero() && self.restore(pool).await? =>
                {
                    Acquired::Changed
                }
                Status::Recovering => Acquired::Recovering {
                    retry_after: reply.retry_after,
                },
                Status::Changed => {
                    self.status(pool).await?;
                    Acquired::Changed
                }
                Status::NoPool => {
                    self.0.pool_cache.forget(pool);
                    Acquired::NoPool
                }
            });
        }
    }
}

fn granted(pool: &PoolName, asked: &AcquireRequest, id: LeaseId, reply: &Reply) -> Grant {
    let given = Given {
        id: reply.id.unwrap_or(id),
        seat: Seat::from_letter(reply.seat.as_deref().unwrap_or_default()),
        at: reply.now,
        expires_at: reply.expires_at,
        ttl: reply.ttl,
        fence: reply.fence,
        generation: reply.generation,
        in_use: reply.in_use,
        capacity: reply.capacity,
    };
    Grant {
        named_left: reply.named_left,
        ..Grant::new(pool, asked, &given)
    }
}

/// The turn of somebody who waited; none for a repeated request.
fn turn(ticket: LeaseId, reply: Reply) -> Option<Turn> {
    Some(Turn {
        ticket,
        expires_at: reply.expires_at,
        fence: reply.fence,
        started_at: reply.now,
        arrival: reply.arrival,
        request: reply.turn?,
    })
}
