//! What was asked and answered, and how long that took.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

use crate::names::PoolName;

/// What holders ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Acquire,
    Renew,
    Release,
    Leave,
}

impl Operation {
    pub(super) const ALL: [Self; 4] = [Self::Acquire, Self::Renew, Self::Release, Self::Leave];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Leave => "leave",
        }
    }
}

/// What a holder is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HolderState {
    Away,
    Waiting,
    Holding,
}

/// Shared by all holders.
pub(super) struct Tally {
    began: Instant,
    most: Option<u64>,
    reached: Notify,
    counts: Mutex<Counts>,
}

struct Counts {
    since: Instant,
    requests: u64,
    requests_before: u64,
    failed: u64,
    operations: [Timing; 4],
    answers: BTreeMap<String, u64>,
    failures: BTreeMap<String, u64>,
    /// How many are away, waiting and holding.
    holders: [u32; 3],
    in_use: u64,
    most_in_use: u64,
    capacity: u64,
}

/// Latencies in microseconds: since the last look, and before it.
struct Timing {
    lately: Histogram<u64>,
    before: Histogram<u64>,
}

impl Timing {
    fn new() -> Self {
        // Up to a minute, which no request takes, in three digits.
        let empty = || Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds in order");
        Self {
            lately: empty(),
            before: empty(),
        }
    }
}

/// How it goes: since the last look, but for the counts of all.
pub(super) struct Moment {
    pub(super) elapsed: Duration,
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) failed: u64,
    pub(super) away: u32,
    pub(super) waiting: u32,
    pub(super) holding: u32,
    pub(super) in_use: u64,
    pub(super) capacity: u64,
    pub(super) operations: Vec<Row>,
    pub(super) answers: BTreeMap<String, u64>,
    pub(super) failures: BTreeMap<String, u64>,
}

/// The results, from the start to the end.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) pool: String,
    pub(super) server: String,
    pub(super) holders: u32,
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) per_second: f64,
    pub(super) failed: u64,
    pub(super) most_in_use: u64,
    pub(super) capacity: u64,
    pub(super) operations: Vec<Row>,
    pub(super) answers: BTreeMap<String, u64>,
    pub(super) failures: BTreeMap<String, u64>,
}

/// One operation: how often, and how long it took.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) operation: &'static str,
    pub(super) count: u64,
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Row {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and microseconds of a run are far below 2^52"
    )]
    fn new(operation: Operation, count: u64, timing: &Histogram<u64>, seconds: f64) -> Self {
        let ms = |us: u64| us as f64 / 1000.0;
        Self {
            operation: operation.word(),
            count,
            per_second: timing.len() as f64 / seconds,
            p50_ms: ms(timing.value_at_quantile(0.50)),
            p95_ms: ms(timing.value_at_quantile(0.95)),
            p99_ms: ms(timing.value_at_quantile(0.99)),
            max_ms: ms(timing.max()),
        }
    }
}

impl Tally {
    /// `most`: after how many requests it is enough.
    pub(super) fn new(most: Option<u64>) -> Self {
        let began = Instant::now();
        Self {
            began,
            most,
            reached: Notify::new(),
            counts: Mutex::new(Counts {
                since: began,
                requests: 0,
                requests_before: 0,
                failed: 0,
                operations: [(); 4].map(|()| Timing::new()),
                answers: BTreeMap::new(),
                failures: BTreeMap::new(),
                holders: [0; 3],
                in_use: 0,
                most_in_use: 0,
                capacity: 0,
            }),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("no panic while held")
    }

    /// One request and its answer: `Ok` with the word for it if it is one that a server in order gives.
    pub(super) fn count(&self, operation: Operation, took: Duration, answer: Result<&str, &str>) {
        let mut counts = self.counts();
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        counts.operations[operation as usize]
            .lately
            .saturating_record(us);
        counts.requests += 1;
        match answer {
            Ok(word) => *counts.answers.entry(word.to_owned()).or_default() += 1,
            Err(why) => {
                counts.failed += 1;
                let why = format!("{}: {why}", operation.word());
                *counts.failures.entry(why).or_default() += 1;
            }
        }
        if self.most.is_some_and(|most| counts.requests >= most) {
            self.reached.notify_one();
        }
    }

    /// What an answer says about the pool: how many seats are in use, of how many.
    pub(super) fn see(&self, pool: &Value) {
        let (Some(in_use), Some(capacity)) = (pool["in_use"].as_u64(), pool["capacity"].as_u64())
        else {
            return;
        };
        let mut counts = self.counts();
        counts.in_use = in_use;
        counts.capacity = capacity;
        counts.most_in_use = counts.most_in_use.max(in_use);
    }

    /// A holder that does something else now.
    pub(super) fn turn(&self, from: Option<HolderState>, to: HolderState) {
        let mut counts = self.counts();
        if let Some(from) = from {
            counts.holders[from as usize] -= 1;
        }
        counts.holders[to as usize] += 1;
    }

    /// Waits until there were as many requests as were asked for.
    pub(super) async fn enough(&self) {
        self.reached.notified().await;
    }

    /// How it goes, and begins anew with what is since the last look.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^52"
    )]
    pub(super) fn moment(&self) -> Moment {
        let mut counts = self.counts();
        let seconds = counts.since.elapsed().as_secs_f64().max(0.001);
        let lately = counts.requests - counts.requests_before;
        counts.since = Instant::now();
        counts.requests_before = counts.requests;
        let operations = Operation::ALL
            .map(|operation| {
                let timing = &mut counts.operations[operation as usize];
                let count = timing.before.len() + timing.lately.len();
                let row = Row::new(operation, count, &timing.lately, seconds);
                timing.fold();
                row
            })
            .into();
        let [away, waiting, holding] = counts.holders;
        Moment {
            elapsed: self.began.elapsed(),
            requests: counts.requests,
            per_second: lately as f64 / seconds,
            failed: counts.failed,
            away,
            waiting,
            holding,
            in_use: counts.in_use,
            capacity: counts.capacity,
            operations,
            answers: counts.answers.clone(),
            failures: counts.failures.clone(),
        }
    }

    /// How it went.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of a run are far below 2^52"
    )]
    pub(super) fn report(&self, pool: &PoolName, server: &str, holders: u32) -> Report {
        let mut counts = self.counts();
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let operations = Operation::ALL
            .map(|operation| {
                let timing = &mut counts.operations[operation as usize];
                timing.fold();
                Row::new(operation, timing.before.len(), &timing.before, seconds)
            })
            .into();
        Report {
            pool: pool.to_string(),
            server: server.to_owned(),
            holders,
            seconds,
            requests: counts.requests,
            per_second: counts.requests as f64 / seconds,
            failed: counts.failed,
            most_in_use: counts.most_in_use,
            capacity: counts.capacity,
            operations,
            answers: counts.answers.clone(),
            failures: counts.failures.clone(),
        }
    }
}

impl Timing {
    fn fold(&mut self) {
        self.before
            .add(&self.lately)
            .expect("both have the same bounds");
        self.lately.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_sees_what_is_new_and_the_report_sees_all() {
        let tally = Tally::new(Some(3));
        let ms = Duration::from_millis;
        tally.count(Operation::Renew, ms(10), Ok("renewed"));
        assert_eq!(tally.moment().operations[1].max_ms.round(), 10.0);
        tally.count(Operation::Renew, ms(2), Ok("renewed"));
        tally.count(Operation::Acquire, ms(1), Err("no answer"));
        let moment = tally.moment();
        assert_eq!(
            (moment.requests, moment.failed, moment.operations[1].count),
            (3, 1, 2)
        );
        assert_eq!(moment.operations[1].max_ms.round(), 2.0);
        let report = tally.report(&"demo".parse().expect("a name"), "http://x", 1);
        assert_eq!(report.operations[1].max_ms.round(), 10.0);
        assert_eq!(report.answers["renewed"], 2);
        assert_eq!(report.failures["acquire: no answer"], 1);
    }

    #[test]
    fn holders_are_counted_by_what_they_do() {
        let tally = Tally::new(None);
        tally.turn(None, HolderState::Away);
        tally.turn(None, HolderState::Away);
        tally.turn(Some(HolderState::Away), HolderState::Holding);
        let moment = tally.moment();
        assert_eq!((moment.away, moment.waiting, moment.holding), (1, 0, 1));
    }
}
