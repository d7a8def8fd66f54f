//! `POST /v1/leases/yield`: a holder gives its seat to whoever asked for one.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::token::TokenBody;
use crate::http::App;
use crate::http::extract::Beacon;
use crate::http::json::Json;
use crate::http::problem::{Code, Problem};

/// That the seat is given up.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct YieldedBody {
    /// Always true: the lease has ended.
    yielded: bool,
}

/// Gives the seat to whoever asked first for one and still waits. The lease ends with all that share its seat.
///
/// Without such a request it goes on, so that nobody loses a seat for nothing. Yielding again is a success.
#[utoipa::path(
    post, path = "/v1/leases/yield", operation_id = "yield_seat", tag = "leases",
    request_body = TokenBody,
    responses(
        (status = 200, body = YieldedBody),
        (status = 409, description = "`no_seat_request`: nobody asks who could have this seat, and the lease goes on, if it lives"),
    ),
)]
pub(super) async fn yield_seat(
    State(app): State<App>,
    Beacon(body): Beacon<TokenBody>,
) -> Result<Json<YieldedBody>, Problem> {
    let claims = app.verify(&body.token)?;
    if app.0.store.yield_seat(&claims).await? {
        return Ok(Json(YieldedBody { yielded: true }));
    }
    Err(Problem::new(
        Code::NoSeatRequest,
        "Nobody who waits asks for this seat now, or could have it. Keep it, or release it.",
    ))
}
