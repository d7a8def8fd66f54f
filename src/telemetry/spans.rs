//! Spans: what a collector of OpenTelemetry gets of requests, if `otlp_endpoint` names one.
//!
//! A request that belongs to a trace of its caller's is exported if the caller records that trace. One that belongs to none begins one,
//! unless it is a heartbeat or a probe: those are thousands a second, and nobody looks for one of them. Without the setting a request
//! costs the look for one header. Deliberately absent: spans inside a request. Its time is Redis's time, which
//! `leasehold_store_request_duration_seconds` has by script.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use tokio::runtime::Handle;

use super::Error;
use crate::client::innermost;
use crate::trace_context::{TRACEPARENT, TraceContext};

/// Where spans go, if there is such a place.
static EXPORT: OnceLock<Export> = OnceLock::new();

/// How long a collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Minimum time between two lines about a collector that takes nothing, in seconds.
const COMPLAIN_EVERY: u64 = 60;

/// Routes that are asked all the time.
const FREQUENT: [&str; 6] = [
    "/v1/leases/renew",
    "/v1/leases/renew-many",
    "/livez",
    "/readyz",
    "/healthz",
    "/metrics",
];

struct Export {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
}

/// Begins to export spans to a collector: `endpoint` is its address, to which `/v1/traces` is added.
///
/// What is beyond the 2 048 spans that wait is dropped: a collector that is away must cost requests nothing.
pub(crate) fn export(endpoint: &str, instance: &str) -> Result<(), Error> {
    crate::tls::choose_cryptography();
    let http = reqwest::Client::builder().timeout(TIMEOUT).build();
    let http = http.map_err(|error| Error::Spans(error.to_string()))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(OnRuntime(http, Handle::current()))
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(TIMEOUT)
        .build()
        .map_err(|error| Error::Spans(error.to_string()))?;
    let mut processor = BatchSpanProcessor::builder(exporter).build();
    let version = env!("CARGO_PKG_VERSION");
    processor.set_resource(
        &Resource::builder()
            .with_service_name("leasehold")
            .with_attributes([
                KeyValue::new("service.version", version),
                KeyValue::new("service.instance.id", instance.to_owned()),
            ])
            .build(),
    );
    let scope = InstrumentationScope::builder("leasehold")
        .with_version(version)
        .build();
    let export = Export { processor, scope };
    EXPORT.set(export).map_err(|_| Error::Twice("the spans"))
}

/// Sends what waits, for as long as this may take.
pub(crate) async fn finish(within: Duration) {
    if let Some(export) = EXPORT.get() {
        let finished = tokio::task::spawn_blocking(|| export.processor.shutdown());
        let _ = tokio::time::timeout(within, finished).await;
    }
}

/// A request under way, as far as traces are concerned.
#[derive(Debug)]
pub(crate) struct RequestSpan {
    context: TraceContext,
    /// What the caller calls its own part, and what it told besides.
    caller: Option<([u8; 8], TraceState)>,
    begun: SystemTime,
}

/// What there is to say of a request when it is answered.
pub(crate) struct Answered<'a> {
    pub(crate) method: &'static str,
    /// None where no route fits.
    pub(crate) route: Option<&'static str>,
    pub(crate) status: u16,
    /// The code of a problem that is the server's own.
    pub(crate) failure: Option<&'static str>,
    pub(crate) request_id: &'a str,
}

impl RequestSpan {
    /// The span of a request that belongs to a trace, or begins one.
    pub(crate) fn begin(
        headers: &axum::http::HeaderMap,
        route: Option<&'static str>,
    ) -> Option<Self> {
        let caller = headers
            .get(TRACEPARENT)
            .and_then(|header| TraceContext::parse(header.as_bytes()));
        let context = match caller {
            Some(caller) => caller.child(),
            None if EXPORT.get().is_none() => return None,
            None if route.is_none_or(|route| FREQUENT.contains(&route)) => return None,
            None => TraceContext::begin(true),
        };
        let told = headers
            .get("tracestate")
            .and_then(|state| state.to_str().ok()?.parse().ok());
        Some(Self {
            context,
            caller: caller.map(|caller| (caller.span, told.unwrap_or_default())),
            begun: SystemTime::now(),
        })
    }

    /// The trace, as logs name it.
    pub(crate) fn trace_id(&self) -> String {
        self.context.trace_id()
    }

    /// Hands the span over, if somebody wants it.
    pub(crate) fn end(self, answered: &Answered<'_>) {
        let Some(export) = EXPORT.get().filter(|_| self.context.is_sampled) else {
            return;
        };
        let (parent, state) = self.caller.unzip();
        let name = match answered.route {
            Some(route) => format!("{} {route}", answered.method),
            None => answered.method.to_owned(),
        };
        let mut attributes = vec![
            KeyValue::new("http.request.method", answered.method),
            KeyValue::new("http.response.status_code", i64::from(answered.status)),
            KeyValue::new("leasehold.request.id", answered.request_id.to_owned()),
        ];
        attributes.extend(
            answered
                .route
                .map(|route| KeyValue::new("http.route", route)),
        );
        let failure = answered.failure;
        attributes.extend(failure.map(|code| KeyValue::new("error.type", code)));
        export.processor.on_end(SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(self.context.trace),
                SpanId::from_bytes(self.context.span),
                TraceFlags::SAMPLED,
                false,
                state.unwrap_or_default(),
            ),
            parent_span_is_remote: parent.is_some(),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            span_kind: SpanKind::Server,
            name: Cow::Owned(name),
            start_time: self.begun,
            end_time: SystemTime::now(),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: failure.map_or(Status::Unset, |_| Status::error("")),
            instrumentation_scope: export.scope.clone(),
        });
    }
}

/// Sends on the runtime of the node: batches are made on a thread of their own, which has none.
#[derive(Debug)]
struct OnRuntime(reqwest::Client, Handle);

impl HttpClient for OnRuntime {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let http = self.0.clone();
        let sent = self.1.spawn(async move { http.send_bytes(request).await });
        Box::pin(async move {
            let sent = sent.await?;
            match &sent {
                Ok(answer) if answer.status().is_success() => {}
                Ok(answer) => complain(&format_args!("it answers {}", answer.status())),
                Err(error) => complain(&format_args!("{}", innermost(&**error))),
            }
            sent
        })
    }
}

/// Notes now and then that spans get nowhere.
fn complain(why: &dyn fmt::Display) {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = STARTED.get_or_init(Instant::now).elapsed().as_secs();
    let next = NEXT.load(Ordering::Relaxed);
    let last = (Ordering::Relaxed, Ordering::Relaxed);
    if next <= now
        && NEXT
            .compare_exchange(next, now + COMPLAIN_EVERY, last.0, last.1)
            .is_ok()
    {
        tracing::warn!("spans are lost: the collector at otlp_endpoint takes none: {why}");
    }
}
