//! Who waits for a seat is told when one comes free, on whichever node that was noticed.
//!
//! A hint decides nothing and may be lost: who waits asks again by itself. One subscription serves all pools of the
//! node; it is made when somebody waits for the first time, so a node whose pools have no queue has none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::broadcast;

use super::Store;
use super::keys::Keys;
use crate::pool::PoolName;

/// Pause before a lost subscription is made again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long somebody waits without asking while hints come, and while they do not.
const WITH_HINTS: Duration = Duration::from_secs(1);
const WITHOUT_HINTS: Duration = Duration::from_millis(40);

/// The hints of a node.
#[derive(Debug)]
pub(super) struct Hints {
    url: SecretString,
    started: AtomicBool,
    listening: Arc<AtomicBool>,
    /// Names of channels on which something was said.
    told: broadcast::Sender<Arc<str>>,
}

impl Hints {
    /// None yet.
    pub(super) fn new(url: &SecretString) -> Self {
        Self {
            url: url.clone(),
            started: AtomicBool::new(false),
            listening: Arc::new(AtomicBool::new(false)),
            told: broadcast::channel(256).0,
        }
    }

    fn start(&self) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let Ok(client) = redis::Client::open(self.url.expose_secret()) else {
            // Not a single server: then asking often is all there is.
            return;
        };
        let (told, listening) = (self.told.clone(), Arc::clone(&self.listening));
        tokio::spawn(async move {
            loop {
                if let Err(error) = listen(&client, &told, &listening).await {
                    tracing::debug!(error = %error, "no hints from Redis: {error}");
                }
                listening.store(false, Ordering::Release);
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
}

async fn listen(
    client: &redis::Client,
    told: &broadcast::Sender<Arc<str>>,
    listening: &AtomicBool,
) -> redis::RedisResult<()> {
    let mut subscription = client.get_async_pubsub().await?;
    subscription.psubscribe(Keys::QUEUES).await?;
    listening.store(true, Ordering::Release);
    let mut messages = subscription.on_message();
    while let Some(message) = messages.next().await {
        // Nobody may be waiting here.
        let _ = told.send(message.get_channel_name().into());
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
        hints.start();
        Freed {
            channel: Keys::of(pool).queue(),
            told: hints.told.subscribe(),
            listening: Arc::clone(&hints.listening),
        }
    }
}
