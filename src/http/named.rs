//! `/v1/pools/{pool}/named`: who has the named seats of the billing period.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Operator;
use super::extract::{Body, Path, Query};
use super::leases::terminate::terminate_matching;
use super::problem::{Code, Problem};
use super::{App, pool_not_found};
use crate::lease::{Holder, Instant, Recorded};
use crate::pool::PoolName;
use crate::store::{NamedChange, NamedChanged, NamedSeat, NamedSeats, Selection, Termination};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read, assign, free))
        .routes(routes!(transfer))
}

/// A named seat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NamedSeat)]
pub(crate) struct SeatBody {
    /// Who has it.
    #[schema(value_type = String, example = "agent-7")]
    pub(crate) holder: Holder,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) occupied_at: Instant,
    /// `used` by a lease, `assigned` by an operator, or `transferred` from another holder.
    #[schema(example = "used")]
    pub(crate) how: String,
    /// When the period ends, and the seat is clear.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Instant,
}

impl SeatBody {
    fn of(seat: NamedSeat, until: Instant) -> Self {
        Self {
            holder: seat.holder,
            occupied_at: seat.since,
            how: seat.how,
            until,
        }
    }
}

/// The named seats of a period.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Seats {
    /// How many there are.
    pub(crate) seats: u64,
    /// How many are left.
    pub(crate) left: u64,
    /// Begin of the period.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: Instant,
    /// End of the period.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Instant,
    /// Those that are taken, by holder.
    pub(crate) items: Vec<SeatBody>,
}

/// Which period.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// An instant of an earlier period, of the last 800 days; without it the present one.
    at: Option<DateTime<Utc>>,
}

/// Who gets the seat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransferBody {
    #[schema(value_type = String, max_length = 512, example = "agent-8")]
    pub(crate) to: Holder,
}

/// What became of it, for those outcomes that are the same for all routes.
fn settled(pool: &PoolName, changed: NamedChanged) -> Result<NamedSeats, Problem> {
    match changed {
        NamedChanged::Done(seats) | NamedChanged::Had(seats) => Ok(seats),
        NamedChanged::None => Err(Problem::new(
            Code::NamedSeatNotFound,
            "This holder has no named seat in this period.",
        )),
        NamedChanged::NoNamed => Err(Problem::new(
            Code::NamedSeatNotFound,
            format!(
                "The pool {pool} has no named seats. An operator gives it some with `named` in its policy."
            ),
        )),
        NamedChanged::Exhausted => Err(Problem::new(
            Code::NamedSeatsExhausted,
            "All named seats of this period are taken. Free or transfer one.",
        )),
        NamedChanged::Moved => Err(Problem::new(
            Code::NamedSeatTransferred,
            "A named seat can be transferred once in a period, and this one was.",
        )),
        NamedChanged::InUse => Err(Problem::new(
            Code::PoolInUse,
            "The holder takes new leases as fast as they are terminated. Block it first.",
        )),
        NamedChanged::NoPool => Err(pool_not_found(pool)),
    }
}

fn one(seats: NamedSeats) -> Result<SeatBody, Problem> {
    let until = seats.until;
    let seat = seats.taken.into_iter().next();
    seat.map(|seat| SeatBody::of(seat, until)).ok_or_else(|| {
        Problem::new(
            Code::Internal,
            "Something went wrong inside. It was logged.",
        )
        .cause("named.lua answered no seat")
    })
}

/// Lists who has the named seats of a period, since when, and how they came by them.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/named",
    operation_id = "list_named",
    tag = "pools",
    params(("pool" = String, Path, description = "Name of the pool"), Wanted),
    responses(
        (status = 200, body = Seats),
        (status = 404, description = "`pool_not_found` or `named_seat_not_found`"),
    ),
)]
async fn list(
    State(app): State<App>,
    _operator: Operator,
    Path(pool): Path<PoolName>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Seats>, Problem> {
    let at = wanted.at.map(|at| Instant(at.timestamp_millis()));
    Ok(Json(list_at(&app, &pool, at).await?))
}

/// The named seats of the period of an instant; without one of the present period.
pub(crate) async fn list_at(
    app: &App,
    pool: &PoolName,
    at: Option<Instant>,
) -> Result<Seats, Problem> {
    let seats = settled(pool, app.0.store.named(pool, NamedChange::List(at)).await?)?;
    Ok(Seats {
        left: seats
            .seats
            .saturating_sub(u64::try_from(seats.taken.len()).unwrap_or(u64::MAX)),
        seats: seats.seats,
        from: seats.from,
        until: seats.until,
        items: seats
            .taken
            .into_iter()
            .map(|seat| SeatBody::of(seat, seats.until))
            .collect(),
    })
}

/// Reads the named seat of a holder.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/named/{holder}",
    operation_id = "read_named",
    tag = "pools",
    params(("pool" = String, Path, description = "Name of the pool"), ("holder" = String, Path, description = "The holder")),
    responses(
        (status = 200, body = SeatBody),
        (status = 404, description = "`pool_not_found` or `named_seat_not_found`"),
    ),
)]
async fn read(
    State(app): State<App>,
    _operator: Operator,
    Path((pool, holder)): Path<(PoolName, Recorded<Holder>)>,
) -> Result<Json<SeatBody>, Problem> {
    let holder = app.holder_as_kept(&pool, holder.0).await?;
    let changed = app.0.store.named(&pool, NamedChange::Read(&holder)).await?;
    Ok(Json(one(settled(&pool, changed)?)?))
}

/// Assigns a named seat to a holder before its first lease in the period. Doing it again changes nothing.
#[utoipa::path(
    put,
    path = "/v1/pools/{pool}/named/{holder}",
    operation_id = "assign_named",
    tag = "pools",
    params(("pool" = String, Path, description = "Name of the pool"), ("holder" = String, Path, description = "The holder")),
    responses(
        (status = 201, description = "Assigned", body = SeatBody),
        (status = 200, description = "It had one already", body = SeatBody),
        (status = 404, description = "`pool_not_found` or `named_seat_not_found`"),
        (status = 409, description = "`named_seats_exhausted`"),
    ),
)]
pub(crate) async fn assign(
    State(app): State<App>,
    operator: Operator,
    Path((pool, holder)): Path<(PoolName, Holder)>,
) -> Result<(StatusCode, Json<SeatBody>), Problem> {
    let holder = app.holder_as_kept(&pool, holder).await?;
    operator.notes.target(&holder);
    let changed = app
        .0
        .store
        .named(&pool, NamedChange::Assign(&holder))
        .await?;
    let status = match changed {
        NamedChanged::Had(_) => StatusCode::OK,
        _ => StatusCode::CREATED,
    };
    let seat = one(settled(&pool, changed)?)?;
    if status == StatusCode::OK {
        operator.notes.before(&seat);
    }
    operator.notes.after(&seat);
    Ok((status, Json(seat)))
}

/// Frees the named seat of a holder. Its live leases are terminated: there must not be more of them than seats.
#[utoipa::path(
    delete,
    path = "/v1/pools/{pool}/named/{holder}",
    operation_id = "free_named",
    tag = "pools",
    params(("pool" = String, Path, description = "Name of the pool"), ("holder" = String, Path, description = "The holder")),
    responses(
        (status = 204, description = "Freed"),
        (status = 404, description = "`pool_not_found` or `named_seat_not_found`"),
    ),
)]
pub(crate) async fn free(
    State(app): State<App>,
    operator: Operator,
    Path((pool, holder)): Path<(PoolName, Recorded<Holder>)>,
) -> Result<StatusCode, Problem> {
    let holder = app.holder_as_kept(&pool, holder.0).await?;
    operator.notes.target(&holder);
    operator.notes.before(&json!({ "holder": holder }));
    take_away(&app, &pool, &holder, NamedChange::Free(&holder)).await?;
    tracing::info!(pool.name = %pool, "an operator freed a named seat of pool {pool}");
    Ok(StatusCode::NO_CONTENT)
}

/// Transfers the named seat of a holder to another one, once in a period. Live leases of the first are terminated.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/named/{holder}/transfer",
    operation_id = "transfer_named",
    tag = "pools",
    params(("pool" = String, Path, description = "Name of the pool"), ("holder" = String, Path, description = "Who has the seat")),
    request_body = TransferBody,
    responses(
        (status = 200, description = "The seat, as the other holder has it now", body = SeatBody),
        (status = 404, description = "`pool_not_found` or `named_seat_not_found`"),
        (status = 409, description = "`named_seat_transferred`"),
    ),
)]
pub(crate) async fn transfer(
    State(app): State<App>,
    operator: Operator,
    Path((pool, holder)): Path<(PoolName, Recorded<Holder>)>,
    Body(body): Body<TransferBody>,
) -> Result<Json<SeatBody>, Problem> {
    let holder = app.holder_as_kept(&pool, holder.0).await?;
    operator.notes.target(&holder);
    operator.notes.before(&json!({ "holder": holder }));
    let to = app.holder_as_kept(&pool, body.to).await?;
    operator.notes.after(&json!({ "holder": to }));
    let change = NamedChange::Transfer(&holder, &to);
    let seat = one(take_away(&app, &pool, &holder, change).await?)?;
    tracing::info!(pool.name = %pool, "an operator transferred a named seat of pool {pool}");
    Ok(Json(seat))
}

/// Makes a change that needs the holder to have no live lease, and ends those that it has.
async fn take_away(
    app: &App,
    pool: &PoolName,
    holder: &Holder,
    change: NamedChange<'_>,
) -> Result<NamedSeats, Problem> {
    for _ in 0..3 {
        let changed = app.0.store.named(pool, change).await?;
        if changed != NamedChanged::InUse {
            return settled(pool, changed);
        }
        let all = Selection::of(Some(holder.clone()), None);
        let why = Termination::because("An operator gave the named seat away.");
        terminate_matching(app, pool, &all, &why).await?;
    }
    settled(pool, NamedChanged::InUse)
}
