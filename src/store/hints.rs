//! Hints: a waiter is called by name when a seat comes free, whichever node noticed it.
//!
//! A message decides nothing and may be lost: `waiters` finds out by itself. One connection serves all pools of the node. It
//! is made when somebody waits for the first time, and is subscribed to the queues in which somebody waits here, so a node
//! hears nothing of others.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::PubSubSink;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Source;
use super::error::Trouble;
use super::{Shared, Store, keys};
use crate::tasks::{self, Over};
use crate::telemetry;

/// Pause before a lost subscription is made again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a server may take to begin one.
const ANSWER: Duration = Duration::from_secs(1);
/// How often a subscription is held against what became of the servers.
const POLL: Duration = Duration::from_millis(200);
/// Channels that are subscribed to with one command.
const AT_ONCE: usize = 500;
/// How often channels are left on which nobody waits any more: a queue that was empty for a moment is not left.
const TIDY: Duration = Duration::from_secs(10);

/// The hints of a node.
#[derive(Debug)]
pub(super) struct Hints {
    started: AtomicBool,
    /// Somebody waits in a pool in which nobody did.
    changed: Arc<Notify>,
}

impl Hints {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            started: AtomicBool::new(false),
            changed: Arc::new(Notify::new()),
        }
    }

    /// Subscribes to the queues in which somebody waits now.
    pub(super) fn change(&self) {
        self.changed.notify_one();
    }

    /// Begins to listen, when somebody waits for the first time.
    pub(super) fn start(&self, store: &Store) {
        if self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        // Weak, because a store that is dropped takes its connections along.
        let source = Arc::downgrade(store.0.connections.source());
        let age = Arc::clone(store.0.connections.age());
        let (shared, changed) = (Arc::downgrade(&store.0), Arc::clone(&self.changed));
        tasks::spawn("hints", move || {
            run(
                source.clone(),
                Arc::clone(&age),
                shared.clone(),
                Arc::clone(&changed),
            )
        });
    }
}

/// Subscribes, and again whenever the subscription is lost or the servers have changed.
async fn run(
    source: Weak<Source>,
    age: Arc<AtomicU64>,
    store: Weak<Shared>,
    changed: Arc<Notify>,
) -> Over {
    while let Some(strong) = source.upgrade() {
        let made_at = age.load(Ordering::Relaxed);
        let listened = listen(strong, &store, &changed, || {
            age.load(Ordering::Relaxed) == made_at && source.strong_count() > 0
        });
        let ended = listened.await;
        metrics::gauge!(telemetry::STORE_LISTENING).set(0.0);
        if let Some(store) = store.upgrade() {
            store.lines.hear_nothing();
        }
        if let Err(error) = ended {
            tracing::debug!(error = %error, "no hints from Redis: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
    Over
}

/// What a connection is subscribed to.
struct Subscribed {
    sink: PubSubSink,
    channels: HashSet<Arc<str>>,
    /// All queues, because the user may not run SUBSCRIBE: nodes of the version before needed only PSUBSCRIBE.
    all: bool,
    next_tidy: Instant,
}

/// An answer of Redis, if it comes in time.
async fn in_time(answer: impl Future<Output = RedisResult<()>>) -> RedisResult<()> {
    let late = || RedisError::from((ErrorKind::Io, "no answer to a subscription in time"));
    tokio::time::timeout(ANSWER, answer)
        .await
        .unwrap_or_else(|_| Err(late()))
}

impl Subscribed {
    async fn begin(mut sink: PubSubSink) -> RedisResult<Self> {
        let all = match in_time(sink.subscribe(keys::LISTENING)).await {
            Err(error) if Trouble::of(&error) == Trouble::NotAllowed => {
                in_time(sink.psubscribe(keys::QUEUES)).await?;
                true
            }
            answer => answer.map(|()| false)?,
        };
        Ok(Self {
            sink,
            channels: HashSet::new(),
            all,
            next_tidy: Instant::now() + TIDY,
        })
    }

    /// Follows the queues in which somebody waits at this node.
    async fn follow(&mut self, store: &Shared) -> RedisResult<()> {
        let wanted = store.lines.channels();
        let new: Vec<Arc<str>> = wanted
            .iter()
            .filter(|channel| !self.channels.contains(*channel))
            .cloned()
            .collect();
        for new in new.chunks(AT_ONCE) {
            if !self.all {
                let names: Vec<&str> = new.iter().map(AsRef::as_ref).collect();
                in_time(self.sink.subscribe(names)).await?;
            }
            self.channels.extend(new.iter().cloned());
        }
        store.lines.hear_on(&wanted);
        if self.next_tidy <= Instant::now() {
            self.next_tidy = Instant::now() + TIDY;
            let wanted: HashSet<Arc<str>> = wanted.into_iter().collect();
            let left: Vec<Arc<str>> = self.channels.difference(&wanted).cloned().collect();
            for left in left.chunks(AT_ONCE) {
                if !self.all {
                    let names: Vec<&str> = left.iter().map(AsRef::as_ref).collect();
                    // To hear more than is wanted does no harm; a connection that is cut is noticed elsewhere.
                    let _ = in_time(self.sink.unsubscribe(names)).await;
                }
                for channel in left {
                    self.channels.remove(channel);
                }
            }
        }
        Ok(())
    }
}

/// Listens for as long as the servers are `the_same`.
async fn listen(
    source: Arc<Source>,
    store: &Weak<Shared>,
    changed: &Notify,
    the_same: impl Fn() -> bool,
) -> RedisResult<()> {
    let (sink, mut messages) = source.subscribe().await?.split();
    drop(source);
    let mut subscribed = Subscribed::begin(sink).await?;
    metrics::gauge!(telemetry::STORE_LISTENING).set(1.0);
    let mut follows = true;
    while the_same() {
        if (follows || subscribed.next_tidy <= Instant::now())
            && let Some(store) = store.upgrade()
        {
            subscribed.follow(&store).await?;
        }
        follows = false;
        tokio::select! {
            message = tokio::time::timeout(POLL, messages.next()) => match message {
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
            },
            () = changed.notified() => follows = true,
        }
    }
    Ok(())
}
