//! Who used a pool, how often and how long.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use super::reading;
use crate::blocking;
use crate::names::PoolName;
use crate::store::{Error, Event, EventId, Store};
use crate::time::Timestamp;

/// What one holder did in a range of time. Leases of the anonymous are one holder without a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HolderUsage {
    /// Leases that were live at some instant of the range. One that was resumed is one.
    pub leases: u64,
    /// Time for which they were, together, in milliseconds.
    pub held_ms: u64,
    /// The last instant of the range at which one was.
    pub last_seen_at: Option<Timestamp>,
}

/// What each holder did from one instant to another, by name, as long as events are kept. Leases that
/// began before that are left out: whose they are is not known any more.
pub async fn holders(
    store: &Store,
    pool: &PoolName,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Result<BTreeMap<Option<String>, HolderUsage>, Error> {
    let until = to.min(now);
    let mut report = Report::new(from, until);
    reading::each(store, pool, EventId::default(), |event| {
        report.add(event);
        ControlFlow::Continue(())
    })
    .await?;
    Ok(blocking::run(|| report.finish()).await)
}

/// What one person did in a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HolderHistory {
    /// How often and how long it held a seat.
    pub used: HolderUsage,
    /// How often it was denied, by reason.
    pub denials: BTreeMap<String, u64>,
    /// How its leases ended, by reason.
    pub ends: BTreeMap<String, u64>,
}

/// What one holder did in a pool from an instant on, as long as events are kept.
pub async fn holder(
    store: &Store,
    pool: &PoolName,
    name: &str,
    from: Timestamp,
    now: Timestamp,
) -> Result<HolderHistory, Error> {
    let mut report = Report::new(from, now);
    let (mut denials, mut ends) = (BTreeMap::new(), BTreeMap::new());
    reading::each(store, pool, EventId::default(), |event| {
        let is_own = event.holder.as_deref() == Some(name);
        let lease = event.lease.as_deref().unwrap_or_default();
        let counts = match event.kind.as_str() {
            "denied" if is_own => Some(&mut denials),
            // The end of a lease that expired does not say whose it was.
            "ended" if report.live.contains_key(lease) => Some(&mut ends),
            _ => None,
        };
        if let Some(counts) = counts.filter(|_| from <= event.at) {
            *counts
                .entry(event.reason.clone().unwrap_or_default())
                .or_insert(0) += 1;
        }
        // Of the others nothing is kept.
        if is_own || event.kind == "ended" {
            report.add(event);
        }
        ControlFlow::Continue(())
    })
    .await?;
    let used = report.finish().remove(&Some(name.to_owned()));
    Ok(HolderHistory {
        used: used.unwrap_or_default(),
        denials,
        ends,
    })
}

struct Report {
    from: Timestamp,
    until: Timestamp,
    /// Lease id -> since when it lives, and whose it is.
    live: HashMap<String, (Timestamp, Option<String>)>,
    /// Leases that ended by time and are counted: they may be resumed.
    counted: HashSet<String>,
    holders: BTreeMap<Option<String>, HolderUsage>,
}

impl Report {
    fn new(from: Timestamp, until: Timestamp) -> Self {
        Self {
            from,
            until,
            live: HashMap::new(),
            counted: HashSet::new(),
            holders: BTreeMap::new(),
        }
    }

    fn add(&mut self, event: Event) {
        let Some(id) = event.lease else { return };
        match event.kind.as_str() {
            "started" | "resumed" | "rebuilt" => {
                self.live.insert(id, (event.at, event.holder));
            }
            "ended" => {
                if let Some((since, holder)) = self.live.remove(&id) {
                    let is_new = !self.counted.remove(&id);
                    let is_counted = self.count(since, event.at, holder, is_new) || !is_new;
                    if is_counted && event.reason.as_deref() == Some("expired") {
                        self.counted.insert(id);
                    }
                }
            }
            _ => {}
        }
    }

    /// Counts the part of a life that lies in the range, if there is one, and the lease, if it was not counted before.
    fn count(
        &mut self,
        since: Timestamp,
        end: Timestamp,
        holder: Option<String>,
        is_new: bool,
    ) -> bool {
        let (begin, end) = (since.max(self.from), end.min(self.until));
        if end < begin {
            return false;
        }
        let held = self.holders.entry(holder).or_default();
        held.leases += u64::from(is_new);
        held.held_ms += end.since(begin);
        held.last_seen_at = held.last_seen_at.max(Some(end));
        true
    }

    fn finish(mut self) -> BTreeMap<Option<String>, HolderUsage> {
        for (id, (since, holder)) in std::mem::take(&mut self.live) {
            let is_new = !self.counted.contains(&id);
            self.count(since, self.until, holder, is_new);
        }
        self.holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, at: i64, lease: &str, holder: Option<&str>) -> Event {
        Event {
            id: EventId::default(),
            kind: kind.into(),
            at: Timestamp(at),
            lease: Some(lease.into()),
            holder: holder.map(Into::into),
            tenant: None,
            reason: None,
            seats: None,
            waited_ms: None,
            silence: None,
        }
    }

    #[test]
    fn only_the_part_of_a_life_that_lies_in_the_range_counts() {
        let mut report = Report::new(Timestamp(100), Timestamp(200));
        for event in [
            event("started", 50, "a", Some("ann")),
            event("ended", 130, "a", None),
            event("started", 150, "b", Some("ann")),
            event("started", 10, "c", Some("bob")),
            event("ended", 20, "c", None),
        ] {
            report.add(event);
        }
        let holders = report.finish();
        let ann = &holders[&Some("ann".to_owned())];
        assert_eq!((ann.leases, ann.held_ms), (2, 30 + 50));
        assert_eq!(ann.last_seen_at, Some(Timestamp(200)));
        assert!(!holders.contains_key(&Some("bob".to_owned())));
    }

    #[test]
    fn a_lease_that_is_resumed_is_one_lease() {
        let mut report = Report::new(Timestamp(100), Timestamp(200));
        let expired = |at, lease| Event {
            reason: Some("expired".into()),
            ..event("ended", at, lease, None)
        };
        for event in [
            event("started", 110, "a", Some("ann")),
            expired(120, "a"),
            event("resumed", 130, "a", Some("ann")),
            expired(140, "a"),
            event("resumed", 150, "a", Some("ann")),
            // Its first life lies before the range.
            event("started", 10, "b", Some("bob")),
            expired(20, "b"),
            event("resumed", 190, "b", Some("bob")),
            event("ended", 195, "b", None),
        ] {
            report.add(event);
        }
        let holders = report.finish();
        let held = |name: &str| {
            let held = &holders[&Some(name.to_owned())];
            (held.leases, held.held_ms)
        };
        assert_eq!(held("ann"), (1, 10 + 10 + 50));
        assert_eq!(held("bob"), (1, 5));
    }
}
