//! A client for programs that hold a seat while they run: acquire, heartbeats in the background, release on drop.
//!
//! Heartbeats follow the server's `renew_after_ms` and go on through outages for as long as the server has not said
//! that the lease is lost: holders that come back in time keep their seats. Deliberately absent: a clock of its own
//! that ends a lease. Whoever needs to know how sure it is asks [`Held::is_sure`].

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::names::PoolName;

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How long a connection is kept for the next request: longer than from beat to beat, and shorter than balancers and nodes
/// keep theirs, so that no request meets a connection that is being closed.
const IDLE: Duration = Duration::from_secs(30);
/// First and longest wait after a heartbeat that got no answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Longest pause between two requests with a ticket: the place is lost after 6 s without one.
const KEEPS_PLACE: Duration = Duration::from_secs(2);
/// Attempts of an acquire before its error is returned; always with the same idempotency key.
const TRIES: u32 = 4;
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
}

impl Error {
    /// Whether the same request may do better later.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Problem { status, .. } => matches!(status, 429 | 500..),
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
    /// `lease_expired`, `lease_released`, `lease_terminated`, `lease_evicted`, or another code of a final answer.
    pub code: String,
    /// What the operator wrote, if one ended it.
    pub reason: Option<String>,
}

/// Speaks to one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<SecretString>,
}

impl Client {
    /// For the server at `base`, such as `http://127.0.0.1:7070`, with a key if it asks for one.
    pub fn new(base: &str, key: Option<SecretString>) -> Result<Self, Error> {
        crate::tls::choose_cryptography();
        let mut http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none());
        if base.starts_with("http://") {
            // Without TLS there is nothing to verify, and a container may have no certificates to do it with.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|error| {
            Error::Unreachable(format!("{base} cannot be asked: {}", innermost(&error)))
        })?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key,
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
        let bytes = self.send(method, path, headers, body).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// One page of an answer that is not JSON, as it is, and the cursor of the next page.
    pub async fn text(&self, path: &str) -> Result<(String, Option<String>), Error> {
        let (bytes, headers) = self.exchange(Method::GET, path, &[], None).await?;
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

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Bytes, Error> {
        let (bytes, _) = self.exchange(method, path, headers, body).await?;
        Ok(bytes)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<(Bytes, HeaderMap), Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
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
            return Ok((bytes, headers));
        }
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let word = |name: &str| answer[name].as_str().map(str::to_owned);
        Err(Error::Problem {
            status: status.as_u16(),
            code: word("code").unwrap_or_else(|| "unknown".to_owned()),
            detail: match (word("reason"), word("detail")) {
                (Some(reason), Some(detail)) => format!("{detail} {reason}"),
                (_, Some(detail)) => detail,
                _ => format!("the server answered {status}"),
            },
            retry_after_ms: answer["retry_after_ms"].as_u64().unwrap_or(0),
        })
    }

    /// Takes a seat, and keeps it until it is released or dropped. Must be called in a tokio runtime.
    pub async fn acquire(&self, pool: &PoolName, ask: &SeatRequest) -> Result<Held, Error> {
        let body = serde_json::to_value(ask).unwrap_or_default();
        Ok(self.hold(&self.ask(pool, &body).await?))
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
                    tokio::time::sleep(jittered(wait)).await;
                    wait = (wait * 2).min(RETRY.1);
                }
                answer => return answer,
            }
        }
    }

    /// Begins the heartbeats of a seat that was granted.
    fn hold(&self, answer: &Value) -> Held {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let state = Arc::new(Mutex::new(State {
            token: SecretString::from(text(&answer["token"])),
            sure_until: Instant::now() + length(&answer["lease"]["expires_in_ms"]),
        }));
        let (tell, loss) = watch::channel(None);
        let beats = Heartbeats {
            client: self.clone(),
            state: Arc::clone(&state),
            tell,
        };
        let after = length(&answer["lease"]["renew_after_ms"]);
        Held {
            id: text(&answer["lease"]["id"]),
            fence: answer["lease"]["fence"].as_u64().unwrap_or(0),
            client: self.clone(),
            state,
            loss,
            beats: tokio::spawn(beats.run(after)),
            released: false,
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
                        return Ok(self.client.hold(&answer));
                    };
                    told(&QueueTicket {
                        position: answer["position"].as_u64(),
                        eta: answer["eta_ms"].as_u64().map(Duration::from_millis),
                        detail: None,
                    });
                    // The server holds the answer back until there is a seat, so there is nothing to wait for here.
                    body = json!({ "ticket": ticket, "wait_ms": HELD_BACK.as_millis() as u64 });
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

fn length(ms: &Value) -> Duration {
    Duration::from_millis(ms.as_u64().unwrap_or(20_000))
}

/// A tenth more or less, so that those who began together do not stay together.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.9..=1.1))
}

struct State {
    token: SecretString,
    sure_until: Instant,
}

/// The heartbeats of one lease.
struct Heartbeats {
    client: Client,
    state: Arc<Mutex<State>>,
    tell: watch::Sender<Option<Loss>>,
}

impl Heartbeats {
    async fn run(self, first: Duration) {
        let mut after = first;
        let mut retry = RETRY.0;
        loop {
            tokio::time::sleep(jittered(after)).await;
            let token = self
                .state
                .lock()
                .expect("no panic while held")
                .token
                .clone();
            let sent = Instant::now();
            let body = json!({ "token": token.expose_secret() });
            let answer = self
                .client
                .call(Method::POST, "/v1/leases/renew", &[], Some(&body))
                .await;
            match answer {
                Ok(answer) => {
                    let mut state = self.state.lock().expect("no panic while held");
                    // From when it was sent: the server may have decided at any time since.
                    state.sure_until = sent + length(&answer["lease"]["expires_in_ms"]);
                    if let Some(token) = answer["token"].as_str() {
                        state.token = SecretString::from(token);
                    }
                    after = length(&answer["lease"]["renew_after_ms"]);
                    retry = RETRY.0;
                }
                Err(error) if error.is_temporary() => {
                    tracing::debug!(error = %error, "a heartbeat got no answer: {error}");
                    after = retry;
                    retry = (retry * 2).min(RETRY.1);
                }
                Err(Error::Problem {
                    code,
                    detail,
                    status,
                    ..
                }) => {
                    let reason = (status == StatusCode::GONE.as_u16()).then_some(detail);
                    self.tell.send_replace(Some(Loss { code, reason }));
                    return;
                }
                Err(Error::Unreachable(_)) => unreachable!("temporary"),
            }
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
        self.loss.borrow().is_none()
            && Instant::now() < self.state.lock().expect("no panic while held").sure_until
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
