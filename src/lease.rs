//! The lease. No HTTP, no Redis.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{Activities, Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::time::Timestamp;

/// Shortest time between two heartbeats that a lease asks for which can end soon.
const SHORTEST_RENEW: Duration = Duration::from_millis(100);

/// What kind of seat a lease occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seat {
    /// One of the pool's `capacity`.
    #[default]
    Concurrent,
    /// One that its holder has for the billing period, in addition to the capacity.
    Named,
    /// One beyond the capacity, lent against the daily budget.
    Overdraft,
}

impl Seat {
    /// The kind that a letter of the scripts stands for.
    pub(crate) fn from_letter(letter: &str) -> Self {
        match letter {
            "n" => Self::Named,
            "o" => Self::Overdraft,
            _ => Self::Concurrent,
        }
    }
}

/// A seat given to a holder until an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Names the lease.
    pub id: LeaseId,
    /// The pool whose seat it is.
    pub pool: PoolName,
    /// The holder; `None` is anonymous.
    pub holder: Option<Holder>,
    /// The sub-account it belongs to.
    pub tenant: Option<Tenant>,
    /// What operators read next to the holder.
    pub label: Option<Label>,
    /// What the holder is working on.
    pub activities: Activities,
    /// What the holder runs on.
    pub platform: Option<Platform>,
    /// The kind of seat.
    pub seat: Seat,
    /// Grows with every grant in the pool, so that a resource can refuse older holders.
    pub fence: u64,
    /// When the seat was granted.
    pub started_at: Timestamp,
    /// When it was last acquired, renewed or resumed.
    pub renewed_at: Timestamp,
    /// When the seat goes back to the pool unless a renew comes first.
    pub expires_at: Timestamp,
    /// Time from the decision to `expires_at`.
    pub expires_in: Duration,
    /// The pool's TTL when this was decided.
    pub ttl: Duration,
    /// When its user was last active, as far as its holder reports that; kept only in a pool with a policy for idle seats.
    pub active_at: Option<Timestamp>,
    /// When a policy can end it, if that is soon.
    pub ends: Option<Ends>,
    /// That somebody who waits asks for a seat.
    pub seat_requested: Option<SeatRequested>,
}

/// That seats are asked for by some who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatRequested {
    /// How many ask.
    pub requests: u64,
    /// For how long the last of them does.
    pub within: Duration,
}

/// Why a lease made room for another by the pool's policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eviction {
    /// A newer lease of the same holder took its place.
    #[default]
    NewerLease,
    /// Nobody used it.
    Idle,
    /// It was held for too long.
    MaxHold,
    /// Its holder gave the seat to somebody who asked for one.
    HandedOver,
}

impl Eviction {
    /// What a script says of it; a lease of which nothing more is known had to make room for a newer one.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "idle" => Self::Idle,
            "max_hold" => Self::MaxHold,
            "handed_over" => Self::HandedOver,
            _ => Self::NewerLease,
        }
    }

    /// The reason that its holder reads; none for a newer lease, whose code says it all.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::NewerLease => None,
            Self::Idle => Some("idle"),
            Self::MaxHold => Some("max_hold"),
            Self::HandedOver => Some("handed_over"),
        }
    }
}

/// How a policy ends a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndsBy {
    /// Its seat is given to somebody who would be denied or have to wait.
    Yield,
    /// It ends with a heartbeat.
    End,
}

/// That a policy can end a lease soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The time until then, unless its user is active before; zero once it can end at any instant.
    pub within: Duration,
    /// The policy.
    pub reason: Eviction,
    /// What happens then.
    pub then: EndsBy,
}

impl Lease {
    /// For how long its user had done nothing at its last heartbeat, as far as that is known; 0 for whoever is active.
    pub(crate) fn unused_ms(&self) -> u64 {
        self.active_at
            .map_or(0, |active_at| self.renewed_at.since(active_at))
    }

    /// When the holder should beat next: a third of what is left, so that two lost beats do not cost the seat, nor the last word before
    /// a policy takes it.
    pub fn renew_after(&self) -> Duration {
        let usual = self.ttl.min(self.expires_in) / 3;
        match self.ends {
            Some(ends) if !ends.within.is_zero() => usual.min(SHORTEST_RENEW.max(ends.within / 3)),
            _ => usual,
        }
    }
}

/// Why a lease ended. Every lease ends exactly once, with one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// Time ended it.
    Expired,
    /// The holder gave the seat back.
    Released,
    /// An operator ended it.
    Terminated {
        /// What the operator wants the holder to read.
        reason: Option<String>,
        /// Until when the holder may not acquire in this pool.
        blocked_until: Option<Timestamp>,
    },
    /// A policy of the pool ended it.
    Evicted(Eviction),
}
