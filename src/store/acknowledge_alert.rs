//! Who has acknowledged which raised alert.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::keys::{ACKNOWLEDGED, AlertKeys, RAISED};
use super::scripts::{self, acknowledge_alert::Status};
use super::{Store, json};

/// Somebody who has acknowledged an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who it is.
    pub by: String,
    /// When, ms.
    pub at_ms: i64,
    /// What they say about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acknowledged {
    /// By whom first; of one that is withdrawn, by whom it was.
    By(Acknowledgement),
    /// By nobody.
    Nobody,
    /// There is no such alert, or no longer.
    NotRaised,
}

impl Store {
    /// Notes who acknowledges an alert; none withdraws that.
    pub async fn acknowledge_alert(
        &self,
        alert: &str,
        by: Option<&Acknowledgement>,
    ) -> Result<Acknowledged, Error> {
        let record = by.map(json);
        let acknowledge = scripts::AcknowledgeAlert {
            keys: AlertKeys,
            id: alert,
            record: record.as_deref(),
        };
        let reply = self.call_at_once(&acknowledge).await?;
        if reply.status == Status::NotRaised {
            return Ok(Acknowledged::NotRaised);
        }
        // So that the next page of this node shows the new number.
        if let Err(error) = self.count_open_alerts().await {
            tracing::debug!(error = %error, "could not count open alerts: {error}");
        }
        if reply.kept.is_empty() {
            return Ok(Acknowledged::Nobody);
        }
        serde_json::from_str(&reply.kept)
            .map(Acknowledged::By)
            .map_err(|_| Error::Newer(format!("who has acknowledged the alert {alert}")))
    }

    /// Counts the alerts that are raised and that nobody has acknowledged.
    pub async fn count_open_alerts(&self) -> Result<(), Error> {
        let mut connection = self.0.connections.get().await?;
        let (raised, acknowledged): (u64, u64) = redis::pipe()
            .cmd("HLEN")
            .arg(RAISED)
            .cmd("HLEN")
            .arg(ACKNOWLEDGED)
            .query_async(&mut *connection)
            .await?;
        let open = raised.saturating_sub(acknowledged);
        self.0.alert_looks.open.store(open, Ordering::Relaxed);
        Ok(())
    }

    /// How many alerts are raised that nobody has acknowledged, as of some seconds ago.
    pub fn open_alerts(&self) -> u64 {
        self.0.alert_looks.open.load(Ordering::Relaxed)
    }
}

/// Who has acknowledged which alert, of the records. What cannot be read is left out.
pub(super) fn acknowledgements(
    records: HashMap<String, String>,
) -> HashMap<String, Acknowledgement> {
    let records = records.into_iter();
    records
        .filter_map(|(alert, record)| Some((alert, serde_json::from_str(&record).ok()?)))
        .collect()
}
