//! A connection of HTTP/2.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use axum::extract::Request;
use axum::response::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::counter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};

use super::End;
use crate::http::server::Shared;
use crate::http::server::request::{From, answer};
use crate::http::server::socket::Socket;
use crate::http::server::stream::Stream;
use crate::http::server::watch::{Instruction, Watch};
use crate::telemetry::HTTP_CLOSED;

/// Requests of one HTTP/2 connection that are worked on, or whose large answers wait, at a time. The others wait, so that a
/// client that opens many streams and takes nothing cannot have an answer made for each of them.
const HTTP2_TURNS: usize = 16;

/// Serves a connection of HTTP/2. A stream that stands still ends its connection: others on it get their answers first, if they
/// do so soon.
pub(super) async fn http2_to_the_end<F, A>(
    stream: &mut Stream,
    peer: SocketAddr,
    shared: &Arc<Shared<F>>,
    watch: &Arc<Watch>,
    mut timer: Pin<&mut Sleep>,
) -> End
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let limits = &shared.limits;
    let from = From {
        peer,
        shared: Arc::clone(shared),
        watch: Arc::clone(watch),
        once: false,
        turns: Some(Arc::new(Semaphore::new(HTTP2_TURNS))),
    };
    let service = service_fn(|request| answer(request, &from));
    let socket = Socket::http2(stream, watch);
    let mut connection = pin!(shared.http2.serve_connection(TokioIo::new(socket), service));
    // Streams run in tasks of their own, which do not wake this one, so it looks now and then.
    let look = limits.write_stall.min(limits.idle) / 8;
    timer.as_mut().reset(Instant::now() + look);
    let mut leaving: Option<Instant> = None;
    let mut stalled = false;

    poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Close);
            }
            let instruction = watch.instruction(cx);
            if instruction == Some(Instruction::Cut) {
                return Poll::Ready(End::Cut);
            }
            let is_asked_to_go = instruction == Some(Instruction::Evict) && leaving.is_none();
            if is_asked_to_go && !watch.waits_for_client() {
                watch.decline_eviction();
            } else if instruction.is_some() && leaving.is_none() {
                leaving = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
                continue;
            }
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            timer.as_mut().reset(now + look);

            let quiet = watch.quiet_since();
            if leaving.is_none() && quiet.is_some_and(|since| since + limits.idle <= now) {
                counter!(HTTP_CLOSED, "reason" => "idle").increment(1);
                leaving = Some(now);
                connection.as_mut().graceful_shutdown();
            }
            if let Some(since) = watch.stalled_since()
                && since + limits.write_stall <= now
                && !stalled
            {
                counter!(HTTP_CLOSED, "reason" => "stalled_stream").increment(1);
                stalled = true;
                leaving = Some(now);
                connection.as_mut().graceful_shutdown();
            }
            if let Some(since) = leaving {
                if stalled && since + limits.linger <= now {
                    return Poll::Ready(End::Cut);
                }
                if quiet.is_some_and(|quiet| since.max(quiet) + limits.linger * 2 <= now) {
                    return Poll::Ready(End::Close);
                }
            }
        }
    })
    .await
}
