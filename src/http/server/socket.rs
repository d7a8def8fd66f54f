//! A stream that reports reads and writes to its [`Watch`].
//!
//! hyper answers a head that it cannot parse by itself, with an empty body, and somebody whose browser sends too many cookies of
//! another application would see a blank page. So what hyper writes while no request waits for its answer does not go out, and
//! the connection sends a problem document in its place. What is read is never changed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;
use super::watch::Watch;
use crate::telemetry::HTTP_CLOSED;

/// The stream of a connection, for as long as one hyper connection drives it.
#[derive(Debug)]
pub(super) struct Socket<'a> {
    stream: &'a mut Stream,
    watch: &'a Watch,
    /// What was read already.
    before: Bytes,
    /// Whether hyper may write what it likes: frames of HTTP/2 are not ours to judge.
    is_free: bool,
    /// Whether the last write found no room.
    blocked: bool,
}

impl<'a> Socket<'a> {
    pub(super) const fn http1(stream: &'a mut Stream, watch: &'a Watch, before: Bytes) -> Self {
        Self {
            stream,
            watch,
            before,
            is_free: false,
            blocked: false,
        }
    }

    pub(super) const fn http2(stream: &'a mut Stream, watch: &'a Watch) -> Self {
        Self {
            stream,
            watch,
            before: Bytes::new(),
            is_free: true,
            blocked: false,
        }
    }

    fn note_write(&mut self, blocked: bool) {
        if self.blocked != blocked {
            self.blocked = blocked;
            self.watch.blocked(blocked);
        }
    }
}

/// Counts a connection that the kernel ended, because its client took nothing of what was sent for too long.
pub(super) fn count_stall(error: &io::Error) {
    if error.kind() == io::ErrorKind::TimedOut {
        counter!(HTTP_CLOSED, "reason" => "stalled_write").increment(1);
    }
}

impl AsyncRead for Socket<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let length = self.before.len().min(buf.remaining());
            buf.put_slice(&self.before[..length]);
            self.before.advance(length);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.stream).poll_read(cx, buf)).inspect_err(count_stall)?;
        let bytes = &buf.filled()[before..];
        if !bytes.is_empty() && !self.is_free {
            self.watch.received(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.is_free && self.watch.mutes() {
            return Poll::Ready(Ok(buf.len()));
        }
        let answer = Pin::new(&mut *self.stream).poll_write(cx, buf);
        self.note_write(answer.is_pending());
        answer
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.is_free && self.watch.mutes() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let answer = Pin::new(&mut *self.stream).poll_write_vectored(cx, bufs);
        self.note_write(answer.is_pending());
        answer
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // With TLS there can be records that found no room.
        let flushed = Pin::new(&mut *self.stream).poll_flush(cx);
        self.note_write(flushed.is_pending());
        ready!(flushed)?;
        // hyper flushes the socket when its own buffer is empty, so the answer has left.
        self.watch.flushed();
        Poll::Ready(Ok(()))
    }

    /// Does nothing: the connection closes the stream, after it has said what it has to say.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
