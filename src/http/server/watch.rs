//! What is known of a connection: shared by its socket, its requests, its watchdog, and whoever makes room for others.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Limits;
use super::lines::Lines;
use super::room::Kind;

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
    /// To end unless somebody here works for it: another connection needs the room.
    Evict = 2,
    /// To end now: it did not go when it was asked, or takes nothing of what is kept for it.
    Cut = 3,
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
    /// Those of them that a handler works on, and that do not wait for the rest of their body. Signed, because the end of a request
    /// and that of its body may come in either order.
    at_work: isize,
    /// Those of them whose answer has begun.
    answered: usize,
    /// Those of them whose answer has no end.
    endless: usize,
    /// Since when all that is under way waits for the client, if it does.
    client_since: Instant,
    /// Bytes of bodies and of answers that are kept for the client ([`super::room`]).
    kept: [u64; 2],
    /// When the connection was asked to go.
    evicted: Option<Instant>,
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
                at_work: 0,
                answered: 0,
                endless: 0,
                client_since: now,
                kept: [0; 2],
                evicted: None,
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
        // While an answer is not on its way the next head may take its time, and what holds the answer may not be given back.
        if state.under_way > 0 || state.answering {
            return write;
        }
        Some(match state.head_since {
            Some(since) => (since + limits.header_read, Due::Head),
            None => (state.quiet_since + limits.park, Due::Quiet),
        })
    }

    /// Since when the client of an HTTP/2 connection takes nothing, on its socket or on one of its streams.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.state().stalled_since()
    }

    /// Whether nobody here works for the connection: it is silent, or waits for its client.
    pub(super) fn waits_for_client(&self) -> bool {
        self.state().client_since().is_some()
    }

    /// Whether the connection waits, for a body or for room, nothing of its answer has been sent, and all before it has.
    pub(super) fn is_paused(&self) -> bool {
        let state = self.state();
        let waits = state.under_way > 0 && state.at_work <= 0;
        waits && state.answered == 0 && state.blocked_since.is_none()
    }

    /// Since when the client lets wait what is kept for it; `None` if nothing of this kind is kept, or it was instructed to end now.
    pub(super) fn keeps_since(&self, kind: Kind) -> Option<Instant> {
        let state = self.state();
        if state.kept[kind as usize] == 0
            || self.instruction.load(Ordering::Acquire) == Instruction::Cut as u8
        {
            return None;
        }
        state.stalled_since().or_else(|| state.client_since())
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

    /// Instructs the connection, and wakes it. An eviction replaces nothing, and nothing replaces a cut.
    pub(super) fn instruct(&self, instruction: Instruction) {
        match instruction {
            Instruction::Drain => {
                let _ = self
                    .instruction
                    .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                        (now != Instruction::Cut as u8).then_some(Instruction::Drain as u8)
                    });
            }
            Instruction::Evict => {
                let free = (0, instruction as u8, Ordering::AcqRel, Ordering::Relaxed);
                let told = self
                    .instruction
                    .compare_exchange(free.0, free.1, free.2, free.3);
                if told.is_ok() {
                    self.state().evicted = Some(Instant::now());
                }
            }
            Instruction::Cut => self
                .instruction
                .store(Instruction::Cut as u8, Ordering::Release),
        }
        self.task.wake();
    }

    /// The instruction, if there is one. Wakes the task when one comes.
    pub(super) fn instruction(&self, cx: &Context<'_>) -> Option<Instruction> {
        self.task.register(cx.waker());
        match self.instruction.load(Ordering::Acquire) {
            1 => Some(Instruction::Drain),
            2 => Some(Instruction::Evict),
            3 => Some(Instruction::Cut),
            _ => None,
        }
    }

    /// Since when nobody here works for the connection; `None` if somebody does, or it was instructed to end already.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        if self.instruction.load(Ordering::Acquire) != 0 {
            return None;
        }
        self.state().client_since()
    }

    /// Since when the connection has not followed the instruction to make room.
    pub(super) fn evicted_since(&self) -> Option<Instant> {
        if self.instruction.load(Ordering::Acquire) != Instruction::Evict as u8 {
            return None;
        }
        self.state().evicted
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

    /// Nobody works for a request: it waits for its body or for room, and has done so since then. It goes on when the value is dropped.
    pub(super) fn pause(self: &Arc<Self>, since: Instant) -> Paused {
        let mut state = self.state();
        state.at_work -= 1;
        // Another request of the connection may have come to its end later.
        state.client_since = state.client_since.max(since);
        drop(state);
        Paused(Arc::clone(self))
    }

    /// Counts what is kept for the client.
    pub(super) fn keep(&self, kind: Kind, bytes: u64) {
        self.state().kept[kind as usize] += bytes;
    }

    pub(super) fn keep_less(&self, kind: Kind, bytes: u64) {
        self.state().kept[kind as usize] -= bytes;
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

    /// Whether the head that was just read came to its end, and is not too long.
    pub(super) fn has_whole_head(&self) -> bool {
        self.state().lines.is_whole()
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

impl State {
    fn stalled_since(&self) -> Option<Instant> {
        let streams = self.waiting.iter().map(|(_, since)| *since);
        streams.chain(self.blocked_since).min()
    }

    /// Since when nobody here works for the connection.
    fn client_since(&self) -> Option<Instant> {
        if self.under_way == 0 {
            Some(self.quiet_since)
        } else if self.at_work > 0 {
            None
        } else if self.endless > 0 {
            // Such an answer waits for something to tell, unless it is not taken.
            self.stalled_since()
        } else {
            Some(self.client_since)
        }
    }
}

/// A request for which nobody works.
#[derive(Debug)]
pub(super) struct Paused(Arc<Watch>);

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.state().at_work += 1;
    }
}

/// A request under way, from its head to the end of its answer's body.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) watch: Arc<Watch>,
    answer: Option<AnswerKind>,
}

/// An answer that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerKind {
    /// It is whole, and only has to be taken.
    Whole,
    /// It goes on for as long as there is something to tell.
    Endless,
}

impl UnderWay {
    pub(super) fn new(watch: &Arc<Watch>) -> Self {
        let mut state = watch.state();
        state.under_way += 1;
        state.at_work += 1;
        state.answering = true;
        state.head_since = None;
        drop(state);
        Self {
            watch: Arc::clone(watch),
            answer: None,
        }
    }

    /// The handler is done; what is left is the client's to take.
    pub(super) fn answer(&mut self, kind: AnswerKind) {
        let mut state = self.watch.state();
        state.at_work -= 1;
        state.answered += 1;
        state.endless += usize::from(kind == AnswerKind::Endless);
        state.client_since = Instant::now();
        drop(state);
        self.answer = Some(kind);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.watch.state();
        state.under_way -= 1;
        match self.answer {
            None => state.at_work -= 1,
            Some(kind) => {
                state.answered -= 1;
                state.endless -= usize::from(kind == AnswerKind::Endless);
            }
        }
        if state.under_way == 0 {
            state.quiet_since = Instant::now();
            state.lines = Lines::default();
        }
    }
}
