//! What is known of a connection: shared by its socket, its requests, its watchdog, and whoever makes room for others.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Limits;
use super::lines::Lines;

/// Why the time of a connection is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The head of a request took too long.
    Head,
    /// There was no request for so long that the connection can do without what serves requests.
    Quiet,
    /// The client took nothing for too long.
    Write,
}

/// An instruction to a connection from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instruction {
    /// To end after what is under way: the node stops.
    Drain = 1,
    /// To end if nothing is under way: another connection needs the room.
    Evict = 2,
}

/// A body that cannot be read to its end.
#[derive(Debug)]
pub(super) struct BrokenOff;

#[derive(Debug)]
pub(super) struct Watch {
    state: Mutex<State>,
    instruction: AtomicU8,
    task: AtomicWaker,
}

#[derive(Debug)]
struct State {
    /// Requests whose answer is not complete.
    under_way: usize,
    /// A request was handed to the service and its answer may not have left the buffers.
    answering: bool,
    /// Since when there is no request under way.
    quiet_since: Instant,
    /// Since when a head is awaited to its end. A client that connects has something to say, so its first head is awaited from
    /// the beginning.
    head_since: Option<Instant>,
    /// Since when the socket takes nothing.
    blocked_since: Option<Instant>,
    /// Parts of answers that the client has not taken, and since when: those of HTTP/2, where a stream can stand still while the
    /// socket does not.
    waiting: Vec<(u64, Instant)>,
    last_waiting: u64,
    /// Whether hyper wrote something on its own account, which did not go out.
    muted: bool,
    lines: Lines,
    /// What a handler left of the body of its request; `Err` if it broke off.
    rest: Option<Result<Incoming, BrokenOff>>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                under_way: 0,
                answering: false,
                quiet_since: now,
                head_since: Some(now),
                blocked_since: None,
                waiting: Vec::new(),
                last_waiting: 0,
                muted: false,
                lines: Lines::default(),
                rest: None,
            }),
            instruction: AtomicU8::new(0),
            task: AtomicWaker::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When something has to be done about an HTTP/1 connection, if nothing happens until then.
    pub(super) fn due(&self, limits: &Limits) -> Option<(Instant, Due)> {
        let state = self.state();
        let write = state
            .blocked_since
            .map(|since| (since + limits.write_stall, Due::Write));
        if state.under_way > 0 {
            return write;
        }
        let read = match state.head_since {
            Some(since) => (since + limits.header_read, Due::Head),
            None => (state.quiet_since + limits.park, Due::Quiet),
        };
        Some(write.map_or(read, |write| if write.0 < read.0 { write } else { read }))
    }

    /// Since when the client of an HTTP/2 connection takes nothing, on its socket or on one of its streams.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let state = self.state();
        let streams = state.waiting.iter().map(|(_, since)| *since);
        streams.chain(state.blocked_since).min()
    }

    /// Since when there is no request under way; `None` while there is one.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.under_way == 0).then_some(state.quiet_since)
    }

    /// Whether the connection is in the middle of a head, or has not begun its first.
    pub(super) fn in_head(&self) -> bool {
        let state = self.state();
        state.under_way == 0 && state.head_since.is_some()
    }

    /// Whether everything that was answered has left, and nothing has come since.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.state();
        state.under_way == 0 && !state.answering && state.head_since.is_none()
    }

    /// Until when a connection without a request may stay so.
    pub(super) fn idle_until(&self, limits: &Limits) -> Instant {
        let state = self.state();
        match state.head_since {
            Some(since) => since + limits.header_read,
            None => state.quiet_since + limits.idle,
        }
    }

    /// Begins to wait for the end of a head, unless one is awaited already.
    pub(super) fn await_head(&self) {
        self.state().head_since.get_or_insert_with(Instant::now);
    }

    /// Awaits no head: frames of HTTP/2 come at any time, so only the silence counts.
    pub(super) fn await_frames(&self) {
        let mut state = self.state();
        state.head_since = None;
        state.quiet_since = Instant::now();
    }

    /// Instructs the connection, and wakes it. The first instruction stays, except that a drain replaces an eviction.
    pub(super) fn instruct(&self, instruction: Instruction) {
        if instruction == Instruction::Drain {
            self.instruction
                .store(Instruction::Drain as u8, Ordering::Release);
        } else {
            let free = (0, instruction as u8, Ordering::AcqRel, Ordering::Relaxed);
            let _ = self
                .instruction
                .compare_exchange(free.0, free.1, free.2, free.3);
        }
        self.task.wake();
    }

    /// The instruction, if there is one. Wakes the task when one comes.
    pub(super) fn instruction(&self, cx: &Context<'_>) -> Option<Instruction> {
        self.task.register(cx.waker());
        match self.instruction.load(Ordering::Acquire) {
            1 => Some(Instruction::Drain),
            2 => Some(Instruction::Evict),
            _ => None,
        }
    }

    /// Since when the connection does nothing; `None` if it was instructed to end already.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        if self.instruction.load(Ordering::Acquire) != 0 {
            return None;
        }
        self.quiet_since()
    }

    /// Cancels an eviction: the connection has something to do after all.
    pub(super) fn decline_eviction(&self) {
        let room = Instruction::Evict as u8;
        let _ = self
            .instruction
            .compare_exchange(room, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.under_way == 0 {
            state.lines.read(bytes);
            state.head_since.get_or_insert_with(Instant::now);
        }
    }

    /// Keeps the time of a write that found no room, or found some again.
    pub(super) fn blocked(&self, blocked: bool) {
        self.state().blocked_since = blocked.then(Instant::now);
    }

    /// Whether what hyper writes is its own answer to a head that it could not parse. That does not go out.
    pub(super) fn mutes(&self) -> bool {
        let mut state = self.state();
        state.muted |= !state.answering;
        state.muted
    }

    /// Whether something did not go out.
    pub(super) fn is_muted(&self) -> bool {
        self.state().muted
    }

    /// Everything that was to be written was written.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        state.answering &= state.under_way > 0;
    }

    /// Whether a line of the head that was just read ended without CR.
    pub(super) fn has_bare_lf(&self) -> bool {
        self.state().lines.has_bare_lf()
    }

    /// Keeps what a handler left of a body, so that it can still be read.
    pub(super) fn leave_rest(&self, rest: Result<Incoming, BrokenOff>) {
        self.state().rest = Some(rest);
    }

    pub(super) fn take_rest(&self) -> Option<Result<Incoming, BrokenOff>> {
        self.state().rest.take()
    }

    /// Notes a part of an answer that is to be sent, until [`Watch::taken`].
    pub(super) fn waits(&self) -> u64 {
        let mut state = self.state();
        state.last_waiting += 1;
        let id = state.last_waiting;
        state.waiting.push((id, Instant::now()));
        id
    }

    /// The client took some of it.
    pub(super) fn progressed(&self, id: u64) {
        let mut state = self.state();
        if let Some((_, since)) = state.waiting.iter_mut().find(|(known, _)| *known == id) {
            *since = Instant::now();
        }
    }

    pub(super) fn taken(&self, id: u64) {
        self.state().waiting.retain(|(known, _)| *known != id);
    }
}

/// A request under way, from its head to the end of its answer's body.
#[derive(Debug)]
pub(super) struct UnderWay(pub(super) Arc<Watch>);

impl UnderWay {
    pub(super) fn new(watch: &Arc<Watch>) -> Self {
        let mut state = watch.state();
        state.under_way += 1;
        state.answering = true;
        state.head_since = None;
        drop(state);
        Self(Arc::clone(watch))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        if state.under_way == 0 {
            state.quiet_since = Instant::now();
            state.lines = Lines::default();
        }
    }
}
