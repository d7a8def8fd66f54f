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
use crate::store::Outcome;

/// How long room is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often a connection goes for each of those who wait for room.
const CUT_EVERY: Duration = Duration::from_millis(50);

/// How long a client may let wait what is kept for it, while others need the room.
const STALL: Duration = Duration::from_millis(500);

/// How many may wait for room at a time. Their answers are made already, so they take memory too.
const WAITING: usize = 64;

/// What is kept for clients. Whoever waits for room for the one is not helped by the end of a connection that keeps the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bodies that have not come to their end.
    Bodies,
    /// Answers that nobody has taken.
    Answers,
}

/// Room for bytes that wait for clients.
#[derive(Debug)]
pub(super) struct Room {
    kind: Kind,
    most: u32,
    bytes: Arc<Semaphore>,
    waiting: Semaphore,
    connections: Arc<Connections>,
}

/// There is no room.
#[derive(Debug, Clone, Copy)]
pub struct NoRoom;

impl NoRoom {
    /// `outcome` is what is known of the request.
    pub(crate) fn problem(self, outcome: Outcome) -> Problem {
        Problem::new(
            Code::Overloaded,
            "This node has no room for more clients that let it wait. Send the request again after the time in Retry-After.",
        )
        .with("outcome", outcome.as_str())
    }
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no room for more of the body")
    }
}

impl Error for NoRoom {}

impl Room {
    pub(super) fn new(kind: Kind, most: u32, connections: &Arc<Connections>) -> Arc<Self> {
        Arc::new(Self {
            kind,
            most,
            bytes: Arc::new(Semaphore::new(most as usize)),
            waiting: Semaphore::new(WAITING),
            connections: Arc::clone(connections),
        })
    }

    /// Room for so many bytes, if it is free.
    pub(super) fn try_take(&self, bytes: u64, watch: &Arc<Watch>) -> Option<Kept> {
        let taken = Arc::clone(&self.bytes).try_acquire_many_owned(self.counted(bytes));
        Some(self.kept(taken.ok()?, watch))
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
            self.connections.cut_stalled(self.kind, STALL);
            tokio::select! {
                biased;
                taken = &mut taken => return taken.map(|taken| self.kept(taken, &watch)).map_err(|_| NoRoom),
                () = sleep(CUT_EVERY) => {}
            }
            if end <= Instant::now() {
                return Err(NoRoom);
            }
        }
    }

    fn kept(&self, room: OwnedSemaphorePermit, watch: &Arc<Watch>) -> Kept {
        watch.keep(self.kind, room.num_permits() as u64);
        Kept {
            kind: self.kind,
            room,
            watch: Arc::clone(watch),
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
    kind: Kind,
    room: OwnedSemaphorePermit,
    watch: Arc<Watch>,
}

impl Kept {
    /// Keeps more, for the same client and of the same kind: a body may come in a million parts.
    pub(super) fn add(&mut self, mut more: Self) {
        if let Some(room) = more.room.split(more.room.num_permits()) {
            self.room.merge(room);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let bytes = self.room.num_permits() as u64;
        self.watch.keep_less(self.kind, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_came_in_many_parts_is_given_back_at_once() {
        let connections = Arc::new(Connections::new(4));
        let watch = connections.admit().expect("room").open.watch.clone();
        let room = Room::new(Kind::Bodies, 100, &connections);
        let mut kept = room.try_take(1, &watch).expect("room");
        for _ in 0..99 {
            kept.add(room.try_take(1, &watch).expect("room"));
        }
        assert!(room.try_take(1, &watch).is_none());
        drop(kept);
        assert!(room.try_take(100, &watch).is_some());
    }
}
