//! `POST /v1/leases/release`: gives the seat back.

use axum::extract::State;
use axum::http::StatusCode;

use super::finish;
use super::token::TokenBody;
use crate::http::App;
use crate::http::extract::Beacon;
use crate::http::problem::Problem;

/// Releases a lease: the seat is free at once. Releasing it again is a success.
#[utoipa::path(
    post, path = "/v1/leases/release", tag = "leases",
    request_body = TokenBody,
    responses((status = 204, description = "Released")),
)]
pub(super) async fn release(
    State(app): State<App>,
    Beacon(body): Beacon<TokenBody>,
) -> Result<StatusCode, Problem> {
    let (claims, _) = app.as_recorded(app.verify(&body.token)?).await?;
    finish(async move { app.0.store.release(&claims).await }).await
}
