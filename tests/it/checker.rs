//! Holds the history of a pool against the rules of the contract, all of it, in O(n log n).
//!
//! Two views are compared: what clients heard, and the pool's own events. Neither is believed alone: a
//! script that counts wrongly also writes wrong events, but then answers, clocks and terms do not fit together. Every script
//! returns its number in the order of its bucket and the instant at which it ran (`trail = "on"`), so there is nothing to
//! search for: answers are replayed in that order.
//!
//! What it knows besides the plain rules: an outage gives those who lived at its start one more TTL ([`Grace`]), or where it was short
//! against the TTL at least the linger time, and those who wait a whole time to ask; a clock that went back stops nothing; what was
//! acknowledged while a master failed may be gone ([`History::lossy`]); a Redis that came back empty begins a new
//! [`Segment`], in which holders are rebuilt from their tokens and newcomers wait.
//!
//! A checker that finds nothing proves nothing: `seeded.rs` makes histories with mistakes in them, and `mistakes.rs` puts
//! mistakes into the scripts of a running Redis.

mod answers;
mod arrival;
mod blocks;
mod deletions;
pub(crate) mod idle;
mod lifetimes;
pub(crate) mod line;
mod mistakes;
mod order;
mod queue;
mod seeded;
mod service;
mod terms;

use std::sync::Arc;

use crate::harness::Event;

pub(crate) use self::lifetimes::Lifetimes;

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Acquire,
    Renew,
    Leave,
    Release,
    /// By its id, or by its holder.
    Terminate,
    /// Keeps a holder from acquiring, until `expires_at`.
    Block,
    Unblock,
    /// Of a whole pool.
    Delete,
}

/// What it heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A new lease.
    Granted,
    /// The lease that the key already has.
    Existing,
    /// A place in the queue.
    Queued,
    /// The place in the queue is lost.
    TicketExpired,
    /// Every seat is taken.
    Denied,
    /// An operator keeps the holder from acquiring.
    Blocked,
    Renewed,
    Resumed,
    /// Time ended it.
    Expired,
    /// It was released or terminated.
    Final,
    /// Left, released or terminated.
    Done,
    /// It may have run, or not.
    Unknown,
    /// It surely did not run.
    NotRun,
}

/// One operation, as a client saw it. Times in milliseconds since the epoch, by the client's clock.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) outcome: Outcome,
    pub(crate) sent: f64,
    pub(crate) received: f64,
    /// The lease; empty where none was named.
    pub(crate) id: Arc<str>,
    /// The idempotency key of an acquire; empty without one.
    pub(crate) key: Arc<str>,
    /// The ticket of somebody who waits; empty without one.
    pub(crate) ticket: Arc<str>,
    /// Who asked.
    pub(crate) holder: Arc<str>,
    /// Number and instant of the script, where one answered.
    pub(crate) ran: Option<(u64, i64)>,
    /// What was promised, ms; 0 for nothing.
    pub(crate) expires_at: i64,
    /// Of a grant.
    pub(crate) fence: u64,
}

impl Operation {
    /// When its script ran, by Redis's clock; only of those that have an answer.
    fn at(&self) -> i64 {
        self.ran.map_or(0, |(_, at)| at)
    }

    fn seq(&self) -> u64 {
        self.ran.map_or(0, |(seq, _)| seq)
    }
}

/// A silence of the store as its clock notes it: who lived at `floor` lives until `back` and one TTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grace {
    pub(crate) floor: i64,
    pub(crate) back: i64,
    pub(crate) gap: i64,
}

/// The shortest silence that counts as an outage, ms; `lua/prelude.lua`.
pub(crate) const OUTAGE: i64 = 3_000;

impl Grace {
    /// Until when a lease with this expiry lives because of it.
    fn extends(self, expiry: i64, ttl: i64, linger: i64) -> Option<i64> {
        let long = self.gap > ttl / 4;
        let until = self.back + if long { ttl } else { ttl.min(linger) };
        let counts = self.gap > OUTAGE;
        (counts && self.floor < expiry && expiry < until).then_some(until)
    }
}

/// One unbroken history of the data: all of it, unless Redis came back empty.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    /// When the bucket was opened, ms.
    pub(crate) generation: i64,
    /// Whether data was lost before it.
    pub(crate) after_loss: bool,
    /// The pool's history, oldest first.
    pub(crate) events: Vec<Event>,
    pub(crate) graces: Vec<Grace>,
}

/// All that is known of a pool in one run.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) capacity: usize,
    pub(crate) ttl: i64,
    pub(crate) linger: i64,
    pub(crate) resume_window: i64,
    /// Whether the pool has a queue: then a seat may be free, and promised.
    pub(crate) queue: bool,
    /// When the events were read, by Redis's clock.
    pub(crate) until: i64,
    /// Starts less ends of the last segment, and members of the sorted set.
    pub(crate) balance: (i64, i64),
    /// Ids of records whose lease was gone at the end.
    pub(crate) left_records: Vec<String>,
    /// In order.
    pub(crate) segments: Vec<Segment>,
    pub(crate) operations: Vec<Operation>,
    /// What clients heard in a pool that is deleted and created again all the time.
    pub(crate) remade: Vec<Operation>,
    /// When a master failed: what was acknowledged then may be gone. Milliseconds by the clients' clock.
    pub(crate) lossy: Vec<(f64, f64)>,
    /// When requests reached Redis twice, the second time a moment later. By the clients' clock.
    pub(crate) repeated: Vec<(f64, f64)>,
    /// When replies may have got lost on the way to a node, so that it asked again. By the clients' clock.
    pub(crate) sent_again: Vec<(f64, f64)>,
    /// When surely no script ran, because Redis or all nodes were away. By the clients' clock.
    pub(crate) silences: Vec<(f64, f64)>,
    /// When nothing was forbidden that a decision needs, only to tell of one. By the clients' clock.
    pub(crate) only_notices_fail: Vec<(f64, f64)>,
    /// When the address of Redis led to its new master. By the clients' clock.
    pub(crate) moved: Vec<f64>,
    /// By how much at least and at most the clock of Redis differs from that of clients, ms.
    pub(crate) skew: (i64, i64),
}

/// The clocks of one machine, read by two processes, ms.
const CLOCK_SLACK: f64 = 3.0;
/// How long after its end a lease may go unrecorded, ms.
const RECORDED: i64 = 2_500;

/// What the checker found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    /// Operations that were checked, and those of them that a script answered.
    pub(crate) operations: usize,
    pub(crate) answered: usize,
    /// What is wrong; empty if nothing is.
    pub(crate) violations: Vec<String>,
    /// Leases whose holder sent heartbeats in time and heard that they had ended. Only where data was lost this is no violation.
    pub(crate) lost: usize,
    /// Grants and renewals whose effect is not in the history any more, where a master failed.
    pub(crate) lost_writes: usize,
}

impl History {
    /// One in which nothing has happened yet.
    pub(crate) fn of(capacity: usize, ttl: i64) -> Self {
        Self {
            capacity,
            ttl,
            linger: ttl,
            resume_window: ttl,
            queue: false,
            until: 0,
            balance: (0, 0),
            left_records: Vec::new(),
            segments: Vec::new(),
            operations: Vec::new(),
            remade: Vec::new(),
            lossy: Vec::new(),
            repeated: Vec::new(),
            sent_again: Vec::new(),
            silences: Vec::new(),
            only_notices_fail: Vec::new(),
            moved: Vec::new(),
            skew: (0, 0),
        }
    }

    /// Whether what was acknowledged to this operation may have been lost.
    fn may_be_lost(&self, operation: &Operation) -> bool {
        self.lossy
            .iter()
            .any(|(from, until)| operation.received >= *from && operation.sent <= *until)
    }

    /// Whether this operation may have run a second time.
    fn may_repeat(&self, operation: &Operation) -> bool {
        self.repeated
            .iter()
            .any(|(from, until)| operation.received >= *from && operation.sent <= *until)
    }

    /// The instant of Redis from which on this operation may have run for the first time, if its answer may be that of a later
    /// run.
    fn may_have_run_since(&self, operation: &Operation) -> Option<i64> {
        self.sent_again
            .iter()
            .any(|(from, until)| operation.received >= *from && operation.sent <= *until)
            .then(|| (operation.sent - CLOCK_SLACK) as i64 + self.skew.0)
    }

    /// Whether data may have been lost after this instant.
    fn lossy_after(&self, at: i64) -> bool {
        self.lossy.iter().any(|(_, until)| at as f64 <= *until)
    }

    /// The number of the segment in which something ran.
    fn segment_of(&self, at: i64) -> usize {
        let later = self.segments[1..]
            .iter()
            .take_while(|segment| segment.generation <= at)
            .count();
        later.min(self.segments.len() - 1)
    }

    /// Holds it against all rules.
    pub(crate) fn check(&self) -> Verdict {
        let mut verdict = Verdict {
            operations: self.operations.len(),
            answered: self
                .operations
                .iter()
                .filter(|operation| operation.ran.is_some())
                .count(),
            ..Verdict::default()
        };
        order::check(self, &mut verdict);
        blocks::check(self, &mut verdict.violations);
        deletions::check(self, &mut verdict.violations);
        service::check(self, &mut verdict.violations);
        for (number, segment) in self.segments.iter().enumerate() {
            let operations: Vec<&Operation> = self
                .operations
                .iter()
                .filter(|operation| {
                    operation.ran.is_none() || self.segment_of(operation.at()) == number
                })
                .collect();
            let last = number + 1 == self.segments.len();
            let lifetimes = Lifetimes::read(self, segment, &mut verdict.violations);
            lifetimes.check_admission(self.capacity, &mut verdict.violations);
            terms::check(self, &lifetimes, &operations, last, &mut verdict);
            answers::check(self, &lifetimes, &operations, &mut verdict);
            arrival::check(self, &segment.graces, &operations, &mut verdict);
        }
        if self.balance.0 != self.balance.1 {
            verdict.violations.push(format!(
                "conservation: starts less ends are {}, leases {}",
                self.balance.0, self.balance.1
            ));
        }
        if !self.left_records.is_empty() {
            verdict.violations.push(format!(
                "conservation: records of leases that are gone: {:?}",
                self.left_records
            ));
        }
        verdict
    }
}
