//! What the tests stand on: real nodes, a real Redis, and a proxy between them that can do harm.
//!
//! No mocks. A test starts what it needs, tells its story with the expected status as an argument of every call,
//! and leaves nothing behind: processes die with the value that owns them.

mod browser;
mod client;
mod docker;
mod fleet;
mod mail;
mod names;
mod node;
pub(crate) mod openapi;
mod provider;
mod proxy;
pub(crate) mod raw;
mod receiver;
mod redis;
mod scrape;
mod terminal;

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

pub(crate) use self::browser::Browser;
pub(crate) use self::client::{ANY, Answer, Call, Client, Reply};
pub(crate) use self::docker::{Docker, KEY as DOCKER_KEY, Project, field};
pub(crate) use self::fleet::{Certificates, Guards, Sentinels, Server, Shards, is_7};
pub(crate) use self::mail::MailServer;
pub(crate) use self::names::{NAME, Names};
pub(crate) use self::node::{Launch, Node, Reader, SECRET};
pub(crate) use self::provider::{CLIENT, CLIENT_SECRET, Fault, Provider};
pub(crate) use self::proxy::Proxy;
pub(crate) use self::receiver::{Message, Receiver, Reply as Behaviour, axum_serve};
pub(crate) use self::redis::{
    Event, LEFT_RECORDS, LEFT_RECORDS_OF, PATIENCE, Redis, server_on_the_path,
};
pub(crate) use self::scrape::Scrape;
pub(crate) use self::terminal::Terminal;

/// One Redis and the nodes that share it.
pub(crate) struct Installation {
    // Before the Redis, so that nodes do not spend their last moments on reconnecting.
    pub(crate) nodes: Vec<Node>,
    pub(crate) redis: Redis,
}

impl Installation {
    /// One node.
    pub(crate) async fn one() -> Self {
        Self::start(1).await
    }

    /// Two nodes.
    pub(crate) async fn two() -> Self {
        Self::start(2).await
    }

    /// The first node.
    pub(crate) fn first(&self) -> &Node {
        &self.nodes[0]
    }

    /// The first two nodes.
    pub(crate) fn pair(&self) -> (&Node, &Node) {
        (&self.nodes[0], &self.nodes[1])
    }

    pub(crate) async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[]).await
    }

    /// `settings` as in the settings file: `("sweep_every_ms", "0")`.
    pub(crate) async fn start_with(nodes: usize, settings: &[(&str, &str)]) -> Self {
        Self::start_on(Redis::start().await, nodes, settings).await
    }

    pub(crate) async fn start_on(redis: Redis, nodes: usize, settings: &[(&str, &str)]) -> Self {
        let url = redis.url();
        let launches = (0..nodes).map(|_| Launch::on(&url).set_all(settings).start());
        let nodes = futures_util::future::join_all(launches).await;
        Self { nodes, redis }
    }
}

/// Polls until `condition` holds. Never wait for a time, except to let a lease expire.
#[track_caller]
pub(crate) fn wait_until(
    what: &str,
    within: Duration,
    condition: impl AsyncFn() -> bool,
) -> impl Future<Output = ()> {
    let asked_at = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + within;
        while !condition().await {
            assert!(
                Instant::now() < deadline,
                "{asked_at}: not within {within:?}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Lets a lease expire, or a given part of its life pass.
pub(crate) async fn let_pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// A loopback port that nobody listens on.
///
/// Below the ephemeral range on purpose: while a server is down, a client that retries on an ephemeral port can be
/// given that very port as its own source, and then it talks to itself.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    // Two test runs on one machine start at different places.
    let offset = std::process::id().wrapping_mul(97) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((offset + step) % u32::from(COUNT)).expect("below COUNT");
        // Bound and not listened to: a program that another test starts at this moment has a copy of the socket until it
        // runs, and with a listener in it the port would still be taken.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a socket option");
        if socket.bind(([127, 0, 0, 1], port).into()).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// Sends a signal by its name. Through the shell, whose `kill` is built in, because the safe part of the standard
/// library knows only SIGKILL.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status()
        .expect("sh runs");
    assert!(sent.success(), "kill -{name} {pid}: {sent}");
}

/// The processes that run in this directory or below. Those that ended and were not waited for have none.
pub(crate) fn processes_in(directory: &Path) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("the tests of processes need Linux");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
    })
    .collect()
}
