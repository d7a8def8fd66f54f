//! How far the time of leases is ahead of Redis's clock, because that went back: for operators, who have to mend a host.
//!
//! Nothing stops meanwhile. The scripts go on from the time that they had, and return to Redis's clock slowly; see
//! `lua/prelude.lua`.

use std::time::Duration;

use crate::telemetry;

use metrics::gauge;

/// Less is what clocks are corrected by every day, and over in a minute.
pub(super) const WORTH_A_WORD: Duration = Duration::from_secs(1);

/// What a node has said of it.
#[derive(Debug, Default)]
pub(super) struct ClockShift {
    told_ms: u64,
}

impl ClockShift {
    /// Notes how far it is, and logs its start, growth and end.
    pub(super) fn note(&mut self, shift_ms: u64) {
        let seconds = shift_ms as f64 / 1e3;
        gauge!(telemetry::CLOCK_SHIFT).set(seconds);
        let worth_ms = u64::try_from(WORTH_A_WORD.as_millis()).expect("a second");
        if shift_ms > self.told_ms + worth_ms {
            tracing::warn!(
                shift_seconds = seconds,
                "Redis's clock went back, or a server took over whose clock is behind: leases go on by the time they had, \
                 {seconds:.1} s ahead of it, and return to it slowly. See that the clock of that host is right"
            );
            self.told_ms = shift_ms;
        } else if shift_ms == 0 && self.told_ms > 0 {
            tracing::info!("leases go by Redis's clock again");
            self.told_ms = 0;
        }
    }
}
