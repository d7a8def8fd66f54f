//! How much is kept for clients: bodies that have not come to their end, and large answers that nobody has taken yet.
//!
//! Each of them is bounded, but a thousand connections that send half a body, or take nothing of an answer, would be a thousand
//! times that. So all of them share a number of bytes. Where that is used up, the connection goes whose client has been letting
//! wait for longest, and whoever needs the room waits a moment for it. Deliberately not counted: bodies that come in one piece
//! and small answers, which is what heartbeats and acquires are.

use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::open::Connections;
use super::watch::Watch;
use crate::http::problem::{Code, Problem};

/// How long room is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a connection goes while somebody waits for room.
const CUT_EVERY: Duration = Duration::from_millis(50);

/// How long a client may let wait what is kept for it, while others need the room.
const STALL: Duration = Duration::from_millis(500);

/// How many may wait for room at a time. Their answers are made already, so they take memory too.
const WAITING: usize = 64;

/// Room for bytes that wait for clients.
#[derive(Debug)]
pub(super) struct Room {
    most: u32,
    bytes: Arc<Semaphore>,
    waiting: Semaphore,
    connections: Arc<Connections>,
}

/// There is no room.
#[derive(Debug, Clone, Copy)]
pub struct NoRoom;

impl NoRoom {
    pub(crate) fn problem(self) -> Problem {
        Problem::new(
            Code::Overloaded,
            "This node keeps as much for slow clients as it can. Send the request again after the time in Retry-After.",
        )
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no room for more of the body")
    }
}

impl Error for NoRoom {}

impl Room {
    pub(super) fn new(most: u32, connections: &Arc<Connections>) -> Arc<Self> {
        Arc::new(Self {
            most,
            bytes: Arc::new(Semaphore::new(most as usize)),
            waiting: Semaphore::new(WAITING),
            connections: Arc::clone(connections),
        })
    }

    /// Room for so many bytes, if it is free.
    pub(super) fn try_take(&self, bytes: u64, watch: &Arc<Watch>) -> Option<Kept> {
        let taken = Arc::clone(&self.bytes).try_acquire_many_owned(self.counted(bytes));
        Some(Kept::new(taken.ok()?, watch))
    }

    /// The same, after others have made room.
    pub(super) async fn take(
        self: Arc<Self>,
        bytes: u64,
        watch: Arc<Watch>,
    ) -> Result<Kept, NoRoom> {
        let _place = self.waiting.try_acquire().map_err(|_| NoRoom)?;
        let end = Instant::now() + PATIENCE;
        let mut taken = pin!(Arc::clone(&self.bytes).acquire_many_owned(self.counted(bytes)));
        loop {
            self.connections.cut_stalled(STALL);
            tokio::select! {
                biased;
                taken = &mut taken => return taken.map(|taken| Kept::new(taken, &watch)).map_err(|_| NoRoom),
                () = sleep(CUT_EVERY) => {}
            }
            if end <= Instant::now() {
                return Err(NoRoom);
            }
        }
    }

    /// What is larger than all of the room takes all of it.
    fn counted(&self, bytes: u64) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).min(self.most)
    }
}

/// Bytes that are kept for a client, for as long as the value lives.
#[derive(Debug)]
pub(super) struct Kept {
    room: OwnedSemaphorePermit,
    watch: Arc<Watch>,
}

impl Kept {
    fn new(room: OwnedSemaphorePermit, watch: &Arc<Watch>) -> Self {
        watch.keep(room.num_permits() as u64);
        Self {
            room,
            watch: Arc::clone(watch),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.watch.keep_less(self.room.num_permits() as u64);
    }
}
