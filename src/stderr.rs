//! The only place that writes to stderr.
//!
//! Whoever reads stderr may be slow, full or gone: a collector that stalls, a log on a disk without room, a closed pipe. None
//! of that may stop a heartbeat, a probe, a signal or the end of the program. So text goes into a bounded queue, a thread of
//! its own writes it, and what finds no room is dropped and counted. Deliberately absent: `tracing-appender`, whose guard
//! prints to stdout when the reader stalls at the end, and would wait there for ever.
#![expect(clippy::disallowed_methods, reason = "this is the place")]

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::names::shown_lines;

/// Texts that wait to be written, at most.
const LINES: usize = 8 * 1024;
/// Bytes that wait to be written, at most.
const BYTES: usize = 4 * 1024 * 1024;
/// Pause before a reader that wants no bytes now is tried again.
const PAUSE: Duration = Duration::from_millis(10);

/// What goes to the thread.
enum Job {
    Write(Vec<u8>),
    /// Tells when all before it is done.
    Flush(SyncSender<()>),
}

/// The queue to the thread, if there is one.
struct Queue {
    jobs: SyncSender<Job>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// Texts that nobody will read.
    dropped: AtomicU64,
}

fn queue() -> Option<&'static Queue> {
    static QUEUE: OnceLock<Option<Queue>> = OnceLock::new();
    QUEUE.get_or_init(start).as_ref()
}

fn start() -> Option<Queue> {
    let (jobs, todo) = sync_channel(LINES);
    let counts = Arc::new(Counts::default());
    let shared = Arc::clone(&counts);
    let thread = std::thread::Builder::new().name("stderr".to_owned());
    // Without the thread nothing is said; the program does what it is for.
    let started = thread.spawn(move || work(&todo, &shared));
    started.is_ok().then_some(Queue { jobs, counts })
}

fn work(todo: &Receiver<Job>, counts: &Counts) {
    let mut told = 0;
    while let Ok(job) = todo.recv() {
        match job {
            Job::Write(text) => {
                counts.waiting.fetch_sub(text.len(), Ordering::Relaxed);
                if write(&text).is_err() {
                    counts.dropped.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let dropped = counts.dropped.load(Ordering::Relaxed);
                if dropped > told {
                    let lines = dropped - told;
                    told = dropped;
                    tracing::warn!(lines, "{lines} lines of the log could not be written");
                }
            }
            Job::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Writes the whole string. Waits for a reader that is only slow.
fn write(mut text: &[u8]) -> io::Result<()> {
    let mut stderr = io::stderr();
    while !text.is_empty() {
        match stderr.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever started the program shares a pipe with it that does not wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Says it as soon as stderr takes it. Waits for nobody and never fails.
pub(crate) fn say(text: impl Into<Vec<u8>>) {
    let text = text.into();
    let Some(queue) = queue() else {
        return;
    };
    let bytes = text.len();
    let before = queue.counts.waiting.fetch_add(bytes, Ordering::Relaxed);
    let fits = before + bytes <= BYTES;
    if !fits || queue.jobs.try_send(Job::Write(text)).is_err() {
        queue.counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
        queue.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Says a sentence to a person. A part of it may be the text of others, which must not steer a terminal.
pub(crate) fn say_line(line: impl std::fmt::Display) {
    say(format!("{}\n", shown_lines(&line.to_string())));
}

/// Waits until everything in the queue is written, at most this long.
pub(crate) fn flush(within: Duration) {
    let Some(queue) = queue() else {
        return;
    };
    let until = Instant::now() + within;
    let (done, is_done) = sync_channel(1);
    let mut job = Job::Flush(done);
    while let Err(error) = queue.jobs.try_send(job) {
        let std::sync::mpsc::TrySendError::Full(again) = error else {
            return;
        };
        job = again;
        if until <= Instant::now() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    // What is not written by then is lost.
    let _ = is_done.recv_timeout(until.saturating_duration_since(Instant::now()));
}

/// Whether a person reads along.
pub(crate) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Texts that found no room or could not be written, since the program began.
pub(crate) fn dropped() -> u64 {
    queue().map_or(0, |queue| queue.counts.dropped.load(Ordering::Relaxed))
}

/// Takes the lines of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log;

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
