//! A seat that is held.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::heartbeats::Heartbeats;
use super::promise::{Clocks, Left, Promise};
use super::{Client, Error, text};

/// A seat that is held. Dropping it gives the seat back in the background; [`Held::release`] waits for that.
#[derive(Debug)]
pub struct Held {
    id: String,
    fence: u64,
    client: Client,
    state: Arc<Mutex<State>>,
    loss: watch::Receiver<Option<Loss>>,
    beats: JoinHandle<()>,
    released: bool,
}

/// A lease that the server says is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// One of the codes that end a lease.
    pub code: String,
    /// What the server says about it.
    pub reason: Option<String>,
}

/// That a policy of the pool can end the lease soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndsSoon {
    /// The time until then, from the last heartbeat on.
    pub within: Duration,
    /// `idle` or `max_hold`.
    pub reason: String,
    /// `yield`: the seat goes to somebody who needs it; `end`: it ends.
    pub then: String,
}

/// Says for how long nobody has done anything; none where that is not known.
type IdleTime = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

pub(super) struct State {
    pub(super) token: SecretString,
    pub(super) promise: Promise,
    /// What heartbeats report of the user, if they do.
    pub(super) idle: Option<IdleTime>,
    pub(super) ends: Option<EndsSoon>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl EndsSoon {
    pub(super) fn of(ends: &Value) -> Option<Self> {
        Some(Self {
            within: Duration::from_millis(ends["in_ms"].as_u64()?),
            reason: text(&ends["reason"])?.to_owned(),
            then: text(&ends["then"])?.to_owned(),
        })
    }
}

impl Held {
    /// A seat that was granted, and the begin of its heartbeats. `sent` is when the request left, or earlier.
    pub(super) fn begin(client: &Client, answer: &Value, sent: Clocks) -> Result<Self, Error> {
        let granted = Promise::of(&answer["lease"], sent);
        let (Some(promise), Some(token)) = (granted, text(&answer["token"])) else {
            return Err(client.not_leasehold(StatusCode::OK));
        };
        let lease = &answer["lease"];
        let id = text(&lease["id"]).unwrap_or_default().to_owned();
        let after = promise.renew_after;
        let state = Arc::new(Mutex::new(State {
            token: SecretString::from(token),
            promise,
            idle: None,
            ends: None,
        }));
        let (told, loss) = watch::channel(None);
        let beats = Heartbeats {
            client: client.clone(),
            id: id.clone(),
            state: Arc::clone(&state),
            loss: told,
        };
        Ok(Self {
            id,
            fence: lease["fence"].as_u64().unwrap_or(0),
            client: client.clone(),
            state,
            loss,
            beats: tokio::spawn(beats.run(after)),
            released: false,
        })
    }

    /// The id of the lease. Not a secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Grows with every grant in the pool: a resource that keeps the largest it has seen can refuse an older holder.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether the lease surely lives: the last answer is younger than the lease's length. Without it the seat may be
    /// somebody else's already, and heartbeats go on trying.
    pub fn is_sure(&self) -> bool {
        self.loss.borrow().is_none() && !self.left().certain.is_zero()
    }

    /// Reports with each heartbeat for how long nobody has done anything; whoever is back is reported at once.
    pub fn report_idle(&self, idle: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        locked(&self.state).idle = Some(Arc::new(idle));
    }

    /// When a policy of the pool can end the lease, if the last heartbeat said that it is soon.
    pub fn ends(&self) -> Option<EndsSoon> {
        locked(&self.state).ends.clone()
    }

    /// What is left of the lease, if nothing more is heard.
    pub fn left(&self) -> Left {
        locked(&self.state).promise.left()
    }

    /// Waits until the server reports the lease lost.
    pub async fn lost(&mut self) -> Loss {
        let lost = self.loss.wait_for(Option::is_some).await;
        lost.ok().and_then(|loss| loss.clone()).unwrap_or(Loss {
            code: "lease_released".to_owned(),
            reason: None,
        })
    }

    /// Gives the seat back and waits until the server knows.
    pub async fn release(mut self) -> Result<(), Error> {
        self.released = true;
        self.beats.abort();
        let token = locked(&self.state).token.clone();
        self.client.release(&token).await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.beats.abort();
        if self.released || self.loss.borrow().is_some() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The seat comes back by itself when the lease has expired.
            return;
        };
        let token = locked(&self.state).token.clone();
        let client = self.client.clone();
        runtime.spawn(async move { client.release(&token).await });
    }
}

/// The state of a lease. Nobody panics while it is locked.
pub(super) fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic while held")
}
