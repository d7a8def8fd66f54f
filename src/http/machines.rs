//! The routes for machines: is the process alive, should it get traffic, what has it counted.
//!
//! `/livez` depends on nothing, so that an outage of the store does not make an orchestrator restart
//! every node. `/readyz` does depend on it. Deliberately absent: any cache of the check. A probe every
//! second costs one round trip, and a cached "ready" would lie for as long as it is kept.

pub(crate) mod node;
pub(crate) mod pools;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::problem::{Code, Problem, ProblemDocument};
use crate::http::server::Drain;
use crate::telemetry;

/// How long a check may take.
const CHECK_DEADLINE: Duration = Duration::from_secs(1);

/// The check whose failure has a code of its own.
pub const STORE: &str = "store";

/// What a check found. The word is stable and for programs; the sentence is for an operator and is sent to whoever asks
/// `/readyz`: no addresses, no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// All is as it should be.
    Ok,
    /// The node should get requests, although it cannot do all of them.
    Limited(&'static str, String),
    /// Other nodes should get the requests.
    Failed(&'static str, String),
}

/// Something without which a node cannot decide about seats. [`Machines::checks`] lists all of them.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    status: Arc<dyn Fn() -> BoxFuture<'static, Status> + Send + Sync>,
}

impl Check {
    /// A check of this name in `checks`; `status` is asked with every probe and every scrape.
    pub fn new<F>(name: &'static str, status: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Status> + Send + 'static,
    {
        Self {
            name,
            status: Arc::new(move || Box::pin(status())),
        }
    }

    async fn run(&self) -> Status {
        let limit = CHECK_DEADLINE.as_millis();
        tokio::time::timeout(CHECK_DEADLINE, (self.status)())
            .await
            .unwrap_or_else(|_| Status::Failed("silent", format!("no answer within {limit} ms")))
    }
}

/// Makes the series of the pools, in Prometheus's text format, and sets the gauges of the node.
pub type SeriesOfPools = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// What the routes for machines look at.
#[derive(Clone)]
pub struct Machines {
    /// Whether the node is about to stop.
    pub drain: Drain,
    /// What the node needs to be able to decide.
    pub checks: Vec<Check>,
    /// What was counted.
    pub metrics: PrometheusHandle,
    /// What is looked up when somebody reads the metrics.
    pub series: SeriesOfPools,
    /// The text that was made of both.
    pub scrape: Scrape,
}

/// The text of `/metrics`. Who asks while one is being made gets the next one, together with all who wait for it: a crowd that asks and
/// takes nothing costs one text, and not one for each.
#[derive(Debug, Clone, Default)]
pub struct Scrape(Arc<Mutex<Option<(Instant, Bytes)>>>);

impl Scrape {
    /// A text that was begun after this was called.
    async fn text(&self, make: impl Future<Output = String>) -> Bytes {
        let asked = Instant::now();
        let mut latest = self.0.lock().await;
        if let Some((_, text)) = latest.as_ref().filter(|(begun, _)| *begun > asked) {
            return text.clone();
        }
        let begun = Instant::now();
        let text = Bytes::from(make.await.into_boxed_str().into_boxed_bytes());
        *latest = Some((begun, text.clone()));
        text
    }
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
    #[serde(flatten)]
    checked: Checked,
}

/// What was checked. A problem of `/readyz` has the same two fields.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Checked {
    /// For each check `ok`, or a stable word for what is wrong: for `store` the words of
    /// `leasehold_store_failures_total`, `partial` in a cluster of which a part works, and `full`, with which the node is
    /// ready, because those who have a seat are served.
    #[schema(value_type = BTreeMap<String, String>, example = json!({"node": "ok", "store": "ok"}))]
    checks: BTreeMap<&'static str, &'static str>,
    /// A sentence for each check that is not `ok`: what it means, and what to do.
    #[schema(value_type = BTreeMap<String, String>)]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    reasons: BTreeMap<&'static str, String>,
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

/// Looks at all that the node needs; also the name of the first check that keeps it from being ready.
async fn check(machines: &Machines) -> (Checked, Option<&'static str>) {
    let looks = machines.checks.iter().map(|check| async {
        let status = check.run().await;
        (check.name, status)
    });
    let mut found = futures_util::future::join_all(looks).await;
    let node = if machines.drain.is_draining() {
        let reason = "this node is about to stop; send requests to another one";
        Status::Failed("draining", reason.to_owned())
    } else {
        Status::Ok
    };
    found.insert(0, ("node", node));
    let mut checked = Checked {
        checks: BTreeMap::new(),
        reasons: BTreeMap::new(),
    };
    let mut failed = None;
    for (name, status) in found {
        if matches!(status, Status::Failed(..)) {
            failed = failed.or(Some(name));
        }
        let word = match status {
            Status::Ok => "ok",
            Status::Limited(word, reason) | Status::Failed(word, reason) => {
                checked.reasons.insert(name, reason);
                word
            }
        };
        checked.checks.insert(name, word);
    }
    (checked, failed)
}

/// Says whether the node should get traffic: it could decide about a seat now, and it is not about to stop.
#[utoipa::path(
    get, path = "/readyz", tag = "machines",
    responses(
        (status = 200, body = Ready),
        (status = 503, description = "`draining`, `store_unavailable` or `not_ready`, with `checks` and `reasons`"),
    ),
)]
async fn readyz(State(machines): State<Machines>) -> Result<Json<Ready>, Problem> {
    let (checked, failed) = check(&machines).await;
    let Some(failed) = failed else {
        return Ok(Json(Ready {
            status: "ready",
            checked,
        }));
    };
    let reason = &checked.reasons[failed];
    let (code, detail) = match failed {
        "node" => (
            Code::Draining,
            "This node is about to stop. Send requests to another one.".to_owned(),
        ),
        STORE => (
            Code::StoreUnavailable,
            format!("This node cannot decide about seats: {reason}. Send requests to another one."),
        ),
        _ => (
            Code::NotReady,
            format!("This node should get no requests: {reason}. Send them to another one."),
        ),
    };
    let cause = reason.clone();
    Err(Problem::new(code, detail)
        .cause(&cause)
        .with("outcome", "none")
        .with("checks", checked.checks)
        .with("reasons", checked.reasons))
}

/// Everything that the node counted, in Prometheus's text format.
#[utoipa::path(
    get, path = "/metrics", tag = "machines",
    responses(
        (status = 200, description = "Metrics, in the text format of Prometheus", body = String, content_type = "text/plain"),
        (status = 401, description = "With `metrics_key = \"on\"`: no key, or an unknown one", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "With `metrics_key = \"on\"`: the key of a client", body = ProblemDocument, content_type = "application/problem+json"),
    ),
)]
async fn metrics(State(machines): State<Machines>) -> impl IntoResponse {
    let make = async {
        // First, because they set gauges that are rendered then.
        let (_, failed) = check(&machines).await;
        telemetry::ready(failed.is_none());
        let series = (machines.series)().await;
        machines.metrics.render() + &series
    };
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        machines.scrape.text(make).await,
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

    fn machines(store: Status) -> Machines {
        Machines {
            drain: Drain::default(),
            checks: vec![
                Check::new(STORE, move || std::future::ready(store.clone())),
                Check::new("other", || std::future::ready(Status::Ok)),
            ],
            metrics: telemetry::metrics().unwrap(),
            series: Arc::new(|| Box::pin(std::future::ready(String::new()))),
            scrape: Scrape::default(),
        }
    }

    #[tokio::test]
    async fn a_node_without_its_store_is_alive_and_not_ready() {
        let lost = machines(Status::Failed("away", "connection refused".into()));
        assert_eq!(
            get(lost.clone(), "/livez").await,
            (200, r#"{"status":"ok"}"#.into())
        );
        let (status, body) = get(lost, "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["code"]), (503, &"store_unavailable".into()));
        assert_eq!(body["checks"]["store"], "away");
        assert_eq!(body["reasons"]["store"], "connection refused");
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_not_waited_for() {
        let mut silent = machines(Status::Ok);
        silent.checks.push(Check::new("slow", std::future::pending));
        let (status, body) = get(silent, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("no answer within 1000 ms"));
        assert!(body.contains("\"code\":\"not_ready\""));
    }

    #[tokio::test]
    async fn a_node_that_can_do_a_part_is_ready_and_says_which() {
        let full = machines(Status::Limited("full", "no memory".into()));
        let (status, body) = get(full, "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert_eq!(body["status"], "ready");
        assert_eq!(body["checks"]["store"], "full");
        assert_eq!(body["checks"]["other"], "ok");
        assert_eq!(body["reasons"]["store"], "no memory");
    }

    #[tokio::test]
    async fn a_draining_node_is_not_ready_at_once() {
        let machines = machines(Status::Ok);
        assert_eq!(get(machines.clone(), "/readyz").await.0, 200);
        machines.drain.begin();
        let (status, body) = get(machines, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("\"code\":\"draining\""));
    }

    #[tokio::test]
    async fn a_crowd_that_asks_for_metrics_shares_the_text_and_gets_none_that_was_begun_before() {
        let scrape = Scrape::default();
        let made = std::cell::Cell::new(0);
        let make = || async {
            made.set(made.get() + 1);
            let text = made.get().to_string();
            tokio::time::sleep(Duration::from_millis(20)).await;
            text
        };
        let first = scrape.text(make());
        let crowd = futures_util::future::join_all((0..100).map(|_| scrape.text(make())));
        let (first, crowd) = futures_util::future::join(first, crowd).await;
        assert_eq!(first, "1");
        assert!(crowd.iter().all(|text| text == "2"), "{crowd:?}");
        assert_eq!(scrape.text(make()).await, "3");
    }

    #[tokio::test]
    async fn metrics_are_text_with_help() {
        let machines = machines(Status::Ok);
        metrics::counter!(telemetry::HTTP_PANICS).increment(0);
        let (status, body) = get(machines, "/metrics").await;
        assert_eq!(status, 200);
        assert!(
            body.contains("# HELP leasehold_http_panics_total"),
            "{body}"
        );
    }
}
