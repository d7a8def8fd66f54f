//! One request of a connection: what is wrong with it before anybody looks at its path, its body, and the answer on its way out.

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, CONTENT_ENCODING, EXPECT, HOST, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, Version};
use axum::response::{IntoResponse as _, Response};
use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::Shared;
use super::room::{Kept, NoRoom, Room};
use super::watch::{AnswerKind, BrokenOff, Paused, UnderWay, Watch};
use crate::http::problem::{Code, Problem};
use crate::store::Outcome;

/// Maximum of unwanted body bytes that are read to keep the connection usable.
const REST: u64 = 64 * 1024;

/// How long such bytes are waited for.
const REST_WAIT: Duration = Duration::from_secs(1);

/// Answers up to here may wait for their client without a turn.
const SMALL: u64 = 16 * 1024;

/// Maximum size of a data frame's content on an HTTP/2 stream.
const PART: usize = 16 * 1024;

tokio::task_local! {
    /// Of a request that is one of many on its connection, while a handler works on it.
    static TURN: RefCell<Option<OwnedSemaphorePermit>>;
}

/// Gives the turn of the request that is worked on to the next: this one only waits from here on. Not by the clock, because on a
/// busy machine everything takes long.
pub(super) fn end_turn() {
    let _ = TURN.try_with(|turn| turn.take());
}

/// Where requests come from.
pub(super) struct From<F> {
    pub(super) peer: SocketAddr,
    pub(super) shared: Arc<Shared<F>>,
    pub(super) watch: Arc<Watch>,
    /// Whether the connection ends after one answer.
    pub(super) once: bool,
    /// How many of them may be worked on at a time, if there are more than one.
    pub(super) turns: Option<Arc<Semaphore>>,
}

/// Has one request answered.
pub(super) fn answer<F, A>(
    request: Request<Incoming>,
    from: &From<F>,
) -> BoxFuture<'static, Result<Response<Answer>, Infallible>>
where
    F: Fn(axum::extract::Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let mut under_way = UnderWay::new(&from.watch);
    let (shared, watch) = (Arc::clone(&from.shared), Arc::clone(&from.watch));
    let (turns, once) = (from.turns.clone(), from.once);
    let queue = Arc::clone(&watch);
    let http1 = request.version() < Version::HTTP_2;
    let screened = screen(&request, &watch, shared.limits.header_bytes);
    // Whoever waits for permission to send a body is not asked for one that nobody wants.
    let expects = request.headers().contains_key(EXPECT);
    let mut request = request.map(|body| {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Timed {
            body: Some(body),
            limit: shared.limits.body_read,
            timer: None,
            failed: false,
            watch: Arc::clone(&watch),
            keeps_rest: http1,
            awaited: None,
            paused: None,
            room: Arc::clone(&shared.bodies),
            kept: None,
            taking: None,
        })
    });
    request.extensions_mut().insert(ConnectInfo(from.peer));
    name_host(&mut request);

    let answering = move |mut turn: Option<OwnedSemaphorePermit>| async move {
        let mut closes = once || shared.drain.is_draining();
        let mut response = match screened {
            Ok(()) => {
                let answering = (shared.answer)(request);
                if turn.is_some() {
                    let answering = async {
                        let response = answering.await;
                        (response, TURN.with(RefCell::take))
                    };
                    let (response, left) = TURN.scope(RefCell::new(turn), answering).await;
                    turn = left;
                    response
                } else {
                    answering.await
                }
            }
            Err(problem) => {
                closes = true;
                drop(request);
                problem.into_response()
            }
        };
        // One without an end, such as an event stream, is made as it is taken.
        let size = response.body().size_hint().exact();
        let mut kept = None;
        if let Some(size) = size.filter(|size| SMALL < *size) {
            kept = shared.answers.try_take(size, &watch);
            if kept.is_none() {
                let taken = Arc::clone(&shared.answers).take(size, Arc::clone(&watch));
                let paused = watch.pause(Instant::now());
                let taken = taken.await;
                drop(paused);
                match taken {
                    Ok(taken) => kept = Some(taken),
                    // It may have been done, and nobody is to hear of it.
                    Err(no_room) => response = no_room.problem(Outcome::Unknown).into_response(),
                }
            }
        }
        if http1 {
            if let Some(rest) = watch.take_rest() {
                closes |= match rest {
                    Ok(rest) => expects || !read_rest(rest, &watch).await,
                    Err(BrokenOff) => true,
                };
            }
            if closes {
                // The client goes by itself before the connection is closed under it.
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        under_way.answer(match size {
            Some(_) => AnswerKind::Whole,
            None => AnswerKind::Endless,
        });
        // Without a large answer to wait for its client, the next request may be worked on.
        let turn = turn.filter(|_| kept.is_some());
        Ok(response.map(|body| Answer::new(body, under_way, turn, kept, http1)))
    };
    // In a box for as long as it runs: a connection keeps the place of its answer while it is silent, 6 KB of it. A request that
    // waits for its turn does without.
    match turns {
        None => Box::pin(answering(None)),
        Some(turns) => Box::pin(async move {
            // The others wait for their client, if they do not move on.
            let paused = queue.pause(Instant::now());
            let turn = turns.acquire_owned().await.ok();
            drop(paused);
            Box::pin(answering(turn)).await
        }),
    }
}

/// Refuses what others could read as another request than this server does.
fn screen(request: &Request<Incoming>, watch: &Watch, header_bytes: usize) -> Result<(), Problem> {
    let headers = request.headers();
    let invalid = |detail: &'static str| Err(Problem::new(Code::InvalidRequest, detail));
    if request.version() >= Version::HTTP_2 {
        if list_bytes(headers) > header_bytes {
            return Err(Problem::new(
                Code::HeadersTooLarge,
                "The headers are larger than this server takes. Send fewer or smaller headers.",
            ));
        }
        let authority = request.uri().authority().map(Authority::as_str);
        if let (Some(host), Some(authority)) = (headers.get(HOST), authority)
            && !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
        {
            return invalid("\"host\" and \":authority\" name different hosts. Send one of them.");
        }
        if authority.is_some_and(|authority| authority.contains('@')) {
            return invalid("\":authority\" names a user. Send the host alone.");
        }
        if authority.is_none() && headers.get(HOST).is_none() {
            return invalid("A request names its host, in \":authority\" or in \"host\".");
        }
    } else {
        if watch.has_bare_lf() {
            return invalid("A line of the headers ends without CR. End each line with CR and LF.");
        }
        let codings = headers.get_all(TRANSFER_ENCODING);
        let mut codings = codings.iter().map(HeaderValue::as_bytes);
        if let Some(coding) = codings.next()
            && (!coding.trim_ascii().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
        {
            return invalid("This server takes no transfer coding but \"chunked\", and that once.");
        }
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        return invalid("A request names its host in exactly one header \"Host\".");
    }
    if host.is_some_and(|host| !is_host(host)) {
        return invalid("\"Host\" is not the name or address of a host, with a port or without.");
    }
    let coded = headers.get(CONTENT_ENCODING);
    if coded.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "This server takes no compressed bodies. Send it without \"Content-Encoding\".",
        ));
    }
    Ok(())
}

/// Whether this is what a `Host` may be (RFC 9110, section 7.2). An empty one stands for none.
fn is_host(host: &HeaderValue) -> bool {
    host.is_empty()
        || host.to_str().is_ok_and(|host| {
            // The parser takes anything for a port, and anything behind a bracket.
            let behind = match host.rsplit_once(']') {
                Some((_, behind)) => behind,
                None => host.find(':').map_or("", |colon| &host[colon..]),
            };
            let port = behind.strip_prefix(':').unwrap_or_default();
            !host.contains('@')
                && (behind.is_empty() || behind.starts_with(':'))
                && (port.is_empty() || port.parse::<u16>().is_ok() && !port.starts_with('+'))
                && host.parse::<Authority>().is_ok()
        })
}

/// Lets the target of a request say which host it is for, where it does: it has precedence over `Host` (RFC 9112, section 3.2.2).
fn name_host(request: &mut axum::extract::Request) {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::try_from(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
}

/// The size of a header list as HTTP/2 counts it (RFC 9113, section 6.5.2).
fn list_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

/// Reads what is left of a body, if it is little and comes soon, and returns whether that was all.
async fn read_rest(mut rest: Incoming, watch: &Arc<Watch>) -> bool {
    if REST < rest.size_hint().lower() {
        return false;
    }
    let _paused = watch.pause(Instant::now());
    let all = async {
        let mut length = 0;
        while let Some(frame) = rest.frame().await {
            length += match frame {
                Ok(frame) => frame.data_ref().map_or(0, |data| data.len() as u64),
                Err(_) => return false,
            };
            if REST < length {
                return false;
            }
        }
        true
    };
    timeout(REST_WAIT, all).await.unwrap_or(false)
}

/// The body of an answer; while it is there, the request is under way.
pub(super) struct Answer {
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
    fn new(
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
pub(super) struct Part {
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
struct Timed {
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
