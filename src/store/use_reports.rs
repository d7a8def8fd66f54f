//! What this node had written down lately of the use of leases, so that nothing is written twice: a heartbeat of somebody who is
//! active says the same as the one before, and costs Redis nothing then.
//!
//! Nothing is decided by it. A node that has forgotten everything has it written once more. `active_at` of somebody who is active may
//! lag, by a quarter of the time after which a seat is idle; it is exact again before it says half of that time.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::renew::active_at;
use super::scripts::renew_by_rules::LooksAt;
use crate::names::{Activities, LeaseId};
use crate::pool::{Idle, MaxHold, WhenIdle};
use crate::time::{Timestamp, millis};
use crate::token::Claims;

const SHARDS: usize = 16;
/// Maximum of leases per shard. A shard that is full begins anew.
const MOST: usize = 8_192;
/// By so much a report may differ from what is written, backwards, ms.
const SLACK_MS: i64 = 1_000;

/// The policies by which the use of a pool's seats is watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct UsePolicy {
    pub(super) idle: Option<Idle>,
    pub(super) max_hold: Option<MaxHold>,
    pub(super) ttl: Duration,
}

/// What is new in a heartbeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct UseReport {
    pub(super) unused_for: Option<Duration>,
    pub(super) looks_at: LooksAt,
}

/// One for each node.
#[derive(Debug, Default)]
pub(super) struct UseReports([Mutex<HashMap<LeaseId, Option<Timestamp>>>; SHARDS]);

impl UseReports {
    fn shard(&self, id: LeaseId) -> &Mutex<HashMap<LeaseId, Option<Timestamp>>> {
        &self.0[usize::from(id.as_bytes()[0]) % SHARDS]
    }

    /// What is new in a heartbeat at about `now`; nothing in most.
    pub(super) fn of(
        &self,
        claims: &Claims,
        unused_for: Option<Duration>,
        policy: &UsePolicy,
        now: Timestamp,
    ) -> Option<UseReport> {
        let use_is_new = policy
            .idle
            .is_some_and(|idle| !self.is_written(claims.id, unused_for, &idle, now));
        let is_held_long = policy.max_hold.is_some_and(|hold| {
            // A heartbeat ahead, so that it is known by then how long it is held.
            let from_ms = hold
                .after_ms
                .saturating_sub(hold.notice_ms + millis(policy.ttl));
            from_ms <= now.since(claims.started_at)
        });
        let looks_at = match (use_is_new, is_held_long) {
            (true, true) => LooksAt::All,
            (true, false) => LooksAt::Use,
            (false, true) => LooksAt::Hold,
            (false, false) => return None,
        };
        Some(UseReport {
            unused_for: unused_for.filter(|_| use_is_new),
            looks_at,
        })
    }

    fn is_written(
        &self,
        id: LeaseId,
        unused_for: Option<Duration>,
        idle: &Idle,
        now: Timestamp,
    ) -> bool {
        let looked_at_from_ms = match idle.then {
            WhenIdle::Count => idle.after_ms,
            WhenIdle::Yield | WhenIdle::End => idle.after_ms.saturating_sub(idle.notice_ms),
        };
        if unused_for.is_some_and(|unused_for| looked_at_from_ms <= millis(unused_for)) {
            return false;
        }
        let written = self
            .shard(id)
            .lock()
            .expect("no panic while held")
            .get(&id)
            .copied();
        match (written, active_at(now, unused_for, &Activities::default())) {
            (Some(None), None) => true,
            (Some(Some(written)), Some(active_at)) => {
                let later = active_at.0 - written.0;
                let may_lag = now.since(active_at) <= idle.lag_ms();
                let lag_ms = i64::try_from(idle.lag_ms()).unwrap_or(i64::MAX);
                -SLACK_MS <= later && later <= if may_lag { lag_ms } else { SLACK_MS }
            }
            _ => false,
        }
    }

    /// Notes what was written.
    pub(super) fn note(&self, id: LeaseId, active_at: Option<Timestamp>) {
        let mut shard = self.shard(id).lock().expect("no panic while held");
        if shard.len() >= MOST {
            shard.clear();
        }
        shard.insert(id, active_at);
    }

    /// Notes that nothing is known of a lease any more: it was resumed, or is over.
    pub(super) fn forget(&self, id: LeaseId) {
        self.shard(id)
            .lock()
            .expect("no panic while held")
            .remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            id: LeaseId::random(),
            pool: "crm".parse().unwrap(),
            generation: 1,
            holder: None,
            tenant: None,
            label: None,
            platform: None,
            fence: 1,
            started_at: Timestamp(0),
            issued_at: Timestamp(0),
            seat: crate::lease::Seat::Concurrent,
            details: false,
        }
    }

    fn policy(then: WhenIdle) -> UsePolicy {
        UsePolicy {
            idle: Some(Idle {
                after_ms: 900_000,
                then,
                notice_ms: 120_000,
                people: false,
            }),
            max_hold: None,
            ttl: Duration::from_secs(60),
        }
    }

    #[test]
    fn whoever_goes_on_as_before_says_nothing_new() {
        let (reports, claims, policy) = (UseReports::default(), claims(), policy(WhenIdle::Yield));
        let is_new = |at: i64, unused_s: Option<u64>| {
            let unused_for = unused_s.map(Duration::from_secs);
            let new = reports.of(&claims, unused_for, &policy, Timestamp(at * 1_000));
            if new.is_some() {
                let written = active_at(Timestamp(at * 1_000), unused_for, &Activities::default());
                reports.note(claims.id, written);
            }
            new.is_some()
        };
        // Nothing is known, then activity, which is written once in a quarter of the time.
        assert!(is_new(1_000, None));
        assert!(!is_new(1_020, None));
        assert!(is_new(1_040, Some(3)));
        assert!((53..62).all(|beat| !is_new(beat * 20, Some(5))));
        assert!(is_new(1_280, Some(1)));
        assert!(!is_new(1_340, Some(2)));
        // It is exact when somebody has done nothing for this time, and then it stays the same until that begins to count.
        assert!(!is_new(1_500, Some(162)));
        assert!(is_new(1_600, Some(262)));
        assert!(!is_new(1_700, Some(362)));
        assert!(is_new(1_701, Some(5)));
        assert!(is_new(1_702, Some(423)));
        assert!(
            (65..102)
                .all(|beat| !is_new(beat * 20, Some(u64::try_from(beat * 20 - 1_279).unwrap())))
        );
        assert!(is_new(2_060, Some(780)));
        assert!(is_new(2_080, Some(800)));
        assert!(is_new(2_100, Some(0)));
        assert!(is_new(2_120, Some(60)));
        assert!(is_new(2_140, None));
        reports.forget(claims.id);
        assert!(is_new(2_160, None));
    }

    #[test]
    fn how_long_a_lease_is_held_is_looked_at_a_heartbeat_before_it_counts() {
        let (reports, claims) = (UseReports::default(), claims());
        let hold = MaxHold {
            after_ms: 900_000,
            then: crate::pool::WhenHeld::End,
            notice_ms: 120_000,
        };
        let policy = UsePolicy {
            idle: None,
            max_hold: Some(hold),
            ..policy(WhenIdle::Count)
        };
        let looks = |at_s: i64| {
            let report = reports.of(&claims, None, &policy, Timestamp(at_s * 1_000));
            report.map(|report| report.looks_at)
        };
        assert_eq!(looks(719), None);
        assert_eq!(looks(720), Some(LooksAt::Hold));
    }
}
