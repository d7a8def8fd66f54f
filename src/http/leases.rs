//! `/v1/pools/{pool}/leases` and `/v1/pools/{pool}/availability`: seats of a pool.

mod acquire_many;
mod asking;
pub(super) mod availability;
mod check;
mod denied;
pub(crate) mod list;
pub(crate) mod terminate;

pub(crate) use self::terminate::MAX_IDS;

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::access::Client;
use super::extract::{Body, Path};
use super::json::Json;
use super::problem::{Code, Problem};
use crate::lease::{Lease, Seat};
use crate::names::{Activities, Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::pool::Policy;
use crate::store::{Acquired, Grant, Wait, durable};
use crate::time::Timestamp;
use crate::token::{self, Claims};

/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;
/// Names a request, so that it can be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest time for which a request is held open, in ms. Balancers cut what is silent for 30 s.
const MAX_WAIT_MS: u64 = 25_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, acquire))
        .routes(routes!(acquire_many::acquire_many))
        .routes(routes!(terminate::terminate))
        .routes(routes!(availability::availability))
        .routes(routes!(check::check))
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
    /// Who holds it; null is anonymous.
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
    /// Time until then, from when this was decided.
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
        let millis =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
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

/// Who asks for a seat. All fields may be left out; without a holder the lease is anonymous.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct AcquireBody {
    /// An agent, a device, an instance: opaque, at most 512 bytes.
    #[schema(value_type = Option<String>, max_length = 512, example = "agent-7")]
    holder: Option<Holder>,
    /// The sub-account it belongs to, at most 64 bytes.
    #[schema(value_type = Option<String>, max_length = 64, example = "acme")]
    tenant: Option<Tenant>,
    /// What operators read next to the holder, at most 128 bytes.
    #[schema(value_type = Option<String>, max_length = 128, example = "Front desk")]
    label: Option<Label>,
    /// What the holder is working on: at most 32 texts of at most 128 bytes.
    #[schema(value_type = Vec<String>, max_items = 32)]
    activities: Activities,
    /// What the holder runs on, at most 32 bytes.
    #[schema(value_type = Option<String>, max_length = 32, example = "web")]
    platform: Option<Platform>,
    /// Whether to wait for a seat, in a pool that has a queue; others deny as if it were false.
    wait: bool,
    /// The place in the queue from an earlier answer. What was asked for then counts.
    #[schema(max_length = 64)]
    ticket: Option<String>,
    /// How long the answer may take while there is no seat, at most 25 000 ms, for `wait` or a `ticket`.
    #[schema(maximum = 25_000)]
    wait_ms: u64,
}

/// A seat, or a place in the queue.
///
/// One shape for 200, 201 and 202: most generators make one type for all successes of an operation, and would drop
/// the ticket of a 202 whose schema is another.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Acquired)]
struct AcquiredBody {
    /// The seat; absent with 202.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    lease: Option<LeaseBody>,
    /// Renews and releases the lease. A secret: whoever has it has the seat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// A signed proof of the lease, in a pool whose policy has `proofs`. Others verify it with `/v1/jwks`; it gives no right.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    proof: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pool: Option<Occupancy>,
    /// Named seats that nobody has taken in this period, in a pool that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    named_seats_left: Option<u64>,
    /// Whether a replica acknowledged the write; only with `durability = "replicated"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    durable: Option<bool>,
    /// The place in the queue, with 202. Ask again with it, as `{"ticket": …}`, or the place is lost. A secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ticket: Option<String>,
    /// Position in the queue; 1 is the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1)]
    position: Option<u64>,
    /// When to ask again with the ticket. Without a request the place is lost 4 s after that, and at the front after 6 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 2_000)]
    retry_after_ms: Option<u64>,
    /// Estimated time until a seat is free, judged by how leases ended lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 18_000)]
    eta_ms: Option<u64>,
}

/// How full a pool is.
#[derive(Debug, Serialize, ToSchema)]
struct Occupancy {
    /// Seats in use.
    #[schema(example = 5)]
    in_use: u64,
    /// Seats in all.
    #[schema(example = 5)]
    capacity: u64,
}

/// Acquires a seat.
///
/// With an `Idempotency-Key` the same request yields the same live lease, however often it is sent.
#[utoipa::path(
    post, path = "/v1/pools/{pool}/leases", tag = "leases",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names this request; at most 255 bytes")),
    request_body = AcquireBody,
    responses(
        (status = 201, description = "Granted", body = AcquiredBody),
        (status = 200, description = "The lease that this key already has", body = AcquiredBody),
        (status = 202, description = "A place in the queue", body = AcquiredBody),
        (status = 403, description = "`platform_not_licensed`, `origin_not_allowed` or `forbidden`"),
        (status = 409, description = "Denied: `pool_full`, `tenant_full`, `named_seats_exhausted`, `queue_full` or `holder_blocked`, with `in_use`, `capacity` and `retry_after_ms`"),
        (status = 410, description = "`ticket_expired`"),
        (status = 503, description = "`maintenance`, `recovering`, `store_unavailable` or `store_full`, with `retry_after_ms`"),
    ),
)]
async fn acquire(
    State(app): State<App>,
    client: Client,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Body(body): Body<AcquireBody>,
) -> Result<Response, Problem> {
    let key = match headers.get(IDEMPOTENCY_KEY) {
        Some(key) if key.is_empty() || key.len() > MAX_KEY => {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!("An Idempotency-Key has 1 to {MAX_KEY} bytes."),
            ));
        }
        Some(key) => {
            let compared = app.compared_holder(&pool, body.holder.as_ref()).await?;
            let compared = compared.as_ref();
            Some(request_name(
                key.as_bytes(),
                &client,
                &pool,
                compared,
                &body,
            ))
        }
        None => None,
    };
    if body.wait_ms > MAX_WAIT_MS {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`wait_ms` is 0 to {MAX_WAIT_MS}."),
        ));
    }
    let wait = match &body.ticket {
        Some(ticket) => {
            Wait::Ticket(app.0.tokens.verify_ticket(&pool, ticket).ok_or_else(|| {
                Problem::new(
                    Code::InvalidRequest,
                    format!("`ticket` is not one of the pool {pool}. Ask without it."),
                )
            })?)
        }
        None if body.wait => Wait::Queue,
        None => Wait::No,
    };
    let tenant = body.tenant.clone();
    match asking::ask(&app, &pool, body, key, wait).await? {
        Acquired::Granted(grant) => {
            Ok((StatusCode::CREATED, Json(app.answer(grant))).into_response())
        }
        Acquired::Existing(grant) => Ok(Json(app.answer(grant)).into_response()),
        Acquired::Queued {
            ticket,
            position,
            retry_after,
            eta,
            ..
        } => {
            let queued = AcquiredBody {
                ticket: Some(app.0.tokens.ticket(&pool, ticket)),
                position: Some(position),
                retry_after_ms: Some(millis(retry_after)),
                eta_ms: Some(millis(eta)),
                ..AcquiredBody::default()
            };
            Ok((StatusCode::ACCEPTED, Json(queued)).into_response())
        }
        not_granted => Err(denied::problem(&pool, tenant.as_ref(), not_granted)),
    }
}

pub(in crate::http) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What names this request: the same caller asking for the same holder with the same key.
fn request_name(
    key: &[u8],
    client: &Client,
    pool: &PoolName,
    holder: Option<&Holder>,
    body: &AcquireBody,
) -> LeaseId {
    token::fingerprint(&[
        client.caller.id().as_bytes(),
        pool.as_str().as_bytes(),
        holder.map_or("", Holder::key).as_bytes(),
        body.tenant.as_ref().map_or("", Tenant::as_str).as_bytes(),
        key,
    ])
}

impl App {
    fn answer(&self, grant: Grant) -> AcquiredBody {
        let token = self.0.tokens.sign(&self.claims(&grant));
        let pool = Occupancy {
            in_use: grant.in_use,
            capacity: grant.capacity,
        };
        let proof = self.proof(&grant.lease, grant.generation);
        AcquiredBody {
            lease: Some(self.lease_body(grant.lease)),
            token: Some(token),
            proof,
            pool: Some(pool),
            named_seats_left: grant.named_left,
            durable: durable(),
            ..AcquiredBody::default()
        }
    }

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

    /// What the token of a grant says.
    pub(super) fn claims(&self, grant: &Grant) -> Claims {
        let lease = &grant.lease;
        Claims {
            id: lease.id,
            pool: lease.pool.clone(),
            generation: grant.generation,
            holder: lease.holder.clone(),
            tenant: lease.tenant.clone(),
            label: lease.label.clone(),
            platform: lease.platform.clone(),
            fence: lease.fence,
            seat: lease.seat,
            started_at: lease.started_at,
            // What else the node has heard from Redis may be of another master.
            issued_at: grant.at,
            details: !lease.activities.is_empty(),
        }
    }
}
