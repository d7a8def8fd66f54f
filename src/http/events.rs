//! `GET /v1/pools/{pool}/events`: what happens in a pool, as it happens (server-sent events).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse;
use futures_util::stream::{self, Stream};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Operator;
use super::event_stream::event_stream;
use super::extract::Path;
use super::problem::{Code, Problem};
use super::{App, pool_not_found};
use crate::names::PoolName;
use crate::store::{Event, EventId};
use crate::time::Timestamp;

/// Events that are read at once.
const CHUNK: usize = 100;
/// How often an idle history is looked at. A round trip each; nobody decides by it.
const EVERY: Duration = Duration::from_millis(500);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Something that happened in a pool.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
struct EventBody {
    /// `started`, `resumed`, `rebuilt`, `ended`, `denied` or `configured`.
    #[serde(rename = "type")]
    kind: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The id of the lease, if it is about one.
    lease: Option<String>,
    /// Who holds or asked, if that is known.
    holder: Option<String>,
    /// The sub-account, if that is known.
    tenant: Option<String>,
    /// Why: `expired`, `released`, `terminated`, `evicted`, or the reason of the denial, or the new capacity.
    reason: Option<String>,
}

/// Follows what happens in a pool, from now on, or from after `Last-Event-ID`.
///
/// Each event has its id, its type as the event's name, and the rest as JSON. Ids of one pool grow. A client that was
/// away goes on where it was, as long as events are kept.
#[utoipa::path(
    get, path = "/v1/pools/{pool}/events", operation_id = "follow_events", tag = "pools",
    params(("Last-Event-ID" = Option<String>, Header, description = "The last event seen; 0 for all that are kept")),
    responses((status = 200, description = "Events as they happen: `data` is an `Event`", body = EventBody, content_type = "text/event-stream")),
)]
async fn events(
    State(app): State<App>,
    _operator: Operator,
    Path(pool): Path<PoolName>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    if app.0.store.status(&pool).await?.is_none() {
        return Err(pool_not_found(&pool));
    }
    let room = app.0.connections.long_lived()?;
    let after = match headers.get("last-event-id") {
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| {
                Problem::new(
                    Code::InvalidRequest,
                    "Last-Event-ID is not the id of an event. Send one that was received, or 0, or leave it out.",
                )
            })?,
        None => app.0.store.last_event(&pool).await?,
    };
    Ok(event_stream(room, follow(app, pool, after)))
}

/// The events after a place, for ever; it ends when the node is about to stop, so that clients go to another one.
fn follow(
    app: App,
    pool: PoolName,
    after: EventId,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let first = (app, pool, after, VecDeque::<Event>::new());
    stream::unfold(first, |(app, pool, mut after, mut waiting)| async move {
        loop {
            // Also while there is much to tell: whoever reads slowly would hold up the end of the node.
            if app.0.drain.is_draining() {
                return None;
            }
            if let Some(event) = waiting.pop_front() {
                after = event.id;
                return Some((Ok(written(event)), (app, pool, after, waiting)));
            }
            // An outage of the store is a pause: the client has lost nothing.
            if let Ok(events) = app.0.store.events(&pool, after, CHUNK).await {
                waiting.extend(events);
            }
            if waiting.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = app.0.drain.begun() => return None,
                }
            }
        }
    })
}

fn written(event: Event) -> sse::Event {
    let (id, name) = (event.id.to_string(), event.kind.clone());
    let body = EventBody {
        kind: event.kind,
        at: event.at,
        lease: event.lease,
        holder: event.holder,
        tenant: event.tenant,
        reason: event.reason,
    };
    let json = serde_json::to_string(&body).expect("texts have a JSON form");
    sse::Event::default().id(id).event(name).data(json)
}
