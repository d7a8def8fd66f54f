//! `POST /v1/pools/{pool}/leases`: asks for a seat.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LeaseBody, attempt, checked_idle, denied};
use crate::http::App;
use crate::http::access::Client;
use crate::http::extract::{Body, Path};
use crate::http::json::Json;
use crate::http::problem::{Code, Problem};
use crate::names::{Activities, Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::store::{Acquired, Grant, Wait, durable};
use crate::time::millis;
use crate::token::{self, Claims};

/// Longest `Idempotency-Key`, in bytes.
pub(super) const MAX_KEY: usize = 255;

/// Names a request, so that it can be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Maximum time for which a request is held open, in ms. Balancers cut what is silent for 30 s.
const MAX_WAIT_MS: u64 = 25_000;

/// A request for a seat. All fields may be left out; without a holder the lease is anonymous.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::http) struct AcquireBody {
    /// An agent, a device, an instance: opaque, at most 512 bytes.
    #[schema(value_type = Option<String>, max_length = 512, example = "agent-7")]
    pub(in crate::http) holder: Option<Holder>,
    /// The sub-account it belongs to, at most 64 bytes.
    #[schema(value_type = Option<String>, max_length = 64, example = "acme")]
    pub(in crate::http) tenant: Option<Tenant>,
    /// What operators read next to the holder, at most 128 bytes.
    #[schema(value_type = Option<String>, max_length = 128, example = "Front desk")]
    pub(in crate::http) label: Option<Label>,
    /// What the holder is working on: at most 32 strings of at most 128 bytes.
    #[schema(value_type = Vec<String>, max_items = 32)]
    pub(in crate::http) activities: Activities,
    /// What the holder runs on, at most 32 bytes.
    #[schema(value_type = Option<String>, max_length = 32, example = "web")]
    pub(in crate::http) platform: Option<Platform>,
    /// Whether to wait for a seat, in a pool that has a queue; others deny as if it were false.
    pub(in crate::http) wait: bool,
    /// The place in the queue from an earlier answer. What was asked for then counts.
    #[schema(max_length = 64)]
    pub(in crate::http) ticket: Option<String>,
    /// How long the answer may take while there is no seat, at most 25 000 ms, for `wait` or a `ticket`.
    #[schema(maximum = 25_000)]
    pub(in crate::http) wait_ms: u64,
    /// For how long the program has seen no activity of its user, by its own measure; left out where it does not know, which counts as
    /// active.
    #[schema(maximum = 2_678_400_000_u64)]
    pub(in crate::http) idle_ms: Option<u64>,
    /// Whether the caller is for this tenant alone.
    #[serde(skip)]
    pub(in crate::http) is_of_one_tenant: bool,
}

/// A seat, or a place in the queue.
///
/// One shape for 200, 201 and 202: most generators make one type for all successes of an operation, and would drop
/// the ticket of a 202 whose schema is another.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Acquired)]
pub(super) struct AcquiredBody {
    /// The seat; absent with 202.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) lease: Option<LeaseBody>,
    /// Renews and releases the lease. A secret: whoever has it has the seat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) token: Option<String>,
    /// A signed proof of the lease, in a pool whose policy has `proofs`. Others verify it with `/v1/jwks`; it gives no right.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) proof: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) pool: Option<Occupancy>,
    /// Named seats that nobody has taken in this period, in a pool that has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) named_seats_left: Option<u64>,
    /// Whether a replica acknowledged the write; only with `durability = "replicated"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) durable: Option<bool>,
    /// The place in the queue, with 202. Ask again with it, as `{"ticket": …}`, or the place is lost. A secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) ticket: Option<String>,
    /// Position in the queue; 1 is the next. With a key for some tenants among those of the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 1)]
    pub(super) position: Option<u64>,
    /// When to ask again with the ticket. Without a request the place is lost 4 s after that, and at the front after 6 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 2_000)]
    pub(super) retry_after_ms: Option<u64>,
    /// Estimated time until a seat is free, judged by how leases ended lately. Not with a key for some tenants, because it tells of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 18_000)]
    pub(super) eta_ms: Option<u64>,
    /// Whether the ticket may ask the holders for a seat; only in a pool whose policy has `hand_over`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = true)]
    pub(super) can_request: Option<bool>,
}

impl AcquiredBody {
    /// Without how full the pool is, for somebody who is for some tenants only.
    fn for_caller(mut self, client: &Client, pool: &PoolName) -> Self {
        if client.caller.tenants_in(pool).is_some() {
            self.pool = None;
            self.named_seats_left = None;
        }
        self
    }
}

/// How full a pool is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Occupancy {
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
pub(super) async fn acquire(
    State(app): State<App>,
    client: Client,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Body(mut body): Body<AcquireBody>,
) -> Result<Response, Problem> {
    body.tenant = client.tenant(&pool, body.tenant)?;
    body.is_of_one_tenant = client.caller.tenants_in(&pool).is_some();
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
    checked_idle(body.idle_ms)?;
    let is_of_one_tenant = body.is_of_one_tenant;
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
    match attempt::acquire(&app, &pool, body, key, wait).await? {
        Acquired::Granted(grant) => {
            let answer = app.answer(grant).for_caller(&client, &pool);
            Ok((StatusCode::CREATED, Json(answer)).into_response())
        }
        Acquired::Existing(grant) => {
            Ok(Json(app.answer(grant).for_caller(&client, &pool)).into_response())
        }
        Acquired::Queued {
            ticket,
            position,
            in_tenant,
            retry_after,
            eta,
            ..
        } => {
            let place = match is_of_one_tenant {
                true => in_tenant,
                false => position,
            };
            let policy = app.0.store.cached_policy(&pool);
            let can_request = policy.is_some_and(|policy| policy.hand_over.is_some());
            let queued = AcquiredBody {
                can_request: can_request.then_some(true),
                ticket: Some(app.0.tokens.ticket(&pool, ticket)),
                position: Some(place),
                retry_after_ms: Some(millis(retry_after)),
                eta_ms: (!is_of_one_tenant).then(|| millis(eta)),
                ..AcquiredBody::default()
            };
            Ok((StatusCode::ACCEPTED, Json(queued)).into_response())
        }
        not_granted => Err(denied::problem_for(
            &client,
            &pool,
            tenant.as_ref(),
            not_granted,
        )),
    }
}

/// What names this request: the same caller asking for the same holder with the same key.
pub(super) fn request_name(
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
    pub(super) fn answer(&self, grant: Grant) -> AcquiredBody {
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

    /// What the token of a grant says.
    pub(in crate::http) fn claims(&self, grant: &Grant) -> Claims {
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
