//! Alerts, decided by `evaluate_alerts.lua` and `scan_alerts.lua`.
//!
//! A bucket's scripts put alerts into the bucket's outbox, in the step that decides them. From there they are taken into the
//! log, and become deliveries, in one step as well; it lies in another slot of a cluster, so it cannot be the same one.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::streams::StreamRangeReply;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::deliveries::{DEAD, Delivery};
use super::error::Error;
use super::events::EventId;
use super::keys::{AlertKeys, Bucket, Keys, RAISED, RELAYED, WebhookKeys};
use super::pool_cache::Silence;
use super::scripts::{self, evaluate_alerts, relay_alerts, scan_alerts};
use super::unreadable::Kind;
use super::{Store, json};
use crate::names::PoolName;
use crate::scope::Scope;
use crate::time::Timestamp;
use crate::webhook::AlertType;

/// Pools that one look asks for; about 3 µs of Redis's time each.
const POOLS: usize = 128;
/// How many more times one bucket is asked for what is due, before others have their turn.
const SCANS: usize = 16;
/// Events that one call judges; less than a millisecond of Redis's time.
const EVENTS: u64 = 200;
/// Messages that one call makes: less than two milliseconds of Redis's time.
const MESSAGES: usize = 200;
/// A bucket in which nothing is due is looked at all the same, for alerts that a node which died left on their way.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What this node knows of each bucket from its last look for alerts.
#[derive(Debug, Default)]
pub(super) struct AlertLooks {
    known: Mutex<HashMap<Bucket, LastLook>>,
    /// Those in which alerts are to be evaluated, as ticks have found.
    due: AtomicU32,
    /// How many alerts are raised that nobody has acknowledged, as of the last count.
    pub(super) open: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct LastLook {
    at: Instant,
    /// The occasion for which all pools were looked at.
    number: u64,
    generation: u64,
    silence: Silence,
}

impl AlertLooks {
    /// Has a bucket looked at.
    pub(super) fn wake(&self, bucket: Bucket) {
        self.due.fetch_or(1 << bucket.index(), Ordering::AcqRel);
    }

    fn take(&self, bucket: Bucket) -> bool {
        let bit = 1 << bucket.index();
        self.due.fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }
}

/// Whether an alert begins, ends, or was over when it was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It begins.
    Firing,
    /// It ends.
    Resolved,
    /// One message, afterwards.
    Happened,
}

impl AlertState {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Happened => "happened",
        }
    }
}

/// An alert, as the scripts write it: instants are milliseconds, and what does not concern it is left out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Alert {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: AlertType,
    /// Whether it begins or ends.
    pub state: AlertState,
    /// The pool; none if it is about the store.
    pub pool: Option<PoolName>,
    /// When it was noticed, ms.
    pub at: i64,
    /// When it began, ms: the exact instant of the event, where there is one.
    pub since: i64,
    /// When it ended, ms.
    pub until: Option<i64>,
    /// The level of `alert_at_percent`.
    pub percent: Option<u16>,
    /// Seats in use then.
    pub in_use: Option<i64>,
    /// Capacity then.
    pub capacity: Option<i64>,
    /// Who wait, and how many may.
    pub waiting: Option<i64>,
    /// How many may wait.
    pub max_waiting: Option<i64>,
    /// Holders that got no seat.
    pub denials: Option<i64>,
    /// Seats that were idle.
    pub idle: Option<i64>,
    /// For how long the one was that was idle longest, ms.
    pub idle_ms: Option<i64>,
    /// Expiries of the last minutes, at most ten.
    pub expired: Option<i64>,
    /// Their share of the ends, 0 to 1.
    pub share: Option<f64>,
    /// The usual share.
    pub usual_share: Option<f64>,
    /// Seat-milliseconds that were lent today.
    pub lent_ms: Option<i64>,
    /// Seat-milliseconds that may be lent a day.
    pub budget_ms: Option<i64>,
    /// It went up and down so often that it now stays until it was calm for a minute.
    #[serde(default)]
    pub flapping: bool,
    /// Why it ended, if not by itself: `policy` or `deleted`.
    pub reason: Option<String>,
}

impl Alert {
    /// Its name: the same when it begins and when it ends.
    pub fn id(&self) -> String {
        let pool = self.pool.as_ref().map_or("", PoolName::as_str);
        let percent = self
            .percent
            .map(|percent| format!(":{percent}"))
            .unwrap_or_default();
        format!("{pool}:{}{percent}:{}", self.kind.as_str(), self.since)
    }
}

/// How long an alert that this version cannot read is left to other nodes, ms.
const LEFT_TO_OTHERS_MS: i64 = 60_000;

impl Store {
    /// Judges what has happened since the last look, and takes what there is to tell into the log and the deliveries, whose
    /// bodies `body` writes; in the buckets of this node. Any number of nodes may do so at any time. Returns how many alerts
    /// this node took.
    pub async fn watch_alerts(
        &self,
        every: Duration,
        body: &(dyn Fn(&Alert) -> String + Sync),
    ) -> Result<u64, Error> {
        let due: Vec<Bucket> = self
            .owned_buckets()
            .filter(|bucket| self.has_to_look(*bucket))
            .collect();
        if due.is_empty() {
            return Ok(0);
        }
        let mut connection = self.0.connections.get().await?;
        let relayed: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(RELAYED)
            .query_async(&mut *connection)
            .await?;
        drop(connection);
        let (mut told, mut trouble) = (0, None);
        for bucket in due {
            // Buckets may be on several servers: one that is away does not keep the others from being told of.
            match self.watch_bucket(bucket, &relayed, every, body).await {
                Ok(alerts) => told += alerts,
                Err(error) => {
                    self.0.alert_looks.wake(bucket);
                    trouble = Some(error);
                }
            }
        }
        if let Some(error) = trouble.filter(|_| told == 0) {
            return Err(error);
        }
        Ok(told)
    }

    /// What a look at a bucket would be about now.
    fn next_look(&self, bucket: Bucket) -> LastLook {
        LastLook {
            at: Instant::now(),
            number: self.look_of(bucket),
            generation: self.0.pool_cache.generation(bucket),
            silence: self.0.pool_cache.silence(),
        }
    }

    /// Whether there may be something to evaluate or to tell in a bucket.
    fn has_to_look(&self, bucket: Bucket) -> bool {
        // A node that does not tick hears of nothing that is due.
        let is_due = self.0.alert_looks.take(bucket) || !self.0.sweeps;
        let next = self.next_look(bucket);
        let known = self
            .0
            .alert_looks
            .known
            .lock()
            .expect("no panic while held");
        is_due
            || known.get(&bucket).is_none_or(|last| {
                LOOK_EVERY <= last.at.elapsed()
                    || (last.number, last.generation, last.silence)
                        != (next.number, next.generation, next.silence)
            })
    }

    async fn watch_bucket(
        &self,
        bucket: Bucket,
        relayed: &HashMap<String, String>,
        every: Duration,
        body: &(dyn Fn(&Alert) -> String + Sync),
    ) -> Result<u64, Error> {
        let mut look = self.next_look(bucket);
        if !self.0.pool_cache.knows_all_pools(bucket) {
            // Those that are not known yet have their turn with the next look.
            look.number = 0;
        }
        let known = self
            .0
            .alert_looks
            .known
            .lock()
            .expect("no panic while held")
            .get(&bucket)
            .copied();
        let pools: Vec<PoolName> = match known {
            Some(last) if last.number == look.number => Vec::new(),
            _ => self.0.pool_cache.policies(bucket).into_keys().collect(),
        };
        let (last, is_all) = self.evaluate_bucket(bucket, &pools, every).await?;
        if is_all {
            let mut known = self
                .0
                .alert_looks
                .known
                .lock()
                .expect("no panic while held");
            known.insert(bucket, look);
        } else {
            self.0.alert_looks.wake(bucket);
        }
        let name = bucket.index().to_string();
        let before = relayed.get(&name).cloned().unwrap_or_default();
        if last.is_empty() || last == before {
            return Ok(0);
        }
        self.relay_alerts(bucket, before, body).await
    }

    /// Evaluates what is due in a bucket, and in those of `pools` that have something that was not noted; not all of it, if there is
    /// very much, so that other buckets have their turn. Returns the last entry of the bucket's outbox, and whether that was all.
    async fn evaluate_bucket(
        &self,
        bucket: Bucket,
        pools: &[PoolName],
        mut every: Duration,
    ) -> Result<(String, bool), Error> {
        let mut chunks = pools.chunks(POOLS);
        let mut last = String::new();
        for _ in 0..chunks.len() + SCANS {
            let chunk = chunks.next().unwrap_or_default();
            let keys: Vec<Keys> = chunk.iter().map(Keys::of).collect();
            let rows = keys.iter().zip(chunk);
            let rows: Vec<_> = rows
                .map(|(keys, name)| scan_alerts::Pool { keys, name })
                .collect();
            let scan = scripts::ScanAlerts {
                keys: bucket,
                every,
                limit: POOLS as u64,
                pools: &rows,
            };
            let reply = self.call(bucket, &scan).await?;
            last = reply.last;
            if reply.status == scan_alerts::Status::Fresh {
                return Ok((last, false));
            }
            let is_last = reply.due_pools.len() < POOLS && chunks.len() == 0;
            for due in reply.due_pools {
                match self.evaluate_alerts(&due.name).await {
                    Ok(end) => last = end.unwrap_or(last),
                    // It may be the only one of which something is wrong, and stays due.
                    Err(error) => {
                        let pool = &due.name;
                        tracing::debug!(%pool, error = %error, "alerts are not evaluated: {error}");
                    }
                }
            }
            if is_last {
                return Ok((last, true));
            }
            // The turn is this node's.
            every = Duration::ZERO;
        }
        Ok((last, false))
    }

    /// Judges a pool. Returns the last entry of its bucket's outbox; none if there is no such pool.
    async fn evaluate_alerts(&self, pool: &PoolName) -> Result<Option<String>, Error> {
        let keys = Keys::of(pool);
        loop {
            let evaluate = scripts::EvaluateAlerts {
                keys: &keys,
                pool,
                limit: EVENTS,
            };
            let reply = self.call_whole(pool, &evaluate).await?;
            match reply.status {
                evaluate_alerts::Status::More => {}
                evaluate_alerts::Status::Judged => return Ok(Some(reply.last.unwrap_or_default())),
                evaluate_alerts::Status::NoPool => return Ok(None),
            }
        }
    }

    /// Takes what is in a bucket's outbox after an entry.
    async fn relay_alerts(
        &self,
        bucket: Bucket,
        mut before: String,
        body: &(dyn Fn(&Alert) -> String + Sync),
    ) -> Result<u64, Error> {
        let mut told = 0;
        loop {
            // Each may be for all webhooks.
            let entries_at_once = MESSAGES / self.webhooks().webhooks.len().clamp(2, MESSAGES);
            let mut connection = self.0.connections.get().await?;
            let start = if before.is_empty() {
                "-".to_owned()
            } else {
                format!("({before}")
            };
            let entries: StreamRangeReply = redis::cmd("XRANGE")
                .arg(bucket.outbox())
                .arg(start)
                .arg("+")
                .arg("COUNT")
                .arg(entries_at_once)
                .query_async(&mut *connection)
                .await?;
            drop(connection);
            let mut readable = Vec::new();
            let mut after = None;
            for entry in &entries.ids {
                let text: String = entry.get("alert").unwrap_or_default();
                match read(&entry.id, &text) {
                    Ok(alert) => readable.push((&entry.id, text, alert)),
                    // A node of the version that raised it sends it, if one is up.
                    Err(_) if self.is_fresh(&entry.id) => break,
                    Err(_) => self.0.unreadable.note(Kind::Alert, &entry.id),
                }
                after = Some(entry.id.clone());
            }
            let Some(after) = after else {
                return Ok(told);
            };
            let snoozes = self.snoozes().await?;
            let webhooks = self.webhooks();
            let mut ids: Vec<_> = webhooks.webhooks.keys().collect();
            ids.sort_unstable();
            let rows: Vec<relay_alerts::Webhook<'_>> = ids
                .iter()
                .map(|id| relay_alerts::Webhook {
                    keys: WebhookKeys(id),
                })
                .collect();
            // Of each alert its id, and the deliveries that are made of it.
            let mut made = Vec::with_capacity(readable.len());
            for (entry, _, alert) in &readable {
                let message = body(alert);
                let snooze = snoozes.iter().find(|snooze| snooze.covers(alert));
                // The script knows whether the beginning of what ends was sent.
                let is_sent = snooze.is_none() || alert.state == AlertState::Resolved;
                let wanting = ids.iter().enumerate().filter(|(_, id)| {
                    is_sent && webhooks.webhooks[**id].wants(alert.kind, alert.pool.as_ref())
                });
                let deliveries = wanting.map(|(place, id)| {
                    // Of the entry, so that an alert which is taken twice is the same message.
                    let delivery = format!("msg_{}-{entry}_{id}", bucket.index());
                    let record =
                        Delivery::new(delivery.clone(), (*id).clone(), alert, message.clone());
                    (place as u64 + 1, delivery, json(&record))
                });
                let deliveries = deliveries.collect::<Vec<_>>();
                made.push((
                    alert.id(),
                    snooze.map(|snooze| snooze.id.as_str()),
                    deliveries,
                ));
            }
            let alerts = readable.iter().zip(&made);
            let alerts: Vec<relay_alerts::Alert<'_>> = alerts
                .map(
                    |((_, text, alert), (id, snooze, deliveries))| relay_alerts::Alert {
                        snooze: *snooze,
                        id,
                        kind: alert.kind.as_str(),
                        state: alert.state.as_str(),
                        since: Timestamp(alert.since),
                        until_at: Timestamp(alert.until.unwrap_or(alert.at)),
                        text,
                        wanted: deliveries.len() as u64,
                    },
                )
                .collect();
            let deliveries = made.iter().flat_map(|(_, _, deliveries)| deliveries);
            let deliveries: Vec<relay_alerts::Delivery<'_>> = deliveries
                .map(|(webhook, delivery, record)| relay_alerts::Delivery {
                    webhook: *webhook,
                    delivery,
                    record,
                })
                .collect();
            let relay = scripts::RelayAlerts {
                keys: AlertKeys,
                known: webhooks.revision,
                bucket: bucket.index() as u64,
                before: Some(before.as_str()),
                after: &after,
                maximum: self.most_pending(),
                keep_dead: DEAD,
                webhooks: &rows,
                alerts: &alerts,
                deliveries: &deliveries,
            };
            let reply = self.call_about_alerts(&relay).await?;
            match reply.status {
                relay_alerts::Status::Relayed => {
                    told += reply.told;
                    let whole = entries.ids.last().is_some_and(|last| last.id == after);
                    if !whole || entries.ids.len() < entries_at_once {
                        return Ok(told);
                    }
                    before = after;
                }
                relay_alerts::Status::Changed => self.refresh_webhooks().await?,
                relay_alerts::Status::Stale => return Ok(told),
            }
        }
    }

    /// The alerts that are raised now, the oldest first.
    pub async fn raised_alerts(&self) -> Result<Vec<Alert>, Error> {
        let mut connection = self.0.connections.get().await?;
        let raised: HashMap<String, String> = redis::cmd("HGETALL")
            .arg(RAISED)
            .query_async(&mut *connection)
            .await?;
        Ok(self.sorted(&raised))
    }

    /// The alerts of these records, the oldest first.
    pub(super) fn sorted(&self, raised: &HashMap<String, String>) -> Vec<Alert> {
        let mut raised: Vec<Alert> = raised
            .iter()
            .filter_map(|(id, text)| self.readable(id, text))
            .collect();
        raised.sort_by_key(|alert| (alert.since, alert.id()));
        raised
    }

    /// An alert of a record, if this version can read it.
    pub(super) fn readable(&self, place: &str, text: &str) -> Option<Alert> {
        let alert = read(place, text);
        if alert.is_err() {
            self.0.unreadable.note(Kind::Alert, place);
        }
        alert.ok()
    }

    /// Whether an entry was written so lately that a node which can read it has not had its turn.
    fn is_fresh(&self, entry: &str) -> bool {
        let place: Result<EventId, _> = entry.parse();
        place.is_ok_and(|place| self.now().0 - place.written_ms() < LEFT_TO_OTHERS_MS)
    }
}

fn read(place: &str, text: &str) -> Result<Alert, Error> {
    serde_json::from_str(text).map_err(|error| Error::Broken(format!("alert {place}: {error}")))
}

impl Alert {
    /// Whether its pool is in a scope. The store is in none.
    pub fn is_in(&self, scope: &Scope) -> bool {
        self.pool.as_ref().is_some_and(|pool| scope.is_for(pool))
    }

    /// When it was noticed.
    pub const fn noticed(&self) -> Timestamp {
        Timestamp(self.at)
    }
}
