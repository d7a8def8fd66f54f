//! `/v1/pools/{pool}/named`: who has the named seats of the billing period.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accept::{self, Format};
use super::access::Operator;
use super::csv::{self, Cell};
use super::extract::{Body, HolderSegment, Path, Query};
use super::leases::terminate::terminate_matching;
use super::problem::{Code, Problem};
use super::when::When;
use super::{App, pool_not_found};
use crate::names::{Holder, PoolName, Recorded};
use crate::store::{
    Force, NamedChange, NamedChanged, NamedSeat, NamedSeats, Selection, Termination,
};
use crate::time::Timestamp;

/// Seats of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 5_000;
/// Seats of a file that is not asked for by the page, at most.
const EXPORTED: usize = 100_000;
/// Seats that one request searches for a name. It may find fewer than it may show, and goes on with the cursor.
const SEARCHED: u64 = 100_000;

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
    /// Its holder.
    #[schema(value_type = String, example = "agent-7")]
    pub(crate) holder: Holder,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) occupied_at: Timestamp,
    /// `used` by a lease, `assigned` by an operator, or `transferred` from another holder, also by one that was freed.
    #[schema(example = "used")]
    pub(crate) how: String,
    /// When the period ends, and the seat is clear.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Timestamp,
}

impl SeatBody {
    fn of(seat: NamedSeat, until: Timestamp) -> Self {
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
    pub(crate) from: Timestamp,
    /// End of the period.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Timestamp,
    /// Those that are taken, by holder; a page of them.
    pub(crate) items: Vec<SeatBody>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// Which seats.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NamedSeatsQuery {
    /// A day (its start in UTC) or a timestamp of an earlier period, of the last 800 days; without it the present one.
    #[param(value_type = Option<String>, example = "2026-11-28")]
    pub(crate) at: Option<When>,
    /// Only holders with this text in their name.
    pub(crate) q: Option<String>,
    /// Maximum number of seats in the page, 1 to 5000; 5000 without it.
    #[param(minimum = 1, maximum = 5_000)]
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before, with everything else as it was.
    pub(crate) cursor: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`. As CSV all come at once, at most 100 000, unless there is a `limit`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

/// Whether the rule is set aside that a named seat changes hands once in a period.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Freeing {
    /// Frees a seat that changed hands before in this period, and lets the next holder have it as new. For admins.
    #[serde(default)]
    pub(crate) force: bool,
}

/// Who gets the seat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransferBody {
    #[schema(value_type = String, max_length = 512, example = "agent-8")]
    pub(crate) to: Holder,
    /// Also a seat that changed hands before in this period. For admins.
    #[serde(default)]
    pub(crate) force: bool,
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
            "A named seat changes hands once in a period, by a transfer or because it was freed, and this one did. It is clear \
             when the next period begins; an admin can set that aside with `force`.",
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
    let seat = seats.items.into_iter().next();
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
    get, path = "/v1/pools/{pool}/named", operation_id = "list_named", tag = "pools",
    params(NamedSeatsQuery),
    responses((status = 200, body = Seats)),
)]
async fn list(
    State(app): State<App>,
    _operator: Operator,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
    Query(wanted): Query<NamedSeatsQuery>,
) -> Result<Response, Problem> {
    if accept::is_csv(&headers, wanted.format) {
        return export(&app, &pool, wanted).await;
    }
    Ok(Json(page(&app, &pool, wanted).await?).into_response())
}

/// A page of the named seats of a period.
pub(crate) async fn page(
    app: &App,
    pool: &PoolName,
    wanted: NamedSeatsQuery,
) -> Result<Seats, Problem> {
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`limit` is 1 to {LIMIT}."),
        ));
    }
    let mut after = match &wanted.cursor {
        Some(cursor) => Some(from_cursor(cursor).ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                "`cursor` is not one of this list. Begin again without it.",
            )
        })?),
        None => None,
    };
    let at = wanted.at.map(|at| at.at("at", Tz::UTC)).transpose()?;
    let text = wanted.q.unwrap_or_default().to_lowercase();
    let (mut found, mut searched) = (Vec::new(), 0);
    loop {
        let rest = limit - found.len();
        let rows = if text.is_empty() { rest } else { LIMIT };
        let change = NamedChange::List(at, after.as_ref(), rows);
        let seats = settled(pool, app.0.store.named(pool, change).await?)?;
        let (read, is_last) = (seats.items.len() as u64, seats.items.len() < rows);
        searched += read;
        for seat in seats.items {
            if found.len() == limit {
                break;
            }
            after = Some(seat.holder.clone());
            if seat.holder.as_str().to_lowercase().contains(&text) {
                found.push(SeatBody::of(seat, seats.until));
            }
        }
        let is_full = found.len() == limit;
        if is_full || is_last || searched >= SEARCHED {
            return Ok(Seats {
                seats: seats.seats,
                left: seats.seats.saturating_sub(seats.taken),
                from: seats.from,
                until: seats.until,
                next_cursor: after
                    .filter(|_| is_full || !is_last)
                    .map(|holder| URL_SAFE_NO_PAD.encode(holder.as_str())),
                items: found,
            });
        }
    }
}

fn from_cursor(cursor: &str) -> Option<Holder> {
    let holder = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    Holder::recorded(holder).ok()
}

/// The list as a file: a page if its size is named, else all.
pub(crate) async fn export(
    app: &App,
    pool: &PoolName,
    wanted: NamedSeatsQuery,
) -> Result<Response, Problem> {
    let (mut items, mut cursor) = (Vec::new(), wanted.cursor.clone());
    loop {
        let asked = NamedSeatsQuery {
            at: wanted.at.clone(),
            q: wanted.q.clone(),
            limit: wanted.limit,
            cursor,
            format: None,
        };
        let mut page = page(app, pool, asked).await?;
        items.append(&mut page.items);
        cursor = page.next_cursor;
        if wanted.limit.is_some() || cursor.is_none() || items.len() >= EXPORTED {
            break;
        }
    }
    let rows = items.into_iter().map(|seat| {
        vec![
            Cell::text(Some(seat.holder.as_str())),
            Cell::plain(&seat.occupied_at),
            Cell::plain(&seat.how),
            Cell::plain(&seat.until),
        ]
    });
    let columns = ["holder", "occupied_at", "how", "until"];
    let name = format!("{pool}-named-seats");
    Ok(csv::file(&name, &columns, rows))
}

/// Reads the named seat of a holder.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/named/{holder}", operation_id = "read_named", tag = "pools",
    responses((status = 200, body = SeatBody)),
)]
async fn read(
    State(app): State<App>,
    _operator: Operator,
    Path((pool, holder)): Path<(PoolName, Recorded<Holder>)>,
) -> Result<Json<SeatBody>, Problem> {
    let holder = app.recorded_holder(&pool, holder.0).await?;
    let changed = app.0.store.named(&pool, NamedChange::Read(&holder)).await?;
    Ok(Json(one(settled(&pool, changed)?)?))
}

/// Assigns a named seat to a holder before its first lease in the period. Doing it again changes nothing.
#[utoipa::path(
    put, path = "/v1/pools/{pool}/named/{holder}", operation_id = "assign_named", tag = "pools",
    responses(
        (status = 201, description = "Assigned", body = SeatBody),
        (status = 200, description = "It had one already", body = SeatBody),
        (status = 409, description = "`named_seats_exhausted`"),
    ),
)]
pub(crate) async fn assign(
    State(app): State<App>,
    operator: Operator,
    Path((pool, HolderSegment(holder))): Path<(PoolName, HolderSegment)>,
) -> Result<(StatusCode, Json<SeatBody>), Problem> {
    let holder = app.recorded_holder(&pool, holder).await?;
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

/// Frees the named seat of a holder.
///
/// Its live leases are terminated: there must not be more of them than seats. The next holder keeps the seat for the rest of
/// the period, as after a transfer.
#[utoipa::path(
    delete, path = "/v1/pools/{pool}/named/{holder}", operation_id = "free_named", tag = "pools",
    params(Freeing),
    responses(
        (status = 204, description = "Freed"),
        (status = 403, description = "`forbidden`, also for `force` without being an admin"),
        (status = 409, description = "`named_seat_transferred`: it changed hands before in this period"),
    ),
)]
pub(crate) async fn free(
    State(app): State<App>,
    operator: Operator,
    Path((pool, holder)): Path<(PoolName, Recorded<Holder>)>,
    Query(freeing): Query<Freeing>,
) -> Result<StatusCode, Problem> {
    let force = forced(&operator, freeing.force)?;
    let holder = app.recorded_holder(&pool, holder.0).await?;
    operator.notes.target(&holder);
    operator.notes.before(&json!({ "holder": holder }));
    if force == Force::Yes {
        operator
            .notes
            .after(&json!({ "holder": null, "force": true }));
    }
    take_away(&app, &pool, &holder, NamedChange::Free(&holder, force)).await?;
    tracing::info!(pool.name = %pool, "an operator freed a named seat of pool {pool}");
    Ok(StatusCode::NO_CONTENT)
}

/// Whether the rule of one change in a period is set aside, which only an admin may do.
fn forced(operator: &Operator, force: bool) -> Result<Force, Problem> {
    if !force {
        return Ok(Force::No);
    }
    operator.only_as_admin("let a named seat change hands twice in a period (`force`)")?;
    Ok(Force::Yes)
}

/// The holder of the seat, for the audit trail.
fn noted(holder: &Holder, force: Force) -> serde_json::Value {
    match force {
        Force::No => json!({ "holder": holder }),
        Force::Yes => json!({ "holder": holder, "force": true }),
    }
}

/// Transfers the named seat of a holder to another one, once in a period. Live leases of the first are terminated.
#[utoipa::path(
    post, path = "/v1/pools/{pool}/named/{holder}/transfer", operation_id = "transfer_named", tag = "pools",
    request_body = TransferBody,
    responses(
        (status = 200, description = "The seat, as the other holder has it now", body = SeatBody),
        (status = 403, description = "`forbidden`, also for `force` without being an admin"),
        (status = 409, description = "`named_seat_transferred`"),
    ),
)]
pub(crate) async fn transfer(
    State(app): State<App>,
    operator: Operator,
    Path((pool, holder)): Path<(PoolName, Recorded<Holder>)>,
    Body(body): Body<TransferBody>,
) -> Result<Json<SeatBody>, Problem> {
    let force = forced(&operator, body.force)?;
    let holder = app.recorded_holder(&pool, holder.0).await?;
    operator.notes.target(&holder);
    operator.notes.before(&json!({ "holder": holder }));
    let to = app.recorded_holder(&pool, body.to).await?;
    operator.notes.after(&noted(&to, force));
    let change = NamedChange::Transfer(&holder, &to, force);
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
    for round in 0..3 {
        let changed = app.0.store.named(pool, change).await;
        // Once leases were ended for it, a failure must not be reported as "nothing was done".
        let changed = changed.map_err(|error| error.after_a_part(round > 0))?;
        if changed != NamedChanged::InUse {
            return settled(pool, changed);
        }
        let all = Selection::of(Some(holder.clone()), None);
        let why = Termination::because("An operator gave the named seat away.");
        let ended = terminate_matching(app, pool, &all, &why).await;
        ended.map_err(|error| error.after_a_part(round > 0))?;
    }
    settled(pool, NamedChanged::InUse)
}
