//! `/v1/pools/{pool}/leases` and `/v1/pools/{pool}/availability`: seats of a pool.

mod list;
mod terminate;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Client;
use super::extract::{Body, Path};
use super::problem::{Code, Problem, ProblemDocument};
use super::{App, pool_not_found};
use crate::lease::{Activities, Holder, Instant, Label, Lease, LeaseId, Platform, Seat, Tenant};
use crate::pool::PoolName;
use crate::store::{Acquired, Asked, Grant};
use crate::token::{self, Claims};

/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list, acquire))
        .routes(routes!(terminate::terminate))
        .routes(routes!(availability))
}

/// A lease as clients and operators see it. Its id is not a secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lease)]
pub(super) struct LeaseBody {
    /// 22 characters.
    #[schema(value_type = String, example = "kP0oJ0s1TtaC5Zq2V0w7xg")]
    id: LeaseId,
    /// The pool whose seat it is.
    #[schema(value_type = String, example = "crm")]
    pool: PoolName,
    /// Who holds it; null is anonymous.
    #[schema(value_type = Option<String>, example = "agent-7")]
    holder: Option<Holder>,
    /// The sub-account it belongs to.
    #[schema(value_type = Option<String>, example = "acme")]
    tenant: Option<Tenant>,
    /// What operators read next to the holder.
    #[schema(value_type = Option<String>, example = "Front desk")]
    label: Option<Label>,
    /// What the holder is working on.
    #[schema(value_type = Vec<String>)]
    activities: Activities,
    /// What the holder runs on.
    #[schema(value_type = Option<String>, example = "web")]
    platform: Option<Platform>,
    /// The kind of seat.
    #[schema(value_type = String, example = "concurrent")]
    seat: Seat,
    /// Grows with every grant in the pool.
    #[schema(example = 1_795_000_000_000_000_u64)]
    fence: u64,
    /// When the seat was granted.
    #[schema(value_type = String, format = DateTime)]
    started_at: Instant,
    /// When it was last acquired, renewed or resumed.
    #[schema(value_type = String, format = DateTime)]
    renewed_at: Instant,
    /// When it ends unless a renew comes first.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
    /// Time until then, from when this was decided.
    #[schema(example = 60_000)]
    expires_in_ms: u64,
    /// The pool's TTL.
    #[schema(example = 60_000)]
    ttl_ms: u64,
    /// When to renew.
    #[schema(example = 20_000)]
    renew_after_ms: u64,
}

impl From<Lease> for LeaseBody {
    fn from(lease: Lease) -> Self {
        let millis =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
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

/// Who asks for a seat. All fields may be left out; without a holder the lease is anonymous.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct AcquireBody {
    /// An agent, a device, an instance: opaque, at most 128 bytes.
    #[schema(value_type = Option<String>, max_length = 128, example = "agent-7")]
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
}

/// A seat.
#[derive(Debug, Serialize, ToSchema)]
struct Granted {
    lease: LeaseBody,
    /// Renews and releases the lease. A secret: whoever has it has the seat.
    token: String,
    pool: Occupancy,
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
    post,
    path = "/v1/pools/{pool}/leases",
    tag = "leases",
    params(
        ("pool" = String, Path, description = "Name of the pool"),
        ("Idempotency-Key" = Option<String>, Header, description = "Names this request; at most 255 bytes"),
    ),
    request_body = AcquireBody,
    responses(
        (status = 201, description = "Granted", body = Granted),
        (status = 200, description = "The lease that this key already has", body = Granted),
        (status = 400, description = "`invalid_request`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 401, description = "`unauthorized`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`pool_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Denied: `pool_full` or `holder_blocked`, with `in_use`, `capacity` and `retry_after_ms`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`recovering`, `store_unavailable` or `store_full`, with `retry_after_ms`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
async fn acquire(
    State(app): State<App>,
    client: Client,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Body(body): Body<AcquireBody>,
) -> Result<Response, Problem> {
    let asked = Asked {
        key: idempotency_key(&headers, &client, &pool, &body)?,
        holder: body.holder,
        tenant: body.tenant,
        label: body.label,
        activities: body.activities,
        platform: body.platform,
    };
    match ask(&app, &pool, asked).await? {
        Acquired::Granted(grant) => Ok((StatusCode::CREATED, Json(app.answer(grant))).into_response()),
        Acquired::Existing(grant) => Ok(Json(app.answer(grant)).into_response()),
        Acquired::PoolFull { in_use, capacity, retry_after } => Err(denied(
            Code::PoolFull,
            format!("All {capacity} seats of the pool {pool} are in use. Ask again when one can come free."),
            (in_use, capacity, retry_after),
        )),
        Acquired::HolderBlocked { in_use, capacity, retry_after } => Err(denied(
            Code::HolderBlocked,
            "An operator has blocked this holder for a time. Ask again after it.".to_owned(),
            (in_use, capacity, retry_after),
        )),
        Acquired::Recovering { retry_after } => Err(Problem::new(
            Code::Recovering,
            "The store has lost its data, and those who had a seat come first. Ask again when they have come back.",
        )
        .with("outcome", "none")
        .retry_after_ms(millis(retry_after))),
        Acquired::NoPool => Err(pool_not_found(&pool)),
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn denied(
    code: Code,
    detail: String,
    (in_use, capacity, retry_after): (u64, u64, std::time::Duration),
) -> Problem {
    metrics::counter!("leasehold_denials_total", "code" => code.as_str()).increment(1);
    Problem::new(code, detail)
        .with("in_use", in_use)
        .with("capacity", capacity)
        .retry_after_ms(millis(retry_after))
}

/// Asks in a task of its own, because the request is dropped when its client goes away. A seat that nobody will
/// hear of goes back at once, unless the client can ask for it again by its key.
async fn ask(app: &App, pool: &PoolName, asked: Asked) -> Result<Acquired, Problem> {
    let (answer, answered) = oneshot::channel();
    let (app, pool) = (app.clone(), pool.clone());
    tokio::spawn(async move {
        let acquired = app.0.store.acquire(&pool, &asked).await;
        if let Err(Ok(Acquired::Granted(grant))) = answer.send(acquired)
            && asked.key.is_none()
        {
            let released = app.0.store.release(&app.claims(&grant)).await;
            tracing::debug!(lease.id = %grant.lease.id, ok = released.is_ok(), "released the lease of a client that is gone");
        }
    });
    match answered.await {
        Ok(acquired) => Ok(acquired?),
        Err(_) => Err(Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )),
    }
}

/// What names this request, if it has a key: the same caller asking for the same holder with the same key.
fn idempotency_key(
    headers: &HeaderMap,
    client: &Client,
    pool: &PoolName,
    body: &AcquireBody,
) -> Result<Option<LeaseId>, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("An Idempotency-Key has 1 to {MAX_KEY} bytes."),
        ));
    }
    Ok(Some(token::fingerprint(&[
        client.caller.id().as_bytes(),
        pool.as_str().as_bytes(),
        body.holder.as_ref().map_or("", Holder::as_str).as_bytes(),
        body.tenant.as_ref().map_or("", Tenant::as_str).as_bytes(),
        key.as_bytes(),
    ])))
}

impl App {
    fn answer(&self, grant: Grant) -> Granted {
        let token = self.0.tokens.sign(&self.claims(&grant));
        let pool = Occupancy {
            in_use: grant.in_use,
            capacity: grant.capacity,
        };
        Granted {
            lease: grant.lease.into(),
            token,
            pool,
        }
    }

    /// What the token of a grant says.
    fn claims(&self, grant: &Grant) -> Claims {
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
            started_at: lease.started_at,
            issued_at: self.0.store.now(),
            details: !lease.activities.is_empty(),
        }
    }
}

/// How many seats of a pool are free.
#[derive(Debug, Serialize, ToSchema)]
struct Availability {
    /// Seats in use.
    #[schema(example = 3)]
    in_use: u64,
    /// Seats in all.
    #[schema(example = 5)]
    capacity: u64,
    /// Seats that the next acquire could get.
    #[schema(example = 2)]
    free: u64,
    /// How many wait in the queue.
    #[schema(example = 0)]
    waiting: u64,
}

/// Says how many seats of a pool are free.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/availability",
    tag = "leases",
    params(("pool" = String, Path, description = "Name of the pool")),
    responses(
        (status = 200, body = Availability),
        (status = 401, description = "`unauthorized`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`pool_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`store_unavailable`", body = ProblemDocument, content_type = "application/problem+json"),
    ),
    security((), ("key" = []))
)]
async fn availability(
    State(app): State<App>,
    _client: Client,
    Path(pool): Path<PoolName>,
) -> Result<Json<Availability>, Problem> {
    let status = app
        .0
        .store
        .status(&pool)
        .await?
        .ok_or_else(|| pool_not_found(&pool))?;
    let capacity = u64::from(status.policy.capacity);
    Ok(Json(Availability {
        in_use: status.in_use,
        capacity,
        free: capacity.saturating_sub(status.in_use),
        waiting: 0,
    }))
}
