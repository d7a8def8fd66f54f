//! Deliveries: messages on their way to webhooks, each with one node at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::keys::{AlertKeys, DELIVERIES, WebhookKeys, dead, delivered, pending};
use super::scripts::finish_delivery::Outcome;
use super::scripts::{self, FinishDelivery, claim_deliveries, enqueue_delivery, finish_delivery};
use super::unreadable::Kind;
use super::{Alert, Store, json};
use crate::time::Timestamp;
use crate::webhook::WebhookId;

/// Maximum of deliveries per webhook: those that wait, those that are remembered as delivered, and dead ones.
pub(super) const PENDING: u64 = 500;
const DELIVERED: u64 = 100;
const DEAD: u64 = 500;
/// Attempts that are remembered of one delivery.
const ATTEMPTS: usize = 8;

/// A message for one webhook, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its name, and its `webhook-id` in all attempts.
    pub id: String,
    /// Where it goes.
    pub webhook: WebhookId,
    /// The `type` of the message.
    pub kind: String,
    /// The pool, if it is about one.
    pub pool: Option<String>,
    /// When it was made, ms.
    pub created_at_ms: i64,
    /// What is sent.
    pub body: String,
    /// How often it was tried, since it was made or sent again.
    pub tries: u32,
    /// How the last of them ended.
    pub attempts: Vec<Attempt>,
}

/// How one attempt ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began, ms.
    pub at_ms: i64,
    /// How long it took.
    pub took_ms: u64,
    /// The status that the receiver answered.
    pub status: Option<u16>,
    /// What went wrong otherwise.
    pub error: Option<String>,
    /// The start of the receiver's answer. For admins only: it may be something internal.
    pub reply: Option<String>,
}

impl Delivery {
    /// A message about an alert.
    pub(super) fn new(id: String, webhook: WebhookId, alert: &Alert, body: String) -> Self {
        Self {
            id,
            webhook,
            kind: alert.kind.as_str().to_owned(),
            pool: alert.pool.as_ref().map(ToString::to_string),
            created_at_ms: alert.at,
            body,
            tries: 0,
            attempts: Vec::new(),
        }
    }

    /// Notes an attempt; the oldest are forgotten.
    pub fn tried(&mut self, attempt: Attempt) {
        self.tries += 1;
        self.attempts.push(attempt);
        let old = self.attempts.len().saturating_sub(ATTEMPTS);
        self.attempts.drain(..old);
    }
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its next attempt, or is under way.
    Pending,
    /// The receiver has it.
    Delivered,
    /// It was given up.
    Dead,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Dead];

    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    fn key(self, webhook: &WebhookId) -> String {
        match self {
            Self::Pending => pending(webhook),
            Self::Delivered => delivered(webhook),
            Self::Dead => dead(webhook),
        }
    }
}

/// What this node has to send.
#[derive(Debug)]
pub struct Claimed {
    /// Until when it has them.
    pub until: Timestamp,
    /// When the next one is due that is not due yet.
    pub next: Option<Timestamp>,
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
}

/// How an attempt ended, for the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// The receiver has it.
    Delivered,
    /// To be tried again after this time.
    Failed(Duration),
    /// It is given up.
    Dead,
}

/// What became of a delivery that was to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is due.
    Queued,
    /// The queue is full.
    Full,
    /// There is no such delivery.
    Unknown,
}

impl Store {
    /// Takes deliveries that are due, for `lease`; whoever has one sends it, and nobody else does. At most `at_once` are
    /// on their way to one webhook, for all nodes together.
    pub async fn claim_deliveries(
        &self,
        lease: Duration,
        at_once: usize,
    ) -> Result<Claimed, Error> {
        let webhooks = self.webhooks();
        let enabled: Vec<&WebhookId> = webhooks
            .webhooks
            .values()
            .filter(|webhook| webhook.disabled.is_none())
            .map(|webhook| &webhook.id)
            .collect();
        let rows: Vec<claim_deliveries::Webhook<'_>> = enabled
            .iter()
            .map(|id| claim_deliveries::Webhook {
                keys: WebhookKeys(id),
                id: id.as_str(),
            })
            .collect();
        let claim = scripts::ClaimDeliveries {
            keys: AlertKeys,
            term: lease,
            at_once: at_once as u64,
            webhooks: &rows,
        };
        let reply = self.call_about_alerts(&claim).await?;
        let (until, next) = (reply.until_at, reply.next_at);
        let mut deliveries = Vec::with_capacity(reply.deliveries.len());
        for claimed in &reply.deliveries {
            match read(&claimed.id, &claimed.record) {
                Ok(delivery) => deliveries.push(delivery),
                Err(_) => self.give_up(&claimed.id, &claimed.record, until).await,
            }
        }
        Ok(Claimed {
            until,
            next: (next.0 > 0).then_some(next),
            deliveries,
        })
    }

    /// Gives up a claimed delivery that cannot be read, as it is.
    async fn give_up(&self, id: &str, record: &str, until: Timestamp) {
        self.0.unreadable.note(Kind::Delivery, id);
        // The end of its name says whose it is.
        let webhook = id
            .rsplit('_')
            .next()
            .map(|id| WebhookId::try_from(id.to_owned()));
        let Some(Ok(webhook)) = webhook else {
            return;
        };
        let finish = FinishDelivery {
            keys: WebhookKeys(&webhook),
            id,
            until_at: until,
            outcome: Outcome::Dead,
            record,
            pause: Duration::ZERO,
            keep: DELIVERED,
            keep_dead: DEAD,
        };
        if let Err(error) = self.call_about_alerts(&finish).await {
            tracing::debug!(delivery = id, error = %error, "not given up yet: {error}");
        }
    }

    /// Says how an attempt ended. `false` if the delivery is another node's by now, or gone.
    pub async fn finish_delivery(
        &self,
        delivery: &Delivery,
        until: Timestamp,
        finished: Finished,
    ) -> Result<bool, Error> {
        let (outcome, pause) = match finished {
            Finished::Delivered => (Outcome::Delivered, Duration::ZERO),
            Finished::Failed(pause) => (Outcome::Failed, pause),
            Finished::Dead => (Outcome::Dead, Duration::ZERO),
        };
        let finish = FinishDelivery {
            keys: WebhookKeys(&delivery.webhook),
            id: &delivery.id,
            until_at: until,
            outcome,
            record: &json(delivery),
            pause,
            keep: DELIVERED,
            keep_dead: DEAD,
        };
        let finished = self.call_about_alerts(&finish).await?.status;
        Ok(finished == finish_delivery::Status::Finished)
    }

    /// Makes a delivery due now that was delivered, given up, or waits for its next attempt.
    pub async fn resend_delivery(&self, webhook: &WebhookId, id: &str) -> Result<Enqueued, Error> {
        // The end of its name says whose it is.
        if !id
            .strip_suffix(webhook.as_str())
            .is_some_and(|id| id.ends_with('_'))
        {
            return Ok(Enqueued::Unknown);
        }
        let mut connection = self.0.connections.get().await?;
        let record: Option<String> = redis::cmd("HGET")
            .arg(DELIVERIES)
            .arg(id)
            .query_async(&mut *connection)
            .await?;
        drop(connection);
        let Some(record) = record else {
            return Ok(Enqueued::Unknown);
        };
        // It begins its tries anew.
        let delivery = Delivery {
            tries: 0,
            ..read(id, &record)?
        };
        self.enqueue_delivery(&delivery).await
    }

    /// Makes a delivery due now. One that waits for its next attempt stays what it is.
    pub async fn enqueue_delivery(&self, delivery: &Delivery) -> Result<Enqueued, Error> {
        let enqueue = scripts::EnqueueDelivery {
            keys: WebhookKeys(&delivery.webhook),
            id: &delivery.id,
            record: &json(delivery),
            maximum: PENDING,
        };
        Ok(match self.call_about_alerts(&enqueue).await?.status {
            enqueue_delivery::Status::Queued => Enqueued::Queued,
            enqueue_delivery::Status::Full => Enqueued::Full,
        })
    }

    /// Deliveries of a webhook in one stage, newest first, with the instant that belongs to it: when it is due, when it
    /// arrived, when it was given up.
    pub async fn deliveries(
        &self,
        webhook: &WebhookId,
        stage: Stage,
        limit: usize,
    ) -> Result<Vec<(Delivery, Timestamp)>, Error> {
        let mut connection = self.0.connections.get().await?;
        let listed: Vec<(String, i64)> = redis::cmd("ZRANGE")
            .arg(stage.key(webhook))
            .arg(0)
            .arg(limit.saturating_sub(1))
            .arg("REV")
            .arg("WITHSCORES")
            .query_async(&mut *connection)
            .await?;
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let mut get = redis::cmd("HMGET");
        get.arg(DELIVERIES);
        for (id, _) in &listed {
            get.arg(id);
        }
        let records: Vec<Option<String>> = get.query_async(&mut *connection).await?;
        listed
            .iter()
            .zip(records)
            .filter_map(|((id, at), record)| match read(id, &record?) {
                Ok(delivery) => Some(Ok((delivery, Timestamp(*at)))),
                Err(_) => {
                    self.0.unreadable.note(Kind::Delivery, id);
                    None
                }
            })
            .collect()
    }

    /// How many deliveries of each of these webhooks are pending, and how many are dead.
    pub async fn count_deliveries(
        &self,
        webhooks: &[&WebhookId],
    ) -> Result<Vec<(u64, u64)>, Error> {
        if webhooks.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for id in webhooks {
            pipe.cmd("ZCARD")
                .arg(pending(id))
                .cmd("ZCARD")
                .arg(dead(id));
        }
        let mut connection = self.0.connections.get().await?;
        let counts: Vec<u64> = pipe.query_async(&mut *connection).await?;
        Ok(counts
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect())
    }
}

fn read(id: &str, record: &str) -> Result<Delivery, Error> {
    serde_json::from_str(record).map_err(|_| Error::Newer(format!("the delivery {id}")))
}
