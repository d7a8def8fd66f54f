//! What happens in an outage that lasts longer than the lease.

use std::str::FromStr;
use std::time::Duration;

use super::A_YEAR;
use crate::client::Left;

/// What the command may do in such an outage. Never more than the lease allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnOutage {
    /// The command goes on, and nothing is said.
    Continue,
    /// It goes on, and it is said.
    Warn,
    /// The command goes on for this long, with a warning.
    Stop(Duration),
}

impl FromStr for OnOutage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.strip_prefix("stop=").map(str::parse::<u64>);
        match (text, seconds) {
            ("continue", _) => Ok(Self::Continue),
            ("warn", _) => Ok(Self::Warn),
            ("stop", _) => Ok(Self::Stop(Duration::ZERO)),
            (_, Some(Ok(seconds))) if seconds <= A_YEAR => {
                Ok(Self::Stop(Duration::from_secs(seconds)))
            }
            _ => Err("say warn, continue, stop, or stop=SECONDS".to_owned()),
        }
    }
}

impl OnOutage {
    /// For how long the command may go on after the end of what was promised; none is without limit.
    fn limit(self, left: &Left) -> Option<Duration> {
        match (self, left.grace) {
            (Self::Stop(own), Some(grace)) => Some(own.min(grace)),
            (Self::Stop(own), None) => Some(own),
            (_, grace) => grace,
        }
    }

    /// How much time is left until the command has to be gone; none is without limit.
    pub(super) fn rest(self, left: &Left) -> Option<Duration> {
        let limit = self.limit(left)?;
        Some((left.certain + limit).saturating_sub(left.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_never_outlasted_by_more_than_the_lease_allows() {
        let s = Duration::from_secs;
        let left = |certain, used, grace: Option<u64>| Left {
            certain: s(certain),
            used: s(used),
            grace: grace.map(s),
            length: s(60),
        };
        let rest = |text: &str, left| text.parse::<OnOutage>().expect("a word").rest(&left);
        assert_eq!(rest("warn", left(40, 0, Some(600))), Some(s(640)));
        assert_eq!(rest("continue", left(0, 100, Some(600))), Some(s(500)));
        assert_eq!(rest("stop", left(40, 0, Some(600))), Some(s(40)));
        assert_eq!(rest("stop=30", left(0, 10, None)), Some(s(20)));
        assert_eq!(rest("stop=900", left(0, 0, Some(600))), Some(s(600)));
        assert_eq!(rest("continue", left(0, 10, None)), None);
        assert_eq!(rest("warn", left(0, 10, Some(0))), Some(s(0)));
        assert!("stop=x".parse::<OnOutage>().is_err() && "".parse::<OnOutage>().is_err());
    }
}
