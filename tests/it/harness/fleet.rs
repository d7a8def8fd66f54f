//! Several Redis servers that belong together: a master with replicas and sentinels, or a cluster.
//!
//! Always private processes, because a test that kills a master can share none. Where there is no `redis-server` on the
//! `PATH` these tests have nothing to stand on, and say so.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::FromRedisValue;
use tempfile::TempDir;

use super::{free_port, server_on_the_path, signal, wait_until};

/// One `redis-server`, as a master, a replica, a sentinel or a part of a cluster.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Where the nodes of a cluster speak to each other.
    bus: u16,
    directory: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
    /// The dynamic library that is loaded into it, and its environment.
    pub(crate) environment: Vec<(String, String)>,
}

impl Server {
    /// One with these arguments, on this port; not started.
    pub(crate) fn prepare(port: u16, arguments: &[&str]) -> Self {
        Self {
            port,
            bus: 0,
            directory: TempDir::with_prefix("leasehold-redis-").expect("a temporary directory"),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            child: None,
            environment: Vec::new(),
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Starts it, with the data that it had.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let program = server_on_the_path().expect("redis-server or valkey-server is on the PATH");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join("log"))
            .expect("the directory is writable");
        let child = Command::new(program)
            .current_dir(self.directory.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_none()))
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("it runs").id(), name);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it has ended and was waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Runs one command, as `redis-cli` would.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &[&str]) -> T {
        match self.try_query(command).await {
            Ok(value) => value,
            Err(error) => panic!("{command:?} at {}: {error}", self.port),
        }
    }

    pub(crate) async fn try_query<T: FromRedisValue>(
        &self,
        command: &[&str],
    ) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(command[0])
            .arg(&command[1..])
            .query_async(&mut connection)
            .await
    }

    pub(crate) async fn answers(&self) {
        wait_until("the server answers", Duration::from_secs(20), async || {
            self.try_query::<String>(&["PING"]).await.is_ok()
        })
        .await;
    }

    async fn is_master(&self) -> bool {
        let role: redis::RedisResult<Vec<redis::Value>> = self.try_query(&["ROLE"]).await;
        role.is_ok_and(|role| {
            role.first().is_some_and(|role| {
                redis::from_redis_value::<String>(role.clone()).is_ok_and(|role| role == "master")
            })
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What every data server is started with.
fn data_server(port: u16) -> Vec<String> {
    let port = port.to_string();
    [
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--appendonly",
        "yes",
        "--save",
        "",
        "--maxmemory-policy",
        "noeviction",
        "--repl-diskless-sync-delay",
        "0",
        "--enable-debug-command",
        "yes",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// A master, two replicas and three sentinels that notice its death after a second.
pub(crate) struct Sentinels {
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
}

impl Sentinels {
    pub(crate) async fn start() -> Self {
        let mut servers: Vec<Server> = Vec::new();
        for number in 0..3 {
            let port = free_port();
            let mut arguments = data_server(port);
            if number > 0 {
                let master = format!("127.0.0.1 {}", servers[0].port);
                arguments.extend(["--replicaof".to_owned(), master]);
            }
            let mut server = Server::prepare(port, &borrowed(&arguments));
            server.restart();
            servers.push(server);
        }
        for server in &servers {
            server.answers().await;
        }
        let master = servers[0].port;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let port = free_port();
            let mut sentinel = Server::prepare(port, &["sentinel.conf", "--sentinel"]);
            std::fs::write(
                sentinel.directory().join("sentinel.conf"),
                format!(
                    "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 2\n\
                     sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 2000\n"
                ),
            )
            .expect("the directory is writable");
            sentinel.restart();
            sentinels.push(sentinel);
        }
        let fleet = Self { servers, sentinels };
        wait_until(
            "the sentinels know each other",
            Duration::from_secs(20),
            async || {
                for sentinel in &fleet.sentinels {
                    let quorum: redis::RedisResult<String> =
                        sentinel.try_query(&["SENTINEL", "CKQUORUM", "main"]).await;
                    if !quorum.is_ok_and(|text| text.contains("3 usable")) {
                        return false;
                    }
                }
                true
            },
        )
        .await;
        wait_until("the replicas follow", Duration::from_secs(20), async || {
            let info: String = fleet.servers[0].query(&["INFO", "replication"]).await;
            info.matches("state=online").count() == 2
        })
        .await;
        fleet
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// The place of the server that the first sentinel names.
    pub(crate) async fn master(&self) -> usize {
        let (_, port): (String, u16) = self.sentinels[0]
            .query(&["SENTINEL", "get-master-addr-by-name", "main"])
            .await;
        self.servers
            .iter()
            .position(|server| server.port == port)
            .expect("one of ours")
    }

    /// Waits until the sentinels name another server, which says that it is a master.
    pub(crate) async fn promoted(&self, old: usize) -> usize {
        wait_until("another master", Duration::from_secs(45), async || {
            let master = self.master().await;
            master != old && self.servers[master].is_master().await
        })
        .await;
        self.master().await
    }
}

/// Three masters with a replica each.
pub(crate) struct Shards {
    pub(crate) servers: Vec<Server>,
}

impl Shards {
    pub(crate) async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..6 {
            let port = free_port();
            let mut arguments = data_server(port);
            arguments.extend(
                [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "1500",
                    "--cluster-port",
                ]
                .map(str::to_owned),
            );
            let bus = free_port();
            arguments.push(bus.to_string());
            let mut server = Server::prepare(port, &borrowed(&arguments));
            server.bus = bus;
            server.restart();
            servers.push(server);
        }
        for server in &servers {
            server.answers().await;
        }
        let fleet = Self { servers };
        fleet.join().await;
        wait_until(
            "the cluster is whole",
            Duration::from_secs(30),
            async || {
                for server in &fleet.servers {
                    let info: String = server.query(&["CLUSTER", "INFO"]).await;
                    if !info.contains("cluster_state:ok") {
                        return false;
                    }
                }
                let mut replicas = 0;
                for server in &fleet.servers {
                    let info: String = server.query(&["INFO", "replication"]).await;
                    replicas += info.matches("state=online").count();
                }
                replicas == 3
            },
        )
        .await;
        fleet
    }

    /// What `redis-cli --cluster create` does; the command is not everywhere where a server is.
    async fn join(&self) {
        let (first, others) = self.servers.split_first().expect("six");
        for (number, slots) in ["0 5460", "5461 10922", "10923 16383"].iter().enumerate() {
            let (from, to) = slots.split_once(' ').expect("two");
            let () = self.servers[number]
                .query(&["CLUSTER", "ADDSLOTSRANGE", from, to])
                .await;
        }
        for (server, epoch) in self.servers.iter().zip(1..) {
            let epoch = format!("{epoch}");
            let () = server.query(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
        }
        for server in others {
            let (port, bus) = (server.port.to_string(), server.bus.to_string());
            let () = first
                .query(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])
                .await;
        }
        wait_until("all know each other", Duration::from_secs(20), async || {
            for server in &self.servers {
                let info: String = server.query(&["CLUSTER", "INFO"]).await;
                if !info.contains("cluster_known_nodes:6") || !info.contains("cluster_size:3") {
                    return false;
                }
            }
            true
        })
        .await;
        for (replica, master) in self.servers[3..].iter().zip(&self.servers) {
            let id: String = master.query(&["CLUSTER", "MYID"]).await;
            let () = replica.query(&["CLUSTER", "REPLICATE", &id]).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self
            .servers
            .iter()
            .take(3)
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The places of the masters.
    pub(crate) async fn masters(&self) -> Vec<usize> {
        let mut masters = Vec::new();
        for (place, server) in self.servers.iter().enumerate() {
            if server.is_master().await {
                masters.push(place);
            }
        }
        masters
    }
}
