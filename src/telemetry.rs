//! Logs, metrics and traces: how they are set up, and what each metric means.
//!
//! Logs go to stderr, because stdout belongs to the data of the command line, through the queue of `stderr`. Nothing secret is ever
//! logged or counted: no bodies, no tokens, no `Authorization`, no query strings. Labels are bounded:
//! no ids, no names that a client chose. Deliberately absent: an HTTP listener of the exporter's own
//! (`/metrics` is a route like others).

mod spans;

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;
use crate::stderr;

pub(crate) use self::spans::{
    Answered, RequestSpan, export as export_spans, finish as finish_spans,
};

/// Requests answered, by method, matched route and status.
pub const HTTP_REQUESTS: &str = "leasehold_http_requests_total";
/// Time from the request's head to the answer's head, in seconds, by method and matched route.
pub const HTTP_DURATION: &str = "leasehold_http_request_duration_seconds";
/// Handlers that panicked.
pub const HTTP_PANICS: &str = "leasehold_http_panics_total";
/// How long holders went on that could not reach the server.
pub const GRACE_USED: &str = "leasehold_grace_seconds_total";
/// Connections open now.
pub const HTTP_CONNECTIONS: &str = "leasehold_http_connections";
/// Connections that the node closed for a reason of its own, by reason.
pub const HTTP_CLOSED: &str = "leasehold_http_connections_closed_total";

/// Buckets whose data Redis lost while this node ran.
pub const DATA_LOSSES: &str = "leasehold_data_losses_total";
/// Leases whose data was lost and that have their seat again.
pub const LEASES_REBUILT: &str = "leasehold_leases_rebuilt_total";
/// Leases whose data was lost and whose seat somebody else had got before they could be rebuilt.
pub const LEASES_DISPLACED: &str = "leasehold_leases_displaced_total";
/// Calls that failed, by what kind of trouble it was.
pub const STORE_FAILURES: &str = "leasehold_store_failures_total";
/// Calls that were not sent, because those before them had failed.
pub const STORE_SHED: &str = "leasehold_store_calls_shed_total";
/// The share of the masters at which an acquire could be decided, so without a cluster 0 or 1. Only `Readiness` of the store sets it.
pub const STORE_UP: &str = "leasehold_store_up";
/// Waits for a replica, by whether one had it in time.
pub const STORE_WAITS: &str = "leasehold_store_waits_total";
/// Changes of the master, or of the masters of a cluster.
pub const STORE_FAILOVERS: &str = "leasehold_store_failovers_total";
/// 1 while hints come. A node subscribes when somebody waits for a seat for the first time.
pub const STORE_LISTENING: &str = "leasehold_store_listening";
/// Notifications of free seats that this node received.
pub const STORE_HINTS: &str = "leasehold_store_hints_total";
/// Records that this node cannot read, by kind.
pub const UNREADABLE: &str = "leasehold_unreadable_records";
/// How far the time of the bucket that is furthest ahead is ahead of Redis's clock.
pub const CLOCK_SHIFT: &str = "leasehold_clock_shift_seconds";
/// How long leases were held, of those whose end this node recorded.
pub const LEASE_DURATION: &str = "leasehold_lease_duration_seconds";
/// How much later than asked heartbeats came, of a sample.
pub const HEARTBEAT_LATENESS: &str = "leasehold_heartbeat_lateness_ratio";
/// How long Redis took for a script, with the wait for a connection.
pub const STORE_DURATION: &str = "leasehold_store_request_duration_seconds";
/// When the bucket that was opened last was: another one means that data was lost. One number, because 32 series of a node that
/// hardly ever change would say no more.
pub const GENERATION: &str = "leasehold_generation";
/// Heartbeats that one call of a lane carried.
pub const RENEWALS_PER_CALL: &str = "leasehold_renewals_per_call";
/// Acquires and releases that one call of a lane carried.
pub const SEATS_PER_CALL: &str = "leasehold_seats_per_call";
/// Starts of a task after it failed, by task.
pub const TASK_RESTARTS: &str = "leasehold_task_restarts_total";
/// Requests for a seat that were denied, by the code of the problem.
pub const DENIALS: &str = "leasehold_denials_total";
/// Lines that found no room or could not be written, because whoever reads stderr is slow, full or gone.
pub const LOG_DROPPED: &str = "leasehold_log_lines_dropped_total";
/// 1, with the version and the revision that this program was built from.
const BUILD: &str = "leasehold_build_info";
/// 1, with the address of the runbooks.
const RUNBOOKS: &str = "leasehold_runbooks_info";
/// 1 while the node wants traffic, else 0.
const READY: &str = "leasehold_ready";
/// How long ago all that was due was last known to be recorded.
pub const SWEEPER_LAG: &str = "leasehold_sweeper_lag_seconds";
/// Pools that this node knows.
pub const POOLS: &str = "leasehold_pools";

/// Upper bounds of the histogram of requests, in seconds. Fine around a renewal's few milliseconds, coarse after.
const HTTP_BUCKETS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Upper bounds of the histogram of calls to Redis, in seconds. None takes longer than a second.
const STORE_BUCKETS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0];
/// Upper bounds of the histogram of leases, in seconds: from a minute to a day.
const LEASE_BUCKETS: &[f64] = &[
    60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 43_200.0, 86_400.0,
];
/// Upper bounds of the histogram of lateness, in intervals. 2 is the last moment.
const LATENESS_BUCKETS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0];
/// Upper bounds of the histograms of requests that share a call.
const PER_CALL_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What this program was built from, where whoever built it said so.
const REVISION: &str = match option_env!("LEASEHOLD_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// How often recorded samples are folded into their histograms when nobody reads `/metrics`.
const UPKEEP: Duration = Duration::from_secs(5);

/// Why logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one, such as `info` or `info,leasehold::http=debug`.
    #[error("the log filter cannot be read: {0}")]
    Filter(#[from] ParseError),
    /// Logs or metrics were set up before, by somebody else.
    #[error("{0} of this process are already set up")]
    Twice(&'static str),
    /// Spans cannot be exported.
    #[error("spans cannot be exported: {0}")]
    Spans(String),
    /// The metrics could not be built.
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] BuildError),
}

/// Starts logging to stderr: the lines that `filter` lets through, such as `info` or `info,leasehold::http=debug`.
///
/// A panic becomes an error line of the same format, so that a collector of JSON lines sees it too.
pub fn logs(format: LogFormat, filter: &str) -> Result<(), Error> {
    let builder = SubscriberBuilder::default()
        .with_writer(|| stderr::Log)
        .with_ansi(format == LogFormat::Text && stderr::is_terminal())
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
    // Held until the recorder is there: of two callers at once the second waits for it.
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut started = HANDLE.lock().expect("no panic while held");
    if let Some(handle) = &*started {
        return Ok(handle.clone());
    }
    let histograms = [
        (HTTP_DURATION, HTTP_BUCKETS),
        (STORE_DURATION, STORE_BUCKETS),
        (LEASE_DURATION, LEASE_BUCKETS),
        (HEARTBEAT_LATENESS, LATENESS_BUCKETS),
        (RENEWALS_PER_CALL, PER_CALL_BUCKETS),
        (SEATS_PER_CALL, PER_CALL_BUCKETS),
    ];
    let builder =
        histograms
            .into_iter()
            .try_fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
                builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
            })?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| Error::Twice("the metrics"))?;
    describe();
    Ok(started.insert(handle).clone())
}

/// Folds recorded samples into their histograms for as long as it is polled.
///
/// Without it a histogram keeps every sample until somebody reads `/metrics`, and memory grows.
pub(crate) async fn upkeep(handle: PrometheusHandle) -> Infallible {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Sets the gauge that follows `/readyz`.
pub(crate) fn ready(ready: bool) {
    gauge!(READY).set(if ready { 1.0 } else { 0.0 });
}

/// Tells alerts where the runbooks are.
pub(crate) fn runbooks_are_at(url: String) {
    gauge!(RUNBOOKS, "url" => url).set(1.0);
}

/// Says what each metric means, for the `# HELP` lines, and begins those at 0 whose first increase must be seen as one.
///
/// The metrics of pools are described where they are written, in `http::machines::pools`.
fn describe() {
    let counters = [
        (
            HTTP_REQUESTS,
            "Requests answered, by method, matched route and status",
        ),
        (HTTP_PANICS, "Requests whose handler panicked"),
        (
            GRACE_USED,
            "Seconds for which holders say they went on after the end of what they were promised, because they heard nothing",
        ),
        (
            TASK_RESTARTS,
            "Tasks of the node that failed and were started again, by task",
        ),
        (
            LOG_DROPPED,
            "Lines of the log that were lost, because whoever reads stderr was too slow, full or gone",
        ),
        (
            HTTP_CLOSED,
            "Connections that the node closed for a reason of its own, by reason",
        ),
        (
            DENIALS,
            "Requests for a seat that were denied, by the code of the problem",
        ),
        (
            STORE_FAILURES,
            "Calls to Redis that failed, by what kind of trouble it was",
        ),
        (
            STORE_SHED,
            "Calls that were not sent to Redis, because those before them had failed",
        ),
        (
            STORE_WAITS,
            "Waits for a replica (durability = replicated), by whether one had it in time",
        ),
        (
            STORE_FAILOVERS,
            "Changes of the master that sentinels or a cluster named",
        ),
        (
            DATA_LOSSES,
            "Buckets (there are 32) whose data Redis lost while this node ran. Each node counts each loss: use max",
        ),
        (
            LEASES_REBUILT,
            "Leases whose data was lost and that got their seat again from a heartbeat to this node",
        ),
        (
            LEASES_DISPLACED,
            "Heartbeats to this node of leases whose data was lost and whose seat somebody else had by then, one for each lease; who never beats again is not counted",
        ),
        (
            STORE_HINTS,
            "Notifications of free seats that this node received for its waiters",
        ),
    ];
    for (name, help) in counters {
        describe_counter!(name, help);
    }
    for name in [
        HTTP_PANICS,
        GRACE_USED,
        LOG_DROPPED,
        STORE_SHED,
        STORE_FAILOVERS,
        DATA_LOSSES,
        LEASES_REBUILT,
        LEASES_DISPLACED,
        STORE_HINTS,
    ] {
        counter!(name).increment(0);
    }
    let histograms = [
        (
            HTTP_DURATION,
            Unit::Seconds,
            "Time from the request's head to the answer's head, by method and matched route",
        ),
        (
            STORE_DURATION,
            Unit::Seconds,
            "Time that a call of Redis took, the wait for a connection included, by script and outcome: ok, none (it did not run), unknown (it may have)",
        ),
        (
            LEASE_DURATION,
            Unit::Seconds,
            "How long leases were held, of those whose end this node recorded",
        ),
        (
            HEARTBEAT_LATENESS,
            Unit::Count,
            "How much later than asked heartbeats came, in intervals of a third of the TTL: 0 in time, 2 at the last moment. Of a sample: at most one in 100 ms for each of 32 buckets",
        ),
        (
            RENEWALS_PER_CALL,
            Unit::Count,
            "Heartbeats that shared a call of Redis",
        ),
        (
            SEATS_PER_CALL,
            Unit::Count,
            "Acquires and releases of a pool without rules that shared a call of Redis",
        ),
    ];
    for (name, unit, help) in histograms {
        describe_histogram!(name, unit, help);
    }
    let gauges = [
        (
            BUILD,
            "Always 1; the labels say which version and revision this is",
        ),
        (
            RUNBOOKS,
            "Always 1; the label says where the runbooks are that alerts lead to",
        ),
        (HTTP_CONNECTIONS, "Connections open now"),
        (
            POOLS,
            "Pools that this node knows; those beyond metrics_max_pools are counted as pool _other",
        ),
        (
            GENERATION,
            "When the newest data of the 32 buckets began, in seconds since 1970: a change means that Redis lost some",
        ),
        (
            CLOCK_SHIFT,
            "How far the time of leases is ahead of Redis's clock, because that went back; 0 as a rule",
        ),
        (
            STORE_LISTENING,
            "1 while Redis tells this node of seats that come free; there from the first who waits",
        ),
        (READY, "1 while /readyz is 200, else 0"),
        (
            UNREADABLE,
            "Records in Redis that this node cannot read, mostly because a later version wrote them, by kind",
        ),
        (
            STORE_UP,
            "Share of the Redis masters at which this node could decide about a seat: 0 or 1, in a cluster also between",
        ),
    ];
    for (name, help) in gauges {
        describe_gauge!(name, help);
    }
    describe_gauge!(
        SWEEPER_LAG,
        Unit::Seconds,
        "How long ago this node last knew that every lease that ended is recorded; seats come free on time in any case"
    );
    metrics_process::Collector::default().describe();
    gauge!(HTTP_CONNECTIONS).set(0.0);
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION"), "revision" => REVISION).set(1.0);
}
