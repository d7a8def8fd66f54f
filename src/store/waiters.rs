//! Those who wait for a seat with a request held open at this node. All of a pool are reported to Redis together, and learn
//! together where they are: one call for up to 500 of them every two seconds, and none for each.
//!
//! A ticket is called by name, by the script that frees its seat (`hints`). The calls that are made here find those whose message was
//! lost, so nothing depends on one. What a node remembers here decides nothing: it only names those who have to ask.

mod line;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use self::line::{EVERY, FEW, Line, REMEMBERED, State, Ticket};
use super::acquire::Acquired;
use super::keys::Keys;
use super::{Shared, Store};
use crate::names::{LeaseId, PoolName};
use crate::tasks::{self, Over};
use crate::time::Timestamp;

/// How often all of a pool are reported while no messages come, for few and for many.
const UNTOLD: Duration = Duration::from_millis(40);
const UNTOLD_CROWD: Duration = Duration::from_millis(500);
/// Pause between two calls for a pool, so that those who come and go meanwhile share one.
const PAUSE: Duration = Duration::from_millis(5);
/// Pause after a call that failed.
const FAILED: Duration = Duration::from_millis(250);
/// Tickets that ask at the same time with requests that are not held open. Where there are more, they are reported together.
const ASKS: usize = 32;
/// How old what a script said of a place may be, to be the answer to a request: no older than a short outage.
const FRESH: Duration = Duration::from_secs(10);

/// All queues in which somebody waits at this node.
#[derive(Debug)]
pub(super) struct Lines {
    by_channel: Mutex<HashMap<Arc<str>, Arc<Line>>>,
    asks: Semaphore,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            by_channel: Mutex::default(),
            asks: Semaphore::new(ASKS),
        }
    }
}

/// A request that is held open until its ticket is called.
#[derive(Debug)]
pub struct HeldOpen {
    line: Arc<Line>,
    ticket: Arc<Ticket>,
}

impl HeldOpen {
    /// Waits until the ticket has to ask.
    pub async fn called(&self) {
        loop {
            let told = self.ticket.told.notified();
            if self.ticket.called.load(Ordering::Acquire) {
                return;
            }
            told.await;
        }
    }

    /// Waits until a script has said where the ticket is, or that it has to ask.
    pub async fn reported(&self) {
        loop {
            let told = self.ticket.told.notified();
            if self.ticket.called.load(Ordering::Acquire) || self.ticket.is_known() {
                return;
            }
            told.await;
        }
    }

    /// Notes the answer to its request, and that it waits on.
    pub fn waits_on(&self, position: u64, asks_again_by: Timestamp) {
        self.ticket.is_at(position, asks_again_by, Instant::now());
        self.ticket.called.store(false, Ordering::Release);
    }

    /// It has its answer. Another request with the same ticket asks for it too.
    pub fn is_over(&self) {
        self.ticket.call();
        self.line.state().tickets.remove(&self.ticket.id);
    }

    /// Where it is, as a script said a moment ago; none if none did.
    pub fn place(&self) -> Option<Acquired> {
        let position = self.ticket.position.load(Ordering::Acquire);
        let reported = self.ticket.times().0?;
        if position == 0 || reported.elapsed() > FRESH {
            return None;
        }
        let (each_us, free) = self.line.state().pace;
        let to_end = u64::try_from(i64::try_from(position).ok()? - free).unwrap_or(0);
        let eta = Duration::from_micros(each_us.saturating_mul(to_end.max(1)));
        Some(Acquired::Queued {
            ticket: self.ticket.id,
            position,
            in_tenant: 0,
            // What is left of the time that it was given with the report.
            retry_after: EVERY
                .saturating_sub(reported.elapsed())
                .max(Duration::from_millis(1)),
            eta: if to_end == 0 {
                eta.min(REMEMBERED)
            } else {
                eta
            }
            .max(Duration::from_millis(1)),
            asks_again_by: Timestamp(self.ticket.until.load(Ordering::Acquire)),
        })
    }

    /// What there is to say of its place when nobody is there to hear it.
    pub fn unheard(&self) -> Acquired {
        Acquired::Queued {
            ticket: self.ticket.id,
            position: 0,
            in_tenant: 0,
            retry_after: EVERY,
            eta: EVERY,
            asks_again_by: Timestamp(self.ticket.until.load(Ordering::Acquire)),
        }
    }
}

impl Drop for HeldOpen {
    fn drop(&mut self) {
        self.ticket.times().1 = Instant::now();
        self.ticket.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Lines {
    fn lines(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Line>>> {
        self.by_channel
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A message on the channel of a queue.
    pub(super) fn hear(&self, channel: &str, message: &str) {
        let line = self.lines().get(channel).cloned();
        if let Some(line) = line {
            line.hear(message);
        }
    }

    /// The channels of all queues in which somebody waits here.
    pub(super) fn channels(&self) -> Vec<Arc<str>> {
        self.lines().keys().cloned().collect()
    }

    /// Messages come on these channels. What came before on one that is new was missed.
    pub(super) fn hear_on(&self, channels: &[Arc<str>]) {
        let lines = self.lines();
        let lines = channels.iter().filter_map(|channel| lines.get(channel));
        for line in lines {
            if !line.hears.swap(true, Ordering::AcqRel) {
                line.state().next_report = Instant::now();
                line.wake.notify_one();
            }
        }
    }

    /// No messages come any more.
    pub(super) fn hear_nothing(&self) {
        for line in self.lines().values() {
            line.hears.store(false, Ordering::Release);
            line.wake.notify_one();
        }
    }
}

/// Reports those of one pool until nobody waits any more.
async fn run(store: Weak<Shared>, line: Arc<Line>) -> Over {
    loop {
        let at = {
            let state = line.state();
            state.next_report.min(state.next_look)
        };
        // Woken or not, it looks at what is due.
        let _ = tokio::time::timeout_at(at, line.wake.notified()).await;
        let Some(store) = store.upgrade().map(Store) else {
            return Over;
        };
        let mut failed = false;
        for report in line.due(Instant::now()) {
            let asked = Instant::now();
            let tickets = report.tickets.iter().map(|ticket| ticket.id).collect();
            let polled = store.poll_queue(&line.pool, &report.gone, tickets, report.back);
            match polled.await {
                Ok(polled) => line.note(&report, &polled, asked),
                Err(error) => {
                    tracing::debug!(pool.name = %line.pool, error = %error, "those who wait are not reported: {error}");
                    line.state().gone.extend(report.gone);
                    failed = true;
                }
            }
        }
        if failed {
            tokio::time::sleep(FAILED).await;
            line.state().next_report = Instant::now();
            continue;
        }
        if !line.hears.load(Ordering::Acquire) {
            let mut state = line.state();
            let pause = if state.tickets.len() <= FEW {
                UNTOLD
            } else {
                UNTOLD_CROWD
            };
            state.next_report = state.next_report.min(Instant::now() + pause);
        }
        {
            let mut lines = store.0.lines.lines();
            if line.is_idle() {
                lines.remove(&line.channel);
                return Over;
            }
        }
        drop(store);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Store {
    /// The line of a pool at this node; its task runs for as long as somebody waits.
    fn with_line<T>(&self, pool: &PoolName, change: impl FnOnce(&Arc<Line>) -> T) -> T {
        self.0.hints.start(self);
        let channel: Arc<str> = Keys::of(pool).queue().into();
        let mut lines = self.0.lines.lines();
        let mut is_new = false;
        let line = lines.entry(Arc::clone(&channel)).or_insert_with(|| {
            is_new = true;
            let now = Instant::now();
            Arc::new(Line {
                pool: pool.clone(),
                channel,
                state: Mutex::new(State {
                    tickets: HashMap::new(),
                    unknown: Vec::new(),
                    gone: Vec::new(),
                    next_report: now + EVERY,
                    next_look: now + EVERY,
                    pace: (0, 0),
                }),
                wake: Notify::new(),
                hears: AtomicBool::new(false),
            })
        });
        let changed = change(line);
        let line = Arc::clone(line);
        drop(lines);
        if is_new {
            self.0.hints.change();
            let store = Arc::downgrade(&self.0);
            tasks::spawn("queue", move || run(store.clone(), Arc::clone(&line)));
        }
        changed
    }

    /// Holds a request of somebody who waits. `told` is where it is and by when it has to ask again, if a script said so just now.
    pub fn hold_open(
        &self,
        pool: &PoolName,
        ticket: LeaseId,
        told: Option<(u64, Timestamp)>,
    ) -> HeldOpen {
        let asked = Instant::now();
        self.with_line(pool, |line| {
            let mut state = line.state();
            if state.pace == (0, 0) {
                // When a seat can come free by time alone this node does not know yet.
                state.next_look = asked;
                line.wake.notify_one();
            }
            let entry = state
                .tickets
                .entry(ticket)
                .or_insert_with(|| Arc::new(Ticket::new(ticket)));
            entry.open.fetch_add(1, Ordering::AcqRel);
            if let Some((position, until)) = told {
                entry.is_at(position, until, asked);
                entry.called.store(false, Ordering::Release);
            }
            let ticket = Arc::clone(entry);
            ticket.forget_unless_reported_after(asked.checked_sub(EVERY / 2));
            if !ticket.is_known() {
                state.unknown.push(Arc::clone(&ticket));
                line.wake.notify_one();
            }
            drop(state);
            HeldOpen {
                line: Arc::clone(line),
                ticket,
            }
        })
    }

    /// Room for a ticket that asks without waiting; none where so many do at once that they are better reported together.
    pub fn room_to_ask(&self) -> Option<SemaphorePermit<'_>> {
        self.0.lines.asks.try_acquire().ok()
    }

    /// Room for a ticket that was reported and has to ask, when it is its turn.
    pub async fn turn_to_ask(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.lines.asks.acquire().await.ok()
    }

    /// Notes that nobody is there to hear of a ticket; `until` is by when it was to ask again, none if it does not come back.
    pub fn hang_up(&self, pool: &PoolName, ticket: LeaseId, until: Option<Timestamp>) {
        // Of one that was never reported nothing is known: it is passed over when its time is over.
        if until == Some(Timestamp(0)) {
            return;
        }
        self.with_line(pool, |line| {
            let mut state = line.state();
            if state
                .tickets
                .get(&ticket)
                .is_some_and(|ticket| ticket.is_open())
            {
                // Another request with the same ticket is there.
                return;
            }
            state.tickets.remove(&ticket);
            state.gone.push((ticket, until.unwrap_or(Timestamp(0))));
            line.wake.notify_one();
        });
    }
}
