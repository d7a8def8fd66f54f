//! Who used a pool, how often and how long.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use chrono::NaiveDate;
use chrono_tz::Tz;

use super::denials::{Denial, PATIENCE_MS};
use super::reading;
use super::usage::{date, midnight};
use crate::blocking;
use crate::names::{PoolName, Tenant};
use crate::store::{Error, Event, EventId, Store};
use crate::time::Timestamp;

/// What one holder did in a range of time. Leases of the anonymous are one holder without a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HolderUsage {
    /// Leases that were live at some instant of the range. One that was resumed is one.
    pub leases: u64,
    /// Time for which they were, together, in milliseconds.
    pub held_ms: u64,
    /// Time for which they were idle beyond what the policy says, together, in milliseconds.
    pub idle_ms: u64,
    /// The first instant of the range at which one was.
    pub first_seen_at: Option<Timestamp>,
    /// The last instant of the range at which one was.
    pub last_seen_at: Option<Timestamp>,
}

/// What each holder did from one instant to another, by name, as long as events are kept. Leases that
/// began before that are left out: whose they are is not known any more. Only for these tenants, if some are given.
pub async fn holders(
    store: &Store,
    pool: &PoolName,
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
    own: Option<&BTreeSet<Tenant>>,
) -> Result<BTreeMap<Option<String>, HolderUsage>, Error> {
    let until = to.min(now);
    let mut report = Report::new(from, until);
    reading::each(store, pool, EventId::default(), |event| {
        if !reading::is_foreign(&event, own) {
            report.add(event);
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(blocking::run(|| report.finish()).await)
}

/// Whether what a tenant did is among what some tenants did; all of it is if none are named.
pub fn is_of(own: Option<&BTreeSet<Tenant>>, tenant: Option<&str>) -> bool {
    own.is_none_or(|own| own.iter().any(|own| Some(own.as_str()) == tenant))
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
    /// Its denials one by one, oldest first, and when a seat came after all.
    pub denied: Vec<Denial>,
    /// Its leases that ended, oldest first.
    pub ended: Vec<EndedLife>,
    /// Begin and end of each time for which it held a seat.
    held: Vec<(Timestamp, Timestamp)>,
}

/// A life of a lease that is over. One that was resumed has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedLife {
    /// Its id.
    pub lease: String,
    /// When it began, or was resumed.
    pub since: Timestamp,
    /// When it ended.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

impl HolderHistory {
    /// For how long leases were live on each day of a zone, together, in milliseconds; days without any are left out.
    pub fn held_by_day(&self, zone: Tz) -> BTreeMap<NaiveDate, u64> {
        let mut days = BTreeMap::new();
        for &(since, until) in &self.held {
            let mut at = since;
            days.entry(date(at, zone)).or_default();
            while at < until {
                let day = date(at, zone);
                let next = day.succ_opt().map(|next| midnight(next, zone));
                let end = next.filter(|next| at < *next).unwrap_or(until).min(until);
                *days.entry(day).or_default() += end.since(at);
                at = end;
            }
        }
        days
    }
}

/// What one holder did in a pool from an instant on, as long as events are kept. Only for these tenants, if some are given.
pub async fn holder(
    store: &Store,
    pool: &PoolName,
    name: &str,
    from: Timestamp,
    now: Timestamp,
    own: Option<&BTreeSet<Tenant>>,
) -> Result<HolderHistory, Error> {
    let mut report = Report::new(from, now);
    let mut found = HolderHistory::default();
    reading::each(store, pool, EventId::default(), |event| {
        let is_own = event.holder.as_deref() == Some(name) && !reading::is_foreign(&event, own);
        let reason = || event.reason.clone().unwrap_or_default();
        match (event.kind.as_str(), &event.lease) {
            ("denied", _) if is_own && from <= event.at => {
                *found.denials.entry(reason()).or_default() += 1;
                found.denied.push(Denial::of(event.clone()));
            }
            ("started" | "resumed", _) if is_own => {
                let open = found.denied.iter_mut().rev();
                for denial in open.take_while(|denial| denial.granted_at.is_none()) {
                    if event.at.0 <= denial.at.0 + PATIENCE_MS {
                        denial.grant(event.at);
                    }
                }
            }
            // The end of a lease that expired does not say whose it was.
            ("ended", Some(lease)) if from <= event.at => {
                if let Some((since, _)) = report.live.get(lease) {
                    *found.ends.entry(reason()).or_default() += 1;
                    found.held.push((*since.max(&from), event.at));
                    found.ended.push(EndedLife {
                        lease: lease.clone(),
                        since: *since,
                        at: event.at,
                        reason: reason(),
                    });
                }
            }
            _ => {}
        }
        // Of the others nothing is kept.
        if is_own || matches!(event.kind.as_str(), "ended" | "idle" | "active") {
            report.add(event);
        }
        ControlFlow::Continue(())
    })
    .await?;
    for denial in &mut found.denied {
        denial.settle(now);
    }
    let living = report.live.values();
    found
        .held
        .extend(living.map(|(since, _)| (*since.max(&from), now)));
    let used = report.finish().remove(&Some(name.to_owned()));
    found.used = used.unwrap_or_default();
    Ok(found)
}

struct Report {
    from: Timestamp,
    until: Timestamp,
    /// Lease id -> since when it lives, and whose it is.
    live: HashMap<String, (Timestamp, Option<String>)>,
    /// Lease id -> since when it is idle.
    idle: HashMap<String, Timestamp>,
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
            idle: HashMap::new(),
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
            "idle" => {
                self.idle.insert(id, event.at);
            }
            "active" => self.count_idle(&id, event.at),
            "ended" => {
                self.count_idle(&id, event.at);
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

    /// Counts the part of an idle stretch that lies in the range.
    fn count_idle(&mut self, id: &str, end: Timestamp) {
        let Some(since) = self.idle.remove(id) else {
            return;
        };
        let (begin, end) = (since.max(self.from), end.min(self.until));
        if begin < end
            && let Some((_, holder)) = self.live.get(id)
        {
            self.holders.entry(holder.clone()).or_default().idle_ms += end.since(begin);
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
        held.first_seen_at = held.first_seen_at.or(Some(begin)).min(Some(begin));
        held.last_seen_at = held.last_seen_at.max(Some(end));
        true
    }

    fn finish(mut self) -> BTreeMap<Option<String>, HolderUsage> {
        let still_idle: Vec<String> = self.idle.keys().cloned().collect();
        for id in still_idle {
            self.count_idle(&id, self.until);
        }
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
            idle: 0,
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
    fn a_night_shift_is_told_on_both_of_its_days() {
        let at = |text: &str| {
            Timestamp(
                text.parse::<chrono::DateTime<chrono::Utc>>()
                    .unwrap()
                    .timestamp_millis(),
            )
        };
        let history = HolderHistory {
            held: vec![
                // Clocks go back in this night.
                (at("2026-10-24T20:00:00Z"), at("2026-10-25T05:00:00Z")),
                (at("2026-10-25T10:00:00Z"), at("2026-10-25T10:30:00Z")),
            ],
            ..HolderHistory::default()
        };
        let days = history.held_by_day(Tz::Europe__Zurich);
        let day = |day| NaiveDate::from_ymd_opt(2026, 10, day).unwrap();
        let expected = [
            (day(24), 2 * 3_600_000),
            (day(25), 7 * 3_600_000 + 1_800_000),
        ];
        assert_eq!(days, BTreeMap::from(expected));
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
