//! `/v1/webhooks/{id}/deliveries`: what was sent, what waits, what was given up; the test button, and sending again.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::App;
use super::super::accept::{self, Format};
use super::super::access::Operator;
use super::super::csv::{self, Cell};
use super::super::extract::{Path, Query};
use super::super::problem::{Code, Problem};
use super::find;
use crate::access_key::Role;
use crate::alerts::message;
use crate::store::{Attempt, Delivery, Enqueued, Stage};
use crate::time::Timestamp;
use crate::webhook::WebhookId;

/// Entries of each state on a page unless the caller says otherwise, and at most.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 500;
/// Characters of the name of a test.
const NAME: usize = 16;
/// The longest wait for the answer to a test, and how often is looked for it.
const LONGEST_WAIT_MS: u64 = 20_000;
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(resend))
        .routes(routes!(test))
}

/// One attempt.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AttemptBody {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    /// How long it took.
    pub(crate) took_ms: u64,
    /// The status that the receiver answered, or the code of the mail server; null if it did not.
    pub(crate) status: Option<u16>,
    /// What went wrong; null if nothing did.
    pub(crate) error: Option<String>,
    /// The first part of the receiver's answer; only admins see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reply: Option<String>,
}

/// A message for one webhook.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryBody {
    /// Its name, and its `webhook-id` in all attempts.
    #[schema(example = "msg_4-1795000000000-0_V1StGXR8Z5jd")]
    pub(crate) id: String,
    /// `pending`, `delivered` or `dead`.
    #[schema(example = "delivered")]
    pub(crate) state: &'static str,
    /// The `type` of the message.
    #[serde(rename = "type")]
    #[schema(example = "pool.full")]
    pub(crate) kind: String,
    /// The pool, if it is about one.
    pub(crate) pool: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Timestamp,
    /// When it is tried next, or by when the attempt that is under way ends; null if it is not pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) next_attempt_at: Option<Timestamp>,
    /// When it was delivered or given up; null while it is pending.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) finished_at: Option<Timestamp>,
    /// How often it was tried, since it was made or sent again.
    pub(crate) tries: u32,
    /// How the last of them ended, at most eight, the oldest first.
    pub(crate) attempts: Vec<AttemptBody>,
    /// What is sent.
    #[schema(value_type = Object)]
    pub(crate) message: serde_json::Value,
}

impl AttemptBody {
    fn of(attempt: Attempt, to_admin: bool) -> Self {
        Self {
            at: Timestamp(attempt.at_ms),
            took_ms: attempt.took_ms,
            status: attempt.status,
            error: attempt.error,
            reply: attempt.reply.filter(|_| to_admin),
        }
    }
}

impl DeliveryBody {
    fn of(delivery: Delivery, stage: Stage, at: Timestamp, to_admin: bool) -> Self {
        let attempt = |attempt| AttemptBody::of(attempt, to_admin);
        Self {
            state: stage.as_str(),
            created_at: Timestamp(delivery.created_at_ms),
            next_attempt_at: (stage == Stage::Pending).then_some(at),
            finished_at: (stage != Stage::Pending).then_some(at),
            message: serde_json::from_str(&delivery.body).unwrap_or_default(),
            id: delivery.id,
            kind: delivery.kind,
            pool: delivery.pool,
            tries: delivery.tries,
            attempts: delivery.attempts.into_iter().map(attempt).collect(),
        }
    }
}

/// Part of the deliveries.
#[derive(Debug, Serialize, ToSchema)]
struct Deliveries {
    items: Vec<DeliveryBody>,
    /// Always null: of each state the newest are listed.
    next_cursor: Option<String>,
}

/// Which deliveries are wanted.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeliveriesQuery {
    /// Only `pending`, `delivered` or `dead` ones.
    state: Option<String>,
    /// Most of each state, 1 to 500; 100 without it.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
    /// `json` or `csv`, in place of the header `Accept`.
    #[param(inline)]
    format: Option<Format>,
}

/// Lists the deliveries of a webhook, newest first: the dead letters with `state=dead`.
///
/// Kept are the last 100 that were delivered, 500 that are dead, and up to 10 000 that are pending.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", operation_id = "list_deliveries", tag = "alerts",
    params(DeliveriesQuery),
    responses((status = 200, body = Deliveries)),
)]
async fn list(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    headers: HeaderMap,
    Query(wanted): Query<DeliveriesQuery>,
) -> Result<Response, Problem> {
    let as_csv = accept::is_csv(&headers, wanted.format);
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`limit` is 1 to {MAX_LIMIT}."),
        ));
    }
    app.0.store.refresh_webhooks().await?;
    let webhook = find(&app, &id)?;
    let items = by_stage(&app, &operator, &webhook.id, wanted.state.as_deref(), limit).await?;
    if as_csv {
        return Ok(to_csv(&items));
    }
    let next_cursor = None;
    Ok(Json(Deliveries { items, next_cursor }).into_response())
}

/// Deliveries of one state or of all, newest first.
pub(crate) async fn by_stage(
    app: &App,
    operator: &Operator,
    webhook: &WebhookId,
    state: Option<&str>,
    limit: usize,
) -> Result<Vec<DeliveryBody>, Problem> {
    let state = state.filter(|state| !state.is_empty());
    let stages = Stage::ALL.map(|stage| (stage, state.is_none_or(|state| state == stage.as_str())));
    if stages.iter().all(|(_, wanted)| !wanted) {
        return Err(Problem::new(
            Code::InvalidRequest,
            "`state` is pending, delivered or dead.",
        ));
    }
    let to_admin = operator.caller.role() == Role::Admin;
    let mut items = Vec::new();
    for (stage, _) in stages.into_iter().filter(|(_, wanted)| *wanted) {
        let found = app.0.store.deliveries(webhook, stage, limit).await?;
        items.extend(
            found
                .into_iter()
                .map(|(delivery, at)| DeliveryBody::of(delivery, stage, at, to_admin)),
        );
    }
    items.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    Ok(items)
}

/// The deliveries as a file.
pub(crate) fn to_csv(items: &[DeliveryBody]) -> Response {
    let columns = [
        "id",
        "state",
        "type",
        "pool",
        "created_at",
        "next_attempt_at",
        "finished_at",
        "tries",
        "last_status",
        "last_error",
    ];
    let rows = items.iter().map(|item| {
        let last = item.attempts.last();
        let instant =
            |at: Option<Timestamp>| Cell::Plain(at.map(|at| at.to_string()).unwrap_or_default());
        let status = last.and_then(|last| last.status);
        vec![
            Cell::plain(&item.id),
            Cell::plain(&item.state),
            Cell::plain(&item.kind),
            Cell::text(item.pool.as_deref()),
            Cell::plain(&item.created_at),
            instant(item.next_attempt_at),
            instant(item.finished_at),
            Cell::plain(&item.tries),
            Cell::Plain(status.map(|status| status.to_string()).unwrap_or_default()),
            Cell::text(last.and_then(|last| last.error.as_deref())),
        ]
    });
    csv::file("leasehold-deliveries", &columns, rows)
}

/// What was put on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnqueuedBody {
    /// The delivery; how it ends is in the list of deliveries.
    #[schema(example = "msg_test-a8Kd0sPq2LmXz91c_V1StGXR8Z5jd")]
    delivery: String,
}

/// Sends a delivery again, now: one that was given up, one that was delivered, or one that waits.
///
/// It has the same `webhook-id` as before, so a receiver that has it already can tell.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/deliveries/{delivery}/resend", operation_id = "resend_delivery", tag = "alerts",
    responses((status = 202, body = EnqueuedBody)),
)]
async fn resend(
    State(app): State<App>,
    operator: Operator,
    Path((id, delivery)): Path<(String, String)>,
) -> Result<(StatusCode, Json<EnqueuedBody>), Problem> {
    let on_its_way = try_again(&app, &operator, &id, delivery).await?;
    Ok((StatusCode::ACCEPTED, Json(on_its_way)))
}

/// Sends a delivery again.
pub(crate) async fn try_again(
    app: &App,
    operator: &Operator,
    id: &str,
    delivery: String,
) -> Result<EnqueuedBody, Problem> {
    operator.notes.target(&format!("{id} {delivery}"));
    app.0.store.refresh_webhooks().await?;
    let webhook = find(app, id)?;
    if webhook.disabled.is_some() {
        return Err(is_disabled());
    }
    match app.0.store.resend_delivery(&webhook.id, &delivery).await? {
        Enqueued::Queued => Ok(EnqueuedBody { delivery }),
        Enqueued::Full => Err(is_full()),
        Enqueued::Unknown => Err(Problem::new(
            Code::DeliveryNotFound,
            "There is no such delivery of this webhook, or no longer. GET …/deliveries lists those that are kept.",
        )),
    }
}

/// How long somebody waits for the answer to a test.
#[derive(Debug, Default, Clone, Copy, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TestQuery {
    /// How long to wait for what the receiver says, in milliseconds, at most 20000; 0 without it.
    #[param(maximum = 20_000)]
    pub(crate) wait_ms: u64,
}

/// A test that somebody waited for, and how its first attempt ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TestedBody {
    /// The delivery.
    #[schema(example = "msg_test-a8Kd0sPq2LmXz91c_V1StGXR8Z5jd")]
    pub(crate) delivery: String,
    /// What the receiver said to the first attempt: the status of HTTP or the code of SMTP. Null if it said nothing in time.
    pub(crate) attempt: Option<AttemptBody>,
}

/// Sends a test message, whatever the webhook's `events` are.
///
/// With `wait_ms` the answer is 200, with the attempt and what the receiver said. A receiver that took it may still fail at it later: workflows of
/// Teams accept everything, so look into the channel.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/test", operation_id = "test_webhook", tag = "alerts",
    params(TestQuery),
    responses(
        (status = 200, description = "The first attempt has ended; `attempt` is how", body = TestedBody),
        (status = 202, description = "It is on its way", body = EnqueuedBody),
    ),
)]
async fn test(
    State(app): State<App>,
    operator: Operator,
    Path(id): Path<String>,
    Query(query): Query<TestQuery>,
) -> Result<Response, Problem> {
    let tested = send_test(&app, &operator, &id, query).await?;
    if tested.attempt.is_some() {
        return Ok(Json(tested).into_response());
    }
    let on_its_way = EnqueuedBody {
        delivery: tested.delivery,
    };
    Ok((StatusCode::ACCEPTED, Json(on_its_way)).into_response())
}

/// Sends a test message, and waits for the end of the first attempt.
pub(crate) async fn send_test(
    app: &App,
    operator: &Operator,
    id: &str,
    query: TestQuery,
) -> Result<TestedBody, Problem> {
    if query.wait_ms > LONGEST_WAIT_MS {
        return Err(Problem::new(
            Code::InvalidRequest,
            format!("`wait_ms` is at most {LONGEST_WAIT_MS}."),
        ));
    }
    operator.notes.target(id);
    app.0.store.refresh_webhooks().await?;
    let webhook = find(app, id)?;
    if webhook.disabled.is_some() {
        return Err(is_disabled());
    }
    let now = app.0.store.now();
    let name = Alphanumeric.sample_string(&mut rand::rng(), NAME);
    let delivery = Delivery {
        id: format!("msg_test-{name}_{}", webhook.id),
        webhook: webhook.id.clone(),
        kind: message::TEST.to_owned(),
        pool: None,
        created_at_ms: now.0,
        body: message::test(now),
        tries: 0,
        attempts: Vec::new(),
    };
    match app.0.store.enqueue_delivery(&delivery).await? {
        Enqueued::Full => return Err(is_full()),
        Enqueued::Queued | Enqueued::Unknown => {}
    }
    let ends = Instant::now() + Duration::from_millis(query.wait_ms);
    let mut attempt = None;
    while attempt.is_none() && Instant::now() < ends && !app.0.drain.is_draining() {
        tokio::time::sleep(LOOK_EVERY).await;
        // The test is sent, so not being able to look is no failure of it.
        let known = app.0.store.delivery(&delivery.id).await.ok().flatten();
        attempt = known.and_then(|known| known.attempts.into_iter().next());
    }
    Ok(TestedBody {
        delivery: delivery.id,
        attempt: attempt.map(|attempt| AttemptBody::of(attempt, true)),
    })
}

/// How the first attempt at a test ended; nothing if it has not yet, or if it is no delivery of this webhook.
pub(crate) async fn tested(
    app: &App,
    operator: &Operator,
    webhook: &WebhookId,
    delivery: &str,
) -> Result<Option<AttemptBody>, Problem> {
    if !delivery.ends_with(&format!("_{webhook}")) {
        return Ok(None);
    }
    let known = app.0.store.delivery(delivery).await?;
    let first = known.and_then(|known| known.attempts.into_iter().next());
    let to_admin = operator.caller.role() == Role::Admin;
    Ok(first.map(|attempt| AttemptBody::of(attempt, to_admin)))
}

fn is_disabled() -> Problem {
    Problem::new(
        Code::InvalidRequest,
        "The webhook is disabled, so nothing is sent to it. Enable it first: PATCH with {\"enabled\": true}.",
    )
}

fn is_full() -> Problem {
    Problem::new(
        Code::InvalidRequest,
        "As many messages wait for this webhook as may. Look why its receiver does not take them.",
    )
}
