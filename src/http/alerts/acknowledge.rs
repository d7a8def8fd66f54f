//! `/v1/alerts/{alert}/acknowledge`: somebody takes care of an alert that is raised.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::App;
use super::super::access::Operator;
use super::super::extract::{Body, Path};
use super::super::leases::terminate::check_text;
use super::super::problem::{Code, Problem};
use crate::names::PoolName;
use crate::store::{Acknowledged, Acknowledgement};
use crate::time::Timestamp;

/// The longest id of an alert is shorter.
const LONGEST_ID: usize = 512;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(acknowledge, withdraw))
}

/// Somebody who takes care of an alert.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Acknowledgement)]
pub(crate) struct AcknowledgementBody {
    /// Who it is.
    #[schema(example = "maria")]
    pub(crate) by: String,
    /// When they acknowledged it.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// What they say about it; null if nothing.
    pub(crate) comment: Option<String>,
}

impl AcknowledgementBody {
    pub(super) fn of(acknowledgement: Acknowledgement) -> Self {
        Self {
            by: acknowledgement.by,
            at: Timestamp(acknowledgement.at_ms),
            comment: acknowledgement.comment,
        }
    }
}

/// What somebody says about an alert that they take care of.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Acknowledge {
    /// For others, at most 512 bytes.
    #[schema(max_length = 512, example = "I will ask for more seats.")]
    pub(crate) comment: Option<String>,
}

/// Acknowledges an alert: no reminder of it is sent, and it no longer counts as open.
///
/// An acknowledgement holds until the alert ends; if it begins again, that is another alert. The first one stays, so the answer may name
/// somebody else.
#[utoipa::path(
    post, path = "/v1/alerts/{alert}/acknowledge", operation_id = "acknowledge_alert", tag = "alerts",
    request_body = Acknowledge,
    responses((status = 200, description = "Who has acknowledged it", body = AcknowledgementBody)),
)]
async fn acknowledge(
    State(app): State<App>,
    operator: Operator,
    Path(alert): Path<String>,
    Body(body): Body<Acknowledge>,
) -> Result<Json<AcknowledgementBody>, Problem> {
    let by = acknowledge_alert(&app, &operator, &alert, body).await?;
    Ok(Json(by))
}

/// Acknowledges an alert in the name of a caller.
pub(crate) async fn acknowledge_alert(
    app: &App,
    operator: &Operator,
    alert: &str,
    body: Acknowledge,
) -> Result<AcknowledgementBody, Problem> {
    check_alert(operator, alert)?;
    check_text("comment", body.comment.as_deref())?;
    operator.notes.after(&body);
    let own = Acknowledgement {
        by: operator.caller.name().to_owned(),
        at_ms: app.0.store.now().0,
        comment: body.comment.filter(|comment| !comment.is_empty()),
    };
    match app.0.store.acknowledge_alert(alert, Some(&own)).await? {
        Acknowledged::By(first) => Ok(AcknowledgementBody::of(first)),
        Acknowledged::Nobody | Acknowledged::NotRaised => Err(not_raised()),
    }
}

/// Withdraws the acknowledgement of an alert, whoever made it; also if nobody has.
#[utoipa::path(
    delete, path = "/v1/alerts/{alert}/acknowledge", operation_id = "withdraw_acknowledgement", tag = "alerts",
    responses((status = 204, description = "It is not acknowledged, or not any more")),
)]
async fn withdraw(
    State(app): State<App>,
    operator: Operator,
    Path(alert): Path<String>,
) -> Result<StatusCode, Problem> {
    withdraw_acknowledgement(&app, &operator, &alert).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Withdraws the acknowledgement of an alert.
pub(crate) async fn withdraw_acknowledgement(
    app: &App,
    operator: &Operator,
    alert: &str,
) -> Result<(), Problem> {
    check_alert(operator, alert)?;
    match app.0.store.acknowledge_alert(alert, None).await? {
        Acknowledged::By(former) => {
            operator.notes.before(&AcknowledgementBody::of(former));
            Ok(())
        }
        Acknowledged::Nobody => Ok(()),
        Acknowledged::NotRaised => Err(not_raised()),
    }
}

/// Notes for the trail which alert it is, and of which pool. Refuses one of a pool that is not the caller's.
fn check_alert(operator: &Operator, alert: &str) -> Result<(), Problem> {
    if alert.len() > LONGEST_ID {
        return Err(not_raised());
    }
    operator.notes.target(alert);
    let pool = alert.split_once(':').map(|(pool, _)| pool.parse());
    let pool: Option<PoolName> = pool.and_then(Result::ok);
    if let Some(pool) = &pool {
        operator.notes.pool(pool);
    }
    operator.only_for(pool.as_ref())
}

fn not_raised() -> Problem {
    Problem::new(
        Code::AlertNotFound,
        "No alert of this id is raised, or no longer. `current` of GET /v1/alerts lists those that are.",
    )
}
