//! How many connections there may be, and who makes room when there are as many.
//!
//! Connections that do nothing fill a node first, or wait for their clients: for half a body, or for somebody who takes an answer.
//! Answers that last, such as event streams, fill it next. Probes, heartbeats and acquires take milliseconds, so they always find
//! room: the connection goes for which nobody here has worked for longest, answers that last get at most three quarters of all,
//! and a few connections above the limit get one answer each. Whoever is asked to go and stays is cut when the room is needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::REFUSALS;
use super::request::end_turn;
use super::room::Kind;
use super::watch::{Instruction, Watch};
use crate::http::problem::{Code, Problem};
use crate::telemetry::{HTTP_CLOSED, HTTP_CONNECTIONS};

/// Connections above the limit that get one answer, when nobody is idle.
const RESERVE: usize = 64;

/// Files that are not connections: the listener, the store's connections, logs, the runtime.
const FILES_FOR_OTHERS: usize = 128;

/// Minimum time between two warnings about the limit.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How many connections a node takes, and how many of them may have an answer that lasts.
#[derive(Debug, Clone)]
pub struct ConnectionLimit {
    connections: usize,
    long_lived: Arc<Semaphore>,
}

impl ConnectionLimit {
    /// As many as wanted, or as the process may open files for; it may open more afterwards than before, if that is needed.
    ///
    /// Without this a flood of connections takes the last file, and then the node cannot reach its store.
    pub fn of(wanted: usize) -> Self {
        let others = FILES_FOR_OTHERS + RESERVE + REFUSALS;
        let connections = match raise_files((wanted + others) as u64) {
            Some(files) => {
                let files = usize::try_from(files).unwrap_or(usize::MAX);
                wanted.min(files.saturating_sub(others).max(files / 4))
            }
            None => wanted,
        };
        if connections < wanted {
            tracing::warn!(
                "at most {connections} connections instead of {wanted}: this process may not open more files; raise the hard \
                 limit, `ulimit -Hn`"
            );
        }
        Self {
            connections,
            long_lived: Arc::new(Semaphore::new((connections * 3 / 4).max(1))),
        }
    }

    /// Connections at a time.
    pub const fn connections(&self) -> usize {
        self.connections
    }

    /// Room for an answer that lasts, for as long as the value lives.
    pub(crate) fn long_lived(&self) -> Result<LongLived, Problem> {
        end_turn();
        match Arc::clone(&self.long_lived).try_acquire_owned() {
            Ok(room) => Ok(LongLived { _room: room }),
            Err(_) => Err(Problem::new(
                Code::Overloaded,
                "This node has as many streams and waits as it takes beside requests. Try again after the time that Retry-After \
                 says, or ask another node.",
            )),
        }
    }
}

/// Room for an answer that lasts.
#[derive(Debug)]
pub struct LongLived {
    _room: OwnedSemaphorePermit,
}

/// Raises the limit of open files to what is needed, as far as that is allowed. Returns the limit; `None` if it is unlimited.
fn raise_files(needed: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    if needed <= current {
        return Some(current);
    }
    let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let wanted = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => Some(raised.max(current)),
        Err(_) => Some(current),
    }
}

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    open: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    watches: HashMap<u64, Arc<Watch>>,
    last: u64,
    warned: Option<Instant>,
}

/// A connection, and since when something is true of it.
type Since = (Instant, u64);

fn earlier(one: Option<Since>, other: Since) -> Option<Since> {
    Some(one.map_or(other, |one| one.min(other)))
}

impl Table {
    /// Asks a connection to end.
    fn evict(&self, id: u64) {
        if let Some(watch) = self.watches.get(&id) {
            watch.instruct(Instruction::Evict);
        }
    }

    /// Has a connection end now. It gives its place back at once, and its file as soon as its task runs.
    fn cut(&mut self, id: u64) {
        if let Some(watch) = self.watches.remove(&id) {
            watch.instruct(Instruction::Cut);
        }
    }
}

/// A new connection.
pub(super) struct Admitted {
    pub(super) open: Open,
    /// Whether it gets one answer only, because it is above the limit.
    pub(super) once: bool,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            open: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in. If there are too many, the one goes for which nobody here has worked for longest: it is idle, or waits for
    /// its client. `None` if there is no room.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let mut table = self.table();
        let mut once = false;
        if self.most <= table.watches.len() {
            if table.warned.is_none_or(|at| WARN_EVERY <= at.elapsed()) {
                table.warned = Some(Instant::now());
                tracing::warn!(
                    "{} connections are open, as many as max_connections and the limit of open files allow; those that are idle \
                     are closed to make room",
                    table.watches.len()
                );
            }
            // Once for all: there may be ten thousand of them.
            let (mut idle, mut evicted, mut staying) = (None, None, 0);
            for (id, watch) in &table.watches {
                if let Some(since) = watch.evicted_since() {
                    evicted = earlier(evicted, (since, *id));
                    continue;
                }
                staying += 1;
                if let Some(since) = watch.idle_since() {
                    idle = earlier(idle, (since, *id));
                }
            }
            if self.most + RESERVE <= table.watches.len() {
                // Those who were asked to go have some time for it, but not more than there is room for.
                let (_, last) = evicted.or(idle)?;
                table.cut(last);
            }
            match idle {
                _ if staying < self.most => {}
                Some((_, idle)) => {
                    table.evict(idle);
                    counter!(HTTP_CLOSED, "reason" => "made_room").increment(1);
                }
                None => once = true,
            }
        }
        let watch = Arc::new(Watch::new());
        table.last += 1;
        let id = table.last;
        table.watches.insert(id, Arc::clone(&watch));
        gauge!(HTTP_CONNECTIONS).increment(1);
        Some(Admitted {
            open: Open {
                watch,
                id,
                connections: Arc::clone(self),
            },
            once,
        })
    }

    /// Cuts the connection whose client has let wait for longest what is kept for it, if that is longer than this.
    pub(super) fn cut_stalled(&self, kind: Kind, longer_than: Duration) {
        let mut table = self.table();
        let all = table.watches.iter();
        let keeping = all.filter_map(|(id, watch)| Some((watch.keeps_since(kind)?, *id)));
        if let Some((since, id)) = keeping.min()
            && longer_than <= since.elapsed()
        {
            table.cut(id);
            counter!(HTTP_CLOSED, "reason" => "made_room").increment(1);
        }
    }

    /// Instructs all of them to drain.
    pub(super) fn drain(&self) {
        for watch in self.table().watches.values() {
            watch.instruct(Instruction::Drain);
        }
    }
}

/// A connection, counted for as long as it lives, also when its task is cut.
pub(super) struct Open {
    pub(super) watch: Arc<Watch>,
    id: u64,
    connections: Arc<Connections>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.table().watches.remove(&self.id);
        gauge!(HTTP_CONNECTIONS).decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_files_is_raised_as_far_as_it_goes() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let wanted = 300_u64.min(hard);
        assert!(wanted <= raise_files(wanted).unwrap_or(u64::MAX));
        assert!(raise_files(u64::MAX).unwrap_or(u64::MAX) <= hard);
    }

    #[tokio::test]
    async fn whoever_needs_room_for_a_body_is_not_helped_by_the_end_of_a_download() {
        let connections = Arc::new(Connections::new(4));
        let admitted = connections.admit().expect("room");
        let watch = Arc::clone(&admitted.open.watch);
        watch.keep(Kind::Answers, 10);
        let is_open = || connections.table().watches.len() == 1;
        connections.cut_stalled(Kind::Bodies, Duration::ZERO);
        assert!(is_open());
        connections.cut_stalled(Kind::Answers, Duration::ZERO);
        assert!(!is_open());
    }

    #[test]
    fn answers_that_last_leave_room_for_others() {
        let limit = ConnectionLimit {
            connections: 4,
            long_lived: Arc::new(Semaphore::new(3)),
        };
        let lasting: Vec<_> = (0..3).map(|_| limit.long_lived().expect("room")).collect();
        assert!(limit.long_lived().is_err());
        drop(lasting);
        assert!(limit.long_lived().is_ok());
    }
}
