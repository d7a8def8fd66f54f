//! The only module that speaks HTTP: one file for each resource, and the edge that they share.
//!
//! Handlers translate and nothing more: extract, one call of the store, one `match`. What they know about a
//! request that failed is a [`problem::Problem`].

pub(crate) mod access;
pub(crate) mod audit;
pub(crate) mod csv;
mod events;
pub mod extract;
mod history;
mod json;
pub(crate) mod keys;
pub(crate) mod leases;
pub mod machines;
mod named;
pub(crate) mod nodes;
pub(crate) mod pools;
pub mod problem;
pub mod server;
pub(crate) mod sizing;
mod tokens;
pub mod trace;
mod widget;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get};
use metrics_exporter_prometheus::PrometheusHandle;
use tower::Layer as _;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use self::access::{Access, Credentials};
use self::machines::Machines;
use self::problem::{Code, Problem};
use self::server::Drain;
use crate::config::{Settings, Switch};
use crate::store::{self, Store};
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

/// What every answer of the interface is about; the text at the top of the OpenAPI document.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Leasehold",
        description = "Seat leases: acquire a seat, keep it with heartbeats, give it back. Instants are RFC 3339 in UTC, \
                       lengths are milliseconds. Errors are problem documents (RFC 9457) with a stable `code`. Clients \
                       must ignore fields that they do not know."
    ),
    tags(
        (name = "leases", description = "For holders and operators: seats that are held."),
        (name = "pools", description = "For operators: sets of seats, and their policy."),
        (name = "keys", description = "For admins: who may do what, and who did."),
        (name = "history", description = "For operators: what happened, and what it means."),
        (name = "machines", description = "For balancers, orchestrators and monitoring."),
    ),
    modifiers(&Credentials),
    components(schemas(problem::ProblemDocument))
)]
struct Description;

/// The routes of holders and operators, with their description.
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(pools::routes())
        .merge(named::routes())
        .merge(leases::routes())
        .merge(events::routes())
        .merge(history::routes())
        .merge(sizing::routes())
        .merge(tokens::routes())
        .merge(keys::routes())
        .merge(audit::routes())
        .merge(nodes::routes())
}

/// Everything that a node serves.
pub fn router(
    store: &Store,
    tokens: &Tokens,
    settings: &Settings,
    metrics: &PrometheusHandle,
    drain: &Drain,
) -> Router {
    let app = App(Arc::new(Inner {
        store: store.clone(),
        tokens: tokens.clone(),
        access: Access::new(settings),
        drain: drain.clone(),
    }));
    let readiness = store.clone();
    let machines = Machines {
        drain: drain.clone(),
        store: Arc::new(move || {
            let store = readiness.clone();
            Box::pin(async move {
                store.ping().await.map_err(|error| match error.trouble() {
                    Some(trouble) => trouble.advice().to_owned(),
                    None => "Redis does not answer".to_owned(),
                })
            })
        }),
        metrics: metrics.clone(),
        series: series_of_pools(store, drain),
    };
    let (router, description) = api()
        .with_state(app.clone())
        .merge(machines::routes(machines))
        .split_for_parts();
    let description = Arc::new(
        serde_json::to_vec(&described(description)).expect("texts and numbers have a JSON form"),
    );
    let router = router.route(
        "/v1/openapi.json",
        get(move || {
            let description = Arc::clone(&description);
            async move {
                (
                    [("content-type", "application/json")],
                    description.as_ref().clone(),
                )
            }
        }),
    );
    // The guard also answers for methods that a path does not have: a preflight is one of them.
    let guarded = |routes: Router| {
        routes
            .method_not_allowed_fallback(trace::no_method)
            .layer(from_fn_with_state(app.clone(), access::guard))
    };
    // Pages are dressed apart, so that it weighs on no heartbeat.
    let pages = guarded(ui::routes().with_state(app.clone())).layer(from_fn(ui::dress));
    let nowhere = from_fn(ui::dress).layer(any(trace::no_route));
    let router = guarded(router.merge(widget::routes()))
        .merge(pages)
        .fallback_service(nowhere);
    let router =
        if settings.durability == store::Durability::Replicated || settings.trail == Switch::On {
            let show = settings.trail == Switch::On;
            router.layer(from_fn(move |request: Request, next: Next| {
                follow(show, request, next)
            }))
        } else {
            router
        };
    trace::edge(router)
}

/// How the node and its pools are when somebody asks, for `/metrics`.
fn series_of_pools(store: &Store, drain: &Drain) -> machines::SeriesOfPools {
    let (store, drain) = (store.clone(), drain.clone());
    Arc::new(move || {
        let (store, drain) = (store.clone(), drain.clone());
        Box::pin(async move {
            let series = store.series().await;
            telemetry::node(&store, drain.is_draining());
            let mut text = String::new();
            telemetry::pools::write(&mut text, &series);
            text
        })
    })
}

/// Follows what the store does for a request, and says in a header whether a replica has it: a release has no body.
async fn follow(show: bool, request: Request, next: Next) -> Response {
    let trail = store::Steps::default();
    let mut response = trail.follow(next.run(request)).await;
    let headers = response.headers_mut();
    if let Some(durable) = trail.durable() {
        let durable = if durable { "true" } else { "false" };
        headers.insert("leasehold-durable", HeaderValue::from_static(durable));
    }
    if show && let Ok(steps) = HeaderValue::from_str(&trail.to_text()) {
        headers.insert("leasehold-trail", steps);
    }
    response
}

/// The description of the whole interface (OpenAPI 3.1), as served at `/v1/openapi.json`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut machines = machines::description();
    machines.merge(api().into_openapi());
    described(machines)
}

/// Adds the route of the description itself, which no handler can describe before it exists.
fn described(mut description: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    use utoipa::openapi::path::{HttpMethod, OperationBuilder};
    use utoipa::openapi::{PathItem, ResponseBuilder};
    let operation = OperationBuilder::new()
        .tag("machines")
        .summary(Some("This document."))
        .operation_id(Some("openapi"))
        .response(
            "200",
            ResponseBuilder::new().description("OpenAPI 3.1").build(),
        )
        .build();
    description.paths.paths.insert(
        "/v1/openapi.json".into(),
        PathItem::new(HttpMethod::Get, operation),
    );
    description
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
            store::Error::Broken(_) => Self::new(
                Code::Internal,
                "Something went wrong inside. It was logged.",
            )
            .cause(&error),
        }
    }
}

/// There is no pool of this name.
pub(crate) fn pool_not_found(pool: &crate::pool::PoolName) -> Problem {
    Problem::new(
        Code::PoolNotFound,
        format!("There is no pool named {pool}. An operator creates it with PUT /v1/pools/{pool}."),
    )
}
