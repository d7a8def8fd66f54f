//! `GET /v1/pools/{pool}/events`: what happens in a pool, as it happens (server-sent events).

use std::collections::{BTreeSet, VecDeque};
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
use crate::names::{PoolName, Tenant};
use crate::pool::Policy;
use crate::store::{Event, EventId};
use crate::time::Timestamp;

/// Events that are read at once.
const CHUNK: usize = 100;
/// How often an idle history is looked at. A round trip each; nobody decides by it.
const EVERY: Duration = Duration::from_millis(500);

/// Redis or all nodes were away.
const COORDINATOR_AWAY: &str = "coordinator_away";
/// The holder was.
const HOLDER_AWAY: &str = "holder_away";

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
    /// The holder, if it is known.
    holder: Option<String>,
    /// The sub-account, if that is known.
    tenant: Option<String>,
    /// Why: `expired`, `released`, `terminated`, `evicted`, or the reason of the denial, or the new capacity.
    reason: Option<String>,
    /// How long nothing was heard of the holder, at most; of `resumed`, and of `ended` by time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    gap_ms: Option<u64>,
    /// Whose silence that was: `coordinator_away` if Redis or all nodes were away in it, so that the holder could not beat, else
    /// `holder_away`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cause: Option<String>,
    /// For how long two may have believed in the seat. Of `resumed` from the end of the lease to its return, of `ended` from then on; never
    /// more than the pool's `outage_grace_ms`. Null is without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    possible_overlap_ms: Option<Option<u64>>,
    /// For how long the holder went on after the end, by its own account; of `resumed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    grace_used_ms: Option<u64>,
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
    operator: Operator,
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
    let own = operator.tenants_in(&pool);
    Ok(event_stream(room, follow(app, pool, own, after)))
}

/// The events after a place, for ever; it ends when the node is about to stop, so that clients go to another one.
fn follow(
    app: App,
    pool: PoolName,
    own: Option<BTreeSet<Tenant>>,
    after: EventId,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let is_own = move |event: &Event| {
        let tenant = || {
            event
                .tenant
                .clone()
                .and_then(|tenant| Tenant::recorded(tenant).ok())
        };
        own.as_ref()
            .is_none_or(|own| tenant().is_some_and(|tenant| own.contains(&tenant)))
    };
    let first = (app, pool, is_own, after, VecDeque::<Event>::new());
    stream::unfold(
        first,
        |(app, pool, is_own, mut after, mut waiting)| async move {
            loop {
                // Also while there is much to tell: whoever reads slowly would hold up the end of the node.
                if app.0.drain.is_draining() {
                    return None;
                }
                if let Some(event) = waiting.pop_front() {
                    after = event.id;
                    if !is_own(&event) {
                        continue;
                    }
                    let policy = app.0.store.cached_policy(&pool);
                    let event = written(event, policy.as_deref());
                    return Some((Ok(event), (app, pool, is_own, after, waiting)));
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
        },
    )
}

fn written(event: Event, policy: Option<&Policy>) -> sse::Event {
    let (id, name) = (event.id.to_string(), event.kind.clone());
    let silence = event.silence.unwrap_or_default();
    let mut body = EventBody {
        kind: event.kind,
        at: event.at,
        lease: event.lease,
        holder: event.holder,
        tenant: event.tenant,
        reason: event.reason,
        gap_ms: silence.gap_ms,
        cause: silence.cause,
        possible_overlap_ms: silence.possible_overlap_ms.map(Some),
        grace_used_ms: silence.grace_used_ms,
    };
    // Nothing is written down of an end that was on time: how long the silence was is the policy's.
    if body.kind == "ended"
        && body.reason.as_deref() == Some("expired")
        && let Some(policy) = policy
    {
        let was_away = silence.delayed_ms > 0;
        body.gap_ms = Some(policy.ttl_ms + silence.delayed_ms);
        body.cause = Some(
            if was_away {
                COORDINATOR_AWAY
            } else {
                HOLDER_AWAY
            }
            .to_owned(),
        );
        body.possible_overlap_ms = Some(policy.outage_limit_ms());
    }
    let json = serde_json::to_string(&body).expect("strings have a JSON form");
    sse::Event::default().id(id).event(name).data(json)
}
