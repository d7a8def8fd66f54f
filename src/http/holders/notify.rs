//! `POST /v1/holders/{holder}/notice`: a message to a person.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{known_in, leave};
use crate::http::App;
use crate::http::access::Operator;
use crate::http::extract::{Body, HolderSegment, Path};
use crate::http::leases::terminate::check_text;
use crate::http::problem::{Code, Problem};
use crate::names::{Holder, PoolName};
use crate::store::Left;

/// A message to a person.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifyHolder {
    /// What it reads, at most 512 bytes.
    #[schema(
        min_length = 1,
        max_length = 512,
        example = "The shift ends in ten minutes."
    )]
    pub(crate) message: String,
    /// Only with leases in these pools; in all that the caller may see without it.
    #[schema(value_type = Option<Vec<String>>)]
    #[serde(default)]
    pub(crate) pools: Option<Vec<PoolName>>,
}

/// How many leases will hear of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Notified {
    /// Live leases whose next heartbeat brings the message.
    pub(crate) leases: usize,
}

/// Sends a message to a person: the next heartbeat of each of its leases brings it, once. Up to eight wait for a lease, and each heartbeat
/// brings one, the oldest first.
#[utoipa::path(
    post,
    path = "/v1/holders/{holder}/notice",
    tag = "holders",
    operation_id = "notify_holder",
    request_body = NotifyHolder,
    responses(
        (status = 202, description = "It waits for the next heartbeats", body = Notified),
        (status = 404, description = "`pool_not_found`"),
        (status = 429, description = "`too_many_requests`: eight messages wait for a lease already, or too many leases have one"),
    ),
)]
pub(in crate::http) async fn notify(
    State(app): State<App>,
    operator: Operator,
    Path(HolderSegment(holder)): Path<HolderSegment>,
    Body(body): Body<NotifyHolder>,
) -> Result<(StatusCode, Json<Notified>), Problem> {
    let notified = send(&app, &operator, &holder, body).await?;
    Ok((StatusCode::ACCEPTED, Json(notified)))
}

/// Leaves a message for the next heartbeat of each lease of a person.
pub(crate) async fn send(
    app: &App,
    operator: &Operator,
    holder: &Holder,
    body: NotifyHolder,
) -> Result<Notified, Problem> {
    operator
        .notes
        .after(&json!({ "message": body.message, "pools": body.pools }));
    if body.message.trim().is_empty() {
        return Err(Problem::new(
            Code::InvalidRequest,
            "`message` says nothing.",
        ));
    }
    check_text("message", Some(&body.message))?;
    let mut leases = 0;
    let known = known_in(app, operator, body.pools, holder).await?;
    for (number, (pool, name)) in known.into_iter().enumerate() {
        let left = leave(
            app,
            operator,
            (number, &pool),
            &name,
            Left::Notice(&body.message),
        )
        .await?;
        leases += left.iter().filter(|(_, lives)| *lives).count();
    }
    Ok(Notified { leases })
}
