//! What is broken: three nodes, and Redis alone, behind a name, behind sentinels or as a cluster. All of it real processes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;

use super::address::Address;
use super::hosts::Hosts;
use super::observer::Way;
use crate::harness::{
    Client, Launch, Node, Proxy, Sentinels, Server, Shards, let_pass, wait_until,
};

/// How Redis is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// One server with a file.
    Alone,
    /// One server that keeps nothing.
    Volatile,
    /// A master and a replica behind a name that leads to the master.
    Address,
    /// A master, two replicas, three sentinels.
    Sentinel,
    /// Three masters with a replica each.
    Installation,
    /// As [`Self::Sentinel`], on three hosts (network namespaces) with a sentinel and a node each.
    Hosts,
}

impl Topology {
    pub(crate) const ALL: [Self; 6] = [
        Self::Alone,
        Self::Volatile,
        Self::Address,
        Self::Sentinel,
        Self::Installation,
        Self::Hosts,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Volatile => "volatile",
            Self::Address => "address",
            Self::Sentinel => "sentinel",
            Self::Installation => "cluster",
            Self::Hosts => "hosts",
        }
    }
}

/// The servers.
pub(crate) enum Store {
    One(Server),
    Address(Address),
    Sentinels(Sentinels),
    Shards(Shards),
    Hosts(Hosts),
}

/// The clock of a server that can be set.
pub(crate) struct Clock {
    directory: TempDir,
}

impl Clock {
    /// None where there is no C compiler.
    pub(crate) fn build() -> Option<Self> {
        let directory = TempDir::with_prefix("leasehold-clock-").ok()?;
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/chaos/clock.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(directory.path().join("clock.so"))
            .arg(source)
            .status();
        let clock = Self { directory };
        clock.set(0);
        built.is_ok_and(|status| status.success()).then_some(clock)
    }

    fn file(&self, name: &str) -> String {
        let path: &Path = self.directory.path();
        path.join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("LD_PRELOAD".to_owned(), self.file("clock.so")),
            ("TEST_CLOCK_FILE".to_owned(), self.file("offset")),
        ]
    }

    /// How far the server's clock is ahead of ours, ms.
    pub(crate) fn set(&self, offset_ms: i64) {
        // In one step: the server may be reading.
        let new = self.file("new");
        std::fs::write(&new, offset_ms.to_string()).expect("the directory is writable");
        std::fs::rename(new, self.file("offset")).expect("the directory is writable");
    }
}

/// The user of nodes where Redis is alone, with the rights that are shipped, and its password; as in a URL.
pub(crate) const USER: &str = "leasehold:change-me-nodes";

/// Lets the nodes' user in, next to the tests' own user, which may do everything. It is there again after a start.
pub(crate) async fn know_users(server: &mut Server) {
    let shipped = include_str!("../../../deploy/redis/leasehold.acl");
    let nodes = shipped
        .lines()
        .find(|line| line.starts_with("user leasehold "));
    let users = format!(
        "user default on nopass ~* &* +@all\n{}\n",
        nodes.expect("the nodes have a user")
    );
    std::fs::write(server.directory().join("users.acl"), users).expect("ours");
    server.set("--aclfile", "users.acl");
    server.restart();
    server.answers().await;
}

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) topology: Topology,
    // Before the servers, so that nodes do not spend their last moments on reconnecting.
    pub(crate) nodes: Vec<Node>,
    /// Between each node and a Redis that is alone.
    proxies: Vec<Proxy>,
    pub(crate) store: Store,
    pub(crate) clock: Option<Clock>,
    /// How far the clock of Redis is ahead, ms.
    pub(crate) offset: i64,
    /// How far the time of leases is ahead at least and at most, ms: it does not go back with a clock that does.
    pub(crate) lead: (i64, i64),
}

impl Stage {
    /// Starts it; an error says why it cannot be had on this machine.
    pub(crate) async fn start(topology: Topology) -> Result<Self, String> {
        let mut clock = None;
        let (store, mut proxies) = match topology {
            Topology::Alone | Topology::Volatile => {
                clock = Clock::build();
                let environment = clock.as_ref().map(Clock::environment).unwrap_or_default();
                let mut server = Server::alone(topology == Topology::Alone, environment).await;
                know_users(&mut server).await;
                let address = ([127, 0, 0, 1], server.port).into();
                let proxies = (0..3).map(|_| Proxy::start(address)).collect();
                (Store::One(server), proxies)
            }
            Topology::Address => (Store::Address(Address::start().await?), Vec::new()),
            Topology::Sentinel => (Store::Sentinels(Sentinels::start().await), Vec::new()),
            Topology::Installation => {
                let fleet = Shards::start_behind_proxies().await;
                (Store::Shards(fleet), Vec::new())
            }
            Topology::Hosts => (Store::Hosts(Hosts::start().await?), Vec::new()),
        };
        let launches: Vec<Launch> = match &store {
            Store::One(_) => proxies
                .iter_mut()
                .map(|proxy: &mut Proxy| {
                    Launch::on(&format!("redis://{USER}@127.0.0.1:{}/0", proxy.port()))
                })
                .collect(),
            Store::Address(address) => vec![address.launch(); 3],
            Store::Sentinels(fleet) => vec![Launch::on(&fleet.url()); 3],
            Store::Shards(fleet) => vec![Launch::on(&fleet.url()); 3],
            Store::Hosts(hosts) => hosts.launches(),
        };
        let launches = launches.into_iter().map(|launch| {
            // Each with a port and a directory of its own.
            let launch = match &store {
                Store::Address(_) | Store::Sentinels(_) | Store::Shards(_) => launch.anew(),
                _ => launch,
            };
            launch.set("trail", "on").set("log", "warn").start()
        });
        let nodes = join_all(launches).await;
        Ok(Self {
            topology,
            nodes,
            proxies,
            store,
            clock,
            offset: 0,
            lead: (0, 0),
        })
    }

    /// Clients that give up after a while, as those of a frozen node must.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.nodes
            .iter()
            .map(|node| {
                let client = Client::patient_for(
                    &format!("http://{}", node.address()),
                    Duration::from_secs(2),
                );
                match &self.store {
                    Store::Hosts(_) => client.with_key(super::hosts::KEY),
                    _ => client,
                }
            })
            .collect()
    }

    /// How to look into Redis.
    pub(crate) fn way(&self) -> Way {
        let url = |port: u16| format!("redis://127.0.0.1:{port}");
        match &self.store {
            Store::One(server) => Way::Server(url(server.port)),
            Store::Address(address) => {
                let servers = address.servers.iter();
                Way::Masters(
                    servers
                        .map(|server| format!("redis://{}", server.address()))
                        .collect(),
                )
            }
            Store::Sentinels(fleet) => {
                Way::Sentinels(fleet.sentinels.iter().map(|one| url(one.port)).collect())
            }
            Store::Shards(fleet) => Way::Installation(
                fleet
                    .servers
                    .iter()
                    .map(|server| url(server.port))
                    .collect(),
            ),
            Store::Hosts(hosts) => {
                let sentinels = hosts.fleet.sentinels.iter();
                Way::Sentinels(
                    sentinels
                        .map(|one| format!("redis://{}", one.address()))
                        .collect(),
                )
            }
        }
    }

    /// Sets the clock of Redis by so much.
    pub(crate) fn set_clock(&mut self, ms: i64) {
        self.offset += ms;
        if let Some(clock) = &self.clock {
            clock.set(self.offset);
        }
        let (least, most) = self.lead;
        self.lead = if ms < 0 {
            // What passed since the last sign of life is lost.
            (least - 1_500, most)
        } else {
            // A step forward may put right what went back before.
            (least.max(self.offset.min(least + ms)), most + ms)
        };
    }

    /// How much of its lead the time of leases may have lost in this time: 3 % of it, and all that was an outage, until it goes by
    /// the clock again.
    pub(crate) fn pass(&mut self, ms: i64, silence: Option<(f64, f64)>) {
        let (least, _) = self.lead;
        let silent = silence.map_or(0, |(from, until)| (until - from) as i64 + 3_000);
        let lost = ms * 4 / 100 + 50 + silent;
        self.lead.0 = least.min(self.offset.max(least - lost));
    }

    /// Between each node and a Redis that is alone, or in front of each server of a cluster; none elsewhere.
    pub(crate) fn proxies(&mut self) -> &mut [Proxy] {
        match &mut self.store {
            Store::Shards(fleet) => &mut fleet.proxies,
            _ => &mut self.proxies,
        }
    }

    pub(crate) fn server(&mut self) -> &mut Server {
        match &mut self.store {
            Store::One(server) => server,
            _ => unreachable!("only where Redis is alone"),
        }
    }

    pub(crate) fn address(&mut self) -> &mut Address {
        match &mut self.store {
            Store::Address(address) => address,
            _ => unreachable!("only where there is a name"),
        }
    }

    pub(crate) fn sentinels(&mut self) -> &mut Sentinels {
        match &mut self.store {
            Store::Sentinels(fleet) => fleet,
            _ => unreachable!("only behind sentinels"),
        }
    }

    /// Everything runs again, and the replicas follow.
    pub(crate) async fn repair(&mut self) {
        for proxy in self.proxies() {
            proxy.restore();
        }
        match &mut self.store {
            Store::One(_) => {}
            Store::Address(address) => address.mend().await,
            Store::Sentinels(fleet) => {
                for server in fleet.servers.iter_mut().chain(&mut fleet.sentinels) {
                    if !server.runs() {
                        server.restart();
                    }
                }
                fleet.followed().await;
            }
            Store::Shards(fleet) => {
                for server in &mut fleet.servers {
                    if !server.runs() {
                        server.restart();
                    }
                }
                fleet.whole().await;
            }
            Store::Hosts(hosts) => hosts.mend().await,
        }
        for node in &self.nodes {
            wait_until("the node is ready", Duration::from_secs(30), async || {
                node.is_ready().await
            })
            .await;
        }
        // A new lease of life for everybody before the next fault.
        let_pass(300).await;
    }
}
