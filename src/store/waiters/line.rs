//! Those who wait for one pool at this node: their tickets, and what has to be reported of them, and when.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::names::{LeaseId, PoolName};
use crate::store::poll_queue::PolledQueue;
use crate::time::Timestamp;

/// Waiters that one call reports; about a millisecond of Redis's time.
const AT_ONCE: usize = 500;

/// Those who are gone, in one call: each of them is taken out of all indexes, and has an event.
const GONE_AT_ONCE: usize = 100;

/// How often all of a pool are reported. Whoever is called is given this time to ask, and a little more (`lua/parts/queue.lua`).
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// So few are reported with every call, also with one that is made for another reason.
pub(super) const FEW: usize = 64;

/// How long a ticket is remembered between two requests: as long as its place is kept.
pub(super) const REMEMBERED: Duration = Duration::from_secs(6);

/// Those of one pool.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) pool: PoolName,
    pub(super) channel: Arc<str>,
    pub(super) state: Mutex<State>,
    /// There is something to report, or to look at.
    pub(super) wake: Notify,
    /// Whether messages come.
    pub(super) hears: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) tickets: HashMap<LeaseId, Arc<Ticket>>,
    /// Those who came with a ticket of which this node knows nothing yet.
    pub(super) unknown: Vec<Arc<Ticket>>,
    /// Tickets whose client is gone, each with the deadline of its next request; zero if it does not come back.
    pub(super) gone: Vec<(LeaseId, Timestamp)>,
    /// When all are reported.
    pub(super) next_report: Instant,
    /// When Redis is asked at the latest, because a seat may come free by time.
    pub(super) next_look: Instant,
    /// The mean time in which a seat comes free, microseconds, and how many are free.
    pub(super) pace: (u64, i64),
}

/// A ticket, as this node knows it.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) id: LeaseId,
    /// Requests that are held open for it.
    pub(super) open: AtomicU64,
    /// It has to ask.
    pub(super) called: AtomicBool,
    /// Where it is; 0 if that is not known.
    pub(super) position: AtomicU64,
    /// By when it has to be reported again, by Redis's clock.
    pub(super) until: AtomicI64,
    pub(super) told: Notify,
    /// When it was reported or asked, and when its last request ended.
    pub(super) times: Mutex<(Option<Instant>, Instant)>,
}

impl Ticket {
    pub(super) fn new(id: LeaseId) -> Self {
        Self {
            id,
            open: AtomicU64::new(0),
            called: AtomicBool::new(false),
            position: AtomicU64::new(0),
            until: AtomicI64::new(0),
            told: Notify::new(),
            times: Mutex::new((None, Instant::now())),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Whether somebody is there for it who has not to ask yet.
    pub(super) fn waits(&self) -> bool {
        self.is_open() && !self.called.load(Ordering::Acquire)
    }

    pub(super) fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    pub(super) fn times(&self) -> MutexGuard<'_, (Option<Instant>, Instant)> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_at(&self, position: u64, until: Timestamp, reported: Instant) {
        self.position.store(position, Ordering::Release);
        self.until.store(until.0, Ordering::Release);
        self.times().0 = Some(reported);
    }

    /// What was reported while another request was held open may be of long ago, and a request that is short may never be there
    /// when all are reported.
    pub(super) fn forget_unless_reported_after(&self, instant: Option<Instant>) {
        let mut times = self.times();
        times.0 = times.0.filter(|reported| Some(*reported) > instant);
    }

    pub(super) fn is_known(&self) -> bool {
        self.times().0.is_some()
    }
}

/// What is reported with one call.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) gone: Vec<(LeaseId, Timestamp)>,
    /// Those who are reported for the first time, then the others in their order.
    pub(super) tickets: Vec<Arc<Ticket>>,
    pub(super) back: usize,
}

impl Line {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message: names of tickets that are called. Any other word, or none, is a reason to look.
    pub(super) fn hear(&self, message: &str) {
        let mut looks = message.is_empty();
        {
            let state = self.state();
            for word in message.split_ascii_whitespace() {
                match word.parse::<LeaseId>() {
                    Ok(id) => {
                        if let Some(ticket) = state.tickets.get(&id) {
                            ticket.call();
                        }
                    }
                    Err(_) => looks = true,
                }
            }
        }
        if looks {
            self.look(Duration::ZERO);
        }
    }

    /// Asks Redis soon, whoever there is to report.
    pub(super) fn look(&self, within: Duration) {
        let mut state = self.state();
        state.next_look = state.next_look.min(Instant::now() + within);
        drop(state);
        self.wake.notify_one();
    }

    /// What has to be reported now; nothing if it is not time yet. All who wait are gone through only when all are reported.
    pub(super) fn due(&self, now: Instant) -> Vec<Report> {
        let mut state = self.state();
        let looks = now >= state.next_report.min(state.next_look);
        let all = now >= state.next_report || (looks && state.tickets.len() <= FEW);
        let gone = std::mem::take(&mut state.gone);
        let mut back = std::mem::take(&mut state.unknown);
        let mut known = Vec::new();
        if all {
            state.next_report = now + EVERY;
            state.tickets.retain(|_, ticket| {
                ticket.is_open() || now.duration_since(ticket.times().1) < REMEMBERED
            });
            let waiting = state.tickets.values().filter(|ticket| ticket.waits());
            (known, back) = waiting
                .map(Arc::clone)
                .partition(|ticket| ticket.is_known());
        } else {
            back.retain(|ticket| ticket.waits() && !ticket.is_known());
        }
        if looks {
            state.next_look = now + EVERY;
        }
        drop(state);
        known.sort_by_cached_key(|ticket| ticket.position.load(Ordering::Acquire));
        let mut reports: Vec<Report> = Vec::new();
        for gone in gone.chunks(GONE_AT_ONCE) {
            reports.push(Report {
                gone: gone.to_vec(),
                ..Report::default()
            });
        }
        for tickets in back.chunks(AT_ONCE) {
            reports.push(Report {
                back: tickets.len(),
                tickets: tickets.to_vec(),
                ..Report::default()
            });
        }
        for tickets in known.chunks(AT_ONCE) {
            reports.push(Report {
                tickets: tickets.to_vec(),
                ..Report::default()
            });
        }
        if reports.is_empty() && looks {
            reports.push(Report::default());
        }
        // A few of each kind go together.
        reports.into_iter().fold(Vec::new(), |mut joined, next| {
            match joined.last_mut() {
                Some(last)
                    if last.gone.len() + last.tickets.len() + next.tickets.len() <= AT_ONCE
                        && next.gone.is_empty() =>
                {
                    last.back += next.back;
                    last.tickets.extend(next.tickets);
                }
                _ => joined.push(next),
            }
            joined
        })
    }

    /// Notes what a script said of those who were reported.
    pub(super) fn note(&self, report: &Report, polled: &PolledQueue, asked: Instant) {
        for (ticket, position) in report.tickets.iter().zip(&polled.positions) {
            match position {
                Some(position) => {
                    let was_known = ticket.is_known();
                    ticket.is_at(*position, polled.deadline, asked);
                    if !was_known {
                        ticket.told.notify_waiters();
                    }
                }
                None => ticket.call(),
            }
        }
        let mut state = self.state();
        state.pace = (polled.each_us, polled.free);
        state.next_look = state.next_look.min(asked + polled.next);
    }

    /// Whether nobody is left to be reported or remembered.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.tickets.is_empty() && state.gone.is_empty()
    }
}
