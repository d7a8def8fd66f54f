//! Who waits for a seat is told when one comes free, on whichever node that was noticed.
//!
//! A hint decides nothing and may be lost: who waits asks again by itself. One subscription serves all pools of the
//! node; it is made when somebody waits for the first time, so a node whose pools have no queue has none.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::sync::broadcast;

use super::Store;
use super::connection::{Connections, Source};
use super::keys::{self, Keys};
use crate::names::PoolName;
use crate::tasks::{self, Over};
use crate::telemetry;

/// Pause before a lost subscription is made again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a server may take to begin one.
const ANSWER: Duration = Duration::from_secs(1);
/// How often a subscription is held against what became of the servers.
const POLL: Duration = Duration::from_millis(200);
/// How long somebody waits without asking while hints come, and while they do not.
const WITH_HINTS: Duration = Duration::from_secs(1);
const WITHOUT_HINTS: Duration = Duration::from_millis(40);

/// The hints of a node.
#[derive(Debug)]
pub(super) struct Hints {
    started: AtomicBool,
    listening: Arc<AtomicBool>,
    /// Names of channels on which something was said.
    told: broadcast::Sender<Arc<str>>,
}

impl Hints {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            started: AtomicBool::new(false),
            listening: Arc::new(AtomicBool::new(false)),
            told: broadcast::channel(256).0,
        }
    }

    fn start(&self, connections: &Connections) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        // Weak, because a store that is dropped takes its connections along.
        let source = Arc::downgrade(connections.source());
        let age = Arc::clone(connections.age());
        let (told, listening) = (self.told.clone(), Arc::clone(&self.listening));
        tasks::spawn("hints", move || {
            run(
                source.clone(),
                Arc::clone(&age),
                told.clone(),
                Arc::clone(&listening),
            )
        });
    }
}

/// Subscribes, and again whenever the subscription is lost or the servers have changed.
async fn run(
    source: Weak<Source>,
    age: Arc<AtomicU64>,
    told: broadcast::Sender<Arc<str>>,
    listening: Arc<AtomicBool>,
) -> Over {
    let is_listening = |is: bool| {
        listening.store(is, Ordering::Release);
        metrics::gauge!(telemetry::STORE_LISTENING).set(if is { 1.0 } else { 0.0 });
    };
    while let Some(strong) = source.upgrade() {
        let made_at = age.load(Ordering::Relaxed);
        let listened = listen(strong, &told, &is_listening, || {
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
    told: &broadcast::Sender<Arc<str>>,
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
                // Nobody may be waiting here.
                drop(told.send(message.get_channel_name().into()));
            }
            Ok(None) => {
                return Err((ErrorKind::Io, "the subscription was cut").into());
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// Waits for seats of one pool. Made before the question that it follows, so that no hint falls in between.
#[derive(Debug)]
pub struct Freed {
    channel: String,
    told: broadcast::Receiver<Arc<str>>,
    listening: Arc<AtomicBool>,
}

impl Freed {
    /// Waits until a seat may have come free, at most `longest`.
    pub async fn wait(&mut self, longest: Duration) {
        let pause = if self.listening.load(Ordering::Acquire) {
            WITH_HINTS
        } else {
            WITHOUT_HINTS
        };
        let told = async {
            loop {
                match self.told.recv().await {
                    Ok(channel) if *channel != *self.channel => {}
                    // A hint, or so many that some were missed.
                    _ => return,
                }
            }
        };
        // The time is the answer as well.
        let _ = tokio::time::timeout(longest.min(pause), told).await;
    }
}

impl Store {
    /// Begins to listen for seats of a pool that come free.
    pub fn freed(&self, pool: &PoolName) -> Freed {
        let hints = &self.0.hints;
        hints.start(&self.0.connections);
        Freed {
            channel: Keys::of(pool).queue(),
            told: hints.told.subscribe(),
            listening: Arc::clone(&hints.listening),
        }
    }
}
