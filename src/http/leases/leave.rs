//! `POST /v1/leases/leave`: the call of a page that goes away and may come back.

use axum::extract::State;
use axum::http::StatusCode;

use super::finish;
use super::token::TokenBody;
use crate::http::App;
use crate::http::extract::Beacon;
use crate::http::problem::Problem;

/// Leaves: the lease runs out soon, unless a renew follows. For pages that go away, because a reload looks like a close.
#[utoipa::path(
    post, path = "/v1/leases/leave", tag = "leases",
    request_body = TokenBody,
    responses((status = 204, description = "Left")),
)]
pub(super) async fn leave(
    State(app): State<App>,
    Beacon(body): Beacon<TokenBody>,
) -> Result<StatusCode, Problem> {
    let claims = app.verify(&body.token)?;
    finish(async move { app.0.store.leave(&claims).await }).await
}
