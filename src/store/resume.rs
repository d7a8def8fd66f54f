//! Resume: decides on a heartbeat whose lease is not live, or whose record is gone.

use std::time::Duration;

use super::error::Error;
use super::heartbeat::RECORD_MARGIN;
use super::keys::Keys;
use super::leave_notice::{Notice, read_end};
use super::meters::EndKind;
use super::record::parse_activities;
use super::renew::{Renewal, Renewed, from_claims};
use super::script::Change;
use super::scripts;
use super::scripts::resume::Status;
use super::terminate::Termination;
use super::{Store, json};
use crate::lease::{EndReason, Eviction, Lease, Seat};
use crate::names::{Holder, Label, Platform, Tenant};
use crate::pool::OutageGrace;
use crate::telemetry;
use crate::token::Claims;

impl Store {
    /// Decides on a beat of a lease that is not live.
    pub(super) async fn resume(&self, renewal: &Renewal) -> Result<Renewed, Error> {
        let claims = &renewal.claims;
        let keys = Keys::of(&claims.pool);
        let activities = renewal.activities.as_ref().map(json);
        let resume = scripts::Resume {
            keys: &keys,
            holder_mark: keys.holder_mark(claims),
            tenant_mark: keys.tenant_mark(claims),
            pool: &claims.pool,
            id: claims.id,
            signed_in: claims.generation,
            started: claims.started_at,
            fence: claims.fence,
            holder: claims.holder.as_ref().map(Holder::key),
            tenant: claims.tenant.as_ref().map(Tenant::as_str),
            label: renewal.label.as_ref().map(Label::as_str),
            signed: claims.label.as_ref().map(Label::as_str),
            activities: Change(activities.as_deref()),
            platform: claims.platform.as_ref().map(Platform::as_str),
            margin: RECORD_MARGIN,
            given: claims.holder.as_ref().map(Holder::given_beside_key),
            grace_used: renewal
                .grace_used_ms
                .map(|ms| Duration::from_millis(ms.min(OutageGrace::MAX_MS))),
        };
        let mut reply = self.call_whole(&claims.pool, &resume).await?;
        if matches!(reply.status, Status::NoPool | Status::Recovering)
            && self.restore(&claims.pool).await?
        {
            reply = self.call_whole(&claims.pool, &resume).await?;
        }
        let doing = parse_activities(reply.doing.as_deref().unwrap_or_default());
        if matches!(
            reply.status,
            Status::Renewed | Status::Resumed | Status::Rebuilt
        ) && let Some(why) = reply.end_when_idle.as_deref().and_then(read_end)
            && doing.is_empty()
        {
            return self.end_idle(claims, &why).await;
        }
        let label = reply
            .called
            .clone()
            .and_then(|label| Label::recorded(label).ok());
        let lease = || Lease {
            seat: Seat::from_letter(reply.kind.as_deref().unwrap_or_default()),
            ..from_claims(
                claims,
                label.clone(),
                doing,
                reply.now,
                reply.expires_at,
                reply.ttl,
            )
        };
        let renewed = match reply.status {
            Status::Renewed => Renewed::Renewed(lease()),
            Status::Resumed | Status::Rebuilt => {
                if reply.status == Status::Rebuilt {
                    metrics::counter!(telemetry::LEASES_REBUILT).increment(1);
                } else {
                    if let Some(ended) = reply.ended_at {
                        self.count_end(
                            &claims.pool,
                            EndKind::Expired,
                            ended.since(claims.started_at),
                        );
                    }
                    self.count_resume(&claims.pool);
                }
                Renewed::Resumed {
                    lease: lease(),
                    generation: reply.in_generation,
                }
            }
            Status::LostExpired => Renewed::Lost(EndReason::Expired),
            Status::LostDisplaced => {
                metrics::counter!(telemetry::LEASES_DISPLACED).increment(1);
                tracing::warn!(
                    pool.name = %claims.pool,
                    lease.id = %claims.id,
                    "a lease was lost with Redis's data, and its seat was given to somebody else before it could be rebuilt"
                );
                Renewed::Lost(EndReason::Expired)
            }
            Status::LostReleased => Renewed::Lost(EndReason::Released),
            Status::LostEvicted => Renewed::Lost(EndReason::Evicted(Eviction::from_word(
                reply.reason.as_deref().unwrap_or_default(),
            ))),
            Status::LostDeleted => Renewed::Lost(EndReason::Terminated {
                reason: Some("The pool was deleted.".to_owned()),
                blocked_until: None,
            }),
            Status::LostTerminated => Renewed::Lost(EndReason::Terminated {
                reason: reply.reason,
                blocked_until: reply.blocked_until,
            }),
            Status::Recovering => Renewed::Recovering,
            Status::NoPool => Renewed::NoPool,
        };
        Ok(match reply.notice.as_deref().and_then(Notice::read) {
            Some(notice) => Renewed::Noticed(Box::new(renewed), notice),
            None => renewed,
        })
    }

    /// Ends a lease without activities, as an operator wanted it. If the node dies before, the next heartbeat finds the same.
    async fn end_idle(&self, claims: &Claims, why: &Termination) -> Result<Renewed, Error> {
        self.terminate(&claims.pool, &[claims.id], why).await?;
        let blocked_until =
            (!why.block.is_zero() && claims.holder.is_some()).then(|| self.now() + why.block);
        Ok(Renewed::Lost(EndReason::Terminated {
            reason: why.reason.clone(),
            blocked_until,
        }))
    }
}
