//! `/v1/alerts/snoozes`: alerts of which no message is sent for a time.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::App;
use super::super::access::Operator;
use super::super::extract::{Body, Path};
use super::super::leases::terminate::check_text;
use super::super::problem::{Code, Problem};
use super::super::when::When;
use crate::names::PoolName;
use crate::scope::Scope;
use crate::store::{Snooze, Snoozed};
use crate::time::Timestamp;
use crate::webhook::AlertType;

/// The longest id of a snooze is shorter.
const LONGEST_ID: usize = 64;
/// The longest snooze: thirty days.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(end))
}

/// Alerts of which no message is sent for a time.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Snooze)]
pub(crate) struct SnoozeBody {
    /// Its name for machines.
    #[schema(example = "5b4f8f9d1c1e0a37")]
    pub(crate) id: String,
    /// Only of this pool; null if of all, and of the store.
    #[schema(value_type = Option<String>)]
    pub(crate) pool: Option<PoolName>,
    /// Only of this type; null if of all.
    #[serde(rename = "type")]
    pub(crate) kind: Option<AlertType>,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) until: Timestamp,
    /// Its author.
    #[schema(example = "maria")]
    pub(crate) by: String,
    /// Their reason; null if they gave none.
    pub(crate) comment: Option<String>,
    /// When it was made or changed.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
}

impl SnoozeBody {
    fn of(snooze: Snooze) -> Self {
        Self {
            id: snooze.id,
            pool: snooze.pool,
            kind: snooze.kind,
            until: Timestamp(snooze.until_ms),
            by: snooze.by,
            comment: snooze.comment,
            created_at: Timestamp(snooze.created_at_ms),
        }
    }
}

/// The snoozes that are not over.
#[derive(Debug, Serialize, ToSchema)]
struct Snoozes {
    /// The one that ends first comes first.
    items: Vec<SnoozeBody>,
    /// Always null: all are on one page.
    next_cursor: Option<String>,
}

/// Which alerts to snooze, and for how long, in one of two ways.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(min_properties = 1)]
pub(crate) struct SnoozeRequest {
    /// Only of this pool; without it of all, and of the store.
    #[schema(value_type = Option<String>, example = "crm")]
    pub(crate) pool: Option<PoolName>,
    /// Only of this type; without it of all.
    #[serde(rename = "type")]
    pub(crate) kind: Option<AlertType>,
    /// Length from now on in milliseconds, at most thirty days.
    #[schema(minimum = 1, maximum = 2_592_000_000_u64, example = 3_600_000)]
    pub(crate) for_ms: Option<u64>,
    /// Its end, at most thirty days from now; a day is its start in UTC.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) until: Option<When>,
    /// Reason, for others, at most 512 bytes.
    #[schema(max_length = 512, example = "The training room is full on purpose.")]
    pub(crate) comment: Option<String>,
}

/// Lists the snoozes that are not over. A key for some pools sees those of its pools, and those of all pools.
#[utoipa::path(
    get, path = "/v1/alerts/snoozes", operation_id = "list_snoozes", tag = "alerts",
    responses((status = 200, body = Snoozes)),
)]
async fn list(State(app): State<App>, operator: Operator) -> Result<Json<Snoozes>, Problem> {
    let snoozes = app.0.store.snoozes().await?;
    Ok(Json(Snoozes {
        items: shown(snoozes, operator.own_pools().as_ref()),
        next_cursor: None,
    }))
}

/// Snoozes for a caller who is for some pools, or for all: those that keep a message back which concerns them.
pub(super) fn shown(snoozes: Vec<Snooze>, scope: Option<&Scope>) -> Vec<SnoozeBody> {
    let concerns = |snooze: &Snooze| match (scope, &snooze.pool) {
        (Some(scope), Some(pool)) => scope.is_for(pool),
        _ => true,
    };
    let snoozes = snoozes.into_iter().filter(concerns);
    snoozes.map(SnoozeBody::of).collect()
}

/// Snoozes alerts: until its end no message says that one of them begins, and no reminder is sent.
///
/// Alerts are evaluated and listed all the same. The end of an alert is sent if its beginning was. An alert that is still active when the snooze
/// ends is sent then. There is one snooze for each pool and type: another one takes its place.
#[utoipa::path(
    post, path = "/v1/alerts/snoozes", operation_id = "snooze_alerts", tag = "alerts",
    request_body = SnoozeRequest,
    responses((status = 201, description = "The snooze", body = SnoozeBody)),
)]
async fn create(
    State(app): State<App>,
    operator: Operator,
    Body(body): Body<SnoozeRequest>,
) -> Result<(StatusCode, Json<SnoozeBody>), Problem> {
    let snoozed = snooze_alerts(&app, &operator, body).await?;
    Ok((StatusCode::CREATED, Json(snoozed)))
}

/// Snoozes alerts.
pub(crate) async fn snooze_alerts(
    app: &App,
    operator: &Operator,
    body: SnoozeRequest,
) -> Result<SnoozeBody, Problem> {
    check_text("comment", body.comment.as_deref())?;
    let field = if body.until.is_some() {
        "until"
    } else {
        "for_ms"
    };
    let invalid =
        |detail: &'static str| Problem::new(Code::InvalidRequest, detail).at_field(field, detail);
    let now = app.0.store.now();
    let until = match (body.for_ms, &body.until) {
        (Some(for_ms), None) => now + Duration::from_millis(for_ms),
        (None, Some(until)) => until.at("until", Tz::UTC)?,
        _ => {
            return Err(invalid(
                "Say how long in exactly one way: `for_ms` or `until`.",
            ));
        }
    };
    if until <= now || now + LONGEST < until {
        return Err(invalid(
            "A snooze ends later than now, and at most thirty days from now.",
        ));
    }
    let snooze = Snooze {
        id: Snooze::id_of(body.pool.as_ref(), body.kind),
        pool: body.pool,
        kind: body.kind,
        until_ms: until.0,
        by: operator.caller.name().to_owned(),
        comment: body.comment.filter(|comment| !comment.is_empty()),
        created_at_ms: now.0,
    };
    if let Some(pool) = &snooze.pool {
        operator.notes.pool(pool);
    }
    operator.only_for(snooze.pool.as_ref())?;
    operator.notes.target(&snooze.id);
    operator.notes.after(&SnoozeBody::of(snooze.clone()));
    match app.0.store.snooze_alerts(&snooze).await? {
        Snoozed::Done(former) => {
            if let Some(former) = former {
                operator.notes.before(&SnoozeBody::of(former));
            }
            Ok(SnoozeBody::of(snooze))
        }
        Snoozed::Full => Err(Problem::new(
            Code::InvalidRequest,
            "There are 100 snoozes already. End some of them first: DELETE /v1/alerts/snoozes/{id}.",
        )),
    }
}

/// Ends a snooze now; also if there is none with this id, or no longer. Its alerts that are still active are sent within seconds.
#[utoipa::path(
    delete, path = "/v1/alerts/snoozes/{id}", operation_id = "end_snooze", tag = "alerts",
    responses((status = 204, description = "It is over")),
)]
async fn end(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    end_snooze(&app, &operator, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a snooze now.
pub(crate) async fn end_snooze(app: &App, operator: &Operator, id: &str) -> Result<(), Problem> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if id.len() > LONGEST_ID || !id.bytes().all(is_id) {
        return Err(Problem::new(
            Code::InvalidRequest,
            "The id of a snooze has letters and digits only; GET /v1/alerts/snoozes lists them.",
        ));
    }
    operator.notes.target(id);
    if operator.caller.names_pools() {
        let snoozes = app.0.store.snoozes().await?;
        let Some(snooze) = snoozes.iter().find(|snooze| snooze.id == id) else {
            return Ok(());
        };
        operator.only_for(snooze.pool.as_ref())?;
    }
    if let Some(former) = app.0.store.end_snooze(id).await? {
        if let Some(pool) = &former.pool {
            operator.notes.pool(pool);
        }
        operator.notes.before(&SnoozeBody::of(former));
    }
    Ok(())
}
