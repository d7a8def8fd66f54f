//! One node, put together: the interface, the pages and what machines ask, around one store.
//!
//! It is above `http` and `ui`, which know nothing of each other here: pages call what the interface calls, and no handler knows that
//! there are pages.

use std::sync::{Arc, LazyLock};

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::{BasePath, Durability, Settings, Switch};
use crate::http::access::{self, RouteMatch};
use crate::http::machines::{self, Check, Machines, Status};
use crate::http::server::{ConnectionLimit, Drain};
use crate::http::{self, App, base_path, trace};
use crate::proof::ProofKeys;
use crate::store::{self, Readiness, Store, Trouble};
use crate::tasks;
use crate::token::Tokens;
use crate::ui;

/// Everything that a node serves.
pub fn service(
    store: &Store,
    tokens: &Tokens,
    proofs: ProofKeys,
    settings: &Settings,
    metrics: &PrometheusHandle,
    drain: &Drain,
    connections: &ConnectionLimit,
) -> Service {
    let app = App::new(store, tokens, proofs, settings, drain, connections);
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
        scrape: machines::Scrape::default(),
    };
    let (router, _) = http::api()
        .with_state(app.clone())
        .merge(machines::routes(machines))
        .split_for_parts();
    let router = router.route(
        "/v1/openapi.json",
        get(async || {
            (
                Extension(base_path::NamesPaths),
                [(CONTENT_TYPE, "application/json")],
                document(),
            )
        }),
    );
    Service {
        // Makes the routes ready once instead of on every request.
        router: router
            .merge(ui::routes().with_state(app.clone()))
            .merge(http::widget::routes())
            .with_state(()),
        app,
        base_path: settings.base_path(),
        metrics_apart: settings.metrics_listen.is_some(),
        reported: match (settings.trail, settings.durability) {
            (Switch::On, _) => Some(Reported::ScriptTrace),
            (_, Durability::Replicated) => Some(Reported::Durability),
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

const METRICS: &str = "/metrics";

/// What is on the address of `metrics_listen`.
const MACHINES: [&str; 4] = [METRICS, "/livez", "/readyz", "/healthz"];

/// The whole of it: from a request to its answer.
pub struct Service {
    router: Router,
    app: App,
    reported: Option<Reported>,
    base_path: BasePath,
    /// Whether the metrics are on an address of their own.
    metrics_apart: bool,
}

/// What answers tell of the store's work, in headers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reported {
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

/// The description of the interface. All answers share its bytes: a client that asks for it often and reads slowly holds no copies.
fn document() -> Bytes {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
        let json = serde_json::to_vec(&http::openapi()).expect("a document has a JSON form");
        Bytes::from(json)
    });
    DOCUMENT.clone()
}

impl Service {
    /// Answers a request. What no rule of the access table is about is at no path, whatever is routed.
    ///
    /// These are plain functions around each other and no layers of the router: a layer costs each heartbeat as much as the
    /// check of its token does.
    pub async fn answer(&self, mut request: Request) -> Response {
        let base = base_path::of(&request, self.app.access(), &self.base_path);
        if base.is_none() {
            return self.answer_at_root(request).await;
        }
        base_path::take_off(&base, &mut request);
        // For pages that write an address in a text, where no link of theirs would get the path.
        request.extensions_mut().insert(base.clone());
        let response = Box::pin(self.answer_at_root(request)).await;
        base_path::put_on(&base, response).await
    }

    async fn answer_at_root(&self, request: Request) -> Response {
        let found = access::find(request.uri().path());
        let found = found.filter(|found| !(self.metrics_apart && found.route() == METRICS));
        self.answer_to(found, request).await
    }

    /// Answers on the address that is for machines alone.
    pub async fn answer_machine(&self, request: Request) -> Response {
        let found = access::find(request.uri().path());
        let found = found.filter(|found| MACHINES.contains(&found.route()));
        self.answer_to(found, request).await
    }

    async fn answer_to(&self, found: Option<RouteMatch>, request: Request) -> Response {
        let name = found.as_ref().map(RouteMatch::route);
        trace::instrument(name, request, |request| {
            self.with_store_headers(found, request)
        })
        .await
    }

    /// Tells in headers what the store did for the request, if a setting asks for it.
    async fn with_store_headers(&self, found: Option<RouteMatch>, request: Request) -> Response {
        let Some(reported) = self.reported else {
            return self.with_headers(found, request).await;
        };
        let trace = store::ScriptTrace::default();
        let mut response = trace.follow(self.with_headers(found, request)).await;
        let headers = response.headers_mut();
        if let Some(durable) = trace.durable() {
            let durable = if durable { "true" } else { "false" };
            headers.insert("leasehold-durable", HeaderValue::from_static(durable));
        }
        if reported == Reported::ScriptTrace
            && let Ok(steps) = HeaderValue::from_str(&trace.to_text())
        {
            headers.insert("leasehold-trail", steps);
        }
        response
    }

    async fn with_headers(&self, found: Option<RouteMatch>, request: Request) -> Response {
        if ui::has(request.uri().path()) {
            // Apart, so that it weighs on no heartbeat.
            let response =
                ui::with_page_headers(&self.app, request, |request| self.dispatch(found, request));
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
                "these tasks keep failing; see the log: {}",
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
            machines::node::record(&store);
            let mut text = String::new();
            machines::pools::write(&mut text, &series);
            text
        })
    })
}
