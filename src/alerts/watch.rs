//! Has pools judged, every second, and alerts taken into the log.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::message::{self, Links};
use super::{DEAD, PENDING, TOLD};
use crate::store::{Alert, Error, Store};

/// How often a node looks. Where nothing has happened that costs nothing.
const EVERY: Duration = Duration::from_secs(1);
/// Part of the time after which another node's look is not fresh any more.
const FRESH: f64 = 0.8;
/// Rounds between two counts of deliveries.
const COUNT_EVERY: u32 = 5;
/// Rounds between two looks for reminders that are due.
const REMIND_EVERY: u32 = 5;

pub(super) async fn run(store: Store, links: Links, told: Arc<Notify>) -> Infallible {
    let mut rounds = 0_u32;
    loop {
        tokio::time::sleep(EVERY).await;
        match evaluate(&store, &links).await {
            Ok(0) => {}
            Ok(alerts) => {
                metrics::counter!(TOLD).increment(alerts);
                told.notify_one();
            }
            // The sweeper says once that Redis is away.
            Err(error) => tracing::debug!(error = %error, "could not look for alerts: {error}"),
        }
        if rounds.is_multiple_of(COUNT_EVERY)
            && let Err(error) = count(&store).await
        {
            tracing::debug!(error = %error, "could not count deliveries: {error}");
        }
        if rounds.is_multiple_of(REMIND_EVERY) {
            match remind(&store, &links).await {
                Ok(0) => {}
                Ok(_) => told.notify_one(),
                Err(error) => tracing::debug!(error = %error, "could not remind: {error}"),
            }
        }
        rounds = rounds.wrapping_add(1);
    }
}

async fn evaluate(store: &Store, links: &Links) -> Result<u64, Error> {
    // First, so that webhooks which Redis lost are back before the loss is reported to them.
    if let Err(error) = store.refresh_webhooks().await {
        tracing::debug!(error = %error, "could not look for changed webhooks: {error}");
    }
    store
        .watch_alerts(EVERY.mul_f64(FRESH), &|alert| message::body(alert, links))
        .await
}

async fn remind(store: &Store, links: &Links) -> Result<u64, Error> {
    let body = |alert: &Alert, is_reminder: bool| {
        if is_reminder {
            message::reminder(alert, links)
        } else {
            message::body(alert, links)
        }
    };
    store.remind_of_alerts(&body).await
}

async fn count(store: &Store) -> Result<(), Error> {
    store.count_open_alerts().await?;
    let webhooks = store.webhooks();
    let ids: Vec<_> = webhooks.webhooks.keys().collect();
    let counts = store.count_deliveries(&ids).await?;
    let sum = |count: fn(&(u64, u64)) -> u64| counts.iter().map(count).sum::<u64>();
    // Far fewer than a float can count.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    let set = |name, value: u64| metrics::gauge!(name).set(value as f64);
    set(PENDING, sum(|(pending, _)| *pending));
    set(DEAD, sum(|(_, dead)| *dead));
    Ok(())
}
