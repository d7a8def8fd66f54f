//! Access keys: every node has a copy, at most half a second old, so that checking one costs no round trip.
//!
//! A node that cannot reach Redis goes on with the copy it has. That lets nobody in: whatever a key allows needs
//! Redis as well.

use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use super::error::Error;
use super::keys::{ACCESS_KEYS, ACCESS_KEYS_REVISION};
use super::records::{Others, Records, Refresh};
use super::script::PUT_KEY;
use super::unreadable::Kind;
use super::{DEADLINE, Shared, Store, json};
use crate::access_key::{AccessKey, KeyId, Keyring};
use crate::tasks::Over;

/// How often a node looks whether a key was changed. The promise is a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);

const RECORDS: Records = Records {
    revision: ACCESS_KEYS_REVISION,
    records: ACCESS_KEYS,
    kind: Kind::AccessKey,
};

/// What became of a change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutKey {
    /// It is as asked.
    Put,
    /// Somebody else changed it meanwhile.
    Conflict,
}

/// The node's copy, and what is there besides that only a later version can read.
#[derive(Debug, Default)]
pub(super) struct KeyCache(RwLock<Arc<Keyring>>, Mutex<Others>);

impl KeyCache {
    fn get(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.read().expect("no panic while held"))
    }

    fn set(&self, keyring: Keyring) {
        *self.0.write().expect("no panic while held") = Arc::new(keyring);
    }
}

/// Keeps the copy fresh until the store is dropped.
pub(super) async fn run(store: Weak<Shared>) -> Over {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(store) = store.upgrade().map(Store) else {
            return Over;
        };
        if let Err(error) = store.look_at_installation().await {
            tracing::debug!(error = %error, "could not look for the installation: {error}");
        }
        if let Err(error) = store.refresh_keys().await {
            // The sweeper says once that Redis is away.
            tracing::debug!(error = %error, "could not look for changed keys: {error}");
        }
        if !store.is_at_another_installation()
            && let Err(error) = store.put_back_secret().await
        {
            tracing::debug!(error = %error, "could not look for the secret: {error}");
        }
    }
}

impl Store {
    /// The keys as this node knows them.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.0.keyring.get()
    }

    /// Reads the keys again if one was changed, or puts them back if Redis lost them.
    pub async fn refresh_keys(&self) -> Result<(), Error> {
        let known = self.keyring();
        match self.look_for_records(&RECORDS, known.revision).await? {
            Refresh::Same => Ok(()),
            Refresh::Lost => {
                tracing::warn!(
                    keys = known.keys.len(),
                    "Redis lost the access keys; putting them back"
                );
                let keys = known.keys.iter().map(|(id, key)| (id.as_str(), &**key));
                let others = self
                    .0
                    .keyring
                    .1
                    .lock()
                    .expect("no panic while held")
                    .clone();
                self.put_back_records(&RECORDS, known.revision, keys, &others)
                    .await
            }
            Refresh::Newer(revision, keys, others) => {
                *self.0.keyring.1.lock().expect("no panic while held") = others;
                let keys = keys
                    .into_iter()
                    .map(|key: AccessKey| (key.id.clone(), Arc::new(key)));
                self.0.keyring.set(Keyring {
                    revision,
                    keys: keys.collect(),
                });
                Ok(())
            }
        }
    }

    /// Creates a key, or changes the one that is as in `expect`.
    pub async fn put_key(
        &self,
        key: &AccessKey,
        expect: Option<&AccessKey>,
    ) -> Result<PutKey, Error> {
        self.check_words(Kind::AccessKey, key).await?;
        self.change_key(&key.id, expect, &json(key)).await
    }

    /// Revokes the key that is as in `expect`.
    pub async fn delete_key(&self, expect: &AccessKey) -> Result<PutKey, Error> {
        self.change_key(&expect.id, Some(expect), "").await
    }

    async fn change_key(
        &self,
        id: &KeyId,
        expect: Option<&AccessKey>,
        record: &str,
    ) -> Result<PutKey, Error> {
        let mut present = String::new();
        if let Some(expect) = expect {
            let Some(text) = self.text_of_record(&RECORDS, id.as_str(), expect).await? else {
                self.refresh_keys().await?;
                return Ok(PutKey::Conflict);
            };
            present = text;
        }
        let call = PUT_KEY
            .call(2)
            .arg(ACCESS_KEYS_REVISION)
            .arg(ACCESS_KEYS)
            .arg(id.as_str())
            .arg(present)
            .arg(record);
        let reply = tokio::time::timeout(DEADLINE, self.send(&call))
            .await
            .map_err(|_| Error::unanswered("Redis did not answer in time"))??;
        let put = match reply.status() {
            "put" => PutKey::Put,
            "conflict" => PutKey::Conflict,
            _ => return Err(reply.unexpected(0)),
        };
        // So that the caller's next request to this node finds it. The other nodes look by themselves, as this one does soon if
        // it fails now: what was done is done.
        if let Err(error) = self.refresh_keys().await {
            tracing::debug!(error = %error, "the changed key is not read yet: {error}");
        }
        Ok(put)
    }
}
