//! Resume: decides on a heartbeat whose lease is not live, or whose record is gone.

use std::time::Duration;

use super::error::Error;
use super::keys::{IndexedBy, Keys};
use super::leave_notice::{Notice, read_end};
use super::meters::EndKind;
use super::record::parse_activities;
use super::renew::{Renewal, Renewed, from_claims};
use super::renewals::RECORD_MARGIN;
use super::script::{RESUME, millis, or_empty};
use super::terminate::Termination;
use super::{Store, json};
use crate::lease::{EndReason, Lease, Seat};
use crate::names::{Holder, Label, Platform, Tenant};
use crate::pool::OutageGrace;
use crate::telemetry;
use crate::time::Timestamp;
use crate::token::Claims;

impl Store {
    /// Decides on a beat of a lease that is not live.
    pub(super) async fn resume(&self, renewal: &Renewal) -> Result<Renewed, Error> {
        let claims = &renewal.claims;
        let label = renewal.label.as_ref().or(claims.label.as_ref());
        let keys = Keys::of(&claims.pool);
        let call = RESUME
            .call(26)
            .arg(keys.bucket.clock())
            .arg(keys.bucket.due())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.expired())
            .arg(keys.events())
            .arg(keys.blocks())
            .arg(keys.records())
            .arg(keys.who())
            .arg(keys.seats())
            .arg(keys.holders())
            .arg(keys.lent())
            .arg(keys.queue())
            .arg(keys.evicted())
            .arg(keys.named())
            .arg(keys.waiting())
            .arg(keys.tickets())
            .arg(keys.tombstone(claims.id))
            .arg(keys.mark(IndexedBy::All))
            .arg(
                keys.mark(
                    claims
                        .holder
                        .as_ref()
                        .map_or(IndexedBy::All, IndexedBy::Holder),
                ),
            )
            .arg(
                keys.mark(
                    claims
                        .tenant
                        .as_ref()
                        .map_or(IndexedBy::All, IndexedBy::Tenant),
                ),
            )
            .arg(keys.block_notes())
            .arg(keys.line())
            .arg(keys.heads())
            .arg(keys.called())
            .arg(keys.notices())
            .arg(claims.pool.as_str())
            .arg(claims.id.to_string())
            .arg(claims.generation)
            .arg(claims.started_at.0)
            .arg(claims.fence)
            .arg(or_empty(claims.holder.as_ref(), Holder::key))
            .arg(or_empty(claims.tenant.as_ref(), Tenant::as_str))
            .arg(or_empty(label, Label::as_str))
            .arg(
                renewal
                    .activities
                    .as_ref()
                    .map_or(String::new(), |list| format!("={}", json(list))),
            )
            .arg(or_empty(claims.platform.as_ref(), Platform::as_str))
            .arg(millis(RECORD_MARGIN))
            .arg(or_empty(claims.holder.as_ref(), Holder::given_beside_key))
            .arg(
                renewal
                    .grace_used_ms
                    .map_or(String::new(), |ms| ms.min(OutageGrace::MAX_MS).to_string()),
            );
        let mut reply = self.run_whole(&claims.pool, &call).await?;
        if matches!(reply.status(), "no_pool" | "recovering") && self.restore(&claims.pool).await? {
            reply = self.run_whole(&claims.pool, &call).await?;
        }
        let lease = || -> Result<Lease, Error> {
            let ttl = Duration::from_millis(reply.count(4)?);
            let activities = parse_activities(reply.text(6)?);
            let lease = from_claims(
                claims,
                label.cloned(),
                activities,
                reply.now()?,
                reply.instant(3)?,
                ttl,
            );
            Ok(Lease {
                seat: Seat::from_letter(reply.text(9)?),
                ..lease
            })
        };
        if matches!(reply.status(), "renewed" | "resumed" | "rebuilt")
            && let Some(why) = read_end(reply.text(12)?)
            && parse_activities(reply.text(6)?).is_empty()
        {
            return self.end_idle(claims, &why).await;
        }
        let renewed = match reply.status() {
            "renewed" => Ok(Renewed::Renewed(lease()?)),
            "resumed" | "rebuilt" => {
                if reply.status() == "rebuilt" {
                    metrics::counter!(telemetry::LEASES_REBUILT).increment(1);
                } else {
                    let ended = reply.instant(10)?;
                    if ended.0 > 0 {
                        self.count_end(
                            &claims.pool,
                            EndKind::Expired,
                            ended.since(claims.started_at),
                        );
                    }
                    self.count_resume(&claims.pool);
                }
                Ok(Renewed::Resumed {
                    lease: lease()?,
                    generation: reply.count(5)?,
                })
            }
            "lost_expired" => Ok(Renewed::Lost(EndReason::Expired)),
            "lost_displaced" => {
                metrics::counter!(telemetry::LEASES_DISPLACED).increment(1);
                tracing::warn!(
                    pool.name = %claims.pool,
                    lease.id = %claims.id,
                    "a lease was lost with Redis's data, and its seat was given to somebody else before it could be rebuilt"
                );
                Ok(Renewed::Lost(EndReason::Expired))
            }
            "lost_released" => Ok(Renewed::Lost(EndReason::Released)),
            "lost_evicted" => Ok(Renewed::Lost(EndReason::Evicted)),
            "lost_deleted" => Ok(Renewed::Lost(EndReason::Terminated {
                reason: Some("The pool was deleted.".to_owned()),
                blocked_until: None,
            })),
            "lost_terminated" => {
                let (reason, until) = (reply.text(7)?, reply.instant(8)?);
                Ok(Renewed::Lost(EndReason::Terminated {
                    reason: (!reason.is_empty()).then(|| reason.to_owned()),
                    blocked_until: (until.0 > 0).then_some(until),
                }))
            }
            "recovering" => Ok(Renewed::Recovering),
            "no_pool" => Ok(Renewed::NoPool),
            _ => Err(reply.unexpected(0)),
        };
        match Notice::read(reply.text(11)?) {
            Some(notice) => Ok(Renewed::Noticed(Box::new(renewed?), notice)),
            None => renewed,
        }
    }

    /// Ends a lease without activities, as an operator wanted it. If the node dies before, the next heartbeat finds the same.
    async fn end_idle(&self, claims: &Claims, why: &Termination) -> Result<Renewed, Error> {
        self.terminate(&claims.pool, &[claims.id], why).await?;
        let blocked_until = (!why.block.is_zero() && claims.holder.is_some())
            .then(|| Timestamp(self.now().0 + why.block.as_millis() as i64));
        Ok(Renewed::Lost(EndReason::Terminated {
            reason: why.reason.clone(),
            blocked_until,
        }))
    }
}
