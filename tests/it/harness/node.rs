//! A node: the real binary, with its own directory and port, killed when it goes out of scope.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, Read, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Client, Names, free_port, signal, wait_until};

/// Signs the tokens of every node, unless a test sets another.
pub(crate) const SECRET: &str = "b2YgdGhlIHRlc3RzLCBhbmQgb2Ygbm90aGluZyBlbHNlIQ";

/// How a node is to be started.
#[derive(Clone)]
pub(crate) struct Launch {
    /// The command that serves: `serve`, or `demo` with its arguments.
    command: Vec<String>,
    host: String,
    port: u16,
    /// The network namespace that it runs in; none for this one.
    space: Option<String>,
    /// What names mean to it; what they mean to this machine without.
    names: Option<Names>,
    program: PathBuf,
    directory: Arc<TempDir>,
    settings: Vec<(String, String)>,
    reader: Reader,
}

/// Reads what a program writes to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The test.
    Test,
    /// A file on a disk without room.
    Full,
    /// Nobody any more.
    Gone,
    /// Somebody who has stopped reading, and whose pipe is full.
    Stalled,
}

impl Reader {
    /// The other end for a program, and what has to live as long as it.
    pub(crate) fn stderr(self) -> (Stdio, Option<PipeReader>) {
        if self == Self::Test {
            return (Stdio::piped(), None);
        }
        if self == Self::Full {
            let full = File::options().write(true).open("/dev/full");
            return (full.expect("every Linux has it").into(), None);
        }
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        if self == Self::Gone {
            return (writer.into(), None);
        }
        // What a pipe holds.
        writer.write_all(&[b'.'; 64 * 1024]).expect("it has room");
        (writer.into(), Some(reader))
    }
}

impl Launch {
    /// A node on this Redis.
    pub(crate) fn on(redis_url: &str) -> Self {
        Self::embedded()
            .set("redis_url", redis_url)
            .set("secret", SECRET)
    }

    /// A node that brings its own Redis.
    pub(crate) fn embedded() -> Self {
        let directory = TempDir::with_prefix("leasehold-node-").expect("a temporary directory");
        let port = free_port();
        Self {
            command: vec!["serve".to_owned()],
            host: "127.0.0.1".to_owned(),
            port,
            space: None,
            names: None,
            program: env!("CARGO_BIN_EXE_leasehold").into(),
            directory: Arc::new(directory),
            settings: Vec::new(),
            reader: Reader::Test,
        }
        .set("listen", &format!("127.0.0.1:{port}"))
        .set("log", "info")
        // Load balancers need the wait before a node drains; tests do not.
        .set("drain_wait_ms", "0")
    }

    /// A node of made-up pools, which brings its own Redis.
    pub(crate) fn demo() -> Self {
        let launch = Self::embedded();
        let listen = format!("127.0.0.1:{}", launch.port);
        let command = ["demo", "--listen", &listen, "--data-dir", "demo"];
        Self {
            command: command.map(str::to_owned).to_vec(),
            ..launch
        }
    }

    /// Sets or replaces a setting, named as in the settings file.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        let name = format!("LEASEHOLD_{}", name.to_uppercase());
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_owned()));
        self
    }

    pub(crate) fn set_all(self, settings: &[(&str, &str)]) -> Self {
        settings
            .iter()
            .fold(self, |launch, (name, value)| launch.set(name, value))
    }

    /// The same node with somebody else at the other end of its stderr.
    pub(crate) fn read_by(self, reader: Reader) -> Self {
        Self { reader, ..self }
    }

    /// The same node on another port: a second process over the same directory.
    pub(crate) fn on_another_port(self) -> Self {
        let port = free_port();
        Self { port, ..self }.set("listen", &format!("127.0.0.1:{port}"))
    }

    /// A node like this one, with a port and a directory of its own.
    pub(crate) fn anew(&self) -> Self {
        let directory = TempDir::with_prefix("leasehold-node-").expect("a temporary directory");
        Self {
            directory: Arc::new(directory),
            ..self.clone().on_another_port()
        }
    }

    /// The same node in a network namespace, where it has this address.
    pub(crate) fn inside(self, space: &str, host: &str) -> Self {
        let listen = format!("{host}:{}", self.port);
        Self {
            host: host.to_owned(),
            space: Some(space.to_owned()),
            ..self
        }
        .set("listen", &listen)
    }

    /// The same node, to which names mean this.
    pub(crate) fn knowing(self, names: &Names) -> Self {
        let names = Some(names.clone());
        Self { names, ..self }
    }

    /// The same node of another build.
    pub(crate) fn running(self, program: &Path) -> Self {
        let program = program.to_owned();
        Self { program, ..self }
    }

    /// The address under which it will be reached.
    pub(crate) fn address(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// Where the node runs and keeps its data.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the node and waits until it is ready.
    pub(crate) async fn start(self) -> Node {
        let node = self.spawn();
        node.ready().await;
        node
    }

    /// Starts the node and does not wait.
    pub(crate) fn spawn(self) -> Node {
        let process = Process::spawn(&self);
        let client = Client::new(&format!("http://{}:{}", self.host, self.port));
        Node {
            process,
            client,
            launch: self,
        }
    }

    /// Runs a node that is expected to refuse to start; what it said, and how it ended.
    pub(crate) async fn refuse(self) -> (ExitStatus, String) {
        let node = self.spawn();
        let status = node.ended(Duration::from_secs(10)).await;
        (status, node.log())
    }

    fn command(&self) -> Command {
        let mut command = match (&self.space, &self.names) {
            (Some(space), _) => {
                // It becomes the program, so that signals reach that.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space]).arg(&self.program);
                command
            }
            (None, Some(names)) => names.around(&self.program),
            (None, None) => Command::new(&self.program),
        };
        // Nothing of the machine's own settings may leak into a test.
        command
            .env_clear()
            .current_dir(self.directory())
            .args(&self.command);
        // But for those that come from scripts/hours.sh, which moves the clock of all processes of a test.
        for name in [
            "PATH",
            "HOME",
            "TMPDIR",
            "LLVM_PROFILE_FILE",
            "LD_PRELOAD",
            "TEST_CLOCK_FILE",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        // A setting may replace even these: PATH, to look like a machine without a Redis server.
        for (name, value) in &self.settings {
            command.env(name.trim_start_matches("LEASEHOLD_ENV_"), value);
        }
        command
    }
}

/// A running node. Calls go through [`Client`], to which it dereferences.
pub(crate) struct Node {
    process: Process,
    client: Client,
    launch: Launch,
}

impl Node {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// As a crash: SIGKILL, and gone when this returns.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// Starts the node again, on the same port, with the same settings and directory.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = Process::spawn(&self.launch);
        self.ready().await;
    }

    /// All that the node has written up to now.
    pub(crate) fn log(&self) -> String {
        self.process.log.lock().expect("no reader panics").clone()
    }

    /// Waits until the node has written this: what it wrote before it answered may still be in the pipe.
    pub(crate) async fn says(&self, text: &str) {
        wait_until("the node says it", Duration::from_secs(10), async || {
            self.log().contains(text)
        })
        .await;
    }

    /// All that the node has written by now. Its lines go through a queue and a pipe in order, so they are read once the one that it
    /// writes for this signal is.
    pub(crate) async fn all_said(&self) -> String {
        let lines = || self.log().matches("SIGUSR2 changes nothing").count();
        let before = lines();
        self.signal("USR2");
        wait_until("the node says it", Duration::from_secs(10), async || {
            before < lines()
        })
        .await;
        self.log()
    }

    /// Where the node runs and keeps its data.
    pub(crate) fn directory(&self) -> PathBuf {
        self.launch.directory().to_owned()
    }

    /// How the node was started, to start another like it.
    pub(crate) fn launch(&self) -> Launch {
        self.launch.clone()
    }

    /// Resident memory, in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the node runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("it has memory");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number of kB")
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.probe("/readyz").await == Some(200)
    }

    /// The status of a path, or nothing when the node does not answer.
    pub(crate) async fn probe(&self, path: &str) -> Option<u16> {
        let response = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()
            .expect("a client without TLS")
            .get(format!("http://{}{path}", self.client.address()))
            .send()
            .await;
        Some(response.ok()?.status().as_u16())
    }

    pub(crate) async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_ready().await {
            if let Some(status) = self.process.has_ended() {
                panic!(
                    "the node ended with {status} instead of becoming ready:\n{}",
                    self.log()
                );
            }
            assert!(
                Instant::now() < deadline,
                "the node is not ready:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(&self, within: Duration) -> ExitStatus {
        wait_until("the node ends", within, async || {
            self.process.has_ended().is_some()
        })
        .await;
        // What it said last may still be in the pipe.
        wait_until("all that the node said is read", within, async || {
            self.process.is_read()
        })
        .await;
        self.process.has_ended().expect("it ended a moment ago")
    }
}

impl Deref for Node {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The process of a node and what it wrote.
struct Process {
    id: u32,
    child: Mutex<Child>,
    log: Arc<Mutex<String>>,
    /// Each ends with its pipe.
    readers: Vec<JoinHandle<()>>,
    _stalled: Option<PipeReader>,
}

impl Process {
    fn spawn(launch: &Launch) -> Self {
        let (stderr, stalled) = launch.reader.stderr();
        let mut child = launch
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let log = Arc::default();
        let mut readers = vec![keep(child.stdout.take().expect("piped"), &log)];
        if let Some(stderr) = child.stderr.take() {
            readers.push(keep(stderr, &log));
        }
        Self {
            id: child.id(),
            child: Mutex::new(child),
            log,
            readers,
            _stalled: stalled,
        }
    }

    fn kill(&self) {
        let mut child = self.child.lock().expect("no holder panics");
        // Both fail only when the process has ended and was waited for.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Whether everything that it wrote is in the log. Only after its end, and that of those who have its pipes from it.
    fn is_read(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    fn has_ended(&self) -> Option<ExitStatus> {
        self.child
            .lock()
            .expect("no holder panics")
            .try_wait()
            .expect("it is our child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log.lock().expect("no reader panics");
            eprintln!(
                "--- node {} wrote ---\n{log}--- end of node {} ---",
                self.id, self.id
            );
        }
    }
}

/// Collects the lines of a pipe until it closes.
fn keep(pipe: impl Read + Send + 'static, log: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock().expect("no reader panics");
            log.push_str(&line);
            log.push('\n');
        }
    })
}
