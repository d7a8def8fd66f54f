//! Work that goes on for as long as the program, and what happens when it does not.
//!
//! A task that panics is started again, after pauses that grow; each time is counted. One that fails again and again
//! makes the node unready: it would go on answering and leave something undone that nobody notices. There is one list for the
//! process, as there is one recorder of metrics.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Failures in a row that are no accident any more.
const TOO_OFTEN: u32 = 3;

/// Says that a task has nothing to do any more, because what it worked for is gone. Anything else that ends a task is a
/// failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over;

impl From<Infallible> for Over {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// What is known of a task that failed.
#[derive(Debug, Clone, Copy)]
struct Failures {
    in_a_row: u32,
    /// When it was started last.
    started: Instant,
}

/// Tasks that failed lately. Several may share a name: each lane of heartbeats has the same.
static FAILURES: Mutex<BTreeMap<&'static str, Failures>> = Mutex::new(BTreeMap::new());

/// Work that was begun for a caller and goes on without it.
static UNFINISHED: LazyLock<watch::Sender<usize>> = LazyLock::new(|| watch::Sender::new(0));

/// Does work that ends also when whoever asked for it goes away. The end of the node waits for it ([`finished`]).
pub(crate) fn finish<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    struct Begun;
    impl Drop for Begun {
        fn drop(&mut self) {
            UNFINISHED.send_modify(|count| *count -= 1);
        }
    }
    UNFINISHED.send_modify(|count| *count += 1);
    let begun = Begun;
    tokio::spawn(async move {
        let done = work.await;
        drop(begun);
        done
    })
}

/// Waits until everything that was begun is done, at most this long.
pub(crate) async fn finished(within: Duration) {
    let mut unfinished = UNFINISHED.subscribe();
    // What is not done by then is lost.
    let _ = tokio::time::timeout(within, unfinished.wait_for(|count| *count == 0)).await;
}

/// Runs a task in the background until it is [`Over`].
///
/// `start` makes it anew after a failure, so what must outlive one belongs outside of it.
pub(crate) fn spawn<T>(
    name: &'static str,
    start: impl FnMut() -> T + Send + 'static,
) -> JoinHandle<()>
where
    T: Future<Output: Into<Over> + Send> + Send + 'static,
{
    metrics::counter!(telemetry::TASK_RESTARTS, "task" => name).increment(0);
    tokio::spawn(supervise(name, USUAL, start))
}

/// The times of all tasks but those of tests.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Before the first start after a failure; each further pause is twice as long.
    first_pause: Duration,
    /// A task that ran for so long is well again.
    calm: Duration,
}

const USUAL: Pace = Pace {
    first_pause: Duration::from_millis(100),
    calm: Duration::from_secs(60),
};

async fn supervise<T>(name: &'static str, pace: Pace, mut start: impl FnMut() -> T)
where
    T: Future<Output: Into<Over>>,
{
    loop {
        let started = Instant::now();
        // What the task leaves behind is its own: it is dropped, and only what `start` holds is used again.
        let task = AssertUnwindSafe(async { start().await });
        let ran = task.catch_unwind();
        let calm = tokio::time::sleep(pace.calm);
        let (mut ran, mut calm) = (std::pin::pin!(ran), std::pin::pin!(calm));
        let ended = tokio::select! {
            ended = &mut ran => ended,
            () = &mut calm => {
                recovered(name, pace.calm);
                ran.await
            }
        };
        if ended.is_ok() {
            return;
        }
        let in_a_row = failed(name, started, pace.calm);
        tokio::time::sleep(pause(pace.first_pause, in_a_row)).await;
        metrics::counter!(telemetry::TASK_RESTARTS, "task" => name).increment(1);
        restarted(name);
    }
}

/// Notes a failure, and how many there were in a row. The panic itself is in the log already.
fn failed(name: &'static str, started: Instant, calm: Duration) -> u32 {
    let mut failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = failures.entry(name).or_insert(Failures {
        in_a_row: 0,
        started,
    });
    known.in_a_row += 1;
    let in_a_row = known.in_a_row;
    drop(failures);
    match in_a_row {
        1 => tracing::warn!(task = name, "the task {name} failed and is started again"),
        TOO_OFTEN => tracing::error!(
            task = name,
            "the task {name} fails again and again: the node is not ready until it runs for {} s",
            calm.as_secs()
        ),
        _ => {}
    }
    in_a_row
}

fn restarted(name: &'static str) {
    let mut failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = failures.get_mut(name) {
        known.started = Instant::now();
    }
}

fn recovered(name: &'static str, calm: Duration) {
    let mut failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    // Another task of the same name may have failed meanwhile.
    if failures
        .get(name)
        .is_some_and(|known| calm <= known.started.elapsed())
        && failures.remove(name).is_some()
    {
        drop(failures);
        tracing::info!(task = name, "the task {name} runs again");
    }
}

fn pause(first: Duration, in_a_row: u32) -> Duration {
    let growth = 2_u32.saturating_pow(in_a_row.saturating_sub(1));
    first.saturating_mul(growth).min(LONGEST_PAUSE)
}

/// Tasks that fail again and again: a node that has any should get no traffic.
pub(crate) fn failing() -> Vec<&'static str> {
    let failures = FAILURES.lock().unwrap_or_else(PoisonError::into_inner);
    let failing = failures
        .iter()
        .filter(|(_, known)| TOO_OFTEN <= known.in_a_row);
    failing.map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_and_counts_as_failing_until_it_was_calm() {
        let pace = Pace {
            first_pause: Duration::from_millis(1),
            calm: Duration::from_millis(200),
        };
        let starts = Arc::new(AtomicU32::new(0));
        let (counted, calm) = (Arc::clone(&starts), Arc::new(AtomicBool::new(false)));
        let is_calm = Arc::clone(&calm);
        let task = supervise("unit-test", pace, move || {
            let start = counted.fetch_add(1, Ordering::Relaxed);
            let is_calm = Arc::clone(&is_calm);
            async move {
                // Two may be an accident, three are none.
                assert_eq!(
                    failing().contains(&"unit-test"),
                    start >= TOO_OFTEN,
                    "{start}"
                );
                assert!(start > TOO_OFTEN, "not yet");
                while failing().contains(&"unit-test") {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                is_calm.store(true, Ordering::Relaxed);
                Over
            }
        });
        task.await;
        assert!(calm.load(Ordering::Relaxed));
        assert_eq!(starts.load(Ordering::Relaxed), TOO_OFTEN + 2);
    }

    #[test]
    fn the_pauses_grow() {
        let first = USUAL.first_pause;
        let ms: Vec<u128> = (1..12)
            .map(|times| pause(first, times).as_millis())
            .collect();
        assert_eq!(
            ms,
            [
                100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000
            ]
        );
    }
}
