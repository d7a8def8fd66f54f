//! One heartbeat: what it says, what it has to touch, and what becomes of it.

use std::time::Duration;

use super::use_reports::UseReport;
use crate::lease::{Ends, Eviction, SeatRequested};
use crate::names::{Activities, Label, LeaseId, PoolName};
use crate::time::Timestamp;
use crate::token::{self, Claims};

/// How long records outlive the window in which they should have been refreshed: as long as tokens are good. Redis itself forgets
/// them, by a clock that goes on in an outage, and a lease may come back from an outage for as long as somebody has a token of it.
const MARGIN: Duration = token::LIFE;

/// A lease refreshes the TTL of its pool's records in one window of one TTL at the end of each of these, counted from its
/// begin.
///
/// A live lease beats at least once in every stretch as long as its TTL, so also in the window. Refreshing with each
/// beat would make a renewal a quarter dearer. The window is not at the beginning: the acquire has just set the TTL, and most
/// leases of a short session would be refreshed for nothing, as would all those of a crowd that comes at once.
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// The node's idea of Redis's clock may be wrong by this much.
const SLACK: Duration = Duration::from_secs(5);

/// How long the records of a pool stay after the last heartbeat, beyond the longest TTL.
pub(super) const RECORD_MARGIN: Duration = MARGIN.saturating_add(REFRESH);

/// One heartbeat.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) pool: PoolName,
    pub(super) id: LeaseId,
    /// Whether records are touched: to refresh their TTL, to read that of this lease, or to write into it.
    pub(super) record: bool,
    /// Whether it is read or written, and not only refreshed.
    pub(super) details: bool,
    pub(super) label: Option<Label>,
    pub(super) activities: Option<Activities>,
    /// Whether the pool has a policy by which heartbeats are looked at, or tell more: such heartbeats go apart, to a script of their own.
    pub(super) watched: bool,
    /// What it says of the use of its seat that is new.
    pub(super) report: Option<UseReport>,
}

impl Heartbeat {
    /// The beat of the lease that `claims` names, at about `now`.
    pub(super) fn of(
        claims: &Claims,
        label: Option<Label>,
        activities: Option<Activities>,
        ttl: Duration,
        now: Timestamp,
    ) -> Self {
        let age = Duration::from_millis(now.since(claims.started_at));
        let into = age.as_millis() % REFRESH.as_millis();
        let refresh = into >= REFRESH.saturating_sub(ttl + 2 * SLACK).as_millis();
        let details = claims.details || label.is_some() || activities.is_some();
        Self {
            pool: claims.pool.clone(),
            id: claims.id,
            record: details || refresh,
            details,
            label,
            activities,
            watched: false,
            report: None,
        }
    }

    /// The same, which reads the record of its lease.
    pub(super) fn with_details(self) -> Self {
        Self {
            record: true,
            details: true,
            ..self
        }
    }

    /// The same once more, to read the record; what it said is written.
    pub(super) fn to_read(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            id: self.id,
            record: true,
            details: true,
            label: None,
            activities: None,
            watched: self.watched,
            report: self.report,
        }
    }
}

/// What became of a beat in the common case; anything else is decided by `resume.lua`.
#[derive(Debug, Clone)]
pub(super) enum RenewOutcome {
    /// Extended.
    Renewed {
        at: Timestamp,
        /// Number of the call that renewed it, with others, in the order of its bucket.
        seq: u64,
        ttl: Duration,
        /// What the record says, where it was read.
        details: Option<(Option<String>, Option<String>)>,
        /// Whether the record was not read, and may say more than the token.
        unread: bool,
        /// When a policy can end it, if that is soon.
        ends: Option<Ends>,
        /// That somebody who waits asks for a seat.
        requested: Option<SeatRequested>,
    },
    /// A policy ended it with this heartbeat.
    Evicted {
        why: Eviction,
        at: Timestamp,
        /// As above.
        seq: u64,
    },
    /// Not live, or its record or its pool is gone.
    Unclear,
}

impl RenewOutcome {
    /// Takes what the record of a beat says, if that was asked for. `known`: whether the lease lives and has one.
    pub(super) fn note_details(
        &mut self,
        beat: &Heartbeat,
        known: bool,
        read: (Option<String>, Option<String>),
    ) {
        match self {
            Self::Renewed {
                details, unread, ..
            } if known => {
                if beat.details {
                    *details = Some(read);
                    *unread = false;
                }
            }
            Self::Evicted { .. } => {}
            Self::Renewed { .. } | Self::Unclear => *self = Self::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::millis;

    fn claims(started_at: i64) -> Claims {
        Claims {
            id: LeaseId::random(),
            pool: "crm".parse().unwrap(),
            generation: 1,
            holder: None,
            tenant: None,
            label: None,
            platform: None,
            fence: 1,
            started_at: Timestamp(started_at),
            issued_at: Timestamp(started_at),
            seat: crate::lease::Seat::Concurrent,
            details: false,
        }
    }

    #[test]
    fn however_a_holder_beats_its_record_never_runs_out() {
        // The node may be wrong by up to SLACK, either way; a beat comes at least once in a TTL.
        for ttl_ms in [1_000, 20_000, 60_000, 290_000, 400_000, 86_400_000_i64] {
            for step_ms in [ttl_ms / 3, ttl_ms - 1] {
                for error_ms in [-5_000, 0, 5_000] {
                    let (mut at, mut refreshed) = (0, 0);
                    while at < 4 * 300_000 + 3 * ttl_ms {
                        at += step_ms.max(500);
                        let ttl = Duration::from_millis(ttl_ms.cast_unsigned());
                        let beat = Heartbeat::of(
                            &claims(0),
                            None,
                            None,
                            ttl,
                            Timestamp((at + error_ms).max(0)),
                        );
                        assert!(
                            at - refreshed < ttl_ms + millis(RECORD_MARGIN).cast_signed(),
                            "ttl {ttl_ms} at {at}"
                        );
                        if beat.record {
                            refreshed = at;
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_young_lease_has_its_record_from_its_acquire() {
        let touches = |ttl_s: u64, age_s: i64| {
            let at = Timestamp(age_s * 1_000);
            Heartbeat::of(&claims(0), None, None, Duration::from_secs(ttl_s), at).record
        };
        assert!(!(0..230).any(|age| touches(60, age)));
        assert!((230..300).all(|age| touches(60, age)));
        assert!(!(300..530).any(|age| touches(60, age)));
        // With a TTL of about as long as the window there is no other time.
        assert!((0..600).all(|age| touches(290, age)));
    }

    #[test]
    fn most_beats_leave_the_record_alone() {
        let touched = (0..900)
            .filter(|beat| {
                let at = Timestamp(beat * 20_000);
                Heartbeat::of(&claims(0), None, None, Duration::from_secs(60), at).record
            })
            .count();
        assert!(touched < 300, "{touched} of 900");
    }
}
