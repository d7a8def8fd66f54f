//! Webhooks: every node has a copy, and puts it back if Redis loses them. That is how the loss itself can be told.

use std::sync::{Arc, Mutex, RwLock};

use super::error::Error;
use super::keys::{DELIVERIES, WEBHOOKS, WEBHOOKS_REVISION, dead, delivered, pending};
use super::records::{Others, Records, Refresh};
use super::script::PUT_WEBHOOK;
use super::unreadable::Kind;
use super::{DEADLINE, Store, json};
use crate::webhook::{Webhook, WebhookId, Webhooks};

const RECORDS: Records = Records {
    revision: WEBHOOKS_REVISION,
    records: WEBHOOKS,
    kind: Kind::Webhook,
};

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

/// The node's copy, and what is there besides that only a later version can read.
#[derive(Debug, Default)]
pub(super) struct WebhookCache(RwLock<Arc<Webhooks>>, Mutex<Others>);

impl Store {
    /// The webhooks as this node knows them.
    pub fn webhooks(&self) -> Arc<Webhooks> {
        Arc::clone(&self.0.webhooks.0.read().expect("no panic while held"))
    }

    /// Reads the webhooks again if one was changed, or puts them back if Redis lost them.
    pub async fn refresh_webhooks(&self) -> Result<(), Error> {
        let known = self.webhooks();
        match self.look_for_records(&RECORDS, known.revision).await? {
            Refresh::Same => Ok(()),
            Refresh::Lost => {
                tracing::warn!(
                    webhooks = known.webhooks.len(),
                    "Redis lost the webhooks; putting them back"
                );
                let webhooks = known
                    .webhooks
                    .iter()
                    .map(|(id, webhook)| (id.as_str(), &**webhook));
                let others = self
                    .0
                    .webhooks
                    .1
                    .lock()
                    .expect("no panic while held")
                    .clone();
                self.put_back_records(&RECORDS, known.revision, webhooks, &others)
                    .await
            }
            Refresh::Newer(revision, webhooks, others) => {
                *self.0.webhooks.1.lock().expect("no panic while held") = others;
                let webhooks = webhooks
                    .into_iter()
                    .map(|webhook: Webhook| (webhook.id.clone(), Arc::new(webhook)));
                *self.0.webhooks.0.write().expect("no panic while held") = Arc::new(Webhooks {
                    revision,
                    webhooks: webhooks.collect(),
                });
                Ok(())
            }
        }
    }

    /// Creates a webhook, or changes the one that is as in `expect`.
    pub async fn put_webhook(
        &self,
        webhook: &Webhook,
        expect: Option<&Webhook>,
    ) -> Result<PutWebhook, Error> {
        self.check_words(Kind::Webhook, webhook).await?;
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
        let mut present = String::new();
        if let Some(expect) = expect {
            let Some(text) = self.text_of_record(&RECORDS, id.as_str(), expect).await? else {
                self.refresh_webhooks().await?;
                return Ok(PutWebhook::Conflict);
            };
            present = text;
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
        // So that the caller's next request to this node finds it. The other nodes look by themselves, as this one does soon if
        // it fails now: what was done is done.
        if let Err(error) = self.refresh_webhooks().await {
            tracing::debug!(error = %error, "the changed webhook is not read yet: {error}");
        }
        Ok(put)
    }
}
