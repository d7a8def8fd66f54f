//! Webhooks: every node has a copy, and puts it back if Redis loses them. That is how the loss itself can be reported.

use std::sync::{Arc, Mutex, RwLock};

use super::error::Error;
use super::keys::{RecordKeys, WebhookKeys};
use super::records::{Others, Records, Refresh};
use super::scripts;
use super::scripts::put_webhook::Status;
use super::unreadable::Kind;
use super::{Store, json};
use crate::webhook::{Webhook, WebhookId, Webhooks};

const RECORDS: Records = Records {
    keys: RecordKeys::WEBHOOKS,
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
        self.read_webhooks(self.webhooks().revision).await
    }

    /// Reads the webhooks again where one is not as in the copy, be it that the revision was not counted up.
    async fn reread_webhooks(&self) -> Result<(), Error> {
        self.refresh_webhooks().await?;
        self.read_webhooks(0).await
    }

    async fn read_webhooks(&self, revision: u64) -> Result<(), Error> {
        let known = self.webhooks();
        match self.look_for_records(&RECORDS, revision).await? {
            // Nobody writes down what changes of webhooks.
            Refresh::Same | Refresh::Changed(..) => Ok(()),
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
        let mut present = None;
        if let Some(expect) = expect {
            present = self.text_of_record(&RECORDS, id.as_str(), expect).await?;
            if present.is_none() {
                self.reread_webhooks().await?;
                return Ok(PutWebhook::Conflict);
            }
        }
        self.write_webhook(
            id,
            present.as_deref(),
            Some(record).filter(|record| !record.is_empty()),
        )
        .await
    }

    /// Whether there is a webhook of this id that only a later version can read.
    pub fn is_newer_webhook(&self, id: &WebhookId) -> bool {
        let others = self.0.webhooks.1.lock().expect("no panic while held");
        others.contains_key(id.as_str())
    }

    /// Deletes a webhook that only a later version can read.
    pub async fn delete_newer_webhook(&self, id: &WebhookId) -> Result<PutWebhook, Error> {
        let text = self
            .text_of_newer_record::<Webhook>(&RECORDS, id.as_str())
            .await?;
        let Some(text) = text else {
            self.reread_webhooks().await?;
            return Ok(PutWebhook::Conflict);
        };
        self.write_webhook(id, Some(&text), None).await
    }

    /// Writes over the text `expect`; without a record it deletes.
    async fn write_webhook(
        &self,
        id: &WebhookId,
        expect: Option<&str>,
        record: Option<&str>,
    ) -> Result<PutWebhook, Error> {
        let put_webhook = scripts::PutWebhook {
            keys: WebhookKeys(id),
            id: id.as_str(),
            expect,
            record,
            maximum: Webhook::MOST as u64,
        };
        let put = match self.call_at_once(&put_webhook).await?.status {
            Status::Put => PutWebhook::Put,
            Status::Conflict => PutWebhook::Conflict,
            Status::Full => PutWebhook::Full,
        };
        // So that the caller's next request to this node finds it. The other nodes look by themselves, as this one does soon if
        // it fails now: what was done is done.
        if let Err(error) = self.refresh_webhooks().await {
            tracing::debug!(error = %error, "the changed webhook is not read yet: {error}");
        }
        Ok(put)
    }
}
