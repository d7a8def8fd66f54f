//! `/v1/alerts`: alerts as a list, and as they happen (server-sent events).

mod acknowledge;
mod snoozes;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::acknowledge::{
    Acknowledge, AcknowledgementBody, acknowledge_alert, withdraw_acknowledgement,
};
pub(crate) use self::snoozes::{SnoozeBody, SnoozeRequest, end_snooze, snooze_alerts};
use super::App;
use super::accept::{self, Format};
use super::access::Operator;
use super::csv::{self, Cell};
use super::event_stream::event_stream;
use super::extract::Query;
use super::problem::{Code, Problem};
use crate::alerts::message::AlertBody;
use crate::names::{Invalid, PoolName};
use crate::scope::Scope;
use crate::store::{AlertsFilter, EventId, LoggedAlert};
use crate::time::Timestamp;

/// Entries of a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Alerts that are read at once.
const CHUNK: usize = 100;
/// How often an idle log is looked at.
const EVERY: Duration = Duration::from_millis(500);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(events))
        .merge(acknowledge::routes())
        .merge(snoozes::routes())
}

/// What is wanted of the log.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertsQuery {
    /// Only of this pool.
    #[param(value_type = Option<String>)]
    pub(crate) pool: Option<PoolName>,
    /// Only of this type, such as `pool.full`.
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    /// Maximum entries per page, 1 to 1000; 100 without it.
    #[param(minimum = 1, maximum = 1_000)]
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before, with everything else as it was.
    pub(crate) cursor: Option<String>,
    /// `json` or `csv`, in place of the header `Accept`.
    #[param(inline)]
    pub(crate) format: Option<Format>,
}

impl AlertsQuery {
    /// The same, checked, and no more than the caller may see.
    pub(crate) fn checked(self, operator: &Operator) -> Result<AlertsFilter, Problem> {
        if let Some(pool) = &self.pool {
            operator.only_for(Some(pool))?;
        }
        let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(invalid(format!("`limit` is 1 to {MAX_LIMIT}.")));
        }
        let kind = self
            .kind
            .filter(|kind| !kind.is_empty())
            .map(|kind| kind.parse())
            .transpose()
            .map_err(|_: Invalid| {
                invalid("`type` is not the type of an alert, such as pool.full.".to_owned())
            })?;
        let before = self
            .cursor
            .map(|cursor| cursor.parse())
            .transpose()
            .map_err(|_: Invalid| {
                invalid("`cursor` is not one of this list. Begin again without it.".to_owned())
            })?;
        Ok(AlertsFilter {
            scope: operator.own_pools(),
            pool: self.pool,
            kind,
            before,
            limit,
        })
    }
}

/// An alert in the log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AlertEntry {
    /// Its place in the log; grows.
    #[schema(example = "1795000000000-0")]
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) alert: AlertBody,
}

impl AlertEntry {
    pub(crate) fn of(logged: &LoggedAlert) -> Self {
        Self {
            id: logged.place.to_string(),
            alert: AlertBody::of(&logged.alert),
        }
    }
}

/// An alert that is raised now.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CurrentAlert {
    #[serde(flatten)]
    pub(crate) alert: AlertBody,
    /// Who has acknowledged it; null if nobody has.
    pub(crate) acknowledged: Option<AcknowledgementBody>,
    /// The end of the snooze that keeps its messages back; null if it is not snoozed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) snoozed_until: Option<Timestamp>,
}

/// Alerts that are raised now, and a page of the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alerts {
    /// Alerts that are raised now, the oldest first.
    pub(crate) current: Vec<CurrentAlert>,
    /// The log of alerts, newest first.
    pub(crate) items: Vec<AlertEntry>,
    /// Send it back as `cursor` for the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
    /// The snoozes that are not over, for the page of alerts.
    #[serde(skip)]
    pub(crate) snoozes: Vec<SnoozeBody>,
}

/// Reads what is raised and a page of the log.
pub(crate) async fn read(app: &App, wanted: &AlertsFilter) -> Result<Alerts, Problem> {
    let mut page = app.0.store.alerts(wanted).await?;
    let current = page.raised.iter().map(|alert| CurrentAlert {
        alert: AlertBody::of(alert),
        acknowledged: page
            .acknowledged
            .remove(&alert.id())
            .map(AcknowledgementBody::of),
        snoozed_until: page
            .snoozes
            .iter()
            .filter(|snooze| snooze.covers(alert))
            .map(|snooze| Timestamp(snooze.until_ms))
            .max(),
    });
    Ok(Alerts {
        current: current.collect(),
        items: page.logged.iter().map(AlertEntry::of).collect(),
        next_cursor: page.next.map(|place| place.to_string()),
        snoozes: snoozes::shown(page.snoozes, wanted.scope.as_ref()),
    })
}

/// Lists the alerts that are raised now, and the log of alerts, newest first.
///
/// The last 10 000 or so are kept. A key for some pools sees the alerts of these.
#[utoipa::path(
    get, path = "/v1/alerts", operation_id = "list_alerts", tag = "alerts",
    params(AlertsQuery),
    responses((status = 200, description = "With `Accept: text/csv` as CSV, `items` only", body = Alerts)),
)]
async fn list(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    Query(wanted): Query<AlertsQuery>,
) -> Result<Response, Problem> {
    let as_csv = accept::is_csv(&headers, wanted.format);
    let alerts = read(&app, &wanted.checked(&operator)?).await?;
    if as_csv {
        return Ok(to_csv(&alerts.items));
    }
    Ok(Json(alerts).into_response())
}

/// The entries as a file.
pub(crate) fn to_csv(items: &[AlertEntry]) -> Response {
    let columns = [
        "id", "at", "type", "state", "pool", "alert", "since", "until", "percent", "in_use",
        "capacity", "summary",
    ];
    let rows = items.iter().map(|AlertEntry { id, alert }| {
        let number = |number: Option<i64>| {
            Cell::Plain(number.map(|number| number.to_string()).unwrap_or_default())
        };
        vec![
            Cell::plain(id),
            Cell::plain(&alert.at),
            Cell::plain(&alert.kind.as_str()),
            Cell::plain(&alert.state.as_str()),
            Cell::text(alert.pool.as_ref().map(PoolName::as_str)),
            Cell::Text(alert.alert.clone()),
            Cell::plain(&alert.since),
            Cell::Plain(alert.until.map(|at| at.to_string()).unwrap_or_default()),
            number(alert.percent.map(i64::from)),
            number(alert.in_use),
            number(alert.capacity),
            Cell::Text(alert.summary.clone()),
        ]
    });
    csv::file("leasehold-alerts", &columns, rows)
}

/// Follows the alerts of all pools and of the store, or of the pools of a key that is for some, from now on, or from after `Last-Event-ID`.
///
/// Each has its id, its type as the event's name, and the alert as JSON. A client that was away goes on where it was.
#[utoipa::path(
    get, path = "/v1/alerts/events", operation_id = "follow_alerts", tag = "alerts",
    params(("Last-Event-ID" = Option<String>, Header, description = "The last alert seen; 0 for all that are kept")),
    responses((status = 200, description = "Alerts as they are raised and resolved: `data` is an `AlertEntry`", body = AlertEntry, content_type = "text/event-stream")),
)]
async fn events(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let room = app.0.connections.long_lived()?;
    let after = match headers.get("last-event-id") {
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| {
                Problem::new(
                    Code::InvalidRequest,
                    "Last-Event-ID is not the id of an alert. Send one that was received, or 0, or leave it out.",
                )
            })?,
        None => app.0.store.last_alert().await?,
    };
    Ok(event_stream(room, follow(app, operator.own_pools(), after)))
}

/// The alerts after a place, for ever; it ends when the node is about to stop, so that clients go to another one.
fn follow(
    app: App,
    scope: Option<Scope>,
    after: EventId,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let first = (app, after, VecDeque::<LoggedAlert>::new());
    let wanted = Arc::new(AlertsFilter {
        scope,
        ..AlertsFilter::default()
    });
    stream::unfold(first, move |(app, mut after, mut waiting)| {
        let wanted = Arc::clone(&wanted);
        async move {
            loop {
                // Also while there is much to tell: whoever reads slowly would hold up the end of the node.
                if app.0.drain.is_draining() {
                    return None;
                }
                if let Some(logged) = waiting.pop_front() {
                    after = logged.place;
                    if !wanted.matches(&logged.alert) {
                        continue;
                    }
                    return Some((Ok(written(&logged)), (app, after, waiting)));
                }
                // An outage of the store is a pause: the client has lost nothing.
                if let Ok(alerts) = app.0.store.alerts_after(after, CHUNK).await {
                    waiting.extend(alerts);
                }
                if waiting.is_empty() {
                    tokio::select! {
                        () = tokio::time::sleep(EVERY) => {}
                        () = app.0.drain.begun() => return None,
                    }
                }
            }
        }
    })
}

fn written(logged: &LoggedAlert) -> sse::Event {
    let json = serde_json::to_string(&AlertEntry::of(logged))
        .expect("strings and numbers have a JSON form");
    sse::Event::default()
        .id(logged.place.to_string())
        .event(logged.alert.kind.as_str())
        .data(json)
}
