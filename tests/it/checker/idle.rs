//! Seats that nobody uses, and seats that are held for too long: who gives way, in which order, to whom, and what it hears. By the pool's
//! own events, what its clients reported, and what they heard.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::harness::Event;

/// What a heartbeat reported of a lease.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) id: Arc<str>,
    /// When it was taken in, by Redis's clock, ms.
    pub(crate) at: i64,
    /// For how long its user had done nothing, ms; none if that is not known, or if it works on something.
    pub(crate) idle: Option<i64>,
}

/// All that is known of the use of a pool's seats, in a pool whose policies give seats to those who need them.
#[derive(Debug, Clone)]
pub(crate) struct SeatUse {
    /// A seat is idle when its last report says at least so long, ms.
    pub(crate) after_ms: i64,
    /// A seat may be held for so long, ms.
    pub(crate) hold_ms: i64,
    /// In the order in which they were written.
    pub(crate) events: Vec<Event>,
    pub(crate) reports: Vec<Report>,
    /// What holders heard of the end of their leases: the reason, if there was one.
    pub(crate) ends: Vec<(Arc<str>, Option<String>)>,
    /// Leases of which a report was sent and nobody knows whether it was taken in.
    pub(crate) unclear: HashSet<Arc<str>>,
}

/// By how much the last activity may be known less exactly, ms: a report that moves it by less is not written down.
const LAG: i64 = 1_000;

impl SeatUse {
    /// What is wrong; empty if nothing is.
    pub(crate) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut reports: HashMap<&str, Vec<&Report>> = HashMap::new();
        for report in &self.reports {
            reports.entry(&report.id).or_default().push(report);
        }
        for of_lease in reports.values_mut() {
            of_lease.sort_by_key(|report| report.at);
        }
        // Since when a lease is idle by its last report: as it may be, and as it is for sure, at an instant.
        let idle_since = |report: &Report| {
            let idle = report.idle.filter(|idle| self.after_ms <= *idle)?;
            Some(report.at - idle)
        };
        let known = |id: &str, at: i64| -> (Vec<i64>, Option<i64>) {
            let of_lease = reports.get(id).map_or(&[][..], Vec::as_slice);
            let before = of_lease.partition_point(|report| report.at < at);
            let last = before.checked_sub(1).map(|place| of_lease[place]);
            // In the same millisecond a report may have come before or after.
            let beside = of_lease[before..]
                .iter()
                .take_while(|report| report.at == at);
            let beside: Vec<&Report> = beside.copied().collect();
            let is_clear = beside.is_empty() && !self.unclear.contains(id);
            let surely = last.and_then(&idle_since).filter(|_| is_clear);
            let possible = last.into_iter().chain(beside);
            (possible.filter_map(&idle_since).collect(), surely)
        };
        // Lease -> when it began.
        let mut live: BTreeMap<&str, i64> = BTreeMap::new();
        // An end for which nobody has begun yet.
        let mut owed: Option<&Event> = None;
        let mut ended_by_policy: HashMap<&str, &str> = HashMap::new();
        for event in &self.events {
            let begins = ["started", "resumed", "rebuilt"].contains(&event.kind.as_str());
            let by_policy =
                event.kind == "ended" && ["idle", "max_hold"].contains(&event.reason.as_str());
            if let Some(end) = owed
                && (event.at > end.at || by_policy)
            {
                wrong.push(format!("one for one: nobody began for {end:?}"));
                owed = None;
            }
            if begins {
                live.insert(&event.id, event.at);
                owed = None;
            }
            if event.kind != "ended" {
                continue;
            }
            let began = live.remove(event.id.as_str());
            if !by_policy {
                continue;
            }
            owed = Some(event);
            ended_by_policy.insert(&event.id, &event.reason);
            let idle_for_sure = live
                .keys()
                .filter_map(|other| Some((other, known(other, event.at).1?)));
            if event.reason == "max_hold" {
                let began = began.unwrap_or(event.at);
                if event.at - began < self.hold_ms {
                    let held = event.at - began;
                    wrong.push(format!("active: {event:?} was held for {held} ms only"));
                }
                for (other, since) in idle_for_sure {
                    wrong.push(format!(
                        "order: {event:?} gave way, and {other} was idle since {since}"
                    ));
                }
                for (other, _) in live.iter().filter(|(_, other)| **other < began) {
                    wrong.push(format!(
                        "order: {event:?} gave way, and {other} was held for longer"
                    ));
                }
                continue;
            }
            if self.unclear.contains(event.id.as_str()) {
                continue;
            }
            let (possible, _) = known(&event.id, event.at);
            let Some(own) = possible.iter().min() else {
                wrong.push(format!("active: {event:?} was not idle by its last report"));
                continue;
            };
            for (other, since) in idle_for_sure.filter(|(_, since)| since + LAG < *own) {
                wrong.push(format!(
                    "order: {event:?} gave way, and {other} was idle {} ms longer",
                    own - since
                ));
            }
        }
        if let Some(end) = owed {
            wrong.push(format!("one for one: nobody began for {end:?}"));
        }
        for (id, reason) in &self.ends {
            let because = ended_by_policy.get(id.as_ref()).copied();
            if because != reason.as_deref() {
                wrong.push(format!(
                    "reason: {id} ended for {because:?} and heard {reason:?}"
                ));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn event(kind: &str, id: &str, at: i64, reason: &str) -> Event {
        Event {
            kind: kind.to_owned(),
            id: id.to_owned(),
            at,
            holder: String::new(),
            reason: reason.to_owned(),
        }
    }

    fn report(id: &str, at: i64, minutes: i64) -> Report {
        Report {
            id: id.into(),
            at,
            idle: Some(minutes * MINUTE),
        }
    }

    /// Two seats, Ann and Bob idle, Bob for longer; Cid and then Dan need one.
    fn right() -> SeatUse {
        SeatUse {
            after_ms: 15 * MINUTE,
            hold_ms: 8_000,
            events: vec![
                event("started", "ann", 1_000, ""),
                event("started", "bob", 1_001, ""),
                event("idle", "ann", 2_000, ""),
                event("idle", "bob", 2_001, ""),
                event("ended", "bob", 3_000, "idle"),
                event("started", "cid", 3_000, ""),
                event("ended", "ann", 3_001, "idle"),
                event("started", "dan", 3_001, ""),
                event("ended", "dan", 4_000, "released"),
                event("started", "eve", 4_500, ""),
                event("ended", "cid", 11_000, "max_hold"),
                event("started", "fay", 11_000, ""),
            ],
            reports: vec![
                report("ann", 2_000, 20),
                report("bob", 2_001, 30),
                report("cid", 3_500, 0),
            ],
            ends: vec![
                ("ann".into(), Some("idle".into())),
                ("bob".into(), Some("idle".into())),
                ("cid".into(), Some("max_hold".into())),
            ],
            unclear: HashSet::new(),
        }
    }

    #[test]
    fn in_what_is_right_it_finds_nothing() {
        assert_eq!(right().check(), [""; 0]);
        // Whoever reports in the same millisecond may have come too late.
        let mut same = right();
        same.reports.push(report("bob", 3_000, 0));
        assert_eq!(same.check(), [""; 0]);
    }

    #[test]
    fn it_finds_each_mistake() {
        let finds = |word: &str, spoil: &dyn Fn(&mut SeatUse)| {
            let mut spoilt = right();
            spoil(&mut spoilt);
            let found = spoilt.check();
            let names = |found: &String| found.starts_with(word);
            assert!(
                !found.is_empty() && found.iter().all(names),
                "{word}: {found:?}"
            );
        };
        finds("active", &|seats| {
            seats.reports.push(report("bob", 2_500, 0));
        });
        finds("order", &|seats| {
            seats.reports[0] = report("ann", 2_000, 40);
        });
        finds("one for one", &|seats| drop(seats.events.remove(7)));
        finds("one for one", &|seats| drop(seats.events.remove(11)));
        finds("reason", &|seats| seats.ends[0].1 = None);
        finds("active", &|seats| seats.hold_ms = 8_001);
        // Eve is idle, and Eve was there before.
        finds("order", &|seats| {
            seats.reports.push(report("eve", 9_000, 20));
        });
        finds("order", &|seats| {
            let eve = seats.events.remove(9);
            seats.events.insert(5, Event { at: 2_999, ..eve });
        });
    }
}
