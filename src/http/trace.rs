//! What happens to every request around its handler: a name, a count, a line in the log, and an answer
//! in our own shape also when no route fits or a handler panics.
//!
//! It is on the path of every renewal, so it does little: no bodies are touched, and nothing is logged
//! above `debug` unless it failed. Logged are the method, the matched route, the status, the request
//! id and the trace that the caller says it belongs to, never the path as it was sent, the query or a header. Deliberately absent: a log line for every
//! 503 of an outage. The first in a second stands for the others.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use metrics::{Counter, Histogram, counter, histogram};

use crate::http::problem::{Code, Logged, Problem};
use crate::http::request_id;
use crate::telemetry::{Answered, HTTP_DURATION, HTTP_PANICS, HTTP_REQUESTS, RequestSpan};

/// The label of requests that match no route. A path that a client chose is never a label.
const NO_ROUTE: &str = "none";

/// What is at no path.
pub(crate) fn no_route() -> Problem {
    Problem::new(
        Code::RouteNotFound,
        "There is nothing at this path. The complete interface is described at /v1/openapi.json.",
    )
}

/// Answers a request with what every answer has. `route` is the path of its route, as it is described.
pub(crate) async fn instrument<F: Future<Output = Response>>(
    route: Option<&'static str>,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let (id, id_header) = request_id::of(&request);
    let span = RequestSpan::begin(request.headers(), route);

    let answer = request_id::scope(
        Arc::clone(&id),
        AssertUnwindSafe(answer(request)).catch_unwind(),
    );
    let mut response = match answer.await {
        Ok(response) => response,
        // The panic hook has logged what it was.
        Err(_) => request_id::sync_scope(Arc::clone(&id), || {
            counter!(HTTP_PANICS).increment(1);
            Problem::new(
                Code::Internal,
                "Something went wrong inside. It was logged under this request_id; send it to the operator.",
            )
            .cause("the handler panicked")
            .into_response()
        }),
    };

    let headers = response.headers_mut();
    headers.insert(request_id::HEADER, id_header);
    headers
        .entry(X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    // Answers are about one instant; handlers of files that can be cached set their own header.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));

    let status = response.status();
    let elapsed = started.elapsed();
    let trace_id = span.as_ref().map(RequestSpan::trace_id);
    if let Some(span) = span {
        let failed = response.extensions().get::<Logged>();
        let failed = failed.filter(|_| status.is_server_error());
        span.end(&Answered {
            method,
            route,
            status: status.as_u16(),
            failure: failed.map(|failed| failed.code.as_str()),
            request_id: &id,
        });
    }
    let route = route.unwrap_or(NO_ROUTE);
    METERS.with_borrow_mut(|meters| meters.of(route, method, status).record(elapsed));

    tracing::debug!(
        http.method = method,
        http.route = route,
        http.status = status.as_u16(),
        duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        request.id = &*id,
        trace.id = trace_id.as_deref(),
        "{method} {route} answered {}",
        status.as_u16(),
    );
    if status.is_server_error() {
        log_failure(&response, method, route, &id, trace_id.as_deref());
    }
    response
}

/// The method as a label: a client can invent methods, and each would be a new series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

thread_local! {
    static METERS: RefCell<Meters> = RefCell::default();
}

/// The counters of what was answered, kept by each thread: to look them up by their labels in the recorder costs more
/// than to verify a token. There are as many as routes, methods and statuses, so few.
#[derive(Default)]
struct Meters(HashMap<&'static str, Vec<Meter>>);

struct Meter {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    duration: Histogram,
}

impl Meters {
    fn of(&mut self, route: &'static str, method: &'static str, status: StatusCode) -> &Meter {
        let meters = self.0.entry(route).or_default();
        let known = |meter: &Meter| meter.method == method && meter.status == status;
        let at = meters.iter().position(known).unwrap_or_else(|| {
            let code = status.as_str().to_owned();
            meters.push(Meter {
                method,
                status,
                requests: counter!(HTTP_REQUESTS, "method" => method, "route" => route, "status" => code),
                duration: histogram!(HTTP_DURATION, "method" => method, "route" => route),
            });
            meters.len() - 1
        });
        &meters[at]
    }
}

impl Meter {
    fn record(&self, elapsed: Duration) {
        self.requests.increment(1);
        self.duration.record(elapsed);
    }
}

/// Writes the one line about a failed request.
fn log_failure(response: &Response, method: &str, route: &str, id: &str, trace_id: Option<&str>) {
    let status = response.status().as_u16();
    let logged = response.extensions().get::<Logged>();
    let Some(Logged { code, cause }) = logged else {
        tracing::error!(
            http.method = method,
            http.route = route,
            http.status = status,
            request.id = id,
            trace.id = trace_id,
            "{method} {route} failed with {status} and no code"
        );
        return;
    };
    let cause = cause.as_deref().unwrap_or("no cause given");
    let code = code.as_str();
    // The macros want their level at compile time.
    macro_rules! line {
        ($level:ident, $($more:tt)*) => {
            tracing::$level!(
                http.method = method,
                http.route = route,
                http.status = status,
                problem.code = code,
                request.id = id,
                trace.id = trace_id,
                $($more)*
                "{method} {route} failed with {code}: {cause}"
            )
        };
    }
    match logged.map(|logged| logged.code) {
        // The operator chose it, or whatever noticed it has said so once; a probe asks every second.
        Some(Code::Maintenance | Code::Draining | Code::NotReady) => line!(debug,),
        Some(Code::Recovering | Code::StoreUnavailable | Code::StoreFull | Code::Overloaded) => {
            if let Some(left_out) = DEGRADED.line_is_due() {
                line!(warn, lines_left_out = left_out,);
            }
        }
        _ => line!(error,),
    }
}

/// Lets one line a second through, so that an outage under load does not drown its own cause.
struct Throttle {
    epoch: LazyLock<Instant>,
    next_second: AtomicU64,
    left_out: AtomicU64,
}

static DEGRADED: Throttle = Throttle::new();

impl Throttle {
    const fn new() -> Self {
        Self {
            epoch: LazyLock::new(Instant::now),
            next_second: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// How many lines were left out since the last one, if one may be written now.
    fn line_is_due(&self) -> Option<u64> {
        let second = self.epoch.elapsed().as_secs();
        let next = self.next_second.load(Ordering::Relaxed);
        let won = second >= next
            && self
                .next_second
                .compare_exchange(next, second + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !won {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::Value;

    use super::*;

    async fn call(request: Request) -> (Response, Value) {
        let kept = request.uri().path() == "/kept";
        let panics = request.uri().path() == "/panic";
        let response = instrument(None, request, async |_| {
            assert!(!panics, "on purpose");
            if kept {
                ([(CACHE_CONTROL, "max-age=60")], "kept").into_response()
            } else {
                no_route().into_response()
            }
        })
        .await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (
            Response::from_parts(parts, Body::empty()),
            serde_json::from_slice(&bytes).unwrap_or_default(),
        )
    }

    fn request(method: &str, path: &str) -> Request {
        Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap()
    }

    #[tokio::test]
    async fn every_answer_is_named_and_not_kept() {
        let (response, _) = call(request("GET", "/nowhere")).await;
        assert_eq!(response.headers()[request_id::HEADER].len(), 16);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        let (response, _) = call(request("GET", "/kept")).await;
        assert_eq!(response.headers()[CACHE_CONTROL], "max-age=60");
    }

    #[tokio::test]
    async fn a_plain_name_from_the_client_is_kept_and_any_other_is_not() {
        let long = "x".repeat(65);
        for (given, kept) in [
            ("a.B-c_9", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            (long.as_str(), false),
        ] {
            let mut request = request("GET", "/nowhere");
            request
                .headers_mut()
                .insert(request_id::HEADER, given.parse().unwrap());
            let (response, document) = call(request).await;
            assert_eq!(
                response.headers()[request_id::HEADER] == given,
                kept,
                "{given:?}"
            );
            assert_eq!(
                document["request_id"],
                response.headers()[request_id::HEADER].to_str().unwrap()
            );
        }
    }

    #[tokio::test]
    async fn no_route_and_a_panic_are_problems() {
        let (response, document) = call(request("GET", "/nowhere")).await;
        assert_eq!(
            (response.status().as_u16(), &document["code"]),
            (404, &"route_not_found".into())
        );

        let (response, document) = call(request("POST", "/panic")).await;
        assert_eq!(
            (response.status().as_u16(), &document["code"]),
            (500, &"internal".into())
        );
        assert_eq!(
            document["request_id"],
            response.headers()[request_id::HEADER].to_str().unwrap()
        );
        assert!(!document.to_string().contains("on purpose"));
    }

    #[test]
    fn an_outage_writes_one_line_a_second() {
        let throttle = Throttle::new();
        let written = (0..1_000)
            .filter(|_| throttle.line_is_due().is_some())
            .count();
        assert!(written <= 2, "{written}");
    }
}
