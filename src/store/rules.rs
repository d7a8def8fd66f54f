//! Pools with rules: the longer way of an acquire, the index that the rules count by, and named seats.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::Store;
use super::acquire::{AcquireRequest, Acquired, Denial, Given, Grant};
use super::error::Error;
use super::keys::Keys;
use super::queue::turn;
use super::record::activities_json;
use super::renewals::RECORD_MARGIN;
use super::script::{ACQUIRE_BY_RULES, Call, NAMED, REINDEX, Reply, Request, millis, or_empty};
use crate::lease::Seat;
use crate::names::{Holder, Label, LeaseId, Platform, PoolName, Tenant};
use crate::pool::Policy;
use crate::time::Timestamp;

/// About how many leases one call takes into the index: about a millisecond of Redis's time.
const REINDEX_AT_ONCE: usize = 100;

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

/// What a node knows of a pool when it makes a request for it. The scripts check that it is still so.
#[derive(Debug, Clone, Default)]
pub struct PolicySnapshot {
    policy: Option<(u64, Arc<Policy>)>,
    /// For how long the name of the holder in the request is good; zeros for ever.
    pub from: Timestamp,
    /// The end of it.
    pub until: Timestamp,
}

impl PolicySnapshot {
    /// The policy, if the node knows the pool.
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref().map(|(_, policy)| policy.as_ref())
    }

    /// Whether the pool has rules.
    pub fn has_rules(&self) -> bool {
        self.policy().is_some_and(Policy::has_rules)
    }
}

/// A named seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSeat {
    /// Who has it.
    pub holder: Holder,
    /// Since when.
    pub since: Timestamp,
    /// `used`, `assigned` or `transferred`.
    pub how: String,
}

/// The named seats of a pool in one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSeats {
    /// How many there are.
    pub seats: u64,
    /// Begin of the period.
    pub from: Timestamp,
    /// End of the period.
    pub until: Timestamp,
    /// How many are taken.
    pub taken: u64,
    /// Some of those, by holder.
    pub items: Vec<NamedSeat>,
}

/// Whether an administrator sets aside that a named seat changes hands once in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// The rule holds.
    No,
    /// It does not, and what is freed is as new.
    Yes,
}

/// What an operator does with named seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedChange<'a> {
    /// Those of the period of this instant, or of the present one, behind a holder; at most so many.
    List(Option<Timestamp>, Option<&'a Holder>, usize),
    /// That of a holder.
    Read(&'a Holder),
    /// Gives one to a holder that has used none yet.
    Assign(&'a Holder),
    /// Takes it from a holder; by force also one that changed hands before in this period.
    Free(&'a Holder, Force),
    /// Takes it from one holder and gives it to another.
    Transfer(&'a Holder, &'a Holder, Force),
}

/// What became of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedChanged {
    /// Done; those asked for, or the one that was made.
    Done(NamedSeats),
    /// The holder had one already.
    Had(NamedSeats),
    /// The holder has none.
    None,
    /// The holder has live leases on it.
    InUse,
    /// It changed hands before in this period.
    Moved,
    /// All are taken.
    Exhausted,
    /// The pool has no named seats.
    NoNamed,
    /// There is no such pool.
    NoPool,
}

impl Store {
    /// What this node knows of a pool; it reads the policy if it knows nothing.
    pub async fn known(&self, pool: &PoolName) -> Result<PolicySnapshot, Error> {
        if self.0.memory.policy(pool).is_none() {
            self.status(pool).boxed().await?;
        }
        Ok(PolicySnapshot {
            policy: self.0.memory.policy(pool),
            from: Timestamp(0),
            until: Timestamp(0),
        })
    }

    /// Asks a script that wants everything counted.
    #[allow(dead_code, reason = "the first that asks like this comes next")]
    pub(super) async fn call_whole<R: Request>(
        &self,
        pool: &PoolName,
        request: &R,
    ) -> Result<R::Reply, Error> {
        let reply = self.run_whole(pool, &request.call()).await?;
        request.read(&reply)
    }

    /// Runs a script that wants everything counted: where it finds that something was not, that is done first.
    pub(super) async fn run_whole(&self, pool: &PoolName, call: &Call) -> Result<Reply, Error> {
        let bucket = Keys::of(pool).bucket;
        let deadline = tokio::time::Instant::now() + super::DEADLINE;
        loop {
            let reply = self.run(bucket, call).await?;
            match reply.status() {
                // Thousands of leases may end at one instant; each call ends some of them.
                "behind" => self.sweep(pool).await?,
                "unindexed" => self.reindex(pool).await?,
                _ => return Ok(reply),
            }
            if tokio::time::Instant::now() > deadline {
                return Err(Error::not_sent(
                    "more leases ended or were taken into the index at once than one request can wait for",
                ));
            }
        }
    }

    /// Takes all leases of a pool into its index, call after call, so that no other call waits long.
    pub(super) async fn reindex(&self, pool: &PoolName) -> Result<(), Error> {
        let keys = Keys::of(pool);
        let mut cursor = "0".to_owned();
        loop {
            let call = REINDEX
                .call(8)
                .arg(keys.bucket.clock())
                .arg(keys.config())
                .arg(keys.leases())
                .arg(keys.who())
                .arg(keys.seats())
                .arg(keys.holders())
                .arg(keys.lent())
                .arg(keys.records())
                .arg(&cursor)
                .arg(REINDEX_AT_ONCE);
            let reply = self.run(keys.bucket, &call).await?;
            reply.text(3)?.clone_into(&mut cursor);
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    /// Asks for a seat in a pool with rules.
    pub(super) async fn acquire_by_rules(
        &self,
        pool: &PoolName,
        asked: &AcquireRequest,
    ) -> Result<Acquired, Error> {
        let (id, wait) = match asked.wait {
            Wait::No => (LeaseId::random(), ""),
            Wait::Queue => (LeaseId::random(), "wait"),
            Wait::Ticket(id) => (id, "ticket"),
        };
        let version = match asked.known.policy {
            Some((version, _)) => version,
            // The script says whether there is a pool, and nothing else.
            None if wait == "ticket" => 0,
            None => return Ok(Acquired::Changed),
        };
        let call = acquire_call(pool, asked, id, wait, version);
        loop {
            let reply = self.run_whole(pool, &call).await?;
            return Ok(match reply.status() {
                // What was asked for stands in the ticket, and then in the record.
                "granted" if wait == "ticket" => match self.granted_lease(pool, id).await? {
                    Some(mut grant) => {
                        grant.named_left = named_left(&reply)?;
                        grant.turn = turn(id, &reply)?.map(Box::new);
                        Acquired::Granted(grant)
                    }
                    None => continue,
                },
                "granted" => {
                    let mut grant = granted(pool, asked, &reply)?;
                    grant.named_left = named_left(&reply)?;
                    Acquired::Granted(grant)
                }
                "existing" => match self.granted_lease(pool, reply.parse(3)?).await? {
                    Some(mut grant) => {
                        grant.named_left = named_left(&reply)?;
                        Acquired::Existing(grant)
                    }
                    // It ended in between; the next call finds that.
                    None => continue,
                },
                "waiting" => {
                    let again = AcquireRequest {
                        wait: Wait::Ticket(reply.parse(3)?),
                        ..asked.clone()
                    };
                    return Box::pin(self.acquire_by_rules(pool, &again)).await;
                }
                "queued" => Acquired::Queued {
                    ticket: id,
                    position: reply.count(14)?,
                    retry_after: denial(&reply)?.retry_after,
                    eta: Duration::from_millis(reply.count(15)?),
                    asks_again_by: reply.instant(4)?,
                },
                "ticket_expired" => Acquired::TicketExpired,
                "pool_full" => Acquired::PoolFull(denial(&reply)?),
                "tenant_full" => Acquired::TenantFull(denial(&reply)?, reply.text(12)?.to_owned()),
                "named_seats_exhausted" => Acquired::NamedSeatsExhausted(denial(&reply)?),
                "queue_full" => Acquired::QueueFull(denial(&reply)?),
                "holder_blocked" => {
                    let reason = reply.text(12)?;
                    let reason = (!reason.is_empty()).then(|| reason.to_owned());
                    Acquired::blocked(denial(&reply)?, reply.now()?, reason)
                }
                "platform_not_licensed" => {
                    Acquired::PlatformNotLicensed(reply.text(12)?.to_owned())
                }
                "maintenance" => Acquired::Maintenance(denial(&reply)?, reply.text(12)?.to_owned()),
                "no_pool" | "recovering" if reply.count(5)? == 0 && self.restore(pool).await? => {
                    Acquired::Changed
                }
                "recovering" => Acquired::Recovering {
                    retry_after: denial(&reply)?.retry_after,
                },
                "changed" => {
                    self.status(pool).await?;
                    Acquired::Changed
                }
                "no_pool" => {
                    self.0.memory.forget(pool);
                    Acquired::NoPool
                }
                _ => return Err(reply.unexpected(0)),
            });
        }
    }

    /// Reads or changes who has the named seats of a pool.
    pub async fn named(
        &self,
        pool: &PoolName,
        change: NamedChange<'_>,
    ) -> Result<NamedChanged, Error> {
        let keys = Keys::of(pool);
        let (what, holder, to, force) = match change {
            NamedChange::List(_, after, _) => {
                ("list", after.map_or("", Holder::key), "", Force::No)
            }
            NamedChange::Read(holder) => ("read", holder.key(), "", Force::No),
            NamedChange::Assign(holder) => ("assign", holder.key(), "", Force::No),
            NamedChange::Free(holder, force) => ("free", holder.key(), "", force),
            NamedChange::Transfer(holder, to, force) => ("transfer", holder.key(), to.key(), force),
        };
        let (at, limit) = match change {
            NamedChange::List(at, _, limit) => (at, limit),
            _ => (None, 0),
        };
        let call = NAMED
            .call(9)
            .arg(keys.bucket.clock())
            .arg(keys.config())
            .arg(keys.leases())
            .arg(keys.who())
            .arg(keys.seats())
            .arg(keys.holders())
            .arg(keys.lent())
            .arg(keys.named())
            .arg(keys.events())
            .arg(what)
            .arg(holder)
            .arg(to)
            .arg(at.map_or(0, |at| at.0))
            .arg(limit)
            .arg(if force == Force::Yes { "1" } else { "" });
        let reply = self.run_whole(pool, &call).await?;
        Ok(match reply.status() {
            "done" => NamedChanged::Done(named_seats(&reply)?),
            "had" => NamedChanged::Had(named_seats(&reply)?),
            "none" => NamedChanged::None,
            "in_use" => NamedChanged::InUse,
            "moved" => NamedChanged::Moved,
            "exhausted" => NamedChanged::Exhausted,
            "no_named" => NamedChanged::NoNamed,
            "no_pool" => NamedChanged::NoPool,
            "recovering" => return Err(Error::Recovering),
            _ => return Err(reply.unexpected(0)),
        })
    }
}

fn granted(pool: &PoolName, asked: &AcquireRequest, reply: &Reply) -> Result<Grant, Error> {
    let given = Given {
        id: reply.parse(3)?,
        seat: Seat::from_letter(reply.text(11)?),
        at: reply.now()?,
        expires_at: reply.instant(4)?,
        ttl: Duration::from_millis(reply.count(5)?),
        fence: reply.count(6)?,
        generation: reply.count(7)?,
        in_use: reply.count(8)?,
        capacity: reply.count(9)?,
    };
    Ok(Grant::new(pool, asked, &given))
}

/// The numbers of a reply that grants nothing.
fn denial(reply: &Reply) -> Result<Denial, Error> {
    Ok(Denial {
        in_use: reply.count(8)?,
        capacity: reply.count(9)?,
        retry_after: Duration::from_millis(reply.count(10)?),
    })
}

fn named_left(reply: &Reply) -> Result<Option<u64>, Error> {
    Ok(u64::try_from(reply.int(13)?).ok())
}

fn named_seats(reply: &Reply) -> Result<NamedSeats, Error> {
    let mut items = Vec::new();
    for entry in reply.texts(7)? {
        let mut parts = entry.split('\u{1}').skip(1);
        let mut part = || parts.next().unwrap_or_default();
        items.push(NamedSeat {
            holder: Holder::recorded(part().to_owned()).map_err(|_| reply.unexpected(7))?,
            since: Timestamp(part().parse().map_err(|_| reply.unexpected(7))?),
            how: part().to_owned(),
        });
    }
    Ok(NamedSeats {
        seats: reply.count(3)?,
        from: reply.instant(4)?,
        until: reply.instant(5)?,
        taken: reply.count(6)?,
        items,
    })
}

fn acquire_call(
    pool: &PoolName,
    asked: &AcquireRequest,
    id: LeaseId,
    wait: &str,
    version: u64,
) -> Call {
    let keys = Keys::of(pool);
    let mut call = ACQUIRE_BY_RULES
        .call(24 + usize::from(asked.key.is_some()))
        .arg(keys.bucket.clock())
        .arg(keys.bucket.due())
        .arg(keys.config())
        .arg(keys.leases())
        .arg(keys.expired())
        .arg(keys.events())
        .arg(keys.denied())
        .arg(keys.blocks())
        .arg(keys.records())
        .arg(keys.who())
        .arg(keys.seats())
        .arg(keys.holders())
        .arg(keys.lent())
        .arg(keys.evicted())
        .arg(keys.named())
        .arg(keys.queue())
        .arg(keys.waiting())
        .arg(keys.tickets())
        .arg(keys.denials())
        .arg(keys.block_notes())
        .arg(keys.line())
        .arg(keys.heads())
        .arg(keys.called())
        .arg(keys.tombstone(id));
    if let Some(key) = asked.key {
        call.push(keys.repeated(key));
    }
    call.arg(pool.as_str())
        .arg(id.to_string())
        .arg(or_empty(asked.holder.as_ref(), Holder::key))
        .arg(or_empty(asked.tenant.as_ref(), Tenant::as_str))
        .arg(or_empty(asked.label.as_ref(), Label::as_str))
        .arg(activities_json(&asked.activities).unwrap_or_default())
        .arg(or_empty(asked.platform.as_ref(), Platform::as_str))
        .arg(millis(RECORD_MARGIN))
        .arg(version)
        .arg(wait)
        .arg(asked.known.from.0)
        .arg(asked.known.until.0)
        .arg(or_empty(asked.holder.as_ref(), Holder::given_beside_key))
}
