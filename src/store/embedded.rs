//! The embedded Redis: a private server, started as a child when no `redis_url` is set.
//!
//! It never outlives the program, however the program ends. A small shell watches over it: the shell's stdin is
//! a pipe whose other end only this process has, so the kernel closes it also on SIGKILL, and the shell then stops
//! the server. The ordinary stop is the same closed pipe: the way that matters most is used every time.
//!
//! Two servers on one append-only file would destroy it. So whoever writes to `redis.log` holds a lock on it: the shell
//! and the server inherit it, and the next server is started only by someone who got it. `leasehold.lock` is the other lock,
//! between programs, and only there to refuse a second one at once and to say which one is first.
//!
//! Deliberately absent: replication, a password, a port. A Unix socket in a private directory needs none of
//! them, and whoever needs them wants a Redis of their own.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::lease::LeaseId;

/// The programs that are looked for, in this order.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];

/// How long the server has to finish its file before it is killed, in the shell and here.
const GRACE: Duration = Duration::from_secs(5);

/// How long a server may neither answer nor say that it is loading.
const SILENCE: Duration = Duration::from_secs(30);

/// Between the deaths of a server and its next start.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// A log that has grown beyond this is emptied at start, in bytes.
const LOG_LIMIT: u64 = 8 << 20;

/// Runs the server as its child and stops it when stdin ends. `$1` is the program, `$2` its configuration, `$3` the socket
/// and `$4` a directory to remove with it, or empty.
///
/// POSIX only, because it runs in dash, bash and busybox alike. The server is waited for, so its exit status is the shell's.
/// It reads its configuration from stdin: a path with `?` or `[` in it would be a pattern to Redis, and without a match it would
/// start with its defaults, on the network. `read` is in a subshell of its own, which dies by the default action of SIGTERM until there is something to clean up.
const WATCH: &str = r#"
program=$1 config=$2 socket=$3 directory=$4
exec 3<&0
"$program" - <"$config" 3<&- &
server=$!
(
  read -r _ <&3
  trap 'kill $!; exit' TERM
  kill -TERM "$server"
  sleep 5 &
  wait $!
  kill -KILL "$server"
) >/dev/null 2>&1 &
watch=$!
wait "$server"
status=$?
kill "$watch" 2>/dev/null
wait "$watch" 2>/dev/null
rm -f "$socket"
[ -z "$directory" ] || rmdir "$directory"
exit "$status"
"#;

/// Why there is no embedded Redis, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Nothing to start.
    #[error(
        "there is no redis-server or valkey-server on the PATH for the embedded Redis; install one (apt-get install redis-server, \
         dnf install valkey, brew install valkey, or `make redis` in the source tree), or set redis_url to a Redis that is running"
    )]
    NoServer,
    /// The setting names something else.
    #[error(
        "redis_server names {0}, which is not a program; name a redis-server or valkey-server, or leave it out to take the one on the PATH"
    )]
    NotAProgram(PathBuf),
    /// The directory cannot be used.
    #[error(
        "the data directory {path} cannot be used: {source}; give one that this program may write to with --data-dir"
    )]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has the directory.
    #[error(
        "the data directory {path} is in use by another leasehold (process {pid}); stop that one, or give this one its own with --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the other one wrote down about itself.
        pid: String,
    },
    /// The server of a program that was killed does not end.
    #[error(
        "the Redis of an earlier leasehold is still running in {path}; end it (its process id is in {path}/redis.pid) and start again"
    )]
    StillRunning {
        /// The directory.
        path: PathBuf,
    },
    /// The append-only file cannot be read.
    #[error(
        "the embedded Redis cannot read its append-only file {file}; make a copy of {path}, then run `redis-check-aof --fix {file}` and \
         start again (it cuts off what is damaged), or move {path} away to start empty. Redis said: {said}"
    )]
    Damaged {
        /// The data directory.
        path: PathBuf,
        /// What to repair.
        file: PathBuf,
        /// The end of its log.
        said: String,
    },
    /// The server ended at once.
    #[error(
        "the embedded Redis ended while starting ({status}); its log is {log}. It said: {said}"
    )]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Where to read on.
        log: PathBuf,
        /// The end of its log.
        said: String,
    },
    /// The server runs and does not answer.
    #[error("the embedded Redis does not answer on {socket}; its log is {log}")]
    Silent {
        /// Where it should listen.
        socket: PathBuf,
        /// Where to read on.
        log: PathBuf,
    },
}

/// A private Redis that runs as long as this value, and is started again when it dies.
#[derive(Debug)]
pub struct Embedded {
    url: String,
    stop: oneshot::Sender<()>,
    supervisor: JoinHandle<()>,
    /// Held for the lifetime of the program: refuses a second one on the same directory.
    _lock: File,
}

impl Embedded {
    /// Starts a server on `data_dir` and waits until it has read its data. `server` is the program to run; without one it is
    /// looked for on the PATH.
    pub async fn start(data_dir: &Path, server: Option<&Path>) -> Result<Self, EmbeddedError> {
        let server = match server {
            Some(path) if is_program(path) => path.to_owned(),
            Some(path) => return Err(EmbeddedError::NotAProgram(path.to_owned())),
            None => find_server().ok_or(EmbeddedError::NoServer)?,
        };
        let unusable = |source| EmbeddedError::DataDir {
            path: data_dir.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .map_err(unusable)?;
        // The server changes into it, so a relative path would mean something else there.
        let data_dir = data_dir.canonicalize().map_err(unusable)?;
        let lock = lock_data_dir(&data_dir)?;
        let home = Home::new(server, data_dir).map_err(unusable_home)?;
        let mut running = home.spawn().await?;
        home.until_ready(&mut running).await?;

        let url = home.url();
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervise(home, running, stopped));
        Ok(Self {
            url,
            stop,
            supervisor,
            _lock: lock,
        })
    }

    /// Where it listens: the URL of a Unix socket.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server after it has written everything down. Takes up to six seconds.
    pub async fn stop(self) {
        // It is gone already if the runtime is going down; then the closed pipe does the work.
        let _ = self.stop.send(());
        let _ = self.supervisor.await;
    }
}

/// Keeps a server running until told to stop, or until `Embedded` is dropped.
///
/// Restarts for ever: those who hold a seat are protected by the recovery rules, and a node that gave up would
/// only be started again from outside.
async fn supervise(home: Home, mut running: Running, mut stopped: oneshot::Receiver<()>) {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let started = Instant::now();
        let status = tokio::select! {
            _ = &mut stopped => return running.stop(&home).await,
            status = running.shell.wait() => status,
        };
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::error!(
            redis.log = %home.log().display(),
            "the embedded Redis ended ({status}) and is started again; it said: {}",
            home.said(running.log_start)
        );
        // The shell may have been killed alone: its server ends with the pipe.
        drop(running);
        if started.elapsed() > Duration::from_secs(60) {
            backoff = FIRST_BACKOFF;
        }
        running = loop {
            tokio::select! {
                _ = &mut stopped => return,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
            match home.spawn().await {
                Ok(running) => break running,
                Err(error) => {
                    tracing::error!("the embedded Redis cannot be started again: {error}")
                }
            }
        };
    }
}

/// A shell with its server.
struct Running {
    shell: Child,
    /// Closing it is what stops the server.
    pipe: ChildStdin,
    /// Where in the log this server begins, in bytes.
    log_start: u64,
}

impl Running {
    async fn stop(self, home: &Home) {
        let Self {
            mut shell, pipe, ..
        } = self;
        drop(pipe);
        // The shell kills after the grace; one second more for the kernel to follow.
        if tokio::time::timeout(GRACE + Duration::from_secs(1), shell.wait())
            .await
            .is_err()
        {
            tracing::error!(
                "the embedded Redis does not end; see {}",
                home.log().display()
            );
        }
    }
}

/// What it takes to start a server, also again.
struct Home {
    server: PathBuf,
    data_dir: PathBuf,
    socket: PathBuf,
    /// The directory made for the socket alone, if the data directory cannot have one.
    socket_dir: Option<PathBuf>,
}

impl Home {
    fn new(server: PathBuf, data_dir: PathBuf) -> Result<Self, (PathBuf, io::Error)> {
        let socket = data_dir.join("redis.sock");
        if can_have_socket(&socket) {
            return Ok(Self {
                server,
                data_dir,
                socket,
                socket_dir: None,
            });
        }
        // A path has at most 107 bytes for a socket (103 on macOS), and some file systems have no sockets at all.
        let name = format!("leasehold-{}", LeaseId::random());
        for parent in [std::env::temp_dir(), PathBuf::from("/tmp")] {
            let directory = parent.join(&name);
            let socket = directory.join("redis.sock");
            if make_private(&directory).is_ok() {
                if can_have_socket(&socket) {
                    return Ok(Self {
                        server,
                        data_dir,
                        socket,
                        socket_dir: Some(directory),
                    });
                }
                let _ = std::fs::remove_dir(&directory);
            }
        }
        let error = io::Error::other(
            "neither it nor the directory for temporary files can have a Unix socket",
        );
        Err((data_dir, error))
    }

    fn url(&self) -> String {
        let mut url = String::from("unix://");
        for byte in self.socket.as_os_str().as_bytes() {
            match byte {
                b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                    url.push(char::from(*byte))
                }
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
        url
    }

    fn log(&self) -> PathBuf {
        self.data_dir.join("redis.log")
    }

    /// Starts a server, once the one before has let go of the log.
    async fn spawn(&self) -> Result<Running, EmbeddedError> {
        let unusable = |source| EmbeddedError::DataDir {
            path: self.data_dir.clone(),
            source,
        };
        let log = self.lock_log().await?;
        let config = self.data_dir.join("redis.conf");
        write_private(&config, self.config().as_bytes()).map_err(unusable)?;
        if let Some(directory) = &self.socket_dir {
            // The shell removed it with the last server; if that shell was killed it is still ours.
            make_private(directory).or_else(exists).map_err(unusable)?;
        }
        let log_start = log.metadata().map_err(unusable)?.len();
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(&self.server)
            .arg(&config)
            .arg(&self.socket)
            .arg(self.socket_dir.as_deref().unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(unusable)?)
            .stderr(log)
            // Ctrl-C in a terminal reaches the whole process group, and would end the server before the requests.
            .process_group(0)
            .spawn()
            .map_err(unusable)?;
        let pipe = shell.stdin.take().expect("stdin is a pipe");
        Ok(Running {
            shell,
            pipe,
            log_start,
        })
    }

    /// The log, locked. Whoever writes to it holds the lock, so there is no other server then.
    async fn lock_log(&self) -> Result<File, EmbeddedError> {
        let unusable = |source| EmbeddedError::DataDir {
            path: self.data_dir.clone(),
            source,
        };
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.log())
            .map_err(unusable)?;
        let deadline = Instant::now() + GRACE * 2;
        loop {
            match log.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(EmbeddedError::StillRunning {
                        path: self.data_dir.clone(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
        }
        if log.metadata().map_err(unusable)?.len() > LOG_LIMIT {
            log.set_len(0).map_err(unusable)?;
        }
        Ok(log)
    }

    /// The server's configuration. In a file and not in arguments, so that one can look at it and start the server by hand.
    fn config(&self) -> String {
        let quote = |path: &Path| quote(path.as_os_str().as_bytes());
        format!(
            "# Written at every start of leasehold; changes are lost.\n\
             port 0\n\
             unixsocket {socket}\n\
             unixsocketperm 700\n\
             dir {dir}\n\
             pidfile {pid}\n\
             daemonize no\n\
             logfile \"\"\n\
             # The truth is the append-only file; a snapshot beside it would be older.\n\
             appendonly yes\n\
             appendfsync everysec\n\
             save \"\"\n\
             # A lease is never given up to make room.\n\
             maxmemory-policy noeviction\n",
            socket = quote(&self.socket),
            dir = quote(&self.data_dir),
            pid = quote(&self.data_dir.join("redis.pid")),
        )
    }

    /// Waits until the server has read its data, for as long as it says that it is reading.
    async fn until_ready(&self, running: &mut Running) -> Result<(), EmbeddedError> {
        let client = redis::Client::open(self.url()).expect("a path is a URL");
        let mut heard = Instant::now();
        let mut told = Instant::now();
        while heard.elapsed() < SILENCE {
            match ping(&client).await {
                Ok(()) => return Ok(()),
                Err(error) if error.code() == Some("LOADING") => {
                    heard = Instant::now();
                    if told.elapsed() > Duration::from_secs(2) {
                        told = heard;
                        tracing::info!(
                            "the embedded Redis is reading its append-only file{}",
                            progress(&client).await
                        );
                    }
                }
                // There is no socket yet.
                Err(_) => {}
            }
            let pause = Duration::from_millis(10);
            if let Ok(status) = tokio::time::timeout(pause, running.shell.wait()).await {
                let status = status.map_err(|source| EmbeddedError::DataDir {
                    path: self.data_dir.clone(),
                    source,
                })?;
                return Err(self.ended(status, running.log_start));
            }
        }
        Err(EmbeddedError::Silent {
            socket: self.socket.clone(),
            log: self.log(),
        })
    }

    fn ended(&self, status: ExitStatus, log_start: u64) -> EmbeddedError {
        let said = self.said(log_start);
        let is_damaged = [
            "Bad file format",
            "redis-check-aof",
            "valkey-check-aof",
            "reading the append only file",
        ];
        if is_damaged.iter().any(|words| said.contains(words)) {
            // Since version 7 it is a directory of files, and the manifest names them.
            let manifest = self.data_dir.join("appendonlydir/appendonly.aof.manifest");
            let file = if manifest.exists() {
                manifest
            } else {
                self.data_dir.join("appendonly.aof")
            };
            return EmbeddedError::Damaged {
                path: self.data_dir.clone(),
                file,
                said,
            };
        }
        EmbeddedError::Ended {
            status,
            log: self.log(),
            said,
        }
    }

    /// The last lines that the server logged since `log_start`, in one line.
    fn said(&self, log_start: u64) -> String {
        let read = || -> io::Result<String> {
            let mut log = File::open(self.log())?;
            let end = log.metadata()?.len();
            log.seek(SeekFrom::Start(
                log_start.max(end.saturating_sub(4096)).min(end),
            ))?;
            let mut bytes = Vec::new();
            log.take(4096).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        match lines.get(lines.len().saturating_sub(5)..) {
            Some([]) | None => "nothing".to_owned(),
            Some(last) => last.join(" | "),
        }
    }
}

async fn ping(client: &redis::Client) -> redis::RedisResult<()> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("PING").query_async(&mut connection).await
}

/// How far the server is with reading, as the end of a sentence; empty if it does not say.
async fn progress(client: &redis::Client) -> String {
    let info = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("INFO")
            .arg("persistence")
            .query_async::<String>(&mut connection)
            .await
    };
    let info = info.await.unwrap_or_default();
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    match (field("loading_loaded_perc"), field("loading_eta_seconds")) {
        (Some(percent), Some(seconds)) => format!(": {percent} % done, about {seconds} s left"),
        _ => String::new(),
    }
}

/// The lock between programs, with the process id of the one that has it.
fn lock_data_dir(data_dir: &Path) -> Result<File, EmbeddedError> {
    let unusable = |source| EmbeddedError::DataDir {
        path: data_dir.to_owned(),
        source,
    };
    let path = data_dir.join("leasehold.lock");
    let mut options = OpenOptions::new();
    // Not truncated: until the lock is ours, what it says is about somebody else.
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut lock = options.open(path).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() {
                "unknown"
            } else {
                pid.trim()
            }
            .to_owned();
            return Err(EmbeddedError::InUse {
                path: data_dir.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    lock.set_len(0).map_err(unusable)?;
    writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
    Ok(lock)
}

fn unusable_home((path, source): (PathBuf, io::Error)) -> EmbeddedError {
    EmbeddedError::DataDir { path, source }
}

fn find_server() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let candidates = SERVERS.iter().flat_map(|name| {
        directories
            .iter()
            .map(move |directory| directory.join(name))
    });
    candidates
        .into_iter()
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Tried, because nothing else says it. Also removes the socket that a killed server left behind.
fn can_have_socket(socket: &Path) -> bool {
    let _ = std::fs::remove_file(socket);
    let can = UnixListener::bind(socket).is_ok();
    let _ = std::fs::remove_file(socket);
    can
}

fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(directory)
}

fn exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists {
        Ok(())
    } else {
        Err(error)
    }
}

fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text)
}

/// Quoted as Redis reads it: printable ASCII as it is, everything else as `\xHH`.
fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => quoted.push(char::from(*byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
