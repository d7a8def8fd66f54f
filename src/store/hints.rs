//! Who waits for a seat is called by name when there is one, on whichever node that was noticed.
//!
//! A message decides nothing and may be lost: `waiters` finds out by itself. One subscription serves all pools of the
//! node; it is made when somebody waits for the first time, so a node whose pools have no queue has none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{ErrorKind, RedisError, RedisResult};

use super::connection::Source;
use super::{Shared, Store, keys};
use crate::tasks::{self, Over};
use crate::telemetry;

/// Pause before a lost subscription is made again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a server may take to begin one.
const ANSWER: Duration = Duration::from_secs(1);
/// How often a subscription is held against what became of the servers.
const POLL: Duration = Duration::from_millis(200);

/// The hints of a node.
#[derive(Debug)]
pub(super) struct Hints {
    started: AtomicBool,
    listening: Arc<AtomicBool>,
}

impl Hints {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            started: AtomicBool::new(false),
            listening: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Whether messages come.
    pub(super) fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Acquire)
    }

    /// Begins to listen, when somebody waits for the first time.
    pub(super) fn start(&self, store: &Store) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        // Weak, because a store that is dropped takes its connections along.
        let source = Arc::downgrade(store.0.connections.source());
        let age = Arc::clone(store.0.connections.age());
        let (shared, listening) = (Arc::downgrade(&store.0), Arc::clone(&self.listening));
        tasks::spawn("hints", move || {
            run(
                source.clone(),
                Arc::clone(&age),
                shared.clone(),
                Arc::clone(&listening),
            )
        });
    }
}

/// Subscribes, and again whenever the subscription is lost or the servers have changed.
async fn run(
    source: Weak<Source>,
    age: Arc<AtomicU64>,
    store: Weak<Shared>,
    listening: Arc<AtomicBool>,
) -> Over {
    let is_listening = |is: bool| {
        listening.store(is, Ordering::Release);
        metrics::gauge!(telemetry::STORE_LISTENING).set(if is { 1.0 } else { 0.0 });
        if is && let Some(store) = store.upgrade() {
            store.lines.look();
        }
    };
    while let Some(strong) = source.upgrade() {
        let made_at = age.load(Ordering::Relaxed);
        let listened = listen(strong, &store, &is_listening, || {
            age.load(Ordering::Relaxed) == made_at && source.strong_count() > 0
        });
        let ended = listened.await;
        is_listening(false);
        if let Err(error) = ended {
            tracing::debug!(error = %error, "no hints from Redis: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
    Over
}

/// Listens for as long as the servers are `the_same`.
async fn listen(
    source: Arc<Source>,
    store: &Weak<Shared>,
    is_listening: impl Fn(bool),
    the_same: impl Fn() -> bool,
) -> RedisResult<()> {
    let mut subscription = source.subscribe().await?;
    drop(source);
    tokio::time::timeout(ANSWER, subscription.psubscribe(keys::QUEUES))
        .await
        .map_err(|_| RedisError::from((ErrorKind::Io, "no answer to a subscription in time")))??;
    is_listening(true);
    let mut messages = subscription.on_message();
    while the_same() {
        match tokio::time::timeout(POLL, messages.next()).await {
            Ok(Some(message)) => {
                metrics::counter!(telemetry::STORE_HINTS).increment(1);
                let text: String = message.get_payload()?;
                if let Some(store) = store.upgrade() {
                    store.lines.hear(message.get_channel_name(), &text);
                }
            }
            Ok(None) => {
                return Err((ErrorKind::Io, "the subscription was cut").into());
            }
            Err(_) => {}
        }
    }
    Ok(())
}
