//! Acquire: asks for a seat in a pool without rules. Where a pool has some, `acquire_by_rules.rs` goes on.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::error::Error;
use super::leave_queue::Turn;
use super::policy_snapshot::PolicySnapshot;
use super::renew::active_at;
use super::scripts::acquire::Status;
use super::seats::{SeatOutcome, SeatRequest};
use super::{Store, script_trace};
use crate::lease::{Lease, Seat};
use crate::names::{Activities, Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::time::Timestamp;

/// Whether who asks waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Wait {
    /// No: it is denied if there is no seat.
    #[default]
    No,
    /// It gets a place in the queue if there is no seat, and the pool has one.
    Queue,
    /// It has a place already.
    Ticket(LeaseId),
}

/// What a holder asks for.
#[derive(Debug, Clone, Default)]
pub struct AcquireRequest {
    /// The holder; none is anonymous.
    pub holder: Option<Holder>,
    /// The sub-account it belongs to.
    pub tenant: Option<Tenant>,
    /// Whether the caller is for this tenant alone: a ticket of another one is not its, and its place is one among those of the tenant.
    pub is_of_one_tenant: bool,
    /// What operators read next to the holder.
    pub label: Option<Label>,
    /// What the holder is working on.
    pub activities: Activities,
    /// What the holder runs on.
    pub platform: Option<Platform>,
    /// For how long its user has done nothing, as far as the holder says so.
    pub idle: Option<Duration>,
    /// Names this request, so that repeating it yields the same lease; from [`crate::token::fingerprint`].
    pub key: Option<LeaseId>,
    /// Whether to queue if there is no seat, or the place in the queue.
    pub wait: Wait,
    /// What the caller knew of the pool's rules when it made this; from [`Store::policy_snapshot`].
    pub snapshot: PolicySnapshot,
}

/// A seat, and how full the pool is with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The lease.
    pub lease: Lease,
    /// When this was decided.
    pub at: Timestamp,
    /// Generation of the bucket, for the token.
    pub generation: u64,
    /// Live leases of the pool, this one included.
    pub in_use: u64,
    /// Seats of the pool.
    pub capacity: u64,
    /// Named seats that are left in this period, in a pool that has them.
    pub named_left: Option<u64>,
    /// Of a grant to somebody who waited, its turn; none where that was granted before.
    pub turn: Option<Box<Turn>>,
}

/// How full a pool is that denied, and when it is worth asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// Seats in use.
    pub in_use: u64,
    /// Seats.
    pub capacity: u64,
    /// Time until the answer can be another.
    pub retry_after: Duration,
}

/// What asking for a seat yields. A full pool is an answer, not a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// A new lease.
    Granted(Grant),
    /// The lease that this request already has.
    Existing(Grant),
    /// Every seat is taken, or promised to somebody who waits.
    PoolFull(Denial),
    /// The tenant uses all that it may; the rule is `max`, `tenant_max` or `reserved`.
    TenantFull(Denial, String),
    /// All named seats of the period are taken.
    NamedSeatsExhausted(Denial),
    /// The queue is full.
    QueueFull(Denial),
    /// An operator has blocked this holder, until then, and perhaps said why.
    HolderBlocked(Denial, Timestamp, Option<String>),
    /// The pool has no licence for the platform, only for these.
    PlatformNotLicensed(String),
    /// An operator has closed the pool to newcomers, with this message.
    Maintenance(Denial, String),
    /// A place in the queue.
    Queued {
        /// Ask again with it.
        ticket: LeaseId,
        /// 1 is the next.
        position: u64,
        /// The same among those of its tenant, where the caller is for it alone.
        in_tenant: u64,
        /// When to ask again.
        retry_after: Duration,
        /// About when there will be a seat.
        eta: Duration,
        /// Until when it has to ask again to keep its place.
        asks_again_by: Timestamp,
    },
    /// The ticket was not shown in time, or has been used.
    TicketExpired,
    /// The ticket is of another tenant than the caller.
    ForeignTicket,
    /// The rules have changed since the caller read them: make the request anew.
    Changed,
    /// Data was lost, and those who had a seat come first.
    Recovering {
        /// Until newcomers are served.
        retry_after: Duration,
    },
    /// There is no such pool.
    NoPool,
}

impl Store {
    /// Asks for a seat.
    pub async fn acquire(
        &self,
        pool: &PoolName,
        asked: &AcquireRequest,
    ) -> Result<Acquired, Error> {
        super::within_deadline(async {
            // A ticket is nobody's request of its own: where there is no queue any more, it has no place.
            if asked.snapshot.has_rules() || matches!(asked.wait, Wait::Ticket(_)) {
                return self.acquire_by_rules(pool, asked).boxed().await;
            }
            self.ask(pool, asked).await
        })
        .await
    }

    /// Asks for a seat in a pool that has no rules, as far as this node knows. None if nothing was decided, because that is not
    /// so any more or there is no pool.
    ///
    /// Whoever drops this before it has the answer gives the seat back, unless the request has a key.
    pub async fn acquire_at_once(
        &self,
        pool: &PoolName,
        asked: &AcquireRequest,
    ) -> Result<Option<Acquired>, Error> {
        let decided = self.ask_once(pool, asked, LeaseId::random());
        Ok(super::within_deadline(decided).await?.ok())
    }

    /// What becomes of the request, or why nothing does.
    async fn ask_once(
        &self,
        pool: &PoolName,
        asked: &AcquireRequest,
        id: LeaseId,
    ) -> Result<Result<Acquired, Status>, Error> {
        let request = SeatRequest::acquire(pool, asked, id);
        let answer = self.ask_for_seat(request).await?;
        script_trace::note(answer.step);
        match answer.outcome {
            SeatOutcome::Granted(given) => {
                Ok(Ok(Acquired::Granted(Grant::new(pool, asked, &given))))
            }
            SeatOutcome::Decided(acquired) => Ok(Ok(*acquired)),
            SeatOutcome::Undecided(why) => Ok(Err(why)),
            SeatOutcome::Freed => Err(Error::Broken("an acquire was taken for a release".into())),
        }
    }

    async fn ask(&self, pool: &PoolName, asked: &AcquireRequest) -> Result<Acquired, Error> {
        // The id stays the same if the request has to be sent again.
        let id = LeaseId::random();
        let mut restored = false;
        loop {
            return Ok(match self.ask_once(pool, asked, id).await? {
                Ok(acquired) => acquired,
                Err(Status::Changed) => {
                    self.status(pool).boxed().await?;
                    Acquired::Changed
                }
                Err(Status::Rules) => {
                    self.status(pool).boxed().await?;
                    // While the index for rules to come is made, leases are started by the script that keeps it in step.
                    let known = self.0.pool_cache.pool(pool);
                    if known.is_none_or(|pool| pool.policy.has_rules()) {
                        Acquired::Changed
                    } else {
                        return Box::pin(self.acquire_by_rules(pool, asked)).await;
                    }
                }
                Err(Status::NoPool | Status::Recovering)
                    if !restored && self.restore(pool).boxed().await? =>
                {
                    restored = true;
                    continue;
                }
                Err(Status::Recovering) => Acquired::Recovering {
                    retry_after: Duration::from_secs(1),
                },
                Err(Status::NoPool | Status::Done) => Acquired::NoPool,
            });
        }
    }
}

/// What a script says of a seat that it has just given to somebody.
#[derive(Clone, Copy)]
pub(super) struct Given {
    pub(super) id: LeaseId,
    pub(super) seat: Seat,
    pub(super) at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) ttl: Duration,
    pub(super) fence: u64,
    pub(super) generation: u64,
    pub(super) in_use: u64,
    pub(super) capacity: u64,
}

impl Given {
    /// When the seat was granted.
    pub(super) fn started_at(&self) -> Timestamp {
        self.expires_at - self.ttl
    }
}

impl Grant {
    /// A seat for who asked for it just now.
    pub(super) fn new(pool: &PoolName, asked: &AcquireRequest, given: &Given) -> Self {
        let started_at = given.started_at();
        Self {
            lease: Lease {
                id: given.id,
                pool: pool.clone(),
                holder: asked.holder.clone(),
                tenant: asked.tenant.clone(),
                label: asked.label.clone(),
                activities: asked.activities.clone(),
                platform: asked.platform.clone(),
                seat: given.seat,
                fence: given.fence,
                started_at,
                renewed_at: started_at,
                expires_at: given.expires_at,
                expires_in: Duration::from_millis(given.expires_at.since(given.at)),
                ttl: given.ttl,
                active_at: active_at(started_at, asked.idle, &asked.activities),
                ends: None,
                seat_requested: None,
            },
            at: given.at,
            generation: given.generation,
            in_use: given.in_use,
            capacity: given.capacity,
            named_left: None,
            turn: None,
        }
    }
}

impl Acquired {
    /// A denial by a block, which is over when it is worth asking again.
    pub(super) fn blocked(denial: Denial, now: Timestamp, reason: Option<String>) -> Self {
        let until = now + denial.retry_after;
        Self::HolderBlocked(denial, until, reason)
    }
}
