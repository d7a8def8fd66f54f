//! A TCP stream that keeps the time of what happens on it.
//!
//! hyper answers a head that it cannot parse by itself, with an empty body and before any handler. The
//! contract wants a problem document for every error, so such an answer is replaced here: bytes that
//! hyper writes while no request waits for its answer can only be its own. What is read is never
//! changed. Deliberately absent: the same for HTTP/2, whose frames are not ours to write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::Limits;
use crate::http::problem::{Code, Problem};
use crate::telemetry::HTTP_CLOSED;

/// What a client that speaks HTTP/2 from the start sends first, as far as it takes to know.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// Why the time of a connection is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The head of a request took too long.
    Head,
    /// There was no request for too long.
    Idle,
    /// The client took nothing for too long.
    Write,
}

/// What is known of a connection, shared by its socket, its service and its watchdog.
#[derive(Debug)]
pub(super) struct Watch(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Requests whose answer is not complete.
    under_way: usize,
    /// A request was handed to the service and its answer may not have left the buffers.
    answering: bool,
    /// Since when there is no request under way.
    quiet_since: Instant,
    /// Since when a head is awaited to its end.
    head_since: Option<Instant>,
    /// Since when the client takes nothing.
    blocked_since: Option<Instant>,
    /// Bytes of the preface that matched, until the first that does not.
    preface: usize,
    /// Whether anything was received.
    heard: bool,
    http2: bool,
    expired: Option<Due>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State {
            under_way: 0,
            answering: false,
            quiet_since: now,
            // A client that connects has something to say, so its first head is awaited from here on.
            head_since: Some(now),
            blocked_since: None,
            preface: 0,
            heard: false,
            http2: false,
            expired: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the connection has to go, if nothing happens until then, and why.
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
            None => (state.quiet_since + limits.idle, Due::Idle),
        };
        Some(write.map_or(read, |write| if write.0 < read.0 { write } else { read }))
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

    /// Tells the socket to end with the next read or write.
    pub(super) fn expire(&self, due: Due) {
        self.state().expired = Some(due);
    }

    fn received(&self, bytes: &[u8]) {
        let mut state = self.state();
        if !state.heard || (0 < state.preface && state.preface < HTTP2_PREFACE.len()) {
            let wanted = &HTTP2_PREFACE[state.preface..];
            let matched = wanted
                .iter()
                .zip(bytes)
                .take_while(|(wanted, byte)| wanted == byte)
                .count();
            if matched == wanted.len() {
                // Frames other than a head come at any time, so only the silence counts.
                state.http2 = true;
                state.head_since = None;
                state.quiet_since = Instant::now();
            }
            state.preface = if matched == wanted.len().min(bytes.len()) {
                state.preface + matched
            } else {
                0
            };
            state.heard = true;
        }
        if state.under_way == 0 && !state.http2 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }
}

/// A request under way, from its head to the end of its answer's body.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Watch>);

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
        }
    }
}

/// The stream of a connection, watched.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    watch: Arc<Watch>,
    /// What goes out instead of hyper's own answer, and how much of it went.
    instead: Option<(Vec<u8>, usize)>,
    /// Whether the last write found no room.
    blocked: bool,
    /// Whether the client has closed its side.
    ended: bool,
    linger: Duration,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, watch: Arc<Watch>, linger: Duration) -> Self {
        Self {
            stream,
            watch,
            instead: None,
            blocked: false,
            ended: false,
            linger,
            lingering: None,
        }
    }

    /// Keeps the time of a write that found no room, or found some again.
    fn note_write(&mut self, blocked: bool) {
        if self.blocked != blocked {
            self.blocked = blocked;
            self.watch.state().blocked_since = blocked.then(Instant::now);
        }
    }

    fn write_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, written)) = &mut self.instead {
            if *written == bytes.len() {
                self.instead = None;
                break;
            }
            let answer = Pin::new(&mut self.stream).poll_write(cx, &bytes[*written..]);
            if let Poll::Ready(Ok(n)) = answer {
                *written += n;
            }
            self.note_write(answer.is_pending());
            if ready!(answer)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whether `buf` is hyper's own answer to a head that it could not parse.
    fn is_hypers_own(&self, buf: &[u8]) -> bool {
        let state = self.watch.state();
        !state.answering && !state.http2 && buf.starts_with(b"HTTP/1.")
    }

    /// Ends a connection whose time is up.
    fn expire(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let (expired, say_so) = {
            let state = self.watch.state();
            (state.expired, state.heard && !state.http2)
        };
        match expired {
            None | Some(Due::Idle) => return Ok(()),
            Some(Due::Head) => {
                if say_so {
                    let problem = Problem::new(
                        Code::RequestTimeout,
                        "The headers did not arrive in time. Send the request again, whole and at once.",
                    );
                    // A fresh answer fits the send buffer, or the client would not read it anyway.
                    let _ = Pin::new(&mut self.stream).poll_write(cx, &problem.to_http1());
                }
            }
            // What it did not take would otherwise stay in the kernel after we are gone.
            Some(Due::Write) => {
                let _ = self.stream.set_zero_linger();
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// The document that replaces hyper's own answer with this head.
fn replacement(head: &[u8]) -> Vec<u8> {
    let (reason, problem) = if head.get(9..12) == Some(b"400") {
        let detail = "What arrived is not an HTTP request that this server understands. \
                      Check the request line, the headers and the length of the body before it.";
        ("bad_request", Problem::new(Code::InvalidRequest, detail))
    } else {
        let detail = "The request line and the headers are larger, or more, than this server takes. \
                      Send fewer or smaller headers, and check cookies that another application set.";
        (
            "headers_too_large",
            Problem::new(Code::HeadersTooLarge, detail),
        )
    };
    counter!(HTTP_CLOSED, "reason" => reason).increment(1);
    problem.to_http1()
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.expire(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let bytes = &buf.filled()[before..];
        if bytes.is_empty() {
            self.ended = true;
        } else {
            self.watch.received(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.expire(cx)?;
        if self.instead.is_none() && self.is_hypers_own(buf) {
            self.instead = Some((replacement(buf), 0));
        }
        if self.instead.is_some() {
            ready!(self.write_instead(cx))?;
            return Poll::Ready(Ok(buf.len()));
        }
        let answer = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_write(answer.is_pending());
        answer
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [buf] = bufs {
            return self.poll_write(cx, buf);
        }
        self.expire(cx)?;
        let answer = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_write(answer.is_pending());
        answer
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes the socket when its own buffer is empty, so the answer has left.
        let mut state = self.watch.state();
        state.answering &= state.under_way > 0;
        drop(state);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes our side, and then reads what still comes until the client closes its own, for a while.
    ///
    /// A socket closed with unread bytes resets the connection, and the reset can reach the client before
    /// the answer does: it would see an error instead of "the body is too large".
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.lingering = Some(Box::pin(sleep(this.linger)));
        }
        let mut unwanted = [0; 8 * 1024];
        while !this.ended {
            if let Some(sleep) = &mut this.lingering
                && sleep.as_mut().poll(cx).is_ready()
            {
                break;
            }
            let mut buf = ReadBuf::new(&mut unwanted);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => this.ended = true,
            }
        }
        Poll::Ready(Ok(()))
    }
}
