//! What systemd hears of a node: that it serves, that it stops, that it turns. Whoever was not started by systemd tells
//! nobody.
//!
//! The watchdog hears as long as the runtime runs tasks. It does not ask whether Redis answers: an outage is waited out,
//! and a restart would only cut those who wait.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::tasks::Over;

/// The node answers requests from now on.
pub(super) fn serving(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The node is on its way out, and still answers.
pub(super) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: not ready any more, finishing what was begun"),
    ]);
}

/// Says twice in each interval of the watchdog that the node turns; ends at once where nobody listens.
pub(super) async fn watchdog() -> Over {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return Over;
    };
    let mut beat = tokio::time::interval((interval / 2).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd cannot be notified: {error}");
    }
}
