//! A TCP proxy that does harm on request: between a node and its Redis.
//!
//! It knows bytes, not Redis's protocol. What the kernel's own traffic control would do is done here, because a test
//! may not need root.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::free_port;

/// What happens to bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They pass.
    Open,
    /// Connections are refused, and those that were open are closed.
    Refuse,
    /// Connections stay open and nothing passes, in either direction.
    BlackHole,
    /// Requests pass; in the place of its reply a connection gets closed.
    DropReplies,
    /// No request passes any more, and replies to those before still do.
    Last,
    /// Requests reach the server twice, over a second connection whose replies nobody reads.
    Duplicate(Duration),
}

#[derive(Debug, Clone)]
struct State {
    /// Where new connections lead.
    upstream: SocketAddr,
    mode: Mode,
    /// Added to every chunk on its way to the server.
    delay: Duration,
    /// Bytes of a request whose reply is to be dropped, once.
    needle: Option<Vec<u8>>,
    /// Bytes of the request after which nobody is there any more.
    last: Option<Vec<u8>>,
    /// A text that is replaced by another of the same length in every request.
    replaced: Option<(Vec<u8>, Vec<u8>)>,
    /// Grows with every cut; a connection that began before it ends.
    cuts: u64,
}

/// The proxy. All of its connections end with it.
pub(crate) struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    listener: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy in front of `upstream`, open.
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let state = State {
            upstream,
            mode: Mode::Open,
            delay: Duration::ZERO,
            needle: None,
            last: None,
            replaced: None,
            cuts: 0,
        };
        let mut proxy = Self {
            port: free_port(),
            state: watch::Sender::new(state),
            listener: None,
        };
        proxy.listen();
        proxy
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead to another server; those that there are stay, as with a name or a virtual address that moves.
    pub(crate) fn lead_to(&self, upstream: SocketAddr) {
        self.change(|state| state.upstream = upstream);
    }

    /// Everything passes again.
    pub(crate) fn restore(&mut self) {
        self.change(|state| {
            // Bytes that were swallowed cannot be given back, so what was open in that time is of no use.
            state.cuts += u64::from(state.mode != Mode::Open);
            state.mode = Mode::Open;
            state.delay = Duration::ZERO;
            state.needle = None;
            state.last = None;
        });
        if self.listener.is_none() {
            self.listen();
        }
    }

    /// Closes every connection; new ones are welcome.
    pub(crate) fn cut(&mut self) {
        self.change(|state| state.cuts += 1);
    }

    /// Nobody listens any more.
    pub(crate) async fn refuse(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
            // Only then is the socket closed. It ends with an error, that it was aborted.
            let _ = listener.await;
        }
        self.change(|state| {
            state.mode = Mode::Refuse;
            state.cuts += 1;
        });
    }

    /// Connections stay open, and new ones are accepted, but no byte passes.
    pub(crate) fn black_hole(&mut self) {
        self.change(|state| state.mode = Mode::BlackHole);
    }

    /// The server does what it is asked; the answer never arrives, the connection closes instead.
    pub(crate) fn drop_replies(&mut self) {
        self.change(|state| state.mode = Mode::DropReplies);
    }

    /// The server gets each request twice, the second time so much later. Over another connection, because on one
    /// TCP delivers each byte once; so does a client library that sends again over a new one.
    pub(crate) fn duplicate(&mut self, later: Duration) {
        self.change(|state| {
            state.mode = Mode::Duplicate(later);
            // The second connection has to say all that the first one did.
            state.cuts += 1;
        });
    }

    /// As [`Self::drop_replies`], for the next request that contains `needle` only.
    pub(crate) fn drop_next_reply(&mut self, needle: &str) {
        self.change(|state| state.needle = Some(needle.as_bytes().to_vec()));
    }

    /// Whether the request of [`Self::drop_next_reply`] has come.
    pub(crate) fn dropped_it(&self) -> bool {
        self.state.borrow().needle.is_none()
    }

    /// The next request that contains `needle` is the last one that comes through, and has its reply. Then all connections are
    /// closed, and so is every new one.
    pub(crate) fn end_after(&mut self, needle: &str) {
        self.change(|state| state.last = Some(needle.as_bytes().to_vec()));
    }

    /// Whether the request of [`Self::end_after`] has come and all is closed.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.borrow().mode == Mode::Refuse
    }

    /// Replaces a string in every request by another of the same length, for as long as the proxy is there. The length
    /// stays because requests say their lengths in front.
    pub(crate) fn replace(&mut self, text: &str, by: &str) {
        assert_eq!(text.len(), by.len());
        let replaced = Some((text.as_bytes().to_vec(), by.as_bytes().to_vec()));
        self.change(|state| state.replaced = replaced);
    }

    /// Delays every request.
    pub(crate) fn delay(&mut self, delay: Duration) {
        self.change(|state| state.delay = delay);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    fn listen(&mut self) {
        let socket = TcpSocket::new_v4().expect("a socket");
        // The port still has connections that are closing.
        socket.set_reuseaddr(true).expect("a socket option");
        socket
            .bind(([127, 0, 0, 1], self.port).into())
            .expect("the port is still ours");
        let listener = socket.listen(1024).expect("a bound socket");
        self.listener = Some(tokio::spawn(accept(listener, self.state.clone())));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
        self.cut();
    }
}

async fn accept(listener: TcpListener, state: watch::Sender<State>) {
    while let Ok((near, _)) = listener.accept().await {
        tokio::spawn(carry(near, state.clone()));
    }
}

/// Carries one connection until either end closes it or it is cut.
async fn carry(near: TcpStream, state: watch::Sender<State>) {
    let mut changes = state.subscribe();
    let upstream = changes.borrow().upstream;
    let born = changes.borrow().cuts;
    let work = async {
        // A black hole accepts and leads nowhere.
        passage(&state).await;
        if state.borrow().mode == Mode::Refuse {
            return;
        }
        let Ok(far) = TcpStream::connect(upstream).await else {
            return;
        };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        let doomed = Arc::new(watch::Sender::new(false));
        let duplicate = match state.borrow().mode {
            Mode::Duplicate(later) => Some(later),
            _ => None,
        };
        let (copies, copied) = mpsc::unbounded_channel();
        let copies = duplicate.map(|_| copies);
        tokio::select! {
            () = requests(near_read, far_write, &state, &doomed, copies) => {}
            () = replies(far_read, near_write, &state, &doomed) => {}
            () = repeat(upstream, copied, duplicate.unwrap_or_default()), if duplicate.is_some() => {}
        }
    };
    tokio::select! {
        () = work => {}
        _ = changes.wait_for(|now| now.cuts > born) => {}
    }
}

/// Sends a second time what comes, so much later, and reads what is answered.
async fn repeat(
    upstream: SocketAddr,
    mut copied: mpsc::UnboundedReceiver<Vec<u8>>,
    later: Duration,
) {
    let Ok(far) = TcpStream::connect(upstream).await else {
        return;
    };
    let (mut read, mut write) = far.into_split();
    let send = async {
        while let Some(bytes) = copied.recv().await {
            tokio::time::sleep(later).await;
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let swallow = async {
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(1..) = read.read(&mut chunk).await {}
    };
    tokio::select! {
        () = send => {}
        () = swallow => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &watch::Sender<State>,
    doomed: &watch::Sender<bool>,
    copies: Option<mpsc::UnboundedSender<Vec<u8>>>,
) {
    let mut chunk = vec![0; 64 * 1024];
    let mut kept = Vec::new();
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let replaced = state.borrow().replaced.clone();
        let changed = match &replaced {
            Some((text, by)) => replace(&mut kept, &chunk[..length], text, by),
            None => chunk[..length].to_vec(),
        };
        let bytes = &changed[..];
        passage(state).await;
        if end(state, bytes) {
            let _ = to.write_all(bytes).await;
            std::future::pending::<()>().await;
        }
        let _ = state
            .subscribe()
            .wait_for(|now| now.mode != Mode::Last)
            .await;
        let delay = state.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // A request on loopback is small enough to come in one piece, so the needle is looked for in each alone.
        let found = state.send_if_modified(|state| {
            let found = state
                .needle
                .as_ref()
                .is_some_and(|needle| contains(bytes, needle));
            if found {
                state.needle = None;
            }
            found
        });
        if found || state.borrow().mode == Mode::DropReplies {
            doomed.send_replace(true);
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
        if let Some(copies) = &copies {
            // Fails only when this connection ends anyway.
            let _ = copies.send(bytes.to_vec());
        }
    }
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &watch::Sender<State>,
    doomed: &watch::Sender<bool>,
) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        passage(state).await;
        if *doomed.borrow() {
            // This may be the reply to an earlier request: let the server do the one that matters.
            tokio::time::sleep(Duration::from_millis(30)).await;
            return;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

/// Whether this is the last request; then its reply has a moment to come through before everything is closed.
fn end(state: &watch::Sender<State>, bytes: &[u8]) -> bool {
    let is_last = state.send_if_modified(|state| {
        let last = state.last.as_ref();
        let found = last.is_some_and(|needle| contains(bytes, needle));
        if found {
            state.last = None;
            state.mode = Mode::Last;
        }
        found
    });
    if is_last {
        let state = state.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            state.send_modify(|state| {
                state.mode = Mode::Refuse;
                state.cuts += 1;
            });
        });
    }
    is_last
}

/// Waits while nothing may pass.
async fn passage(state: &watch::Sender<State>) {
    let _ = state
        .subscribe()
        .wait_for(|now| now.mode != Mode::BlackHole)
        .await;
}

/// Replaces `text` in what was kept and `bytes`. What may be the start of one more is kept for the next time.
fn replace(kept: &mut Vec<u8>, bytes: &[u8], text: &[u8], by: &[u8]) -> Vec<u8> {
    let mut all = std::mem::take(kept);
    all.extend_from_slice(bytes);
    // All scripts pass here with each new connection, so it has to be fast without optimisation too.
    let found: Vec<usize> = memchr::memmem::find_iter(&all, text).collect();
    for at in found {
        all[at..at + by.len()].copy_from_slice(by);
    }
    let tail = (1..text.len().min(all.len() + 1))
        .rev()
        .find(|length| all.ends_with(&text[..*length]))
        .unwrap_or(0);
    *kept = all.split_off(all.len() - tail);
    all
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
