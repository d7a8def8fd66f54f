//! Signals: which of them stop a node, and what the others say to whoever sends them.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::stderr;

/// The first and the second signal to stop.
pub(super) struct StopSignals {
    pub(super) first: oneshot::Receiver<SignalKind>,
    pub(super) second: oneshot::Receiver<SignalKind>,
}

pub(super) fn signals() -> io::Result<StopSignals> {
    let mut signals = Signals::new()?;
    let (tell_first, first) = oneshot::channel();
    let (tell_second, second) = oneshot::channel();
    tokio::spawn(async move {
        // Nobody listens any more when the node has ended meanwhile.
        let _ = tell_first.send(signals.next_to_stop().await);
        let _ = tell_second.send(signals.next_to_stop().await);
    });
    Ok(StopSignals { first, second })
}

/// The signals that a node does not leave to the system.
struct Signals {
    terminate: Signal,
    quit: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one to stop.
    async fn next_to_stop(&mut self) -> SignalKind {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return SignalKind::terminate(),
                _ = self.quit.recv() => return SignalKind::quit(),
                _ = self.interrupt.recv() => return SignalKind::interrupt(),
                _ = self.hangup.recv() => {
                    if stderr::is_terminal() {
                        return SignalKind::interrupt();
                    }
                    "SIGHUP"
                }
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::info!(
                "{ignored} changes nothing: settings are read at start, and logs go to stderr; SIGTERM stops this node"
            );
        }
    }
}
