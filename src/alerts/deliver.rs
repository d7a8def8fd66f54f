//! Sends messages to webhooks: at least once, never for long, and nobody waits for anybody else.
//!
//! A delivery belongs to one node for `LEASE`; if that dies, another one sends it then. What a receiver says is
//! taken for hostile: it is read up to a bound, followed nowhere, and shown to admins only.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use chrono::DateTime;
use futures_util::FutureExt as _;
use rand::RngExt as _;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use tokio::sync::Notify;

use super::address::{Allowed, Resolver, system};
use super::{ATTEMPTS, Options};
use crate::client::innermost;
use crate::store::{Attempt, Delivery, Error, Finished, PutWebhook, Store};
use crate::time::{Timestamp, millis};
use crate::tls::choose_cryptography;
use crate::trace_context::{TRACEPARENT, TraceContext};
use crate::webhook::{Webhook, WebhookId};

/// How long one attempt may take in all, and to connect.
const TOTAL: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(5);
/// How long a node owns a delivery: the longest attempt, and time to record its result.
const LEASE: Duration = Duration::from_secs(20);
/// Most messages on their way to one webhook, from all nodes together.
const AT_ONCE: usize = 4;
/// How often is looked for what is due, if nothing is known to be.
const EVERY: Duration = Duration::from_millis(500);
/// Most that is read of a reply, and most that is kept of it.
const REPLY: usize = 64 * 1024;
const KEPT: usize = 512;
/// Factor from one pause to the next, and the longest pause.
const GROWTH: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 60 * 60);
/// The longest pause that a receiver may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(24 * 60 * 60);
/// Part of a pause by which it is longer or shorter, so that what failed together does not come back together.
const JITTER: f64 = 0.1;

/// Sends what is due, for as long as the program runs.
pub(super) async fn run(node: Arc<Node>, told: Arc<Notify>) -> Infallible {
    loop {
        let pause = match node.round().await {
            Ok(pause) => pause,
            // The sweeper says once that Redis is away.
            Err(error) => {
                tracing::debug!(error = %error, "could not look for deliveries: {error}");
                EVERY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told.notified() => {}
        }
    }
}

/// What a receiver's certificate is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Roots {
    /// The authorities that this machine trusts. A minimal image may have none.
    Machine,
    /// Nothing: for `http://` only.
    None,
}

/// A client that connects only to the address it is given: no redirects, no proxy but that of the settings, no pooled connection.
///
/// A proxy looks names up itself, so it decides where they lead.
pub(super) fn client<Lookup, Answer>(
    resolver: Resolver<Lookup>,
    roots: Roots,
    proxy: Option<&reqwest::Url>,
) -> Result<reqwest::Client, reqwest::Error>
where
    Lookup: Fn(String) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
{
    choose_cryptography();
    let own = proxy.and_then(reqwest::Url::host_str).map(str::to_owned);
    let resolver = resolver.with_own(own);
    let mut client = reqwest::Client::builder()
        .timeout(TOTAL)
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("Leasehold/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(resolver));
    if let Some(proxy) = proxy {
        client = client.proxy(reqwest::Proxy::all(proxy.clone())?);
    }
    match roots {
        Roots::Machine => client.build(),
        Roots::None => client.tls_certs_only([]).build(),
    }
}

pub(super) struct Node {
    store: Store,
    /// One for `http://` and one for `https://`, each made when it is first needed.
    http: OnceLock<reqwest::Client>,
    https: OnceLock<reqwest::Client>,
    options: Options,
    /// What this node sends now: a lease that ran out while it was still at it must not make it send twice.
    flying: Mutex<HashSet<String>>,
}

/// A delivery that this node sends, until it is dropped: also by a panic.
struct Flight {
    node: Arc<Node>,
    id: String,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.node.flying().remove(&self.id);
    }
}

impl Node {
    /// Says at the start what will not work.
    pub(super) fn new(store: Store, options: Options) -> Self {
        let node = Self {
            store,
            http: OnceLock::new(),
            https: OnceLock::new(),
            options,
            flying: Mutex::default(),
        };
        if let Err(error) = node.client("https") {
            tracing::warn!("messages to webhooks at https:// cannot be sent: {error}");
        }
        node
    }

    /// The client for a scheme. One that could not be made is tried again: certificates may have been installed.
    fn client(&self, scheme: &str) -> Result<&reqwest::Client, String> {
        let (kept, roots) = match scheme {
            "https" => (&self.https, Roots::Machine),
            _ => (&self.http, Roots::None),
        };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        let resolver = Resolver::new(self.options.allowed, system);
        let made = client(resolver, roots, self.options.proxy.as_ref());
        let made = made.map_err(|error| {
            format!(
                "this machine has no CA certificates to check a receiver with; install ca-certificates, or name a file \
                 of them in SSL_CERT_FILE ({})",
                innermost(&error)
            )
        })?;
        Ok(kept.get_or_init(|| made))
    }

    /// Takes what is due and begins to send it. Returns when to look again.
    async fn round(self: &Arc<Self>) -> Result<Duration, Error> {
        if self.store.webhooks().webhooks.is_empty() {
            return Ok(EVERY);
        }
        let claimed = self.store.claim_deliveries(LEASE, AT_ONCE).await?;
        for delivery in claimed.deliveries {
            if !self.flying().insert(delivery.id.clone()) {
                continue;
            }
            let flight = Flight {
                node: Arc::clone(self),
                id: delivery.id.clone(),
            };
            tokio::spawn(async move {
                flight.node.deliver(delivery, claimed.until).await;
            });
        }
        let now = self.store.now();
        let next = claimed
            .next
            .map(|next| Duration::from_millis(next.since(now)));
        Ok(next.unwrap_or(EVERY).clamp(Duration::from_millis(5), EVERY))
    }

    fn flying(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.flying.lock().expect("no panic while held")
    }

    async fn deliver(&self, mut delivery: Delivery, until: Timestamp) {
        let webhooks = self.store.webhooks();
        let Some(webhook) = webhooks.webhooks.get(&delivery.webhook) else {
            return;
        };
        let begun = Instant::now();
        let at = self.store.now();
        let mut attempt = Attempt {
            at_ms: at.0,
            ..Attempt::default()
        };
        // A failure of the node is an attempt that failed: it would be repeated for ever if it counted as none.
        let sending = AssertUnwindSafe(self.send(webhook, &delivery, at)).catch_unwind();
        let sent = sending
            .await
            .unwrap_or_else(|_| Err("the node failed at it; see its log".to_owned()));
        let retry_after = match sent {
            Ok(answer) => {
                attempt.status = Some(answer.status.as_u16());
                attempt.reply = answer.reply;
                attempt.error = complaint(answer.status).map(str::to_owned);
                answer.retry_after
            }
            Err(error) => {
                attempt.error = Some(error);
                None
            }
        };
        attempt.took_ms = millis(begun.elapsed());
        let status = attempt.status;
        let failed = attempt.error.clone();
        delivery.tried(attempt);

        let gone = status == Some(StatusCode::GONE.as_u16());
        let finished = if failed.is_none() {
            Finished::Delivered
        } else if gone || delivery.tries >= self.options.attempts {
            Finished::Dead
        } else {
            let pause = jittered(pause(self.options.first_pause, delivery.tries));
            Finished::Failed(retry_after.map_or(pause, |retry_after| {
                pause.max(retry_after.min(LONGEST_WISH))
            }))
        };
        let outcome = match finished {
            Finished::Delivered => "delivered",
            Finished::Failed(_) => "failed",
            Finished::Dead => "dead",
        };
        metrics::counter!(ATTEMPTS, "outcome" => outcome).increment(1);
        if let Some(error) = &failed {
            tracing::warn!(
                webhook = %delivery.webhook,
                delivery = %delivery.id,
                tries = delivery.tries,
                "a message was not delivered ({outcome}): {error}"
            );
        }
        self.finish(&delivery, until, finished).await;
        if gone {
            self.disable(&delivery.webhook).await;
        }
    }

    /// Says how it ended. Should Redis be away, as soon as it is back: nobody else takes it before that.
    async fn finish(&self, delivery: &Delivery, until: Timestamp, finished: Finished) {
        loop {
            match self.store.finish_delivery(delivery, until, finished).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(delivery = %delivery.id, "how a message ended is lost, because another node has it by now");
                    return;
                }
                Err(error @ Error::Broken(_)) => {
                    tracing::warn!(error = %error, delivery = %delivery.id, "how a message ended is lost, it is sent again: {error}");
                    return;
                }
                Err(_) => tokio::time::sleep(EVERY).await,
            }
        }
    }

    /// A receiver that is gone gets nothing more until an operator enables it again.
    async fn disable(&self, id: &WebhookId) {
        loop {
            let webhooks = self.store.webhooks();
            let Some(before) = webhooks.webhooks.get(id) else {
                return;
            };
            let mut after = Webhook::clone(before);
            after.disabled = Some("the receiver answered 410 Gone".to_owned());
            match self.store.put_webhook(&after, Some(before)).await {
                Ok(PutWebhook::Conflict) => {}
                Ok(_) => {
                    tracing::warn!(webhook = %id, "webhook {id} is disabled: its receiver answered 410 Gone");
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = %error, webhook = %id, "webhook {id} could not be disabled: {error}");
                    return;
                }
            }
        }
    }

    /// One attempt. An error is in words for the operator, and without the URL, which may hold a secret.
    async fn send(
        &self,
        webhook: &Webhook,
        delivery: &Delivery,
        at: Timestamp,
    ) -> Result<Answer, String> {
        let url = self
            .allowed()
            .url(&webhook.url)
            .map_err(|error| error.to_string())?;
        let body = delivery.body.clone().into_bytes();
        let signatures = webhook.signatures(&delivery.id, at, &body);
        let client = self.client(url.scheme())?;
        let response = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", at.0.div_euclid(1_000))
            .header("webhook-signature", signatures)
            .header(
                TRACEPARENT,
                TraceContext::of_attempt(&delivery.id).to_string(),
            )
            .body(body)
            .send()
            .await
            .map_err(in_words)?;
        let status = response.status();
        let retry_after = retry_after(&response, at);
        let reply = read(response).await.map_err(in_words)?;
        Ok(Answer {
            status,
            retry_after,
            reply,
        })
    }

    const fn allowed(&self) -> Allowed {
        self.options.allowed
    }
}

/// What a receiver answered.
struct Answer {
    status: StatusCode,
    /// When it wants to be asked again.
    retry_after: Option<Duration>,
    reply: Option<String>,
}

/// Why an answer is none that is hoped for.
fn complaint(status: StatusCode) -> Option<&'static str> {
    if status.is_success() {
        None
    } else if status.is_redirection() {
        Some("the receiver redirects, which is not followed; give the webhook the other URL")
    } else if status == StatusCode::GONE {
        Some("the receiver is gone")
    } else {
        Some("the receiver did not take it")
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(response: &Response, at: Timestamp) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    let ms = date.timestamp_millis() - at.0;
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// Reads a reply up to its bound, and returns its first part.
async fn read(mut response: Response) -> Result<Option<String>, reqwest::Error> {
    let (mut seen, mut kept) = (0, Vec::new());
    while let Some(chunk) = response.chunk().await? {
        seen += chunk.len();
        let room = KEPT.saturating_sub(kept.len()).min(chunk.len());
        kept.extend_from_slice(&chunk[..room]);
        if seen >= REPLY {
            // The rest is not waited for; the connection ends here.
            break;
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

fn in_words(error: reqwest::Error) -> String {
    if error.is_timeout() {
        let what = if error.is_connect() {
            "connect"
        } else {
            "answer"
        };
        return format!("the receiver did not {what} in time");
    }
    let error = error.without_url();
    format!("the receiver cannot be reached: {}", innermost(&error))
}

/// The pause after the nth failed attempt: 5 s, 20 s, 80 s, … 12 h, with the settings that nobody has touched.
fn pause(first: Duration, tries: u32) -> Duration {
    let growth = GROWTH.saturating_pow(tries.saturating_sub(1));
    first.saturating_mul(growth).min(LONGEST_PAUSE)
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_last_about_three_days() {
        let first = Duration::from_secs(5);
        let seconds: Vec<u64> = (1..13).map(|tries| pause(first, tries).as_secs()).collect();
        assert_eq!(
            seconds,
            [
                5, 20, 80, 320, 1_280, 5_120, 20_480, 43_200, 43_200, 43_200, 43_200, 43_200
            ]
        );
        let days = seconds.iter().sum::<u64>() as f64 / 86_400.0;
        assert!((2.7..3.3).contains(&days), "{days}");
        assert_eq!(pause(first, u32::MAX), LONGEST_PAUSE);
        for _ in 0..1_000 {
            let jittered = jittered(first).as_secs_f64();
            assert!((4.5..=5.5).contains(&jittered), "{jittered}");
        }
    }
}
