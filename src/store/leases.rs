//! Leases: acquire, renew, release, leave, terminate and list.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::error::{Error, Outcome};
use super::keys::{Bucket, IndexedBy, Keys};
use super::meters::EndKind;
use super::queue::Turn;
use super::record::{LiveLease, Ttls};
use super::renewals::{Heartbeat, RenewOutcome, record_margin};
use super::rules::{PolicySnapshot, Wait};
use super::script::{ACQUIRE, LEASE, LEAVE, RELEASE, RESUME, Reply, TERMINATE};
use super::{Store, json};
use crate::lease::{EndReason, Lease, Seat};
use crate::names::{Activities, Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::pool::Policy;
use crate::telemetry;
use crate::time::Timestamp;
use crate::token::{self, Claims};

/// What a holder asks for.
#[derive(Debug, Clone, Default)]
pub struct AcquireRequest {
    /// Who asks; none is anonymous.
    pub holder: Option<Holder>,
    /// The sub-account it belongs to.
    pub tenant: Option<Tenant>,
    /// What operators read next to the holder.
    pub label: Option<Label>,
    /// What the holder is working on.
    pub activities: Activities,
    /// What the holder runs on.
    pub platform: Option<Platform>,
    /// Names this request, so that repeating it yields the same lease; from [`token::fingerprint`].
    pub key: Option<LeaseId>,
    /// Whether to queue if there is no seat, or the place in the queue.
    pub wait: Wait,
    /// What the caller knew of the pool's rules when it made this; from [`Store::known`].
    pub known: PolicySnapshot,
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
    /// As many wait as may.
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
        /// When to ask again.
        retry_after: Duration,
        /// About when there will be a seat.
        eta: Duration,
        /// Until when it has to ask again to keep its place.
        asks_again_by: Timestamp,
    },
    /// The ticket was not shown in time, or has been used.
    TicketExpired,
    /// The rules are others than those that the caller knew: make the request anew.
    Changed,
    /// Data was lost, and those who had a seat come first.
    Recovering {
        /// Until newcomers are served.
        retry_after: Duration,
    },
    /// There is no such pool.
    NoPool,
}

/// What a heartbeat asks for.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The verified token.
    pub claims: Claims,
    /// A new label.
    pub label: Option<Label>,
    /// New activities.
    pub activities: Option<Activities>,
}

/// What a heartbeat yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewed {
    /// The lease was live, and lives longer now.
    Renewed(Lease),
    /// It had ended by time, or its data was lost; it has its seat again.
    Resumed {
        /// The lease.
        lease: Lease,
        /// Generation of the bucket, for a new token.
        generation: u64,
    },
    /// It has ended for good.
    Lost(EndReason),
    /// Data was lost, and its pool was not put back yet.
    Recovering,
    /// There is no such pool any more.
    NoPool,
}

/// Why leases are terminated, and what follows for their holders.
#[derive(Debug, Clone, Default)]
pub struct Termination {
    /// What the holders read in their next renew.
    pub reason: Option<String>,
    /// How long the holders may not acquire; zero for not at all.
    pub block: Duration,
    /// This holder is blocked even if it has no lease.
    pub holder: Option<Holder>,
    /// Who does it, for people who look at blocks.
    pub by: String,
}

impl Termination {
    /// A termination without a block.
    pub fn because(reason: &str) -> Self {
        Self {
            reason: Some(reason.to_owned()),
            ..Self::default()
        }
    }
}

/// What became of a lease that was to be terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminated {
    /// It was live.
    Terminated,
    /// It was not; it cannot be resumed either.
    Ended,
}

/// Most ids of one terminate call.
const TERMINATE_AT_ONCE: usize = 100;

/// A text or nothing, as scripts want it.
pub(super) fn or_empty<'a, T>(value: Option<&'a T>, text: impl Fn(&'a T) -> &'a str) -> &'a str {
    value.map_or("", text)
}

pub(super) fn activities_json(activities: &Activities) -> String {
    if activities.is_empty() {
        String::new()
    } else {
        json(activities)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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
            if asked.known.has_rules() || matches!(asked.wait, Wait::Ticket(_)) {
                return self.acquire_by_rules(pool, asked).await;
            }
            self.ask(pool, asked).await
        })
        .await
    }

    async fn ask(&self, pool: &PoolName, asked: &AcquireRequest) -> Result<Acquired, Error> {
        // The id stays the same if the call has to be sent again.
        let id = LeaseId::random();
        let mut restored = false;
        loop {
            let reply = self
                .run(Bucket::of(pool), &acquire_call(pool, asked, id))
                .await?;
            return Ok(match reply.status() {
                "granted" => Acquired::Granted(granted(pool, asked, &reply)?),
                "existing" => match self.granted_lease(pool, reply.parse(3)?).await? {
                    Some(grant) => Acquired::Existing(grant),
                    // It ended in between; the next call finds that.
                    None => continue,
                },
                "pool_full" => Acquired::PoolFull(denial(&reply)?),
                "holder_blocked" => blocked(&reply)?,
                "rules" => {
                    self.status(pool).boxed().await?;
                    // While the index for rules to come is made, leases are started by the script that keeps it in step.
                    let known = self.0.memory.policy(pool);
                    if known.is_none_or(|(_, policy)| policy.has_rules()) {
                        Acquired::Changed
                    } else {
                        return Box::pin(self.acquire_by_rules(pool, asked)).await;
                    }
                }
                // Only a pool that is not there has no TTL.
                "no_pool" | "recovering"
                    if !restored && reply.count(5)? == 0 && self.restore(pool).await? =>
                {
                    restored = true;
                    continue;
                }
                "recovering" => Acquired::Recovering {
                    retry_after: denial(&reply)?.retry_after,
                },
                "no_pool" => Acquired::NoPool,
                _ => return Err(reply.unexpected(0)),
            });
        }
    }

    /// A live lease and its pool; `None` if it is not live.
    pub async fn granted_lease(
        &self,
        pool: &PoolName,
        id: LeaseId,
    ) -> Result<Option<Grant>, Error> {
        let keys = Keys::of(pool);
        let call = LEASE
            .call(5)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.records())
            .arg(keys.seats())
            .arg(id.to_string());
        let reply = self.run(keys.bucket, &call).await?;
        match reply.status() {
            "ended" | "no_pool" => Ok(None),
            "read" => {
                let found = LiveLease {
                    id,
                    score: reply.int(3)?,
                    expires_at: reply.instant(4)?,
                    read_at: reply.now()?,
                    ttls: Ttls {
                        now: reply.int(5)?,
                        before: reply.int(6)?,
                        changed: reply.int(7)?,
                    },
                };
                Ok(Some(Grant {
                    lease: found.lease(pool, reply.text(11)?),
                    at: found.read_at,
                    generation: reply.count(8)?,
                    in_use: reply.count(9)?,
                    capacity: reply.count(10)?,
                    named_left: None,
                    turn: None,
                }))
            }
            _ => Err(reply.unexpected(0)),
        }
    }

    /// Puts back a pool that this node remembers and Redis does not know. `false` if there is nothing to put back.
    pub(super) async fn restore(&self, pool: &PoolName) -> Result<bool, Error> {
        let policies = self.0.memory.policies(Bucket::of(pool));
        let Some(remembered) = policies.get(pool) else {
            return Ok(false);
        };
        // Only after a loss: a pool that was deleted on another node must not come back.
        if !self.lost_since(Bucket::of(pool), remembered.version) {
            return Ok(false);
        }
        self.put_back(pool, remembered).await
    }

    /// Whether the bucket was opened again after a policy was made: versions are instants too.
    fn lost_since(&self, bucket: Bucket, version: u64) -> bool {
        version < self.0.memory.generation(bucket)
    }

    /// Extends a lease, or resumes it if it has ended by time.
    pub async fn renew(&self, renewal: &Renewal) -> Result<Renewed, Error> {
        super::within_deadline(async {
            let bucket = Bucket::of(&renewal.claims.pool);
            let beaten = self.0.lanes.beat(bucket, self.beat(renewal)).await?;
            self.conclude(renewal, beaten).await
        })
        .await
    }

    /// Renews many leases; the answers are in the same order.
    pub async fn renew_many(&self, renewals: &[Renewal]) -> Vec<Result<Renewed, Error>> {
        let mut order: Vec<usize> = (0..renewals.len()).collect();
        order.sort_by_cached_key(|at| {
            let pool = &renewals[*at].claims.pool;
            (Bucket::of(pool), pool.as_str())
        });
        let beats: Vec<Heartbeat> = order.iter().map(|at| self.beat(&renewals[*at])).collect();
        let beaten = self.renew_sorted(&beats).await;
        let mut results: Vec<Option<Result<Renewed, Error>>> = vec![None; renewals.len()];
        for (at, beaten) in order.into_iter().zip(beaten) {
            results[at] = Some(match beaten {
                Ok(beaten) => self.conclude(&renewals[at], beaten).await,
                Err(error) => Err(error),
            });
        }
        let results = results
            .into_iter()
            .map(|result| result.expect("every renewal has its place"));
        parts_of_one(results.collect())
    }

    fn beat(&self, renewal: &Renewal) -> Heartbeat {
        let claims = &renewal.claims;
        let ttl = self.0.memory.ttl(&claims.pool);
        Heartbeat::of(
            claims,
            renewal.label.clone(),
            renewal.activities.clone(),
            ttl,
            self.now(),
        )
    }

    /// Makes an answer of what became of a beat; asks again where the common case did not decide.
    async fn conclude(&self, renewal: &Renewal, beaten: RenewOutcome) -> Result<Renewed, Error> {
        let RenewOutcome::Renewed {
            at,
            seq,
            ttl,
            details,
        } = beaten
        else {
            // Rare, and its future is large: inside this one it would be moved about with every beat.
            return self.resume(renewal).boxed().await;
        };
        super::script_trace::note_renewal(seq, at);
        let claims = &renewal.claims;
        let (label, activities) = details.unwrap_or_default();
        let label = label
            .and_then(|label| Label::recorded(label).ok())
            .or_else(|| claims.label.clone());
        let activities = activities
            .as_deref()
            .map(parse_activities)
            .unwrap_or_default();
        let expires_at = Timestamp(at.0 + ttl.as_millis() as i64);
        Ok(Renewed::Renewed(from_claims(
            claims, label, activities, at, expires_at, ttl,
        )))
    }

    /// Decides on a beat of a lease that is not live.
    async fn resume(&self, renewal: &Renewal) -> Result<Renewed, Error> {
        let claims = &renewal.claims;
        let label = renewal.label.as_ref().or(claims.label.as_ref());
        let keys = Keys::of(&claims.pool);
        let call = RESUME
            .call(22)
            .arg(keys.bucket.clock())
            .arg(keys.bucket.due())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.expired())
            .arg(keys.events())
            .arg(keys.blocks())
            .arg(keys.records())
            .arg(keys.who())
            .arg(keys.seats())
            .arg(keys.holders())
            .arg(keys.lent())
            .arg(keys.queue())
            .arg(keys.evicted())
            .arg(keys.named_seats())
            .arg(keys.waiting())
            .arg(keys.tickets())
            .arg(keys.tombstone(claims.id))
            .arg(keys.mark(IndexedBy::All))
            .arg(
                keys.mark(
                    claims
                        .holder
                        .as_ref()
                        .map_or(IndexedBy::All, IndexedBy::Holder),
                ),
            )
            .arg(
                keys.mark(
                    claims
                        .tenant
                        .as_ref()
                        .map_or(IndexedBy::All, IndexedBy::Tenant),
                ),
            )
            .arg(keys.block_notes())
            .arg(claims.pool.as_str())
            .arg(claims.id.to_string())
            .arg(claims.generation)
            .arg(claims.started_at.0)
            .arg(claims.fence)
            .arg(or_empty(claims.holder.as_ref(), Holder::key))
            .arg(or_empty(claims.tenant.as_ref(), Tenant::as_str))
            .arg(or_empty(label, Label::as_str))
            .arg(
                renewal
                    .activities
                    .as_ref()
                    .map_or(String::new(), |list| format!("={}", json(list))),
            )
            .arg(or_empty(claims.platform.as_ref(), Platform::as_str))
            .arg(record_margin())
            .arg(or_empty(claims.holder.as_ref(), Holder::given_beside_key));
        let mut reply = self.run_whole(&claims.pool, &call).await?;
        if matches!(reply.status(), "no_pool" | "recovering") && self.restore(&claims.pool).await? {
            reply = self.run_whole(&claims.pool, &call).await?;
        }
        let lease = || -> Result<Lease, Error> {
            let ttl = Duration::from_millis(reply.count(4)?);
            let activities = parse_activities(reply.text(6)?);
            let lease = from_claims(
                claims,
                label.cloned(),
                activities,
                reply.now()?,
                reply.instant(3)?,
                ttl,
            );
            Ok(Lease {
                seat: Seat::from_letter(reply.text(9)?),
                ..lease
            })
        };
        match reply.status() {
            "renewed" => Ok(Renewed::Renewed(lease()?)),
            "resumed" | "rebuilt" => {
                if reply.status() == "rebuilt" {
                    metrics::counter!(telemetry::LEASES_REBUILT).increment(1);
                } else {
                    let ended = reply.instant(10)?;
                    if ended.0 > 0 {
                        self.count_end(
                            &claims.pool,
                            EndKind::Expired,
                            ended.since(claims.started_at),
                        );
                    }
                    self.count_resume(&claims.pool);
                }
                Ok(Renewed::Resumed {
                    lease: lease()?,
                    generation: reply.count(5)?,
                })
            }
            "lost_expired" => Ok(Renewed::Lost(EndReason::Expired)),
            "lost_displaced" => {
                metrics::counter!(telemetry::LEASES_DISPLACED).increment(1);
                tracing::warn!(
                    pool.name = %claims.pool,
                    lease.id = %claims.id,
                    "a lease was lost with Redis's data, and its seat was given to somebody else before it could be rebuilt"
                );
                Ok(Renewed::Lost(EndReason::Expired))
            }
            "lost_released" => Ok(Renewed::Lost(EndReason::Released)),
            "lost_evicted" => Ok(Renewed::Lost(EndReason::Evicted)),
            "lost_deleted" => Ok(Renewed::Lost(EndReason::Terminated {
                reason: Some("The pool was deleted.".to_owned()),
                blocked_until: None,
            })),
            "lost_terminated" => {
                let (reason, until) = (reply.text(7)?, reply.instant(8)?);
                Ok(Renewed::Lost(EndReason::Terminated {
                    reason: (!reason.is_empty()).then(|| reason.to_owned()),
                    blocked_until: (until.0 > 0).then_some(until),
                }))
            }
            "recovering" => Ok(Renewed::Recovering),
            "no_pool" => Ok(Renewed::NoPool),
            _ => Err(reply.unexpected(0)),
        }
    }

    /// Frees a seat now, for good. A lease that has ended is released too.
    pub async fn release(&self, claims: &Claims) -> Result<(), Error> {
        let keys = Keys::of(&claims.pool);
        let call = RELEASE
            .call(13)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.expired())
            .arg(keys.events())
            .arg(keys.records())
            .arg(keys.who())
            .arg(keys.seats())
            .arg(keys.holders())
            .arg(keys.lent())
            .arg(keys.queue())
            .arg(keys.evicted())
            .arg(keys.tombstone(claims.id))
            .arg(claims.id.to_string())
            .arg(or_empty(claims.holder.as_ref(), Holder::key))
            .arg(or_empty(claims.tenant.as_ref(), Tenant::as_str))
            .arg(millis(token::LIFE));
        let reply = self.run(keys.bucket, &call).await?;
        match reply.status() {
            "ended" => Ok(()),
            how @ ("released" | "expired" | "evicted") => {
                let ended = match how {
                    "released" => EndKind::Released,
                    "expired" => EndKind::Expired,
                    _ => EndKind::Evicted,
                };
                self.count_end(&claims.pool, ended, reply.now()?.since(claims.started_at));
                Ok(())
            }
            _ => Err(reply.unexpected(0)),
        }
    }

    /// Lets a lease run out soon, unless a renew follows.
    pub async fn leave(&self, claims: &Claims) -> Result<(), Error> {
        let keys = Keys::of(&claims.pool);
        let call = LEAVE
            .call(5)
            .arg(keys.bucket.clock())
            .arg(keys.bucket.due())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.records())
            .arg(claims.pool.as_str())
            .arg(claims.id.to_string());
        let reply = self.run(keys.bucket, &call).await?;
        match reply.status() {
            "left" | "ended" => Ok(()),
            _ => Err(reply.unexpected(0)),
        }
    }

    /// Ends leases at once. The words are in the order of the ids.
    pub async fn terminate(
        &self,
        pool: &PoolName,
        ids: &[LeaseId],
        why: &Termination,
    ) -> Result<Vec<Terminated>, Error> {
        let mut words = Vec::with_capacity(ids.len());
        for (chunk, ids) in ids.chunks(TERMINATE_AT_ONCE).enumerate() {
            let ended = self.terminate_some(pool, ids, None, why).await;
            // Of a failure after the first call nobody may say that nothing was done.
            words.extend(ended.map_err(|error| match chunk {
                0 => error,
                _ => error.may_have_run(),
            })?);
        }
        Ok(words)
    }

    /// Sees to it that of all leases so far of a holder, of a tenant or of the pool none comes back, and blocks the holder if
    /// that is asked for. Those that are live have to be ended one by one after this.
    pub async fn mark_ended(
        &self,
        pool: &PoolName,
        holder: Option<&Holder>,
        tenant: Option<&Tenant>,
        why: &Termination,
    ) -> Result<(), Error> {
        let whose = match (holder, tenant) {
            (Some(holder), _) => IndexedBy::Holder(holder),
            (None, Some(tenant)) => IndexedBy::Tenant(tenant),
            (None, None) => IndexedBy::All,
        };
        self.terminate_some(pool, &[], Some(whose), why).await?;
        Ok(())
    }

    async fn terminate_some(
        &self,
        pool: &PoolName,
        ids: &[LeaseId],
        marked: Option<IndexedBy<'_>>,
        why: &Termination,
    ) -> Result<Vec<Terminated>, Error> {
        let keys = Keys::of(pool);
        let mut words = Vec::with_capacity(ids.len());
        {
            let mut call = TERMINATE
                .call(14 + ids.len())
                .arg(keys.bucket.clock())
                .arg(keys.config())
                .arg(keys.leases())
                .arg(keys.expired())
                .arg(keys.events())
                .arg(keys.blocks())
                .arg(keys.who())
                .arg(keys.seats())
                .arg(keys.holders())
                .arg(keys.lent())
                .arg(keys.queue())
                .arg(keys.records())
                .arg(keys.block_notes())
                .arg(keys.mark(marked.unwrap_or(IndexedBy::All)));
            for id in ids {
                call.push(keys.tombstone(*id));
            }
            call.push(why.reason.as_deref().unwrap_or(""));
            call.push(millis(why.block));
            call.push(or_empty(why.holder.as_ref(), Holder::key));
            call.push(millis(token::LIFE));
            call.push(u8::from(marked.is_some()));
            call.push(&why.by);
            for id in ids {
                call.push(id.to_string());
            }
            let reply = self.run(keys.bucket, &call).await?;
            for at in (3..reply.len()).step_by(2) {
                let held_ms = reply.count(at + 1)?;
                words.push(match reply.text(at)? {
                    "terminated" => {
                        self.count_end(pool, EndKind::Terminated, held_ms);
                        Terminated::Terminated
                    }
                    "expired" => {
                        self.count_end(pool, EndKind::Expired, held_ms);
                        Terminated::Ended
                    }
                    "ended" => Terminated::Ended,
                    _ => return Err(reply.unexpected(at)),
                });
            }
        }
        Ok(words)
    }
}

fn acquire_call(pool: &PoolName, asked: &AcquireRequest, id: LeaseId) -> super::script::Call {
    let keys = Keys::of(pool);
    let mut call = ACQUIRE
        .call(12 + usize::from(asked.key.is_some()))
        .arg(keys.bucket.clock())
        .arg(keys.bucket.due())
        .arg(keys.config())
        .arg(keys.leases())
        .arg(keys.expired())
        .arg(keys.events())
        .arg(keys.denied())
        .arg(keys.blocks())
        .arg(keys.records())
        .arg(keys.denials())
        .arg(keys.block_notes())
        .arg(keys.tombstone(id));
    if let Some(key) = asked.key {
        call.push(keys.repeated(key));
    }
    call.arg(pool.as_str())
        .arg(id.to_string())
        .arg(or_empty(asked.holder.as_ref(), Holder::key))
        .arg(or_empty(asked.tenant.as_ref(), Tenant::as_str))
        .arg(or_empty(asked.label.as_ref(), Label::as_str))
        .arg(activities_json(&asked.activities))
        .arg(or_empty(asked.platform.as_ref(), Platform::as_str))
        .arg(record_margin())
}

/// The numbers of a reply that grants nothing.
pub(super) fn denial(reply: &Reply) -> Result<Denial, Error> {
    Ok(Denial {
        in_use: reply.count(8)?,
        capacity: reply.count(9)?,
        retry_after: Duration::from_millis(reply.count(10)?),
    })
}

/// A denial by a block.
pub(super) fn blocked(reply: &Reply) -> Result<Acquired, Error> {
    let (denial, reason) = (denial(reply)?, reply.text(12)?);
    let until = Timestamp(reply.now()?.0 + denial.retry_after.as_millis() as i64);
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    Ok(Acquired::HolderBlocked(denial, until, reason))
}

pub(super) fn granted(
    pool: &PoolName,
    asked: &AcquireRequest,
    reply: &Reply,
) -> Result<Grant, Error> {
    let seat = Seat::from_letter(reply.text(11)?);
    let (now, expires_at) = (reply.now()?, reply.instant(4)?);
    let ttl = Duration::from_millis(reply.count(5)?);
    let (id, fence) = (reply.parse(3)?, reply.count(6)?);
    Ok(Grant {
        lease: Lease {
            seat,
            ..granted_to(pool, asked, id, fence, expires_at, now, ttl)
        },
        at: now,
        generation: reply.count(7)?,
        in_use: reply.count(8)?,
        capacity: reply.count(9)?,
        named_left: None,
        turn: None,
    })
}

/// The lease that somebody was granted at `now` who asked for this, on a seat of the capacity.
pub(super) fn granted_to(
    pool: &PoolName,
    asked: &AcquireRequest,
    id: LeaseId,
    fence: u64,
    expires_at: Timestamp,
    now: Timestamp,
    ttl: Duration,
) -> Lease {
    let renewed_at = Timestamp(expires_at.0 - ttl.as_millis() as i64);
    Lease {
        id,
        pool: pool.clone(),
        holder: asked.holder.clone(),
        tenant: asked.tenant.clone(),
        label: asked.label.clone(),
        activities: asked.activities.clone(),
        platform: asked.platform.clone(),
        seat: Seat::Concurrent,
        fence,
        started_at: renewed_at,
        renewed_at,
        expires_at,
        expires_in: Duration::from_millis(expires_at.since(now)),
        ttl,
    }
}

fn from_claims(
    claims: &Claims,
    label: Option<Label>,
    activities: Activities,
    renewed_at: Timestamp,
    expires_at: Timestamp,
    ttl: Duration,
) -> Lease {
    Lease {
        id: claims.id,
        pool: claims.pool.clone(),
        holder: claims.holder.clone(),
        tenant: claims.tenant.clone(),
        label,
        activities,
        platform: claims.platform.clone(),
        seat: claims.seat,
        fence: claims.fence,
        started_at: claims.started_at,
        renewed_at,
        expires_at,
        expires_in: Duration::from_millis(expires_at.since(renewed_at)),
        ttl,
    }
}

/// Activities as a record keeps them; none if the record is not ours.
pub(super) fn parse_activities(text: &str) -> Activities {
    if text.is_empty() {
        return Activities::default();
    }
    serde_json::from_str(text)
        .map(Activities::recorded)
        .unwrap_or_default()
}

impl super::memory::PoolCache {
    /// About the TTL of a pool, as this node last saw it; for when a record is worth a refresh.
    fn ttl(&self, pool: &PoolName) -> Duration {
        let ttl_ms = self.ttl_ms(pool).unwrap_or(Policy::with_capacity(0).ttl_ms);
        Duration::from_millis(ttl_ms)
    }
}

/// The results of one request that was sent in parts. Where one of them ran, or may have, no failure says of the whole
/// that nothing was done.
fn parts_of_one<T>(results: Vec<Result<T, Error>>) -> Vec<Result<T, Error>> {
    let surely_not = |result: &Result<T, Error>| {
        matches!(
            result,
            Err(Error::Unavailable {
                outcome: Outcome::None,
                ..
            })
        )
    };
    if results.iter().all(surely_not) {
        return results;
    }
    let results = results.into_iter();
    results
        .map(|result| result.map_err(Error::may_have_run))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_which_a_part_ran_is_not_said_to_have_done_nothing() {
        let outcomes = |results: Vec<Result<(), Error>>| -> Vec<Option<Outcome>> {
            let results = parts_of_one(results).into_iter();
            let outcome = |error| match error {
                Error::Unavailable { outcome, .. } => Some(outcome),
                _ => None,
            };
            results
                .map(|result| result.err().and_then(outcome))
                .collect()
        };
        let refused = || Err(Error::not_sent("refused"));
        let unanswered = || Err(Error::unanswered("silent"));
        assert_eq!(
            outcomes(vec![refused(), refused()]),
            [Some(Outcome::None); 2]
        );
        assert_eq!(
            outcomes(vec![Ok(()), refused()]),
            [None, Some(Outcome::Unknown)]
        );
        assert_eq!(
            outcomes(vec![refused(), unanswered()]),
            [Some(Outcome::Unknown); 2]
        );
    }

    fn size_of_future<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// It is moved several times with each call: at 20 KB that was a tenth of a node's time for a heartbeat.
    #[test]
    fn what_waits_for_a_call_is_small() {
        let renew = size_of_future(|store: &'static Store, renewal| store.renew(renewal));
        let release = size_of_future(|store: &'static Store, claims| store.release(claims));
        let acquire =
            size_of_future(|store: &'static Store, (pool, asked)| store.acquire(pool, asked));
        assert!(renew <= 512, "{renew}");
        assert!(release <= 1_536, "{release}");
        assert!(acquire <= 3_072, "{acquire}");
    }
}
