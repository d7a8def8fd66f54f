//! Sends messages to webhooks: at least once, never for long, and nobody waits for anybody else.
//!
//! A delivery belongs to one node for `LEASE`; if that dies, another one sends it then. How many are on their way to one
//! receiver follows from how it does: each message that it takes makes room for one more, and one that it does not take
//! begins anew.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use rand::RngExt as _;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderValue};
use tokio::sync::Notify;

use super::address::Target;
use super::post::{Answer, Poster};
use super::{ATTEMPTS, Options, format, message};
use crate::store::{Attempt, Delivery, Error, Finished, PutWebhook, Store};
use crate::time::{Timestamp, millis};
use crate::trace_context::{TRACEPARENT, TraceContext};
use crate::webhook::{Webhook, WebhookFormat, WebhookId};

/// How long a node owns a delivery: the longest attempt, and time to record its result.
const LEASE: Duration = Duration::from_secs(20);
/// Messages on their way to one webhook, from all nodes together: to one that nothing is known of or that fails, and to one
/// that takes everything. With 64 a receiver that needs a tenth of a second gets 640 a second.
const FIRST_AT_ONCE: u64 = 4;
const MOST_AT_ONCE: u64 = 64;
/// How often is looked for what is due, if nothing is known to be.
const EVERY: Duration = Duration::from_millis(500);
/// Factor from one pause to the next, and the longest pause.
const GROWTH: u32 = 4;
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 60 * 60);
/// The longest pause that a receiver may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(24 * 60 * 60);
/// Part of a pause by which it is longer or shorter, so that what failed together does not come back together.
const JITTER: f64 = 0.1;

/// Sends what is due, for as long as the program runs.
pub(super) async fn run(node: Arc<Node>) -> Infallible {
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
            () = node.told.notified() => {}
        }
    }
}

pub(super) struct Node {
    store: Store,
    poster: Poster,
    options: Options,
    /// What this node sends now: a lease that ran out while it was still at it must not make it send twice.
    flying: Mutex<HashSet<String>>,
    /// Messages that may be on their way to a webhook at once; one that is not here has had none.
    at_once: Mutex<HashMap<WebhookId, u64>>,
    /// Wakes the loop.
    told: Arc<Notify>,
    /// The last look left something for which there was no room.
    is_full: AtomicBool,
}

/// Deliveries that this node sends as one message, until it is dropped: also by a panic.
struct Flight {
    node: Arc<Node>,
    ids: Vec<String>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flying = self.node.flying();
        for id in &self.ids {
            flying.remove(id);
        }
        drop(flying);
        if self.node.is_full.load(Ordering::Acquire) {
            self.node.told.notify_one();
        }
    }
}

impl Node {
    /// Says at the start what will not work.
    pub(super) fn new(store: Store, options: Options, told: Arc<Notify>) -> Self {
        let poster = Poster::new(options.allowed, options.proxy.clone());
        if let Err(error) = poster.client("https") {
            tracing::warn!("messages to webhooks at https:// cannot be sent: {error}");
        }
        Self {
            store,
            poster,
            options,
            flying: Mutex::default(),
            at_once: Mutex::default(),
            told,
            is_full: AtomicBool::new(false),
        }
    }

    /// Takes what is due and begins to send it. Returns when to look again.
    async fn round(self: &Arc<Self>) -> Result<Duration, Error> {
        if self.store.webhooks().webhooks.is_empty() {
            return Ok(EVERY);
        }
        let at_once = |id: &WebhookId| self.at_once(id);
        let claimed = self.store.claim_deliveries(LEASE, &at_once).await?;
        self.is_full.store(claimed.is_full, Ordering::Release);
        for mut deliveries in self.messages(claimed.deliveries) {
            let mut flying = self.flying();
            deliveries.retain(|delivery| flying.insert(delivery.id.clone()));
            drop(flying);
            if deliveries.is_empty() {
                continue;
            }
            let flight = Flight {
                node: Arc::clone(self),
                ids: deliveries
                    .iter()
                    .map(|delivery| delivery.id.clone())
                    .collect(),
            };
            tokio::spawn(async move {
                flight.node.deliver(deliveries, claimed.until).await;
            });
        }
        let now = self.store.now();
        let next = claimed
            .next
            .map(|next| Duration::from_millis(next.since(now)));
        Ok(next.unwrap_or(EVERY).clamp(Duration::from_millis(5), EVERY))
    }

    /// What goes together: the deliveries of a webhook that wants them so, and each other one alone. A test is for somebody who
    /// waits for its answer, and goes alone too.
    fn messages(&self, deliveries: Vec<Delivery>) -> Vec<Vec<Delivery>> {
        let webhooks = self.store.webhooks();
        let mut groups: HashMap<WebhookId, Vec<Delivery>> = HashMap::new();
        let mut messages = Vec::new();
        for delivery in deliveries {
            let webhook = webhooks.webhooks.get(&delivery.webhook);
            let is_grouped = webhook.is_some_and(|webhook| webhook.group_wait().is_some());
            if is_grouped && delivery.kind != message::TEST {
                let group = groups.entry(delivery.webhook.clone());
                group.or_default().push(delivery);
            } else {
                messages.push(vec![delivery]);
            }
        }
        messages.extend(groups.into_values());
        messages
    }

    fn flying(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.flying.lock().expect("no panic while held")
    }

    fn at_once(&self, webhook: &WebhookId) -> u64 {
        let known = self.at_once.lock().expect("no panic while held");
        known.get(webhook).copied().unwrap_or(FIRST_AT_ONCE)
    }

    /// Learns from an attempt how many more a receiver takes. Mail servers count connections, and refuse whoever has many.
    fn learn(&self, webhook: &Webhook, is_well: bool) {
        let mut known = self.at_once.lock().expect("no panic while held");
        if is_well && webhook.format != WebhookFormat::Email {
            let at_once = known.entry(webhook.id.clone()).or_insert(FIRST_AT_ONCE);
            *at_once = (*at_once + 1).min(MOST_AT_ONCE);
        } else {
            known.remove(&webhook.id);
        }
    }

    async fn deliver(&self, deliveries: Vec<Delivery>, until: Timestamp) {
        let webhooks = self.store.webhooks();
        let Some(webhook) = deliveries
            .first()
            .and_then(|first| webhooks.webhooks.get(&first.webhook))
        else {
            return;
        };
        let begun = Instant::now();
        let at = self.store.now();
        let mut attempt = Attempt {
            at_ms: at.0,
            ..Attempt::default()
        };
        // A failure of the node is an attempt that failed: it would be repeated for ever if it counted as none.
        let sending = AssertUnwindSafe(self.send(webhook, &deliveries, at)).catch_unwind();
        let sent = sending
            .await
            .unwrap_or_else(|_| Err("the node failed at it; see its log".to_owned()));
        let retry_after = match sent {
            Ok(answer) => {
                attempt.status = Some(answer.status);
                attempt.reply = answer.reply;
                attempt.error = answer.complaint.map(str::to_owned);
                answer.retry_after
            }
            Err(error) => {
                attempt.error = Some(error);
                None
            }
        };
        attempt.took_ms = millis(begun.elapsed());
        self.learn(webhook, attempt.error.is_none());

        let gone = attempt.status == Some(StatusCode::GONE.as_u16());
        let finished: Vec<(Delivery, Finished)> = deliveries
            .into_iter()
            .map(|mut delivery| {
                delivery.tried(attempt.clone());
                let finished = self.outcome(&delivery, &attempt, gone, retry_after);
                (delivery, finished)
            })
            .collect();
        let outcome = match finished.first().map(|(_, finished)| finished) {
            Some(Finished::Delivered) => "delivered",
            Some(Finished::Dead) => "dead",
            Some(Finished::Failed(_)) | None => "failed",
        };
        metrics::counter!(ATTEMPTS, "outcome" => outcome).increment(1);
        if let Some(error) = &attempt.error
            && let Some((first, _)) = finished.first()
        {
            tracing::warn!(
                webhook = %webhook.id,
                delivery = %first.id,
                tries = first.tries,
                alerts = finished.len(),
                "a message was not delivered ({outcome}): {error}"
            );
        }
        self.finish(&webhook.id, &finished, until).await;
        if gone {
            self.disable(&webhook.id).await;
        }
    }

    fn outcome(
        &self,
        delivery: &Delivery,
        attempt: &Attempt,
        gone: bool,
        retry_after: Option<Duration>,
    ) -> Finished {
        if attempt.error.is_none() {
            Finished::Delivered
        } else if gone || delivery.tries >= self.options.attempts {
            Finished::Dead
        } else {
            let pause = jittered(pause(self.options.first_pause, delivery.tries));
            Finished::Failed(retry_after.map_or(pause, |retry_after| {
                pause.max(retry_after.min(LONGEST_WISH))
            }))
        }
    }

    /// Says how it ended. Should Redis be away, as soon as it is back: nobody else takes it before that.
    async fn finish(
        &self,
        webhook: &WebhookId,
        finished: &[(Delivery, Finished)],
        until: Timestamp,
    ) {
        loop {
            match self.store.finish_deliveries(webhook, until, finished).await {
                Ok(noted) => {
                    let lost = (finished.len() as u64).saturating_sub(noted);
                    if lost > 0 {
                        tracing::warn!(webhook = %webhook, lost, "how a message ended is lost, because another node has it by now");
                    }
                    return;
                }
                Err(error @ Error::Broken(_)) => {
                    tracing::warn!(error = %error, webhook = %webhook, "how a message ended is lost, it is sent again: {error}");
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

    /// One attempt, for one delivery or for several that go as one message. An error is in words for the operator, and without
    /// the URL, which may hold a secret.
    async fn send(
        &self,
        webhook: &Webhook,
        deliveries: &[Delivery],
        at: Timestamp,
    ) -> Result<Answer, String> {
        let target = self.options.allowed.target(&webhook.url);
        let target = target.map_err(|error| error.to_string())?;
        let deliveries: Vec<&Delivery> = deliveries.iter().collect();
        let id = message_id(webhook, &deliveries);
        let url = match target {
            Target::Http(url) => url,
            Target::Mail(to) => {
                let Some(server) = &self.options.mail else {
                    return Err("this node has no server that takes mail: set smtp_url".to_owned());
                };
                let pages = self.options.links.pages();
                return server.send(webhook, to, &deliveries, &id, pages).await;
            }
        };
        let body = format::body(webhook, &deliveries, at).into_bytes();
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: String| {
            // Ids and signatures are of letters, digits and a few signs.
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        };
        set(TRACEPARENT, TraceContext::of_attempt(&id).to_string());
        if webhook.format == WebhookFormat::Standard {
            set("webhook-timestamp", at.0.div_euclid(1_000).to_string());
            set("webhook-signature", webhook.signatures(&id, at, &body));
            set("webhook-id", id);
        }
        self.poster.send(url, headers, body, at).await
    }
}

/// The name of a message, the same over all attempts at the same deliveries.
fn message_id(webhook: &Webhook, deliveries: &[&Delivery]) -> String {
    if let [alone] = deliveries {
        return alone.id.clone();
    }
    let mut ids: Vec<&str> = deliveries.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    format!(
        "msg_group-{}_{}",
        message::digest(&ids.join(" ")),
        webhook.id
    )
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
