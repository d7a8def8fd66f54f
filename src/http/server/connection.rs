//! One connection: hyper drives it, a watchdog in the same task ends it when its time is up.
//!
//! The watchdog looks after each step of hyper's, so it needs no timer of its own per request: one
//! timer per connection, moved only when a deadline comes closer. Deliberately absent: a limit on how
//! long a handler may take. Handlers answer within their store's time-out.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, Request, Version};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::Shared;
use super::socket::{Due, Socket, UnderWay, Watch};
use crate::http::problem::{Code, Problem};
use crate::telemetry::HTTP_CLOSED;

/// Serves one connection to its end.
pub(super) async fn run<F, A>(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared<F>>)
where
    F: Fn(axum::extract::Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let limits = &shared.limits;
    let watch = Arc::new(Watch::new());
    let socket = Socket::new(stream, Arc::clone(&watch), limits.linger);
    let service = service_fn(|request: Request<Incoming>| answer(request, peer, shared, &watch));
    let mut connection = pin!(shared.http.serve_connection(TokioIo::new(socket), service));

    let mut closing = pin!(shared.closing.given());
    // The task's waker never changes, so waiting is begun once; after that the flag is enough.
    let mut waiting = false;
    // Since when this side wants to end the connection.
    let mut leaving: Option<Instant> = None;
    let mut timer = pin!(sleep_until(Instant::now() + limits.header_read));

    poll_fn(|cx| {
        loop {
            // First, so that a request that is already here is still answered.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if leaving.is_none() {
                if !waiting {
                    waiting = true;
                    let _ = closing.as_mut().poll(cx);
                }
                if shared.closing.is_given() {
                    if watch.in_head() {
                        return Poll::Ready(());
                    }
                    leaving = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
            }

            let due = match (leaving, watch.quiet_since()) {
                // It had its time to say goodbye; whoever is silent now is silent for good.
                (Some(since), Some(quiet)) => Some((since.max(quiet) + limits.linger * 2, None)),
                _ => watch.due(limits).map(|(at, due)| (at, Some(due))),
            };
            let Some((at, due)) = due else {
                return Poll::Pending;
            };
            if at < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() < at {
                // It was set for an earlier deadline that has moved on.
                timer.as_mut().reset(at);
                ready!(timer.as_mut().poll(cx));
            }

            match due {
                None => return Poll::Ready(()),
                Some(Due::Idle) => {
                    counter!(HTTP_CLOSED, "reason" => "idle").increment(1);
                    leaving = Some(Instant::now());
                    connection.as_mut().graceful_shutdown();
                }
                Some(due @ (Due::Head | Due::Write)) => {
                    let reason = if due == Due::Head {
                        "slow_headers"
                    } else {
                        "stalled_write"
                    };
                    counter!(HTTP_CLOSED, "reason" => reason).increment(1);
                    watch.expire(due);
                    let _ = connection.as_mut().poll(cx);
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
}

/// Tells a connection above the limit that there are too many, and ends it.
pub(super) async fn refuse(mut stream: TcpStream) {
    let mut head = Vec::with_capacity(1024);
    // A client that gets an answer before it has asked takes it for a broken connection.
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16 * 1024 {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let problem = Problem::new(
        Code::Overloaded,
        "This node has as many connections as it takes. Try again after the time that Retry-After says.",
    );
    if stream.write_all(&problem.to_http1()).await.is_err() || stream.shutdown().await.is_err() {
        return;
    }
    // Unread bytes would reset the connection before the answer is read.
    let mut unwanted = [0; 4 * 1024];
    while matches!(stream.read(&mut unwanted).await, Ok(n) if n > 0) {}
}

/// Has one request answered.
fn answer<F, A>(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: &Arc<Shared<F>>,
    watch: &Arc<Watch>,
) -> BoxFuture<'static, Result<Response<Answer>, Infallible>>
where
    F: Fn(axum::extract::Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let under_way = UnderWay::new(watch);
    let shared = Arc::clone(shared);
    let http1 = request.version() < Version::HTTP_2;
    let mut request = request.map(|body| timed(body, shared.limits.body_read));
    request.extensions_mut().insert(ConnectInfo(peer));

    // In a box for as long as it runs: a connection keeps the place of its answer while it is silent, 6 KB of it.
    Box::pin(async move {
        let mut response = if !http1 && header_bytes(request.headers()) > shared.limits.header_bytes
        {
            let detail =
                "The headers are larger than this server takes. Send fewer or smaller headers.";
            Problem::new(Code::HeadersTooLarge, detail).into_response()
        } else {
            (shared.answer)(request).await
        };
        if http1 && shared.drain.is_draining() {
            // The client goes by itself before the connection is closed under it.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Answer {
            body,
            _under_way: under_way,
        }))
    })
}

/// The size of a header list as HTTP/2 counts it (RFC 9113, section 6.5.2).
fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

/// The body of an answer; while it is there, the request is under way.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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

/// The body of a request, with a limit on how long all of it may take.
struct Timed {
    body: Incoming,
    limit: Duration,
    /// Set when the body is first waited for, which most are not.
    timer: Option<Pin<Box<Sleep>>>,
}

fn timed(body: Incoming, limit: Duration) -> Body {
    if hyper::body::Body::is_end_stream(&body) {
        return Body::empty();
    }
    Body::new(Timed {
        body,
        limit,
        timer: None,
    })
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(sleep(this.limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Box::new(BodyTimedOut))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
