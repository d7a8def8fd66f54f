//! What each sub-account did in a pool: its leases, their time, the most at once, and its denials.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::ops::ControlFlow;

use super::denials;
use super::reading;
use crate::blocking;
use crate::names::PoolName;
use crate::store::{Error, Event, EventId, Store};
use crate::time::Timestamp;

/// How late an end may be written and still be in its place, ms.
const LATE_MS: i64 = 60_000;
/// Denials that are looked at in one go.
const PAGE: usize = 1_000;

/// What one tenant did in a range of time. Who belongs to none is a tenant without a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantUsage {
    /// Leases that were live at some instant of the range.
    pub leases: u64,
    /// Time for which they were, together, in milliseconds.
    pub held_ms: u64,
    /// The most of them at once.
    pub peak: u64,
    /// Runs of denials.
    pub denials: u64,
    /// Those of them after which the holder got no seat within two minutes.
    pub true_denials: u64,
}

/// What each tenant did from one instant to another, by name, as long as events are kept.
pub async fn tenants(
    store: &Store,
    pool: &PoolName,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Result<BTreeMap<Option<String>, TenantUsage>, Error> {
    let until = to.min(now);
    let mut report = Report::new(from, until);
    reading::each(store, pool, EventId::default(), |event| {
        report.add(event);
        ControlFlow::Continue(())
    })
    .await?;
    let mut tenants = blocking::run(|| report.finish()).await;

    let mut after = EventId::before_ms(from.0);
    loop {
        let (found, next) =
            denials::denials(store, pool, after, to, PAGE, denials::SOON_MS, now, None).await?;
        for denial in found {
            let used = tenants.entry(denial.tenant).or_default();
            used.denials += 1;
            used.true_denials += u64::from(denial.true_denial == Some(true));
        }
        let Some(next) = next else {
            return Ok(tenants);
        };
        after = next;
    }
}

struct Report {
    from: Timestamp,
    until: Timestamp,
    names: Vec<Option<String>>,
    numbers: HashMap<Option<String>, usize>,
    used: Vec<TenantUsage>,
    /// How many leases each has, as far as events are in their order.
    levels: Vec<u64>,
    /// Lease id -> since when it lives, and whose it is.
    live: HashMap<String, (Timestamp, usize)>,
    /// Leases that ended by time and are counted: they may be resumed.
    counted: HashSet<String>,
    /// Starts and ends that may still be out of order: when, in which order written, whose, and whether it is a start.
    recent: BinaryHeap<Reverse<(i64, u64, usize, bool)>>,
    written: u64,
}

impl Report {
    fn new(from: Timestamp, until: Timestamp) -> Self {
        Self {
            from,
            until,
            names: Vec::new(),
            numbers: HashMap::new(),
            used: Vec::new(),
            levels: Vec::new(),
            live: HashMap::new(),
            counted: HashSet::new(),
            recent: BinaryHeap::new(),
            written: 0,
        }
    }

    fn number(&mut self, tenant: Option<String>) -> usize {
        if let Some(number) = self.numbers.get(&tenant) {
            return *number;
        }
        let number = self.names.len();
        self.names.push(tenant.clone());
        self.numbers.insert(tenant, number);
        self.used.push(TenantUsage::default());
        self.levels.push(0);
        number
    }

    fn add(&mut self, event: Event) {
        let Some(id) = event.lease else { return };
        match event.kind.as_str() {
            "started" | "resumed" | "rebuilt" => {
                let tenant = self.number(event.tenant);
                self.live.insert(id, (event.at, tenant));
                self.change(event.at, tenant, true);
            }
            "ended" => {
                if let Some((since, tenant)) = self.live.remove(&id) {
                    let is_new = !self.counted.remove(&id);
                    let is_counted = self.count(since, event.at, tenant, is_new) || !is_new;
                    if is_counted && event.reason.as_deref() == Some("expired") {
                        self.counted.insert(id);
                    }
                    self.change(event.at, tenant, false);
                }
            }
            _ => {}
        }
        self.settle(event.id.written_ms() - LATE_MS);
    }

    fn change(&mut self, at: Timestamp, tenant: usize, is_start: bool) {
        self.written += 1;
        let change = (at.0, self.written, tenant, is_start);
        self.recent.push(Reverse(change));
    }

    /// Counts changes up to an instant before which none is written any more.
    fn settle(&mut self, up_to_ms: i64) {
        while self.recent.peek().is_some_and(|next| next.0.0 <= up_to_ms) {
            let Some(Reverse((at, _, tenant, is_start))) = self.recent.pop() else {
                return;
            };
            if self.until.0 <= at {
                continue;
            }
            let level = &mut self.levels[tenant];
            *level = if is_start {
                *level + 1
            } else {
                level.saturating_sub(1)
            };
            let peak = &mut self.used[tenant].peak;
            *peak = if at <= self.from.0 {
                *level
            } else {
                *level.max(peak)
            };
        }
    }

    /// Counts the part of a life that lies in the range, if there is one, and the lease, if it was not counted before.
    fn count(&mut self, since: Timestamp, end: Timestamp, tenant: usize, is_new: bool) -> bool {
        let (begin, end) = (since.max(self.from), end.min(self.until));
        if end < begin {
            return false;
        }
        self.used[tenant].leases += u64::from(is_new);
        self.used[tenant].held_ms += end.since(begin);
        true
    }

    fn finish(mut self) -> BTreeMap<Option<String>, TenantUsage> {
        self.settle(i64::MAX);
        for (id, (since, tenant)) in std::mem::take(&mut self.live) {
            let is_new = !self.counted.contains(&id);
            self.count(since, self.until, tenant, is_new);
        }
        self.names
            .into_iter()
            .zip(self.used)
            .filter(|(_, used)| *used != TenantUsage::default())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_are_written_late_make_no_peak() {
        let mut report = Report::new(Timestamp(1_000), Timestamp(100_000));
        let mut number = 0;
        let mut add = |kind: &str, at: i64, written: i64, lease: &str, tenant: Option<&str>| {
            number += 1;
            report.add(Event {
                id: format!("{written}-{number}").parse().unwrap(),
                kind: kind.into(),
                at: Timestamp(at),
                lease: Some(lease.into()),
                holder: None,
                tenant: tenant.map(Into::into),
                reason: None,
                seats: None,
                idle: 0,
                waited_ms: None,
                silence: None,
            });
        };
        // Two before the range, of which one reaches into it.
        add("started", 10, 10, "a", Some("acme"));
        add("started", 20, 20, "b", Some("acme"));
        add("ended", 500, 500, "b", None);
        // The end of `a` is noticed after `c` has begun.
        add("started", 3_000, 3_000, "c", Some("acme"));
        add("ended", 2_900, 4_000, "a", None);
        add("started", 5_000, 5_000, "d", None);
        // Begins when the range is over.
        add("started", 150_000, 150_000, "e", Some("later"));
        let tenants = report.finish();
        let acme = &tenants[&Some("acme".to_owned())];
        assert_eq!((acme.leases, acme.peak), (2, 1));
        assert_eq!(acme.held_ms, 1_900 + 97_000);
        assert_eq!(tenants[&None].held_ms, 95_000);
        assert_eq!(tenants.len(), 2);
    }
}
