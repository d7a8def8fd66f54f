//! What is known of a lease until its end is written down. `lua/parts/record.lua` packs it.

use crate::lease::Instant;

/// A record. Texts are empty where there is nothing to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) fence: u64,
    pub(super) holder: &'a str,
    pub(super) tenant: &'a str,
    /// When the seat was granted; none if the record is gone.
    pub(super) started_at: Option<Instant>,
    /// Letter of the kind of seat; empty for a concurrent one.
    pub(super) seat: &'a str,
    pub(super) platform: &'a str,
    pub(super) label: &'a str,
    /// JSON array.
    pub(super) activities: &'a str,
    /// The last beat before a leave, and the score, ms, that the leave gave the lease.
    pub(super) left: Option<(Instant, i64)>,
}

impl<'a> Record<'a> {
    /// The record behind a packed text. What is missing or not ours is left out.
    pub(super) fn of(packed: &'a str) -> Self {
        let mut parts = packed.split('\u{1}');
        let mut part = || parts.next().unwrap_or_default();
        let (fence, holder, tenant, started) = (part(), part(), part(), part());
        let (seat, platform, label, activities) = (part(), part(), part(), part());
        let (beat, left) = (part(), part());
        let number = |text: &str| text.parse::<i64>().ok();
        let fence = number(fence);
        Self {
            fence: fence.unwrap_or_default().cast_unsigned(),
            holder,
            tenant,
            // A fence is the instant of the grant in microseconds, unless another text says when that was.
            started_at: number(started)
                .or(fence.map(|fence| fence / 1_000))
                .map(Instant),
            seat,
            platform,
            label,
            activities,
            left: number(beat).map(Instant).zip(number(left)),
        }
    }
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
            started_at: Some(Instant(1_764_280_000_123)),
            ..Record::default()
        };
        assert_eq!(record, expected);
    }

    #[test]
    fn every_part_has_its_place() {
        let packed = "9\u{1}a\u{1}b\u{1}1764280000000\u{1}n\u{1}p\u{1}l\u{1}[]\u{1}17\u{1}18";
        let expected = Record {
            fence: 9,
            holder: "a",
            tenant: "b",
            started_at: Some(Instant(1_764_280_000_000)),
            seat: "n",
            platform: "p",
            label: "l",
            activities: "[]",
            left: Some((Instant(17), 18)),
        };
        assert_eq!(Record::of(packed), expected);
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        assert_eq!(Record::of(""), Record::default());
        assert_eq!(
            Record::of("what is this"),
            Record {
                fence: 0,
                ..Record::default()
            }
        );
    }
}
