//! `/v1/pools/{pool}/leases`, `/v1/leases/…` and `/v1/pools/{pool}/availability`: seats, a file for each operation.

mod acquire;
mod acquire_many;
mod attempt;
pub(super) mod availability;
mod check;
mod denied;
mod leave;
pub(crate) mod list;
mod release;
mod renew;
mod renew_many;
pub(crate) mod terminate;
mod token;

pub(super) use self::acquire::AcquireBody;
pub(crate) use self::terminate::MAX_IDS;

use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::problem::{Code, Problem};
use crate::lease::{Lease, Seat};
use crate::names::{Activities, Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::pool::Policy;
use crate::store::carry;
use crate::tasks;
use crate::time::Timestamp;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, acquire::acquire))
        .routes(routes!(acquire_many::acquire_many))
        .routes(routes!(terminate::terminate))
        .routes(routes!(availability::availability))
        .routes(routes!(check::check))
        .routes(routes!(renew::renew))
        .routes(routes!(renew_many::renew_many))
        .routes(routes!(release::release))
        .routes(routes!(leave::leave))
}

/// A lease as clients and operators see it. Its id is not a secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lease)]
pub(crate) struct LeaseBody {
    /// 22 characters.
    #[schema(value_type = String, example = "kP0oJ0s1TtaC5Zq2V0w7xg")]
    pub(crate) id: LeaseId,
    /// The pool whose seat it is.
    #[schema(value_type = String, example = "crm")]
    pub(crate) pool: PoolName,
    /// The holder; null is anonymous.
    #[schema(value_type = Option<String>, example = "agent-7")]
    pub(crate) holder: Option<Holder>,
    /// The sub-account it belongs to.
    #[schema(value_type = Option<String>, example = "acme")]
    pub(crate) tenant: Option<Tenant>,
    /// What operators read next to the holder.
    #[schema(value_type = Option<String>, example = "Front desk")]
    pub(crate) label: Option<Label>,
    /// What the holder is working on.
    #[schema(value_type = Vec<String>)]
    pub(crate) activities: Activities,
    /// What the holder runs on.
    #[schema(value_type = Option<String>, example = "web")]
    pub(crate) platform: Option<Platform>,
    /// The kind of seat.
    #[schema(value_type = String, example = "concurrent")]
    pub(crate) seat: Seat,
    /// Grows with every grant in the pool.
    #[schema(example = 1_795_000_000_000_000_u64)]
    pub(crate) fence: u64,
    /// When the seat was granted.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) started_at: Timestamp,
    /// When it was last acquired, renewed or resumed.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) renewed_at: Timestamp,
    /// When it ends unless a renew comes first.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Timestamp,
    /// Time from the decision until then.
    #[schema(example = 60_000)]
    pub(crate) expires_in_ms: u64,
    /// The pool's TTL.
    #[schema(example = 60_000)]
    pub(crate) ttl_ms: u64,
    /// When to renew.
    #[schema(example = 20_000)]
    pub(crate) renew_after_ms: u64,
    /// For how long the holder may go on after `expires_at` while it cannot reach the server; null is without limit.
    #[schema(example = 600_000)]
    pub(crate) outage_grace_ms: Option<u64>,
}

impl LeaseBody {
    pub(crate) fn of(lease: Lease, outage_grace_ms: Option<u64>) -> Self {
        Self {
            expires_in_ms: millis(lease.expires_in),
            ttl_ms: millis(lease.ttl),
            renew_after_ms: millis(lease.renew_after()),
            outage_grace_ms,
            id: lease.id,
            pool: lease.pool,
            holder: lease.holder,
            tenant: lease.tenant,
            label: lease.label,
            activities: lease.activities,
            platform: lease.platform,
            seat: lease.seat,
            fence: lease.fence,
            started_at: lease.started_at,
            renewed_at: lease.renewed_at,
            expires_at: lease.expires_at,
        }
    }
}

pub(in crate::http) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl App {
    /// A lease as clients see it.
    pub(super) fn lease_body(&self, lease: Lease) -> LeaseBody {
        let grace_ms = self.outage_limit_ms(&lease.pool);
        LeaseBody::of(lease, grace_ms)
    }

    /// For how long holders of a pool may go on that hear nothing, ms; none is without limit.
    pub(super) fn outage_limit_ms(&self, pool: &PoolName) -> Option<u64> {
        match self.0.store.cached_policy(pool) {
            Some(policy) => policy.outage_limit_ms(),
            // One that only a later version can read.
            None => Policy::with_capacity(0).outage_limit_ms(),
        }
    }
}

/// Runs to its end even if the page that asked is gone, as it is meant to be.
pub(in crate::http) async fn finish(
    operation: impl Future<Output = Result<(), crate::store::Error>> + Send + 'static,
) -> Result<StatusCode, Problem> {
    match tokio::time::timeout(Duration::from_secs(2), tasks::finish(carry(operation))).await {
        Ok(Ok(result)) => Ok(result.map(|()| StatusCode::NO_CONTENT)?),
        _ => Err(Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )),
    }
}
