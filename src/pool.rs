//! The pool and its policy. No HTTP, no Redis.
//!
//! The rules of a policy are decided by the scripts. Here they are checked, and written down as the scripts want
//! them: one short text for each rule that the pool has, so that a pool without rules pays for none.

mod grace;
mod hand_over;
mod idle;
mod named;
mod privacy;
mod proofs;
mod rules;
mod schedule;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::grace::OutageGrace;
pub use self::hand_over::HandOver;
pub use self::idle::{Idle, MAX_IDLE_MS, MaxHold, WhenHeld, WhenIdle};
pub use self::named::Named;
pub use self::privacy::{Kept, Privacy, Pseudonyms};
pub use self::proofs::Proofs;
pub use self::rules::{HolderMatch, Maintenance, Overdraft, Queue, SeatPer, TenantRule, WhenFull};
pub use self::schedule::Scheduled;
use crate::names::{Invalid, Platform, PoolName, Tenant};
use crate::time::Timestamp;

/// Names of pools that a demonstration has made up begin with this.
pub const DEMO: &str = "demo-";

/// What an operator decides about a pool. A field that is left out has its default; an unknown one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Seats in the pool, 0 to 10 000 000.
    #[schema(maximum = 10_000_000)]
    pub capacity: u32,
    /// How long a lease lives without a renew, 1 000 to 86 400 000 ms.
    #[serde(default = "defaults::ttl_ms")]
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    pub ttl_ms: u64,
    /// How long a lease lives after its holder left, 0 to 86 400 000 ms; never longer than the TTL.
    #[serde(default = "defaults::linger_ms")]
    #[schema(maximum = 86_400_000)]
    pub linger_ms: u64,
    /// How long after its expiry a lease can be resumed by a late renew, 0 to 86 400 000 ms.
    #[serde(default = "defaults::resume_window_ms")]
    #[schema(maximum = 86_400_000)]
    pub resume_window_ms: u64,
    /// For how long a holder that hears nothing may go on after the end of what it was promised, 0 to 2 678 400 000 ms; 0 is strict,
    /// null without limit. Left out it is the resume window. Every lease has it, and clients keep to it.
    #[serde(default, skip_serializing_if = "OutageGrace::is_default")]
    #[schema(value_type = Option<u64>, maximum = 2_678_400_000_u64)]
    pub outage_grace_ms: OutageGrace,
    /// What takes a seat: each lease, or each holder with all its leases. Can change only while the pool is empty.
    #[serde(default)]
    pub seat_per: SeatPer,
    /// When two spellings are one holder: in seats, named seats, blocks, lists and for an `Idempotency-Key`. Can change only
    /// while nobody has a seat or waits for one, no block is set, and no named seat of the period is taken.
    #[serde(default, skip_serializing_if = "HolderMatch::is_exact")]
    pub holder_match: HolderMatch,
    /// How a request is answered while the pool is full.
    #[serde(default)]
    pub when_full: WhenFull,
    /// How much of a holder's identity is kept.
    #[serde(default)]
    pub privacy: Privacy,
    /// Limits and reserves of tenants, at most 1 000.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "rules::recorded_tenants"
    )]
    #[schema(value_type = std::collections::HashMap<String, TenantRule>)]
    pub tenants: BTreeMap<Tenant, TenantRule>,
    /// Maximum seats of each tenant without a `max` of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_max: Option<u32>,
    /// Other capacities for a time, at most 100. Where two overlap, the one that began last counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 100)]
    pub schedule: Vec<Scheduled>,
    /// Seats beyond the capacity, on a daily budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdraft: Option<Overdraft>,
    /// Named seats, in addition to the capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<Named>,
    /// Lets those wait who ask for it while the pool is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// The only platforms that get a seat; all if it is left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "rules::recorded_platforms"
    )]
    #[schema(value_type = Option<Vec<String>>)]
    pub platforms: Option<Vec<Platform>>,
    /// While it is set nobody new gets a seat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Lets acquire and renew answer a signed proof of the lease, which others can verify without asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proofs: Option<Proofs>,
    /// When a seat is idle, by what its holder reports, and what happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// How long a lease may be held, and what happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hold: Option<MaxHold>,
    /// Whether those who wait may ask the holders for a seat; needs `queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOver>,
    /// Levels of use that operators want to hear of, in percent of the capacity, rising; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 10)]
    pub alert_at_percent: Vec<u16>,
}

/// The defaults of [`Policy`], each named like its field.
mod defaults {
    pub(super) const fn ttl_ms() -> u64 {
        60_000
    }
    pub(super) const fn linger_ms() -> u64 {
        10_000
    }
    pub(super) const fn resume_window_ms() -> u64 {
        600_000
    }
}

impl Policy {
    /// Maximum capacity of a pool.
    pub const MAX_CAPACITY: u32 = 10_000_000;
    /// One day, the longest TTL, linger and resume window, in milliseconds.
    pub const MAX_MS: u64 = 86_400_000;

    /// A pool of `capacity` seats with the default times.
    pub const fn with_capacity(capacity: u32) -> Self {
        Self {
            capacity,
            ttl_ms: defaults::ttl_ms(),
            linger_ms: defaults::linger_ms(),
            resume_window_ms: defaults::resume_window_ms(),
            outage_grace_ms: OutageGrace::ResumeWindow,
            seat_per: SeatPer::Lease,
            holder_match: HolderMatch::Exact,
            when_full: WhenFull::Deny,
            privacy: Privacy::Named,
            tenants: BTreeMap::new(),
            tenant_max: None,
            schedule: Vec::new(),
            overdraft: None,
            named: None,
            queue: None,
            platforms: None,
            maintenance: None,
            proofs: None,
            idle: None,
            max_hold: None,
            hand_over: None,
            alert_at_percent: Vec::new(),
        }
    }

    /// For how long a holder that hears nothing may go on, in ms; none is without limit.
    pub fn outage_limit_ms(&self) -> Option<u64> {
        self.outage_grace_ms.limit_ms(self.resume_window_ms)
    }

    /// Refuses values out of range, naming the field.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.capacity > Self::MAX_CAPACITY {
            return Err(Invalid(format!(
                "capacity is 0 to {} seats",
                Self::MAX_CAPACITY
            )));
        }
        if !(1_000..=Self::MAX_MS).contains(&self.ttl_ms) {
            return Err(Invalid(format!(
                "ttl_ms is 1000 to {} milliseconds",
                Self::MAX_MS
            )));
        }
        for (field, value) in [
            ("linger_ms", self.linger_ms),
            ("resume_window_ms", self.resume_window_ms),
        ] {
            if value > Self::MAX_MS {
                return Err(Invalid(format!(
                    "{field} is 0 to {} milliseconds",
                    Self::MAX_MS
                )));
            }
        }
        if matches!(self.outage_grace_ms, OutageGrace::Limited(ms) if ms > OutageGrace::MAX_MS) {
            return Err(Invalid(format!(
                "outage_grace_ms is 0 to {} milliseconds, or null for no limit",
                OutageGrace::MAX_MS
            )));
        }
        if let Some(proofs) = &self.proofs {
            proofs.check()?;
        }
        let levels = &self.alert_at_percent;
        let rising = levels.windows(2).all(|pair| pair[0] < pair[1]);
        if levels.len() > 10 || !rising || levels.iter().any(|level| !(1..=1_000).contains(level)) {
            return Err(Invalid(
                "alert_at_percent has at most 10 levels, rising, of 1 to 1000".into(),
            ));
        }
        self.check_idle()?;
        self.check_rules()
    }
}

/// How long those who were served lately had waited in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waited {
    /// Median of the wait, ms.
    pub p50_ms: u64,
    /// Nineteen of twenty.
    pub p95_ms: u64,
}

impl Waited {
    /// The bucket of one: as `lua/parts/queue.lua` counts.
    pub(crate) fn bucket(waited_ms: u64) -> i32 {
        let steps = (waited_ms.max(1) as f64 / 100.0).ln() / 1.5_f64.ln();
        (steps.ceil() as i32).clamp(0, 31)
    }

    /// From counts by bucket: each is half as long again as the one before, and the first goes up to 100 ms.
    pub(crate) fn of(counts: &BTreeMap<i32, u64>) -> Option<Self> {
        let all: u64 = counts.values().sum();
        let within = |part: f64| {
            let mut left = all as f64 * part;
            let bucket = counts.iter().find(|(_, count)| {
                left -= **count as f64;
                left <= 0.0
            });
            bucket.map(|(bucket, _)| (100.0 * 1.5_f64.powi(*bucket)).round() as u64)
        };
        (all > 0).then_some(())?;
        Some(Self {
            p50_ms: within(0.5)?,
            p95_ms: within(0.95)?,
        })
    }
}

/// A pool as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Its policy.
    pub policy: Policy,
    /// Grows with every change; the ETag.
    pub version: u64,
    /// Seats in use, named ones left out.
    pub in_use: u64,
    /// Seats at this instant: the base, or those of the schedule.
    pub capacity: u64,
    /// Live leases of all kinds.
    pub leases: u64,
    /// Tickets in the queue.
    pub waiting: u64,
    /// How long those who were served lately had waited; none if nobody was.
    pub waited: Option<Waited>,
    /// Seats in use by tenant, in a pool whose rules count them.
    pub tenants: BTreeMap<String, u64>,
    /// Seats in use that were granted on the overdraft.
    pub overdrawn: u64,
    /// Seats in use that are idle by the last report, in a pool whose policy has `idle`.
    pub idle: u64,
    /// What was lent since midnight UTC, in seat-milliseconds.
    pub lent_ms: u64,
    /// Named seats that are taken in this billing period.
    pub named_taken: u64,
    /// The billing period: its start and its end.
    pub period: Option<(Timestamp, Timestamp)>,
    /// The next change of capacity by the schedule, and the seats from then on.
    pub next_change: Option<(Timestamp, u64)>,
    /// When this was read.
    pub at: Timestamp,
}

/// So many seats, for people.
pub fn seats(count: u64) -> String {
    match count {
        1 => "1 seat".to_owned(),
        _ => format!("{count} seats"),
    }
}

impl Pool {
    /// A pool at the instant at which it was deleted: that ends all leases, and nobody waits any more.
    pub fn emptied(name: PoolName, policy: Policy, version: u64, at: Timestamp) -> Self {
        Self {
            capacity: policy.capacity_at(at).into(),
            period: policy.named.as_ref().map(|named| named.period(at)),
            name,
            policy,
            version,
            in_use: 0,
            leases: 0,
            waiting: 0,
            waited: None,
            tenants: BTreeMap::new(),
            overdrawn: 0,
            idle: 0,
            lent_ms: 0,
            named_taken: 0,
            next_change: None,
            at,
        }
    }

    /// Seats that the next acquire could get, tenants and queue left aside.
    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.in_use)
    }

    /// Seats in use beyond what may be, which only a lowered capacity brings about: no script grants or rebuilds one too
    /// many.
    pub fn overcommit(&self) -> u64 {
        self.in_use.saturating_sub(self.capacity + self.overdrawn)
    }

    /// The highest of the levels in `alert_at_percent` that the use has reached.
    pub fn alert_level(&self) -> Option<u16> {
        let reached = |level: &&u16| u64::from(**level) * self.capacity <= 100 * self.in_use;
        let levels = self.policy.alert_at_percent.iter();
        levels.rev().find(reached).copied()
    }

    /// Named seats that are left in this period.
    pub fn named_left(&self) -> Option<u64> {
        let named = self.policy.named.as_ref()?;
        Some(u64::from(named.seats).saturating_sub(self.named_taken))
    }
}
