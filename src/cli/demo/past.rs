//! Five weeks that nobody lived: people come in the morning, go to lunch, and are denied where all seats are taken.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::DemoPool;
use crate::names::LeaseId;
use crate::store::PastEvent;
use crate::time::Timestamp;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A little less than events are kept.
const LENGTH: i64 = 35 * DAY - HOUR;
/// Since when there are as many seats as now.
const SINCE: i64 = 16 * DAY;
/// Denials of one holder within this time are one, as everywhere.
const RUN: i64 = 2 * MINUTE;

/// Somebody wants a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    at: i64,
    until: i64,
    person: usize,
    tries: u32,
}

/// A time around another one.
fn about(at: i64, spread: i64) -> i64 {
    let part = || rand::random_range(-spread..=spread);
    at + (part() + part()) / 2
}

/// What is said to have happened in a pool until now, in order.
pub(super) fn of(pool: &DemoPool, now: Timestamp) -> Vec<PastEvent> {
    let begin = now.0 - LENGTH;
    let mut wishes: BinaryHeap<Reverse<Wish>> = wishes(pool, begin, now.0)
        .into_iter()
        .map(Reverse)
        .collect();
    let mut live: BinaryHeap<Reverse<(i64, String, usize)>> = BinaryHeap::new();
    let mut denied: HashMap<usize, i64> = HashMap::new();
    let mut events = vec![configured(begin, pool.before)];
    let mut capacity = pool.before;
    // Whoever is there when the demo begins is there for real.
    let last = now.0 - 1_000;
    while let Some(Reverse(wish)) = wishes.pop() {
        if wish.at >= last {
            break;
        }
        while let Some(Reverse((until, ..))) = live.peek()
            && *until <= wish.at
        {
            events.extend(live.pop().map(|Reverse(ended)| end(pool, ended)));
        }
        if capacity != pool.capacity && now.0 - SINCE <= wish.at {
            capacity = pool.capacity;
            events.push(configured(wish.at, capacity));
        }
        if live.len() < capacity as usize {
            let lease = LeaseId::random().to_string();
            events.push(event(pool, wish.at, "started", &lease, wish.person, ""));
            if pool.counts_idle {
                events.extend(idle_stretch(&lease, wish.at, wish.until.min(last)));
            }
            live.push(Reverse((wish.until.min(last), lease, wish.person)));
        } else {
            let is_new = denied
                .get(&wish.person)
                .is_none_or(|before| before + RUN < wish.at);
            if is_new {
                denied.insert(wish.person, wish.at);
                events.push(event(pool, wish.at, "denied", "", wish.person, "pool_full"));
            }
            if wish.tries < 8 {
                let wait = rand::random_range(40_000..6 * MINUTE);
                let (at, tries) = (wish.at + wait, wish.tries + 1);
                wishes.push(Reverse(Wish { at, tries, ..wish }));
            }
        }
    }
    while let Some(Reverse(ended)) = live.pop() {
        events.push(end(pool, ended));
    }
    // Idle stretches were noted with the start of their lease.
    events.sort_by_key(|event| event.at);
    events
}

/// A time for which somebody is away and keeps the seat, in most leases that are long enough. It names nobody, as the policy wants it.
fn idle_stretch(lease: &str, from: i64, until: i64) -> Vec<PastEvent> {
    let longest = until - from - 40 * MINUTE;
    if longest < 30 * MINUTE || rand::random_range(0..6) == 0 {
        return Vec::new();
    }
    let length = rand::random_range(20 * MINUTE..longest);
    let begin = from + rand::random_range(20 * MINUTE..until - from - length - 10 * MINUTE);
    let change = |at, kind, idle| PastEvent {
        at: Timestamp(at),
        kind,
        lease: lease.to_owned(),
        holder: String::new(),
        tenant: String::new(),
        reason: String::new(),
        idle,
    };
    vec![
        change(begin, "idle", 1),
        change(begin + length, "active", -1),
    ]
}

/// Who wants a seat when, if there is always one.
fn wishes(pool: &DemoPool, begin: i64, now: i64) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let first = begin - begin.rem_euclid(DAY);
    let days = (now - first) / DAY;
    for day in 0..=days {
        let midnight = first + day * DAY;
        // The epoch was a Thursday.
        let weekday = (midnight / DAY + 3).rem_euclid(7);
        if weekday >= 5 && !pool.weekends {
            continue;
        }
        // More come from week to week, most on Mondays.
        let share =
            0.68 + 0.22 * day as f64 / days.max(1) as f64 + if weekday == 0 { 0.08 } else { 0.0 };
        for person in 0..pool.people {
            if rand::random::<f64>() > share {
                continue;
            }
            let (opens, closes) = pool.hours;
            // Two shifts, which overlap at noon.
            let late = person % 3 == 2;
            let length = (closes - opens) * HOUR * 3 / 4;
            let comes = midnight
                + if late {
                    closes * HOUR - length
                } else {
                    opens * HOUR
                };
            let comes = about(comes, 50 * MINUTE);
            let goes = about(comes + length, 40 * MINUTE);
            let lunch = about(comes + length / 2, 45 * MINUTE);
            let back = lunch + rand::random_range(25 * MINUTE..70 * MINUTE);
            for (at, until) in [(comes, lunch), (back, goes)] {
                if begin < at && at < until && at < now {
                    wishes.push(Wish {
                        at,
                        until,
                        person,
                        tries: 0,
                    });
                }
            }
        }
    }
    wishes
}

fn event(
    pool: &DemoPool,
    at: i64,
    kind: &'static str,
    lease: &str,
    person: usize,
    reason: &str,
) -> PastEvent {
    PastEvent {
        at: Timestamp(at),
        kind,
        lease: lease.to_owned(),
        holder: pool.person(person),
        tenant: pool.tenant(person).unwrap_or_default().to_owned(),
        reason: reason.to_owned(),
        idle: 0,
    }
}

fn end(pool: &DemoPool, (at, lease, person): (i64, String, usize)) -> PastEvent {
    let reason = match rand::random_range(0..20) {
        0 => "terminated",
        1..4 => "expired",
        _ => "released",
    };
    event(pool, at, "ended", &lease, person, reason)
}

fn configured(at: i64, capacity: u32) -> PastEvent {
    PastEvent {
        at: Timestamp(at),
        kind: "configured",
        lease: String::new(),
        holder: String::new(),
        tenant: String::new(),
        reason: capacity.to_string(),
        idle: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::POOLS;

    #[test]
    fn the_past_breaks_no_rule_and_has_everything_to_look_at() {
        let now = Timestamp(1_795_000_000_000);
        for pool in &POOLS {
            let events = of(pool, now);
            assert!(events.is_sorted_by_key(|event| event.at), "{}", pool.name);
            let (mut live, mut capacity, mut idle) = (HashMap::new(), 0, 0);
            for event in &events {
                assert!(event.at < now && now.0 - LENGTH <= event.at.0);
                match event.kind {
                    "configured" => capacity = event.reason.parse().unwrap(),
                    "started" => {
                        live.insert(event.lease.clone(), ());
                    }
                    "ended" => live.remove(&event.lease).expect("it was live"),
                    "idle" | "active" => assert!(live.contains_key(&event.lease)),
                    _ => {}
                }
                idle += event.idle;
                assert!(live.len() <= capacity, "{}", pool.name);
                assert!((0..=live.len()).contains(&usize::try_from(idle).unwrap()));
            }
            assert!(live.is_empty(), "{}", pool.name);
            let of_kind = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
            assert!(of_kind("started") > 300, "{}", pool.name);
            assert_eq!(of_kind("idle") > 100, pool.counts_idle, "{}", pool.name);
            if pool.people > pool.capacity as usize {
                assert!(of_kind("denied") > 10, "{}", pool.name);
            }
        }
    }
}
