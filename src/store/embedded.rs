//! The embedded Redis: a private server, started as a child when no `redis_url` is set.
//!
//! It never outlives the program, however the program ends. A small shell watches over it: the shell's stdin is
//! a pipe whose other end only this process has, so the kernel closes it also on SIGKILL, and the shell then stops
//! the server. The ordinary stop is the same closed pipe: the way that matters most is used every time.
//!
//! Two servers on one append-only file would destroy it. So whoever writes to `redis.log` holds a lock on it: the
//! shell and the server inherit it, and the next server is started only by someone who got it. `leasehold.lock` is
//! the other lock, between programs, and only there to refuse a second one at once and to say which one is first.
//!
//! Deliberately absent: replication, a password, a port. A Unix socket in a private directory needs none of
//! them, and whoever needs them wants a Redis of their own.

mod files;
mod server;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

use self::server::{Home, Running};
use crate::tasks::{self, Over};

/// The programs that are looked for, in this order.
const SERVERS: [&str; 2] = ["redis-server", "valkey-server"];

/// Between the deaths of a server and its next start.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// Why there is no embedded Redis, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Nothing to start.
    #[error(
        "there is no redis-server or valkey-server on the PATH for the embedded Redis; install one \
         (apt-get install redis-server, dnf install valkey, brew install valkey, or `make redis` in the source tree), \
         or set redis_url to a Redis that is running"
    )]
    NoServer,
    /// The setting names something else.
    #[error(
        "redis_server names {0}, which is not a program; name a redis-server or valkey-server, or leave it out to \
         take the one on the PATH"
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
        "the data directory {path} is in use by another leasehold (process {pid}); stop that one, or give this one \
         its own with --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// What the other one wrote down about itself.
        pid: String,
    },
    /// The server of a program that was killed does not end.
    #[error(
        "the Redis of an earlier leasehold is still running in {path}; end it (its process id is in \
         {path}/redis.pid) and start again"
    )]
    StillRunning {
        /// The directory.
        path: PathBuf,
    },
    /// The append-only file cannot be read.
    #[error(
        "the embedded Redis cannot read its append-only file {file}; make a copy of {path}, then run \
         `redis-check-aof --fix {file}` and start again (it cuts off what is damaged), or move {path} away to start \
         empty. Redis said: {said}"
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
    /// Starts a server on `data_dir` and waits until it has read its data. `server` is the program to run; without
    /// one it is looked for on the PATH.
    pub async fn start(data_dir: &Path, server: Option<&Path>) -> Result<Self, EmbeddedError> {
        let server = match server {
            Some(path) => {
                program(path).ok_or_else(|| EmbeddedError::NotAProgram(path.to_owned()))?
            }
            None => SERVERS
                .iter()
                .find_map(|name| program(Path::new(name)))
                .ok_or(EmbeddedError::NoServer)?,
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
        let lock = files::lock_data_dir(&data_dir)?;
        let home = Home::new(server, data_dir)?;
        let mut running = home.spawn().await?;
        home.until_ready(&mut running).await?;

        let url = home.url();
        let (stop, stopped) = oneshot::channel();
        let server = Arc::new(Mutex::new(Server {
            home,
            running: Some(running),
            stopped,
        }));
        let supervisor = tasks::spawn("embedded-redis", move || supervise(Arc::clone(&server)));
        Ok(Self {
            url,
            stop,
            supervisor,
            _lock: lock,
        })
    }

    /// The address of another process's server on this data directory; none without such a server.
    pub fn elsewhere(data_dir: &Path) -> Option<String> {
        let data_dir = data_dir.canonicalize().ok()?;
        let socket = server::known_socket(&data_dir)?;
        socket.exists().then(|| server::url(&socket))
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

/// What outlives a failure of the task that looks after it.
struct Server {
    home: Home,
    /// None while it has to be started again.
    running: Option<Running>,
    stopped: oneshot::Receiver<()>,
}

/// Keeps a server running until told to stop, or until `Embedded` is dropped.
///
/// Restarts for ever: those who hold a seat are protected by the recovery rules, and a node that gave up would only be
/// started again from outside.
async fn supervise(server: Arc<Mutex<Server>>) -> Over {
    let mut server = server.lock().await;
    let Server {
        home,
        running,
        stopped,
    } = &mut *server;
    let mut backoff = FIRST_BACKOFF;
    loop {
        let Some(present) = running.as_mut() else {
            tokio::select! {
                _ = &mut *stopped => return Over,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
            match home.spawn().await {
                Ok(started) => *running = Some(started),
                Err(error) => {
                    tracing::error!("the embedded Redis cannot be started again: {error}");
                }
            }
            continue;
        };
        let started = Instant::now();
        let status = tokio::select! {
            _ = &mut *stopped => {
                if let Some(present) = running.take() {
                    present.stop(home).await;
                }
                return Over;
            }
            status = present.shell.wait() => status,
        };
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        tracing::error!(
            redis.log = %home.log().display(),
            "the embedded Redis ended ({status}) and is started again; it said: {}",
            home.said(present.log_start)
        );
        // The shell may have been killed alone: its server ends with the pipe.
        *running = None;
        if started.elapsed() > Duration::from_secs(60) {
            backoff = FIRST_BACKOFF;
        }
    }
}

/// A program as a shell would find it: a path as it is, a name on the PATH.
fn program(name: &Path) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return is_program(name).then(|| name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
