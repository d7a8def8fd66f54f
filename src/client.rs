//! A client for programs that hold a seat while they run: acquire, heartbeats in the background, release on drop.
//!
//! An answer counts only if it is Leasehold's (`clients/spec/README.md`): a captive portal gives no seat, and the error page of a
//! proxy ends none. Heartbeats follow the server's `renew_after_ms` and go on through outages for as long as the server has not
//! said that the lease is lost: holders that come back in time keep their seats. How long a holder may work on meanwhile comes
//! with the lease; [`Held::left`] is the rest of it, by the further of two clocks, because one of them stands still while a
//! machine sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::names::{PoolName, shown};
use crate::time::millis;
use crate::trace_context::{TRACEPARENT, TraceContext};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How long a report may take that goes through all pools.
const LONG_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a connection is kept for the next request: longer than from beat to beat, and shorter than balancers and nodes
/// keep theirs, so that no request meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(30);
/// First and longest wait after a heartbeat that got no answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Longest pause between two requests with a ticket: the place is lost after 6 s without one.
const KEEPS_PLACE: Duration = Duration::from_secs(2);
/// Attempts of an acquire before its error is returned; always with the same idempotency key.
const TRIES: u32 = 4;
/// Maximum wait that a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The codes of problems, as all clients know them.
static CODES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct Specified {
        codes: BTreeMap<String, Value>,
    }
    let specified = include_str!("../clients/spec/errors.json");
    let specified: Specified = serde_json::from_str(specified).expect("a test reads it");
    specified.codes.into_keys().collect()
});
/// The codes that end a lease; nothing else does.
const ENDS: [&str; 6] = [
    "lease_expired",
    "lease_released",
    "lease_terminated",
    "lease_evicted",
    "invalid_token",
    "pool_not_found",
];
/// How long the server may hold a waiting request open; well within [`TIMEOUT`].
const HELD_BACK: Duration = Duration::from_secs(5);

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server said no, in a problem document.
    #[error("{detail}")]
    Problem {
        /// The HTTP status.
        status: u16,
        /// The stable word.
        code: String,
        /// The sentence for people.
        detail: String,
        /// When to ask again, ms; 0 if it does not say.
        retry_after_ms: u64,
    },
    /// The server could not be reached, or did not answer in time.
    #[error("{0}")]
    Unreachable(String),
    /// Something answered that is not Leasehold.
    #[error("{detail}")]
    NotLeasehold {
        /// The HTTP status.
        status: u16,
        /// The sentence for people.
        detail: String,
    },
}

impl Error {
    /// When the server wants to be asked again; zero if it does not say.
    fn retry_after(&self) -> Duration {
        match self {
            Self::Problem { retry_after_ms, .. } => Duration::from_millis(*retry_after_ms),
            Self::Unreachable(_) | Self::NotLeasehold { .. } => Duration::ZERO,
        }
    }

    /// The code of an answer to a heartbeat that ends the lease; none for any other.
    fn end(&self) -> Option<&str> {
        match self {
            Self::Problem { code, .. } if ENDS.contains(&code.as_str()) => Some(code),
            _ => None,
        }
    }

    /// Whether the same request may do better later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Problem { status, .. } => matches!(status, 429 | 500..),
            Self::NotLeasehold { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Unreachable(_) => true,
        }
    }
}

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

/// A place among those who wait for a seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueTicket {
    /// How many are served first, and this one; nothing in a pool without a queue, where who asks at the right moment
    /// is served.
    pub position: Option<u64>,
    /// When a seat may come free, worked out by the server.
    pub eta: Option<Duration>,
    /// What the server said, if it said no.
    pub detail: Option<String>,
}

/// A lease that the server says is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// One of the codes that end a lease.
    pub code: String,
    /// What the server says about it.
    pub reason: Option<String>,
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
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let word = |name: &str| answer[name].as_str().map(str::to_owned);
        let is_problem =
            media_type(&headers).is_some_and(|kind| kind == "application/problem+json");
        // A later version may have a code that is not known here: its problems have an address that ends with it.
        let is_ours = |code: &String| {
            let address = || word("type").unwrap_or_default();
            CODES.contains(code) || address().ends_with(&format!("/docs/errors/{code}"))
        };
        let Some(code) = word("code").filter(|code| is_problem && is_ours(code)) else {
            return Err(self.not_leasehold(status));
        };
        Err(Error::Problem {
            status: status.as_u16(),
            code,
            // The reason of an operator is part of it. It stays one line, whatever server this is.
            detail: match word("detail") {
                Some(detail) => shown(&detail).into_owned(),
                None => format!("the server answered {status}"),
            },
            retry_after_ms: answer["retry_after_ms"].as_u64().unwrap_or(0),
        })
    }

    /// Takes a seat, and keeps it until it is released or dropped. Must be called in a tokio runtime.
    pub async fn acquire(&self, pool: &PoolName, ask: &SeatRequest) -> Result<Held, Error> {
        let body = serde_json::to_value(ask).unwrap_or_default();
        let sent = Clocks::now();
        let answer = self.ask(pool, &body).await?;
        self.hold(&answer, sent)
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

    /// Begins the heartbeats of a seat that was granted. `sent` is when the request left, or earlier.
    fn hold(&self, answer: &Value, sent: Clocks) -> Result<Held, Error> {
        let granted = Promise::of(&answer["lease"], sent);
        let (Some(promise), Some(token)) = (granted, text(&answer["token"])) else {
            return Err(self.not_leasehold(StatusCode::OK));
        };
        let lease = &answer["lease"];
        let id = text(&lease["id"]).unwrap_or_default().to_owned();
        let after = promise.renew_after;
        let state = Arc::new(Mutex::new(State {
            token: SecretString::from(token),
            promise,
            idle: None,
            ends: None,
        }));
        let (tell, loss) = watch::channel(None);
        let beats = Heartbeats {
            client: self.clone(),
            id: id.clone(),
            state: Arc::clone(&state),
            tell,
        };
        Ok(Held {
            id,
            fence: lease["fence"].as_u64().unwrap_or(0),
            client: self.clone(),
            state,
            loss,
            beats: tokio::spawn(beats.run(after)),
            released: false,
        })
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

/// A wait for a seat. Dropping it leaves the queue in the background; [`WaitingForSeat::leave`] waits for that.
#[derive(Debug)]
pub struct WaitingForSeat {
    client: Client,
    pool: PoolName,
    ask: Value,
    ticket: Option<SecretString>,
}

impl WaitingForSeat {
    /// Waits for a seat; `told` hears of the place while it does. It can be dropped and called again: the place is kept for
    /// some seconds.
    ///
    /// In a pool with a queue nobody overtakes. In one without it asks again when a seat can come free.
    pub async fn seat(&mut self, mut told: impl FnMut(&QueueTicket)) -> Result<Held, Error> {
        let mut body = match &self.ticket {
            Some(ticket) => json!({ "ticket": ticket.expose_secret() }),
            None => self.ask.clone(),
        };
        let mut waits = false;
        loop {
            let sent = Clocks::now();
            let answer = self.client.ask(&self.pool, &body).await;
            // A client that waits already also waits through an outage. A first request without an answer may have the wrong address.
            if let Err(error) = &answer
                && error.is_temporary()
                && waits
            {
                told(&QueueTicket {
                    position: None,
                    eta: None,
                    detail: Some(error.to_string()),
                });
                tokio::time::sleep(jittered(KEEPS_PLACE)).await;
                continue;
            }
            waits = true;
            match answer {
                Ok(answer) => {
                    let Some(ticket) = answer["ticket"].as_str() else {
                        self.ticket = None;
                        return self.client.hold(&answer, sent);
                    };
                    told(&QueueTicket {
                        position: answer["position"].as_u64(),
                        eta: answer["eta_ms"].as_u64().map(Duration::from_millis),
                        detail: None,
                    });
                    // The server holds the answer back until there is a seat, so there is nothing to wait for here.
                    body = json!({ "ticket": ticket, "wait_ms": millis(HELD_BACK) });
                    self.ticket = Some(SecretString::from(ticket));
                }
                Err(Error::Problem { code, .. }) if code == "ticket_expired" => {
                    self.ticket = None;
                    body = self.ask.clone();
                }
                Err(Error::Problem {
                    status: 409,
                    retry_after_ms,
                    detail,
                    ..
                }) => {
                    self.ticket = None;
                    body = self.ask.clone();
                    told(&QueueTicket {
                        position: None,
                        eta: Some(Duration::from_millis(retry_after_ms)),
                        detail: Some(detail),
                    });
                    let wait = Duration::from_millis(retry_after_ms).clamp(RETRY.0, RETRY.1);
                    tokio::time::sleep(jittered(wait)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Leaves the queue, and waits until the server knows. A seat that came in the same moment is given back.
    pub async fn leave(mut self) -> Result<(), Error> {
        match self.ticket.take() {
            Some(ticket) => self.client.leave_queue(&self.pool, &ticket).await,
            None => Ok(()),
        }
    }
}

impl Drop for WaitingForSeat {
    fn drop(&mut self) {
        let (Some(ticket), Ok(runtime)) =
            (self.ticket.take(), tokio::runtime::Handle::try_current())
        else {
            // The server gives up a place that nobody asks about.
            return;
        };
        let (client, pool) = (self.client.clone(), self.pool.clone());
        runtime.spawn(async move { client.leave_queue(&pool, &ticket).await });
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

/// A text that says something.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
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

/// An instant on two clocks: one that only goes forward, and one that goes on while the machine sleeps.
#[derive(Debug, Clone, Copy)]
struct Clocks(Instant, SystemTime);

impl Clocks {
    fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    /// The further of both, so that no clock that stands still or is set back makes a lease longer.
    fn elapsed(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// What the last good answer promised.
#[derive(Debug, Clone, Copy)]
struct Promise {
    /// When its request left: the server may have decided at any time since.
    sent: Clocks,
    expires_in: Duration,
    renew_after: Duration,
    /// For how long work may go on after that; none is without limit.
    grace: Option<Duration>,
}

impl Promise {
    /// What this lease promises; none if it is no lease.
    fn of(lease: &Value, sent: Clocks) -> Option<Self> {
        text(&lease["id"])?;
        let ms = |name: &str| lease[name].as_u64().map(Duration::from_millis);
        Some(Self {
            sent,
            expires_in: ms("expires_in_ms")?,
            renew_after: ms("renew_after_ms")?,
            // A server of before does not say; then as ever.
            grace: ms("outage_grace_ms"),
        })
    }

    fn left(&self) -> Left {
        let elapsed = self.sent.elapsed();
        Left {
            certain: self.expires_in.saturating_sub(elapsed),
            used: elapsed.saturating_sub(self.expires_in),
            grace: self.grace,
            length: self.expires_in,
        }
    }
}

/// What is left of a lease while nothing is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// For how long it surely lives.
    pub certain: Duration,
    /// For how long that is over.
    pub used: Duration,
    /// For how long work may go on after that; none is without limit.
    pub grace: Option<Duration>,
    /// How long the lease was when it was last extended.
    pub length: Duration,
}

/// Says for how long nobody has done anything; none where that is not known.
type IdleTime = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

struct State {
    token: SecretString,
    promise: Promise,
    /// What heartbeats report of the user, if they do.
    idle: Option<IdleTime>,
    ends: Option<EndsSoon>,
}

/// That a policy of the pool can end the lease soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndsSoon {
    /// The time until then, from the last heartbeat on.
    pub within: Duration,
    /// `idle` or `max_hold`.
    pub reason: String,
    /// `yield`: the seat goes to somebody who needs it; `end`: it ends.
    pub then: String,
}

impl EndsSoon {
    fn of(ends: &Value) -> Option<Self> {
        Some(Self {
            within: Duration::from_millis(ends["in_ms"].as_u64()?),
            reason: text(&ends["reason"])?.to_owned(),
            then: text(&ends["then"])?.to_owned(),
        })
    }
}

/// Time without activity after which the next activity is reported at once.
const LONG: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody is back.
const LOOK: Duration = Duration::from_secs(1);
/// The longest idle time that there is.
const LONGEST_IDLE: Duration = Duration::from_secs(31 * 86_400);

/// The heartbeats of one lease.
struct Heartbeats {
    client: Client,
    id: String,
    state: Arc<Mutex<State>>,
    tell: watch::Sender<Option<Loss>>,
}

impl Heartbeats {
    /// Waits for the first activity after that time without any.
    async fn comes_back(&self, reported: Option<Duration>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let idle = self.state.lock().expect("no panic while held").idle.clone();
            if idle.and_then(|idle| idle()) < reported {
                return;
            }
        }
    }

    async fn run(self, first: Duration) {
        let mut after = first;
        let mut retry = RETRY.0;
        let mut reported = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(jittered(after)) => {}
                () = self.comes_back(reported), if reported.is_some_and(|idle| LONG <= idle) => {}
            }
            let (token, promise, idle) = {
                let state = self.state.lock().expect("no panic while held");
                (state.token.clone(), state.promise, state.idle.clone())
            };
            reported = idle.and_then(|idle| idle());
            let sent = Clocks::now();
            let mut body = json!({ "token": token.expose_secret() });
            if let Some(idle) = reported {
                body["idle_ms"] = json!(millis(idle.min(LONGEST_IDLE)));
            }
            let left = promise.left();
            if left.certain.is_zero() {
                let used = left.used.min(left.grace.unwrap_or(left.used));
                body["grace_used_ms"] = json!(millis(used));
            }
            let answer = self
                .client
                .call(Method::POST, "/v1/leases/renew", &[], Some(&body))
                .await;
            let error = match answer {
                Ok(answer) => match Promise::of(&answer["lease"], sent) {
                    Some(promise) if answer["lease"]["id"] == self.id.as_str() => {
                        let mut state = self.state.lock().expect("no panic while held");
                        state.promise = promise;
                        state.ends = EndsSoon::of(&answer["ends"]);
                        if let Some(token) = text(&answer["token"]) {
                            state.token = SecretString::from(token);
                        }
                        after = promise.renew_after.max(Duration::from_millis(100));
                        retry = RETRY.0;
                        continue;
                    }
                    _ => self.client.not_leasehold(StatusCode::OK),
                },
                Err(error) => error,
            };
            if let Some(code) = error.end() {
                let loss = Loss {
                    code: code.to_owned(),
                    reason: Some(error.to_string()),
                };
                self.tell.send_replace(Some(loss));
                return;
            }
            tracing::debug!(error = %error, "a heartbeat got no answer: {error}");
            // However long the server wants to be left alone, the lease is not to run out for it; and who comes back within one
            // length of the server's return keeps the seat.
            let rest = promise.left().certain;
            let most = match rest.is_zero() {
                true => promise.expires_in / 2,
                false => rest / 2,
            };
            after = retry
                .max(error.retry_after())
                .min(most.max(Duration::from_millis(100)));
            retry = (retry * 2).min(RETRY.1);
        }
    }
}

/// A seat that is held. Dropping it gives the seat back in the background; [`Held::release`] waits for that.
#[derive(Debug)]
pub struct Held {
    id: String,
    fence: u64,
    client: Client,
    state: Arc<Mutex<State>>,
    loss: watch::Receiver<Option<Loss>>,
    beats: JoinHandle<()>,
    released: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl Held {
    /// The id of the lease. Not a secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Grows with every grant in the pool: a resource that keeps the largest it has seen can refuse an older holder.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether the lease surely lives: the last answer is younger than the lease's length. Without it the seat may be
    /// somebody else's already, and heartbeats go on trying.
    pub fn is_sure(&self) -> bool {
        self.loss.borrow().is_none() && !self.left().certain.is_zero()
    }

    /// Reports with each heartbeat for how long nobody has done anything; whoever is back is reported at once.
    pub fn report_idle(&self, idle: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        self.state.lock().expect("no panic while held").idle = Some(Arc::new(idle));
    }

    /// When a policy of the pool can end the lease, if the last heartbeat said that it is soon.
    pub fn ends(&self) -> Option<EndsSoon> {
        self.state.lock().expect("no panic while held").ends.clone()
    }

    /// What is left of the lease, if nothing more is heard.
    pub fn left(&self) -> Left {
        self.state
            .lock()
            .expect("no panic while held")
            .promise
            .left()
    }

    /// Waits until the server reports the lease lost.
    pub async fn lost(&mut self) -> Loss {
        let lost = self.loss.wait_for(Option::is_some).await;
        lost.ok().and_then(|loss| loss.clone()).unwrap_or(Loss {
            code: "lease_released".to_owned(),
            reason: None,
        })
    }

    /// Gives the seat back and waits until the server knows.
    pub async fn release(mut self) -> Result<(), Error> {
        self.released = true;
        self.beats.abort();
        let token = self
            .state
            .lock()
            .expect("no panic while held")
            .token
            .clone();
        self.client.release(&token).await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.beats.abort();
        if self.released || self.loss.borrow().is_some() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The seat comes back by itself when the lease has expired.
            return;
        };
        let token = self
            .state
            .lock()
            .expect("no panic while held")
            .token
            .clone();
        let client = self.client.clone();
        runtime.spawn(async move { client.release(&token).await });
    }
}
