//! Files and directories that are nobody else's, and the lock between programs.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::EmbeddedError;

/// The lock between programs, with the process id of the one that has it.
pub(super) fn lock_data_dir(data_dir: &Path) -> Result<File, EmbeddedError> {
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

/// Tried, because nothing else says it. Also removes the socket that a killed server left behind.
pub(super) fn can_have_socket(socket: &Path) -> bool {
    let _ = std::fs::remove_file(socket);
    let can = UnixListener::bind(socket).is_ok();
    let _ = std::fs::remove_file(socket);
    can
}

pub(super) fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(directory)
}

/// Takes the data directory, and what Redis and this program keep in it, away from others, whatever was there before: it holds
/// names of people. What is anybody else's is left alone.
pub(super) fn keep_from_others(data_dir: &Path) {
    let done = private(data_dir, 0o700).and_then(|()| keep_entries(data_dir, is_ours));
    if let Err(error) = done {
        tracing::warn!(
            "other users of this machine may read what is in {}: {error}",
            data_dir.display()
        );
    }
}

/// The files of Redis have these names by its configuration.
fn is_ours(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    [
        b"redis.".as_slice(),
        b"leasehold.lock",
        b"dump.rdb",
        b"appendonly",
        b"temp-",
    ]
    .iter()
    .any(|begin| name.starts_with(begin))
}

fn keep_entries(directory: &Path, is_meant: fn(&OsStr) -> bool) -> io::Result<()> {
    for entry in directory.read_dir()? {
        let entry = entry?;
        // Links lead to what is not ours, and sockets are for this user by their directory.
        let kind = entry.file_type()?;
        if !is_meant(&entry.file_name()) {
            continue;
        }
        if kind.is_dir() {
            private(&entry.path(), 0o700)?;
            keep_entries(&entry.path(), |_| true)?;
        } else if kind.is_file() {
            private(&entry.path(), 0o600)?;
        }
    }
    Ok(())
}

fn private(path: &Path, mode: u32) -> io::Result<()> {
    let metadata = match path.metadata() {
        // Redis removes files of its own at any time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

pub(super) fn exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists {
        Ok(())
    } else {
        Err(error)
    }
}

pub(super) fn write_private(path: &Path, text: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text)
}
