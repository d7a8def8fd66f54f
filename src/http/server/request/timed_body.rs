//! The body of a request, with a limit on how long all of it may take, and on how much of all bodies is kept.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::http::server::Shared;
use crate::http::server::room::{Kept, NoRoom, Room};
use crate::http::server::watch::{BrokenOff, Paused, Watch};

/// A request's body did not arrive in time.
#[derive(Debug, Clone, Copy)]
pub struct BodyTimedOut;

impl fmt::Display for BodyTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body did not arrive in time")
    }
}

impl Error for BodyTimedOut {}

/// The body of a request, with a limit on how long all of it may take, and on how much of all bodies is kept.
pub(super) struct Timed {
    body: Option<Incoming>,
    limit: Duration,
    /// Set when the body is first waited for, which most are not.
    timer: Option<Pin<Box<Sleep>>>,
    failed: bool,
    watch: Arc<Watch>,
    /// Whether the watch takes what nobody read of it.
    keeps_rest: bool,
    /// Since when it is waited for; what comes in between counts nothing, or a byte now and then would be a reason to stay.
    awaited: Option<Instant>,
    /// While it is waited for.
    paused: Option<Paused>,
    room: Arc<Room>,
    /// Room for what came so far, unless that was all.
    kept: Option<Kept>,
    /// A part of the body that waits for room.
    taking: Option<(BoxFuture<'static, Result<Kept, NoRoom>>, Bytes)>,
}

type BodyFrame = Option<Result<Frame<Bytes>, Box<dyn Error + Send + Sync>>>;

impl Timed {
    pub(super) fn new<F>(
        body: Incoming,
        shared: &Shared<F>,
        watch: &Arc<Watch>,
        keeps_rest: bool,
    ) -> Self {
        Self {
            body: Some(body),
            limit: shared.limits.body_read,
            timer: None,
            failed: false,
            watch: Arc::clone(watch),
            keeps_rest,
            awaited: None,
            paused: None,
            room: Arc::clone(&shared.bodies),
            kept: None,
            taking: None,
        }
    }

    fn keep(&mut self, more: Kept) {
        match &mut self.kept {
            Some(kept) => kept.add(more),
            none => *none = Some(more),
        }
    }

    /// Gives a part on when there is room for it.
    fn poll_taking(&mut self, cx: &mut Context<'_>) -> Poll<BodyFrame> {
        let Some((taking, bytes)) = &mut self.taking else {
            return Poll::Pending;
        };
        let taken = ready!(taking.as_mut().poll(cx));
        let bytes = std::mem::take(bytes);
        self.taking = None;
        Poll::Ready(Some(match taken {
            Ok(kept) => {
                self.keep(kept);
                Ok(Frame::data(bytes))
            }
            Err(no_room) => {
                self.failed = true;
                Err(no_room.into())
            }
        }))
    }

    /// A part of the body, which is kept by whoever reads it until the rest has come.
    fn taken(&mut self, frame: Frame<Bytes>, cx: &mut Context<'_>) -> Poll<BodyFrame> {
        let is_last = self.body.as_ref().is_none_or(Incoming::is_end_stream);
        let bytes = match frame.into_data() {
            Ok(bytes) if !is_last && !bytes.is_empty() => bytes,
            Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        let length = bytes.len() as u64;
        match self.room.try_take(length, &self.watch) {
            Some(kept) => {
                self.keep(kept);
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None => {
                let taking = Arc::clone(&self.room).take(length, Arc::clone(&self.watch));
                self.taking = Some((Box::pin(taking), bytes));
                self.poll_taking(cx)
            }
        }
    }
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BodyFrame> {
        let this = &mut *self;
        if this.taking.is_some() {
            return this.poll_taking(cx);
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            this.paused = None;
            return match frame {
                Some(Ok(frame)) => this.taken(frame, cx),
                Some(Err(error)) => {
                    this.failed = true;
                    Poll::Ready(Some(Err(error.into())))
                }
                None => Poll::Ready(None),
            };
        }
        if this.paused.is_none() {
            let since = *this.awaited.get_or_insert_with(Instant::now);
            this.paused = Some(this.watch.pause(since));
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(sleep(this.limit)));
        ready!(timer.as_mut().poll(cx));
        this.paused = None;
        this.failed = true;
        Poll::Ready(Some(Err(Box::new(BodyTimedOut))))
    }

    fn is_end_stream(&self) -> bool {
        self.taking.is_none() && self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if !self.keeps_rest {
            return;
        }
        if let Some(body) = self.body.take() {
            if self.failed {
                self.watch.leave_rest(Err(BrokenOff));
            } else if !body.is_end_stream() {
                self.watch.leave_rest(Ok(body));
            }
        }
    }
}
