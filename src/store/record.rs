//! What is known of a lease until its end is written down, and the lease as that describes it. `lua/parts/record.lua` packs records.

use std::time::Duration;

use super::json;
use crate::lease::{Lease, Seat};
use crate::names::{Activities, Holder, Invalid, Label, LeaseId, Platform, PoolName, Tenant};
use crate::time::Timestamp;

/// A record. Texts are empty where there is nothing to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) fence: u64,
    pub(super) holder: &'a str,
    pub(super) tenant: &'a str,
    /// When the seat was granted; none if the record is gone.
    pub(super) started_at: Option<Timestamp>,
    /// Letter of the kind of seat; empty for a concurrent one.
    pub(super) seat: &'a str,
    pub(super) platform: &'a str,
    pub(super) label: &'a str,
    /// JSON array.
    pub(super) activities: &'a str,
    /// The last beat before a leave, and the score, ms, that the leave gave the lease.
    pub(super) left: Option<(Timestamp, i64)>,
    /// The holder as it was given, in a pool that knows it by another form.
    pub(super) given: &'a str,
    /// When its user was last active, where that is reported and kept.
    pub(super) active_at: Option<Timestamp>,
}

impl<'a> Record<'a> {
    /// The record behind a packed text. What is missing or not ours is left out.
    pub(super) fn of(packed: &'a str) -> Self {
        let mut parts = packed.split('\u{1}');
        let mut part = || parts.next().unwrap_or_default();
        let (fence, holder, tenant, started) = (part(), part(), part(), part());
        let (seat, platform, label, activities) = (part(), part(), part(), part());
        let (beat, left, given, active) = (part(), part(), part(), part());
        let number = |text: &str| text.parse::<i64>().ok();
        let fence = number(fence);
        Self {
            fence: fence.unwrap_or_default().cast_unsigned(),
            holder,
            tenant,
            // A fence is the instant of the grant in microseconds, unless another field has it.
            started_at: number(started)
                .or(fence.map(|fence| fence / 1_000))
                .map(Timestamp),
            seat,
            platform,
            label,
            activities,
            left: number(beat).map(Timestamp).zip(number(left)),
            given,
            active_at: number(active).map(Timestamp),
        }
    }
}

/// What is known of a live lease without its record.
#[derive(Clone, Copy)]
pub(super) struct LiveLease {
    pub(super) id: LeaseId,
    /// Its place in the order, ms: the expiry, if no silence put that off.
    pub(super) score: i64,
    pub(super) expires_at: Timestamp,
    pub(super) read_at: Timestamp,
    pub(super) ttls: Ttls,
}

impl LiveLease {
    /// Where it stands in the order of expiry.
    pub(super) fn place(&self) -> (i64, LeaseId) {
        (self.score, self.id)
    }

    /// As its record describes it, if that was read. What the record does not know is left out: the lease lives all the same.
    pub(super) fn lease(&self, pool: &PoolName, packed: &str) -> Lease {
        // An empty part is none, and no value is empty.
        fn text<T>(part: &str, read: impl FnOnce(String) -> Result<T, Invalid>) -> Option<T> {
            read(part.to_owned()).ok()
        }
        let ttl = Duration::from_millis(self.ttls.now.cast_unsigned());
        let record = Record::of(packed);
        let renewed_at = self.ttls.beat(self.score, &record, self.read_at);
        Lease {
            id: self.id,
            pool: pool.clone(),
            holder: Holder::with_key(record.holder, record.given),
            tenant: text(record.tenant, Tenant::recorded),
            label: text(record.label, Label::recorded),
            activities: parse_activities(record.activities),
            platform: text(record.platform, Platform::recorded),
            seat: Seat::from_letter(record.seat),
            fence: record.fence,
            started_at: record.started_at.unwrap_or(renewed_at),
            renewed_at,
            expires_at: self.expires_at,
            expires_in: Duration::from_millis(self.expires_at.since(self.read_at)),
            ttl,
            active_at: record.active_at,
            ends: None,
            seat_requested: None,
        }
    }
}

/// What tells the last beat of a lease from its expiry.
#[derive(Clone, Copy)]
pub(super) struct Ttls {
    /// The TTL of the pool, ms.
    pub(super) now: i64,
    /// The TTL before the last change of it, ms; 0 for none.
    pub(super) before: i64,
    /// When that was, ms.
    pub(super) changed: i64,
}

impl Ttls {
    /// As scripts answer them.
    pub(super) fn of(now: Duration, before: Duration, changed: Timestamp) -> Self {
        Self {
            now: now.as_millis() as i64,
            before: before.as_millis() as i64,
            changed: changed.0,
        }
    }

    /// When a lease with this score was last renewed, ms.
    fn beat(&self, score: i64, record: &Record<'_>, read_at: Timestamp) -> Timestamp {
        if let Some((beat, left)) = record.left
            && left == score
        {
            return beat;
        }
        let beat = score - self.now;
        // A beat before the change of the TTL was for the old one. A longer one puts the beat into the future.
        if self.before > 0 && (beat < self.changed || beat > read_at.0) {
            return Timestamp(score - self.before);
        }
        Timestamp(beat)
    }
}

/// Activities as a record keeps them, if there are any.
pub(super) fn activities_json(activities: &Activities) -> Option<String> {
    (!activities.is_empty()).then(|| json(activities))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_missing_at_the_end_are_empty() {
        let record = Record::of("1764280000123456\u{1}agent-7");
        let expected = Record {
            fence: 1_764_280_000_123_456,
            holder: "agent-7",
            started_at: Some(Timestamp(1_764_280_000_123)),
            ..Record::default()
        };
        assert_eq!(record, expected);
    }

    #[test]
    fn every_part_has_its_place() {
        let packed =
            "9\u{1}a\u{1}b\u{1}1764280000000\u{1}n\u{1}p\u{1}l\u{1}[]\u{1}17\u{1}18\u{1}A\u{1}16";
        let expected = Record {
            fence: 9,
            holder: "a",
            tenant: "b",
            started_at: Some(Timestamp(1_764_280_000_000)),
            seat: "n",
            platform: "p",
            label: "l",
            activities: "[]",
            left: Some((Timestamp(17), 18)),
            given: "A",
            active_at: Some(Timestamp(16)),
        };
        assert_eq!(Record::of(packed), expected);
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        for packed in ["", "what is this"] {
            assert_eq!(Record::of(packed), Record::default(), "{packed}");
        }
    }
}
