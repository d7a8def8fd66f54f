//! A Redis to test against, from the first of three places that has one:
//!
//! 1. `TEST_REDIS_URL`, a server that is already there;
//! 2. `redis-server` or `valkey-server` from the `PATH`, as a private child;
//! 3. a container of the image that `docker-compose.yml` names. With `TEST_REDIS_URL=container` it is the first choice.
//!
//! All three can be stopped, frozen, restarted and emptied. The nodes have no prefix for their keys, so on a server
//! that is shared each test takes one of its databases 1 to 15, **empties it**, and waits if all are taken; database 0
//! is left alone. What would harm other tests on such a server is done by a proxy in front of it: it refuses
//! connections where a private server is stopped. One Redis per test: a second could wait for ever.

use std::collections::HashMap;
use std::fs::File;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use redis::FromRedisValue;
use reqwest::Url;
use tempfile::TempDir;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, GenericImage, ImageExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Proxy, free_port, signal, wait_until};

/// The image that users get, name and tag: one backend says which.
fn image() -> (&'static str, &'static str) {
    let compose = include_str!("../../../docker-compose.yml");
    let image = compose
        .lines()
        .find_map(|line| line.trim().strip_prefix("image: redis:"))
        .expect("docker-compose.yml names an image of Redis");
    ("redis", image)
}

/// As the embedded server has them, with a log of what someone should look at.
const SETTINGS: [&str; 8] = [
    "--appendonly",
    "yes",
    "--save",
    "",
    "--maxmemory-policy",
    "noeviction",
    "--loglevel",
    "warning",
];

/// How long a test waits for an answer of its Redis.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis that belongs to one test.
pub(crate) struct Redis {
    /// Where a client of the server connects, without the proxy of a shared one.
    direct: Url,
    backend: Backend,
    full: bool,
}

enum Backend {
    Shared {
        proxy: Proxy,
        _database: Database,
    },
    Process(Process),
    Container {
        container: Option<Box<ContainerAsync<GenericImage>>>,
        port: u16,
    },
}

/// The ids in the records of a pool that are in none of its sets of leases. Its keys: [`LEFT_RECORDS_OF`].
pub(crate) const LEFT_RECORDS: &str = r"
    local left = {}
    for _, id in ipairs(redis.call('HKEYS', KEYS[1])) do
      if not (redis.call('ZSCORE', KEYS[2], id) or redis.call('ZSCORE', KEYS[3], id) or redis.call('ZSCORE', KEYS[4], id)) then
        left[#left + 1] = id
      end
    end
    return left";

/// The keys of a pool that [`LEFT_RECORDS`] looks at.
pub(crate) const LEFT_RECORDS_OF: [&str; 4] = ["records", "leases", "expired", "evicted"];

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(1).await
    }

    /// A Redis whose memory limit may be changed: on a shared server nobody else is there meanwhile.
    pub(crate) async fn start_alone() -> Self {
        Self::start_with(DATABASES).await
    }

    async fn start_with(databases: u32) -> Self {
        let given = std::env::var("TEST_REDIS_URL").ok();
        if given.as_deref() == Some("container") {
            return Self::in_container().await;
        }
        if let Some(url) = given {
            let mut direct = Url::parse(&url).expect("TEST_REDIS_URL is a URL");
            let database = Database::take(databases).await;
            direct.set_path(&database.number.to_string());
            let proxy = Proxy::start(address(&direct));
            let redis = Self {
                direct,
                backend: Backend::Shared {
                    proxy,
                    _database: database,
                },
                full: false,
            };
            redis.empty().await;
            return redis;
        }
        match server_on_the_path() {
            Some(program) => {
                let port = free_port();
                Self::private(Backend::Process(Process::new(program, port)), port).await
            }
            None => Self::in_container().await,
        }
    }

    /// One in a container, whatever else there is.
    pub(crate) async fn in_container() -> Self {
        let port = free_port();
        let container = None;
        Self::private(Backend::Container { container, port }, port).await
    }

    async fn private(backend: Backend, port: u16) -> Self {
        let mut redis = Self {
            direct: Url::parse(&format!("redis://127.0.0.1:{port}/0")).expect("a URL"),
            backend,
            full: false,
        };
        redis.restart().await;
        redis
    }

    /// The image and the id of its container, if it is in one.
    pub(crate) fn container(&self) -> Option<(String, String)> {
        match &self.backend {
            Backend::Container { container, .. } => {
                let (name, tag) = image();
                let id = container.as_ref()?.id().to_owned();
                Some((format!("{name}:{tag}"), id))
            }
            Backend::Shared { .. } | Backend::Process(_) => None,
        }
    }

    /// What a node gets as `redis_url`.
    pub(crate) fn url(&self) -> String {
        match &self.backend {
            Backend::Shared { proxy, .. } => self.url_through(proxy),
            Backend::Process(_) | Backend::Container { .. } => self.direct.to_string(),
        }
    }

    /// Where a look into it goes, whatever a proxy does.
    pub(crate) fn direct_url(&self) -> String {
        self.direct.to_string()
    }

    /// The URL for a node that is to reach this Redis through `proxy`.
    pub(crate) fn url_through(&self, proxy: &Proxy) -> String {
        let mut url = self.direct.clone();
        url.set_host(Some("127.0.0.1")).expect("a URL with a host");
        url.set_port(Some(proxy.port())).expect("a URL with a port");
        url.to_string()
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.backend {
            Backend::Shared { proxy, .. } => ([127, 0, 0, 1], proxy.port()).into(),
            Backend::Process(_) | Backend::Container { .. } => (
                [127, 0, 0, 1],
                self.direct.port().expect("a URL with a port"),
            )
                .into(),
        }
    }

    /// Kills it: no time to say good-bye. Its data stays, up to what the server had written to its file.
    pub(crate) async fn kill(&mut self) {
        match &mut self.backend {
            Backend::Shared { proxy, .. } => proxy.refuse().await,
            Backend::Process(process) => process.kill(),
            Backend::Container { container, .. } => {
                if let Some(container) = container {
                    container
                        .stop_with_timeout(Some(0))
                        .await
                        .expect("the container stops");
                }
            }
        }
    }

    /// Freezes it: connections stay open, and nobody answers.
    pub(crate) async fn freeze(&mut self) {
        match &mut self.backend {
            Backend::Shared { proxy, .. } => proxy.black_hole(),
            Backend::Process(process) => process.signal("STOP"),
            Backend::Container { container, .. } => {
                container
                    .as_ref()
                    .expect("it runs")
                    .pause()
                    .await
                    .expect("the container pauses");
            }
        }
    }

    /// Undoes [`Self::freeze`].
    pub(crate) async fn thaw(&mut self) {
        match &mut self.backend {
            Backend::Shared { proxy, .. } => proxy.restore(),
            Backend::Process(process) => process.signal("CONT"),
            Backend::Container { container, .. } => {
                container
                    .as_ref()
                    .expect("it runs")
                    .unpause()
                    .await
                    .expect("the container goes on");
            }
        }
    }

    /// Starts it, with the data that it had.
    pub(crate) async fn restart(&mut self) {
        match &mut self.backend {
            Backend::Shared { proxy, .. } => proxy.restore(),
            Backend::Process(process) => process.start(),
            Backend::Container {
                container: Some(container),
                ..
            } => {
                container.start().await.expect("the container starts");
            }
            Backend::Container { container, port } => {
                *container = Some(Box::new(start_container(*port).await));
            }
        }
        self.answers().await;
    }

    /// Starts it without its data.
    pub(crate) async fn restart_empty(&mut self) {
        match &mut self.backend {
            // Emptied behind the nodes' back, before they get through to it again.
            Backend::Shared { .. } => self.empty().await,
            Backend::Process(process) => process.forget(),
            Backend::Container { container, .. } => {
                if let Some(container) = container.take() {
                    container.rm().await.expect("the container goes");
                }
            }
        }
        self.restart().await;
    }

    /// Empties it while it runs.
    pub(crate) async fn empty(&self) {
        let () = self.query(&["FLUSHDB"]).await;
    }

    /// Runs one command, as `redis-cli` would, whatever a proxy does.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &[&str]) -> T {
        match self.try_query(command).await {
            Ok(value) => value,
            Err(error) => panic!("{command:?}: {error}"),
        }
    }

    async fn try_query<T: FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.direct.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        // Longer than the half of a second that the library waits: the machine may be busy, and some ask for much.
        connection.set_response_timeout(PATIENCE);
        redis::cmd(command[0])
            .arg(&command[1..])
            .query_async(&mut connection)
            .await
    }

    /// Limits the memory to what every server already uses; unlimited again when this Redis is dropped.
    pub(crate) async fn fill_up(&mut self) {
        self.full = true;
        let () = self.query(&["CONFIG", "SET", "maxmemory", "1"]).await;
    }

    /// Undoes [`Self::fill_up`].
    pub(crate) async fn make_room(&mut self) {
        let () = self.query(&["CONFIG", "SET", "maxmemory", "0"]).await;
        self.full = false;
    }

    /// The hash tag of a pool's keys.
    pub(crate) async fn tag(&self, pool: &str) -> String {
        let config = self.keys(&format!("lh1:{{*}}:{pool}:config")).await;
        let tag = config[0].split(':').nth(1).expect("the second part");
        tag.to_owned()
    }

    /// The commands that are run for a bucket meanwhile, as `MONITOR` shows them, with those in scripts. `TIME` names no key and is not
    /// among them.
    pub(crate) async fn commands_of(
        &self,
        tag: &str,
        work: impl Future<Output = ()>,
    ) -> Vec<String> {
        let client = redis::Client::open(self.direct.as_str()).expect("a URL");
        let monitor = client.get_async_monitor().await.expect("Redis runs");
        let mut lines = monitor.into_on_message::<String>();
        let mut commands = Vec::new();
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                line = lines.next() => {
                    let line = line.expect("Redis runs");
                    if line.contains(tag) {
                        commands.push(line);
                    }
                }
                () = &mut work => return commands,
            }
        }
    }

    /// What Redis has appended to its file; none of a server that somebody else has started.
    pub(crate) fn appended(&self) -> Option<Vec<u8>> {
        let Backend::Process(process) = &self.backend else {
            return None;
        };
        let directory = process.directory.path().join("appendonlydir");
        // Before Redis 7 there is one file.
        let one = process.directory.path().join("appendonly.aof");
        let parts = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let parts = parts.map(|entry| entry.path()).filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".incr.aof")
        });
        let read = |path: PathBuf| std::fs::read(path).unwrap_or_default();
        Some(parts.chain([one]).flat_map(read).collect())
    }

    /// The history of a pool, oldest first. White box: the key and the fields are those of `lua/README.md`.
    pub(crate) async fn events(&self, pool: &str) -> Vec<Event> {
        let mut events = Vec::new();
        for key in self.keys(&format!("lh1:{{*}}:{pool}:events")).await {
            let entries: Vec<(String, HashMap<String, String>)> =
                self.query(&["XRANGE", &key, "-", "+"]).await;
            events.extend(entries.iter().map(|(_, fields)| Event::from_fields(fields)));
        }
        events
    }

    /// The starts of a pool less its ends, and how many are in its sorted set of leases: both at one instant. Every record
    /// has to be of a lease that is there, or whose end has not been written down yet.
    pub(crate) async fn balance(&self, pool: &str) -> (i64, i64) {
        const COUNT: &str = r"
            local change = { started = 1, resumed = 1, rebuilt = 1, ended = -1 }
            local balance = 0
            for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
              for i = 1, #entry[2], 2 do
                if entry[2][i] == 'type' then
                  balance = balance + (change[entry[2][i + 1]] or 0)
                end
              end
            end
            return { balance, redis.call('ZCARD', KEYS[2]) }";
        let events = self.keys(&format!("lh1:{{*}}:{pool}:events")).await;
        let events = events.first().expect("the pool has a history");
        let leases = events.replace(":events", ":leases");
        let left = LEFT_RECORDS_OF.map(|key| events.replace("events", key));
        let left: Vec<String> = self
            .query(&[
                "EVAL",
                LEFT_RECORDS,
                "4",
                &left[0],
                &left[1],
                &left[2],
                &left[3],
            ])
            .await;
        assert_eq!(left, [""; 0], "records of leases that are gone");
        self.query(&["EVAL", COUNT, "2", events, &leases]).await
    }

    /// The names of the keys that match a glob.
    pub(crate) async fn keys(&self, glob: &str) -> Vec<String> {
        self.query(&["KEYS", glob]).await
    }

    async fn answers(&self) {
        wait_until("Redis answers", Duration::from_secs(20), async || {
            matches!(
                self.try_query::<String>(&["PING"]).await.as_deref(),
                Ok("PONG")
            )
        })
        .await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // A shared server has other tests waiting for it. A private one may be gone already.
        if self.full
            && let Ok(mut connection) =
                redis::Client::open(self.direct.as_str()).and_then(|client| client.get_connection())
        {
            let _ = redis::cmd("CONFIG")
                .arg(&["SET", "maxmemory", "0"])
                .exec(&mut connection);
        }
    }
}

/// An entry of a pool's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    /// The lease.
    pub(crate) id: String,
    /// In milliseconds since the epoch.
    pub(crate) at: i64,
    /// Who asked; only of starts.
    pub(crate) holder: String,
    pub(crate) reason: String,
}

impl Event {
    /// An entry of the stream.
    pub(crate) fn from_fields(fields: &HashMap<String, String>) -> Self {
        Self {
            kind: fields["type"].clone(),
            id: fields["id"].clone(),
            at: fields["at"].parse().expect("milliseconds"),
            holder: fields["holder"].clone(),
            reason: fields["reason"].clone(),
        }
    }

    /// What it adds to the number of live leases.
    pub(crate) fn change(&self) -> i64 {
        match self.kind.as_str() {
            "started" | "resumed" | "rebuilt" => 1,
            "ended" => -1,
            _ => 0,
        }
    }
}

fn address(url: &Url) -> SocketAddr {
    let host = url.host_str().expect("a Redis URL has a host");
    let port = url.port().unwrap_or(6379);
    let mut all = (host, port)
        .to_socket_addrs()
        .expect("the host of the Redis resolves");
    all.find(|address| TcpStream::connect(address).is_ok())
        .expect("the Redis accepts connections")
}

/// Databases of a shared server that tests take: all but 0 of the usual 16.
const DATABASES: u32 = 15;

static FREE: Semaphore = Semaphore::const_new(DATABASES as usize);
static TAKEN: Mutex<[bool; DATABASES as usize]> = Mutex::new([false; DATABASES as usize]);

/// A database of a shared server, and how many others nobody may use meanwhile.
struct Database {
    number: usize,
    _permits: SemaphorePermit<'static>,
}

impl Database {
    async fn take(permits: u32) -> Self {
        let permits = FREE.acquire_many(permits).await.expect("never closed");
        let mut taken = TAKEN.lock().expect("no holder panics");
        let free = taken
            .iter()
            .position(|taken| !taken)
            .expect("as many as there are permits");
        taken[free] = true;
        Self {
            number: free + 1,
            _permits: permits,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        TAKEN.lock().expect("no holder panics")[self.number - 1] = false;
    }
}

/// `redis-server` or `valkey-server`, whichever the `PATH` has.
pub(crate) fn server_on_the_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |directory| directory.join(name)))
        .find(|program| program.is_file())
}

/// A private server with an append-only file in a directory of its own.
struct Process {
    program: PathBuf,
    port: u16,
    directory: TempDir,
    child: Option<Child>,
}

impl Process {
    fn new(program: PathBuf, port: u16) -> Self {
        let directory = TempDir::with_prefix("leasehold-redis-").expect("a temporary directory");
        Self {
            program,
            port,
            directory,
            child: None,
        }
    }

    fn start(&mut self) {
        self.kill();
        let log =
            File::create(self.directory.path().join("log")).expect("the directory is writable");
        let child = Command::new(&self.program)
            .current_dir(self.directory.path())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(SETTINGS)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
    }

    fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("it runs").id(), name);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when it has ended and was waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn forget(&mut self) {
        self.kill();
        let data = self.directory.path().join("appendonlydir");
        if data.exists() {
            std::fs::remove_dir_all(data).expect("the directory is ours");
        }
        // Before Redis 7 it is one file.
        let data = self.directory.path().join("appendonly.aof");
        if data.exists() {
            std::fs::remove_file(data).expect("the directory is ours");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log =
                std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!(
                "--- Redis on port {} wrote ---\n{log}--- end of Redis ---",
                self.port
            );
        }
    }
}

/// A container on a fixed port, so that it is found again after a restart.
async fn start_container(port: u16) -> ContainerAsync<GenericImage> {
    let started = Instant::now();
    let (name, tag) = image();
    GenericImage::new(name, tag)
        .with_exposed_port(6379.tcp())
        .with_mapped_port(port, 6379.tcp())
        .with_cmd(["redis-server", "--protected-mode", "no"].iter().chain(&SETTINGS).copied())
        .start()
        .await
        .unwrap_or_else(|error| {
            panic!(
                "no Redis to test against after {:?}: set TEST_REDIS_URL, install redis-server or valkey-server, \
                 or start a container engine ({error})",
                started.elapsed()
            )
        })
}
