//! Reminders of alerts that are raised and that nobody has acknowledged, and messages that a snooze kept back.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::deliveries::Delivery;
use super::error::Error;
use super::keys::{ACKNOWLEDGED, AlertKeys, Bucket, REMINDED, SUPPRESSED, WebhookKeys};
use super::scripts::{self, remind_alerts};
use super::{Alert, Store, json};
use crate::time::Timestamp;
use crate::webhook::{Webhook, WebhookId};

/// Messages that one call makes, but for those of its last alert, and notes that it clears away.
const MESSAGES: usize = 200;

/// An alert of which messages are due.
struct DueAlert<'a> {
    alert: &'a Alert,
    id: String,
    /// It was sent before.
    is_reminder: bool,
    messages: Vec<DueMessage<'a>>,
}

/// One of them.
struct DueMessage<'a> {
    /// Number of the webhook, from 1.
    number: u64,
    webhook: &'a WebhookId,
    field: String,
    last: Option<&'a str>,
}

/// What is noted of alerts besides what they are.
struct AlertNotes {
    acknowledged: HashMap<String, String>,
    suppressed: HashMap<String, String>,
    reminded: HashMap<String, String>,
}

impl AlertNotes {
    fn is_empty(&self) -> bool {
        self.acknowledged.is_empty() && self.suppressed.is_empty() && self.reminded.is_empty()
    }

    /// Those about alerts that are not raised: the id of each, and the field if it is of a reminder.
    fn ended(&self, raised: &HashSet<String>) -> Vec<(&str, Option<&str>)> {
        let alerts = self.acknowledged.keys().chain(self.suppressed.keys());
        let alerts = alerts.map(|id| (id.as_str(), None));
        let reminders = self.reminded.keys().map(|field| {
            let id = field.rsplit_once(' ').map_or("", |(id, _)| id);
            (id, Some(field.as_str()))
        });
        let all = alerts.chain(reminders);
        all.filter(|(id, _)| !raised.contains(*id))
            .take(MESSAGES)
            .collect()
    }
}

impl Store {
    /// Makes the messages that are due; `body` writes one, and says of a reminder that it is one. The node that owns the first bucket
    /// does it, and for a moment perhaps another one as well. Returns how many this node made.
    pub async fn remind_of_alerts(
        &self,
        body: &(dyn Fn(&Alert, bool) -> String + Sync),
    ) -> Result<u64, Error> {
        if !self.owns(Bucket::of_no_pool()) {
            return Ok(0);
        }
        let webhooks = self.webhooks();
        // Before the alerts: what is noted and not raised is over then.
        let notes = self.alert_notes().await?;
        let reminds = |webhook: &Webhook| webhook.remind_after_ms.is_some();
        if notes.is_empty() && !webhooks.webhooks.values().any(|webhook| reminds(webhook)) {
            return Ok(0);
        }
        let raised = self.raised_alerts().await?;
        let snoozes = self.snoozes().await?;
        let now = self.now();

        let mut known: Vec<&WebhookId> = webhooks.webhooks.keys().collect();
        known.sort_unstable();
        let mut due = Vec::new();
        for alert in &raised {
            let id = alert.id();
            let is_reminder = !notes.suppressed.contains_key(&id);
            let is_quiet = snoozes.iter().any(|snooze| snooze.covers(alert))
                || is_reminder && notes.acknowledged.contains_key(&id);
            if is_quiet {
                continue;
            }
            let mut messages = Vec::new();
            for (number, webhook) in (1..).zip(&known) {
                let webhook = &webhooks.webhooks[*webhook];
                let field = format!("{id} {}", webhook.id);
                let last = notes.reminded.get(&field).map(String::as_str);
                let is_due = !is_reminder || is_due(webhook, alert, last, now);
                if is_due && webhook.wants(alert.kind, alert.pool.as_ref()) {
                    messages.push(DueMessage {
                        number,
                        webhook: &webhook.id,
                        field,
                        last,
                    });
                }
            }
            if !is_reminder || !messages.is_empty() {
                due.push(DueAlert {
                    alert,
                    id,
                    is_reminder,
                    messages,
                });
            }
        }
        let raised: HashSet<String> = raised.iter().map(Alert::id).collect();
        let mut ended = notes.ended(&raised);
        let (mut rest, mut made) = (&due[..], 0);
        while !rest.is_empty() || !ended.is_empty() {
            let mut messages = 0;
            let fitting = rest.iter().take_while(|alert| {
                let fits = messages < MESSAGES;
                messages += alert.messages.len().max(1);
                fits
            });
            let (some, more) = rest.split_at(fitting.count());
            made += self.make_reminders(&known, some, &ended, now, body).await?;
            rest = more;
            ended.clear();
        }
        Ok(made)
    }

    async fn alert_notes(&self) -> Result<AlertNotes, Error> {
        let mut connection = self.0.connections.get().await?;
        let (acknowledged, suppressed, reminded) = redis::pipe()
            .cmd("HGETALL")
            .arg(ACKNOWLEDGED)
            .cmd("HGETALL")
            .arg(SUPPRESSED)
            .cmd("HGETALL")
            .arg(REMINDED)
            .query_async(&mut *connection)
            .await?;
        Ok(AlertNotes {
            acknowledged,
            suppressed,
            reminded,
        })
    }

    async fn make_reminders(
        &self,
        known: &[&WebhookId],
        due: &[DueAlert<'_>],
        ended: &[(&str, Option<&str>)],
        now: Timestamp,
        body: &(dyn Fn(&Alert, bool) -> String + Sync),
    ) -> Result<u64, Error> {
        let mut deliveries = Vec::new();
        for due in due {
            let text = body(due.alert, due.is_reminder);
            for message in &due.messages {
                let name = message_name(message);
                let delivery =
                    Delivery::new(name, message.webhook.clone(), due.alert, text.clone());
                let delivery = Delivery {
                    created_at_ms: now.0,
                    ..delivery
                };
                deliveries.push((message, json(&delivery), delivery.id));
            }
        }
        let remind = scripts::RemindAlerts {
            keys: AlertKeys,
            maximum: self.most_pending(),
            webhooks: &known
                .iter()
                .map(|id| remind_alerts::Webhook {
                    keys: WebhookKeys(id),
                })
                .collect::<Vec<_>>(),
            alerts: &due
                .iter()
                .map(|due| remind_alerts::Alert {
                    id: &due.id,
                    wanted: due.messages.len() as u64,
                })
                .collect::<Vec<_>>(),
            deliveries: &deliveries
                .iter()
                .map(|(message, record, id)| remind_alerts::Delivery {
                    webhook: message.number,
                    field: &message.field,
                    last: message.last,
                    delivery: id,
                    record,
                })
                .collect::<Vec<_>>(),
            endeds: &ended
                .iter()
                .map(|(alert, field)| remind_alerts::Ended {
                    ended_alert: alert,
                    ended_field: *field,
                })
                .collect::<Vec<_>>(),
        };
        Ok(self.call_about_alerts(&remind).await?.made)
    }
}

/// Whether a webhook is to be reminded of an alert.
fn is_due(webhook: &Webhook, alert: &Alert, last: Option<&str>, now: Timestamp) -> bool {
    let Some(after) = webhook.remind_after_ms else {
        return false;
    };
    let last = last.and_then(|last| last.parse().ok()).unwrap_or(alert.at);
    Timestamp(last) + Duration::from_millis(after) <= now
}

/// The name of a message: the same for all nodes that make it, and another one for the next reminder.
fn message_name(message: &DueMessage<'_>) -> String {
    let last = message.last.unwrap_or_default();
    let digest = Sha256::digest(format!("{} {last}", message.field));
    let digest = digest.iter().take(12);
    let digest: String = digest.map(|byte| format!("{byte:02x}")).collect();
    format!("msg_again-{digest}_{}", message.webhook)
}
