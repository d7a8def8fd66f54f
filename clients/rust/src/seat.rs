use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Keep, Shared, now};
use crate::error::SeatError;
use crate::machine::{self, Event, Json, is_active};

/// What is called for each change of a seat.
pub type Listener = Arc<dyn Fn(&SeatEvent) + Send + Sync>;

/// A function that returns how long the user of a seat has done nothing.
pub type Idle = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// Who asks for a seat, and how.
#[derive(Clone, Default)]
pub struct Options {
    pub holder: Option<String>,
    pub tenant: Option<String>,
    /// What operators read beside the holder.
    pub label: Option<String>,
    pub platform: Option<String>,
    pub activities: Option<Vec<String>>,
    /// Queue when all seats are in use.
    pub wait: bool,
    /// Ask once more when the seat has expired.
    pub reacquire: bool,
    /// While it waits, ask those who have a seat for theirs, where the pool allows that.
    pub request: bool,
    /// Stop sooner in an outage than the server allows.
    pub max_grace: Option<Duration>,
    /// Limits the acquire, never the seat: 30 s without, no limit with `wait`.
    pub timeout: Option<Duration>,
    /// Called for each change, in order, on a thread of its own.
    pub on_event: Option<Listener>,
    /// Returns how long the user has done nothing, or nothing if that is not known. It has to be quick. One that panics is not asked again,
    /// and the seat counts as used. See [`Seat::touch`].
    pub idle: Option<Idle>,
}

impl Options {
    /// For an agent, a device, an instance.
    pub fn holder(holder: impl Into<String>) -> Self {
        Self {
            holder: Some(holder.into()),
            ..Self::default()
        }
    }

    pub(crate) fn machine(&self, pool: &str, asks_for_key: bool) -> machine::Options {
        let filled = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        machine::Options {
            pool: pool.to_owned(),
            holder: filled(&self.holder),
            tenant: filled(&self.tenant),
            label: filled(&self.label),
            platform: filled(&self.platform),
            activities: self.activities.clone(),
            wait: self.wait,
            reacquire: self.reacquire,
            request: self.request,
            max_grace_ms: self.max_grace.map(|grace| grace.as_millis() as i64),
            asks_for_key,
        }
    }
}

/// A change of a seat.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SeatEvent {
    /// `acquiring`, `waiting`, `held`, `unstable`, `grace`, `lost`, `denied` or `released`.
    pub state: String,
    /// The id of the lease, if there is one.
    pub id: Option<String>,
    /// What the server said: code, detail, reason, position, retry_after_ms and so on.
    pub details: Json,
}

impl SeatEvent {
    /// Why, if there is something to say.
    pub fn code(&self) -> Option<&str> {
        self.details.get("code")?.as_str()
    }

    /// If the event is about it: the end that is near, or that it no longer is.
    pub fn ending(&self) -> Option<Option<Ending>> {
        let ends = self.details.get("ending")?;
        let text = |name: &str| ends[name].as_str().unwrap_or("").to_owned();
        let ending = ends["in_ms"].as_f64().map(|ms| Ending {
            within: Duration::from_millis(ms as u64),
            reason: text("reason"),
            then: text("then"),
        });
        Some(ending)
    }

    /// If the event is about it: the requests for the seat that are open, once for each, or that none is any more.
    pub fn seat_requested(&self) -> Option<Option<SeatRequest>> {
        let request = self.details.get("seat_requested")?;
        let within = request["answer_in_ms"].as_f64();
        Some(within.map(|ms| SeatRequest {
            requests: request["requests"].as_u64().unwrap_or(1),
            within: Duration::from_millis(ms as u64),
        }))
    }
}

/// Somebody would like the seat: see [`Seat::hand_over`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeatRequest {
    /// How many ask.
    pub requests: u64,
    /// For how long they wait for an answer; none is an answer, too.
    pub within: Duration,
}

/// A seat ends soon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    pub within: Duration,
    /// `idle`: any activity of its user ends the matter. `max_hold`: it was held for long, and nothing does.
    pub reason: String,
    /// `yield`: when somebody else needs a seat. `end`: in any case.
    pub then: String,
}

/// A seat, from its grant to its end. A lost one is not used again: acquire another. Whoever drops it gives it back, if the runtime still
/// runs.
pub struct Seat {
    shared: Arc<Shared>,
    id: u64,
    pool: String,
    holder: Option<String>,
    granted: bool,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seat of {}: {}", self.pool, self.state())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut events = vec![Event::Cancel];
        if self.granted || self.lease().contains_key("id") {
            events.push(Event::Release); // The grant came first.
        }
        self.shared.drop_seat(self.id, events);
    }
}

impl Seat {
    pub(crate) fn new(shared: Arc<Shared>, id: u64, pool: &str, holder: Option<&str>) -> Self {
        Self {
            shared,
            id,
            pool: pool.to_owned(),
            holder: holder.map(str::to_owned),
            granted: false,
        }
    }

    pub(crate) fn granted(mut self) -> Self {
        self.granted = true;
        self
    }

    fn seen(&self) -> (&'static str, Option<String>, Json) {
        match self.shared.lock().seats.get(&self.id) {
            Some(runner) => {
                let (name, code) = runner.state.seen(now());
                (name, code, runner.details.clone())
            }
            None => ("released", Some("closed".into()), Json::new()),
        }
    }

    pub fn pool(&self) -> &str {
        &self.pool
    }

    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    /// As of now, also where no timer has fired yet.
    pub fn state(&self) -> &'static str {
        self.seen().0
    }

    /// Whether nobody else can have the seat at this moment.
    pub fn is_sure(&self) -> bool {
        self.shared
            .lock()
            .seats
            .get(&self.id)
            .is_some_and(|runner| runner.state.is_sure(now()))
    }

    /// An error if work has to stop. In `grace` it may go on.
    pub fn check(&self) -> Result<(), SeatError> {
        let (name, code, details) = self.seen();
        if is_active(name) {
            Ok(())
        } else {
            Err(SeatError::new(
                code.as_deref().unwrap_or(name),
                &details,
                true,
            ))
        }
    }

    /// Waits until work has to stop, and says why.
    pub async fn lost(&self) -> SeatError {
        self.shared
            .until(self.id, |runner| !is_active(runner.state.seen(now()).0))
            .await;
        let (name, code, details) = self.seen();
        SeatError::new(code.as_deref().unwrap_or(name), &details, true)
    }

    /// The lease as the server told it last; empty without one.
    pub fn lease(&self) -> Json {
        self.shared
            .lock()
            .seats
            .get(&self.id)
            .and_then(|runner| runner.state.lease.clone())
            .unwrap_or_default()
    }

    /// The id of the lease. Not a secret.
    pub fn id(&self) -> Option<String> {
        Some(self.lease().get("id")?.as_str()?.to_owned())
    }

    /// Grows with every grant in the pool, for resources that refuse older holders.
    pub fn fence(&self) -> Option<u64> {
        self.lease().get("fence")?.as_u64()
    }

    /// The signed proof of the lease, in a pool that has proofs.
    pub fn proof(&self) -> Option<String> {
        self.shared.lock().seats.get(&self.id)?.state.proof.clone()
    }

    /// The secret of the lease, for a backend that goes on after a restart.
    pub fn token(&self) -> Option<String> {
        self.shared.lock().seats.get(&self.id)?.state.token.clone()
    }

    /// Tells operators what the holder works on, with the next heartbeat.
    pub fn report(&self, activities: &[&str]) {
        let activities = Some(activities.iter().map(|text| (*text).to_owned()).collect());
        self.shared.feed(
            self.id,
            Event::Report {
                activities,
                label: None,
            },
        );
    }

    /// The user did something just now. From the first call on, heartbeats report how long nobody did. It may be called often. Without it,
    /// and without [`Options::idle`], the seat counts as used.
    pub fn touch(&self) {
        self.shared.touch(self.id);
    }

    /// Gives the seat to whoever asked for one first; whether it did. If nobody asks any more, the seat stays.
    pub async fn hand_over(&self) -> bool {
        self.shared.feed(self.id, Event::Yield);
        self.shared
            .until(self.id, |runner| !runner.state.yields())
            .await;
        let (state, code, _) = self.seen();
        state == "released" && code.as_deref() == Some("handed_over")
    }

    /// Gives the seat back. Three seconds at most; may be called at any time; never fails.
    pub async fn release(&self) {
        self.shared.feed(self.id, Event::Release);
        self.shared.quiet(self.id).await;
    }

    /// Goes away, as a page does: the seat is kept for the pool's `linger_ms`.
    pub async fn leave(&self) {
        self.shared.feed(self.id, Event::Close);
        self.shared.quiet(self.id).await;
    }

    pub(crate) fn keep(&self, keep: Keep) {
        let mut inner = self.shared.lock();
        if let Some(runner) = inner.seats.get_mut(&self.id) {
            if let Some(token) = &runner.state.token {
                keep(token);
            }
            runner.keep = Some(keep);
        }
    }
}
