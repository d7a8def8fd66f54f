//! All nodes are restarted one after the other behind the balancer that we ship, under load, and nobody notices.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::watch;

use crate::harness::{Client, Launch, Node, Redis, free_port, wait_until};

/// Each sends one request after the other.
const CLIENTS: usize = 12;

/// HAProxy with the settings of `deploy/haproxy`, in front of these nodes.
pub(crate) struct Balancer {
    process: Child,
    pub(crate) client: Client,
    statistics: u16,
}

impl Balancer {
    /// `None` where there is no HAProxy.
    pub(crate) async fn start(nodes: &[Node]) -> Option<Self> {
        let (port, statistics) = (free_port(), free_port());
        let mut haproxy = Command::new("haproxy");
        haproxy
            .args(["-db", "-f"])
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/deploy/haproxy/haproxy.cfg"
            ))
            .env("BALANCER_LISTEN", format!("127.0.0.1:{port}"))
            .env("BALANCER_STATISTICS", format!("127.0.0.1:{statistics}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for (node, number) in nodes.iter().zip(1..) {
            haproxy.env(format!("NODE_{number}"), node.address());
        }
        let Ok(process) = haproxy.spawn() else {
            eprintln!("skipped: no haproxy on the PATH (apt-get install haproxy)");
            return None;
        };
        let balancer = Self {
            process,
            client: Client::new(&format!("http://127.0.0.1:{port}")),
            statistics,
        };
        for number in 1..=nodes.len() {
            balancer.knows(&format!("node{number}"), "UP").await;
        }
        Some(balancer)
    }

    /// Waits until the balancer thinks so of a node.
    async fn knows(&self, node: &str, state: &str) {
        let url = format!("http://127.0.0.1:{}/;csv", self.statistics);
        wait_until("the balancer knows", Duration::from_secs(20), async || {
            let Ok(answer) = reqwest::get(&url).await else {
                return false;
            };
            let text = answer.text().await.unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("ready,{node},")));
            line.is_some_and(|line| line.split(',').nth(17) == Some(state))
        })
        .await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Takes a seat, sends two heartbeats, gives it back, and so on, until the end of the test. A single answer that is no success ends
/// the test: nothing is sent twice.
async fn client(
    balancer: Client,
    number: usize,
    sent: Arc<AtomicUsize>,
    stop: watch::Receiver<bool>,
) {
    for round in 0.. {
        if *stop.borrow() {
            return;
        }
        let key = format!("{number}-{round}");
        let lease = balancer.acquire_once("crm", &key, json!({}), 201).await;
        balancer.renew(&lease.token(), 200).await;
        balancer.availability("crm", 200).await;
        balancer.renew(&lease.token(), 200).await;
        balancer.release(&lease.token(), 204).await;
        sent.fetch_add(5, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_all_nodes_fails_no_request() {
    // So many at least; by hand it is run with 100 000.
    let most =
        std::env::var("ROLLING_REQUESTS").map_or(5_000, |text| text.parse().expect("a number"));
    let redis = Redis::start().await;
    let launch = || {
        Launch::on(&redis.url())
            .set("drain_wait_ms", "3000")
            .start()
    };
    let mut nodes = join_all((0..3).map(|_| launch())).await;
    let Some(balancer) = Balancer::start(&nodes).await else {
        return;
    };
    balancer
        .client
        .put_pool("crm", json!({"capacity": 1_000}), 201)
        .await;

    let (sent, stop) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
    let crowd: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let works = client(
                balancer.client.clone(),
                number,
                Arc::clone(&sent),
                stop.subscribe(),
            );
            tokio::spawn(works)
        })
        .collect();
    let mut restarts = 0;
    while restarts < 3 || sent.load(Ordering::Relaxed) < most {
        let node = &mut nodes[restarts % 3];
        let name = format!("node{}", restarts % 3 + 1);
        node.signal("TERM");
        let status = node.ended(Duration::from_secs(25)).await;
        assert!(status.success(), "{status}: {}", node.log());
        balancer.knows(&name, "DOWN").await;
        node.restart().await;
        balancer.knows(&name, "UP").await;
        restarts += 1;
    }
    stop.send_replace(true);
    for client in crowd {
        client.await.expect("every request is a success");
    }
    eprintln!(
        "{} requests, {restarts} restarts",
        sent.load(Ordering::Relaxed)
    );
}
