//! Access keys: every node has a copy, at most half a second old, so that checking one costs no round trip.
//!
//! A node that cannot reach Redis goes on with the copy it has. That lets nobody in: whatever a key allows needs
//! Redis as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::error::Error;
use super::keys::{ACCESS_KEY_USES, RecordKeys};
use super::records::{Others, Records, Refresh};
use super::scripts;
use super::scripts::put_key::Status;
use super::unreadable::Kind;
use super::{Shared, Store, json};
use crate::access_key::{AccessKey, KeyId, Keyring};
use crate::tasks::Over;
use crate::time::Timestamp;

/// How long the last use of a key is kept here only, so that a busy key costs no write each time, ms.
const NOTED_EVERY_MS: i64 = 5_000;

/// How often a node looks whether a key was changed. The promise is a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);

const RECORDS: Records = Records {
    keys: RecordKeys::ACCESS_KEYS,
    kind: Kind::AccessKey,
};

/// When keys were used on this node.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<HashMap<KeyId, Use>>);

#[derive(Debug, Clone, Copy)]
struct Use {
    last_ms: i64,
    /// The one that Redis knows.
    written_ms: i64,
}

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
pub(super) struct KeyCache(watch::Sender<Arc<Keyring>>, Mutex<Others>);

impl KeyCache {
    fn get(&self) -> Arc<Keyring> {
        Arc::clone(&self.0.borrow())
    }

    fn set(&self, keyring: Keyring) {
        self.0.send_replace(Arc::new(keyring));
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
        if let Err(error) = store.write_key_uses().await {
            tracing::debug!(error = %error, "could not write when keys were used: {error}");
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

    /// Notes that a key is used now.
    pub fn note_key_use(&self, id: &KeyId) {
        let now = self.now().0;
        let mut uses = self.0.key_uses.0.lock().expect("no panic while held");
        match uses.get_mut(id) {
            Some(known) => known.last_ms = known.last_ms.max(now),
            None => {
                let first = Use {
                    last_ms: now,
                    written_ms: 0,
                };
                uses.insert(id.clone(), first);
            }
        }
    }

    /// When keys were used last, on any node; those of other nodes may be a few seconds older.
    pub async fn key_uses(&self) -> Result<HashMap<KeyId, Timestamp>, Error> {
        let mut connection = self.0.connections.get().await?;
        let written: Vec<(String, f64)> = redis::cmd("ZRANGE")
            .arg(ACCESS_KEY_USES)
            .arg(0)
            .arg(-1)
            .arg("WITHSCORES")
            .query_async(&mut *connection)
            .await?;
        let written = written
            .into_iter()
            .filter_map(|(id, ms)| Some((id.parse().ok()?, Timestamp(ms as i64))));
        let mut uses: HashMap<KeyId, Timestamp> = written.collect();
        let here = self.0.key_uses.0.lock().expect("no panic while held");
        for (id, used) in here.iter() {
            let last = uses.entry(id.clone()).or_default();
            *last = (*last).max(Timestamp(used.last_ms));
        }
        Ok(uses)
    }

    /// Writes down when keys were used.
    async fn write_key_uses(&self) -> Result<(), Error> {
        let (now, keyring) = (self.now().0, self.keyring());
        let due: Vec<(KeyId, i64)> = {
            let mut uses = self.0.key_uses.0.lock().expect("no panic while held");
            // A key may be so new that this node does not know it yet.
            uses.retain(|id, used| keyring.keys.contains_key(id) || now - used.last_ms < 60_000);
            let due = uses.iter().filter(|(id, used)| {
                used.written_ms < used.last_ms
                    && NOTED_EVERY_MS <= now - used.written_ms
                    && keyring.keys.contains_key(*id)
            });
            due.map(|(id, used)| (id.clone(), used.last_ms)).collect()
        };
        if due.is_empty() {
            return Ok(());
        }
        let mut write = redis::cmd("ZADD");
        write.arg(ACCESS_KEY_USES).arg("GT");
        for (id, last_ms) in &due {
            write.arg(*last_ms).arg(id.as_str());
        }
        let mut connection = self.0.connections.get().await?;
        let () = write.query_async(&mut *connection).await?;
        drop(connection);
        let mut uses = self.0.key_uses.0.lock().expect("no panic while held");
        for (id, last_ms) in due {
            if let Some(used) = uses.get_mut(&id) {
                used.written_ms = last_ms;
            }
        }
        Ok(())
    }

    /// Tells whoever holds it when the copy was read anew.
    pub fn changed_keys(&self) -> watch::Receiver<Arc<Keyring>> {
        self.0.keyring.0.subscribe()
    }

    /// Reads the keys again if one was changed, or puts them back if Redis lost them.
    pub async fn refresh_keys(&self) -> Result<(), Error> {
        self.read_keys(self.keyring().revision).await
    }

    /// Reads the keys again where one is not as in the copy, be it that the revision was not counted up.
    async fn reread_keys(&self) -> Result<(), Error> {
        self.refresh_keys().await?;
        self.read_keys(0).await
    }

    async fn read_keys(&self, revision: u64) -> Result<(), Error> {
        let known = self.keyring();
        match self.look_for_records(&RECORDS, revision).await? {
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
            Refresh::Changed(revision, changed) => {
                let mut keyring = Keyring::clone(&known);
                keyring.revision = revision;
                let mut others = self.0.keyring.1.lock().expect("no panic while held");
                for (id, text) in changed {
                    others.remove(&id);
                    let key: Option<AccessKey> = text
                        .as_deref()
                        .and_then(|text| serde_json::from_str(text).ok());
                    match (key, text) {
                        (Some(key), _) => {
                            keyring.keys.insert(key.id.clone(), Arc::new(key));
                            continue;
                        }
                        (None, Some(text)) => {
                            self.0.unreadable.note(Kind::AccessKey, &id);
                            others.insert(id.clone(), text);
                        }
                        (None, None) => {}
                    }
                    keyring.keys.retain(|key, _| key.as_str() != id);
                }
                self.0
                    .unreadable
                    .keep(Kind::AccessKey, |id| others.contains_key(id));
                drop(others);
                self.0.keyring.set(keyring);
                Ok(())
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
        let mut record = serde_json::to_value(key).unwrap_or_default();
        if key.origins.iter().any(|origin| !origin.is_of_the_web()) {
            record["origins_of_programs"] = true.into();
        }
        self.check_words(Kind::AccessKey, &record).await?;
        self.change_key(&key.id, expect, &json(key)).await
    }

    /// Revokes the key that is as in `expect`.
    pub async fn delete_key(&self, expect: &AccessKey) -> Result<PutKey, Error> {
        let deleted = self.change_key(&expect.id, Some(expect), "").await?;
        if deleted == PutKey::Put
            && let Ok(mut connection) = self.0.connections.get().await
        {
            // What is left if this fails is a few bytes that nobody asks for.
            let forgotten = redis::cmd("ZREM")
                .arg(ACCESS_KEY_USES)
                .arg(expect.id.as_str())
                .exec_async(&mut *connection)
                .await;
            tracing::debug!(ok = forgotten.is_ok(), "forgot when a key was used");
        }
        Ok(deleted)
    }

    async fn change_key(
        &self,
        id: &KeyId,
        expect: Option<&AccessKey>,
        record: &str,
    ) -> Result<PutKey, Error> {
        let mut present = None;
        if let Some(expect) = expect {
            present = self.text_of_record(&RECORDS, id.as_str(), expect).await?;
            if present.is_none() {
                self.reread_keys().await?;
                return Ok(PutKey::Conflict);
            }
        }
        self.write_key(
            id,
            present.as_deref(),
            Some(record).filter(|record| !record.is_empty()),
        )
        .await
    }

    /// Whether there is an access key of this id that only a later version can read.
    pub fn is_newer_key(&self, id: &KeyId) -> bool {
        let others = self.0.keyring.1.lock().expect("no panic while held");
        others.contains_key(id.as_str())
    }

    /// Deletes an access key that only a later version can read.
    pub async fn delete_newer_key(&self, id: &KeyId) -> Result<PutKey, Error> {
        let text = self
            .text_of_newer_record::<AccessKey>(&RECORDS, id.as_str())
            .await?;
        let Some(text) = text else {
            self.reread_keys().await?;
            return Ok(PutKey::Conflict);
        };
        self.write_key(id, Some(&text), None).await
    }

    /// Writes over the text `expect`; without a record it deletes.
    async fn write_key(
        &self,
        id: &KeyId,
        expect: Option<&str>,
        record: Option<&str>,
    ) -> Result<PutKey, Error> {
        let put_key = scripts::PutKey {
            keys: RECORDS.keys,
            id: id.as_str(),
            expect,
            record,
        };
        let put = match self.call_at_once(&put_key).await?.status {
            Status::Put => PutKey::Put,
            Status::Conflict => PutKey::Conflict,
        };
        // So that the caller's next request to this node finds it. The other nodes look by themselves, as this one does soon if
        // it fails now: what was done is done.
        if let Err(error) = self.refresh_keys().await {
            tracing::debug!(error = %error, "the changed key is not read yet: {error}");
        }
        Ok(put)
    }
}
