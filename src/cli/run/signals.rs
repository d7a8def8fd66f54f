//! The signals that go on to the command.

use std::io::IsTerminal as _;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::tree;

/// Whether the command reads from the terminal. It then stays in our process group, because no other may.
pub(super) fn is_from_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// The signals that are passed on. Interrupt and quit come from a terminal to the command as well, where it is in our group, so there
/// they are left alone. What was ignored before us (`nohup`, jobs in the background) stays ignored, for the command too.
pub(super) fn signals() -> std::io::Result<mpsc::UnboundedReceiver<Signal>> {
    let (send, receive) = mpsc::unbounded_channel();
    let from_terminal = is_from_terminal();
    let ignored = tree::ignored_signals();
    for (kind, number, also_from_terminal) in [
        (SignalKind::terminate(), Signal::TERM, false),
        (SignalKind::hangup(), Signal::HUP, false),
        (SignalKind::user_defined1(), Signal::USR1, false),
        (SignalKind::user_defined2(), Signal::USR2, false),
        (SignalKind::interrupt(), Signal::INT, true),
        (SignalKind::quit(), Signal::QUIT, true),
    ] {
        if ignored & (1 << (number.as_raw() - 1)) != 0 {
            continue;
        }
        let mut signals = signal(kind)?;
        let send = send.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if !(from_terminal && also_from_terminal) && send.send(number).is_err() {
                    return;
                }
            }
        });
    }
    // So that there is always somebody who could send.
    tokio::spawn(async move { send.closed().await });
    Ok(receive)
}
