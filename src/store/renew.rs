//! Renew: a heartbeat extends a lease. What `renew.lua` leaves undecided goes on in `resume.rs`.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::Store;
use super::error::{Error, Outcome};
use super::heartbeat::{Heartbeat, RenewOutcome};
use super::keys::Bucket;
use super::leave_notice::Notice;
use super::record::parse_activities;
use super::use_reports::UsePolicy;
use crate::lease::{EndReason, Ends, Lease, SeatRequested};
use crate::names::{Activities, Label, PoolName};
use crate::pool::Policy;
use crate::time::Timestamp;
use crate::token::Claims;

/// What a heartbeat asks for.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The verified token.
    pub claims: Claims,
    /// A new label.
    pub label: Option<Label>,
    /// New activities.
    pub activities: Option<Activities>,
    /// For how long the holder went on after the end of what it was promised, by its own account.
    pub grace_used_ms: Option<u64>,
    /// For how long its user has done nothing, as far as the holder says so.
    pub idle: Option<Duration>,
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
    /// One of those above, with what an operator left for its holder.
    Noticed(Box<Self>, Notice),
    /// It has ended permanently.
    Lost(EndReason),
    /// Data was lost, and its pool was not put back yet.
    Recovering,
    /// There is no such pool any more.
    NoPool,
}

impl Store {
    /// Extends a lease, or resumes it if it has ended by time.
    pub async fn renew(&self, renewal: &Renewal) -> Result<Renewed, Error> {
        super::within_deadline(async {
            let bucket = Bucket::of(&renewal.claims.pool);
            let beaten = self.0.renewals.beat(bucket, self.beat(renewal)).await?;
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
        let beaten = self.renew_sorted(beats).await;
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
        let Terms {
            ttl,
            watched,
            policy,
            reads_details,
        } = self.0.pool_cache.terms(&claims.pool);
        let now = self.now();
        let beat = Heartbeat::of(
            claims,
            renewal.label.clone(),
            renewal.activities.clone(),
            ttl,
            now,
        );
        let beat = if reads_details {
            beat.with_details()
        } else {
            beat
        };
        let reports = &self.0.use_reports;
        Heartbeat {
            watched,
            report: policy.and_then(|policy| reports.of(claims, renewal.idle, &policy, now)),
            ..beat
        }
    }

    /// Makes an answer of what became of a beat; asks again where the common case did not decide.
    async fn conclude(&self, renewal: &Renewal, beaten: RenewOutcome) -> Result<Renewed, Error> {
        let (at, seq, ttl, details, ends, seat_requested) = match beaten {
            RenewOutcome::Renewed {
                at,
                seq,
                ttl,
                details,
                ends,
                requested,
                unread: _,
            } => (at, seq, ttl, details, ends, requested),
            RenewOutcome::Evicted { why, at, seq } => {
                super::script_trace::note_renewal(seq, at);
                return Ok(Renewed::Lost(EndReason::Evicted(why)));
            }
            // Rare, and its future is large: inside this one it would be moved about with every beat.
            RenewOutcome::Unclear => {
                self.0.use_reports.forget(renewal.claims.id);
                return self.resume_and_renew(renewal).boxed().await;
            }
        };
        super::script_trace::note_renewal(seq, at);
        let claims = &renewal.claims;
        let (label, activities) = match details {
            Some((label, activities)) => (
                label.and_then(|label| Label::recorded(label).ok()),
                activities,
            ),
            None => (claims.label.clone(), None),
        };
        let activities = activities
            .as_deref()
            .map(parse_activities)
            .unwrap_or_default();
        let expires_at = at + ttl;
        let active_at = active_at(at, renewal.idle, &activities);
        Ok(Renewed::Renewed(Lease {
            active_at,
            ends,
            seat_requested,
            ..from_claims(claims, label, activities, at, expires_at, ttl)
        }))
    }
}

impl Store {
    /// Resumes, and renews at once in a pool whose heartbeats are looked at: the script that resumes does not say what its rules do.
    async fn resume_and_renew(&self, renewal: &Renewal) -> Result<Renewed, Error> {
        let renewed = self.resume(renewal).await?;
        let pool = &renewal.claims.pool;
        let is_back = matches!(
            renewed,
            Renewed::Renewed(_) | Renewed::Resumed { .. } | Renewed::Noticed(..)
        );
        if !is_back || !self.0.pool_cache.terms(pool).watched {
            return Ok(renewed);
        }
        let again = Heartbeat {
            label: None,
            activities: None,
            record: false,
            details: false,
            ..self.beat(renewal)
        };
        // It has its seat, whatever becomes of the question.
        match self.0.renewals.beat(Bucket::of(pool), again).await {
            Ok(RenewOutcome::Renewed {
                ends, requested, ..
            }) => Ok(renewed.with_rules(ends, requested)),
            Ok(RenewOutcome::Evicted { why, .. }) => Ok(Renewed::Lost(EndReason::Evicted(why))),
            Ok(RenewOutcome::Unclear) | Err(_) => Ok(renewed),
        }
    }
}

impl Renewed {
    fn with_rules(self, ends: Option<Ends>, seat_requested: Option<SeatRequested>) -> Self {
        let told = |lease| Lease {
            ends,
            seat_requested,
            ..lease
        };
        match self {
            Self::Renewed(lease) => Self::Renewed(told(lease)),
            Self::Resumed { lease, generation } => Self::Resumed {
                lease: told(lease),
                generation,
            },
            Self::Noticed(renewed, notice) => {
                Self::Noticed(Box::new(renewed.with_rules(ends, seat_requested)), notice)
            }
            other => other,
        }
    }
}

/// When somebody was last active of whom this is known now; whoever works on something is.
pub(super) fn active_at(
    now: Timestamp,
    idle: Option<Duration>,
    activities: &Activities,
) -> Option<Timestamp> {
    if !activities.is_empty() {
        return Some(now);
    }
    let idle_ms = i64::try_from(idle?.as_millis()).unwrap_or(i64::MAX);
    Some(Timestamp(now.0.saturating_sub(idle_ms)))
}

pub(super) fn from_claims(
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
        active_at: None,
        ends: None,
        seat_requested: None,
    }
}

/// What heartbeats of a pool depend on, as this node last saw it.
struct Terms {
    /// For when a record is worth a refresh.
    ttl: Duration,
    /// Whether its heartbeats go apart.
    watched: bool,
    /// The policies by which the use of its seats is watched, if it is.
    policy: Option<UsePolicy>,
    /// Whether tokens may not know what the records say.
    reads_details: bool,
}

impl super::pool_cache::PoolCache {
    fn terms(&self, pool: &PoolName) -> Terms {
        let terms = |policy: &Policy, reads_details| {
            let ttl = Duration::from_millis(policy.ttl_ms);
            let use_policy = policy.watches_use().then_some(UsePolicy {
                idle: policy.idle,
                max_hold: policy.max_hold,
                ttl,
            });
            Terms {
                ttl,
                watched: policy.watches_heartbeats(),
                policy: use_policy,
                reads_details,
            }
        };
        let known = self.with_pool(pool, |known| terms(&known.policy, known.reads_details));
        known.unwrap_or_else(|| terms(&Policy::with_capacity(0), false))
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
}
