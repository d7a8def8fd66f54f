//! Logs and metrics: how they are set up, and what each metric means.
//!
//! Logs go to stderr, because stdout belongs to the data of the command line. Nothing secret is ever
//! logged or counted: no bodies, no tokens, no `Authorization`, no query strings. Labels are bounded:
//! no ids, no names that a client chose. Deliberately absent: an HTTP listener of the exporter's own
//! (`/metrics` is a route like others) and any sending of traces.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::store;

/// Requests answered, by method, matched route and status.
pub const HTTP_REQUESTS: &str = "leasehold_http_requests_total";
/// Time from the request's head to the answer's head, in seconds, by method and matched route.
pub const HTTP_DURATION: &str = "leasehold_http_request_duration_seconds";
/// Handlers that panicked.
pub const HTTP_PANICS: &str = "leasehold_http_panics_total";
/// Connections open now.
pub const HTTP_CONNECTIONS: &str = "leasehold_http_connections";
/// Connections that the node closed for a reason of its own, by reason.
pub const HTTP_CLOSED: &str = "leasehold_http_connections_closed_total";

/// Upper bounds of the duration histogram, in seconds. Fine around a renewal's few milliseconds, coarse after.
const DURATION_BUCKETS: &[f64] = &[
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// How often recorded samples are folded into their histograms when nobody reads `/metrics`.
const UPKEEP: Duration = Duration::from_secs(5);

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line for a person.
    #[default]
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one, such as `info` or `info,leasehold::http=debug`.
    #[error("the log filter cannot be read: {0}")]
    Filter(#[from] ParseError),
    /// Logs or metrics were set up before, by somebody else.
    #[error("{0} of this process are already set up")]
    Twice(&'static str),
    /// The metrics could not be built.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] BuildError),
}

/// Starts logging to stderr: the lines that `filter` lets through, such as `info` or `info,leasehold::http=debug`.
///
/// A panic becomes an error line of the same format, so that a collector of JSON lines sees it too.
pub fn logs(format: LogFormat, filter: &str) -> Result<(), Error> {
    let builder = SubscriberBuilder::default()
        .with_writer(std::io::stderr)
        .with_ansi(format == LogFormat::Text && std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::try_new(filter)?);
    match format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(|_| Error::Twice("the logs"))?;

    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let payload = panic.payload();
        let message = (payload.downcast_ref::<&str>().copied())
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        tracing::error!(panic.place = place, "panic at {place}: {message}");
    }));
    Ok(())
}

/// Starts recording metrics and returns the handle that writes them for Prometheus.
///
/// There is one recorder a process, so a second call returns the handle of the first.
pub fn metrics() -> Result<PrometheusHandle, Error> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("_duration_seconds".into()),
            DURATION_BUCKETS,
        )?
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        // Two callers at once: the other one's handle is there, or is about to be.
        return HANDLE.get().cloned().ok_or(Error::Twice("the metrics"));
    }
    describe();
    Ok(HANDLE.get_or_init(|| handle).clone())
}

/// Folds recorded samples into their histograms for as long as it is polled.
///
/// Without it a histogram keeps every sample until somebody reads `/metrics`, and memory grows.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Says what each metric means, for the `# HELP` lines.
fn describe() {
    describe_counter!(
        HTTP_REQUESTS,
        "Requests answered, by method, matched route and status"
    );
    describe_histogram!(
        HTTP_DURATION,
        Unit::Seconds,
        "Time from the request's head to the answer's head, by method and matched route"
    );
    describe_counter!(
        store::FAILURES,
        "Calls to Redis that failed, by what kind of trouble it was"
    );
    describe_counter!(
        store::SHED,
        "Calls that were not sent to Redis, because those before them had failed"
    );
    describe_counter!(
        store::WAITS,
        "Waits for a replica (durability = replicated), by whether one had it in time"
    );
    describe_gauge!(store::UP, "1 while Redis works for this node, else 0");
    describe_counter!(
        store::FAILOVERS,
        "Changes of the master that sentinels or a cluster named"
    );
    describe_counter!(HTTP_PANICS, "Requests whose handler panicked");
    describe_gauge!(HTTP_CONNECTIONS, "Connections open now");
    describe_counter!(
        HTTP_CLOSED,
        "Connections that the node closed for a reason of its own, by reason"
    );
}
