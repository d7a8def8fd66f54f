//! For how long nobody has used the terminal.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use crate::stderr;

/// From what it is known that nobody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum IdleSource {
    /// The last input of the terminal, as `w` shows it: to eight seconds, and only what somebody has read.
    Tty,
}

/// For how long nothing was read from a terminal; none if it does not say.
pub(super) fn idle_of(terminal: &Path) -> Option<Duration> {
    let read_at = std::fs::metadata(terminal).ok()?.accessed().ok()?;
    // One in the future is of a clock that was set back.
    Some(read_at.elapsed().unwrap_or_default())
}

/// The terminal that we are started from, as one of its open files.
pub(super) fn own_terminal() -> Option<&'static Path> {
    let files = [
        (std::io::stdin().is_terminal(), "/dev/fd/0"),
        (stderr::is_terminal(), "/dev/fd/2"),
        (std::io::stdout().is_terminal(), "/dev/fd/1"),
    ];
    let terminal = files.into_iter().find(|(is_one, _)| *is_one)?;
    Some(Path::new(terminal.1))
}
