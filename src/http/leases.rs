//! `/v1/pools/{pool}/leases` and `/v1/pools/{pool}/availability`: seats of a pool.

mod denied;
mod list;
pub(super) mod terminate;

use std::collections::BTreeMap;
use std::time::Duration;

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
use crate::pool::{Pool, PoolName, Privacy};
use crate::store::{self, Acquired, Asked, Grant, Known, Wait};
use crate::token::{self, Claims};

/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;
/// Longest time for which a request is held open, in ms. Balancers cut what is silent for 30 s.
const MAX_WAIT_MS: u64 = 25_000;

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
    /// The place in the queue from an earlier answer. What was asked for then counts.
    #[schema(max_length = 64)]
    ticket: Option<String>,
    /// How long the answer may take while there is no seat, at most 25 000 ms, for `wait` or a `ticket`.
    #[schema(maximum = 25_000)]
    wait_ms: u64,
}

/// A seat.
#[derive(Debug, Serialize, ToSchema)]
struct Granted {
    lease: LeaseBody,
    /// Renews and releases the lease. A secret: whoever has it has the seat.
    token: String,
    pool: Occupancy,
    /// Named seats that nobody has taken in this period, in a pool that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    named_seats_left: Option<u64>,
}

/// A place in the queue.
#[derive(Debug, Serialize, ToSchema)]
struct Queued {
    /// Ask again with it, as `{"ticket": …}`, or the place is lost. A secret.
    ticket: String,
    /// 1 is the next.
    #[schema(example = 1)]
    position: u64,
    /// When to ask again. Three times as long without a question, and the place is lost.
    #[schema(example = 2_000)]
    retry_after_ms: u64,
    /// About when there will be a seat, judged by how leases ended lately.
    #[schema(example = 18_000)]
    eta_ms: u64,
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
        (status = 202, description = "A place in the queue", body = Queued),
        (status = 401, description = "`unauthorized`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "`platform_not_licensed`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`pool_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "Denied: `pool_full`, `tenant_full`, `named_seats_exhausted`, `queue_full` or `holder_blocked`, with `in_use`, `capacity` and `retry_after_ms`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "`ticket_expired`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "`maintenance`, `recovering`, `store_unavailable` or `store_full`, with `retry_after_ms`", body = ProblemDocument, content_type = "application/problem+json"),
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
    let key = idempotency_key(&headers, &client, &pool, &body)?;
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
    match ask(&app, &pool, body, key, wait).await? {
        Acquired::Granted(grant) => {
            Ok((StatusCode::CREATED, Json(app.answer(grant))).into_response())
        }
        Acquired::Existing(grant) => Ok(Json(app.answer(grant)).into_response()),
        Acquired::Queued {
            ticket,
            position,
            retry_after,
            eta,
        } => {
            let queued = Queued {
                ticket: app.0.tokens.ticket(&pool, ticket),
                position,
                retry_after_ms: millis(retry_after),
                eta_ms: millis(eta),
            };
            Ok((StatusCode::ACCEPTED, Json(queued)).into_response())
        }
        not_granted => Err(denied::problem(&pool, not_granted)),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Asks in a task of its own, because the request is dropped when its client goes away. A seat that nobody will
/// hear of goes back at once, unless the client can ask for it again by its key or its ticket.
async fn ask(
    app: &App,
    pool: &PoolName,
    body: AcquireBody,
    key: Option<LeaseId>,
    wait: Wait,
) -> Result<Acquired, Problem> {
    let (answer, answered) = oneshot::channel();
    let (app, pool) = (app.clone(), pool.clone());
    tokio::spawn(async move {
        let acquired = seek(&app, &pool, &body, key, wait, || answer.is_closed()).await;
        let can_ask_again = key.is_some() || matches!(wait, Wait::Ticket(_));
        if let Err(Ok(Acquired::Granted(grant))) = answer.send(acquired)
            && !can_ask_again
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

/// Asks until there is an answer, or, while there is none but a place in the queue, until the time to wait is over or
/// the client is gone.
async fn seek(
    app: &App,
    pool: &PoolName,
    body: &AcquireBody,
    key: Option<LeaseId>,
    mut wait: Wait,
    is_gone: impl Fn() -> bool,
) -> Result<Acquired, store::Error> {
    let until = tokio::time::Instant::now() + Duration::from_millis(body.wait_ms);
    let mut freed = (body.wait_ms > 0 && wait != Wait::No).then(|| app.0.store.freed(pool));
    let mut changes = 0;
    loop {
        let asked = app.asked(pool, body, key, wait).await?;
        let acquired = app.0.store.acquire(pool, &asked).await?;
        let rest = until.saturating_duration_since(tokio::time::Instant::now());
        match (&acquired, &mut freed) {
            // The policy is made anew while we ask; that comes to an end.
            (Acquired::Changed, _) if changes < 10 => changes += 1,
            (
                Acquired::Queued {
                    ticket,
                    retry_after,
                    ..
                },
                Some(freed),
            ) if !rest.is_zero() && !is_gone() => {
                wait = Wait::Ticket(*ticket);
                freed.wait(rest.min(*retry_after)).await;
            }
            _ => return Ok(acquired),
        }
    }
}

impl App {
    /// What is asked of the store: of who asks, no more than the pool's privacy allows.
    async fn asked(
        &self,
        pool: &PoolName,
        body: &AcquireBody,
        key: Option<LeaseId>,
        wait: Wait,
    ) -> Result<Asked, store::Error> {
        let mut known = self.0.store.known(pool).await?;
        let mut asked = Asked {
            holder: body.holder.clone(),
            tenant: body.tenant.clone(),
            label: body.label.clone(),
            activities: body.activities.clone(),
            platform: body.platform.clone(),
            key,
            wait,
            known: Known::default(),
        };
        if let Some(policy) = known.policy()
            && policy.privacy != Privacy::Named
        {
            let kept = self.0.tokens.pseudonyms().kept(
                policy,
                pool,
                self.0.store.now(),
                asked.holder,
                asked.tenant,
            );
            (asked.holder, asked.tenant) = (kept.holder, kept.tenant);
            (asked.label, asked.activities) = (None, Activities::default());
            (known.from, known.until) = (kept.from, kept.until);
        }
        asked.known = known;
        Ok(asked)
    }

    /// The name under which a pool knows a holder.
    pub(super) async fn holder_as_kept(
        &self,
        pool: &PoolName,
        holder: Holder,
    ) -> Result<Holder, Problem> {
        let known = self.0.store.known(pool).await?;
        let Some(policy) = known.policy() else {
            return Ok(holder);
        };
        let kept =
            self.0
                .tokens
                .pseudonyms()
                .kept(policy, pool, self.0.store.now(), Some(holder), None);
        kept.holder.ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                format!(
                    "The pool {pool} is anonymous: it knows no holders. Name leases by their ids."
                ),
            )
        })
    }

    /// What a token says, of its holder no more than the pool's privacy allows now: it may be older than that.
    /// And whether labels and activities may be kept.
    pub(super) async fn as_kept(&self, mut claims: Claims) -> Result<(Claims, bool), store::Error> {
        let known = self.0.store.known(&claims.pool).await?;
        if let Some(policy) = known.policy()
            && policy.privacy != Privacy::Named
        {
            let kept = self.0.tokens.pseudonyms().kept(
                policy,
                &claims.pool,
                self.0.store.now(),
                claims.holder,
                claims.tenant,
            );
            (claims.holder, claims.tenant, claims.label) = (kept.holder, kept.tenant, None);
            return Ok((claims, false));
        }
        Ok((claims, true))
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
            named_seats_left: grant.named_left,
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
            seat: lease.seat,
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
    /// Use of each tenant, in a pool whose rules count tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<BTreeMap<String, TenantUse>>,
    /// The named seats of this billing period, in a pool that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<NamedUse>,
    /// The seats lent beyond the capacity, in a pool that lends them.
    #[serde(skip_serializing_if = "Option::is_none")]
    overdraft: Option<OverdraftUse>,
}

/// What a tenant uses, and what it may.
#[derive(Debug, Serialize, ToSchema)]
struct TenantUse {
    /// Seats in use.
    in_use: u64,
    /// Most seats at once; null for as many as there are.
    max: Option<u32>,
    /// Seats that others do not get.
    reserved: u32,
}

/// How many named seats are taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NamedUse {
    /// How many there are.
    seats: u32,
    /// How many holders have one in this period.
    taken: u64,
    /// How many are left.
    left: u64,
    /// When the next period begins, and all are clear.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Instant>,
}

/// What is lent beyond the capacity.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OverdraftUse {
    /// Seats in use that were granted on the overdraft.
    in_use: u64,
    /// What was lent since midnight UTC.
    seat_ms_today: u64,
    /// What may be lent on a day.
    seat_ms_per_day: u64,
}

impl NamedUse {
    pub(super) fn of(pool: &Pool) -> Option<Self> {
        let named = pool.policy.named.as_ref()?;
        Some(Self {
            seats: named.seats,
            taken: pool.named_taken,
            left: pool.named_left().unwrap_or(0),
            until: pool.period.map(|(_, until)| until),
        })
    }
}

impl OverdraftUse {
    pub(super) fn of(pool: &Pool) -> Option<Self> {
        let overdraft = pool.policy.overdraft.as_ref()?;
        Some(Self {
            in_use: pool.overdrawn,
            seat_ms_today: pool.lent_ms,
            seat_ms_per_day: u64::from(overdraft.seat_minutes_per_day) * 60_000,
        })
    }
}

/// Those that the policy names, and those that use seats.
fn tenant_use(pool: &Pool) -> BTreeMap<String, TenantUse> {
    let policy = &pool.policy;
    let named = policy
        .tenants
        .keys()
        .map(|tenant| tenant.as_str().to_owned());
    let names = named.chain(pool.tenants.keys().cloned());
    names
        .map(|name| {
            let rule = Tenant::try_from(name.clone())
                .ok()
                .and_then(|tenant| policy.tenants.get(&tenant).copied())
                .unwrap_or_default();
            let tenant = TenantUse {
                in_use: pool.tenants.get(&name).copied().unwrap_or(0),
                max: rule.max.or(policy.tenant_max),
                reserved: rule.reserved,
            };
            (name, tenant)
        })
        .collect()
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
    Ok(Json(Availability {
        in_use: status.in_use,
        capacity: status.capacity,
        free: status.free(),
        waiting: status.waiting,
        tenants: status.policy.counts_tenants().then(|| tenant_use(&status)),
        named: NamedUse::of(&status),
        overdraft: OverdraftUse::of(&status),
    }))
}
