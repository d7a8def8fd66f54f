//! The accept loop: connections with limits, and a way out that ends in time.
//!
//! `axum::serve` has no timers, so one client that says nothing keeps its connection, and the process,
//! for ever. Here every connection is watched: how long a head, a body, a silence and a stalled write
//! may take, how large a head may be, how many connections there are. With a certificate it speaks TLS, and nothing else.
//! Deliberately absent: limits per address. They belong to the balancer in front, which alone knows the client.

mod connection;
mod lines;
mod open;
mod request;
mod room;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use futures_util::FutureExt as _;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use metrics::counter;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use self::open::{Admitted, Connections};
use self::room::{Kind, Room};
use crate::telemetry::HTTP_CLOSED;
use crate::tls::ServerCertificate;

pub use open::{ConnectionLimit, LongLived};
pub use request::BodyTimedOut;
pub use room::NoRoom;

/// Connections above the limit that get an answer at the same time; those beyond it are dropped without one.
const REFUSALS: usize = 64;

/// Streams of one HTTP/2 connection at a time; the least that RFC 9113 recommends.
const HTTP2_STREAMS: u32 = 100;

/// What the kernel takes of an answer before the client's has room for it. More would be memory that nobody counts.
const UNSENT: u32 = 128 * 1024;

/// What a connection may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From a request's first byte, or from accepting the connection, to the end of its headers.
    pub header_read: Duration,
    /// From the first wait for a request's body to the end of it.
    pub body_read: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub idle: Duration,
    /// From the end of an answer until the connection gives back what serves requests.
    pub park: Duration,
    /// How long the client may take nothing while there is something to send, on its connection or on a stream of it.
    pub write_stall: Duration,
    /// How long a connection that was closed from here may go on sending, so that the client can read the last answer.
    pub linger: Duration,
    /// The request line and the headers together, in bytes; at least 8 192.
    pub header_bytes: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of bodies that have not come to their end, all connections together, and as many of large answers that wait to be taken.
    pub kept_bytes: u32,
    /// From the signal to stop to the end of accepting, so that a balancer can notice first.
    pub drain_wait: Duration,
    /// From the signal to stop to the end of everything.
    pub drain_total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(10),
            body_read: Duration::from_secs(10),
            idle: Duration::from_secs(620),
            park: Duration::from_secs(1),
            write_stall: Duration::from_secs(15),
            linger: Duration::from_secs(2),
            header_bytes: 16 * 1024,
            connections: 8_192,
            kept_bytes: 16 << 20,
            drain_wait: Duration::from_secs(5),
            drain_total: Duration::from_secs(20),
        }
    }
}

/// An instruction that is given once and stays given.
#[derive(Debug, Default)]
struct Signal {
    given: AtomicBool,
    waiting: Notify,
}

impl Signal {
    fn give(&self) {
        self.given.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }

    async fn given(&self) {
        let mut waiting = pin!(self.waiting.notified());
        // Registered before the look, so that nothing is missed between the two.
        waiting.as_mut().enable();
        if !self.is_given() {
            waiting.await;
        }
    }
}

/// Says whether the node is about to stop. Clones say the same.
#[derive(Debug, Clone, Default)]
pub struct Drain(Arc<Signal>);

impl Drain {
    /// From now on the node is not ready, and [`serve`] is on its way out.
    pub fn begin(&self) {
        self.0.give();
    }

    /// Whether the node is about to stop.
    pub fn is_draining(&self) -> bool {
        self.0.is_given()
    }

    /// Waits until the node is about to stop. Answers without an end, such as event streams, end then.
    pub async fn begun(&self) {
        self.0.given().await;
    }
}

/// What all connections of a server share.
struct Shared<F> {
    limits: Limits,
    answer: F,
    drain: Drain,
    tls: Option<TlsAcceptor>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    open: Arc<Connections>,
    bodies: Arc<Room>,
    answers: Arc<Room>,
    refusals: Arc<Semaphore>,
}

/// Serves `answer` on `listener`, with TLS if there is a certificate, until `shutdown` is done or `drain` begins, and then finds an end.
///
/// `shutdown` returns how long connections are still accepted, for a balancer to notice; otherwise it is `drain_wait`.
/// In this order: not ready at once, while connections are still accepted; then no more
/// accepting, idle connections and those without a whole head are closed, the others after their
/// answer. What is left at `drain_total` is cut.
pub async fn serve<F, A>(
    listener: TcpListener,
    certificate: Option<&ServerCertificate>,
    answer: F,
    limits: Limits,
    drain: Drain,
    shutdown: impl Future<Output = Duration>,
) -> io::Result<()>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let address = listener.local_addr()?;
    bound_unsent(&listener, limits.write_stall)?;
    let open = Arc::new(Connections::new(limits.connections));
    let shared = Arc::new(Shared {
        http1: http1(&limits),
        http2: http2(&limits),
        answer,
        drain: drain.clone(),
        tls: certificate.map(|certificate| TlsAcceptor::from(certificate.config())),
        bodies: Room::new(Kind::Bodies, limits.kept_bytes, &open),
        answers: Room::new(Kind::Answers, limits.kept_bytes, &open),
        open,
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        limits,
    });
    let mut tasks = JoinSet::new();
    let scheme = if certificate.is_some() {
        "https"
    } else {
        "http"
    };
    tracing::info!(http.address = %address, "serving {scheme}://{address}");

    let wait = tokio::select! {
        never = accept(&listener, &shared, &mut tasks) => match never {},
        wait = shutdown => wait,
        () = drain.begun() => shared.limits.drain_wait,
    };

    let told = Instant::now();
    let end = told + shared.limits.drain_total;
    drain.begin();
    tracing::info!(
        "stopping: not ready any more, still answering for {} ms",
        wait.as_millis()
    );
    tokio::select! {
        never = accept(&listener, &shared, &mut tasks) => match never {},
        () = sleep_until((told + wait).min(end)) => {}
    }

    // Those who wait in the kernel's queue would be cut with the listener.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        admit(stream, peer, &shared, &mut tasks);
    }
    drop(listener);
    shared.open.drain();
    let finished = timeout_at(end, async { while tasks.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!(
            "{} connections did not end in time and were cut",
            tasks.len()
        );
        tasks.shutdown().await;
    }
    Ok(())
}

/// Bounds what the kernel keeps of answers that a client does not take, and for how long, also after the connection was closed here. Each
/// accepted connection has these options of the listener. Other systems than Linux have neither of the two.
#[cfg(target_os = "linux")]
fn bound_unsent(listener: &TcpListener, stall: Duration) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_user_timeout(Some(stall))
}

#[cfg(not(target_os = "linux"))]
fn bound_unsent(_: &TcpListener, _: Duration) -> io::Result<()> {
    Ok(())
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // hyper's own header timer cannot tell a slow head from a silence between requests; ours can.
    http.timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes);
    http
}

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    // HTTP/2 answers a head above its limit without a body; this one only bounds memory, the real one is ours.
    let head = u32::try_from(limits.header_bytes)
        .unwrap_or(u32::MAX)
        .saturating_mul(4);
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .max_header_list_size(head)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_send_buf_size(64 * 1024)
        // What clients may send before anybody reads it. Bodies are small here.
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(256 * 1024);
    http
}

/// Takes connections for as long as it is polled. An error is waited out, never the end of the node.
async fn accept<F, A>(
    listener: &TcpListener,
    shared: &Arc<Shared<F>>,
    tasks: &mut JoinSet<()>,
) -> Infallible
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    const SHORT: Duration = Duration::from_millis(10);
    const LONG: Duration = Duration::from_secs(1);
    let mut pause = SHORT;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    pause = SHORT;
                    admit(stream, peer, shared, tasks);
                }
                // The client was gone again; the next one is not.
                Err(error) if is_about_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!("a connection could not be accepted, trying again: {error}");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONG);
                }
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

fn is_about_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Starts a connection, or answers that the limit is reached.
fn admit<F, A>(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared<F>>,
    tasks: &mut JoinSet<()>,
) where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    // An answer is written at once; waiting for more to send only costs a heartbeat 40 ms.
    let _ = stream.set_nodelay(true);
    if let Some(Admitted { open, once }) = shared.open.admit() {
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            connection::run(stream, peer, &shared, &open.watch, once).await;
            drop(open);
        });
        return;
    }
    counter!(HTTP_CLOSED, "reason" => "overloaded").increment(1);
    if let Ok(slot) = Arc::clone(&shared.refusals).try_acquire_owned() {
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            let linger = shared.limits.linger;
            let refused = connection::refuse(stream, shared.tls.as_ref(), linger);
            let _ = timeout(linger * 2, refused).await;
            drop(slot);
        });
    }
}
