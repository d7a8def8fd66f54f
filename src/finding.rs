//! What a check found, how bad it is and what to do: what `leasehold doctor` prints.

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and something may surprise, be slow or be lost.
    Warning,
    /// Leases can be lost, logins fail, or nothing works.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at: a server, the sentinels, a document of a provider.
    pub place: String,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do; empty if nothing.
    pub advice: String,
}

impl Finding {
    pub(crate) fn new(
        level: Level,
        place: impl Into<String>,
        found: impl Into<String>,
        advice: &str,
    ) -> Self {
        Self {
            level,
            place: place.into(),
            found: found.into(),
            advice: advice.to_owned(),
        }
    }

    pub(crate) fn ok(place: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Level::Ok, place, found, "")
    }
}
