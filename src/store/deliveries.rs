//! Deliveries: messages on their way to webhooks, each with one node at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::keys::{AlertKeys, DELIVERIES, WebhookKeys, dead, delivered, pending};
use super::scripts::finish_deliveries::{self, Outcome};
use super::scripts::{self, FinishDeliveries, claim_deliveries, enqueue_delivery};
use super::unreadable::Kind;
use super::{Alert, Store, json};
use crate::time::Timestamp;
use crate::webhook::WebhookId;

/// Maximum of deliveries that wait for one webhook, and for all of them: about a kilobyte each.
const PENDING: u64 = 10_000;
const ALL_PENDING: u64 = 60_000;
/// Maximum of deliveries per webhook that are remembered as delivered, and of dead ones.
const DELIVERED: u64 = 100;
pub(super) const DEAD: u64 = 500;
/// Bytes of records that one webhook is given at once. A message with a list is not much longer than its records.
const BYTES: u64 = 200 * 1_024;
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
    /// More may be due, for which there was no room.
    pub is_full: bool,
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
    /// Maximum of deliveries that wait for one webhook.
    pub(super) fn most_pending(&self) -> u64 {
        let webhooks = self.webhooks().webhooks.len().max(1) as u64;
        (ALL_PENDING / webhooks).clamp(DEAD, PENDING)
    }

    /// Takes deliveries that are due, for `lease`; whoever has one sends it, and nobody else does. `at_once` says how many
    /// messages may be on their way to a webhook, for all nodes together.
    pub async fn claim_deliveries(
        &self,
        lease: Duration,
        at_once: &(dyn Fn(&WebhookId) -> u64 + Sync),
    ) -> Result<Claimed, Error> {
        let webhooks = self.webhooks();
        let enabled = webhooks.webhooks.values();
        let enabled: Vec<_> = enabled
            .filter(|webhook| webhook.disabled.is_none())
            .collect();
        let rows: Vec<claim_deliveries::Webhook<'_>> = enabled
            .iter()
            .map(|webhook| {
                let at_once = at_once(&webhook.id);
                let group = webhook.group_wait();
                // A group is one message, and each call makes one.
                let most = match group {
                    None => at_once,
                    Some(_) => webhook.format.most_alerts(),
                };
                claim_deliveries::Webhook {
                    keys: WebhookKeys(&webhook.id),
                    id: webhook.id.as_str(),
                    at_once: group.map_or(at_once, |_| at_once * most),
                    most,
                    group: group.unwrap_or_default(),
                }
            })
            .collect();
        let claim = scripts::ClaimDeliveries {
            keys: AlertKeys,
            term: lease,
            bytes: BYTES,
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
            is_full: reply.full > 0,
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
        let finish = FinishDeliveries {
            keys: WebhookKeys(&webhook),
            until_at: until,
            pause: Duration::ZERO,
            keep: DELIVERED,
            keep_dead: DEAD,
            deliveries: &[finish_deliveries::Delivery {
                id,
                outcome: Outcome::Dead,
                record,
            }],
        };
        if let Err(error) = self.call_about_alerts(&finish).await {
            tracing::debug!(delivery = id, error = %error, "not given up yet: {error}");
        }
    }

    /// Says how an attempt ended, for the deliveries of one webhook that went as one message. Returns how many of them were still
    /// this node's.
    pub async fn finish_deliveries(
        &self,
        webhook: &WebhookId,
        until: Timestamp,
        deliveries: &[(Delivery, Finished)],
    ) -> Result<u64, Error> {
        let records: Vec<String> = deliveries
            .iter()
            .map(|(delivery, _)| json(delivery))
            .collect();
        let mut pause = Duration::ZERO;
        let rows: Vec<finish_deliveries::Delivery<'_>> = deliveries
            .iter()
            .zip(&records)
            .map(
                |((delivery, finished), record)| finish_deliveries::Delivery {
                    id: &delivery.id,
                    outcome: match finished {
                        Finished::Delivered => Outcome::Delivered,
                        Finished::Failed(wait) => {
                            pause = pause.max(*wait);
                            Outcome::Failed
                        }
                        Finished::Dead => Outcome::Dead,
                    },
                    record,
                },
            )
            .collect();
        let finish = FinishDeliveries {
            keys: WebhookKeys(webhook),
            until_at: until,
            pause,
            keep: DELIVERED,
            keep_dead: DEAD,
            deliveries: &rows,
        };
        Ok(self.call_about_alerts(&finish).await?.noted)
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
        let Some(delivery) = self.delivery(id).await? else {
            return Ok(Enqueued::Unknown);
        };
        // It begins its tries anew.
        let delivery = Delivery {
            tries: 0,
            ..delivery
        };
        self.enqueue_delivery(&delivery).await
    }

    /// Makes a delivery due now. One that waits for its next attempt stays what it is.
    pub async fn enqueue_delivery(&self, delivery: &Delivery) -> Result<Enqueued, Error> {
        let webhooks = self.webhooks();
        let webhook = webhooks.webhooks.get(&delivery.webhook);
        let enqueue = scripts::EnqueueDelivery {
            keys: WebhookKeys(&delivery.webhook),
            id: &delivery.id,
            record: &json(delivery),
            maximum: self.most_pending(),
            group: webhook
                .and_then(|webhook| webhook.group_wait())
                .unwrap_or_default(),
        };
        Ok(match self.call_about_alerts(&enqueue).await?.status {
            enqueue_delivery::Status::Queued => Enqueued::Queued,
            enqueue_delivery::Status::Full => Enqueued::Full,
        })
    }

    /// One delivery, if it is still kept.
    pub async fn delivery(&self, id: &str) -> Result<Option<Delivery>, Error> {
        let mut connection = self.0.connections.get().await?;
        let record: Option<String> = redis::cmd("HGET")
            .arg(DELIVERIES)
            .arg(id)
            .query_async(&mut *connection)
            .await?;
        record.map(|record| read(id, &record)).transpose()
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
