//! Requests that arrive while others are under way go together, because a call costs Redis as much as several requests in it.
//!
//! A lane leads to a server: there is one, or in a cluster one for each bucket, because buckets are on several servers and
//! one that is away must not hold the others up. A lane takes what is waiting and sends it as one round. As a rule there is no timer:
//! an idle lane sends a single request at once, and rounds grow by themselves with the load. Only heartbeats wait for others, and
//! only where there are many nodes ([`Batched::pause`]). A request is answered only after Redis answered.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};

use super::error::Error;
use super::keys::Bucket;
use super::{Shared, Store};
use crate::tasks::{self, Over};

/// Rounds of a lane that are under way at once: while Redis works on one, the next is on its way.
const ROUNDS: usize = 2;

/// Maximum requests that wait for one lane.
const WAITING: usize = 16 * 1024;

/// What goes together.
pub(super) trait Batched: Send + Sized + 'static {
    /// What becomes of one.
    type Answer: Send + 'static;

    /// What they are called, in plural.
    const NAME: &'static str;

    /// Maximum of one round, over all buckets.
    const ROUND: usize;

    /// How long the first of a round waits for others.
    fn pause(_store: &Store) -> Duration {
        Duration::ZERO
    }

    /// Sends those that wait, in as few calls as they go into, and answers them.
    fn send_round(store: &Store, round: Vec<Waiting<Self>>) -> impl Future<Output = ()> + Send;
}

/// A request that waits in a lane.
pub(super) struct Waiting<R: Batched> {
    pub(super) bucket: Bucket,
    pub(super) request: R,
    pub(super) answer: oneshot::Sender<Result<R::Answer, Error>>,
}

impl<R: Batched> Waiting<R> {
    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }
}

/// The lanes to all servers.
pub(super) struct Batcher<R: Batched> {
    lanes: Vec<mpsc::Sender<Waiting<R>>>,
}

impl<R: Batched> Batcher<R> {
    /// Starts the lanes: one, or one for each bucket. They end when the store is dropped.
    pub(super) fn start(lanes: usize, store: &Weak<Shared>) -> Self {
        let lanes = (0..lanes).map(|_| {
            let (sender, receiver) = mpsc::channel(WAITING);
            // What waits in a lane outlives a failure of the task that sends it.
            let (lane, store) = (Arc::new(Mutex::new(receiver)), store.clone());
            tasks::spawn(R::NAME, move || run(store.clone(), Arc::clone(&lane)));
            sender
        });
        Self {
            lanes: lanes.collect(),
        }
    }

    /// Puts a request into its lane and waits for the answer.
    pub(super) async fn ask(&self, bucket: Bucket, request: R) -> Result<R::Answer, Error> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            bucket,
            request,
            answer,
        };
        self.lanes[bucket.index() % self.lanes.len()]
            .try_send(waiting)
            .map_err(|_| Error::not_sent(format!("more {} wait than Redis can take", R::NAME)))?;
        answered
            .await
            .unwrap_or_else(|_| Err(Error::unanswered("the node is stopping")))
    }
}

/// Sends what waits in a lane, round after round.
///
/// Requests that a failure takes along are answered: that is not known.
async fn run<R: Batched>(
    store: Weak<Shared>,
    lane: Arc<Mutex<mpsc::Receiver<Waiting<R>>>>,
) -> Over {
    let mut lane = lane.lock().await;
    let rounds = Arc::new(Semaphore::new(ROUNDS));
    loop {
        let since = Instant::now();
        let turn = Arc::clone(&rounds).acquire_owned().await;
        let waited = since.elapsed();
        let mut round = Vec::new();
        if lane.recv_many(&mut round, R::ROUND).await == 0 {
            return Over;
        }
        let Some(store) = store.upgrade().map(Store) else {
            return Over;
        };
        // Those that waited until a round before was over have waited already.
        let pause = R::pause(&store).saturating_sub(waited);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        // A lane is woken by the first request and would run before the others that are here already, so calls would
        // carry two or three. It lets them have their turn; without any, this takes no time.
        tokio::task::yield_now().await;
        while round.len() < R::ROUND
            && let Ok(waiting) = lane.try_recv()
        {
            round.push(waiting);
        }
        tokio::spawn(async move {
            R::send_round(&store, round).await;
            drop(turn);
        });
    }
}
