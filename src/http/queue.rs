//! `/v1/pools/{pool}/queue`: who waits for a seat, and how somebody leaves.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accept::Format;
use super::access::Operator;
use super::csv::Cell;
use super::extract::{Beacon, Path, Query};
use super::problem::{Code, Problem};
use super::table::{self, Asked, Column, Row};
use super::{App, pool_not_found};
use crate::names::{Holder, LeaseId, PoolName, Tenant};
use crate::store::{Error, Leaving, QueueLeft, RequestedSeat, Waiter};
use crate::time::{Timestamp, millis};

/// Waiters of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Waiters of a file that is not asked for by the page: as many as may wait in one pool.
const EXPORTED: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(leave))
        .routes(routes!(request_seat))
}

/// Somebody who waits for a seat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Waiter)]
pub(crate) struct WaiterBody {
    /// 1 is the next.
    #[schema(example = 1)]
    pub(crate) position: u64,
    /// The holder that waits; null is anonymous.
    #[schema(value_type = Option<String>, example = "agent-7")]
    pub(crate) holder: Option<Holder>,
    /// The sub-account it belongs to.
    #[schema(value_type = Option<String>, example = "acme")]
    pub(crate) tenant: Option<Tenant>,
    /// Since when; null for a place that a node of an earlier version gave.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) since: Option<Timestamp>,
    /// Until when it has to ask again, or its place is lost.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) asks_again_by: Timestamp,
    /// Until when holders read that it asks for a seat; only of one that does, in a pool whose policy has `hand_over`.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requested_until: Option<Timestamp>,
    /// About when there will be a seat, judged by how seats came free lately. Null for a key with `tenants`, because it tells how many
    /// others stand in front.
    #[schema(example = 18_000)]
    pub(crate) eta_ms: Option<u64>,
}

impl From<Waiter> for WaiterBody {
    fn from(waiter: Waiter) -> Self {
        Self {
            position: waiter.position,
            holder: waiter.holder,
            tenant: waiter.tenant,
            since: waiter.since,
            asks_again_by: waiter.asks_again_by,
            requested_until: waiter.requested_until,
            eta_ms: Some(millis(waiter.eta)),
        }
    }
}

impl Row for WaiterBody {
    const COLUMNS: &'static [Column<Self>] = &[
        ("position", |waiter, _| Cell::plain(&waiter.position)),
        ("holder", |waiter, _| {
            Cell::text(waiter.holder.as_ref().map(Holder::as_str))
        }),
        ("tenant", |waiter, _| {
            Cell::text(waiter.tenant.as_ref().map(Tenant::as_str))
        }),
        ("since", |waiter, _| Cell::known(waiter.since)),
        ("asks_again_by", |waiter, _| {
            Cell::plain(&waiter.asks_again_by)
        }),
        ("eta_ms", |waiter, _| Cell::known(waiter.eta_ms)),
        ("requested_until", |waiter, _| {
            Cell::known(waiter.requested_until)
        }),
    ];
}

/// Part of a queue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Waiters)]
pub(crate) struct Queue {
    /// In the order in which they are served.
    pub(crate) items: Vec<WaiterBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// What is wanted of the queue.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct QueueQuery {
    /// Maximum number of waiters in the page, 1 to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1_000)]
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`. As CSV all come at once, unless there is a `limit`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// Lists those who wait for a seat, in the order in which they are served.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/queue", operation_id = "list_queue", tag = "pools",
    params(QueueQuery),
    responses((status = 200, description = "Empty for a pool without a queue", body = Queue)),
)]
async fn list(
    State(app): State<App>,
    operator: Operator,
    Path(pool): Path<PoolName>,
    asked: Asked,
    Query(wanted): Query<QueueQuery>,
) -> Result<Response, Problem> {
    if asked.wants_file(wanted.format) {
        return export(&app, &operator, &pool, wanted).await;
    }
    Ok(Json(page(&app, &operator, &pool, wanted).await?).into_response())
}

/// One page of the queue.
pub(crate) async fn page(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    wanted: QueueQuery,
) -> Result<Queue, Problem> {
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`limit` is 1 to {MAX_LIMIT}."),
        ));
    }
    let after = match wanted.cursor.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(arrival)) => arrival,
        Some(Err(_)) => {
            return Err(Problem::new(
                Code::InvalidRequest,
                "`cursor` is not one of this list. Begin again without it.",
            ));
        }
    };
    if let Some(own) = operator.tenants_in(pool) {
        return own_places(app, pool, &own, after, limit).await;
    }
    let waiters = app.0.store.list_queue(pool, after, limit).await?;
    let waiters = waiters.ok_or_else(|| pool_not_found(pool))?;
    let last = waiters.items.last();
    let more = last.filter(|last| last.position < waiters.waiting);
    Ok(Queue {
        next_cursor: more.map(|last| last.arrival.to_string()),
        items: waiters.items.into_iter().map(WaiterBody::from).collect(),
    })
}

/// One page of those who wait for these tenants, in the order among themselves: how many others stand between is not told. The cursor
/// is a position, because an arrival counts everybody.
async fn own_places(
    app: &App,
    pool: &PoolName,
    own: &BTreeSet<Tenant>,
    after: u64,
    limit: usize,
) -> Result<Queue, Problem> {
    let (mut items, mut last, mut position) = (Vec::new(), 0, 0);
    loop {
        let waiters = app.0.store.list_queue(pool, last, MAX_LIMIT).await?;
        let waiters = waiters.ok_or_else(|| pool_not_found(pool))?;
        let more = waiters
            .items
            .last()
            .map(|waiter| (waiter.arrival, waiter.position));
        for waiter in waiters.items {
            if waiter
                .tenant
                .as_ref()
                .is_none_or(|tenant| !own.contains(tenant))
            {
                continue;
            }
            position += 1;
            if position <= after {
                continue;
            }
            if items.len() == limit {
                return Ok(Queue {
                    next_cursor: Some((position - 1).to_string()),
                    items,
                });
            }
            items.push(WaiterBody {
                position,
                eta_ms: None,
                ..WaiterBody::from(waiter)
            });
        }
        match more {
            Some((arrival, place)) if place < waiters.waiting => last = arrival,
            _ => {
                return Ok(Queue {
                    items,
                    next_cursor: None,
                });
            }
        }
    }
}

/// How many wait for these tenants.
pub(super) async fn own_waiting(
    app: &App,
    pool: &PoolName,
    own: &BTreeSet<Tenant>,
) -> Result<u64, Problem> {
    let (mut waiting, mut after) = (0, 0);
    loop {
        let queue = own_places(app, pool, own, after, MAX_LIMIT).await?;
        waiting += queue.items.len() as u64;
        match queue.next_cursor.and_then(|next| next.parse().ok()) {
            Some(next) => after = next,
            None => return Ok(waiting),
        }
    }
}

/// The queue as a file: a page if its size is named, else all.
pub(crate) async fn export(
    app: &App,
    operator: &Operator,
    pool: &PoolName,
    mut wanted: QueueQuery,
) -> Result<Response, Problem> {
    let all = wanted.limit.is_none();
    wanted.limit = wanted.limit.or(Some(MAX_LIMIT));
    let mut items = Vec::new();
    loop {
        let mut page = page(
            app,
            operator,
            pool,
            QueueQuery {
                limit: wanted.limit,
                cursor: wanted.cursor.take(),
                format: None,
            },
        )
        .await?;
        items.append(&mut page.items);
        wanted.cursor = page.next_cursor;
        if !all || wanted.cursor.is_none() || items.len() >= EXPORTED {
            break;
        }
    }
    Ok(table::file(
        &format!("leasehold-{pool}-queue"),
        &items,
        None,
    ))
}

/// A ticket.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TicketBody {
    /// From the answer that gave the place.
    #[schema(max_length = 64)]
    ticket: String,
}

impl App {
    fn ticket(&self, pool: &PoolName, body: &TicketBody) -> Result<LeaseId, Problem> {
        let ticket = self.0.tokens.verify_ticket(pool, &body.ticket);
        ticket.ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                format!("`ticket` is not one of the pool {pool}, so it has no place in its queue."),
            )
        })
    }
}

/// A request for a seat that holders read of.
#[derive(Debug, Serialize, ToSchema)]
struct SeatRequestBody {
    /// Always true.
    requested: bool,
    /// For how long they do.
    #[schema(example = 60_000)]
    answer_in_ms: u64,
}

/// Asks the holders of the pool for a seat, in the name of somebody who waits.
///
/// They read `seat_requested` in their heartbeats, and not who asks; one of them may yield. Asking again changes nothing while the request is open.
#[utoipa::path(
    post, path = "/v1/pools/{pool}/queue/request", operation_id = "request_seat", tag = "leases",
    request_body = TicketBody,
    responses(
        (status = 200, body = SeatRequestBody),
        (status = 400, description = "`invalid_request`, also for a ticket of another pool or none at all"),
        (status = 409, description = "`hand_over_off`: the pool's policy does not offer it; `not_waiting`: the ticket has its seat, or its place is lost"),
    ),
)]
async fn request_seat(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    Beacon(body): Beacon<TicketBody>,
) -> Result<Json<SeatRequestBody>, Problem> {
    let ticket = app.ticket(&pool, &body)?;
    match app.0.store.request_seat(&pool, ticket).await? {
        RequestedSeat::Requested(rest) => Ok(Json(SeatRequestBody {
            requested: true,
            answer_in_ms: millis(rest),
        })),
        RequestedSeat::Off => Err(Problem::new(
            Code::HandOverOff,
            format!(
                "In the pool {pool} nobody is asked for a seat. An operator can set `hand_over` in its policy."
            ),
        )),
        RequestedSeat::NotWaiting => Err(Problem::new(
            Code::NotWaiting,
            "This ticket waits no more: it has its seat, or it did not ask again in time. Acquire with it.",
        )),
        RequestedSeat::NoPool => Err(pool_not_found(&pool)),
    }
}

/// Leaves the queue: the place is free at once. Leaving it again is a success, and who has got its seat gives it back.
#[utoipa::path(
    post, path = "/v1/pools/{pool}/queue/leave", operation_id = "leave_queue", tag = "leases",
    request_body = TicketBody,
    responses(
        (status = 204, description = "Left"),
        (status = 400, description = "`invalid_request`, also for a ticket of another pool or none at all"),
    ),
)]
async fn leave(
    State(app): State<App>,
    Path(pool): Path<PoolName>,
    Beacon(body): Beacon<TicketBody>,
) -> Result<StatusCode, Problem> {
    let ticket = app.ticket(&pool, &body)?;
    super::leases::finish(async move { leave_place(&app, &pool, ticket).await }).await
}

async fn leave_place(app: &App, pool: &PoolName, ticket: LeaseId) -> Result<(), Error> {
    let store = &app.0.store;
    match store.leave_queue(pool, Leaving::Left(ticket)).await? {
        QueueLeft::Granted => match store.granted_lease(pool, ticket).await? {
            Some(grant) => store.release(&app.claims(&grant)).await,
            None => Ok(()),
        },
        QueueLeft::Left | QueueLeft::Kept | QueueLeft::AskedAgain => Ok(()),
    }
}
