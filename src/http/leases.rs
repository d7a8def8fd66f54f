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
mod yield_seat;

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
use crate::pool::{MAX_IDLE_MS, Policy};
use crate::store::carry;
use crate::tasks;
use crate::time::{Timestamp, millis};

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
        .routes(routes!(yield_seat::yield_seat))
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
    /// When its user was last active, by Redis's clock; null where nothing is known. Only in a pool whose policy has `idle`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active_at: Option<Option<Timestamp>>,
}

impl LeaseBody {
    /// A lease of a pool with this policy; none if only a later version can read it.
    pub(crate) fn of(lease: Lease, policy: Option<&Policy>) -> Self {
        Self {
            active_at: told_active_at(&lease, policy),
            outage_grace_ms: outage_limit_ms(policy),
            expires_in_ms: millis(lease.expires_in),
            ttl_ms: millis(lease.ttl),
            renew_after_ms: millis(lease.renew_after()),
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

impl App {
    /// A lease as clients see it.
    pub(super) fn lease_body(&self, lease: Lease) -> LeaseBody {
        let policy = self.0.store.cached_policy(&lease.pool);
        LeaseBody::of(lease, policy.as_deref())
    }

    /// When the user of a lease was last active, where answers to clients have it.
    pub(super) fn told_active_at(&self, lease: &Lease) -> Option<Option<Timestamp>> {
        told_active_at(lease, self.0.store.cached_policy(&lease.pool).as_deref())
    }

    /// For how long holders of a pool may go on that hear nothing, ms; none is without limit.
    pub(super) fn outage_limit_ms(&self, pool: &PoolName) -> Option<u64> {
        outage_limit_ms(self.0.store.cached_policy(pool).as_deref())
    }
}

/// The same under this policy.
fn told_active_at(lease: &Lease, policy: Option<&Policy>) -> Option<Option<Timestamp>> {
    policy?.idle.map(|_| lease.active_at)
}

/// The same under this policy.
fn outage_limit_ms(policy: Option<&Policy>) -> Option<u64> {
    match policy {
        Some(policy) => policy.outage_limit_ms(),
        None => Policy::with_capacity(0).outage_limit_ms(),
    }
}

/// For how long a user has done nothing, as a program says it.
pub(in crate::http) fn checked_idle(idle_ms: Option<u64>) -> Result<Option<Duration>, Problem> {
    match idle_ms {
        Some(ms) if MAX_IDLE_MS < ms => Err(Problem::new(
            Code::InvalidRequest,
            format!(
                "`idle_ms` is 0 to {MAX_IDLE_MS}. Send at most that, or leave it out where it is not known."
            ),
        )),
        ms => Ok(ms.map(Duration::from_millis)),
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
