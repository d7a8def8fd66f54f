//! The routes for machines: is the process alive, should it get traffic, what has it counted.
//!
//! `/livez` depends on nothing, so that an outage of the store does not make an orchestrator restart
//! every node. `/readyz` does depend on it. Deliberately absent: any cache of the check. A probe every
//! second costs one round trip, and a cached "ready" would lie for as long as it is kept.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::server::Drain;
use crate::telemetry;

/// How long the store may take to answer a readiness check.
const STORE_DEADLINE: Duration = Duration::from_secs(1);

/// Asks the store whether it answers and has its scripts; the error is a sentence for the operator.
///
/// The sentence is sent to whoever asks `/readyz`: no addresses, no credentials.
pub type StoreCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Makes the series of the pools, in Prometheus's text format, and sets the gauges that say how the node is now.
pub type SeriesOfPools = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// What the routes for machines look at.
#[derive(Clone)]
pub struct Machines {
    /// Whether the node is about to stop.
    pub drain: Drain,
    /// Whether the store answers and its scripts are loaded.
    pub store: StoreCheck,
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// What is looked up when somebody reads the metrics.
    pub series: SeriesOfPools,
}

/// A node that is alive.
#[derive(Debug, Serialize, ToSchema)]
struct Alive {
    /// Always `ok`: a node that is not alive does not answer.
    status: &'static str,
}

/// A node that wants traffic.
#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    /// Always `ready`: one that is not is a problem.
    status: &'static str,
    /// What was checked.
    checks: Checks,
}

/// What was checked: `ok`, or why not.
#[derive(Debug, Serialize, ToSchema)]
struct Checks {
    /// Whether the node goes on taking requests.
    #[schema(example = "ok")]
    node: String,
    /// Whether the store answers, with its scripts loaded.
    #[schema(example = "ok")]
    store: String,
}

/// `/livez`, `/readyz` and `/metrics`, to be merged into the other routes.
pub fn routes<S>(machines: Machines) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    described().with_state(machines)
}

/// The description of these routes.
pub fn description() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

fn described() -> OpenApiRouter<Machines> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// Says that the process is alive. Depends on nothing.
#[utoipa::path(get, path = "/livez", tag = "machines", responses((status = 200, body = Alive)))]
async fn livez() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// What is checked: whether the node is about to stop, and in words also the store.
async fn check(machines: &Machines) -> (bool, Checks) {
    let store = match tokio::time::timeout(STORE_DEADLINE, (machines.store)()).await {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "no answer within {} ms",
            STORE_DEADLINE.as_millis()
        )),
    };
    let draining = machines.drain.is_draining();
    let checks = Checks {
        node: if draining {
            "the node is about to stop"
        } else {
            "ok"
        }
        .to_owned(),
        store: store.err().unwrap_or_else(|| "ok".to_owned()),
    };
    (draining, checks)
}

/// Says whether the node should get traffic: the store answers, the scripts are loaded, it is not about to stop.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "machines",
    responses(
        (status = 200, body = Ready),
        (
            status = 503,
            description = "`draining` or `store_unavailable`, with `checks`",
            body = ProblemDocument,
            content_type = "application/problem+json",
        ),
    )
)]
async fn readyz(State(machines): State<Machines>) -> Result<Json<Ready>, Problem> {
    let (draining, checks) = check(&machines).await;
    if draining {
        let detail = "This node is about to stop. Send requests to another one.";
        return Err(Problem::new(Code::Draining, detail)
            .with("outcome", "none")
            .with("checks", checks));
    }
    if checks.store != "ok" {
        let detail =
            "The store does not answer this node as it should. Send requests to another one.";
        return Err(Problem::new(Code::StoreUnavailable, detail)
            .cause(&checks.store)
            .with("outcome", "none")
            .with("checks", checks));
    }
    Ok(Json(Ready {
        status: "ready",
        checks,
    }))
}

/// Everything that the node counted, in Prometheus's text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "machines",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
async fn metrics(State(machines): State<Machines>) -> impl IntoResponse {
    // First, because they set gauges that are rendered then.
    let (draining, checks) = check(&machines).await;
    telemetry::ready(!draining && checks.store == "ok");
    let series = (machines.series)().await;
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        machines.metrics.render() + &series,
    )
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(machines: Machines, path: &str) -> (u16, String) {
        let (router, _): (Router, _) = routes(machines).split_for_parts();
        let response = router
            .oneshot(Request::get(path).body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
            .await
            .unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn machines(store: Result<(), String>) -> Machines {
        Machines {
            drain: Drain::default(),
            store: Arc::new(move || Box::pin(std::future::ready(store.clone()))),
            metrics: telemetry::metrics().unwrap(),
            series: Arc::new(|| Box::pin(std::future::ready(String::new()))),
        }
    }

    #[tokio::test]
    async fn a_node_without_its_store_is_alive_and_not_ready() {
        let lost = machines(Err("connection refused".into()));
        assert_eq!(
            get(lost.clone(), "/livez").await,
            (200, r#"{"status":"ok"}"#.into())
        );
        let (status, body) = get(lost, "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["code"]), (503, &"store_unavailable".into()));
        assert_eq!(body["checks"]["store"], "connection refused");
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_not_waited_for() {
        let mut silent = machines(Ok(()));
        silent.store = Arc::new(|| Box::pin(std::future::pending()));
        let (status, body) = get(silent, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("no answer within 1000 ms"));
    }

    #[tokio::test]
    async fn a_draining_node_is_not_ready_at_once() {
        let machines = machines(Ok(()));
        assert_eq!(get(machines.clone(), "/readyz").await.0, 200);
        machines.drain.begin();
        let (status, body) = get(machines, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("\"code\":\"draining\""));
    }

    #[tokio::test]
    async fn metrics_are_text_with_help() {
        let machines = machines(Ok(()));
        metrics::counter!(telemetry::HTTP_PANICS).increment(0);
        let (status, body) = get(machines, "/metrics").await;
        assert_eq!(status, 200);
        assert!(
            body.contains("# HELP leasehold_http_panics_total"),
            "{body}"
        );
    }
}
