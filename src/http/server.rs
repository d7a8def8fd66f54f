//! The accept loop: connections with limits, and a way out that ends in time.
//!
//! `axum::serve` has no timers, so one client that says nothing keeps its connection, and the process,
//! for ever. Here every connection is watched: how long a head, a body, a silence and a stalled write
//! may take, how large a head may be, how many connections there are. Deliberately absent: TLS and
//! limits per address. Both belong to the balancer in front, which alone knows the client.

mod connection;
mod socket;
#[cfg(test)]
mod tests;

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
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use metrics::{counter, gauge};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::telemetry::HTTP_CLOSED;

pub use connection::BodyTimedOut;

/// How many connections above the limit are told so at a time; those beyond it are dropped without a word.
const REFUSALS: usize = 64;

/// Files that are not connections: the listener, the store's connections, logs, the runtime.
const FILES_FOR_OTHERS: usize = 128;

/// What a connection may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From a request's first byte, or from accepting the connection, to the end of its headers.
    pub header_read: Duration,
    /// From the first wait for a request's body to the end of it.
    pub body_read: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub idle: Duration,
    /// How long the client may take nothing while there is something to send.
    pub write_stall: Duration,
    /// How long a connection that was closed from here may go on sending, so that the client can read the last answer.
    pub linger: Duration,
    /// The request line and the headers together, in bytes; at least 8 192.
    pub header_bytes: usize,
    /// Connections at a time; fewer if the process may not open as many files.
    pub connections: usize,
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
            idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(15),
            linger: Duration::from_secs(2),
            header_bytes: 16 * 1024,
            connections: 8_192,
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
    closing: Signal,
    http: auto::Builder<TokioExecutor>,
    slots: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

/// Serves `answer` on `listener` until `shutdown` is done or `drain` begins, and then finds an end.
///
/// `shutdown` says how long connections are still accepted, for a balancer to notice; otherwise it is `drain_wait`.
/// In this order: not ready at once, while connections are still accepted; then no more
/// accepting, idle connections and those without a whole head are closed, the others after their
/// answer. What is left at `drain_total` is cut.
pub async fn serve<F, A>(
    listener: TcpListener,
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
    let connections = connections_that_fit(limits.connections);
    let shared = Arc::new(Shared {
        http: http(&limits),
        answer,
        drain: drain.clone(),
        closing: Signal::default(),
        slots: Arc::new(Semaphore::new(connections)),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        limits,
    });
    let mut tasks = JoinSet::new();
    tracing::info!(http.address = %address, "serving http://{address}");

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
    shared.closing.give();
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

/// HTTP/1.1 and HTTP/2 in clear text, whichever the client speaks first.
fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // hyper's own header timer cannot tell a slow head from a silence between requests; ours can.
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes);
    // HTTP/2 answers a head above its limit without a body; this one only bounds memory, the real one is ours.
    http.http2().timer(TokioTimer::new()).max_header_list_size(
        u32::try_from(limits.header_bytes)
            .unwrap_or(u32::MAX)
            .saturating_mul(4),
    );
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

/// Starts a connection, or tells it that there are too many.
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
    if let Ok(slot) = Arc::clone(&shared.slots).try_acquire_owned() {
        let shared = Arc::clone(shared);
        tasks.spawn(async move {
            let open = Open::new();
            connection::run(stream, peer, &shared).await;
            drop((open, slot));
        });
        return;
    }
    counter!(HTTP_CLOSED, "reason" => "overloaded").increment(1);
    if let Ok(slot) = Arc::clone(&shared.refusals).try_acquire_owned() {
        let linger = shared.limits.linger;
        tasks.spawn(async move {
            let _ = timeout(linger, connection::refuse(stream)).await;
            drop(slot);
        });
    }
}

/// Counts a connection for as long as it lives, also when its task is cut.
struct Open;

impl Open {
    fn new() -> Self {
        gauge!(crate::telemetry::HTTP_CONNECTIONS).increment(1);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(crate::telemetry::HTTP_CONNECTIONS).decrement(1);
    }
}

/// As many connections as wanted, or as the process has files for.
///
/// Without this a flood of connections takes the last file, and then the node cannot reach its store.
fn connections_that_fit(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let Some(files) = open_files(&limits) else {
        return wanted;
    };
    let fit = files
        .saturating_sub(FILES_FOR_OTHERS + REFUSALS)
        .max(files / 4);
    if fit < wanted {
        tracing::warn!(
            "at most {fit} connections instead of {wanted}: this process may open {files} files; raise `ulimit -n`"
        );
    }
    wanted.min(fit)
}

/// The soft limit on open files; `None` when there is none, or on a system that does not say.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
