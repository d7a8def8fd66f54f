//! Files and directories that are nobody else's, and the lock between programs.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
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
