//! Snoozes: alerts of which no message is sent for a time. They are evaluated and listed all the same.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::keys::{AlertKeys, SNOOZES};
use super::scripts::{self, snooze_alerts::Status};
use super::{Alert, Store, json};
use crate::names::PoolName;
use crate::time::Timestamp;
use crate::webhook::AlertType;

/// Maximum snoozes of an installation.
const SNOOZES_AT_ONCE: u64 = 100;

/// Alerts of which no message is sent for a time. There is one for each pool and type: the next takes its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snooze {
    /// Its name for machines: [`Snooze::id_of`] the pool and the type.
    pub id: String,
    /// Only of this pool; none is of all, and of the store.
    pub pool: Option<PoolName>,
    /// Only of this type; none is all.
    pub kind: Option<AlertType>,
    /// Its end, ms.
    pub until_ms: i64,
    /// Its author.
    pub by: String,
    /// Their reason, for others.
    pub comment: Option<String>,
    /// Its begin, ms.
    pub created_at_ms: i64,
}

/// What became of a snooze that was to be put or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snoozed {
    /// It is as asked; with the one that was there, if it can be read.
    Done(Option<Snooze>),
    /// There are as many as may be.
    Full,
}

impl Snooze {
    /// The id of the snooze of a pool and a type, so that sending it twice makes one.
    pub fn id_of(pool: Option<&PoolName>, kind: Option<AlertType>) -> String {
        let pool = pool.map_or("", PoolName::as_str);
        let kind = kind.map_or("", AlertType::as_str);
        let digest = Sha256::digest(format!("{pool} {kind}"));
        let digest = digest.iter().take(8);
        digest.map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether an alert is one of those.
    pub fn covers(&self, alert: &Alert) -> bool {
        self.pool
            .as_ref()
            .is_none_or(|pool| alert.pool.as_ref() == Some(pool))
            && self.kind.is_none_or(|kind| kind == alert.kind)
    }
}

impl Store {
    /// Snoozes alerts, or changes a snooze.
    pub async fn snooze_alerts(&self, snooze: &Snooze) -> Result<Snoozed, Error> {
        self.write_snooze(&snooze.id, Some(&json(snooze))).await
    }

    /// Ends a snooze, if there is one with this id. Returns it.
    pub async fn end_snooze(&self, id: &str) -> Result<Option<Snooze>, Error> {
        match self.write_snooze(id, None).await? {
            Snoozed::Done(former) => Ok(former),
            Snoozed::Full => Ok(None),
        }
    }

    async fn write_snooze(&self, id: &str, record: Option<&str>) -> Result<Snoozed, Error> {
        let snooze = scripts::SnoozeAlerts {
            keys: AlertKeys,
            id,
            record,
            maximum: SNOOZES_AT_ONCE,
        };
        let reply = self.call_about_alerts(&snooze).await?;
        Ok(match reply.status {
            Status::Snoozed | Status::Ended => {
                Snoozed::Done(serde_json::from_str(&reply.former).ok())
            }
            Status::Full => Snoozed::Full,
        })
    }

    /// The snoozes that are not over, the one that ends first first. What cannot be read is left out.
    pub async fn snoozes(&self) -> Result<Vec<Snooze>, Error> {
        let mut connection = self.0.connections.get().await?;
        let all: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(SNOOZES)
            .query_async(&mut *connection)
            .await?;
        Ok(self.current_snoozes(&all))
    }

    /// The records of snoozes that are not over.
    pub(super) fn current_snoozes(&self, records: &HashMap<String, String>) -> Vec<Snooze> {
        let now = self.now();
        let readable = records
            .values()
            .filter_map(|record| serde_json::from_str(record).ok());
        let mut snoozes: Vec<Snooze> = readable
            .filter(|snooze: &Snooze| now < Timestamp(snooze.until_ms))
            .collect();
        snoozes.sort_by(|a, b| (a.until_ms, &a.id).cmp(&(b.until_ms, &b.id)));
        snoozes
    }
}
