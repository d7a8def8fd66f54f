//! One connection: hyper drives it while there is something to do, a watchdog in the same task ends it when its time is up.
//!
//! A connection of HTTP/1 that says nothing for a second is parked: it gives back what serves requests, some 15 KB, and is
//! only a socket and a timer until the next byte comes. So a hundred thousand widgets may keep theirs. The watchdog looks
//! after each step of hyper's, so it needs no timer of its own per request: one timer per connection, moved only when a
//! deadline comes closer. Deliberately absent: a limit on how long a handler may take. Handlers answer within their
//! store's time-out.

mod http2;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use metrics::counter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use self::http2::http2_to_the_end;
use super::Shared;
use super::request::{From, answer};
use super::room::NoRoom;
use super::socket::{Socket, count_stall};
use super::stream::Stream;
use super::watch::{Due, Instruction, Watch};
use crate::http::problem::{Code, Problem};
use crate::store::Outcome;
use crate::telemetry::HTTP_CLOSED;

/// What a client that speaks HTTP/2 from the start sends first, as far as it takes to know.
const HTTP2_PREFACE: &[u8; 4] = b"PRI ";

/// How a connection, or the part of it that hyper drove, ended.
enum End {
    /// There is nothing to do for now.
    Quiet,
    /// Both sides may close.
    Close,
    /// The client gets a problem document first.
    Say(Problem),
    /// The same, without waiting for the client to read it: others need the room.
    SayAndGo(Problem),
    /// The client takes nothing.
    Cut,
    /// Nothing is owed to the client, which would only keep a file open by going late.
    Gone,
}

/// Serves one connection to its end. `once` is for one above the limit: it gets one answer.
pub(super) async fn run<F, A>(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared<F>>,
    watch: &Arc<Watch>,
    once: bool,
) where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let mut stream = match &shared.tls {
        None => Stream::Tcp(stream),
        Some(tls) => match Box::pin(agree_on_tls(stream, tls, watch, shared)).await {
            Some(stream) => stream,
            None => return,
        },
    };
    let mut timer = pin!(sleep_until(watch.idle_until(&shared.limits)));
    let end = loop {
        let http2 = match parked(&mut stream, watch, shared, timer.as_mut()).await {
            Ok(http2) => http2,
            Err(end) => break end,
        };
        // In a box for as long as it runs: a connection keeps the place of it while it is silent.
        let end = if http2 {
            watch.await_frames();
            Box::pin(http2_to_the_end(
                &mut stream,
                peer,
                shared,
                watch,
                timer.as_mut(),
            ))
            .await
        } else {
            watch.await_head();
            Box::pin(http1_until_quiet(
                &mut stream,
                peer,
                shared,
                watch,
                once,
                timer.as_mut(),
            ))
            .await
        };
        match end {
            End::Quiet => {}
            end => break end,
        }
    };
    match end {
        End::Cut => {
            // What it did not take would otherwise stay in the kernel after we are gone.
            stream.forget_unsent();
        }
        End::Say(problem) => {
            // A fresh answer fits the send buffer, or the client would not read it anyway.
            stream.write_now(&problem.to_http1());
            Box::pin(close_unless_cut(stream, shared.limits.linger, watch)).await;
        }
        End::SayAndGo(problem) => stream.write_now(&problem.to_http1()),
        End::Gone => {}
        _ => Box::pin(close_unless_cut(stream, shared.limits.linger, watch)).await,
    }
}

/// The stream after the handshake; none if that failed.
///
/// A client has as long for it as for the head of its first request, and for both together: one that says nothing, or half of
/// something, holds a socket for `header_read` and no longer. What it may send before anything is decided is bounded by rustls, 64 KiB.
async fn agree_on_tls<F>(
    stream: TcpStream,
    tls: &TlsAcceptor,
    watch: &Watch,
    shared: &Shared<F>,
) -> Option<Stream> {
    let mut timer = pin!(sleep_until(watch.idle_until(&shared.limits)));
    let mut first = [0];
    let looked = before_head(watch, timer.as_mut(), stream.peek(&mut first)).await?;
    if looked.ok()? == 0 {
        return None;
    }
    // Those who write http:// where https:// belongs get a sentence. A record of TLS begins with 22.
    if first[0].is_ascii_alphabetic() {
        counter!(HTTP_CLOSED, "reason" => "no_tls").increment(1);
        let mut stream = Stream::Tcp(stream);
        stream.write_now(&speaks_tls().to_http1());
        close(stream, shared.limits.linger).await;
        return None;
    }
    match before_head(watch, timer, tls.accept(stream)).await? {
        Ok(stream) => Some(Stream::tls(stream)),
        Err(error) => {
            counter!(HTTP_CLOSED, "reason" => "no_tls").increment(1);
            tracing::debug!("no agreement on TLS: {error}");
            None
        }
    }
}

/// Does this while there is time for a head and nobody needs the room of the connection.
async fn before_head<T>(
    watch: &Watch,
    mut timer: Pin<&mut Sleep>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if watch.instruction(cx).is_some() {
            return Poll::Ready(None);
        }
        ready!(timer.as_mut().poll(cx));
        counter!(HTTP_CLOSED, "reason" => "slow_handshake").increment(1);
        Poll::Ready(None)
    })
    .await
}

fn speaks_tls() -> Problem {
    Problem::new(
        Code::InvalidRequest,
        "This port speaks TLS, and the request came without. Write https:// in place of http:// in the address.",
    )
}

/// Waits for something to read, and returns whether it is HTTP/2, or how the connection has to end.
async fn parked<F>(
    stream: &mut Stream,
    watch: &Watch,
    shared: &Shared<F>,
    mut timer: Pin<&mut Sleep>,
) -> Result<bool, End> {
    let until = watch.idle_until(&shared.limits);
    timer.as_mut().reset(until);
    loop {
        let mut begin = [0; HTTP2_PREFACE.len()];
        let read = poll_fn(|cx| {
            // First, so that a request that is already here is still answered.
            let mut buf = ReadBuf::new(&mut begin);
            if let Poll::Ready(read) = stream.poll_peek(cx, &mut buf) {
                return Poll::Ready(match read {
                    Ok(read) if read > 0 => Ok(read),
                    Ok(_) => Err(End::Gone),
                    Err(error) => {
                        count_stall(&error);
                        Err(End::Gone)
                    }
                });
            }
            match watch.instruction(cx) {
                Some(Instruction::Drain) => return Poll::Ready(Err(End::Close)),
                Some(Instruction::Evict) => return Poll::Ready(Err(End::Gone)),
                Some(Instruction::Cut) => return Poll::Ready(Err(End::Cut)),
                None => {}
            }
            ready!(timer.as_mut().poll(cx));
            if !watch.in_head() {
                counter!(HTTP_CLOSED, "reason" => "idle").increment(1);
            }
            Poll::Ready(Err(End::Close))
        });
        let read = read.await?;
        if !HTTP2_PREFACE.starts_with(&begin[..read]) {
            return Ok(false);
        }
        if read == HTTP2_PREFACE.len() {
            return Ok(true);
        }
        // What was only looked at is there at once when it is looked at again.
        sleep(Duration::from_millis(5)).await;
        if until <= Instant::now() {
            return Err(End::Close);
        }
    }
}

/// Serves requests of HTTP/1 for as long as they come.
async fn http1_until_quiet<F, A>(
    stream: &mut Stream,
    peer: SocketAddr,
    shared: &Arc<Shared<F>>,
    watch: &Arc<Watch>,
    once: bool,
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
        once,
        turns: None,
    };
    let mut before = Bytes::new();
    loop {
        let socket = Socket::http1(stream, watch, std::mem::take(&mut before));
        let service = service_fn(|request| answer(request, &from));
        let mut connection = shared.http1.serve_connection(TokioIo::new(socket), service);
        // Since when this side wants to end the connection.
        let mut leaving: Option<Instant> = None;
        timer.as_mut().reset(Instant::now() + limits.header_read);

        let end = poll_fn(|cx| {
            loop {
                // First, so that a request that is already here is still answered.
                if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
                    return Poll::Ready(match ended {
                        Err(error) if watch.is_muted() => {
                            End::Say(not_understood(&error, watch.has_whole_head()))
                        }
                        _ => End::Close,
                    });
                }
                match watch.instruction(cx) {
                    Some(Instruction::Evict | Instruction::Cut) if watch.is_paused() => {
                        return Poll::Ready(End::SayAndGo(NoRoom.problem(Outcome::Unknown)));
                    }
                    Some(Instruction::Cut) => return Poll::Ready(End::Cut),
                    Some(Instruction::Drain) if leaving.is_none() => {
                        if watch.in_head() {
                            return Poll::Ready(End::Close);
                        }
                        leaving = Some(Instant::now());
                        Pin::new(&mut connection).graceful_shutdown();
                        continue;
                    }
                    Some(Instruction::Evict) if watch.quiet_since().is_some() => {
                        return Poll::Ready(End::Gone);
                    }
                    Some(Instruction::Evict) if watch.waits_for_client() => {
                        return Poll::Ready(End::Cut);
                    }
                    Some(Instruction::Evict) => watch.decline_eviction(),
                    _ => {}
                }
                let due = match (leaving, watch.quiet_since()) {
                    // It had its time to say goodbye; a client that is silent now stays silent.
                    (Some(since), Some(quiet)) => {
                        Some((since.max(quiet) + limits.linger * 2, None))
                    }
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
                return Poll::Ready(match due {
                    None => End::Close,
                    Some(Due::Quiet) => End::Quiet,
                    Some(Due::Write) => {
                        counter!(HTTP_CLOSED, "reason" => "stalled_write").increment(1);
                        End::Cut
                    }
                    Some(Due::Head) => {
                        counter!(HTTP_CLOSED, "reason" => "slow_headers").increment(1);
                        End::Say(Problem::new(
                            Code::RequestTimeout,
                            "The headers did not arrive in time. Send the request again, whole and at once.",
                        ))
                    }
                });
            }
        })
        .await;
        if !matches!(end, End::Quiet) {
            return end;
        }
        before = connection.into_parts().read_buf;
        if before.is_empty() && watch.is_quiet() {
            return End::Quiet;
        }
        // The beginning of a head came behind the last request.
        watch.await_head();
    }
}

/// What to say about a head that hyper could not parse.
fn not_understood(error: &hyper::Error, has_whole_head: bool) -> Problem {
    let (reason, problem) = if error.is_parse_too_large() && has_whole_head {
        // Of the body: no number can be larger.
        let detail = "The length of the body is more than any body may have. Send less at a time.";
        ("bad_request", Problem::new(Code::PayloadTooLarge, detail))
    } else if error.is_parse_too_large() {
        let detail = "The request line and the headers are larger, or more, than this server takes. \
                      Send fewer or smaller headers, and check cookies that another application set.";
        (
            "headers_too_large",
            Problem::new(Code::HeadersTooLarge, detail),
        )
    } else {
        let detail = "What arrived is not an HTTP request that this server understands. \
                      Check the request line, the headers and the length of the body before it.";
        ("bad_request", Problem::new(Code::InvalidRequest, detail))
    };
    counter!(HTTP_CLOSED, "reason" => reason).increment(1);
    problem
}

/// Closes our side, and then reads what still comes until the client closes its own, for a while.
///
/// A socket closed with unread bytes resets the connection, and the reset can reach the client before the answer does: it would
/// see an error instead of "the body is too large".
async fn close(mut stream: Stream, linger: Duration) {
    let unwanted = async {
        // With TLS that says goodbye first, for which there may be no room.
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut unwanted = [0; 8 * 1024];
        while matches!(stream.read(&mut unwanted).await, Ok(n) if n > 0) {}
    };
    let _ = timeout(linger, unwanted).await;
}

/// The same, until somebody needs the file.
async fn close_unless_cut(stream: Stream, linger: Duration, watch: &Watch) {
    let mut closing = pin!(close(stream, linger));
    poll_fn(|cx| match closing.as_mut().poll(cx) {
        Poll::Pending if watch.instruction(cx) == Some(Instruction::Cut) => Poll::Ready(()),
        closed => closed,
    })
    .await;
}

/// Tells a connection above the limit that there are too many, and ends it.
pub(super) async fn refuse(
    stream: TcpStream,
    tls: Option<&TlsAcceptor>,
    linger: Duration,
) -> io::Result<()> {
    let mut stream = match tls {
        Some(tls) => Stream::tls(tls.accept(stream).await?),
        None => Stream::Tcp(stream),
    };
    let mut head = Vec::with_capacity(1024);
    // A client that gets an answer before it has asked takes it for a broken connection.
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < 16 * 1024 {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let problem = Problem::new(
        Code::Overloaded,
        "The connection limit of this node is reached. Try again after the time in Retry-After.",
    );
    stream.write_all(&problem.to_http1()).await?;
    stream.flush().await?;
    close(stream, linger).await;
    Ok(())
}
