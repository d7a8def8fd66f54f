//! Requests that were refused: how many a caller may have, and how many become entries of the trail.
//!
//! Each key has its own bounds, and so has each network of callers that nobody knows, so that nobody can push what others did
//! out of the trail or out of the log. The first few are entries of their own. Further ones are counted, and become one entry with their number,
//! after pauses that grow. What operators were allowed to do is always an entry.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, Weak};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::limits::network;
use crate::http::Inner;
use crate::http::problem::Problem;
use crate::store::Action;
use crate::tasks::Over;
use crate::time::millis;

/// Refusals for one caller from one network: a burst, and a rate per minute.
const ANSWERS_AT_ONCE: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
const ANSWERS_A_MINUTE: NonZeroU32 = NonZeroU32::new(1_200).unwrap();
/// Entries for one key, or for one network of strangers.
const ENTRIES_AT_ONCE: NonZeroU32 = NonZeroU32::new(120).unwrap();
const ENTRIES_A_MINUTE: NonZeroU32 = NonZeroU32::new(12).unwrap();
/// Entries for all callers that nobody knows.
const STRANGERS_AT_ONCE: NonZeroU32 = NonZeroU32::new(150).unwrap();
const STRANGERS_A_MINUTE: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Counts that are kept; what is beyond them is counted together.
const COUNTS: usize = 1_000;
/// How often counts become entries, and how many at a time: the largest first.
const WRITE_EVERY: Duration = Duration::from_secs(2);
const WRITTEN_AT_ONCE: usize = 2;
/// From the first repetition to the entry about it, and at most; each further one comes after twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);
/// Callers whose buckets are kept before those that are full again are forgotten.
const CALLERS: usize = 10_000;

type Caller = (String, IpAddr);
/// What is counted together: a caller, and what it asked for.
type Counted = (Caller, String);

/// The refusals of this node.
#[derive(Debug)]
pub(super) struct Refusals {
    answers: DefaultKeyedRateLimiter<Caller>,
    entries: DefaultKeyedRateLimiter<Caller>,
    strangers: DefaultDirectRateLimiter,
    counts: Mutex<HashMap<Counted, Count>>,
}

#[derive(Debug)]
struct Count {
    /// The last one, as it would be an entry.
    last: Action,
    times: u64,
    due: Instant,
    pause: Duration,
}

impl Default for Refusals {
    fn default() -> Self {
        let quota = |minute, burst| Quota::per_minute(minute).allow_burst(burst);
        Self {
            answers: RateLimiter::keyed(quota(ANSWERS_A_MINUTE, ANSWERS_AT_ONCE)),
            entries: RateLimiter::keyed(quota(ENTRIES_A_MINUTE, ENTRIES_AT_ONCE)),
            strangers: RateLimiter::direct(quota(STRANGERS_A_MINUTE, STRANGERS_AT_ONCE)),
            counts: Mutex::default(),
        }
    }
}

fn caller(actor: &str, address: Option<IpAddr>) -> Caller {
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    (actor.to_owned(), network(address))
}

impl Refusals {
    /// Counts a refusal; an error has the time until the next one.
    pub(super) fn check(&self, actor: &str, address: Option<IpAddr>) -> Result<(), Duration> {
        for limiter in [&self.answers, &self.entries] {
            if limiter.len() > CALLERS {
                limiter.retain_recent();
            }
        }
        self.answers
            .check_key(&caller(actor, address))
            .map_err(|wait| wait.wait_time_from(DefaultClock::default().now()))
    }

    /// The entry to write about a refused request; none if it is counted instead.
    pub(super) fn entry(
        &self,
        action: Action,
        is_stranger: bool,
        address: Option<IpAddr>,
    ) -> Option<Action> {
        // A key is one caller wherever it is used: one that stands in a page is used from very many networks.
        let caller = caller(&action.actor, address.filter(|_| is_stranger));
        let is_entry = self.entries.check_key(&caller).is_ok()
            && (!is_stranger || self.strangers.check().is_ok());
        if is_entry {
            return Some(action);
        }
        let mut counts = self.counts.lock().expect("no panic while held");
        let mut key = (caller, action.action.clone());
        if counts.len() >= COUNTS && !counts.contains_key(&key) {
            key = (
                (action.actor.clone(), IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                "refused".to_owned(),
            );
        }
        let now = Instant::now();
        let count = counts.entry(key).or_insert_with(|| Count {
            last: action.clone(),
            times: 0,
            due: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
        });
        count.times += 1;
        count.last = action;
        None
    }

    /// Entries about what was counted, and is due.
    fn due(&self, now: Instant, all: bool) -> Vec<(Counted, Action)> {
        let mut counts = self.counts.lock().expect("no panic while held");
        // After a quiet time as long as the pause it begins anew.
        counts.retain(|_, count| count.times > 0 || now < count.due + count.pause);
        let mut due: Vec<(&Counted, &mut Count)> = counts
            .iter_mut()
            .filter(|(_, count)| count.times > 0 && (all || count.due <= now))
            .collect();
        due.sort_by_key(|(_, count)| std::cmp::Reverse(count.times));
        due.truncate(WRITTEN_AT_ONCE);
        due.into_iter()
            .map(|(counted, count)| {
                let times = std::mem::take(&mut count.times);
                count.pause = (2 * count.pause).min(LONGEST_PAUSE);
                count.due = now + count.pause;
                let action = Action {
                    times,
                    ..count.last.clone()
                };
                (counted.clone(), action)
            })
            .collect()
    }

    /// Takes back what could not be written.
    fn put_back(&self, counted: &Counted, times: u64) {
        let mut counts = self.counts.lock().expect("no panic while held");
        if let Some(count) = counts.get_mut(counted) {
            count.times += times;
        }
    }
}

/// What a caller reads who is refused too often.
pub(super) fn too_many(wait: Duration) -> Problem {
    Problem::new(
        crate::http::problem::Code::TooManyRequests,
        "Too many of these requests were refused. Ask again later, with a key that may do this.",
    )
    .retry_after_ms(millis(wait).max(1))
}

/// Writes what was counted into the trail, for as long as the node serves.
pub(in crate::http) async fn write_counts(inner: Weak<Inner>) -> Over {
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        let Some(inner) = inner.upgrade() else {
            return Over;
        };
        let all = inner.drain.is_draining();
        let refusals = &inner.access.refusals;
        for (counted, action) in refusals.due(Instant::now(), all) {
            if !super::audit::write(&inner.store, &action).await {
                refusals.put_back(&counted, action.times);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(actor: &str) -> Action {
        Action {
            actor: actor.to_owned(),
            action: "pool.delete".to_owned(),
            ..Action::default()
        }
    }

    fn entries(refusals: &Refusals, actor: &str, address: &str, requests: usize) -> usize {
        let address = Some(address.parse().unwrap());
        (0..requests)
            .filter(|_| refusals.entry(refused(actor), false, address).is_some())
            .count()
    }

    #[test]
    fn a_few_are_entries_and_the_rest_is_one_that_says_how_often() {
        let refusals = Refusals::default();
        let written = entries(&refusals, "a", "192.0.2.1", 5_000);
        assert!((120..=121).contains(&written), "{written}");
        // Another network makes it no other key, and other keys are not held to it.
        assert_eq!(entries(&refusals, "a", "192.0.2.2", 10), 0);
        assert_eq!(entries(&refusals, "b", "192.0.2.1", 10), 10);

        let begun = Instant::now();
        assert!(refusals.due(begun, false).is_empty());
        let due = refusals.due(begun + FIRST_PAUSE, false);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].1.times, 5_010 - written as u64);
        // The next one comes later, and then later still.
        entries(&refusals, "a", "192.0.2.1", 3);
        assert!(refusals.due(begun + 2 * FIRST_PAUSE, false).is_empty());
        let (counted, action) = refusals.due(begun + 4 * FIRST_PAUSE, false).remove(0);
        assert_eq!(action.times, 3);
        // What the store did not take goes with the next report.
        refusals.put_back(&counted, action.times);
        let later = begun + 100 * FIRST_PAUSE;
        assert_eq!(refusals.due(later, false)[0].1.times, 3);
    }

    #[test]
    fn a_crowd_of_addresses_costs_no_memory_and_few_entries() {
        let refusals = Refusals::default();
        let mut written = 0;
        for number in 0..20_000_u32 {
            let address = Some(IpAddr::V4(Ipv4Addr::from(number)));
            written += usize::from(refusals.entry(refused("unknown"), true, address).is_some());
        }
        assert!((150..=152).contains(&written), "{written}");
        assert!(refusals.counts.lock().unwrap().len() <= COUNTS + 1);
        let now = Instant::now() + FIRST_PAUSE;
        assert_eq!(refusals.due(now, false).len(), WRITTEN_AT_ONCE);
    }
}
