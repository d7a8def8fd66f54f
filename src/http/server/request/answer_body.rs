//! The body of an answer on its way out. While a part of it is there, the request is under way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::http::server::room::Kept;
use crate::http::server::watch::UnderWay;

/// Maximum size of a data frame's content on an HTTP/2 stream.
const PART: usize = 16 * 1024;

/// The body of an answer; while it is there, the request is under way.
pub(in crate::http::server) struct Answer {
    body: Body,
    /// What was made of it and is not sent.
    made: Bytes,
    /// Of HTTP/1; the parts of an HTTP/2 answer have a share in it, because hyper is done with them before they are sent.
    under_way: Result<UnderWay, Arc<Sending>>,
    /// Room for all of it, in which its parts have a share.
    kept: Option<Arc<Kept>>,
}

/// An HTTP/2 answer that is on its way.
struct Sending {
    under_way: UnderWay,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Answer {
    pub(super) fn new(
        body: Body,
        under_way: UnderWay,
        turn: Option<OwnedSemaphorePermit>,
        kept: Option<Kept>,
        http1: bool,
    ) -> Self {
        Self {
            body,
            made: Bytes::new(),
            under_way: if http1 {
                Ok(under_way)
            } else {
                Err(Arc::new(Sending {
                    under_way,
                    _turn: turn,
                }))
            },
            kept: kept.map(Arc::new),
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Part;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Part>, axum::Error>>> {
        let this = &mut *self;
        if this.made.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match frame.into_data() {
                Ok(data) => this.made = data,
                Err(frame) => {
                    let frame = frame.map_data(|bytes| Part {
                        bytes,
                        sent: None,
                        _kept: None,
                    });
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
        let kept = this.kept.clone();
        let part = match &this.under_way {
            Ok(_) => Part {
                bytes: std::mem::take(&mut this.made),
                sent: None,
                _kept: kept,
            },
            Err(sending) => Part {
                bytes: this.made.split_to(this.made.len().min(PART)),
                sent: Some(Sent::new(sending)),
                _kept: kept,
            },
        };
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.made.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (made, rest) = (self.made.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + made);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + made);
        }
        hint
    }
}

/// Bytes of an answer.
pub(in crate::http::server) struct Part {
    bytes: Bytes,
    sent: Option<Sent>,
    _kept: Option<Arc<Kept>>,
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(sent) = &self.sent {
            sent.sending.under_way.watch.progressed(sent.id);
        }
    }
}

/// Tells the connection when a part of an HTTP/2 answer is on its way: it goes with the last byte.
struct Sent {
    sending: Arc<Sending>,
    id: u64,
}

impl Sent {
    fn new(sending: &Arc<Sending>) -> Self {
        Self {
            sending: Arc::clone(sending),
            id: sending.under_way.watch.waits(),
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.sending.under_way.watch.taken(self.id);
    }
}
