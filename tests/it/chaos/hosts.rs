//! Three hosts on one machine: network namespaces on a bridge, each with a Redis, a sentinel and a node. A cable can be
//! pulled. Clients reach each node over a second cable, so that they stay with it on its side of a partition.
//!
//! Needs root and iproute2. Names hold the id of this process, so that what a killed run left behind is found and removed.

use std::process::Command;
use std::time::Duration;

use crate::harness::{Launch, Sentinels, Server, wait_until};

/// Nodes that listen beyond loopback want a key.
pub(crate) const KEY: &str = "a-key-of-the-tests-of-chaos";

const PORT: u16 = 6_379;
const SENTINEL_PORT: u16 = 26_379;

/// The hosts and what runs there.
pub(crate) struct Hosts {
    // Before the network: processes end first.
    pub(crate) fleet: Sentinels,
    network: Network,
}

/// Namespaces, cables and a bridge; gone with the value.
struct Network {
    number: u32,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|error| format!("ip (iproute2) does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", said.trim()))
}

/// Removes what processes left behind that are gone.
fn tidy() {
    let Ok(listed) = Command::new("ip").args(["netns", "list"]).output() else {
        return;
    };
    for name in String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next())
    {
        let Some(number) = name
            .strip_prefix("lh-")
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok())
        else {
            continue;
        };
        if !std::path::Path::new(&format!("/proc/{number}")).exists() {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

impl Network {
    fn lay() -> Result<Self, String> {
        tidy();
        let number = std::process::id();
        let network = Self { number };
        network.lay_cables()?;
        Ok(network)
    }

    fn lay_cables(&self) -> Result<(), String> {
        // The bridge has a namespace of its own: in this one rules of others may keep packets from being forwarded.
        let middle = self.space(0);
        ip(&format!("netns add {middle}"))?;
        let inside = |command: String| ip(&format!("netns exec {middle} ip {command}"));
        inside("link add bridge type bridge".to_owned())?;
        inside("link set bridge up".to_owned())?;
        let us = format!("lhr{}", self.number);
        ip(&format!(
            "link add {us} type veth peer name port0 netns {middle}"
        ))?;
        ip(&format!("addr add {}/24 dev {us}", self.data(254)))?;
        ip(&format!("link set {us} up"))?;
        inside("link set port0 master bridge".to_owned())?;
        inside("link set port0 up".to_owned())?;
        for host in 1..=3 {
            let space = self.space(host);
            ip(&format!("netns add {space}"))?;
            ip(&format!("netns exec {space} ip link set lo up"))?;
            let front = format!("lhf{}-{host}", self.number);
            inside(format!(
                "link add port{host} type veth peer name data netns {space}"
            ))?;
            inside(format!("link set port{host} master bridge"))?;
            self.plug(host, "up")?;
            ip(&format!(
                "netns exec {space} ip addr add {}/24 dev data",
                self.data(host)
            ))?;
            ip(&format!("netns exec {space} ip link set data up"))?;
            ip(&format!(
                "link add {front} type veth peer name front netns {space}"
            ))?;
            ip(&format!("addr add {}/30 dev {front}", self.front(host, 1)))?;
            ip(&format!("link set {front} up"))?;
            ip(&format!(
                "netns exec {space} ip addr add {}/30 dev front",
                self.front(host, 2)
            ))?;
            ip(&format!("netns exec {space} ip link set front up"))?;
        }
        Ok(())
    }

    /// Sets the end of a host's cable that is in the bridge up or down.
    fn plug(&self, host: u8, state: &str) -> Result<(), String> {
        let middle = self.space(0);
        ip(&format!(
            "netns exec {middle} ip link set port{host} {state}"
        ))
    }

    fn space(&self, host: u8) -> String {
        format!("lh-{}-{host}", self.number)
    }

    /// Two runs on one machine have different networks.
    fn net(&self) -> u32 {
        64 + self.number % 64
    }

    fn data(&self, host: u8) -> String {
        format!("10.{}.1.{host}", self.net())
    }

    fn front(&self, host: u8, end: u8) -> String {
        format!("10.{}.{}.{end}", self.net(), 100 + host)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cables go with the namespaces.
        for host in 0..=3 {
            let _ = ip(&format!("netns del {}", self.space(host)));
        }
    }
}

impl Hosts {
    /// Starts all; an error says why this machine does not allow it.
    pub(crate) async fn start() -> Result<Self, String> {
        let network = Network::lay()?;
        let mut fleet = Sentinels {
            servers: Vec::new(),
            sentinels: Vec::new(),
        };
        let master = network.data(1);
        for host in 1..=3 {
            let address = network.data(host);
            let mut server = Server::prepare_at(&address, PORT, &network.space(host));
            server.set("--protected-mode", "no");
            server.set("--min-replicas-to-write", "1");
            server.set("--min-replicas-max-lag", "2");
            if host > 1 {
                server.set("--replicaof", &format!("{master} {PORT}"));
            }
            server.restart();
            fleet.servers.push(server);
        }
        for server in &fleet.servers {
            server.answers().await;
        }
        for host in 1..=3 {
            let address = network.data(host);
            let mut sentinel =
                Server::sentinel_at(&address, SENTINEL_PORT, &network.space(host), &master, PORT);
            sentinel.restart();
            fleet.sentinels.push(sentinel);
        }
        fleet.formed().await;
        Ok(Self { fleet, network })
    }

    /// A node on each host.
    pub(crate) fn launches(&self) -> Vec<Launch> {
        let sentinels: Vec<String> = (1..=3)
            .map(|host| format!("{}:{SENTINEL_PORT}", self.network.data(host)))
            .collect();
        let url = format!("redis+sentinel://{}/main", sentinels.join(","));
        (1..=3)
            .map(|host| {
                Launch::on(&url)
                    .inside(&self.network.space(host), &self.network.front(host, 2))
                    .set("admin_key", KEY)
            })
            .collect()
    }

    /// Pulls the cable of a host.
    pub(crate) fn cut(&self, host: usize) {
        let host = u8::try_from(host + 1).expect("one of three");
        self.network.plug(host, "down").expect("the cable is there");
    }

    /// Everything is connected again, and the replicas follow.
    pub(crate) async fn mend(&mut self) {
        for host in 1..=3 {
            self.network.plug(host, "up").expect("the cable is there");
        }
        for server in self.fleet.servers.iter_mut() {
            if !server.runs() {
                server.restart();
            }
        }
        self.fleet.followed().await;
        // A server that was cut off has to learn the master.
        let master = self.fleet.master().await;
        let port = self.fleet.servers[master].address();
        wait_until("all sentinels agree", Duration::from_secs(60), async || {
            for sentinel in &self.fleet.sentinels {
                let named: redis::RedisResult<(String, u16)> = sentinel
                    .try_query(&["SENTINEL", "get-master-addr-by-name", "main"])
                    .await;
                if !named.is_ok_and(|(host, number)| format!("{host}:{number}") == port) {
                    return false;
                }
            }
            true
        })
        .await;
    }
}
