//! Whether Redis works, as this node sees it: fails fast while it does not, and tells the operator once.
//!
//! In an outage every call would wait for its deadline, and requests would pile up. After a few failures in a row
//! calls fail at once, and every [`PROBE`] one of them is let through to see. It decides nothing about a lease: a call that
//! is not sent did not run. In a cluster each bucket is judged alone, because each may be on another server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::telemetry;

use redis::RedisError;

use super::error::{Error, Outcome, Trouble};
use super::keys::{BUCKETS, Bucket};
use crate::time::millis;

/// So many failures in a row, and calls fail at once.
const OPEN_AFTER: u32 = 5;

/// While they do, one in this time is let through.
const PROBE: Duration = Duration::from_millis(200);

/// A trouble is over when it was not seen for this time. Shorter, and a mix of answers would fill the log.
const CALM: Duration = Duration::from_secs(3);

/// One for each node.
#[derive(Debug)]
pub(super) struct Health {
    circuits: Vec<Circuit>,
    began: Instant,
    /// Whether there is anything in `trouble`, so that a success costs no lock.
    troubled: AtomicBool,
    trouble: Mutex<Option<Episode>>,
    /// The last reason why no connection could be made.
    refused: Mutex<Option<(Instant, Error)>>,
}

#[derive(Debug, Default)]
struct Circuit {
    failures: AtomicU32,
    /// When the next call is let through, ms since `began`.
    next_probe: AtomicU64,
}

#[derive(Debug)]
struct Episode {
    trouble: Trouble,
    since: Instant,
    last: Instant,
}

impl Health {
    /// `each_bucket` is for a cluster.
    pub(super) fn new(each_bucket: bool) -> Self {
        let circuits = if each_bucket { BUCKETS } else { 1 };
        Self {
            circuits: (0..circuits).map(|_| Circuit::default()).collect(),
            began: Instant::now(),
            troubled: AtomicBool::new(false),
            trouble: Mutex::new(None),
            refused: Mutex::new(None),
        }
    }

    fn circuit(&self, bucket: Bucket) -> &Circuit {
        &self.circuits[bucket.index() % self.circuits.len()]
    }

    fn elapsed_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// Whether a call may be sent now.
    pub(super) fn admit(&self, bucket: Bucket) -> Result<(), Error> {
        let circuit = self.circuit(bucket);
        if circuit.failures.load(Ordering::Relaxed) < OPEN_AFTER {
            return Ok(());
        }
        let (now, probe) = (self.elapsed_ms(), millis(PROBE));
        let next = circuit.next_probe.load(Ordering::Relaxed);
        let won = now >= next
            && circuit
                .next_probe
                .compare_exchange(next, now + probe, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won {
            return Ok(());
        }
        metrics::counter!(telemetry::STORE_SHED).increment(1);
        let trouble = self.present().unwrap_or(Trouble::Away);
        Err(Error::of(trouble, Outcome::None, trouble.advice()))
    }

    /// Notes how a call ended.
    pub(super) fn note<T>(&self, bucket: Bucket, result: &Result<T, Error>) {
        let circuit = self.circuit(bucket);
        let Some(trouble) = result.as_ref().err().and_then(Error::trouble) else {
            if circuit.failures.load(Ordering::Relaxed) > 0 {
                circuit.failures.store(0, Ordering::Relaxed);
            }
            if self.troubled.load(Ordering::Relaxed) {
                self.calm_down();
            }
            return;
        };
        metrics::counter!(telemetry::STORE_FAILURES, "trouble" => trouble.as_str()).increment(1);
        if trouble.is_of_connection() {
            circuit.failures.fetch_add(1, Ordering::Relaxed);
        } else {
            circuit.failures.store(0, Ordering::Relaxed);
        }
        self.tell(trouble, result.as_ref().err());
    }

    /// What is wrong now.
    pub(super) fn present(&self) -> Option<Trouble> {
        let episode = self.trouble.lock().expect("no panic while held");
        episode.as_ref().map(|episode| episode.trouble)
    }

    fn tell(&self, trouble: Trouble, error: Option<&Error>) {
        let now = Instant::now();
        let mut episode = self.trouble.lock().expect("no panic while held");
        let (new, since) = match episode.as_ref() {
            None => (true, now),
            // A time-out says less than what was known before, and comes mixed with it.
            Some(known) if known.trouble == trouble || trouble == Trouble::Silent => {
                (false, known.since)
            }
            Some(known) if known.trouble.is_of_connection() == trouble.is_of_connection() => {
                (true, known.since)
            }
            Some(known) => (false, known.since),
        };
        let kept = match episode.as_ref() {
            Some(known) if !new => known.trouble,
            _ => trouble,
        };
        *episode = Some(Episode {
            trouble: kept,
            since,
            last: now,
        });
        self.troubled.store(true, Ordering::Relaxed);
        drop(episode);
        if new {
            let cause = error.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                trouble = trouble.as_str(),
                cause,
                "Redis does not work for this node: {cause}"
            );
        }
    }

    fn calm_down(&self) {
        let mut episode = self.trouble.lock().expect("no panic while held");
        let Some(known) = episode.as_ref() else {
            return;
        };
        let closed = self
            .circuits
            .iter()
            .all(|circuit| circuit.failures.load(Ordering::Relaxed) < OPEN_AFTER);
        if !closed || known.last.elapsed() < CALM {
            return;
        }
        let lasted_ms = millis(known.last - known.since);
        let trouble = known.trouble.as_str();
        *episode = None;
        self.troubled.store(false, Ordering::Relaxed);
        drop(episode);
        tracing::info!(
            trouble,
            lasted_ms,
            "Redis works again after {lasted_ms} ms ({trouble})"
        );
    }

    /// Notes why no connection could be made.
    pub(super) fn refused(&self, error: &RedisError) {
        let error = Error::not_connected(error);
        tracing::debug!(error = %error, "no connection to Redis: {error}");
        *self.refused.lock().expect("no panic while held") = Some((Instant::now(), error));
    }

    /// Why there is no connection, if it is known.
    pub(super) fn why_no_connection(&self) -> Error {
        let refused = self.refused.lock().expect("no panic while held");
        match refused.as_ref() {
            Some((at, error)) if at.elapsed() < Duration::from_secs(2) => error.clone(),
            _ => Error::not_sent("no connection to Redis came free in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(number: usize) -> Bucket {
        Bucket::all().nth(number).expect("there are 32")
    }

    fn failed() -> Result<(), Error> {
        Err(Error::not_sent("no"))
    }

    #[test]
    fn after_some_failures_calls_fail_at_once_and_one_is_let_through() {
        let health = Health::new(false);
        for _ in 0..OPEN_AFTER {
            health.admit(bucket(0)).expect("closed");
            health.note(bucket(0), &failed());
        }
        let passed = (0..100).filter(|_| health.admit(bucket(1)).is_ok()).count();
        assert_eq!(passed, 1);
        health.note(bucket(0), &Ok(()));
        health.admit(bucket(1)).expect("closed again");
    }

    #[test]
    fn in_a_cluster_a_bucket_fails_alone() {
        let health = Health::new(true);
        for _ in 0..=OPEN_AFTER {
            let _ = health.admit(bucket(3));
            health.note(bucket(3), &failed());
        }
        assert!(health.admit(bucket(3)).is_err() || health.admit(bucket(3)).is_err());
        health.admit(bucket(4)).expect("closed");
    }

    #[test]
    fn an_answer_that_refuses_writes_stops_no_reads() {
        let health = Health::new(false);
        for _ in 0..100 {
            health.note(
                bucket(0),
                &Err::<(), _>(Error::of(Trouble::NoReplicas, Outcome::None, "no")),
            );
        }
        health.admit(bucket(0)).expect("closed");
        assert_eq!(health.present(), Some(Trouble::NoReplicas));
    }
}
