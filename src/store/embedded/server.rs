//! One server: how it is started, watched over, waited for and asked what was wrong.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, ChildStdin, Command};

use super::EmbeddedError;
use super::files::{can_have_socket, exists, keep_from_others, make_private, write_private};
use crate::names::LeaseId;

/// How long the server has to finish its file before it is killed, in the shell and here.
const GRACE: Duration = Duration::from_secs(5);

/// How long a server may neither answer nor report that it is loading.
const SILENCE: Duration = Duration::from_secs(30);

/// A log that has grown beyond this is emptied at start, in bytes.
const LOG_LIMIT: u64 = 8 << 20;

/// Runs the server as its child and stops it when stdin ends. `$1` is the program, `$2` its configuration, `$3` the
/// socket and `$4` a directory to remove with it, or empty.
///
/// POSIX only, because it runs in dash, bash and busybox alike. The server is waited for, so its exit status is the
/// shell's. It reads its configuration from stdin: a path with `?` or `[` in it would be a pattern to Redis, and
/// without a match it would start with its defaults, on the network. `read` is in a subshell of its own, which dies by
/// the default action of SIGTERM until there is something to clean up.
const WATCH: &str = r#"
umask 077
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

/// A shell with its server.
pub(super) struct Running {
    pub(super) shell: Child,
    /// Closing it is what stops the server.
    pipe: ChildStdin,
    /// Where in the log this server begins, in bytes.
    pub(super) log_start: u64,
}

impl Running {
    pub(super) async fn stop(self, home: &Home) {
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
pub(super) struct Home {
    server: PathBuf,
    data_dir: PathBuf,
    socket: PathBuf,
    /// The directory made for the socket alone, if the data directory cannot have one.
    socket_dir: Option<PathBuf>,
}

/// The socket of the server that runs in this directory, or ran there last, by the configuration that it was started with.
pub(super) fn known_socket(data_dir: &Path) -> Option<PathBuf> {
    let config = std::fs::read_to_string(data_dir.join("redis.conf")).ok()?;
    let line = config
        .lines()
        .find_map(|line| line.strip_prefix("unixsocket "))?;
    // One in another directory was made by this program, and has a plain name; the usual one needs no reading.
    let usual = data_dir.join("redis.sock");
    if line == quote(usual.as_os_str().as_bytes()) {
        return Some(usual);
    }
    Some(PathBuf::from(line.trim_matches('"')))
}

/// A socket as a URL.
pub(super) fn url(socket: &Path) -> String {
    let mut url = String::from("unix://");
    for byte in socket.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                url.push(char::from(*byte));
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

impl Home {
    pub(super) fn new(server: PathBuf, data_dir: PathBuf) -> Result<Self, EmbeddedError> {
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
        let source = io::Error::other(
            "neither it nor the directory for temporary files can have a Unix socket",
        );
        Err(EmbeddedError::DataDir {
            path: data_dir,
            source,
        })
    }

    pub(super) fn url(&self) -> String {
        url(&self.socket)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.data_dir.join("redis.log")
    }

    /// Starts a server, once the one before has let go of the log.
    pub(super) async fn spawn(&self) -> Result<Running, EmbeddedError> {
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
        keep_from_others(&self.data_dir);
        let mut shell = Command::new("sh");
        // The environment of this program is not for its children.
        for (name, _) in std::env::vars_os() {
            if name.as_bytes().starts_with(b"LEASEHOLD_") {
                shell.env_remove(name);
            }
        }
        let mut shell = shell
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

    /// The server's configuration. Kept in a file, so that one can look at it and start the server by hand.
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
             # The truth is the append-only file; a snapshot would be older.\n\
             appendonly yes\n\
             appendfsync everysec\n\
             save \"\"\n\
             # Each rewriting forks, which is a pause of 5 to 20 ms, and its child takes a core for seconds. A file of this size\n\
             # is read in about a second.\n\
             auto-aof-rewrite-min-size 256mb\n\
             # A stream takes a whole block ahead, and a hash with one long value takes twice the room: a sixth of what a small\n\
             # pool needs.\n\
             stream-node-max-bytes 1536\n\
             hash-max-ziplist-value 256\n\
             # A lease is never given up to make room.\n\
             maxmemory-policy noeviction\n",
            socket = quote(&self.socket),
            dir = quote(&self.data_dir),
            pid = quote(&self.data_dir.join("redis.pid")),
        )
    }

    /// Waits until the server has read its data, for as long as it reports that it is reading.
    pub(super) async fn until_ready(&self, running: &mut Running) -> Result<(), EmbeddedError> {
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
    pub(super) fn said(&self, log_start: u64) -> String {
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

/// Quoted as Redis reads it: printable ASCII as it is, everything else as `\xHH`.
pub(super) fn quote(bytes: &[u8]) -> String {
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
