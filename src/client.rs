//! A client for programs that hold a seat while they run: acquire, heartbeats in the background, release on drop.
//!
//! An answer counts only if it is Leasehold's (`clients/spec/README.md`): a captive portal gives no seat, and the error page of a
//! proxy ends none. Heartbeats follow the server's `renew_after_ms` and go on through outages for as long as the server has not
//! said that the lease is lost: holders that come back in time keep their seats. How long a holder may work on meanwhile comes
//! with the lease; [`Held::left`] is the rest of it, by the further of two clocks, because one of them stands still while a
//! machine sleeps.

mod error;
mod heartbeats;
mod held;
mod promise;
mod waiting;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

pub use self::error::Error;
pub use self::held::{EndsSoon, Held, Loss};
use self::promise::Clocks;
pub use self::promise::Left;
pub use self::waiting::{QueueTicket, WaitingForSeat};
use crate::names::{PoolName, shown};
use crate::trace_context::{TRACEPARENT, TraceContext};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How long a report may take that goes through all pools.
const LONG_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a connection is kept for the next request: longer than from one heartbeat to the next, and shorter than balancers and nodes
/// keep theirs, so that no request meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(30);
/// First and longest wait after a heartbeat that got no answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Attempts of an acquire before its error is returned; always with the same idempotency key.
const TRIES: u32 = 4;
/// Maximum wait that a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A request for a seat. Everything may be left out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SeatRequest {
    /// An agent, a device, an instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The sub-account that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What operators read next to the holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What the holder runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// Speaks to one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<SecretString>,
    /// The trace that the program is a part of, if it was started with one.
    trace: Option<TraceContext>,
}

impl Client {
    /// For the server at `base`, such as `http://127.0.0.1:7070`, with a key if it asks for one.
    pub fn new(base: &str, key: Option<SecretString>) -> Result<Self, Error> {
        Self::build(base, key, |http| http)
    }

    /// For a node on this machine that is asked by its address, which no certificate names. It believes whatever certificate it is
    /// shown, and so it is shown no key.
    pub(crate) fn of_this_machine(base: &str) -> Result<Self, Error> {
        Self::build(base, None, |http| {
            http.tls_danger_accept_invalid_certs(true)
        })
    }

    fn build(
        base: &str,
        key: Option<SecretString>,
        change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, Error> {
        crate::tls::choose_cryptography();
        let mut http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none());
        if base.starts_with("http://") {
            // Without TLS there is nothing to verify, and a container may have no certificates to do it with.
            http = http.tls_certs_only([]);
        }
        let http = change(http).build().map_err(|error| {
            Error::Unreachable(format!("{base} cannot be asked: {}", innermost(&error)))
        })?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key,
            trace: TraceContext::of_environment(),
        })
    }

    /// One call with JSON in and out; a 204 is null. `path` begins with a slash.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let (bytes, headers) = self.exchange(method, path, headers, body).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let is_json = media_type(&headers).is_some_and(|kind| kind == "application/json");
        let answer = serde_json::from_slice(&bytes).unwrap_or_default();
        match &answer {
            // All that the interface says is an object with something in it.
            Value::Object(fields) if is_json && !fields.is_empty() => Ok(answer),
            _ => Err(self.not_leasehold(StatusCode::OK)),
        }
    }

    /// The message about an answer that is not Leasehold's.
    pub(crate) fn not_leasehold(&self, status: StatusCode) -> Error {
        let base = &self.base;
        Error::NotLeasehold {
            status: status.as_u16(),
            detail: format!(
                "what answers at {base} is not Leasehold (it says {status}): a proxy, a login page, or another server. See where that address leads"
            ),
        }
    }

    /// One page of an answer that is not JSON, as it is, and the cursor of the next page.
    pub async fn text(&self, path: &str) -> Result<(String, Option<String>), Error> {
        let (bytes, headers) = self.exchange(Method::GET, path, &[], None).await?;
        if media_type(&headers).is_none_or(|kind| kind != "text/csv") {
            return Err(self.not_leasehold(StatusCode::OK));
        }
        let link = headers.get(reqwest::header::LINK);
        let next = link.and_then(|link| {
            let (target, _) = link
                .to_str()
                .ok()?
                .strip_prefix("<?")?
                .split_once(">; rel=\"next\"")?;
            let mut fields = form_urlencoded::parse(target.as_bytes());
            fields.find_map(|(name, value)| (name == "cursor").then(|| value.into_owned()))
        });
        Ok((String::from_utf8_lossy(&bytes).into_owned(), next))
    }

    /// A file of this media type, which may take long.
    pub(crate) async fn file(&self, path: &str, kind: &str) -> Result<Bytes, Error> {
        let request = self.request(Method::GET, path).timeout(LONG_TIMEOUT);
        let (bytes, headers) = self.send(request, &[("accept", kind)], None).await?;
        if media_type(&headers).is_none_or(|answered| answered != kind) {
            return Err(self.not_leasehold(StatusCode::OK));
        }
        Ok(bytes)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<(Bytes, HeaderMap), Error> {
        self.send(self.request(method, path), headers, body).await
    }

    async fn send(
        &self,
        mut request: reqwest::RequestBuilder,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<(Bytes, HeaderMap), Error> {
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(trace) = &self.trace {
            request = request.header(TRACEPARENT, trace.child().to_string());
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let unreachable = |error: reqwest::Error| {
            Error::Unreachable(format!(
                "{} does not answer: {}",
                self.base,
                innermost(&error)
            ))
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            if bytes.is_empty() && status != StatusCode::NO_CONTENT {
                return Err(self.not_leasehold(status));
            }
            return Ok((bytes, headers));
        }
        Err(self.refusal(status, &headers, &bytes))
    }

    /// What an answer says that is no success: its problem, if it is one of Leasehold.
    fn refusal(&self, status: StatusCode, headers: &HeaderMap, bytes: &[u8]) -> Error {
        let answer: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let word = |name: &str| answer[name].as_str().map(str::to_owned);
        let is_problem = media_type(headers).is_some_and(|kind| kind == "application/problem+json");
        // A later version may have a code that is not known here: its problems have an address that ends with it.
        let is_ours = |code: &String| {
            let address = || word("type").unwrap_or_default();
            error::is_known(code) || address().ends_with(&format!("/docs/errors/{code}"))
        };
        let Some(code) = word("code").filter(|code| is_problem && is_ours(code)) else {
            return self.not_leasehold(status);
        };
        Error::Problem {
            status: status.as_u16(),
            code,
            // The reason of an operator is part of it. It stays one line, whatever server this is.
            detail: match word("detail") {
                Some(detail) => shown(&detail).into_owned(),
                None => format!("the server answered {status}"),
            },
            retry_after_ms: answer["retry_after_ms"].as_u64().unwrap_or(0),
        }
    }

    /// Takes a seat, and keeps it until it is released or dropped. Must be called in a tokio runtime.
    pub async fn acquire(&self, pool: &PoolName, ask: &SeatRequest) -> Result<Held, Error> {
        let body = serde_json::to_value(ask).unwrap_or_default();
        let sent = Clocks::now();
        let answer = self.ask(pool, &body).await?;
        Held::begin(self, &answer, sent)
    }

    /// Like [`Client::acquire`], but waits for a seat when all are in use; `told` hears of the place while it does.
    ///
    /// Whoever drops the future leaves the queue in the background; [`Client::in_turn`] is for those who want to wait for
    /// that, too.
    pub async fn acquire_in_turn(
        &self,
        pool: &PoolName,
        ask: &SeatRequest,
        told: impl FnMut(&QueueTicket),
    ) -> Result<Held, Error> {
        self.in_turn(pool, ask).seat(told).await
    }

    /// Prepares to wait for a seat. Nothing is asked yet.
    pub fn in_turn(&self, pool: &PoolName, ask: &SeatRequest) -> WaitingForSeat {
        let mut ask = serde_json::to_value(ask).unwrap_or_default();
        ask["wait"] = json!(true);
        WaitingForSeat {
            client: self.clone(),
            pool: pool.clone(),
            ask,
            ticket: None,
        }
    }

    /// Asks for a seat. An answer that got lost is asked for again: with the same idempotency key it is the same seat.
    async fn ask(&self, pool: &PoolName, body: &Value) -> Result<Value, Error> {
        let random: [u8; 16] = rand::random();
        let key = URL_SAFE_NO_PAD.encode(random);
        let path = format!("/v1/pools/{pool}/leases");
        let mut wait = RETRY.0;
        let mut tries = 0;
        loop {
            tries += 1;
            let headers = [("idempotency-key", key.as_str())];
            match self.call(Method::POST, &path, &headers, Some(body)).await {
                Err(error) if error.is_temporary() && tries < TRIES => {
                    let asked_for = error.retry_after().min(MAX_RETRY_AFTER);
                    tokio::time::sleep(jittered(wait.max(asked_for))).await;
                    wait = (wait * 2).min(RETRY.1);
                }
                answer => return answer,
            }
        }
    }

    async fn leave_queue(&self, pool: &PoolName, ticket: &SecretString) -> Result<(), Error> {
        let body = json!({ "ticket": ticket.expose_secret() });
        let path = format!("/v1/pools/{pool}/queue/leave");
        self.call(Method::POST, &path, &[], Some(&body))
            .await
            .map(|_| ())
    }

    async fn release(&self, token: &SecretString) -> Result<(), Error> {
        let body = json!({ "token": token.expose_secret() });
        self.call(Method::POST, "/v1/leases/release", &[], Some(&body))
            .await
            .map(|_| ())
    }
}

/// The innermost error: the outer ones only wrap it.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The media type of a body, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let declared = headers.get(reqwest::header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = declared.split(';').next().unwrap_or_default().trim();
    Some(essence.to_ascii_lowercase())
}

/// A tenth more or less, so that those who began together do not stay together.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.9..=1.1))
}

/// A text that says something.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}
