//! What breaks, and what may follow from it.

use std::process::Stdio;
use std::time::Duration;

use super::crowd::now_ms;
use super::stage::{Stage, Store, Topology};
use crate::harness::{Node, SECRET, let_pass, wait_until};

/// What a fault does, times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9 of Redis, back after so long with what it has: all of it, or nothing.
    RedisKilled(u64),
    /// SIGSTOP of Redis.
    RedisFrozen(u64),
    /// SIGTERM and a new start.
    RedisRestarted,
    /// FLUSHALL.
    Emptied,
    ScriptsFlushed,
    /// Memory at its limit.
    Full(u64),
    /// The wall clock of the Redis host jumps by so much, and stays there.
    ClockSet(i64),
    RepliesDropped,
    RequestsDuplicated,
    Delayed,
    Cut,
    /// No byte passes between one node and Redis.
    BlackHole(u64),
    /// No byte passes between any node and Redis.
    AllBlackHole(u64),
    NodeKilled,
    NodeFrozen(u64),
    /// SIGTERM and a new start, one node after the other.
    NodesRolled,
    /// kill -9 of all nodes, back after this long.
    AllNodesKilled(u64),
    /// kill -9 of the master; a replica takes over.
    MasterKilled,
    /// SIGSTOP of the master; a replica takes over, and then it comes back.
    MasterFrozen,
    /// `leasehold failover`, or `CLUSTER FAILOVER`.
    Planned,
    ReplicaKilled,
    SentinelsKilled,
    /// The nodes' user loses a right for this time.
    RightLost(&'static str, u64),
    /// The two servers of a name change their roles, nothing is lost, and the name follows so much later. The old one goes on
    /// answering, as a replica.
    NameMoved(u64),
    /// kill -9 of the server behind a name; the name leads to its replica.
    NameLeftTheDead,
    /// SIGSTOP of the server behind a name; the name leads to its replica, and then the old one comes back as the master that it was.
    NameLeftTheFrozen,
    /// The host of the master and of a node is cut off.
    MasterCutOff(u64),
    /// The host of a replica and of a node is cut off.
    ReplicaCutOff(u64),
}

/// What a fault did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Struck {
    /// When what was acknowledged may have been lost.
    pub(crate) lossy: Option<(f64, f64)>,
    /// When requests ran twice.
    pub(crate) repeated: Option<(f64, f64)>,
    /// When nodes may have asked again because a reply got lost.
    pub(crate) sent_again: Option<(f64, f64)>,
    /// When surely no script ran.
    pub(crate) silence: Option<(f64, f64)>,
    /// When nothing was forbidden that a decision needs: only a notification.
    pub(crate) only_notices_fail: Option<(f64, f64)>,
    /// When the name led to the new master.
    pub(crate) moved: Option<f64>,
    /// From when on everything could work again: Redis was back, or a replica was promoted.
    pub(crate) back: Option<f64>,
}

/// What is not on a replica, or was not read by us, when a master dies: the last moments.
const LAG: f64 = 300.0;

/// How long a node waits for a reply before it asks again, and a bit more.
const PATIENCE: f64 = 2_000.0;

impl Fault {
    /// Whether scripts may run whose replies do not arrive.
    const fn loses_replies(self) -> bool {
        matches!(
            self,
            Self::RepliesDropped
                | Self::Cut
                | Self::BlackHole(_)
                | Self::AllBlackHole(_)
                | Self::RedisKilled(_)
                | Self::RedisFrozen(_)
                | Self::RedisRestarted
        )
    }

    /// All that fit a topology. `short`: one round of each kind, as quickly as they mean something.
    pub(crate) fn of(topology: Topology, short: bool) -> Vec<Self> {
        match (topology, short) {
            (Topology::Alone, true) => vec![
                Self::RedisKilled(4_500),
                Self::RepliesDropped,
                Self::RequestsDuplicated,
                Self::NodeKilled,
                Self::ClockSet(20_000),
                Self::ClockSet(-30_000),
                Self::Full(1_500),
                Self::RightLost("xadd", 1_500),
            ],
            (Topology::Alone, false) => vec![
                Self::RedisKilled(500),
                Self::RepliesDropped,
                Self::RedisFrozen(900),
                Self::NodeKilled,
                Self::ScriptsFlushed,
                Self::RightLost("xadd", 3_000),
                Self::BlackHole(3_000),
                Self::RedisKilled(8_000),
                Self::RightLost("publish", 3_000),
                Self::RequestsDuplicated,
                Self::ClockSet(1_500),
                Self::Delayed,
                Self::NodesRolled,
                Self::Full(3_000),
                Self::RightLost("zrem", 3_000),
                Self::RedisFrozen(20_000),
                Self::Cut,
                Self::ClockSet(40_000),
                Self::NodeFrozen(4_000),
                Self::RedisRestarted,
                Self::RightLost("hset", 6_000),
                Self::AllBlackHole(6_000),
                Self::ClockSet(-8_000),
                Self::AllNodesKilled(5_000),
                Self::ClockSet(-3_600_000),
                Self::RedisKilled(8_000),
                Self::ClockSet(3_600_000),
            ],
            (Topology::Volatile, true) => vec![Self::RedisKilled(300)],
            (Topology::Volatile, false) => {
                vec![
                    Self::RedisKilled(300),
                    Self::Emptied,
                    Self::RedisKilled(7_000),
                ]
            }
            (Topology::Address, true) => vec![Self::NameMoved(500), Self::NameLeftTheDead],
            (Topology::Address, false) => vec![
                Self::NameMoved(500),
                Self::NameLeftTheDead,
                Self::NameMoved(0),
                Self::NameLeftTheFrozen,
                Self::NameMoved(8_000),
                Self::NodeKilled,
            ],
            (Topology::Sentinel, true) => vec![Self::Planned, Self::MasterKilled],
            (Topology::Sentinel, false) => vec![
                Self::MasterKilled,
                Self::Planned,
                Self::MasterFrozen,
                Self::ReplicaKilled,
                Self::Planned,
                Self::SentinelsKilled,
                Self::ScriptsFlushed,
                Self::NodeKilled,
            ],
            (Topology::Installation, true) => {
                vec![Self::Planned, Self::RepliesDropped, Self::MasterKilled]
            }
            (Topology::Installation, false) => vec![
                Self::MasterKilled,
                Self::Planned,
                Self::MasterFrozen,
                Self::RepliesDropped,
                Self::ReplicaKilled,
                Self::RequestsDuplicated,
                Self::Cut,
                Self::ScriptsFlushed,
                Self::Delayed,
                Self::Planned,
                Self::NodeKilled,
            ],
            (Topology::Hosts, _) => {
                vec![Self::MasterCutOff(8_000), Self::ReplicaCutOff(4_000)]
            }
        }
    }

    pub(crate) fn name(self) -> String {
        let seconds = |ms: u64| ms as f64 / 1e3;
        match self {
            Self::RedisKilled(ms) => format!("kill -9 of Redis, back after {} s", seconds(ms)),
            Self::RedisFrozen(ms) => format!("SIGSTOP of Redis for {} s", seconds(ms)),
            Self::RedisRestarted => "SIGTERM of Redis and a start".to_owned(),
            Self::Emptied => "FLUSHALL".to_owned(),
            Self::ScriptsFlushed => "SCRIPT FLUSH, ten times a second".to_owned(),
            Self::Full(ms) => format!("memory full for {} s", seconds(ms)),
            Self::ClockSet(ms) => format!("clock of Redis set by {:+} s", ms as f64 / 1e3),
            Self::RepliesDropped => "replies dropped".to_owned(),
            Self::RequestsDuplicated => "requests duplicated".to_owned(),
            Self::Delayed => "requests delayed by 60 ms".to_owned(),
            Self::Cut => "connections cut, ten times a second".to_owned(),
            Self::BlackHole(ms) => format!("black hole at one node for {} s", seconds(ms)),
            Self::AllBlackHole(ms) => format!("black hole at all nodes for {} s", seconds(ms)),
            Self::NodeKilled => "kill -9 of a node".to_owned(),
            Self::NodeFrozen(ms) => format!("SIGSTOP of a node for {} s", seconds(ms)),
            Self::NodesRolled => "rolling restart of the nodes".to_owned(),
            Self::AllNodesKilled(ms) => {
                format!("kill -9 of all nodes, back after {} s", seconds(ms))
            }
            Self::MasterKilled => "kill -9 of a master".to_owned(),
            Self::MasterFrozen => "SIGSTOP of a master".to_owned(),
            Self::Planned => "planned failover".to_owned(),
            Self::ReplicaKilled => "kill -9 of a replica".to_owned(),
            Self::SentinelsKilled => "kill -9 of all sentinels".to_owned(),
            Self::RightLost(right, ms) => {
                format!("{} forbidden for {} s", right.to_uppercase(), seconds(ms))
            }
            Self::NameMoved(0) => "name moved, the old server is a replica".to_owned(),
            Self::NameMoved(ms) => {
                format!("name moved {} s after the roles", seconds(ms))
            }
            Self::NameLeftTheDead => "name moved from a killed server".to_owned(),
            Self::NameLeftTheFrozen => "name moved from a frozen server".to_owned(),
            Self::MasterCutOff(ms) => {
                format!("master and a node cut off for {} s", seconds(ms))
            }
            Self::ReplicaCutOff(ms) => {
                format!("replica and a node cut off for {} s", seconds(ms))
            }
        }
    }

    /// Whether this stage can have it, or why not.
    pub(crate) fn is_possible(self, stage: &Stage) -> Result<(), &'static str> {
        match self {
            Self::ClockSet(_) if stage.clock.is_none() => Err("there is no C compiler"),
            _ => Ok(()),
        }
    }

    /// Breaks it, and repairs what would not come back by itself.
    pub(crate) async fn strike(self, stage: &mut Stage, round: usize) -> Struck {
        let one = round % stage.nodes.len();
        // The proxy of a node, or of a master.
        let at = match &stage.store {
            Store::Shards(fleet) => {
                let masters = fleet.masters().await;
                masters[round % masters.len()]
            }
            _ => one,
        };
        let mut struck = Struck::default();
        let begun = now_ms();
        match self {
            Self::RedisKilled(ms) => redis_killed(stage, ms, &mut struck).await,
            Self::RedisFrozen(ms) => {
                stage.server().signal("STOP");
                let from = now_ms();
                let_pass(ms).await;
                struck.silence = Some((from, now_ms()));
                stage.server().signal("CONT");
                struck.back = Some(now_ms());
            }
            Self::RedisRestarted => {
                stage.server().signal("TERM");
                while stage.server().runs() {
                    let_pass(5).await;
                }
                stage.server().restart();
                stage.server().answers().await;
                struck.back = Some(now_ms());
            }
            Self::Emptied => {
                let from = now_ms() - LAG;
                let () = stage.server().query(&["FLUSHALL"]).await;
                struck.lossy = Some((from, now_ms()));
                struck.back = Some(now_ms());
            }
            Self::ScriptsFlushed => {
                for _ in 0..10 {
                    for server in masters(stage).await {
                        let () = servers(stage)[server].query(&["SCRIPT", "FLUSH"]).await;
                    }
                    let_pass(100).await;
                }
            }
            Self::Full(ms) => {
                let () = stage
                    .server()
                    .query(&["CONFIG", "SET", "maxmemory", "1"])
                    .await;
                let_pass(ms).await;
                let () = stage
                    .server()
                    .query(&["CONFIG", "SET", "maxmemory", "0"])
                    .await;
                struck.back = Some(now_ms());
            }
            Self::ClockSet(ms) => {
                stage.set_clock(ms);
                let_pass(2_000).await;
            }
            Self::RepliesDropped => {
                stage.proxies()[at].drop_replies();
                let_pass(600).await;
                stage.proxies()[at].restore();
            }
            Self::RequestsDuplicated => {
                let from = now_ms();
                for proxy in stage.proxies().iter_mut().take(2) {
                    proxy.duplicate(Duration::from_millis(15));
                }
                let_pass(2_500).await;
                for proxy in stage.proxies().iter_mut().take(2) {
                    proxy.restore();
                }
                struck.repeated = Some((from - 50.0, now_ms() + 50.0));
            }
            Self::Delayed => {
                stage.proxies()[at].delay(Duration::from_millis(60));
                let_pass(1_500).await;
                stage.proxies()[at].restore();
            }
            Self::Cut => {
                for _ in 0..10 {
                    stage.proxies()[at].cut();
                    let_pass(100).await;
                }
            }
            Self::BlackHole(ms) => {
                stage.proxies()[at].black_hole();
                let_pass(ms).await;
                stage.proxies()[at].restore();
            }
            Self::AllBlackHole(ms) => {
                for proxy in stage.proxies() {
                    proxy.black_hole();
                }
                // What had left the proxies before is done within a moment.
                let from = now_ms() + 20.0;
                let_pass(ms).await;
                struck.silence = Some((from, now_ms()));
                for proxy in stage.proxies() {
                    proxy.restore();
                }
                struck.back = Some(now_ms());
            }
            Self::NodeKilled => stage.nodes[one].restart().await,
            Self::NodeFrozen(ms) => {
                stage.nodes[one].signal("STOP");
                let_pass(ms).await;
                stage.nodes[one].signal("CONT");
            }
            Self::NodesRolled => {
                for node in &mut stage.nodes {
                    node.signal("TERM");
                    node.ended(Duration::from_secs(30)).await;
                    node.restart().await;
                }
            }
            Self::AllNodesKilled(ms) => {
                stage.nodes.iter().for_each(Node::kill);
                let from = now_ms() + 20.0;
                let_pass(ms).await;
                struck.silence = Some((from, now_ms()));
                for node in &mut stage.nodes {
                    node.restart().await;
                }
                struck.back = Some(now_ms());
            }
            Self::MasterKilled => master_fails(stage, "KILL", &mut struck).await,
            Self::MasterFrozen => master_fails(stage, "STOP", &mut struck).await,
            Self::Planned => planned(stage).await,
            Self::ReplicaKilled => {
                let masters = masters(stage).await;
                let replica = (0..servers(stage).len()).find(|place| !masters.contains(place));
                let server = &mut servers(stage)[replica.expect("there is one")];
                server.kill();
                let_pass(1_500).await;
                server.restart();
            }
            Self::SentinelsKilled => {
                for sentinel in &mut stage.sentinels().sentinels {
                    sentinel.kill();
                }
                let_pass(2_500).await;
                for sentinel in &mut stage.sentinels().sentinels {
                    sentinel.restart();
                    sentinel.answers().await;
                }
            }
            Self::RightLost(right, ms) => right_lost(stage, right, ms, &mut struck).await,
            Self::NameMoved(ms) => name_moved(stage, ms, &mut struck).await,
            Self::NameLeftTheDead => name_left(stage, "KILL", &mut struck).await,
            Self::NameLeftTheFrozen => name_left(stage, "STOP", &mut struck).await,
            Self::MasterCutOff(ms) => cut_off(stage, true, ms, &mut struck).await,
            Self::ReplicaCutOff(ms) => cut_off(stage, false, ms, &mut struck).await,
        }
        if self.loses_replies() {
            struck.sent_again = Some((begun, now_ms() + PATIENCE));
        }
        struck
    }
}

fn servers(stage: &mut Stage) -> &mut [crate::harness::Server] {
    match &mut stage.store {
        Store::One(server) => std::slice::from_mut(server),
        Store::Address(address) => &mut address.servers,
        Store::Sentinels(fleet) => &mut fleet.servers,
        Store::Shards(fleet) => &mut fleet.servers,
        Store::Hosts(hosts) => &mut hosts.fleet.servers,
    }
}

/// The places of the masters.
async fn masters(stage: &Stage) -> Vec<usize> {
    match &stage.store {
        Store::One(_) => vec![0],
        Store::Address(address) => vec![address.master],
        Store::Sentinels(fleet) => vec![fleet.master().await],
        Store::Shards(fleet) => fleet.masters().await,
        Store::Hosts(hosts) => vec![hosts.fleet.master().await],
    }
}

async fn redis_killed(stage: &mut Stage, ms: u64, struck: &mut Struck) {
    let keeps = stage.topology == Topology::Alone;
    let before = now_ms();
    stage.server().kill();
    let from = now_ms();
    let_pass(ms).await;
    struck.silence = Some((from, now_ms()));
    stage.server().restart();
    stage.server().answers().await;
    struck.back = Some(now_ms());
    if !keeps {
        struck.lossy = Some((before - LAG, from));
        struck.silence = None;
    }
}

/// The nodes' user may not run a command, and then it may again.
async fn right_lost(stage: &mut Stage, right: &str, ms: u64, struck: &mut Struck) {
    let (without, with) = (format!("-{right}"), format!("+{right}"));
    let () = stage
        .server()
        .query(&["ACL", "SETUSER", "leasehold", &without])
        .await;
    let from = now_ms();
    let_pass(ms).await;
    let until = now_ms();
    let () = stage
        .server()
        .query(&["ACL", "SETUSER", "leasehold", &with])
        .await;
    struck.back = Some(now_ms());
    struck.only_notices_fail = (right == "publish").then_some((from, until));
}

async fn name_moved(stage: &mut Stage, ms: u64, struck: &mut Struck) {
    let address = stage.address();
    address.swap_roles().await;
    let from = now_ms();
    let_pass(ms).await;
    struck.silence = Some((from, now_ms()));
    address.move_name();
    (struck.back, struck.moved) = (Some(now_ms()), Some(now_ms()));
}

/// The server behind a name dies or falls silent, and the name leads to its replica.
async fn name_left(stage: &mut Stage, signal: &str, struck: &mut Struck) {
    let address = stage.address();
    let (old, from) = (address.master, now_ms());
    match signal {
        "KILL" => address.servers[old].kill(),
        _ => address.servers[old].signal(signal),
    }
    // As long as it takes somebody to notice.
    let_pass(1_000).await;
    address.promote_other().await;
    address.move_name();
    (struck.back, struck.moved) = (Some(now_ms()), Some(now_ms()));
    let_pass(1_000).await;
    if signal != "KILL" {
        address.servers[old].signal("CONT");
    }
    address.mend().await;
    struck.lossy = Some((from - LAG, now_ms() + 50.0));
}

/// A master dies or falls silent, and one of its replicas takes its place.
async fn master_fails(stage: &mut Stage, signal: &str, struck: &mut Struck) {
    let old = masters(stage).await[0];
    let count = masters(stage).await.len();
    let from = now_ms();
    let server = &mut servers(stage)[old];
    match signal {
        "KILL" => server.kill(),
        _ => server.signal(signal),
    }
    match &stage.store {
        Store::Sentinels(fleet) => {
            fleet.promoted(old).await;
        }
        Store::Shards(fleet) => {
            wait_until(
                "a replica takes over",
                Duration::from_secs(45),
                async || {
                    let mut masters = 0;
                    for (place, server) in fleet.servers.iter().enumerate() {
                        masters += usize::from(place != old && server.is_master().await);
                    }
                    masters == count
                },
            )
            .await;
        }
        _ => unreachable!("only where there are replicas"),
    }
    let promoted = now_ms();
    struck.back = Some(promoted);
    struck.lossy = Some((from - LAG, promoted + 50.0));
    let_pass(1_000).await;
    let server = &mut servers(stage)[old];
    match signal {
        "KILL" => server.restart(),
        _ => server.signal("CONT"),
    }
}

async fn planned(stage: &mut Stage) {
    match &stage.store {
        Store::Sentinels(fleet) => {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_leasehold"));
            command
                .env_clear()
                .env("LEASEHOLD_REDIS_URL", fleet.url())
                .env("LEASEHOLD_SECRET", SECRET)
                .current_dir(std::env::temp_dir())
                .args(["failover", "--json"])
                .stdin(Stdio::null());
            let output = command.output().await.expect("the binary runs");
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Store::Shards(fleet) => {
            let masters = fleet.masters().await;
            let replica = (0..fleet.servers.len()).find(|place| !masters.contains(place));
            let replica = &fleet.servers[replica.expect("there are three")];
            let () = replica.query(&["CLUSTER", "FAILOVER"]).await;
            wait_until("it takes over", Duration::from_secs(20), async || {
                replica.is_master().await
            })
            .await;
        }
        _ => unreachable!("only where there are replicas"),
    }
}

/// The cable of a host is pulled: of the master's, or of a replica's.
async fn cut_off(stage: &mut Stage, master: bool, ms: u64, struck: &mut Struck) {
    let Store::Hosts(hosts) = &mut stage.store else {
        unreachable!("only where there are hosts")
    };
    let old = hosts.fleet.master().await;
    let host = if master {
        old
    } else {
        (0..3).find(|host| *host != old).expect("three hosts")
    };
    let from = now_ms();
    hosts.cut(host);
    if master {
        hosts.fleet.promoted(old).await;
        struck.back = Some(now_ms());
    }
    let_pass(ms.saturating_sub((now_ms() - from) as u64)).await;
    hosts.mend().await;
    if master {
        struck.lossy = Some((from - LAG, now_ms() + 500.0));
    }
}
