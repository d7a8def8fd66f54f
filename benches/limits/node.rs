//! What is measured: a private Redis, the node on it, and etcd next to them. All end with the value that holds them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use leasehold::store::embedded::Embedded;
use leasehold::store::{Options, Store};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Signs the tokens of the node and of the seeding alike.
pub(crate) const SECRET: &str = "b2YgdGhlIGJlbmNobWFya3MsIG9mIG5vdGhpbmcgZWxzZQ";

/// A Redis of its own, as `leasehold serve` starts it: Unix socket, append-only file.
pub(crate) struct Redis {
    embedded: Embedded,
    directory: TempDir,
    client: redis::Client,
}

impl Redis {
    /// Starts an empty one.
    pub(crate) async fn start() -> Self {
        let directory = TempDir::with_prefix("leasehold-bench-").expect("a temporary directory");
        let embedded = Embedded::start(directory.path(), None)
            .await
            .expect("a redis-server or valkey-server");
        let client = redis::Client::open(embedded.url()).expect("the URL of the embedded Redis");
        Self {
            embedded,
            directory,
            client,
        }
    }

    /// For a node's `redis_url`.
    pub(crate) fn url(&self) -> &str {
        self.embedded.url()
    }

    /// The Unix socket, for redis-benchmark.
    pub(crate) fn socket(&self) -> &Path {
        let (_, path) = self.url().split_once("unix://").expect("a Unix socket");
        Path::new(path)
    }

    /// Where nodes can run.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection of our own, next to those of the node.
    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        self.client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis runs")
    }

    /// A store of this process on it, without a sweeper: the node has one.
    pub(crate) async fn store(&self) -> Store {
        let options = Options {
            url: SecretString::from(self.url().to_owned()),
            tls: Default::default(),
            key_prefix: Default::default(),
            connections: 8,
            timeout: Duration::from_secs(5),
            sweep_every: Duration::ZERO,
            durability: Default::default(),
            metrics_max_pools: 0,
        };
        Store::connect(&options).await.expect("Redis runs")
    }

    /// A number of INFO.
    pub(crate) async fn info(&self, section: &str, field: &str) -> f64 {
        let text: String = redis::cmd("INFO")
            .arg(section)
            .query_async(&mut self.connection().await)
            .await
            .expect("Redis answers");
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .and_then(|value| value.trim().parse().ok())
            .expect("INFO has the field")
    }

    /// Processor time since the start, in seconds.
    pub(crate) async fn cpu_seconds(&self) -> f64 {
        self.info("cpu", "used_cpu_user").await + self.info("cpu", "used_cpu_sys").await
    }

    /// Bytes of all data.
    pub(crate) async fn memory(&self) -> f64 {
        self.info("memory", "used_memory").await
    }

    /// Ends the server, which is started again with its data by whoever looks after it, and waits for that.
    pub(crate) async fn restart(&self) {
        let mut connection = self.connection().await;
        let _ = redis::cmd("SHUTDOWN").exec_async(&mut connection).await;
        loop {
            if let Ok(mut connection) = self.client.get_multiplexed_async_connection().await
                && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it and waits for that.
    pub(crate) async fn stop(self) {
        self.embedded.stop().await;
    }
}

/// A program that is killed when it goes out of scope.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `leasehold serve`: the binary that was built with this bench, or the one that `LEASEHOLD_BENCH_NODE` names, to compare builds.
pub(crate) struct Node {
    process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Node {
    /// Starts a node on this Redis and waits until it is ready.
    pub(crate) async fn start(redis: &Redis) -> Self {
        let address = free_address();
        let binary = std::env::var_os("LEASEHOLD_BENCH_NODE")
            .unwrap_or_else(|| env!("CARGO_BIN_EXE_leasehold").into());
        let child = Command::new(binary)
            .args(["serve", "--quiet"])
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("LEASEHOLD_LISTEN", address.to_string())
            .env("LEASEHOLD_REDIS_URL", redis.url())
            .env("LEASEHOLD_SECRET", SECRET)
            .env("LEASEHOLD_LOG", "warn")
            .env("LEASEHOLD_MAX_CONNECTIONS", "12000")
            .current_dir(redis.directory())
            .stdout(Stdio::null())
            .spawn()
            .expect("the node starts");
        let node = Self {
            process: Process(child),
            address,
        };
        wait_for(
            address,
            "GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
        )
        .await;
        node
    }

    /// Where wrk sends its requests.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Processor time since the start, in seconds. The kernel counts hundredths.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.process.0.id());
        let stat = std::fs::read_to_string(path).expect("the node runs");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        let ticks = fields.split(' ').skip(11).take(2);
        ticks
            .map(|ticks| ticks.parse::<f64>().expect("a number from Linux"))
            .sum::<f64>()
            / 100.0
    }

    /// Resident memory, in MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        let path = format!("/proc/{}/status", self.process.0.id());
        let status = std::fs::read_to_string(path).expect("the node runs");
        let kib: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|value| value.trim().trim_end_matches(" kB").parse().ok())
            .expect("a number from Linux");
        kib / 1024.0
    }
}

/// etcd, one member, its data in memory where the machine has such a place.
pub(crate) struct Etcd {
    _process: Process,
    _directory: TempDir,
    /// Where its JSON gateway listens.
    pub(crate) address: SocketAddr,
}

impl Etcd {
    /// Starts one and waits until it answers; `None` where it is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let directory = TempDir::with_prefix_in("leasehold-bench-etcd-", place).ok()?;
        let (address, peers) = (free_address(), free_address());
        let child = Command::new("etcd")
            .args(["--name", "bench", "--log-level", "error", "--data-dir"])
            .arg(directory.path())
            .arg(format!("--listen-client-urls=http://{address}"))
            .arg(format!("--advertise-client-urls=http://{address}"))
            .arg(format!("--listen-peer-urls=http://{peers}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peers}"))
            .arg(format!("--initial-cluster=bench=http://{peers}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let etcd = Self {
            _process: Process(child),
            _directory: directory,
            address,
        };
        wait_for(
            address,
            "GET /health HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
        )
        .await;
        Some(etcd)
    }

    /// Grants leases of ten minutes, and returns their ids.
    pub(crate) async fn grant(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::with_capacity(count);
        let mut stream = TcpStream::connect(self.address).await.expect("etcd runs");
        let body = r#"{"TTL":600}"#;
        let request = format!(
            "POST /v3/lease/grant HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut buffer = vec![0; 8 * 1024];
        while ids.len() < count {
            stream
                .write_all(request.as_bytes())
                .await
                .expect("etcd runs");
            let n = stream.read(&mut buffer).await.expect("etcd answers");
            let text = String::from_utf8_lossy(&buffer[..n]);
            let id = text
                .split_once("\"ID\":\"")
                .and_then(|(_, rest)| rest.split_once('"'));
            ids.push(id.expect("etcd grants a lease").0.to_owned());
        }
        ids
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

/// Asks until the answer is 200.
async fn wait_for(address: SocketAddr, request: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if let Ok(mut stream) = TcpStream::connect(address).await
            && stream.write_all(request.as_bytes()).await.is_ok()
        {
            let mut head = [0; 12];
            if stream.read_exact(&mut head).await.is_ok() && head.ends_with(b"200") {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing is ready at {address}");
}
