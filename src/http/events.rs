//! `GET /v1/pools/{pool}/events`: what happens in a pool, as it happens (server-sent events).

use std::collections::{BTreeSet, HashMap, VecDeque};
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
use crate::lease::Lease;
use crate::names::{PoolName, Tenant};
use crate::pool::Policy;
use crate::store::{Event, EventId, Selection};
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
    let own = match operator.tenants_in(&pool) {
        Some(tenants) => Some(OwnLeases::of(&app, &pool, tenants).await?),
        None => None,
    };
    Ok(event_stream(room, follow(app, pool, own, after)))
}

/// The leases of the tenants that a caller sees. What ends by time is written down without its tenant: it has to be known from before. Of
/// what began before the stream and ended while its reader was away, nothing is told.
struct OwnLeases {
    tenants: BTreeSet<Tenant>,
    /// Holder and tenant of each that lives.
    live: HashMap<String, (Option<String>, Option<String>)>,
}

impl OwnLeases {
    async fn of(app: &App, pool: &PoolName, tenants: BTreeSet<Tenant>) -> Result<Self, Problem> {
        let own = Selection::of(None, None).within(Some(tenants.clone()));
        let mut live = HashMap::new();
        let known = |leases: Vec<Lease>| {
            live.extend(leases.into_iter().map(|lease| {
                let holder = lease.holder.map(|holder| holder.as_str().to_owned());
                (
                    lease.id.to_string(),
                    (holder, lease.tenant.map(String::from)),
                )
            }));
            Ok::<_, Problem>(())
        };
        app.0.store.each_page(pool, own, known).await?;
        Ok(Self { tenants, live })
    }

    /// The event, with what is known of its lease, if it is one of theirs.
    fn see(&mut self, mut event: Event) -> Option<Event> {
        if let Some((holder, tenant)) = event.lease.as_ref().and_then(|id| self.live.get(id)) {
            // Whether somebody uses a seat is told of people only where the pool says so, and then it is written down.
            if !matches!(event.kind.as_str(), "idle" | "active") {
                event.holder = event.holder.or_else(|| holder.clone());
            }
            event.tenant = event.tenant.or_else(|| tenant.clone());
        }
        let tenant = event.tenant.clone()?;
        if !self.tenants.contains(&Tenant::recorded(tenant).ok()?) {
            return None;
        }
        match (&event.lease, event.kind.as_str()) {
            (Some(lease), "started" | "resumed" | "rebuilt") => {
                let known = (event.holder.clone(), event.tenant.clone());
                self.live.insert(lease.clone(), known);
            }
            (Some(lease), "ended") => {
                self.live.remove(lease);
            }
            _ => {}
        }
        Some(event)
    }
}

/// The events after a place, for ever; it ends when the node is about to stop, so that clients go to another one.
fn follow(
    app: App,
    pool: PoolName,
    own: Option<OwnLeases>,
    after: EventId,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let first = (app, pool, own, after, VecDeque::<Event>::new());
    stream::unfold(
        first,
        |(app, pool, mut own, mut after, mut waiting)| async move {
            loop {
                // Also while there is much to tell: whoever reads slowly would hold up the end of the node.
                if app.0.drain.is_draining() {
                    return None;
                }
                if let Some(event) = waiting.pop_front() {
                    after = event.id;
                    let seen = match &mut own {
                        Some(own) => own.see(event),
                        None => Some(event),
                    };
                    let Some(event) = seen else { continue };
                    let policy = app.0.store.cached_policy(&pool);
                    let event = written(event, policy.as_deref());
                    return Some((Ok(event), (app, pool, own, after, waiting)));
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
