//! Webhooks: every node has a copy, and puts it back if Redis loses them. That is how the loss itself can be told.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::error::Error;
use super::keys::{DELIVERIES, WEBHOOKS, WEBHOOKS_REVISION, dead, delivered, pending};
use super::script::{PUT_BACK_WEBHOOKS, PUT_WEBHOOK};
use super::{DEADLINE, Store, json};
use crate::webhook::{Webhook, WebhookId, Webhooks};

/// What became of a change of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutWebhook {
    /// It is as asked.
    Put,
    /// Somebody else changed it meanwhile.
    Conflict,
    /// There are as many as may be.
    Full,
}

/// The node's copy.
#[derive(Debug, Default)]
pub(super) struct Copy(RwLock<Arc<Webhooks>>);

impl Store {
    /// The webhooks as this node knows them.
    pub fn webhooks(&self) -> Arc<Webhooks> {
        Arc::clone(&self.0.webhooks.0.read().expect("no panic while held"))
    }

    /// Reads the webhooks again if one was changed, or puts them back if Redis lost them.
    pub async fn refresh_webhooks(&self) -> Result<(), Error> {
        let known = self.webhooks();
        let mut connection = self.0.connections.get().await?;
        let revision: Option<u64> = redis::cmd("GET")
            .arg(WEBHOOKS_REVISION)
            .query_async(&mut *connection)
            .await?;
        let revision = revision.unwrap_or(0);
        if revision == known.revision {
            return Ok(());
        }
        if revision < known.revision {
            drop(connection);
            tracing::warn!(
                webhooks = known.webhooks.len(),
                "Redis lost the webhooks; putting them back"
            );
            let mut call = PUT_BACK_WEBHOOKS
                .call(2)
                .arg(WEBHOOKS_REVISION)
                .arg(WEBHOOKS)
                .arg(known.revision);
            for (id, webhook) in &known.webhooks {
                call.push(id.as_str());
                call.push(json(&**webhook));
            }
            self.send(&call).await?;
            return Ok(());
        }
        // Together, so that the records are not newer than the revision they are kept under.
        let (revision, records): (u64, HashMap<String, String>) = redis::pipe()
            .atomic()
            .cmd("GET")
            .arg(WEBHOOKS_REVISION)
            .cmd("HGETALL")
            .arg(WEBHOOKS)
            .query_async(&mut *connection)
            .await?;
        let mut webhooks = HashMap::with_capacity(records.len());
        for (id, record) in records {
            // Not the text of the error: it may quote a secret.
            let webhook: Webhook = serde_json::from_str(&record)
                .map_err(|_| Error::Broken(format!("the record of webhook {id}")))?;
            webhooks.insert(webhook.id.clone(), Arc::new(webhook));
        }
        *self.0.webhooks.0.write().expect("no panic while held") =
            Arc::new(Webhooks { revision, webhooks });
        Ok(())
    }

    /// Creates a webhook, or changes the one that is as in `expect`.
    pub async fn put_webhook(
        &self,
        webhook: &Webhook,
        expect: Option<&Webhook>,
    ) -> Result<PutWebhook, Error> {
        self.change_webhook(&webhook.id, expect, &json(webhook))
            .await
    }

    /// Deletes the webhook that is as in `expect`, and what was to be delivered to it.
    pub async fn delete_webhook(&self, expect: &Webhook) -> Result<PutWebhook, Error> {
        self.change_webhook(&expect.id, Some(expect), "").await
    }

    async fn change_webhook(
        &self,
        id: &WebhookId,
        expect: Option<&Webhook>,
        record: &str,
    ) -> Result<PutWebhook, Error> {
        // Compared as values here and as text by the script: another version may have written it in other words.
        let mut present = String::new();
        if let Some(expect) = expect {
            let mut connection = self.0.connections.get().await?;
            let stored: Option<String> = redis::cmd("HGET")
                .arg(WEBHOOKS)
                .arg(id.as_str())
                .query_async(&mut *connection)
                .await?;
            match stored {
                Some(stored) if serde_json::from_str(&stored).ok().as_ref() == Some(expect) => {
                    present = stored;
                }
                _ => {
                    drop(connection);
                    self.refresh_webhooks().await?;
                    return Ok(PutWebhook::Conflict);
                }
            }
        }
        let call = PUT_WEBHOOK
            .call(6)
            .arg(WEBHOOKS_REVISION)
            .arg(WEBHOOKS)
            .arg(DELIVERIES)
            .arg(pending(id))
            .arg(delivered(id))
            .arg(dead(id))
            .arg(id.as_str())
            .arg(present)
            .arg(record)
            .arg(Webhook::MOST);
        let reply = tokio::time::timeout(DEADLINE, self.send(&call))
            .await
            .map_err(|_| Error::unanswered("Redis did not answer in time"))??;
        let put = match reply.status() {
            "put" => PutWebhook::Put,
            "conflict" => PutWebhook::Conflict,
            "full" => PutWebhook::Full,
            _ => return Err(reply.unexpected(0)),
        };
        // So that the caller's next request to this node finds it. The other nodes look by themselves.
        self.refresh_webhooks().await?;
        Ok(put)
    }
}
