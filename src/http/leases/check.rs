//! `POST /v1/leases/check`: does whoever shows this hold a seat? For backends, whose keys have the role `verifier`.
//!
//! The answer is always 200, as that of a token introspection (RFC 7662). It extends nothing.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::Body;
use crate::http::json::Json;
use crate::http::leases::renew::code_of;
use crate::http::problem::{Code, Problem};
use crate::lease::Lease;
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::proof::ProofKeys;
use crate::store::Checked;
use crate::time::millis;

/// The code of a proof that no node of this installation signed.
const INVALID_PROOF: &str = "invalid_proof";

/// The lease that is asked about: its proof, or its id, pool and fence.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CheckBody {
    /// The latest proof of the lease. One that has expired still names it: what counts is how the lease is now.
    #[schema(max_length = 8192)]
    proof: Option<String>,
    /// The id of the lease, where there is no proof. What cannot be one is answered as one that is not known.
    id: Option<String>,
    /// Its pool.
    #[schema(example = "crm")]
    pool: Option<String>,
    /// Its fence.
    fence: Option<u64>,
}

/// Whether the lease lives, and who holds it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct CheckedBody {
    /// Whether somebody holds this seat now.
    active: bool,
    /// Why not: `lease_expired`, `lease_released`, `lease_terminated`, `lease_evicted`, `lease_not_found`, `pool_not_found`, or
    /// `invalid_proof` for a string that no node signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<&'static str>,
    /// The pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, example = "crm")]
    pool: Option<PoolName>,
    /// The holder, as the pool keeps it; null is anonymous. Only of an active lease, as all below.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "agent-7")]
    holder: Option<Option<Holder>>,
    /// The sub-account it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "acme")]
    tenant: Option<Option<Tenant>>,
    /// Grows with every grant in the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    fence: Option<u64>,
    /// How much longer it lives unless it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 41_000)]
    expires_in_ms: Option<u64>,
    /// How long this answer may be kept: a yes is never older than a heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 20_000)]
    cache_ms: Option<u64>,
}

fn inactive(code: &'static str) -> Json<CheckedBody> {
    Json(CheckedBody {
        code: Some(code),
        ..CheckedBody::default()
    })
}

/// Whether a lease is of a tenant that the caller sees nothing of.
fn is_foreign(operator: &Operator, lease: &Lease) -> bool {
    let own = operator.tenants_in(&lease.pool);
    own.is_some_and(|own| {
        lease
            .tenant
            .as_ref()
            .is_none_or(|tenant| !own.contains(tenant))
    })
}

/// Says whether a lease lives, by its proof or by its id, pool and fence. It extends nothing.
#[utoipa::path(
    post,
    path = "/v1/leases/check",
    operation_id = "check_lease",
    tag = "leases",
    request_body = CheckBody,
    responses(
        (status = 200, description = "Whether it lives. What is of no pool of this key is as unknown as what was never there", body = CheckedBody),
    ),
)]
pub(super) async fn check(
    State(app): State<App>,
    operator: Operator,
    Body(body): Body<CheckBody>,
) -> Result<Json<CheckedBody>, Problem> {
    let (id, pool, fence) = match body {
        CheckBody {
            proof: Some(proof),
            id: None,
            pool: None,
            fence: None,
        } => match ProofKeys::read(&app.public_keys(), &proof) {
            Some(proven) => (proven.id, proven.pool, proven.fence),
            None => return Ok(inactive(INVALID_PROOF)),
        },
        CheckBody {
            proof: None,
            id: Some(id),
            pool: Some(pool),
            fence: Some(fence),
        } if i64::try_from(fence).is_ok() => {
            let Ok(pool) = PoolName::try_from(pool) else {
                return Ok(inactive(Code::PoolNotFound.as_str()));
            };
            let Ok(id) = id.parse::<LeaseId>() else {
                return Ok(inactive(Code::LeaseNotFound.as_str()));
            };
            (id, pool, fence)
        }
        CheckBody {
            fence: Some(fence), ..
        } if i64::try_from(fence).is_err() => {
            return Err(Problem::new(
                Code::InvalidRequest,
                "`fence` is a whole number below 9223372036854775808.",
            )
            .with("field", "fence"));
        }
        _ => {
            return Err(Problem::new(
                Code::InvalidRequest,
                "Say which lease in exactly one way: `proof`, or `id`, `pool` and `fence`.",
            ));
        }
    };
    if !operator.caller.is_for(&pool) {
        return Ok(inactive(Code::PoolNotFound.as_str()));
    }
    Ok(match app.0.store.check(&pool, id, fence).await? {
        Checked::Active(lease) if is_foreign(&operator, &lease) => {
            inactive(Code::LeaseNotFound.as_str())
        }
        Checked::Active(lease) => Json(CheckedBody {
            active: true,
            expires_in_ms: Some(millis(lease.expires_in)),
            cache_ms: Some(millis(lease.renew_after().min(lease.expires_in))),
            pool: Some(lease.pool),
            holder: Some(lease.holder),
            tenant: Some(lease.tenant),
            fence: Some(lease.fence),
            code: None,
        }),
        Checked::Ended(Some(end)) => inactive(code_of(&end)),
        Checked::Ended(None) => inactive(Code::LeaseNotFound.as_str()),
        Checked::NoPool => inactive(Code::PoolNotFound.as_str()),
    })
}
