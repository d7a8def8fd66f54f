//! The only module that speaks HTTP: one file for each resource, and the edge that they share.
//!
//! Handlers translate and nothing more: extract, one call of the store, one `match`. What they know about a
//! request that failed is a [`problem::Problem`].

pub(crate) mod access;
pub(crate) mod alerts;
pub(crate) mod audit;
mod blocks;
pub(crate) mod csv;
mod events;
pub mod extract;
pub(crate) mod history;
mod json;
pub(crate) mod keys;
pub(crate) mod leases;
pub mod machines;
pub(crate) mod named;
pub(crate) mod nodes;
mod openapi;
pub(crate) mod pools;
pub mod problem;
pub(crate) mod queue;
pub mod server;
pub(crate) mod sizing;
mod tokens;
pub mod trace;
pub(crate) mod webhooks;
mod widget;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use self::access::{Access, RouteMatch};
use self::json::Json;
use self::machines::{Check, Machines, Status};
pub use self::openapi::document as openapi;
use self::problem::{Code, Problem};
use self::server::Drain;
use crate::alerts::address::Allowed;
use crate::config::{Settings, Switch};
use crate::store::{self, Readiness, Store, Trouble};
use crate::tasks;
use crate::telemetry;
use crate::token::Tokens;
use crate::ui;

/// What handlers can reach.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    store: Store,
    tokens: Tokens,
    access: Access,
    drain: Drain,
    /// Where webhooks may lead.
    webhooks_allowed: Allowed,
}

impl App {
    /// Pools, leases, keys.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// What signs.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// Who may do what.
    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }
}

/// The routes of holders and operators, with their description.
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::Description::openapi())
        .merge(pools::routes())
        .merge(named::routes())
        .merge(queue::routes())
        .merge(blocks::routes())
        .merge(leases::routes())
        .merge(events::routes())
        .merge(history::routes())
        .merge(sizing::routes())
        .merge(tokens::routes())
        .merge(keys::routes())
        .merge(alerts::routes())
        .merge(webhooks::routes())
        .merge(audit::routes())
        .merge(nodes::routes())
}

/// Everything that a node serves.
pub fn service(
    store: &Store,
    tokens: &Tokens,
    settings: &Settings,
    metrics: &PrometheusHandle,
    drain: &Drain,
) -> Service {
    let app = App(Arc::new(Inner {
        store: store.clone(),
        tokens: tokens.clone(),
        access: Access::new(settings),
        drain: drain.clone(),
        webhooks_allowed: Allowed::of(settings),
    }));
    let (readiness, installation) = (store.clone(), store.clone());
    let machines = Machines {
        drain: drain.clone(),
        checks: vec![
            Check::new(machines::STORE, move || can_decide(readiness.clone())),
            Check::new("secret", {
                let store = store.clone();
                move || std::future::ready(secret_is_shared(&store))
            }),
            Check::new("tasks", || std::future::ready(tasks_go_on())),
            Check::new("installation", move || {
                std::future::ready(is_ours(&installation))
            }),
        ],
        metrics: metrics.clone(),
        series: series_of_pools(store),
    };
    let (router, _) = api()
        .with_state(app.clone())
        .merge(machines::routes(machines))
        .split_for_parts();
    let router = router.route("/v1/openapi.json", get(async || Json(openapi::document())));
    Service {
        // Makes the routes ready once instead of on every request.
        router: router
            .merge(ui::routes().with_state(app.clone()))
            .merge(widget::routes())
            .with_state(()),
        app,
        trail: match (settings.trail, settings.durability) {
            (Switch::On, _) => Some(Follow::ScriptTrace),
            (_, store::Durability::Replicated) => Some(Follow::Durability),
            _ => None,
        },
    }
}

/// What `/readyz` says of whose data Redis holds.
fn is_ours(store: &Store) -> Status {
    if !store.is_at_another_installation() {
        return Status::Ok;
    }
    let reason = "Redis holds another installation than at the start of this node: see where redis_url leads";
    Status::Failed("another", reason.to_owned())
}

/// What `/readyz` says of the store.
async fn can_decide(store: Store) -> Status {
    match store.readiness().await {
        Readiness::Ready => Status::Ok,
        Readiness::Full => Status::Limited(Trouble::Full.as_str(), Trouble::Full.advice().into()),
        Readiness::Partly(trouble) => Status::Limited(
            "partial",
            format!("a part of the cluster does not work: {}", trouble.advice()),
        ),
        Readiness::Not(trouble) => Status::Failed(trouble.as_str(), trouble.advice().into()),
    }
}

/// The whole of it: from a request to its answer.
pub struct Service {
    router: Router,
    app: App,
    trail: Option<Follow>,
}

/// What an answer says about the work that the store had with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    /// Whether a replica has it: a release has no body to say it in.
    Durability,
    /// That, and each script that ran.
    ScriptTrace,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

impl Service {
    /// Answers a request. What no rule of the access table is about is at no path, whatever is routed.
    ///
    /// These are plain functions around each other and no layers of the router: a layer costs each heartbeat as much as the
    /// check of its token does.
    pub async fn answer(&self, request: Request) -> Response {
        let found = access::find(request.uri().path());
        let name = found.as_ref().map(|found| found.path.name);
        trace::instrument(name, request, |request| self.trace_scripts(found, request)).await
    }

    /// Follows what the store does for the request, if somebody wants to know.
    async fn trace_scripts(&self, found: Option<RouteMatch>, request: Request) -> Response {
        let Some(trace_scripts) = self.trail else {
            return self.with_headers(found, request).await;
        };
        let trace = store::ScriptTrace::default();
        let mut response = trace.follow(self.with_headers(found, request)).await;
        let headers = response.headers_mut();
        if let Some(durable) = trace.durable() {
            let durable = if durable { "true" } else { "false" };
            headers.insert("leasehold-durable", HeaderValue::from_static(durable));
        }
        if trace_scripts == Follow::ScriptTrace
            && let Ok(steps) = HeaderValue::from_str(&trace.to_text())
        {
            headers.insert("leasehold-trail", steps);
        }
        response
    }

    async fn with_headers(&self, found: Option<RouteMatch>, request: Request) -> Response {
        if ui::has(request.uri().path()) {
            // Apart, so that it weighs on no heartbeat.
            let response = ui::with_page_headers(request, |request| self.dispatch(found, request));
            return Box::pin(response).await;
        }
        self.dispatch(found, request).await
    }

    async fn dispatch(&self, found: Option<RouteMatch>, request: Request) -> Response {
        match found {
            Some(found) => access::guard(&self.app, found, &self.router, request).await,
            None => trace::no_route().into_response(),
        }
    }
}

/// Whether the other nodes can verify what this one signs.
fn secret_is_shared(store: &Store) -> Status {
    if store.signs_what_others_verify() {
        return Status::Ok;
    }
    let reason = "this node signs with a secret that others do not have; give all nodes the same secret, and the former one \
                  in previous_secrets; leasehold doctor and /v1/nodes name them";
    Status::Failed("differs", reason.to_owned())
}

/// Whether the work in the background goes on.
fn tasks_go_on() -> Status {
    match tasks::failing().as_slice() {
        [] => Status::Ok,
        failing => Status::Failed(
            "failing",
            format!(
                "these tasks fail again and again, and the log says where: {}",
                failing.join(", ")
            ),
        ),
    }
}

/// How the node and its pools are when somebody asks, for `/metrics`.
fn series_of_pools(store: &Store) -> machines::SeriesOfPools {
    let store = store.clone();
    Arc::new(move || {
        let store = store.clone();
        Box::pin(async move {
            let series = store.series().await;
            telemetry::node(&store);
            let mut text = String::new();
            telemetry::pools::write(&mut text, &series);
            text
        })
    })
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match &error {
            store::Error::Unavailable { outcome, .. } => {
                let detail = match outcome {
                    store::Outcome::None => {
                        "The store did not take the request, so nothing has changed. Send it again."
                    }
                    store::Outcome::Unknown => {
                        "The store did not answer, so it may have done what was asked. Send the same request again, \
                         with the same Idempotency-Key if it had one."
                    }
                };
                Self::new(Code::StoreUnavailable, detail)
                    .with("outcome", outcome.as_str())
                    .cause(&error)
            }
            store::Error::Full => Self::new(
                Code::StoreFull,
                "The store has no memory for a new lease. Existing leases go on. Ask again later.",
            )
            .with("outcome", store::Outcome::None.as_str())
            .cause(&error),
            store::Error::Newer(what) => Self::new(
                Code::NewerNodeNeeded,
                format!(
                    "A later version wrote {what}, and this node cannot read it. Ask a node of that version, or \
                     replace this one by it."
                ),
            )
            .with("outcome", store::Outcome::None.as_str())
            .cause(&error),
            store::Error::OlderNode(sentence) => {
                Self::new(Code::OlderNode, sentence.clone()).cause(&error)
            }
            store::Error::Broken(_) => Self::new(
                Code::Internal,
                "Something went wrong inside. It was logged.",
            )
            .cause(&error),
        }
    }
}

/// There is no pool of this name.
pub(crate) fn pool_not_found(pool: &crate::names::PoolName) -> Problem {
    Problem::new(
        Code::PoolNotFound,
        format!("There is no pool named {pool}. An operator creates it with PUT /v1/pools/{pool}."),
    )
}
