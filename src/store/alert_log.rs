//! The log of alerts, and what is raised beside it.

use std::collections::HashMap;

use redis::streams::StreamRangeReply;

use super::acknowledge_alert::acknowledgements;
use super::error::Error;
use super::events::EventId;
use super::keys::{ACKNOWLEDGED, ALERT_LOG, RAISED, SNOOZES};
use super::{Acknowledgement, Alert, Snooze, Store};
use crate::names::PoolName;
use crate::scope::Scope;
use crate::webhook::AlertType;

/// Entries of the log that are read at once, and at most for one page.
const CHUNK: usize = 500;
const SCANNED: usize = 10_000;

/// An alert in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedAlert {
    /// Its place.
    pub place: EventId,
    /// The alert.
    pub alert: Alert,
}

/// Which alerts are wanted; newest first.
#[derive(Debug, Clone, Default)]
pub struct AlertsFilter {
    /// Only of the pools in it; none is all pools, and the store.
    pub scope: Option<Scope>,
    /// Only of this pool.
    pub pool: Option<PoolName>,
    /// Only of this type.
    pub kind: Option<AlertType>,
    /// Only before this place.
    pub before: Option<EventId>,
    /// Most entries.
    pub limit: usize,
}

/// What is raised now, and a page of the log.
#[derive(Debug, Default)]
pub struct AlertsPage {
    /// Those that are raised, the oldest first.
    pub raised: Vec<Alert>,
    /// Who has acknowledged which of all that are raised.
    pub acknowledged: HashMap<String, Acknowledgement>,
    /// All snoozes that are not over, the one that ends first first.
    pub snoozes: Vec<Snooze>,
    /// A page of the log, newest first.
    pub logged: Vec<LoggedAlert>,
    /// Where the next page begins.
    pub next: Option<EventId>,
}

impl AlertsFilter {
    /// Whether an alert is one of those, wherever in the log it is.
    pub fn matches(&self, alert: &Alert) -> bool {
        self.scope.as_ref().is_none_or(|scope| alert.is_in(scope))
            && self
                .pool
                .as_ref()
                .is_none_or(|pool| alert.pool.as_ref() == Some(pool))
            && self.kind.is_none_or(|kind| alert.kind == kind)
    }
}

impl Store {
    /// What is raised now and a page of the log, in one round trip unless the log has to be searched.
    pub async fn alerts(&self, wanted: &AlertsFilter) -> Result<AlertsPage, Error> {
        type Texts = HashMap<String, String>;
        let (raised, acknowledged, snoozes, entries): (Texts, Texts, Texts, StreamRangeReply) = {
            let mut connection = self.0.connections.get().await?;
            redis::pipe()
                .cmd("HGETALL")
                .arg(RAISED)
                .cmd("HGETALL")
                .arg(ACKNOWLEDGED)
                .cmd("HGETALL")
                .arg(SNOOZES)
                .add_command(log(wanted.before, CHUNK))
                .query_async(&mut *connection)
                .await?
        };
        let mut raised = self.sorted(&raised);
        raised.retain(|alert| wanted.matches(alert));
        let (logged, next) = self.search_log(wanted, entries).await?;
        Ok(AlertsPage {
            raised,
            acknowledged: acknowledgements(acknowledged),
            snoozes: self.current_snoozes(&snoozes),
            logged,
            next,
        })
    }

    /// Looks for what is wanted in these entries of the log, and in those before them.
    async fn search_log(
        &self,
        wanted: &AlertsFilter,
        mut entries: StreamRangeReply,
    ) -> Result<(Vec<LoggedAlert>, Option<EventId>), Error> {
        let mut found: Vec<LoggedAlert> = Vec::new();
        let mut searched = 0;
        loop {
            for logged in self.logged(&entries) {
                if !wanted.matches(&logged.alert) {
                    continue;
                }
                if found.len() == wanted.limit {
                    let next = found.last().map(|logged| logged.place);
                    return Ok((found, next));
                }
                found.push(logged);
            }
            searched += CHUNK;
            let last = entries.ids.last().and_then(|last| last.id.parse().ok());
            let Some(last) = last.filter(|_| entries.ids.len() == CHUNK && searched < SCANNED)
            else {
                return Ok((found, None));
            };
            let mut connection = self.0.connections.get().await?;
            entries = log(Some(last), CHUNK).query_async(&mut *connection).await?;
        }
    }

    /// Alerts of the log after a place, oldest first, at most `limit`.
    pub async fn alerts_after(
        &self,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<LoggedAlert>, Error> {
        if after == EventId::MAX {
            return Ok(Vec::new());
        }
        let mut connection = self.0.connections.get().await?;
        let entries: StreamRangeReply = redis::cmd("XRANGE")
            .arg(ALERT_LOG)
            .arg(format!("({after}"))
            .arg("+")
            .arg("COUNT")
            .arg(limit)
            .query_async(&mut *connection)
            .await?;
        Ok(self.logged(&entries))
    }

    /// The entries of the log that can be read.
    fn logged(&self, entries: &StreamRangeReply) -> Vec<LoggedAlert> {
        let read_entry = |entry: &redis::streams::StreamId| {
            let text: String = entry.get("alert").unwrap_or_default();
            Some(LoggedAlert {
                place: entry.id.parse().ok()?,
                alert: self.readable(&entry.id, &text)?,
            })
        };
        entries.ids.iter().filter_map(read_entry).collect()
    }

    /// The place of the last alert; the first place of all before the first alert.
    pub async fn last_alert(&self) -> Result<EventId, Error> {
        let mut connection = self.0.connections.get().await?;
        let entries: StreamRangeReply = log(None, 1).query_async(&mut *connection).await?;
        let last = entries.ids.first().and_then(|entry| entry.id.parse().ok());
        Ok(last.unwrap_or_default())
    }
}

/// Asks for entries of the log, newest first.
fn log(before: Option<EventId>, count: usize) -> redis::Cmd {
    let end = match before {
        // Redis knows no place before the first: what is asked for is nothing.
        Some(before) if before == EventId::default() => "-".to_owned(),
        Some(before) => format!("({before}"),
        None => "+".to_owned(),
    };
    let mut command = redis::cmd("XREVRANGE");
    command
        .arg(ALERT_LOG)
        .arg(end)
        .arg("-")
        .arg("COUNT")
        .arg(count);
    command
}
