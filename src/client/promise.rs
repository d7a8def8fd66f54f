//! What the last good answer promised, and what is left of that.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::text;

/// An instant on two clocks: one that only goes forward, and one that goes on while the machine sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks(Instant, SystemTime);

impl Clocks {
    pub(super) fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    /// The further of both, so that no clock that stands still or is set back makes a lease longer.
    fn elapsed(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// What the last good answer promised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    /// When its request left: the server may have decided at any time since.
    sent: Clocks,
    pub(super) expires_in: Duration,
    pub(super) renew_after: Duration,
    /// For how long work may go on after that; none is without limit.
    grace: Option<Duration>,
}

impl Promise {
    /// What this lease promises; none if it is no lease.
    pub(super) fn of(lease: &Value, sent: Clocks) -> Option<Self> {
        text(&lease["id"])?;
        let ms = |name: &str| lease[name].as_u64().map(Duration::from_millis);
        Some(Self {
            sent,
            expires_in: ms("expires_in_ms")?,
            renew_after: ms("renew_after_ms")?,
            // An older server does not say: work goes on without limit, as it did then.
            grace: ms("outage_grace_ms"),
        })
    }

    pub(super) fn left(&self) -> Left {
        let elapsed = self.sent.elapsed();
        Left {
            certain: self.expires_in.saturating_sub(elapsed),
            used: elapsed.saturating_sub(self.expires_in),
            grace: self.grace,
            length: self.expires_in,
        }
    }
}

/// What is left of a lease while nothing is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// For how long it surely lives.
    pub certain: Duration,
    /// For how long that is over.
    pub used: Duration,
    /// For how long work may go on after that; none is without limit.
    pub grace: Option<Duration>,
    /// How long the lease was when it was last extended.
    pub length: Duration,
}
