//! Several Redis servers that belong together: a master with replicas and sentinels, or a cluster.
//!
//! Always private processes, because a test that kills a master can share none. Where there is no `redis-server` on the
//! `PATH` these tests cannot run, and report that.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use redis::FromRedisValue;
use tempfile::TempDir;

use super::{Proxy, free_port, server_on_the_path, signal, wait_until};

/// One `redis-server`, as a master, a replica, a sentinel or a part of a cluster.
pub(crate) struct Server {
    /// Its address.
    host: String,
    pub(crate) port: u16,
    /// The network namespace that it runs in; none for this one.
    space: Option<String>,
    /// Where the nodes of a cluster speak to each other.
    bus: u16,
    directory: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
    /// The dynamic library that is loaded into it, and its environment.
    pub(crate) environment: Vec<(String, String)>,
    /// What the tests' own questions log in with: `:password@` or `user:password@`.
    pub(crate) userinfo: String,
    /// How the tests' own questions are encrypted, if it speaks TLS only.
    tls: Option<redis::TlsCertificates>,
}

impl Server {
    /// One with these arguments, on this port; not started.
    pub(crate) fn prepare(port: u16, arguments: &[&str]) -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port,
            space: None,
            bus: 0,
            directory: TempDir::with_prefix("leasehold-redis-").expect("a temporary directory"),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            child: None,
            environment: Vec::new(),
            userinfo: String::new(),
            tls: None,
        }
    }

    /// A data server with a file at another address of this machine, started.
    pub(crate) async fn at(host: &str, port: u16) -> Self {
        let mut server = Self::prepare(port, &borrowed(&data_server(port)));
        host.clone_into(&mut server.host);
        server.set("--bind", host);
        server.restart();
        server.answers().await;
        server
    }

    /// A data server in a network namespace; not started.
    pub(crate) fn prepare_at(host: &str, port: u16, space: &str) -> Self {
        let mut server = Self::prepare(port, &borrowed(&data_server(port)));
        host.clone_into(&mut server.host);
        server.space = Some(space.to_owned());
        server.set("--bind", host);
        server
    }

    /// A sentinel in a network namespace; not started.
    pub(crate) fn sentinel_at(
        host: &str,
        port: u16,
        space: &str,
        master: &str,
        master_port: u16,
    ) -> Self {
        let mut sentinel = sentinel(host, port, master, master_port);
        sentinel.space = Some(space.to_owned());
        sentinel
    }

    /// Sets or replaces an argument.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.arguments.iter().position(|text| text == name) {
            Some(place) => value.clone_into(&mut self.arguments[place + 1]),
            None => self.arguments.extend([name.to_owned(), value.to_owned()]),
        }
    }

    /// `host:port`, as in a URL.
    pub(crate) fn address(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }

    /// The address without the port.
    pub(crate) fn ip(&self) -> std::net::IpAddr {
        self.host.parse().expect("an address")
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
        let mut command = match &self.space {
            Some(space) => {
                // It becomes the program, so that signals reach that.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let child = command
            .current_dir(self.directory.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
    }

    /// One that speaks nothing but TLS; none where the server was built without it.
    pub(crate) async fn encrypted(certificates: &Certificates) -> Option<Self> {
        let port = free_port();
        let mut server = Self::prepare(port, &["--save", ""]);
        for (name, value) in certificates.settings(port) {
            server.set(&format!("--{name}"), &value);
        }
        server.tls = Some(certificates.of_clients());
        server.restart();
        while server.runs() {
            if server.try_query::<String>(&["PING"]).await.is_ok() {
                return Some(server);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(server.directory().join("log")).unwrap_or_default();
        assert!(log.contains("tls"), "{log}");
        eprintln!("this server was built without TLS: nothing to test");
        None
    }

    /// A cluster of one.
    pub(crate) async fn with_all_slots() -> Self {
        Self::with_all_slots_at("127.0.0.1").await
    }

    /// The same at another address of this machine.
    pub(crate) async fn with_all_slots_at(host: &str) -> Self {
        let (port, bus) = ports_of_a_cluster();
        let mut arguments = data_server(port);
        arguments.extend(["--cluster-enabled", "yes"].map(str::to_owned));
        if is_7() {
            arguments.extend(["--cluster-port".to_owned(), bus.to_string()]);
        }
        let mut server = Self::prepare(port, &borrowed(&arguments));
        server.bind_to(host);
        server.restart();
        server.answers().await;
        server.add_slots(0, 16_383).await;
        server.serves_all_slots().await;
        server
    }

    fn bind_to(&mut self, host: &str) {
        host.clone_into(&mut self.host);
        self.set("--bind", host);
        self.set("--cluster-announce-ip", host);
    }

    async fn serves_all_slots(&self) {
        wait_until("the cluster is up", Duration::from_secs(20), async || {
            let info: String = self.query(&["CLUSTER", "INFO"]).await;
            info.contains("cluster_state:ok")
        })
        .await;
    }

    /// Has a server of a cluster call itself by this name. False if it cannot.
    pub(crate) async fn tells_its_name(&mut self, name: &str) -> bool {
        if !is_7() {
            return false;
        }
        self.set("--cluster-announce-hostname", name);
        self.set("--cluster-preferred-endpoint-type", "hostname");
        self.restart();
        self.answers().await;
        self.serves_all_slots().await;
        true
    }

    /// Starts it at another address of this machine, with the data that it had.
    pub(crate) async fn move_to(&mut self, host: &str) {
        self.kill();
        self.bind_to(host);
        self.restart();
        self.answers().await;
        self.serves_all_slots().await;
    }

    /// A single one that is nobody's replica, started. `keeps`: with a file.
    pub(crate) async fn alone(keeps: bool, environment: Vec<(String, String)>) -> Self {
        loop {
            let port = free_port();
            let mut arguments = data_server(port);
            if !keeps {
                arguments.extend(["--appendonly", "no"].map(str::to_owned));
            }
            let mut server = Self::prepare(port, &borrowed(&arguments));
            server.environment.clone_from(&environment);
            server.restart();
            while server.runs() {
                if server.try_query::<String>(&["PING"]).await.is_ok() {
                    return server;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Another run of tests on this machine was quicker.
            eprintln!("port {port} was taken meanwhile");
        }
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

    /// Whether a lease is among the data of this server.
    pub(crate) async fn has_lease(&self, pool: &str, id: &str) -> bool {
        let keys: Vec<String> = self.query(&["KEYS", &format!("lh1:*:{pool}:leases")]).await;
        match keys.as_slice() {
            [] => false,
            [key] => {
                let score: Option<f64> = self.query(&["ZSCORE", key, id]).await;
                score.is_some()
            }
            _ => panic!("{keys:?}"),
        }
    }

    pub(crate) async fn try_query<T: FromRedisValue>(
        &self,
        command: &[&str],
    ) -> redis::RedisResult<T> {
        let there = format!("{}{}", self.userinfo, self.address());
        let client = match &self.tls {
            None => redis::Client::open(format!("redis://{there}"))?,
            Some(tls) => redis::Client::build_with_tls(format!("rediss://{there}"), tls.clone())?,
        };
        // Valkey answers some commands only when its replicas have taken them, and these are heard of once a second.
        let settings =
            redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(5)));
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await?;
        redis::cmd(command[0])
            .arg(&command[1..])
            .query_async(&mut connection)
            .await
    }

    pub(crate) async fn answers(&self) {
        wait_until("the server answers", Duration::from_secs(60), async || {
            self.try_query::<String>(&["PING"]).await.is_ok()
        })
        .await;
    }

    /// Waits until this many replicas have acknowledged everything that was written. WAIT would not do: it is about what the same
    /// connection has written.
    pub(crate) async fn copied_to(&self, replicas: usize) {
        let info: String = self.query(&["INFO", "replication"]).await;
        let number = |text: &str| text.parse::<u64>().expect("an offset");
        let written = info
            .lines()
            .find_map(|line| line.strip_prefix("master_repl_offset:"))
            .map(number)
            .expect("it has an offset");
        wait_until(
            "the replicas have it",
            Duration::from_secs(30),
            async || {
                let info: String = self.query(&["INFO", "replication"]).await;
                let have = info
                    .lines()
                    .filter(|line| line.starts_with("slave") && line.contains("state=online"))
                    .filter_map(|line| {
                        line.split(',')
                            .find_map(|part| part.strip_prefix("offset="))
                    })
                    .filter(|offset| number(offset) >= written);
                have.count() >= replicas
            },
        )
        .await;
    }

    /// One by one, because Redis 6.2 knows no ranges.
    async fn add_slots(&self, from: u16, to: u16) {
        let slots: Vec<String> = (from..=to).map(|slot| slot.to_string()).collect();
        let mut command = vec!["CLUSTER", "ADDSLOTS"];
        command.extend(slots.iter().map(String::as_str));
        let () = self.query(&command).await;
    }

    pub(crate) async fn is_master(&self) -> bool {
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
    let mut arguments = [
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
    ]
    .map(str::to_owned)
    .to_vec();
    if is_7() {
        // Before, it needed no leave.
        arguments.extend(["--enable-debug-command", "yes"].map(str::to_owned));
    }
    arguments
}

/// Whether the server is at least Redis 7, or Valkey; Redis 6.2 refuses some settings and commands that tests use.
pub(crate) fn is_7() -> bool {
    static IS_7: LazyLock<bool> = LazyLock::new(|| {
        let Some(program) = server_on_the_path() else {
            return true;
        };
        let output = Command::new(program).arg("--version").output();
        let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        !said.is_ok_and(|said| said.contains("v=6."))
    });
    *IS_7
}

/// The port of a server of a cluster, and the one on which they speak to each other. Before Redis 7 that could not be chosen; then it is
/// the first one that has to be free there, because connections of clients begin at ports higher up.
fn ports_of_a_cluster() -> (u16, u16) {
    const APART: u16 = 10_000;
    loop {
        let bus = free_port();
        if is_7() {
            return (free_port(), bus);
        }
        if std::net::TcpListener::bind(("127.0.0.1", bus - APART)).is_ok() {
            return (bus - APART, bus);
        }
    }
}

/// A sentinel that notices the death of its master after a second; not started.
fn sentinel(host: &str, port: u16, master: &str, master_port: u16) -> Server {
    let mut sentinel = Server::prepare(port, &["sentinel.conf", "--sentinel"]);
    host.clone_into(&mut sentinel.host);
    std::fs::write(
        sentinel.directory().join("sentinel.conf"),
        format!(
            "port {port}\nbind {host}\nprotected-mode no\nsentinel monitor main {master} {master_port} 2\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 2000\n"
        ),
    )
    .expect("the directory is writable");
    sentinel
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Certificates for servers of this machine, made by openssl in a directory that goes with this.
pub(crate) struct Certificates {
    directory: TempDir,
    /// Whether servers let nobody in who shows none.
    of_both_ends: bool,
}

impl Certificates {
    pub(crate) fn make() -> Self {
        Self::made(false)
    }

    /// The same for servers that want one of their clients too, as Redis does by default.
    pub(crate) fn of_both_ends() -> Self {
        Self::made(true)
    }

    fn made(of_both_ends: bool) -> Self {
        let directory = TempDir::with_prefix("leasehold-tls-").expect("a temporary directory");
        let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        std::fs::write(directory.path().join("names"), names).expect("ours");
        for arguments in [
            "req -newkey rsa:2048 -nodes -keyout client.key -out client.csr -subj /CN=node",
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
            "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
            "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out client.pem",
        ] {
            let made = Command::new("openssl")
                .current_dir(directory.path())
                .args(arguments.split(' '))
                .output()
                .is_ok_and(|output| output.status.success());
            assert!(made, "openssl is needed to make certificates");
        }
        Self {
            directory,
            of_both_ends,
        }
    }

    /// Certificate and key of a client.
    pub(crate) fn client(&self) -> [PathBuf; 2] {
        ["client.pem", "client.key"].map(|name| self.directory.path().join(name))
    }

    fn of_clients(&self) -> redis::TlsCertificates {
        let read = |path: PathBuf| std::fs::read(path).expect("it was made");
        let [certificate, key] = self.client();
        redis::TlsCertificates {
            client_tls: Some(redis::ClientTlsConfig {
                client_cert: read(certificate),
                client_key: read(key),
            }),
            root_cert: Some(read(self.ca())),
        }
    }

    /// Who signed them: what clients are given.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The settings of a server that speaks nothing but TLS.
    pub(crate) fn settings(&self, port: u16) -> Vec<(&'static str, String)> {
        let file = |name: &str| {
            let path = self.directory.path().join(name);
            path.to_str().expect("UTF-8").to_owned()
        };
        vec![
            ("port", "0".to_owned()),
            ("tls-port", port.to_string()),
            ("tls-cert-file", file("server.pem")),
            ("tls-key-file", file("server.key")),
            ("tls-ca-cert-file", file("ca.pem")),
            (
                "tls-auth-clients",
                if self.of_both_ends { "yes" } else { "no" }.to_owned(),
            ),
            ("tls-replication", "yes".to_owned()),
        ]
    }
}

/// A master, two replicas and three sentinels that notice its death after a second.
pub(crate) struct Sentinels {
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
}

/// The credentials of servers and sentinels that trust nobody.
pub(crate) struct Guards {
    /// The password of the servers' default user.
    pub(crate) servers: &'static str,
    /// The same of the sentinels.
    pub(crate) sentinels: &'static str,
    /// More lines of their settings, such as users.
    pub(crate) lines: &'static str,
}

impl Sentinels {
    pub(crate) async fn start() -> Self {
        Self::start_with(None, None).await
    }

    /// Servers and sentinels that let nobody in who does not know a password.
    pub(crate) async fn start_guarded(guards: &Guards) -> Self {
        Self::start_with(Some(guards), None).await
    }

    /// Servers and sentinels that speak only TLS, also among themselves. The server has to be one that can.
    pub(crate) async fn start_encrypted(certificates: &Certificates) -> Self {
        Self::start_with(None, Some(certificates)).await
    }

    async fn start_with(guards: Option<&Guards>, tls: Option<&Certificates>) -> Self {
        let of_clients = tls.map(Certificates::of_clients);
        let mut servers: Vec<Server> = Vec::new();
        for number in 0..3 {
            let port = free_port();
            let mut arguments = data_server(port);
            if number > 0 {
                let master = servers[0].port.to_string();
                arguments.extend(["--replicaof", "127.0.0.1", &master].map(str::to_owned));
            }
            if let Some(guards) = guards {
                for name in ["--requirepass", "--masterauth"] {
                    arguments.extend([name.to_owned(), guards.servers.to_owned()]);
                }
            }
            let mut server = Server::prepare(port, &borrowed(&arguments));
            if let Some(guards) = guards {
                server.userinfo = format!(":{}@", guards.servers);
            }
            for (name, value) in tls.iter().flat_map(|tls| tls.settings(port)) {
                server.set(&format!("--{name}"), &value);
            }
            server.tls.clone_from(&of_clients);
            server.restart();
            servers.push(server);
        }
        for server in &servers {
            server.answers().await;
        }
        let master = servers[0].port;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let mut sentinel = sentinel("127.0.0.1", free_port(), "127.0.0.1", master);
            if let Some(guards) = guards {
                sentinel.userinfo = format!(":{}@", guards.sentinels);
                let file = sentinel.directory().join("sentinel.conf");
                let mut settings = std::fs::read_to_string(&file).expect("it was written");
                settings += &format!(
                    "sentinel auth-pass main {}\nrequirepass {}\nsentinel sentinel-pass {}\n{}\n",
                    guards.servers, guards.sentinels, guards.sentinels, guards.lines
                );
                std::fs::write(file, settings).expect("the directory is writable");
            }
            if let Some(tls) = tls {
                let file = sentinel.directory().join("sentinel.conf");
                let mut settings = std::fs::read_to_string(&file).expect("it was written");
                for (name, value) in tls.settings(sentinel.port) {
                    settings += &format!("{name} {value}\n");
                }
                std::fs::write(file, settings).expect("the directory is writable");
                sentinel.tls.clone_from(&of_clients);
            }
            sentinel.restart();
            sentinels.push(sentinel);
        }
        let fleet = Self { servers, sentinels };
        fleet.formed().await;
        fleet
    }

    /// Waits until the sentinels know each other and both replicas, and these follow. A sentinel asks the master for its
    /// replicas every ten seconds: if the master dies before that, nobody ever takes its place.
    pub(crate) async fn formed(&self) {
        wait_until(
            "the sentinels know each other and the replicas",
            Duration::from_secs(60),
            async || {
                for sentinel in &self.sentinels {
                    let quorum: redis::RedisResult<String> =
                        sentinel.try_query(&["SENTINEL", "CKQUORUM", "main"]).await;
                    let replicas: redis::RedisResult<Vec<redis::Value>> =
                        sentinel.try_query(&["SENTINEL", "REPLICAS", "main"]).await;
                    if !quorum.is_ok_and(|text| text.contains("3 usable"))
                        || !replicas.is_ok_and(|replicas| replicas.len() >= 2)
                    {
                        return false;
                    }
                }
                true
            },
        )
        .await;
        self.followed().await;
    }

    /// Waits until both replicas follow the master that the sentinels name.
    pub(crate) async fn followed(&self) {
        wait_until("the replicas follow", Duration::from_secs(90), async || {
            let Some(master) = self.named().await else {
                return false;
            };
            let info: redis::RedisResult<String> = self.servers[master]
                .try_query(&["INFO", "replication"])
                .await;
            info.is_ok_and(|info| {
                info.contains("role:master") && info.matches("state=online").count() == 2
            })
        })
        .await;
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// The place of the server that the sentinels name.
    pub(crate) async fn master(&self) -> usize {
        self.named().await.expect("a sentinel names one of ours")
    }

    /// The answer of most of the sentinels that can be reached.
    async fn named(&self) -> Option<usize> {
        let mut votes = vec![0; self.servers.len()];
        for sentinel in &self.sentinels {
            let named: redis::RedisResult<(String, u16)> = sentinel
                .try_query(&["SENTINEL", "get-master-addr-by-name", "main"])
                .await;
            let place = named.ok().and_then(|(host, port)| {
                self.servers
                    .iter()
                    .position(|server| server.host == host && server.port == port)
            });
            if let Some(place) = place {
                votes[place] += 1;
            }
        }
        let most = votes.iter().max().filter(|most| **most > 0)?;
        votes.iter().position(|count| count == most)
    }

    /// Waits until the sentinels name another server, which agrees that it is a master.
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
    /// In front of each of them, for nodes and replicas alike; none unless asked for.
    pub(crate) proxies: Vec<Proxy>,
}

impl Shards {
    pub(crate) async fn start() -> Self {
        Self::start_with(false).await
    }

    /// With a proxy in front of each server, which is what the servers name when they are asked who has what.
    pub(crate) async fn start_behind_proxies() -> Self {
        Self::start_with(true).await
    }

    async fn start_with(behind_proxies: bool) -> Self {
        let (mut servers, mut proxies) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let (port, bus) = ports_of_a_cluster();
            let mut arguments = data_server(port);
            arguments.extend(
                ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"].map(str::to_owned),
            );
            if is_7() {
                arguments.extend(["--cluster-port".to_owned(), bus.to_string()]);
            }
            if behind_proxies {
                let proxy = Proxy::start(([127, 0, 0, 1], port).into());
                let (announced, bus) = (proxy.port().to_string(), bus.to_string());
                arguments.extend([
                    "--cluster-announce-ip".to_owned(),
                    "127.0.0.1".to_owned(),
                    "--cluster-announce-port".to_owned(),
                    announced,
                    "--cluster-announce-bus-port".to_owned(),
                    bus,
                ]);
                proxies.push(proxy);
            }
            let mut server = Server::prepare(port, &borrowed(&arguments));
            server.bus = bus;
            server.restart();
            servers.push(server);
        }
        for server in &servers {
            server.answers().await;
        }
        let fleet = Self { servers, proxies };
        fleet.join().await;
        fleet.whole().await;
        fleet
    }

    /// Waits until every master has its replica.
    pub(crate) async fn whole(&self) {
        wait_until(
            "the cluster is whole",
            Duration::from_secs(90),
            async || {
                for server in &self.servers {
                    let info: redis::RedisResult<String> =
                        server.try_query(&["CLUSTER", "INFO"]).await;
                    if !info.is_ok_and(|info| info.contains("cluster_state:ok")) {
                        return false;
                    }
                }
                let mut replicas = 0;
                for server in &self.servers {
                    let info: redis::RedisResult<String> =
                        server.try_query(&["INFO", "replication"]).await;
                    replicas += info.map_or(0, |info| info.matches("state=online").count());
                }
                replicas == 3
            },
        )
        .await;
    }

    /// What `redis-cli --cluster create` does; the command is not everywhere where a server is.
    async fn join(&self) {
        let (first, others) = self.servers.split_first().expect("six");
        for (server, (from, to)) in
            (self.servers.iter()).zip([(0, 5_460), (5_461, 10_922), (10_923, 16_383)])
        {
            server.add_slots(from, to).await;
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
            .enumerate()
            .map(|(place, server)| {
                let port = self.proxies.get(place).map_or(server.port, Proxy::port);
                format!("127.0.0.1:{port}")
            })
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
